// SPDX-License-Identifier: Apache-2.0
/* forward.c - the forward pass as a list of operations; every rounding point is the op's own (common/dev/ops.h). */
#include "common/model/forward.h"

#include <string.h>

#include "common/base/place.h"

static uint32_t q_width(const struct dims *d)
{
    return d->n_head * d->head_dim;
}

static uint32_t qkv_width(const struct dims *d)
{
    return (d->n_head + 2 * d->n_head_kv) * d->head_dim;
}

static void place_act(const struct dims *d, uint32_t n_row, bool save, struct placer *p, struct act *a)
{
    const uint64_t b = n_row, c = d->n_embd;
    memset(a, 0, sizeof *a);
    a->norm1 = place(p, b * c * 2);
    a->qkv = place(p, b * qkv_width(d) * 2);
    a->attn = place(p, b * q_width(d) * 2);
    a->norm2 = place(p, b * c * 2);
    a->gu = place(p, b * 2 * d->n_ff * 2);
    a->h = place(p, b * d->n_ff * 2);
    if (!save) return;
    a->x_in = place(p, b * c * 4);
    a->rstd1 = place(p, b * 4);
    a->lse = place(p, b * d->n_head * 4);
    a->x_mid = place(p, b * c * 4);
    a->rstd2 = place(p, b * 4);
}

uint64_t act_bytes(const struct dims *d, uint32_t n_row, bool save)
{
    struct placer p = {0};
    struct act a;
    place_act(d, n_row, save, &p, &a);
    return p.used;
}

void act_place(const struct dims *d, uint32_t n_row, bool save, void *mem, struct act *ret_act)
{
    struct placer p = {.base = mem};
    place_act(d, n_row, save, &p, ret_act);
}

enum err forward_embed(const struct model *m, struct stream *s, const struct batch *b, float *x)
{
    return m->dev->ops->embed(m->dev, s, &m->embed, b, x);
}

static enum err keep(const struct model *m, struct stream *s, float *dst, const float *x, uint32_t n_row)
{
    if (!dst) return ERR_OK;
    return m->dev->mem->copy(m->dev, s, dst, x, (uint64_t)n_row * m->dims.n_embd * sizeof *x);
}

enum err forward_layer(const struct model *m, struct stream *s, const struct batch *b, const struct kv *kv, uint32_t layer,
                       float *x, const struct act *act)
{
    const struct dims *d = &m->dims;
    const struct layer_weights *w = &m->layer[layer];
    const struct ops *op = m->dev->ops;
    struct dev *dev = m->dev;
    const struct attn at = {d->n_head, d->n_head_kv, d->head_dim, layer, d->n_layer};
    const uint32_t n = b->n_row;

    TRY(keep(m, s, act->x_in, x, n));
    TRY(op->rmsnorm(dev, s, x, NULL, n, d->n_embd, w->norm1, d->rms_eps, act->norm1, act->rstd1));
    TRY(op->matmul(dev, s, act->norm1, n, &w->wqkv, w->bqkv, MATMUL_BF16, act->qkv));
    TRY(op->rope_kv(dev, s, act->qkv, m->rope, b, &at, kv));
    TRY(op->attention(dev, s, act->qkv, b, &at, kv, act->attn, act->lse));
    TRY(op->matmul(dev, s, act->attn, n, &w->wo, NULL, MATMUL_F32_ADD, x));

    TRY(keep(m, s, act->x_mid, x, n));
    TRY(op->rmsnorm(dev, s, x, NULL, n, d->n_embd, w->norm2, d->rms_eps, act->norm2, act->rstd2));
    TRY(op->matmul(dev, s, act->norm2, n, &w->wgu, NULL, MATMUL_BF16, act->gu));
    TRY(op->swiglu(dev, s, act->gu, n, d->n_ff, act->h));
    return op->matmul(dev, s, act->h, n, &w->wdown, NULL, MATMUL_F32_ADD, x);
}

enum err forward_head(const struct model *m, struct stream *s, const struct batch *b, const float *x, uint32_t first,
                      uint32_t n, uint16_t *norm, float *rstd, float *logits)
{
    const struct ops *op = m->dev->ops;
    TRY(op->rmsnorm(m->dev, s, x, b->out + first, n, m->dims.n_embd, m->norm_f, m->dims.rms_eps, norm, rstd));
    return op->matmul(m->dev, s, norm, n, &m->head, NULL, MATMUL_F32, logits);
}
