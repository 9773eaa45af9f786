// SPDX-License-Identifier: Apache-2.0
/* rpc.c - the learner's side of its nodes: hello, ask, group, beat, bye; and the bulk address. Loop thread. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/svc/log.h"
#include "learner/service.h"
#include "proto/msg.h"

#define MAX_HELD 1024 /* jobs of one beat (schema.def) */

static void reply(struct service *s, struct net_req *req, enum err e)
{
    if (!e) net_reply(req, msg_buf_span(&s->buf));
}

static void say_ack(struct service *s, struct net_req *req, enum err code, const char *why)
{
    const struct msg_ack m = {.code = (uint32_t)code, .why = span_str(why ? why : "")};
    reply(s, req, msg_put_ack(&m, &s->buf));
}

static void say_idle(struct service *s, struct net_req *req, const struct node *n, uint32_t retry_ms, uint32_t need_seq)
{
    const struct msg_idle m = {.retry_ms = retry_ms, .incarnation = s->incarnation, .version = s->version, .drain = n->drain, .pause = s->paused,
                               .need_seq = need_seq};
    reply(s, req, msg_put_idle(&m, &s->buf));
}

static void unpark(struct service *s, struct node *n, uint32_t retry_ms, uint32_t need_seq)
{
    struct net_req *req = n->ask;
    n->ask = NULL;
    if (req) say_idle(s, req, n, retry_ms, need_seq);
}

static void hear(struct node *n, int64_t now_ns)
{
    n->heard_ns = now_ns;
    if (!n->silent) return;
    n->silent = false;
    log_event(LOG_LEVEL_INFO, "node_back", "%s", n->name);
}

static void lose(struct service *s, struct node *n, const char *event);

/* -- hello ------------------------------------------------------------------------------------------------------------ */

/* A peer's words, for logs and JSON: anything but printable ASCII becomes '?'. */
static void copy_words(struct span from, char *out, size_t cap)
{
    msg_str_copy(from, out, cap);
    for (char *p = out; *p; p++)
        if (*p < ' ' || *p > '~') *p = '?';
}

/* The node sits on this connection from now on: a question it left open on another goes nowhere, and whoever sat here before is gone. */
static void seat(struct service *s, struct node *n, struct net_req *req)
{
    const uint64_t peer = net_req_peer(req);
    struct node *before = nodes_by_peer(&s->nodes, peer);
    if (before && before != n) {
        before->peer = 0;
        lose(s, before, "node_lost");
    }
    if (n->peer != peer) unpark(s, n, 0, 0);
    n->peer = peer;
    net_req_addr(req, n->addr, sizeof n->addr);
}

static void on_hello(struct service *s, struct net_req *req, struct span frame)
{
    struct msg_hello m;
    struct why why = {0};
    enum err e = msg_get_hello(frame, &m, &why);
    if (!e && m.proto != PROTO_VERSION)
        e = why_set(&why, ERR_MISMATCH, "this learner speaks protocol %d, the node %u: install the same grpod on both", PROTO_VERSION, m.proto);
    const struct hash128 h = tokenizer_hash(s->tok);
    if (!e && (m.tok_lo || m.tok_hi) && (m.tok_lo != h.lo || m.tok_hi != h.hi))
        e = why_set(&why, ERR_MISMATCH, "the node's tokenizer is not the learner's");
    struct node *n = e ? NULL : nodes_greet(&s->nodes, m.boot, clock_now_ns());
    if (!e && !n) e = ERR_NOMEM;
    if (e) {
        log_event(LOG_LEVEL_WARN, "hello_refused", "%s", why_str(&why, e));
        return say_ack(s, req, e, why_str(&why, e));
    }
    seat(s, n, req);
    n->max_seq = m.max_seq;
    copy_words(m.name, n->name, sizeof n->name);
    copy_words(m.numerics, n->numerics, sizeof n->numerics);
    n->exact = !strcmp(n->numerics, s->dev->numerics);
    hear(n, clock_now_ns());
    log_event(LOG_LEVEL_INFO, "node_joined", "%s from %s, node %llu%s", n->name, n->addr, (unsigned long long)n->id,
              n->exact ? "" : ", other numerics: its logprobs will not be bit-equal");
    const struct msg_welcome w = {.node_id = n->id,
                                  .incarnation = s->incarnation,
                                  .version = s->version,
                                  .run = span_str(s->conf->run_dir),
                                  .config_json = span_str(s->config_json),
                                  .bulk_url = span_str(s->bulk_url),
                                  .lease_ms = (uint32_t)(s->conf->lease_s * 1000),
                                  .beat_ms = s->conf->beat_ms,
                                  .numerics = span_str(s->dev->numerics)};
    reply(s, req, msg_put_welcome(&w, &s->buf));
}

/* A job that no node here can do ends the run: waiting would be for ever. */
static void give_up_if_hopeless(struct service *s)
{
    uint64_t up[256];
    uint32_t n = 0, room = 0;
    for (const struct node *x = s->nodes.head; x && n < 256; x = x->next)
        if (node_is_up(x)) {
            up[n++] = x->id;
            room = x->max_seq > room ? x->max_seq : room;
        }
    if (!n || s->stop) return;
    const struct job *j = dispatch_hopeless(s->dispatch, up, n);
    const uint32_t need = dispatch_need(s->dispatch, 0, UINT64_MAX);
    if (j) log_event(LOG_LEVEL_ERROR, "job_hopeless", "every node has refused job %llu: %s", (unsigned long long)j->id, j->words);
    else if (need > room) log_event(LOG_LEVEL_ERROR, "job_hopeless", "no node can do a group of %u completions: the largest max_num_seqs is %u", need, room);
    else return;
    s->exit_code = 1;
    service_stop(s);
}

/* -- ask --------------------------------------------------------------------------------------------------------------- */

static void say_job(struct service *s, struct net_req *req, const struct job *j)
{
    const struct learner_conf *c = s->conf;
    const struct prompt_row *row = j->eval ? &s->eval.row[j->row] : &s->data.row[j->row];
    const struct msg_job m = {.job_id = j->id,
                              .group_size = j->group_size,
                              .seed = c->seed,
                              .temperature = (float)(j->eval ? c->eval_temperature : c->temperature),
                              .top_p = (float)(j->eval ? 1 : c->top_p),
                              .min_p = (float)(j->eval ? 0 : c->min_p),
                              .top_k = j->eval ? 0 : c->top_k,
                              .max_tok = c->max_completion_length,
                              .incarnation = s->incarnation,
                              .min_version = j->min_version,
                              .tokens = msg_arr_of(row->tok, row->n_tok),
                              .eos = msg_arr_of(&s->train.eos, s->train.eos >= 0)};
    reply(s, req, msg_put_job(&m, &s->buf));
}

/* A job waits that only lacks room: the question says how much there was when it was asked, so it must be asked again when there is more.
 * true: it was answered so. A node that can never have the room is passed over. */
static bool ask_for_room(struct service *s, struct node *n)
{
    const uint32_t need = dispatch_need(s->dispatch, n->id, n->have.counter);
    if (!need || need > n->max_seq) return false;
    unpark(s, n, 0, need);
    return true;
}

static bool serve_one(struct service *s, struct node *n)
{
    if (!n->ask || s->paused || n->drain || n->have.incarnation != s->incarnation) return false;
    const struct job *j = dispatch_take(s->dispatch, n->id, n->ask_room, n->have.counter, clock_now_ns());
    if (!j) return ask_for_room(s, n);
    struct net_req *req = n->ask;
    n->ask = NULL;
    say_job(s, req, j);
    return true;
}

void rpc__serve(struct service *s)
{
    for (struct node *n = s->nodes.head; n; n = n->next) serve_one(s, n);
}

void rpc__news(struct service *s)
{
    for (struct node *n = s->nodes.head; n; n = n->next) unpark(s, n, 0, 0);
}

static void on_ask(struct service *s, struct net_req *req, struct span frame)
{
    struct msg_ask m;
    struct why why = {0};
    if (msg_get_ask(frame, &m, &why)) return say_ack(s, req, ERR_FORMAT, why_str(&why, ERR_FORMAT));
    struct node *n = nodes_find(&s->nodes, m.node_id);
    if (!n || n->peer != net_req_peer(req)) return say_ack(s, req, ERR_NOENT, "unknown node: say hello first");
    hear(n, clock_now_ns());
    unpark(s, n, 0, 0); /* one question at a time */
    n->have = (struct version){m.incarnation, m.version};
    n->ask = req;
    n->ask_room = m.room_seq;
    if (serve_one(s, n)) return;
    /* Behind: say so, and let it fetch. */
    if (n->have.incarnation != s->incarnation || n->have.counter < s->version || s->paused || n->drain) unpark(s, n, 20, 0);
    give_up_if_hopeless(s);
}

/* -- group ------------------------------------------------------------------------------------------------------------- */

/* A node whose group is malformed would make the same again: it is not asked for this job any more. */
static enum err cannot_use(struct service *s, const struct node *n, uint64_t job_id, enum err e, const struct why *why)
{
    const int64_t now = clock_now_ns();
    if (n && (e == ERR_FORMAT || e == ERR_RANGE)) dispatch_refuse(s->dispatch, job_id, n->id, span_str(why_str(why, e)), now);
    else if (n) dispatch_return(s->dispatch, job_id, n->id, now);
    give_up_if_hopeless(s);
    return e;
}

static enum err take_group(struct service *s, struct span frame, struct node **ret_node, struct why *why)
{
    struct msg_group m;
    struct group *g;
    TRY(msg_get_group(frame, &m, why));
    *ret_node = nodes_find(&s->nodes, m.node_id);
    if (*ret_node) hear(*ret_node, clock_now_ns());
    if (m.incarnation != s->incarnation) return why_set(why, ERR_STALE, "the group is of another incarnation");
    const struct job *j = dispatch_find(s->dispatch, m.job_id);
    if (!j || j->state == JOB_DONE) return why_set(why, ERR_STALE, "the job is done already");
    if (m.why.n) {
        dispatch_refuse(s->dispatch, m.job_id, m.node_id, m.why, clock_now_ns());
        log_event(LOG_LEVEL_WARN, "job_refused", "job %llu by %s: %.*s", (unsigned long long)m.job_id, *ret_node ? (*ret_node)->name : "unknown node",
                  (int)(m.why.n < 200 ? m.why.n : 200), (const char *)m.why.p);
        give_up_if_hopeless(s);
        return ERR_OK;
    }
    /* a node may have fetched, and drawn with, a version whose letter has not reached this thread */
    const struct group_limits lim = {j->group_size, s->conf->max_completion_length, s->dims.n_vocab, push_source_newest(s->source).counter,
                                     j->min_version};
    enum err e = group_read(&m, &lim, &g, why);
    if (e) {
        s->n_bad++;
        return cannot_use(s, *ret_node, m.job_id, e, why);
    }
    g->step = j->step;
    g->eval = j->eval;
    g->row = j->row;
    if (*ret_node) {
        (*ret_node)->n_group++;
        for (uint32_t i = 0; i < g->n; i++) (*ret_node)->n_tok += g->c[i].n_tok;
    }
    e = dispatch_finish(s->dispatch, m.job_id, clock_now_ns());
    if (e) group_destroy(g);
    else collect__group(s, g);
    return e;
}

static void on_group(struct service *s, struct net_req *req, struct span frame)
{
    struct why why = {0};
    struct node *n = NULL;
    const enum err e = take_group(s, frame, &n, &why);
    if (e == ERR_STALE) s->n_stale++;
    else if (e) log_event(LOG_LEVEL_WARN, "group_refused", "%s: %s", n ? n->name : "unknown node", why_str(&why, e));
    say_ack(s, req, e, e ? why_str(&why, e) : "");
    rpc__serve(s);
}

/* -- beat, bye, peers --------------------------------------------------------------------------------------------------- */

/* A job whose answer never arrived would wait for ever: the node lists what it holds. Young ones may still be on the way. */
static void find_lost(struct service *s, const struct node *n, struct msg_arr jobs)
{
    uint64_t held[MAX_HELD];
    if (jobs.n >= MAX_HELD) return; /* the list may be cut */
    msg_arr_copy(jobs, sizeof *held, held);
    const int64_t now = clock_now_ns(), grace = 2 * (int64_t)s->conf->beat_ms * NS_PER_MS + NS_PER_S;
    const uint32_t k = dispatch_reconcile(s->dispatch, n->id, held, jobs.n, now - grace, now);
    if (k) log_event(LOG_LEVEL_WARN, "jobs_lost", "%s does not hold %u of its jobs: they wait again", n->name, k);
}

static void on_beat(struct service *s, struct net_req *req, struct span frame)
{
    struct msg_beat m;
    struct why why = {0};
    if (msg_get_beat(frame, &m, &why)) return say_ack(s, req, ERR_FORMAT, why_str(&why, ERR_FORMAT));
    struct node *n = nodes_find(&s->nodes, m.node_id);
    if (!n || n->peer != net_req_peer(req)) return say_ack(s, req, ERR_NOENT, "unknown node: say hello first");
    hear(n, clock_now_ns());
    n->have = (struct version){m.incarnation, m.version};
    n->n_running = m.n_running;
    n->n_waiting = m.n_waiting;
    n->free_block = m.free_block;
    n->n_block = m.n_block;
    n->tok_per_s = m.tok_per_s;
    n->swap_ms = m.swap_ms;
    n->stall_us = m.stall_us;
    find_lost(s, n, m.jobs);
    say_idle(s, req, n, s->conf->beat_ms, 0);
    rpc__serve(s);
}

static void lose(struct service *s, struct node *n, const char *event)
{
    const uint32_t k = dispatch_lost(s->dispatch, n->id, clock_now_ns());
    log_event(LOG_LEVEL_WARN, event, "%s: %u of its jobs go to others", n->name, k);
    unpark(s, n, 0, 0);
    rpc__serve(s);
}

static void on_bye(struct service *s, struct net_req *req, struct span frame)
{
    struct msg_bye m;
    struct why why = {0};
    if (msg_get_bye(frame, &m, &why)) return say_ack(s, req, ERR_FORMAT, why_str(&why, ERR_FORMAT));
    struct node *n = nodes_find(&s->nodes, m.node_id);
    const uint64_t peer = net_req_peer(req); /* the request is gone once it is answered */
    say_ack(s, req, ERR_OK, "");
    if (n && n->peer == peer) {
        lose(s, n, "node_left");
        n->peer = 0;
    }
}

void rpc__on_peer(void *arg, uint64_t peer, bool up)
{
    struct service *s = arg;
    struct node *n = up ? NULL : nodes_by_peer(&s->nodes, peer);
    if (!n) return;
    n->peer = 0;
    lose(s, n, "node_lost");
}

void rpc__check_leases(struct service *s)
{
    const int64_t now = clock_now_ns(), lease = (int64_t)(s->conf->lease_s * (double)NS_PER_S);
    for (struct node *n = s->nodes.head; n; n = n->next)
        if (n->peer && !n->silent && now - n->heard_ns > lease) {
            n->silent = true;
            lose(s, n, "node_silent");
        }
}

void rpc__on_req(void *arg, struct net_req *req, struct span frame)
{
    struct service *s = arg;
    switch (msg_id_of(frame)) {
    case MSG_ID_hello: return on_hello(s, req, frame);
    case MSG_ID_ask: return on_ask(s, req, frame);
    case MSG_ID_group: return on_group(s, req, frame);
    case MSG_ID_beat: return on_beat(s, req, frame);
    case MSG_ID_bye: return on_bye(s, req, frame);
    default:
        s->n_bad++;
        return say_ack(s, req, ERR_FORMAT, "not a message for a learner");
    }
}

void rpc__on_bulk(void *arg, struct net_req *req, struct span frame)
{
    struct service *s = arg;
    reply(s, req, push_source_answer(s->source, frame, &s->buf));
}
