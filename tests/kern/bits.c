// SPDX-License-Identifier: Apache-2.0
/* bits.c - ops that move bits, checked by what they promise: a packed weight times unit rows gives the weight back, a copied block is the
 * block that would have been written, a zeroed one is zero. None of it knows a back end's layout. */
#include <stdlib.h>
#include <string.h>

#include "common/base/bf16.h"
#include "tests/kern/kern.h"

/* -- pack: W [n, k] ------------------------------------------------------------------------------------------------------------------ */

/* Weights with every bit pattern that is a number, and unit rows as wide as `wide`. */
static void pack_make(struct kase *c, uint32_t wide)
{
    const struct row *r = c->row;
    arr_fill(c, "w", T_BF16, r->n, r->k, 1);
    arr_add(c, "unit", T_BF16, wide, wide);
    for (uint32_t i = 0; i < wide; i++) arr_set(&c->arr[1], (uint64_t)i * wide + i, 1);
    arr_add(c, "y", T_BF16, wide, wide == r->k ? r->n : r->k);
}

static void pack_fwd_make(struct kase *c)
{
    pack_make(c, c->row->k);
}

static void pack_dx_make(struct kase *c)
{
    pack_make(c, c->row->n);
}

static enum err load(struct kase *c)
{
    for (uint32_t i = 0; i < c->n_arr; i++) {
        const struct arr *a = &c->arr[i];
        TRY(c->dev->mem->copy_in(c->dev, NULL, a->dev, a->host, (uint64_t)a->rows * a->cols * 2));
    }
    return ERR_OK;
}

/* Packed from device memory over rubbish and from host memory over zeros: both must be the same bytes, all of them written. */
static const char *packed_twice(struct kase *c, uint64_t bytes, enum err (*pack)(struct dev *, struct stream *, const uint16_t *, struct weight *))
{
    if (bytes % 64 || bytes < (uint64_t)c->row->n * c->row->k * 2) return "a size that is no multiple of 64, or too small";
    struct weight v = {c->row->n, c->row->k, dev_mem(c, bytes)};
    c->w = (struct weight){c->row->n, c->row->k, dev_mem(c, bytes)};
    uint8_t *t = malloc(2 * bytes);
    const char *wrong = NULL;
    if (!t || !v.data || !c->w.data || load(c)) wrong = "out of memory";
    if (!wrong) memset(t, 0xA5, bytes);
    if (!wrong && c->dev->mem->copy_in(c->dev, NULL, c->w.data, t, bytes)) wrong = "copy_in fails";
    if (!wrong && (pack(c->dev, NULL, arr_at(c, 0, 0), &c->w) || pack(c->dev, NULL, c->arr[0].host, &v))) wrong = "pack fails";
    if (!wrong && (c->dev->mem->copy_out(c->dev, NULL, t, c->w.data, bytes) || c->dev->mem->copy_out(c->dev, NULL, t + bytes, v.data, bytes)))
        wrong = "copy_out fails";
    if (!wrong && memcmp(t, t + bytes, bytes)) wrong = "packing does not write every byte, or host and device rows differ";
    free(t);
    return wrong;
}

/* y, brought home: is y[i][j] == w[i][j], or with turned == w[j][i]? */
static const char *gives_back(struct kase *c, bool turned)
{
    const struct arr *y = &c->arr[2];
    uint16_t *got = malloc((uint64_t)y->rows * y->cols * 2);
    const uint16_t *w = c->arr[0].host;
    const char *wrong = !got || c->dev->mem->copy_out(c->dev, NULL, got, y->dev, (uint64_t)y->rows * y->cols * 2) ? "copy_out fails" : NULL;
    for (uint32_t i = 0; !wrong && i < y->rows; i++)
        for (uint32_t j = 0; j < y->cols; j++)
            if (got[(uint64_t)i * y->cols + j] != w[turned ? (uint64_t)j * y->rows + i : (uint64_t)i * y->cols + j])
                wrong = "unit rows times the packed weight are not the weight";
    free(got);
    return wrong;
}

static const char *pack_check(struct kase *c)
{
    const struct ops *op = c->dev->ops;
    const char *wrong = packed_twice(c, op->pack_bytes(c->row->n, c->row->k), op->pack);
    if (wrong) return wrong;
    if (op->matmul(c->dev, NULL, arr_at(c, 1, 0), c->row->k, &c->w, NULL, MATMUL_BF16, arr_at(c, 2, 0))) return "matmul fails";
    return gives_back(c, true);
}

static const char *pack_dx_check(struct kase *c)
{
    const struct learner_ops *op = c->learn;
    const char *wrong = packed_twice(c, op->pack_dx_bytes(c->row->n, c->row->k), op->pack_dx);
    if (wrong) return wrong;
    if (op->matmul_dx(c->dev, NULL, arr_at(c, 1, 0), c->row->n, &c->w, MATMUL_BF16, arr_at(c, 2, 0))) return "matmul_dx fails";
    return gives_back(c, false);
}

/* -- blocks: h, hk, d -------------------------------------------------------------------------------------------------------------------- */

#define N_LAYER 2
#define N_BLOCK 6

enum { KV_POS, KV_SLOT, KV_QKV, KV_ROPE, KV_SLOT2 };

static void kv_make(struct kase *c)
{
    const struct row *r = c->row;
    c->a = (struct attn){r->h, r->hk, r->d, 0, N_LAYER};
    arr_add(c, "pos", T_I32, KV_BLOCK_TOK, 1);
    arr_add(c, "slot", T_I32, KV_BLOCK_TOK, 1);
    arr_fill(c, "qkv", T_BF16, KV_BLOCK_TOK, (r->h + 2 * r->hk) * r->d, 1);
    arr_rope(c, KV_BLOCK_TOK, r->d);
    arr_add(c, "nowhere", T_I32, KV_BLOCK_TOK, 1);
    for (int32_t i = 0; i < KV_BLOCK_TOK; i++) ((int32_t *)c->arr[KV_POS].host)[i] = i, ((int32_t *)c->arr[KV_SLOT2].host)[i] = -1;
}

/* Write the first n tokens into a block, both layers; block < 0: nowhere. */
static enum err write_block(struct kase *c, int32_t block, uint32_t n)
{
    const struct arr *slot = &c->arr[KV_SLOT], *qkv = &c->arr[KV_QKV];
    for (int32_t i = 0; i < KV_BLOCK_TOK; i++) ((int32_t *)slot->host)[i] = block < 0 ? -1 : block * KV_BLOCK_TOK + i;
    for (uint32_t l = 0; l < N_LAYER && n; l++) {
        struct attn a = c->a;
        a.layer = l;
        const struct batch b = {.n_row = n, .pos = arr_at(c, KV_POS, 0), .slot = arr_at(c, KV_SLOT, 0)};
        TRY(c->dev->mem->copy_in(c->dev, NULL, arr_at(c, KV_POS, 0), c->arr[KV_POS].host, KV_BLOCK_TOK * 4));
        TRY(c->dev->mem->copy_in(c->dev, NULL, arr_at(c, KV_SLOT, 0), slot->host, KV_BLOCK_TOK * 4));
        TRY(c->dev->mem->copy_in(c->dev, NULL, arr_at(c, KV_QKV, 0), qkv->host, (uint64_t)qkv->rows * qkv->cols * 2));
        TRY(c->dev->mem->copy_in(c->dev, NULL, arr_at(c, KV_ROPE, 0), c->arr[KV_ROPE].host, KV_BLOCK_TOK * c->a.head_dim * 4ull));
        TRY(c->dev->ops->rope_kv(c->dev, NULL, arr_at(c, KV_QKV, 0), arr_at(c, KV_ROPE, 0), &b, &a, &c->kv));
    }
    return ERR_OK;
}

static enum err kv_open(struct kase *c)
{
    const uint64_t one = c->dev->ops->kv_block_bytes(N_LAYER, c->a.n_head_kv, c->a.head_dim);
    c->kv = (struct kv){dev_mem(c, N_BLOCK * one), one, N_BLOCK, KV_BLOCK_TOK};
    return c->kv.mem ? ERR_OK : ERR_NOMEM;
}

static uint8_t *home(struct kase *c)
{
    uint8_t *t = malloc(N_BLOCK * c->kv.block_bytes);
    if (t && c->dev->mem->copy_out(c->dev, NULL, t, c->kv.mem, N_BLOCK * c->kv.block_bytes)) abort();
    return t;
}

static bool is_zero(const uint8_t *p, uint64_t n)
{
    while (n && !*p) p++, n--;
    return n == 0;
}

/* Block 0 is full; 1 and 2 are copies that keep `keep`, made over a full and an empty block; 3 is what a sequence of `keep` would write. */
static const char *copy_check(struct kase *c)
{
    for (uint32_t keep = 0; keep <= KV_BLOCK_TOK; keep++) {
        const int32_t src[2] = {0, 0}, dst[2] = {1, 2}, keeps[2] = {(int32_t)keep, (int32_t)keep};
        if (kv_open(c)) return "out of memory";
        if (write_block(c, 0, KV_BLOCK_TOK) || write_block(c, 1, KV_BLOCK_TOK) || write_block(c, 3, keep)) return "rope_kv fails";
        if (c->dev->ops->kv_copy(c->dev, NULL, &c->kv, &c->a, src, dst, keeps, 2)) return "kv_copy fails";
        uint8_t *t = home(c);
        const uint64_t n = c->kv.block_bytes;
        const bool ok = !memcmp(t + n, t + 3 * n, n) && !memcmp(t + 2 * n, t + 3 * n, n), rest = is_zero(t + 4 * n, 2 * n), full = !is_zero(t, n);
        free(t);
        c->dev->mem->free(c->dev, c->mem[--c->n_mem]);
        if (!full) return "nothing was written";
        if (!rest) return "a block that nobody named has changed";
        if (!ok) return "a copy is not the block that the kept tokens would have written";
    }
    return NULL;
}

static const char *zero_check(struct kase *c)
{
    const int32_t block[2] = {4, 1};
    if (kv_open(c)) return "out of memory";
    for (int32_t i = 0; i < N_BLOCK; i++)
        if (write_block(c, i, KV_BLOCK_TOK)) return "rope_kv fails";
    uint8_t *before = home(c);
    if (write_block(c, -1, KV_BLOCK_TOK) || c->dev->ops->kv_zero(c->dev, NULL, &c->kv, block, 2)) return "kv_zero fails";
    uint8_t *t = home(c);
    const char *wrong = NULL;
    for (uint32_t i = 0; i < N_BLOCK; i++) {
        const uint64_t n = c->kv.block_bytes;
        const bool named = i == 4 || i == 1;
        if (named && !is_zero(t + i * n, n)) wrong = "a zeroed block is not zero";
        if (!named && memcmp(t + i * n, before + i * n, n)) wrong = "another block has changed, or a padding row was stored";
    }
    free(before);
    free(t);
    return wrong;
}

static const char *block_bytes_check(struct kase *c)
{
    const struct row *r = c->row;
    const uint64_t one = c->dev->ops->kv_block_bytes(1, r->hk, r->d), five = c->dev->ops->kv_block_bytes(5, r->hk, r->d);
    if (one < 2ull * KV_BLOCK_TOK * r->hk * r->d * 2 || one % 64) return "a block is smaller than its keys and values, or no multiple of 64";
    return five == 5 * one ? NULL : "five layers are not five times one";
}

static const char *bwd_bytes_check(struct kase *c)
{
    const struct attn a = {c->row->h, c->row->hk, c->row->d, 0, 1};
    return c->learn->attention_bwd_bytes(64, &a) >= c->learn->attention_bwd_bytes(1, &a) ? NULL : "more rows need less room";
}

const struct op bit_ops[] = {
    {.name = "pack_bytes", .make = pack_fwd_make, .check = pack_check},
    {.name = "pack", .make = pack_fwd_make, .check = pack_check},
    {.name = "pack_dx_bytes", .make = pack_dx_make, .check = pack_dx_check},
    {.name = "pack_dx", .make = pack_dx_make, .check = pack_dx_check},
    {.name = "kv_block_bytes", .check = block_bytes_check},
    {.name = "kv_copy", .make = kv_make, .check = copy_check},
    {.name = "kv_zero", .make = kv_make, .check = zero_check},
    {.name = "attention_bwd_bytes", .check = bwd_bytes_check},
    {0},
};
