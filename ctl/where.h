// SPDX-License-Identifier: Apache-2.0
/* where.h - where daemons listen: the control sockets and run folders of this host, in the order they are preferred. Looks at files only; asks
 * nobody. */
#ifndef CTL_WHERE_H
#define CTL_WHERE_H

#include <stdint.h>
#include <time.h>

#include "common/base/err.h"

#define WHERE_MAX 64

enum who { WHO_ANY, WHO_LEARNER, WHO_ROLLOUT };
const char *who_name(enum who w); /* "learner", "rollout node", "daemon" */

struct door {
    enum who who;   /* WHO_ANY: a socket given by path; whoever is behind it */
    char path[108]; /* what fits a socket's address */
};

struct doors {
    struct door d[WHERE_MAX];
    uint32_t n;
};

struct where {
    const char *root;    /* put before absolute places; "" but for tests */
    const char *cwd;     /* relative places start here; "." but for tests */
    const char *run;     /* a run folder: its sockets, then rollout nodes elsewhere. NULL or "": the usual places */
    const char *socket;  /* just this one. NULL or "": none */
    const char *runtime; /* $XDG_RUNTIME_DIR, may be NULL */
};

/* Sockets that may be a daemon's:
 *   runs/X/ and the present folder; $XDG_RUNTIME_DIR/grpo*; /run/grpo*; /var/lib/grpo, two folders deep; /tmp/grpo-rollout-*
 * learner.sock and rollout*.sock, within each place the newest first. In /tmp only a socket of this user's or of root's counts: anyone can put one
 * there. ERR_NOENT: the run folder is not there. ERR_RANGE: a path too long for a socket. */
enum err where_doors(const struct where *w, struct doors *ret, struct why *why) MUST_CHECK;

/* The run folder to read files from: w->run, or the usual place with the newest metrics.jsonl or run.db. ERR_NOENT: none. */
enum err where_run(const struct where *w, char *ret_dir, size_t cap, struct why *why) MUST_CHECK;

/* The port in DIR/learner.addr; 0: none. */
unsigned where_port(const char *dir);
/* The port at the end of an address such as tcp://host:port; 0: none. */
unsigned where_url_port(const char *url);
/* The folder of a socket: the run folder of a learner's. */
void where_dir(const struct door *d, char *out, size_t cap);

#endif
