// SPDX-License-Identifier: Apache-2.0
/* loss.h - how tokens are weighed against each other, and what a step reports of its loss. Pure, any thread.
 *
 * The loss of a step is a weighted sum over its trained tokens (learner/kern/ops.h); the weights are known before the first
 * micro-batch runs, so any cut into micro-batches gives the same sum. */
#ifndef LEARNER_LOSS_H
#define LEARNER_LOSS_H

#include <stdint.h>

#include "learner/batch.h"

/* TRL's loss_type. n: sequences of the step, len_i: trained tokens of sequence i, weight of each of its tokens:
 *   grpo     1 / (n len_i)              Shao et al. 2024, eq. 3
 *   bnpo     1 / sum len                TRL: token mean over the batch
 *   dapo     1 / sum len                Yu et al. 2025, eq. 8: token mean over the whole step, however it is cut
 *   dr_grpo  1 / (n max_completion_length)   Liu et al. 2025
 * bnpo and dapo differ in TRL only in whether the mean is taken per micro-batch; here a step is one batch, so they agree. */
enum loss_type { LOSS_TYPE_GRPO, LOSS_TYPE_BNPO, LOSS_TYPE_DR_GRPO, LOSS_TYPE_DAPO };

/* Trained tokens of a sample: those of kind TOKEN_SAMPLED. */
uint32_t loss_trained_tok(const struct sample *s);

/* Set s[i].weight for all n samples of a step. */
void loss_weigh(enum loss_type type, uint32_t max_completion_length, struct sample *s, uint32_t n);

/* Sums over a step's trained tokens, filled micro-batch after micro-batch in double, in order. */
struct loss_stats {
    double loss; /* the step's loss */
    double kl, entropy, clipped; /* sums: divide by n_tok */
    uint64_t n_tok;
};
void loss_stats_add(struct loss_stats *st, const struct sample *s, const struct micro_out *out);

#endif
