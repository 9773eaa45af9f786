// SPDX-License-Identifier: Apache-2.0
/* A job from outside becomes a work or is refused with words that name the field; a finished work becomes the
 * group a learner reads. */
#include "rollout/intake.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const int32_t prompt[3] = {7, 8, 9}, eos[2] = {1, 2}, model_eos[3] = {4, 5, 6};

static struct msg_job good(void)
{
    return (struct msg_job){.job_id = 77,
                            .group_size = 2,
                            .seed = 5,
                            .temperature = 0.5f,
                            .top_p = 0.9f,
                            .min_p = 0.1f,
                            .top_k = 3,
                            .max_tok = 4,
                            .incarnation = 9,
                            .min_version = 6,
                            .tokens = msg_arr_of(prompt, 3),
                            .eos = msg_arr_of(eos, 2)};
}

static void every_field_arrives(void **state)
{
    (void)state;
    struct work *w;
    struct msg_job j = good();
    assert_int_equal(intake_job(&j, model_eos, 3, &w, NULL), ERR_OK);
    assert_true(w->job_id == 77 && w->group_size == 2 && w->seed == 5 && w->temperature == 0.5f &&
                w->top_p == 0.9f && w->min_p == 0.1f && w->top_k == 3);
    assert_true(w->max_tok == 4 && w->want.incarnation == 9 && w->want.counter == 6 && w->n_prompt == 3 &&
                !memcmp(w->prompt, prompt, sizeof prompt));
    assert_true(w->n_eos == 2 && w->eos[0] == 1 && w->eos[1] == 2);
    work_destroy(w);
    j.eos.n = 0; /* the model's own */
    assert_int_equal(intake_job(&j, model_eos, 3, &w, NULL), ERR_OK);
    assert_true(w->n_eos == 3 && w->eos[2] == 6);
    work_destroy(w);
    assert_int_equal(intake_job(&j, NULL, 0, &w, NULL), ERR_OK);
    assert_int_equal(w->n_eos, 0);
    work_destroy(w);
    work_destroy(NULL);
}

static void refused(const struct msg_job *j, const char *words)
{
    struct work *w = NULL;
    struct why why = {0};
    if (!intake_job(j, model_eos, 3, &w, &why) || !strstr(why.text, words) || w)
        fail_msg("\"%s\" lacks \"%s\"", why.text, words);
}

static void bad_fields_are_named(void **state)
{
    (void)state;
    struct msg_job j = good();
    j = good(), j.tokens.n = 0, refused(&j, "empty prompt");
    j = good(), j.group_size = 0, refused(&j, "group_size 0");
    j = good(), j.group_size = 4097, refused(&j, "group_size 4097");
    j = good(), j.max_tok = 0, refused(&j, "max_tok 0");
    j = good(), j.max_tok = UINT32_MAX, refused(&j, "max_tok 4294967295");
    j = good(), j.temperature = -1, refused(&j, "temperature");
    j = good(), j.temperature = NAN, refused(&j, "temperature");
    j = good(), j.temperature = INFINITY, refused(&j, "temperature");
    j = good(), j.top_p = 0, refused(&j, "top_p");
    j = good(), j.top_p = NAN, refused(&j, "top_p");
    j = good(), j.top_p = 1.5f, refused(&j, "top_p");
    j = good(), j.min_p = -0.1f, refused(&j, "min_p");
    j = good(), j.min_p = NAN, refused(&j, "min_p");
    j = good(), j.eos.n = 9, refused(&j, "9 eos ids");
}

static void a_finished_work_is_one_group(void **state)
{
    (void)state;
    struct work *w;
    struct msg_job j = good();
    struct msg_buf b = {0};
    struct msg_group g;
    assert_int_equal(intake_job(&j, NULL, 0, &w, NULL), ERR_OK);
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t t = 0; t < 3 - 2 * i; t++, w->seq[i].n_tok++) {
            w->seq[i].tok[t] = (int32_t)(10 * i + t);
            w->seq[i].lp[t] = -(float)t;
            w->seq[i].version[t] = 6 + t;
            w->seq[i].kind[t] = TOKEN_SAMPLED;
        }
    w->seq[1].finish = FINISH_LENGTH;
    w->incarnation = 9;
    w->arrived_ns = 100, w->started_ns = 150, w->ended_ns = 400;
    w->prefill_tok = 3;
    assert_int_equal(intake_group(w, 12, &b), ERR_OK);
    assert_int_equal(msg_get_group(msg_buf_span(&b), &g, NULL), ERR_OK);
    assert_true(g.node_id == 12 && g.job_id == 77 && g.incarnation == 9 && g.wait_ns == 50 &&
                g.gen_ns == 250 && g.prefill_tok == 3 && !g.why.n);
    assert_true(g.n_tok.n == 2 && msg_u32_at(g.n_tok, 0) == 3 && msg_u32_at(g.n_tok, 1) == 1 &&
                msg_u8_at(g.finish, 1) == FINISH_LENGTH);
    assert_true(g.tokens.n == 4 && g.logprob.n == 4 && g.version.n == 4 && g.kind.n == 4);
    assert_true(msg_i32_at(g.tokens, 2) == 2 && msg_i32_at(g.tokens, 3) == 10 &&
                msg_f32_at(g.logprob, 2) == -2 && msg_u32_at(g.version, 2) == 8);
    msg_buf_done(&b);
    work_destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_arrives),
        cmocka_unit_test(bad_fields_are_named),
        cmocka_unit_test(a_finished_work_is_one_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
