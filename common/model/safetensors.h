// SPDX-License-Identifier: Apache-2.0
/* safetensors.h - the file format of weights: a JSON header and raw tensors, read by mapping, written in one
 * pass.
 *
 * Every rule of the reference implementation (huggingface/safetensors, tensor.rs) is checked before anything
 * is used: header size, UTF-8 JSON object, no duplicate names, no holes, no overlaps, shapes that match byte
 * ranges, nothing after the last tensor. A file that breaks one is ERR_FORMAT with words that name the file
 * and the tensor. Blocking. */
#ifndef COMMON_MODEL_SAFETENSORS_H
#define COMMON_MODEL_SAFETENSORS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"

enum st_dtype {
    ST_F32,
    ST_F16,
    ST_BF16,
    ST_F64,
    ST_I64,
    ST_I32,
    ST_I16,
    ST_I8,
    ST_U8,
    ST_BOOL,
    ST_DTYPE_COUNT
};

struct st_tensor {
    char *name;
    enum st_dtype dtype;
    uint32_t n_dim;
    uint64_t dim[8];
    const uint8_t *data; /* borrows the file; may be unaligned */
    uint64_t n_bytes, n_elem;
};

struct safetensors {
    struct span map;
    bool mapped;
    uint32_t n;
    struct st_tensor *t; /* [n] in file order */
};

enum err safetensors_open(const char *path, struct safetensors *ret_file, struct why *why) MUST_CHECK;
/* From bytes that outlive the result; name stands in the words. For tests and fuzzing. */
enum err safetensors_parse(struct span bytes, const char *name, struct safetensors *ret_file,
                           struct why *why) MUST_CHECK;
void safetensors_close(struct safetensors *f);
const struct st_tensor *safetensors_find(const struct safetensors *f, const char *name); /* NULL: none */

/* All elements as fp32 or as bf16 (round to nearest even) into out[n_elem]. ERR_UNSUPPORTED: not F32, F16 or
 * BF16. */
enum err st_read_f32(const struct st_tensor *t, float *out, struct why *why) MUST_CHECK;
enum err st_read_bf16(const struct st_tensor *t, uint16_t *out, struct why *why) MUST_CHECK;

/* What to write: tensors in this order, no name twice, data borrowed for the call. Bytes are a function of
 * the contents alone. path is replaced in one step once the file is on the disk; the rename itself becomes
 * durable with the folder's fsync. */
struct st_write {
    const char *name;
    enum st_dtype dtype;
    uint32_t n_dim;
    uint64_t dim[8];
    const void *data;
};
enum err safetensors_write(const char *path, const struct st_write *t, uint32_t n,
                           struct why *why) MUST_CHECK;

#endif
