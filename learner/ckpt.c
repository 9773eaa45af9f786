// SPDX-License-Identifier: Apache-2.0
#include "learner/ckpt.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/model/folder.h"
#include "common/model/safetensors.h"

enum err ckpt_init(struct ckpt *c, uint64_t n_param)
{
    *c = (struct ckpt){.accuracy = NAN, .first_accuracy = NAN};
    c->master = malloc(n_param * sizeof(float));
    c->m = malloc(n_param * sizeof(float));
    c->v = malloc(n_param * sizeof(float));
    c->image = malloc(n_param * sizeof(uint16_t));
    if (c->master && c->m && c->v && c->image) return ERR_OK;
    ckpt_done(c);
    return ERR_NOMEM;
}

void ckpt_done(struct ckpt *c)
{
    free(c->master), free(c->m), free(c->v), free(c->image);
    *c = (struct ckpt){0};
}

static json_t *number(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

static enum err write_state(const char *dir, const struct ckpt *c, struct why *why)
{
    char path[4096 + 32]; /* dir may fill 4096 */
    json_t *j = json_pack("{s:I, s:I, s:I, s:b, s:o, s:o}", "global_step", (json_int_t)c->step, "adam_t", (json_int_t)c->adam_t, "seed",
                          (json_int_t)c->seed, "finished", c->finished, "accuracy", number(c->accuracy), "first_accuracy", number(c->first_accuracy));
    char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
    json_decref(j);
    if (!text) return ERR_NOMEM;
    snprintf(path, sizeof path, "%s/trainer_state.json", dir);
    enum err e = file_write(path, text, strlen(text), why);
    free(text);
    return e;
}

static enum err write_all(const char *dir, const struct ckpt *c, const struct dims *d, const struct tensor_table *t, const char *from,
                          struct why *why)
{
    char path[4096 + 32]; /* dir may fill 4096 */
    const struct st_write w[] = {{"master", ST_F32, 1, {t->n_param}, c->master}, {"exp_avg", ST_F32, 1, {t->n_param}, c->m},
                                 {"exp_avg_sq", ST_F32, 1, {t->n_param}, c->v}};
    TRY(folder_save(dir, d, t, c->image, from, why));
    snprintf(path, sizeof path, "%s/optimizer.safetensors", dir);
    TRY(safetensors_write(path, w, 3, why));
    return write_state(dir, c, why);
}

/* step-N with its state: the number; else -1. */
static long long step_of(const char *parent, const char *name)
{
    char path[4096], *end;
    if (strncmp(name, "step-", 5)) return -1;
    const long long n = strtoll(name + 5, &end, 10);
    if (*end || end == name + 5 || n < 0) return -1;
    snprintf(path, sizeof path, "%s/%s/trainer_state.json", parent, name);
    return file_exists(path) ? n : -1;
}

/* The lowest or the highest step number below parent; -1: none. n: how many there are. */
static long long scan(const char *parent, bool highest, uint32_t *n)
{
    long long best = -1;
    *n = 0;
    DIR *d = opendir(parent);
    if (!d) return -1;
    for (struct dirent *x; (x = readdir(d));) {
        const long long s = step_of(parent, x->d_name);
        if (s < 0) continue;
        ++*n;
        if (best < 0 || (highest ? s > best : s < best)) best = s;
    }
    closedir(d);
    return best;
}

/* A folder loses its name before its files, or a kill in between would leave half of one that looks whole. */
static enum err retire(const char *parent, long long step, struct why *why)
{
    char path[4096], gone[4096];
    snprintf(path, sizeof path, "%s/step-%lld", parent, step);
    snprintf(gone, sizeof gone, "%s/.step-%lld.gone", parent, step);
    TRY(file_remove_tree(gone, why));
    if (rename(path, gone)) return why_set(why, err_from_errno(errno), "%s: cannot remove: %s", path, strerror(errno));
    return file_remove_tree(gone, why);
}

static enum err keep_newest(const char *parent, uint32_t keep, struct why *why)
{
    uint32_t n;
    for (;;) {
        const long long s = scan(parent, false, &n);
        if (n <= keep) return ERR_OK;
        TRY(retire(parent, s, why));
    }
}

/* What killed ones left: folders that were being written or removed. */
static enum err sweep(const char *parent, struct why *why)
{
    char path[4096];
    enum err e = ERR_OK;
    DIR *d = opendir(parent);
    if (!d) return why_set(why, err_from_errno(errno), "%s: cannot open: %s", parent, strerror(errno));
    for (struct dirent *x; !e && (x = readdir(d));) {
        if (strncmp(x->d_name, ".step-", 6)) continue;
        if ((size_t)snprintf(path, sizeof path, "%s/%s", parent, x->d_name) < sizeof path) e = file_remove_tree(path, why);
    }
    closedir(d);
    return e;
}

/* tmp becomes `to`; a folder of that name is replaced in one step where the file system can, else it is set aside for a moment. */
static enum err publish(const char *parent, const char *tmp, const char *to, uint64_t step, struct why *why)
{
    if (!file_exists(to)) return file_publish_dir(tmp, to, why);
    enum err e = file_swap_dir(tmp, to, why);
    if (e == ERR_UNSUPPORTED) {
        TRY(retire(parent, (long long)step, why));
        return file_publish_dir(tmp, to, why);
    }
    return e ? e : file_remove_tree(tmp, why);
}

enum err ckpt_save(const char *run_dir, const struct ckpt *c, const struct dims *d, const struct tensor_table *t, const char *tokenizer_from,
                   uint32_t keep, struct why *why)
{
    char parent[3000], tmp[4096], to[4096];
    if ((size_t)snprintf(parent, sizeof parent, "%s/checkpoints", run_dir) >= sizeof parent)
        return why_set(why, ERR_INVAL, "%.100s...: path too long", run_dir);
    snprintf(tmp, sizeof tmp, "%s/.step-%llu.tmp", parent, (unsigned long long)c->step);
    snprintf(to, sizeof to, "%s/step-%llu", parent, (unsigned long long)c->step);
    TRY(file_mkdirs(parent, why));
    TRY(sweep(parent, why));
    TRY(file_mkdirs(tmp, why));
    enum err e = write_all(tmp, c, d, t, tokenizer_from, why);
    if (!e) e = publish(parent, tmp, to, c->step, why);
    if (e) {
        if (file_remove_tree(tmp, NULL)) return e; /* the first error is the one to tell */
        return e;
    }
    return keep_newest(parent, keep, why);
}

enum err ckpt_remove_all(const char *run_dir, struct why *why)
{
    char parent[3000];
    snprintf(parent, sizeof parent, "%s/checkpoints", run_dir);
    return file_exists(parent) ? keep_newest(parent, 0, why) : ERR_OK;
}

enum err ckpt_newest(const char *run_dir, char *out, size_t cap)
{
    char parent[3000];
    uint32_t n;
    snprintf(parent, sizeof parent, "%s/checkpoints", run_dir);
    const long long s = scan(parent, true, &n);
    if (s < 0) return ERR_NOENT;
    snprintf(out, cap, "%s/step-%lld", parent, s);
    return ERR_OK;
}

static bool get_count(json_t *j, const char *name, uint64_t *ret)
{
    json_t *v = json_object_get(j, name);
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *ret = (uint64_t)json_integer_value(v);
    return true;
}

enum err ckpt_parse_state(struct span json, const char *name, struct ckpt *c, struct why *why)
{
    struct ckpt s = *c;
    json_t *j = json_loadb((const char *)json.p, json.n, JSON_REJECT_DUPLICATES, NULL), *acc = json_object_get(j, "accuracy");
    json_t *first = json_object_get(j, "first_accuracy");
    const bool ok = get_count(j, "global_step", &s.step) && get_count(j, "adam_t", &s.adam_t) && get_count(j, "seed", &s.seed);
    s.finished = json_is_true(json_object_get(j, "finished"));
    s.accuracy = json_is_number(acc) ? json_number_value(acc) : NAN;
    s.first_accuracy = json_is_number(first) ? json_number_value(first) : NAN;
    json_decref(j);
    if (!ok) return why_set(why, ERR_FORMAT, "%s: not the state of a checkpoint", name);
    *c = s;
    return ERR_OK;
}

static enum err read_state(const char *dir, struct ckpt *c, struct why *why)
{
    char path[4096], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/trainer_state.json", dir);
    TRY(file_read(path, 1u << 20, &text, &n, why));
    enum err e = ckpt_parse_state(span_of(text, n), path, c, why);
    free(text);
    return e;
}

static enum err read_one(const struct safetensors *f, const char *name, uint64_t n, float *out, const char *path, struct why *why)
{
    const struct st_tensor *t = safetensors_find(f, name);
    if (!t || t->n_elem != n || t->dtype != ST_F32) return why_set(why, ERR_FORMAT, "%s: %s is missing or of another size", path, name);
    return st_read_f32(t, out, why);
}

enum err ckpt_load(const char *dir, struct ckpt *c, const struct tensor_table *t, struct why *why)
{
    char path[4096];
    struct safetensors f;
    TRY(read_state(dir, c, why));
    snprintf(path, sizeof path, "%s/optimizer.safetensors", dir);
    TRY(safetensors_open(path, &f, why));
    enum err e = read_one(&f, "master", t->n_param, c->master, path, why);
    if (!e) e = read_one(&f, "exp_avg", t->n_param, c->m, path, why);
    if (!e) e = read_one(&f, "exp_avg_sq", t->n_param, c->v, path, why);
    safetensors_close(&f);
    return e;
}
