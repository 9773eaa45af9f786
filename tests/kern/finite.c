// SPDX-License-Identifier: Apache-2.0
/* finite.c - are the gradients of tests/ref those of its forward functions? L = sum of g y with random g; each input is moved both ways by a
 * small step, in double. The kernels are then held against these gradients row by row of the table. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/kern/kern.h"
#include "tests/ref/ref.h"

#define STEP 1e-5

static uint64_t drawn;

static double unit(void)
{
    return ((double)(rng_u64(11, 2, drawn++) >> 11) + 0.5) / 9007199254740992.0;
}

static double *numbers(uint64_t n, double scale)
{
    double *p = calloc(n + 1, sizeof *p);
    for (uint64_t i = 0; p && i < n; i++) p[i] = scale * (2 * unit() - 1);
    return p;
}

static double dot(const double *a, const double *b, uint64_t n)
{
    double s = 0;
    for (uint64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

/* Compare grad[n] with differences of loss(ctx) by x[n], which loss reads. */
static bool agrees(const char *name, double *x, const double *grad, uint64_t n, double (*loss)(void *ctx), void *ctx)
{
    double top = 0;
    for (uint64_t i = 0; i < n; i++) top = fmax(top, fabs(grad[i]));
    if (top == 0) return printf("FAILED %s: every gradient is 0\n", name), false;
    for (uint64_t i = 0; i < n; i++) {
        const double x0 = x[i];
        x[i] = x0 + STEP;
        const double up = loss(ctx);
        x[i] = x0 - STEP;
        const double d = (up - loss(ctx)) / (2 * STEP);
        x[i] = x0;
        if (fabs(d - grad[i]) > 1e-6 * (top + fabs(d))) return printf("FAILED %s: gradient %llu is %.9g, differences give %.9g\n", name, (unsigned long long)i, grad[i], d), false;
    }
    return true;
}

struct ctx {
    uint32_t m, n, k;
    double *a, *w, *bias, *g, *y;
    int32_t *id;
    const double *rope;
    struct ref_attn at;
    struct loss_opts o;
    struct ref_loss r;
    struct adamw adam;
};

static double product(void *v)
{
    struct ctx *c = v;
    ref_matmul(c->a, c->m, c->w, c->n, c->k, c->bias, c->y);
    return dot(c->g, c->y, (uint64_t)c->m * c->n);
}

static bool products(void)
{
    struct ctx c = {.m = 5, .n = 7, .k = 6};
    c.a = numbers(30, 1), c.w = numbers(42, 1), c.bias = numbers(7, 1), c.g = numbers(35, 1), c.y = numbers(35, 0);
    double *dx = numbers(30, 0), *dw = numbers(42, 0), *db = numbers(7, 0);
    ref_matmul_dx(c.g, c.m, c.w, c.n, c.k, dx);
    ref_matmul_dw(c.g, c.a, c.m, c.n, c.k, dw);
    ref_bias_bwd(c.g, c.m, c.n, db);
    bool ok = agrees("matmul_dx", c.a, dx, 30, product, &c);
    ok &= agrees("matmul_dw", c.w, dw, 42, product, &c);
    ok &= agrees("bias_bwd", c.bias, db, 7, product, &c);
    free(c.a), free(c.w), free(c.bias), free(c.g), free(c.y), free(dx), free(dw), free(db);
    return ok;
}

static double norm(void *v)
{
    struct ctx *c = v;
    ref_rmsnorm(c->a, c->id, c->m, c->n, c->w, 1e-3, c->y, NULL);
    return dot(c->g, c->y, (uint64_t)c->m * c->n);
}

static bool norms(void)
{
    int32_t row[] = {1, 3, 0};
    struct ctx c = {.m = 3, .n = 9, .id = row};
    c.a = numbers(36, 2), c.w = numbers(9, 1), c.g = numbers(27, 1), c.y = numbers(27, 0);
    double *dx = numbers(36, 0), *dw = numbers(9, 0);
    ref_rmsnorm_bwd(c.g, c.a, row, c.m, c.n, c.w, 1e-3, dx, dw);
    bool ok = agrees("rmsnorm_bwd dx", c.a, dx, 36, norm, &c);
    ok &= agrees("rmsnorm_bwd dw", c.w, dw, 9, norm, &c);
    free(c.a), free(c.w), free(c.g), free(c.y), free(dx), free(dw);
    return ok;
}

static double glu(void *v)
{
    struct ctx *c = v;
    ref_swiglu(c->a, c->m, c->n, c->y);
    return dot(c->g, c->y, (uint64_t)c->m * c->n);
}

static double embedding(void *v)
{
    struct ctx *c = v;
    ref_embed(c->w, c->k, c->n, c->id, c->m, c->y);
    return dot(c->g, c->y, (uint64_t)c->m * c->n);
}

static bool rows(void)
{
    int32_t id[] = {2, -1, 2, 4};
    struct ctx c = {.m = 4, .n = 6, .k = 5, .id = id};
    c.a = numbers(48, 3), c.w = numbers(30, 1), c.g = numbers(24, 1), c.y = numbers(24, 0);
    double *dgu = numbers(48, 0), *dt = numbers(30, 0);
    ref_swiglu_bwd(c.g, c.a, c.m, c.n, dgu);
    ref_embed_bwd(c.g, id, c.m, c.k, c.n, dt);
    bool ok = agrees("swiglu_bwd", c.a, dgu, 48, glu, &c);
    ok &= agrees("embed_bwd", c.w, dt, 30, embedding, &c);
    free(c.a), free(c.w), free(c.g), free(c.y), free(dgu), free(dt);
    return ok;
}

/* From before the rotation: the gradient of attention_bwd reaches through it. */
static double attention(void *v)
{
    struct ctx *c = v;
    const uint64_t n = (uint64_t)c->m * c->n;
    int32_t pos[16];
    for (uint32_t s = 0; s < c->at.n_seq; s++)
        for (int32_t r = c->at.first[s]; r < c->at.first[s + 1]; r++) pos[r] = r - c->at.first[s];
    memcpy(c->w, c->a, n * sizeof *c->w);
    ref_rope(c->w, c->rope, pos, c->m, &c->at);
    ref_attention(c->w, &c->at, c->y, NULL);
    return dot(c->g, c->y, (uint64_t)c->m * c->k);
}

static bool attentions(void)
{
    static const int32_t first[] = {0, 4, 9};
    struct ctx c = {.m = 9, .n = (6 + 2 * 2) * 4, .k = 6 * 4, .at = {6, 2, 4, 2, first}};
    const uint64_t n = 9 * c.n, q = 9 * c.k;
    double *rope = numbers(5 * 4, 0), *d = numbers(n, 0);
    for (uint32_t i = 0; i < 10; i++) rope[2 * i] = cos(i / 2 * (i % 2 ? 0.1 : 1)), rope[2 * i + 1] = sin(i / 2 * (i % 2 ? 0.1 : 1));
    c.rope = rope, c.a = numbers(n, 1.5), c.w = numbers(n, 0), c.g = numbers(q, 1), c.y = numbers(q, 0);
    attention(&c); /* leaves the rotated rows in w */
    ref_attention_bwd(c.w, c.y, c.g, rope, &c.at, d);
    const bool ok = agrees("attention_bwd", c.a, d, n, attention, &c);
    free(rope), free(d), free(c.a), free(c.w), free(c.g), free(c.y);
    return ok;
}

static double head(void *v)
{
    struct ctx *c = v;
    double s = 0;
    ref_loss_head(c->a, c->m, c->n, &c->o, c->id, &c->r, c->y);
    for (uint32_t i = 0; i < c->m; i++) s += c->r.loss[i];
    return s;
}

static bool heads(void)
{
    static const struct loss_opts opts[] = {{LOSS_SFT, 0, 0, 0, 1}, {LOSS_GRPO, 0.2f, 0.3f, 0, 1.3f}, {LOSS_GRPO, 0.2f, 0.2f, 0.5f, 0.7f}};
    int32_t target[12];
    bool ok = true;
    for (unsigned t = 0; t < 3; t++) {
        struct ctx c = {.m = 12, .n = 8, .o = opts[t], .id = target};
        double *row[9], *d = numbers(96, 0), clipped = 0;
        for (unsigned i = 0; i < 9; i++) row[i] = numbers(12, 1);
        c.a = numbers(96, 2), c.y = numbers(96, 0);
        c.r = (struct ref_loss){row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8]};
        for (int32_t i = 0; i < 12; i++) target[i] = i == 5 ? -1 : i % 8, row[0][i] = row[1][i] = 0;
        ref_loss_head(c.a, c.m, c.n, &c.o, target, &c.r, d);
        for (unsigned i = 0; i < 12; i++) row[0][i] = row[4][i] + 0.8 * (unit() - 0.5), row[1][i] = row[4][i] + unit() - 0.5;
        ref_loss_head(c.a, c.m, c.n, &c.o, target, &c.r, d);
        for (unsigned i = 0; i < 12; i++) clipped += row[8][i];
        if (t && (clipped == 0 || clipped == 11)) ok = false, printf("FAILED loss_head: %g of 11 rows are clipped, some should be\n", clipped);
        ok &= agrees("loss_head", c.a, d, 96, head, &c);
        for (unsigned i = 0; i < 9; i++) free(row[i]);
        free(d), free(c.a), free(c.y);
    }
    return ok;
}

bool finite_differences(void)
{
    bool ok = products();
    ok &= norms();
    ok &= rows();
    ok &= attentions();
    ok &= heads();
    return ok;
}
