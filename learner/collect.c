// SPDX-License-Identifier: Apache-2.0
/* collect.c - groups are scored on the uv pool and gathered by step; a whole step goes to the trainer, in order of steps. Loop thread. */
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/svc/log.h"
#include "learner/service.h"

struct scoring {
    struct service *s;
    struct group *g;
    enum err e;
};

enum err collect__expect(struct service *s, uint64_t step, bool eval, uint32_t want)
{
    struct pending *p = calloc(1, sizeof *p), **at = &s->pending;
    if (!p) return ERR_NOMEM;
    p->group = calloc(want, sizeof *p->group);
    if (!p->group) {
        free(p);
        return ERR_NOMEM;
    }
    p->step = step;
    p->eval = eval;
    p->want = want;
    p->begun_ns = clock_now_ns();
    while (*at) at = &(*at)->next;
    *at = p;
    return ERR_OK;
}

static int by_job(const void *a, const void *b)
{
    const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;
    return x->job_id < y->job_id ? -1 : x->job_id > y->job_id;
}

static void hand_over(struct service *s, struct pending *p)
{
    struct step_batch *b = calloc(1, sizeof *b);
    if (!b) abort(); /* a lost step would hang the run */
    qsort(p->group, p->have, sizeof *p->group, by_job);
    *b = (struct step_batch){p->step, p->eval, p->have, p->group, p->begun_ns};
    free(p);
    if (queue_try_put(b->eval ? s->train.eval_q : s->train.train_q, b)) step_batch_destroy(b); /* closed: the run is ending */
}

/* Whole evaluations at once; whole steps when no earlier step is missing. */
static void hand_over_ready(struct service *s)
{
    bool step_open = false;
    for (struct pending **at = &s->pending; *at;) {
        struct pending *p = *at;
        if (p->have < p->want || (!p->eval && step_open)) {
            step_open |= !p->eval;
            at = &p->next;
            continue;
        }
        *at = p->next;
        hand_over(s, p);
    }
}

static void score(void *arg)
{
    struct scoring *x = arg;
    struct service *s = x->s;
    const struct prompt_row *row = x->g->eval ? &s->eval.row[x->g->row] : &s->data.row[x->g->row];
    x->e = group_score(x->g, s->tok, row, &s->rewards);
}

static void scored(void *arg)
{
    struct scoring *x = arg;
    struct service *s = x->s;
    struct pending *p = s->pending;
    s->n_scoring--;
    while (p && (p->step != x->g->step || p->eval != x->g->eval)) p = p->next;
    if (x->e) {
        log_event(LOG_LEVEL_ERROR, "reward_failed", "job %llu: %s", (unsigned long long)x->g->job_id, err_str(x->e));
        s->exit_code = 1;
        service_stop(s);
    }
    if (p && !x->e && p->have < p->want) p->group[p->have++] = x->g;
    else group_destroy(x->g);
    free(x);
    hand_over_ready(s);
}

void collect__group(struct service *s, struct group *g)
{
    struct scoring *x = calloc(1, sizeof *x);
    if (!x) abort(); /* a lost group would hang the run */
    *x = (struct scoring){.s = s, .g = g};
    s->n_scoring++;
    if (loop_work(s->loop, score, scored, x)) abort();
}

void collect__clear(struct service *s)
{
    while (s->pending) {
        struct pending *p = s->pending;
        s->pending = p->next;
        for (uint32_t i = 0; i < p->have; i++) group_destroy(p->group[i]);
        free(p->group);
        free(p);
    }
}

uint32_t collect__ready(const struct service *s)
{
    uint32_t n = 0;
    for (const struct pending *p = s->pending; p; p = p->next) n += p->have;
    return n;
}
