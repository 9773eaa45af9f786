// SPDX-License-Identifier: Apache-2.0
/* Every single character is held for what the tokenizers library holds it for (make_unicode.py), whichever
 * versions of Unicode the libraries of this machine know: golden_unicode unicode.json. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/model/nfc.h"
#include "common/model/tok_regex.h"
#include "common/model/utf8.h"

#define N_CP 0x110000u

static const char *path;
static json_t *golden;
static uint8_t *all; /* every character, in order, as UTF-8 */
static size_t n_all;

static bool is_scalar(uint32_t c)
{
    return c < 0xd800 || c > 0xdfff;
}

static int set_up(void **state)
{
    (void)state;
    json_error_t je;
    golden = json_load_file(path, 0, &je);
    if (!golden) return fprintf(stderr, "%s: %s\n", path, je.text), -1;
    all = malloc(4 * N_CP);
    for (uint32_t c = 1; c < N_CP; c++)
        if (is_scalar(c)) n_all += utf8_put(c, all + n_all);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(golden);
    free(all);
    return 0;
}

/* is[c]: the expression, a set that repeats, matches c. */
static void match_all(const char *pattern, bool *is)
{
    struct why why = {0};
    struct tok_regex *re;
    struct tok_regex_work w = {0};
    enum err e = tok_regex_open(span_str(pattern), &re, &why);
    if (e) fail_msg("%s: %s", pattern, why_str(&why, e));
    memset(is, 0, N_CP * sizeof *is);
    for (size_t at = 0, a, b; !tok_regex_find(re, &w, span_of(all, n_all), at, &a, &b); at = b)
        while (a < b) {
            enum utf8_kind kind;
            uint32_t c = 0;
            a += utf8_next(all + a, all + b, &kind, &c);
            is[c] = true;
        }
    tok_regex_work_done(&w);
    tok_regex_close(re);
}

/* want[c]: c is in a range of the list whose category starts with prefix. */
static void ranges(const char *list, const char *prefix, bool *want)
{
    size_t i;
    const json_t *x;
    memset(want, 0, N_CP * sizeof *want);
    json_array_foreach(json_object_get(golden, list), i, x)
    {
        const char *category = json_string_value(json_array_get(x, 2));
        if (category && strncmp(category, prefix, strlen(prefix))) continue;
        for (json_int_t c = json_integer_value(json_array_get(x, 0));
             c <= json_integer_value(json_array_get(x, 1)); c++)
            want[c] = true;
    }
}

static void compare(const char *pattern, const bool *want, bool negated)
{
    bool *is = malloc(N_CP * sizeof *is);
    match_all(pattern, is);
    for (uint32_t c = 1; c < N_CP; c++)
        if (is_scalar(c) && is[c] != (want[c] != negated))
            fail_msg("%s %s U+%04X", pattern, is[c] ? "matches" : "does not match", c);
    free(is);
}

static void sets_hold_the_same_characters(void **state)
{
    (void)state;
    static const char *const names[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "N",  "Nd", "Nl",
                                        "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",
                                        "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Cc", "Cf"};
    bool *want = malloc(N_CP * sizeof *want);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        char pattern[32];
        ranges("category", names[i], want);
        snprintf(pattern, sizeof pattern, "\\p{%s}+", names[i]);
        compare(pattern, want, false);
        snprintf(pattern, sizeof pattern, "\\P{%s}+", names[i]);
        compare(pattern, want, true);
        snprintf(pattern, sizeof pattern, "[^\\p{%s}]+", names[i]);
        compare(pattern, want, true);
    }
    ranges("space", "", want);
    compare("\\s+", want, false);
    compare("[\\s]+", want, false);
    compare("\\S+", want, true);
    compare("[\\S]+", want, true);
    for (uint32_t c = 0; c < N_CP; c++) assert_true(utf8_is_space(c) == want[c]);
    free(want);
}

static void normal_form_is(struct nfc_work *w, struct span text, struct span want)
{
    struct span got;
    assert_int_equal(nfc(w, text, &got), ERR_OK);
    if (!span_eq(got, want))
        fail_msg("\"%.*s\" becomes \"%.*s\", should become \"%.*s\"", (int)text.n, (const char *)text.p,
                 (int)got.n, (const char *)got.p, (int)want.n, (const char *)want.p);
}

static struct span text_of(const json_t *j)
{
    return span_of(json_string_value(j), json_string_length(j));
}

static void marks_are_put_in_the_same_order(void **state)
{
    (void)state;
    struct nfc_work w = {0};
    const json_t *mark = json_object_get(golden, "mark");
    assert_true(json_object_size(mark) > 1000);
    for (uint32_t c = 1; c < N_CP; c++) {
        uint8_t text[16] = "\xe4\xb8\x80\xcd\x85"; /* U+4E00 U+0345 */
        char key[16];
        if (!is_scalar(c) || (c >= 0xac00 && c <= 0xd7a3)) continue;
        snprintf(key, sizeof key, "%x", c);
        const struct span in = span_of(text, 5 + utf8_put(c, text + 5));
        const json_t *v = json_object_get(mark, key);
        normal_form_is(&w, in, v ? text_of(v) : in);
    }
    nfc_done(&w);
}

static void characters_compose_to_the_same(void **state)
{
    (void)state;
    size_t i;
    const json_t *x, *pair = json_object_get(golden, "pair");
    struct nfc_work w = {0};
    assert_true(json_array_size(pair) > 1000);
    json_array_foreach(pair, i, x)
        normal_form_is(&w, text_of(json_array_get(x, 0)), text_of(json_array_get(x, 1)));
    nfc_done(&w);
}

int main(int argc, char **argv)
{
    if (argc != 2) return fprintf(stderr, "usage: %s unicode.json\n", argv[0]), 2;
    const struct CMUnitTest t[] = {
        cmocka_unit_test(sets_hold_the_same_characters),
        cmocka_unit_test(marks_are_put_in_the_same_order),
        cmocka_unit_test(characters_compose_to_the_same),
    };
    path = argv[1];
    return cmocka_run_group_tests(t, set_up, tear_down);
}
