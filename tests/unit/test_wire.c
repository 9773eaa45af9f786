// SPDX-License-Identifier: Apache-2.0
/* The bounded reader reads what msgpack-c reads, and nothing past the end; counts are not believed. */
#include "proto/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/wire_oracle.h"

#define FRAME(...) span_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint32_t rnd(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 33) % n);
}

/* Bytes of the length behind a first byte, and bytes of the value that follow at once. */
static void tagged(uint8_t tag, unsigned *ret_len_bytes, unsigned *ret_body)
{
    static const uint8_t len_bytes[32] = {[0xc4 - 0xc0] = 1, 2, 4, 1, 2, 4, [0xd9 - 0xc0] = 1, 2, 4, 2, 4, 2, 4};
    static const uint8_t body[32] = {[0xca - 0xc0] = 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17};
    if (tag < 0xc0 || tag > 0xdf) return;
    *ret_len_bytes = len_bytes[tag - 0xc0];
    *ret_body = body[tag - 0xc0];
}

/* One random value, valid or nearly, with every first byte there is; counts stay small, so that msgpack-c may
 * be asked. */
static size_t gen(uint8_t *out, size_t cap, unsigned depth)
{
    size_t n = 0;
    uint8_t tag = (uint8_t)rnd(256);
    if (depth > 5 && ((tag & 0xf0) == 0x80 || (tag & 0xf0) == 0x90 || (tag >= 0xdc && tag <= 0xdf)))
        tag = 0x07;
    if (cap < 24) return 0;
    out[n++] = tag;
    unsigned len_bytes = 0, body = 0, items = 0;
    if ((tag & 0xf0) == 0x80) items = 2u * (tag & 15);
    if ((tag & 0xf0) == 0x90) items = tag & 15;
    if (tag >= 0xa0 && tag <= 0xbf) body = tag & 31;
    tagged(tag, &len_bytes, &body);
    if (len_bytes) {
        uint32_t v = rnd(20);
        for (unsigned i = 0; i < len_bytes; i++) out[n++] = (uint8_t)(i + 1 == len_bytes ? v : 0);
        if (tag == 0xdc || tag == 0xdd)
            items = v;
        else if (tag == 0xde || tag == 0xdf)
            items = 2 * v;
        else
            body = v + (tag >= 0xc7 && tag <= 0xc9);
    }
    for (unsigned i = 0; i < body && n < cap; i++) out[n++] = (uint8_t)rnd(256);
    for (unsigned i = 0; i < items; i++) n += gen(out + n, cap - n, depth + 1);
    return n;
}

static void agrees_with_msgpack_c(void **state)
{
    (void)state;
    unsigned agreed = 0, accepted = 0;
    for (int i = 0; i < 60000; i++) {
        uint8_t big[2048];
        size_t n = gen(big, sizeof big, 0);
        if (i % 3 == 0) n = rnd((uint32_t)n + 1); /* cut short */
        uint8_t *exact = malloc(n ? n : 1);       /* a sanitizer sees one byte too far */
        assert_non_null(exact);
        memcpy(exact, big, n);
        struct span f = span_of(exact, n);
        enum oracle say = oracle_compare(f, true);
        assert_int_not_equal(say, ORACLE_DIFFERS);
        agreed += say == ORACLE_AGREES;
        struct wire w = wire_of(f);
        accepted += wire_skip(&w) == ERR_OK;
        free(exact);
    }
    assert_true(agreed > 50000); /* the oracle did speak, both ways */
    assert_true(accepted > 10000 && accepted < 59000);
}

static void noise_is_refused_or_read_alike(void **state)
{
    (void)state;
    for (int i = 0; i < 60000; i++) {
        uint8_t b[48];
        size_t n = 1 + rnd(sizeof b);
        for (size_t k = 0; k < n; k++) b[k] = (uint8_t)rnd(256);
        assert_int_not_equal(oracle_compare(span_of(b, n), false), ORACLE_DIFFERS);
    }
}

static void counts_are_not_believed(void **state)
{
    (void)state;
    /* array32 and map32 of 2^32-1 items, str32 and bin32 of 4 GiB, in a handful of bytes */
    struct span lies[] = {
        FRAME(0xdd, 0xff, 0xff, 0xff, 0xff, 0x01),
        FRAME(0xdf, 0xff, 0xff, 0xff, 0xff, 0x01, 0x01),
        FRAME(0xdb, 0xff, 0xff, 0xff, 0xff, 'a'),
        FRAME(0xc6, 0xff, 0xff, 0xff, 0xff, 'a'),
        FRAME(0xc9, 0xff, 0xff, 0xff, 0xff, 1, 2),
        FRAME(0xdf, 0x80, 0x00, 0x00, 0x00, 0x01, 0x01),
        FRAME(0x92, 0x92, 0x01),
        FRAME(0xc1),
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct wire w = wire_of(lies[i]);
        assert_int_equal(wire_skip(&w), ERR_FORMAT);
    }
    uint32_t n = 77; /* also not by one who goes item by item and would size an array after the head */
    struct wire w = wire_of(lies[0]);
    assert_int_equal(wire_array(&w, &n), ERR_FORMAT);
    assert_int_equal(n, 77);
}

/* A megabyte of nested arrays: no recursion, no stack to overflow. */
static void depth_costs_nothing(void **state)
{
    (void)state;
    size_t n = 1 << 20;
    uint8_t *p = malloc(n);
    assert_non_null(p);
    memset(p, 0x91, n);
    struct wire w = wire_of(span_of(p, n));
    assert_int_equal(wire_skip(&w), ERR_FORMAT); /* the innermost has no item */
    p[n - 1] = 0xc0;
    w = wire_of(span_of(p, n));
    assert_int_equal(wire_skip(&w), ERR_OK);
    assert_int_equal(wire_left(&w), 0);
    free(p);
}

static void numbers_of_any_width_fit_or_are_refused(void **state)
{
    (void)state;
    uint64_t u64 = 77;
    uint32_t u32 = 77;
    struct wire w = wire_of(FRAME(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff));
    assert_int_equal(wire_u64(&w, &u64), ERR_OK);
    assert_true(u64 == UINT64_MAX);
    w = wire_of(FRAME(0xcf, 0, 0, 0, 0, 0, 0, 0, 5)); /* wide, small */
    assert_int_equal(wire_u32(&w, &u32), ERR_OK);
    assert_int_equal(u32, 5);
    w = wire_of(FRAME(0xd2, 0, 0, 1, 0)); /* signed form, not negative */
    assert_int_equal(wire_u32(&w, &u32), ERR_OK);
    assert_int_equal(u32, 256);
    w = wire_of(FRAME(0xcf, 0, 0, 0, 1, 0, 0, 0, 0));
    assert_int_equal(wire_u32(&w, &u32), ERR_RANGE);
    w = wire_of(FRAME(0xff));
    assert_int_equal(wire_u64(&w, &u64), ERR_RANGE);
    w = wire_of(FRAME(0xa1, '1'));
    assert_int_equal(wire_u64(&w, &u64), ERR_FORMAT);
    assert_int_equal(u32, 256); /* outputs untouched by failure */
    assert_true(u64 == UINT64_MAX);
}

static void types_are_not_mixed(void **state)
{
    (void)state;
    float f = 7;
    bool b = false;
    struct span s = {0};
    uint32_t n;
    struct wire w = wire_of(FRAME(0xcb, 0, 0, 0, 0, 0, 0, 0, 0)); /* float64 is no float32 */
    assert_int_equal(wire_f32(&w, &f), ERR_FORMAT);
    w = wire_of(FRAME(0xca, 0x7f, 0xc0, 0, 0)); /* NaN passes: users check */
    assert_int_equal(wire_f32(&w, &f), ERR_OK);
    assert_true(f != f);
    w = wire_of(FRAME(0x01));
    assert_int_equal(wire_bool(&w, &b), ERR_FORMAT);
    w = wire_of(FRAME(0xa1, 'x'));
    assert_int_equal(wire_bin(&w, &s), ERR_FORMAT);
    w = wire_of(FRAME(0xc4, 1, 'x'));
    assert_int_equal(wire_str(&w, &s), ERR_FORMAT);
    w = wire_of(FRAME(0x81, 1, 1));
    assert_int_equal(wire_array(&w, &n), ERR_FORMAT);
    w = wire_of(span_of(NULL, 0));
    assert_int_equal(wire_array(&w, &n), ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(agrees_with_msgpack_c),
        cmocka_unit_test(noise_is_refused_or_read_alike),
        cmocka_unit_test(counts_are_not_believed),
        cmocka_unit_test(depth_costs_nothing),
        cmocka_unit_test(numbers_of_any_width_fit_or_are_refused),
        cmocka_unit_test(types_are_not_mixed),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
