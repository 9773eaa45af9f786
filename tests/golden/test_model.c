// SPDX-License-Identifier: Apache-2.0
/* The whole of the learner against PyTorch: logits, logprobs, entropy, loss, gradients, AdamW, ten GRPO steps (make_model.py made the
 * numbers), on every instruction set this CPU has; and the promises that need no other author: any cut into micro-batches, any
 * number of threads. usage: test_model DIR, the folder that make_model.py filled. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/model/folder.h"
#include "common/model/forward.h"
#include "common/model/safetensors.h"
#include "learner/trainer.h"

#define MAX_SAMPLE 8

static const char *dir;
static json_t *golden;
static struct safetensors vectors;
static struct dims dims;
static struct tensor_table table;
static float *master;
static struct sample samples[MAX_SAMPLE];
static uint32_t n_sample, n_tok;
static float *old_lp, *ref_lp;

static float *vector(const char *name, uint64_t *ret_n)
{
    struct why why = {0};
    const struct st_tensor *t = safetensors_find(&vectors, name);
    if (!t) fail_msg("golden.safetensors has no %s", name);
    float *p = malloc((t->n_elem + 1) * sizeof *p);
    assert_int_equal(st_read_f32(t, p, &why), ERR_OK);
    if (ret_n) *ret_n = t->n_elem;
    return p;
}

static int32_t *ids(json_t *list, uint32_t *ret_n)
{
    *ret_n = (uint32_t)json_array_size(list);
    int32_t *p = calloc(*ret_n, sizeof *p);
    for (uint32_t i = 0; i < *ret_n; i++) p[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return p;
}

static double number(const char *key)
{
    return json_number_value(json_object_get(golden, key));
}

static void load_samples(void)
{
    size_t i;
    json_t *s;
    old_lp = vector("old_lp", NULL);
    ref_lp = vector("ref_lp", NULL);
    json_array_foreach(json_object_get(golden, "samples"), i, s)
    {
        struct sample *x = &samples[n_sample++];
        x->prompt = ids(json_object_get(s, "prompt"), &x->n_prompt);
        x->tok = ids(json_object_get(s, "tok"), &x->n_tok);
        x->adv = json_number_value(json_object_get(s, "adv"));
        x->old_lp = old_lp + n_tok;
        x->ref_lp = ref_lp + n_tok;
        n_tok += x->n_tok;
    }
}

static int setup(void **state)
{
    (void)state;
    char path[4096];
    struct why why = {0};
    snprintf(path, sizeof path, "%s/golden.json", dir);
    golden = json_load_file(path, 0, NULL);
    assert_non_null(golden);
    snprintf(path, sizeof path, "%s/golden.safetensors", dir);
    assert_int_equal(safetensors_open(path, &vectors, &why), ERR_OK);
    assert_int_equal(dims_read(dir, &dims, &why), ERR_OK);
    assert_int_equal(tensor_table_init(&dims, &table), ERR_OK);
    master = malloc(table.n_param * sizeof *master);
    if (folder_load(dir, &table, master, NULL, &why)) fail_msg("%s", why.text);
    load_samples();
    return 0;
}

static struct dev *open_dev(const char *spec, uint32_t n_thread)
{
    struct why why = {0};
    struct dev *d = NULL;
    const struct dev_opts o = {.spec = spec, .n_thread = n_thread};
    if (dev_open(&o, &d, &why)) printf("[   NOTE   ] %s: %s\n", spec, why.text);
    return d;
}

static struct trainer *open_trainer(struct dev *d, uint32_t micro_tokens)
{
    struct why why = {0};
    struct trainer *t = NULL;
    const struct trainer_opts o = {.optim = {0.9, 0.999, 1e-8, 0, 0.5}, .micro_batch_tokens = micro_tokens, .micro_batch_seqs = 8,
                                   .logits_bytes = 96 * 6 * 20};
    if (trainer_create(d, &dims, &o, &t, &why)) fail_msg("%s", why.text);
    assert_int_equal(trainer_set_master(t, master), ERR_OK);
    return t;
}

static double max_diff(const float *a, const float *b, uint64_t n)
{
    double worst = 0;
    for (uint64_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)a[i] - b[i]));
    return worst;
}

/* |a - b| / |b| */
static double rel_diff(const float *a, const float *b, uint64_t n)
{
    double num = 0, den = 0;
    for (uint64_t i = 0; i < n; i++) {
        num += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        den += (double)b[i] * b[i];
    }
    return sqrt(num / (den + 1e-30));
}

static const char *const isas[] = {"cpu:avx2", "cpu:avx512", "cpu:avx512bf16"};
#define EACH_ISA(d)                                                                                               \
    for (unsigned isa_ = 0; isa_ < 3; isa_++)                                                                     \
        for (struct dev *d = open_dev(isas[isa_], 2); d; dev_close(d), d = NULL)

static struct loss_opts grpo_opts(void)
{
    return (struct loss_opts){LOSS_GRPO, (float)number("eps_low"), (float)number("eps_high"), (float)number("beta"), 1.0f};
}

static void logprobs_agree(void **state)
{
    (void)state;
    float *want = vector("lp", NULL), *want07 = vector("lp_t07", NULL), *got = malloc(n_tok * sizeof *got);
    struct why why = {0};
    EACH_ISA(d)
    {
        struct trainer *t = open_trainer(d, 256);
        assert_int_equal(trainer_score(t, NULL, samples, n_sample, 1.0f, got, &why), ERR_OK);
        printf("%s: logprobs: max difference %.2e\n", d->name, max_diff(got, want, n_tok));
        assert_true(max_diff(got, want, n_tok) < 0.1); /* bf16 activations against fp32 ones */
        assert_true(rel_diff(got, want, n_tok) < 4e-3);
        assert_int_equal(trainer_score(t, NULL, samples, n_sample, 1 / 0.7f, got, &why), ERR_OK);
        assert_true(rel_diff(got, want07, n_tok) < 4e-3);
        trainer_destroy(t);
    }
    free(want), free(want07), free(got);
}

static void loss_and_gradients_agree(void **state)
{
    (void)state;
    const struct loss_opts o = grpo_opts();
    float *got = malloc(table.n_param * sizeof *got);
    EACH_ISA(d)
    {
        struct trainer *t = open_trainer(d, 256);
        struct step_result r;
        struct why why = {0};
        loss_weigh(LOSS_TYPE_GRPO, 60, samples, n_sample);
        assert_int_equal(trainer_grad(t, samples, n_sample, &o, NULL, &r, &why), ERR_OK);
        printf("%s: loss %.5f, PyTorch %.5f", d->name, r.loss.loss, number("loss_grpo"));
        assert_true(fabs(r.loss.loss - number("loss_grpo")) < 5e-3);
        loss_weigh(LOSS_TYPE_DAPO, 60, samples, n_sample);
        assert_int_equal(trainer_grad(t, samples, n_sample, &o, NULL, &r, &why), ERR_OK);
        assert_true(fabs(r.loss.loss - number("loss_dapo")) < 5e-3);
        assert_int_equal(r.loss.n_tok, n_tok);
        assert_int_equal(trainer_get_grad(t, got), ERR_OK);
        double worst = 0;
        for (uint32_t i = 0; i < table.n; i++) {
            char name[120];
            uint64_t n;
            snprintf(name, sizeof name, "grad.%s", table.t[i].name);
            float *want = vector(name, &n);
            const double rel = rel_diff(got + table.t[i].offset, want, n);
            /* the gradient of k's bias is zero but for rounding: softmax does not see a shift */
            if (table.t[i].role != TENSOR_BK) {
                worst = fmax(worst, rel);
                if (rel > 0.04) fail_msg("%s: gradient of %s is off by %.3f", d->name, table.t[i].name, rel);
            }
            free(want);
        }
        printf(", gradients within %.4f\n", worst);
        trainer_destroy(t);
    }
    free(got);
}

static void micro_batches_do_not_matter(void **state)
{
    (void)state;
    const struct loss_opts o = grpo_opts();
    struct dev *d = open_dev("cpu", 2);
    float *whole = malloc(table.n_param * sizeof *whole), *cut = malloc(table.n_param * sizeof *cut);
    struct step_result a, b;
    struct why why = {0};
    loss_weigh(LOSS_TYPE_DAPO, 60, samples, n_sample);
    struct trainer *t = open_trainer(d, 256);
    assert_int_equal(trainer_grad(t, samples, n_sample, &o, NULL, &a, &why), ERR_OK);
    assert_int_equal(trainer_get_grad(t, whole), ERR_OK);
    trainer_destroy(t);
    t = open_trainer(d, 80);
    assert_int_equal(trainer_grad(t, samples, n_sample, &o, NULL, &b, &why), ERR_OK);
    assert_int_equal(trainer_get_grad(t, cut), ERR_OK);
    trainer_destroy(t);
    assert_int_equal(a.n_micro, 1);
    assert_true(b.n_micro > 1);
    assert_true(fabs(a.loss.loss - b.loss.loss) < 1e-9);
    printf("%u micro-batches against one: gradients differ by %.2e\n", b.n_micro, rel_diff(cut, whole, table.n_param));
    assert_true(rel_diff(cut, whole, table.n_param) < 1e-5);
    dev_close(d);
    free(whole), free(cut);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    const struct loss_opts o = grpo_opts();
    float *image[2][2];
    loss_weigh(LOSS_TYPE_DAPO, 60, samples, n_sample);
    for (uint32_t k = 0; k < 2; k++) {
        struct dev *d = open_dev("cpu", k + 1);
        struct trainer *t = open_trainer(d, 256);
        struct step_result r;
        struct why why = {0};
        uint64_t adam_t;
        assert_int_equal(trainer_step(t, samples, n_sample, &o, 1e-3, NULL, &r, &why), ERR_OK);
        float *m = malloc(table.n_param * sizeof *m);
        for (int i = 0; i < 2; i++) image[k][i] = malloc(table.n_param * sizeof(float));
        assert_int_equal(trainer_get_state(t, image[k][0], m, image[k][1], &adam_t), ERR_OK);
        free(m);
        trainer_destroy(t);
        dev_close(d);
    }
    for (int i = 0; i < 2; i++) assert_memory_equal(image[0][i], image[1][i], table.n_param * sizeof(float));
    for (int k = 0; k < 4; k++) free(image[k / 2][k % 2]);
}

static void ten_steps_agree(void **state)
{
    (void)state;
    const struct loss_opts o = grpo_opts();
    json_t *losses = json_object_get(golden, "ten_losses"), *norms = json_object_get(golden, "ten_norms");
    loss_weigh(LOSS_TYPE_DAPO, 60, samples, n_sample);
    EACH_ISA(d)
    {
        struct trainer *t = open_trainer(d, 256);
        struct why why = {0};
        double worst = 0;
        for (uint32_t k = 0; k < 10; k++) {
            struct step_result r;
            assert_int_equal(trainer_step(t, samples, n_sample, &o, 2e-4, NULL, &r, &why), ERR_OK);
            worst = fmax(worst, fabs(r.loss.loss - json_number_value(json_array_get(losses, k))));
            assert_true(fabs(r.loss.loss - json_number_value(json_array_get(losses, k))) < 0.01);
            assert_true(fabs(r.grad_norm / json_number_value(json_array_get(norms, k)) - 1) < (k ? 0.3 : 0.02));
        }
        printf("%s: ten steps, losses within %.2e of PyTorch's\n", d->name, worst);
        trainer_destroy(t);
    }
}

static void adamw_agrees(void **state)
{
    (void)state;
    EACH_ISA(d)
    {
        const struct learner_ops *op;
        struct why why = {0};
        uint64_t n;
        float *w = vector("adam_w0", &n), *m = calloc(n, 4), *v = calloc(n, 4);
        uint16_t *image = calloc(n, 2);
        assert_int_equal(learner_ops_of(d, &op, &why), ERR_OK);
        for (int k = 0; k < 3; k++) {
            char gn[16], wn[16];
            snprintf(gn, sizeof gn, "adam_g%d", k);
            snprintf(wn, sizeof wn, "adam_w%d", k + 1);
            float *g = vector(gn, NULL), *want = vector(wn, NULL);
            const struct adamw o = {0.01f, 0.9f, 0.95f, 1e-6f, 0.1f, (float)(1 - pow(0.9, k + 1)), (float)(1 - pow(0.95, k + 1)), 1};
            assert_int_equal(op->adamw(d, NULL, &o, true, n, g, m, v, w, image), ERR_OK);
            assert_true(max_diff(w, want, n) < 2e-6);
            free(g), free(want);
        }
        free(w), free(m), free(v), free(image);
    }
}

static void nonfinite_is_named_and_changes_nothing(void **state)
{
    (void)state;
    const struct loss_opts o = grpo_opts();
    struct dev *d = open_dev("cpu", 1);
    struct trainer *t = open_trainer(d, 256);
    struct why why = {0};
    struct step_result r;
    const struct tensor_info *bad = tensor_find(&table, TENSOR_WUP, 1);
    float *poisoned = malloc(table.n_param * sizeof *poisoned);
    memcpy(poisoned, master, table.n_param * sizeof *poisoned);
    poisoned[bad->offset + 5] = NAN;
    assert_int_equal(trainer_set_master(t, poisoned), ERR_OK);
    assert_int_equal(trainer_step(t, samples, n_sample, &o, 1e-3, NULL, &r, &why), ERR_NONFINITE);
    assert_non_null(strstr(why.text, "layers.1.mlp.up_proj"));
    uint16_t *before = malloc(table.n_param * 2), *after = malloc(table.n_param * 2);
    assert_int_equal(trainer_set_master(t, master), ERR_OK);
    assert_int_equal(trainer_get_image(t, before), ERR_OK);
    samples[0].adv = INFINITY;
    assert_int_equal(trainer_step(t, samples, n_sample, &o, 1e-3, NULL, &r, &why), ERR_NONFINITE);
    samples[0].adv = 0.7;
    assert_int_equal(trainer_get_image(t, after), ERR_OK);
    assert_memory_equal(before, after, table.n_param * 2);
    free(before), free(after), free(poisoned);
    trainer_destroy(t);
    dev_close(d);
}

int main(int argc, char **argv)
{
    if (argc != 2) return fprintf(stderr, "usage: %s DIR\n", argv[0]), 2;
    dir = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logprobs_agree),
        cmocka_unit_test(loss_and_gradients_agree),
        cmocka_unit_test(micro_batches_do_not_matter),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(ten_steps_agree),
        cmocka_unit_test(adamw_agrees),
        cmocka_unit_test(nonfinite_is_named_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
