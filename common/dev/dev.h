// SPDX-License-Identifier: Apache-2.0
/* dev.h - the one door to a back end: memory, streams, and the table of operations (ops.h).
 *
 * A device is one CPU (a team of threads) or one GPU. Device memory is a plain address that only the device may read
 * (on the CPU it is ordinary memory). An operation takes a stream and is ordered within it; on the CPU it has happened
 * when the call returns. Nothing in a step allocates or reads back but copy_out, sample results and sync.
 * One thread drives a device: the engine (rollout) or the trainer (learner). */
#ifndef COMMON_DEV_DEV_H
#define COMMON_DEV_DEV_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

struct dev;
struct stream; /* opaque; NULL is the device's default stream */
struct ops;    /* ops.h: the forward pass, used by both daemons */

/* Memory, streams and identity of a back end. */
struct dev_ops {
    void (*close)(struct dev *d);
    /* zeroed device memory, aligned to 64 bytes or better; ERR_NOMEM */
    enum err (*alloc)(struct dev *d, uint64_t bytes, void **ret_mem) MUST_CHECK;
    void (*free)(struct dev *d, void *mem); /* NULL is a no-op */
    /* host or device -> device; the source may be reused once the call returns */
    enum err (*copy_in)(struct dev *d, struct stream *s, void *dst, const void *src, uint64_t bytes) MUST_CHECK;
    /* device -> host; waits until the bytes are there */
    enum err (*copy_out)(struct dev *d, struct stream *s, void *dst, const void *src, uint64_t bytes) MUST_CHECK;
    /* device -> device */
    enum err (*copy)(struct dev *d, struct stream *s, void *dst, const void *src, uint64_t bytes) MUST_CHECK;
    enum err (*zero)(struct dev *d, struct stream *s, void *dst, uint64_t bytes) MUST_CHECK;
    /* wait for everything queued; says what went wrong asynchronously */
    enum err (*sync)(struct dev *d, struct stream *s) MUST_CHECK;
};

struct dev {
    const struct dev_ops *mem; /* memory and streams */
    const struct ops *ops;     /* operations of the forward pass */
    char name[48];             /* "cpu/avx512bf16", "cuda:0/sm_90" */
    /* Numerics fingerprint: back end, instruction set, order of sums, build. Two daemons whose fingerprints are equal
     * compute the same bits; the hello carries it. */
    char numerics[96];
    uint32_t n_thread; /* CPU: threads of the team; GPU: 0 */
    uint64_t mem_bytes; /* device memory in all, for planning */
    const char *isa;   /* CPU: "avx2", "avx512", "avx512bf16": which build of the kernels; NULL on a plug-in */
    /* A plug-in's own tables by name: "learner" -> struct learner_ops, "rollout" -> struct rollout_ops; NULL on the CPU,
     * whose daemons link their tables. Use learner_ops_of() and rollout_ops_of(). */
    const void *(*table)(const struct dev *d, const char *name);
};

struct dev_opts {
    const char *spec;    /* "auto", "cpu", "cpu:avx2", "cpu:avx512", "cpu:avx512bf16", later "cuda:N" */
    uint32_t n_thread;   /* CPU: 0 = every core this process may use */
    const char *cpu_pin; /* CPU: list such as "0-3,8"; NULL or "" = no pinning */
};

/* Open a back end. The caller owns *ret_dev: dev_close(). ERR_UNSUPPORTED: no such back end or instruction set here,
 * with words. "auto" is a GPU where a plug-in and a driver are found, else the CPU. */
enum err dev_open(const struct dev_opts *o, struct dev **ret_dev, struct why *why) MUST_CHECK;
void dev_close(struct dev *d); /* NULL is a no-op; every allocation must be back */

/* CPU back ends only: the team its kernels run on, for the kernels of learner/kern/cpu and rollout/kern/cpu. NULL else. */
struct team;
struct team *dev_team(const struct dev *d);

#ifdef __cplusplus
}
#endif
#endif
