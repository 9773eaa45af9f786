// SPDX-License-Identifier: Apache-2.0
/* What the exactness claim rests on: a sequence's tokens and logprobs are the same bits alone or among many, on one thread or two, in chunks
 * or whole, and the learner's scoring pass gives the same bits again. And: a prompt is computed once, blocks come back, a swap marks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/rng.h"
#include "common/model/folder.h"
#include "learner/trainer.h"
#include "rollout/engine.h"

static const struct dims dims = {.n_layer = 2, .n_embd = 64, .n_head = 6, .n_head_kv = 2, .head_dim = 16, .n_ff = 96, .n_vocab = 80,
                                 .max_pos = 512, .rope_theta = 10000, .rms_eps = 1e-6f, .tied = true, .qkv_bias = true};
static struct tensor_table table;
static float *master;
static uint16_t *image;

struct rig {
    struct dev *dev;
    struct model *model;
    struct engine *engine;
};

static int setup(void **state)
{
    (void)state;
    assert_int_equal(tensor_table_init(&dims, &table), ERR_OK);
    master = malloc(table.n_param * sizeof *master);
    image = malloc(table.n_param * sizeof *image);
    folder_init_weights(&table, 5, master);
    for (uint64_t i = 0; i < table.n_param; i++) master[i] *= 6; /* distributions with some shape */
    struct dev *d;
    struct learner_ops const *op;
    struct why why = {0};
    assert_int_equal(dev_open(&(struct dev_opts){.spec = "cpu"}, &d, &why), ERR_OK);
    assert_int_equal(learner_ops_of(d, &op, &why), ERR_OK);
    assert_int_equal(op->to_bf16(d, NULL, master, table.n_param, image), ERR_OK);
    dev_close(d);
    return 0;
}

static struct rig rig_open(const char *spec, uint32_t n_thread, uint32_t max_tok)
{
    struct rig r = {0};
    struct why why = {0};
    if (dev_open(&(struct dev_opts){.spec = spec, .n_thread = n_thread}, &r.dev, &why)) return r;
    assert_int_equal(model_create(r.dev, &dims, &r.model, &why), ERR_OK);
    assert_int_equal(model_load(r.model, image), ERR_OK);
    const struct engine_opts o = {.max_num_seqs = 96, .max_num_batched_tokens = max_tok, .max_model_len = 300};
    assert_int_equal(engine_create(r.dev, &dims, &o, &r.engine, &why), ERR_OK);
    engine_swap(r.engine, r.model, (struct version){7, 0});
    return r;
}

static void rig_close(struct rig *r)
{
    struct engine_stats st;
    engine_stats(r->engine, &st);
    assert_int_equal(st.n_free_block, st.n_block);
    engine_destroy(r->engine);
    model_destroy(r->model);
    dev_close(r->dev);
}

/* A group of G with a prompt made from its id. */
static struct work *make(uint64_t id, uint32_t n_prompt, uint32_t group, uint32_t max_tok)
{
    struct work *w;
    int32_t prompt[300];
    for (uint32_t i = 0; i < n_prompt; i++) prompt[i] = (int32_t)(rng_u64(3, id, i) % 80);
    assert_int_equal(work_create(prompt, n_prompt, group, max_tok, &w), ERR_OK);
    w->job_id = id;
    w->seed = 11;
    w->temperature = 0.9f;
    w->top_p = 1;
    w->n_eos = 1;
    w->eos[0] = 1;
    return w;
}

static void submit(struct rig *r, struct work *w)
{
    struct why why = {0};
    assert_int_equal(engine_submit(r->engine, w, &why), ERR_OK);
}

/* Steps until n works are done; returns them by job id. */
static void run(struct rig *r, uint32_t n, struct work **by_id)
{
    struct why why = {0};
    while (n) {
        struct work *done;
        assert_true(engine_has_work(r->engine));
        assert_int_equal(engine_step(r->engine, &done, &why), ERR_OK);
        for (; done; n--) {
            struct work *w = done;
            done = w->next;
            by_id[w->job_id] = w;
        }
    }
}

static void assert_same(const struct work *a, const struct work *b)
{
    for (uint32_t i = 0; i < a->group_size; i++) {
        assert_int_equal(a->seq[i].n_tok, b->seq[i].n_tok);
        assert_memory_equal(a->seq[i].tok, b->seq[i].tok, a->seq[i].n_tok * sizeof(int32_t));
        assert_memory_equal(a->seq[i].lp, b->seq[i].lp, a->seq[i].n_tok * sizeof(float));
    }
}

static struct work *alone(const char *spec, uint32_t n_thread, uint32_t max_tok, uint64_t id, uint32_t n_prompt)
{
    struct work *out[100] = {0};
    struct rig r = rig_open(spec, n_thread, max_tok);
    submit(&r, make(id, n_prompt, 3, 40));
    run(&r, 1, out);
    rig_close(&r);
    return out[id];
}

static void alone_or_among_64_the_same_bits(void **state)
{
    (void)state;
    struct work *all[64] = {0};
    struct rig r = rig_open("cpu", 2, 512);
    for (uint64_t i = 0; i < 20; i++) submit(&r, make(i, 3 + (uint32_t)i * 9, 3, 40));
    run(&r, 20, all);
    rig_close(&r);
    for (uint64_t i = 0; i < 20; i += 3) {
        struct work *one = alone("cpu", 1, 112, i, 3 + (uint32_t)i * 9); /* one thread, prompts cut into chunks */
        assert_same(one, all[i]);
        work_destroy(one);
    }
    for (int i = 0; i < 20; i++) work_destroy(all[i]);
}

static void samples_differ_and_seeds_matter(void **state)
{
    (void)state;
    struct work *w = alone("cpu", 1, 512, 4, 20);
    assert_memory_not_equal(w->seq[0].tok, w->seq[1].tok, 4 * sizeof(int32_t));
    work_destroy(w);
}

static void a_prompt_is_computed_once(void **state)
{
    (void)state;
    struct work *out[4] = {0};
    struct rig r = rig_open("cpu", 1, 512);
    struct engine_stats st;
    submit(&r, make(0, 100, 16, 5));
    run(&r, 1, out);
    engine_stats(r.engine, &st);
    assert_int_equal(out[0]->prefill_tok, 100);
    assert_int_equal(st.prefill_tok, 100);
    work_destroy(out[0]);
    rig_close(&r);
}

/* The learner's bits: scored packed with others, on every instruction set. flip: one bit of one weight on the learner's side. */
static double worst_mismatch(const char *spec, bool flip)
{
    struct work *all[8] = {0};
    struct rig r = rig_open(spec, 2, 512);
    if (!r.dev) return -1;
    for (uint64_t i = 0; i < 8; i++) submit(&r, make(i, 5 + (uint32_t)i * 17, 4, 60));
    run(&r, 8, all);
    struct sample s[32] = {0};
    uint32_t n_tok = 0;
    for (uint32_t i = 0; i < 32; i++) {
        const struct work *w = all[i / 4];
        const struct seq *q = &w->seq[i % 4];
        s[i] = (struct sample){.prompt = w->prompt, .n_prompt = w->n_prompt, .tok = q->tok, .n_tok = q->n_tok};
        n_tok += q->n_tok;
    }
    struct trainer *t;
    struct why why = {0};
    const struct trainer_opts o = {.micro_batch_tokens = 700, .micro_batch_seqs = 16, .logits_bytes = 80 * 6 * 37};
    float *lp = malloc(n_tok * sizeof *lp);
    assert_int_equal(trainer_create(r.dev, &dims, &o, &t, &why), ERR_OK);
    uint16_t *mine = malloc(table.n_param * sizeof *mine);
    memcpy(mine, image, table.n_param * sizeof *mine);
    if (flip) mine[tensor_find(&table, TENSOR_WDOWN, 1)->offset + 17] ^= 1;
    assert_int_equal(trainer_score(t, mine, s, 32, 1 / 0.9f, lp, &why), ERR_OK);
    double worst = 0;
    uint32_t k = 0;
    for (uint32_t i = 0; i < 32; i++)
        for (uint32_t j = 0; j < s[i].n_tok; j++, k++) {
            const double diff = (double)lp[k] - all[i / 4]->seq[i % 4].lp[j];
            if (diff > worst || -diff > worst) worst = diff < 0 ? -diff : diff;
        }
    trainer_destroy(t);
    free(lp), free(mine);
    for (int i = 0; i < 8; i++) work_destroy(all[i]);
    rig_close(&r);
    return worst;
}

static void the_learner_scores_the_same_bits(void **state)
{
    (void)state;
    static const char *const isas[] = {"cpu:avx2", "cpu:avx512", "cpu:avx512bf16"};
    for (int i = 0; i < 3; i++) {
        const double worst = worst_mismatch(isas[i], false);
        printf("%s: mismatch %g\n", isas[i], worst);
        assert_true(worst <= 0);
    }
}

static void one_flipped_weight_bit_is_seen(void **state)
{
    (void)state;
    const double worst = worst_mismatch("cpu", true);
    printf("one weight bit flipped: mismatch %g\n", worst);
    assert_true(worst > 0);
}

static void a_swap_marks_what_follows(void **state)
{
    (void)state;
    struct rig r = rig_open("cpu", 1, 512);
    struct why why = {0};
    struct work *done, *w = make(0, 10, 2, 30);
    w->n_eos = 0;
    submit(&r, w);
    for (int i = 0; i < 10; i++) assert_int_equal(engine_step(r.engine, &done, &why), ERR_OK);
    engine_swap(r.engine, r.model, (struct version){7, 1});
    struct work *late = make(1, 10, 2, 30);
    late->n_eos = 0;
    submit(&r, late);
    struct work *out[2] = {0};
    run(&r, 2, out);
    assert_int_equal(w->seq[1].version[9], 0);
    assert_int_equal(w->seq[1].kind[9], TOKEN_SAMPLED);
    assert_int_equal(w->seq[1].version[10], 1);
    assert_int_equal(w->seq[1].kind[10], TOKEN_SAMPLED | TOKEN_KV_MIXED);
    assert_int_equal(late->seq[0].version[0], 1);
    assert_int_equal(late->seq[0].kind[29], TOKEN_SAMPLED);
    work_destroy(w), work_destroy(late);
    rig_close(&r);
}

static void abort_frees_within_a_step(void **state)
{
    (void)state;
    struct rig r = rig_open("cpu", 1, 512);
    struct why why = {0};
    struct work *done, *w = make(0, 50, 8, 200);
    w->n_eos = 0;
    submit(&r, w);
    for (int i = 0; i < 3; i++) assert_int_equal(engine_step(r.engine, &done, &why), ERR_OK);
    engine_abort(r.engine, w);
    assert_int_equal(engine_step(r.engine, &done, &why), ERR_OK);
    assert_ptr_equal(done, w);
    assert_int_equal(w->e, ERR_CANCELLED);
    work_destroy(w);
    rig_close(&r); /* asserts that every block is back */
}

static void what_cannot_fit_is_refused_with_both_lengths(void **state)
{
    (void)state;
    struct rig r = rig_open("cpu", 1, 512);
    struct why why = {0};
    int32_t *prompt = calloc(400, sizeof *prompt);
    struct work *w;
    assert_int_equal(work_create(prompt, 400, 1, 5, &w), ERR_OK);
    assert_int_equal(engine_submit(r.engine, w, &why), ERR_RANGE);
    assert_non_null(strstr(why.text, "400"));
    assert_non_null(strstr(why.text, "300"));
    work_destroy(w);
    free(prompt);
    rig_close(&r);
}

static void work_for_a_later_version_waits(void **state)
{
    (void)state;
    struct rig r = rig_open("cpu", 1, 512);
    struct work *w = make(0, 10, 2, 5), *out[2] = {0};
    w->want = (struct version){7, 1};
    submit(&r, w);
    assert_false(engine_has_work(r.engine));
    engine_swap(r.engine, r.model, (struct version){7, 1});
    run(&r, 1, out);
    assert_int_equal(w->seq[0].version[0], 1);
    work_destroy(w);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(alone_or_among_64_the_same_bits), cmocka_unit_test(samples_differ_and_seeds_matter),
        cmocka_unit_test(a_prompt_is_computed_once),       cmocka_unit_test(the_learner_scores_the_same_bits),
        cmocka_unit_test(one_flipped_weight_bit_is_seen),  cmocka_unit_test(a_swap_marks_what_follows),
        cmocka_unit_test(abort_frees_within_a_step),       cmocka_unit_test(what_cannot_fit_is_refused_with_both_lengths),
        cmocka_unit_test(work_for_a_later_version_waits),
    };
    return cmocka_run_group_tests(t, setup, NULL);
}
