// SPDX-License-Identifier: Apache-2.0
/* An error always has words, words are never cut in a way that lies, and success leaves them alone. */
#include "common/base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void every_error_has_words(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_COUNT; e++) assert_true(err_str((enum err)e)[0] != 0);
    assert_string_equal(err_str((enum err)9999), "unknown error");
}

static void words_are_said_and_prefixed(void **state)
{
    (void)state;
    struct why why = {0};
    assert_int_equal(why_set(&why, ERR_RANGE, "%d tokens, at most %d", 9, 8), ERR_RANGE);
    assert_int_equal(why_add(&why, ERR_RANGE, "%s", "job 7"), ERR_RANGE);
    assert_string_equal(why.text, "job 7: 9 tokens, at most 8");
    struct why silent = {0};
    why_add(&silent, ERR_NOENT, "config.json");
    assert_string_equal(silent.text, "config.json: not found");
    assert_int_equal(why_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
}

static void long_words_are_cut_not_overrun(void **state)
{
    (void)state;
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    struct why why = {0};
    why_set(&why, ERR_IO, "%s", big);
    assert_int_equal(strlen(why.text), sizeof why.text - 1);
    why_add(&why, ERR_IO, "%s", big);
    assert_int_equal(strlen(why.text), sizeof why.text - 1);
}

static void errno_maps_to_the_nearest(void **state)
{
    (void)state;
    assert_int_equal(err_from_errno(ENOSPC), ERR_NOSPACE);
    assert_int_equal(err_from_errno(EACCES), ERR_ACCESS);
    assert_int_equal(err_from_errno(0), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(every_error_has_words),
        cmocka_unit_test(words_are_said_and_prefixed),
        cmocka_unit_test(long_words_are_cut_not_overrun),
        cmocka_unit_test(errno_maps_to_the_nearest),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
