// SPDX-License-Identifier: Apache-2.0
/* trainer.c - a step reads top to bottom: for each micro-batch forward, loss head, backward; then norm, clip, AdamW, repack. */
#include "learner/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/place.h"
#include "common/model/forward.h"
#include "learner/backward.h"

/* Buffers for one micro-batch, device memory. */
struct work {
    float *x, *dx;                      /* [B, C] */
    uint16_t *norm;                     /* [chunk, C] */
    float *rstd, *logits, *inv_temp;    /* [chunk], [chunk, V], [chunk] */
    uint16_t *dlogits;                  /* [chunk, V] */
    double *sum_sq;                     /* [1] */
};

struct trainer {
    struct dev *dev;
    const struct learner_ops *ops;
    struct dims dims;
    struct trainer_opts o;
    struct model *policy, *reference, *other; /* other: a past version, packed when scored */
    struct optim optim;
    struct backward bw;
    struct batcher *batcher;
    struct kv kv;
    struct act *act; /* [L], each kept for the backward pass */
    void *act_block, *work_block;
    struct work w;
    uint32_t chunk; /* rows of the head at a time */
    float inv_temp; /* what w.inv_temp is filled with */
};

static void place_work(const struct trainer *t, struct placer *p, struct work *w)
{
    const uint64_t b = t->o.micro_batch_tokens, c = t->dims.n_embd, v = t->dims.n_vocab;
    w->x = place(p, b * c * 4);
    w->dx = place(p, b * c * 4);
    w->norm = place(p, t->chunk * c * 2);
    w->rstd = place(p, t->chunk * 4ull);
    w->inv_temp = place(p, t->chunk * 4ull);
    w->logits = place(p, t->chunk * v * 4);
    w->dlogits = place(p, t->chunk * v * 2);
    w->sum_sq = place(p, sizeof(double));
}

static enum err alloc_work(struct trainer *t)
{
    struct placer p = {0};
    place_work(t, &p, &t->w);
    TRY(t->dev->mem->alloc(t->dev, p.used, &t->work_block));
    place_work(t, &(struct placer){.base = t->work_block}, &t->w);
    return ERR_OK;
}

static enum err alloc_acts(struct trainer *t)
{
    const uint64_t one = act_bytes(&t->dims, t->o.micro_batch_tokens, true);
    t->act = calloc(t->dims.n_layer, sizeof *t->act);
    if (!t->act) return ERR_NOMEM;
    TRY(t->dev->mem->alloc(t->dev, one * t->dims.n_layer, &t->act_block));
    for (uint32_t i = 0; i < t->dims.n_layer; i++)
        act_place(&t->dims, t->o.micro_batch_tokens, true, (char *)t->act_block + i * one, &t->act[i]);
    return ERR_OK;
}

static enum err alloc_kv(struct trainer *t)
{
    const struct dims *d = &t->dims;
    t->kv.block_tok = KV_BLOCK_TOK;
    t->kv.n_block = batcher_max_block(t->batcher);
    t->kv.block_bytes = t->dev->ops->kv_block_bytes(d->n_layer, d->n_head_kv, d->head_dim);
    return t->dev->mem->alloc(t->dev, t->kv.block_bytes * t->kv.n_block, &t->kv.mem);
}

static uint32_t head_chunk(const struct trainer_opts *o, const struct dims *d)
{
    uint64_t rows = o->logits_bytes / ((uint64_t)d->n_vocab * 6);
    if (rows < 16) rows = 16;
    return rows < o->micro_batch_tokens ? (uint32_t)rows : o->micro_batch_tokens;
}

enum err trainer_create(struct dev *dev, const struct dims *dims, const struct trainer_opts *o, struct trainer **ret_trainer,
                        struct why *why)
{
    struct trainer *t = calloc(1, sizeof *t);
    if (!t) return ERR_NOMEM;
    t->dev = dev;
    t->dims = *dims;
    t->o = *o;
    t->chunk = head_chunk(o, dims);
    enum err e;
    TRY_GOTO(learner_ops_of(dev, &t->ops, why), fail);
    TRY_GOTO(model_create(dev, dims, &t->policy, why), fail);
    TRY_GOTO(optim_init(&t->optim, dev, t->ops, &t->policy->table, &o->optim, why), fail);
    TRY_GOTO(backward_init(&t->bw, t->policy, t->ops, o->micro_batch_tokens, why), fail);
    const struct batcher_opts bo = {o->micro_batch_tokens, o->micro_batch_seqs};
    TRY_GOTO(batcher_create(dev, &bo, &t->batcher, why), fail);
    e = alloc_work(t);
    if (!e) e = alloc_acts(t);
    if (!e) e = alloc_kv(t);
    if (e) {
        why_set(why, e, "activations of %u tokens: %s (lower micro_batch_tokens)", o->micro_batch_tokens, err_str(e));
        goto fail;
    }
    *ret_trainer = t;
    return ERR_OK;
fail:
    trainer_destroy(t);
    return e;
}

void trainer_destroy(struct trainer *t)
{
    if (!t) return;
    void *mem[] = {t->act_block, t->work_block, t->kv.mem};
    for (unsigned i = 0; i < sizeof mem / sizeof *mem; i++)
        if (mem[i]) t->dev->mem->free(t->dev, mem[i]);
    batcher_destroy(t->batcher);
    backward_done(&t->bw);
    optim_done(&t->optim);
    model_destroy(t->other);
    model_destroy(t->reference);
    model_destroy(t->policy);
    free(t->act);
    free(t);
}

const struct tensor_table *trainer_table(const struct trainer *t)
{
    return &t->policy->table;
}

static enum err repack(struct trainer *t)
{
    TRY(model_load(t->policy, t->optim.image));
    return backward_load(&t->bw, t->optim.image);
}

enum err trainer_set_master(struct trainer *t, const float *master)
{
    TRY(optim_set_master(&t->optim, master));
    return repack(t);
}

enum err trainer_get_image(struct trainer *t, uint16_t *ret_image)
{
    return t->dev->mem->copy_out(t->dev, NULL, ret_image, t->optim.image, t->policy->table.n_param * 2);
}

enum err trainer_get_state(struct trainer *t, float *master, float *m, float *v, uint64_t *ret_t)
{
    const uint64_t bytes = t->policy->table.n_param * 4;
    TRY(t->dev->mem->copy_out(t->dev, NULL, master, t->optim.master, bytes));
    TRY(t->dev->mem->copy_out(t->dev, NULL, m, t->optim.m, bytes));
    TRY(t->dev->mem->copy_out(t->dev, NULL, v, t->optim.v, bytes));
    *ret_t = t->optim.t;
    return ERR_OK;
}

enum err trainer_set_state(struct trainer *t, const float *master, const float *m, const float *v, uint64_t step_t)
{
    const uint64_t bytes = t->policy->table.n_param * 4;
    TRY(t->dev->mem->copy_in(t->dev, NULL, t->optim.m, m, bytes));
    TRY(t->dev->mem->copy_in(t->dev, NULL, t->optim.v, v, bytes));
    t->optim.t = step_t;
    return trainer_set_master(t, master);
}

enum err trainer_get_grad(struct trainer *t, float *ret_grad)
{
    return t->dev->mem->copy_out(t->dev, NULL, ret_grad, t->optim.grad, t->policy->table.n_param * 4);
}

/* Blocks of K and V read as zero where nothing was written. */
static enum err forward_all(struct trainer *t, const struct model *m, const struct micro *mi)
{
    TRY(t->dev->mem->zero(t->dev, NULL, t->kv.mem, t->kv.block_bytes * mi->n_block));
    TRY(forward_embed(m, NULL, &mi->b, t->w.x));
    for (uint32_t i = 0; i < t->dims.n_layer; i++) TRY(forward_layer(m, NULL, &mi->b, &t->kv, i, t->w.x, &t->act[i]));
    return ERR_OK;
}

static enum err is_finite(struct trainer *t, const float *x, uint64_t n, bool *ret)
{
    double ss = 0;
    TRY(t->ops->sum_sq(t->dev, NULL, x, n, t->w.sum_sq));
    TRY(t->dev->mem->copy_out(t->dev, NULL, &ss, t->w.sum_sq, sizeof ss));
    *ret = isfinite(ss);
    return ERR_OK;
}

/* Where the numbers stopped being finite: the first weight, else the first layer whose output is not, found by running the
 * micro-batch's forward pass once more. */
static enum err diagnose(struct trainer *t, const struct micro *mi, struct why *why)
{
    const struct tensor_table *tt = &t->policy->table;
    const uint64_t n_x = (uint64_t)mi->n_row * t->dims.n_embd;
    bool ok = true;
    for (uint32_t i = 0; i < tt->n; i++) {
        const struct tensor_info *ti = &tt->t[i];
        TRY(is_finite(t, t->optim.master + ti->offset, (uint64_t)ti->rows * ti->cols, &ok));
        if (!ok)
            return why_set(why, ERR_NONFINITE, "the loss is not finite: weight %s (layer %u) is not; the weights are kept",
                           ti->name, ti->layer);
    }
    TRY(forward_embed(t->policy, NULL, &mi->b, t->w.x));
    for (uint32_t i = 0; i < t->dims.n_layer; i++) {
        TRY(forward_layer(t->policy, NULL, &mi->b, &t->kv, i, t->w.x, &t->act[i]));
        TRY(is_finite(t, t->w.x, n_x, &ok));
        if (!ok)
            return why_set(why, ERR_NONFINITE, "the loss is not finite: the output of layer %u overflows, every weight is finite; the weights "
                           "are kept", i);
    }
    return why_set(why, ERR_NONFINITE, "the loss is not finite: hidden states are, so the logits or an input of the loss (old logprobs, "
                   "advantages) are not; the weights are kept");
}

static enum err check_finite(struct trainer *t, const struct micro *mi, const struct micro_out *out, struct why *why)
{
    for (uint32_t j = 0; j < out->n; j++)
        if (!isfinite(out->loss[j])) return diagnose(t, mi, why);
    return ERR_OK;
}

/* Forward, loss head in chunks with its backward, then the layers from the last to the first. */
static enum err run_micro(struct trainer *t, const struct micro *mi, const struct loss_opts *o)
{
    const struct work *w = &t->w;
    const struct model *m = t->policy;
    TRY(forward_all(t, m, mi));
    TRY(t->dev->mem->zero(t->dev, NULL, w->dx, (uint64_t)mi->n_row * t->dims.n_embd * 4));
    for (uint32_t first = 0; first < mi->n_out; first += t->chunk) {
        const uint32_t n = mi->n_out - first < t->chunk ? mi->n_out - first : t->chunk;
        const struct loss_rows *r = &mi->rows;
        const struct loss_rows part = {r->target + first, r->old_lp + first,  r->ref_lp + first, r->adv + first, r->weight + first,
                                       r->lp + first,     r->entropy + first, r->loss + first,   r->kl + first,  r->clipped + first};
        TRY(forward_head(m, NULL, &mi->b, w->x, first, n, w->norm, w->rstd, w->logits));
        TRY(t->ops->loss_head(t->dev, NULL, w->logits, n, t->dims.n_vocab, o, &part, w->dlogits));
        TRY(backward_head(&t->bw, NULL, &mi->b, w->x, first, n, w->norm, w->rstd, w->dlogits, w->dx, t->optim.grad));
    }
    for (uint32_t i = t->dims.n_layer; i-- > 0;)
        TRY(backward_layer(&t->bw, NULL, &mi->b, i, &t->act[i], w->dx, t->optim.grad));
    return backward_embed(&t->bw, NULL, &mi->b, w->dx, t->optim.grad);
}

/* lp of a micro-batch to its place in the flat output; offset: tokens of the samples before it. */
static uint64_t scatter(const struct micro *mi, const struct sample *s, const float *lp, uint64_t offset, float *ret_lp)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < mi->n_sample; i++) n += s[mi->first_sample + i].n_tok;
    if (ret_lp) memcpy(ret_lp + offset, lp, n * sizeof *lp); /* out rows stand in sample order */
    return offset + n;
}

enum err trainer_grad(struct trainer *t, const struct sample *s, uint32_t n, const struct loss_opts *o, float *ret_lp,
                      struct step_result *ret, struct why *why)
{
    struct step_result r = {0};
    uint64_t offset = 0;
    TRY(optim_zero_grad(&t->optim));
    for (uint32_t first = 0; first < n;) {
        struct micro mi;
        struct micro_out out;
        TRY(batcher_fill(t->batcher, s, first, n, &mi, why));
        TRY(run_micro(t, &mi, o));
        TRY(batcher_read(t->batcher, &mi, &out));
        TRY(check_finite(t, &mi, &out, why));
        loss_stats_add(&r.loss, s, &out);
        offset = scatter(&mi, s, out.lp, offset, ret_lp);
        first += mi.n_sample;
        r.n_micro++;
        r.n_row += mi.n_row;
    }
    *ret = r;
    return ERR_OK;
}

enum err trainer_step(struct trainer *t, const struct sample *s, uint32_t n, const struct loss_opts *o, double lr,
                      float *ret_lp, struct step_result *ret, struct why *why)
{
    TRY(trainer_grad(t, s, n, o, ret_lp, ret, why));
    TRY(optim_step(&t->optim, lr, &ret->grad_norm, why));
    return repack(t);
}

static enum err fill_inv_temp(struct trainer *t, float inv_temp)
{
    if (t->inv_temp == inv_temp) return ERR_OK;
    float *h = malloc(t->chunk * sizeof *h);
    if (!h) return ERR_NOMEM;
    for (uint32_t i = 0; i < t->chunk; i++) h[i] = inv_temp;
    enum err e = t->dev->mem->copy_in(t->dev, NULL, t->w.inv_temp, h, t->chunk * sizeof *h);
    free(h);
    if (!e) t->inv_temp = inv_temp;
    return e;
}

static enum err score_micro(struct trainer *t, const struct model *m, const struct micro *mi)
{
    const struct work *w = &t->w;
    TRY(forward_all(t, m, mi));
    for (uint32_t first = 0; first < mi->n_out; first += t->chunk) {
        const uint32_t n = mi->n_out - first < t->chunk ? mi->n_out - first : t->chunk;
        TRY(forward_head(m, NULL, &mi->b, w->x, first, n, w->norm, NULL, w->logits));
        TRY(t->dev->ops->logprob(t->dev, NULL, w->logits, n, t->dims.n_vocab, w->inv_temp, mi->rows.target + first,
                                 mi->rows.lp + first, NULL));
    }
    return ERR_OK;
}

static enum err score(struct trainer *t, const struct model *m, const struct sample *s, uint32_t n, float inv_temp, float *ret_lp,
                      struct why *why)
{
    uint64_t offset = 0;
    TRY(fill_inv_temp(t, inv_temp));
    for (uint32_t first = 0; first < n;) {
        struct micro mi;
        struct micro_out out;
        TRY(batcher_fill(t->batcher, s, first, n, &mi, why));
        TRY(score_micro(t, m, &mi));
        TRY(batcher_read(t->batcher, &mi, &out));
        offset = scatter(&mi, s, out.lp, offset, ret_lp);
        first += mi.n_sample;
    }
    return ERR_OK;
}

enum err trainer_score(struct trainer *t, const uint16_t *image, const struct sample *s, uint32_t n, float inv_temp,
                       float *ret_lp, struct why *why)
{
    if (!image) return score(t, t->policy, s, n, inv_temp, ret_lp, why);
    if (!t->other) TRY(model_create(t->dev, &t->dims, &t->other, why));
    TRY(model_load(t->other, image));
    return score(t, t->other, s, n, inv_temp, ret_lp, why);
}

enum err trainer_set_reference(struct trainer *t, const uint16_t *image, struct why *why)
{
    if (!t->reference) TRY(model_create(t->dev, &t->dims, &t->reference, why));
    return model_load(t->reference, image);
}

enum err trainer_score_reference(struct trainer *t, const struct sample *s, uint32_t n, float inv_temp, float *ret_lp,
                                 struct why *why)
{
    if (!t->reference) return why_set(why, ERR_INVAL, "no reference model is loaded");
    return score(t, t->reference, s, n, inv_temp, ret_lp, why);
}
