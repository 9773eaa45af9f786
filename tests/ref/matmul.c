// SPDX-License-Identifier: Apache-2.0
#include "tests/ref/ref.h"

void ref_matmul(const double *a, uint32_t m, const double *w, uint32_t n, uint32_t k, const double *bias, double *y)
{
    for (uint32_t r = 0; r < m; r++)
        for (uint32_t c = 0; c < n; c++) {
            double sum = 0;
            for (uint32_t i = 0; i < k; i++) sum += a[(uint64_t)r * k + i] * w[(uint64_t)c * k + i];
            y[(uint64_t)r * n + c] = bias ? sum + bias[c] : sum;
        }
}

void ref_embed(const double *table, uint32_t v, uint32_t c, const int32_t *id, uint32_t n_row, double *x)
{
    for (uint32_t r = 0; r < n_row; r++)
        for (uint32_t i = 0; i < c; i++)
            x[(uint64_t)r * c + i] = id[r] >= 0 && (uint32_t)id[r] < v ? table[(uint64_t)id[r] * c + i] : 0;
}
