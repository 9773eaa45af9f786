// SPDX-License-Identifier: Apache-2.0
/* A right answer is paid however it is written, a wrong one never, and no text is too hostile to score. */
#include "common/reward/reward.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static double score(const char *name, const char *completion, const char *gold)
{
    const struct reward *r = reward_find(span_str(name));
    assert_non_null(r);
    const struct reward_in in = {.completion = span_str(completion), .gold = span_str(gold), .n_tok = 10};
    return r->score(&in);
}

static void the_table_is_found_by_name(void **state)
{
    (void)state;
    unsigned n = 0;
    for (const struct reward *r = reward_all(); r->name; r++, n++) {
        assert_ptr_equal(reward_find(span_str(r->name)), r);
        assert_true(r->score && strlen(r->help) > 10);
    }
    assert_true(n >= 4);
    assert_non_null(reward_find(span_str("accuracy")));
    assert_non_null(reward_find(span_str("format")));
    assert_null(reward_find(span_str("accurac")));
    assert_null(reward_find(span_str("accuracy ")));
    assert_null(reward_find(span_str("")));
}

/* NULL: there is no answer. */
static const struct {
    const char *text, *answer;
} extracts[] = {
    {"so it is \\boxed{42}.", "42"},
    {"\\boxed{1} no, \\boxed{2}", "2"},
    {"\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"},
    {"\\boxed{\\frac{1}{2}} and {more} text", "\\frac{1}{2}"},
    {"\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"},
    {"\\boxed{ {1} {2} }", "{1} {2}"},
    {"\\boxed {7}", "7"},
    {"\\fbox{7}", "7"},
    {"$\\boxed{7}$ } } }", "7"},
    {"{ { \\boxed{7} {", "7"},
    {"\\boxed{7} then \\boxed{8", "7"}, /* cut off: the last whole one */
    {"\\boxed{8", NULL},
    {"\\boxed{8\\}", NULL},
    {"\\boxed{8\\\\}", "8\\\\"}, /* a line break, then the brace */
    {"\\boxed{\\boxed{3}}", "3"},
    {"\\boxed{}", ""},
    {"\\unboxed{3}", NULL},
    {"boxed{3}", NULL},
    {"#### 18", "18"},
    {"4+5=9\n#### 18\n", "18"},
    {"#### 1\n#### 2\nand so on", "2"},
    {"####  $1,200. \n", "1,200"},
    {"####18", "18"},
    {"#### **5**", "5"},
    {"#### 3 \\boxed{4}", "4"}, /* a box goes before a mark */
    {"\\boxed{4} #### 3", "4"},
    {"### 3", NULL},
    {"####", ""},
    {"the answer is 18", NULL},
    {"", NULL},
};

static void the_final_answer_is_found(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof extracts / sizeof *extracts; i++) {
        struct span got = {0};
        const bool some = answer_extract(span_str(extracts[i].text), &got);
        if (some != (extracts[i].answer != NULL) || (some && !span_eq_str(got, extracts[i].answer)))
            fail_msg("\"%s\": got \"%.*s\"", extracts[i].text, (int)got.n, (const char *)got.p);
    }
}

/* Each line: forms of one answer, all equal; no line equals another. */
static const char *const classes[][24] = {
    {"5", "05", "5.0", "5.", " 5 ", "+5", "$5", "\\$5", "$5$", "{5}", "(5)", "\\text{5}", "\\(5\\)", "5^\\circ", "5^{\\circ}", "5\\degree", "x=5",
     "5\\text{ cm}", "5 cm^2", "10/2"},
    {"-5", "- 5", "\xe2\x88\x92" "5", "-$5", "$-5", "(-5)", "-5.000", "\\frac{-10}{2}", "-\\frac{10}{2}"},
    {"0", "-0", "0.0", "0/3", "00", "0%"},
    {"1234567", "1,234,567", "1{,}234{,}567", "1 234 567", "1\\,234\\,567", "1,\\!234,\\!567", "1,\\! 234,\\!567", "\\$1,234,567.00", "1234567 dollars",
     "1.234567e6", "1.234567 \\times 10^{6}", "1.234567 \xc3\x97 10^6"},
    {"1/2", "0.5", ".5", "\\frac{1}{2}", "\\frac12", "\\dfrac{1}{2}", "\\tfrac 1 2", "50%", "50\\%", "5e-1", "2/4", "(1)/(2)", "{1}/{2}",
     "\\frac{\\frac{1}{4}}{\\frac12}", "\\left(\\frac{1}{2}\\right)"},
    {"7/2", "3.5", "3\\frac{1}{2}", "3 1/2", "3\\frac12", "3 \\dfrac{1}{2}", "350%"},
    {"-7/2", "-3.5", "-3\\frac{1}{2}", "-3 1/2"},
    {"1/3", "0.\\overline{3}", "\\frac{1}{3}", "2/6", "\\frac{1,000}{3,000}", "0.3\\overline{33}"},
    {"0.3333333333333333", "3333333333333333/10000000000000000"},
    {"0.33333333333333331"},
    {"870000000", "8.7 \\times 10^{8}", "8.7\\cdot 10^8", "8.7E8", "870,000,000"},
    {"1,23"},
    {"12,34"},
    {"0,123"},
    {"1 23"},
    {"3\\frac{3}{2}"}, /* a product or a sum: nobody knows */
    {"1/0"},
    {"\\frac{0}{0}"},
    {"2+3"}, /* a sum is the question, not the answer */
    {"2^3"},
    {"2 \\cdot 4"},
    {"5x", "5 x"},
    {"5 million", "5\\text{ million}"},
    {"4.5", "9/2", "4\\frac12"},
    {"1, 234", "234, 1"}, /* two numbers; 1,234 is one */
    {"5\\text{ or }6", "5 or 6"},
    {"\\text{Monday}", "Monday", "\\mathrm{Monday}", " Monday."},
    {"\\text{(C)}", "C", "(C)", "\\textbf{(C)}", "\\text{C}"},
    {"c", "(c)"}, /* a variable; a word may be written big, a letter not */
    {"even", "Even", "\\text{EVEN}"},
    {"event"},
    {"(1,234)", "(1, 234)", "\\left(1, 234\\right)", "(1.0, 468/2)"},
    {"(1234)", "1234", "1,234"},
    {"(3, \\frac{\\pi}{2})", "\\left( 3, \\dfrac{\\pi}{2} \\right)", "(3,\\frac\\pi2)"},
    {"[0,1)", "[0, 1)", "\\left[0,1\\right)", "x \\in [0,1)"},
    {"[0,1]"},
    {"[1,0]"},
    {"1,2,3", "3, 2, 1", "\\{1,2,3\\}", "\\{ 2, 1, 3 \\}", "x=1, x=2, x=3"},
    {"1,2"},
    {"1,2,2", "2,1,2"},
    {"1,1,2"},
    {"(1,2),(3,4)", "(3,4), (1,2)", "\\{(1,2),(3,\\frac{8}{2})\\}"},
    {"(2,1),(3,4)"},
    {"((1,2),(3,4))", "((1,2),(3,4.0))"},
    {"((3,4),(1,2))"},
    {"(1,2"},
    {"1,2)"},
    {"y = 2x+3", "2x + 3"},
    {"x^2+1", "x^{2} + 1", "$x^2+1$"},
    {"2\\sqrt{3}", "2\\sqrt 3", "2 \\sqrt{3}"},
    {"\\frac{\\sqrt{3}}{2}", "\\dfrac{\\sqrt{3}}{2}"},
    {"\\frac{\\pi}{11}"},
    {"\\frac{11}{\\pi}"},
    {"1e9999999"},
    {"1e9999998"},
    {"--5"},
    {"5-"},
    {"5,"},
    {"%"},
    {"-"},
    {"\\frac"},
    {"\\frac{1}"},
    {"{", "\\text{{"},
    {"}"},
    {""},
};

static void answers_are_equal_as_exact_numbers(void **state)
{
    (void)state;
    const unsigned n = sizeof classes / sizeof *classes;
    for (unsigned i = 0; i < n * n; i++)
        for (const char *const *a = classes[i / n]; *a; a++)
            for (const char *const *b = classes[i % n]; *b; b++)
                if (answer_equal(span_str(*a), span_str(*b)) != (i / n == i % n)) fail_msg("\"%s\" and \"%s\"", *a, *b);
}

static void accuracy_pays_for_the_gold_answer(void **state)
{
    (void)state;
    assert_true(score("accuracy", "thus \\boxed{18}", "18") == 1.0);
    assert_true(score("accuracy", "5+7=12 1+2+0=3\n#### 32", "32") == 1.0);
    assert_true(score("accuracy", "\\boxed{\\$1,200}", "She has 1200.\n#### 1,200") == 1.0); /* a whole solution as gold */
    assert_true(score("accuracy", "\\boxed{0.5}", "so $\\boxed{\\frac{1}{2}}$.") == 1.0);
    assert_true(score("accuracy", "\\boxed{19}", "18") == 0.0);
    assert_true(score("accuracy", "the answer is 18", "18") == 0.0); /* not marked as the answer */
    assert_true(score("accuracy", "\\boxed{18} or \\boxed{19}", "18") == 0.0);
    assert_true(score("accuracy", "\\boxed{18", "18") == 0.0);
    assert_true(score("accuracy", "\\boxed{16-3+5}", "18") == 0.0);
    assert_true(score("accuracy", "\\boxed{}", "") == 0.0); /* no gold, no pay */
    assert_true(score("accuracy", "", "18") == 0.0);
}

static void format_wants_one_end_of_thought(void **state)
{
    (void)state;
    assert_true(score("format", "hm\n</think>\n4", "") == 1.0);
    assert_true(score("format", "<think>\nhm\n</think>\n<answer> 4 </answer>", "") == 1.0);
    assert_true(score("format", "\n</think>\n", "") == 1.0);
    assert_true(score("format", "hm\n</think>", "") == 0.0);
    assert_true(score("format", "hm</think>\n4", "") == 0.0);
    assert_true(score("format", "a\n</think>\nb\n</think>\nc", "") == 0.0);
    assert_true(score("format", "a\n</think>\n</think>\nc", "") == 1.0); /* as str.count: they may not share a line end */
    assert_true(score("format", "", "") == 0.0);
}

/* A completion of n characters that ends in its answer. */
static char *padded(size_t n, const char *character)
{
    static const char tail[] = "\\boxed{7}";
    const size_t k = strlen(character);
    char *s = malloc(n * k + sizeof tail), *p = s;
    assert_non_null(s);
    for (size_t i = sizeof tail - 1; i < n; i++) p = mempcpy(p, character, k);
    memcpy(p, tail, sizeof tail);
    return s;
}

/* Values of Open-RS's cosine_scaled_reward with the limits of its third experiment. */
static void cosine_is_as_open_rs_has_it(void **state)
{
    (void)state;
    static const struct {
        size_t chars;
        double right, wrong;
    } t[] = {{896, 0.9268, -0.0732}, {1792, 0.75, -0.25}, {2688, 0.5732, -0.4268}, {3584, 0.5, -0.5},
             {5376, 0.75, -0.25},    {7168, 1, 0},        {10000, 0.5524, -0.4476}};
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
        for (unsigned wide = 0; wide < 2; wide++) { /* characters, not bytes */
            char *s = padded(t[i].chars, wide ? "\xe2\x82\xac" : "a");
            assert_true(fabs(score("cosine", s, "7") - t[i].right) < 5e-5);
            assert_true(fabs(score("cosine", s, "8") - t[i].wrong) < 5e-5);
            free(s);
        }
    assert_true(score("cosine", "", "8") == 0.0);
}

static void cosine_is_as_the_paper_says(void **state)
{
    (void)state;
    const struct reward *r = reward_find(span_str("cosine_paper"));
    struct reward_in in = {.completion = span_str("\\boxed{7}"), .gold = span_str("7")};
    static const struct {
        uint32_t n_tok;
        double right, wrong;
    } t[] = {{0, 1, -0.5}, {1792, 0.75, -0.25}, {3584, 0.5, 0}, {7168, 0.5, 0}};
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        in.n_tok = t[i].n_tok;
        in.gold = span_str("7");
        assert_true(fabs(r->score(&in) - t[i].right) < 1e-12);
        in.gold = span_str("8");
        assert_true(fabs(r->score(&in) - t[i].wrong) < 1e-12);
    }
}

/* n copies of unit between head and tail. */
static char *repeat(const char *head, const char *unit, size_t n, const char *tail)
{
    const size_t k = strlen(unit);
    char *s = malloc(strlen(head) + n * k + strlen(tail) + 1), *p = s;
    assert_non_null(s);
    p = stpcpy(p, head);
    for (size_t i = 0; i < n; i++) p = mempcpy(p, unit, k);
    strcpy(p, tail);
    return s;
}

static void hostile_texts_take_linear_time(void **state)
{
    (void)state;
    static const struct {
        const char *head, *unit, *tail;
    } t[] = {
        {"\\boxed", "{", ""},       {"", "}", ""},        {"\\boxed{", "\\", "}"}, {"", "\\boxed{", ""},       {"", "\\boxed{", "}"},
        {"\\boxed", "{", "{}"},     {"", "{}", ""},       {"\\boxed{", "9", "}"},  {"\\boxed{", "9,", "}"},    {"", "#", ""},
        {"", "####\n", ""},         {"\\boxed{", " ", "}"}, {"\\boxed{", "\\text{", "}"}, {"\\boxed{", "\\frac", "}"}, {"\\boxed{", "1e", "}"},
        {"", "\n</think>\n", ""},   {"\\boxed{", "$", "}"}, {"\\boxed{", "{1}", "}"}, {"\\boxed{1", " {", "}"},    {"\\boxed{", "*", "}"},
        {"\\boxed{", "(", "}"}, {"\\boxed{", "1,", "}"}, {"\\boxed{", "a", "}"},
    };
    const clock_t t0 = clock();
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        char *s = repeat(t[i].head, t[i].unit, ((size_t)1 << 20) / strlen(t[i].unit), t[i].tail);
        assert_in_range(score("accuracy", s, s), 0, 1);
        assert_in_range(score("format", s, s), 0, 1);
        free(s);
    }
    assert_true((double)(clock() - t0) / CLOCKS_PER_SEC < 60); /* a square of 2^20 would take hours */
}

static void deep_and_huge_numbers_compare_as_text(void **state)
{
    (void)state;
    char *deep = repeat("", "{", 40, "5"), *d5 = repeat(deep, "}", 40, ""), *long_a = repeat("", "9", 1001, ""), *long_b = repeat("0", "9", 1001, "");
    assert_false(answer_equal(span_str(d5), span_str("5")));
    assert_true(answer_equal(span_str(d5), span_str(d5)));
    assert_true(answer_equal(span_str(long_a), span_str(long_a)));
    assert_false(answer_equal(span_str(long_a), span_str(long_b)));
    free(deep), free(d5), free(long_a), free(long_b);
    assert_true(answer_equal(span_str("1e1000"), span_str("10e999")));
    assert_false(answer_equal(span_str("1e1001"), span_str("10e1000")));
    assert_false(answer_equal(span_str("1e99999999999999999999"), span_str("5")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_found_by_name),
        cmocka_unit_test(the_final_answer_is_found),
        cmocka_unit_test(answers_are_equal_as_exact_numbers),
        cmocka_unit_test(accuracy_pays_for_the_gold_answer),
        cmocka_unit_test(format_wants_one_end_of_thought),
        cmocka_unit_test(cosine_is_as_open_rs_has_it),
        cmocka_unit_test(cosine_is_as_the_paper_says),
        cmocka_unit_test(hostile_texts_take_linear_time),
        cmocka_unit_test(deep_and_huge_numbers_compare_as_text),
    };
    return cmocka_run_group_tests_name("reward", tests, NULL, NULL);
}
