// SPDX-License-Identifier: Apache-2.0
/* net_server.c - n contexts of one REP socket, each a small machine: receive -> letter to the loop -> (parked) -> send -> receive. */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/svc/net.h"
#include "common/svc/net_nng.h"

enum state { RECEIVING, OPEN, SENDING };

struct net_req {
    struct net_server *s;
    nng_ctx ctx;
    nng_aio *aio;
    nng_msg *msg;
    enum state state;
    uint64_t peer;
    char addr[64];
};

struct net_server {
    struct loop *loop;
    struct net_server_opts o;
    nng_socket sock;
    struct net_req *req; /* [n_ctx] */
    uint32_t n_req;
    uint16_t port;
    bool closing;
};

struct peer_letter {
    struct net_server *s;
    uint64_t peer;
    bool up;
};

static void deliver(void *arg)
{
    struct net_req *r = arg;
    if (r->s->closing) return;
    r->state = OPEN;
    r->s->o.on_req(r->s->o.arg, r, span_of(nng_msg_body(r->msg), nng_msg_len(r->msg)));
}

/* nng's thread */
static void on_aio(void *arg)
{
    struct net_req *r = arg;
    const int rv = nng_aio_result(r->aio);
    if (r->state == SENDING && rv) nng_msg_free(nng_aio_get_msg(r->aio)); /* not sent: still ours */
    if (rv == NNG_ECLOSED || rv == NNG_ECANCELED) return;
    if (r->state == SENDING) {
        r->state = RECEIVING;
        nng_ctx_recv(r->ctx, r->aio);
        return;
    }
    if (rv) {
        nng_ctx_recv(r->ctx, r->aio);
        return;
    }
    r->msg = nng_aio_get_msg(r->aio);
    nng_pipe p = nng_msg_get_pipe(r->msg);
    r->peer = (uint64_t)nng_pipe_id(p);
    net_pipe_addr(p, r->addr, sizeof r->addr);
    loop_post(r->s->loop, deliver, r);
}

static void deliver_peer(void *arg)
{
    struct peer_letter *x = arg;
    if (!x->s->closing && x->s->o.on_peer) x->s->o.on_peer(x->s->o.arg, x->peer, x->up);
    free(x);
}

/* nng's thread; must not block or touch the socket */
static void on_pipe(nng_pipe p, nng_pipe_ev ev, void *arg)
{
    struct peer_letter *x = malloc(sizeof *x);
    if (!x) return;
    *x = (struct peer_letter){arg, (uint64_t)nng_pipe_id(p), ev == NNG_PIPE_EV_ADD_POST};
    loop_post(x->s->loop, deliver_peer, x);
}

static enum err start(struct net_server *s, const char *url, struct why *why)
{
    nng_listener li;
    int port = 0;
    int rv = nng_socket_set_size(s->sock, NNG_OPT_RECVMAXSZ, s->o.max_frame_bytes);
    if (!rv) rv = nng_pipe_notify(s->sock, NNG_PIPE_EV_ADD_POST, on_pipe, s);
    if (!rv) rv = nng_pipe_notify(s->sock, NNG_PIPE_EV_REM_POST, on_pipe, s);
    if (!rv) rv = nng_listener_create(&li, s->sock, url);
    if (!rv) rv = nng_listener_set_bool(li, NNG_OPT_TCP_KEEPALIVE, true);
    if (!rv) rv = nng_listener_start(li, 0);
    if (rv) return why_set(why, net_err(rv), "cannot listen at %s: %s", url, nng_strerror(rv));
    if (nng_listener_get_int(li, NNG_OPT_TCP_BOUND_PORT, &port) == 0) s->port = (uint16_t)port;
    for (uint32_t i = 0; i < s->o.n_ctx; i++) {
        struct net_req *r = &s->req[i];
        r->s = s;
        rv = nng_ctx_open(&r->ctx, s->sock);
        if (!rv) rv = nng_aio_alloc(&r->aio, on_aio, r);
        if (rv) return why_set(why, net_err(rv), "%s: %s", url, nng_strerror(rv));
        s->n_req++;
        nng_ctx_recv(r->ctx, r->aio);
    }
    return ERR_OK;
}

enum err net_listen(struct loop *l, const char *url, const struct net_server_opts *o, struct net_server **ret_server, struct why *why)
{
    if (!net_url_ok(url)) return why_set(why, ERR_INVAL, "%s: an address is tcp://host:port", url);
    struct net_server *s = calloc(1, sizeof *s);
    if (!s) return ERR_NOMEM;
    s->loop = l;
    s->o = *o;
    s->req = calloc(o->n_ctx, sizeof *s->req);
    if (!s->req || nng_rep0_open(&s->sock)) {
        free(s->req);
        free(s);
        return ERR_NOMEM;
    }
    enum err e = start(s, url, why);
    if (e) {
        net_server_close(s);
        return e;
    }
    *ret_server = s;
    return ERR_OK;
}

/* The loop, after every letter posted before: nothing refers to the server any more. */
static void free_server(void *arg)
{
    struct net_server *s = arg;
    for (uint32_t i = 0; i < s->n_req; i++) {
        if (s->req[i].msg) nng_msg_free(s->req[i].msg);
        nng_aio_free(s->req[i].aio);
    }
    free(s->req);
    free(s);
}

void net_server_close(struct net_server *s)
{
    if (!s) return;
    s->closing = true;
    for (uint32_t i = 0; i < s->n_req; i++) nng_aio_stop(s->req[i].aio); /* callbacks end with ECANCELED and do not start again */
    net__close(s->sock);
    loop_post(s->loop, free_server, s);
}

uint16_t net_server_port(const struct net_server *s)
{
    return s->port;
}

void net_reply(struct net_req *r, struct span frame)
{
    nng_msg *m = NULL;
    if (nng_msg_alloc(&m, 0) || nng_msg_append(m, frame.p, frame.n)) abort(); /* a lost answer would be a lost group */
    nng_msg_free(r->msg); /* not before: the answer may borrow from the request */
    r->msg = NULL;
    nng_aio_set_msg(r->aio, m);
    r->state = SENDING;
    nng_ctx_send(r->ctx, r->aio);
}

uint64_t net_req_peer(const struct net_req *r)
{
    return r->peer;
}

void net_req_addr(const struct net_req *r, char *out, size_t cap)
{
    snprintf(out, cap, "%s", r->addr);
}
