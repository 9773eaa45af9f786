// SPDX-License-Identifier: Apache-2.0
/* metrics.jsonl is read while it is written: what is whole is there, what is torn is not, and a bad line has its number. */
#include "common/run/metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static struct metrics parse(const char *text)
{
    struct metrics m = {0};
    struct why why = {0};
    const enum err e = metrics_parse(span_str(text), "m.jsonl", &m, &why);
    if (e) fail_msg("%s", why_str(&why, e));
    return m;
}

static void lines_are_rows_and_names_are_columns(void **state)
{
    (void)state;
    struct metrics m = parse("{\"step\": 1, \"reward\": 0.25, \"lr\": 1e-6, \"done\": false}\n"
                             "{\"step\": 2, \"reward\": null, \"lr\": 2e-6, \"note\": \"hm\", \"list\": [1], \"done\": true}\n"
                             "{\"lr\": 3e-6, \"step\": 3, \"kl\": -0.5}\n");
    assert_true(m.n_row == 3 && m.n_column == 5);
    static const char *const names[] = {"step", "reward", "lr", "done", "kl"};
    for (unsigned i = 0; i < 5; i++) assert_string_equal(m.name[i], names[i]);
    const double *step = metrics_column(&m, "step"), *reward = metrics_column(&m, "reward"), *lr = metrics_column(&m, "lr");
    const double *kl = metrics_column(&m, "kl"), *done = metrics_column(&m, "done");
    assert_true(step[0] == 1 && step[1] == 2 && step[2] == 3);
    assert_true(reward[0] == 0.25 && isnan(reward[1]) && isnan(reward[2])); /* null; not in the line */
    assert_true(lr[0] == 1e-6 && lr[1] == 2e-6 && lr[2] == 3e-6);
    assert_true(isnan(kl[0]) && isnan(kl[1]) && kl[2] == -0.5); /* a name that comes late */
    assert_true(done[0] == 0 && done[1] == 1 && isnan(done[2]));
    assert_null(metrics_column(&m, "note"));
    assert_null(metrics_column(&m, "list"));
    assert_null(metrics_column(&m, "rewar"));
    metrics_done(&m);
    assert_true(m.n_row == 0 && m.name == NULL);
    metrics_done(&m);
}

static void a_torn_last_line_is_left_out(void **state)
{
    (void)state;
    static const char two[] = "{\"step\": 1, \"reward\": 0.5}\n{\"step\": 2, \"reward\": 0.75}\n";
    const size_t first = (size_t)(strchr(two, '\n') - two), whole = sizeof two - 2; /* the ends of the two objects */
    for (size_t n = 0; n < sizeof two; n++) {
        char cut[sizeof two];
        memcpy(cut, two, n);
        cut[n] = 0;
        struct metrics m = parse(cut);
        assert_int_equal(m.n_row, n < first ? 0 : n < whole ? 1 : 2);
        metrics_done(&m);
    }
}

static void refused(const char *text, enum err want, const char *words)
{
    struct metrics m = {.n_row = 77};
    struct why why = {0};
    const enum err e = metrics_parse(span_str(text), "m.jsonl", &m, &why);
    if (e != want || !strstr(why.text, words) || m.n_row != 77) fail_msg("%s: %s: %s", text, err_str(e), why.text);
}

static void a_bad_line_is_named_with_its_number(void **state)
{
    (void)state;
    refused("{\"a\": 1}\n{\"a\": }\n{\"a\": 3}\n", ERR_FORMAT, "m.jsonl:2: unexpected token");
    refused("{\"a\": 1}\n{\"a\": 2}\n[3]\n", ERR_FORMAT, "m.jsonl:3: not a JSON object");
    refused("\n{\"a\": 1}\n", ERR_FORMAT, "m.jsonl:1: ");
    refused("{\"a\": 1, \"a\": 2}\n", ERR_FORMAT, "m.jsonl:1: duplicate");
    refused("{\"a\": 1} x\n{\"a\": 1}\n", ERR_FORMAT, "m.jsonl:1: end of file expected");
    refused("{\"a\": 1e999}\n", ERR_FORMAT, "m.jsonl:1: real number overflow");
    refused("{\"a\": NaN}\n", ERR_FORMAT, "m.jsonl:1: ");
    refused("{\"a\": \"\xff\"}\n", ERR_FORMAT, "m.jsonl:1: unable to decode byte 0xff");
    refused("5\n", ERR_FORMAT, "m.jsonl:1: ");
    refused("[5]\n", ERR_FORMAT, "m.jsonl:1: not a JSON object");
}

static void a_long_file_keeps_every_row(void **state)
{
    (void)state;
    const unsigned n = 5000;
    char *text = malloc(n * 64), *p = text;
    assert_non_null(text);
    for (unsigned i = 0; i < n; i++) p += snprintf(p, 64, i % 2 ? "{\"step\": %u, \"x\": %u}\n" : "{\"x\": %2$u, \"step\": %1$u}\n", i, 3 * i);
    struct metrics m = parse(text);
    free(text);
    assert_true(m.n_row == n && m.n_column == 2);
    for (unsigned i = 0; i < n; i++) assert_true(metrics_column(&m, "step")[i] == i && metrics_column(&m, "x")[i] == 3.0 * i);
    metrics_done(&m);
}

static void too_many_names_are_refused(void **state)
{
    (void)state;
    char *text = malloc(20 * (METRICS_MAX_COLUMN + 2)), *p = text;
    assert_non_null(text);
    for (unsigned i = 0; i <= METRICS_MAX_COLUMN; i++) p += snprintf(p, 20, "%s\"n%u\": %u", i ? ", " : "{", i, i);
    strcpy(p, "}\n");
    refused(text, ERR_RANGE, "m.jsonl:1: more than 512 names");
    *strstr(text, ", \"n512\"") = '}';
    strcpy(strstr(text, "} \"n512\"") + 1, "\n");
    struct metrics m = parse(text);
    assert_true(m.n_column == METRICS_MAX_COLUMN && metrics_column(&m, "n511")[0] == 511);
    metrics_done(&m);
    free(text);
}

static void a_file_is_read_or_named(void **state)
{
    (void)state;
    struct metrics m = {0};
    struct why why = {0};
    char path[] = "/tmp/test_metrics.XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"a\": 4}\n", 9), 9);
    close(fd);
    assert_int_equal(metrics_read(path, &m, &why), ERR_OK);
    assert_true(m.n_row == 1 && metrics_column(&m, "a")[0] == 4);
    metrics_done(&m);
    unlink(path);
    assert_int_equal(metrics_read(path, &m, &why), ERR_NOENT);
    assert_non_null(strstr(why.text, path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_rows_and_names_are_columns),
        cmocka_unit_test(a_torn_last_line_is_left_out),
        cmocka_unit_test(a_bad_line_is_named_with_its_number),
        cmocka_unit_test(a_long_file_keeps_every_row),
        cmocka_unit_test(too_many_names_are_refused),
        cmocka_unit_test(a_file_is_read_or_named),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
