// SPDX-License-Identifier: Apache-2.0
/* ops_bwd.c - the cases of learner/kern/ops.h. Bounds as in ops_fwd.c; that tests/ref has the right gradients is shown in finite.c. */
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

/* An output that is added to: want starts as what stands there. */
static double *added(struct kase *c, uint32_t i, double rel, double abs)
{
    const double *before = arr_doubles(c, i);
    double *want = arr_want(c, i, false, rel, abs);
    memcpy(want, before, (uint64_t)c->arr[i].rows * c->arr[i].cols * sizeof *want);
    return want;
}

/* -- matmul_dx: dy [m, n] W [n, k] --------------------------------------------------------------------------------------------------- */

enum { DX_DY, DX_W, DX_DX };

static void dx_make(struct kase *c)
{
    const struct row *r = c->row;
    const bool f32 = r->flags & (K_F32 | K_ADD);
    arr_fill(c, "dy", T_BF16, r->m, r->n, 1);
    arr_fill(c, "w", T_BF16, r->n, r->k, 0.05);
    arr_fill(c, "dx", f32 ? T_F32 : T_BF16, r->m, r->k, 1);
    const double *before = arr_doubles(c, DX_DX);
    double *dx = arr_want(c, DX_DX, !(r->flags & K_ADD), f32 ? REL_F32 : REL_BF16, 1e-7 * (4 + sqrt(r->n)));
    ref_matmul_dx(arr_doubles(c, DX_DY), r->m, arr_doubles(c, DX_W), r->n, r->k, dx);
    for (uint64_t i = 0; r->flags & K_ADD && i < (uint64_t)r->m * r->k; i++) dx[i] += before[i];
    c->n_row = r->m;
    c->flop = 2.0 * r->m * r->n * r->k;
}

static enum err dx_prepare(struct kase *c)
{
    c->w = (struct weight){c->row->n, c->row->k, dev_mem(c, c->learn->pack_dx_bytes(c->row->n, c->row->k))};
    return c->w.data ? c->learn->pack_dx(c->dev, NULL, arr_at(c, DX_W, 0), &c->w) : ERR_NOMEM;
}

static enum err dx_run(struct kase *c, uint32_t row0, uint32_t n)
{
    const unsigned f = c->row->flags;
    return c->learn->matmul_dx(c->dev, NULL, arr_at(c, DX_DY, row0), n, &c->w, f & K_ADD ? MATMUL_F32_ADD : f & K_F32 ? MATMUL_F32 : MATMUL_BF16,
                               arr_at(c, DX_DX, row0));
}

/* -- matmul_dw: dy [m, n], a [m, k] --------------------------------------------------------------------------------------------------- */

enum { DW_DY, DW_A, DW_DW };

static void dw_make(struct kase *c)
{
    const struct row *r = c->row;
    arr_fill(c, "dy", T_BF16, r->m, r->n, 0.1);
    arr_fill(c, "a", T_BF16, r->m, r->k, 1);
    arr_fill(c, "dw", T_F32, r->n, r->k, 1);
    ref_matmul_dw(arr_doubles(c, DW_DY), arr_doubles(c, DW_A), r->m, r->n, r->k, added(c, DW_DW, REL_F32, 1e-7 * (4 + sqrt(r->m))));
    c->n_row = r->m;
    c->flop = 2.0 * r->m * r->n * r->k;
}

static enum err dw_run(struct kase *c, uint32_t row0, uint32_t n)
{
    return c->learn->matmul_dw(c->dev, NULL, arr_at(c, DW_DY, row0), arr_at(c, DW_A, row0), n, c->row->n, c->row->k, arr_at(c, DW_DW, 0));
}

/* -- bias_bwd: dy [m, n] --------------------------------------------------------------------------------------------------------------- */

static void bias_make(struct kase *c)
{
    arr_fill(c, "dy", T_BF16, c->row->m, c->row->n, 1);
    arr_fill(c, "db", T_F32, 1, c->row->n, 1);
    ref_bias_bwd(arr_doubles(c, 0), c->row->m, c->row->n, added(c, 1, REL_F32, 1e-6));
    c->n_row = c->row->m;
}

static enum err bias_run(struct kase *c, uint32_t row0, uint32_t n)
{
    return c->learn->bias_bwd(c->dev, NULL, arr_at(c, 0, row0), n, c->row->n, arr_at(c, 1, 0));
}

/* -- rmsnorm_bwd: dy [m, n]; MAP: every second row of x -------------------------------------------------------------------------------- */

enum { NB_DY, NB_X, NB_ROW, NB_W, NB_RSTD, NB_DX, NB_DW };

static void norm_make(struct kase *c)
{
    const struct row *r = c->row;
    const bool map = r->flags & K_MAP;
    const uint32_t rows = map ? 2 * r->m : r->m;
    arr_fill(c, "dy", T_F32, r->m, r->n, 1);
    arr_fill(c, "x", T_F32, rows, r->n, 2);
    arr_add(c, "row", T_I32, r->m, 1);
    arr_fill(c, "w", T_BF16, 1, r->n, 1);
    arr_add(c, "rstd", T_F32, r->m, 1);
    arr_fill(c, "dx", T_F32, rows, r->n, 1);
    arr_fill(c, "dw", T_F32, 1, r->n, 1);
    for (uint32_t i = 0; i < r->m; i++) ints(c, NB_ROW)[i] = (int32_t)(2 * i + 1);
    const int32_t *row = map ? ints(c, NB_ROW) : NULL;
    const double *x = arr_doubles(c, NB_X), *w = arr_doubles(c, NB_W);
    double *y = hold(c, (uint64_t)r->m * r->n * sizeof *y), *rstd = hold(c, r->m * sizeof *rstd);
    ref_rmsnorm(x, row, r->m, r->n, w, 1e-6, y, rstd);
    for (uint32_t i = 0; i < r->m; i++) arr_set(&c->arr[NB_RSTD], i, rstd[i]);
    double *dx = added(c, NB_DX, REL_F32, 1e-6), *dw = added(c, NB_DW, REL_F32, 1e-6);
    ref_rmsnorm_bwd(arr_doubles(c, NB_DY), x, row, r->m, r->n, w, 1e-6, dx, dw);
    c->n_row = r->m;
}

static enum err norm_run(struct kase *c, uint32_t row0, uint32_t n)
{
    (void)row0;
    return c->learn->rmsnorm_bwd(c->dev, NULL, arr_at(c, NB_DY, 0), arr_at(c, NB_X, 0), c->row->flags & K_MAP ? arr_at(c, NB_ROW, 0) : NULL, n,
                                 c->row->n, arr_at(c, NB_W, 0), arr_at(c, NB_RSTD, 0), arr_at(c, NB_DX, 0), arr_at(c, NB_DW, 0));
}

/* -- attention_bwd: sequences of row.lens; run by whole sequences -------------------------------------------------------------------------- */

enum { AB_QKV = B_END, AB_O, AB_DO, AB_LSE, AB_ROPE, AB_DQKV };

static uint32_t width(const struct attn *a)
{
    return (a->n_head + 2 * a->n_head_kv) * a->head_dim;
}

static void attention_make(struct kase *c)
{
    const uint32_t n = case_seqs(c), q = c->a.n_head * c->a.head_dim;
    arr_fill(c, "qkv", T_BF16, n, width(&c->a), 1);
    arr_add(c, "o", T_BF16, n, q);
    arr_fill(c, "do", T_BF16, n, q, 0.01);
    arr_add(c, "lse", T_F32, n, c->a.n_head);
    arr_rope(c, c->table_cols * KV_BLOCK_TOK, c->a.head_dim);
    arr_add(c, "dqkv", T_BF16, n, width(&c->a));
    const struct ref_attn ra = {c->a.n_head, c->a.n_head_kv, c->a.head_dim, c->n_seq, c->first};
    const double *qkv = arr_doubles(c, AB_QKV);
    double *o = hold(c, (uint64_t)n * q * sizeof *o), *lse = hold(c, (uint64_t)n * c->a.n_head * sizeof *lse);
    ref_attention(qkv, &ra, o, lse);
    for (uint64_t i = 0; i < (uint64_t)n * q; i++) arr_set(&c->arr[AB_O], i, o[i]);
    for (uint64_t i = 0; i < (uint64_t)n * c->a.n_head; i++) arr_set(&c->arr[AB_LSE], i, lse[i]);
    double *want = arr_want(c, AB_DQKV, true, REL_BF16, 1e-5);
    ref_attention_bwd(qkv, arr_doubles(c, AB_O), arr_doubles(c, AB_DO), arr_doubles(c, AB_ROPE), &ra, want);
    c->n_row = c->n_seq;
    for (uint32_t s = 0; s < c->n_seq; s++) c->flop += 5.0 * c->row->lens[s] * c->row->lens[s] * q;
}

static enum err attention_prepare(struct kase *c)
{
    c->sub_first = dev_mem(c, (c->n_seq + 1) * sizeof(int32_t));
    c->kv.mem = dev_mem(c, c->learn->attention_bwd_bytes((uint32_t)c->first[c->n_seq], &c->a)); /* work */
    return c->sub_first && c->kv.mem ? ERR_OK : ERR_NOMEM;
}

static enum err attention_run(struct kase *c, uint32_t seq0, uint32_t n)
{
    const uint32_t r0 = (uint32_t)c->first[seq0], rows = (uint32_t)c->first[seq0 + n] - r0;
    struct batch b;
    TRY(case_batch(c, r0, rows, &b));
    return c->learn->attention_bwd(c->dev, NULL, arr_at(c, AB_QKV, r0), arr_at(c, AB_O, r0), arr_at(c, AB_DO, r0), arr_at(c, AB_LSE, r0),
                                   arr_at(c, AB_ROPE, 0), &b, &c->a, c->kv.mem, arr_at(c, AB_DQKV, r0));
}

/* -- swiglu_bwd: dh [m, n] ---------------------------------------------------------------------------------------------------------------- */

static void swiglu_make(struct kase *c)
{
    const struct row *r = c->row;
    arr_fill(c, "dh", T_F32, r->m, r->n, 1);
    arr_fill(c, "gu", T_BF16, r->m, 2 * r->n, 3);
    arr_add(c, "dgu", T_BF16, r->m, 2 * r->n);
    ref_swiglu_bwd(arr_doubles(c, 0), arr_doubles(c, 1), r->m, r->n, arr_want(c, 2, true, REL_BF16, 1e-6));
    c->n_row = r->m;
}

static enum err swiglu_run(struct kase *c, uint32_t row0, uint32_t n)
{
    return c->learn->swiglu_bwd(c->dev, NULL, arr_at(c, 0, row0), arr_at(c, 1, row0), n, c->row->n, arr_at(c, 2, row0));
}

/* -- embed_bwd: dx [m, k] into a table [n, k]; MAP: some ids outside ------------------------------------------------------------------------ */

static void embed_make(struct kase *c)
{
    const struct row *r = c->row;
    arr_add(c, "id", T_I32, r->m, 1);
    arr_fill(c, "dx", T_F32, r->m, r->k, 1);
    arr_fill(c, "dtable", T_F32, r->n, r->k, 1);
    for (uint32_t i = 0; i < r->m; i++) ints(c, 0)[i] = (int32_t)(draw_u64(c) % r->n);
    if (r->flags & K_MAP) ints(c, 0)[0] = -1, ints(c, 0)[r->m - 1] = (int32_t)r->n;
    ref_embed_bwd(arr_doubles(c, 1), ints(c, 0), r->m, r->n, r->k, added(c, 2, REL_F32, 1e-6));
    c->n_row = r->m;
}

static enum err embed_run(struct kase *c, uint32_t row0, uint32_t n)
{
    const struct batch b = {.n_row = n, .id = arr_at(c, 0, row0)};
    return c->learn->embed_bwd(c->dev, NULL, arr_at(c, 1, row0), &b, c->row->n, c->row->k, arr_at(c, 2, 0));
}

/* -- loss_head: logits [m, n]; MASK: SFT; KL: beta; TEMP ------------------------------------------------------------------------------------- */

enum { LH_Z, LH_TARGET, LH_OLD, LH_REF, LH_ADV, LH_W, LH_LP, LH_ENT, LH_LOSS, LH_KL, LH_CLIP, LH_DZ };

static void loss_make(struct kase *c)
{
    static const char *name[] = {"logits", "target", "old_lp", "ref_lp", "adv", "weight", "lp", "entropy", "loss", "kl", "clipped", "dlogits"};
    const struct row *r = c->row;
    c->loss = (struct loss_opts){r->flags & K_MASK ? LOSS_SFT : LOSS_GRPO, 0.2f, 0.28f, r->flags & K_KL ? 0.04f : 0, r->flags & K_TEMP ? 1.25f : 1};
    arr_fill(c, name[LH_Z], T_F32, r->m, r->n, 3);
    c->arr[LH_Z].out = true; /* the op may use it as scratch */
    arr_add(c, name[LH_TARGET], T_I32, r->m, 1);
    for (uint32_t i = LH_OLD; i < LH_DZ; i++) arr_fill(c, name[i], T_F32, r->m, 1, 1);
    arr_add(c, name[LH_DZ], T_BF16, r->m, r->n);
    for (uint32_t i = 0; i < r->m; i++) ints(c, LH_TARGET)[i] = i % 6 == 2 ? -1 : (int32_t)(draw_u64(c) % r->n);
    /* old and reference logprobs near the present one, so that every side of the clip is met */
    const double *z = arr_doubles(c, LH_Z), t = c->loss.inv_temp;
    for (uint32_t i = 0; i < r->m; i++) {
        double lp = 0;
        ref_logprob(z + (uint64_t)i * r->n, 1, r->n, &t, ints(c, LH_TARGET) + i, &lp, NULL);
        arr_set(&c->arr[LH_OLD], i, lp + 0.4 * draw_normal(c));
        arr_set(&c->arr[LH_REF], i, lp + 0.4 * draw_normal(c));
        arr_set(&c->arr[LH_W], i, 1.0 / r->m);
    }
    double *out[LH_DZ];
    for (uint32_t i = LH_LP; i < LH_DZ; i++) out[i] = arr_want(c, i, true, 1e-5, i == LH_CLIP ? 0 : 1e-5);
    const struct ref_loss rl = {arr_doubles(c, LH_OLD), arr_doubles(c, LH_REF), arr_doubles(c, LH_ADV), arr_doubles(c, LH_W),
                                out[LH_LP], out[LH_ENT], out[LH_LOSS], out[LH_KL], out[LH_CLIP]};
    ref_loss_head(z, r->m, r->n, &c->loss, ints(c, LH_TARGET), &rl, arr_want(c, LH_DZ, true, REL_BF16, 1e-6));
    c->n_row = r->m;
}

static enum err loss_run(struct kase *c, uint32_t r, uint32_t n)
{
    const struct loss_rows rows = {arr_at(c, LH_TARGET, r), arr_at(c, LH_OLD, r), arr_at(c, LH_REF, r),  arr_at(c, LH_ADV, r), arr_at(c, LH_W, r),
                                   arr_at(c, LH_LP, r),     arr_at(c, LH_ENT, r), arr_at(c, LH_LOSS, r), arr_at(c, LH_KL, r),  arr_at(c, LH_CLIP, r)};
    return c->learn->loss_head(c->dev, NULL, arr_at(c, LH_Z, r), n, c->row->n, &c->loss, &rows, arr_at(c, LH_DZ, r));
}

/* -- to_bf16, sum_sq, adamw: m elements; adamw MASK: decay, TEMP: clipped, third step ---------------------------------------------------------- */

static void to_bf16_make(struct kase *c)
{
    arr_fill(c, "x", T_F32, c->row->m, 1, 10);
    arr_add(c, "y", T_BF16, c->row->m, 1);
    double *y = arr_want(c, 1, true, 0, 0);
    for (uint32_t i = 0; i < c->row->m; i++) y[i] = bf16_round(((float *)c->arr[0].host)[i]);
    c->n_row = c->row->m;
}

static enum err to_bf16_run(struct kase *c, uint32_t row0, uint32_t n)
{
    return c->learn->to_bf16(c->dev, NULL, arr_at(c, 0, row0), n, arr_at(c, 1, row0));
}

static void sum_sq_make(struct kase *c)
{
    arr_fill(c, "x", T_F32, c->row->m, 1, 10);
    arr_add(c, "sum", T_F64, 1, 1);
    *arr_want(c, 1, true, 1e-12, 0) = ref_sum_sq(arr_doubles(c, 0), c->row->m);
    c->n_row = c->row->m;
}

static enum err sum_sq_run(struct kase *c, uint32_t row0, uint32_t n)
{
    return c->learn->sum_sq(c->dev, NULL, arr_at(c, 0, row0), n, arr_at(c, 1, 0));
}

enum { AW_G, AW_M, AW_V, AW_MASTER, AW_IMAGE };

static void adamw_make(struct kase *c)
{
    const struct row *r = c->row;
    const bool late = r->flags & K_TEMP;
    c->adamw = (struct adamw){1e-3f, 0.9f, 0.999f, 1e-8f, 0.1f, late ? 0.271f : 0.1f, late ? 0.002997001f : 0.001f, late ? 0.37f : 1};
    arr_fill(c, "g", T_F32, r->m, 1, 0.01);
    arr_fill(c, "m", T_F32, r->m, 1, late ? 0.003 : 0);
    arr_fill(c, "v", T_F32, r->m, 1, late ? 1e-5 : 0);
    arr_fill(c, "master", T_F32, r->m, 1, 0.1);
    arr_add(c, "image", T_BF16, r->m, 1);
    float *v = c->arr[AW_V].host;
    for (uint32_t i = 0; i < r->m; i++) v[i] = fabsf(v[i]);
    double *m = added(c, AW_M, 1e-5, 1e-7), *vv = added(c, AW_V, 1e-5, 1e-7), *w = added(c, AW_MASTER, 1e-6, 1e-7);
    double *image = arr_want(c, AW_IMAGE, true, REL_BF16, 0);
    ref_adamw(&c->adamw, r->flags & K_MASK, r->m, arr_doubles(c, AW_G), m, vv, w);
    memcpy(image, w, r->m * sizeof *w);
    c->n_row = r->m;
}

static enum err adamw_run(struct kase *c, uint32_t row0, uint32_t n)
{
    return c->learn->adamw(c->dev, NULL, &c->adamw, c->row->flags & K_MASK, n, arr_at(c, AW_G, row0), arr_at(c, AW_M, row0), arr_at(c, AW_V, row0),
                           arr_at(c, AW_MASTER, row0), arr_at(c, AW_IMAGE, row0));
}

const struct op bwd_ops[] = {
    {.name = "loss_head", .make = loss_make, .run = loss_run},
    {.name = "matmul_dx", .make = dx_make, .prepare = dx_prepare, .run = dx_run},
    {.name = "matmul_dw", .summed = true, .make = dw_make, .run = dw_run},
    {.name = "bias_bwd", .summed = true, .make = bias_make, .run = bias_run},
    {.name = "rmsnorm_bwd", .summed = true, .make = norm_make, .run = norm_run},
    {.name = "attention_bwd", .make = attention_make, .prepare = attention_prepare, .run = attention_run},
    {.name = "swiglu_bwd", .make = swiglu_make, .run = swiglu_run},
    {.name = "embed_bwd", .summed = true, .make = embed_make, .run = embed_run},
    {.name = "to_bf16", .make = to_bf16_make, .run = to_bf16_run},
    {.name = "sum_sq", .summed = true, .make = sum_sq_make, .run = sum_sq_run},
    {.name = "adamw", .make = adamw_make, .run = adamw_run},
    {0},
};
