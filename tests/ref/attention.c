// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdlib.h>

#include "tests/ref/ref.h"

/* One query row and head: o = softmax(q k^T / sqrt(D)) v over rows begin..row. */
static void one(const double *qkv, const struct ref_attn *a, uint32_t begin, uint32_t row, uint32_t head, double *o, double *lse)
{
    const uint64_t width = (uint64_t)(a->h + 2 * a->hk) * a->d, k0 = (uint64_t)(a->h + head / (a->h / a->hk)) * a->d, v0 = k0 + (uint64_t)a->hk * a->d;
    const double *q = qkv + row * width + (uint64_t)head * a->d;
    double *s = calloc(row - begin + 1, sizeof *s), top = -INFINITY, sum = 0;
    for (uint32_t j = begin; j <= row; j++) {
        for (uint32_t i = 0; i < a->d; i++) s[j - begin] += q[i] * qkv[j * width + k0 + i] / sqrt(a->d);
        top = fmax(top, s[j - begin]);
    }
    for (uint32_t j = begin; j <= row; j++) sum += exp(s[j - begin] - top);
    for (uint32_t i = 0; i < a->d; i++) {
        o[i] = 0;
        for (uint32_t j = begin; j <= row; j++) o[i] += exp(s[j - begin] - top) / sum * qkv[j * width + v0 + i];
    }
    if (lse) *lse = top + log(sum);
    free(s);
}

void ref_attention(const double *qkv, const struct ref_attn *a, double *o, double *lse)
{
    for (uint32_t i = 0; i < a->n_seq; i++)
        for (uint32_t r = (uint32_t)a->first[i]; r < (uint32_t)a->first[i + 1]; r++)
            for (uint32_t h = 0; h < a->h; h++) {
                const uint64_t at = (uint64_t)r * a->h + h;
                one(qkv, a, (uint32_t)a->first[i], r, h, o + at * a->d, lse ? lse + at : NULL);
            }
}
