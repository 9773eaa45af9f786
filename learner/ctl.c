// SPDX-License-Identifier: Apache-2.0
/* ctl.c - what grpoctl asks of the learner. Loop thread. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/svc/log.h"
#include "learner/service.h"
#include "proto/msg.h"

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

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static uint32_t nodes_up(const struct service *s)
{
    uint32_t n = 0;
    for (const struct node *x = s->nodes.head; x; x = x->next) n += node_is_up(x);
    return n;
}

static json_t *status_json(struct service *s)
{
    const struct step_metrics *m = &s->last;
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:i, s:f, s:s}", "daemon", "learner", "version", GRPO_VERSION,
                          "run_dir", s->conf->run_dir, "mode", s->conf->mode ? "sft" : "grpo", "device", s->dev->name, "numerics",
                          s->dev->numerics, "incarnation", (json_int_t)s->incarnation, "policy_version", (json_int_t)s->version, "step",
                          (json_int_t)(s->has_last ? m->step : s->version), "max_steps", (json_int_t)s->conf->max_steps, "paused", s->paused,
                          "nodes", (int)nodes_up(s), "uptime_s", clock_s(clock_now_ns() - s->started_ns), "bulk_url", s->bulk_url);
    json_object_set_new(j, "reward", number(s->has_last ? m->reward : NAN));
    json_object_set_new(j, "loss", number(s->has_last ? m->loss : NAN));
    json_object_set_new(j, "tok_per_s", number(s->has_last ? m->tok_per_s : NAN));
    json_object_set_new(j, "step_s", number(s->has_last ? m->step_s : NAN));
    json_object_set_new(j, "mismatch_max", number(s->has_last ? m->mismatch_max : NAN));
    return j;
}

static json_t *queues_json(struct service *s)
{
    struct dispatch_stats st;
    dispatch_stats(s->dispatch, &st);
    json_t *flight = json_object();
    for (const struct node *n = s->nodes.head; n; n = n->next) {
        const uint32_t k = dispatch_at(s->dispatch, n->id);
        if (k) json_object_set_new(flight, n->name, json_integer(k));
    }
    return json_pack("{s:i, s:i, s:o, s:i, s:i, s:i, s:f, s:I, s:I, s:I}", "jobs_waiting", (int)st.n_waiting, "jobs_in_flight", (int)st.n_in_flight,
                     "in_flight_by_node", flight, "groups_waiting_for_rewards", (int)s->n_scoring, "groups_waiting_for_step", (int)collect__ready(s),
                     "batches_waiting_to_train", (int)queue_len(s->train.train_q), "oldest_job_s",
                     st.oldest_ns ? clock_s(clock_now_ns() - st.oldest_ns) : 0.0, "jobs_retried", (json_int_t)st.n_retry, "groups_stale",
                     (json_int_t)s->n_stale, "groups_refused", (json_int_t)s->n_bad);
}

static json_t *nodes_json(struct service *s)
{
    json_t *list = json_array();
    const int64_t now = clock_now_ns();
    for (const struct node *n = s->nodes.head; n; n = n->next)
        json_array_append_new(
            list, json_pack("{s:I, s:s, s:s, s:s, s:b, s:I, s:b, s:i, s:i, s:i, s:f, s:I, s:I, s:i, s:i, s:i, s:i, s:f, s:f}", "node_id",
                            (json_int_t)n->id, "name", n->name, "address", n->addr, "state",
                            !n->peer ? "gone" : n->silent ? "silent" : n->drain ? "draining" : "up", "exact", n->exact, "policy_version",
                            (json_int_t)n->have.counter, "current", n->have.incarnation == s->incarnation && n->have.counter == s->version,
                            "jobs_in_flight", (int)dispatch_at(s->dispatch, n->id), "running", (int)n->n_running, "waiting", (int)n->n_waiting,
                            "tok_per_s", isfinite(n->tok_per_s) ? (double)n->tok_per_s : 0.0, "groups", (json_int_t)n->n_group, "tokens", (json_int_t)n->n_tok,
                            "kv_free_blocks", (int)n->free_block, "kv_blocks", (int)n->n_block, "swap_ms", (int)n->swap_ms, "stall_us",
                            (int)n->stall_us, "heard_s", clock_s(now - n->heard_ns), "joined_s", clock_s(now - n->joined_ns)));
    return json_pack("{s:o}", "nodes", list);
}

static json_t *conf_json(struct service *s)
{
    json_t *j = json_object();
    for (uint32_t i = 0; i < learner_conf_list.n; i++) {
        char v[1024];
        conf_get(&learner_conf_list.key[i], s->conf, v, sizeof v);
        json_object_set_new(j, learner_conf_list.key[i].name, json_string(v));
    }
    return j;
}

static json_t *metrics_json(struct service *s)
{
    struct dispatch_stats st;
    char t[1600];
    dispatch_stats(s->dispatch, &st);
    snprintf(t, sizeof t,
             "# TYPE grpo_learner_steps_total counter\ngrpo_learner_steps_total %llu\n"
             "# TYPE grpo_learner_policy_version gauge\ngrpo_learner_policy_version %llu\n"
             "# TYPE grpo_learner_nodes gauge\ngrpo_learner_nodes %u\n"
             "# TYPE grpo_learner_jobs_waiting gauge\ngrpo_learner_jobs_waiting %u\n"
             "# TYPE grpo_learner_jobs_in_flight gauge\ngrpo_learner_jobs_in_flight %u\n"
             "# TYPE grpo_learner_jobs_retried_total counter\ngrpo_learner_jobs_retried_total %llu\n"
             "# TYPE grpo_learner_groups_stale_total counter\ngrpo_learner_groups_stale_total %llu\n"
             "# TYPE grpo_learner_groups_refused_total counter\ngrpo_learner_groups_refused_total %llu\n",
             (unsigned long long)(s->has_last ? s->last.step : 0), (unsigned long long)s->version, nodes_up(s), st.n_waiting, st.n_in_flight,
             (unsigned long long)st.n_retry, (unsigned long long)s->n_stale, (unsigned long long)s->n_bad);
    return json_pack("{s:s}", "prometheus", t);
}

static void on_drain(struct service *s, struct ctl_req *req, struct span args)
{
    json_t *j = json_loadb((const char *)args.p, args.n, 0, NULL);
    const char *name = json_string_value(json_object_get(j, "node"));
    uint32_t hit = 0;
    for (struct node *n = s->nodes.head; name && n; n = n->next)
        if (!strcmp(n->name, name)) {
            n->drain = true;
            hit++;
        }
    json_decref(j);
    if (!hit) return answer(req, ERR_NOENT, "name a node: grpoctl nodes lists them", NULL);
    rpc__news(s);
    answer(req, ERR_OK, NULL, nodes_json(s));
}

void ctl__on_req(void *arg, struct ctl_req *req, struct span frame)
{
    struct service *s = arg;
    struct msg_ctl m;
    struct why why = {0};
    enum err e = msg_get_ctl(frame, &m, &why);
    if (e) return answer(req, e, why_str(&why, e), NULL);
    if (msg_str_eq(m.verb, "status")) return answer(req, ERR_OK, NULL, status_json(s));
    if (msg_str_eq(m.verb, "queues")) return answer(req, ERR_OK, NULL, queues_json(s));
    if (msg_str_eq(m.verb, "nodes")) return answer(req, ERR_OK, NULL, nodes_json(s));
    if (msg_str_eq(m.verb, "conf")) return answer(req, ERR_OK, NULL, conf_json(s));
    if (msg_str_eq(m.verb, "metrics")) return answer(req, ERR_OK, NULL, metrics_json(s));
    if (msg_str_eq(m.verb, "drain")) return on_drain(s, req, m.args);
    if (msg_str_eq(m.verb, "pause") || msg_str_eq(m.verb, "resume")) {
        s->paused = msg_str_eq(m.verb, "pause");
        log_event(LOG_LEVEL_INFO, s->paused ? "paused" : "resumed", "by grpoctl");
        rpc__news(s);
        return answer(req, ERR_OK, NULL, status_json(s));
    }
    char words[120];
    snprintf(words, sizeof words, "grpo-learner does not know \"%.*s\"", (int)(m.verb.n < 40 ? m.verb.n : 40), (const char *)m.verb.p);
    answer(req, ERR_UNSUPPORTED, words, NULL);
}
