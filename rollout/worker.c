// SPDX-License-Identifier: Apache-2.0
#include "rollout/worker.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/queue.h"

enum letter_kind { LETTER_WORK, LETTER_ABORT, LETTER_SWAP, LETTER_PAUSE, LETTER_RESUME };

struct letter {
    enum letter_kind kind;
    struct work *work;
    struct model *model;
    struct version version;
};

struct worker {
    struct loop *loop;
    struct worker_events ev;
    struct engine *engine;
    struct engine_opts opts;
    struct model *model[2];
    int active; /* index of the model drawn with; -1: none yet. Loop thread */
    bool loading, packing, closing;
    struct queue *queue;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards what both threads look at: */
    struct engine_stats stats;
    int64_t beat_ns; /* last sign of life */
    bool idle;
    /* the engine thread's own */
    bool paused;
};

/* Posted from the engine thread to the loop. */
struct news {
    struct worker *w;
    struct work *work;
    struct version version;
    int64_t stall_ns;
    enum err e;
    struct why why;
};

static void free_works(struct work *x)
{
    while (x) {
        struct work *next = x->next;
        work_destroy(x);
        x = next;
    }
}

static void tell_done(void *arg)
{
    struct news *n = arg;
    while (n->work) {
        struct work *x = n->work;
        n->work = x->next;
        x->next = NULL;
        if (n->w->closing) work_destroy(x);
        else n->w->ev.on_done(n->w->ev.arg, x);
    }
    free(n);
}

static void tell_swapped(void *arg)
{
    struct news *n = arg;
    n->w->loading = false;
    n->w->active = !n->w->active;
    if (!n->w->closing) n->w->ev.on_swapped(n->w->ev.arg, n->version, n->stall_ns);
    free(n);
}

static void tell_fatal(void *arg)
{
    struct news *n = arg;
    if (!n->w->closing) n->w->ev.on_fatal(n->w->ev.arg, n->e, &n->why);
    free(n);
}

static void post(struct worker *w, void (*fn)(void *), struct news what)
{
    struct news *n = malloc(sizeof *n);
    if (!n) abort(); /* a lost letter would be a lost group */
    what.w = w;
    *n = what;
    loop_post(w->loop, fn, n);
}

/* -- engine thread ---------------------------------------------------------------------------------------------------- */

static void take_work(struct worker *w, struct work *x)
{
    x->e = engine_submit(w->engine, x, &x->why);
    if (x->e) {
        x->next = NULL;
        post(w, tell_done, (struct news){.work = x});
    }
}

static void handle(struct worker *w, struct letter *l)
{
    const int64_t t0 = clock_now_ns();
    switch (l->kind) {
    case LETTER_WORK: take_work(w, l->work); break;
    case LETTER_ABORT: engine_abort(w->engine, l->work); break;
    case LETTER_SWAP:
        engine_swap(w->engine, l->model, l->version);
        post(w, tell_swapped, (struct news){.version = l->version, .stall_ns = clock_now_ns() - t0});
        break;
    case LETTER_PAUSE: w->paused = true; break;
    case LETTER_RESUME: w->paused = false; break;
    }
    free(l);
}

static void publish_stats(struct worker *w, bool idle)
{
    struct engine_stats st;
    engine_stats(w->engine, &st);
    pthread_mutex_lock(&w->lock);
    w->stats = st;
    w->beat_ns = clock_now_ns();
    w->idle = idle;
    pthread_mutex_unlock(&w->lock);
}

/* Drain the queue; wait in it when there is nothing to do. false: closed. */
static bool drain(struct worker *w)
{
    for (;;) {
        void *l;
        const bool busy = !w->paused && engine_has_work(w->engine);
        if (!busy) publish_stats(w, true);
        const enum err e = queue_take(w->queue, busy ? 0 : -1, &l);
        if (e == ERR_CLOSED) return false;
        if (e) return true;
        handle(w, l);
    }
}

static void *engine_main(void *arg)
{
    struct worker *w = arg;
    while (drain(w)) {
        struct work *done = NULL;
        struct why why = {0};
        publish_stats(w, false); /* from here on it is not idle: a step that never ends must show */
        const enum err e = engine_step(w->engine, &done, &why);
        publish_stats(w, false);
        if (done) post(w, tell_done, (struct news){.work = done});
        if (e) {
            post(w, tell_fatal, (struct news){.e = e, .why = why});
            return NULL;
        }
    }
    return NULL;
}

/* -- loop thread ------------------------------------------------------------------------------------------------------ */

enum err worker_create(struct loop *l, struct dev *dev, const struct dims *d, const struct engine_opts *o, const struct worker_events *ev,
                       struct worker **ret_worker, struct why *why)
{
    struct worker *w = calloc(1, sizeof *w);
    if (!w) return ERR_NOMEM;
    w->loop = l;
    w->ev = *ev;
    w->opts = *o;
    w->active = 1; /* the first swap makes it 0 */
    w->idle = true;
    pthread_mutex_init(&w->lock, NULL);
    enum err e = model_create(dev, d, &w->model[0], why);
    if (!e) e = model_create(dev, d, &w->model[1], why);
    if (!e) e = engine_create(dev, d, o, &w->engine, why);
    if (!e) e = queue_create(4096, &w->queue);
    if (!e) {
        engine_stats(w->engine, &w->stats);
        w->started = pthread_create(&w->thread, NULL, engine_main, w) == 0;
        e = w->started ? ERR_OK : why_set(why, ERR_BUSY, "cannot start the engine thread");
    }
    if (e) {
        worker_destroy(w);
        return e;
    }
    *ret_worker = w;
    return ERR_OK;
}

static void free_worker(void *arg)
{
    struct worker *w = arg;
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* Everything goes at once but the struct itself, to which letters on their way still point. */
void worker_destroy(struct worker *w)
{
    if (!w) return;
    void *l;
    w->closing = true;
    if (w->queue) queue_close(w->queue);
    if (w->started) pthread_join(w->thread, NULL);
    while (w->packing) uv_run(loop_uv(w->loop), UV_RUN_ONCE); /* the pool still writes into a model */
    while (w->queue && queue_take(w->queue, 0, &l) == ERR_OK) {
        struct letter *x = l;
        if (x->kind == LETTER_WORK) work_destroy(x->work);
        free(x);
    }
    if (w->engine) {
        struct work *done = NULL;
        engine_abort_all(w->engine);
        if (engine_step(w->engine, &done, NULL) == ERR_OK) free_works(done);
    }
    engine_destroy(w->engine);
    model_destroy(w->model[0]);
    model_destroy(w->model[1]);
    queue_destroy(w->queue);
    loop_post(w->loop, free_worker, w);
}

const struct tensor_table *worker_table(const struct worker *w)
{
    return &w->model[0]->table;
}

static enum err put_letter(struct worker *w, struct letter what)
{
    struct letter *l = malloc(sizeof *l);
    if (!l) return ERR_NOMEM;
    *l = what;
    enum err e = queue_try_put(w->queue, l);
    if (e) free(l);
    return e;
}

enum err worker_submit(struct worker *w, struct work *x, struct why *why)
{
    x->arrived_ns = clock_now_ns();
    enum err e = put_letter(w, (struct letter){.kind = LETTER_WORK, .work = x});
    return e ? why_set(why, e, "the engine's queue: %s", err_str(e)) : ERR_OK;
}

void worker_abort(struct worker *w, struct work *x)
{
    if (put_letter(w, (struct letter){.kind = LETTER_ABORT, .work = x})) return; /* full: it ends by itself */
}

void worker_pause(struct worker *w, bool pause)
{
    if (put_letter(w, (struct letter){.kind = pause ? LETTER_PAUSE : LETTER_RESUME})) return;
}

struct load {
    struct worker *w;
    struct push_image image;
    struct model *spare;
    enum err e;
};

static void pack(void *arg)
{
    struct load *l = arg;
    l->e = model_load(l->spare, l->image.p);
}

static void packed(void *arg)
{
    struct load *l = arg;
    struct worker *w = l->w;
    w->packing = false;
    if (!w->closing && !l->e) l->e = put_letter(w, (struct letter){.kind = LETTER_SWAP, .model = l->spare, .version = l->image.version});
    if (l->e) w->loading = false;
    if (l->e && !w->closing && w->ev.on_load_failed) w->ev.on_load_failed(w->ev.arg, l->e);
    push_image_done(&l->image);
    free(l);
}

enum err worker_load(struct worker *w, struct push_image *image, struct why *why)
{
    if (w->loading) return why_set(why, ERR_BUSY, "weights are being packed already");
    struct load *l = calloc(1, sizeof *l);
    if (!l) return ERR_NOMEM;
    *l = (struct load){.w = w, .image = *image, .spare = w->model[!w->active]};
    enum err e = loop_work(w->loop, pack, packed, l);
    if (e) free(l);
    else w->loading = w->packing = true;
    return e;
}

void worker_stats(struct worker *w, struct engine_stats *ret_stats)
{
    pthread_mutex_lock(&w->lock);
    *ret_stats = w->stats;
    pthread_mutex_unlock(&w->lock);
}

bool worker_alive(struct worker *w, int64_t limit_ns)
{
    pthread_mutex_lock(&w->lock);
    const bool ok = w->idle || clock_now_ns() - w->beat_ns < limit_ns;
    pthread_mutex_unlock(&w->lock);
    return ok;
}
