// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdlib.h>

#include "tests/ref/ref.h"

struct token {
    double p;
    uint32_t id;
};

/* Most likely first; of equal ones the lower id. */
static int order(const void *a, const void *b)
{
    const struct token *x = a, *y = b;
    if (x->p != y->p) return x->p < y->p ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

static double sum(const struct token *t, uint32_t n)
{
    double s = 0;
    for (uint32_t i = 0; i < n; i++) s += t[i].p;
    return s;
}

/* How many of the n sorted tokens stay. */
static uint32_t kept(const struct token *t, uint32_t n, uint32_t top_k, double top_p, double min_p)
{
    uint32_t k = 0;
    double mass = 0;
    if (top_k && top_k < n) n = top_k;
    const double want = top_p * sum(t, n);
    if (top_p < 1) {
        while (k < n && (k == 0 || mass < want)) mass += t[k++].p;
        n = k;
    }
    for (k = 1; k < n && t[k].p >= min_p * t[0].p;) k++;
    return k;
}

void ref_sample(const double *logits, uint32_t v_real, double inv_temp, uint32_t top_k, double top_p, double min_p, double *p)
{
    struct token *t = calloc(v_real, sizeof *t);
    double top = -INFINITY;
    for (uint32_t i = 0; i < v_real; i++) top = fmax(top, logits[i]);
    for (uint32_t i = 0; i < v_real; i++) {
        t[i] = (struct token){inv_temp > 0 ? exp((logits[i] - top) * inv_temp) : logits[i] == top, i};
        p[i] = 0;
    }
    qsort(t, v_real, sizeof *t, order);
    const uint32_t n = inv_temp > 0 ? kept(t, v_real, top_k, top_p, min_p) : 1;
    const double total = sum(t, n);
    for (uint32_t i = 0; i < n; i++) p[t[i].id] = t[i].p / total;
    free(t);
}
