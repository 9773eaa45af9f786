// SPDX-License-Identifier: Apache-2.0
/* The quickstart's task: held-out problems are never trained on, every answer is right, and a seed is a whole
 * world. */
#include "common/model/arith.h"

#include <jansson.h>
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

static char root[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test_arith.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return (int)file_remove_tree(root, NULL);
}

static char *slurp(const char *name, size_t *ret_n)
{
    char path[256], *text = NULL;
    struct why why = {0};
    snprintf(path, sizeof path, "%s/%s", root, name);
    enum err e = file_read(path, 1 << 22, &text, ret_n, &why);
    if (e) fail_msg("%s", why_str(&why, e));
    return text;
}

static void make(const char *name, uint64_t seed, uint32_t n_test)
{
    char model[256], data[256];
    struct why why = {0};
    snprintf(model, sizeof model, "%s/%s-model", root, name);
    snprintf(data, sizeof data, "%s/%s-data", root, name);
    struct arith_opts o = {.seed = seed, .n_test = n_test};
    enum err e = arith_make(model, data, &o, &why);
    if (e) fail_msg("%s", why_str(&why, e));
}

/* Check one row against plain arithmetic; marks the pair in seen[100][100] and fails when it was there. */
static void check_row(const char *line, size_t n, uint8_t seen[100][100])
{
    unsigned a, b, ans, u1, u2, us, t1, t2, c, ts, last;
    json_t *j = json_loadb(line, n, 0, NULL);
    const char *p = json_string_value(json_object_get(j, "prompt"));
    const char *w = json_string_value(json_object_get(j, "answer"));
    const char *s = json_string_value(json_object_get(j, "solution"));
    if (!p || !w || !s) fail_msg("row without its three fields: %.*s", (int)n, line);
    assert_int_equal(sscanf(p, "%2u+%2u=", &a, &b), 2);
    assert_int_equal(sscanf(w, "%u", &ans), 1);
    assert_int_equal(sscanf(s, "%u+%u=%u %u+%u+%u=%u\n#### %u", &u1, &u2, &us, &t1, &t2, &c, &ts, &last), 8);
    assert_int_equal(ans, a + b);
    assert_int_equal(last, a + b);
    assert_true(u1 == a % 10 && u2 == b % 10 && us == u1 + u2);
    assert_true(t1 == a / 10 && t2 == b / 10 && c == us / 10 && ts == t1 + t2 + c);
    assert_int_equal(seen[a][b]++, 0);
    json_decref(j);
}

static unsigned check_file(const char *name, uint8_t seen[100][100])
{
    size_t n;
    char *text = slurp(name, &n);
    unsigned rows = 0;
    for (char *at = text, *end; *at; at = end + 1, rows++) {
        end = strchr(at, '\n');
        assert_non_null(end); /* every row ends its line */
        check_row(at, (size_t)(end - at), seen);
    }
    free(text);
    return rows;
}

static void the_split_is_disjoint_and_right(void **state)
{
    (void)state;
    uint8_t seen[100][100] = {{0}};
    make("split", 7, 0);
    assert_int_equal(check_file("split-data/test.jsonl", seen), 500);
    assert_int_equal(check_file("split-data/train.jsonl", seen),
                     ARITH_N_PROBLEM - 500); /* seen twice would have failed */
    for (int a = 10; a < 100; a++)
        for (int b = 10; b < 100; b++) assert_int_equal(seen[a][b], 1);
}

/* The careless teacher has the problems and answers of train.jsonl, follows what was written, and is right about as often as said. */
static void the_careless_teacher_slips_as_often_as_said(void **state)
{
    (void)state;
    size_t n;
    unsigned rows = 0, right = 0, units_right = 0;
    make("teacher", 7, 0);
    char *text = slurp("teacher-data/sft.jsonl", &n);
    for (char *at = text, *end; *at; at = end + 1, rows++) {
        unsigned a, b, ans, u1, u2, us, t1, t2, c, ts, last;
        end = strchr(at, '\n');
        assert_non_null(end);
        json_t *j = json_loadb(at, (size_t)(end - at), 0, NULL);
        assert_int_equal(sscanf(json_string_value(json_object_get(j, "prompt")), "%2u+%2u=", &a, &b), 2);
        assert_int_equal(sscanf(json_string_value(json_object_get(j, "answer")), "%u", &ans), 1);
        assert_int_equal(ans, a + b);
        assert_int_equal(sscanf(json_string_value(json_object_get(j, "solution")), "%u+%u=%u %u+%u+%u=%u\n#### %u", &u1, &u2, &us, &t1, &t2, &c,
                                &ts, &last), 8);
        assert_true(u1 == a % 10 && u2 == b % 10 && t1 == a / 10 && t2 == b / 10 && c <= 1);
        assert_int_equal(last, ts * 10 + us % 10);
        assert_true(us + 1 >= u1 + u2 && us <= u1 + u2 + 1 && ts + 1 >= t1 + t2 + c && ts <= t1 + t2 + c + 1);
        units_right += us == u1 + u2;
        right += last == a + b;
        json_decref(j);
    }
    free(text);
    assert_int_equal(rows, ARITH_N_PROBLEM - 500);
    const double keep = 1 - ARITH_SLIP;
    assert_true(units_right > (keep - 0.03) * rows && units_right < (keep + 0.03) * rows);
    /* two slips can undo each other, so a little more than all three right */
    assert_true(right > keep * keep * keep * rows && right < (keep * keep * keep + 0.09) * rows);
}

static void assert_same_file(const char *a, const char *b, bool same)
{
    size_t na, nb;
    char *x = slurp(a, &na), *y = slurp(b, &nb);
    if ((na == nb && !memcmp(x, y, na)) != same)
        fail_msg("%s and %s %s", a, b, same ? "differ" : "are the same");
    free(x);
    free(y);
}

static void a_seed_gives_the_same_bytes_and_another_others(void **state)
{
    (void)state;
    make("a", 1, 20);
    make("b", 1, 20);
    make("c", 2, 20);
    assert_same_file("a-data/test.jsonl", "b-data/test.jsonl", true);
    assert_same_file("a-data/train.jsonl", "b-data/train.jsonl", true);
    assert_same_file("a-data/sft.jsonl", "b-data/sft.jsonl", true);
    assert_same_file("a-data/sft.jsonl", "a-data/train.jsonl", false);
    assert_same_file("a-model/model.safetensors", "b-model/model.safetensors", true);
    assert_same_file("a-data/test.jsonl", "c-data/test.jsonl", false);
    assert_same_file("a-model/model.safetensors", "c-model/model.safetensors", false);
    assert_same_file("a-model/tokenizer.json", "c-model/tokenizer.json", true);
}

static void a_model_in_the_way_is_kept(void **state)
{
    (void)state;
    char model[256];
    struct why why = {0};
    struct arith_opts o = {.seed = 3};
    make("kept", 1, 20);
    snprintf(model, sizeof model, "%s/kept-model", root);
    assert_int_equal(arith_make_model(model, &o, &why), ERR_EXIST);
    assert_non_null(strstr(why.text, model));
    assert_same_file("a-model/model.safetensors", "kept-model/model.safetensors", true);
    char tmp[512]; /* and nothing is left beside it */
    snprintf(tmp, sizeof tmp, "%s.%d.tmp", model, (int)getpid());
    assert_false(file_exists(tmp));
}

static void limits_are_said(void **state)
{
    (void)state;
    struct why why = {0};
    struct arith_opts all = {.n_test = ARITH_N_PROBLEM};
    assert_int_equal(arith_make_data(root, &all, &why), ERR_RANGE);
    struct dims small = arith_dims();
    small.n_vocab = 256;
    small.n_eos = 0;
    struct arith_opts o = {.dims = &small};
    assert_int_equal(arith_make_model(root, &o, &why), ERR_RANGE);
    assert_non_null(strstr(why.text, "261"));
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(the_split_is_disjoint_and_right),
        cmocka_unit_test(the_careless_teacher_slips_as_often_as_said),
        cmocka_unit_test(a_seed_gives_the_same_bytes_and_another_others),
        cmocka_unit_test(a_model_in_the_way_is_kept),
        cmocka_unit_test(limits_are_said),
    };
    return cmocka_run_group_tests(t, set_up, tear_down);
}
