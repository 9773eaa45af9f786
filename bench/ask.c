// SPDX-License-Identifier: Apache-2.0
/* ask.c - who should choose where a job goes: `bench_ask`. The measurement behind docs/adr/nodes-ask.md.
 *
 * 120 jobs, three nodes of four slots each; two need 20 ms a job, one 400 ms. "pushed": the learner sends each job as a request and nng
 * chooses the node. "asked": a node with a free slot asks, by this project's own net and dispatch. One line each: seconds, jobs by node. */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/svc/loop.h"
#include "common/svc/net.h"
#include "learner/dispatch.h"

enum { N_JOB = 120, N_NODE = 3, N_SLOT = 4 };
static const uint32_t job_ms[N_NODE] = {20, 20, 400};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_ask: %s: %s\n", what, why);
    exit(1);
}

static void must(int rv, const char *what)
{
    if (rv) die(what, nng_strerror(rv));
}

/* -- pushed: REQ contexts at the learner, REP contexts at the nodes ------------------------------------------------------ */

struct slot { /* receive -> sleep -> send -> receive */
    nng_ctx ctx;
    nng_aio *aio;
    nng_msg *msg;
    enum { TAKING, WORKING, GIVING } state;
    uint32_t node;
    atomic_uint *done;
};

static void on_slot(void *arg)
{
    struct slot *s = arg;
    if (nng_aio_result(s->aio)) return;
    switch (s->state) {
    case TAKING:
        s->msg = nng_aio_get_msg(s->aio);
        s->state = WORKING;
        nng_sleep_aio((nng_duration)job_ms[s->node], s->aio);
        break;
    case WORKING:
        atomic_fetch_add(s->done, 1);
        s->state = GIVING;
        nng_aio_set_msg(s->aio, s->msg);
        nng_ctx_send(s->ctx, s->aio);
        break;
    case GIVING:
        s->state = TAKING;
        nng_ctx_recv(s->ctx, s->aio);
    }
}

struct asked { /* one job at the learner: send, then wait for its answer */
    nng_ctx ctx;
    nng_aio *aio;
    bool sent;
    atomic_uint *left;
};

static void on_job(void *arg)
{
    struct asked *a = arg;
    if (nng_aio_result(a->aio)) return;
    if (!a->sent) {
        a->sent = true;
        nng_ctx_recv(a->ctx, a->aio);
        return;
    }
    nng_msg_free(nng_aio_get_msg(a->aio));
    atomic_fetch_sub(a->left, 1);
}

static void run_pushed(void)
{
    nng_socket req, rep[N_NODE];
    nng_listener l;
    int port = 0;
    char url[64];
    atomic_uint done[N_NODE] = {0}, left = N_JOB;
    struct slot *slot = calloc(N_NODE * N_SLOT, sizeof *slot);
    struct asked *job = calloc(N_JOB, sizeof *job);
    if (!slot || !job) die("pushed", "out of memory");
    must(nng_req0_open(&req), "req");
    must(nng_listener_create(&l, req, "tcp://127.0.0.1:0"), "listen");
    must(nng_listener_start(l, 0), "listen");
    must(nng_listener_get_int(l, NNG_OPT_TCP_BOUND_PORT, &port), "port");
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", port);
    for (uint32_t i = 0; i < N_NODE; i++) {
        must(nng_rep0_open(&rep[i]), "rep");
        must(nng_dial(rep[i], url, NULL, 0), "dial");
        for (uint32_t k = 0; k < N_SLOT; k++) {
            struct slot *s = &slot[i * N_SLOT + k];
            s->node = i;
            s->done = &done[i];
            must(nng_ctx_open(&s->ctx, rep[i]), "ctx");
            must(nng_aio_alloc(&s->aio, on_slot, s), "aio");
            nng_ctx_recv(s->ctx, s->aio);
        }
    }
    const int64_t t0 = clock_now_ns();
    for (uint32_t i = 0; i < N_JOB; i++) {
        nng_msg *m;
        job[i].left = &left;
        must(nng_msg_alloc(&m, 64), "message");
        must(nng_ctx_open(&job[i].ctx, req), "ctx");
        must(nng_ctx_set_ms(job[i].ctx, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE), "resend");
        must(nng_aio_alloc(&job[i].aio, on_job, &job[i]), "aio");
        nng_aio_set_msg(job[i].aio, m);
        nng_ctx_send(job[i].ctx, job[i].aio);
    }
    while (atomic_load(&left)) uv_sleep(1);
    printf("pushed  %.2f s  jobs by node %u %u %u\n", clock_s(clock_now_ns() - t0), done[0], done[1], done[2]);
    nng_close(req);
    for (uint32_t i = 0; i < N_NODE; i++) nng_close(rep[i]);
    for (uint32_t i = 0; i < N_NODE * N_SLOT; i++) nng_aio_free(slot[i].aio);
    for (uint32_t i = 0; i < N_JOB; i++) nng_aio_free(job[i].aio);
    free(slot);
    free(job);
}

/* -- asked: the nodes dial and ask for one job a free slot ---------------------------------------------------------------- */

struct world {
    struct loop *loop;
    struct net_server *server;
    struct dispatch *dispatch;
    struct node *node; /* [N_NODE] */
    uint32_t left;
    int64_t t0;
};

struct node {
    struct world *w;
    struct net_client *client;
    struct job_timer {
        struct node *n;
        struct loop_timer *t;
        uint64_t id;
    } slot[N_SLOT];
    uint32_t n_done;
};

static void ask(struct job_timer *s);

/* A request is {node, finished job or ~0}; its answer the next job's id, or ~0. */
static void on_req(void *arg, struct net_req *req, struct span frame)
{
    struct world *w = arg;
    uint64_t in[2], id = UINT64_MAX;
    memcpy(in, frame.p, sizeof in);
    if (in[1] != UINT64_MAX && dispatch_finish(w->dispatch, in[1], 0) == ERR_OK && --w->left == 0) loop_stop(w->loop);
    const struct job *j = dispatch_take(w->dispatch, in[0], 1, 0, 0);
    if (j) id = j->id;
    net_reply(req, span_of(&id, sizeof id));
}

static void on_end(void *arg)
{
    struct job_timer *s = arg;
    loop_timer_stop(s->t);
    s->t = NULL;
    s->n->n_done++;
    ask(s);
}

static void on_reply(void *arg, enum err e, struct span reply)
{
    struct job_timer *s = arg;
    if (e || reply.n != sizeof s->id) return;
    memcpy(&s->id, reply.p, sizeof s->id);
    if (s->id == UINT64_MAX) return;
    if (loop_timer_start(s->n->w->loop, job_ms[s->n - s->n->w->node], 0, on_end, s, &s->t)) die("asked", "timer");
}

static void ask(struct job_timer *s)
{
    const uint64_t out[2] = {(uint64_t)(s->n - s->n->w->node) + 1, s->id};
    if (net_call(s->n->client, span_of(out, sizeof out), 0, on_reply, s)) die("asked", "call");
}

static void on_up(void *arg, bool up)
{
    struct node *n = arg;
    for (uint32_t i = 0; up && i < N_SLOT; i++) {
        n->slot[i] = (struct job_timer){n, NULL, UINT64_MAX};
        ask(&n->slot[i]);
    }
}

static void run_asked(void)
{
    struct node node[N_NODE] = {0};
    struct world w = {.left = N_JOB, .node = node};
    struct why why = {0};
    char url[64];
    const struct net_server_opts so = {.max_frame_bytes = 4096, .n_ctx = 64, .arg = &w, .on_req = on_req};
    enum err e = loop_create(&w.loop);
    if (!e) e = dispatch_create(&w.dispatch);
    for (uint32_t i = 0; !e && i < N_JOB; i++) e = dispatch_add(w.dispatch, &(struct job){.id = i, .group_size = 1}, false, 0);
    if (!e) e = net_listen(w.loop, "tcp://127.0.0.1:0", &so, &w.server, &why);
    if (e) die("asked", why_str(&why, e));
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", net_server_port(w.server));
    w.t0 = clock_now_ns();
    for (uint32_t i = 0; i < N_NODE; i++) {
        const struct net_client_opts co = {.max_frame_bytes = 4096, .arg = &node[i], .on_up = on_up};
        node[i].w = &w;
        e = net_dial(w.loop, url, &co, &node[i].client, &why);
        if (e) die("asked", why_str(&why, e));
    }
    loop_run(w.loop);
    printf("asked   %.2f s  jobs by node %u %u %u\n", clock_s(clock_now_ns() - w.t0), node[0].n_done, node[1].n_done, node[2].n_done);
    for (uint32_t i = 0; i < N_NODE; i++) net_client_close(node[i].client);
    net_server_close(w.server);
    loop_drain(w.loop, 50);
    dispatch_destroy(w.dispatch);
    loop_destroy(w.loop);
}

int main(void)
{
    run_pushed();
    run_asked();
    return 0;
}
