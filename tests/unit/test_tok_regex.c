// SPDX-License-Identifier: Apache-2.0
/* A tokenizer's expression means what it means to the library that it was written for, with and without
 * compiled code, or it is refused by name. */
#include "common/model/tok_regex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define QWEN2                                                                                                \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "                                    \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"                                                           \
    "\\s+(?!\\S)|\\s+"

/* Matches of re in text, one after the other, with bars between them, into out[OUT]; what no match covers in
 * brackets. */
enum { OUT = 4096 };
static void matches(const struct tok_regex *re, const char *text, char *out)
{
    struct tok_regex_work w = {0};
    const size_t n = strlen(text);
    int o = 0;
    out[0] = 0;
    for (size_t at = 0, a, b; at < n; at = b) {
        const enum err e = tok_regex_find(re, &w, span_of(text, n), at, &a, &b);
        if (e) a = b = n;
        assert_true(!e || e == ERR_NOENT);
        if (a > at)
            o += snprintf(out + o, (size_t)(OUT - o), "%s[%.*s]", o ? "|" : "", (int)(a - at), text + at);
        if (b > a) o += snprintf(out + o, (size_t)(OUT - o), "%s%.*s", o ? "|" : "", (int)(b - a), text + a);
        assert_true(o < OUT);
    }
    tok_regex_work_done(&w);
}

static void cuts(const char *pattern, const char *text, const char *want)
{
    char got[OUT];
    struct why why = {0};
    struct tok_regex *re = NULL;
    enum err e = tok_regex_open(span_str(pattern), &re, &why);
    if (e) fail_msg("%s: %s", pattern, why_str(&why, e));
    matches(re, text, got);
    assert_string_equal(got, want);
    tok_regex_interpret(re);
    matches(re, text, got);
    assert_string_equal(got, want);
    tok_regex_close(re);
}

static void the_families_expression_cuts_as_it_should(void **state)
{
    (void)state;
    cuts(QWEN2, "Hello  world's 12!\n\n x ", "Hello| | world|'s| |1|2|!\n\n| x| ");
    cuts(QWEN2, "I'LL we'\xc5\xbf", "I|'LL| we|'\xc5\xbf"); /* U+017F folds to s */
    cuts(QWEN2, "a\xe2\x80\x83  b \xe3\x80\x80\n", "a|\xe2\x80\x83 | b| \xe3\x80\x80\n"); /* U+2003, U+3000 */
    cuts("\\s+",
         "a\xe1\xa0\x8e"
         "b c",
         "[a\xe1\xa0\x8e"
         "b]| |[c]"); /* U+180E is no space */
    cuts("\\p{L}+",
         "a\xf0\xb1\x8d\x90"
         "b1",
         "a\xf0\xb1\x8d\x90"
         "b|[1]"); /* U+31350, of Unicode 15 */
    cuts("[^\\p{L}]+",
         "a\xf0\xb1\x8d\x90"
         "1!",
         "[a\xf0\xb1\x8d\x90]|1!");
    cuts("\\P{L}+|\\S", "ab 1", "a|b| 1");
    cuts("\\p{N}{1,3}", "12345x", "123|45|[x]");
    cuts("[a-f\\]\\-]+|\\(", "fee-]g(", "fee-]|[g]|(");
    cuts("a(?=b)|(?<=b)c|.", "abcc", "a|b|c|c");
    cuts(".+", "a\nb", "a|[\n]|b");
}

static void what_is_outside_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *word;
    } bad[] = {
        {"a\\b", "escape at \"\\b\""},
        {"\\w+", "escape at \"\\w+\""},
        {"\\h", "escape"},
        {"(a)\\1", "escape"},
        {"\\x41", "escape"},
        {"^a", "anchor at \"^a\""},
        {"a$", "anchor"},
        {"\\p{Han}", "property at \"\\p{Han}\""},
        {"\\p{^L}", "property"},
        {"\\pL", "property"},
        {"[\\P{L}]", "\\P inside a set"},
        {"[[:alpha:]]", "a set inside a set"},
        {"[a&&b]", "a set inside a set"},
        {"(?>a)", "group at \"(?>a)\""},
        {"(?i)a", "group"},
        {"(?<name>a)", "group"},
        {"(?i:ss)", "letters that may be one"},
        {"(?i:\xc3\xa9)", "outside ASCII"},
        {"(?i:[ab])", "a set under (?i:"},
        {"(?:a+)+b", "a repeated group that repeats inside"},
        {"(?:(?:ab*)c){2,}", "a repeated group that repeats inside"},
        {"a**", "a repeat of a repeat"},
        {"a{2}?", "a mark after a repeat count"},
        {"a{,3}", "repeat count"},
        {"a{1001}", "repeat count"},
        {"*a", "a repeat of nothing"},
        {"a*", "can match nothing"},
        {"", "can match nothing"},
        {"(?!a)+", "a repeated look-around"},
        {"(?<=a+)b", "lookbehind"},
        {"(a", "a group without an end"},
        {"a)", "a ) too many"},
        {"[a", "ends too early"},
        {"a\\", "ends too early"},
        {"[b-a]", "ends before it starts"},
        {"[]a]", "a set that starts with ]"},
        {"((((((((((((((((((a))))))))))))))))))", "nested too deep"},
        {"a\xff", "not UTF-8"},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct why why = {0};
        struct tok_regex *re = NULL;
        enum err e = tok_regex_open(span_str(bad[i].pattern), &re, &why);
        if (!e || !strstr(why.text, bad[i].word))
            fail_msg("%s: %s, without \"%s\"", bad[i].pattern, e ? why.text : "accepted", bad[i].word);
        assert_true(e == ERR_UNSUPPORTED || e == ERR_FORMAT);
    }
}

static size_t count(const struct tok_regex *re, const char *text, size_t n)
{
    struct tok_regex_work w = {0};
    size_t found = 0;
    for (size_t at = 0, a, b; at < n; at = b, found++)
        assert_int_equal(tok_regex_find(re, &w, span_of(text, n), at, &a, &b), ERR_OK);
    tok_regex_work_done(&w);
    return found;
}

static void long_runs_take_linear_time(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    static const char *const runs[] = {"a",   " ",  "\n",           "1",     "!", "' ", "a ",
                                       " \n", "a!", "\xe4\xb8\xad", "  \t\r"};
    struct why why = {0};
    struct tok_regex *re = NULL;
    char *text = malloc(N);
    assert_int_equal(tok_regex_open(span_str(QWEN2), &re, &why), ERR_OK);
    const clock_t start = clock();
    for (int interpreted = 0; interpreted < 2; interpreted++) {
        for (unsigned i = 0; i < sizeof runs / sizeof *runs; i++) {
            const size_t k = strlen(runs[i]), n = N / k * k;
            for (size_t at = 0; at < n; at += k) memcpy(text + at, runs[i], k);
            assert_true(count(re, text, n) > 0);
        }
        tok_regex_interpret(re);
    }
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC <
                60); /* a second or two; quadratic would be hours */
    free(text);
    tok_regex_close(re);
}

/* An expression that backtracks without end gives up with an error. */
static void steps_are_bounded(void **state)
{
    (void)state;
    enum { N = 2000 };
    char text[N];
    size_t a, b;
    struct why why = {0};
    struct tok_regex_work w = {0};
    struct tok_regex *re = NULL;
    assert_int_equal(tok_regex_open(span_str("[ab]*[ab]*[ab]*[ab]*[ab]*c"), &re, &why), ERR_OK);
    for (int i = 0; i < N; i++) text[i] = "ab"[i & 1];
    const enum err e = tok_regex_find(re, &w, span_of(text, N), 0, &a, &b);
    assert_true(e == ERR_RANGE || e == ERR_NOENT); /* compiled code may see at once that there is no c */
    tok_regex_interpret(re);
    text[N - 1] = 'c';
    text[N - 2] = 'd';
    assert_int_equal(tok_regex_find(re, &w, span_of(text, N), 0, &a, &b), ERR_RANGE);
    tok_regex_work_done(&w);
    tok_regex_close(re);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_families_expression_cuts_as_it_should),
        cmocka_unit_test(what_is_outside_is_refused_by_name),
        cmocka_unit_test(long_runs_take_linear_time),
        cmocka_unit_test(steps_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
