// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdlib.h>

#include "tests/ref/ref.h"

/* dq, dk and dv of one query row and head, before the rotation is undone: ds = p (do v - do o) / sqrt(D). */
static void one(const double *qkv, const double *o, const double *g, const struct ref_attn *a, uint32_t begin, uint32_t row, uint32_t head, double *dqkv)
{
    const uint64_t width = (uint64_t)(a->h + 2 * a->hk) * a->d, q0 = row * width + (uint64_t)head * a->d;
    const uint64_t k0 = (uint64_t)(a->h + head / (a->h / a->hk)) * a->d, v0 = k0 + (uint64_t)a->hk * a->d;
    const uint32_t n = row - begin + 1;
    double *p = calloc(n, sizeof *p), *dp = calloc(n, sizeof *dp), top = -INFINITY, sum = 0, delta = 0;
    for (uint32_t j = 0; j < n; j++) {
        for (uint32_t i = 0; i < a->d; i++) {
            p[j] += qkv[q0 + i] * qkv[(begin + j) * width + k0 + i] / sqrt(a->d);
            dp[j] += g[i] * qkv[(begin + j) * width + v0 + i];
        }
        top = fmax(top, p[j]);
    }
    for (uint32_t j = 0; j < n; j++) sum += exp(p[j] - top);
    for (uint32_t j = 0; j < n; j++) p[j] = exp(p[j] - top) / sum;
    for (uint32_t i = 0; i < a->d; i++) delta += g[i] * o[i];
    for (uint32_t j = 0; j < n; j++) {
        const double ds = p[j] * (dp[j] - delta) / sqrt(a->d);
        for (uint32_t i = 0; i < a->d; i++) {
            dqkv[(begin + j) * width + v0 + i] += p[j] * g[i];
            dqkv[(begin + j) * width + k0 + i] += ds * qkv[q0 + i];
            dqkv[q0 + i] += ds * qkv[(begin + j) * width + k0 + i];
        }
    }
    free(p);
    free(dp);
}

void ref_attention_bwd(const double *qkv, const double *o, const double *d_o, const double *rope, const struct ref_attn *a, double *dqkv)
{
    const uint64_t width = (uint64_t)(a->h + 2 * a->hk) * a->d;
    const uint32_t n_row = (uint32_t)a->first[a->n_seq], half = a->d / 2;
    for (uint64_t i = 0; i < n_row * width; i++) dqkv[i] = 0;
    for (uint32_t i = 0; i < a->n_seq; i++)
        for (uint32_t r = (uint32_t)a->first[i]; r < (uint32_t)a->first[i + 1]; r++)
            for (uint32_t h = 0; h < a->h; h++) {
                const uint64_t at = ((uint64_t)r * a->h + h) * a->d;
                one(qkv, o + at, d_o + at, a, (uint32_t)a->first[i], r, h, dqkv);
            }
    for (uint32_t s = 0; s < a->n_seq; s++)
        for (uint32_t r = (uint32_t)a->first[s]; r < (uint32_t)a->first[s + 1]; r++)
            for (uint32_t h = 0; h < a->h + a->hk; h++)
                for (uint32_t i = 0; i < half; i++) {
                    const double *cs = rope + ((uint64_t)(r - (uint32_t)a->first[s]) * half + i) * 2;
                    double *lo = dqkv + r * width + (uint64_t)h * a->d + i, *hi = lo + half;
                    const double x = *lo, y = *hi;
                    *lo = x * cs[0] + y * cs[1];
                    *hi = y * cs[0] - x * cs[1];
                }
}
