// SPDX-License-Identifier: Apache-2.0
/* softmax.h - the one logprob routine of the CPU: the sampler, ops->logprob and the loss head all call it, so they report the same bits. */
#ifndef COMMON_DEV_SOFTMAX_H
#define COMMON_DEV_SOFTMAX_H

#include "common/dev/simd.h"

/* z = logits * inv_temp; m = max z; log_sum = log sum exp(z - m), lanes summed in ascending order, then the fixed tree of vf_sum. */
struct softmax {
    float inv_temp, m, log_sum;
};

SIMD_FN vf softmax_z(const float *z, uint32_t i, uint32_t v, float inv_temp)
{
    const vf x = v - i >= 16 ? vf_load(z + i) : vf_load_n(z + i, v - i, -INFINITY);
    return vf_mul(x, vf_set1(inv_temp));
}

SIMD_FN struct softmax softmax_of(const float *z, uint32_t v, float inv_temp)
{
    vf mx = vf_set1(-INFINITY), sum = vf_zero();
    for (uint32_t i = 0; i < v; i += 16) mx = vf_max(mx, softmax_z(z, i, v, inv_temp));
    const float m = vf_hmax(mx);
    for (uint32_t i = 0; i < v; i += 16) sum = vf_add(sum, vf_exp(vf_sub(softmax_z(z, i, v, inv_temp), vf_set1(m))));
    return (struct softmax){inv_temp, m, logf(vf_sum(sum))};
}

SIMD_FN float softmax_logprob(const struct softmax *s, float logit)
{
    return logit * s->inv_temp - (s->m + s->log_sum);
}

/* -sum p log p */
SIMD_FN float softmax_entropy(const struct softmax *s, const float *z, uint32_t v)
{
    vf sum = vf_zero();
    const vf norm = vf_set1(s->m + s->log_sum);
    for (uint32_t i = 0; i < v; i += 16) {
        const vf lp = vf_sub(softmax_z(z, i, v, s->inv_temp), norm);
        /* p log p is 0 at p = 0, where log p is -inf */
        sum = vf_fma(vf_exp(lp), vf_max(lp, vf_set1(-1e30f)), sum);
    }
    return -vf_sum(sum);
}

#endif
