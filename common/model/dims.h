// SPDX-License-Identifier: Apache-2.0
/* dims.h - the shape of a model, read from a Hugging Face config.json, and the table of its tensors.
 *
 * Letters as in docs/letters.md. The order of the tensor table is canonical for master weights, optimiser
 * state, weight pushes and checkpoints: one flat array ("image") of n_param elements, tensor after tensor, no
 * gaps. q, k and v stand side by side (weights, then biases), gate beside up, so a fused product reads or
 * writes one region. */
#ifndef COMMON_MODEL_DIMS_H
#define COMMON_MODEL_DIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"

#define DIMS_MAX_EOS 8

struct dims {
    uint32_t n_layer;   /* L */
    uint32_t n_embd;    /* C, multiple of 32 */
    uint32_t n_head;    /* H */
    uint32_t n_head_kv; /* Hk, divides H */
    uint32_t head_dim;  /* D, multiple of 16, at most 256 */
    uint32_t n_ff;      /* F, multiple of 32 */
    uint32_t n_vocab;   /* V: rows of the embedding, multiple of 16 */
    uint32_t max_pos;   /* longest sequence the position table covers */
    float rope_theta;
    float rms_eps;
    bool tied;     /* the head is the embedding: no lm_head.weight */
    bool qkv_bias; /* Qwen2: true */
    uint32_t n_eos;
    int32_t eos[DIMS_MAX_EOS]; /* eos_token_id of config.json, one or several */
};

/* Read and check `dir`/config.json. ERR_NOENT, ERR_FORMAT, ERR_UNSUPPORTED (another architecture, a sliding
 * window in use, an unknown rope scaling ...); the words name the file and the field. */
enum err dims_read(const char *dir, struct dims *ret_dims, struct why *why) MUST_CHECK;

/* The same from the bytes of a config.json; name stands in the words. A node gets them in its welcome. */
enum err dims_parse(struct span json, const char *name, struct dims *ret_dims, struct why *why) MUST_CHECK;

/* The text of a config.json that transformers opens as Qwen2ForCausalLM. The caller frees it; NULL: out of
 * memory. */
char *dims_print(const struct dims *d);

/* Write `dir`/config.json so that transformers opens it as Qwen2ForCausalLM. */
enum err dims_write(const char *dir, const struct dims *d, struct why *why) MUST_CHECK;

/* Are the numbers within what the kernels do? ERR_RANGE with the field's name. */
enum err dims_check(const struct dims *d, struct why *why) MUST_CHECK;

/* What a tensor is to the model. Per-layer roles repeat for each layer. */
enum tensor_role {
    TENSOR_EMBED,   /* [V, C] */
    TENSOR_NORM1,   /* [C] input_layernorm */
    TENSOR_WQ,      /* [H*D, C] */
    TENSOR_WK,      /* [Hk*D, C] */
    TENSOR_WV,      /* [Hk*D, C] */
    TENSOR_BQ,      /* [H*D] */
    TENSOR_BK,      /* [Hk*D] */
    TENSOR_BV,      /* [Hk*D] */
    TENSOR_WO,      /* [C, H*D] */
    TENSOR_NORM2,   /* [C] post_attention_layernorm */
    TENSOR_WGATE,   /* [F, C] */
    TENSOR_WUP,     /* [F, C] */
    TENSOR_WDOWN,   /* [C, F] */
    TENSOR_NORM_F,  /* [C] */
    TENSOR_LM_HEAD, /* [V, C], absent when tied */
};

struct tensor_info {
    char name[80]; /* the Hugging Face name */
    enum tensor_role role;
    uint32_t layer;      /* 0 for those outside the layers */
    uint32_t rows, cols; /* a vector has rows = its length, cols = 1 and is 1-dimensional in files */
    bool is_vector;
    uint64_t offset; /* first element in the image */
};

struct tensor_table {
    uint32_t n;
    uint64_t n_param; /* elements of the image */
    struct tensor_info *t;
};

/* Build the canonical table. The caller owns it: tensor_table_done(). ERR_NOMEM. */
enum err tensor_table_init(const struct dims *d, struct tensor_table *ret_table) MUST_CHECK;
void tensor_table_done(struct tensor_table *t);

/* The entry of (role, layer); NULL when this model has none. */
const struct tensor_info *tensor_find(const struct tensor_table *t, enum tensor_role role, uint32_t layer);

#endif
