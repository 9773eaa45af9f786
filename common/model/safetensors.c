// SPDX-License-Identifier: Apache-2.0
#include "common/model/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bf16.h"
#include "common/base/file.h"

/* The format allows 100,000,000; parsed JSON can take forty times its size, and a model of 1000 layers needs
 * under 2 MiB. */
#define HEADER_MAX (16u << 20)

static const struct {
    const char *name;
    uint32_t bytes;
} dtypes[ST_DTYPE_COUNT] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64", 8},
                            {"I32", 4}, {"I16", 2}, {"I8", 1},   {"U8", 1},  {"BOOL", 1}};

static enum err tensor_bad(struct why *why, const char *file, const char *tensor, const char *what)
{
    return why_set(why, ERR_FORMAT, "%s: tensor %.80s: %s", file, tensor, what);
}

static enum err parse_shape(json_t *shape, struct st_tensor *t, const char *file, struct why *why)
{
    size_t i;
    json_t *x;
    if (!json_is_array(shape) || json_array_size(shape) > 8)
        return tensor_bad(why, file, t->name, "shape is not a list of up to 8 sizes");
    t->n_elem = 1;
    json_array_foreach(shape, i, x)
    {
        if (!json_is_integer(x) || json_integer_value(x) < 0)
            return tensor_bad(why, file, t->name, "a size is not a number");
        t->dim[t->n_dim] = (uint64_t)json_integer_value(x);
        if (__builtin_mul_overflow(t->n_elem, t->dim[t->n_dim], &t->n_elem))
            return tensor_bad(why, file, t->name, "the shape overflows");
        t->n_dim++;
    }
    return ERR_OK;
}

static enum err parse_tensor(json_t *v, struct span data, struct st_tensor *t, uint64_t *ret_begin,
                             const char *file, struct why *why)
{
    const char *dtype = json_string_value(json_object_get(v, "dtype"));
    json_t *off = json_object_get(v, "data_offsets");
    uint32_t k = 0;
    if (!json_is_object(v) || !dtype) return tensor_bad(why, file, t->name, "no dtype");
    while (k < ST_DTYPE_COUNT && strcmp(dtype, dtypes[k].name)) k++;
    if (k == ST_DTYPE_COUNT) return tensor_bad(why, file, t->name, "dtype is not known");
    t->dtype = (enum st_dtype)k;
    TRY(parse_shape(json_object_get(v, "shape"), t, file, why));
    json_t *b = json_array_get(off, 0), *e = json_array_get(off, 1);
    if (!json_is_array(off) || json_array_size(off) != 2 || !json_is_integer(b) || !json_is_integer(e))
        return tensor_bad(why, file, t->name, "data_offsets is not a pair");
    const json_int_t begin = json_integer_value(b), end = json_integer_value(e);
    if (begin < 0 || end < begin || (uint64_t)end > data.n)
        return tensor_bad(why, file, t->name, "data_offsets point outside the file");
    uint64_t want;
    if (__builtin_mul_overflow(t->n_elem, (uint64_t)dtypes[k].bytes, &want) ||
        want != (uint64_t)(end - begin))
        return tensor_bad(why, file, t->name, "shape and data_offsets do not agree");
    t->data = data.p + begin;
    t->n_bytes = want;
    *ret_begin = (uint64_t)begin;
    return ERR_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->n_bytes < y->n_bytes ? -1 : x->n_bytes > y->n_bytes;
}

static enum err check_whole(const struct safetensors *f, struct span data, const char *file, struct why *why)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < f->n; i++) {
        if ((uint64_t)(f->t[i].data - data.p) != at)
            return tensor_bad(why, file, f->t[i].name, "overlaps another or leaves a hole");
        at += f->t[i].n_bytes;
    }
    if (at != data.n)
        return why_set(why, ERR_FORMAT, "%s: %zu bytes of data, %llu are described", file, data.n,
                       (unsigned long long)at);
    return ERR_OK;
}

static enum err parse_header(json_t *j, struct span data, struct safetensors *f, const char *file,
                             struct why *why)
{
    const char *key;
    json_t *v;
    uint64_t begin;
    f->t = calloc(json_object_size(j) + 1, sizeof *f->t);
    if (!f->t) return ERR_NOMEM;
    json_object_foreach(j, key, v)
    {
        if (!strcmp(key, "__metadata__")) {
            const char *mk;
            json_t *mv;
            if (!json_is_object(v))
                return why_set(why, ERR_FORMAT, "%s: __metadata__ is not an object", file);
            json_object_foreach(v, mk, mv) if (!json_is_string(mv)) return why_set(
                why, ERR_FORMAT, "%s: __metadata__ holds something that is not text", file);
            continue;
        }
        struct st_tensor *t = &f->t[f->n];
        t->name = strdup(key);
        if (!t->name) return ERR_NOMEM;
        f->n++;
        TRY(parse_tensor(v, data, t, &begin, file, why));
    }
    qsort(f->t, f->n, sizeof *f->t, by_place);
    return check_whole(f, data, file, why);
}

enum err safetensors_parse(struct span bytes, const char *name, struct safetensors *ret_file, struct why *why)
{
    uint64_t n = 0;
    struct safetensors f = {.map = bytes};
    for (unsigned i = 0; i < 8 && i < bytes.n; i++) n |= (uint64_t)bytes.p[i] << (8 * i);
    if (bytes.n < 8 || n > HEADER_MAX || n > bytes.n - 8 || n < 2 || bytes.p[8] != '{')
        return why_set(why, ERR_FORMAT, "%s: not a safetensors file (header of %llu bytes in a file of %zu)",
                       name, (unsigned long long)n, bytes.n);
    json_error_t je;
    json_t *j = json_loadb((const char *)bytes.p + 8, n, JSON_REJECT_DUPLICATES, &je);
    if (!j) return why_set(why, ERR_FORMAT, "%s: header: %s", name, je.text);
    enum err e = json_is_object(j) ? parse_header(j, span_of(bytes.p + 8 + n, bytes.n - 8 - n), &f, name, why)
                                   : why_set(why, ERR_FORMAT, "%s: the header is not an object", name);
    json_decref(j);
    if (e) {
        safetensors_close(&f);
        return e;
    }
    *ret_file = f;
    return ERR_OK;
}

enum err safetensors_open(const char *path, struct safetensors *ret_file, struct why *why)
{
    struct span m;
    TRY(file_map(path, &m, why));
    enum err e = safetensors_parse(m, path, ret_file, why);
    if (e)
        file_unmap(m);
    else
        ret_file->mapped = true;
    return e;
}

void safetensors_close(struct safetensors *f)
{
    for (uint32_t i = 0; i < f->n; i++) free(f->t[i].name);
    free(f->t);
    if (f->mapped) file_unmap(f->map);
    *f = (struct safetensors){0};
}

const struct st_tensor *safetensors_find(const struct safetensors *f, const char *name)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (!strcmp(f->t[i].name, name)) return &f->t[i];
    return NULL;
}

static float f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = (h >> 10) & 31, man = h & 1023;
    uint32_t u;
    float f;
    if (exp == 0) {
        f = (float)man * 0x1p-24f;
        return sign ? -f : f;
    }
    u = sign | (exp == 31 ? 0x7f800000u | man << 13 : (exp + 112) << 23 | man << 13);
    memcpy(&f, &u, 4);
    return f;
}

static float elem(const struct st_tensor *t, uint64_t i)
{
    uint16_t h;
    float f;
    if (t->dtype == ST_F32) {
        memcpy(&f, t->data + i * 4, 4);
        return f;
    }
    memcpy(&h, t->data + i * 2, 2);
    return t->dtype == ST_F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

static enum err check_float(const struct st_tensor *t, struct why *why)
{
    if (t->dtype == ST_F32 || t->dtype == ST_F16 || t->dtype == ST_BF16) return ERR_OK;
    return why_set(why, ERR_UNSUPPORTED, "tensor %.80s is %s: F32, F16 or BF16 is expected", t->name,
                   dtypes[t->dtype].name);
}

enum err st_read_f32(const struct st_tensor *t, float *out, struct why *why)
{
    TRY(check_float(t, why));
    for (uint64_t i = 0; i < t->n_elem; i++) out[i] = elem(t, i);
    return ERR_OK;
}

enum err st_read_bf16(const struct st_tensor *t, uint16_t *out, struct why *why)
{
    TRY(check_float(t, why));
    if (t->dtype == ST_BF16)
        memcpy(out, t->data, t->n_bytes);
    else
        for (uint64_t i = 0; i < t->n_elem; i++) out[i] = bf16_from_f32(elem(t, i));
    return ERR_OK;
}

/* -- writing
 * ---------------------------------------------------------------------------------------------------------
 */

static uint64_t write_bytes(const struct st_write *t)
{
    uint64_t n = dtypes[t->dtype].bytes;
    for (uint32_t i = 0; i < t->n_dim; i++) n *= t->dim[i];
    return n;
}

static json_t *describe(const struct st_write *t, uint64_t begin)
{
    json_t *shape = json_array();
    for (uint32_t k = 0; k < t->n_dim; k++) json_array_append_new(shape, json_integer((json_int_t)t->dim[k]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[t->dtype].name, "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + write_bytes(t)));
}

/* NULL: out of memory, or a name that is not UTF-8. transformers asks for the format in the metadata. */
static char *make_header(const struct st_write *t, uint32_t n)
{
    json_t *j = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    uint64_t at = 0;
    bool ok = j != NULL;
    for (uint32_t i = 0; ok && i < n; i++) {
        ok = !json_object_set_new(j, t[i].name, describe(&t[i], at));
        at += write_bytes(&t[i]);
    }
    assert(!ok || json_object_size(j) == (size_t)n + 1); /* two of one name are the caller's bug */
    char *s = ok ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return s;
}

static bool put(FILE *f, const void *p, uint64_t n)
{
    return fwrite(p, 1, n, f) == n;
}

static bool put_all(FILE *f, const char *head, const struct st_write *t, uint32_t n)
{
    const uint64_t len = strlen(head),
                   pad = (8 - len % 8) % 8; /* so that the data starts on a multiple of 8 */
    uint8_t size[8];
    for (unsigned i = 0; i < 8; i++) size[i] = (uint8_t)((len + pad) >> (8 * i));
    bool ok = put(f, size, 8) && put(f, head, len) && put(f, "        ", pad);
    for (uint32_t i = 0; ok && i < n; i++) ok = put(f, t[i].data, write_bytes(&t[i]));
    return ok && !fflush(f) && !fsync(fileno(f));
}

enum err safetensors_write(const char *path, const struct st_write *t, uint32_t n, struct why *why)
{
    char tmp[4096];
    if ((size_t)snprintf(tmp, sizeof tmp, "%s.tmp", path) >= sizeof tmp)
        return why_set(why, ERR_INVAL, "%s: path too long", path);
    char *head = make_header(t, n);
    if (!head) return why_set(why, ERR_NOMEM, "%s: no memory for the header", path);
    FILE *f = fopen(tmp, "wbe");
    bool ok = f && put_all(f, head, t, n);
    int saved = errno;
    free(head);
    if (f && fclose(f) && ok) ok = false, saved = errno;
    if (ok && rename(tmp, path)) ok = false, saved = errno;
    if (ok) return ERR_OK;
    if (f) unlink(tmp);
    return why_set(why, err_from_errno(saved), "%s: cannot write: %s", path, strerror(saved));
}
