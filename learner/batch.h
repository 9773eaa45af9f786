// SPDX-License-Identifier: Apache-2.0
/* batch.h - samples to packed micro-batches of at most a budget of rows. Trainer thread.
 *
 * A sample is a prompt and one completion. All its tokens but the last are rows; the rows that predict a completion token are
 * the out rows. Samples are never cut: a micro-batch takes whole samples, in order, while they fit. Each sequence has its own
 * blocks of K and V in an identity table, so attention reads as it does in the rollout. */
#ifndef LEARNER_BATCH_H
#define LEARNER_BATCH_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/dev/batch.h"
#include "common/dev/dev.h"
#include "learner/kern/ops.h"

/* Borrows its arrays. */
struct sample {
    const int32_t *prompt;
    uint32_t n_prompt; /* > 0 */
    const int32_t *tok;
    uint32_t n_tok;          /* completion, > 0 */
    const float *old_lp;     /* [n_tok] under the policy that drew each; NULL: not needed (SFT, scoring) */
    const float *ref_lp;     /* [n_tok] under the reference; NULL when beta is 0 */
    const uint8_t *kind;     /* [n_tok] enum token_kind bits; NULL: all sampled */
    double adv;
    double weight; /* of each of its trained tokens: 1 / normaliser (loss.h) */
};

/* One micro-batch: host arrays, their device copies, and the outputs. */
struct micro {
    struct batch b;        /* device pointers */
    struct loss_rows rows; /* device pointers, [b.n_out] */
    uint32_t n_row, n_out, n_seq, n_block;
    uint32_t first_sample, n_sample; /* samples [first_sample, first_sample + n_sample) of the step */
};

/* Room for micro-batches of up to max_row rows; owns host and device memory. Borrows dev. */
struct batcher;
struct batcher_opts {
    uint32_t max_row; /* rows (tokens) of one micro-batch; a longer sample is ERR_RANGE */
    uint32_t max_seq; /* sequences of one micro-batch */
};
enum err batcher_create(struct dev *dev, const struct batcher_opts *o, struct batcher **ret_batcher, struct why *why) MUST_CHECK;
void batcher_destroy(struct batcher *b);

/* Blocks of K and V the largest micro-batch may need. */
uint32_t batcher_max_block(const struct batcher *b);

/* Pack samples s[first..n) until the budget is full; upload; *ret_micro borrows the batcher and is valid until the next call.
 * Tokens whose kind is not TOKEN_SAMPLED get target -1. ERR_RANGE: the sample alone exceeds the budget. */
enum err batcher_fill(struct batcher *b, const struct sample *s, uint32_t first, uint32_t n, struct micro *ret_micro,
                      struct why *why) MUST_CHECK;

/* Outputs of a micro-batch's loss head, on the host: out row j belongs to sample out_sample[j], token out_tok[j]. Borrows the
 * batcher; valid until the next fill or read. */
struct micro_out {
    uint32_t n;
    const uint32_t *sample, *tok;
    const float *lp, *entropy, *loss, *kl, *clipped;
};
enum err batcher_read(struct batcher *b, const struct micro *m, struct micro_out *ret_out) MUST_CHECK;

#endif
