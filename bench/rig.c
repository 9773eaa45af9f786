// SPDX-License-Identifier: Apache-2.0
#include "bench/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bf16.h"
#include "common/base/clock.h"
#include "common/base/team.h"
#include "common/model/folder.h"

void rig_must(enum err e, const struct why *why, const char *what)
{
    if (!e) return;
    fprintf(stderr, "bench: %s: %s\n", what, why_str(why, e));
    exit(1);
}

struct dims rig_dims(const char *name)
{
    static const struct {
        const char *name;
        struct dims d;
    } all[] = {
        {"quickstart", {.n_layer = 4, .n_embd = 128, .n_head = 4, .n_head_kv = 2, .head_dim = 32, .n_ff = 384, .n_vocab = 272, .max_pos = 512,
                        .rope_theta = 10000, .rms_eps = 1e-6f, .tied = true, .qkv_bias = true}},
        {"smollm2-135m", {.n_layer = 30, .n_embd = 576, .n_head = 9, .n_head_kv = 3, .head_dim = 64, .n_ff = 1536, .n_vocab = 49152,
                          .max_pos = 8192, .rope_theta = 100000, .rms_eps = 1e-5f, .tied = true}},
        {"qwen2-0.5b", {.n_layer = 24, .n_embd = 896, .n_head = 14, .n_head_kv = 2, .head_dim = 64, .n_ff = 4864, .n_vocab = 151936,
                        .max_pos = 4096, .rope_theta = 1000000, .rms_eps = 1e-6f, .tied = true, .qkv_bias = true}},
        {"qwen2-1.5b", {.n_layer = 28, .n_embd = 1536, .n_head = 12, .n_head_kv = 2, .head_dim = 128, .n_ff = 8960, .n_vocab = 151936,
                        .max_pos = 4096, .rope_theta = 1000000, .rms_eps = 1e-6f, .tied = true, .qkv_bias = true}},
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].name, name)) return all[i].d;
    fprintf(stderr, "bench: no model shape \"%s\": one of quickstart, smollm2-135m, qwen2-0.5b, qwen2-1.5b\n", name);
    exit(2);
}

uint16_t *rig_weights(const struct tensor_table *table)
{
    float *f = malloc(table->n_param * sizeof *f);
    uint16_t *w = malloc(table->n_param * sizeof *w);
    if (!f || !w) rig_must(ERR_NOMEM, NULL, "weights");
    folder_init_weights(table, 1, f);
    for (uint64_t i = 0; i < table->n_param; i++) w[i] = bf16_from_f32(f[i]);
    free(f);
    return w;
}

double rig_flop_per_tok(const struct dims *d, bool head)
{
    const double c = d->n_embd, q = (double)d->n_head * d->head_dim, kv = 2.0 * d->n_head_kv * d->head_dim;
    return 2 * (d->n_layer * (c * (q + kv) + q * c + 3 * c * d->n_ff) + (head ? c * d->n_vocab : 0));
}

/* -- the machine ------------------------------------------------------------------------------------------------------------ */

/* A weight that stays in L2, the same product over and over. */
static double measure_flops(struct dev *dev)
{
    enum { N = 256, K = 512, M = 384 };
    const uint32_t n_thread = dev->n_thread;
    struct weight w = {.n = N * n_thread, .k = K};
    void *data, *y;
    uint16_t *rows = calloc((size_t)w.n * K, 2), *a = aligned_alloc(64, (size_t)M * K * 2);
    if (!rows || !a) rig_must(ERR_NOMEM, NULL, "machine");
    memset(a, 0, (size_t)M * K * 2);
    rig_must(dev->mem->alloc(dev, dev->ops->pack_bytes(w.n, K), &data), NULL, "machine");
    rig_must(dev->mem->alloc(dev, (uint64_t)M * w.n * 4, &y), NULL, "machine");
    w.data = data;
    rig_must(dev->ops->pack(dev, NULL, rows, &w), NULL, "machine");
    double best = 0;
    for (int round = 0; round < 10; round++) {
        const int64_t t0 = clock_now_ns();
        for (int i = 0; i < 40; i++) rig_must(dev->ops->matmul(dev, NULL, a, M, &w, NULL, MATMUL_F32, y), NULL, "machine");
        const double f = 40.0 * 2 * M * w.n * K / clock_s(clock_now_ns() - t0);
        if (f > best) best = f;
    }
    dev->mem->free(dev, data);
    dev->mem->free(dev, y);
    free(rows);
    free(a);
    return best;
}

struct reader {
    const uint64_t *p;
    size_t n;
    uint64_t sum[64];
};

static void read_part(void *arg, uint32_t i, uint32_t n)
{
    struct reader *r = arg;
    const size_t begin = r->n * i / n / 32 * 32, end = r->n * (i + 1) / n / 32 * 32;
    uint64_t s[32] = {0};
    for (size_t k = begin; k < end; k += 32)
        for (int j = 0; j < 32; j++) s[j] += r->p[k + j];
    for (int j = 1; j < 32; j++) s[0] += s[j];
    r->sum[i % 64] += s[0];
}

/* Plain sums over 256 MiB, and a matrix-vector product of the same size: the better of the two. */
static double measure_bytes(struct dev *dev)
{
    const size_t bytes = (size_t)256 << 20;
    struct reader r = {.n = bytes / 8};
    uint64_t *p = aligned_alloc(64, bytes);
    uint16_t *a = aligned_alloc(64, 4096 * 2);
    float *y = aligned_alloc(64, bytes / 4096 / 2 * 4);
    if (!p || !a || !y) rig_must(ERR_NOMEM, NULL, "machine");
    memset(p, 0, bytes);
    memset(a, 0, 4096 * 2);
    r.p = p;
    const struct weight w = {.n = (uint32_t)(bytes / 4096 / 2), .k = 4096, .data = p};
    double best = 0;
    for (int round = 0; round < 8; round++) {
        const int64_t t0 = clock_now_ns();
        if (round % 2) team_run(dev_team(dev), read_part, &r);
        else rig_must(dev->ops->matmul(dev, NULL, a, 1, &w, NULL, MATMUL_F32, y), NULL, "machine");
        const double b = (double)bytes / clock_s(clock_now_ns() - t0);
        if (b > best) best = b;
    }
    free(p);
    free(a);
    free(y);
    return best;
}

struct rig_machine rig_measure(struct dev *dev)
{
    return (struct rig_machine){measure_flops(dev), measure_bytes(dev)};
}
