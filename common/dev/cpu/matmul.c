// SPDX-License-Identifier: Apache-2.0
/* matmul.c - products with a packed weight. Each output is one chain over K (gemm.h), so its bits do not depend on how many rows
 * stand beside it or how the panels are shared out. */
#include <stdlib.h>

#include "common/base/bf16.h"
#include "common/dev/cpu/isa.h"
#include "common/dev/gemm.h"
#include "common/dev/par.h"

#define ROW_BLOCK 192 /* rows of a that stay in L2 while panels pass by */

uint64_t CPU_FN(pack_bytes)(uint32_t n, uint32_t k)
{
    return (uint64_t)((n + PANEL_N - 1) / PANEL_N) * PANEL_N * k * 2;
}

enum err CPU_FN(pack)(struct dev *d, struct stream *s, const uint16_t *rows, struct weight *w)
{
    (void)d, (void)s;
    const uint32_t k = w->k;
    uint16_t *out = w->data;
    for (uint32_t n0 = 0; n0 < w->n; n0 += PANEL_N)
        for (uint32_t i = 0; i < k; i += 2)
            for (uint32_t j = 0; j < PANEL_N; j++, out += 2) {
                const uint16_t *src = rows + (uint64_t)(n0 + j) * k + i;
                out[0] = n0 + j < w->n ? src[0] : 0;
                out[1] = n0 + j < w->n ? src[1] : 0;
            }
    return ERR_OK;
}

struct product {
    const uint16_t *a, *w, *bias;
    uint32_t m, n, k;
    enum matmul_out out;
    void *y;
};

/* One vector of outputs: row r, columns col .. col+16. */
static inline void put(const struct product *p, uint32_t r, uint32_t col, vf v)
{
    const uint32_t left = p->n - col;
    const uint64_t at = (uint64_t)r * p->n + col;
    if (left >= 16) {
        if (p->bias) v = vf_add(v, vf_from_bf16(p->bias + col));
        if (p->out == MATMUL_BF16) vf_to_bf16((uint16_t *)p->y + at, v);
        else if (p->out == MATMUL_F32) vf_store((float *)p->y + at, v);
        else vf_store((float *)p->y + at, vf_add(vf_load((float *)p->y + at), v));
        return;
    }
    float t[16];
    vf_store(t, v);
    for (uint32_t i = 0; i < left; i++) {
        const float x = p->bias ? t[i] + bf16_to_f32(p->bias[col + i]) : t[i];
        if (p->out == MATMUL_BF16) ((uint16_t *)p->y)[at + i] = bf16_from_f32(x);
        else if (p->out == MATMUL_F32) ((float *)p->y)[at + i] = x;
        else ((float *)p->y)[at + i] += x;
    }
}

/* Rows [r0, r1) times one panel. */
static void panel(const struct product *p, uint32_t r0, uint32_t r1, uint32_t ip)
{
    const uint16_t *w = p->w + (uint64_t)ip * PANEL_N * p->k;
    for (uint32_t c = 0; c < 2; c += GEMM_COLS) {
        if (ip * PANEL_N + c * 16 >= p->n) break;
        for (uint32_t r = r0, step; r < r1; r += step) {
            vf acc[GEMM_ROWS][GEMM_COLS];
            step = gemm_step(r1 - r);
            gemm_run(step, p->a + (uint64_t)r * p->k, p->k, w + c * 32, p->k, acc);
            for (uint32_t i = 0; i < step; i++)
                for (uint32_t j = 0; j < GEMM_COLS; j++)
                    if (ip * PANEL_N + (c + j) * 16 < p->n) put(p, r + i, ip * PANEL_N + (c + j) * 16, acc[i][j]);
        }
    }
}

static void panels(void *v, uint32_t begin, uint32_t end)
{
    const struct product *p = v;
    for (uint32_t r0 = 0; r0 < p->m; r0 += ROW_BLOCK) {
        const uint32_t r1 = r0 + ROW_BLOCK < p->m ? r0 + ROW_BLOCK : p->m;
        for (uint32_t ip = begin; ip < end; ip++) panel(p, r0, r1, ip);
    }
}

enum err CPU_FN(matmul)(struct dev *d, struct stream *s, const uint16_t *a, uint32_t m, const struct weight *w,
                        const uint16_t *bias, enum matmul_out out, void *y)
{
    (void)s;
    struct product p = {a, w->data, bias, m, w->n, w->k, out, y};
    par_for(d, (w->n + PANEL_N - 1) / PANEL_N, (uint64_t)m * w->n * w->k / 8, panels, &p);
    return ERR_OK;
}

struct lookup {
    const struct weight *table;
    const int32_t *id;
    float *x;
};

/* Rows of the embedding, gathered out of the panels. */
static void lookup_rows(void *v, uint32_t begin, uint32_t end)
{
    const struct lookup *l = v;
    const uint32_t c = l->table->k;
    for (uint32_t r = begin; r < end; r++) {
        float *x = l->x + (uint64_t)r * c;
        if (l->id[r] < 0 || (uint32_t)l->id[r] >= l->table->n) {
            memset(x, 0, c * sizeof *x);
            continue;
        }
        const uint32_t id = (uint32_t)l->id[r];
        const uint16_t *w = (const uint16_t *)l->table->data + (uint64_t)(id / PANEL_N) * PANEL_N * c + id % PANEL_N * 2;
        for (uint32_t i = 0; i < c; i += 2, w += PANEL_N * 2) {
            x[i] = bf16_to_f32(w[0]);
            x[i + 1] = bf16_to_f32(w[1]);
        }
    }
}

enum err CPU_FN(embed)(struct dev *d, struct stream *s, const struct weight *table, const struct batch *b, float *x)
{
    (void)s;
    struct lookup l = {table, b->id, x};
    par_for(d, b->n_row, (uint64_t)b->n_row * table->k * 4, lookup_rows, &l);
    return ERR_OK;
}
