// SPDX-License-Identifier: Apache-2.0
/* dispatch.h - which job is where: waiting, in flight at a node, or done. Pure bookkeeping with time handed in; loop thread.
 *
 * A job is done once: the first whole group for it counts, later ones are refused. A node that is lost, says bye, or is not heard from for the
 * lease gives its jobs back to the front of the queue. Nothing is ever lost: a job leaves only when it is done. */
#ifndef LEARNER_DISPATCH_H
#define LEARNER_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"

enum job_state { JOB_WAITING, JOB_IN_FLIGHT, JOB_DONE };

struct job {
    uint64_t id;          /* also the key of its random draws */
    uint32_t row;         /* of the data */
    bool eval;
    uint64_t step;        /* that it is for */
    uint32_t group_size;
    uint64_t min_version; /* least version it may start with */
    enum job_state state;
    uint64_t node;
    int64_t since_ns; /* in this state */
    uint32_t n_try;
    uint64_t refused_by[8]; /* nodes that said they cannot do it; they are not asked again */
    uint32_t n_refused;
    char words[160]; /* of the last refusal */
    struct job *next; /* of the queue */
};

struct dispatch; /* opaque: dispatch.c */

enum err dispatch_create(struct dispatch **ret_dispatch) MUST_CHECK;
void dispatch_destroy(struct dispatch *d);

/* A copy of j joins the queue's end (front: before all others). ERR_EXIST: its id is known. */
enum err dispatch_add(struct dispatch *d, const struct job *j, bool front, int64_t now_ns) MUST_CHECK;

/* The first waiting job that fits into room_seq, whose min_version is at most version and that this node has not refused; it is in flight at
 * node from now on. NULL: none. */
const struct job *dispatch_take(struct dispatch *d, uint64_t node, uint32_t room_seq, uint64_t version, int64_t now_ns);

const struct job *dispatch_find(const struct dispatch *d, uint64_t id); /* NULL: unknown */

/* A whole group came for this job. ERR_STALE: it is done already, or unknown. */
enum err dispatch_finish(struct dispatch *d, uint64_t id, int64_t now_ns) MUST_CHECK;
/* node gives the job back undone: it waits again, unless another node has it by now. */
void dispatch_return(struct dispatch *d, uint64_t id, uint64_t node, int64_t now_ns);

/* The least room that a waiting job needs which dispatch_take would give to node at this version if it had the room. 0: there is no such job. */
uint32_t dispatch_need(const struct dispatch *d, uint64_t node, uint64_t version);

/* node cannot do this job, and says why: it waits for another one. */
void dispatch_refuse(struct dispatch *d, uint64_t id, uint64_t node, struct span words, int64_t now_ns);

/* A waiting job that has been refused by each of up[0..n), n > 0, or 64 times: nobody here can do it. NULL: there is none. */
const struct job *dispatch_hopeless(const struct dispatch *d, const uint64_t *up, uint32_t n);

/* What a node says it holds: jobs in flight there since before since_ns that are not among held[0..n) were lost on the way and wait
 * again. Returns how many. */
uint32_t dispatch_reconcile(struct dispatch *d, uint64_t node, const uint64_t *held, uint32_t n, int64_t since_ns, int64_t now_ns);

/* Every job in flight at node waits again; returns how many. */
uint32_t dispatch_lost(struct dispatch *d, uint64_t node, int64_t now_ns);

/* Forget done jobs of steps below step. */
void dispatch_forget(struct dispatch *d, uint64_t step);

struct dispatch_stats {
    uint32_t n_waiting, n_in_flight;
    int64_t oldest_ns; /* since when the oldest waiting job waits; 0: none */
    uint64_t n_retry;  /* jobs given out again */
};
void dispatch_stats(const struct dispatch *d, struct dispatch_stats *ret_stats);
uint32_t dispatch_at(const struct dispatch *d, uint64_t node); /* jobs in flight there */

#endif
