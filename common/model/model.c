// SPDX-License-Identifier: Apache-2.0
/* model.c - a device's packed copy of one weight image: one block of device memory, laid out once. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/place.h"
#include "common/model/forward.h"

static void place_weight(struct placer *p, const struct ops *op, struct weight *w, uint32_t n, uint32_t k)
{
    w->n = n;
    w->k = k;
    w->data = place(p, op->pack_bytes(n, k));
}

/* Lays out everything but the layer array itself (host memory). */
static void place_all(struct model *m, struct placer *p)
{
    const struct dims *d = &m->dims;
    const struct ops *op = m->dev->ops;
    const uint32_t q = d->n_head * d->head_dim, qkv = q + 2 * d->n_head_kv * d->head_dim;
    place_weight(p, op, &m->embed, d->n_vocab, d->n_embd);
    if (d->tied)
        m->head = m->embed;
    else
        place_weight(p, op, &m->head, d->n_vocab, d->n_embd);
    m->norm_f = place(p, (uint64_t)d->n_embd * 2);
    m->rope = place(p, (uint64_t)d->max_pos * d->head_dim * sizeof(float));
    for (uint32_t i = 0; i < d->n_layer; i++) {
        struct layer_weights *w = &m->layer[i];
        w->norm1 = place(p, (uint64_t)d->n_embd * 2);
        place_weight(p, op, &w->wqkv, qkv, d->n_embd);
        w->bqkv = d->qkv_bias ? place(p, (uint64_t)qkv * 2) : NULL;
        place_weight(p, op, &w->wo, d->n_embd, q);
        w->norm2 = place(p, (uint64_t)d->n_embd * 2);
        place_weight(p, op, &w->wgu, 2 * d->n_ff, d->n_embd);
        place_weight(p, op, &w->wdown, d->n_embd, d->n_ff);
    }
}

uint64_t model_bytes(const struct dev *dev, const struct dims *dims)
{
    struct model m = {.dev = (struct dev *)dev, .dims = *dims};
    m.layer = calloc(dims->n_layer, sizeof *m.layer);
    if (!m.layer) return 0;
    struct placer p = {0};
    place_all(&m, &p);
    free(m.layer);
    return p.used;
}

/* cos and sin of pos * theta^(-2i/D), computed in double and stored as fp32 (Su et al. 2021; transformers computes the
 * angle in fp32, which differs by less than one fp32 ulp of the angle). */
static enum err fill_rope(struct model *m)
{
    const struct dims *d = &m->dims;
    const uint32_t half = d->head_dim / 2;
    const uint64_t bytes = (uint64_t)d->max_pos * half * 2 * sizeof(float);
    float *t = malloc(bytes);
    if (!t) return ERR_NOMEM;
    for (uint32_t i = 0; i < half; i++) {
        const double freq = pow((double)d->rope_theta, -2.0 * i / d->head_dim);
        for (uint32_t pos = 0; pos < d->max_pos; pos++) {
            float *cs = t + ((uint64_t)pos * half + i) * 2;
            cs[0] = (float)cos(pos * freq);
            cs[1] = (float)sin(pos * freq);
        }
    }
    enum err e = m->dev->mem->copy_in(m->dev, NULL, m->rope, t, bytes);
    free(t);
    return e;
}

enum err model_create(struct dev *dev, const struct dims *dims, struct model **ret_model, struct why *why)
{
    TRY(dims_check(dims, why));
    struct model *m = calloc(1, sizeof *m);
    if (!m) return why_set(why, ERR_NOMEM, "model: out of memory");
    m->dev = dev;
    m->dims = *dims;
    enum err e = tensor_table_init(dims, &m->table);
    if (e) goto fail;
    m->layer = calloc(dims->n_layer, sizeof *m->layer);
    e = m->layer ? ERR_OK : ERR_NOMEM;
    if (e) goto fail;
    m->block_bytes = model_bytes(dev, dims);
    TRY_GOTO(dev->mem->alloc(dev, m->block_bytes, &m->block), fail);
    struct placer p = {.base = m->block};
    place_all(m, &p);
    TRY_GOTO(fill_rope(m), fail);
    *ret_model = m;
    return ERR_OK;
fail:
    why_set(why, e, "model of %llu parameters on %s: %s", (unsigned long long)m->table.n_param, dev->name, err_str(e));
    model_destroy(m);
    return e;
}

void model_destroy(struct model *m)
{
    if (!m) return;
    if (m->block) m->dev->mem->free(m->dev, m->block);
    tensor_table_done(&m->table);
    free(m->layer);
    free(m);
}

/* The image's elements of (role, layer). */
static const uint16_t *at(const struct model *m, const uint16_t *image, enum tensor_role role, uint32_t layer)
{
    return image + tensor_find(&m->table, role, layer)->offset;
}

static enum err load_vector(struct model *m, uint16_t *dst, const uint16_t *src, uint32_t n)
{
    return m->dev->mem->copy_in(m->dev, NULL, dst, src, (uint64_t)n * 2);
}

static enum err load_layer(struct model *m, const uint16_t *image, uint32_t i)
{
    const struct dims *d = &m->dims;
    const struct ops *op = m->dev->ops;
    struct layer_weights *w = &m->layer[i];
    TRY(load_vector(m, w->norm1, at(m, image, TENSOR_NORM1, i), d->n_embd));
    TRY(op->pack(m->dev, NULL, at(m, image, TENSOR_WQ, i), &w->wqkv)); /* q, k, v stand together */
    if (w->bqkv) TRY(load_vector(m, w->bqkv, at(m, image, TENSOR_BQ, i), w->wqkv.n));
    TRY(op->pack(m->dev, NULL, at(m, image, TENSOR_WO, i), &w->wo));
    TRY(load_vector(m, w->norm2, at(m, image, TENSOR_NORM2, i), d->n_embd));
    TRY(op->pack(m->dev, NULL, at(m, image, TENSOR_WGATE, i), &w->wgu)); /* gate, up */
    return op->pack(m->dev, NULL, at(m, image, TENSOR_WDOWN, i), &w->wdown);
}

enum err model_load(struct model *m, const uint16_t *image)
{
    const struct ops *op = m->dev->ops;
    TRY(op->pack(m->dev, NULL, at(m, image, TENSOR_EMBED, 0), &m->embed));
    if (!m->dims.tied) TRY(op->pack(m->dev, NULL, at(m, image, TENSOR_LM_HEAD, 0), &m->head));
    TRY(load_vector(m, m->norm_f, at(m, image, TENSOR_NORM_F, 0), m->dims.n_embd));
    for (uint32_t i = 0; i < m->dims.n_layer; i++) TRY(load_layer(m, image, i));
    return ERR_OK;
}
