// SPDX-License-Identifier: Apache-2.0
/* A setting is what was written, or there are words with file, line, key, value and bounds; nothing is taken
 * silently for something else. */
#include "common/svc/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

struct settings {
    bool resume;
    uint32_t steps, mode;
    uint64_t memory;
    double rate;
    char *model, *name;
};

static const struct conf_key keys[] = {
    {"resume", CONF_BOOL, offsetof(struct settings, resume), "true", 0, 0, NULL, false, "go on"},
    {"max_steps", CONF_U32, offsetof(struct settings, steps), "100", 1, 1048576, NULL, false, "steps"},
    {"mode", CONF_CHOICE, offsetof(struct settings, mode), "grpo", 0, 0, "grpo|sft|eval", false,
     "what to do"},
    {"kv_memory", CONF_U64, offsetof(struct settings, memory), "2G", 1024, 1e15, NULL, false, "bytes"},
    {"learning_rate", CONF_F64, offsetof(struct settings, rate), "1e-6", 0, 10, NULL, true, "peak"},
    {"model", CONF_STR, offsetof(struct settings, model), "", 0, 0, NULL, false, "folder"},
    {"name", CONF_STR, offsetof(struct settings, name), "x", 0, 0, NULL, false, "name"},
};
static const struct conf_list list = {"learner", keys, sizeof keys / sizeof *keys};

static struct settings fresh(void)
{
    struct settings s = {0};
    struct why why = {0};
    if (conf_defaults(&list, &s, &why)) fail_msg("%s", why.text);
    return s;
}

static enum err parse(struct settings *s, const char *text, struct why *why)
{
    return conf_parse(&list, s, span_str(text), "t.conf", why);
}

static void defaults_are_set_through_the_same_door(void **state)
{
    (void)state;
    struct settings s = fresh();
    assert_true(s.resume);
    assert_int_equal(s.steps, 100);
    assert_int_equal(s.mode, 0);
    assert_int_equal(s.memory, 2ull << 30);
    assert_true(s.rate > 0.9e-6 && s.rate < 1.1e-6);
    assert_string_equal(s.model, "");
    conf_done(&list, &s);
    conf_done(&list, &s); /* twice is once */
}

static void a_file_is_read_line_by_line(void **state)
{
    (void)state;
    struct settings s = fresh();
    struct why why = {0};
    static const char text[] =
        "\xEF\xBB\xBF; a comment\n# another\n\nmax_steps=7\r\n[learner]\n  mode = sft ; said why\n"
        "\tkv_memory = 64k\nmodel = /a b;c#d\nname =\n[rollout]\nno_such_thing = 1\n[ learner ]\nresume = "
        "off";
    if (parse(&s, text, &why)) fail_msg("%s", why.text);
    assert_int_equal(s.steps, 7);
    assert_int_equal(s.mode, 1);
    assert_int_equal(s.memory, 65536);
    assert_string_equal(s.model, "/a b;c#d");
    assert_string_equal(s.name, "");
    assert_false(s.resume);
    conf_done(&list, &s);
}

/* An indented line is a setting of its own, not more of the one before. */
static void an_indented_line_does_not_go_on_with_the_last(void **state)
{
    (void)state;
    struct settings s = fresh();
    struct why why = {0};
    if (parse(&s, "[learner]\n    model = m\n    name = n\n", &why)) fail_msg("%s", why.text);
    assert_string_equal(s.model, "m");
    assert_string_equal(s.name, "n");
    conf_done(&list, &s);
}

static void a_long_value_is_not_cut(void **state)
{
    (void)state;
    struct settings s = fresh();
    struct why why = {0};
    char text[3100] = "model = ";
    memset(text + 8, 'p', 3000);
    strcpy(text + 3008, "\nname = n\n");
    if (parse(&s, text, &why)) fail_msg("%s", why.text);
    assert_int_equal(strlen(s.model), 3000);
    assert_string_equal(s.name, "n");
    conf_done(&list, &s);
}

static void assert_refused(const char *text, enum err want, const char *line, const char *words)
{
    struct settings s = fresh();
    struct why why = {0};
    const enum err e = parse(&s, text, &why);
    if (e != want || !strstr(why.text, line) || !strstr(why.text, words))
        fail_msg("\"%s\" gave %s: \"%s\"; wanted %s, \"%s\", \"%s\"", text, err_str(e), why.text,
                 err_str(want), line, words);
    conf_done(&list, &s);
}

static void errors_name_file_line_key_value_and_bounds(void **state)
{
    (void)state;
    assert_refused("\nmax_steps = 0", ERR_RANGE,
                   "t.conf:2: ", "max_steps = 0: must lie between 1 and 1048576");
    assert_refused("max_steps = 1048577", ERR_RANGE, "t.conf:1: ", "1048576");
    assert_refused("max_steps = 3.5", ERR_INVAL, "t.conf:1: ", "whole number");
    assert_refused("max_steps = -1", ERR_RANGE, "t.conf:1: ", "max_steps = -1");
    assert_refused("max_steps = 3 apples", ERR_INVAL, "t.conf:1: ", "a number is expected");
    assert_refused("max_steps =", ERR_INVAL, "t.conf:1: ", "a number is expected");
    assert_refused("max_steps = 9999999999999999999", ERR_RANGE, "t.conf:1: ", "max_steps");
    assert_refused("learning_rate = nan", ERR_INVAL, "t.conf:1: ", "a number is expected");
    assert_refused("learning_rate = inf", ERR_INVAL, "t.conf:1: ", "a number is expected");
    assert_refused("learning_rate = 1e999", ERR_INVAL, "t.conf:1: ", "a number is expected");
    assert_refused("learning_rate = 1k", ERR_INVAL, "t.conf:1: ", "a number is expected");
    assert_refused("mode = SFT", ERR_INVAL, "t.conf:1: ", "one of grpo|sft|eval");
    assert_refused("mode = grpo|sft", ERR_INVAL, "t.conf:1: ", "one of");
    assert_refused("resume = maybe", ERR_INVAL, "t.conf:1: ", "true or false");
    assert_refused("\n\nmax_step = 3", ERR_NOENT, "t.conf:3: ", "\"max_step\"");
    assert_refused("[lerner]\nmax_steps = 3", ERR_NOENT, "t.conf:1: ", "unknown section [lerner]");
    assert_refused("[learner\nmax_steps = 3", ERR_FORMAT, "t.conf:1: ", "[section]");
    assert_refused("max_steps 3", ERR_FORMAT, "t.conf:1: ", "name = value");
    assert_refused("= 3", ERR_NOENT, "t.conf:1: ", "unknown setting");
}

/* The first error is the one told, with its own line, whatever follows it. */
static void the_first_error_is_told(void **state)
{
    (void)state;
    assert_refused("max_steps = 1\nmax_steps = x\nmode = y\nmodel = fine", ERR_INVAL,
                   "t.conf:2: ", "max_steps = x");
}

static void a_nul_byte_is_no_end(void **state)
{
    (void)state;
    struct settings s = fresh();
    struct why why = {0};
    assert_int_equal(
        conf_parse(&list, &s, span_of("model = a\nname = b\0c\nmax_steps = x", 34), "t.conf", &why),
        ERR_FORMAT);
    assert_non_null(strstr(why.text, "t.conf:2: "));
    conf_done(&list, &s);
}

static void units(void **state)
{
    (void)state;
    struct settings s = fresh();
    static const struct {
        const char *name, *value;
        uint64_t want;
    } ok[] = {{"max_steps", "2k", 2000},       {"max_steps", "1M", 1000000},
              {"kv_memory", "1k", 1024},       {"kv_memory", "1.5M", 1536 << 10},
              {"kv_memory", "3G", 3ull << 30}, {"kv-memory", "2000", 2000}};
    for (unsigned i = 0; i < sizeof ok / sizeof *ok; i++) {
        struct why why = {0};
        if (conf_set(&list, &s, ok[i].name, ok[i].value, &why)) fail_msg("%s", why.text);
        assert_int_equal(ok[i].name[0] == 'm' ? s.steps : s.memory, ok[i].want);
    }
    assert_int_equal(conf_set(&list, &s, "kv_memory", "1000000G", NULL), ERR_RANGE);
    assert_int_equal(conf_set(&list, &s, "kv_memory", "1kk", NULL), ERR_INVAL);
    assert_int_equal(conf_set(&list, &s, "kv_memory", "k", NULL), ERR_INVAL);
    conf_done(&list, &s);
}

static enum err args(struct settings *s, char **argv, bool *stop, struct why *why)
{
    int n = 0;
    while (argv[n]) n++;
    return conf_args(&list, s, n, argv, "about", stop, why);
}

static void the_command_line_wins_over_the_file(void **state)
{
    (void)state;
    struct settings s = fresh();
    struct why why = {0};
    bool stop;
    char path[] = "/tmp/test_conf.XXXXXX";
    const int fd = mkstemp(path);
    assert_int_equal(write(fd, "max_steps = 5\nresume = no\nmode = eval\n", 38), 38);
    close(fd);
    if (args(&s, (char *[]){"x", "--max-steps", "9", "--config", path, "--resume", "--model=--odd=", NULL},
             &stop, &why))
        fail_msg("%s", why.text);
    assert_false(stop);
    assert_int_equal(s.steps, 9);
    assert_int_equal(s.mode, 2);
    assert_true(s.resume);
    assert_string_equal(s.model, "--odd=");
    unlink(path);
    assert_int_equal(args(&s, (char *[]){"x", "--config", path, NULL}, &stop, &why), ERR_NOENT);
    assert_non_null(strstr(why.text, path));
    conf_done(&list, &s);
}

static void bad_arguments_are_refused_with_words(void **state)
{
    (void)state;
    static const struct {
        char *argv[4];
        const char *words;
    } bad[] = {
        {{"x", "--max-step", "3", NULL}, "--max-step"},
        {{"x", "max_steps=3", NULL}, "max_steps=3"},
        {{"x", "--max-steps", NULL}, "a value is expected"},
        {{"x", "--max-steps=", NULL}, "a number"},
        {{"x", "--config", NULL}, "--config"},
        {{"x", "--config=", NULL}, "--config"},
        {{"x", "--", NULL}, "unknown setting"},
        {{"x", "--resume=perhaps", NULL}, "perhaps"},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct settings s = fresh();
        struct why why = {0};
        bool stop;
        char *argv[5] = {0};
        memcpy(argv, bad[i].argv, sizeof bad[i].argv);
        if (!args(&s, argv, &stop, &why) || !strstr(why.text, bad[i].words))
            fail_msg("%s %s: \"%s\"", argv[1], argv[2] ? argv[2] : "", why.text);
        conf_done(&list, &s);
    }
    char big[200];
    memset(big, 'a', sizeof big - 1);
    big[0] = big[1] = '-', big[sizeof big - 1] = 0;
    struct settings s = fresh();
    bool stop;
    assert_int_equal(args(&s, (char *[]){"x", big, NULL}, &stop, NULL), ERR_NOENT);
    conf_done(&list, &s);
}

static void a_value_reads_back(void **state)
{
    (void)state;
    struct settings s = fresh(), t = {0};
    assert_int_equal(conf_set(&list, &s, "learning_rate", "0.1", NULL), ERR_OK);
    assert_int_equal(conf_set(&list, &s, "mode", "eval", NULL), ERR_OK);
    assert_int_equal(conf_set(&list, &s, "model", "m", NULL), ERR_OK);
    assert_int_equal(conf_defaults(&list, &t, NULL), ERR_OK);
    for (uint32_t i = 0; i < list.n; i++) {
        char v[64];
        conf_get(&keys[i], &s, v, sizeof v);
        assert_int_equal(conf_set(&list, &t, keys[i].name, v, NULL), ERR_OK);
    }
    assert_true(t.rate == s.rate && t.mode == 2 && t.memory == s.memory && t.steps == s.steps &&
                t.resume == s.resume);
    assert_string_equal(t.model, "m");
    conf_done(&list, &s);
    conf_done(&list, &t);
}

static void help_names_every_setting(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    conf_help(&list, "what it is", f);
    fclose(f);
    for (uint32_t i = 0; i < list.n; i++) assert_non_null(strstr(text, keys[i].name));
    assert_non_null(strstr(text, "[grpo|sft|eval]"));
    assert_non_null(strstr(text, "may change while running"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_set_through_the_same_door),
        cmocka_unit_test(a_file_is_read_line_by_line),
        cmocka_unit_test(an_indented_line_does_not_go_on_with_the_last),
        cmocka_unit_test(a_long_value_is_not_cut),
        cmocka_unit_test(errors_name_file_line_key_value_and_bounds),
        cmocka_unit_test(the_first_error_is_told),
        cmocka_unit_test(a_nul_byte_is_no_end),
        cmocka_unit_test(units),
        cmocka_unit_test(the_command_line_wins_over_the_file),
        cmocka_unit_test(bad_arguments_are_refused_with_words),
        cmocka_unit_test(a_value_reads_back),
        cmocka_unit_test(help_names_every_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
