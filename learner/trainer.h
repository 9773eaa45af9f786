// SPDX-License-Identifier: Apache-2.0
/* trainer.h - one policy update: samples in, new weights out. Owns the device's weights, activations and optimiser state;
 * knows nothing of groups, rewards or nodes. Trainer thread only.
 *
 * A step is deterministic: the same samples in the same order give the same bits, on any number of threads. */
#ifndef LEARNER_TRAINER_H
#define LEARNER_TRAINER_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/dev/dev.h"
#include "common/model/dims.h"
#include "learner/batch.h"
#include "learner/loss.h"
#include "learner/optim.h"

struct trainer;

struct trainer_opts {
    struct optim_opts optim;
    uint32_t micro_batch_tokens; /* rows of one micro-batch: bounds activations; a sample must fit */
    uint32_t micro_batch_seqs;   /* sequences of one micro-batch */
    uint64_t logits_bytes;       /* bound on the head's logits; rows per chunk follow from it */
};

/* Allocate everything for this model; weights are zero until trainer_set_master. Borrows dev. The caller owns *ret_trainer. */
enum err trainer_create(struct dev *dev, const struct dims *dims, const struct trainer_opts *o, struct trainer **ret_trainer,
                        struct why *why) MUST_CHECK;
void trainer_destroy(struct trainer *t); /* NULL is a no-op */

const struct tensor_table *trainer_table(const struct trainer *t);

/* Weights in (host fp32 [n_param]); Adam's state is kept. And the present image out (host bf16 [n_param]). */
enum err trainer_set_master(struct trainer *t, const float *master) MUST_CHECK;
enum err trainer_get_image(struct trainer *t, uint16_t *ret_image) MUST_CHECK;

/* The whole optimiser state, for checkpoints: host fp32 [n_param] each, and Adam's step count. */
enum err trainer_get_state(struct trainer *t, float *master, float *m, float *v, uint64_t *ret_t) MUST_CHECK;
enum err trainer_set_state(struct trainer *t, const float *master, const float *m, const float *v, uint64_t step_t) MUST_CHECK;

/* Logprobs of every completion token of s[0..n) under an image (host bf16; NULL: the present weights), at inv_temp. ret_lp is flat:
 * sample after sample, n_tok each. The bits are those the rollout reports for the same weights and tokens. */
enum err trainer_score(struct trainer *t, const uint16_t *image, const struct sample *s, uint32_t n, float inv_temp,
                       float *ret_lp, struct why *why) MUST_CHECK;

/* The frozen reference: packed once, scored like an image. Needed only when beta is not 0. */
enum err trainer_set_reference(struct trainer *t, const uint16_t *image, struct why *why) MUST_CHECK;
enum err trainer_score_reference(struct trainer *t, const struct sample *s, uint32_t n, float inv_temp, float *ret_lp,
                                 struct why *why) MUST_CHECK;

struct step_result {
    struct loss_stats loss;
    double grad_norm;
    uint32_t n_micro;
    uint64_t n_row; /* tokens computed */
};

/* One update from samples whose weights are set (loss_weigh). ret_lp (may be NULL): logprobs before the update, flat as above.
 * ERR_NONFINITE: the words name the tensor or the layer; weights and optimiser are as before. ERR_RANGE: a sample is longer than a
 * micro-batch. */
enum err trainer_step(struct trainer *t, const struct sample *s, uint32_t n, const struct loss_opts *o, double lr,
                      float *ret_lp, struct step_result *ret, struct why *why) MUST_CHECK;

/* Gradients only, added up over micro-batches and left for trainer_get_grad: for tests. */
enum err trainer_grad(struct trainer *t, const struct sample *s, uint32_t n, const struct loss_opts *o, float *ret_lp,
                      struct step_result *ret, struct why *why) MUST_CHECK;
enum err trainer_get_grad(struct trainer *t, float *ret_grad) MUST_CHECK;

#endif
