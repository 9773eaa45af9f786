// SPDX-License-Identifier: Apache-2.0
#include "common/dev/cpu/isa.h"
#include "common/dev/par.h"
#include "common/dev/softmax.h"

struct job {
    const float *logits, *inv_temp;
    uint32_t v;
    const int32_t *target;
    float *lp, *entropy;
};

static void run_rows(void *p, uint32_t begin, uint32_t end)
{
    const struct job *j = p;
    for (uint32_t r = begin; r < end; r++) {
        const float *z = j->logits + (uint64_t)r * j->v;
        const struct softmax s = softmax_of(z, j->v, j->inv_temp ? j->inv_temp[r] : 1.0f);
        j->lp[r] = j->target[r] < 0 ? 0 : softmax_logprob(&s, z[j->target[r]]);
        if (j->entropy) j->entropy[r] = softmax_entropy(&s, z, j->v);
    }
}

enum err CPU_FN(logprob)(struct dev *d, struct stream *s, const float *logits, uint32_t m, uint32_t v, const float *inv_temp,
                         const int32_t *target, float *lp, float *entropy)
{
    (void)s;
    struct job j = {logits, inv_temp, v, target, lp, entropy};
    par_for(d, m, (uint64_t)m * v * 4, run_rows, &j);
    return ERR_OK;
}
