// SPDX-License-Identifier: Apache-2.0
/* train.h - the trainer thread: the run, step by step. Talks to the loop by letters only.
 *
 *   for each step: groups -> rewards to advantages -> loss -> update -> publish -> record -> evaluate -> save
 *
 * The loop is asked for groups by saying which steps may be dispatched; they come back whole, in order of steps, sorted by job. */
#ifndef LEARNER_TRAIN_H
#define LEARNER_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/queue.h"
#include "common/push/push.h"
#include "learner/conf.h"
#include "learner/group.h"
#include "learner/record.h"
#include "learner/trainer.h"

struct service;

/* All groups of one step, or of one evaluation. */
struct step_batch {
    uint64_t step;
    bool eval;
    uint32_t n;
    struct group **group; /* sorted by job id */
    int64_t begun_ns;     /* first job given out */
};
void step_batch_destroy(struct step_batch *b);

/* What the trainer may call on the loop; each posts a letter. */
struct train_calls {
    struct service *service;
    /* Weights of version `counter` are published; training jobs of steps below `steps` may be dispatched. */
    void (*published)(struct service *s, uint64_t counter, uint64_t steps);
    void (*evaluate)(struct service *s, uint64_t round, uint64_t counter);
    void (*progress)(struct service *s, const struct step_metrics *m); /* copied */
    void (*ended)(struct service *s, enum err e, const struct why *why, const char *summary);
};

struct train {
    const struct learner_conf *conf;
    const struct dims *dims;
    struct dev *dev;
    struct trainer *trainer;
    struct push_source *source;
    struct prompts *data;       /* sft draws from it; the loop draws for grpo */
    const struct reward_list *rewards;
    const struct tokenizer *tok;
    struct record *record;
    uint64_t incarnation;
    struct train_calls calls;
    struct queue *train_q, *eval_q; /* struct step_batch *; closed: stop */
    bool *stop;                     /* set by the loop: finish the step and save (atomic) */
    uint64_t step, saved;           /* steps done; those that a checkpoint or the starting model holds */
    double accuracy, first_accuracy, first_reward, last_reward;
    int32_t eos;
    int64_t started_ns;
};

/* The whole run; ends with calls.ended. For pthread_create. */
void *train_main(void *train);

/* Start weights: the newest checkpoint of run_dir when resume is set, else conf->model, and then older checkpoints go. Sets step. */
enum err train_load(struct train *t, struct why *why) MUST_CHECK;

/* Has the run got to its end, by max_steps or stop_accuracy? */
bool train_is_finished(const struct train *t);

#endif
