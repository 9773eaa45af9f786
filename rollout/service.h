// SPDX-License-Identifier: Apache-2.0
/* service.h - what grpo-rollout is: an engine thread with two doors, the link to a learner and the control socket. Loop thread. */
#ifndef ROLLOUT_SERVICE_H
#define ROLLOUT_SERVICE_H

#include "common/svc/ctl_sock.h"
#include "common/svc/loop.h"
#include "rollout/conf.h"
#include "rollout/worker.h"

struct link;

struct service {
    struct loop *loop;
    const struct rollout_conf *conf;
    struct dev *dev;
    struct worker *worker; /* NULL until a model is known */
    struct dims dims;
    struct ctl_server *ctl;
    struct link *link; /* NULL without a learner */
    struct owner_ctl *ctl_work; /* asked for through the control socket, in the engine */
    struct loop_timer *watchdog;
    char name[64], host[64], model_from[512];
    uint64_t boot;
    struct version version; /* drawn with */
    const char *road;       /* how the newest weights came: folder, shm, net; none: there are none */
    uint32_t n_inflight;    /* sequences given to the engine and not back */
    uint64_t n_group, n_swap;
    int64_t started_ns, last_swap_ns, last_stall_ns;
    bool paused, learner_paused; /* by grpoctl here; by the learner. Either one holds */
    bool draining, fatal;
    double tok_per_s; /* over the last tick */
    uint64_t last_tok;
    int64_t last_tick_ns;
    struct loop_timer *tick;
};

/* Open everything that the settings ask for. The caller owns *ret_service. */
enum err service_create(struct loop *l, const struct rollout_conf *conf, struct service **ret_service, struct why *why) MUST_CHECK;
void service_destroy(struct service *s); /* after the loop has ended; NULL is a no-op */

/* Leave in order: give work back, then stop the loop. */
void service_stop(struct service *s);

/* -- between the files of this room ------------------------------------------------------------------------------------ */

/* Make the worker for these dims, unless there is one; ERR_MISMATCH when it is of another shape. */
enum err service__need_worker(struct service *s, const struct dims *d, const char *from, struct why *why) MUST_CHECK;
/* Hand a job to the engine; owner: a struct owner_*, first member enum owner. */
enum err service__submit(struct service *s, struct work *w, struct why *why) MUST_CHECK;
void service__status(struct service *s);
/* Set both reasons to stand still. */
void service__pause(struct service *s, bool here, bool by_learner);

/* Who asked for a work: the first member of what work.owner points at. */
enum owner { OWNER_LINK, OWNER_CTL };
struct owner_ctl {
    enum owner owner;
    struct owner_ctl *next, **prev; /* of the service's list */
    struct ctl_req *req;            /* NULL: gone */
    struct work *work;
};

/* ctl.c */
void ctl__on_req(void *arg, struct ctl_req *req, struct span frame);
void ctl__on_gone(void *arg, struct ctl_req *req);
void ctl__done(struct service *s, struct work *w);
void ctl__forget(struct service *s); /* at the end: the engine's works are gone */

/* link.c: the learner. */
enum err link_create(struct service *s, const char *url, struct link **ret_link, struct why *why) MUST_CHECK;
void link_destroy(struct link *k);
void link_done(struct link *k, struct work *w); /* a work of the learner's is finished: send it */
void link_swapped(struct link *k);
void link_load_failed(struct link *k, enum err e); /* the weights fetched last were not taken */
void link_more(struct link *k); /* there is room: ask */
void link_bye(struct link *k);  /* give everything back, then stop the loop */
/* For status: "down", "hello", "ready"; jobs held; groups not yet acknowledged. */
void link_look(const struct link *k, const char **ret_state, uint32_t *ret_jobs, uint32_t *ret_unsent, const char **ret_url);

#endif
