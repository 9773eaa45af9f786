// SPDX-License-Identifier: Apache-2.0
/* record.h - what is kept of a run: a line of metrics.jsonl per step, and run.db. Trainer thread. */
#ifndef LEARNER_RECORD_H
#define LEARNER_RECORD_H

#include <stdint.h>

#include "common/base/err.h"
#include "learner/group.h"

struct record;
struct step_batch;

/* One line of metrics.jsonl. NaN is written as null. */
struct step_metrics {
    uint64_t step, policy_version; /* steps done; the counter published after this step */
    uint32_t n_reward;
    const char *reward_name[MAX_REWARD];
    double reward_by_name[MAX_REWARD];
    double loss, lr, reward, reward_std, accuracy, kl, entropy, grad_norm, clip_frac;
    double completion_length, completion_length_min, completion_length_max;
    double truncated_frac, zero_variance_frac, mismatch_max, mismatch_tok, staleness;
    uint32_t n_mixed; /* completions drawn with more than one version */
    double gen_s, reward_s, train_s, push_s, step_s, tok_per_s;
};

/* Open the run folder's files, dropping everything after `step` (a resumed run). Borrows prompts. */
enum err record_open(const char *run_dir, uint64_t step, const struct prompts *prompts, const struct reward_list *rewards,
                     struct record **ret_record, struct why *why) MUST_CHECK;
enum err record_close(struct record *r, struct why *why) MUST_CHECK; /* NULL is a no-op */

/* A step's line, and its groups (NULL for sft). Step 0, the evaluation before the first step, has a line and no row in run.db. */
enum err record_step(struct record *r, const struct step_metrics *m, const struct step_batch *b, struct why *why) MUST_CHECK;

/* Down to the disk, so that a checkpoint never knows of steps that the books have lost. */
enum err record_sync(struct record *r, struct why *why) MUST_CHECK;

#endif
