// SPDX-License-Identifier: Apache-2.0
#include "common/run/plot.h"

#include <math.h>

void plot_average(const double *y, size_t n, size_t half, double *ret_y)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        size_t k = 0;
        const size_t from = i > half ? i - half : 0, to = n - i > half ? i + half : n - 1;
        for (size_t j = from; j <= to; j++)
            if (isfinite(y[j])) sum += y[j], k++;
        ret_y[i] = k ? sum / (double)k : NAN;
    }
}
