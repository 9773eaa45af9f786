// SPDX-License-Identifier: Apache-2.0
/* Text becomes the ids that a tokenizer.json says, and ids become text again; a file that is not understood
 * is refused with the name of what stands in the way. Agreement with another author's code is in
 * tests/golden. */
#include "common/model/tokenizer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
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

/* -- small files ---------------------------------------------------------------------------------------- */

#define LEVEL "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true}"
#define ADDED "[{\"id\": 5, \"content\": \"<s>\", \"special\": true}]"
#define VOCAB "{\"a\": 0, \"b\": 1, \"ab\": 2, \"\\u0120\": 3, \"c\": 4}"
#define MODEL "{\"type\": \"BPE\", \"vocab\": " VOCAB ", \"merges\": [[\"a\", \"b\"]]}"
#define SMALL "\"version\": \"1.0\", \"decoder\": {\"type\": \"ByteLevel\"}"
#define FILE_OF(added, pre, model)                                                                           \
    "{" SMALL ",\n \"added_tokens\": " added ",\n \"pre_tokenizer\": " pre ",\n \"model\": " model "}"

static enum err parse(const char *json, const char *config, struct tokenizer **t, struct why *why)
{
    *t = NULL;
    return tokenizer_parse(span_str(json), span_str(config), t, why);
}

static struct tokenizer *parsed(const char *json)
{
    struct tokenizer *t;
    struct why why = {0};
    enum err e = parse(json, "", &t, &why);
    if (e) fail_msg("%s", why_str(&why, e));
    return t;
}

static void a_small_file_is_read_whole(void **state)
{
    (void)state;
    const int32_t want[] = {2, 0, 3, 5, 1, 4};
    struct tokenizer *t = parsed(FILE_OF(ADDED, LEVEL, MODEL));
    assert_int_equal(tokenizer_n_vocab(t), 6);
    encodes_to(t, "aba <s>bc", true, want, 6);
    tokenizer_close(t);
}

/* An entry that no merges make is not given, whether it is met for the first time or again. */
static void an_entry_needs_its_merges(void **state)
{
    (void)state;
    const int32_t want[] = {2, 0}, whole[] = {4};
    struct tokenizer *t = parsed(FILE_OF(
        "[]", LEVEL, "{\"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"aba\": 4}, \"merges\": [\"a b\"]}"));
    for (int i = 0; i < 3; i++) encodes_to(t, "aba", true, want, 2);
    for (int i = 0; i < 3; i++) encodes_to(t, "ab", true, want, 1);
    tokenizer_close(t);
    t = parsed(FILE_OF("[]", LEVEL,
                       "{\"ignore_merges\": true, \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"aba\": 4}, "
                       "\"merges\": [\"a b\"]}"));
    for (int i = 0; i < 3; i++) encodes_to(t, "aba", true, whole, 1);
    tokenizer_close(t);
}

static void keys_may_be_escaped(void **state)
{
    (void)state;
    static const char *const keys[] = {"\xf0\x9f\x98\x80", "\xe4\xb8\xad", "\"\\/\b\f\n\r\t", "\xc4\xa0"};
    struct tokenizer *t =
        parsed(FILE_OF("[]", LEVEL,
                       "{\"vocab\": {\"\\uD83d\\uDe00\": 0, \"\\u4e2D\": 1, \"\\\"\\\\\\/\\b\\f\\n\\r\\t\": "
                       "2, \"\\u0120\": 3, \"\\u0120\\ud83d\\ude00\": 4},"
                       " \"merges\": [[\"\\u0120\", \"\\ud83d\\ude00\"]]}"));
    for (int i = 0; i < 4; i++) assert_int_equal(tokenizer_id(t, span_str(keys[i])), i);
    tokenizer_close(t);
}

static void eos_and_bos_are_named_in_the_config(void **state)
{
    (void)state;
    struct tokenizer *t;
    struct why why = {0};
    assert_int_equal(parse(FILE_OF(ADDED, LEVEL, MODEL),
                           "{\"eos_token\": {\"content\": \"<s>\"}, \"bos_token\": \"ab\"}", &t, &why),
                     ERR_OK);
    assert_int_equal(tokenizer_eos(t), 5);
    assert_int_equal(tokenizer_bos(t), 2);
    tokenizer_close(t);
    /* a number that many files have, and that no 64 bits hold */
    assert_int_equal(parse(FILE_OF(ADDED, LEVEL, MODEL),
                           "{\"model_max_length\": 1000000000000000019884624838656}", &t, &why),
                     ERR_OK);
    assert_int_equal(tokenizer_eos(t), -1);
    tokenizer_close(t);
    assert_int_equal(parse(FILE_OF(ADDED, LEVEL, MODEL), "{\"eos_token\": \"<e>\"}", &t, &why), ERR_FORMAT);
    assert_non_null(strstr(why.text, "eos_token \"<e>\" is not a token"));
    assert_null(t);
}

#define WITH_MODEL(m)  FILE_OF(ADDED, LEVEL, m)
#define WITH_VOCAB(v)  WITH_MODEL("{\"vocab\": " v ", \"merges\": []}")
#define WITH_MERGES(m) WITH_MODEL("{\"vocab\": " VOCAB ", \"merges\": " m "}")
#define WITH_PRE(p)    FILE_OF(ADDED, p, MODEL)
#define WITH_ADDED(a)  FILE_OF(a, LEVEL, MODEL)
static const struct {
    const char *json;
    enum err e;
    const char *word;
} bad[] = {
    {"", ERR_FORMAT, "line 1"},
    {"[]", ERR_FORMAT, "not an object"},
    {"{" SMALL, ERR_FORMAT, "line 1"},
    {FILE_OF(ADDED, LEVEL, MODEL) "x", ERR_FORMAT, "line 4"},
    {"{\"model\": {\"vocab\": {\n\n},\n\"merges\": [\n]},\n x}", ERR_FORMAT, "line 6"},
    {"{\"version\": \"2.0\"}", ERR_UNSUPPORTED, "version 2.0"},
    {"{\"version\": \"1.0\", \"model\": {}}", ERR_UNSUPPORTED, "decoder (none)"},
    {"{" SMALL ", \"truncation\": {\"max_length\": 5}}", ERR_UNSUPPORTED, "truncation is set"},
    {"{" SMALL ", \"padding\": {}}", ERR_UNSUPPORTED, "padding is set"},
    {"{" SMALL ", \"extra\": 1}", ERR_UNSUPPORTED, "key extra"},
    {"{" SMALL ", \"post_processor\": {\"type\": \"BertProcessing\"}}", ERR_UNSUPPORTED,
     "post_processor BertProcessing"},
    {"{" SMALL ", \"normalizer\": {\"type\": \"Lowercase\"}}", ERR_UNSUPPORTED, "normalizer Lowercase"},
    {WITH_PRE("null"), ERR_UNSUPPORTED, "does not end with ByteLevel"},
    {WITH_PRE("{\"type\": \"Metaspace\"}"), ERR_UNSUPPORTED, "pre_tokenizer Metaspace"},
    {WITH_PRE("{\"type\": \"Sequence\", \"pretokenizers\": [" LEVEL ", " LEVEL "]}"), ERR_UNSUPPORTED,
     "after ByteLevel"},
    {WITH_PRE("{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"MergedWithNext\"}"),
     ERR_UNSUPPORTED, "Split behavior MergedWithNext"},
    {WITH_PRE("{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\\\\b\"}, \"behavior\": \"Isolated\"}"),
     ERR_UNSUPPORTED, "escape at \"\\b\""},
    {WITH_MODEL("null"), ERR_FORMAT, "no model"},
    {WITH_MODEL("{\"type\": \"Unigram\"}"), ERR_UNSUPPORTED, "model type Unigram"},
    {WITH_MODEL("{\"byte_fallback\": true, \"vocab\": {}, \"merges\": []}"), ERR_UNSUPPORTED,
     "byte_fallback is set"},
    {WITH_MODEL("{\"dropout\": 0.1, \"vocab\": {}, \"merges\": []}"), ERR_UNSUPPORTED, "dropout is set"},
    {WITH_MODEL("{\"end_of_word_suffix\": \"</w>\", \"vocab\": {}, \"merges\": []}"), ERR_UNSUPPORTED,
     "end_of_word_suffix"},
    {WITH_MODEL("{\"unk_token\": \"?\", \"vocab\": {}, \"merges\": []}"), ERR_FORMAT, "unk_token \"?\""},
    {WITH_MODEL("{\"new_thing\": 1, \"vocab\": {}, \"merges\": []}"), ERR_UNSUPPORTED, "key new_thing"},
    {WITH_MODEL("{\"merges\": []}"), ERR_FORMAT, "vocab is not an object"},
    {WITH_MODEL("{\"vocab\": {}}"), ERR_FORMAT, "merges is not a list"},
    {WITH_MODEL("{\"vocab\": {}, \"vocab\": {}, \"merges\": []}"), ERR_FORMAT, "duplicate"},
    {WITH_VOCAB("{\"a\": 0, \"a\": 1}"), ERR_FORMAT, "\"a\" is there twice"},
    {WITH_VOCAB("{\"a\": 0, \"b\": 0}"), ERR_FORMAT, "id 0 is given twice"},
    {WITH_VOCAB("{\"a\": -1}"), ERR_RANGE, "id -1"},
    {WITH_VOCAB("{\"a\": 1048576}"), ERR_RANGE, "id 1048576"},
    {WITH_VOCAB("{\"a\": 1.5}"), ERR_FORMAT, "a comma"},
    {WITH_VOCAB("{\n\"a\": \"b\"}"), ERR_FORMAT, "line 5: a whole number"},
    {WITH_VOCAB("{\"a\" 1}"), ERR_FORMAT, "line 4: a key of vocab"},
    {WITH_VOCAB("{\"\\ud800\": 1}"), ERR_FORMAT, "line 4: a key of vocab"},
    {WITH_VOCAB("{\"\\u0000\": 1}"), ERR_FORMAT, "line 4: a key of vocab"},
    {WITH_VOCAB("{\"\xff\": 1}"), ERR_FORMAT, "line 4"},
    {WITH_VOCAB("{\"a\": 1,}"), ERR_FORMAT, "line 4"},
    {WITH_MERGES("[[\"a\", \"x\"]]"), ERR_FORMAT, "merges[0]: \"a\" + \"x\": the right side"},
    {WITH_MERGES("[\"a b\", \"b a\"]"), ERR_FORMAT, "merges[1]: \"b\" + \"a\": their join"},
    {WITH_MERGES("[\"a b c\"]"), ERR_FORMAT, "a merge, \"a b\", expected"},
    {WITH_MERGES("[\"ab\"]"), ERR_FORMAT, "a merge"},
    {WITH_MERGES("[[\"a\", \"b\", \"c\"]]"), ERR_FORMAT, "a merge"},
    {WITH_MERGES("[[\"a\", \"b\"], \"a b\"]"), ERR_FORMAT, "a merge"},
    {WITH_MERGES("[[\"a\", \"b\"]"), ERR_FORMAT, ""},
    {WITH_ADDED("{}"), ERR_FORMAT, "added_tokens is not a list"},
    {WITH_ADDED("[{\"content\": \"x\"}]"), ERR_FORMAT, "no id"},
    {WITH_ADDED("[{\"id\": 9, \"content\": \"<s>\"}]"), ERR_FORMAT, "\"<s>\" has id 9, by its place it is 5"},
    {WITH_ADDED("[{\"id\": 5, \"content\": \"\"}]"), ERR_RANGE, "0 bytes"},
    {WITH_ADDED("[{\"id\": 5, \"content\": \"x\", \"color\": 1}]"), ERR_UNSUPPORTED, "key color"},
    {WITH_ADDED("[{\"id\": 5, \"content\": \"x\", \"lstrip\": 1}]"), ERR_FORMAT,
     "lstrip is not true or false"},
    {WITH_ADDED("[{\"id\": 5, \"content\": \"x\"}, {\"id\": 6, \"content\": \"x\"}]"), ERR_FORMAT,
     "the same text"},
};

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tokenizer *t;
        struct why why = {0};
        const enum err e = parse(bad[i].json, "", &t, &why);
        if (e != bad[i].e || !strstr(why.text, bad[i].word) || strncmp(why.text, "tokenizer.json: ", 16))
            fail_msg("%s:\n%s (%s), should say \"%s\"", bad[i].json, why.text, err_str(e), bad[i].word);
        assert_null(t);
    }
}

static void a_folder_without_one_is_named(void **state)
{
    (void)state;
    struct tokenizer *t;
    struct why why = {0};
    assert_int_equal(tokenizer_open("/nonexistent/model", &t, &why), ERR_NOENT);
    assert_non_null(strstr(why.text, "/nonexistent/model/tokenizer.json"));
}

static void the_hash_is_of_what_decides_ids(void **state)
{
    (void)state;
    static const char *const other[] = {
        FILE_OF("[]", LEVEL, MODEL),
        FILE_OF(ADDED, "{\"type\": \"ByteLevel\"}", MODEL),
        WITH_VOCAB("{\"a\": 0, \"b\": 1, \"ab\": 2, \"\\u0120\": 3, \"d\": 4}"),
        WITH_MERGES("[]"),
        WITH_MODEL("{\"ignore_merges\": true, \"vocab\": " VOCAB ", \"merges\": [[\"a\", \"b\"]]}"),
        FILE_OF("[{\"id\": 5, \"content\": \"<s>\", \"special\": false}]", LEVEL, MODEL),
        "{\"normalizer\": {\"type\": \"NFC\"}," SMALL ", \"added_tokens\": " ADDED
        ", \"pre_tokenizer\": " LEVEL ", \"model\": " MODEL "}",
    };
    struct tokenizer *t = parsed(FILE_OF(ADDED, LEVEL, MODEL));
    struct tokenizer *same = parsed("{\"model\": {\"merges\": [\"a b\"], \"vocab\": {\"b\": 1, \"ab\": 2, "
                                    "\"c\": 4, \"\\u0120\": 3, \"a\": 0}},"
                                    "\"pre_tokenizer\":" LEVEL ", \"added_tokens\":" ADDED "," SMALL "}");
    assert_true(hash_eq(tokenizer_hash(t), tokenizer_hash(same)));
    for (unsigned i = 0; i < sizeof other / sizeof *other; i++) {
        struct tokenizer *x = parsed(other[i]);
        if (hash_eq(tokenizer_hash(t), tokenizer_hash(x))) fail_msg("other ids, the same hash: %s", other[i]);
        tokenizer_close(x);
    }
    tokenizer_close(same);
    tokenizer_close(t);
}

/* -- much text ------------------------------------------------------------------------------------------ */

/* n bytes of one text over and over. */
static char *runs(const char *of, size_t n)
{
    char *p = malloc(n + 1);
    const size_t k = strlen(of);
    for (size_t i = 0; i < n; i++) p[i] = of[i % k];
    p[n / k * k] = 0;
    return p;
}

static void a_long_run_merges_in_order(void **state)
{
    (void)state;
    char *text = runs("#", 1000002);
    struct tok_buf b;
    encode(arith, text, true, &b);
    assert_int_equal(b.n, 250001); /* by fours, and two are left */
    for (uint32_t i = 0; i < b.n; i++) assert_int_equal(b.id[i], i + 1 < b.n ? 257 : 256);
    free(b.id);
    free(text);
}

static void long_texts_take_linear_time(void **state)
{
    (void)state;
    static const char *const of[] = {"a",
                                     " ",
                                     "\n",
                                     "7",
                                     "#",
                                     "# ",
                                     "<|im_start",
                                     "<|im_start|>",
                                     "<",
                                     "\xcc\x81\xcc\xa3",
                                     "e\xcc\xa3\xcc\x81",
                                     "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8",
                                     "\xe4\xb8\xad",
                                     "\xf0\x9f\x98\x80"};
    const clock_t start = clock();
    for (unsigned i = 0; i < sizeof of / sizeof *of; i++) {
        char *text = runs(of[i], 1 << 20);
        struct tok_buf b;
        encode(arith, text, true, &b);
        assert_true(b.n > 0);
        free(b.id);
        free(text);
    }
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC <
                60); /* a second or two; quadratic would be hours */
}

struct reader {
    pthread_t thread;
    uint64_t sum;
};

static void *read_much(void *arg)
{
    struct reader *r = arg;
    for (int i = 0; i < 200; i++) {
        char text[64];
        struct tok_buf b = {0};
        struct text_buf x = {0};
        snprintf(text, sizeof text, "%d+%d=\n#### <|im_end|> \xc3\xa9 e\xcc\x81", i, 3 * i);
        if (tokenizer_encode(arith, span_str(text), true, &b) ||
            tokenizer_decode(arith, b.id, b.n, false, &x))
            abort();
        for (uint32_t k = 0; k < b.n; k++) r->sum = r->sum * 31 + (uint32_t)b.id[k];
        free(b.id);
        free(x.p);
    }
    return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    (void)state;
    struct reader r[4] = {0};
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&r[i].thread, NULL, read_much, &r[i]), 0);
    for (int i = 0; i < 4; i++) pthread_join(r[i].thread, NULL);
    for (int i = 1; i < 4; i++) assert_true(r[i].sum == r[0].sum && r[0].sum != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_quickstarts_own_tokenizer_works),
        cmocka_unit_test(special_tokens_are_text_when_the_caller_says_so),
        cmocka_unit_test(text_is_taken_in_normal_form),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(half_a_character_waits_for_the_other_half),
        cmocka_unit_test(a_small_file_is_read_whole),
        cmocka_unit_test(an_entry_needs_its_merges),
        cmocka_unit_test(keys_may_be_escaped),
        cmocka_unit_test(eos_and_bos_are_named_in_the_config),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(a_folder_without_one_is_named),
        cmocka_unit_test(the_hash_is_of_what_decides_ids),
        cmocka_unit_test(a_long_run_merges_in_order),
        cmocka_unit_test(long_texts_take_linear_time),
        cmocka_unit_test(threads_share_a_tokenizer),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
