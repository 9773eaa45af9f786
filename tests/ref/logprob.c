// SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "tests/ref/ref.h"

void ref_logprob(const double *logits, uint32_t m, uint32_t v, const double *inv_temp, const int32_t *target, double *lp, double *entropy)
{
    for (uint32_t r = 0; r < m; r++) {
        const double *z = logits + (uint64_t)r * v, t = inv_temp ? inv_temp[r] : 1;
        double top = -INFINITY, sum = 0, ent = 0;
        for (uint32_t i = 0; i < v; i++) top = fmax(top, z[i] * t);
        for (uint32_t i = 0; i < v; i++) sum += exp(z[i] * t - top);
        for (uint32_t i = 0; i < v; i++) {
            const double l = z[i] * t - top - log(sum);
            if (exp(l) > 0) ent -= exp(l) * l;
        }
        lp[r] = target[r] < 0 ? 0 : z[target[r]] * t - top - log(sum);
        if (entropy) entropy[r] = ent;
    }
}
