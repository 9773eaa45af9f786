// SPDX-License-Identifier: Apache-2.0
/* A row is what its line says, a bad line is named, and the order of draws is a function of seed and number
 * alone. */
#include "learner/prompts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "tests/unit/tok_rig.h"

static struct tokenizer *tok;

static int set_up(void **state)
{
    (void)state;
    tok = rig_tokenizer();
    return tok ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    tokenizer_close(tok);
    return 0;
}

static struct prompts parse(const char *text, uint32_t limit, bool need_solution, uint64_t seed)
{
    struct prompts p;
    struct why why = {0};
    if (prompts_parse(span_str(text), "d.jsonl", tok, 64, limit, need_solution, seed, &p, &why))
        fail_msg("%s", why.text);
    return p;
}

static void columns_have_the_names_that_data_sets_use(void **state)
{
    (void)state;
    struct prompts p = parse("{\"prompt\": \"1+1=\", \"answer\": \"2\", \"solution\": \"so 2\"}\n"
                             "{\"problem\": \"a\", \"answer\": 7}\r\n"
                             "\n  \t \n"
                             "{\"question\": \"b\", \"solution\": 1.5, \"prompt\": null}",
                             0, true, 1);
    assert_int_equal(p.n, 3);
    assert_string_equal(p.row[0].prompt, "1+1=");
    assert_string_equal(p.row[0].answer, "2");
    assert_string_equal(p.row[0].solution, "so 2");
    assert_int_equal(p.row[0].n_tok, 4);
    assert_int_equal(p.row[0].n_sol, 4);
    assert_string_equal(p.row[1].prompt, "a");
    assert_string_equal(p.row[1].answer, "7");
    assert_string_equal(p.row[1].solution, "7"); /* a row may have one of the two */
    assert_string_equal(p.row[2].prompt, "b");
    assert_string_equal(p.row[2].answer, "1.5");
    assert_int_equal(p.row[2].line, 5);
    prompts_close(&p);
    prompts_close(&p); /* twice is once */
}

static void rows_are_limited(void **state)
{
    (void)state;
    struct prompts p =
        parse("{\"prompt\": \"a\", \"answer\": \"1\"}\n{\"prompt\": \"b\", \"answer\": \"1\"}\nnot looked at",
              2, false, 1);
    assert_int_equal(p.n, 2);
    assert_null(p.row[0].sol);
    prompts_close(&p);
}

static void assert_refused(const char *text, size_t n, enum err want, const char *line, const char *words)
{
    struct prompts p = {0};
    struct why why = {0};
    const enum err e = prompts_parse(span_of(text, n), "d.jsonl", tok, 8, 0, true, 1, &p, &why);
    if (e != want || !strstr(why.text, line) || !strstr(why.text, words) || p.row)
        fail_msg("\"%s\": %s, \"%s\"", text, err_str(e), why.text);
}

static void a_bad_line_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err e;
        const char *line, *words;
    } bad[] = {
        {"", ERR_FORMAT, "d.jsonl: ", "no rows"},
        {"\n \n", ERR_FORMAT, "d.jsonl: ", "no rows"},
        {"\n{\"prompt\": \"a\"", ERR_FORMAT, "d.jsonl:2: ", ""},
        {"[1]", ERR_FORMAT, "d.jsonl:1: ", "not a JSON object"},
        {"{} x", ERR_FORMAT, "d.jsonl:1: ", ""},
        {"{\"answer\": \"1\"}", ERR_FORMAT, "d.jsonl:1: ", "no prompt (or problem, question)"},
        {"{\"prompt\": \"\", \"answer\": \"1\"}", ERR_FORMAT, "d.jsonl:1: ", "no prompt"},
        {"{\"prompt\": [\"a\"], \"answer\": \"1\"}", ERR_FORMAT, "d.jsonl:1: ", "no prompt"},
        {"{\"prompt\": \"a\"}", ERR_FORMAT, "d.jsonl:1: ", "no answer (or solution)"},
        {"{\"prompt\": \"a\", \"answer\": \"1\"}\n{\"prompt\": \"123456789\", \"answer\": \"1\"}", ERR_RANGE,
         "d.jsonl:2: ", "9 tokens, max_prompt_length is 8"},
        {"{\"prompt\": \"\xff\", \"answer\": \"1\"}", ERR_FORMAT, "d.jsonl:1: ", ""},
        {"{\"prompt\": \"\\ud800\", \"answer\": \"1\"}", ERR_FORMAT, "d.jsonl:1: ", ""},
        {"{\"prompt\": \"a\\u0000b\", \"answer\": \"1\"}", ERR_FORMAT, "d.jsonl:1: ", ""},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(bad[i].text, strlen(bad[i].text), bad[i].e, bad[i].line, bad[i].words);
    assert_refused("{\"prompt\": \"a\0b\"}", 17, ERR_FORMAT, "d.jsonl:1: ", "");
}

static void deep_nesting_is_no_stack_overflow(void **state)
{
    (void)state;
    char *text = malloc(1 << 20);
    memset(text, '[', 1 << 20);
    assert_refused(text, 1 << 20, ERR_FORMAT, "d.jsonl:1: ", "");
    free(text);
}

/* A file of line ends only must cost one look at each byte. */
static void many_empty_lines_cost_little(void **state)
{
    (void)state;
    const size_t n = 2 << 20;
    char *text = malloc(n);
    memset(text, '\n', n);
    const int64_t t0 = clock_now_ns();
    assert_refused(text, n, ERR_FORMAT, "d.jsonl: ", "no rows");
    assert_true(clock_now_ns() - t0 < 20 * NS_PER_S);
    free(text);
}

static struct prompts many(uint32_t n, uint64_t seed)
{
    char *text = malloc(n * 40u);
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++)
        at += (size_t)sprintf(text + at, "{\"prompt\": \"%u\", \"answer\": \"%u\"}\n", i, i);
    struct prompts p = parse(text, 0, false, seed);
    free(text);
    return p;
}

static void each_epoch_draws_each_row_once_in_an_order_of_its_own(void **state)
{
    (void)state;
    struct prompts p = many(50, 7);
    uint32_t order[3][50], moved = 0;
    for (int e = 0; e < 3; e++) {
        uint64_t seen = 0;
        for (uint32_t i = 0; i < 50; i++) {
            order[e][i] = prompts_draw(&p, (uint64_t)e * 50 + i);
            assert_in_range(order[e][i], 0, 49);
            seen |= UINT64_C(1) << order[e][i];
            moved += order[e][i] != i;
        }
        assert_int_equal(seen, (UINT64_C(1) << 50) - 1);
    }
    assert_memory_not_equal(order[0], order[1], sizeof order[0]);
    assert_memory_not_equal(order[1], order[2], sizeof order[0]);
    assert_true(moved > 100);
    prompts_close(&p);
}

/* A resumed run begins anywhere; another seed is another order. */
static void a_draw_depends_on_seed_and_number_only(void **state)
{
    (void)state;
    struct prompts a = many(20, 7), b = many(20, 7), c = many(20, 8);
    uint32_t n_other = 0;
    for (uint64_t i = 0; i < 200; i++) {
        const uint64_t k = i * 77 % 1000 + (i % 3) * UINT64_C(1000000000000);
        const uint32_t row = prompts_draw(&a, k);
        prompts_draw(&b, i);
        assert_int_equal(prompts_draw(&b, k), row);
        n_other += prompts_draw(&c, k) != row;
    }
    assert_true(n_other > 100);
    prompts_close(&a), prompts_close(&b), prompts_close(&c);
}

static void one_row_is_drawn_for_ever(void **state)
{
    (void)state;
    struct prompts p = many(1, 7);
    for (uint64_t i = 0; i < 5; i++) assert_int_equal(prompts_draw(&p, i), 0);
    prompts_close(&p);
}

static void a_file_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct prompts p;
    struct why why = {0};
    assert_int_equal(prompts_open("/no/such/data.jsonl", tok, 8, 0, false, 1, &p, &why), ERR_NOENT);
    assert_non_null(strstr(why.text, "/no/such/data.jsonl"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_have_the_names_that_data_sets_use),
        cmocka_unit_test(rows_are_limited),
        cmocka_unit_test(a_bad_line_is_named),
        cmocka_unit_test(deep_nesting_is_no_stack_overflow),
        cmocka_unit_test(many_empty_lines_cost_little),
        cmocka_unit_test(each_epoch_draws_each_row_once_in_an_order_of_its_own),
        cmocka_unit_test(a_draw_depends_on_seed_and_number_only),
        cmocka_unit_test(one_row_is_drawn_for_ever),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
