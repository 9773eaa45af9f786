// SPDX-License-Identifier: Apache-2.0
/* worker.h - the engine thread, and the packer that prepares new weights beside it.
 *
 * The loop sends letters (work, abort, swap); finished work and swaps come back as calls on the loop. Weights are packed into the
 * spare of two models on the uv pool and taken between two decode steps. All calls here are for the loop's thread. */
#ifndef ROLLOUT_WORKER_H
#define ROLLOUT_WORKER_H

#include "common/push/push.h"
#include "common/svc/loop.h"
#include "rollout/engine.h"

struct worker;

struct worker_events {
    void *arg;
    void (*on_done)(void *arg, struct work *w);                          /* the callee owns w */
    void (*on_swapped)(void *arg, struct version v, int64_t stall_ns);   /* v is what is drawn with from now on */
    void (*on_load_failed)(void *arg, enum err e);                       /* the image of worker_load was not taken; may be NULL */
    void (*on_fatal)(void *arg, enum err e, const struct why *why);      /* a step failed; the thread has ended */
};

/* Allocate two models and an engine on dev (borrowed), start the thread. The caller owns *ret_worker. */
enum err worker_create(struct loop *l, struct dev *dev, const struct dims *d, const struct engine_opts *o, const struct worker_events *ev,
                       struct worker **ret_worker, struct why *why) MUST_CHECK;
/* Ends the thread after the step it is in; work still inside is freed without a call. */
void worker_destroy(struct worker *w); /* NULL is a no-op */

const struct tensor_table *worker_table(const struct worker *w);

/* Takes the work on success. ERR_RANGE with words: it can never fit. ERR_BUSY: too many letters wait. */
enum err worker_submit(struct worker *w, struct work *x, struct why *why) MUST_CHECK;
void worker_abort(struct worker *w, struct work *x);
void worker_pause(struct worker *w, bool pause); /* running work stands still */

/* Pack this image (taken) and swap to it. ERR_BUSY: one is being packed or waits for its swap. */
enum err worker_load(struct worker *w, struct push_image *image, struct why *why) MUST_CHECK;

void worker_stats(struct worker *w, struct engine_stats *ret_stats);
/* Has the engine stood still in a step, or with work to do, for longer than this? */
bool worker_alive(struct worker *w, int64_t limit_ns);

#endif
