// SPDX-License-Identifier: Apache-2.0
/* A config.json is understood or refused by field; what we print we read back; the tensor table is flat and
 * has no gaps. */
#include "common/model/dims.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* As Qwen2.5-0.5B-Instruct has it. */
#define QWEN                                                                                                 \
    "\"model_type\": \"qwen2\", \"hidden_act\": \"silu\", \"hidden_size\": 896, \"intermediate_size\": "     \
    "4864, "                                                                                                 \
    "\"num_attention_heads\": 14, \"num_hidden_layers\": 24, \"num_key_value_heads\": 2, \"vocab_size\": "   \
    "151936, "                                                                                               \
    "\"rms_norm_eps\": 1e-06, \"tie_word_embeddings\": true, \"max_position_embeddings\": 32768, "           \
    "\"use_sliding_window\": false, \"sliding_window\": 32768, \"torch_dtype\": \"bfloat16\""

static enum err parse(const char *json, struct dims *d, struct why *why)
{
    return dims_parse(span_str(json), "config.json", d, why);
}

static void a_real_config_is_read(void **state)
{
    (void)state;
    struct dims d;
    struct why why = {0};
    struct tensor_table t;
    enum err e = parse("{" QWEN ", \"rope_theta\": 1000000.0, \"eos_token_id\": [151645, 151643]}", &d, &why);
    if (e) fail_msg("%s", why_str(&why, e));
    assert_true(d.n_layer == 24 && d.n_embd == 896 && d.n_head == 14 && d.n_head_kv == 2 && d.head_dim == 64);
    assert_true(d.n_ff == 4864 && d.n_vocab == 151936 && d.max_pos == 32768 && d.tied && d.qkv_bias);
    assert_true(d.rope_theta == 1e6f && d.rms_eps == 1e-6f);
    assert_true(d.n_eos == 2 && d.eos[0] == 151645 && d.eos[1] == 151643);
    assert_int_equal(tensor_table_init(&d, &t), ERR_OK);
    assert_int_equal(t.n_param, 494032768); /* the model card's 0.49 B */
    tensor_table_done(&t);
    /* transformers 5 puts theta elsewhere */
    e = parse("{" QWEN ", \"rope_parameters\": {\"rope_theta\": 500000, \"rope_type\": \"default\"}}", &d,
              &why);
    assert_true(e == ERR_OK && d.rope_theta == 5e5f && d.n_eos == 0);
}

static void what_is_printed_is_read_back(void **state)
{
    (void)state;
    struct why why = {0};
    for (uint32_t n_eos = 0; n_eos < 3; n_eos++) {
        struct dims back, d = {.n_layer = 3,
                               .n_embd = 64,
                               .n_head = 4,
                               .n_head_kv = 2,
                               .head_dim = 32,
                               .n_ff = 96,
                               .n_vocab = 272,
                               .max_pos = 77,
                               .rope_theta = 12345.678f,
                               .rms_eps = 1e-6f,
                               .tied = n_eos == 1,
                               .qkv_bias = true,
                               .n_eos = n_eos};
        for (uint32_t i = 0; i < n_eos; i++) d.eos[i] = (int32_t)(260 + i);
        memset(&back, 0xff, sizeof back);
        char *text = dims_print(&d);
        assert_non_null(text);
        assert_non_null(strstr(text, "1e-6"));
        enum err e = parse(text, &back, &why);
        if (e) fail_msg("%s", why_str(&why, e));
        free(text);
        assert_true(back.n_layer == 3 && back.n_embd == 64 && back.n_head == 4 && back.n_head_kv == 2 &&
                    back.head_dim == 32);
        assert_true(back.n_ff == 96 && back.n_vocab == 272 && back.max_pos == 77 && back.tied == d.tied);
        assert_true(back.rope_theta == d.rope_theta && back.rms_eps == d.rms_eps);
        assert_true(back.n_eos == n_eos && !memcmp(back.eos, d.eos, n_eos * sizeof *d.eos));
    }
}

/* A config that says `more` on top of Qwen's is refused with e, and the words hold `word`. A later key of the
 * same name is a duplicate, so fields that QWEN has are given in full. */
static void refused(const char *json, enum err want, const char *word)
{
    struct dims d;
    struct why why = {0};
    enum err e = parse(json, &d, &why);
    if (e != want || !strstr(why.text, word)) fail_msg("%s: %s: %s", json, err_str(e), why.text);
}

static void what_is_not_done_is_refused_by_field(void **state)
{
    (void)state;
    refused("{" QWEN ", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0}}", ERR_UNSUPPORTED,
            "rope_scaling");
    refused("{" QWEN ", \"rope_parameters\": {\"rope_type\": \"yarn\"}}", ERR_UNSUPPORTED, "rope_type");
    refused("{\"model_type\": \"llama\"}", ERR_UNSUPPORTED, "model_type");
    refused("{}", ERR_UNSUPPORTED, "model_type");
    refused("{\"model_type\": \"qwen2\"}", ERR_FORMAT, "num_hidden_layers");
    refused("{\"model_type\": \"qwen2\", \"use_sliding_window\": true}", ERR_UNSUPPORTED,
            "use_sliding_window");
    refused("{\"model_type\": \"qwen2\", \"hidden_act\": \"gelu\"}", ERR_UNSUPPORTED, "hidden_act");
    refused("{\"model_type\": \"qwen2\", \"num_hidden_layers\": -1}", ERR_RANGE, "num_hidden_layers");
    refused("{\"model_type\": \"qwen2\", \"num_hidden_layers\": 1e3}", ERR_RANGE, "num_hidden_layers");
    refused("{\"model_type\": \"qwen2\", \"num_hidden_layers\": 4294967297}", ERR_RANGE, "num_hidden_layers");
    refused("{" QWEN ", \"eos_token_id\": 4294967297}", ERR_FORMAT, "eos_token_id"); /* not 1 */
    refused("{" QWEN ", \"eos_token_id\": [1, \"2\"]}", ERR_FORMAT, "eos_token_id");
    refused("{" QWEN ", \"eos_token_id\": [1,2,3,4,5,6,7,8,9]}", ERR_FORMAT, "eos_token_id");
    refused("{" QWEN ", \"eos_token_id\": 151936}", ERR_RANGE, "eos_token_id");
    refused("{" QWEN ", \"head_dim\": 56}", ERR_RANGE, "head_dim");
    refused("{" QWEN ", \"rope_theta\": 1e300}", ERR_RANGE, "rope_theta");
    refused("{" QWEN ", \"rope_theta\": \"big\"}", ERR_FORMAT, "rope_theta");
    refused("{" QWEN ", \"vocab_size\": 16}", ERR_FORMAT, "uplicate");
    refused("[1]", ERR_FORMAT, "object");
    refused("{\"model_type\": ", ERR_FORMAT, "line 1");
    refused("", ERR_FORMAT, "config.json");
}

static void check_table(const struct dims *d, uint32_t want_n)
{
    struct tensor_table t;
    uint64_t at = 0;
    assert_int_equal(tensor_table_init(d, &t), ERR_OK);
    assert_int_equal(t.n, want_n);
    for (uint32_t i = 0; i < t.n; i++) {
        assert_int_equal(t.t[i].offset, at);
        at += (uint64_t)t.t[i].rows * t.t[i].cols;
        assert_ptr_equal(tensor_find(&t, t.t[i].role, t.t[i].layer), &t.t[i]);
    }
    assert_int_equal(t.n_param, at);
    const struct tensor_info *q = tensor_find(&t, TENSOR_WQ, 1), *v = tensor_find(&t, TENSOR_WV, 1);
    assert_string_equal(q->name, "model.layers.1.self_attn.q_proj.weight");
    assert_int_equal(v->offset + (uint64_t)v->rows * v->cols,
                     tensor_find(&t, d->qkv_bias ? TENSOR_BQ : TENSOR_WO, 1)->offset);
    /* fused products read q, k and v as one region, gate and up as another */
    assert_int_equal(tensor_find(&t, TENSOR_WK, 1)->offset, q->offset + (uint64_t)q->rows * q->cols);
    const struct tensor_info *g = tensor_find(&t, TENSOR_WGATE, 0);
    assert_int_equal(tensor_find(&t, TENSOR_WUP, 0)->offset, g->offset + (uint64_t)g->rows * g->cols);
    assert_int_equal(tensor_find(&t, TENSOR_LM_HEAD, 0) != NULL, !d->tied);
    assert_null(tensor_find(&t, TENSOR_WQ, 2));
    tensor_table_done(&t);
}

static void the_table_is_flat_and_has_no_gaps(void **state)
{
    (void)state;
    struct dims d = {.n_layer = 2,
                     .n_embd = 64,
                     .n_head = 2,
                     .n_head_kv = 1,
                     .head_dim = 32,
                     .n_ff = 96,
                     .n_vocab = 32,
                     .max_pos = 8,
                     .rope_theta = 1e4f,
                     .rms_eps = 1e-6f,
                     .tied = true,
                     .qkv_bias = true};
    check_table(&d, 2 + 2 * 12);
    d.tied = false;
    check_table(&d, 3 + 2 * 12);
    d.qkv_bias = false;
    check_table(&d, 3 + 2 * 9);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(a_real_config_is_read),
        cmocka_unit_test(what_is_printed_is_read_back),
        cmocka_unit_test(what_is_not_done_is_refused_by_field),
        cmocka_unit_test(the_table_is_flat_and_has_no_gaps),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
