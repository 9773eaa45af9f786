// SPDX-License-Identifier: Apache-2.0
/* folder.h - a Hugging Face model folder, in and out: config.json, model.safetensors (or shards with their
 * index), tokenizer.json, tokenizer_config.json. Any thread; blocks on the disk. */
#ifndef COMMON_MODEL_FOLDER_H
#define COMMON_MODEL_FOLDER_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/model/dims.h"

/* Read the tensors into an image of table order: fp32 (may be NULL) and bf16 (may be NULL), [n_param] each.
 * One that is missing, unknown, twice there or of another shape is ERR_FORMAT with its name; passed over are
 * rotary_emb.inv_freq (old files) and an lm_head.weight that equals the tied embedding. ERR_NOENT, ERR_ACCESS
 * name the file. On failure the images hold anything. */
enum err folder_load(const char *dir, const struct tensor_table *table, float *ret_f32, uint16_t *ret_bf16,
                     struct why *why) MUST_CHECK;

/* Write config.json and model.safetensors (bf16) into the existing folder dir, and copy the tokenizer's files
 * from `from` (may be NULL). Not atomic by itself: callers write to a temporary folder and file_publish_dir()
 * it. */
enum err folder_save(const char *dir, const struct dims *d, const struct tensor_table *table,
                     const uint16_t *image, const char *from, struct why *why) MUST_CHECK;

/* Random weights (fp32 [n_param]): matrices normal(0, 0.02) as transformers' initializer_range, norms 1,
 * biases 0. The same bits for the same seed on every machine. */
void folder_init_weights(const struct tensor_table *table, uint64_t seed, float *ret_f32);

#endif
