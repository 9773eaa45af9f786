// SPDX-License-Identifier: Apache-2.0
#include "common/base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/clock.h"

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t some;
    void **letter; /* ring */
    uint32_t cap, head, n;
    bool closed;
};

enum err queue_create(uint32_t cap, struct queue **ret_queue)
{
    if (!cap || cap > UINT32_MAX / 2) return ERR_INVAL;
    struct queue *q = calloc(1, sizeof *q);
    if (!q) return ERR_NOMEM;
    q->cap = cap;
    q->letter = calloc(cap, sizeof *q->letter);
    if (!q->letter) {
        free(q);
        return ERR_NOMEM;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->some, &attr);
    pthread_condattr_destroy(&attr);
    *ret_queue = q;
    return ERR_OK;
}

void queue_destroy(struct queue *q)
{
    if (!q) return;
    pthread_cond_destroy(&q->some);
    pthread_mutex_destroy(&q->lock);
    free(q->letter);
    free(q);
}

enum err queue_try_put(struct queue *q, void *letter)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&q->lock);
    if (q->closed) e = ERR_CLOSED;
    else if (q->n == q->cap) e = ERR_BUSY;
    else {
        q->letter[(q->head + q->n++) % q->cap] = letter;
        pthread_cond_signal(&q->some);
    }
    pthread_mutex_unlock(&q->lock);
    return e;
}

/* Waits until there is a letter, the queue closes or the deadline passes. Lock held. */
static void wait_some(struct queue *q, int64_t timeout_ns)
{
    const int64_t now = clock_now_ns(), end = timeout_ns < INT64_MAX - now ? now + timeout_ns : INT64_MAX;
    const struct timespec at = {end / NS_PER_S, end % NS_PER_S};
    while (!q->n && !q->closed) {
        if (timeout_ns < 0) pthread_cond_wait(&q->some, &q->lock);
        else if (pthread_cond_timedwait(&q->some, &q->lock, &at) == ETIMEDOUT) return;
    }
}

enum err queue_take(struct queue *q, int64_t timeout_ns, void **ret_letter)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&q->lock);
    if (timeout_ns) wait_some(q, timeout_ns);
    if (q->n) {
        *ret_letter = q->letter[q->head];
        q->head = (q->head + 1) % q->cap;
        q->n--;
    } else {
        e = q->closed ? ERR_CLOSED : ERR_TIMEOUT;
    }
    pthread_mutex_unlock(&q->lock);
    return e;
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->some);
    pthread_mutex_unlock(&q->lock);
}

uint32_t queue_len(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    const uint32_t n = q->n;
    pthread_mutex_unlock(&q->lock);
    return n;
}
