// SPDX-License-Identifier: Apache-2.0
/* quickstart_watch.c - what the daemons say on their control sockets, and what metrics.jsonl says. A look is taken on the uv pool, since a question
 * blocks; its result is handed to the loop. `next` and `tail` belong to the worker while `busy`, `seen` to the loop. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/quickstart.h"

#define LOOK_MS  400
#define ASK_S    1.0
#define N_MEAN   10 /* steps at either end that a mean is taken of */
#define MAX_LINE (1 << 16)

/* metrics.jsonl, read as it grows. */
struct tail {
    char path[QUICKSTART_PATH + 64];
    long at;
    double last[N_MEAN], first_sum; /* rewards */
    uint64_t n_reward;
};

struct watch {
    struct loop *loop;
    struct loop_timer *timer;
    char learner_sock[QUICKSTART_PATH + 64], node_dir[QUICKSTART_PATH];
    uint32_t n_node;
    void (*on_seen)(void *arg);
    void *arg;
    bool busy, closing;
    struct tail tail;
    struct seen seen, next;
};

void watch_node_sock(const char *dir, uint32_t i, char *out, size_t cap)
{
    if (i) snprintf(out, cap, "%s/rollout-%u.sock", dir, i + 1);
    else snprintf(out, cap, "%s/rollout.sock", dir);
}

/* -- the file ----------------------------------------------------------------------------------------------------------- */

static void nothing_yet(struct seen *s)
{
    const double x = NAN;
    *s = (struct seen){.learner_version = x, .node_version = x, .learner_tok_s = x, .node_tok_s = x, .jobs_waiting = x, .jobs_in_flight = x, .groups = x,
                       .batches = x, .decoding = x, .step = x, .loss = x, .reward = x, .reward_first = x, .accuracy = x, .accuracy_step = x,
                       .mismatch = x, .step_s = x, .loss_first = x};
}

static void take_reward(struct tail *t, double r, struct seen *s)
{
    double sum = 0;
    if (!isfinite(r)) return;
    if (t->n_reward < N_MEAN) t->first_sum += r;
    t->last[t->n_reward++ % N_MEAN] = r;
    const uint64_t n = t->n_reward < N_MEAN ? t->n_reward : N_MEAN;
    for (uint64_t i = 0; i < n; i++) sum += t->last[i];
    s->reward = sum / (double)n;
    s->reward_first = t->first_sum / (double)n;
}

static void take_line(struct tail *t, const json_t *j, struct seen *s)
{
    const double accuracy = js_num(j, "accuracy"), mixed = js_num(j, "mixed_version_completions"), mismatch = js_num(j, "mismatch_max");
    s->n_row++;
    s->step = js_num(j, "step");
    s->loss = js_num(j, "loss");
    s->step_s = js_num(j, "step_s");
    s->learner_tok_s = js_num(j, "tok_per_s");
    if (isnan(s->loss_first)) s->loss_first = s->loss;
    if (!isnan(accuracy)) s->accuracy = accuracy, s->accuracy_step = s->step;
    if (!isnan(mixed)) s->n_mixed += mixed;
    if (!(mismatch <= s->mismatch)) s->mismatch = mismatch;
    take_reward(t, js_num(j, "reward"), s);
}

static void restart(struct tail *t, struct seen *s)
{
    t->at = 0;
    t->n_reward = 0;
    t->first_sum = 0;
    nothing_yet(s);
}

/* Whole lines that came since the last look. A file that has become shorter was cut by a learner that resumed: it is read anew. */
static void read_tail(struct tail *t, struct seen *s)
{
    FILE *f = fopen(t->path, "re");
    char *line = malloc(MAX_LINE);
    if (f && line && !fseek(f, 0, SEEK_END) && ftell(f) < t->at) restart(t, s);
    if (f && line && !fseek(f, t->at, SEEK_SET))
        while (fgets(line, MAX_LINE, f)) {
            const size_t n = strlen(line);
            if (!n || line[n - 1] != '\n') break; /* not whole yet */
            json_t *j = json_loadb(line, n, 0, NULL);
            if (json_is_object(j)) take_line(t, j, s);
            json_decref(j);
            t->at += (long)n;
        }
    if (f) fclose(f);
    free(line);
}

void watch_read(const char *run_dir, struct seen *ret)
{
    struct tail t = {0};
    snprintf(t.path, sizeof t.path, "%s/metrics.jsonl", run_dir);
    nothing_yet(ret);
    read_tail(&t, ret);
}

/* -- the daemons -------------------------------------------------------------------------------------------------------- */

static void ask_learner(const struct watch *w, struct seen *s)
{
    struct answer a;
    s->learner_up = ask(w->learner_sock, "status", NULL, ASK_S, &a, NULL) == CTL_OK;
    if (s->learner_up) s->learner_version = js_num(a.j, "policy_version");
    answer_done(&a);
    if (!s->learner_up || ask(w->learner_sock, "queues", NULL, ASK_S, &a, NULL)) return;
    s->jobs_waiting = js_num(a.j, "jobs_waiting");
    s->jobs_in_flight = js_num(a.j, "jobs_in_flight");
    s->groups = js_num(a.j, "groups_waiting_for_rewards") + js_num(a.j, "groups_waiting_for_step");
    s->batches = js_num(a.j, "batches_waiting_to_train");
    answer_done(&a);
}

/* Sums over the nodes; of their versions the lowest. */
static void ask_nodes(const struct watch *w, struct seen *s)
{
    double tok = 0, decoding = 0, version = NAN;
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n_node; i++) {
        char sock[QUICKSTART_PATH + 64];
        struct answer a;
        watch_node_sock(w->node_dir, i, sock, sizeof sock);
        if (ask(sock, "status", NULL, ASK_S, &a, NULL) == CTL_OK) {
            n++;
            tok += js_num(a.j, "tok_per_s");
            decoding += js_num(a.j, "running");
            version = fmin(version, js_num(a.j, "policy_version"));
        }
        answer_done(&a);
    }
    s->node_up = n > 0;
    if (!n) return;
    s->node_tok_s = tok;
    s->decoding = decoding;
    s->node_version = version;
}

/* -- a look ------------------------------------------------------------------------------------------------------------- */

static void look_now(void *arg)
{
    struct watch *w = arg;
    read_tail(&w->tail, &w->next);
    ask_learner(w, &w->next);
    ask_nodes(w, &w->next);
}

static void looked(void *arg)
{
    struct watch *w = arg;
    w->busy = false;
    w->seen = w->next;
    if (!w->closing) w->on_seen(w->arg);
}

static void on_time(void *arg)
{
    struct watch *w = arg;
    if (w->busy) return;
    w->busy = loop_work(w->loop, look_now, looked, w) == ERR_OK;
}

enum err watch_start(struct loop *l, const char *run_dir, const char *node_dir, uint32_t n_node, void (*on_seen)(void *arg), void *arg,
                     struct watch **ret_watch)
{
    struct watch *w = calloc(1, sizeof *w);
    if (!w) return ERR_NOMEM;
    w->loop = l;
    w->n_node = n_node;
    w->on_seen = on_seen;
    w->arg = arg;
    snprintf(w->learner_sock, sizeof w->learner_sock, "%s/learner.sock", run_dir);
    snprintf(w->tail.path, sizeof w->tail.path, "%s/metrics.jsonl", run_dir);
    snprintf(w->node_dir, sizeof w->node_dir, "%s", node_dir);
    nothing_yet(&w->seen);
    nothing_yet(&w->next);
    enum err e = loop_timer_start(l, 0, LOOK_MS, on_time, w, &w->timer);
    if (e) {
        free(w);
        return e;
    }
    *ret_watch = w;
    return ERR_OK;
}

void watch_stop(struct watch *w)
{
    if (!w) return;
    w->closing = true;
    loop_timer_stop(w->timer);
    while (w->busy) uv_run(loop_uv(w->loop), UV_RUN_ONCE);
    free(w);
}

const struct seen *watch_seen(const struct watch *w)
{
    return &w->seen;
}
