// SPDX-License-Identifier: Apache-2.0
#include "common/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define REMOVE_MAX_DEPTH 64 /* one descriptor a level */

/* A service's user is not the admin who put the file there: name it. */
static enum err denied(struct why *why, const char *path, const char *doing, const char *words)
{
    char names[1024];
    struct passwd pw, *found = NULL;
    const unsigned uid = geteuid();
    if (getpwuid_r(uid, &pw, names, sizeof names, &found) || !found)
        return why_set(why, ERR_ACCESS, "%s: cannot %s: %s; uid %u, which this runs as, needs access", path,
                       doing, words, uid);
    return why_set(why, ERR_ACCESS, "%s: cannot %s: %s; the user %s, which this runs as, needs access", path,
                   doing, words, pw.pw_name);
}

static enum err said(struct why *why, const char *path, const char *doing)
{
    const int e = errno;
    if (e == EACCES || e == EPERM) return denied(why, path, doing, strerror(e));
    return why_set(why, err_from_errno(e), "%s: cannot %s: %s", path, doing, strerror(e));
}

static enum err open_regular(const char *path, int *ret_fd, size_t *ret_n, struct why *why)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return said(why, path, "open");
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return why_set(why, ERR_INVAL, "%s: not a regular file", path);
    }
    *ret_fd = fd;
    *ret_n = (size_t)st.st_size;
    return ERR_OK;
}

enum err file_read(const char *path, size_t max_bytes, char **ret_text, size_t *ret_n, struct why *why)
{
    int fd;
    size_t n, got = 0;
    TRY(open_regular(path, &fd, &n, why));
    enum err e =
        n > max_bytes ? why_set(why, ERR_RANGE, "%s: %zu bytes, at most %zu", path, n, max_bytes) : ERR_OK;
    char *p = e ? NULL : malloc(n + 1);
    if (!e && !p) e = why_set(why, ERR_NOMEM, "%s: no memory for %zu bytes", path, n);
    while (!e && got < n) {
        ssize_t k = read(fd, p + got, n - got);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) e = said(why, path, "read");
        if (k == 0) e = why_set(why, ERR_IO, "%s: shorter than it said", path);
        if (k > 0) got += (size_t)k;
    }
    close(fd);
    if (e) {
        free(p);
        return e;
    }
    p[n] = 0;
    *ret_text = p;
    *ret_n = n;
    return ERR_OK;
}

static enum err write_all(int fd, const char *path, const char *p, size_t n, struct why *why)
{
    while (n) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return said(why, path, "write");
        p += k;
        n -= (size_t)k;
    }
    return ERR_OK;
}

static void parent_of(const char *path, char *out, size_t cap)
{
    snprintf(out, cap, "%s", path);
    char *slash = strrchr(out, '/');
    if (!slash)
        snprintf(out, cap, ".");
    else if (slash == out)
        out[1] = 0;
    else
        *slash = 0;
}

static enum err sync_dir(const char *dir, struct why *why)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return said(why, dir, "open");
    const bool bad = fsync(fd) && errno != EINVAL;
    close(fd);
    return bad ? said(why, dir, "sync") : ERR_OK;
}

enum err file_write(const char *path, const void *bytes, size_t n, struct why *why)
{
    static atomic_uint turn; /* two threads may replace one file: each has its own temporary one */
    char tmp[PATH_MAX], dir[PATH_MAX];
    const unsigned mine = atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed);
    if ((size_t)snprintf(tmp, sizeof tmp, "%s.%d.%u.tmp", path, (int)getpid(), mine) >= sizeof tmp)
        return why_set(why, ERR_INVAL, "%s: path too long", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return said(why, tmp, "create");
    enum err e = write_all(fd, tmp, bytes, n, why);
    if (!e && fsync(fd)) e = said(why, tmp, "sync");
    if (close(fd) && !e) e = said(why, tmp, "close");
    if (!e && rename(tmp, path)) e = said(why, path, "replace");
    if (e) {
        unlink(tmp);
        return e;
    }
    parent_of(path, dir, sizeof dir);
    return sync_dir(dir, why);
}

enum err file_copy(const char *from, const char *to, struct why *why)
{
    struct span m;
    TRY(file_map(from, &m, why));
    enum err e = file_write(to, m.p, m.n, why);
    file_unmap(m);
    return e;
}

enum err file_map(const char *path, struct span *ret_map, struct why *why)
{
    int fd;
    size_t n;
    TRY(open_regular(path, &fd, &n, why));
    void *p = n ? mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    enum err e = p == MAP_FAILED ? said(why, path, "map") : ERR_OK;
    close(fd);
    if (!e) *ret_map = span_of(p, n);
    return e;
}

void file_unmap(struct span map)
{
    if (map.n) munmap((void *)map.p, map.n);
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

enum err file_mkdirs(const char *path, struct why *why)
{
    char p[PATH_MAX];
    if ((size_t)snprintf(p, sizeof p, "%s", path) >= sizeof p)
        return why_set(why, ERR_INVAL, "%s: path too long", path);
    for (char *s = p + 1;; s++) {
        if (*s && *s != '/') continue;
        const char was = *s;
        *s = 0;
        if (mkdir(p, 0755) && errno != EEXIST) return said(why, p, "create the folder");
        if (!was) break;
        *s = was;
    }
    struct stat st;
    if (stat(path, &st) || !S_ISDIR(st.st_mode)) return why_set(why, ERR_EXIST, "%s: not a folder", path);
    return ERR_OK;
}

/* Through descriptors, so that a link put in a folder's place while we work is not followed. path is for the
 * words. */
static enum err remove_at(int dir_fd, const char *name, const char *path, int depth, struct why *why)
{
    if (!unlinkat(dir_fd, name, 0) || errno == ENOENT) return ERR_OK;
    if (errno != EISDIR && errno != EPERM) return said(why, path, "remove");
    if (depth >= REMOVE_MAX_DEPTH)
        return why_set(why, ERR_RANGE, "%s: more than %d folders deep", path, REMOVE_MAX_DEPTH);
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        const enum err e = said(why, path, "open");
        if (fd >= 0) close(fd);
        return e;
    }
    enum err e = ERR_OK;
    for (struct dirent *x; !e && (x = readdir(d));) {
        if (!strcmp(x->d_name, ".") || !strcmp(x->d_name, "..")) continue;
        e = remove_at(fd, x->d_name, path, depth + 1, why);
    }
    closedir(d);
    if (!e && unlinkat(dir_fd, name, AT_REMOVEDIR) && errno != ENOENT) e = said(why, path, "remove");
    return e;
}

enum err file_remove_tree(const char *path, struct why *why)
{
    return remove_at(AT_FDCWD, path, path, 0, why);
}

static enum err sync_files(const char *dir, struct why *why)
{
    DIR *d = opendir(dir);
    if (!d) return said(why, dir, "open");
    enum err e = ERR_OK;
    for (struct dirent *x; !e && (x = readdir(d));) {
        char sub[PATH_MAX];
        if (x->d_name[0] == '.' || (size_t)snprintf(sub, sizeof sub, "%s/%s", dir, x->d_name) >= sizeof sub)
            continue;
        int fd = open(sub, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fsync(fd)) e = said(why, sub, "sync");
        if (fd >= 0) close(fd);
    }
    closedir(d);
    return e ? e : sync_dir(dir, why);
}

enum err file_publish_dir(const char *from, const char *to, struct why *why)
{
    char parent[PATH_MAX];
    TRY(sync_files(from, why));
    if (rename(from, to)) return said(why, to, "publish");
    parent_of(to, parent, sizeof parent);
    return sync_dir(parent, why);
}

enum err file_swap_dir(const char *from, const char *to, struct why *why)
{
    char parent[PATH_MAX];
    TRY(sync_files(from, why));
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE)) {
        if (errno != EINVAL && errno != ENOSYS) return said(why, to, "replace");
        return why_set(why, ERR_UNSUPPORTED, "%s: this file system cannot exchange two folders", to);
    }
    parent_of(to, parent, sizeof parent);
    return sync_dir(parent, why);
}
