// SPDX-License-Identifier: Apache-2.0
/* Letters are run once each, in the order posted, on the loop's thread, down to the last one when the loop
 * ends. */
#include "common/svc/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/clock.h"

static struct loop *make(void)
{
    struct loop *l = NULL;
    assert_int_equal(loop_create(&l), ERR_OK);
    return l;
}

enum { N_THREAD = 4, N_LETTER = 20000 };

struct rig {
    struct loop *l;
    pthread_t thread; /* the loop's */
    uint32_t next[N_THREAD], n, n_wrong;
};

struct note {
    struct rig *rig;
    uint32_t from, k;
};

static void take_note(void *arg)
{
    struct note *x = arg;
    struct rig *r = x->rig;
    r->n_wrong += x->k != r->next[x->from]++ || !pthread_equal(r->thread, pthread_self());
    if (++r->n == N_THREAD * N_LETTER) loop_stop(r->l);
    free(x);
}

struct writer {
    struct rig *rig;
    uint32_t from;
};

static void *write_notes(void *arg)
{
    struct writer *w = arg;
    for (uint32_t k = 0; k < N_LETTER; k++) {
        struct note *x = malloc(sizeof *x);
        *x = (struct note){w->rig, w->from, k};
        loop_post(w->rig->l, take_note, x);
    }
    return NULL;
}

static void no_letter_is_lost_and_each_writer_s_order_is_kept(void **state)
{
    (void)state;
    struct rig r = {.l = make(), .thread = pthread_self()};
    struct writer w[N_THREAD];
    pthread_t t[N_THREAD];
    for (uint32_t i = 0; i < N_THREAD; i++) {
        w[i] = (struct writer){&r, i};
        assert_int_equal(pthread_create(&t[i], NULL, write_notes, &w[i]), 0);
    }
    loop_run(r.l);
    for (uint32_t i = 0; i < N_THREAD; i++) pthread_join(t[i], NULL);
    assert_int_equal(r.n, N_THREAD * N_LETTER);
    assert_int_equal(r.n_wrong, 0);
    loop_destroy(r.l);
}

struct chain {
    struct loop *l;
    int left, ran;
};

static void post_next(void *arg)
{
    struct chain *c = arg;
    c->ran++;
    if (c->left-- > 0) loop_post(c->l, post_next, c);
}

/* Closing a server posts a letter that frees it: it must run although the loop is ending. */
static void a_letter_s_letter_runs_when_the_loop_ends(void **state)
{
    (void)state;
    struct chain c = {.l = make(), .left = 5};
    loop_post(c.l, post_next, &c);
    loop_destroy(c.l);
    assert_int_equal(c.ran, 6);
}

static void nap(void *arg)
{
    (void)arg;
    usleep(30000);
}

static void work_on_the_pool_is_waited_for_when_the_loop_ends(void **state)
{
    (void)state;
    struct chain c = {.l = make(), .left = 1};
    assert_int_equal(loop_work(c.l, nap, post_next, &c), ERR_OK);
    loop_stop(c.l); /* a stop that nobody took up must not cut the end short */
    loop_destroy(c.l);
    assert_int_equal(c.ran, 2);
    loop_destroy(NULL);
}

struct clockwork {
    struct loop *l;
    struct loop_timer *once, *every;
    int n_once, n_every;
};

static void on_once(void *arg)
{
    struct clockwork *c = arg;
    c->n_once++;
}

static void on_every(void *arg)
{
    struct clockwork *c = arg;
    if (++c->n_every < 3) return;
    loop_timer_stop(c->every); /* within its own call */
    loop_stop(c->l);
}

static void timers_fire_once_or_again_and_stop_from_within(void **state)
{
    (void)state;
    struct clockwork c = {.l = make()};
    assert_int_equal(loop_timer_start(c.l, 1, 0, on_once, &c, &c.once), ERR_OK);
    assert_int_equal(loop_timer_start(c.l, 5, 5, on_every, &c, &c.every), ERR_OK);
    loop_run(c.l);
    assert_int_equal(c.n_once, 1);
    assert_int_equal(c.n_every, 3);
    loop_drain(c.l, 20);
    assert_int_equal(c.n_every, 3);
    loop_timer_stop(c.once);
    loop_timer_stop(NULL);
    loop_destroy(c.l);
}

struct sums {
    struct loop *l;
    atomic_int worked;
    int done;
    pthread_t loop_thread;
    bool elsewhere, back;
};

static void do_sums(void *arg)
{
    struct sums *s = arg;
    s->elsewhere = !pthread_equal(s->loop_thread, pthread_self());
    atomic_fetch_add(&s->worked, 1);
}

static void sums_done(void *arg)
{
    struct sums *s = arg;
    s->back = pthread_equal(s->loop_thread, pthread_self());
    s->done++;
    loop_stop(s->l);
}

static void work_is_done_elsewhere_and_ends_here(void **state)
{
    (void)state;
    struct sums s = {.l = make(), .loop_thread = pthread_self()};
    assert_int_equal(loop_work(s.l, do_sums, sums_done, &s), ERR_OK);
    loop_run(s.l);
    assert_true(s.elsewhere && s.back);
    assert_int_equal(s.worked, 1);
    assert_int_equal(s.done, 1);
    loop_destroy(s.l);
}

static void a_drain_lasts_as_long_as_said(void **state)
{
    (void)state;
    struct loop *l = make();
    const int64_t t0 = clock_now_ns();
    loop_drain(l, 30);
    const int64_t took = clock_now_ns() - t0;
    assert_true(took >= 25 * NS_PER_MS && took < 20 * NS_PER_S);
    loop_destroy(l);
}

/* -- signals, in a process of their own: stop once, reload, and out at the second -- */

static int n_stop, n_reload;

static void on_stop(void *arg)
{
    (void)arg;
    n_stop++; /* and goes on: the daemon finishes its step */
}

static void on_reload(void *arg)
{
    (void)arg;
    n_reload++;
}

static void stuck(void *arg)
{
    loop_stop(arg);
}

static int child_main(int n_term)
{
    struct loop *l = NULL;
    struct loop_timer *t;
    if (loop_create(&l) || loop_signals(l, on_stop, on_reload, l)) return 90;
    if (raise(SIGHUP) || raise(SIGPIPE)) return 91;
    for (int i = 0; i < n_term; i++) {
        raise(i ? SIGINT : SIGTERM);
        loop_drain(l, 20);
    }
    if (loop_timer_start(l, 1, 0, stuck, l, &t)) return 92;
    loop_run(l);
    loop_timer_stop(t);
    loop_destroy(l);
    return n_reload == 1 ? n_stop : 93;
}

static int in_a_child(int n_term)
{
    int status = 0;
    const pid_t pid = fork();
    if (!pid) _exit(child_main(n_term));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void one_signal_stops_and_a_second_ends_at_once(void **state)
{
    (void)state;
    assert_int_equal(in_a_child(0), 0);
    assert_int_equal(in_a_child(1), 1);
    assert_int_equal(in_a_child(2), 128 + SIGINT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            one_signal_stops_and_a_second_ends_at_once), /* first: it forks, before there are threads */
        cmocka_unit_test(no_letter_is_lost_and_each_writer_s_order_is_kept),
        cmocka_unit_test(a_letter_s_letter_runs_when_the_loop_ends),
        cmocka_unit_test(work_on_the_pool_is_waited_for_when_the_loop_ends),
        cmocka_unit_test(timers_fire_once_or_again_and_stop_from_within),
        cmocka_unit_test(work_is_done_elsewhere_and_ends_here),
        cmocka_unit_test(a_drain_lasts_as_long_as_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
