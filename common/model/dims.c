// SPDX-License-Identifier: Apache-2.0
#include "common/model/dims.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"

#define CONFIG_MAX_BYTES (1u << 20)

/* A reader that remembers the first thing that was wrong. */
struct reader {
    const char *path;
    json_t *j;
    enum err e;
    struct why *why;
};

static void bad(struct reader *r, enum err e, const char *field, const char *what)
{
    if (!r->e) r->e = why_set(r->why, e, "%s: %s %s", r->path, field, what);
}

static uint32_t get_u32(struct reader *r, const char *field, uint32_t max, int64_t def)
{
    json_t *v = json_object_get(r->j, field);
    if ((!v || json_is_null(v)) && def >= 0) return (uint32_t)def;
    if (!v) return bad(r, ERR_FORMAT, field, "is missing"), 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max)
        return bad(r, ERR_RANGE, field, "is not a number in range"), 0;
    return (uint32_t)json_integer_value(v);
}

static double get_f64(struct reader *r, const char *field, double def)
{
    json_t *v = json_object_get(r->j, field);
    if (!v || json_is_null(v)) return def;
    if (!json_is_number(v)) return bad(r, ERR_FORMAT, field, "is not a number"), def;
    return json_number_value(v);
}

static bool get_bool(struct reader *r, const char *field, bool def)
{
    json_t *v = json_object_get(r->j, field);
    if (!v || json_is_null(v)) return def;
    if (!json_is_boolean(v)) return bad(r, ERR_FORMAT, field, "is not true or false"), def;
    return json_is_true(v);
}

static void add_eos(struct reader *r, struct dims *d, json_t *v)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX)
        return bad(r, ERR_FORMAT, "eos_token_id", "holds something that is not an id");
    if (d->n_eos == DIMS_MAX_EOS) return bad(r, ERR_FORMAT, "eos_token_id", "is a list of more than 8");
    d->eos[d->n_eos++] = (int32_t)json_integer_value(v);
}

static void get_eos(struct reader *r, struct dims *d)
{
    json_t *v = json_object_get(r->j, "eos_token_id"), *x;
    size_t i;
    if (!v || json_is_null(v)) return;
    if (!json_is_array(v)) return add_eos(r, d, v);
    json_array_foreach(v, i, x) add_eos(r, d, x);
}

/* What this code does not do is refused by name, never ignored. */
static void refuse_unknown(struct reader *r)
{
    const char *type = json_string_value(json_object_get(r->j, "model_type"));
    const char *act = json_string_value(json_object_get(r->j, "hidden_act"));
    json_t *scaling = json_object_get(r->j, "rope_scaling");
    json_t *params = json_object_get(r->j, "rope_parameters");
    const char *rope = json_string_value(json_object_get(params, "rope_type"));
    if (!type || strcmp(type, "qwen2"))
        bad(r, ERR_UNSUPPORTED, "model_type", type ? "is not qwen2" : "is missing");
    if (act && strcmp(act, "silu")) bad(r, ERR_UNSUPPORTED, "hidden_act", "is not silu");
    if (get_bool(r, "use_sliding_window", false)) bad(r, ERR_UNSUPPORTED, "use_sliding_window", "is true");
    if (scaling && !json_is_null(scaling)) bad(r, ERR_UNSUPPORTED, "rope_scaling", "is set");
    if (rope && strcmp(rope, "default"))
        bad(r, ERR_UNSUPPORTED, "rope_parameters.rope_type", "is not default");
}

static double rope_theta(struct reader *r)
{
    /* transformers 5 writes rope_parameters, earlier ones rope_theta */
    json_t *v = json_object_get(json_object_get(r->j, "rope_parameters"), "rope_theta");
    if (json_is_number(v)) return json_number_value(v);
    return get_f64(r, "rope_theta", 10000.0);
}

/* A conversion of what a float cannot hold is undefined: such a number becomes 0, which dims_check refuses.
 */
static float as_float(double v)
{
    return v > -1e30 && v < 1e30 ? (float)v : 0;
}

static enum err parse(const char *path, const char *text, size_t n, struct dims *ret, struct why *why)
{
    json_error_t je;
    struct reader r = {.path = path, .why = why};
    r.j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
    if (!r.j) return why_set(why, ERR_FORMAT, "%s: line %d: %s", path, je.line, je.text);
    struct dims d = {0};
    if (!json_is_object(r.j)) bad(&r, ERR_FORMAT, "the file", "is not an object");
    if (!r.e) refuse_unknown(&r);
    d.n_layer = get_u32(&r, "num_hidden_layers", 1024, -1);
    d.n_embd = get_u32(&r, "hidden_size", 1u << 16, -1);
    d.n_head = get_u32(&r, "num_attention_heads", 1024, -1);
    d.n_head_kv = get_u32(&r, "num_key_value_heads", 1024, d.n_head);
    d.head_dim = get_u32(&r, "head_dim", 1024, d.n_head ? d.n_embd / d.n_head : 0);
    d.n_ff = get_u32(&r, "intermediate_size", 1u << 18, -1);
    d.n_vocab = get_u32(&r, "vocab_size", 1u << 20, -1);
    d.max_pos = get_u32(&r, "max_position_embeddings", 1u << 20, 32768);
    d.rope_theta = as_float(rope_theta(&r));
    d.rms_eps = as_float(get_f64(&r, "rms_norm_eps", 1e-6));
    d.tied = get_bool(&r, "tie_word_embeddings", false);
    d.qkv_bias = true;
    get_eos(&r, &d);
    json_decref(r.j);
    if (r.e) return r.e;
    enum err e = dims_check(&d, why);
    if (e) return why_add(why, e, "%s", path);
    *ret = d;
    return ERR_OK;
}

enum err dims_parse(struct span json, const char *name, struct dims *ret_dims, struct why *why)
{
    return parse(name, (const char *)json.p, json.n, ret_dims, why);
}

enum err dims_read(const char *dir, struct dims *ret_dims, struct why *why)
{
    char path[4096], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/config.json", dir);
    TRY(file_read(path, CONFIG_MAX_BYTES, &text, &n, why));
    enum err e = parse(path, text, n, ret_dims, why);
    free(text);
    return e;
}

/* The shortest decimal number that reads back as f: 1e-06, not 9.99999997e-07. */
static double shortest(float f)
{
    char s[32];
    for (int digits = 1; digits < 9; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, (double)f);
        if (strtof(s, NULL) == f) return strtod(s, NULL);
    }
    return (double)f;
}

char *dims_print(const struct dims *d)
{
    json_t *eos = d->n_eos == 1 ? json_integer(d->eos[0]) : d->n_eos ? json_array() : json_null();
    for (uint32_t i = 0; d->n_eos > 1 && i < d->n_eos; i++)
        json_array_append_new(eos, json_integer(d->eos[i]));
    json_t *j = json_pack(
        "{s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:b, s:b, s:s, s:f, s:o}",
        "architectures", "Qwen2ForCausalLM", "model_type", "qwen2", "hidden_act", "silu", "num_hidden_layers",
        (int)d->n_layer, "hidden_size", (int)d->n_embd, "num_attention_heads", (int)d->n_head,
        "num_key_value_heads", (int)d->n_head_kv, "head_dim", (int)d->head_dim, "intermediate_size",
        (int)d->n_ff, "vocab_size", (int)d->n_vocab, "max_position_embeddings", (int)d->max_pos, "rope_theta",
        shortest(d->rope_theta), "rms_norm_eps", shortest(d->rms_eps), "tie_word_embeddings", (int)d->tied,
        "use_sliding_window", 0, "torch_dtype", "bfloat16", "attention_dropout", 0.0, "eos_token_id", eos);
    char *s = j ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(j);
    return s;
}

enum err dims_write(const char *dir, const struct dims *d, struct why *why)
{
    char path[4096];
    char *text = dims_print(d);
    if (!text) return ERR_NOMEM;
    snprintf(path, sizeof path, "%s/config.json", dir);
    enum err e = file_write(path, text, strlen(text), why);
    free(text);
    return e;
}

enum err dims_check(const struct dims *d, struct why *why)
{
    if (!d->n_layer || !d->n_embd || !d->n_head || !d->n_head_kv || !d->head_dim || !d->n_ff || !d->n_vocab ||
        !d->max_pos)
        return why_set(why, ERR_RANGE, "a size of the model is 0");
    if (d->n_embd % 32) return why_set(why, ERR_RANGE, "hidden_size %u is not a multiple of 32", d->n_embd);
    if (d->n_ff % 32) return why_set(why, ERR_RANGE, "intermediate_size %u is not a multiple of 32", d->n_ff);
    if (d->n_vocab % 16) return why_set(why, ERR_RANGE, "vocab_size %u is not a multiple of 16", d->n_vocab);
    if (d->head_dim % 16 || d->head_dim > 256)
        return why_set(why, ERR_RANGE, "head_dim %u is not a multiple of 16 up to 256", d->head_dim);
    if (d->n_head % d->n_head_kv)
        return why_set(why, ERR_RANGE, "num_attention_heads %u is not a multiple of num_key_value_heads %u",
                       d->n_head, d->n_head_kv);
    if (d->n_head * d->head_dim % 32)
        return why_set(why, ERR_RANGE, "num_attention_heads * head_dim is not a multiple of 32");
    for (uint32_t i = 0; i < d->n_eos; i++)
        if (d->eos[i] < 0 || (uint32_t)d->eos[i] >= d->n_vocab)
            return why_set(why, ERR_RANGE, "eos_token_id %d is outside the vocabulary", d->eos[i]);
    if (!(d->rms_eps > 0 && d->rms_eps < 1) || !(d->rope_theta > 1 && d->rope_theta < 1e12f))
        return why_set(why, ERR_RANGE, "rms_norm_eps or rope_theta is out of range");
    return ERR_OK;
}

/* -- the tensor table
 * ---------------------------------------------------------------------------------------------- */

static void add(struct tensor_table *t, enum tensor_role role, uint32_t layer, const char *fmt, uint32_t rows,
                uint32_t cols)
{
    struct tensor_info *x = &t->t[t->n++];
    *x = (struct tensor_info){.role = role,
                              .layer = layer,
                              .rows = rows,
                              .cols = cols ? cols : 1,
                              .is_vector = cols == 0,
                              .offset = t->n_param};
    if (layer == UINT32_MAX) {
        x->layer = 0;
        snprintf(x->name, sizeof x->name, "%s", fmt);
    } else {
        snprintf(x->name, sizeof x->name, "model.layers.%u.%s", layer, fmt);
    }
    t->n_param += (uint64_t)x->rows * x->cols;
}

enum err tensor_table_init(const struct dims *d, struct tensor_table *ret_table)
{
    const uint32_t none = UINT32_MAX, q = d->n_head * d->head_dim, kv = d->n_head_kv * d->head_dim,
                   c = d->n_embd;
    struct tensor_table t = {0};
    t.t = calloc(3 + (size_t)d->n_layer * 12, sizeof *t.t);
    if (!t.t) return ERR_NOMEM;
    add(&t, TENSOR_EMBED, none, "model.embed_tokens.weight", d->n_vocab, c);
    for (uint32_t i = 0; i < d->n_layer; i++) {
        add(&t, TENSOR_NORM1, i, "input_layernorm.weight", c, 0);
        add(&t, TENSOR_WQ, i, "self_attn.q_proj.weight", q, c);
        add(&t, TENSOR_WK, i, "self_attn.k_proj.weight", kv, c);
        add(&t, TENSOR_WV, i, "self_attn.v_proj.weight", kv, c);
        if (d->qkv_bias) {
            add(&t, TENSOR_BQ, i, "self_attn.q_proj.bias", q, 0);
            add(&t, TENSOR_BK, i, "self_attn.k_proj.bias", kv, 0);
            add(&t, TENSOR_BV, i, "self_attn.v_proj.bias", kv, 0);
        }
        add(&t, TENSOR_WO, i, "self_attn.o_proj.weight", c, q);
        add(&t, TENSOR_NORM2, i, "post_attention_layernorm.weight", c, 0);
        add(&t, TENSOR_WGATE, i, "mlp.gate_proj.weight", d->n_ff, c);
        add(&t, TENSOR_WUP, i, "mlp.up_proj.weight", d->n_ff, c);
        add(&t, TENSOR_WDOWN, i, "mlp.down_proj.weight", c, d->n_ff);
    }
    add(&t, TENSOR_NORM_F, none, "model.norm.weight", c, 0);
    if (!d->tied) add(&t, TENSOR_LM_HEAD, none, "lm_head.weight", d->n_vocab, c);
    *ret_table = t;
    return ERR_OK;
}

void tensor_table_done(struct tensor_table *t)
{
    free(t->t);
    *t = (struct tensor_table){0};
}

const struct tensor_info *tensor_find(const struct tensor_table *t, enum tensor_role role, uint32_t layer)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->t[i].role == role && t->t[i].layer == layer) return &t->t[i];
    return NULL;
}
