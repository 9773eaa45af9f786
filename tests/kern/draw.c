// SPDX-License-Identifier: Apache-2.0
/* draw.c - does sample draw from the distribution that it says? Many draws with the generator's own numbers, counted against exact
 * probabilities; every share of u gives its token; the ends of u give tokens that are there. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/rng.h"
#include "tests/kern/kern.h"
#include "tests/ref/ref.h"

#define V      48 /* the last ones are padding of the embedding: never drawn, however likely */
#define V_REAL 45
#define BATCH  512

struct draws {
    struct dev *d;
    const struct rollout_ops *ops;
    float *logits, *lp; /* device: [BATCH, V], [BATCH] */
    struct sample_row *row;
    int32_t *id;
    double z[V];
};

/* n draws (up to BATCH) with o at u[i]; ids to ret. */
static enum err draw(struct draws *s, const struct sample_row *o, const float *u, uint32_t n, int32_t *ret)
{
    struct sample_row rows[BATCH];
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = *o;
        rows[i].u = u[i];
    }
    TRY(s->d->mem->copy_in(s->d, NULL, s->row, rows, n * sizeof *rows));
    TRY(s->ops->sample(s->d, NULL, s->logits, n, V, V_REAL, s->row, s->id, s->lp, NULL));
    return s->d->mem->copy_out(s->d, NULL, ret, s->id, n * sizeof *ret);
}

static bool wrong(const struct draws *s, const struct sample_row *o, const char *what)
{
    printf("FAILED sample on %s, 1/T %g top_k %u top_p %g min_p %g: %s\n", s->d->name, o->inv_temp, o->top_k, o->top_p, o->min_p, what);
    return false;
}

/* Pearson's statistic of 24 batches against p; tokens expected less than 5 times are counted together. The bound is the mean of the
 * distribution and five deviations; the seed is fixed, so the test says the same each time. */
static bool chi_square(struct draws *s, const struct sample_row *o, const double *p)
{
    double count[V] = {0}, sum = 0, rest = 0, rest_p = 0;
    uint32_t cells = 0;
    const double n = 24.0 * BATCH;
    for (uint32_t b = 0; b < 24; b++) {
        float u[BATCH];
        int32_t id[BATCH];
        for (uint32_t i = 0; i < BATCH; i++) u[i] = rng_token(7, b, i % 16, i);
        if (draw(s, o, u, BATCH, id)) return wrong(s, o, "an error");
        for (uint32_t i = 0; i < BATCH; i++) {
            if (id[i] < 0 || id[i] >= V_REAL || p[id[i]] == 0) return wrong(s, o, "a token outside the set");
            count[id[i]]++;
        }
    }
    for (uint32_t i = 0; i < V_REAL; i++) {
        if (n * p[i] < 5) rest += count[i], rest_p += p[i];
        else sum += (count[i] - n * p[i]) * (count[i] - n * p[i]) / (n * p[i]), cells++;
    }
    if (n * rest_p >= 5) sum += (rest - n * rest_p) * (rest - n * rest_p) / (n * rest_p), cells++;
    const double df = cells > 1 ? cells - 1 : 1;
    return sum <= df + 5 * sqrt(2 * df) || wrong(s, o, "the counts do not fit the probabilities");
}

/* The middle of every share of u, 0 and 1 themselves: exactly the set, in ascending order of ids. */
static bool shares(struct draws *s, const struct sample_row *o, const double *p)
{
    float u[V_REAL + 2];
    int32_t id[V_REAL + 2], want[V_REAL];
    uint32_t n = 0;
    double below = 0;
    for (int32_t i = 0; i < V_REAL; below += p[i++])
        if (p[i] > 1e-5) want[n] = i, u[n++] = (float)(below + p[i] / 2);
    u[n] = 0x1p-25f, u[n + 1] = 1;
    if (draw(s, o, u, n + 2, id)) return wrong(s, o, "an error");
    for (uint32_t i = 0; i < n; i++)
        if (id[i] != want[i]) return wrong(s, o, "u inside the share of one token gives another");
    if (id[n] < 0 || id[n + 1] < 0 || p[id[n]] == 0 || p[id[n + 1]] == 0) return wrong(s, o, "an end of u gives a token outside the set");
    return true;
}

static bool settings(struct draws *s)
{
    static const struct sample_row list[] = {
        {1, 1, 0, 0, 0},       {0.7f, 1, 0, 0, 0},        {2, 1, 0, 0, 0},     {0, 1, 0, 0, 0},          {1, 1, 0, 0, 5},
        {1, 1, 0, 0, 1},       {1, 0.8f, 0, 0, 0},        {1, 1, 0.1f, 0, 0},  {0.8f, 0.9f, 0.05f, 0, 20}, {1, 0.5f, 0, 0, 7},
        {1, 1, 1, 0, 0},       {0.5f, 0.95f, 0.2f, 0, 0}, {1, 1e-9f, 0, 0, 0}, {1, 0, 0, 0, 0},          {1, 1, 0, 0, 1000},
        {1, 0.995f, 0, 0, 0},
    };
    double p[V_REAL];
    bool ok = true;
    for (unsigned i = 0; i < sizeof list / sizeof *list; i++) {
        ref_sample(s->z, V_REAL, list[i].inv_temp, list[i].top_k, list[i].top_p, list[i].min_p, p);
        ok &= shares(s, &list[i], p) && chi_square(s, &list[i], p);
    }
    return ok;
}

/* One row of logits, V long, in every row of the batch. */
static enum err set_logits(struct draws *s, const float *z)
{
    for (uint32_t i = 0; i < V; i++) s->z[i] = z[i];
    for (uint32_t r = 0; r < BATCH; r++) TRY(s->d->mem->copy_in(s->d, NULL, s->logits + (uint64_t)r * V, z, V * sizeof *z));
    return ERR_OK;
}

static bool each_row(struct draws *s)
{
    float z[V];
    for (uint32_t i = 0; i < V; i++) z[i] = 4 * rng_unit(rng_philox(3, i, 0).v[0]) + (i >= V_REAL ? 9 : 0);
    bool ok = !set_logits(s, z) && settings(s);
    for (uint32_t i = 0; i < V_REAL; i++) z[i] = i % 3 == 0 ? -INFINITY : i % 10 == 5 ? -0.0f : (float)(i % 5); /* many ties, zeros of both signs among them */
    ok = ok && !set_logits(s, z) && settings(s);
    for (uint32_t i = 0; i < V_REAL; i++) z[i] = i == 17 ? -3 : -INFINITY; /* one is left */
    return ok && !set_logits(s, z) && settings(s);
}

bool draw_checks(struct dev *d, const struct rollout_ops *ops)
{
    struct draws s = {.d = d, .ops = ops};
    void **mem[] = {(void **)&s.logits, (void **)&s.lp, (void **)&s.row, (void **)&s.id};
    const uint64_t bytes[] = {BATCH * V * sizeof(float), BATCH * sizeof(float), BATCH * sizeof *s.row, BATCH * sizeof *s.id};
    bool ok = true;
    for (unsigned i = 0; i < 4; i++) ok = ok && !d->mem->alloc(d, bytes[i], mem[i]);
    ok = ok && each_row(&s);
    for (unsigned i = 0; i < 4; i++)
        if (*mem[i]) d->mem->free(d, *mem[i]);
    return ok;
}
