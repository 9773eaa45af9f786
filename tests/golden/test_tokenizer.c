// SPDX-License-Identifier: Apache-2.0
/* The ids and the text that the tokenizers library gives, from files of each form (make_tokenizer.py):
 * golden_tokenizer FOLDER NAME..., each NAME a folder in FOLDER. */
#include "common/model/tokenizer.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *folder;

static json_t *load(const char *name, const char *file)
{
    char path[4096];
    json_error_t je;
    snprintf(path, sizeof path, "%s/%s%s%s", folder, name, *name ? "/" : "", file);
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &je);
    if (!j) fail_msg("%s: %s", path, je.text);
    return j;
}

static struct span text_of(const json_t *j)
{
    return span_of(json_string_value(j), json_string_length(j));
}

/* The value of a map from numbers to text, else what is given. */
static struct span at(const json_t *map, size_t i, struct span otherwise)
{
    char key[24];
    snprintf(key, sizeof key, "%zu", i);
    const json_t *v = json_object_get(map, key);
    return v ? text_of(v) : otherwise;
}

static int32_t *ids_of(const json_t *list, uint32_t *ret_n)
{
    *ret_n = (uint32_t)json_array_size(list);
    int32_t *id = malloc((*ret_n + 1) * sizeof *id);
    for (uint32_t i = 0; i < *ret_n; i++) id[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return id;
}

static void check_decode(const struct tokenizer *t, const char *name, size_t i, const int32_t *id, uint32_t n,
                         bool skip, struct span want)
{
    struct text_buf whole = {0}, parts = {0};
    struct tok_stream s = {0};
    assert_int_equal(tokenizer_decode(t, id, n, skip, &whole), ERR_OK);
    if (!span_eq(span_of(whole.p, whole.n), want))
        fail_msg("%s, text %zu: decodes to\n%s\nnot\n%.*s", name, i, whole.p, (int)want.n,
                 (const char *)want.p);
    for (uint32_t k = 0; k < n; k++)
        assert_int_equal(tokenizer_stream(t, &s, id + k, 1, skip, &parts), ERR_OK);
    assert_int_equal(tokenizer_stream_end(&s, &parts), ERR_OK);
    assert_true(span_eq(span_of(parts.p, parts.n), want));
    free(whole.p);
    free(parts.p);
}

static void check_encode(const struct tokenizer *t, const char *name, size_t i, struct span text,
                         bool special, const int32_t *want, uint32_t n)
{
    struct tok_buf b = {0};
    assert_int_equal(tokenizer_encode(t, text, special, &b), ERR_OK);
    for (uint32_t k = 0; k < b.n || k < n; k++)
        if (k >= b.n || k >= n || b.id[k] != want[k])
            fail_msg("%s, text %zu: id %u is %d, should be %d: %.*s", name, i, k, k < b.n ? b.id[k] : -1,
                     k < n ? want[k] : -1, (int)text.n, (const char *)text.p);
    free(b.id);
}

static void check_file(const char *name, const json_t *texts)
{
    char dir[4096];
    struct why why = {0};
    struct tokenizer *t = NULL;
    json_t *v = load(name, "vectors.json"), *own = json_object_get(v, "own"),
           *ids = json_object_get(v, "ids"), *x;
    size_t i;
    snprintf(dir, sizeof dir, "%s/%s", folder, name);
    enum err e = tokenizer_open(dir, &t, &why);
    if (e) fail_msg("%s", why_str(&why, e));
    const size_t n_text = json_array_size(texts);
    assert_int_equal(json_array_size(ids), n_text + json_array_size(own));
    json_array_foreach(ids, i, x)
    {
        uint32_t n;
        int32_t *id = ids_of(x, &n);
        const struct span text =
            text_of(i < n_text ? json_array_get(texts, i) : json_array_get(own, i - n_text));
        const struct span whole = at(json_object_get(v, "text"), i, text);
        check_encode(t, name, i, text, true, id, n);
        check_decode(t, name, i, id, n, false, whole);
        check_decode(t, name, i, id, n, true, at(json_object_get(v, "skip"), i, whole));
        free(id);
    }
    json_array_foreach(json_object_get(v, "plain"), i, x)
    {
        uint32_t n;
        int32_t *id = ids_of(x, &n);
        check_encode(t, name, i, text_of(json_array_get(own, i)), false, id, n);
        free(id);
    }
    assert_true(json_array_size(json_object_get(v, "decode")) > 0);
    assert_int_equal(json_array_size(json_object_get(v, "plain")), json_array_size(own));
    json_array_foreach(json_object_get(v, "decode"), i, x)
    {
        uint32_t n;
        int32_t *id = ids_of(json_array_get(x, 0), &n);
        check_decode(t, name, i, id, n, false, text_of(json_array_get(x, 1)));
        check_decode(t, name, i, id, n, true, text_of(json_array_get(x, 2)));
        free(id);
    }
    tokenizer_close(t);
    json_decref(v);
}

static void ids_and_text_are_those_of_the_library(void **state)
{
    json_t *texts = load("", "texts.json");
    assert_true(json_array_size(texts) > 0);
    for (char **name = *state; *name; name++) check_file(*name, texts);
    json_decref(texts);
}

int main(int argc, char **argv)
{
    if (argc < 3) return fprintf(stderr, "usage: %s FOLDER NAME...\n", argv[0]), 2;
    folder = argv[1];
    const struct CMUnitTest t[] = {
        cmocka_unit_test_prestate(ids_and_text_are_those_of_the_library, argv + 2)};
    return cmocka_run_group_tests(t, NULL, NULL);
}
