// SPDX-License-Identifier: Apache-2.0
/* net.h - requests and replies between the daemons, over nng (REQ and REP, tcp or tls+tcp). The only room that knows nng.
 *
 * Everything here is called on the loop's thread and calls back on it; nng's own threads only post letters. nng's re-sending is
 * off (a slow request would run twice): a call ends with a reply, ERR_CLOSED (the peer went away) or ERR_TIMEOUT, and what to do then
 * is the caller's. A frame larger than max_frame_bytes closes the connection it came on. */
#ifndef COMMON_SVC_NET_H
#define COMMON_SVC_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"
#include "common/svc/loop.h"

/* -- server -------------------------------------------------------------------------------------------------------- */

struct net_server;
struct net_req; /* one request, until it is answered */

struct net_server_opts {
    uint32_t max_frame_bytes;
    uint32_t n_ctx; /* requests open at once, parked ones included */
    void *arg;
    /* A request. frame is valid until the request is answered. Answer now or later, exactly once. */
    void (*on_req)(void *arg, struct net_req *req, struct span frame);
    /* A peer came or went (may be NULL). After `false` its open requests may still be answered; the answer goes nowhere. */
    void (*on_peer)(void *arg, uint64_t peer, bool up);
};

/* Listen at "tcp://host:port"; port 0: any free one. ERR_EXIST: the address is in use. The caller owns *ret_server. */
enum err net_listen(struct loop *l, const char *url, const struct net_server_opts *o, struct net_server **ret_server,
                    struct why *why) MUST_CHECK;
/* Closes; open requests are forgotten and must not be answered afterwards. NULL is a no-op. */
void net_server_close(struct net_server *s);
uint16_t net_server_port(const struct net_server *s);

/* Send the answer (copied). The request is gone afterwards. */
void net_reply(struct net_req *req, struct span frame);
uint64_t net_req_peer(const struct net_req *req);          /* the connection, as in on_peer */
void net_req_addr(const struct net_req *req, char *out, size_t cap); /* "127.0.0.1:4711", for people */

/* -- client -------------------------------------------------------------------------------------------------------- */

struct net_client;

struct net_client_opts {
    uint32_t max_frame_bytes;
    void *arg;
    void (*on_up)(void *arg, bool up); /* connected, or lost; it dials again by itself */
};

/* Dial in the background, for ever. ERR_INVAL: a bad address. */
enum err net_dial(struct loop *l, const char *url, const struct net_client_opts *o, struct net_client **ret_client,
                  struct why *why) MUST_CHECK;
/* Open calls are forgotten: nothing is called back afterwards. NULL is a no-op. */
void net_client_close(struct net_client *c);
bool net_client_is_up(const struct net_client *c);

/* Send a request (copied); done is called once: reply is valid during the call. Many may be open. timeout_ms 0: none. */
enum err net_call(struct net_client *c, struct span frame, uint32_t timeout_ms, void (*done)(void *arg, enum err e, struct span reply),
                  void *arg) MUST_CHECK;

#endif
