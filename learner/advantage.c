// SPDX-License-Identifier: Apache-2.0
#include "learner/advantage.h"

#include <math.h>

static double mean_of(const double *r, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += r[i];
    return n ? sum / n : 0;
}

double advantage_std(const double *r, uint32_t n)
{
    if (n < 2) return 0;
    const double mean = mean_of(r, n);
    double ss = 0;
    for (uint32_t i = 0; i < n; i++) ss += (r[i] - mean) * (r[i] - mean);
    return sqrt(ss / (n - 1));
}

bool advantage_is_flat(const double *r, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        if (r[i] != r[0]) return false;
    return true;
}

void advantage_group(const double *r, uint32_t n, enum scale_rewards scale, double batch_std, double *adv)
{
    /* Equal rewards have a mean that may differ from them by rounding; divided by 1e-4 that would be a signal. */
    if (advantage_is_flat(r, n)) {
        for (uint32_t i = 0; i < n; i++) adv[i] = 0;
        return;
    }
    const double mean = mean_of(r, n);
    double div = 1;
    if (scale == SCALE_GROUP) div = advantage_std(r, n) + 1e-4;
    if (scale == SCALE_BATCH) div = batch_std + 1e-4;
    for (uint32_t i = 0; i < n; i++) adv[i] = (r[i] - mean) / div;
}
