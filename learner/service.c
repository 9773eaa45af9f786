// SPDX-License-Identifier: Apache-2.0
#include "learner/service.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/svc/daemon.h"
#include "common/svc/log.h"
#include "common/svc/net.h"
#include "learner/ckpt.h"

#define MAX_FRAME   (64u << 20)
#define N_CTX       512
#define TICK_MS     250
#define CHUNK_BYTES (2u << 20)

/* -- letters from the trainer ------------------------------------------------------------------------------------------- */

enum word { PUBLISHED, EVALUATE, PROGRESS, ENDED };

struct letter {
    struct service *s;
    enum word word;
    uint64_t a, b;
    struct step_metrics m;
    enum err e;
    struct why why;
    char summary[256];
};

static uint32_t n_prompts(const struct service *s)
{
    return s->conf->prompts_per_step;
}

/* Jobs of one step: their ids follow from the step, so a resumed run draws the same tokens. */
static enum err queue_step(struct service *s, uint64_t step)
{
    const uint32_t n = n_prompts(s);
    TRY(collect__expect(s, step, false, n));
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t id = step * n + i;
        const struct job j = {.id = id, .row = prompts_draw(&s->data, id), .step = step, .group_size = s->conf->num_generations,
                              .min_version = step > s->conf->max_staleness ? step - s->conf->max_staleness : 0};
        TRY(dispatch_add(s->dispatch, &j, false, clock_now_ns()));
    }
    return ERR_OK;
}

/* Every held-out row once, at exactly this version, before anything else that waits. */
static enum err queue_eval(struct service *s, uint64_t round, uint64_t version)
{
    TRY(collect__expect(s, round, true, s->eval.n));
    for (uint32_t i = s->eval.n; i-- > 0;) {
        const struct job j = {.id = UINT64_C(1) << 63 | round << 32 | i, .row = i, .eval = true, .step = round, .group_size = 1, .min_version = version};
        TRY(dispatch_add(s->dispatch, &j, true, clock_now_ns()));
    }
    return ERR_OK;
}

static void fail(struct service *s, enum err e, const char *what)
{
    log_event(LOG_LEVEL_ERROR, "failed", "%s: %s", what, err_str(e));
    s->exit_code = 1;
    service_stop(s);
}

static void on_published(struct service *s, uint64_t counter, uint64_t steps)
{
    enum err e = ERR_OK;
    s->version = counter;
    dispatch_forget(s->dispatch, counter);
    while (!e && s->next_step < steps) e = queue_step(s, s->next_step++);
    if (e) fail(s, e, "queue");
    rpc__news(s);
}

static void on_progress(struct service *s, const struct step_metrics *m)
{
    s->last = *m;
    s->has_last = true;
    log_event(LOG_LEVEL_INFO, "step", "%llu: loss %.4f reward %.3f grad_norm %.3f mismatch %g %.0f tok/s", (unsigned long long)m->step, m->loss,
              m->reward, m->grad_norm, m->mismatch_max, m->tok_per_s);
    daemon_status("step %llu of %u, reward %.3f, %.0f tokens/s", (unsigned long long)m->step, s->conf->max_steps, m->reward, m->tok_per_s);
}

static void on_ended(struct service *s, const struct letter *l)
{
    if (l->e) {
        log_event(LOG_LEVEL_ERROR, "run_failed", "%s", why_str(&l->why, l->e));
        s->exit_code = 1;
    }
    snprintf(s->summary, sizeof s->summary, "%s", l->summary);
    loop_stop(s->loop);
}

static void on_letter(void *arg)
{
    struct letter *l = arg;
    enum err e = ERR_OK;
    switch (l->word) {
    case PUBLISHED: on_published(l->s, l->a, l->b); break;
    case EVALUATE:
        e = queue_eval(l->s, l->a, l->b);
        if (e) fail(l->s, e, "evaluation");
        rpc__serve(l->s);
        break;
    case PROGRESS: on_progress(l->s, &l->m); break;
    case ENDED: on_ended(l->s, l); break;
    }
    free(l);
}

static void post(struct letter what)
{
    struct letter *l = malloc(sizeof *l);
    if (!l) abort(); /* a lost letter would hang the run */
    *l = what;
    loop_post(l->s->loop, on_letter, l);
}

static void call_published(struct service *s, uint64_t counter, uint64_t steps)
{
    post((struct letter){.s = s, .word = PUBLISHED, .a = counter, .b = steps});
}

static void call_evaluate(struct service *s, uint64_t round, uint64_t counter)
{
    post((struct letter){.s = s, .word = EVALUATE, .a = round, .b = counter});
}

static void call_progress(struct service *s, const struct step_metrics *m)
{
    post((struct letter){.s = s, .word = PROGRESS, .m = *m});
}

static void call_ended(struct service *s, enum err e, const struct why *why, const char *summary)
{
    struct letter l = {.s = s, .word = ENDED, .e = e, .why = *why};
    snprintf(l.summary, sizeof l.summary, "%s", summary);
    post(l);
}

/* -- opening ------------------------------------------------------------------------------------------------------------ */

/* What would only go wrong in the middle of a run, at the first long row. */
static enum err check_lengths(const struct service *s, struct why *why)
{
    const struct learner_conf *c = s->conf;
    if (c->max_prompt_length + c->max_completion_length > s->dims.max_pos)
        return why_set(why, ERR_RANGE, "max_prompt_length + max_completion_length = %u, the model has %u positions",
                       c->max_prompt_length + c->max_completion_length, s->dims.max_pos);
    const uint64_t group_bytes = (uint64_t)c->num_generations * (13ull * c->max_completion_length + 5);
    if (!c->mode && group_bytes > MAX_FRAME - 4096)
        return why_set(why, ERR_RANGE, "num_generations = %u with max_completion_length = %u: a group may take %llu bytes, a message holds %u",
                       c->num_generations, c->max_completion_length, (unsigned long long)group_bytes, MAX_FRAME);
    for (uint32_t i = 0; i < s->data.n; i++) {
        const struct prompt_row *r = &s->data.row[i];
        const uint32_t n = r->n_tok + (c->mode ? r->n_sol + 1 : c->max_completion_length);
        if (n - 1 > c->micro_batch_tokens)
            return why_set(why, ERR_RANGE, "%s:%u: up to %u tokens with the completion, micro_batch_tokens is %u", c->train_data, r->line, n, c->micro_batch_tokens);
        if (n > s->dims.max_pos)
            return why_set(why, ERR_RANGE, "%s:%u: %u tokens with the %s, the model has %u positions", c->train_data, r->line, n,
                           c->mode ? "solution" : "completion", s->dims.max_pos);
    }
    return ERR_OK;
}

static enum err open_data(struct service *s, struct why *why)
{
    const struct learner_conf *c = s->conf;
    if (!*c->model) return why_set(why, ERR_INVAL, "model is not set: the folder to start from");
    if (!*c->train_data) return why_set(why, ERR_INVAL, "train_data is not set: the JSONL to train on");
    if (c->temperature <= 0) return why_set(why, ERR_RANGE, "temperature must be above 0 for training");
    TRY(dims_read(c->model, &s->dims, why));
    s->config_json = dims_print(&s->dims);
    if (!s->config_json) return ERR_NOMEM;
    TRY(tokenizer_open(c->model, &s->tok, why));
    if (tokenizer_n_vocab(s->tok) > s->dims.n_vocab)
        return why_set(why, ERR_MISMATCH, "%s: the tokenizer has %u ids, the model %u", c->model, tokenizer_n_vocab(s->tok), s->dims.n_vocab);
    TRY(reward_list_parse(c->reward_funcs, c->reward_weights, &s->rewards, why));
    TRY(prompts_open(c->train_data, s->tok, c->max_prompt_length, 0, c->mode != 0, c->seed, &s->data, why));
    if (*c->eval_data) TRY(prompts_open(c->eval_data, s->tok, c->max_prompt_length, c->eval_limit, false, c->seed, &s->eval, why));
    return check_lengths(s, why);
}

static enum err open_source(struct service *s, struct why *why)
{
    const struct tensor_table *t = trainer_table(s->trainer);
    uint64_t *end = calloc(t->n, sizeof *end);
    if (!end) return ERR_NOMEM;
    for (uint32_t i = 0; i < t->n; i++) end[i] = t->t[i].offset + (uint64_t)t->t[i].rows * t->t[i].cols;
    push_host_id(s->conf->host_id, s->host);
    const struct push_source_opts o = {.host = s->host, .run = s->conf->run_dir, .end = end, .n_tensor = t->n, .n_param = t->n_param,
                                       .n_keep = s->conf->max_staleness + 2, .use_shm = s->conf->use_shm, .chunk_bytes = CHUNK_BYTES,
                                       .shm_mode = 0640, .shm_gid = -1};
    enum err e = push_source_create(&o, &s->source, why);
    free(end);
    return e;
}

static enum err open_trainer(struct service *s, struct why *why)
{
    const struct learner_conf *c = s->conf;
    const struct dev_opts d = {.spec = c->device, .n_thread = c->threads, .cpu_pin = c->cpu_pin};
    const struct trainer_opts o = {
        .optim = {c->adam_beta1, c->adam_beta2, c->adam_epsilon, c->weight_decay, c->max_grad_norm},
        .micro_batch_tokens = c->micro_batch_tokens,
        .micro_batch_seqs = c->micro_batch_seqs,
        .logits_bytes = c->logits_memory,
    };
    TRY(dev_open(&d, &s->dev, why));
    TRY(trainer_create(s->dev, &s->dims, &o, &s->trainer, why));
    return open_source(s, why);
}

static enum err open_train(struct service *s, struct why *why)
{
    s->train = (struct train){
        .conf = s->conf, .dims = &s->dims, .dev = s->dev, .trainer = s->trainer, .source = s->source, .data = &s->data, .rewards = &s->rewards,
        .tok = s->tok, .incarnation = s->incarnation, .stop = &s->stop, .eos = tokenizer_eos(s->tok),
        .calls = {s, call_published, call_evaluate, call_progress, call_ended},
    };
    if (s->train.eos < 0 && s->dims.n_eos) s->train.eos = s->dims.eos[0];
    if (s->train.eos < 0 && s->conf->mode) return why_set(why, ERR_INVAL, "%s names no EOS token: sft needs one", s->conf->model);
    TRY(queue_create(s->conf->max_staleness + 4, &s->train.train_q));
    TRY(queue_create(4, &s->train.eval_q));
    TRY(train_load(&s->train, why));
    if (train_is_finished(&s->train)) return ERR_OK;
    TRY(record_open(s->conf->run_dir, s->train.step, &s->data, &s->rewards, &s->record, why));
    s->train.record = s->record;
    s->next_step = s->version = s->train.step;
    return ERR_OK;
}

/* The bulk address as nodes see it: without a host when it is the one they dialled, or any. */
static void bulk_address(struct service *s)
{
    const char *set = s->conf->bulk_listen, *host = strstr(set, "//"), *end = host ? strrchr(host, ':') : NULL;
    const int n = end ? (int)(end - host - 2) : 0;
    const bool any = !n || !strncmp(host + 2, "0.0.0.0", (size_t)n) || !strncmp(host + 2, "*", (size_t)n) || !strncmp(host + 2, "[::]", (size_t)n);
    snprintf(s->bulk_url, sizeof s->bulk_url, "tcp://%.*s:%u", any ? 0 : n, any ? "" : host + 2, net_server_port(s->bulk));
}

static enum err open_doors(struct service *s, struct why *why)
{
    char url[256], path[4096];
    const char *colon = strrchr(s->conf->listen, ':');
    const struct net_server_opts o = {.max_frame_bytes = MAX_FRAME, .n_ctx = N_CTX, .arg = s, .on_req = rpc__on_req, .on_peer = rpc__on_peer};
    const struct net_server_opts bo = {.max_frame_bytes = 4096, .n_ctx = 64, .arg = s, .on_req = rpc__on_bulk};
    TRY(net_listen(s->loop, s->conf->listen, &o, &s->net, why));
    if (*s->conf->bulk_listen) snprintf(url, sizeof url, "%s", s->conf->bulk_listen);
    else snprintf(url, sizeof url, "%.*s:0", colon ? (int)(colon - s->conf->listen) : 0, s->conf->listen);
    TRY(net_listen(s->loop, url, &bo, &s->bulk, why));
    bulk_address(s);
    snprintf(path, sizeof path, "%s/learner.sock", s->conf->run_dir);
    const struct ctl_server_opts co = {.arg = s, .on_req = ctl__on_req};
    TRY(ctl_listen(s->loop, path, &co, &s->ctl, why));
    /* a script, or a node's start-up, reads where to dial */
    snprintf(path, sizeof path, "%s/learner.addr", s->conf->run_dir);
    snprintf(url, sizeof url, "%.*s:%u\n", colon ? (int)(colon - s->conf->listen) : 0, s->conf->listen, net_server_port(s->net));
    TRY(file_write(path, url, strlen(url), why));
    log_event(LOG_LEVEL_INFO, "started", "run %s at %.*s on %s, step %llu, incarnation %llx", s->conf->run_dir, (int)strlen(url) - 1, url, s->dev->name,
              (unsigned long long)s->train.step, (unsigned long long)s->incarnation);
    return ERR_OK;
}

static void on_tick(void *arg)
{
    rpc__check_leases(arg);
}

static bool alive(void *arg)
{
    (void)arg;
    return true; /* the loop runs; the trainer may wait for nodes for as long as it takes */
}

static enum err open_all(struct service *s, struct why *why)
{
    if (getrandom(&s->incarnation, sizeof s->incarnation, 0) != (ssize_t)sizeof s->incarnation) return why_set(why, ERR_IO, "no random numbers");
    s->incarnation = (s->incarnation >> 1) | 1; /* positive as a signed number, never 0 */
    TRY(open_data(s, why));
    TRY(file_mkdirs(s->conf->run_dir, why));
    TRY(daemon_lock(s->conf->run_dir, "learner", &s->lock_fd, why));
    TRY(open_trainer(s, why));
    TRY(dispatch_create(&s->dispatch));
    TRY(open_train(s, why));
    if (train_is_finished(&s->train)) {
        snprintf(s->summary, sizeof s->summary, "%.600s is finished at step %llu. To start the next run: another --run-dir, a larger --max-steps, or "
                 "--resume false", s->conf->run_dir, (unsigned long long)s->train.step);
        loop_stop(s->loop);
        return ERR_OK;
    }
    TRY(open_doors(s, why));
    TRY(loop_timer_start(s->loop, TICK_MS, TICK_MS, on_tick, s, &s->tick));
    TRY(daemon_watchdog(s->loop, alive, s, &s->watchdog));
    s->thread_up = pthread_create(&s->thread, NULL, train_main, &s->train) == 0;
    return s->thread_up ? ERR_OK : why_set(why, ERR_BUSY, "cannot start the trainer thread");
}

enum err service_create(struct loop *l, const struct learner_conf *conf, struct service **ret_service, struct why *why)
{
    struct service *s = calloc(1, sizeof *s);
    if (!s) return ERR_NOMEM;
    s->loop = l;
    s->conf = conf;
    s->lock_fd = -1;
    s->started_ns = clock_now_ns();
    enum err e = open_all(s, why);
    if (e) {
        service_destroy(s);
        return e;
    }
    *ret_service = s;
    return ERR_OK;
}

static void drain_queue(struct queue *q)
{
    void *b;
    while (q && queue_take(q, 0, &b) == ERR_OK) step_batch_destroy(b);
    queue_destroy(q);
}

void service_destroy(struct service *s)
{
    if (!s) return;
    struct why why = {0};
    loop_timer_stop(s->tick);
    loop_timer_stop(s->watchdog);
    if (s->thread_up) {
        service_stop(s);
        pthread_join(s->thread, NULL);
    }
    net_server_close(s->net);
    net_server_close(s->bulk);
    ctl_server_close(s->ctl);
    while (s->n_scoring) uv_run(loop_uv(s->loop), UV_RUN_ONCE); /* rewards on the pool still look at the data */
    loop_drain(s->loop, 1);
    collect__clear(s);
    drain_queue(s->train.train_q);
    drain_queue(s->train.eval_q);
    if (record_close(s->record, &why)) log_event(LOG_LEVEL_ERROR, "record", "%s", why.text);
    dispatch_destroy(s->dispatch);
    nodes_done(&s->nodes);
    push_source_destroy(s->source);
    trainer_destroy(s->trainer);
    prompts_close(&s->data);
    prompts_close(&s->eval);
    tokenizer_close(s->tok);
    dev_close(s->dev);
    msg_buf_done(&s->buf);
    free(s->config_json);
    if (s->lock_fd >= 0) close(s->lock_fd);
    free(s);
}

void service_stop(struct service *s)
{
    if (atomic_exchange((atomic_bool *)&s->stop, true)) return;
    daemon_stopping();
    log_event(LOG_LEVEL_INFO, "stopping", "the step is finished and saved first");
    queue_close(s->train.train_q);
    queue_close(s->train.eval_q);
}
