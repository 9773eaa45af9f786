// SPDX-License-Identifier: Apache-2.0
#include "rollout/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/model/folder.h"
#include "common/push/push.h"
#include "common/svc/daemon.h"
#include "common/svc/log.h"

#define TICK_MS        1000
#define ALIVE_LIMIT_NS (120 * NS_PER_S)

void service__status(struct service *s)
{
    const char *state = "none", *url = "";
    uint32_t jobs = 0, unsent = 0;
    if (s->link) link_look(s->link, &state, &jobs, &unsent, &url);
    if (s->link && strcmp(state, "ready")) daemon_status("waiting for the learner at %s", url);
    else
        daemon_status("%s%spolicy version %llu, %u sequences, %.0f tokens/s", s->paused || s->learner_paused ? "paused, " : "", s->draining ? "draining, " : "",
                      (unsigned long long)s->version.counter, s->n_inflight, s->tok_per_s);
}

void service__pause(struct service *s, bool here, bool by_learner)
{
    const bool was = s->paused || s->learner_paused;
    s->paused = here;
    s->learner_paused = by_learner;
    const bool is = here || by_learner;
    if (was == is) return;
    if (s->worker) worker_pause(s->worker, is);
    if (!is && s->link) link_more(s->link);
    service__status(s);
}

enum err service__submit(struct service *s, struct work *w, struct why *why)
{
    TRY(worker_submit(s->worker, w, why));
    s->n_inflight += w->group_size;
    return ERR_OK;
}

static void on_done(void *arg, struct work *w)
{
    struct service *s = arg;
    s->n_inflight -= w->group_size;
    s->n_group++;
    if (*(enum owner *)w->owner == OWNER_CTL) ctl__done(s, w);
    else link_done(s->link, w);
}

static void on_swapped(void *arg, struct version v, int64_t stall_ns)
{
    struct service *s = arg;
    s->version = v;
    s->n_swap++;
    s->last_stall_ns = stall_ns;
    log_event(LOG_LEVEL_DEBUG, "swapped", "version %llu", (unsigned long long)v.counter);
    if (s->link) link_swapped(s->link);
    service__status(s);
}

static void on_load_failed(void *arg, enum err e)
{
    struct service *s = arg;
    if (s->link) return link_load_failed(s->link, e);
    log_event(LOG_LEVEL_ERROR, "load_failed", "%s: %s", s->model_from, err_str(e));
    s->fatal = true;
    loop_stop(s->loop);
}

static void on_fatal(void *arg, enum err e, const struct why *why)
{
    struct service *s = arg;
    log_event(LOG_LEVEL_ERROR, "engine_failed", "%s", why_str(why, e));
    s->fatal = true;
    loop_stop(s->loop);
}

enum err service__need_worker(struct service *s, const struct dims *d, const char *from, struct why *why)
{
    if (s->worker) {
        if (memcmp(&s->dims, d, sizeof *d) == 0) return ERR_OK;
        return why_set(why, ERR_MISMATCH, "the model of %s has another shape than the one loaded from %s", from, s->model_from);
    }
    const struct engine_opts o = {.max_num_seqs = s->conf->max_num_seqs, .max_num_batched_tokens = s->conf->max_num_batched_tokens,
                                  .max_model_len = s->conf->max_model_len, .kv_bytes = s->conf->kv_memory};
    const struct worker_events ev = {.arg = s, .on_done = on_done, .on_swapped = on_swapped, .on_load_failed = on_load_failed, .on_fatal = on_fatal};
    TRY(worker_create(s->loop, s->dev, d, &o, &ev, &s->worker, why));
    s->dims = *d;
    if (s->paused || s->learner_paused) worker_pause(s->worker, true);
    snprintf(s->model_from, sizeof s->model_from, "%s", from);
    return ERR_OK;
}

/* A server in its own right: version (1, 0) is the folder as it lies. */
static enum err load_folder(struct service *s, const char *dir, struct why *why)
{
    struct dims d = {0};
    TRY(dims_read(dir, &d, why));
    TRY(service__need_worker(s, &d, dir, why));
    const struct tensor_table *t = worker_table(s->worker);
    struct push_image image;
    TRY(push_image_alloc(t->n_param, (struct version){1, 0}, &image));
    enum err e = folder_load(dir, t, NULL, (uint16_t *)image.p, why);
    if (!e) e = worker_load(s->worker, &image, why);
    if (e) push_image_done(&image);
    else s->road = "folder";
    return e;
}

static void control_path(const struct service *s, char *out, size_t cap)
{
    const char *dir = getenv("RUNTIME_DIRECTORY");
    if (*s->conf->control) snprintf(out, cap, "%s", s->conf->control);
    else if (dir) snprintf(out, cap, "%.*s/rollout.sock", (int)strcspn(dir, ":"), dir);
    else snprintf(out, cap, "/tmp/grpo-rollout-%d.sock", (int)getpid());
}

/* Everything is out of the engine; groups on their way to the learner are waited for. */
static void drained(struct service *s)
{
    const char *state, *url;
    uint32_t jobs = 0, unsent = 0;
    if (s->link) link_look(s->link, &state, &jobs, &unsent, &url);
    if (jobs) return;
    log_event(LOG_LEVEL_INFO, "drained", "nothing is left to do");
    if (s->link) link_bye(s->link);
    else loop_stop(s->loop);
}

static void on_tick(void *arg)
{
    struct service *s = arg;
    struct engine_stats st = {0};
    const int64_t now = clock_now_ns();
    if (s->worker) worker_stats(s->worker, &st);
    s->tok_per_s = (double)(st.gen_tok - s->last_tok) / clock_s(now - s->last_tick_ns);
    s->last_tok = st.gen_tok;
    s->last_tick_ns = now;
    service__status(s);
    if (s->draining && !s->n_inflight) drained(s);
}

static bool alive(void *arg)
{
    struct service *s = arg;
    return !s->worker || worker_alive(s->worker, ALIVE_LIMIT_NS);
}

static enum err open_all(struct service *s, struct why *why)
{
    const struct rollout_conf *c = s->conf;
    char path[512], host[40] = "";
    const struct dev_opts o = {.spec = c->device, .n_thread = c->threads, .cpu_pin = c->cpu_pin};
    if (!*c->learner && !*c->model) return why_set(why, ERR_INVAL, "nothing to serve: give --learner tcp://host:port, or --model DIR");
    TRY(dev_open(&o, &s->dev, why));
    if (*c->model) TRY(load_folder(s, c->model, why));
    control_path(s, path, sizeof path);
    const struct ctl_server_opts co = {.arg = s, .on_req = ctl__on_req, .on_gone = ctl__on_gone};
    TRY(ctl_listen(s->loop, path, &co, &s->ctl, why));
    gethostname(host, sizeof host - 1);
    if (*c->name) snprintf(s->name, sizeof s->name, "%s", c->name);
    else snprintf(s->name, sizeof s->name, "%s-%d", host, (int)getpid());
    push_host_id(c->host_id, s->host);
    if (*c->learner) TRY(link_create(s, c->learner, &s->link, why));
    TRY(loop_timer_start(s->loop, TICK_MS, TICK_MS, on_tick, s, &s->tick));
    TRY(daemon_watchdog(s->loop, alive, s, &s->watchdog));
    log_event(LOG_LEVEL_INFO, "started", "%s on %s, %u threads, control socket %s", s->name, s->dev->name, s->dev->n_thread, path);
    return ERR_OK;
}

enum err service_create(struct loop *l, const struct rollout_conf *conf, struct service **ret_service, struct why *why)
{
    struct service *s = calloc(1, sizeof *s);
    if (!s) return ERR_NOMEM;
    s->loop = l;
    s->conf = conf;
    s->road = "none";
    s->started_ns = s->last_tick_ns = clock_now_ns();
    if (getrandom(&s->boot, sizeof s->boot, 0) != (ssize_t)sizeof s->boot) s->boot = (uint64_t)s->started_ns ^ (uint64_t)getpid() << 40;
    enum err e = open_all(s, why);
    if (e) {
        service_destroy(s);
        return e;
    }
    *ret_service = s;
    return ERR_OK;
}

void service_destroy(struct service *s)
{
    if (!s) return;
    loop_timer_stop(s->tick);
    loop_timer_stop(s->watchdog);
    ctl_server_close(s->ctl);
    link_destroy(s->link);
    worker_destroy(s->worker);
    ctl__forget(s);
    dev_close(s->dev);
    free(s);
}

void service_stop(struct service *s)
{
    daemon_stopping();
    log_event(LOG_LEVEL_INFO, "stopping", "%u sequences are given back", s->n_inflight);
    if (s->link) link_bye(s->link);
    else loop_stop(s->loop);
}
