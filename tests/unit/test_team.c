// SPDX-License-Identifier: Apache-2.0
/* Every member runs every run once, the caller among them, awake or asleep; every shared item is done once, and a member that cannot run holds
 * nobody up; a bad CPU list is refused with words. */
#include "common/base/team.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

struct tally {
    atomic_uint n_run[8];
    atomic_uint bad;
    uint32_t plain[8]; /* one each: written by a member, read by the caller after the run */
};

static void count(void *arg, uint32_t i, uint32_t n)
{
    struct tally *t = arg;
    if (i >= n || n > 8) {
        atomic_fetch_add(&t->bad, 1);
        return;
    }
    atomic_fetch_add(&t->n_run[i], 1);
    t->plain[i]++;
}

static void every_member_runs_every_run(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 4; n++) {
        struct team *t;
        struct tally x = {0};
        assert_int_equal(team_create(n, NULL, &t, NULL), ERR_OK);
        assert_int_equal(team_size(t), n);
        for (uint32_t k = 1; k <= 300; k++) {
            team_run(t, count, &x);
            for (uint32_t i = 0; i < n; i++) assert_int_equal(x.plain[i], k);
        }
        for (uint32_t i = 0; i < 8; i++) assert_int_equal(x.n_run[i], i < n ? 300 : 0);
        assert_int_equal(x.bad, 0);
        team_destroy(t);
    }
}

static void slow(void *arg, uint32_t i, uint32_t n)
{
    const struct timespec ms = {0, 1000000};
    if (i == n - 1) nanosleep(&ms, NULL); /* the caller must sleep for the last one */
    count(arg, i, n);
}

/* Longer than the spin on both sides: members sleep between runs, the caller sleeps in one. */
static void sleepers_are_woken(void **state)
{
    (void)state;
    const struct timespec ms = {0, 2000000};
    struct team *t;
    struct tally x = {0};
    assert_int_equal(team_create(3, "", &t, NULL), ERR_OK);
    for (uint32_t k = 0; k < 20; k++) {
        team_run(t, slow, &x);
        nanosleep(&ms, NULL);
    }
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(x.plain[i], 20);
    team_destroy(t);
}

struct shares {
    uint32_t n, step;
    uint32_t done[1000]; /* how often each item was; written by whoever took it */
    atomic_uint bad;
};

static void take(void *arg, uint32_t begin, uint32_t end)
{
    struct shares *s = arg;
    if (begin >= end || end > s->n || end - begin > s->step) atomic_fetch_add(&s->bad, 1);
    for (uint32_t i = begin; i < end; i++) s->done[i]++;
}

static void every_item_is_done_once(void **state)
{
    (void)state;
    static const uint32_t n[] = {0, 1, 2, 7, 8, 9, 100, 999, 1000}, step[] = {1, 3, 8, 64, 2000};
    const struct timespec ms = {0, 100000};
    for (uint32_t members = 1; members <= 4; members++) {
        struct team *t;
        assert_int_equal(team_create(members, NULL, &t, NULL), ERR_OK);
        for (uint32_t k = 0; k < 9 * 5 * 8; k++) {
            struct shares s = {.n = n[k % 9], .step = members > 1 ? step[k / 9 % 5] : 2000};
            if (k % 16 == 0) nanosleep(&ms, NULL); /* members fall asleep in between */
            team_share(t, s.n, step[k / 9 % 5], take, &s);
            assert_int_equal(s.bad, 0);
            for (uint32_t i = 0; i < 1000; i++) assert_int_equal(s.done[i], i < s.n);
        }
        team_destroy(t);
    }
}

static atomic_bool held;
static int release[2];

/* Keeps the thread that gets the signal where it is until something comes through the pipe. */
static void hold_here(int num)
{
    (void)num;
    char c;
    atomic_store(&held, true);
    while (read(release[0], &c, 1) != 1) {}
    atomic_store(&held, false);
}

static void note_self(void *arg, uint32_t i, uint32_t n)
{
    (void)n;
    ((pthread_t *)arg)[i] = pthread_self();
}

static void nobody_waits_for_a_member_that_cannot_run(void **state)
{
    (void)state;
    struct team *t;
    struct tally x = {0};
    pthread_t self[2];
    struct sigaction old, sa = {.sa_handler = hold_here};
    assert_int_equal(pipe(release), 0);
    assert_int_equal(sigaction(SIGUSR1, &sa, &old), 0);
    assert_int_equal(team_create(2, NULL, &t, NULL), ERR_OK);
    team_run(t, note_self, self);
    assert_int_equal(pthread_kill(self[1], SIGUSR1), 0);
    while (!atomic_load(&held)) sched_yield();
    for (uint32_t k = 0; k < 50; k++) {
        struct shares s = {.n = 100, .step = 5};
        team_share(t, s.n, s.step, take, &s);
        for (uint32_t i = 0; i < s.n; i++) assert_int_equal(s.done[i], 1);
    }
    assert_true(atomic_load(&held));
    assert_int_equal(write(release[1], "x", 1), 1);
    team_run(t, count, &x); /* which does wait for it */
    assert_int_equal(x.plain[1], 1);
    team_destroy(t);
    sigaction(SIGUSR1, &old, NULL);
    close(release[0]), close(release[1]);
}

static void a_team_that_never_ran_ends(void **state)
{
    (void)state;
    struct team *t;
    assert_int_equal(team_create(4, NULL, &t, NULL), ERR_OK);
    team_destroy(t);
    team_destroy(NULL);
}

static void bad_lists_are_refused_with_words(void **state)
{
    (void)state;
    static const char *const bad[] = {"x", "0-", "3-1", "0,,1", "0;1", "1000000", "-1", "0-99999999999999999999", ","};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct team *t = NULL;
        struct why why = {0};
        const enum err e = team_create(2, bad[i], &t, &why);
        if (e != ERR_INVAL && e != ERR_RANGE) fail_msg("\"%s\" gave %s", bad[i], err_str(e));
        assert_non_null(strstr(why.text, "cpu list"));
        assert_null(t);
    }
    struct team *t = NULL;
    assert_int_equal(team_create(0, NULL, &t, NULL), ERR_INVAL);
}

static int only_cpu(void)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    if (CPU_COUNT(&set) != 1) return -1;
    int c = 0;
    while (!CPU_ISSET(c, &set)) c++;
    return c;
}

struct where {
    int cpu[2];
};

static void look(void *arg, uint32_t i, uint32_t n)
{
    struct where *w = arg;
    (void)n;
    w->cpu[i] = only_cpu();
}

static void members_are_pinned_in_turn(void **state)
{
    (void)state;
    cpu_set_t all;
    char list[16];
    struct team *t;
    struct where w = {{-1, -1}};
    struct why why = {0};
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    int c = 0;
    while (!CPU_ISSET(c, &all)) c++;
    snprintf(list, sizeof list, "%d", c);
    assert_int_equal(team_create(2, list, &t, &why), ERR_OK);
    team_run(t, look, &w);
    assert_int_equal(w.cpu[0], c);
    assert_int_equal(w.cpu[1], c);
    team_destroy(t);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);

    c = 0; /* one that this process may not use, if there is any */
    while (c < CPU_SETSIZE && CPU_ISSET(c, &all)) c++;
    snprintf(list, sizeof list, "%d", c);
    if (c < CPU_SETSIZE) assert_int_equal(team_create(2, list, &t, &why), ERR_INVAL);
}

static void some_cpu_is_usable(void **state)
{
    (void)state;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_in_range(team_usable_cpus(), 1, CPU_COUNT(&set));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_runs_every_run), cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(every_item_is_done_once),     cmocka_unit_test(nobody_waits_for_a_member_that_cannot_run),
        cmocka_unit_test(a_team_that_never_ran_ends),  cmocka_unit_test(bad_lists_are_refused_with_words),
        cmocka_unit_test(members_are_pinned_in_turn),  cmocka_unit_test(some_cpu_is_usable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
