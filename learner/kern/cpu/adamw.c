// SPDX-License-Identifier: Apache-2.0
/* adamw.c - the optimiser's element-wise pass, and the sum of squares behind the norm. */
#include "common/base/bf16.h"
#include "common/dev/par.h"
#include "learner/kern/cpu/isa.h"

#define BLOCK 4096 /* elements summed together before blocks are added in order */

struct squares {
    const float *x;
    uint64_t n;
    double *part;
};

static void square_blocks(void *v, uint32_t begin, uint32_t end)
{
    const struct squares *p = v;
    for (uint32_t b = begin; b < end; b++) {
        const uint64_t i0 = (uint64_t)b * BLOCK, i1 = i0 + BLOCK < p->n ? i0 + BLOCK : p->n;
        double lane[4] = {0};
        for (uint64_t i = i0; i < i1; i++) lane[i % 4] += (double)p->x[i] * p->x[i];
        p->part[b] = (lane[0] + lane[1]) + (lane[2] + lane[3]);
    }
}

enum err CPU_FN(sum_sq)(struct dev *d, struct stream *s, const float *x, uint64_t n, double *sum)
{
    (void)s;
    const uint32_t n_block = (uint32_t)((n + BLOCK - 1) / BLOCK);
    struct squares p = {x, n, dev_scratch(d, (n_block + 1) * sizeof(double))};
    if (!p.part) return ERR_NOMEM;
    par_for(d, n_block, n, square_blocks, &p);
    double t = 0;
    for (uint32_t b = 0; b < n_block; b++) t += p.part[b];
    *sum = t;
    return ERR_OK;
}

struct step {
    const struct adamw *o;
    float decay; /* 1 - lr weight_decay, or 1 */
    uint64_t n;
    const float *g;
    float *m, *v, *master;
    uint16_t *image;
};

/* torch.optim.AdamW: master *= decay; m, v; master -= lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps) */
static void step_blocks(void *arg, uint32_t begin, uint32_t end)
{
    const struct step *p = arg;
    const struct adamw *o = p->o;
    const vf b1 = vf_set1(o->beta1), b2 = vf_set1(o->beta2), c1 = vf_set1(1 - o->beta1), c2 = vf_set1(1 - o->beta2);
    const vf gs = vf_set1(o->grad_scale), rate = vf_set1(-(o->lr / o->bias1)), root = vf_set1(1 / sqrtf(o->bias2));
    const vf eps = vf_set1(o->eps), decay = vf_set1(p->decay);
    const uint64_t stop = (uint64_t)end * BLOCK < p->n ? (uint64_t)end * BLOCK : p->n;
    for (uint64_t i = (uint64_t)begin * BLOCK; i < stop; i += 16) {
        const uint32_t k = stop - i < 16 ? (uint32_t)(stop - i) : 16;
        const vf g = vf_mul(vf_load_n(p->g + i, k, 0), gs);
        const vf m = vf_fma(c1, g, vf_mul(b1, vf_load_n(p->m + i, k, 0)));
        const vf v = vf_fma(c2, vf_mul(g, g), vf_mul(b2, vf_load_n(p->v + i, k, 0)));
        const vf den = vf_fma(vf_sqrt(v), root, eps);
        const vf w = vf_fma(rate, vf_div(m, den), vf_mul(decay, vf_load_n(p->master + i, k, 0)));
        uint16_t y[16];
        vf_store_n(p->m + i, m, k);
        vf_store_n(p->v + i, v, k);
        vf_store_n(p->master + i, w, k);
        vf_to_bf16(y, w);
        memcpy(p->image + i, y, k * sizeof *y);
    }
}

enum err CPU_FN(adamw)(struct dev *d, struct stream *s, const struct adamw *o, bool decay, uint64_t n, const float *g, float *m,
                       float *v, float *master, uint16_t *image)
{
    (void)s;
    struct step p = {o, decay ? 1 - o->lr * o->weight_decay : 1, n, g, m, v, master, image};
    par_for(d, (uint32_t)((n + BLOCK - 1) / BLOCK), n * 8, step_blocks, &p);
    return ERR_OK;
}
