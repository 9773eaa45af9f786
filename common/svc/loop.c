// SPDX-License-Identifier: Apache-2.0
/* loop.c - letters: a locked list and one uv_async_t. libuv folds many sends into one callback, so the callback takes the whole list. */
#include "common/svc/loop.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct letter {
    struct letter *next;
    void (*fn)(void *);
    void *arg;
};

struct loop {
    uv_loop_t uv;
    uv_async_t wake, quit;
    uv_signal_t sig[3];
    int n_sig, n_stop;
    void (*on_stop)(void *), (*on_reload)(void *);
    void *sig_arg;
    pthread_mutex_t lock;
    struct letter *head, **tail;
};

/* All that are there now; false: none. */
static bool run_letters(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct letter *x = l->head;
    l->head = NULL;
    l->tail = &l->head;
    pthread_mutex_unlock(&l->lock);
    const bool any = x != NULL;
    while (x) {
        struct letter *next = x->next;
        x->fn(x->arg);
        free(x);
        x = next;
    }
    return any;
}

static void on_wake(uv_async_t *h)
{
    run_letters(h->data);
}

static void on_quit(uv_async_t *h)
{
    uv_stop(h->loop);
}

enum err loop_create(struct loop **ret_loop)
{
    struct loop *l = calloc(1, sizeof *l);
    if (!l) return ERR_NOMEM;
    if (uv_loop_init(&l->uv)) {
        free(l);
        return ERR_NOMEM;
    }
    /* the second one shares the first one's descriptor */
    if (uv_async_init(&l->uv, &l->wake, on_wake) || uv_async_init(&l->uv, &l->quit, on_quit)) {
        uv_loop_close(&l->uv);
        free(l);
        return ERR_IO;
    }
    pthread_mutex_init(&l->lock, NULL);
    l->tail = &l->head;
    l->wake.data = l->quit.data = l;
    *ret_loop = l;
    return ERR_OK;
}

void loop_destroy(struct loop *l)
{
    if (!l) return;
    for (int i = 0; i < l->n_sig; i++) uv_close((uv_handle_t *)&l->sig[i], NULL);
    uv_unref((uv_handle_t *)&l->wake);
    uv_unref((uv_handle_t *)&l->quit);
    /* what is on the pool comes back, and a letter may post another */
    do uv_run(&l->uv, UV_RUN_DEFAULT);
    while (run_letters(l) || uv_loop_alive(&l->uv));
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_close((uv_handle_t *)&l->quit, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    const int left = uv_loop_close(&l->uv);
    assert(left == 0); /* a handle was not closed: our own bug */
    (void)left;
    pthread_mutex_destroy(&l->lock);
    free(l);
}

uv_loop_t *loop_uv(struct loop *l)
{
    return &l->uv;
}

void loop_run(struct loop *l)
{
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

static void on_drain_end(void *l)
{
    uv_stop(&((struct loop *)l)->uv);
}

void loop_drain(struct loop *l, int timeout_ms)
{
    struct loop_timer *t = NULL;
    if (loop_timer_start(l, (uint64_t)timeout_ms, 0, on_drain_end, l, &t)) return;
    uv_run(&l->uv, UV_RUN_DEFAULT);
    loop_timer_stop(t);
    uv_run(&l->uv, UV_RUN_NOWAIT); /* frees the timer */
}

void loop_stop(struct loop *l)
{
    uv_async_send(&l->quit);
}

void loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    struct letter *x = malloc(sizeof *x);
    if (!x) abort();
    *x = (struct letter){NULL, fn, arg};
    pthread_mutex_lock(&l->lock);
    const bool was_empty = !l->head;
    *l->tail = x;
    l->tail = &x->next;
    pthread_mutex_unlock(&l->lock);
    if (was_empty) uv_async_send(&l->wake);
}

struct loop_timer {
    uv_timer_t uv;
    void (*fn)(void *);
    void *arg;
};

static void on_timer(uv_timer_t *h)
{
    struct loop_timer *t = h->data;
    t->fn(t->arg);
}

enum err loop_timer_start(struct loop *l, uint64_t first_ms, uint64_t every_ms, void (*fn)(void *arg), void *arg,
                          struct loop_timer **ret_timer)
{
    struct loop_timer *t = calloc(1, sizeof *t);
    if (!t) return ERR_NOMEM;
    t->fn = fn;
    t->arg = arg;
    uv_timer_init(&l->uv, &t->uv);
    t->uv.data = t;
    uv_timer_start(&t->uv, on_timer, first_ms, every_ms);
    *ret_timer = t;
    return ERR_OK;
}

static void free_handle(uv_handle_t *h)
{
    free(h->data);
}

void loop_timer_stop(struct loop_timer *t)
{
    if (t) uv_close((uv_handle_t *)&t->uv, free_handle);
}

struct work {
    uv_work_t uv;
    void (*work)(void *), (*done)(void *);
    void *arg;
};

static void do_work(uv_work_t *h)
{
    struct work *w = h->data;
    w->work(w->arg);
}

static void after_work(uv_work_t *h, int status)
{
    struct work *w = h->data;
    (void)status;
    w->done(w->arg);
    free(w);
}

enum err loop_work(struct loop *l, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    struct work *w = calloc(1, sizeof *w);
    if (!w) return ERR_NOMEM;
    w->work = work;
    w->done = done;
    w->arg = arg;
    w->uv.data = w;
    uv_queue_work(&l->uv, &w->uv, do_work, after_work);
    return ERR_OK;
}

static void on_signal(uv_signal_t *h, int num)
{
    struct loop *l = h->data;
    if (num == SIGHUP) {
        if (l->on_reload) l->on_reload(l->sig_arg);
        return;
    }
    if (l->n_stop++) _exit(128 + num);
    l->on_stop(l->sig_arg);
}

enum err loop_signals(struct loop *l, void (*on_stop)(void *arg), void (*on_reload)(void *arg), void *arg)
{
    static const int nums[3] = {SIGTERM, SIGINT, SIGHUP};
    l->on_stop = on_stop;
    l->on_reload = on_reload;
    l->sig_arg = arg;
    for (int i = 0; i < 3; i++) {
        if (uv_signal_init(&l->uv, &l->sig[i])) return ERR_IO;
        l->n_sig++;
        l->sig[i].data = l;
        if (uv_signal_start(&l->sig[i], on_signal, nums[i])) return ERR_IO;
        uv_unref((uv_handle_t *)&l->sig[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    return ERR_OK;
}
