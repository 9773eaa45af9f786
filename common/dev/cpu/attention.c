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
#define PIECE_VECS (ATTN_PIECE_TOK / 16)
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

/* s[q][16] = scale * q . k for the 16 keys of one block, nq <= QUADS query heads. */
static inline void score_block(const uint16_t *q, uint32_t nq, uint32_t dim, const uint16_t *k, float scale, float *s, uint32_t stride)
{
    vf acc[QUADS];
    for (uint32_t i = 0; i < QUADS; i++) acc[i] = vf_zero();
    if (nq == QUADS) {
        for (uint32_t d = 0; d < dim; d += 2) {
            const vi kk = vi_load(k + (uint64_t)d * KV_BLOCK_TOK);
            for (uint32_t i = 0; i < QUADS; i++) acc[i] = vp_dot(acc[i], kk, vi_set1(bf16_pair(q + i * dim + d)));
        }
    } else {
        for (uint32_t i = 0; i < nq; i++)
            for (uint32_t d = 0; d < dim; d += 2)
                acc[i] = vp_dot(acc[i], vi_load(k + (uint64_t)d * KV_BLOCK_TOK), vi_set1(bf16_pair(q + i * dim + d)));
    }
    for (uint32_t i = 0; i < nq; i++) vf_store(s + i * stride, vf_mul(acc[i], vf_set1(scale)));
}

/* Scores of a piece to rounded probabilities p[64] (bf16), its maximum and its sum. n: keys in sight. */
static inline void piece_softmax(float *s, uint32_t n, uint16_t *p, float *ret_m, float *ret_l)
{
    for (uint32_t i = n; i < ATTN_PIECE_TOK; i++) s[i] = -INFINITY;
    vf mx = vf_load(s);
    for (uint32_t i = 1; i < PIECE_VECS; i++) mx = vf_max(mx, vf_load(s + 16 * i));
    const float m = vf_hmax(mx);
    vf sum = vf_zero();
    for (uint32_t i = 0; i < PIECE_VECS; i++) {
        const vf e = vf_exp(vf_sub(vf_load(s + 16 * i), vf_set1(m)));
        sum = vf_add(sum, e);
        vf_to_bf16(p + 16 * i, e);
    }
    *ret_m = m;
    *ret_l = vf_sum(sum);
}

/* acc[dim] = sum over the piece's token pairs of p v. Pairs beyond the keys in sight add exactly 0 and are left out by whole blocks. */
static inline void piece_values(const struct attention *t, const uint16_t *p, const int32_t *table, uint32_t n_block, uint32_t head,
                                float *acc)
{
    const uint32_t dim = t->a->head_dim;
    for (uint32_t d = 0; d < dim; d += 16) {
        vf v = vf_zero();
        for (uint32_t j = 0; j < n_block; j++) {
            const uint16_t *vals = kv_at(t->kv, t->a, table[j], 1, head) + d * 2;
            for (uint32_t i = 0; i < KV_BLOCK_TOK / 2; i++)
                v = vp_dot(v, vi_load(vals + (uint64_t)i * dim * 2), vi_set1(bf16_pair(p + j * KV_BLOCK_TOK + 2 * i)));
        }
        vf_store(acc + d, v);
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
        float s[QUADS][ATTN_PIECE_TOK], acc[MAX_DIM], m, l;
        uint16_t p[ATTN_PIECE_TOK];
        for (uint32_t j = 0; j < n_block; j++)
            score_block(q, nq, dim, kv_at(t->kv, t->a, blocks[j], 0, head_kv), t->scale, &s[0][j * KV_BLOCK_TOK], ATTN_PIECE_TOK);
        for (uint32_t i = 0; i < nq; i++) {
            piece_softmax(s[i], n, p, &m, &l);
            piece_values(t, p, blocks, n_block, head_kv, acc);
            merge(&st[i], m, l, acc, dim);
        }
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

/* Items of a part are spread over the whole batch (item * stride), since late rows of a sequence cost more. */
static void items(void *v, uint32_t i, uint32_t n)
{
    const struct attention *t = v;
    const uint32_t used = (uint32_t)t->b->first[t->b->n_seq], n_item = used * t->a->n_head_kv;
    for (uint32_t k = i; k < n_item; k += n) run_item(t, k / t->a->n_head_kv, k % t->a->n_head_kv);
}

enum err CPU_FN(attention)(struct dev *d, struct stream *s, const uint16_t *qkv, const struct batch *b, const struct attn *a,
                           const struct kv *kv, uint16_t *o, float *lse)
{
    (void)s;
    assert(a->head_dim <= MAX_DIM && a->head_dim % 16 == 0);
    struct attention t = {qkv, b, a, kv, o, lse, 1.0f / sqrtf((float)a->head_dim)};
    const uint64_t work = (uint64_t)b->n_row * a->n_head * a->head_dim * 64;
    if (work < PAR_MIN_WORK) items(&t, 0, 1);
    else team_run(dev_team(d), items, &t);
    return ERR_OK;
}
