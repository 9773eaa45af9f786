// SPDX-License-Identifier: Apache-2.0
/* dispatch.c - one array of jobs, small enough to walk (a few steps' worth), and a linked queue of those that wait. */
#include "learner/dispatch.h"

#include <stdio.h>
#include <stdlib.h>

#define HOPELESS 64 /* refusals of one job by whatever nodes: more of them than are remembered */

struct dispatch {
    struct job **job;
    uint32_t n, cap;
    struct job *head, **tail;
    uint64_t n_retry;
};

enum err dispatch_create(struct dispatch **ret_dispatch)
{
    struct dispatch *d = calloc(1, sizeof *d);
    if (!d) return ERR_NOMEM;
    d->tail = &d->head;
    *ret_dispatch = d;
    return ERR_OK;
}

void dispatch_destroy(struct dispatch *d)
{
    if (!d) return;
    for (uint32_t i = 0; i < d->n; i++) free(d->job[i]);
    free(d->job);
    free(d);
}

static struct job *find(const struct dispatch *d, uint64_t id)
{
    for (uint32_t i = 0; i < d->n; i++)
        if (d->job[i]->id == id) return d->job[i];
    return NULL;
}

static void enqueue(struct dispatch *d, struct job *j, bool front, int64_t now_ns)
{
    j->state = JOB_WAITING;
    j->since_ns = now_ns;
    if (front) {
        j->next = d->head;
        d->head = j;
        if (!j->next) d->tail = &j->next;
        return;
    }
    j->next = NULL;
    *d->tail = j;
    d->tail = &j->next;
}

static void unlink_job(struct dispatch *d, struct job *j)
{
    for (struct job **at = &d->head; *at; at = &(*at)->next)
        if (*at == j) {
            *at = j->next;
            if (!*at) d->tail = at;
            return;
        }
}

enum err dispatch_add(struct dispatch *d, const struct job *j, bool front, int64_t now_ns)
{
    if (find(d, j->id)) return ERR_EXIST;
    if (d->n == d->cap) {
        const uint32_t cap = d->cap ? d->cap * 2 : 256;
        struct job **p = realloc(d->job, cap * sizeof *p);
        if (!p) return ERR_NOMEM;
        d->job = p;
        d->cap = cap;
    }
    struct job *copy = malloc(sizeof *copy);
    if (!copy) return ERR_NOMEM;
    *copy = *j;
    d->job[d->n++] = copy;
    enqueue(d, copy, front, now_ns);
    return ERR_OK;
}

static bool refused(const struct job *j, uint64_t node)
{
    const uint32_t cap = sizeof j->refused_by / sizeof *j->refused_by, n = j->n_refused < cap ? j->n_refused : cap;
    for (uint32_t i = 0; i < n; i++)
        if (j->refused_by[i] == node) return true;
    return false;
}

const struct job *dispatch_take(struct dispatch *d, uint64_t node, uint32_t room_seq, uint64_t version, int64_t now_ns)
{
    for (struct job *j = d->head; j; j = j->next) {
        if (j->group_size > room_seq || j->min_version > version || refused(j, node)) continue;
        unlink_job(d, j);
        j->state = JOB_IN_FLIGHT;
        j->node = node;
        j->since_ns = now_ns;
        if (j->n_try++) d->n_retry++;
        return j;
    }
    return NULL;
}

const struct job *dispatch_find(const struct dispatch *d, uint64_t id)
{
    return find(d, id);
}

enum err dispatch_finish(struct dispatch *d, uint64_t id, int64_t now_ns)
{
    struct job *j = find(d, id);
    if (!j || j->state == JOB_DONE) return ERR_STALE;
    if (j->state == JOB_WAITING) unlink_job(d, j); /* its lease ran out, but the group came after all */
    j->state = JOB_DONE;
    j->since_ns = now_ns;
    return ERR_OK;
}

void dispatch_return(struct dispatch *d, uint64_t id, uint64_t node, int64_t now_ns)
{
    struct job *j = find(d, id);
    if (j && j->state == JOB_IN_FLIGHT && j->node == node) enqueue(d, j, true, now_ns);
}

uint32_t dispatch_need(const struct dispatch *d, uint64_t node, uint64_t version)
{
    uint32_t need = 0;
    for (const struct job *j = d->head; j; j = j->next)
        if (j->min_version <= version && !refused(j, node) && (!need || j->group_size < need)) need = j->group_size;
    return need;
}

void dispatch_refuse(struct dispatch *d, uint64_t id, uint64_t node, struct span words, int64_t now_ns)
{
    struct job *j = find(d, id);
    if (!j || j->state == JOB_DONE) return;
    snprintf(j->words, sizeof j->words, "%.*s", (int)(words.n < sizeof j->words ? words.n : sizeof j->words - 1), (const char *)words.p);
    if (!refused(j, node)) j->refused_by[j->n_refused++ % (sizeof j->refused_by / sizeof *j->refused_by)] = node;
    if (j->state == JOB_IN_FLIGHT && j->node == node) enqueue(d, j, true, now_ns);
}

const struct job *dispatch_hopeless(const struct dispatch *d, const uint64_t *up, uint32_t n)
{
    for (const struct job *j = d->head; n && j; j = j->next) {
        uint32_t k = 0;
        while (k < n && refused(j, up[k])) k++;
        if (k == n || j->n_refused >= HOPELESS) return j;
    }
    return NULL;
}

uint32_t dispatch_reconcile(struct dispatch *d, uint64_t node, const uint64_t *held, uint32_t n, int64_t since_ns, int64_t now_ns)
{
    uint32_t n_lost = 0;
    for (uint32_t i = d->n; i-- > 0;) {
        struct job *j = d->job[i];
        if (j->state != JOB_IN_FLIGHT || j->node != node || j->since_ns >= since_ns) continue;
        uint32_t k = 0;
        while (k < n && held[k] != j->id) k++;
        if (k < n) continue;
        enqueue(d, j, true, now_ns);
        n_lost++;
    }
    return n_lost;
}

uint32_t dispatch_lost(struct dispatch *d, uint64_t node, int64_t now_ns)
{
    uint32_t n = 0;
    for (uint32_t i = d->n; i-- > 0;) /* backwards, so that the first of them ends up in front */
        if (d->job[i]->state == JOB_IN_FLIGHT && d->job[i]->node == node) {
            enqueue(d, d->job[i], true, now_ns);
            n++;
        }
    return n;
}

void dispatch_forget(struct dispatch *d, uint64_t step)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        struct job *j = d->job[i];
        if (j->state == JOB_DONE && j->step < step) free(j);
        else d->job[n++] = j;
    }
    d->n = n;
}

void dispatch_stats(const struct dispatch *d, struct dispatch_stats *ret_stats)
{
    struct dispatch_stats st = {.n_retry = d->n_retry};
    for (uint32_t i = 0; i < d->n; i++) {
        const struct job *j = d->job[i];
        if (j->state == JOB_IN_FLIGHT) st.n_in_flight++;
        if (j->state != JOB_WAITING) continue;
        st.n_waiting++;
        if (!st.oldest_ns || j->since_ns < st.oldest_ns) st.oldest_ns = j->since_ns;
    }
    *ret_stats = st;
}

uint32_t dispatch_at(const struct dispatch *d, uint64_t node)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n; i++) n += d->job[i]->state == JOB_IN_FLIGHT && d->job[i]->node == node;
    return n;
}
