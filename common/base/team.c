// SPDX-License-Identifier: Apache-2.0
/* team.c - a run has a number. Members watch it: for a bounded spin first (a step is many short runs), then on a condition variable. A member enters
 * a run while it is open; the caller closes it when its own part is done, and waits for those who entered, not for those who came too late. */
#include "common/base/team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"

#define SPIN_NS 30000

struct member {
    struct team *team;
    pthread_t thread;
    uint32_t i;
};

/* state: the run's number, whether it is closed, and how many members have entered it. */
#define RUN     (1ull << 24)
#define CLOSED  (1ull << 23)
#define ENTERED (CLOSED - 1)

struct team {
    uint32_t n, n_started;
    struct member *m; /* [n]; m[0] is the caller, without a thread */
    /* the open run: written before its state, read by those who entered */
    void (*each)(void *, uint32_t, uint32_t); /* team_run's; NULL: parts are taken */
    void (*part)(void *, uint32_t, uint32_t);
    void *arg;
    uint32_t n_item, step;
    atomic_ullong next; /* first item that nobody has taken */
    atomic_ullong state;
    atomic_uint left;         /* members that have entered and gone again */
    atomic_bool caller_waits; /* on done */
    atomic_bool quit;
    pthread_mutex_t lock;
    pthread_cond_t go, done;
};

static inline void relax(void)
{
    __builtin_ia32_pause();
}

/* Wait for a run other than `seen` (its number, times RUN); the state in which it was found. */
static unsigned long long wait_run(struct team *t, unsigned long long seen)
{
    const int64_t end = clock_now_ns() + SPIN_NS;
    unsigned long long s;
    do {
        for (int k = 0; k < 64; k++) {
            s = atomic_load_explicit(&t->state, memory_order_acquire);
            if (s / RUN != seen / RUN) return s;
            relax();
        }
    } while (clock_now_ns() < end);
    pthread_mutex_lock(&t->lock);
    while ((s = atomic_load_explicit(&t->state, memory_order_acquire)) / RUN == seen / RUN) pthread_cond_wait(&t->go, &t->lock);
    pthread_mutex_unlock(&t->lock);
    return s;
}

static void work(struct team *t, uint32_t i)
{
    if (t->each) {
        t->each(t->arg, i, t->n);
        return;
    }
    for (;;) {
        const unsigned long long begin = atomic_fetch_add_explicit(&t->next, t->step, memory_order_relaxed), end = begin + t->step;
        if (begin >= t->n_item) return;
        t->part(t->arg, (uint32_t)begin, end < t->n_item ? (uint32_t)end : t->n_item);
    }
}

static void *member_main(void *v)
{
    struct member *m = v;
    struct team *t = m->team;
    for (unsigned long long seen = 0;;) {
        unsigned long long s = wait_run(t, seen);
        if (atomic_load(&t->quit)) return NULL;
        seen = s;
        while (!(s & CLOSED) && s / RUN == seen / RUN && !atomic_compare_exchange_weak(&t->state, &s, s + 1)) {}
        if (s & CLOSED || s / RUN != seen / RUN) continue; /* too late for this one */
        work(t, m->i);
        atomic_fetch_add(&t->left, 1);
        if (!atomic_load(&t->caller_waits)) continue;
        pthread_mutex_lock(&t->lock);
        pthread_cond_signal(&t->done);
        pthread_mutex_unlock(&t->lock);
    }
}

/* Wait until `n` members have gone. Either they see that the caller waits, or the caller sees that they are gone. */
static void wait_left(struct team *t, uint32_t n)
{
    const int64_t end = clock_now_ns() + SPIN_NS;
    do {
        for (int k = 0; k < 64; k++) {
            if (atomic_load_explicit(&t->left, memory_order_acquire) == n) return;
            relax();
        }
    } while (clock_now_ns() < end);
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->caller_waits, true);
    while (atomic_load(&t->left) != n) pthread_cond_wait(&t->done, &t->lock);
    atomic_store(&t->caller_waits, false);
    pthread_mutex_unlock(&t->lock);
}

static void open_run(struct team *t)
{
    pthread_mutex_lock(&t->lock);
    atomic_store_explicit(&t->state, (atomic_load(&t->state) / RUN + 1) * RUN, memory_order_release);
    pthread_cond_broadcast(&t->go);
    pthread_mutex_unlock(&t->lock);
}

static void run(struct team *t)
{
    atomic_store_explicit(&t->next, 0, memory_order_relaxed);
    atomic_store_explicit(&t->left, 0, memory_order_relaxed);
    open_run(t);
    work(t, 0);
    if (t->each) wait_left(t, t->n - 1); /* all of them, however late */
    const uint32_t entered = (uint32_t)(atomic_fetch_or(&t->state, CLOSED) & ENTERED);
    wait_left(t, entered);
}

void team_run(struct team *t, void (*fn)(void *, uint32_t, uint32_t), void *arg)
{
    if (t->n == 1) {
        fn(arg, 0, 1);
        return;
    }
    t->each = fn;
    t->arg = arg;
    run(t);
}

void team_share(struct team *t, uint32_t n, uint32_t step, void (*fn)(void *, uint32_t, uint32_t), void *arg)
{
    if (t->n == 1 || n <= step) {
        if (n) fn(arg, 0, n);
        return;
    }
    t->each = NULL;
    t->part = fn;
    t->arg = arg;
    t->n_item = n;
    t->step = step;
    run(t);
}

/* "0-3,8" to a set. */
static enum err parse_cpus(const char *s, cpu_set_t *set, struct why *why)
{
    const char *p = s;
    CPU_ZERO(set);
    while (*p) {
        char *end;
        unsigned long a = strtoul(p, &end, 10), b = a;
        if (end == p) return why_set(why, ERR_INVAL, "cpu list \"%s\": a number is expected at \"%s\"", s, p);
        p = end;
        if (*p == '-') {
            b = strtoul(p + 1, &end, 10);
            if (end == p + 1) return why_set(why, ERR_INVAL, "cpu list \"%s\": a number is expected after '-'", s);
            p = end;
        }
        if (b < a || b >= CPU_SETSIZE) return why_set(why, ERR_RANGE, "cpu list \"%s\": bad range %lu-%lu", s, a, b);
        for (; a <= b; a++) CPU_SET(a, set);
        if (*p == ',') p++;
        else if (*p) return why_set(why, ERR_INVAL, "cpu list \"%s\": unexpected \"%s\"", s, p);
    }
    return CPU_COUNT(set) ? ERR_OK : why_set(why, ERR_INVAL, "cpu list \"%s\" is empty", s);
}

/* Member i gets the i-th CPU of the set, in turn. */
static enum err pin_member(pthread_t thread, const cpu_set_t *set, uint32_t i, struct why *why)
{
    int want = (int)(i % (uint32_t)CPU_COUNT(set)), cpu = -1;
    do {
        cpu++;
        while (!CPU_ISSET(cpu, set)) cpu++;
    } while (want-- > 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (pthread_setaffinity_np(thread, sizeof one, &one))
        return why_set(why, ERR_INVAL, "cannot run on CPU %d: not one that this process may use", cpu);
    return ERR_OK;
}

enum err team_create(uint32_t n, const char *pin, struct team **ret_team, struct why *why)
{
    cpu_set_t set;
    const bool pinned = pin && *pin;
    if (!n) return why_set(why, ERR_INVAL, "a team of 0 threads");
    if (pinned) TRY(parse_cpus(pin, &set, why));
    struct team *t = calloc(1, sizeof *t);
    if (!t) return ERR_NOMEM;
    t->m = calloc(n, sizeof *t->m);
    if (!t->m) {
        free(t);
        return ERR_NOMEM;
    }
    t->n = n;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->go, NULL);
    pthread_cond_init(&t->done, NULL);
    enum err e = pinned ? pin_member(pthread_self(), &set, 0, why) : ERR_OK;
    for (uint32_t i = 1; !e && i < n; i++) {
        t->m[i] = (struct member){.team = t, .i = i};
        if (pthread_create(&t->m[i].thread, NULL, member_main, &t->m[i])) {
            e = why_set(why, ERR_BUSY, "cannot start thread %u of %u", i, n);
            break;
        }
        t->n_started++;
        if (pinned) e = pin_member(t->m[i].thread, &set, i, why);
    }
    if (e) {
        team_destroy(t);
        return e;
    }
    *ret_team = t;
    return ERR_OK;
}

void team_destroy(struct team *t)
{
    if (!t) return;
    atomic_store(&t->quit, true);
    open_run(t);
    for (uint32_t i = 1; i <= t->n_started; i++) pthread_join(t->m[i].thread, NULL);
    pthread_cond_destroy(&t->done);
    pthread_cond_destroy(&t->go);
    pthread_mutex_destroy(&t->lock);
    free(t->m);
    free(t);
}

uint32_t team_size(const struct team *t)
{
    return t->n;
}

/* cgroup v2, then v1: quota / period, rounded up; 0 when there is no limit. */
static uint32_t cgroup_cpus(void)
{
    long long quota = -1, period = 0;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (f) {
        if (fscanf(f, "%lld %lld", &quota, &period) != 2) quota = -1;
        fclose(f);
    } else {
        f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r");
        if (f && fscanf(f, "%lld", &quota) != 1) quota = -1;
        if (f) fclose(f);
        f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r");
        if (f && fscanf(f, "%lld", &period) != 1) period = 0;
        if (f) fclose(f);
    }
    return quota > 0 && period > 0 ? (uint32_t)((quota + period - 1) / period) : 0;
}

uint32_t team_usable_cpus(void)
{
    cpu_set_t set;
    uint32_t n = 1;
    if (!sched_getaffinity(0, sizeof set, &set)) n = (uint32_t)CPU_COUNT(&set);
    const uint32_t quota = cgroup_cpus();
    if (quota && quota < n) n = quota;
    return n ? n : 1;
}
