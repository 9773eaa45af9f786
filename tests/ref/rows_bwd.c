// SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "tests/ref/ref.h"

void ref_rmsnorm_bwd(const double *dy, const double *x, const int32_t *row, uint32_t m, uint32_t c, const double *w, double eps, double *dx,
                     double *dw)
{
    for (uint32_t r = 0; r < m; r++) {
        const uint64_t at = (uint64_t)(row ? (uint32_t)row[r] : r) * c;
        const double *g = dy + (uint64_t)r * c;
        double ss = 0, dot = 0;
        for (uint32_t i = 0; i < c; i++) ss += x[at + i] * x[at + i];
        const double h = 1 / sqrt(ss / c + eps);
        for (uint32_t i = 0; i < c; i++) dot += g[i] * w[i] * x[at + i];
        for (uint32_t i = 0; i < c; i++) {
            dx[at + i] += h * g[i] * w[i] - h * h * h * x[at + i] * dot / c;
            dw[i] += g[i] * x[at + i] * h;
        }
    }
}

void ref_swiglu_bwd(const double *dh, const double *gu, uint32_t m, uint32_t f, double *dgu)
{
    for (uint32_t r = 0; r < m; r++)
        for (uint32_t i = 0; i < f; i++) {
            const uint64_t at = (uint64_t)r * 2 * f + i;
            const double g = gu[at], u = gu[at + f], t = dh[(uint64_t)r * f + i], s = 1 / (1 + exp(-g));
            dgu[at] = t * u * (s + g * s * (1 - s));
            dgu[at + f] = t * g * s;
        }
}

void ref_embed_bwd(const double *dx, const int32_t *id, uint32_t n_row, uint32_t v, uint32_t c, double *dtable)
{
    for (uint32_t r = 0; r < n_row; r++)
        for (uint32_t i = 0; id[r] >= 0 && (uint32_t)id[r] < v && i < c; i++) dtable[(uint64_t)id[r] * c + i] += dx[(uint64_t)r * c + i];
}
