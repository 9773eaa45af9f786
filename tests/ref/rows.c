// SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "tests/ref/ref.h"

void ref_rmsnorm(const double *x, const int32_t *row, uint32_t m, uint32_t c, const double *w, double eps, double *y, double *rstd)
{
    for (uint32_t r = 0; r < m; r++) {
        const double *in = x + (uint64_t)(row ? (uint32_t)row[r] : r) * c;
        double ss = 0;
        for (uint32_t i = 0; i < c; i++) ss += in[i] * in[i];
        const double h = 1 / sqrt(ss / c + eps);
        for (uint32_t i = 0; i < c; i++) y[(uint64_t)r * c + i] = in[i] * h * w[i];
        if (rstd) rstd[r] = h;
    }
}

void ref_swiglu(const double *gu, uint32_t m, uint32_t f, double *h)
{
    for (uint32_t r = 0; r < m; r++)
        for (uint32_t i = 0; i < f; i++) {
            const double g = gu[(uint64_t)r * 2 * f + i], u = gu[(uint64_t)r * 2 * f + f + i];
            h[(uint64_t)r * f + i] = g / (1 + exp(-g)) * u;
        }
}

void ref_rope(double *qkv, const double *rope, const int32_t *pos, uint32_t n_row, const struct ref_attn *a)
{
    const uint32_t half = a->d / 2, n_rot = a->h + a->hk, width = (n_rot + a->hk) * a->d;
    for (uint32_t r = 0; r < n_row; r++)
        for (uint32_t h = 0; h < n_rot; h++)
            for (uint32_t i = 0; i < half; i++) {
                double *lo = qkv + (uint64_t)r * width + (uint64_t)h * a->d + i, *hi = lo + half;
                const double *cs = rope + ((uint64_t)pos[r] * half + i) * 2, x = *lo, y = *hi;
                *lo = x * cs[0] - y * cs[1];
                *hi = y * cs[0] + x * cs[1];
            }
}
