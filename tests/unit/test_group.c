// SPDX-License-Identifier: Apache-2.0
/* A group from outside is taken as it is or refused with words; what is taken keeps every limit, and is
 * scored by the rewards named. */
#include "learner/group.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/group_rig.h"
#include "tests/unit/tok_rig.h"

static struct tokenizer *tok;

static int set_up(void **state)
{
    (void)state;
    tok = rig_tokenizer();
    return tok ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    tokenizer_close(tok);
    return 0;
}

/* The frame is read unaligned, and freed before the group is looked at: it must be a copy. */
static void a_good_group_is_copied(void **state)
{
    (void)state;
    struct group_rig r;
    struct group *g = NULL;
    struct why why = {0};
    for (size_t shift = 0; shift < 5; shift++) {
        struct msg_buf b = {0};
        struct msg_group m;
        group_rig_fill(&r);
        assert_int_equal(msg_put_group(&r.m, &b), ERR_OK);
        uint8_t *at = malloc(b.n + shift);
        memcpy(at + shift, b.p, b.n);
        assert_int_equal(msg_get_group(span_of(at + shift, b.n), &m, &why), ERR_OK);
        if (group_read(&m, &rig_limits, &g, &why)) fail_msg("%s", why.text);
        msg_buf_done(&b);
        free(at);
        assert_int_equal(g->n, RIG_G);
        assert_true(g->job_id == 77 && g->node == 5 && g->wait_ns == 11 && g->gen_ns == 12 &&
                    g->prefill_tok == 13);
        uint32_t k = 0;
        for (uint32_t i = 0; i < g->n; i++) {
            assert_int_equal(g->c[i].n_tok, r.n_tok[i]);
            assert_int_equal(g->c[i].finish, r.finish[i]);
            for (uint32_t j = 0; j < g->c[i].n_tok; j++, k++)
                assert_true(g->c[i].tok[j] == r.tok[k] && g->c[i].lp[j] == r.lp[k] &&
                            g->c[i].version[j] == r.version[k] && g->c[i].kind[j] == r.kind[k]);
        }
        group_destroy(g);
    }
    group_destroy(NULL);
}

static void refused(struct group_rig *r, enum err want, const char *words)
{
    struct group *g = NULL;
    struct why why = {0};
    const enum err e = group_read(&r->m, &rig_limits, &g, &why);
    if (e != want || !strstr(why.text, words) || g)
        fail_msg("%s: \"%s\", wanted %s, \"%s\"", err_str(e), why.text, err_str(want), words);
    group_rig_fill(r);
}

static void what_breaks_a_limit_is_refused_with_words(void **state)
{
    (void)state;
    struct group_rig r;
    group_rig_fill(&r);
    r.m.n_tok.n = 2, refused(&r, ERR_FORMAT, "2 completions, 3 were asked for");
    r.m.n_tok.n = 0, r.m.finish.n = 0, refused(&r, ERR_FORMAT, "0 completions");
    r.m.finish.n = 2, refused(&r, ERR_FORMAT, "completions");
    r.n_tok[1] = 0, refused(&r, ERR_RANGE, "completion 1 has 0 tokens");
    r.n_tok[2] = 5, refused(&r, ERR_RANGE, "completion 2 has 5 tokens, at most 4");
    r.n_tok[2] = UINT32_MAX, refused(&r, ERR_RANGE, "completion 2");
    r.finish[0] = FINISH_ABORT, refused(&r, ERR_CANCELLED, "completion 0 was aborted");
    r.finish[0] = 3, refused(&r, ERR_RANGE, "completion 0 ended in no known way");
    r.finish[0] = 255, refused(&r, ERR_RANGE, "completion 0");
    r.m.tokens.n = 8, refused(&r, ERR_FORMAT, "different lengths");
    r.m.logprob.n = 8, refused(&r, ERR_FORMAT, "different lengths");
    r.m.version.n = 8, refused(&r, ERR_FORMAT, "different lengths");
    r.m.kind.n = 0, refused(&r, ERR_FORMAT, "different lengths");
    r.tok[8] = -1, refused(&r, ERR_RANGE, "token id -1");
    r.tok[8] = 300, refused(&r, ERR_RANGE, "token id 300");
    r.lp[0] = NAN, refused(&r, ERR_RANGE, "logprob");
    r.lp[8] = -INFINITY, refused(&r, ERR_RANGE, "logprob");
    r.lp[8] = 0.5f, refused(&r, ERR_RANGE, "logprob of 0.5");
    r.version[4] = 7, refused(&r, ERR_RANGE, "never published");
    r.version[4] = 1, refused(&r, ERR_STALE, "version 1, at least 2");
}

static void rewards_are_named_and_weighed(void **state)
{
    (void)state;
    struct reward_list l;
    struct why why = {0};
    if (reward_list_parse("accuracy, format", "", &l, &why)) fail_msg("%s", why.text);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.reward[1]->name, "format");
    assert_true(l.weight[0] == 1 && l.weight[1] == 1);
    if (reward_list_parse("format,accuracy", "0.5,-2", &l, &why)) fail_msg("%s", why.text);
    assert_true(l.weight[0] == 0.5 && l.weight[1] == -2);
}

static void bad_lists_are_refused_with_words(void **state)
{
    (void)state;
    static const struct {
        const char *names, *weights, *words;
    } bad[] = {
        {"", "", "none is named"},
        {" , ", "", "none is named"},
        {"acuracy", "", "no reward \"acuracy\""},
        {"accuracy", "1,2", "more weights"},
        {"accuracy,format", "1", "1 weights for 2"},
        {"accuracy", "one", "not a number"},
        {"accuracy", "nan", "not a number"},
        {"accuracy", "inf", "not a number"},
        {"accuracy", "1x", "not a number"},
        {"accuracy,format,accuracy", "", "twice"},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct reward_list l;
        struct why why = {0};
        if (!reward_list_parse(bad[i].names, bad[i].weights, &l, &why) || !strstr(why.text, bad[i].words))
            fail_msg("\"%s\" \"%s\": \"%s\"", bad[i].names, bad[i].weights, why.text);
    }
}

/* "7", "#### 7" cut by its length, and nothing but the end token. */
static void completions_are_scored(void **state)
{
    (void)state;
    struct tok_buf one = {0}, two = {0};
    struct reward_list l;
    struct prompt_row row = {.answer = "7"};
    assert_int_equal(tokenizer_encode(tok, span_str("7"), true, &one), ERR_OK);
    assert_int_equal(tokenizer_encode(tok, span_str("#### 7"), true, &two), ERR_OK);
    int32_t end[1] = {tokenizer_eos(tok)};
    struct completion c[3] = {{.n_tok = one.n, .tok = one.id},
                              {.n_tok = two.n, .tok = two.id, .finish = FINISH_LENGTH},
                              {.n_tok = 1, .tok = end}};
    struct group g = {.n = 3, .c = c};
    assert_int_equal(reward_list_parse("format,accuracy", "0.25,2", &l, NULL), ERR_OK);
    assert_int_equal(group_score(&g, tok, &row, &l), ERR_OK);
    assert_string_equal(c[1].text, "#### 7");
    assert_string_equal(c[2].text, "");
    assert_true(c[0].reward[1] == 0 && c[1].reward[1] == 1 && c[2].reward[1] == 0);
    for (int i = 0; i < 3; i++) {
        assert_true(c[i].total == 0.25 * c[i].reward[0] + 2 * c[i].reward[1]);
        free(c[i].text);
    }
    assert_true(g.reward_ns > 0);
    free(one.id), free(two.id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_group_is_copied),
        cmocka_unit_test(what_breaks_a_limit_is_refused_with_words),
        cmocka_unit_test(rewards_are_named_and_weighed),
        cmocka_unit_test(bad_lists_are_refused_with_words),
        cmocka_unit_test(completions_are_scored),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
