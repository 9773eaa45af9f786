// SPDX-License-Identifier: Apache-2.0
#include "learner/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>


double lr_at(const struct lr_opts *o, uint64_t step)
{
    const double lr = o->learning_rate;
    if (step < o->warmup_steps) return lr * (double)step / (double)o->warmup_steps;
    if (o->type == LR_CONSTANT) return lr;
    const double span = o->max_steps > o->warmup_steps ? (double)(o->max_steps - o->warmup_steps) : 1;
    double p = (double)(step - o->warmup_steps) / span;
    if (p > 1) p = 1;
    if (o->type == LR_LINEAR) return lr * (1 - p);
    const double r = o->type == LR_COSINE_MIN ? o->min_lr_rate : 0;
    return lr * (r + (1 - r) * 0.5 * (1 + cos(M_PI * p)));
}

enum err optim_init(struct optim *p, struct dev *dev, const struct learner_ops *ops, const struct tensor_table *table,
                    const struct optim_opts *o, struct why *why)
{
    memset(p, 0, sizeof *p);
    p->dev = dev;
    p->ops = ops;
    p->table = table;
    p->o = *o;
    const uint64_t n = table->n_param;
    enum err e;
    void **f32[] = {(void **)&p->master, (void **)&p->grad, (void **)&p->m, (void **)&p->v};
    for (unsigned i = 0; i < 4; i++) TRY_GOTO(dev->mem->alloc(dev, n * 4, f32[i]), fail);
    TRY_GOTO(dev->mem->alloc(dev, n * 2, (void **)&p->image), fail);
    TRY_GOTO(dev->mem->alloc(dev, table->n * sizeof(double), (void **)&p->sum_sq), fail);
    p->host_sum_sq = calloc(table->n, sizeof(double));
    e = p->host_sum_sq ? ERR_OK : ERR_NOMEM;
    if (e) goto fail;
    return ERR_OK;
fail:
    optim_done(p);
    return why_set(why, e, "optimiser state of %llu parameters (18 bytes each): %s", (unsigned long long)n, err_str(e));
}

void optim_done(struct optim *p)
{
    if (!p->dev) return;
    void *mem[] = {p->master, p->grad, p->m, p->v, p->image, p->sum_sq};
    for (unsigned i = 0; i < sizeof mem / sizeof *mem; i++)
        if (mem[i]) p->dev->mem->free(p->dev, mem[i]);
    free(p->host_sum_sq);
    memset(p, 0, sizeof *p);
}

enum err optim_set_master(struct optim *p, const float *master)
{
    const uint64_t n = p->table->n_param;
    TRY(p->dev->mem->copy_in(p->dev, NULL, p->master, master, n * 4));
    return p->ops->to_bf16(p->dev, NULL, p->master, n, p->image);
}

enum err optim_zero_grad(struct optim *p)
{
    return p->dev->mem->zero(p->dev, NULL, p->grad, p->table->n_param * 4);
}

static uint64_t tensor_len(const struct tensor_info *t)
{
    return (uint64_t)t->rows * t->cols;
}

static enum err grad_norm(struct optim *p, double *ret_norm, struct why *why)
{
    const struct tensor_table *tt = p->table;
    for (uint32_t i = 0; i < tt->n; i++)
        TRY(p->ops->sum_sq(p->dev, NULL, p->grad + tt->t[i].offset, tensor_len(&tt->t[i]), p->sum_sq + i));
    TRY(p->dev->mem->copy_out(p->dev, NULL, p->host_sum_sq, p->sum_sq, tt->n * sizeof(double)));
    double sum = 0;
    for (uint32_t i = 0; i < tt->n; i++) {
        if (!isfinite(p->host_sum_sq[i]))
            return why_set(why, ERR_NONFINITE, "the gradient of %s (layer %u) is not finite; the weights are kept",
                           tt->t[i].name, tt->t[i].layer);
        sum += p->host_sum_sq[i];
    }
    *ret_norm = sqrt(sum);
    return ERR_OK;
}

enum err optim_step(struct optim *p, double lr, double *ret_norm, struct why *why)
{
    double norm = 0;
    TRY(grad_norm(p, &norm, why));
    double scale = 1;
    if (p->o.max_grad_norm > 0) scale = fmin(1, p->o.max_grad_norm / (norm + 1e-6));
    p->t++;
    const struct adamw a = {
        .lr = (float)lr,
        .beta1 = (float)p->o.adam_beta1,
        .beta2 = (float)p->o.adam_beta2,
        .eps = (float)p->o.adam_epsilon,
        .weight_decay = (float)p->o.weight_decay,
        .bias1 = (float)(1 - pow(p->o.adam_beta1, (double)p->t)),
        .bias2 = (float)(1 - pow(p->o.adam_beta2, (double)p->t)),
        .grad_scale = (float)scale,
    };
    for (uint32_t i = 0; i < p->table->n; i++) {
        const struct tensor_info *t = &p->table->t[i];
        const uint64_t o = t->offset;
        TRY(p->ops->adamw(p->dev, NULL, &a, !t->is_vector, tensor_len(t), p->grad + o, p->m + o, p->v + o, p->master + o,
                          p->image + o));
    }
    *ret_norm = norm;
    return ERR_OK;
}
