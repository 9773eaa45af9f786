// SPDX-License-Identifier: Apache-2.0
/* ctl.h - grpoctl: what its verbs share. A verb reads its own options, puts data on stdout and narration on stderr, and returns the
 * exit code. One thread, short-lived. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"
#include "ctl/args.h"
#include "ctl/page.h"
#include "ctl/where.h"

/* Documented in grpoctl(1). */
enum ctl_code {
    CTL_OK = 0,
    CTL_FAILED = 1,    /* the daemon said no (its words are on stderr), its answer made no sense, or a file cannot be read */
    CTL_USAGE = 2,     /* the command line */
    CTL_NO_DAEMON = 3, /* none reached */
    CTL_TIMED_OUT = 4, /* reached, but no whole answer in time */
};

/* Verbs, one file each or a few together. argv[0] is the verb. */
int verb_status(int argc, char **argv);
int verb_queues(int argc, char **argv);
int verb_nodes(int argc, char **argv);
int verb_pause(int argc, char **argv);
int verb_resume(int argc, char **argv);
int verb_drain(int argc, char **argv);
int verb_generate(int argc, char **argv);
int verb_samples(int argc, char **argv);
int verb_metrics(int argc, char **argv);
int verb_plot(int argc, char **argv);
int verb_conf(int argc, char **argv);
int verb_version(int argc, char **argv);
int verb_dump(int argc, char **argv);
int verb_quickstart(int argc, char **argv);

/* -- options many verbs have -------------------------------------------------------------------------------------------- */

struct common {
    const char *run, *socket, *on; /* NULL: not given */
    double timeout_s;
    bool json;
    double watch_s; /* 0: once */
};

#define OPTS_RUN(c)  {"run", 0, OPT_STR, &(c).run, 0, 0, "DIR", "the run folder of a learner"}
#define OPTS_DOOR(c)                                                                                                 \
    OPTS_RUN(c), {"socket", 0, OPT_STR, &(c).socket, 0, 0, "PATH", "a daemon's control socket"},                     \
        {"on", 0, OPT_STR, &(c).on, 0, 0, "WHO", "which daemon: learner or rollout"},                                \
        {"timeout", 0, OPT_F64, &(c).timeout_s, 0.001, 86400, "SEC", "how long to wait for an answer"}
#define OPTS_JSON(c)  {"json", 0, OPT_FLAG, &(c).json, 0, 0, NULL, "what the daemon said, as JSON"}
#define OPTS_WATCH(c) {"watch", 0, OPT_SEC, &(c).watch_s, 0.05, 86400, "SEC", "again and again, every SEC seconds (1)"}

/* "grpoctl: ..." on stderr. */
void say(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* -- asking a daemon (ask.c) -------------------------------------------------------------------------------------------- */

/* What a daemon answered: text as it came, and parsed. answer_done ends it; start with {0}. */
struct answer {
    char *text;
    json_t *j; /* an object */
};

/* One verb to the daemon at path. args: JSON, or NULL. Returns an exit code; words in why unless CTL_OK. */
int ask(const char *path, const char *verb, const char *args, double timeout_s, struct answer *ret, struct why *why);
void answer_done(struct answer *a);

/* A frame out and a frame back. *ret_reply is the caller's (free). */
int ask_frame(const char *path, struct span frame, double timeout_s, uint8_t **ret_reply, size_t *ret_n, struct why *why);

/* Find a daemon: `first`, or when there is none `second` (WHO_ANY: no second choice); --on and --socket go before both. Says on
 * stderr when several answer. Returns an exit code. */
int pick(const struct common *c, enum who first, enum who second, struct door *ret, struct why *why);

/* Is one daemon asked for, by --socket, --on or $GRPO_SOCKET? */
bool one_door(const struct common *c);
/* Is a run or a socket named, on the command line or in the environment? */
bool named(const struct common *c);

/* Every daemon of a kind that answers, the preferred first. CTL_NO_DAEMON: none. */
int pick_all(const struct common *c, enum who want, struct doors *ret, struct why *why);

/* The run folder whose files a verb reads: --run, $GRPO_RUN, or the newest of the usual places. */
int run_folder(const struct common *c, char *out, size_t cap, struct why *why);

/* pick and ask in one. */
int pick_and_ask(const struct common *c, enum who first, enum who second, const char *verb, struct door *ret_door, struct answer *ret,
                 struct why *why);

/* Fields of an answer; a daemon may be of another version, so what is missing or of another type is "-", NaN or false. */
const char *js_str(const json_t *j, const char *key);
double js_num(const json_t *j, const char *key);
bool js_true(const json_t *j, const char *key);

/* -- drawing (look.c) --------------------------------------------------------------------------------------------------- */

/* Call draw once, or with --watch for ever: each picture replaces the last on a terminal, and follows it elsewhere. draw fills the page and
 * returns an exit code; failures go through page_fail, so that a watch outlives a restart of the daemon. */
int look(const struct common *c, int (*draw)(struct page *p, void *arg), void *arg);

/* Words of a failure: on stderr, or on the page of a watch. Returns code. */
int page_fail(struct page *p, int code, const struct why *why);

#endif
