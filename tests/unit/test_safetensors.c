// SPDX-License-Identifier: Apache-2.0
/* What we write we read back; every way a file can lie is refused with words that name the file and the
 * tensor. */
#include "common/model/safetensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/bf16.h"
#include "common/base/file.h"

/* A file from its header and n_data zero bytes; *ret owns the bytes. n_said: the header length that the first
 * 8 bytes claim. */
static struct span forge(const char *header, size_t n_data, uint64_t n_said)
{
    const size_t n = strlen(header);
    uint8_t *p = calloc(1, 8 + n + n_data);
    assert_non_null(p);
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(n_said >> (8 * i));
    memcpy(p + 8, header, n);
    return span_of(p, 8 + n + n_data);
}

static enum err try_bytes(struct span bytes, struct why *why)
{
    struct safetensors f = {0};
    enum err e = safetensors_parse(bytes, "evil.safetensors", &f, why);
    if (!e) safetensors_close(&f);
    free((void *)bytes.p);
    return e;
}

static void accepted(const char *header, size_t n_data)
{
    struct why why = {0};
    if (try_bytes(forge(header, n_data, strlen(header)), &why)) fail_msg("%s: %s", header, why.text);
}

static void refused(const char *header, size_t n_data, const char *word)
{
    struct why why = {0};
    enum err e = try_bytes(forge(header, n_data, strlen(header)), &why);
    if (e != ERR_FORMAT || !strstr(why.text, "evil.safetensors") || !strstr(why.text, word))
        fail_msg("%s with %zu bytes: %s, said: %s", header, n_data, err_str(e), why.text);
}

#define T(name, dtype, shape, begin, end)                                                                    \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void well_formed_files_are_accepted(void **state)
{
    (void)state;
    accepted("{" T("a", "F32", "[2,3]", 0, 24) "}", 24);
    accepted("{" T("a", "F32", "[2,3]", 0, 24) "}      ", 24); /* padding */
    accepted("{" T("b", "BF16", "[1]", 4, 6) "," T("a", "F32", "[1]", 0, 4) "}",
             6);                                         /* any order in the header */
    accepted("{" T("number", "F32", "[]", 0, 4) "}", 4); /* no dimension: one number */
    accepted("{" T("none", "F32", "[0,7]", 0, 0) "," T("a", "U8", "[3]", 0, 3) "}", 3); /* an empty tensor */
    accepted("{\"__metadata__\":{\"format\":\"pt\"}," T("a", "I64", "[1]", 0, 8) "}", 8);
    accepted("{}", 0);
}

static void lies_about_the_file_are_refused(void **state)
{
    (void)state;
    struct why why = {0};
    const char *h = "{" T("a", "F32", "[2]", 0, 8) "}";
    assert_int_equal(try_bytes(forge(h, 8, UINT64_MAX), &why), ERR_FORMAT);
    assert_int_equal(try_bytes(forge(h, 8, UINT64_MAX - 7), &why), ERR_FORMAT); /* 8 + n wraps */
    assert_int_equal(try_bytes(forge(h, 8, strlen(h) + 9), &why), ERR_FORMAT);
    assert_int_equal(try_bytes(forge(h, 8, 0), &why), ERR_FORMAT);
    assert_int_equal(try_bytes(forge(h, 8, strlen(h) - 1), &why), ERR_FORMAT);
    assert_int_equal(try_bytes(forge("", 0, 2), &why), ERR_FORMAT);
    for (size_t n = 0; n < 8; n++) {
        struct span cut = forge(h, 8, strlen(h));
        cut.n = n;
        assert_int_equal(try_bytes(cut, &why), ERR_FORMAT);
    }
    refused(" {" T("a", "F32", "[2]", 0, 8) "}", 8, "not a safetensors file"); /* must begin with { */
    refused("[1,2]", 0, "not a safetensors file");
    refused("{" T("a", "F32", "[2]", 0, 8) "}x", 8, "header");
    refused("{" T("a\xff", "F32", "[2]", 0, 8) "}", 8, "header"); /* no UTF-8 */
    refused("{" T("a", "F32", "[2]", 0, 8), 8, "header");
    refused("{" T("a", "F32", "[2]", 0, 8) "}", 9, "9 bytes of data"); /* something after the end */
    refused("{}", 1, "1 bytes of data");
    refused("{\"__metadata__\":{\"step\":7}}", 0, "__metadata__");
    refused("{\"__metadata__\":[]}", 0, "__metadata__");
}

static void a_header_too_large_is_refused_before_it_is_parsed(void **state)
{
    (void)state;
    struct why why = {0};
    const size_t n = (16u << 20) + 1;
    char *spaces = malloc(n + 1);
    assert_non_null(spaces);
    memset(spaces, ' ', n);
    memcpy(spaces, "{}", 2);
    spaces[n] = 0;
    assert_int_equal(try_bytes(forge(spaces, 0, n), &why), ERR_FORMAT);
    spaces[n - 1] = 0;
    assert_int_equal(try_bytes(forge(spaces, 0, n - 1), &why), ERR_OK);
    free(spaces);
}

static void lies_about_a_tensor_are_refused_by_name(void **state)
{
    (void)state;
    refused("{" T("evil", "F32", "[2]", 0, 8) "," T("evil", "F32", "[2]", 0, 8) "}", 8, "evil"); /* twice */
    refused("{" T("evil", "F32", "[2]", 0, 12) "}", 12, "tensor evil");
    refused("{" T("evil", "F32", "[2]", 8, 0) "}", 8, "tensor evil"); /* end before begin */
    refused("{" T("evil", "F32", "[2]", 0, 8) "}", 7, "tensor evil"); /* beyond the file */
    refused("{" T("evil", "F32", "[2]", -8, 0) "}", 8, "tensor evil");
    refused("{" T("evil", "F32", "[-2]", 0, 8) "}", 8, "tensor evil");
    refused("{" T("evil", "F32", "[2.0]", 0, 8) "}", 8, "tensor evil");
    refused("{" T("evil", "F32", "2", 0, 8) "}", 8, "tensor evil");
    refused("{" T("evil", "F31", "[2]", 0, 8) "}", 8, "tensor evil");
    refused("{" T("evil", "F32", "[1,1,1,1,1,1,1,1,2]", 0, 8) "}", 8, "tensor evil");
    /* products that wrap to the right size */
    refused("{" T("evil", "F32", "[4294967296,4294967296]", 0, 0) "}", 0, "tensor evil");
    refused("{" T("evil", "F32", "[4611686018427387904]", 0, 0) "}", 0, "tensor evil");
    refused("{" T("evil", "U8", "[9223372036854775807,3]", 0, 1) "}", 1, "tensor evil");
    refused("{" T("a", "F32", "[2]", 0, 8) "," T("evil", "F32", "[2]", 4, 12) "}", 12,
            "tensor evil"); /* overlap */
    refused("{" T("a", "F32", "[2]", 0, 8) "," T("evil", "F32", "[1]", 12, 16) "}", 16,
            "tensor evil");                                             /* hole */
    refused("{" T("evil", "F32", "[2]", 4, 12) "}", 12, "tensor evil"); /* hole at the start */
    refused("{\"evil\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "tensor evil");
    refused("{\"evil\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "tensor evil");
    refused("{\"evil\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", 8, "tensor evil");
    refused("{\"evil\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,18446744073709551624]}}", 8,
            "header");
    refused("{\"evil\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "tensor evil");
    refused("{\"evil\":7}", 0, "tensor evil");
    refused("{\"evil\":null}", 0, "tensor evil");
}

static void every_half_reads_as_itself(void **state)
{
    (void)state;
    static uint16_t half[65536], out16[65536];
    static float out[65536];
    struct why why = {0};
    for (uint32_t i = 0; i < 65536; i++) half[i] = (uint16_t)i;
    struct st_tensor t = {
        .name = "half", .dtype = ST_F16, .data = (uint8_t *)half, .n_bytes = sizeof half, .n_elem = 65536};
    assert_int_equal(st_read_f32(&t, out, &why), ERR_OK);
    for (uint32_t i = 0; i < 65536; i++) { /* IEEE 754 binary16, by its definition */
        const int exp = (i >> 10) & 31, man = i & 1023;
        double want = exp ? ldexp(1024 + man, exp - 25) : ldexp(man, -24);
        if (exp == 31) want = man ? (double)NAN : (double)INFINITY;
        if (i >> 15) want = -want;
        assert_true(isnan(want) ? isnan(out[i])
                                : out[i] == (float)want && !signbit(out[i]) == !signbit(want));
    }
    t.dtype = ST_BF16;
    assert_int_equal(st_read_f32(&t, out, &why), ERR_OK);
    assert_int_equal(st_read_bf16(&t, out16, &why), ERR_OK);
    assert_memory_equal(out16, half, sizeof half);
    assert_true(out[0x3f80] == 1.0f && out[0xc000] == -2.0f);
    t.dtype = ST_I16;
    assert_int_equal(st_read_f32(&t, out, &why), ERR_UNSUPPORTED);
    assert_non_null(strstr(why.text, "half"));
    assert_non_null(strstr(why.text, "I16"));
}

static void fp32_rounds_to_the_nearest_bf16(void **state)
{
    (void)state;
    /* halfway cases go to even; one byte off alignment, as files may have it */
    const float in[] = {1.0f, 1.00390625f, 1.01171875f, -1.0039064f, 3.4e38f};
    const uint16_t want[] = {0x3f80, 0x3f80, 0x3f82, 0xbf81, 0x7f80};
    uint8_t raw[sizeof in + 1];
    uint16_t out[5];
    memcpy(raw + 1, in, sizeof in);
    struct st_tensor t = {.name = "w", .dtype = ST_F32, .data = raw + 1, .n_bytes = sizeof in, .n_elem = 5};
    assert_int_equal(st_read_bf16(&t, out, NULL), ERR_OK);
    assert_memory_equal(out, want, sizeof want);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    char path[64] = "/tmp/test_safetensors.XXXXXX";
    struct why why = {0};
    struct safetensors f;
    const float a[6] = {1, 2, 3, 4, 5, 6};
    const uint16_t b[3] = {bf16_from_f32(0.5f), bf16_from_f32(-2), 0x7fc0};
    const struct st_write w[] = {
        {"layers.0.a", ST_F32, 2, {2, 3}, a}, {"b", ST_BF16, 1, {3}, b}, {"none", ST_F32, 1, {0}, a}};
    struct span x, y;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(safetensors_write(path, w, 3, &why), ERR_OK);
    assert_int_equal(file_map(path, &x, &why), ERR_OK);
    assert_int_equal(safetensors_write(path, w, 3, &why), ERR_OK); /* over a file that is mapped */
    assert_int_equal(file_map(path, &y, &why), ERR_OK);
    assert_true(span_eq(x, y)); /* the same contents, the same bytes */
    file_unmap(x);
    file_unmap(y);
    enum err e = safetensors_open(path, &f, &why);
    if (e) fail_msg("%s", why_str(&why, e));
    const struct st_tensor *t = safetensors_find(&f, "layers.0.a");
    assert_true(t && t->n_dim == 2 && t->dim[0] == 2 && t->dim[1] == 3 && t->dtype == ST_F32 &&
                t->n_elem == 6);
    assert_memory_equal(t->data, a, sizeof a);
    assert_int_equal((t->data - f.map.p) % 8, 0);
    t = safetensors_find(&f, "b");
    assert_true(t && t->n_dim == 1 && t->dim[0] == 3 && t->dtype == ST_BF16);
    assert_memory_equal(t->data, b, sizeof b);
    assert_null(safetensors_find(&f, "c"));
    safetensors_close(&f);
    unlink(path);
    assert_int_equal(safetensors_write("/nowhere/at/all", w, 3, &why), ERR_NOENT);
    assert_non_null(strstr(why.text, "/nowhere/at/all"));
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(well_formed_files_are_accepted),
        cmocka_unit_test(lies_about_the_file_are_refused),
        cmocka_unit_test(a_header_too_large_is_refused_before_it_is_parsed),
        cmocka_unit_test(lies_about_a_tensor_are_refused_by_name),
        cmocka_unit_test(every_half_reads_as_itself),
        cmocka_unit_test(fp32_rounds_to_the_nearest_bf16),
        cmocka_unit_test(what_is_written_is_read_back),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
