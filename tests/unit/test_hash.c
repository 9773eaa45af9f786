// SPDX-License-Identifier: Apache-2.0
/* xxh3-128 as the xxhsum tool prints it (-H2), and a fold that knows order. */
#include "common/base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void as_the_tool_prints_it(void **state)
{
    (void)state;
    char hex[33];
    hash_hex(hash_bytes("", 0), hex);
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
    hash_hex(hash_bytes(NULL, 0), hex);
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
    hash_hex(hash_bytes("grpod\n", 6), hex);
    assert_string_equal(hex, "6afc0bd80918ce6788575cde49071ace");
}

static void one_bit_and_order_matter(void **state)
{
    (void)state;
    uint8_t a[4096] = {0}, b[4096] = {0};
    b[4095] ^= 1;
    const struct hash128 x = hash_bytes(a, sizeof a), y = hash_bytes(b, sizeof b);
    assert_false(hash_eq(x, y));
    assert_true(hash_eq(x, hash_bytes(a, sizeof a)));
    assert_false(hash_eq(hash_mix(x, y), hash_mix(y, x)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_the_tool_prints_it),
                                       cmocka_unit_test(one_bit_and_order_matter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
