// SPDX-License-Identifier: Apache-2.0
/* The answer to a job: a sound one arrives whole; one whose numbers do not fit each other, or that is something else, is refused with words. */
#include "ctl/group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ctl/ctl.h"
#include "proto/msg.h"

static const uint32_t n_tok[] = {2, 0, 3}, version[] = {7, 7, 8, 8, 9};
static const uint8_t finish[] = {FINISH_EOS, FINISH_ABORT, FINISH_LENGTH}, kind[5] = {1, 1, 1, 1, 1};
static const int32_t tok[] = {10, 11, -1, 13, 14};
static const float lp[] = {-0.5f, -1, -2, -3, -4};

static struct msg_group sound(void)
{
    return (struct msg_group){.incarnation = 5, .n_tok = msg_arr_of(n_tok, 3), .finish = msg_arr_of(finish, 3), .tokens = msg_arr_of(tok, 5),
                              .logprob = msg_arr_of(lp, 5), .version = msg_arr_of(version, 5), .kind = msg_arr_of(kind, 5), .gen_ns = 2500000000,
                              .prefill_tok = 4};
}

static int read_it(const struct msg_group *m, uint32_t n, struct ctl_group *g, struct why *why)
{
    struct msg_buf b = {0};
    assert_int_equal(msg_put_group(m, &b), ERR_OK);
    const int code = ctl_group_read(msg_buf_span(&b), "the.sock", n, g, why);
    memset(b.p, 0xee, b.n); /* nothing may point into the frame any more */
    msg_buf_done(&b);
    return code;
}

static void test_a_sound_group_arrives_whole(void **state)
{
    (void)state;
    struct ctl_group g = {0};
    struct why why = {0};
    const struct msg_group m = sound();
    assert_int_equal(read_it(&m, 3, &g, &why), CTL_OK);
    assert_int_equal(g.n, 3);
    const uint32_t at[] = {0, 2, 2, 5};
    assert_memory_equal(g.at, at, sizeof at);
    assert_memory_equal(g.tok, tok, sizeof tok);
    assert_memory_equal(g.lp, lp, sizeof lp);
    assert_memory_equal(g.version, version, sizeof version);
    assert_memory_equal(g.finish, finish, sizeof finish);
    assert_true(g.gen_s > 2.49 && g.gen_s < 2.51);
    assert_int_equal(g.prefill_tok, 4);
    ctl_group_done(&g);
    ctl_group_done(&g);
}

static void refuse(const struct msg_group *m, uint32_t n, const char *words)
{
    struct ctl_group g = {0};
    struct why why = {0};
    assert_int_equal(read_it(m, n, &g, &why), CTL_FAILED);
    if (!strstr(why.text, words)) fail_msg("\"%s\" does not say \"%s\"", why.text, words);
    assert_null(g.tok);
}

static void test_numbers_that_do_not_fit(void **state)
{
    (void)state;
    static const uint32_t huge[] = {UINT32_MAX, UINT32_MAX, 7};
    struct msg_group m = sound();
    refuse(&m, 2, "3 completions came, 2 were asked for");
    m.finish.n = 2;
    refuse(&m, 3, "completions");
    m = sound();
    m.tokens.n = 4;
    refuse(&m, 3, "add up to 5 tokens, but 4");
    m = sound();
    m.logprob.n = 0;
    refuse(&m, 3, "0 logprobs");
    m = sound();
    m.version.n = 1;
    refuse(&m, 3, "1 versions");
    m = sound();
    m.n_tok = msg_arr_of(huge, 3); /* 2^33 + 5: as 32 bits it would fit */
    refuse(&m, 3, "8589934597 tokens");
    m = sound();
    m.why = span_str("no room for it");
    refuse(&m, 3, "no room for it");
}

static void test_other_answers(void **state)
{
    (void)state;
    struct msg_buf b = {0};
    struct ctl_group g = {0};
    struct why why = {0};
    const struct msg_ctl_reply no = {.code = ERR_BUSY, .why = span_str("this node is draining")}, yes = {.code = 0, .json = span_str("{}")};
    const struct msg_ack ack = {.code = 0};
    assert_int_equal(msg_put_ctl_reply(&no, &b), ERR_OK);
    assert_int_equal(ctl_group_read(msg_buf_span(&b), "the.sock", 1, &g, &why), CTL_FAILED);
    assert_string_equal(why.text, "this node is draining");
    assert_int_equal(msg_put_ctl_reply(&yes, &b), ERR_OK);
    assert_int_equal(ctl_group_read(msg_buf_span(&b), "the.sock", 1, &g, &why), CTL_FAILED);
    assert_non_null(strstr(why.text, "the.sock: the answer holds no completions"));
    assert_int_equal(msg_put_ack(&ack, &b), ERR_OK);
    assert_int_equal(ctl_group_read(msg_buf_span(&b), "the.sock", 1, &g, &why), CTL_FAILED);
    assert_non_null(strstr(why.text, "makes no sense"));
    assert_int_equal(ctl_group_read(span_of("", 0), "the.sock", 1, &g, &why), CTL_FAILED);
    assert_int_equal(ctl_group_read(span_of("\xff\xff", 2), "the.sock", 1, &g, &why), CTL_FAILED);
    msg_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_sound_group_arrives_whole), cmocka_unit_test(test_numbers_that_do_not_fit),
                                       cmocka_unit_test(test_other_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
