// SPDX-License-Identifier: Apache-2.0
/* Pairs of answers from GSM8K and MATH-500, judged by math-verify: we say the same, or the opposite where the table says why.
 * make_answers.py made the table. */
#include "common/reward/reward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const char *table;

/* The next field of a line, up to a tab or the end. */
static struct span field(char **p)
{
    char *from = *p;
    *p += strcspn(*p, "\t\n");
    const struct span s = span_of(from, (size_t)(*p - from));
    if (**p) ++*p;
    return s;
}

static void we_agree_with_math_verify(void **state)
{
    (void)state;
    char line[1024];
    unsigned n = 0, n_equal = 0, n_against = 0, n_wrong = 0;
    FILE *f = fopen(table, "re");
    if (!f) fail_msg("%s: cannot be read", table);
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#') continue;
        char *p = line;
        const struct span a = field(&p), b = field(&p), verdict = field(&p), why = field(&p);
        if (verdict.n != 1) fail_msg("%s: \"%s\" is no row of it", table, line);
        const bool there = *verdict.p == '1', want = there != (why.n > 0);
        n++, n_equal += want, n_against += why.n > 0;
        if (answer_equal(a, b) == want && answer_equal(b, a) == want) continue;
        n_wrong++;
        print_error("%.*s and %.*s: should be %s\n", (int)a.n, (const char *)a.p, (int)b.n, (const char *)b.p, want ? "equal" : "different");
    }
    fclose(f);
    assert_int_equal(n_wrong, 0);
    assert_true(n > 500 && n_equal > 150 && n_against < 30);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(we_agree_with_math_verify)};
    if (argc != 2) return fprintf(stderr, "usage: %s answers.tsv\n", argv[0]), 2;
    table = argv[1];
    return cmocka_run_group_tests_name("golden_answers", tests, NULL, NULL);
}
