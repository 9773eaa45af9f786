// SPDX-License-Identifier: Apache-2.0
/* odd.c - numbers that are none: NaN and infinities go where the contract says and nowhere else; inputs of length 0; the
 * device's memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bf16.h"
#include "common/base/rng.h"
#include "tests/kern/kern.h"

#define C 64
#define M 5

struct odd {
    struct dev *d;
    const struct learner_ops *learn;
    const struct rollout_ops *roll;
    char *mem; /* 64 KiB on the device; a check puts its arrays where it likes */
};

static bool wrong(const struct odd *o, const char *what)
{
    printf("FAILED on %s: %s\n", o->d->name, what);
    return false;
}

static void *put(const struct odd *o, uint32_t at, const void *src, uint64_t n)
{
    if (o->d->mem->copy_in(o->d, NULL, o->mem + at, src, n)) abort();
    return o->mem + at;
}

static void get(const struct odd *o, uint32_t at, void *dst, uint64_t n)
{
    if (o->d->mem->copy_out(o->d, NULL, dst, o->mem + at, n)) abort();
}

/* Row 2 holds a NaN: its outputs are NaN, every other row has the bits that it has without. */
static bool rows_are_apart(const struct odd *o)
{
    float x[M * C], bad[M * C];
    uint16_t w[C], y[2][M * C], z[2][M * C], one[C * C];
    for (uint32_t i = 0; i < M * C; i++) x[i] = bad[i] = rng_unit(rng_philox(1, i, 0).v[0]) - 0.5f;
    for (uint32_t i = 0; i < C * C; i++) one[i] = bf16_from_f32(rng_unit(rng_philox(1, i, 1).v[0]) - 0.5f);
    for (uint32_t i = 0; i < C; i++) w[i] = bf16_from_f32(1);
    bad[2 * C + 7] = NAN;
    struct weight pw = {C, C, o->mem + 40960};
    if (o->d->ops->pack(o->d, NULL, one, &pw)) return wrong(o, "pack fails");
    for (int t = 0; t < 2; t++) {
        const float *in = put(o, 0, t ? bad : x, sizeof x);
        const uint16_t *weight = put(o, 8192, w, sizeof w);
        uint16_t *out = (uint16_t *)(o->mem + 16384), *prod = (uint16_t *)(o->mem + 24576);
        if (o->d->ops->rmsnorm(o->d, NULL, in, NULL, M, C, weight, 1e-6f, out, NULL)) return wrong(o, "rmsnorm fails");
        if (o->d->ops->matmul(o->d, NULL, out, M, &pw, NULL, MATMUL_BF16, prod)) return wrong(o, "matmul fails");
        get(o, 16384, y[t], sizeof y[t]);
        get(o, 24576, z[t], sizeof z[t]);
    }
    for (uint32_t i = 0; i < M * C; i++) {
        const bool row2 = i / C == 2;
        if (row2 && (!isnan(bf16_to_f32(y[1][i])) || !isnan(bf16_to_f32(z[1][i])))) return wrong(o, "a row with a NaN has an output that is a number");
        if (!row2 && (y[0][i] != y[1][i] || z[0][i] != z[1][i])) return wrong(o, "a NaN in one row reaches another");
    }
    return true;
}

/* Every kind of fp32 to bf16, to the bit: ties, NaN with and without high bits, infinities, denormals, overflow. */
static bool conversion_is_exact(const struct odd *o)
{
    static const uint32_t bits[] = {0, 0x80000000, 0x3f808000, 0x3f818000, 0x3f808001, 0x7f800000, 0xff800000, 0x7f800001, 0xffc00000, 0x7fffffff,
                                    1, 0x00008000, 0x00018000, 0x807fffff, 0x7f7fffff, 0xff7f8000, 0x7f7f7fff, 0x3f7fffff, 0x7fbfffff, 0x00800000};
    const uint32_t n = sizeof bits / sizeof *bits;
    uint16_t y[sizeof bits / sizeof *bits];
    float x[sizeof bits / sizeof *bits];
    memcpy(x, bits, sizeof x);
    if (o->learn->to_bf16(o->d, NULL, put(o, 0, x, sizeof x), n, (uint16_t *)(o->mem + 4096))) return wrong(o, "to_bf16 fails");
    get(o, 4096, y, sizeof y);
    for (uint32_t i = 0; i < n; i++)
        if (y[i] != bf16_from_f32(x[i])) return wrong(o, "to_bf16 is not bf16_from_f32");
    return true;
}

static bool sums_tell(const struct odd *o)
{
    float x[100] = {0};
    const float odd[] = {NAN, INFINITY, -INFINITY};
    double s = 1;
    if (o->learn->sum_sq(o->d, NULL, put(o, 0, x, sizeof x), 0, (double *)(o->mem + 4096))) return wrong(o, "sum_sq fails");
    get(o, 4096, &s, sizeof s);
    if (s != 0) return wrong(o, "the sum of no squares is not 0");
    for (int i = 0; i < 3; i++) {
        x[77] = odd[i];
        if (o->learn->sum_sq(o->d, NULL, put(o, 0, x, sizeof x), 100, (double *)(o->mem + 4096))) return wrong(o, "sum_sq fails");
        get(o, 4096, &s, sizeof s);
        if (isfinite(s)) return wrong(o, "a sum of squares over a NaN or an infinity is finite");
    }
    return true;
}

/* Row 1 of three is spoilt: the call says so, and the others draw what they draw. kind: what stands in it. */
static bool bad_logits(const struct odd *o, float kind, uint32_t first, uint32_t last, bool is_bad)
{
    enum { V = 40, V_REAL = 33 };
    float z[3 * V], lp[3];
    int32_t id[3], clean[3];
    struct sample_row row[3];
    for (uint32_t i = 0; i < 3 * V; i++) z[i] = 5 * rng_unit(rng_philox(5, i, 0).v[0]);
    for (uint32_t i = 0; i < 3; i++) row[i] = (struct sample_row){1, 0.9f, 0, 0.3f + 0.2f * (float)i, 20};
    for (int t = 0; t < 2; t++) {
        for (uint32_t i = first; t && i < last; i++) z[V + i] = kind;
        enum err e = o->roll->sample(o->d, NULL, put(o, 0, z, sizeof z), 3, V, V_REAL, put(o, 8192, row, sizeof row), (int32_t *)(o->mem + 12288),
                                     (float *)(o->mem + 16384), (float *)(o->mem + 20480));
        get(o, 12288, t ? id : clean, sizeof id);
        get(o, 16384, lp, sizeof lp);
        if (e != (t && is_bad ? ERR_NONFINITE : ERR_OK)) return wrong(o, is_bad ? "logits that are no numbers are drawn from" : "good logits are refused");
    }
    if (id[0] != clean[0] || id[2] != clean[2]) return wrong(o, "a bad row changes the draw of another");
    return (id[1] >= 0 && id[1] < V_REAL) || wrong(o, "the id of a bad row is outside the vocabulary");
}

static bool sample_refuses(const struct odd *o)
{
    return bad_logits(o, NAN, 8, 9, true) && bad_logits(o, NAN, 36, 37, true) && bad_logits(o, -INFINITY, 0, 40, true) &&
           bad_logits(o, INFINITY, 3, 4, true) && bad_logits(o, -INFINITY, 0, 33, true) && bad_logits(o, -INFINITY, 33, 40, false) &&
           bad_logits(o, -INFINITY, 0, 30, false);
}

/* A token that cannot be has logprob -inf; the entropy of the others stays a number. */
static bool impossible_tokens(const struct odd *o)
{
    float z[40], lp[2], ent[2];
    const int32_t target[] = {3, 4};
    for (uint32_t i = 0; i < 40; i++) z[i] = i % 20 == 3 ? -INFINITY : 1;
    if (o->d->ops->logprob(o->d, NULL, put(o, 0, z, sizeof z), 2, 20, NULL, put(o, 4096, target, sizeof target), (float *)(o->mem + 8192),
                           (float *)(o->mem + 12288)))
        return wrong(o, "logprob fails");
    get(o, 8192, lp, sizeof lp);
    get(o, 12288, ent, sizeof ent);
    if (lp[0] != -INFINITY) return wrong(o, "an impossible token has a finite logprob");
    return (fabsf(lp[1] + logf(19)) < 1e-5f && fabsf(ent[0] - logf(19)) < 1e-5f) || wrong(o, "an impossible token spoils the others");
}

/* Nothing to do is done. */
static bool nothing(const struct odd *o)
{
    struct weight w = {C, C, o->mem};
    float *f = (float *)o->mem;
    uint16_t *h = (uint16_t *)o->mem;
    const struct ops *op = o->d->ops;
    const struct learner_ops *l = o->learn;
    const bool ok = !op->matmul(o->d, NULL, h, 0, &w, NULL, MATMUL_BF16, h) && !op->rmsnorm(o->d, NULL, f, NULL, 0, C, h, 1e-6f, h, NULL) &&
                    !op->swiglu(o->d, NULL, h, 0, C, h) && !op->logprob(o->d, NULL, f, 0, C, NULL, NULL, f, NULL) && !l->to_bf16(o->d, NULL, f, 0, h) &&
                    !l->matmul_dw(o->d, NULL, h, h, 0, C, C, f) && !o->roll->sample(o->d, NULL, f, 0, C, C, NULL, NULL, NULL, NULL);
    return ok || wrong(o, "an op with no rows fails");
}

/* Memory comes zeroed and aligned, though it was used before; copies and zeros end where they should; what cannot be had is said. */
static bool memory(const struct odd *o)
{
    uint8_t in[300], out[300];
    const struct dev_ops *m = o->d->mem;
    void *a = NULL, *b = NULL;
    bool ok = true;
    memset(in, 0xEE, sizeof in);
    for (int t = 0; t < 3 && ok; t++) {
        if (m->alloc(o->d, 300, &a) || m->alloc(o->d, 0, &b)) return wrong(o, "300 bytes are not to be had");
        if (m->copy_out(o->d, NULL, out, a, 300)) return wrong(o, "copy_out fails");
        for (uint32_t i = 0; i < 300; i++) ok &= out[i] == 0;
        ok &= (uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0;
        ok &= !m->copy_in(o->d, NULL, a, in, 300) && !m->zero(o->d, NULL, (char *)a + 100, 50);
        ok &= !m->copy(o->d, NULL, (char *)a + 110, (char *)a + 7, 3) && !m->sync(o->d, NULL) && !m->copy_out(o->d, NULL, out, a, 300);
        for (uint32_t i = 0; i < 300; i++) ok &= out[i] == (i >= 100 && i < 150 && (i < 110 || i >= 113) ? 0 : 0xEE);
        m->free(o->d, a);
        m->free(o->d, b);
    }
    m->free(o->d, NULL);
    if (!ok) return wrong(o, "memory is not zeroed or not aligned, or a copy strays");
    return m->alloc(o->d, UINT64_MAX - 10, &a) == ERR_NOMEM || wrong(o, "more memory than there is gives no ERR_NOMEM");
}

/* A draw lies strictly between 0 and 1, at both ends of the generator's words. */
static bool units(const struct odd *o)
{
    return (rng_unit(0) > 0 && rng_unit(UINT32_MAX) < 1 && rng_unit(0x80000000u) == rng_unit(0x800000ffu)) ||
           wrong(o, "a word of the generator gives 0, or 1");
}

bool odd_checks(struct dev *d, const struct learner_ops *learn, const struct rollout_ops *roll)
{
    void *mem = NULL;
    if (d->mem->alloc(d, 65536, &mem)) return false;
    const struct odd o = {d, learn, roll, mem};
    bool ok = memory(&o);
    ok &= rows_are_apart(&o);
    ok &= conversion_is_exact(&o);
    ok &= sums_tell(&o);
    ok &= sample_refuses(&o);
    ok &= impossible_tokens(&o);
    ok &= nothing(&o);
    ok &= units(&o);
    d->mem->free(d, mem);
    return ok;
}
