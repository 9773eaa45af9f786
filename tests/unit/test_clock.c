// SPDX-License-Identifier: Apache-2.0
/* Time goes forward in nanoseconds; and arrays placed in one block do not touch. */
#include "common/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "common/base/place.h"

static void time_goes_forward_in_nanoseconds(void **state)
{
    (void)state;
    const struct timespec ms = {0, 5000000};
    const int64_t t0 = clock_now_ns();
    nanosleep(&ms, NULL);
    const int64_t t1 = clock_now_ns();
    assert_true(t1 - t0 >= 5 * NS_PER_MS && t1 - t0 < 60 * NS_PER_S);
    assert_true(clock_s(1500 * NS_PER_MS) > 1.4999 && clock_s(1500 * NS_PER_MS) < 1.5001);
    const int64_t now = (int64_t)time(NULL);
    assert_true(llabs(clock_wall_ns() / NS_PER_S - now) <= 1);
}

struct laid {
    uint8_t *a, *b, *c;
};

static uint64_t lay(void *base, struct laid *x)
{
    struct placer p = {.base = base};
    x->a = place(&p, 1);
    x->b = place(&p, 0);
    x->c = place(&p, 65);
    return p.used;
}

static void what_is_counted_is_what_is_laid_out(void **state)
{
    (void)state;
    struct laid x;
    const uint64_t n = lay(NULL, &x);
    assert_int_equal(n, 64 + 0 + 128);
    assert_null(x.a);
    void *block = aligned_alloc(64, n);
    assert_int_equal(lay(block, &x), n);
    assert_ptr_equal(x.a, block);
    assert_ptr_equal(x.b, x.a + 64);
    assert_ptr_equal(x.c, x.b);
    memset(x.c, 1, 65);
    assert_true((uintptr_t)x.c % 64 == 0);
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(time_goes_forward_in_nanoseconds),
                                       cmocka_unit_test(what_is_counted_is_what_is_laid_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
