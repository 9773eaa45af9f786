// SPDX-License-Identifier: Apache-2.0
/* The generator is Philox4x32-10: the known answers that its authors publish (Random123, tests/kat_vectors).
 */
#include "common/base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void known_answers(void **state)
{
    (void)state;
    static const struct {
        uint64_t key, lo, hi;
        uint32_t want[4];
    } kat[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        /* counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0 */
        {0x299f31d0a4093822,
         0x85a308d3243f6a88,
         0x0370734413198a2e,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (unsigned i = 0; i < sizeof kat / sizeof *kat; i++) {
        const struct rng4 r = rng_philox(kat[i].key, kat[i].lo, kat[i].hi);
        for (int k = 0; k < 4; k++) assert_int_equal(r.v[k], kat[i].want[k]);
    }
}

static void a_unit_is_never_0_and_never_1(void **state)
{
    (void)state;
    static const uint32_t edge[] = {0,          255,        256,        0x7fffffff, 0x80000000,
                                    0xfffffe00, 0xfffffeff, 0xffffff00, 0xffffffff};
    float last = 0;
    for (unsigned i = 0; i < sizeof edge / sizeof *edge; i++) {
        const float u = rng_unit(edge[i]);
        assert_true(u > 0 && u < 1);
        assert_true(u >= last);
        last = u;
    }
}

static void draws_are_keyed_by_everything_that_names_them(void **state)
{
    (void)state;
    const float u = rng_token(1, 2, 3, 4);
    assert_true(u == rng_token(1, 2, 3, 4));
    assert_true(u != rng_token(2, 2, 3, 4) && u != rng_token(1, 3, 3, 4) && u != rng_token(1, 2, 4, 4) &&
                u != rng_token(1, 2, 3, 5));
    assert_true(rng_token(1, 2, 3, 4) != rng_token(1, 2, 4, 3));
    assert_true(rng_u64(1, 2, 3) == rng_u64(1, 2, 3));
    assert_true(rng_u64(1, 2, 3) != rng_u64(1, 3, 2));
}

/* Mean 1/2 and variance 1/12, each within five standard errors; a fixed sequence, so this cannot flicker. */
static void units_are_even(void **state)
{
    (void)state;
    const uint32_t n = 100000;
    double sum = 0, sq = 0;
    for (uint32_t i = 0; i < n; i++) {
        const double u = rng_token(9, 1, i >> 8, i & 255);
        sum += u;
        sq += (u - 0.5) * (u - 0.5);
    }
    assert_true(fabs(sum / n - 0.5) < 5 * sqrt(1.0 / 12 / n));
    assert_true(fabs(sq / n - 1.0 / 12) < 5 * sqrt(1.0 / 180 / n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(a_unit_is_never_0_and_never_1),
        cmocka_unit_test(draws_are_keyed_by_everything_that_names_them),
        cmocka_unit_test(units_are_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
