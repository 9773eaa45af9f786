// SPDX-License-Identifier: Apache-2.0
/* link.c - a node's side of the learner: hello, weights, ask, group, beat. Loop thread.
 *
 * The node dials and asks for work when it has room; it is told of nothing it did not ask for. When the learner is away it waits and
 * dials again, for ever; what it holds for the same incarnation is offered again, what belongs to another one is thrown away. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/push/push.h"
#include "common/svc/log.h"
#include "common/svc/net.h"
#include "proto/msg.h"
#include "rollout/intake.h"
#include "rollout/service.h"

#define MAX_FRAME     (64u << 20)
#define ASK_WAIT_MS   120000
#define CALL_WAIT_MS  30000 /* at most; else so many beats: */
#define CALL_BEATS    30
#define FETCH_AGAIN_MS 500

enum state { DOWN, GREETING, READY };

/* A job of the learner's, from its arrival until the learner has its group. */
struct held {
    enum owner owner;
    struct held *next;
    struct link *link;
    struct work *work;
    bool finished, sending;
};

struct link {
    struct service *s;
    char url[256], bulk_url[256];
    struct net_client *net, *bulk;
    struct push_fetch *fetch;
    enum state state;
    uint64_t node_id, incarnation;
    uint32_t beat_ms;
    struct version newest; /* published, as far as we have heard */
    struct held *held;
    bool asking, leaving, loading;
    uint32_t need_seq; /* room that the learner's next job needs */
    struct loop_timer *beat, *again;
    struct msg_buf buf;
    int64_t fetch_started_ns;
};

static void ask(struct link *k);
static void greet(struct link *k);
static void fetch(struct link *k);

/* Encode with put and call; done gets the link. */
#define CALL(k, name, msg, wait_ms, done, arg)                                                                    \
    (msg_put_##name(&(msg), &(k)->buf) ? ERR_NOMEM : net_call((k)->net, msg_buf_span(&(k)->buf), wait_ms, done, arg))

/* How long the learner may take to answer. */
static uint32_t call_wait(const struct link *k)
{
    const uint64_t ms = (uint64_t)CALL_BEATS * k->beat_ms;
    return !ms || ms > CALL_WAIT_MS ? CALL_WAIT_MS : (uint32_t)ms;
}

static void forget(struct held *h)
{
    for (struct held **at = &h->link->held; *at; at = &(*at)->next)
        if (*at == h) {
            *at = h->next;
            break;
        }
    work_destroy(h->work);
    free(h);
}

/* -- groups ---------------------------------------------------------------------------------------------------------- */

static void on_group_ack(void *arg, enum err e, struct span reply)
{
    struct held *h = arg;
    struct msg_ack a = {0};
    struct why why = {0};
    h->sending = false;
    if (e) return; /* offered again with a beat, or after the next welcome */
    if (msg_get_ack(reply, &a, &why)) log_event(LOG_LEVEL_WARN, "bad_reply", "group: %s", why_str(&why, ERR_FORMAT));
    else if (a.code) log_event(LOG_LEVEL_INFO, "group_dropped", "job %llu: %.*s", (unsigned long long)h->work->job_id, (int)a.why.n, (const char *)a.why.p);
    struct link *k = h->link;
    forget(h);
    ask(k);
}

static void send_group(struct held *h)
{
    struct link *k = h->link;
    if (k->state != READY || h->sending) return;
    if (intake_group(h->work, k->node_id, &k->buf) || net_call(k->net, msg_buf_span(&k->buf), call_wait(k), on_group_ack, h)) return;
    h->sending = true;
}

static void on_refusal_ack(void *arg, enum err e, struct span reply)
{
    (void)arg, (void)e, (void)reply; /* lost or not: a beat no longer lists the job */
}

/* Tell the learner that a job cannot be done here, so that another node gets it. */
static void refuse(struct link *k, uint64_t job_id, const char *words)
{
    const struct msg_group g = {.node_id = k->node_id, .job_id = job_id, .incarnation = k->incarnation, .why = span_str(words)};
    log_event(LOG_LEVEL_WARN, "job_refused", "job %llu: %s", (unsigned long long)job_id, words);
    if (k->state != READY || CALL(k, group, g, call_wait(k), on_refusal_ack, k)) return;
}

void link_done(struct link *k, struct work *w)
{
    struct held *h = w->owner;
    if (w->e || (w->want.incarnation && w->want.incarnation != k->incarnation)) {
        if (w->e && w->e != ERR_CANCELLED && w->want.incarnation == k->incarnation) refuse(k, w->job_id, why_str(&w->why, w->e));
        forget(h);
        ask(k);
        return;
    }
    h->finished = true;
    send_group(h);
    ask(k);
}

static void offer_again(struct link *k)
{
    for (struct held *h = k->held, *next; h; h = next) {
        next = h->next;
        const bool stale = h->work->want.incarnation != k->incarnation;
        if (stale && h->finished) forget(h);
        else if (stale) worker_abort(k->s->worker, h->work);
        else if (h->finished) send_group(h);
    }
}

/* -- asking ---------------------------------------------------------------------------------------------------------- */

static void take_job(struct link *k, struct span frame)
{
    struct msg_job j = {0};
    struct why why = {0};
    struct work *w = NULL;
    enum err e = msg_get_job(frame, &j, &why);
    if (!e) e = intake_job(&j, k->s->dims.eos, k->s->dims.n_eos, &w, &why);
    struct held *h = e ? NULL : calloc(1, sizeof *h);
    if (!e && !h) e = ERR_NOMEM;
    if (!e) {
        *h = (struct held){.owner = OWNER_LINK, .next = k->held, .link = k, .work = w};
        w->owner = h;
        e = service__submit(k->s, w, &why);
    }
    if (e) {
        refuse(k, j.job_id, why_str(&why, e));
        work_destroy(w);
        free(h);
        return;
    }
    k->held = h;
}

static void hear_idle(struct link *k, const struct msg_idle *i)
{
    if (i->incarnation != k->incarnation) return;
    if (i->version > k->newest.counter) k->newest.counter = i->version;
    if (i->drain && !k->s->draining) {
        log_event(LOG_LEVEL_INFO, "drain", "asked by the learner");
        k->s->draining = true;
    }
    service__pause(k->s, k->s->paused, i->pause);
    fetch(k);
}

static void ask_again(void *arg)
{
    struct link *k = arg;
    loop_timer_stop(k->again);
    k->again = NULL;
    if (k->state == DOWN && k->net && net_client_is_up(k->net)) greet(k);
    ask(k);
    fetch(k);
}

static void later(struct link *k, uint32_t ms)
{
    if (k->again) return;
    if (loop_timer_start(k->s->loop, ms ? ms : 1, 0, ask_again, k, &k->again)) k->again = NULL;
}

/* End the connection, which the transport takes badly while something comes in (net_nng.c): for one that does not answer. The calls that are
 * open on it are never answered. */
static void hang_up(struct link *k)
{
    k->state = DOWN;
    net_client_close(k->net);
    k->net = NULL;
    k->asking = false;
    for (struct held *h = k->held; h; h = h->next) h->sending = false;
}

static void on_ask_reply(void *arg, enum err e, struct span reply)
{
    struct link *k = arg;
    struct msg_idle i;
    struct why why = {0};
    k->asking = false;
    if (e == ERR_TIMEOUT) ask(k);
    if (e) return;
    switch (msg_id_of(reply)) {
    case MSG_ID_job:
        k->need_seq = 0;
        take_job(k, reply);
        ask(k);
        break;
    case MSG_ID_idle:
        if (msg_get_idle(reply, &i, &why)) return later(k, 1000);
        k->need_seq = i.need_seq;
        hear_idle(k, &i);
        if (i.need_seq) ask(k); /* else when the next work has ended */
        else later(k, i.retry_ms);
        break;
    default: /* an ack: the learner does not know us any more, or not yet on this connection */
        if (k->state != READY) break;
        log_event(LOG_LEVEL_WARN, "ask_refused", "by the learner; greeting again");
        k->state = DOWN;
        later(k, 500);
    }
}

/* 0 also while there is less than the next job needs: with nothing in flight the question is asked in any case, for the need may be gone. */
static uint32_t room(const struct link *k)
{
    const uint32_t max = k->s->conf->max_num_seqs, n = k->s->n_inflight < max ? max - k->s->n_inflight : 0;
    return n < k->need_seq && k->s->n_inflight ? 0 : n;
}

static enum err dial(struct link *k, struct why *why);

/* One question is open at a time, while there is room and a policy to draw with. */
static void ask(struct link *k)
{
    struct service *s = k->s;
    struct why why = {0};
    if (!k->net && dial(k, &why)) return later(k, 1000);
    if (k->state != READY || k->asking || k->leaving || s->draining || s->paused || s->learner_paused || !room(k)) return;
    if (s->version.incarnation != k->incarnation) return;
    const struct msg_ask m = {.node_id = k->node_id, .room_seq = room(k), .incarnation = s->version.incarnation, .version = s->version.counter};
    k->asking = CALL(k, ask, m, ASK_WAIT_MS, on_ask_reply, k) == ERR_OK;
}

void link_more(struct link *k)
{
    ask(k);
}

/* -- weights --------------------------------------------------------------------------------------------------------- */

static void on_fetched(void *arg, enum err e, struct push_image *image, const struct why *why)
{
    struct link *k = arg;
    struct why w = {0};
    if (e) {
        if (e != ERR_STALE && e != ERR_AGAIN && e != ERR_CANCELLED) log_event(LOG_LEVEL_WARN, "fetch_failed", "%s", why_str(why, e));
        if (e != ERR_CANCELLED) later(k, FETCH_AGAIN_MS);
        return;
    }
    const char *road = image->road == PUSH_SHM ? "shm" : "net";
    e = worker_load(k->s->worker, image, &w);
    if (e) {
        push_image_done(image);
        log_event(LOG_LEVEL_WARN, "swap_failed", "%s", why_str(&w, e));
        later(k, FETCH_AGAIN_MS);
        return;
    }
    k->s->road = road;
    k->loading = true;
}

/* Fetch the newest version when it is not the one we draw with. */
static void fetch(struct link *k)
{
    struct why why = {0};
    if (k->state != READY || !k->fetch || k->loading || push_fetch_busy(k->fetch)) {
        if (k->fetch && push_fetch_busy(k->fetch)) push_fetch_newer(k->fetch, k->newest);
        return;
    }
    if (version_eq(k->s->version, k->newest)) return;
    k->fetch_started_ns = clock_now_ns();
    if (push_fetch_start(k->fetch, (struct version){0, 0}, on_fetched, k, &why)) later(k, FETCH_AGAIN_MS);
}

void link_load_failed(struct link *k, enum err e)
{
    k->loading = false;
    log_event(LOG_LEVEL_WARN, "swap_failed", "%s", err_str(e));
    later(k, FETCH_AGAIN_MS);
}

void link_swapped(struct link *k)
{
    k->loading = false;
    /* a fetch gets the newest there is, of which word may not have come yet */
    if (k->s->version.incarnation == k->newest.incarnation && k->s->version.counter > k->newest.counter) k->newest = k->s->version;
    k->s->last_swap_ns = clock_now_ns() - k->fetch_started_ns;
    ask(k);
    fetch(k);
}

/* -- greeting -------------------------------------------------------------------------------------------------------- */

/* The bulk address; an empty host means the one we dialled. */
static void bulk_address(struct link *k, struct span url)
{
    char u[256];
    msg_str_copy(url, u, sizeof u);
    const char *colon = strrchr(u, ':'), *host = strstr(k->url, "//"), *end = host ? strrchr(host, ':') : NULL;
    if (!strncmp(u, "tcp://:", 7) && colon && host && end)
        snprintf(k->bulk_url, sizeof k->bulk_url, "tcp:%.*s%s", (int)(end - host), host, colon);
    else
        snprintf(k->bulk_url, sizeof k->bulk_url, "%s", u);
}

static enum err open_bulk(struct link *k, struct span url, struct why *why)
{
    char old[256];
    snprintf(old, sizeof old, "%s", k->bulk_url);
    bulk_address(k, url);
    if (k->bulk && !strcmp(old, k->bulk_url)) return ERR_OK;
    net_client_close(k->bulk);
    push_fetch_destroy(k->fetch);
    k->fetch = NULL;
    k->bulk = NULL;
    const struct net_client_opts o = {.max_frame_bytes = MAX_FRAME};
    TRY(net_dial(k->s->loop, k->bulk_url, &o, &k->bulk, why));
    const struct tensor_table *t = worker_table(k->s->worker);
    uint64_t *end = calloc(t->n, sizeof *end);
    if (!end) return ERR_NOMEM;
    for (uint32_t i = 0; i < t->n; i++) end[i] = t->t[i].offset + (uint64_t)t->t[i].rows * t->t[i].cols;
    const struct push_fetch_opts fo = {.loop = k->s->loop, .link = push_link_net(k->bulk), .host = k->s->conf->road ? "" : k->s->host, .end = end,
                                       .n_tensor = t->n, .n_param = t->n_param, .window = 4};
    enum err e = push_fetch_create(&fo, &k->fetch, why);
    free(end);
    return e;
}

static enum err welcome(struct link *k, const struct msg_welcome *w, struct why *why)
{
    struct dims d;
    TRY(dims_parse(w->config_json, "the learner's config.json", &d, why));
    TRY(service__need_worker(k->s, &d, k->url, why));
    k->node_id = w->node_id;
    k->incarnation = w->incarnation;
    k->newest = (struct version){w->incarnation, w->version};
    k->beat_ms = w->beat_ms ? w->beat_ms : 1000;
    TRY(open_bulk(k, w->bulk_url, why));
    k->state = READY;
    log_event(LOG_LEVEL_INFO, "welcome", "run %.*s at %s, node %llu, version %llu", (int)w->run.n, (const char *)w->run.p, k->url,
              (unsigned long long)w->node_id, (unsigned long long)w->version);
    if (!msg_str_eq(w->numerics, k->s->dev->numerics))
        log_event(LOG_LEVEL_WARN, "numerics_differ", "here %s, there %.*s: logprobs will not be bit-equal", k->s->dev->numerics,
                  (int)w->numerics.n, (const char *)w->numerics.p);
    return ERR_OK;
}

static void on_beat(void *arg);

static void on_hello_reply(void *arg, enum err e, struct span reply)
{
    struct link *k = arg;
    struct msg_welcome w;
    struct msg_ack a;
    struct why why = {0};
    if (k->state != GREETING) return;
    if (!e && msg_id_of(reply) == MSG_ID_ack) {
        e = msg_get_ack(reply, &a, &why);
        if (!e) e = why_set(&why, ERR_MISMATCH, "the learner refuses: %.*s", (int)a.why.n, (const char *)a.why.p);
    } else if (!e) {
        e = msg_get_welcome(reply, &w, &why);
        if (!e) e = welcome(k, &w, &why);
    }
    if (e) {
        if (e != ERR_CLOSED) log_event(LOG_LEVEL_ERROR, "hello_failed", "%s: %s", k->url, why_str(&why, e));
        if (reply.n) k->state = DOWN; /* refused: greet again on this connection, for a refusal is not the end */
        else hang_up(k);
        later(k, 2000);
        return;
    }
    loop_timer_stop(k->beat);
    k->beat = NULL;
    if (loop_timer_start(k->s->loop, k->beat_ms, k->beat_ms, on_beat, k, &k->beat)) k->beat = NULL;
    service__status(k->s);
    offer_again(k);
    fetch(k);
    ask(k);
}

static void on_up(void *arg, bool up)
{
    struct link *k = arg;
    if (up) return greet(k);
    if (k->state == READY) log_event(LOG_LEVEL_WARN, "learner_away", "%s: waiting for it", k->url);
    k->state = DOWN;
    service__status(k->s);
}

static void greet(struct link *k)
{
    k->state = GREETING;
    const struct msg_hello m = {.proto = PROTO_VERSION, .name = span_str(k->s->name), .boot = k->s->boot, .host = span_str(k->s->host),
                                .numerics = span_str(k->s->dev->numerics), .max_seq = k->s->conf->max_num_seqs};
    if (CALL(k, hello, m, call_wait(k), on_hello_reply, k)) k->state = DOWN;
}

static enum err dial(struct link *k, struct why *why)
{
    const struct net_client_opts o = {.max_frame_bytes = MAX_FRAME, .arg = k, .on_up = on_up};
    return net_dial(k->s->loop, k->url, &o, &k->net, why);
}

/* -- beat and bye ---------------------------------------------------------------------------------------------------- */

static uint32_t list_jobs(const struct link *k, uint64_t *out, uint32_t cap)
{
    uint32_t n = 0;
    for (const struct held *h = k->held; h && n < cap; h = h->next) out[n++] = h->work->job_id;
    return n;
}

static void on_beat_reply(void *arg, enum err e, struct span reply)
{
    struct msg_idle i;
    if (!e && !msg_get_idle(reply, &i, NULL)) hear_idle(arg, &i);
}

static void on_beat(void *arg)
{
    struct link *k = arg;
    struct service *s = k->s;
    uint64_t jobs[1024];
    struct engine_stats st = {0};
    if (k->state != READY) return;
    if (s->worker) worker_stats(s->worker, &st);
    const struct msg_beat m = {.node_id = k->node_id,
                               .incarnation = s->version.incarnation,
                               .version = s->version.counter,
                               .jobs = msg_arr_of(jobs, list_jobs(k, jobs, 1024)),
                               .n_running = st.n_running,
                               .n_waiting = st.n_waiting,
                               .free_block = st.n_free_block,
                               .n_block = st.n_block,
                               .gen_tok = st.gen_tok,
                               .tok_per_s = (float)s->tok_per_s,
                               .swap_ms = (uint32_t)(s->last_swap_ns / NS_PER_MS),
                               .stall_us = (uint32_t)(s->last_stall_ns / 1000)};
    for (struct held *h = k->held; h; h = h->next) /* whose ack did not come in time */
        if (h->finished) send_group(h);
    if (CALL(k, beat, m, call_wait(k), on_beat_reply, k)) return;
    ask(k);
}

static void leave(void *arg)
{
    struct link *k = arg;
    loop_stop(k->s->loop);
}

static void on_bye(void *arg, enum err e, struct span reply)
{
    (void)e, (void)reply;
    leave(arg);
}

void link_bye(struct link *k)
{
    uint64_t jobs[1024];
    if (k->leaving) return;
    k->leaving = true;
    const struct msg_bye m = {.node_id = k->node_id, .jobs = msg_arr_of(jobs, list_jobs(k, jobs, 1024))};
    if (k->state != READY || CALL(k, bye, m, 1000, on_bye, k)) leave(k);
}

void link_look(const struct link *k, const char **ret_state, uint32_t *ret_jobs, uint32_t *ret_unsent, const char **ret_url)
{
    static const char *const words[] = {"down", "hello", "ready"};
    *ret_state = words[k->state];
    *ret_jobs = *ret_unsent = 0;
    for (const struct held *h = k->held; h; h = h->next) {
        ++*ret_jobs;
        *ret_unsent += h->finished;
    }
    *ret_url = k->url;
}

enum err link_create(struct service *s, const char *url, struct link **ret_link, struct why *why)
{
    struct link *k = calloc(1, sizeof *k);
    if (!k) return ERR_NOMEM;
    k->s = s;
    snprintf(k->url, sizeof k->url, "%s", url);
    enum err e = dial(k, why);
    if (e) {
        free(k);
        return e;
    }
    *ret_link = k;
    return ERR_OK;
}

void link_destroy(struct link *k)
{
    if (!k) return;
    loop_timer_stop(k->beat);
    loop_timer_stop(k->again);
    net_client_close(k->net);
    net_client_close(k->bulk);
    push_fetch_destroy(k->fetch);
    while (k->held) {
        struct held *h = k->held;
        k->held = h->next;
        if (h->finished) work_destroy(h->work); /* the others are the engine's to free */
        free(h);
    }
    msg_buf_done(&k->buf);
    free(k);
}
