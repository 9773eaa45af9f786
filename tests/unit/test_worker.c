// SPDX-License-Identifier: Apache-2.0
/* The engine thread: works come back finished or with words, weights are taken between two steps, and the end
 * frees everything whatever is under way. */
#include "rollout/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/model/folder.h"
#include "tests/unit/svc_rig.h"

enum { SOON_MS = 60000 };

static const struct dims dims = {.n_layer = 4,
                                 .n_embd = 64,
                                 .n_head = 4,
                                 .n_head_kv = 2,
                                 .head_dim = 16,
                                 .n_ff = 128,
                                 .n_vocab = 128,
                                 .max_pos = 4096,
                                 .rope_theta = 10000,
                                 .rms_eps = 1e-6f,
                                 .tied = true,
                                 .qkv_bias = true};

struct world {
    struct loop *l;
    struct dev *dev;
    struct worker *w;
    int n_done, n_swapped, n_fatal, n_failed;
    enum err e;
    uint32_t n_tok;
    struct version version;
    char words[512];
};

static void on_done(void *arg, struct work *x)
{
    struct world *w = arg;
    w->n_done++;
    w->e = x->e;
    w->n_tok = x->seq[0].n_tok;
    snprintf(w->words, sizeof w->words, "%s", x->why.text);
    work_destroy(x);
}

static void on_swapped(void *arg, struct version v, int64_t stall_ns)
{
    struct world *w = arg;
    assert_true(stall_ns >= 0);
    w->n_swapped++;
    w->version = v;
}

static void on_load_failed(void *arg, enum err e)
{
    struct world *w = arg;
    (void)e;
    w->n_failed++;
}

static void on_fatal(void *arg, enum err e, const struct why *why)
{
    struct world *w = arg;
    (void)e, (void)why;
    w->n_fatal++;
}

static void begin(struct world *w)
{
    struct why why = {0};
    *w = (struct world){0};
    const struct engine_opts o = {
        .max_num_seqs = 16, .max_num_batched_tokens = 4096, .max_model_len = 4000, .n_block = 600};
    const struct worker_events ev = {w, on_done, on_swapped, on_load_failed, on_fatal};
    assert_int_equal(loop_create(&w->l), ERR_OK);
    assert_int_equal(dev_open(&(struct dev_opts){.spec = "cpu", .n_thread = 1}, &w->dev, &why), ERR_OK);
    if (worker_create(w->l, w->dev, &dims, &o, &ev, &w->w, &why)) fail_msg("%s", why.text);
}

static void end(struct world *w)
{
    worker_destroy(w->w);
    dev_close(w->dev);
    loop_destroy(w->l);
    assert_int_equal(w->n_fatal, 0);
}

static enum err load(struct world *w, uint64_t counter)
{
    struct push_image image;
    float *f = malloc(worker_table(w->w)->n_param * sizeof *f);
    struct why why = {0};
    folder_init_weights(worker_table(w->w), counter, f);
    assert_int_equal(push_image_alloc(worker_table(w->w)->n_param, (struct version){3, counter}, &image),
                     ERR_OK);
    uint16_t *p = (uint16_t *)image.p;
    for (uint64_t i = 0; i < image.n_param; i++) memcpy(&p[i], (char *)&f[i] + 2, 2);
    free(f);
    enum err e = worker_load(w->w, &image, &why);
    if (e) push_image_done(&image);
    return e;
}

static struct work *submit(struct world *w, uint32_t n_prompt, uint32_t group, uint32_t max_tok, int32_t id)
{
    struct work *x;
    struct why why = {0};
    int32_t *p = malloc(n_prompt * sizeof *p);
    for (uint32_t i = 0; i < n_prompt; i++) p[i] = id;
    assert_int_equal(work_create(p, n_prompt, group, max_tok, &x), ERR_OK);
    free(p);
    x->temperature = 1;
    x->top_p = 1;
    if (worker_submit(w->w, x, &why)) fail_msg("%s", why.text);
    return x;
}

static void works_come_back_finished(void **state)
{
    (void)state;
    struct world w;
    struct engine_stats st;
    begin(&w);
    submit(&w, 5, 4, 6, 9); /* before there are weights: it waits for them */
    loop_drain(w.l, 30);
    assert_int_equal(w.n_done, 0);
    assert_int_equal(load(&w, 0), ERR_OK);
    assert_int_equal(load(&w, 1), ERR_BUSY); /* one at a time */
    assert_true(rig_turn(w.l, &w.n_done, 1, SOON_MS));
    assert_true(w.e == ERR_OK && w.n_tok == 6 && w.n_swapped == 1 && w.version.incarnation == 3);
    assert_int_equal(load(&w, 1), ERR_OK);
    assert_true(rig_turn(w.l, &w.n_swapped, 2, SOON_MS));
    assert_int_equal(w.version.counter, 1);
    worker_stats(w.w, &st);
    assert_int_equal(st.gen_tok, 24);
    end(&w);
}

static void what_the_engine_refuses_comes_back_with_words(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    submit(&w, 5, 4, 6, 128);
    assert_true(rig_turn(w.l, &w.n_done, 1, SOON_MS));
    assert_int_equal(w.e, ERR_RANGE);
    assert_non_null(strstr(w.words, "id 128"));
    submit(&w, 5, 17, 6, 1);
    assert_true(rig_turn(w.l, &w.n_done, 2, SOON_MS));
    assert_non_null(strstr(w.words, "max_num_seqs is 16"));
    submit(&w, 4000, 1, 6, 1);
    assert_true(rig_turn(w.l, &w.n_done, 3, SOON_MS));
    assert_non_null(strstr(w.words, "max_model_len is 4000"));
    end(&w);
}

static void a_pause_holds_work_and_an_abort_ends_it(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    assert_int_equal(load(&w, 0), ERR_OK);
    assert_true(rig_turn(w.l, &w.n_swapped, 1, SOON_MS));
    worker_pause(w.w, true);
    struct work *x = submit(&w, 5, 2, 3000, 9);
    loop_drain(w.l, 30);
    assert_int_equal(w.n_done, 0);
    assert_true(worker_alive(w.w, 1)); /* it stands still by order */
    worker_abort(w.w, x);
    worker_pause(w.w, false);
    assert_true(rig_turn(w.l, &w.n_done, 1, SOON_MS));
    assert_int_equal(w.e, ERR_CANCELLED);
    end(&w);
}

/* The pool writes into a model, the engine is in a step, letters are on their way: all at once. */
static void the_end_waits_for_what_is_under_way(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct world w;
        begin(&w);
        assert_int_equal(load(&w, 0), ERR_OK);
        if (i & 1) assert_true(rig_turn(w.l, &w.n_swapped, 1, SOON_MS));
        submit(&w, 5, 4, 3000, 9);
        submit(&w, 5, 4, 3000, 128);
        if (i & 2) loop_drain(w.l, 5);
        if (i & 1) assert_int_equal(load(&w, 1), ERR_OK);
        end(&w);
    }
    worker_destroy(NULL);
}

static void nap(void *arg)
{
    (void)arg;
    usleep(50000);
}

static void woken(void *arg)
{
    ++*(int *)arg;
}

/* The pool is busy, so the packing has not begun when the end comes: it must not find its model gone. */
static void weights_on_their_way_are_waited_for(void **state)
{
    (void)state;
    struct world w;
    int n = 0;
    begin(&w);
    for (int i = 0; i < 8; i++) assert_int_equal(loop_work(w.l, nap, woken, &n), ERR_OK);
    assert_int_equal(load(&w, 0), ERR_OK);
    end(&w);
    assert_int_equal(n, 8);
    assert_int_equal(w.n_swapped, 0);
}

/* The first step after a rest is watched too: a long prompt in one step, and nothing to do before. */
static void a_step_that_takes_long_shows(void **state)
{
    (void)state;
    struct world w;
    int64_t dead_ns = 0, last = 0;
    begin(&w);
    assert_int_equal(load(&w, 0), ERR_OK);
    assert_true(rig_turn(w.l, &w.n_swapped, 1, SOON_MS));
    loop_drain(w.l, 20);
    assert_true(worker_alive(w.w, 1));
    submit(&w, 1500, 1, 1, 9);
    const int64_t begun = clock_now_ns();
    while (!w.n_done) {
        const bool dead = !worker_alive(w.w, NS_PER_MS);
        const int64_t now = clock_now_ns();
        if (dead && last) dead_ns += now - last;
        last = dead ? now : 0;
        uv_run(loop_uv(w.l), UV_RUN_NOWAIT);
    }
    const int64_t took = clock_now_ns() - begun;
    if (dead_ns < took / 4)
        fail_msg("a step of %lld us, seen for %lld", (long long)took / 1000, (long long)dead_ns / 1000);
    loop_drain(w.l, 20);
    assert_true(worker_alive(w.w, 1));
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(works_come_back_finished),
        cmocka_unit_test(what_the_engine_refuses_comes_back_with_words),
        cmocka_unit_test(a_pause_holds_work_and_an_abort_ends_it),
        cmocka_unit_test(the_end_waits_for_what_is_under_way),
        cmocka_unit_test(weights_on_their_way_are_waited_for),
        cmocka_unit_test(a_step_that_takes_long_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
