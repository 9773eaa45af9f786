// SPDX-License-Identifier: Apache-2.0
/* ops_fwd.c - the cases of common/dev/ops.h and rollout/kern/ops.h. Bounds: a bf16 output is half a last place off,
 * at most 2^-8 of itself, and a little more for what stood near a tie; fp32 sums have an absolute part that grows with their length. */
#include <math.h>
#include <string.h>

#include "common/base/bf16.h"
#include "tests/kern/kern.h"
#include "tests/ref/ref.h"

#define REL_BF16 0x1.04p-8
#define REL_F32  0x1p-20

static int32_t *ints(struct kase *c, uint32_t i)
{
    return c->arr[i].host;
}

/* -- matmul: a [m, k], W [n, k] ------------------------------------------------------------------------------------------------- */

enum { MM_A, MM_W, MM_BIAS, MM_Y };

static void matmul_make(struct kase *c)
{
    const struct row *r = c->row;
    const bool f32 = r->flags & (K_F32 | K_ADD);
    arr_fill(c, "a", T_BF16, r->m, r->k, 1);
    arr_fill(c, "w", T_BF16, r->n, r->k, 0.05);
    arr_fill(c, "bias", T_BF16, 1, r->n, 1);
    arr_fill(c, "y", f32 ? T_F32 : T_BF16, r->m, r->n, 1);
    const double *before = arr_doubles(c, MM_Y);
    double *y = arr_want(c, MM_Y, !(r->flags & K_ADD), f32 ? REL_F32 : REL_BF16, 1e-7 * (4 + sqrt(r->k)));
    ref_matmul(arr_doubles(c, MM_A), r->m, arr_doubles(c, MM_W), r->n, r->k, r->flags & K_BIAS ? arr_doubles(c, MM_BIAS) : NULL, y);
    for (uint64_t i = 0; r->flags & K_ADD && i < (uint64_t)r->m * r->n; i++) y[i] += before[i];
    c->n_row = r->m;
    c->flop = 2.0 * r->m * r->n * r->k;
}

static enum err matmul_prepare(struct kase *c)
{
    const struct ops *op = c->dev->ops;
    c->w = (struct weight){c->row->n, c->row->k, dev_mem(c, op->pack_bytes(c->row->n, c->row->k))};
    return c->w.data ? op->pack(c->dev, NULL, c->arr[MM_W].host, &c->w) : ERR_NOMEM;
}

static enum err matmul_run(struct kase *c, uint32_t row0, uint32_t n)
{
    const unsigned f = c->row->flags;
    return c->dev->ops->matmul(c->dev, NULL, arr_at(c, MM_A, row0), n, &c->w, f & K_BIAS ? arr_at(c, MM_BIAS, 0) : NULL,
                               f & K_ADD ? MATMUL_F32_ADD : f & K_F32 ? MATMUL_F32 : MATMUL_BF16, arr_at(c, MM_Y, row0));
}

/* -- embed: m rows of a table [n, k]; MAP: some ids outside ---------------------------------------------------------------------- */

enum { EM_ID, EM_TABLE, EM_X };

static void embed_make(struct kase *c)
{
    const struct row *r = c->row;
    arr_add(c, "id", T_I32, r->m, 1);
    arr_fill(c, "table", T_BF16, r->n, r->k, 1);
    arr_add(c, "x", T_F32, r->m, r->k);
    for (uint32_t i = 0; i < r->m; i++) ints(c, EM_ID)[i] = (int32_t)(draw_u64(c) % r->n);
    if (r->flags & K_MAP) ints(c, EM_ID)[0] = -1, ints(c, EM_ID)[r->m - 1] = (int32_t)r->n;
    double *x = arr_want(c, EM_X, true, 0, 0);
    ref_embed(arr_doubles(c, EM_TABLE), r->n, r->k, ints(c, EM_ID), r->m, x);
    c->n_row = r->m;
}

static enum err embed_prepare(struct kase *c)
{
    const struct ops *op = c->dev->ops;
    c->w = (struct weight){c->row->n, c->row->k, dev_mem(c, op->pack_bytes(c->row->n, c->row->k))};
    return c->w.data ? op->pack(c->dev, NULL, arr_at(c, EM_TABLE, 0), &c->w) : ERR_NOMEM;
}

static enum err embed_run(struct kase *c, uint32_t row0, uint32_t n)
{
    const struct batch b = {.n_row = n, .id = arr_at(c, EM_ID, row0)};
    return c->dev->ops->embed(c->dev, NULL, &c->w, &b, arr_at(c, EM_X, row0));
}

/* -- rmsnorm: m rows of n channels; MAP: every second row of x, through row ------------------------------------------------------- */

enum { RN_X, RN_ROW, RN_W, RN_Y, RN_RSTD };

static void rmsnorm_make(struct kase *c)
{
    const struct row *r = c->row;
    const bool map = r->flags & K_MAP;
    arr_fill(c, "x", T_F32, map ? 2 * r->m : r->m, r->n, 3);
    arr_add(c, "row", T_I32, r->m, 1);
    arr_fill(c, "w", T_BF16, 1, r->n, 1);
    arr_add(c, "y", T_BF16, r->m, r->n);
    arr_add(c, "rstd", T_F32, r->m, 1);
    for (uint32_t i = 0; i < r->m; i++) ints(c, RN_ROW)[i] = (int32_t)(2 * i + 1);
    double *y = arr_want(c, RN_Y, true, REL_BF16, 0), *rstd = arr_want(c, RN_RSTD, true, REL_F32, 0);
    ref_rmsnorm(arr_doubles(c, RN_X), map ? ints(c, RN_ROW) : NULL, r->m, r->n, arr_doubles(c, RN_W), 1e-6, y, rstd);
    c->n_row = r->m;
}

static enum err rmsnorm_run(struct kase *c, uint32_t row0, uint32_t n)
{
    const bool map = c->row->flags & K_MAP;
    return c->dev->ops->rmsnorm(c->dev, NULL, arr_at(c, RN_X, map ? 0 : row0), map ? arr_at(c, RN_ROW, row0) : NULL, n, c->row->n,
                                arr_at(c, RN_W, 0), 1e-6f, arr_at(c, RN_Y, row0), arr_at(c, RN_RSTD, row0));
}

/* -- rope_kv, attention: sequences of row.lens. Row by row this is decoding: the cache holds what came before and zeros ------------ */

enum { AT_QKV = B_END, AT_ROPE, AT_O, AT_LSE };

static uint32_t width(const struct attn *a)
{
    return (a->n_head + 2 * a->n_head_kv) * a->head_dim;
}

static void rope_make(struct kase *c)
{
    c->n_row = case_seqs(c);
    arr_fill(c, "qkv", T_BF16, c->n_row, width(&c->a), 1.5);
    arr_rope(c, c->table_cols * KV_BLOCK_TOK, c->a.head_dim);
    const double *qkv = arr_doubles(c, AT_QKV);
    const struct ref_attn ra = {c->a.n_head, c->a.n_head_kv, c->a.head_dim, c->n_seq, c->first};
    double *want = arr_want(c, AT_QKV, false, REL_BF16, 1e-7);
    memcpy(want, qkv, (uint64_t)c->n_row * width(&c->a) * sizeof *want);
    ref_rope(want, arr_doubles(c, AT_ROPE), ints(c, B_POS), c->n_row, &ra);
}

static void attention_make(struct kase *c)
{
    rope_make(c);
    arr_add(c, "o", T_BF16, c->n_row, c->a.n_head * c->a.head_dim);
    arr_add(c, "lse", T_F32, c->n_row, c->a.n_head);
    const uint64_t n = (uint64_t)c->n_row * width(&c->a);
    double *qkv = hold(c, n * sizeof *qkv);
    for (uint64_t i = 0; i < n; i++) qkv[i] = bf16_round((float)c->arr[AT_QKV].want[i]);
    const struct ref_attn ra = {c->a.n_head, c->a.n_head_kv, c->a.head_dim, c->n_seq, c->first};
    double *o = arr_want(c, AT_O, true, REL_BF16, 0x1p-9), *lse = arr_want(c, AT_LSE, true, REL_F32, 1e-4);
    ref_attention(qkv, &ra, o, lse);
    for (uint32_t s = 0; s < c->n_seq; s++) c->flop += 2.0 * c->row->lens[s] * c->row->lens[s] * c->a.n_head * c->a.head_dim;
}

static enum err rope_run(struct kase *c, uint32_t row0, uint32_t n)
{
    struct batch b;
    TRY(case_batch(c, row0, n, &b));
    return c->dev->ops->rope_kv(c->dev, NULL, arr_at(c, AT_QKV, row0), arr_at(c, AT_ROPE, 0), &b, &c->a, &c->kv);
}

static enum err attention_run(struct kase *c, uint32_t row0, uint32_t n)
{
    struct batch b;
    TRY(rope_run(c, row0, n));
    TRY(case_batch(c, row0, n, &b));
    return c->dev->ops->attention(c->dev, NULL, arr_at(c, AT_QKV, row0), &b, &c->a, &c->kv, arr_at(c, AT_O, row0), arr_at(c, AT_LSE, row0));
}

/* -- swiglu: gu [m, 2n] ----------------------------------------------------------------------------------------------------------- */

static void swiglu_make(struct kase *c)
{
    const struct row *r = c->row;
    arr_fill(c, "gu", T_BF16, r->m, 2 * r->n, 3);
    arr_add(c, "h", T_BF16, r->m, r->n);
    double *h = arr_want(c, 1, true, REL_BF16, 1e-9);
    ref_swiglu(arr_doubles(c, 0), r->m, r->n, h);
    c->n_row = r->m;
}

static enum err swiglu_run(struct kase *c, uint32_t row0, uint32_t n)
{
    return c->dev->ops->swiglu(c->dev, NULL, arr_at(c, 0, row0), n, c->row->n, arr_at(c, 1, row0));
}

/* -- logprob: logits [m, n]; MASK: a third of them -inf; TEMP: each row its own ------------------------------------------------------ */

enum { LP_Z, LP_TEMP, LP_TARGET, LP_LP, LP_ENT };

static void logprob_make(struct kase *c)
{
    const struct row *r = c->row;
    arr_fill(c, "logits", T_F32, r->m, r->n, 4);
    arr_fill(c, "inv_temp", T_F32, r->m, 1, 0);
    arr_add(c, "target", T_I32, r->m, 1);
    arr_add(c, "lp", T_F32, r->m, 1);
    arr_add(c, "entropy", T_F32, r->m, 1);
    for (uint32_t i = 0; i < r->m; i++) {
        arr_set(&c->arr[LP_TEMP], i, 0.5 + draw_unit(c));
        ints(c, LP_TARGET)[i] = i % 7 == 3 ? -1 : i % 7 == 4 ? (int32_t)r->n - 1 : (int32_t)(draw_u64(c) % r->n);
        for (uint32_t k = 0; r->flags & K_MASK && k < r->n; k += 3)
            if ((int32_t)k != ints(c, LP_TARGET)[i]) arr_set(&c->arr[LP_Z], (uint64_t)i * r->n + k, -INFINITY);
    }
    double *lp = arr_want(c, LP_LP, true, REL_F32, 2e-6), *ent = arr_want(c, LP_ENT, true, REL_F32, 2e-6);
    ref_logprob(arr_doubles(c, LP_Z), r->m, r->n, r->flags & K_TEMP ? arr_doubles(c, LP_TEMP) : NULL, ints(c, LP_TARGET), lp, ent);
    c->n_row = r->m;
}

static enum err logprob_run(struct kase *c, uint32_t row0, uint32_t n)
{
    return c->dev->ops->logprob(c->dev, NULL, arr_at(c, LP_Z, row0), n, c->row->n, c->row->flags & K_TEMP ? arr_at(c, LP_TEMP, row0) : NULL,
                                arr_at(c, LP_TARGET, row0), arr_at(c, LP_LP, row0), arr_at(c, LP_ENT, row0));
}

/* -- sample: logits [m, n], ids below k; rows run through every kind of truncation; MASK: many equal logits ------------------------- */

enum { SA_Z, SA_ROW, SA_ID, SA_LP, SA_RAW };

/* A draw in the middle of a token's share, so that rounding cannot move it to a neighbour; the token it must give. */
static uint32_t aim(struct kase *c, const double *p, uint32_t n, float *ret_u)
{
    for (;;) {
        const uint32_t want = (uint32_t)(draw_u64(c) % n);
        double below = 0;
        for (uint32_t i = 0; i < want; i++) below += p[i];
        *ret_u = (float)(below + p[want] / 2);
        if (p[want] > 1e-4) return want;
    }
}

static void sample_make(struct kase *c)
{
    static const float temp[] = {1, 0, 0.5f, 1.7f}, top_p[] = {1, 0.9f, 0.4f, 1e-6f, 0.999f}, min_p[] = {0, 0.03f, 0.4f};
    static const uint32_t top_k[] = {0, 1, 3, 40, 100000};
    const struct row *r = c->row;
    arr_fill(c, "logits", T_F32, r->m, r->n, 3);
    arr_add(c, "row", T_U8, r->m, sizeof(struct sample_row));
    arr_add(c, "id", T_I32, r->m, 1);
    arr_add(c, "lp", T_F32, r->m, 1);
    arr_add(c, "lp_raw", T_F32, r->m, 1);
    float *zf = c->arr[SA_Z].host;
    for (uint64_t i = 0; r->flags & K_MASK && i < (uint64_t)r->m * r->n; i++) zf[i] = roundf(zf[i]);
    const double *z = arr_doubles(c, SA_Z);
    double *id = arr_want(c, SA_ID, true, 0, 0), *lp = arr_want(c, SA_LP, true, REL_F32, 2e-6), *raw = arr_want(c, SA_RAW, true, REL_F32, 2e-6);
    double *p = hold(c, r->k * sizeof *p);
    for (uint32_t i = 0; i < r->m; i++) {
        struct sample_row *o = (struct sample_row *)c->arr[SA_ROW].host + i;
        *o = (struct sample_row){temp[i % 4], top_p[i % 5], min_p[i % 3], 0, top_k[i / 2 % 5]};
        ref_sample(z + (uint64_t)i * r->n, r->k, o->inv_temp, o->top_k, o->top_p, o->min_p, p);
        const int32_t t = (int32_t)aim(c, p, r->k, &o->u);
        const double scale = o->inv_temp > 0 ? o->inv_temp : 1;
        id[i] = t;
        ref_logprob(z + (uint64_t)i * r->n, 1, r->n, &scale, &t, lp + i, NULL);
        ref_logprob(z + (uint64_t)i * r->n, 1, r->n, NULL, &t, raw + i, NULL);
    }
    c->n_row = r->m;
}

static enum err sample_run(struct kase *c, uint32_t row0, uint32_t n)
{
    return c->roll->sample(c->dev, NULL, arr_at(c, SA_Z, row0), n, c->row->n, c->row->k, arr_at(c, SA_ROW, row0), arr_at(c, SA_ID, row0),
                           arr_at(c, SA_LP, row0), arr_at(c, SA_RAW, row0));
}

const struct op fwd_ops[] = {
    {.name = "matmul", .make = matmul_make, .prepare = matmul_prepare, .run = matmul_run},
    {.name = "embed", .make = embed_make, .prepare = embed_prepare, .run = embed_run},
    {.name = "rmsnorm", .make = rmsnorm_make, .run = rmsnorm_run},
    {.name = "rope_kv", .make = rope_make, .prepare = case_kv, .run = rope_run},
    {.name = "attention", .make = attention_make, .prepare = case_kv, .run = attention_run},
    {.name = "swiglu", .make = swiglu_make, .run = swiglu_run},
    {.name = "logprob", .make = logprob_make, .run = logprob_run},
    {.name = "sample", .make = sample_make, .run = sample_run},
    {0},
};
