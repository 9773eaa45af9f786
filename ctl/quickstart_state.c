// SPDX-License-Identifier: Apache-2.0
/* quickstart_state.c - what lies in the folder of a quickstart: its own file, checkpoints, and the names that
 * --fresh may remove. */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "ctl/ctl.h"
#include "ctl/quickstart.h"

#define MAX_JSON (1u << 20)

/* Takes nothing; the caller owns *ret. */
static enum err read_object(const char *path, json_t **ret, struct why *why)
{
    char *text;
    size_t n;
    json_error_t je;
    TRY(file_read(path, MAX_JSON, &text, &n, why));
    *ret = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
    free(text);
    if (json_is_object(*ret)) return ERR_OK;
    json_decref(*ret);
    return why_set(why, ERR_FORMAT, "%s: not a JSON object", path);
}

enum err state_read(const char *dir, struct quickstart_state *ret, struct why *why)
{
    char path[QUICKSTART_PATH + 64];
    json_t *j;
    snprintf(path, sizeof path, "%s/quickstart.json", dir);
    if (!file_exists(path)) return why_set(why, ERR_NOENT, "%s: not there", path);
    TRY(read_object(path, &j, why));
    const json_t *seed = json_object_get(j, "seed"), *level = json_object_get(j, "sft_level");
    const bool ok = json_is_integer(seed) && json_integer_value(seed) >= 0 && json_is_integer(level) &&
                    json_integer_value(level) >= 0;
    const double elapsed = js_num(j, "elapsed_s"), sft = js_num(j, "sft_s");
    if (ok)
        *ret = (struct quickstart_state){.seed = (uint64_t)json_integer_value(seed),
                                         .control = js_true(j, "control"),
                                         .async = js_true(j, "async"),
                                         .sft_level = (uint32_t)json_integer_value(level),
                                         .elapsed_s = elapsed > 0 ? elapsed : 0,
                                         .sft_s = sft > 0 ? sft : 0};
    json_decref(j);
    return ok ? ERR_OK
              : why_set(why, ERR_FORMAT,
                        "%s: seed or sft_level is missing: is it a quickstart's? --fresh starts anew", path);
}

enum err state_write(const char *dir, const struct quickstart_state *s, struct why *why)
{
    char path[QUICKSTART_PATH + 64];
    snprintf(path, sizeof path, "%s/quickstart.json", dir);
    json_t *j = json_pack("{s:I, s:b, s:b, s:i, s:f, s:f}", "seed", (json_int_t)s->seed, "control",
                          s->control, "async", s->async, "sft_level", (int)s->sft_level, "elapsed_s",
                          s->elapsed_s, "sft_s", s->sft_s);
    char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
    json_decref(j);
    if (!text) return why_set(why, ERR_NOMEM, "%s: out of memory", path);
    enum err e = file_write(path, text, strlen(text), why);
    free(text);
    return e;
}

/* -- checkpoints -------------------------------------------------------------------------------- */

/* step-N with its state: N; else -1. */
static long long step_of(const char *parent, const char *name)
{
    char path[QUICKSTART_PATH + 400], *end;
    if (strncmp(name, "step-", 5) || !name[5]) return -1;
    errno = 0;
    const long long n = strtoll(name + 5, &end, 10);
    if (*end || errno || n < 0) return -1;
    snprintf(path, sizeof path, "%s/%s/trainer_state.json", parent, name);
    return file_exists(path) ? n : -1;
}

enum err state_ckpt(const char *run_dir, struct quickstart_ckpt *ret, struct why *why)
{
    char parent[QUICKSTART_PATH + 32], path[QUICKSTART_PATH + 128];
    long long newest = -1;
    json_t *j;
    snprintf(parent, sizeof parent, "%s/checkpoints", run_dir);
    DIR *d = opendir(parent);
    for (struct dirent *x; d && (x = readdir(d));) {
        const long long n = step_of(parent, x->d_name);
        if (n > newest) newest = n;
    }
    if (d) closedir(d);
    if (newest < 0) return why_set(why, ERR_NOENT, "%s: no checkpoint", parent);
    *ret = (struct quickstart_ckpt){.step = (uint64_t)newest};
    snprintf(ret->dir, sizeof ret->dir, "%s/step-%lld", parent, newest);
    snprintf(path, sizeof path, "%s/trainer_state.json", ret->dir);
    TRY(read_object(path, &j, why));
    ret->finished = js_true(j, "finished");
    ret->accuracy = js_num(j, "accuracy");
    ret->first_accuracy = js_num(j, "first_accuracy");
    json_decref(j);
    return ERR_OK;
}

/* -- starting afresh ---------------------------------------------------------------------------- */

/* Everything that a run makes. quickstart.json goes last, so that a removal that was broken off can be taken
 * up again; quickstart.lock stays. */
static const char *const made[] = {"sft",         "checkpoints",  "model",          "data",
                                   "run.db",      "run.db-wal",   "run.db-shm",     "metrics.jsonl",
                                   "reward.svg",  "learner.addr", "learner.sock",   "learner.lock",
                                   "learner.log", "sft.log",      "quickstart.json"};

static bool is_ours(const char *name)
{
    for (uint32_t i = 0; i < ARRAY_LEN(made); i++)
        if (!strcmp(name, made[i])) return true;
    return !strcmp(name, "quickstart.lock") ||
           (!strncmp(name, "rollout", 7) && (strstr(name, ".log") || strstr(name, ".sock")));
}

bool state_is_there(const char *dir)
{
    char path[QUICKSTART_PATH + 64];
    for (uint32_t i = 0; i < ARRAY_LEN(made); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, made[i]);
        if (!access(path, F_OK)) return true;
    }
    return false;
}

enum err state_clear(const char *dir, struct why *why)
{
    char path[QUICKSTART_PATH + 300];
    snprintf(path, sizeof path, "%s/quickstart.json", dir);
    if (!state_is_there(dir)) return ERR_OK;
    if (!file_exists(path))
        return why_set(why, ERR_EXIST,
                       "%s holds something, but not a quickstart (no quickstart.json): choose another --dir, "
                       "or remove it yourself",
                       dir);
    DIR *d = opendir(dir);
    if (!d) return why_set(why, err_from_errno(errno), "%s: %s", dir, strerror(errno));
    enum err e = ERR_OK;
    for (struct dirent *x; !e && (x = readdir(d));) {
        if (!is_ours(x->d_name) || !strcmp(x->d_name, "quickstart.lock") ||
            !strcmp(x->d_name, "quickstart.json"))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, x->d_name);
        e = file_remove_tree(path, why);
    }
    closedir(d);
    if (e) return e;
    snprintf(path, sizeof path, "%s/quickstart.json", dir);
    return file_remove_tree(path, why);
}
