// SPDX-License-Identifier: Apache-2.0
/* sample.c - draw one token a row by inverting the cumulative sum in ascending id order.
 *
 * Without truncation a row is one pass for the softmax and one and a half for the draw; nothing is sorted. Truncation keeps a
 * threshold on the logit, found by bisection over its bits (top_k), digit by digit (top_p) or directly (min_p), so it does not sort either. */
#include <float.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/dev/par.h"
#include "common/dev/softmax.h"
#include "rollout/kern/ops.h"

struct job {
    const float *logits;
    uint32_t v, v_real;
    const struct sample_row *row;
    int32_t *id;
    float *lp, *lp_raw;
    bool bad; /* set by any member, read after all are done */
};

static int32_t argmax(const float *z, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (z[i] > z[best]) best = i;
    return (int32_t)best;
}

/* Floats in an order that compares as integers, and back; the two zeros are one. */
static uint32_t to_key(float f)
{
    uint32_t u;
    f += 0.0f;
    memcpy(&u, &f, 4);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}
static float from_key(uint32_t k)
{
    uint32_t u = k & 0x80000000u ? k & 0x7fffffffu : ~k;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static uint32_t count_above(const float *z, uint32_t n, float lim)
{
    uint32_t c = 0;
    for (uint32_t i = 0; i < n; i++) c += z[i] > lim;
    return c;
}

/* The k-th largest of z: at most k - 1 are above it. */
static float kth_largest(const float *z, uint32_t n, uint32_t k)
{
    uint32_t lo = to_key(-INFINITY), hi = to_key(INFINITY); /* beyond either are NaNs, which nothing is above */
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (count_above(z, n, from_key(mid)) < k) hi = mid;
        else lo = mid + 1;
    }
    return from_key(lo);
}

/* What is left of a row: tokens above lim, and of those equal to it the first `ties`. */
struct cut {
    float lim;
    uint32_t ties;
};

static bool inside(const struct cut *c, float z, uint32_t *ties_seen)
{
    if (z > c->lim) return true;
    return z == c->lim && (*ties_seen)++ < c->ties;
}

/* exp(z inv_temp - m) of the 16 tokens from i on: their weights in the row; 0 behind the end. */
static inline void weights(const struct softmax *s, const float *z, uint32_t n, uint32_t i, float *w)
{
    vf_store(w, vf_exp(vf_sub(softmax_z(z, i, n, s->inv_temp), vf_set1(s->m))));
}

/* A digit of a key, most significant first: DIGITS of them lead to one key. */
#define DIGITS 3
static const struct {
    uint32_t shift, mask;
} digit[DIGITS] = {{21, 0x7ff}, {10, 0x7ff}, {0, 0x3ff}};

/* mass[x]: what c leaves of the tokens whose key has this prefix above digit k and x as digit k. Each sum is in ascending id order. */
static void masses(const float *z, uint32_t n, const struct softmax *s, const struct cut *c, uint32_t prefix, uint32_t k, double *mass)
{
    uint32_t ties = 0;
    const uint64_t above = (uint64_t)digit[k].mask + 1;
    memset(mass, 0, above * sizeof *mass);
    for (uint32_t i = 0; i < n; i += 16) {
        float w[16];
        weights(s, z, n, i, w);
        for (uint32_t j = 0; j < 16 && i + j < n; j++) {
            const uint32_t key = to_key(z[i + j]);
            if (inside(c, z[i + j], &ties) && ((uint64_t)key >> digit[k].shift) / above == prefix) mass[key >> digit[k].shift & digit[k].mask] += w[j];
        }
    }
}

/* Smallest set of most likely tokens whose share of what c leaves reaches top_p; of equal ones the lower ids. The limit is found digit by
 * digit of its key: from the top, the first whose mass reaches what is wanted. */
static void cut_top_p(const float *z, uint32_t n, const struct softmax *s, float top_p, struct cut *c)
{
    double mass[2048], want = 0, above = 0;
    uint32_t key = 0;
    for (uint32_t k = 0; k < DIGITS; k++) {
        masses(z, n, s, c, key, k, mass);
        for (uint32_t x = 0; k == 0 && x <= digit[0].mask; x++) want += mass[x];
        if (k == 0) want = top_p * want > 0 ? top_p * want : DBL_MIN; /* never an empty set */
        uint32_t pick = 0;
        double sum = above;
        for (uint32_t x = digit[k].mask + 1; x-- > 0;) {
            if (mass[x] == 0) continue;
            pick = x; /* the last one that has any, should rounding leave all of them short */
            above = sum;
            sum += mass[x];
            if (sum >= want) break;
        }
        key = key * (digit[k].mask + 1) + pick;
    }
    const float lim = from_key(key);
    float w[16];
    weights(s, &lim, 1, 0, w);
    const uint32_t need = w[0] > 0 ? (uint32_t)ceil((want - above) / w[0] - 1e-9) : 1;
    *c = (struct cut){lim, need ? need : 1};
}

static int32_t draw(const float *z, uint32_t n, const struct softmax *s, const struct cut *c, float u)
{
    double total = 0, sum = 0;
    uint32_t ties = 0;
    int32_t last = -1;
    float w[16];
    for (uint32_t i = 0; i < n; i += 16) {
        weights(s, z, n, i, w);
        for (uint32_t j = 0; j < 16 && i + j < n; j++)
            if (inside(c, z[i + j], &ties)) total += w[j];
    }
    const double want = (double)u * total;
    ties = 0;
    for (uint32_t i = 0; i < n; i += 16) {
        weights(s, z, n, i, w);
        for (uint32_t j = 0; j < 16 && i + j < n; j++) {
            if (!inside(c, z[i + j], &ties) || !(w[j] > 0)) continue;
            last = (int32_t)(i + j);
            sum += w[j];
            if (sum > want) return last;
        }
    }
    return last; /* u so near 1 that the sum never passed it */
}

static bool row_is_bad(const float *z, uint32_t v, uint32_t v_real)
{
    bool odd = false, some = false;
    for (uint32_t i = 0; i < v; i++) odd |= !(z[i] < INFINITY);
    for (uint32_t i = 0; i < v_real; i++) some |= z[i] > -INFINITY;
    return odd || !some;
}

static void sample_row(struct job *j, uint32_t r)
{
    const float *z = j->logits + (uint64_t)r * j->v;
    const struct sample_row *o = &j->row[r];
    const uint32_t n = j->v_real;
    if (row_is_bad(z, j->v, n)) {
        j->id[r] = 0;
        j->lp[r] = 0;
        if (j->lp_raw) j->lp_raw[r] = 0;
        __atomic_store_n(&j->bad, true, __ATOMIC_RELAXED);
        return;
    }
    const struct softmax s = softmax_of(z, j->v, o->inv_temp > 0 ? o->inv_temp : 1.0f);
    int32_t id;
    if (o->inv_temp > 0) {
        struct cut c = {-INFINITY, UINT32_MAX};
        if (o->top_k && o->top_k < n) {
            c.lim = kth_largest(z, n, o->top_k);
            c.ties = o->top_k - count_above(z, n, c.lim);
        }
        if (o->top_p < 1) cut_top_p(z, n, &s, o->top_p, &c);
        if (o->min_p > 0) { /* weights are relative to the largest of the whole row */
            const float lim = z[argmax(z, n)] + logf(o->min_p) / o->inv_temp;
            if (lim > c.lim) c = (struct cut){lim, UINT32_MAX};
        }
        id = draw(z, n, &s, &c, o->u);
    } else {
        id = argmax(z, n);
    }
    j->id[r] = id;
    j->lp[r] = softmax_logprob(&s, z[id]);
    if (!j->lp_raw) return;
    const struct softmax raw = softmax_of(z, j->v, 1.0f);
    j->lp_raw[r] = softmax_logprob(&raw, z[id]);
}

static void sample_rows(void *v, uint32_t begin, uint32_t end)
{
    for (uint32_t r = begin; r < end; r++) sample_row(v, r);
}

enum err CPU_FN(sample)(struct dev *d, struct stream *s, const float *logits, uint32_t m, uint32_t v, uint32_t v_real,
                        const struct sample_row *row, int32_t *id, float *lp, float *lp_raw);
enum err CPU_FN(sample)(struct dev *d, struct stream *s, const float *logits, uint32_t m, uint32_t v, uint32_t v_real,
                        const struct sample_row *row, int32_t *id, float *lp, float *lp_raw)
{
    (void)s;
    struct job j = {logits, v, v_real, row, id, lp, lp_raw, false};
    par_for(d, m, (uint64_t)m * v * 16, sample_rows, &j);
    return j.bad ? ERR_NONFINITE : ERR_OK;
}

extern const struct rollout_ops CPU_FN(rollout_ops);
const struct rollout_ops CPU_FN(rollout_ops) = {.sample = CPU_FN(sample)};
