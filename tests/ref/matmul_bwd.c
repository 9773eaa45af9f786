// SPDX-License-Identifier: Apache-2.0
#include "tests/ref/ref.h"

void ref_matmul_dx(const double *dy, uint32_t m, const double *w, uint32_t n, uint32_t k, double *dx)
{
    for (uint32_t r = 0; r < m; r++)
        for (uint32_t i = 0; i < k; i++) {
            double sum = 0;
            for (uint32_t c = 0; c < n; c++) sum += dy[(uint64_t)r * n + c] * w[(uint64_t)c * k + i];
            dx[(uint64_t)r * k + i] = sum;
        }
}

void ref_matmul_dw(const double *dy, const double *a, uint32_t m, uint32_t n, uint32_t k, double *dw)
{
    for (uint32_t c = 0; c < n; c++)
        for (uint32_t i = 0; i < k; i++)
            for (uint32_t r = 0; r < m; r++) dw[(uint64_t)c * k + i] += dy[(uint64_t)r * n + c] * a[(uint64_t)r * k + i];
}

void ref_bias_bwd(const double *dy, uint32_t m, uint32_t n, double *db)
{
    for (uint32_t c = 0; c < n; c++)
        for (uint32_t r = 0; r < m; r++) db[c] += dy[(uint64_t)r * n + c];
}
