// SPDX-License-Identifier: Apache-2.0
/* mem.h - where an image lies: a named shared memory object, or anonymous pages. Inside common/push only.
 *
 * The owner of an object holds flock(LOCK_EX) on it for as long as it lives. The kernel drops the lock with
 * the process, so whether an object found at start is a dead learner's is one try-lock: no process ids, which
 * come back and differ by container. */
#ifndef COMMON_PUSH_MEM_H
#define COMMON_PUSH_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum { PUSH__NAME_LEN = 80 };

struct push__mem {
    void *p; /* NULL: nothing */
    size_t bytes;
    int fd;                    /* of an object we own, else -1 */
    char name[PUSH__NAME_LEN]; /* of an object we own, else "" */
};

/* "/grpo-HASHOFRUN-": what the names of a run's objects begin with, into out[PUSH__NAME_LEN]. */
void push__mem_prefix(const char *run, char *out);

/* Zero pages, private, writable. */
enum err push__mem_anon(size_t bytes, struct push__mem *ret) MUST_CHECK;

/* A new object holding a copy of from[bytes], mapped read-only. It is written, not mapped and filled: the
 * kernel then need not zero the pages first, and a full /dev/shm is ERR_NOSPACE here, not SIGBUS later. gid
 * -1: as is. */
enum err push__mem_create(const char *name, const void *from, size_t bytes, uint32_t mode, int64_t gid,
                          struct push__mem *ret, struct why *why) MUST_CHECK;

/* Another process's object, read-only; ERR_MISMATCH when it is smaller than bytes, ERR_INVAL for a name that
 * is not ours. */
enum err push__mem_open(const char *name, size_t bytes, struct push__mem *ret, struct why *why) MUST_CHECK;

/* Unmap; an object we own is unlinked. Twice is once. */
void push__mem_done(struct push__mem *m);

/* Unlink objects with this prefix that no living process owns. */
void push__mem_sweep(const char *prefix);

#endif
