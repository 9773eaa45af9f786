// SPDX-License-Identifier: Apache-2.0
/* rows_bwd.c - backward of rmsnorm, swiglu and the embedding; conversions. Work is split by rows where rows stand alone, by columns
 * where rows are summed, so the order of every sum is fixed. */
#include "common/dev/par.h"
#include "learner/kern/cpu/isa.h"

struct norm {
    const float *dy, *x;
    const int32_t *row;
    uint32_t m, c;
    const uint16_t *w;
    const float *rstd;
    float *dx, *dw;
};

static inline uint64_t norm_at(const struct norm *n, uint32_t r)
{
    return (uint64_t)(n->row ? (uint32_t)n->row[r] : r) * n->c;
}

/* y = x h w, h = rstd:  dx += h (g - x h mean(g x h)),  g = dy w */
static void norm_dx(void *v, uint32_t begin, uint32_t end)
{
    const struct norm *n = v;
    for (uint32_t r = begin; r < end; r++) {
        const float *dy = n->dy + (uint64_t)r * n->c, *x = n->x + norm_at(n, r);
        float *dx = n->dx + norm_at(n, r);
        const vf h = vf_set1(n->rstd[r]);
        vf dot = vf_zero();
        for (uint32_t i = 0; i < n->c; i += 16) {
            const vf g = vf_mul(vf_load(dy + i), vf_from_bf16(n->w + i));
            dot = vf_fma(g, vf_mul(vf_load(x + i), h), dot);
        }
        const vf mean = vf_set1(vf_sum(dot) / (float)n->c);
        for (uint32_t i = 0; i < n->c; i += 16) {
            const vf g = vf_mul(vf_load(dy + i), vf_from_bf16(n->w + i)), xh = vf_mul(vf_load(x + i), h);
            vf_store(dx + i, vf_fma(h, vf_sub(g, vf_mul(xh, mean)), vf_load(dx + i)));
        }
    }
}

static void norm_dw(void *v, uint32_t begin, uint32_t end)
{
    const struct norm *n = v;
    for (uint32_t i = begin * 16; i < end * 16; i += 16) {
        vf acc = vf_load(n->dw + i);
        for (uint32_t r = 0; r < n->m; r++) {
            const vf xh = vf_mul(vf_load(n->x + norm_at(n, r) + i), vf_set1(n->rstd[r]));
            acc = vf_fma(vf_load(n->dy + (uint64_t)r * n->c + i), xh, acc);
        }
        vf_store(n->dw + i, acc);
    }
}

enum err CPU_FN(rmsnorm_bwd)(struct dev *d, struct stream *s, const float *dy, const float *x, const int32_t *row, uint32_t m,
                             uint32_t c, const uint16_t *w, const float *rstd, float *dx, float *dw)
{
    (void)s;
    struct norm n = {dy, x, row, m, c, w, rstd, dx, dw};
    par_for(d, m, (uint64_t)m * c * 2, norm_dx, &n);
    par_for(d, c / 16, (uint64_t)m * c, norm_dw, &n);
    return ERR_OK;
}

struct glu {
    const float *dh;
    const uint16_t *gu;
    uint32_t f;
    uint16_t *dgu;
};

static void glu_rows(void *v, uint32_t begin, uint32_t end)
{
    const struct glu *p = v;
    const vf one = vf_set1(1);
    for (uint32_t r = begin; r < end; r++) {
        const uint16_t *g = p->gu + (uint64_t)r * 2 * p->f, *u = g + p->f;
        const float *dh = p->dh + (uint64_t)r * p->f;
        uint16_t *dg = p->dgu + (uint64_t)r * 2 * p->f, *du = dg + p->f;
        for (uint32_t i = 0; i < p->f; i += 16) {
            const vf x = vf_from_bf16(g + i), t = vf_load(dh + i);
            const vf sig = vf_div(one, vf_add(one, vf_exp(vf_sub(vf_zero(), x))));
            const vf slope = vf_mul(sig, vf_fma(x, vf_sub(one, sig), one));
            vf_to_bf16(dg + i, vf_mul(vf_mul(t, vf_from_bf16(u + i)), slope));
            vf_to_bf16(du + i, vf_mul(t, vf_mul(x, sig)));
        }
    }
}

enum err CPU_FN(swiglu_bwd)(struct dev *d, struct stream *s, const float *dh, const uint16_t *gu, uint32_t m, uint32_t f,
                            uint16_t *dgu)
{
    (void)s;
    struct glu p = {dh, gu, f, dgu};
    par_for(d, m, (uint64_t)m * f * 6, glu_rows, &p);
    return ERR_OK;
}

struct emb {
    const float *dx;
    const struct batch *b;
    uint32_t v, c;
    float *dtable;
};

static void emb_cols(void *v, uint32_t begin, uint32_t end)
{
    const struct emb *p = v;
    for (uint32_t r = 0; r < p->b->n_row; r++) {
        const int32_t id = p->b->id[r];
        if (id < 0 || (uint32_t)id >= p->v) continue;
        const float *src = p->dx + (uint64_t)r * p->c;
        float *dst = p->dtable + (uint64_t)id * p->c;
        for (uint32_t i = begin * 16; i < end * 16; i += 16) vf_store(dst + i, vf_add(vf_load(dst + i), vf_load(src + i)));
    }
}

enum err CPU_FN(embed_bwd)(struct dev *d, struct stream *s, const float *dx, const struct batch *b, uint32_t v, uint32_t c,
                           float *dtable)
{
    (void)s;
    struct emb p = {dx, b, v, c, dtable};
    par_for(d, c / 16, (uint64_t)b->n_row * c, emb_cols, &p);
    return ERR_OK;
}

struct conv {
    const float *x;
    uint64_t n;
    uint16_t *y;
};

#define CONV_BLOCK 4096

static void conv_blocks(void *v, uint32_t begin, uint32_t end)
{
    const struct conv *p = v;
    uint64_t i = (uint64_t)begin * CONV_BLOCK;
    const uint64_t stop = (uint64_t)end * CONV_BLOCK < p->n ? (uint64_t)end * CONV_BLOCK : p->n;
    for (; i + 16 <= stop; i += 16) vf_to_bf16(p->y + i, vf_load(p->x + i));
    if (i < stop) {
        uint16_t t[16];
        vf_to_bf16(t, vf_load_n(p->x + i, (uint32_t)(stop - i), 0));
        memcpy(p->y + i, t, (stop - i) * sizeof *t);
    }
}

enum err CPU_FN(to_bf16)(struct dev *d, struct stream *s, const float *x, uint64_t n, uint16_t *y)
{
    (void)s;
    struct conv p = {x, n, y};
    par_for(d, (uint32_t)((n + CONV_BLOCK - 1) / CONV_BLOCK), n, conv_blocks, &p);
    return ERR_OK;
}
