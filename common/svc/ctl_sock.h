// SPDX-License-Identifier: Apache-2.0
/* ctl_sock.h - the local door for grpoctl: an AF_UNIX stream of frames, each behind its length (u32, little-endian). Same frames as
 * on the network (proto/schema.def). Server on the loop (libuv pipes); client blocking, for a short-lived tool. */
#ifndef COMMON_SVC_CTL_SOCK_H
#define COMMON_SVC_CTL_SOCK_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"
#include "common/svc/loop.h"

#define CTL_MAX_FRAME (16u << 20)

struct ctl_server;
struct ctl_req; /* one request, until it is answered or its client is gone */

struct ctl_server_opts {
    void *arg;
    /* A request; frame is valid during the call. Answer with ctl_reply, now or later. */
    void (*on_req)(void *arg, struct ctl_req *req, struct span frame);
    /* The client of an open request went away: the request must not be answered any more (may be NULL). */
    void (*on_gone)(void *arg, struct ctl_req *req);
};

/* Listen at path, mode 0660. A socket that nobody answers is replaced; ERR_EXIST when another process does answer. */
enum err ctl_listen(struct loop *l, const char *path, const struct ctl_server_opts *o, struct ctl_server **ret_server,
                    struct why *why) MUST_CHECK;
void ctl_server_close(struct ctl_server *s); /* removes the socket; NULL is a no-op */

void ctl_reply(struct ctl_req *req, struct span frame);
/* For the owner of a request to keep something with it. */
void ctl_req_set_data(struct ctl_req *req, void *data);
void *ctl_req_data(const struct ctl_req *req);

/* Does anyone listen at path? ERR_NOENT: nobody; ERR_ACCESS: not for us. Asks nothing, never waits. */
enum err ctl_probe(const char *path, struct why *why) MUST_CHECK;

/* One question, one answer. *ret_reply is owned by the caller (free). ERR_NOENT: nobody listens at path; ERR_TIMEOUT: no whole answer in
 * time; ERR_CLOSED: the daemon hung up; ERR_FORMAT: what came is no frame. Blocks for timeout_ms at most. */
enum err ctl_call(const char *path, struct span frame, int timeout_ms, uint8_t **ret_reply, size_t *ret_n, struct why *why) MUST_CHECK;

#endif
