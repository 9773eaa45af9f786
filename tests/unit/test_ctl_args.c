// SPDX-License-Identifier: Apache-2.0
/* Options of a verb: what is typed arrives, what is wrong ends with 2 and its name, and a slip of the finger gets a suggestion. */
#include "ctl/args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "ctl/ctl.h"

struct got {
    bool json;
    const char *run;
    uint32_t n;
    uint64_t big;
    double t, watch;
    struct args a;
    int code;
    bool go;
    char said[2000]; /* on stderr */
};

#define PARSE(...) parse((char *[]){"verb", __VA_ARGS__, NULL})

/* fd 2 into a file while f runs. */
static void capture_start(int *saved, FILE **f)
{
    fflush(stderr);
    *f = tmpfile();
    assert_non_null(*f);
    *saved = dup(2);
    dup2(fileno(*f), 2);
}

static void capture_end(int saved, FILE *f, char *out, size_t cap)
{
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    rewind(f);
    out[fread(out, 1, cap - 1, f)] = 0;
    fclose(f);
}

static struct got parse(char **argv)
{
    struct got g = {.n = 7, .t = 0.5};
    const struct opt opt[] = {{"json", 0, OPT_FLAG, &g.json, 0, 0, NULL, "j"},
                              {"run", 0, OPT_STR, &g.run, 0, 0, "DIR", "r"},
                              {"count", 'n', OPT_U32, &g.n, 1, 100, "N", "n"},
                              {"seed", 0, OPT_U64, &g.big, 0, 1e18, "N", "s"},
                              {"temperature", 't', OPT_F64, &g.t, 0, 10, "X", "t"},
                              {"watch", 'w', OPT_SEC, &g.watch, 0.1, 60, "SEC", "w"}};
    int argc = 0, saved;
    FILE *f;
    while (argv[argc]) argc++;
    g.a = (struct args){.verb = "verb", .words = "", .about = "", .opt = opt, .n_opt = ARRAY_LEN(opt), .max_words = 2};
    capture_start(&saved, &f);
    g.go = args_parse(&g.a, argc, argv, &g.code);
    capture_end(saved, f, g.said, sizeof g.said);
    return g;
}

static void test_values_in_every_form(void **state)
{
    (void)state;
    struct got g = PARSE("--json", "--run", "a b", "--count=3", "-t", "0.25", "--seed", "123456789012345678", "word");
    assert_true(g.go);
    assert_true(g.json);
    assert_string_equal(g.run, "a b");
    assert_int_equal(g.n, 3);
    assert_true(g.big == UINT64_C(123456789012345678));
    assert_true(g.t > 0.249 && g.t < 0.251);
    assert_int_equal(g.a.n_word, 1);
    assert_string_equal(g.a.word[0], "word");
    g = PARSE("-n9");
    assert_int_equal(g.n, 9);
    g = PARSE("word");
    assert_true(g.go && !g.json && g.n == 7);
}

static void test_words_that_look_like_options(void **state)
{
    (void)state;
    struct got g = PARSE("-", "--", "--json");
    assert_true(g.go);
    assert_false(g.json);
    assert_int_equal(g.a.n_word, 2);
    assert_string_equal(g.a.word[0], "-");
    assert_string_equal(g.a.word[1], "--json");
}

static void test_watch_takes_a_number_or_none(void **state)
{
    (void)state;
    struct got g = PARSE("--watch", "--json");
    assert_true(g.go && g.json && g.watch > 0.99 && g.watch < 1.01);
    g = PARSE("--watch", "2.5");
    assert_true(g.go && g.watch > 2.49 && g.watch < 2.51 && g.a.n_word == 0);
    g = PARSE("--watch=0.5", "x");
    assert_true(g.go && g.watch > 0.49 && g.watch < 0.51 && g.a.n_word == 1);
    g = PARSE("--watch", "x");
    assert_true(g.go && g.watch > 0.99 && g.a.n_word == 1);
}

static void test_what_is_wrong_is_named(void **state)
{
    (void)state;
    static char *const bad[][3] = {{"--count", "0", "between 1 and 100"},   {"--count", "2.5", "whole number"}, {"--count", "-3", "whole number"},
                                   {"--count", "1e1", "whole number"},      {"--count", "", "number"},          {"--temperature", "nan", "number"},
                                   {"--temperature", "11", "between 0 and"}, {"--watch=0", "", "between"},       {"--json=1", "", "takes no value"},
                                   {"-x", "", "unknown option -x"},          {"--cuont", "5", "did you mean --count?"},
                                   {"--zzzzzz", "", "unknown option --zzzzzz"}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct got g = PARSE(bad[i][0], bad[i][1]);
        assert_false(g.go);
        assert_int_equal(g.code, CTL_USAGE);
        if (!strstr(g.said, bad[i][2])) fail_msg("%s %s: \"%s\" does not say \"%s\"", bad[i][0], bad[i][1], g.said, bad[i][2]);
    }
    struct got g = PARSE("--run");
    assert_false(g.go);
    assert_non_null(strstr(g.said, "needs a value"));
    g = PARSE("a", "b", "c");
    assert_false(g.go);
    assert_non_null(strstr(g.said, "unexpected word c"));
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const name[] = {"status", "samples", "pause", "plot", "queues"};
    assert_string_equal(args_nearest("stauts", name, 5), "status");
    assert_string_equal(args_nearest("queue", name, 5), "queues");
    assert_string_equal(args_nearest("sta", name, 5), "status"); /* the only one that begins so */
    assert_string_equal(args_nearest("polt", name, 5), "plot");
    assert_null(args_nearest("s", name, 5));  /* two begin so, none is near */
    assert_null(args_nearest("teapot", name, 5));
    assert_null(args_nearest("", name, 5));
    char longest[200];
    memset(longest, 's', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_null(args_nearest(longest, name, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values_in_every_form), cmocka_unit_test(test_words_that_look_like_options),
                                       cmocka_unit_test(test_watch_takes_a_number_or_none), cmocka_unit_test(test_what_is_wrong_is_named),
                                       cmocka_unit_test(test_nearest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
