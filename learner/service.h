// SPDX-License-Identifier: Apache-2.0
/* service.h - what grpo-learner is: a trainer thread behind doors for nodes, weights and grpoctl. Loop thread. */
#ifndef LEARNER_SERVICE_H
#define LEARNER_SERVICE_H

#include <pthread.h>

#include "common/svc/ctl_sock.h"
#include "common/svc/loop.h"
#include "learner/conf.h"
#include "learner/dispatch.h"
#include "learner/nodes.h"
#include "learner/train.h"

/* A step or an evaluation whose groups are coming in. */
struct pending {
    struct pending *next;
    uint64_t step;
    bool eval;
    uint32_t want, have;
    struct group **group; /* [want] as they come */
    int64_t begun_ns;
};

struct service {
    struct loop *loop;
    const struct learner_conf *conf;
    struct dev *dev;
    struct dims dims;
    char *config_json;
    struct tokenizer *tok;
    struct prompts data, eval;
    struct reward_list rewards;
    struct trainer *trainer;
    struct push_source *source;
    struct record *record;
    struct train train;
    pthread_t thread;
    bool thread_up, stop; /* stop: read by the trainer (atomic) */
    struct net_server *net, *bulk;
    struct ctl_server *ctl;
    struct loop_timer *tick, *watchdog;
    struct msg_buf buf;

    uint64_t incarnation, version; /* newest published */
    struct nodes nodes;
    struct dispatch *dispatch;
    struct pending *pending;
    uint64_t next_step;  /* first step whose jobs are not queued yet */
    uint32_t n_scoring;  /* groups with the reward workers */
    bool paused;
    int lock_fd;
    char bulk_url[128], host[64];

    struct step_metrics last; /* of the newest step */
    bool has_last;
    uint64_t n_stale, n_bad; /* groups refused */
    int64_t started_ns;
    int exit_code;
    char summary[1024];
};

/* Open everything. The caller owns *ret_service. A run that is finished opens no door: the loop ends at once, the summary says how to go
 * on. ERR_EXIST: a taken port, another learner. */
enum err service_create(struct loop *l, const struct learner_conf *conf, struct service **ret_service, struct why *why) MUST_CHECK;
void service_destroy(struct service *s); /* after the loop has ended; NULL is a no-op */

/* Finish the step, save, end the loop. */
void service_stop(struct service *s);

/* -- between the files of this room ------------------------------------------------------------------------------------ */

/* rpc.c: what nodes say. */
void rpc__on_req(void *arg, struct net_req *req, struct span frame);
void rpc__on_peer(void *arg, uint64_t peer, bool up);
void rpc__on_bulk(void *arg, struct net_req *req, struct span frame);
void rpc__serve(struct service *s); /* give parked questions the jobs that wait */
void rpc__news(struct service *s);  /* answer every parked question: there is a newer version, or a pause */
void rpc__check_leases(struct service *s);

/* collect.c: groups in, whole steps out to the trainer. */
enum err collect__expect(struct service *s, uint64_t step, bool eval, uint32_t want) MUST_CHECK;
void collect__group(struct service *s, struct group *g); /* takes g */
void collect__clear(struct service *s);
uint32_t collect__ready(const struct service *s); /* groups that wait for the rest of their step */

/* ctl.c */
void ctl__on_req(void *arg, struct ctl_req *req, struct span frame);

#endif
