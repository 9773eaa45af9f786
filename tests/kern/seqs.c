// SPDX-License-Identifier: Apache-2.0
/* seqs.c - sequences, their blocks and their batch, for the ops that read one. */
#include <math.h>
#include <stdlib.h>

#include "tests/kern/kern.h"

#define N_LAYER 2 /* a cache of two layers, of which ops use the second */

static int32_t *ints(struct kase *c, uint32_t i)
{
    return c->arr[i].host;
}

/* Numbers 0 .. n-1 in no order. */
static int32_t *shuffled(struct kase *c, uint32_t n)
{
    int32_t *p = hold(c, n * sizeof *p);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t k = (uint32_t)(draw_u64(c) % (i + 1));
        p[i] = p[k];
        p[k] = (int32_t)i;
    }
    return p;
}

uint32_t case_seqs(struct kase *c)
{
    const uint32_t *lens = c->row->lens;
    uint32_t n_row = 0, longest = 0;
    for (c->n_seq = 0; lens[c->n_seq]; c->n_seq++) {
        n_row += lens[c->n_seq];
        if (lens[c->n_seq] > longest) longest = lens[c->n_seq];
    }
    c->table_cols = (longest + KV_BLOCK_TOK - 1) / KV_BLOCK_TOK + 1;
    c->n_block = c->n_seq * c->table_cols;
    c->a = (struct attn){c->row->h, c->row->hk, c->row->d, N_LAYER - 1, N_LAYER};
    for (uint32_t i = B_ID; i < B_TABLE; i++) arr_add(c, "batch", T_I32, n_row, 1);
    arr_add(c, "table", T_I32, c->n_seq, c->table_cols);
    arr_add(c, "first", T_I32, c->n_seq + 1, 1);
    int32_t *block = shuffled(c, c->n_block), row = 0;
    for (uint32_t i = 0; i < c->n_seq * c->table_cols; i++) ints(c, B_TABLE)[i] = block[i];
    for (uint32_t s = 0; s < c->n_seq; s++) {
        for (int32_t pos = 0; pos < (int32_t)lens[s]; pos++, row++) {
            ints(c, B_ID)[row] = row;
            ints(c, B_POS)[row] = pos;
            ints(c, B_SEQ)[row] = (int32_t)s;
            ints(c, B_SLOT)[row] = block[s * c->table_cols + (uint32_t)pos / KV_BLOCK_TOK] * KV_BLOCK_TOK + pos % KV_BLOCK_TOK;
        }
        ints(c, B_FIRST)[s + 1] = row;
    }
    c->first = ints(c, B_FIRST);
    return n_row;
}

enum err case_kv(struct kase *c)
{
    const uint64_t one = c->dev->ops->kv_block_bytes(N_LAYER, c->a.n_head_kv, c->a.head_dim);
    c->kv = (struct kv){dev_mem(c, one * c->n_block), one, c->n_block, KV_BLOCK_TOK};
    c->sub_first = dev_mem(c, (c->n_seq + 1) * sizeof(int32_t));
    return c->kv.mem && c->sub_first ? ERR_OK : ERR_NOMEM;
}

enum err case_batch(struct kase *c, uint32_t row0, uint32_t n, struct batch *ret_b)
{
    int32_t *first = calloc(c->n_seq + 1, sizeof *first);
    if (!first) return ERR_NOMEM;
    for (uint32_t s = 0; s <= c->n_seq; s++) {
        const int32_t r = c->first[s] - (int32_t)row0;
        first[s] = r < 0 ? 0 : r > (int32_t)n ? (int32_t)n : r;
    }
    enum err e = c->dev->mem->copy_in(c->dev, NULL, c->sub_first, first, (c->n_seq + 1) * sizeof *first);
    free(first);
    *ret_b = (struct batch){.n_row = n,
                            .n_seq = c->n_seq,
                            .table_cols = c->table_cols,
                            .id = arr_at(c, B_ID, row0),
                            .pos = arr_at(c, B_POS, row0),
                            .seq = arr_at(c, B_SEQ, row0),
                            .slot = arr_at(c, B_SLOT, row0),
                            .table = arr_at(c, B_TABLE, 0),
                            .first = c->sub_first};
    return e;
}

uint32_t arr_rope(struct kase *c, uint32_t n_pos, uint32_t dim)
{
    const uint32_t i = arr_add(c, "rope", T_F32, n_pos, dim);
    for (uint32_t p = 0; p < n_pos; p++)
        for (uint32_t k = 0; k < dim / 2; k++) {
            const double angle = p * pow(10000, -2.0 * k / dim);
            arr_set(&c->arr[i], (uint64_t)p * dim + 2 * k, cos(angle));
            arr_set(&c->arr[i], (uint64_t)p * dim + 2 * k + 1, sin(angle));
        }
    return i;
}
