// SPDX-License-Identifier: Apache-2.0
/* attention_bwd.c - backward of causal attention and of the rotation, fp32 throughout (Dao 2023, algorithm 2).
 *
 * An item is one sequence and one kv head. Keys are taken in blocks of 16 as lanes; for each query row from the block on: p from the
 * kept lse, ds = p (dO v - delta) scale, then dv += p dO, dk += ds q, dq += ds k. dk and dv of a block stay in a local tile over all
 * rows and all query heads; dq of a row grows over blocks in ascending order. Items are apart, so any split gives the same bits. */
#include <assert.h>

#include "common/base/bf16.h"
#include "common/dev/par.h"
#include "learner/kern/cpu/isa.h"

#define LANES   16
#define MAX_DIM 256

struct bwd {
    const uint16_t *qkv, *o, *d_o;
    const float *lse, *rope;
    const struct batch *b;
    const struct attn *a;
    float *grad; /* [B, (H + 2 Hk) D] fp32, before the inverse rotation */
    uint16_t *dqkv;
    uint32_t dim, width;
    float scale;
};

/* One block of keys and values of a sequence, both ways round, and their gradients. */
struct tile {
    float k[LANES][MAX_DIM];
    float kt[MAX_DIM][LANES], vt[MAX_DIM][LANES];
    float dkt[MAX_DIM][LANES], dvt[MAX_DIM][LANES];
};

static void load_tile(const struct bwd *p, uint32_t row0, uint32_t n, uint32_t head_kv, struct tile *t)
{
    const uint32_t dim = p->dim;
    memset(t->dkt, 0, dim * sizeof t->dkt[0]);
    memset(t->dvt, 0, dim * sizeof t->dvt[0]);
    for (uint32_t j = 0; j < LANES; j++) {
        const uint16_t *k = p->qkv + (uint64_t)(row0 + j) * p->width + (uint64_t)(p->a->n_head + head_kv) * dim;
        const uint16_t *v = k + (uint64_t)p->a->n_head_kv * dim;
        for (uint32_t d = 0; d < dim; d++) {
            t->k[j][d] = t->kt[d][j] = j < n ? bf16_to_f32(k[d]) : 0;
            t->vt[d][j] = j < n ? bf16_to_f32(v[d]) : 0;
        }
    }
}

/* A query row of one head, widened. */
struct query {
    uint32_t sight; /* keys 0 .. sight-1 of the tile are seen */
    float delta, lse;
    float *dq;
    float q[MAX_DIM], g[MAX_DIM];
};

/* p of one row from its scores, and ds from its dp. */
SIMD_FN vf row_p(const struct bwd *p, const struct query *x, vf s)
{
    static const float lane[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const vf e = vf_exp(vf_sub(vf_mul(s, vf_set1(p->scale)), vf_set1(x->lse)));
    return vf_below(vf_load(lane), vf_set1((float)x->sight), e, vf_zero());
}

SIMD_FN vf row_ds(const struct bwd *p, const struct query *x, vf pv, vf dp)
{
    return vf_mul(vf_mul(pv, vf_sub(dp, vf_set1(x->delta))), vf_set1(p->scale));
}

SIMD_FN void row_dq(const struct query *x, uint32_t dim, vf dsv, const struct tile *t)
{
    float ds[LANES];
    vf_store(ds, dsv);
    for (uint32_t d = 0; d < dim; d += 16) {
        vf acc = vf_load(x->dq + d);
        for (uint32_t j = 0; j < x->sight; j++) acc = vf_fma(vf_set1(ds[j]), vf_load(t->k[j] + d), acc);
        vf_store(x->dq + d, acc);
    }
}

static void one_row(const struct bwd *p, const struct query *x, struct tile *t)
{
    const uint32_t dim = p->dim;
    vf s = vf_zero(), dp = vf_zero();
    for (uint32_t d = 0; d < dim; d++) {
        s = vf_fma(vf_set1(x->q[d]), vf_load(t->kt[d]), s);
        dp = vf_fma(vf_set1(x->g[d]), vf_load(t->vt[d]), dp);
    }
    const vf pv = row_p(p, x, s), ds = row_ds(p, x, pv, dp);
    for (uint32_t d = 0; d < dim; d++) {
        vf_store(t->dvt[d], vf_fma(pv, vf_set1(x->g[d]), vf_load(t->dvt[d])));
        vf_store(t->dkt[d], vf_fma(ds, vf_set1(x->q[d]), vf_load(t->dkt[d])));
    }
    row_dq(x, dim, ds, t);
}

/* Two rows in ascending order: they pass over the tile together, but each sum is the chain it would be if they came one after the other. */
static void two_rows(const struct bwd *p, const struct query *x, const struct query *y, struct tile *t)
{
    const uint32_t dim = p->dim;
    vf sx = vf_zero(), sy = vf_zero(), dpx = vf_zero(), dpy = vf_zero();
    for (uint32_t d = 0; d < dim; d++) {
        const vf k = vf_load(t->kt[d]), v = vf_load(t->vt[d]);
        sx = vf_fma(vf_set1(x->q[d]), k, sx);
        sy = vf_fma(vf_set1(y->q[d]), k, sy);
        dpx = vf_fma(vf_set1(x->g[d]), v, dpx);
        dpy = vf_fma(vf_set1(y->g[d]), v, dpy);
    }
    const vf px = row_p(p, x, sx), py = row_p(p, y, sy), dsx = row_ds(p, x, px, dpx), dsy = row_ds(p, y, py, dpy);
    for (uint32_t d = 0; d < dim; d++) {
        const vf dv = vf_fma(px, vf_set1(x->g[d]), vf_load(t->dvt[d])), dk = vf_fma(dsx, vf_set1(x->q[d]), vf_load(t->dkt[d]));
        vf_store(t->dvt[d], vf_fma(py, vf_set1(y->g[d]), dv));
        vf_store(t->dkt[d], vf_fma(dsy, vf_set1(y->q[d]), dk));
    }
    row_dq(x, dim, dsx, t);
    row_dq(y, dim, dsy, t);
}

static void widen(const uint16_t *src, uint32_t dim, float *dst)
{
    for (uint32_t d = 0; d < dim; d += 16) vf_store(dst + d, vf_from_bf16(src + d));
}

static void store_tile(const struct bwd *p, uint32_t row0, uint32_t n, uint32_t head_kv, const struct tile *t)
{
    for (uint32_t j = 0; j < n; j++) {
        float *dk = p->grad + (uint64_t)(row0 + j) * p->width + (uint64_t)(p->a->n_head + head_kv) * p->dim;
        float *dv = dk + (uint64_t)p->a->n_head_kv * p->dim;
        for (uint32_t d = 0; d < p->dim; d++) {
            dk[d] = t->dkt[d][j];
            dv[d] = t->dvt[d][j];
        }
    }
}

/* Row `row` of a head, for a tile of n keys that starts at row0. */
static void load_query(const struct bwd *p, uint32_t row, uint32_t head, uint32_t row0, uint32_t n, struct query *x)
{
    const uint64_t at = ((uint64_t)row * p->a->n_head + head) * p->dim;
    vf delta = vf_zero();
    x->sight = row - row0 + 1 < n ? row - row0 + 1 : n;
    x->lse = p->lse[(uint64_t)row * p->a->n_head + head];
    x->dq = p->grad + (uint64_t)row * p->width + (uint64_t)head * p->dim;
    widen(p->qkv + (uint64_t)row * p->width + (uint64_t)head * p->dim, p->dim, x->q);
    widen(p->d_o + at, p->dim, x->g);
    for (uint32_t d = 0; d < p->dim; d += 16) delta = vf_fma(vf_load(x->g + d), vf_from_bf16(p->o + at + d), delta);
    x->delta = vf_sum(delta);
}

static void run_item(const struct bwd *p, uint32_t seq, uint32_t head_kv, struct tile *t)
{
    const uint32_t begin = (uint32_t)p->b->first[seq], end = (uint32_t)p->b->first[seq + 1];
    const uint32_t group = p->a->n_head / p->a->n_head_kv;
    struct query x, y;
    for (uint32_t row0 = begin; row0 < end; row0 += LANES) {
        const uint32_t n = end - row0 < LANES ? end - row0 : LANES;
        load_tile(p, row0, n, head_kv, t);
        for (uint32_t h = head_kv * group; h < (head_kv + 1) * group; h++) {
            uint32_t row = row0;
            for (; row + 1 < end; row += 2) {
                load_query(p, row, h, row0, n, &x);
                load_query(p, row + 1, h, row0, n, &y);
                two_rows(p, &x, &y, t);
            }
            if (row == end) continue;
            load_query(p, row, h, row0, n, &x);
            one_row(p, &x, t);
        }
        store_tile(p, row0, n, head_kv, t);
    }
}

static void run_items(void *v, uint32_t begin, uint32_t end)
{
    const struct bwd *p = v;
    struct tile t;
    for (uint32_t k = begin; k < end; k++) run_item(p, k / p->a->n_head_kv, k % p->a->n_head_kv, &t);
}

/* One head: the transpose of (lo c - hi s, hi c + lo s). */
static inline void unrotate(const float *g, const float *cs, uint32_t half, uint16_t *out)
{
    uint32_t i = 0;
    for (; i + 16 <= half; i += 16) {
        const vf lo = vf_load(g + i), hi = vf_load(g + i + half);
        vf c, s;
        vf_split(cs + 2 * i, &c, &s);
        vf_to_bf16(out + i, vf_add(vf_mul(lo, c), vf_mul(hi, s)));
        vf_to_bf16(out + i + half, vf_sub(vf_mul(hi, c), vf_mul(lo, s)));
    }
    for (; i < half; i++) {
        const float c = cs[2 * i], s = cs[2 * i + 1];
        out[i] = bf16_from_f32(g[i] * c + g[i + half] * s);
        out[i + half] = bf16_from_f32(g[i + half] * c - g[i] * s);
    }
}

/* Undo the rotation of queries and keys; values pass through. */
static void unrotate_rows(void *v, uint32_t begin, uint32_t end)
{
    const struct bwd *p = v;
    const uint32_t half = p->dim / 2, n_rot = p->a->n_head + p->a->n_head_kv;
    for (uint32_t r = begin; r < end; r++) {
        const float *cs = p->rope + (uint64_t)p->b->pos[r] * p->dim;
        const float *g = p->grad + (uint64_t)r * p->width;
        uint16_t *out = p->dqkv + (uint64_t)r * p->width;
        for (uint32_t h = 0; h < n_rot; h++, g += p->dim, out += p->dim) unrotate(g, cs, half, out);
        for (uint32_t i = 0; i < p->a->n_head_kv * p->dim; i += 16) vf_to_bf16(out + i, vf_load(g + i));
    }
}

uint64_t CPU_FN(attention_bwd_bytes)(uint32_t n_row, const struct attn *a)
{
    return (uint64_t)n_row * (a->n_head + 2 * a->n_head_kv) * a->head_dim * sizeof(float);
}

enum err CPU_FN(attention_bwd)(struct dev *d, struct stream *s, const uint16_t *qkv, const uint16_t *o, const uint16_t *d_o,
                               const float *lse, const float *rope, const struct batch *b, const struct attn *a, void *work,
                               uint16_t *dqkv)
{
    (void)s;
    assert(a->head_dim <= MAX_DIM && a->head_dim % 16 == 0);
    const uint32_t width = (a->n_head + 2 * a->n_head_kv) * a->head_dim;
    struct bwd p = {qkv, o, d_o, lse, rope, b, a, work, dqkv, a->head_dim, width, 1.0f / sqrtf((float)a->head_dim)};
    memset(work, 0, (uint64_t)b->n_row * width * sizeof(float));
    par_for(d, b->n_seq * a->n_head_kv, (uint64_t)b->n_row * width * 64, run_items, &p);
    par_for(d, b->n_row, (uint64_t)b->n_row * width, unrotate_rows, &p);
    return ERR_OK;
}
