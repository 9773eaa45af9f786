// SPDX-License-Identifier: Apache-2.0
/* push.h - a weight push: the learner publishes a version, nodes fetch it, nobody uses a byte that was not
 * verified.
 *
 * One interface, two roads. On one host the whole image is one POSIX shared memory object that the node maps
 * read-only; elsewhere, or where shared memory fails for any reason, it travels in chunks over the bulk
 * address (messages manifest_get .. chunk). Either way each tensor is hashed (xxh3-128) by the source and
 * checked by the node before it sees the light.
 *
 * The image is what common/model/dims.h describes: bf16, tensors in canonical order, end to end. */
#ifndef COMMON_PUSH_PUSH_H
#define COMMON_PUSH_PUSH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"
#include "proto/msg.h"
#include "proto/version.h"

struct loop;       /* common/svc/loop.h */
struct net_client; /* common/svc/net.h */

enum { PUSH_HOST_LEN = 33, PUSH_CHUNK_MIN = 4096, PUSH_CHUNK_MAX = 4 << 20, PUSH_TIMEOUT_MS = 30000 };

/* Which host this is, into out[PUSH_HOST_LEN]: 32 hex digits from machine id and boot id. Equal on two sides:
 * same host, same boot. force: taken instead when not empty (a setting; a test that wants the network). ""
 * when the host does not say. */
void push_host_id(const char *force, char *out);

/* ---- the learner's end
 * ------------------------------------------------------------------------------------------------ */

struct push_source; /* source.c */

struct push_source_opts {
    const char *host; /* push_host_id; "": no shared memory */
    const char
        *run; /* name of the run: what a killed learner of the same run left in shared memory is removed */
    const uint64_t *end;  /* [n_tensor] element after each tensor's last, rising; copied */
    uint32_t n_tensor;    /* > 0 */
    uint64_t n_param;     /* end[n_tensor - 1] */
    uint32_t n_keep;      /* versions kept, newest first; > 0 */
    bool use_shm;         /* false: chunks only */
    uint32_t chunk_bytes; /* largest chunk served, PUSH_CHUNK_MIN .. PUSH_CHUNK_MAX, even */
    uint32_t shm_mode;    /* 0640 lets the group read */
    int64_t shm_gid;      /* group of the objects; -1: the process's own */
};

/* The caller owns *ret. ERR_INVAL: bad opts. */
enum err push_source_create(const struct push_source_opts *o, struct push_source **ret,
                            struct why *why) MUST_CHECK;

/* Frees every version and unlinks its shared memory; nodes that hold a mapping keep it. Every image must be
 * given back. NULL is a no-op. */
void push_source_destroy(struct push_source *s);

/* Copy image[n_param] as version v, hash it, and make it the newest. Versions beyond n_keep that nobody holds
 * go. One thread at a time (the trainer). Shared memory that is missing or full is no error: the version is
 * then served in chunks only. ERR_EXIST: v is kept already. ERR_NOMEM. */
enum err push_source_publish(struct push_source *s, struct version v, const uint16_t *image,
                             struct why *why) MUST_CHECK;

/* Answer manifest_get or chunk_get (any other frame gets an ack with ERR_FORMAT) into reply; never blocks on
 * a publish. Any thread. A version not kept is answered by ack ERR_STALE, nothing published yet by ERR_AGAIN.
 * Fails only with ERR_NOMEM. */
enum err push_source_answer(struct push_source *s, struct span frame, struct msg_buf *reply) MUST_CHECK;

/* Borrow the image of a kept version until given back; meanwhile it is not freed. Any thread. ERR_STALE: not
 * kept. */
enum err push_source_take(struct push_source *s, struct version v, const uint16_t **ret_image) MUST_CHECK;
void push_source_give(struct push_source *s, struct version v);

/* Newest version; {0, 0}: none. Any thread. */
struct version push_source_newest(struct push_source *s);

struct push_source_stats {
    uint32_t n_kept;     /* versions held, pinned ones beyond n_keep included */
    uint32_t n_shm;      /* of them in shared memory */
    uint64_t n_chunk;    /* chunks served since start */
    uint64_t n_manifest; /* manifests served since start */
    int64_t publish_ns;  /* copy and hash of the newest */
};
void push_source_stats(struct push_source *s, struct push_source_stats *ret); /* any thread */

/* ---- a node's end
 * ------------------------------------------------------------------------------------------------------ */

enum push_road { PUSH_SHM = 1, PUSH_NET = 2 };

/* A verified image. Owned by whoever was handed it; push_image_done from any thread. */
struct push_image {
    const uint16_t *p; /* [n_param] bf16, read-only */
    uint64_t n_param;
    struct version version;
    enum push_road road;
    int64_t fetch_ns;  /* first request to last byte */
    int64_t verify_ns; /* hashing, and waiting for a thread of the pool */
    size_t bytes;      /* of the mapping; push_image_done's own */
};
void push_image_done(struct push_image *i);

/* An image of one's own, zero, writable through a cast until handed on: for weights that come from a folder.
 * ERR_NOMEM. */
enum err push_image_alloc(uint64_t n_param, struct version v, struct push_image *ret) MUST_CHECK;

/* How a node asks the bulk address: common/svc/net in the daemons, a link with faults in tests. All on the
 * loop's thread. */
typedef void push_answer_fn(void *arg, enum err e, struct span frame); /* frame: borrowed, empty on error */
struct push_link {
    void *ctx;
    /* Send a frame (borrowed for the call). answer is called once, later, never from within: with the reply,
     * or with an error in bounded time. When ask itself fails, answer is not called. */
    enum err (*ask)(void *ctx, struct span frame, push_answer_fn *answer, void *arg);
};

/* The link over a client dialled to the bulk address; borrows c. An answer that takes PUSH_TIMEOUT_MS is
 * given up. */
struct push_link push_link_net(struct net_client *c);

struct push_fetch; /* fetch.c */

struct push_fetch_opts {
    struct loop *loop;     /* everything below is called, and calls back, on its thread */
    struct push_link link; /* to the learner's bulk address */
    const char *host;      /* push_host_id; "": never shared memory; copied */
    const uint64_t *end;   /* the table of the model expected; copied */
    uint32_t n_tensor;
    uint64_t n_param;
    uint32_t window; /* chunks asked for at once, 1 .. 64 */
};

/* The end of a fetch, once for each start that succeeded: e == ERR_OK and *image verified, which is now the
 * callee's; or an error with words and image NULL: ERR_MISMATCH (a tensor's hash, the table), ERR_STALE (the
 * version is gone, or a newer one came: ask again), ERR_CANCELLED, ERR_TIMEOUT and others of the network. A
 * fetch may be started from within. */
typedef void push_fetch_fn(void *arg, enum err e, struct push_image *image, const struct why *why);

enum err push_fetch_create(const struct push_fetch_opts *o, struct push_fetch **ret,
                           struct why *why) MUST_CHECK;

/* Fetch version v, {0, 0} for the newest. ERR_BUSY: one is under way. */
enum err push_fetch_start(struct push_fetch *f, struct version v, push_fetch_fn *done, void *arg,
                          struct why *why) MUST_CHECK;

/* A newer version was heard of: a fetch of an older one that has less than half of its bytes ends with
 * ERR_STALE. (One past half goes on, or a learner that publishes faster than the network carries would starve
 * the node.) */
void push_fetch_newer(struct push_fetch *f, struct version newest);

/* End the fetch under way, if any, with ERR_CANCELLED; done is called before this returns. */
void push_fetch_cancel(struct push_fetch *f);

bool push_fetch_busy(const struct push_fetch *f);

/* Bytes so far and in all of the fetch under way; 0, 0 when idle. */
void push_fetch_progress(const struct push_fetch *f, uint64_t *ret_have, uint64_t *ret_all);

/* Cancels. No answer may come afterwards: close the client first. A verifier still at work keeps the memory
 * until it is back on the loop, so end before loop_destroy. NULL is a no-op. */
void push_fetch_destroy(struct push_fetch *f);

#endif
