// SPDX-License-Identifier: Apache-2.0
/* Text becomes the ids that a tokenizer.json says, and ids become text again; a file that is not understood
 * is refused with the name of what stands in the way. Agreement with another author's code is in
 * tests/golden. */
#include "common/model/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/file.h"
#include "common/model/arith.h"

static char root[64];
static struct tokenizer *arith;

static int set_up(void **state)
{
    (void)state;
    char dir[128];
    struct why why = {0};
    struct arith_opts o = {.seed = 1};
    snprintf(root, sizeof root, "/tmp/test_tokenizer.XXXXXX");
    if (!mkdtemp(root)) return -1;
    snprintf(dir, sizeof dir, "%s/model", root);
    enum err e = arith_make_model(dir, &o, &why);
    if (!e) e = tokenizer_open(dir, &arith, &why);
    if (e) print_error("%s\n", why_str(&why, e));
    return (int)e;
}

static int tear_down(void **state)
{
    (void)state;
    tokenizer_close(arith);
    return (int)file_remove_tree(root, NULL);
}

/* The ids of text, in *b (free its id). */
static void encode(const struct tokenizer *t, const char *text, bool special, struct tok_buf *b)
{
    *b = (struct tok_buf){0};
    assert_int_equal(tokenizer_encode(t, span_str(text), special, b), ERR_OK);
}

static void decodes_to(const struct tokenizer *t, const int32_t *id, uint32_t n, bool skip_special,
                       const char *want)
{
    struct text_buf x = {0};
    assert_int_equal(tokenizer_decode(t, id, n, skip_special, &x), ERR_OK);
    assert_int_equal(x.n, strlen(want));
    assert_string_equal(x.p, want);
    free(x.p);
}

static void encodes_to(const struct tokenizer *t, const char *text, bool special, const int32_t *want,
                       uint32_t n)
{
    struct tok_buf b;
    encode(t, text, special, &b);
    assert_int_equal(b.n, n);
    assert_memory_equal(b.id, want, n * sizeof *want);
    decodes_to(t, b.id, b.n, false, text);
    free(b.id);
}

static void the_quickstarts_own_tokenizer_works(void **state)
{
    (void)state;
    struct tok_buf b;
    assert_int_equal(tokenizer_n_vocab(arith), ARITH_N_VOCAB);
    assert_int_equal(tokenizer_eos(arith), 260);
    assert_int_equal(tokenizer_bos(arith), -1);
    assert_int_equal(tokenizer_id(arith, span_str("<|im_end|>")), 260);
    assert_int_equal(tokenizer_id(arith, span_str("####")), 257);
    assert_int_equal(tokenizer_id(arith, span_str("nothing like it")), -1);
    encode(arith, "47+85=", true, &b);
    assert_int_equal(b.n, 6);
    decodes_to(arith, b.id, b.n, true, "47+85=");
    free(b.id);
    encode(arith, "47+85=132 4+8+1=13\n#### 132", true, &b);
    assert_int_equal(b.n, 18 + 1 + 1 + 4);
    assert_int_equal(b.id[19], 257);
    free(b.id);
    encode(arith, "", true, &b);
    assert_int_equal(b.n, 0);
}

static void special_tokens_are_text_when_the_caller_says_so(void **state)
{
    (void)state;
    const int32_t want[] = {259, 257, 260};
    struct tok_buf b;
    encodes_to(arith, "<|im_start|>####<|im_end|>", true, want, 3);
    decodes_to(arith, want, 3, true, "####");
    encode(arith, "<|im_end|>", false, &b);
    assert_int_equal(b.n, 10);
    for (uint32_t i = 0; i < b.n; i++) assert_true(b.id[i] < 256);
    decodes_to(arith, b.id, b.n, true, "<|im_end|>");
    free(b.id);
}

static void text_is_taken_in_normal_form(void **state)
{
    (void)state;
    struct tok_buf a, b;
    encode(arith, "e\xcc\x81", true, &a); /* e and U+0301: one character */
    encode(arith, "\xc3\xa9", true, &b);
    assert_int_equal(a.n, 2);
    assert_int_equal(b.n, 2);
    assert_memory_equal(a.id, b.id, 2 * sizeof *a.id);
    free(a.id);
    free(b.id);
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"a\xff", "\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80"};
    struct tok_buf b = {0};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(tokenizer_encode(arith, span_str(bad[i]), true, &b), ERR_FORMAT);
    assert_int_equal(b.n, 0);
    free(b.id);
}

static void half_a_character_waits_for_the_other_half(void **state)
{
    (void)state;
    struct tok_buf b;
    struct tok_stream s = {0};
    struct text_buf x = {0};
    encode(arith, "\xe2\x82\xac", true, &b); /* the euro sign, three bytes */
    assert_int_equal(b.n, 3);
    decodes_to(arith, b.id, 2, false, "\xef\xbf\xbd");
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(tokenizer_stream(arith, &s, b.id + i, 1, true, &x), ERR_OK);
        assert_int_equal(x.n, 0);
    }
    assert_int_equal(tokenizer_stream(arith, &s, b.id + 2, 1, true, &x), ERR_OK);
    assert_string_equal(x.p, "\xe2\x82\xac");
    assert_int_equal(tokenizer_stream(arith, &s, b.id, 1, true, &x), ERR_OK);
    assert_int_equal(x.n, 3);
    assert_int_equal(tokenizer_stream_end(&s, &x), ERR_OK); /* nothing more comes */
    assert_string_equal(x.p, "\xe2\x82\xac\xef\xbf\xbd");
    free(x.p);
    free(b.id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_quickstarts_own_tokenizer_works),
        cmocka_unit_test(special_tokens_are_text_when_the_caller_says_so),
        cmocka_unit_test(text_is_taken_in_normal_form),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(half_a_character_waits_for_the_other_half),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
