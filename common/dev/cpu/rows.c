// SPDX-License-Identifier: Apache-2.0
/* rows.c - ops that walk rows: rmsnorm, swiglu, rope_kv. C and F are multiples of 32, D of 16, so vectors never end early. */
#include "common/base/bf16.h"
#include "common/dev/cpu/isa.h"
#include "common/dev/par.h"

struct norm {
    const float *x;
    const int32_t *row;
    uint32_t c;
    const uint16_t *w;
    float eps;
    uint16_t *y;
    float *rstd;
};

static void norm_rows(void *v, uint32_t begin, uint32_t end)
{
    const struct norm *n = v;
    for (uint32_t r = begin; r < end; r++) {
        const float *x = n->x + (uint64_t)(n->row ? (uint32_t)n->row[r] : r) * n->c;
        uint16_t *y = n->y + (uint64_t)r * n->c;
        vf ss = vf_zero();
        for (uint32_t i = 0; i < n->c; i += 16) {
            const vf t = vf_load(x + i);
            ss = vf_fma(t, t, ss);
        }
        const float rstd = 1.0f / sqrtf(vf_sum(ss) / (float)n->c + n->eps);
        const vf scale = vf_set1(rstd);
        for (uint32_t i = 0; i < n->c; i += 16)
            vf_to_bf16(y + i, vf_mul(vf_mul(vf_load(x + i), scale), vf_from_bf16(n->w + i)));
        if (n->rstd) n->rstd[r] = rstd;
    }
}

enum err CPU_FN(rmsnorm)(struct dev *d, struct stream *s, const float *x, const int32_t *row, uint32_t m, uint32_t c,
                         const uint16_t *w, float eps, uint16_t *y, float *rstd)
{
    (void)s;
    struct norm n = {x, row, c, w, eps, y, rstd};
    par_for(d, m, (uint64_t)m * c * 4, norm_rows, &n);
    return ERR_OK;
}

struct glu {
    const uint16_t *gu;
    uint16_t *h;
    uint32_t f;
};

static void glu_rows(void *v, uint32_t begin, uint32_t end)
{
    const struct glu *p = v;
    const vf one = vf_set1(1);
    for (uint32_t r = begin; r < end; r++) {
        const uint16_t *g = p->gu + (uint64_t)r * 2 * p->f, *u = g + p->f;
        uint16_t *h = p->h + (uint64_t)r * p->f;
        for (uint32_t i = 0; i < p->f; i += 16) {
            const vf x = vf_from_bf16(g + i);
            const vf silu = vf_div(x, vf_add(one, vf_exp(vf_sub(vf_zero(), x))));
            vf_to_bf16(h + i, vf_mul(silu, vf_from_bf16(u + i)));
        }
    }
}

enum err CPU_FN(swiglu)(struct dev *d, struct stream *s, const uint16_t *gu, uint32_t m, uint32_t f, uint16_t *h)
{
    (void)s;
    struct glu p = {gu, h, f};
    par_for(d, m, (uint64_t)m * f * 4, glu_rows, &p);
    return ERR_OK;
}

struct rope {
    uint16_t *qkv;
    const float *table;
    const struct batch *b;
    const struct attn *a;
    const struct kv *kv;
};

/* Rotate one head in place. cs: cos, sin of this position. D/2 need not be a multiple of 16: what is left over is done one by one. */
static inline void rotate(uint16_t *h, const float *cs, uint32_t half)
{
    uint32_t i = 0;
    for (; i + 16 <= half; i += 16) {
        const vf lo = vf_from_bf16(h + i), hi = vf_from_bf16(h + i + half);
        vf c, s;
        vf_split(cs + 2 * i, &c, &s);
        vf_to_bf16(h + i, vf_sub(vf_mul(lo, c), vf_mul(hi, s)));
        vf_to_bf16(h + i + half, vf_add(vf_mul(hi, c), vf_mul(lo, s)));
    }
    for (; i < half; i++) {
        const float lo = bf16_to_f32(h[i]), hi = bf16_to_f32(h[i + half]), c = cs[2 * i], s = cs[2 * i + 1];
        h[i] = bf16_from_f32(lo * c - hi * s);
        h[i + half] = bf16_from_f32(hi * c + lo * s);
    }
}

static inline void store_kv(const struct rope *p, uint32_t r, const uint16_t *k, const uint16_t *v)
{
    const int32_t slot = p->b->slot[r];
    if (slot < 0) return;
    const uint32_t dim = p->a->head_dim, t = (uint32_t)slot % KV_BLOCK_TOK;
    for (uint32_t h = 0; h < p->a->n_head_kv; h++, k += dim, v += dim) {
        uint16_t *kd = kv_at(p->kv, p->a, slot / KV_BLOCK_TOK, 0, h) + t * 2;
        uint16_t *vd = kv_at(p->kv, p->a, slot / KV_BLOCK_TOK, 1, h) + (uint64_t)(t / 2) * dim * 2 + t % 2;
        for (uint32_t i = 0; i < dim; i += 2) memcpy(kd + (uint64_t)i * KV_BLOCK_TOK, k + i, 4);
        for (uint32_t i = 0; i < dim; i++) vd[(uint64_t)i * 2] = v[i];
    }
}

static void rope_rows(void *v, uint32_t begin, uint32_t end)
{
    const struct rope *p = v;
    const struct attn *a = p->a;
    const uint32_t dim = a->head_dim, n_rot = a->n_head + a->n_head_kv, width = (n_rot + a->n_head_kv) * dim;
    for (uint32_t r = begin; r < end; r++) {
        uint16_t *row = p->qkv + (uint64_t)r * width;
        const float *cs = p->table + (uint64_t)p->b->pos[r] * dim;
        for (uint32_t h = 0; h < n_rot; h++) rotate(row + (uint64_t)h * dim, cs, dim / 2);
        store_kv(p, r, row + (uint64_t)a->n_head * dim, row + (uint64_t)n_rot * dim);
    }
}

enum err CPU_FN(rope_kv)(struct dev *d, struct stream *s, uint16_t *qkv, const float *rope, const struct batch *b,
                         const struct attn *a, const struct kv *kv)
{
    (void)s;
    struct rope p = {qkv, rope, b, a, kv};
    par_for(d, b->n_row, (uint64_t)b->n_row * (a->n_head + 2 * a->n_head_kv) * a->head_dim * 2, rope_rows, &p);
    return ERR_OK;
}
