// SPDX-License-Identifier: Apache-2.0
#include "common/model/folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/model/safetensors.h"

static const struct tensor_info *by_name(const struct tensor_table *t, const char *name)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (!strcmp(t->t[i].name, name)) return &t->t[i];
    return NULL;
}

static bool same_shape(const struct tensor_info *want, const struct st_tensor *have)
{
    if (want->is_vector) return have->n_dim == 1 && have->dim[0] == want->rows;
    return have->n_dim == 2 && have->dim[0] == want->rows && have->dim[1] == want->cols;
}

static enum err check_names(const struct tensor_table *t, const struct safetensors *f, const char *path, struct why *why)
{
    for (uint32_t i = 0; i < f->n; i++) {
        const char *name = f->t[i].name;
        if (by_name(t, name) || !strcmp(name, "lm_head.weight")) continue;
        return why_set(why, ERR_FORMAT, "%s: tensor %s is not part of this architecture", path, name);
    }
    return ERR_OK;
}

static enum err load_all(const struct tensor_table *t, const struct safetensors *f, const char *path, float *f32, uint16_t *b16,
                         struct why *why)
{
    TRY(check_names(t, f, path, why));
    for (uint32_t i = 0; i < t->n; i++) {
        const struct tensor_info *want = &t->t[i];
        const struct st_tensor *have = safetensors_find(f, want->name);
        if (!have) return why_set(why, ERR_FORMAT, "%s: tensor %s is missing", path, want->name);
        if (!same_shape(want, have))
            return why_set(why, ERR_FORMAT, "%s: tensor %s does not have the shape that config.json says", path, want->name);
        enum err e = f32 ? st_read_f32(have, f32 + want->offset, why) : ERR_OK;
        if (!e && b16) e = st_read_bf16(have, b16 + want->offset, why);
        if (e) return why_add(why, e, "%s", path);
    }
    return ERR_OK;
}

enum err folder_load(const char *dir, const struct tensor_table *table, float *ret_f32, uint16_t *ret_bf16, struct why *why)
{
    char path[4096];
    struct safetensors f;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    TRY(safetensors_open(path, &f, why));
    enum err e = load_all(table, &f, path, ret_f32, ret_bf16, why);
    safetensors_close(&f);
    return e;
}

static enum err copy_if_there(const char *from, const char *dir, const char *name, struct why *why)
{
    char a[4096], b[4096];
    snprintf(a, sizeof a, "%s/%s", from, name);
    snprintf(b, sizeof b, "%s/%s", dir, name);
    return file_exists(a) ? file_copy(a, b, why) : ERR_OK;
}

enum err folder_save(const char *dir, const struct dims *d, const struct tensor_table *table, const uint16_t *image, const char *from,
                     struct why *why)
{
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json", "generation_config.json"};
    char path[4096];
    struct st_write *w = calloc(table->n, sizeof *w);
    if (!w) return ERR_NOMEM;
    for (uint32_t i = 0; i < table->n; i++) {
        const struct tensor_info *t = &table->t[i];
        w[i] = (struct st_write){.name = t->name, .dtype = ST_BF16, .n_dim = t->is_vector ? 1 : 2, .dim = {t->rows, t->cols},
                                 .data = image + t->offset};
    }
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    enum err e = safetensors_write(path, w, table->n, why);
    free(w);
    if (!e) e = dims_write(dir, d, why);
    for (unsigned i = 0; !e && from && i < sizeof files / sizeof *files; i++) e = copy_if_there(from, dir, files[i], why);
    return e;
}

/* Box and Muller 1958 on two 32-bit words, in double: the same on every compiler up to the C library's log, cos. */
static double normal(uint64_t word)
{
    const double u = ((double)(word >> 32) + 0.5) * 0x1p-32, v = (double)(uint32_t)word * 0x1p-32;
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

void folder_init_weights(const struct tensor_table *table, uint64_t seed, float *ret_f32)
{
    for (uint32_t i = 0; i < table->n; i++) {
        const struct tensor_info *t = &table->t[i];
        const uint64_t n = (uint64_t)t->rows * t->cols;
        const bool bias = t->role == TENSOR_BQ || t->role == TENSOR_BK || t->role == TENSOR_BV;
        for (uint64_t k = 0; k < n; k++)
            ret_f32[t->offset + k] = t->is_vector ? (bias ? 0.0f : 1.0f) : (float)(0.02 * normal(rng_u64(seed, i + 1, k)));
    }
}
