// SPDX-License-Identifier: Apache-2.0
/* attention.c - causal attention through a block table.
 *
 * An item is one row and one kv head: its query heads share the keys that pass by. For each piece of ATTN_PIECE_TOK keys: scores
 * with keys as lanes, softmax of the piece alone, sum of values in token pairs; pieces merge in ascending order. A row's sums
 * never see another row, so any split of the items gives the same bits. */
#include <assert.h>

#include "common/dev/cpu/isa.h"
#include "common/dev/par.h"

#define MAX_DIM    256
#define QUADS      4 /* query heads scored together */

struct attention {
    const uint16_t *qkv;
    const struct batch *b;
    const struct attn *a;
    const struct kv *kv;
    uint16_t *o;
    float *lse;
    float scale;
};

/* Running softmax of one query head. */
struct state {
    float m, l;
    float acc[MAX_DIM];
};

/* s[i][16] = scale * q_i . k for the 16 keys of one block; nq is known where this is called, so the sums stay in registers, each one chain. */
SIMD_FN void score_some(const uint16_t *q, const uint32_t nq, uint32_t dim, const uint16_t *k, float scale, float *s)
{
    vf acc[QUADS];
    for (uint32_t i = 0; i < nq; i++) acc[i] = vf_zero();
    for (uint32_t d = 0; d < dim; d += 2) {
        const vi kk = vi_load(k + (uint64_t)d * KV_BLOCK_TOK);
        for (uint32_t i = 0; i < nq; i++) acc[i] = vp_dot(acc[i], kk, vi_set1(bf16_pair(q + i * dim + d)));
    }
    for (uint32_t i = 0; i < nq; i++) vf_store(s + i * ATTN_PIECE_TOK, vf_mul(acc[i], vf_set1(scale)));
}

/* The same for any nq up to QUADS. */
static inline void score_block(const uint16_t *q, uint32_t nq, uint32_t dim, const uint16_t *k, float scale, float *s)
{
    switch (nq) {
    case 4: score_some(q, 4, dim, k, scale, s); break;
    case 3: score_some(q, 3, dim, k, scale, s); break;
    case 2: score_some(q, 2, dim, k, scale, s); break;
    default: score_some(q, 1, dim, k, scale, s); break;
    }
}

/* Scores of a piece to rounded probabilities (bf16), its maximum and its sum. n: keys in sight, in n_block blocks; the blocks after them
 * would add exactly 0 and are left out. */
static inline void piece_softmax(float *s, uint32_t n, uint32_t n_block, uint16_t *p, float *ret_m, float *ret_l)
{
    for (uint32_t i = n; i < n_block * KV_BLOCK_TOK; i++) s[i] = -INFINITY;
    vf mx = vf_load(s);
    for (uint32_t i = 1; i < n_block; i++) mx = vf_max(mx, vf_load(s + 16 * i));
    const float m = vf_hmax(mx);
    vf sum = vf_zero();
    for (uint32_t i = 0; i < n_block; i++) {
        const vf e = vf_exp(vf_sub(vf_load(s + 16 * i), vf_set1(m)));
        sum = vf_add(sum, e);
        vf_to_bf16(p + 16 * i, e);
    }
    *ret_m = m;
    *ret_l = vf_sum(sum);
}

/* acc[i][d .. d + 16 nd) = sum over the piece's token pairs of p_i v. */
SIMD_FN void values_some(const struct attention *t, const uint16_t *p, const uint32_t nq, const int32_t *table, uint32_t n_block, uint32_t head,
                         uint32_t d, const uint32_t nd, float (*acc)[MAX_DIM])
{
    const uint32_t dim = t->a->head_dim;
    vf v[2][2];
    for (uint32_t i = 0; i < nq; i++)
        for (uint32_t x = 0; x < nd; x++) v[i][x] = vf_zero();
    for (uint32_t j = 0; j < n_block; j++) {
        const uint16_t *vals = kv_at(t->kv, t->a, table[j], 1, head) + d * 2;
        for (uint32_t k = 0; k < KV_BLOCK_TOK / 2; k++, vals += dim * 2) {
            vi vv[2];
            for (uint32_t x = 0; x < nd; x++) vv[x] = vi_load(vals + x * 32);
            for (uint32_t i = 0; i < nq; i++) {
                const vi pp = vi_set1(bf16_pair(p + i * ATTN_PIECE_TOK + j * KV_BLOCK_TOK + 2 * k));
                for (uint32_t x = 0; x < nd; x++) v[i][x] = vp_dot(v[i][x], vv[x], pp);
            }
        }
    }
    for (uint32_t i = 0; i < nq; i++)
        for (uint32_t x = 0; x < nd; x++) vf_store(acc[i] + d + 16 * x, v[i][x]);
}

/* acc[i][dim] for nq heads, two at a time. Pairs beyond the keys in sight add exactly 0 and are left out by whole blocks. */
static inline void piece_values(const struct attention *t, const uint16_t *p, uint32_t nq, const int32_t *table, uint32_t n_block, uint32_t head,
                                float (*acc)[MAX_DIM])
{
    const uint32_t dim = t->a->head_dim;
    for (uint32_t i = 0; i < nq; i += 2, p += 2 * ATTN_PIECE_TOK)
        for (uint32_t d = 0; d < dim; d += 32) {
            const bool two = nq - i >= 2, wide = dim - d >= 32;
            if (two && wide) values_some(t, p, 2, table, n_block, head, d, 2, acc + i);
            else if (two) values_some(t, p, 2, table, n_block, head, d, 1, acc + i);
            else if (wide) values_some(t, p, 1, table, n_block, head, d, 2, acc + i);
            else values_some(t, p, 1, table, n_block, head, d, 1, acc + i);
        }
}

static inline void merge(struct state *st, float m, float l, const float *acc, uint32_t dim)
{
    const float top = st->m > m ? st->m : m;
    const float a = f_exp(st->m - top), b = f_exp(m - top);
    for (uint32_t d = 0; d < dim; d += 16) {
        const vf old = vf_mul(vf_load(st->acc + d), vf_set1(a));
        vf_store(st->acc + d, vf_fma(vf_load(acc + d), vf_set1(b), old));
    }
    st->l = st->l * a + l * b;
    st->m = top;
}

/* nq query heads of one row over all its pieces. */
static void run_heads(const struct attention *t, uint32_t row, uint32_t head_kv, const uint16_t *q, uint32_t nq, struct state *st)
{
    const uint32_t dim = t->a->head_dim, n_key = (uint32_t)t->b->pos[row] + 1;
    const int32_t *table = t->b->table + (uint64_t)t->b->seq[row] * t->b->table_cols;
    for (uint32_t i = 0; i < nq; i++) {
        st[i].m = -INFINITY;
        st[i].l = 0;
        memset(st[i].acc, 0, dim * sizeof(float));
    }
    for (uint32_t k0 = 0; k0 < n_key; k0 += ATTN_PIECE_TOK) {
        const uint32_t n = n_key - k0 < ATTN_PIECE_TOK ? n_key - k0 : ATTN_PIECE_TOK;
        const uint32_t n_block = (n + KV_BLOCK_TOK - 1) / KV_BLOCK_TOK;
        const int32_t *blocks = table + k0 / KV_BLOCK_TOK;
        float s[QUADS][ATTN_PIECE_TOK], acc[QUADS][MAX_DIM], m[QUADS], l[QUADS];
        uint16_t p[QUADS][ATTN_PIECE_TOK];
        for (uint32_t j = 0; j < n_block; j++)
            score_block(q, nq, dim, kv_at(t->kv, t->a, blocks[j], 0, head_kv), t->scale, &s[0][j * KV_BLOCK_TOK]);
        for (uint32_t i = 0; i < nq; i++) piece_softmax(s[i], n, n_block, p[i], &m[i], &l[i]);
        piece_values(t, p[0], nq, blocks, n_block, head_kv, acc);
        for (uint32_t i = 0; i < nq; i++) merge(&st[i], m[i], l[i], acc[i], dim);
    }
}

static void run_item(const struct attention *t, uint32_t row, uint32_t head_kv)
{
    const struct attn *a = t->a;
    const uint32_t dim = a->head_dim, group = a->n_head / a->n_head_kv;
    const uint64_t width = (uint64_t)(a->n_head + 2 * a->n_head_kv) * dim;
    struct state st[QUADS];
    for (uint32_t g = 0; g < group; g += QUADS) {
        const uint32_t nq = group - g < QUADS ? group - g : QUADS, h0 = head_kv * group + g;
        run_heads(t, row, head_kv, t->qkv + row * width + (uint64_t)h0 * dim, nq, st);
        for (uint32_t i = 0; i < nq; i++) {
            uint16_t *o = t->o + ((uint64_t)row * a->n_head + h0 + i) * dim;
            const vf l = vf_set1(st[i].l);
            for (uint32_t d = 0; d < dim; d += 16) vf_to_bf16(o + d, vf_div(vf_load(st[i].acc + d), l));
            if (t->lse) t->lse[(uint64_t)row * a->n_head + h0 + i] = st[i].m + logf(st[i].l);
        }
    }
}

static void items(void *v, uint32_t begin, uint32_t end)
{
    const struct attention *t = v;
    for (uint32_t k = begin; k < end; k++) run_item(t, k / t->a->n_head_kv, k % t->a->n_head_kv);
}

enum err CPU_FN(attention)(struct dev *d, struct stream *s, const uint16_t *qkv, const struct batch *b, const struct attn *a,
                           const struct kv *kv, uint16_t *o, float *lse)
{
    (void)s;
    assert(a->head_dim <= MAX_DIM && a->head_dim % 16 == 0);
    struct attention t = {qkv, b, a, kv, o, lse, 1.0f / sqrtf((float)a->head_dim)};
    const uint64_t work = (uint64_t)b->n_row * a->n_head * a->head_dim * 64;
    par_for(d, (uint32_t)b->first[b->n_seq] * a->n_head_kv, work, items, &t);
    return ERR_OK;
}
