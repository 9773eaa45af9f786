// SPDX-License-Identifier: Apache-2.0
/* What people see: columns line up, numbers read easily, and a text from outside cannot reach into the terminal. */
#include "ctl/page.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static char *drawn;
static size_t drawn_n;

static struct page begin(unsigned width)
{
    free(drawn);
    drawn = NULL;
    struct page p = {.f = open_memstream(&drawn, &drawn_n), .width = width};
    assert_non_null(p.f);
    return p;
}

static void end(struct page *p, const char *want)
{
    fclose(p->f);
    assert_string_equal(drawn, want);
}

static void assert_clean(const char *in, size_t n, bool lines, const char *want)
{
    char *s = text_clean(span_of(in, n), lines);
    assert_non_null(s);
    assert_string_equal(s, want);
    free(s);
}

static void test_columns_line_up(void **state)
{
    (void)state;
    static const struct col col[] = {{"name"}, {"count", .right = true}, {"end"}};
    struct table t;
    struct page p = begin(0);
    table_init(&t, col, 3);
    table_add(&t, "a"), table_add(&t, "%d", 5), table_add(&t, "x");
    table_add(&t, "b\xc3\xa4r"), table_add(&t, "%d", 123456), table_add(&t, "%s", "yy");
    table_add(&t, "\xe6\xbc\xa2\xe5\xad\x97"), table_add(&t, "-"), table_add(&t, "%s", ""); /* two columns each */
    table_print(&t, &p);
    table_done(&t);
    end(&p, "name   count  end\n"
            "a          5  x\n"
            "b\xc3\xa4r   123456  yy\n"
            "\xe6\xbc\xa2\xe5\xad\x97       -  \n");
}

static void test_a_table_fits_the_terminal(void **state)
{
    (void)state;
    static const struct col col[] = {{"what", .flex = true}, {"n", .right = true}};
    struct table t;
    struct page p = begin(16);
    table_init(&t, col, 2);
    table_add(&t, "a rather long name"), table_add(&t, "42");
    table_print(&t, &p);
    table_done(&t);
    end(&p, "what           n\n"
            "a rather lo\xe2\x80\xa6  42\n");
    p = begin(0); /* not a terminal: nothing is cut */
    table_init(&t, col, 2);
    table_add(&t, "a rather long name"), table_add(&t, "42");
    table_print(&t, &p);
    table_done(&t);
    fclose(p.f);
    assert_non_null(strstr(drawn, "a rather long name"));
}

static void test_hostile_text_is_harmless(void **state)
{
    (void)state;
    assert_clean("\033[2Jhi\a\n\tx\r", 11, false, "\\x1b[2Jhi\\x07\\n\\tx\\r");
    assert_clean("a\n\tb\033", 5, true, "a\n\tb\\x1b");
    assert_clean("\xff\xc3(", 3, false, "\xef\xbf\xbd\xef\xbf\xbd(");
    assert_clean("\xc2\x9b" "31m", 5, false, "\\x9b31m");             /* CSI as one character */
    assert_clean("\xe2\x80\xae" "abc", 6, false, "\\u202eabc");        /* right-to-left override */
    assert_clean("a\0b", 3, false, "a\\x00b");
    assert_clean("na\xc3\xafve \xf0\x9f\x98\x80", 11, false, "na\xc3\xafve \xf0\x9f\x98\x80");
    struct page p = begin(0);
    page_pair(&p, "na\033me", "%s", "x\033]0;title\a");
    fclose(p.f);
    assert_null(strchr(drawn, '\033'));
    assert_null(strchr(drawn, '\a'));
}

static void test_long_texts_are_cut_and_say_so(void **state)
{
    (void)state;
    struct page p = begin(0);
    page_text(&p, "| ", span_str("one\ntwo\nthree\n"), 2);
    end(&p, "| one\n| two\n| ... 6 more characters (--full shows them)\n");
    p = begin(0);
    page_text(&p, "| ", span_str("one\ntwo\n"), 2);
    end(&p, "| one\n| two\n");
    p = begin(0);
    page_text(&p, "", span_str("no end"), 0);
    end(&p, "no end\n");
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        double s;
        const char *want;
    } row[] = {{0, "0 s"}, {0.00035, "350 us"}, {0.012, "12 ms"}, {0.9994, "999 ms"}, {0.9996, "1.0 s"}, {3.21, "3.2 s"}, {9.96, "10 s"},
               {59.9, "60 s"}, {59.96, "1 min 00 s"}, {125, "2 min 05 s"}, {3599.6, "1 h 00 min"}, {4800, "1 h 20 min"}, {273600, "3 d 4 h"},
               {-1, "-"}, {(double)NAN, "-"}, {(double)INFINITY, "-"}};
    struct human h;
    for (unsigned i = 0; i < sizeof row / sizeof *row; i++) assert_string_equal(human_time(row[i].s, &h), row[i].want);
}

static void test_counts_and_numbers(void **state)
{
    (void)state;
    struct human h;
    assert_string_equal(human_count(0, &h), "0");
    assert_string_equal(human_count(999, &h), "999");
    assert_string_equal(human_count(1000, &h), "1,000");
    assert_string_equal(human_count(999.9, &h), "1,000");
    assert_string_equal(human_count(-12005, &h), "-12,005");
    assert_string_equal(human_count(999999, &h), "999,999");
    assert_string_equal(human_count(1234567, &h), "1.23 M");
    assert_string_equal(human_count(5e9, &h), "5 G");
    assert_string_equal(human_count(1e300, &h), "1e+288 T");
    assert_string_equal(human_count((double)NAN, &h), "-");
    assert_string_equal(human_num(0.43124, &h), "0.4312");
    assert_string_equal(human_num(0, &h), "0");
    assert_string_equal(human_num((double)NAN, &h), "-");
}

static int tear_down(void **state)
{
    (void)state;
    free(drawn);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_columns_line_up),          cmocka_unit_test(test_a_table_fits_the_terminal),
                                       cmocka_unit_test(test_hostile_text_is_harmless), cmocka_unit_test(test_long_texts_are_cut_and_say_so),
                                       cmocka_unit_test(test_times),                    cmocka_unit_test(test_counts_and_numbers)};
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
