// SPDX-License-Identifier: Apache-2.0
#include "common/push/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/hash.h"

#define NAME_HEAD "/grpo-"

static const struct push__mem nothing = {.fd = -1};

void push__mem_prefix(const char *run, char *out)
{
    struct hash128 h = hash_bytes(run, strlen(run));
    snprintf(out, PUSH__NAME_LEN, NAME_HEAD "%016" PRIx64 "-", h.lo);
}

enum err push__mem_anon(size_t bytes, struct push__mem *ret)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return ERR_NOMEM;
    madvise(p, bytes, MADV_HUGEPAGE); /* fewer faults; a kernel without it does as well */
    *ret = nothing;
    ret->p = p;
    ret->bytes = bytes;
    return ERR_OK;
}

static enum err write_all(struct push__mem *m, const uint8_t *from, struct why *why)
{
    for (size_t at = 0; at < m->bytes;) {
        ssize_t n = pwrite(m->fd, from + at, m->bytes - at, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return why_set(why, n ? err_from_errno(errno) : ERR_NOSPACE, "%s: %zu bytes of shared memory: %s",
                           m->name, m->bytes, n ? strerror(errno) : "nothing was written");
        at += (size_t)n;
    }
    return ERR_OK;
}

/* Lock, fill and map an object just created. */
static enum err fill(struct push__mem *m, const void *from, uint32_t mode, int64_t gid, struct why *why)
{
    if (flock(m->fd, LOCK_EX | LOCK_NB))
        return why_set(why, err_from_errno(errno), "%s: lock: %s", m->name, strerror(errno));
    if (gid >= 0 && fchown(m->fd, (uid_t)-1, (gid_t)gid))
        return why_set(why, err_from_errno(errno), "%s: group %" PRId64 ": %s", m->name, gid,
                       strerror(errno));
    if (fchmod(m->fd, (mode_t)mode)) /* after the group, and past the umask */
        return why_set(why, err_from_errno(errno), "%s: mode: %s", m->name, strerror(errno));
    TRY(write_all(m, from, why));
    void *p = mmap(NULL, m->bytes, PROT_READ, MAP_SHARED, m->fd, 0);
    if (p == MAP_FAILED) return why_set(why, err_from_errno(errno), "%s: map: %s", m->name, strerror(errno));
    m->p = p;
    return ERR_OK;
}

enum err push__mem_create(const char *name, const void *from, size_t bytes, uint32_t mode, int64_t gid,
                          struct push__mem *ret, struct why *why)
{
    struct push__mem m = {.bytes = bytes};
    m.fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (m.fd < 0) return why_set(why, err_from_errno(errno), "%s: %s", name, strerror(errno));
    snprintf(m.name, sizeof m.name, "%s", name);
    enum err e = fill(&m, from, mode, gid, why);
    if (e) {
        push__mem_done(&m);
        return e;
    }
    *ret = m;
    return ERR_OK;
}

enum err push__mem_open(const char *name, size_t bytes, struct push__mem *ret, struct why *why)
{
    if (strncmp(name, NAME_HEAD, strlen(NAME_HEAD)) != 0 || strchr(name + 1, '/'))
        return why_set(why, ERR_INVAL, "not a name of ours");
    int fd = shm_open(name, O_RDONLY, 0);
    if (fd < 0) return why_set(why, err_from_errno(errno), "%s: %s", name, strerror(errno));
    struct stat st;
    void *p = MAP_FAILED;
    enum err e = ERR_OK;
    if (fstat(fd, &st) || st.st_size < 0 || (uint64_t)st.st_size < bytes) {
        e = why_set(why, ERR_MISMATCH, "%s: smaller than %zu bytes", name, bytes);
    } else {
        p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) e = why_set(why, err_from_errno(errno), "%s: map: %s", name, strerror(errno));
    }
    close(fd); /* the mapping keeps the pages, also after the owner unlinks the name */
    if (e) return e;
    *ret = nothing;
    ret->p = p;
    ret->bytes = bytes;
    return ERR_OK;
}

void push__mem_done(struct push__mem *m)
{
    if (m->p) munmap(m->p, m->bytes);
    if (m->name[0]) { /* the name first: an object without lock is anyone's to sweep */
        shm_unlink(m->name);
        close(m->fd);
    }
    *m = nothing;
}

void push__mem_sweep(const char *prefix)
{
    DIR *d = opendir("/dev/shm"); /* where glibc keeps the objects of shm_open */
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        char name[sizeof e->d_name + 1];
        if (strncmp(e->d_name, prefix + 1, strlen(prefix + 1)) != 0) continue;
        snprintf(name, sizeof name, "/%s", e->d_name);
        int fd = shm_open(name, O_RDONLY, 0);
        if (fd < 0) continue; /* another user's */
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) shm_unlink(name);
        close(fd);
    }
    closedir(d);
}
