// SPDX-License-Identifier: Apache-2.0
/* case.c - arrays of a case, its way onto a device, and the comparisons every op goes through. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bf16.h"
#include "common/base/clock.h"
#include "common/base/rng.h"
#include "tests/kern/kern.h"

#define GUARD   64   /* bytes behind each array that must stay as they are */
#define RUBBISH 0xFF /* a fresh output holds it before a run, and so does what stands behind an array: NaN as any number */

uint64_t draw_u64(struct kase *c)
{
    return rng_u64(c->seed, 1, c->n_drawn++);
}

double draw_unit(struct kase *c)
{
    return ((double)(draw_u64(c) >> 11) + 0.5) / 9007199254740992.0;
}

double draw_normal(struct kase *c)
{
    return sqrt(-2 * log(draw_unit(c))) * cos(2 * M_PI * draw_unit(c));
}

void *hold(struct kase *c, uint64_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p || c->n_hold == sizeof c->hold / sizeof *c->hold) abort();
    return c->hold[c->n_hold++] = p;
}

static uint64_t type_bytes(enum type t)
{
    static const uint8_t bytes[] = {[T_BF16] = 2, [T_F32] = 4, [T_F64] = 8, [T_I32] = 4, [T_U8] = 1};
    return bytes[t];
}

static uint64_t n_elem(const struct arr *a)
{
    return (uint64_t)a->rows * a->cols;
}

static uint64_t arr_bytes(const struct arr *a)
{
    return n_elem(a) * type_bytes(a->type);
}

double arr_get(const struct arr *a, const void *mem, uint64_t i)
{
    switch (a->type) {
    case T_BF16: return bf16_to_f32(((const uint16_t *)mem)[i]);
    case T_F32: return ((const float *)mem)[i];
    case T_F64: return ((const double *)mem)[i];
    case T_I32: return ((const int32_t *)mem)[i];
    default: return ((const uint8_t *)mem)[i];
    }
}

void arr_set(const struct arr *a, uint64_t i, double x)
{
    switch (a->type) {
    case T_BF16: ((uint16_t *)a->host)[i] = bf16_from_f32((float)x); break;
    case T_F32: ((float *)a->host)[i] = (float)x; break;
    case T_F64: ((double *)a->host)[i] = x; break;
    case T_I32: ((int32_t *)a->host)[i] = (int32_t)x; break;
    default: ((uint8_t *)a->host)[i] = (uint8_t)x; break;
    }
}

uint32_t arr_add(struct kase *c, const char *name, enum type type, uint32_t rows, uint32_t cols)
{
    if (c->n_arr == CASE_MAX_ARR) abort();
    struct arr *a = &c->arr[c->n_arr];
    *a = (struct arr){.name = name, .type = type, .rows = rows, .cols = cols};
    a->host = calloc(n_elem(a) + 1, type_bytes(type));
    if (!a->host) abort();
    return c->n_arr++;
}

uint32_t arr_fill(struct kase *c, const char *name, enum type type, uint32_t rows, uint32_t cols, double scale)
{
    const uint32_t i = arr_add(c, name, type, rows, cols);
    for (uint64_t k = 0; k < n_elem(&c->arr[i]); k++) arr_set(&c->arr[i], k, scale * draw_normal(c));
    return i;
}

double *arr_want(struct kase *c, uint32_t i, bool fresh, double rel, double abs)
{
    struct arr *a = &c->arr[i];
    a->out = true;
    a->fresh = fresh;
    a->rel = rel;
    a->abs = abs;
    a->want = hold(c, n_elem(a) * sizeof *a->want);
    return a->want;
}

double *arr_doubles(struct kase *c, uint32_t i)
{
    double *p = hold(c, n_elem(&c->arr[i]) * sizeof *p);
    for (uint64_t k = 0; k < n_elem(&c->arr[i]); k++) p[k] = arr_get(&c->arr[i], c->arr[i].host, k);
    return p;
}

void *arr_at(const struct kase *c, uint32_t i, uint64_t row)
{
    const struct arr *a = &c->arr[i];
    return (char *)(a->dev ? a->dev : a->host) + row * a->cols * type_bytes(a->type);
}

void *dev_mem(struct kase *c, uint64_t bytes)
{
    void *p = NULL;
    if (c->n_mem == sizeof c->mem / sizeof *c->mem || c->dev->mem->alloc(c->dev, bytes, &p)) return NULL;
    return c->mem[c->n_mem++] = p;
}

void case_make(struct kase *c, const struct row *row, uint64_t seed)
{
    memset(c, 0, sizeof *c);
    c->row = row;
    c->op = op_find(row->op);
    c->seed = seed;
    if (c->op->make) c->op->make(c);
}

void case_done(struct kase *c)
{
    for (uint32_t i = 0; i < c->n_arr; i++) free(c->arr[i].host);
    for (uint32_t i = 0; i < c->n_hold; i++) free(c->hold[i]);
    memset(c, 0, sizeof *c);
}

/* -- on a device --------------------------------------------------------------------------------------------------------------- */

/* Give every array its contents from before a run. */
static enum err reset(struct kase *c)
{
    for (uint32_t i = 0; i < c->n_arr; i++) {
        const struct arr *a = &c->arr[i];
        const uint64_t n = arr_bytes(a);
        char *t = malloc(n + GUARD);
        if (!t) return ERR_NOMEM;
        memset(t, RUBBISH, n + GUARD);
        if (!a->fresh) memcpy(t, a->host, n);
        enum err e = c->dev->mem->copy_in(c->dev, NULL, a->dev, t, n + GUARD);
        free(t);
        if (e) return e;
    }
    return c->op->prepare ? c->op->prepare(c) : ERR_OK;
}

static enum err place(struct kase *c, struct dev *d)
{
    c->dev = d;
    TRY(learner_ops_of(d, &c->learn, NULL));
    TRY(rollout_ops_of(d, &c->roll, NULL));
    for (uint32_t i = 0; i < c->n_arr; i++) TRY(d->mem->alloc(d, arr_bytes(&c->arr[i]) + GUARD, &c->arr[i].dev));
    return ERR_OK;
}

static void leave_mem(struct kase *c)
{
    for (uint32_t i = 0; i < c->n_mem; i++) c->dev->mem->free(c->dev, c->mem[i]);
    c->n_mem = 0;
}

static void leave(struct kase *c)
{
    leave_mem(c);
    for (uint32_t i = 0; i < c->n_arr; i++) {
        c->dev->mem->free(c->dev, c->arr[i].dev);
        c->arr[i].dev = NULL;
    }
    c->dev = NULL;
}

static bool say(const struct kase *c, const char *what, const char *words)
{
    const struct row *r = c->row;
    printf("FAILED %s m %u n %u k %u flags %u heads %u/%u dim %u on %s: %s%s%s\n", r->op, r->m, r->n, r->k, r->flags, r->h, r->hk, r->d,
           c->dev ? c->dev->name : "no device", what, words ? ": " : "", words ? words : "");
    return false;
}

/* Run in parts of `part` rows (0: whole) and bring every output to the host. ret[i]: malloc, for outputs only. */
static bool run(struct kase *c, uint32_t part, void **ret)
{
    enum err e = reset(c);
    memset(ret, 0, CASE_MAX_ARR * sizeof *ret);
    if (!part) part = c->n_row;
    for (uint32_t r = 0; !e && r < c->n_row; r += part) e = c->op->run(c, r, c->n_row - r < part ? c->n_row - r : part);
    bool ok = !e || say(c, "an error", err_str(e));
    for (uint32_t i = 0; i < c->n_arr && ok; i++) {
        const struct arr *a = &c->arr[i];
        char *t = malloc(arr_bytes(a) + GUARD);
        if (!t || c->dev->mem->copy_out(c->dev, NULL, t, a->dev, arr_bytes(a) + GUARD)) ok = say(c, "no copy out", a->name);
        for (uint32_t k = 0; ok && k < GUARD; k++)
            if ((uint8_t)t[arr_bytes(a) + k] != RUBBISH) ok = say(c, "wrote behind the end", a->name);
        if (ok && !a->out && memcmp(t, a->host, arr_bytes(a))) ok = say(c, "changed an input", a->name);
        if (a->out && ok) ret[i] = t;
        else free(t);
    }
    leave_mem(c);
    return ok;
}

static void drop(void **got)
{
    for (uint32_t i = 0; i < CASE_MAX_ARR; i++) free(got[i]);
}

static double largest(const double *x, uint64_t n)
{
    double top = 0;
    for (uint64_t i = 0; i < n; i++)
        if (isfinite(x[i])) top = fmax(top, fabs(x[i]));
    return top;
}

static bool against_ref(const struct kase *c, void *const *got, double *worst)
{
    for (uint32_t i = 0; i < c->n_arr; i++) {
        const struct arr *a = &c->arr[i];
        double top = a->want && a->cols == 1 ? largest(a->want, a->rows) : 0;
        for (uint32_t r = 0; a->want && r < a->rows; r++) {
            const double *want = a->want + (uint64_t)r * a->cols;
            if (a->cols > 1) top = largest(want, a->cols);
            for (uint32_t k = 0; k < a->cols; k++) {
                const double x = arr_get(a, got[i], (uint64_t)r * a->cols + k), bound = a->rel * fabs(want[k]) + a->abs * top;
                const double off = fabs(x - want[k]);
                if (x == want[k] || (isnan(x) && isnan(want[k]))) continue;
                if (bound > 0 && off / bound > *worst) *worst = off / bound;
                if (off <= bound) continue;
                char t[128];
                snprintf(t, sizeof t, "%s[%u][%u] is %.9g, ref %.9g, bound %.3g", a->name, r, k, x, want[k], bound);
                return say(c, "not as ref", t);
            }
        }
    }
    return true;
}

static bool same(const struct kase *c, const char *what, void *const *a, void *const *b)
{
    for (uint32_t i = 0; i < c->n_arr; i++)
        if (a[i] && memcmp(a[i], b[i], arr_bytes(&c->arr[i]))) return say(c, what, c->arr[i].name);
    return true;
}

/* Another run, bit for bit that of before. */
static bool run_same(struct kase *c, uint32_t part, const char *what, void *const *before)
{
    void *got[CASE_MAX_ARR];
    const bool ok = run(c, part, got) && same(c, what, before, got);
    drop(got);
    return ok;
}

static bool check_bits(struct kase *c, struct dev *d)
{
    const char *wrong = place(c, d) ? "cannot be placed" : c->op->check(c);
    const bool ok = !wrong || say(c, "a promise is broken", wrong);
    leave(c);
    return ok;
}

bool case_check(struct kase *c, struct dev *d1, struct dev *d2, double *ret_worst)
{
    *ret_worst = 0;
    if (c->op->check) return check_bits(c, d1) && check_bits(c, d2);
    void *one[CASE_MAX_ARR];
    if (place(c, d1)) return say(c, "cannot be placed", NULL);
    bool ok = run(c, 0, one) && against_ref(c, one, ret_worst) && run_same(c, 0, "another run gives other bits", one);
    if (ok && !c->op->summed) {
        ok = run_same(c, 1, "a row alone has other bits than in the batch", one);
        ok = ok && run_same(c, 5, "five rows have other bits than the batch", one);
    }
    leave(c);
    if (ok) {
        ok = place(c, d2) ? say(c, "cannot be placed", NULL) : run_same(c, 0, "two threads give other bits than one", one);
        ok = ok && run_same(c, 0, "two threads, again, give other bits", one);
        leave(c);
    }
    drop(one);
    return ok;
}

double case_time(struct kase *c, struct dev *d)
{
    double best = INFINITY;
    if (!c->op->run || place(c, d) || reset(c)) return best;
    const int64_t stop = clock_now_ns() + 50000000;
    for (int i = 0; i < 3 || clock_now_ns() < stop; i++) {
        const int64_t t0 = clock_now_ns();
        if (c->op->run(c, 0, c->n_row)) break;
        best = fmin(best, (double)(clock_now_ns() - t0) * 1e-9);
    }
    leave(c);
    return best;
}
