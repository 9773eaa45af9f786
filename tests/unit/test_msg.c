// SPDX-License-Identifier: Apache-2.0
/* Messages survive the wire; older and newer peers understand each other; hostile frames are refused with
 * words. */
#include "proto/msg.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <jansson.h>

#include "proto/version.h"

static struct msg_buf buf;

static int drop_buf(void **state)
{
    (void)state;
    msg_buf_done(&buf);
    return 0;
}

static void group_survives_the_wire(void **state)
{
    (void)state;
    uint32_t n_tok[2] = {2, 1}, version[3] = {7, 7, 8};
    uint8_t finish[2] = {FINISH_EOS, FINISH_LENGTH}, kind[3] = {1, 1, 3};
    int32_t tokens[3] = {5, INT32_MIN, INT32_MAX};
    float logprob[3] = {-0.5f, -INFINITY, NAN};
    struct msg_group m = {
        .node_id = UINT64_MAX,
        .job_id = 1,
        .n_tok = msg_arr_of(n_tok, 2),
        .finish = msg_arr_of(finish, 2),
        .tokens = msg_arr_of(tokens, 3),
        .logprob = msg_arr_of(logprob, 3),
        .version = msg_arr_of(version, 3),
        .kind = msg_arr_of(kind, 3),
        .prefill_tok = UINT32_MAX,
    };
    assert_int_equal(msg_put_group(&m, &buf), ERR_OK);
    assert_int_equal(msg_id_of(msg_buf_span(&buf)), MSG_ID_group);
    struct msg_group g;
    struct why why = {0};
    assert_int_equal(msg_get_group(msg_buf_span(&buf), &g, &why), ERR_OK);
    assert_true(g.node_id == UINT64_MAX);
    assert_int_equal(g.tokens.n, 3);
    assert_int_equal(msg_i32_at(g.tokens, 1), INT32_MIN);
    float back[3];
    msg_arr_copy(g.logprob, sizeof back[0], back);
    assert_memory_equal(back, logprob, sizeof back); /* the bits, NaN and all */
    assert_int_equal(msg_u8_at(g.kind, 2), 3);
    assert_int_equal(msg_u32_at(g.n_tok, 0), 2);
    assert_true(g.prefill_tok == UINT32_MAX);
}

static void a_buffer_is_used_again(void **state)
{
    (void)state;
    struct msg_ack a = {.code = 1, .why = span_str("a longer reason than the next one has")};
    assert_int_equal(msg_put_ack(&a, &buf), ERR_OK);
    size_t cap = buf.cap;
    a = (struct msg_ack){.code = 2};
    assert_int_equal(msg_put_ack(&a, &buf), ERR_OK);
    assert_int_equal(buf.cap, cap);
    assert_int_equal(msg_get_ack(msg_buf_span(&buf), &a, NULL), ERR_OK);
    assert_int_equal(a.code, 2);
    assert_int_equal(a.why.n, 0);
}

#define FRAME(...) span_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void older_and_newer_peers_are_understood(void **state)
{
    (void)state;
    struct msg_ack a = {.code = 9, .why = span_str("x")};
    assert_int_equal(msg_get_ack(FRAME(0x92, 7, 3), &a, NULL), ERR_OK); /* without why */
    assert_int_equal(a.code, 3);
    assert_int_equal(a.why.n, 0);
    /* two fields more: a map with an array inside, and a string */
    assert_int_equal(msg_get_ack(FRAME(0x95, 7, 4, 0xa1, 'w', 0x81, 1, 0x92, 2, 3, 0xa1, 'z'), &a, NULL),
                     ERR_OK);
    assert_int_equal(a.code, 4);
    assert_true(msg_str_eq(a.why, "w"));
    /* U64 in the shortest and the longest form */
    struct msg_bye b;
    assert_int_equal(msg_get_bye(FRAME(0x92, 9, 5), &b, NULL), ERR_OK);
    assert_true(b.node_id == 5);
    assert_int_equal(msg_get_bye(FRAME(0x92, 9, 0xcf, 0, 0, 0, 0, 0, 0, 0, 5), &b, NULL), ERR_OK);
    assert_true(b.node_id == 5);
}

static void bad_frames_are_refused_with_words(void **state)
{
    (void)state;
    struct {
        struct span f;
        const char *words;
    } bad[] = {
        {FRAME(0x92, 8, 3), "message ack expected, beat (8) came"},
        {FRAME(0x92, 7, 0xa1, 'x'), "message ack, field code: not a valid u32"},
        {FRAME(0x92, 7, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0), "message ack, field code: not a valid u32"},
        {FRAME(0x93, 7, 1, 0xa2, 'x'), "message ack, field why: not a valid string"},
        {FRAME(0x92, 7, 3, 0), "message ack: 1 bytes after its end"},
        {FRAME(0x94, 7, 3, 0xa0, 0xc1), "message ack: malformed surplus"},
        {FRAME(0x90), "message ack: not a frame"},
        {FRAME(0x81, 7, 3), "message ack: not a frame"},
        {span_of(NULL, 0), "message ack: not a frame"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct msg_ack a = {.code = 77};
        struct why why = {0};
        assert_int_not_equal(msg_get_ack(bad[i].f, &a, &why), ERR_OK);
        assert_string_equal(why.text, bad[i].words);
        assert_int_equal(a.code, 77);
    }
    struct msg_bye b;
    struct why why = {0};
    assert_int_equal(msg_get_bye(FRAME(0x93, 9, 1, 0xc4, 7, 1, 2, 3, 4, 5, 6, 7), &b, &why), ERR_FORMAT);
    assert_string_equal(why.text, "message bye, field jobs: 7 bytes are no whole number of elements of 8");
}

static void ids_and_names(void **state)
{
    (void)state;
    assert_string_equal(msg_name(MSG_ID_manifest_get), "manifest_get");
    assert_string_equal(msg_name((enum msg_id)9999), "?");
    assert_int_equal(msg_id_of(FRAME(0x91, 0xcd, 0x27, 0x0f)), MSG_ID_NONE);
    assert_int_equal(msg_id_of(FRAME(0x91, 0)), MSG_ID_NONE);
    assert_int_equal(msg_id_of(FRAME(0x91, 16)), MSG_ID_manifest_get);
}

static json_t *printed(uint32_t max_item)
{
    struct msg_buf text = {0};
    assert_int_equal(msg_print(msg_buf_span(&buf), max_item, &text, NULL), ERR_OK);
    assert_int_equal(text.p[text.n], 0);
    json_error_t je;
    json_t *j = json_loads((char *)text.p, 0, &je);
    if (!j) print_error("%s\n%s\n", je.text, (char *)text.p);
    assert_non_null(j);
    msg_buf_done(&text);
    return j;
}

/* Every message prints as JSON, all fields empty. */
static void every_message_prints_as_json(void **state)
{
    (void)state;
#define MSG(name, id)                                                                                        \
    {                                                                                                        \
        struct msg_##name m = {0};                                                                           \
        assert_int_equal(msg_put_##name(&m, &buf), ERR_OK);                                                  \
        json_t *j = printed(8);                                                                              \
        assert_string_equal(json_string_value(json_object_get(j, "msg")), #name);
#define F(kind, field) assert_non_null(json_object_get(j, #field));
#define END(name)                                                                                            \
    json_decref(j);                                                                                          \
    }
#include "proto/schema.def"
#undef MSG
#undef F
#undef END
}

static void hostile_text_prints_as_json(void **state)
{
    (void)state;
    char s[256 + 8];
    for (int i = 0; i < 256; i++) s[i] = (char)i;
    memcpy(s + 256, "\xc3\xa9\xed\xa0\x80\xf4\x90\x80", 8);
    struct msg_ack a = {.why = span_of(s, sizeof s)};
    assert_int_equal(msg_put_ack(&a, &buf), ERR_OK);
    struct msg_buf text = {0};
    assert_int_equal(msg_print(msg_buf_span(&buf), 4, &text, NULL), ERR_OK);
    assert_non_null(strstr((char *)text.p, "\\u0000"));
    assert_non_null(strstr((char *)text.p, "\xc3\xa9\\ufffd\\ufffd")); /* good kept, surrogate not */
    assert_null(strchr((char *)text.p, '\n'));
    json_t *j = json_loads((char *)text.p, JSON_ALLOW_NUL, NULL);
    assert_non_null(j);
    json_decref(j);
    msg_buf_done(&text);
}

static void long_arrays_are_cut_in_print(void **state)
{
    (void)state;
    int32_t tokens[100] = {1, 2, 3};
    struct msg_job m = {.temperature = INFINITY, .tokens = msg_arr_of(tokens, 100)};
    assert_int_equal(msg_put_job(&m, &buf), ERR_OK);
    json_t *j = printed(2);
    json_t *a = json_object_get(j, "tokens");
    assert_int_equal(json_array_size(a), 3);
    assert_string_equal(json_string_value(json_array_get(a, 2)), "... 100 in all");
    assert_string_equal(json_string_value(json_object_get(j, "temperature")), "inf");
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test_teardown(group_survives_the_wire, drop_buf),
        cmocka_unit_test_teardown(a_buffer_is_used_again, drop_buf),
        cmocka_unit_test(older_and_newer_peers_are_understood),
        cmocka_unit_test(bad_frames_are_refused_with_words),
        cmocka_unit_test(ids_and_names),
        cmocka_unit_test_teardown(every_message_prints_as_json, drop_buf),
        cmocka_unit_test_teardown(hostile_text_prints_as_json, drop_buf),
        cmocka_unit_test_teardown(long_arrays_are_cut_in_print, drop_buf),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
