// SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "tests/ref/ref.h"

double ref_sum_sq(const double *x, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

void ref_adamw(const struct adamw *o, bool decay, uint64_t n, const double *g, double *m, double *v, double *master)
{
    const double b1 = o->beta1, b2 = o->beta2, lr = o->lr;
    for (uint64_t i = 0; i < n; i++) {
        const double x = g[i] * (double)o->grad_scale;
        if (decay) master[i] -= lr * (double)o->weight_decay * master[i];
        m[i] = b1 * m[i] + (1 - b1) * x;
        v[i] = b2 * v[i] + (1 - b2) * x * x;
        master[i] -= lr * (m[i] / o->bias1) / (sqrt(v[i] / o->bias2) + (double)o->eps);
    }
}
