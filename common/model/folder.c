// SPDX-License-Identifier: Apache-2.0
#include "common/model/folder.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/model/safetensors.h"

#define SHARDS_MAX      1000
#define INDEX_MAX_BYTES (8u << 20)

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

/* The files that hold a folder's tensors: one, or the shards that the index names. */
struct shards {
    uint32_t n;
    struct shard {
        char path[PATH_MAX];
        struct safetensors file;
    } * at;
};

static void close_shards(struct shards *s)
{
    for (uint32_t i = 0; i < s->n; i++) safetensors_close(&s->at[i].file);
    free(s->at);
}

static enum err open_shard(struct shards *s, const char *dir, const char *name, struct why *why)
{
    struct shard *x = realloc(s->at, (s->n + 1) * sizeof *x);
    if (!x) return why_set(why, ERR_NOMEM, "%s/%s: out of memory", dir, name);
    s->at = x;
    x += s->n;
    snprintf(x->path, sizeof x->path, "%s/%s", dir, name);
    TRY(safetensors_open(x->path, &x->file, why));
    s->n++;
    return ERR_OK;
}

/* A name in the index is outside bytes: it must stay a plain name in this folder. */
static enum err open_named(struct shards *s, const char *dir, const char *index, const char *name,
                           struct why *why)
{
    if (!name || !*name || *name == '.' || strchr(name, '/') || strlen(name) > NAME_MAX)
        return why_set(why, ERR_FORMAT, "%s: a shard's name is not that of a file in the folder", index);
    for (uint32_t i = 0; i < s->n; i++)
        if (!strcmp(strrchr(s->at[i].path, '/') + 1, name)) return ERR_OK;
    if (s->n == SHARDS_MAX) return why_set(why, ERR_RANGE, "%s: more than %d shards", index, SHARDS_MAX);
    return open_shard(s, dir, name, why);
}

static enum err open_indexed(struct shards *s, const char *dir, const char *index, struct why *why)
{
    char *text;
    size_t n;
    json_error_t je;
    const char *tensor;
    json_t *file;
    TRY(file_read(index, INDEX_MAX_BYTES, &text, &n, why));
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
    free(text);
    if (!j) return why_set(why, ERR_FORMAT, "%s: line %d: %s", index, je.line, je.text);
    json_t *map = json_object_get(j, "weight_map");
    enum err e = ERR_OK;
    if (!json_is_object(map)) e = why_set(why, ERR_FORMAT, "%s: weight_map is missing", index);
    json_object_foreach(map, tensor, file)
    {
        if (!e) e = open_named(s, dir, index, json_string_value(file), why);
    }
    json_decref(j);
    return e;
}

/* As transformers does: the single file if it is there, else the index. */
static enum err open_shards(struct shards *s, const char *dir, struct why *why)
{
    char one[PATH_MAX], index[PATH_MAX];
    snprintf(one, sizeof one, "%s/model.safetensors", dir);
    snprintf(index, sizeof index, "%s/model.safetensors.index.json", dir);
    if (file_exists(one) || !file_exists(index)) return open_shard(s, dir, "model.safetensors", why);
    return open_indexed(s, dir, index, why);
}

/* The tensor of that name; ret_path: of its file. NULL: none. */
static const struct st_tensor *find(const struct shards *s, const char *name, const char **ret_path)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const struct st_tensor *t = safetensors_find(&s->at[i].file, name);
        *ret_path = s->at[i].path;
        if (t) return t;
    }
    return NULL;
}

/* Old files carry the rotary table as a buffer; and a head beside a tied embedding is fine if it is the
 * embedding. */
static enum err check_extra(const struct st_tensor *x, const struct shards *s, const char *path,
                            struct why *why)
{
    static const char buffer[] = ".rotary_emb.inv_freq", head[] = "lm_head.weight";
    const size_t n = strlen(x->name), k = sizeof buffer - 1;
    const char *embed_path;
    if (n > k && !strcmp(x->name + n - k, buffer)) return ERR_OK;
    if (strcmp(x->name, head))
        return why_set(why, ERR_FORMAT, "%s: tensor %.80s is not part of this architecture", path, x->name);
    const struct st_tensor *embed = find(s, "model.embed_tokens.weight", &embed_path);
    if (embed && embed->dtype == x->dtype && embed->n_bytes == x->n_bytes &&
        !memcmp(embed->data, x->data, x->n_bytes))
        return ERR_OK;
    return why_set(why, ERR_FORMAT,
                   "%s: lm_head.weight differs from the embedding, but config.json says tie_word_embeddings",
                   path);
}

/* Every tensor of the files is wanted, and stands in one of them only. */
static enum err check_names(const struct tensor_table *t, const struct shards *s, struct why *why)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const struct shard *x = &s->at[i];
        for (uint32_t k = 0; k < x->file.n; k++) {
            const char *first, *name = x->file.t[k].name;
            if (!by_name(t, name))
                TRY(check_extra(&x->file.t[k], s, x->path, why));
            else if (find(s, name, &first) != &x->file.t[k])
                return why_set(why, ERR_FORMAT, "%s: tensor %s is in %s too", x->path, name, first);
        }
    }
    return ERR_OK;
}

static enum err load_all(const struct tensor_table *t, const struct shards *s, const char *dir, float *f32,
                         uint16_t *b16, struct why *why)
{
    TRY(check_names(t, s, why));
    for (uint32_t i = 0; i < t->n; i++) {
        const struct tensor_info *want = &t->t[i];
        const char *path;
        const struct st_tensor *have = find(s, want->name, &path);
        if (!have) return why_set(why, ERR_FORMAT, "%s: tensor %s is missing", dir, want->name);
        if (!same_shape(want, have))
            return why_set(why, ERR_FORMAT, "%s: tensor %s does not have the shape that config.json says",
                           path, want->name);
        enum err e = f32 ? st_read_f32(have, f32 + want->offset, why) : ERR_OK;
        if (!e && b16) e = st_read_bf16(have, b16 + want->offset, why);
        if (e) return why_add(why, e, "%s", path);
    }
    return ERR_OK;
}

enum err folder_load(const char *dir, const struct tensor_table *table, float *ret_f32, uint16_t *ret_bf16,
                     struct why *why)
{
    struct shards s = {0};
    enum err e = open_shards(&s, dir, why);
    if (!e) e = load_all(table, &s, dir, ret_f32, ret_bf16, why);
    close_shards(&s);
    return e;
}

static enum err copy_if_there(const char *from, const char *dir, const char *name, struct why *why)
{
    char a[4096], b[4096];
    snprintf(a, sizeof a, "%s/%s", from, name);
    snprintf(b, sizeof b, "%s/%s", dir, name);
    return file_exists(a) ? file_copy(a, b, why) : ERR_OK;
}

enum err folder_save(const char *dir, const struct dims *d, const struct tensor_table *table,
                     const uint16_t *image, const char *from, struct why *why)
{
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json", "generation_config.json"};
    char path[4096];
    struct st_write *w = calloc(table->n, sizeof *w);
    if (!w) return ERR_NOMEM;
    for (uint32_t i = 0; i < table->n; i++) {
        const struct tensor_info *t = &table->t[i];
        w[i] = (struct st_write){.name = t->name,
                                 .dtype = ST_BF16,
                                 .n_dim = t->is_vector ? 1 : 2,
                                 .dim = {t->rows, t->cols},
                                 .data = image + t->offset};
    }
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    enum err e = safetensors_write(path, w, table->n, why);
    free(w);
    if (!e) e = dims_write(dir, d, why);
    for (unsigned i = 0; !e && from && i < sizeof files / sizeof *files; i++)
        e = copy_if_there(from, dir, files[i], why);
    return e;
}

/* Close to normal(0, 1) from eight 16-bit numbers: their sum, centred and scaled to variance 1 (central limit
 * theorem; excess kurtosis -0.15, nothing beyond 4.9). Whole numbers and one product, so no C library can
 * change a bit. */
static double normal(uint64_t seed, uint64_t stream, uint64_t i)
{
    const struct rng4 r = rng_philox(seed, i, stream);
    int64_t sum = -8 * 65535 / 2;
    for (int k = 0; k < 4; k++) sum += (r.v[k] & 0xffff) + (r.v[k] >> 16);
    return (double)sum * 0x1.3988e1412ed76p-16; /* 1 / sqrt(8 (65536^2 - 1) / 12) */
}

void folder_init_weights(const struct tensor_table *table, uint64_t seed, float *ret_f32)
{
    for (uint32_t i = 0; i < table->n; i++) {
        const struct tensor_info *t = &table->t[i];
        const uint64_t n = (uint64_t)t->rows * t->cols;
        const bool bias = t->role == TENSOR_BQ || t->role == TENSOR_BK || t->role == TENSOR_BV;
        for (uint64_t k = 0; k < n; k++)
            ret_f32[t->offset + k] =
                t->is_vector ? (bias ? 0.0f : 1.0f) : (float)(0.02 * normal(seed, i + 1, k));
    }
}
