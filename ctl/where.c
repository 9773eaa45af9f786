// SPDX-License-Identifier: Apache-2.0
#include "ctl/where.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"

const char *who_name(enum who w)
{
    return w == WHO_LEARNER ? "learner" : w == WHO_ROLLOUT ? "rollout node" : "daemon";
}

/* A path found, with its age. */
struct found {
    char path[512];
    struct timespec at;
};

struct finds {
    struct found f[WHERE_MAX];
    uint32_t n;
};

static int newest_first(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->at.tv_sec != y->at.tv_sec) return x->at.tv_sec < y->at.tv_sec ? 1 : -1;
    if (x->at.tv_nsec != y->at.tv_nsec) return x->at.tv_nsec < y->at.tv_nsec ? 1 : -1;
    return strcmp(x->path, y->path);
}

/* What matches a pattern, or several with the same order by age. */
static void match(struct finds *out, const char *pattern)
{
    glob_t g;
    struct stat st;
    if (glob(pattern, 0, NULL, &g)) return;
    for (size_t i = 0; i < g.gl_pathc && out->n < WHERE_MAX; i++) {
        if (strlen(g.gl_pathv[i]) >= sizeof out->f[0].path || stat(g.gl_pathv[i], &st)) continue;
        memcpy(out->f[out->n].path, g.gl_pathv[i], strlen(g.gl_pathv[i]) + 1);
        out->f[out->n++].at = st.st_mtim;
    }
    globfree(&g);
}

static enum who who_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return strncmp(name, "learner", 7) ? WHO_ROLLOUT : WHO_LEARNER;
}

/* Is this socket listed, perhaps by another name? */
static bool have(const struct doors *d, const struct stat *st)
{
    struct stat s;
    for (uint32_t i = 0; i < d->n; i++)
        if (!lstat(d->d[i].path, &s) && s.st_dev == st->st_dev && s.st_ino == st->st_ino) return true;
    return false;
}

/* One place: the sockets that match any of the patterns (they end at NULL). ours: of this user or root. */
static void place(struct doors *out, const char *const *pattern, bool ours)
{
    struct finds f = {.n = 0};
    struct stat st;
    for (; *pattern; pattern++) match(&f, *pattern);
    qsort(f.f, f.n, sizeof *f.f, newest_first);
    for (uint32_t i = 0; i < f.n && out->n < WHERE_MAX; i++) {
        const char *p = f.f[i].path;
        if (strlen(p) >= sizeof out->d[0].path || lstat(p, &st) || !S_ISSOCK(st.st_mode) || have(out, &st)) continue;
        if (ours && st.st_uid != geteuid() && st.st_uid != 0) continue;
        out->d[out->n].who = who_of(p);
        memcpy(out->d[out->n++].path, p, strlen(p) + 1);
    }
}

/* The two names of a socket in the folders that `dir` (a pattern) names. */
static void sockets(struct doors *out, const char *root, const char *dir, const char *also, bool ours)
{
    char a[700], b[700], c[700], d[700];
    const char *pattern[] = {a, b, also ? c : NULL, also ? d : NULL, NULL};
    snprintf(a, sizeof a, "%s%s/learner.sock", root, dir);
    snprintf(b, sizeof b, "%s%s/rollout*.sock", root, dir);
    snprintf(c, sizeof c, "%s%s/learner.sock", root, also ? also : "");
    snprintf(d, sizeof d, "%s%s/rollout*.sock", root, also ? also : "");
    place(out, pattern, ours);
}

static void usual(const struct where *w, struct doors *out)
{
    char s[700];
    const char *const tmp[] = {s, NULL};
    snprintf(s, sizeof s, "%s%s", w->cwd, !strcmp(w->cwd, ".") ? "" : "/");
    const char *cwd = strcmp(w->cwd, ".") ? s : "";
    sockets(out, cwd, "runs/*", NULL, false);
    sockets(out, w->cwd, "", NULL, false);
    if (w->runtime && *w->runtime) sockets(out, w->runtime, "/grpo*", NULL, false);
    sockets(out, w->root, "/run/grpo*", NULL, false);
    sockets(out, w->root, "/var/lib/grpo", "/var/lib/grpo/*", false);
    sockets(out, w->root, "/var/lib/grpo/*/*", NULL, false);
    snprintf(s, sizeof s, "%s/tmp/grpo-rollout-*.sock", w->root);
    place(out, tmp, true);
}

enum err where_doors(const struct where *w, struct doors *ret, struct why *why)
{
    struct stat st;
    *ret = (struct doors){.n = 0};
    if (w->socket && *w->socket) {
        if (strlen(w->socket) >= sizeof ret->d[0].path)
            return why_set(why, ERR_RANGE, "%s: a socket path has at most %zu bytes", w->socket, sizeof ret->d[0].path - 1);
        memcpy(ret->d[0].path, w->socket, strlen(w->socket) + 1);
        ret->d[0].who = WHO_ANY;
        ret->n = 1;
        return ERR_OK;
    }
    if (w->run && *w->run) {
        if (stat(w->run, &st) || !S_ISDIR(st.st_mode)) return why_set(why, ERR_NOENT, "%s: no such run folder", w->run);
        if (strlen(w->run) + sizeof "/learner.sock" > sizeof ret->d[0].path)
            return why_set(why, ERR_RANGE, "%s: too long a path for the socket in it; go there, and name it from where you are", w->run);
        /* as a plain path: brackets in its name are no pattern */
        snprintf(ret->d[0].path, sizeof ret->d[0].path, "%s/learner.sock", w->run);
        ret->d[0].who = WHO_LEARNER;
        ret->n = 1;
        sockets(ret, w->run, "", NULL, false);
    }
    usual(w, ret);
    if (w->run && *w->run) { /* other learners are none of this run's */
        uint32_t n = 1;
        for (uint32_t i = 1; i < ret->n; i++)
            if (ret->d[i].who != WHO_LEARNER) ret->d[n++] = ret->d[i];
        ret->n = n;
    }
    return ERR_OK;
}

/* -- run folders -------------------------------------------------------------------------------------------------------- */

static void runs_in(struct finds *f, const char *root, const char *dir)
{
    static const char *const file[] = {"metrics.jsonl", "run.db"};
    char s[700];
    for (int i = 0; i < 2; i++) {
        snprintf(s, sizeof s, "%s%s/%s", root, dir, file[i]);
        match(f, s);
    }
}

enum err where_run(const struct where *w, char *ret_dir, size_t cap, struct why *why)
{
    struct finds f = {.n = 0};
    struct stat st;
    char cwd[600];
    if (w->run && *w->run) {
        if (stat(w->run, &st) || !S_ISDIR(st.st_mode)) return why_set(why, ERR_NOENT, "%s: no such run folder", w->run);
        snprintf(ret_dir, cap, "%s", w->run);
        return ERR_OK;
    }
    snprintf(cwd, sizeof cwd, "%s/", w->cwd);
    runs_in(&f, strcmp(w->cwd, ".") ? cwd : "", "runs/*");
    runs_in(&f, w->cwd, "");
    if (!f.n) {
        runs_in(&f, w->root, "/var/lib/grpo");
        runs_in(&f, w->root, "/var/lib/grpo/*");
        runs_in(&f, w->root, "/var/lib/grpo/*/*");
    }
    if (!f.n) return why_set(why, ERR_NOENT, "no run was found here in runs/, nor in /var/lib/grpo: name its folder with --run DIR");
    qsort(f.f, f.n, sizeof *f.f, newest_first);
    snprintf(ret_dir, cap, "%.*s", (int)(strrchr(f.f[0].path, '/') - f.f[0].path), f.f[0].path);
    return ERR_OK;
}

unsigned where_url_port(const char *url)
{
    const char *colon = strrchr(url, ':');
    char *end;
    if (!colon) return 0;
    const unsigned long p = strtoul(colon + 1, &end, 10);
    return end == colon + 1 || (*end && *end != '\n') || p > 65535 ? 0 : (unsigned)p;
}

unsigned where_port(const char *dir)
{
    char path[700], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/learner.addr", dir);
    if (file_read(path, 4096, &text, &n, NULL)) return 0;
    const unsigned port = where_url_port(text);
    free(text);
    return port;
}

void where_dir(const struct door *d, char *out, size_t cap)
{
    const char *slash = strrchr(d->path, '/');
    snprintf(out, cap, "%.*s", slash ? (int)(slash - d->path) : 1, slash ? d->path : ".");
}
