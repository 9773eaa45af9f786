// SPDX-License-Identifier: Apache-2.0
/* ctl.c - the control socket: msg_job is answered by msg_group, msg_ctl by msg_ctl_reply. Loop thread. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/svc/log.h"
#include "proto/msg.h"
#include "rollout/intake.h"
#include "rollout/service.h"

static void answer(struct ctl_req *req, enum err e, const char *why, json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    struct msg_buf b = {0};
    const struct msg_ctl_reply m = {.code = (uint32_t)e, .why = span_str(why ? why : ""), .json = span_str(text ? text : "{}")};
    if (msg_put_ctl_reply(&m, &b) == ERR_OK) ctl_reply(req, msg_buf_span(&b));
    msg_buf_done(&b);
    free(text);
    json_decref(j);
}

static json_t *status_json(struct service *s)
{
    struct engine_stats st = {0};
    const char *state = "none", *url = "";
    uint32_t jobs = 0, unsent = 0;
    if (s->worker) worker_stats(s->worker, &st);
    if (s->link) link_look(s->link, &state, &jobs, &unsent, &url);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:i, s:i, s:i, s:i, s:f, s:I, s:I, s:I, s:f, s:f, s:f}",
                     "daemon", "rollout", "version", GRPO_VERSION, "name", s->name, "device", s->dev->name, "numerics", s->dev->numerics,
                     "model", s->model_from, "learner", url, "link", state, "road", s->road, "incarnation", (json_int_t)s->version.incarnation, "policy_version",
                     (json_int_t)s->version.counter, "paused", s->paused || s->learner_paused, "draining", s->draining, "running", (int)st.n_running, "waiting",
                     (int)st.n_waiting, "kv_free_blocks", (int)st.n_free_block, "kv_blocks", (int)st.n_block, "tok_per_s", s->tok_per_s,
                     "generated_tokens", (json_int_t)st.gen_tok, "prefilled_tokens", (json_int_t)st.prefill_tok, "groups",
                     (json_int_t)s->n_group, "swap_s", clock_s(s->last_swap_ns), "stall_s", clock_s(s->last_stall_ns), "uptime_s",
                     clock_s(clock_now_ns() - s->started_ns));
}

static json_t *queues_json(struct service *s)
{
    struct engine_stats st = {0};
    const char *state = "none", *url = "";
    uint32_t jobs = 0, unsent = 0;
    if (s->worker) worker_stats(s->worker, &st);
    if (s->link) link_look(s->link, &state, &jobs, &unsent, &url);
    return json_pack("{s:i, s:i, s:i, s:i}", "sequences_running", (int)st.n_running, "sequences_waiting", (int)st.n_waiting, "jobs_held",
                     (int)jobs, "groups_unsent", (int)unsent);
}

static json_t *conf_json(struct service *s)
{
    json_t *j = json_object();
    for (uint32_t i = 0; i < rollout_conf_list.n; i++) {
        char v[1024];
        conf_get(&rollout_conf_list.key[i], s->conf, v, sizeof v);
        json_object_set_new(j, rollout_conf_list.key[i].name, json_string(v));
    }
    return j;
}

/* Prometheus text, names as vLLM's under grpo_rollout_. */
static json_t *metrics_json(struct service *s)
{
    struct engine_stats st = {0};
    char t[2000];
    if (s->worker) worker_stats(s->worker, &st);
    snprintf(t, sizeof t,
             "# TYPE grpo_rollout_num_requests_running gauge\ngrpo_rollout_num_requests_running %u\n"
             "# TYPE grpo_rollout_num_requests_waiting gauge\ngrpo_rollout_num_requests_waiting %u\n"
             "# TYPE grpo_rollout_kv_cache_usage_perc gauge\ngrpo_rollout_kv_cache_usage_perc %.6f\n"
             "# TYPE grpo_rollout_prompt_tokens_total counter\ngrpo_rollout_prompt_tokens_total %llu\n"
             "# TYPE grpo_rollout_generation_tokens_total counter\ngrpo_rollout_generation_tokens_total %llu\n"
             "# TYPE grpo_rollout_groups_total counter\ngrpo_rollout_groups_total %llu\n"
             "# TYPE grpo_rollout_swaps_total counter\ngrpo_rollout_swaps_total %llu\n"
             "# TYPE grpo_rollout_policy_version gauge\ngrpo_rollout_policy_version %llu\n",
             st.n_running, st.n_waiting, st.n_block ? 1 - (double)st.n_free_block / st.n_block : 0, (unsigned long long)st.prefill_tok,
             (unsigned long long)st.gen_tok, (unsigned long long)st.n_group, (unsigned long long)s->n_swap,
             (unsigned long long)s->version.counter);
    return json_pack("{s:s}", "prometheus", t);
}

static void on_verb(struct service *s, struct ctl_req *req, const struct msg_ctl *m)
{
    if (msg_str_eq(m->verb, "status")) return answer(req, ERR_OK, NULL, status_json(s));
    if (msg_str_eq(m->verb, "queues")) return answer(req, ERR_OK, NULL, queues_json(s));
    if (msg_str_eq(m->verb, "nodes")) return answer(req, ERR_OK, NULL, json_pack("{s:[o]}", "nodes", status_json(s)));
    if (msg_str_eq(m->verb, "conf")) return answer(req, ERR_OK, NULL, conf_json(s));
    if (msg_str_eq(m->verb, "metrics")) return answer(req, ERR_OK, NULL, metrics_json(s));
    if (msg_str_eq(m->verb, "pause") || msg_str_eq(m->verb, "resume")) {
        service__pause(s, msg_str_eq(m->verb, "pause"), s->learner_paused);
        return answer(req, ERR_OK, NULL, status_json(s));
    }
    if (msg_str_eq(m->verb, "drain")) {
        s->draining = true;
        service__status(s);
        return answer(req, ERR_OK, NULL, status_json(s));
    }
    char words[120];
    snprintf(words, sizeof words, "grpo-rollout does not know \"%.*s\"", (int)(m->verb.n < 40 ? m->verb.n : 40), (const char *)m->verb.p);
    answer(req, ERR_UNSUPPORTED, words, NULL);
}

static void on_job(struct service *s, struct ctl_req *req, struct span frame)
{
    struct msg_job j;
    struct why why = {0};
    struct work *w = NULL;
    enum err e = msg_get_job(frame, &j, &why);
    if (!e && s->draining) e = why_set(&why, ERR_BUSY, "this node is draining");
    if (!e && (!s->worker || !s->version.incarnation)) e = why_set(&why, ERR_AGAIN, "no model is loaded yet");
    if (!e) e = intake_job(&j, s->dims.eos, s->dims.n_eos, &w, &why);
    struct owner_ctl *o = e ? NULL : calloc(1, sizeof *o);
    if (!e && !o) e = ERR_NOMEM;
    if (!e) {
        *o = (struct owner_ctl){.owner = OWNER_CTL, .req = req, .work = w};
        w->owner = o;
        e = service__submit(s, w, &why);
    }
    if (!e) {
        o->next = s->ctl_work;
        o->prev = &s->ctl_work;
        if (o->next) o->next->prev = &o->next;
        s->ctl_work = o;
        ctl_req_set_data(req, o);
        return;
    }
    work_destroy(w);
    free(o);
    answer(req, e, why_str(&why, e), NULL);
}

void ctl__on_req(void *arg, struct ctl_req *req, struct span frame)
{
    struct service *s = arg;
    struct msg_ctl m;
    struct why why = {0};
    ctl_req_set_data(req, NULL);
    if (msg_id_of(frame) == MSG_ID_job) return on_job(s, req, frame);
    enum err e = msg_get_ctl(frame, &m, &why);
    if (e) return answer(req, e, why_str(&why, e), NULL);
    on_verb(s, req, &m);
}

void ctl__on_gone(void *arg, struct ctl_req *req)
{
    struct service *s = arg;
    struct owner_ctl *o = ctl_req_data(req);
    if (!o) return;
    o->req = NULL;
    worker_abort(s->worker, o->work);
}

void ctl__done(struct service *s, struct work *w)
{
    struct owner_ctl *o = w->owner;
    struct msg_buf b = {0};
    (void)s;
    if (o->req) {
        enum err e = w->e;
        ctl_req_set_data(o->req, NULL);
        if (!e) e = intake_group(w, 0, &b);
        if (!e && b.n > CTL_MAX_FRAME) e = why_set(&w->why, ERR_RANGE, "a group of %zu bytes, a reply holds %u: ask for fewer or shorter completions", b.n, CTL_MAX_FRAME);
        if (e) answer(o->req, e, why_str(&w->why, e), NULL);
        else ctl_reply(o->req, msg_buf_span(&b));
    }
    msg_buf_done(&b);
    *o->prev = o->next;
    if (o->next) o->next->prev = o->prev;
    free(o);
    work_destroy(w);
}

void ctl__forget(struct service *s)
{
    while (s->ctl_work) {
        struct owner_ctl *o = s->ctl_work;
        s->ctl_work = o->next;
        free(o);
    }
}
