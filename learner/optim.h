// SPDX-License-Identifier: Apache-2.0
/* optim.h - master weights, gradients and AdamW state on the device, all in the canonical flat order. Trainer thread. */
#ifndef LEARNER_OPTIM_H
#define LEARNER_OPTIM_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/dev/dev.h"
#include "common/model/dims.h"
#include "learner/kern/ops.h"

/* TRL / transformers: lr_scheduler_type. W warm-up steps, T steps in all, step counts from 0 (transformers optimization.py):
 *   warm-up              lr step / W
 *   constant             lr
 *   linear               lr (T - step) / (T - W)
 *   cosine               lr (1 + cos(pi p)) / 2, p = (step - W) / (T - W)
 *   cosine_with_min_lr   lr (r + (1 - r) (1 + cos(pi p)) / 2), r = min_lr_rate */
enum lr_schedule { LR_CONSTANT, LR_LINEAR, LR_COSINE, LR_COSINE_MIN };
struct lr_opts {
    enum lr_schedule type;
    double learning_rate, min_lr_rate;
    uint64_t warmup_steps, max_steps;
};
double lr_at(const struct lr_opts *o, uint64_t step);

struct optim_opts {
    double adam_beta1, adam_beta2, adam_epsilon, weight_decay;
    double max_grad_norm; /* 0: no clipping */
};

struct optim {
    struct dev *dev;                   /* borrowed */
    const struct learner_ops *ops;
    const struct tensor_table *table;  /* borrowed */
    struct optim_opts o;
    uint64_t t;      /* updates done: the t of Adam's bias correction */
    float *master, *grad, *m, *v; /* [n_param] fp32 device */
    uint16_t *image; /* [n_param] bf16 device: round(master) */
    double *sum_sq;  /* [n_tensor] device */
    double *host_sum_sq;
};

/* Allocate for this table; everything zero. Borrows dev and table. */
enum err optim_init(struct optim *p, struct dev *dev, const struct learner_ops *ops, const struct tensor_table *table,
                    const struct optim_opts *o, struct why *why) MUST_CHECK;
void optim_done(struct optim *p); /* a zeroed struct is a no-op */

/* Take master weights (host fp32 [n_param]) and round them to the image; m, v and t stay. */
enum err optim_set_master(struct optim *p, const float *master) MUST_CHECK;

enum err optim_zero_grad(struct optim *p) MUST_CHECK;

/* One update from the summed gradients: norm over all tensors in order, clip factor min(1, max_grad_norm / (norm + 1e-6)) as
 * torch.nn.utils.clip_grad_norm_, AdamW; no decay on norms and biases (as transformers' Trainer). *ret_norm is the norm before
 * clipping. ERR_NONFINITE names the first tensor whose gradient is not finite; nothing has changed then. */
enum err optim_step(struct optim *p, double lr, double *ret_norm, struct why *why) MUST_CHECK;

#endif
