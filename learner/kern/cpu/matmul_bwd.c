// SPDX-License-Identifier: Apache-2.0
/* matmul_bwd.c - the two products of the backward pass are the forward product with other operands: dx = dy W takes W packed across,
 * dw = dy^T a takes dy turned over as the rows and a packed with its rows as the inner dimension. So every output is again one
 * chain, over N and over M, and the micro-kernel is the same. */
#include "common/dev/par.h"
#include "learner/kern/cpu/isa.h"

#define PANEL_N 32

uint64_t CPU_FN(pack_dx_bytes)(uint32_t n, uint32_t k)
{
    return (uint64_t)((k + PANEL_N - 1) / PANEL_N) * PANEL_N * n * 2;
}

struct across {
    const uint16_t *rows; /* [n, k] */
    uint16_t *out;        /* [ceil(k/32)][n_pad/2][32][2] */
    uint32_t n, n_pad, k;
};

/* One panel: 32 columns of rows, pairs of rows side by side. Rows beyond n are zero. */
static void pack_panels(void *v, uint32_t begin, uint32_t end)
{
    const struct across *p = v;
    for (uint32_t ip = begin; ip < end; ip++) {
        uint16_t *out = p->out + (uint64_t)ip * PANEL_N * p->n_pad;
        const uint32_t k0 = ip * PANEL_N, w = p->k - k0 < PANEL_N ? p->k - k0 : PANEL_N;
        for (uint32_t i = 0; i < p->n_pad; i += 2, out += 2 * PANEL_N) {
            const uint16_t *r0 = p->rows + (uint64_t)i * p->k + k0, *r1 = r0 + p->k;
            const bool two = i + 1 < p->n;
            for (uint32_t j = 0; j < w; j++) {
                out[2 * j] = r0[j];
                out[2 * j + 1] = two ? r1[j] : 0;
            }
            memset(out + 2 * w, 0, (PANEL_N - w) * 2 * sizeof *out);
        }
    }
}

static void pack_across(struct dev *d, const uint16_t *rows, uint32_t n, uint32_t n_pad, uint32_t k, uint16_t *out)
{
    struct across p = {rows, out, n, n_pad, k};
    par_for(d, (k + PANEL_N - 1) / PANEL_N, (uint64_t)n * k / 2, pack_panels, &p);
}

enum err CPU_FN(pack_dx)(struct dev *d, struct stream *s, const uint16_t *rows, struct weight *w)
{
    (void)d, (void)s;
    struct across p = {rows, w->data, w->n, w->n, w->k}; /* alone: a packer thread may call this */
    pack_panels(&p, 0, (w->k + PANEL_N - 1) / PANEL_N);
    return ERR_OK;
}

enum err CPU_FN(matmul_dx)(struct dev *d, struct stream *s, const uint16_t *dy, uint32_t m, const struct weight *w,
                           enum matmul_out out, void *dx)
{
    const struct weight across = {.n = w->k, .k = w->n, .data = w->data};
    return d->ops->matmul(d, s, dy, m, &across, NULL, out, dx);
}

struct turn {
    const uint16_t *dy; /* [m, n] */
    uint16_t *out;      /* [n, m_pad] */
    uint32_t m, m_pad, n;
};

/* Rows [r0, m_pad) of columns [c0, c1), one by one. */
static void turn_rest(const struct turn *t, uint32_t r0, uint32_t c0, uint32_t c1)
{
    for (uint32_t c = c0; c < c1; c++)
        for (uint32_t r = r0; r < t->m_pad; r++)
            t->out[(uint64_t)c * t->m_pad + r] = r < t->m ? t->dy[(uint64_t)r * t->n + c] : 0;
}

/* Columns [begin, end) * 16 of dy as rows. */
static void turn_cols(void *v, uint32_t begin, uint32_t end)
{
    const struct turn *t = v;
    for (uint32_t c = begin * 16; c < end * 16 && c < t->n; c += 16) {
        uint32_t r = 0;
        for (; t->n - c >= 16 && r + 8 <= t->m; r += 8)
            u16_turn(t->dy + (uint64_t)r * t->n + c, t->n, t->out + (uint64_t)c * t->m_pad + r, t->m_pad);
        turn_rest(t, r, c, c + 16 < t->n ? c + 16 : t->n);
    }
}

enum err CPU_FN(matmul_dw)(struct dev *d, struct stream *s, const uint16_t *dy, const uint16_t *a, uint32_t m, uint32_t n,
                           uint32_t k, float *dw)
{
    if (!m) return ERR_OK;
    const uint32_t m_pad = (m + 1) / 2 * 2;
    const uint64_t turned = (uint64_t)n * m_pad * 2, packed = (uint64_t)((k + PANEL_N - 1) / PANEL_N) * PANEL_N * m_pad * 2;
    char *mem = dev_scratch(d, (turned + 63) / 64 * 64 + packed);
    if (!mem) return ERR_NOMEM;
    struct turn t = {dy, (uint16_t *)mem, m, m_pad, n};
    par_for(d, (n + 15) / 16, (uint64_t)m * n / 2, turn_cols, &t);
    uint16_t *panels = (uint16_t *)(mem + (turned + 63) / 64 * 64);
    pack_across(d, a, m, m_pad, k, panels);
    const struct weight w = {.n = k, .k = m_pad, .data = panels};
    return d->ops->matmul(d, s, t.out, n, &w, NULL, MATMUL_F32_ADD, dw);
}

struct colsum {
    const uint16_t *dy;
    uint32_t m, n;
    float *db;
};

static void sum_cols(void *v, uint32_t begin, uint32_t end)
{
    const struct colsum *c = v;
    for (uint32_t i = begin * 16; i < end * 16; i += 16) {
        vf acc = vf_load(c->db + i);
        for (uint32_t r = 0; r < c->m; r++) acc = vf_add(acc, vf_from_bf16(c->dy + (uint64_t)r * c->n + i));
        vf_store(c->db + i, acc);
    }
}

enum err CPU_FN(bias_bwd)(struct dev *d, struct stream *s, const uint16_t *dy, uint32_t m, uint32_t n, float *db)
{
    (void)s;
    struct colsum c = {dy, m, n, db};
    par_for(d, n / 16, (uint64_t)m * n, sum_cols, &c);
    return ERR_OK;
}
