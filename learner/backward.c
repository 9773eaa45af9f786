// SPDX-License-Identifier: Apache-2.0
#include "learner/backward.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/place.h"

static void place_weight(struct placer *p, const struct learner_ops *op, struct weight *w, const struct weight *like)
{
    w->n = like->n;
    w->k = like->k;
    w->data = place(p, op->pack_dx_bytes(like->n, like->k));
}

static void place_weights(struct backward *bw, struct placer *p)
{
    const struct model *m = bw->m;
    place_weight(p, bw->ops, &bw->head, &m->head);
    for (uint32_t i = 0; i < m->dims.n_layer; i++) {
        place_weight(p, bw->ops, &bw->layer[i].wqkv, &m->layer[i].wqkv);
        place_weight(p, bw->ops, &bw->layer[i].wo, &m->layer[i].wo);
        place_weight(p, bw->ops, &bw->layer[i].wgu, &m->layer[i].wgu);
        place_weight(p, bw->ops, &bw->layer[i].wdown, &m->layer[i].wdown);
    }
}

static void place_scratch(struct backward *bw, struct placer *p)
{
    const struct dims *d = &bw->m->dims;
    const uint64_t b = bw->max_row, q = (uint64_t)d->n_head * d->head_dim;
    const struct attn a = {d->n_head, d->n_head_kv, d->head_dim, 0, d->n_layer};
    struct backward_scratch *s = &bw->s;
    s->dy = place(p, b * d->n_embd * 2);
    s->dh = place(p, b * d->n_ff * 4);
    s->dgu = place(p, b * 2 * d->n_ff * 2);
    s->dn = place(p, b * d->n_embd * 4);
    s->dattn = place(p, b * q * 2);
    s->dqkv = place(p, b * (q + 2 * (uint64_t)d->n_head_kv * d->head_dim) * 2);
    s->work = place(p, bw->ops->attention_bwd_bytes(bw->max_row, &a));
}

enum err backward_init(struct backward *bw, const struct model *m, const struct learner_ops *ops, uint32_t max_row,
                       struct why *why)
{
    memset(bw, 0, sizeof *bw);
    bw->m = m;
    bw->ops = ops;
    bw->max_row = max_row;
    bw->layer = calloc(m->dims.n_layer, sizeof *bw->layer);
    enum err e = bw->layer ? ERR_OK : ERR_NOMEM;
    if (e) goto fail;
    struct placer weights = {0}, scratch = {0};
    place_weights(bw, &weights);
    place_scratch(bw, &scratch);
    TRY_GOTO(m->dev->mem->alloc(m->dev, weights.used, &bw->block), fail);
    TRY_GOTO(m->dev->mem->alloc(m->dev, scratch.used, &bw->scratch), fail);
    place_weights(bw, &(struct placer){.base = bw->block});
    place_scratch(bw, &(struct placer){.base = bw->scratch});
    return ERR_OK;
fail:
    backward_done(bw);
    return why_set(why, e, "backward pass of %u rows: %s", max_row, err_str(e));
}

void backward_done(struct backward *bw)
{
    if (!bw->m) return;
    struct dev *dev = bw->m->dev;
    if (bw->block) dev->mem->free(dev, bw->block);
    if (bw->scratch) dev->mem->free(dev, bw->scratch);
    free(bw->layer);
    memset(bw, 0, sizeof *bw);
}

/* Where (role, layer) starts in the flat order. */
static uint64_t at(const struct backward *bw, enum tensor_role role, uint32_t layer)
{
    return tensor_find(&bw->m->table, role, layer)->offset;
}

static enum tensor_role head_role(const struct backward *bw)
{
    return bw->m->dims.tied ? TENSOR_EMBED : TENSOR_LM_HEAD;
}

enum err backward_load(struct backward *bw, const uint16_t *image)
{
    struct dev *dev = bw->m->dev;
    TRY(bw->ops->pack_dx(dev, NULL, image + at(bw, head_role(bw), 0), &bw->head));
    for (uint32_t i = 0; i < bw->m->dims.n_layer; i++) {
        struct backward_weights *w = &bw->layer[i];
        TRY(bw->ops->pack_dx(dev, NULL, image + at(bw, TENSOR_WQ, i), &w->wqkv));
        TRY(bw->ops->pack_dx(dev, NULL, image + at(bw, TENSOR_WO, i), &w->wo));
        TRY(bw->ops->pack_dx(dev, NULL, image + at(bw, TENSOR_WGATE, i), &w->wgu));
        TRY(bw->ops->pack_dx(dev, NULL, image + at(bw, TENSOR_WDOWN, i), &w->wdown));
    }
    return ERR_OK;
}

enum err backward_head(struct backward *bw, struct stream *s, const struct batch *b, const float *x, uint32_t first, uint32_t n,
                       const uint16_t *norm, const float *rstd, const uint16_t *dlogits, float *dx, float *grad)
{
    const struct learner_ops *op = bw->ops;
    struct dev *dev = bw->m->dev;
    const struct dims *d = &bw->m->dims;
    TRY(op->matmul_dw(dev, s, dlogits, norm, n, d->n_vocab, d->n_embd, grad + at(bw, head_role(bw), 0)));
    TRY(op->matmul_dx(dev, s, dlogits, n, &bw->head, MATMUL_F32, bw->s.dn));
    return op->rmsnorm_bwd(dev, s, bw->s.dn, x, b->out + first, n, d->n_embd, bw->m->norm_f, rstd, dx,
                           grad + at(bw, TENSOR_NORM_F, 0));
}

/* x_out = x_mid + swiglu(norm2(x_mid) Wgu^T) Wdown^T */
static enum err backward_mlp(struct backward *bw, struct stream *s, uint32_t n, uint32_t layer, const struct act *act, float *dx,
                             float *grad)
{
    const struct learner_ops *op = bw->ops;
    struct dev *dev = bw->m->dev;
    const struct dims *d = &bw->m->dims;
    const struct backward_scratch *t = &bw->s;
    const uint32_t c = d->n_embd, f = d->n_ff;
    TRY(op->to_bf16(dev, s, dx, (uint64_t)n * c, t->dy));
    TRY(op->matmul_dw(dev, s, t->dy, act->h, n, c, f, grad + at(bw, TENSOR_WDOWN, layer)));
    TRY(op->matmul_dx(dev, s, t->dy, n, &bw->layer[layer].wdown, MATMUL_F32, t->dh));
    TRY(op->swiglu_bwd(dev, s, t->dh, act->gu, n, f, t->dgu));
    TRY(op->matmul_dw(dev, s, t->dgu, act->norm2, n, 2 * f, c, grad + at(bw, TENSOR_WGATE, layer)));
    TRY(op->matmul_dx(dev, s, t->dgu, n, &bw->layer[layer].wgu, MATMUL_F32, t->dn));
    return op->rmsnorm_bwd(dev, s, t->dn, act->x_mid, NULL, n, c, bw->m->layer[layer].norm2, act->rstd2, dx,
                           grad + at(bw, TENSOR_NORM2, layer));
}

/* x_mid = x_in + attention(norm1(x_in) Wqkv^T + b) Wo^T */
static enum err backward_attn(struct backward *bw, struct stream *s, const struct batch *b, uint32_t layer, const struct act *act,
                              float *dx, float *grad)
{
    const struct learner_ops *op = bw->ops;
    struct dev *dev = bw->m->dev;
    const struct dims *d = &bw->m->dims;
    const struct backward_scratch *t = &bw->s;
    const struct attn a = {d->n_head, d->n_head_kv, d->head_dim, layer, d->n_layer};
    const uint32_t n = b->n_row, c = d->n_embd, q = d->n_head * d->head_dim, qkv = bw->layer[layer].wqkv.n;
    TRY(op->to_bf16(dev, s, dx, (uint64_t)n * c, t->dy));
    TRY(op->matmul_dw(dev, s, t->dy, act->attn, n, c, q, grad + at(bw, TENSOR_WO, layer)));
    TRY(op->matmul_dx(dev, s, t->dy, n, &bw->layer[layer].wo, MATMUL_BF16, t->dattn));
    TRY(op->attention_bwd(dev, s, act->qkv, act->attn, t->dattn, act->lse, bw->m->rope, b, &a, t->work, t->dqkv));
    if (d->qkv_bias) TRY(op->bias_bwd(dev, s, t->dqkv, n, qkv, grad + at(bw, TENSOR_BQ, layer)));
    TRY(op->matmul_dw(dev, s, t->dqkv, act->norm1, n, qkv, c, grad + at(bw, TENSOR_WQ, layer)));
    TRY(op->matmul_dx(dev, s, t->dqkv, n, &bw->layer[layer].wqkv, MATMUL_F32, t->dn));
    return op->rmsnorm_bwd(dev, s, t->dn, act->x_in, NULL, n, c, bw->m->layer[layer].norm1, act->rstd1, dx,
                           grad + at(bw, TENSOR_NORM1, layer));
}

enum err backward_layer(struct backward *bw, struct stream *s, const struct batch *b, uint32_t layer, const struct act *act,
                        float *dx, float *grad)
{
    TRY(backward_mlp(bw, s, b->n_row, layer, act, dx, grad));
    return backward_attn(bw, s, b, layer, act, dx, grad);
}

enum err backward_embed(struct backward *bw, struct stream *s, const struct batch *b, const float *dx, float *grad)
{
    return bw->ops->embed_bwd(bw->m->dev, s, dx, b, bw->m->dims.n_vocab, bw->m->dims.n_embd, grad + at(bw, TENSOR_EMBED, 0));
}
