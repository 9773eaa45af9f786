// SPDX-License-Identifier: Apache-2.0
/* net_client.c - calls over one REQ socket: a context and an aio each, kept in a pool. The receive starts in the send's callback: nng 1.5.2
 * crashes when a receive is cancelled while its send still waits. */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdlib.h>
#include <string.h>

#include "common/svc/net.h"
#include "common/svc/net_nng.h"

struct call {
    struct net_client *c;
    struct call *next_free;
    struct call *next_all;
    nng_ctx ctx;
    nng_aio *aio;
    nng_msg *msg;
    bool sending, busy;
    int rv;
    void (*done)(void *, enum err, struct span);
    void *arg;
};

struct net_client {
    struct loop *loop;
    struct net_client_opts o;
    nng_socket sock;
    struct call *free_calls, *all;
    bool up, closing;
};

struct pipe_letter {
    struct net_client *c;
    bool up;
};

/* The loop: the call has ended. It goes back to the pool before the user hears, who may call again. */
static void finish(void *arg)
{
    struct call *k = arg;
    struct net_client *c = k->c;
    nng_msg *m = k->msg;
    const enum err e = net_err(k->rv);
    void (*done)(void *, enum err, struct span) = k->done;
    void *done_arg = k->arg;
    k->msg = NULL;
    k->busy = false;
    k->next_free = c->free_calls;
    c->free_calls = k;
    if (!c->closing) done(done_arg, e, m ? span_of(nng_msg_body(m), nng_msg_len(m)) : span_of(NULL, 0));
    if (m) nng_msg_free(m);
}

/* nng's thread */
static void on_aio(void *arg)
{
    struct call *k = arg;
    const int rv = nng_aio_result(k->aio);
    if (k->sending && !rv) {
        k->sending = false;
        nng_ctx_recv(k->ctx, k->aio);
        return;
    }
    if (k->sending) {
        nng_msg_free(nng_aio_get_msg(k->aio)); /* not sent: still ours */
        nng_aio_set_msg(k->aio, NULL);
    } else if (!rv) {
        k->msg = nng_aio_get_msg(k->aio);
        nng_aio_set_msg(k->aio, NULL);
    }
    k->rv = rv;
    loop_post(k->c->loop, finish, k);
}

static void deliver_pipe(void *arg)
{
    struct pipe_letter *x = arg;
    struct net_client *c = x->c;
    c->up = x->up;
    if (!c->closing && c->o.on_up) c->o.on_up(c->o.arg, x->up);
    free(x);
}

/* nng's thread */
static void on_pipe(nng_pipe p, nng_pipe_ev ev, void *arg)
{
    struct net_client *c = arg;
    struct pipe_letter *x = malloc(sizeof *x);
    (void)p;
    if (!x) return;
    *x = (struct pipe_letter){c, ev == NNG_PIPE_EV_ADD_POST};
    loop_post(c->loop, deliver_pipe, x);
}

static enum err start(struct net_client *c, const char *url, struct why *why)
{
    nng_dialer d;
    int rv = nng_socket_set_size(c->sock, NNG_OPT_RECVMAXSZ, c->o.max_frame_bytes);
    if (!rv) rv = nng_socket_set_ms(c->sock, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    if (!rv) rv = nng_socket_set_ms(c->sock, NNG_OPT_RECONNMINT, 100);
    if (!rv) rv = nng_socket_set_ms(c->sock, NNG_OPT_RECONNMAXT, 1000);
    if (!rv) rv = nng_pipe_notify(c->sock, NNG_PIPE_EV_ADD_POST, on_pipe, c);
    if (!rv) rv = nng_pipe_notify(c->sock, NNG_PIPE_EV_REM_POST, on_pipe, c);
    if (!rv) rv = nng_dialer_create(&d, c->sock, url);
    if (!rv) rv = nng_dialer_set_bool(d, NNG_OPT_TCP_KEEPALIVE, true);
    if (!rv) rv = nng_dialer_start(d, NNG_FLAG_NONBLOCK);
    return rv ? why_set(why, net_err(rv), "cannot dial %s: %s", url, nng_strerror(rv)) : ERR_OK;
}

enum err net_dial(struct loop *l, const char *url, const struct net_client_opts *o, struct net_client **ret_client, struct why *why)
{
    if (!net_url_ok(url)) return why_set(why, ERR_INVAL, "%s: an address is tcp://host:port", url);
    struct net_client *c = calloc(1, sizeof *c);
    if (!c) return ERR_NOMEM;
    c->loop = l;
    c->o = *o;
    if (nng_req0_open(&c->sock)) {
        free(c);
        return ERR_NOMEM;
    }
    enum err e = start(c, url, why);
    if (e) {
        net_client_close(c);
        return e;
    }
    *ret_client = c;
    return ERR_OK;
}

/* The loop, after every letter posted before: nothing refers to the client any more. */
static void free_client(void *arg)
{
    struct net_client *c = arg;
    while (c->all) {
        struct call *k = c->all;
        c->all = k->next_all;
        nng_aio_free(k->aio);
        free(k);
    }
    free(c);
}

void net_client_close(struct net_client *c)
{
    if (!c) return;
    c->closing = true;
    for (struct call *k = c->all; k; k = k->next_all) nng_aio_stop(k->aio);
    net__close(c->sock);
    loop_post(c->loop, free_client, c);
}

bool net_client_is_up(const struct net_client *c)
{
    return c->up;
}

static enum err take_call(struct net_client *c, struct call **ret)
{
    struct call *k = c->free_calls;
    if (k) {
        c->free_calls = k->next_free;
        *ret = k;
        return ERR_OK;
    }
    k = calloc(1, sizeof *k);
    if (!k) return ERR_NOMEM;
    k->c = c;
    int rv = nng_ctx_open(&k->ctx, c->sock);
    if (!rv) rv = nng_aio_alloc(&k->aio, on_aio, k);
    if (rv) {
        free(k);
        return net_err(rv);
    }
    k->next_all = c->all;
    c->all = k;
    *ret = k;
    return ERR_OK;
}

enum err net_call(struct net_client *c, struct span frame, uint32_t timeout_ms, void (*done)(void *arg, enum err e, struct span reply),
                  void *arg)
{
    struct call *k = NULL;
    nng_msg *m = NULL;
    if (c->closing) return ERR_CLOSED;
    TRY(take_call(c, &k));
    if (nng_msg_alloc(&m, 0) || nng_msg_append(m, frame.p, frame.n)) {
        if (m) nng_msg_free(m);
        k->next_free = c->free_calls;
        c->free_calls = k;
        return ERR_NOMEM;
    }
    k->done = done;
    k->arg = arg;
    k->sending = k->busy = true;
    nng_aio_set_timeout(k->aio, timeout_ms ? (nng_duration)timeout_ms : NNG_DURATION_INFINITE);
    nng_aio_set_msg(k->aio, m);
    nng_ctx_send(k->ctx, k->aio);
    return ERR_OK;
}
