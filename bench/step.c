// SPDX-License-Identifier: Apache-2.0
/* step.c - the learner's speed: `bench_step [SHAPE [TOKENS [SAMPLE_TOKENS [THREADS]]]]`: one GRPO update of packed samples, no recompute.
 *
 * FLOP counted: 6 per weight and token, the tied head's product included, and causal attention forward and backward; the optimiser's time counts,
 * its arithmetic does not. Compared with the bf16 peak measured in the same run. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/rig.h"
#include "common/base/clock.h"
#include "learner/trainer.h"

int main(int argc, char **argv)
{
    const char *shape = argc > 1 ? argv[1] : "smollm2-135m";
    const uint32_t total = argc > 2 ? (uint32_t)atoi(argv[2]) : 4096, len = argc > 3 ? (uint32_t)atoi(argv[3]) : 256, n = total / len;
    const struct dims d = rig_dims(shape);
    struct dev *dev;
    struct trainer *t;
    struct why why = {0};
    rig_must(dev_open(&(struct dev_opts){.spec = "cpu", .n_thread = argc > 4 ? (uint32_t)atoi(argv[4]) : 0}, &dev, &why), &why, "device");
    const struct trainer_opts o = {.optim = {0.9, 0.999, 1e-8, 0, 1}, .micro_batch_tokens = total, .micro_batch_seqs = n, .logits_bytes = 64 << 20};
    rig_must(trainer_create(dev, &d, &o, &t, &why), &why, "trainer");
    const struct tensor_table *table = trainer_table(t);
    uint16_t *w = rig_weights(table);
    float *master = malloc(table->n_param * sizeof *master), *old = calloc(len, sizeof *old);
    int32_t *tok = malloc((size_t)total * sizeof *tok);
    struct sample *s = calloc(n, sizeof *s);
    if (!master || !old || !tok || !s) rig_must(ERR_NOMEM, NULL, "samples");
    for (uint64_t i = 0; i < table->n_param; i++) master[i] = (float)((double)(w[i] & 255) * 1e-4 - 0.0128);
    rig_must(trainer_set_master(t, master), NULL, "weights");
    for (uint32_t i = 0; i < total; i++) tok[i] = (int32_t)(i * 7919u % d.n_vocab);
    for (uint32_t i = 0; i < len; i++) old[i] = -10;
    /* a quarter prompt, the rest completion */
    for (uint32_t i = 0; i < n; i++)
        s[i] = (struct sample){.prompt = tok + i * len, .n_prompt = len / 4, .tok = tok + i * len + len / 4, .n_tok = len - len / 4, .old_lp = old,
                               .adv = i % 2 ? 1 : -1};
    loss_weigh(LOSS_TYPE_DAPO, len, s, n);
    const struct loss_opts lo = {LOSS_GRPO, 0.2f, 0.2f, 0, 1};
    const struct rig_machine m = rig_measure(dev);
    printf("%s, %.1f M parameters, %s, %u threads: peak %.0f GFLOP/s; %u samples of %u tokens\n", shape, (double)table->n_param / 1e6, dev->name,
           dev->n_thread, m.flops / 1e9, n, len);
    double best = 1e30;
    for (int i = 0; i < 4; i++) {
        struct step_result r;
        const int64_t t0 = clock_now_ns();
        rig_must(trainer_step(t, s, n, &lo, 1e-6, NULL, &r, &why), &why, "step");
        const double sec = clock_s(clock_now_ns() - t0);
        if (i && sec < best) best = sec;
    }
    const double rows = (double)n * (len - 1), head_rows = (double)n * (len - len / 4);
    const double attn = 12.0 * d.n_layer * d.n_head * d.head_dim * n * ((double)len * len / 2);
    const double flop = 3 * (rows * rig_flop_per_tok(&d, false) + head_rows * 2.0 * d.n_embd * d.n_vocab) + attn;
    printf("%.3f s a step, %.0f tokens/s, %.0f GFLOP/s, %.0f%% of peak\n", best, rows / best, flop / best / 1e9, 100 * flop / best / m.flops);
    free(w), free(master), free(old), free(tok), free(s);
    trainer_destroy(t);
    dev_close(dev);
    return 0;
}
