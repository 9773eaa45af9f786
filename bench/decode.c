// SPDX-License-Identifier: Apache-2.0
/* decode.c - the rollout engine's speed: `bench_decode [SHAPE [CONTEXT_FROM CONTEXT_TO [THREADS]]]`.
 *
 * Sequences of their own prompt each, decoded from one context length to another, temperature 1, logprobs kept. The roofline of a step is
 * max(FLOP / peak, bytes / bandwidth), weights and the K and V that it reads counted, both limits measured in this run. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/rig.h"
#include "common/base/clock.h"
#include "rollout/engine.h"

struct run {
    double tok_s, prefill_tok_s, of_roofline, sample_share;
};

static struct work *make(uint32_t id, uint32_t n_prompt, uint32_t max_tok, uint32_t n_vocab)
{
    int32_t *prompt = malloc(n_prompt * sizeof *prompt);
    struct work *w;
    if (!prompt) rig_must(ERR_NOMEM, NULL, "prompt");
    for (uint32_t i = 0; i < n_prompt; i++) prompt[i] = (int32_t)((id * 7919u + i * 31u) % n_vocab);
    rig_must(work_create(prompt, n_prompt, 1, max_tok, &w), NULL, "work");
    free(prompt);
    w->job_id = id;
    w->seed = 1;
    w->temperature = 1;
    w->top_p = 1;
    return w;
}

static double bound_s(const struct dims *d, const struct tensor_table *t, const struct rig_machine *m, uint32_t n, uint32_t from, uint32_t to)
{
    double s = 0;
    for (uint32_t ctx = from; ctx < to; ctx++) {
        const double kv = 2.0 * d->n_layer * d->n_head_kv * d->head_dim * ctx;
        const double flop = n * (rig_flop_per_tok(d, true) + 4.0 * d->n_layer * d->n_head * d->head_dim * ctx);
        const double bytes = 2.0 * (double)t->n_param + n * kv * 2;
        const double a = flop / m->flops, b = bytes / m->bytes_s;
        s += a > b ? a : b;
    }
    return s;
}

static struct run measure(struct dev *dev, const struct model *model, const struct rig_machine *m, uint32_t n, uint32_t from, uint32_t to)
{
    struct engine *e;
    struct why why = {0};
    const struct dims *d = &model->dims;
    const struct engine_opts o = {.max_num_seqs = n, .max_num_batched_tokens = 2048, .max_model_len = to + 16};
    rig_must(engine_create(dev, d, &o, &e, &why), &why, "engine");
    engine_swap(e, model, (struct version){1, 0});
    for (uint32_t i = 0; i < n; i++) rig_must(engine_submit(e, make(i, from, to - from + 1, d->n_vocab), &why), &why, "submit");
    struct engine_stats before, st;
    struct work *done;
    const int64_t t0 = clock_now_ns();
    do {
        rig_must(engine_step(e, &done, &why), &why, "step");
        engine_stats(e, &before);
    } while (before.gen_tok < n); /* every prompt is in */
    const int64_t t1 = clock_now_ns();
    for (uint32_t left = n; left;) {
        rig_must(engine_step(e, &done, &why), &why, "step");
        for (; done; left--) {
            struct work *w = done;
            done = w->next;
            work_destroy(w);
        }
    }
    const double s = clock_s(clock_now_ns() - t1);
    engine_stats(e, &st);
    const struct run r = {(double)(st.gen_tok - before.gen_tok) / s, (double)before.prefill_tok / clock_s(t1 - t0),
                          bound_s(d, &model->table, m, n, from, to) / s,
                          (double)(st.sample_ns - before.sample_ns) / (double)(st.sample_ns - before.sample_ns + st.forward_ns - before.forward_ns)};
    engine_destroy(e);
    return r;
}

int main(int argc, char **argv)
{
    const char *shape = argc > 1 ? argv[1] : "smollm2-135m";
    const uint32_t from = argc > 3 ? (uint32_t)atoi(argv[2]) : 128, to = argc > 3 ? (uint32_t)atoi(argv[3]) : 384;
    const struct dims d = rig_dims(shape);
    struct dev *dev;
    struct model *model;
    struct why why = {0};
    rig_must(dev_open(&(struct dev_opts){.spec = "cpu", .n_thread = argc > 4 ? (uint32_t)atoi(argv[4]) : 0}, &dev, &why), &why, "device");
    rig_must(model_create(dev, &d, &model, &why), &why, "model");
    uint16_t *w = rig_weights(&model->table);
    rig_must(model_load(model, w), NULL, "model");
    free(w);
    const struct rig_machine m = rig_measure(dev);
    printf("%s, %.1f M parameters, %s, %u threads: peak %.0f GFLOP/s, %.1f GB/s; context %u to %u\n", shape, (double)model->table.n_param / 1e6,
           dev->name, dev->n_thread, m.flops / 1e9, m.bytes_s / 1e9, from, to);
    printf("%10s %12s %14s %12s %16s\n", "sequences", "tokens/s", "of roofline", "sampler", "prefill tok/s");
    for (const uint32_t *n = (const uint32_t[]){1, 8, 32, 64, 0}; *n; n++) {
        const struct run r = measure(dev, model, &m, *n, from, to);
        printf("%10u %12.1f %13.0f%% %11.1f%% %16.1f\n", *n, r.tok_s, 100 * r.of_roofline, 100 * r.sample_share, r.prefill_tok_s);
        fflush(stdout);
    }
    model_destroy(model);
    dev_close(dev);
    return 0;
}
