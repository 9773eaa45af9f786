// SPDX-License-Identifier: Apache-2.0
/* No job is lost and none is done twice, whatever nodes do: come, go, fall silent, lie, send late. */
#include "learner/dispatch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/rng.h"

static struct dispatch *make(void)
{
    struct dispatch *d = NULL;
    assert_int_equal(dispatch_create(&d), ERR_OK);
    return d;
}

static void add(struct dispatch *d, uint64_t id, uint64_t step, uint32_t group, uint64_t min_version,
                bool front, int64_t now)
{
    const struct job j = {
        .id = id, .row = (uint32_t)id, .step = step, .group_size = group, .min_version = min_version};
    assert_int_equal(dispatch_add(d, &j, front, now), ERR_OK);
}

/* The id of the job taken; 0: none. */
static uint64_t take(struct dispatch *d, uint64_t node, int64_t now)
{
    const struct job *j = dispatch_take(d, node, 1000, 1000, now);
    return j ? j->id : 0;
}

static struct dispatch_stats stats(const struct dispatch *d)
{
    struct dispatch_stats st;
    dispatch_stats(d, &st);
    return st;
}

static void jobs_go_out_in_order_and_once(void **state)
{
    (void)state;
    struct dispatch *d = make();
    for (uint64_t i = 1; i <= 3; i++) add(d, i, 0, 4, 0, false, 10);
    add(d, 9, 0, 4, 0, true, 10); /* an evaluation goes first */
    const struct job again = {.id = 2, .group_size = 1};
    assert_int_equal(dispatch_add(d, &again, false, 10), ERR_EXIST);
    assert_int_equal(take(d, 7, 20), 9);
    assert_int_equal(take(d, 8, 20), 1);
    assert_int_equal(take(d, 7, 20), 2);
    assert_int_equal(take(d, 7, 20), 3);
    assert_int_equal(take(d, 7, 20), 0);
    assert_int_equal(dispatch_at(d, 7), 3);
    assert_int_equal(dispatch_at(d, 8), 1);
    assert_int_equal(stats(d).n_in_flight, 4);
    assert_int_equal(stats(d).n_retry, 0);
    add(d, 4, 0, 4, 0, false, 30); /* the queue's end is in order after it was empty */
    add(d, 5, 0, 4, 0, false, 30);
    assert_int_equal(take(d, 7, 40), 4);
    assert_int_equal(take(d, 7, 40), 5);
    dispatch_destroy(d);
    dispatch_destroy(NULL);
}

static void a_job_waits_for_room_and_for_its_version(void **state)
{
    (void)state;
    struct dispatch *d = make();
    add(d, 1, 0, 8, 5, false, 0);
    add(d, 2, 0, 4, 0, false, 0);
    assert_int_equal(dispatch_need(d, 7, 0), 4);
    assert_int_equal(dispatch_need(d, 7, 5), 4);
    assert_null(dispatch_take(d, 7, 3, 9, 0));
    assert_null(dispatch_take(d, 7, 0, 9, 0));
    assert_int_equal(dispatch_take(d, 7, 8, 4, 0)->id,
                     2); /* the first is for a later version: it is passed */
    assert_null(dispatch_take(d, 7, 8, 4, 0));
    assert_int_equal(dispatch_need(d, 7, 4), 0);
    assert_int_equal(dispatch_need(d, 7, 5), 8);
    assert_int_equal(dispatch_take(d, 7, 8, 5, 0)->id, 1);
    dispatch_destroy(d);
}

static void a_job_is_finished_once(void **state)
{
    (void)state;
    struct dispatch *d = make();
    add(d, 1, 0, 4, 0, false, 0);
    assert_int_equal(take(d, 7, 1), 1);
    assert_int_equal(dispatch_finish(d, 1, 2), ERR_OK);
    assert_int_equal(dispatch_finish(d, 1, 3), ERR_STALE);
    assert_int_equal(dispatch_finish(d, 99, 3), ERR_STALE);
    /* nothing brings it back */
    dispatch_return(d, 1, 7, 4);
    dispatch_refuse(d, 1, 7, span_str("no"), 4);
    assert_int_equal(dispatch_lost(d, 7, 4), 0);
    assert_int_equal(dispatch_reconcile(d, 7, NULL, 0, 100, 100), 0);
    assert_int_equal(take(d, 7, 5), 0);
    assert_int_equal(dispatch_find(d, 1)->state, JOB_DONE);
    dispatch_destroy(d);
}

static void a_lost_node_s_jobs_go_to_others_first_and_in_order(void **state)
{
    (void)state;
    struct dispatch *d = make();
    for (uint64_t i = 1; i <= 5; i++) add(d, i, 0, 4, 0, false, 0);
    assert_int_equal(take(d, 7, 1), 1);
    assert_int_equal(take(d, 8, 1), 2);
    assert_int_equal(take(d, 7, 1), 3);
    assert_int_equal(dispatch_lost(d, 7, 2), 2);
    assert_int_equal(dispatch_at(d, 7), 0);
    assert_int_equal(take(d, 9, 3), 1);
    assert_int_equal(take(d, 9, 3), 3);
    assert_int_equal(take(d, 9, 3), 4);
    assert_int_equal(stats(d).n_retry, 2);
    dispatch_destroy(d);
}

/* The lease ran out, and then the group came: it counts, before the job went out again and after, but only
 * the first one. */
static void a_group_after_the_lease_counts_once(void **state)
{
    (void)state;
    struct dispatch *d = make();
    add(d, 1, 0, 4, 0, false, 0);
    add(d, 2, 0, 4, 0, false, 0);
    assert_int_equal(take(d, 7, 1), 1);
    assert_int_equal(take(d, 7, 1), 2);
    assert_int_equal(dispatch_lost(d, 7, 2), 2);
    assert_int_equal(dispatch_finish(d, 1, 3), ERR_OK); /* while it waits */
    assert_int_equal(take(d, 8, 4), 2);
    assert_int_equal(take(d, 8, 4), 0);                    /* the first is out of the queue */
    assert_int_equal(dispatch_finish(d, 2, 5), ERR_OK);    /* node 7's, while node 8 works on it */
    assert_int_equal(dispatch_finish(d, 2, 6), ERR_STALE); /* node 8's */
    assert_int_equal(stats(d).n_waiting + stats(d).n_in_flight, 0);
    dispatch_destroy(d);
}

/* A bad late group of a node that does not have the job any more must not call it back from the one that has.
 */
static void a_job_is_given_back_by_its_holder_only(void **state)
{
    (void)state;
    struct dispatch *d = make();
    add(d, 1, 0, 4, 0, false, 0);
    assert_int_equal(take(d, 7, 1), 1);
    assert_int_equal(dispatch_lost(d, 7, 2), 1);
    assert_int_equal(take(d, 8, 3), 1);
    dispatch_return(d, 1, 7, 4);
    assert_int_equal(dispatch_at(d, 8), 1);
    assert_int_equal(take(d, 9, 5), 0);
    dispatch_refuse(d, 1, 7, span_str("late"), 6);
    assert_int_equal(dispatch_at(d, 8), 1);
    dispatch_return(d, 1, 8, 7);
    assert_int_equal(take(d, 9, 8), 1);
    dispatch_destroy(d);
}

static void what_a_node_does_not_list_was_lost_on_the_way(void **state)
{
    (void)state;
    struct dispatch *d = make();
    const uint64_t held[] = {2, 77};
    for (uint64_t i = 1; i <= 3; i++) add(d, i, 0, 4, 0, false, 0);
    assert_int_equal(take(d, 7, 10), 1);
    assert_int_equal(take(d, 7, 10), 2);
    assert_int_equal(take(d, 7, 50), 3); /* young: may be on its way */
    assert_int_equal(dispatch_reconcile(d, 8, held, 2, 50, 60), 0);
    assert_int_equal(dispatch_reconcile(d, 7, held, 2, 50, 60), 1);
    assert_int_equal(take(d, 8, 70), 1);
    assert_int_equal(dispatch_reconcile(d, 7, held, 2, 51, 80), 1);
    assert_int_equal(take(d, 8, 90), 3);
    assert_int_equal(dispatch_at(d, 7), 1);
    dispatch_destroy(d);
}

static void a_refused_job_goes_to_another_node_or_is_hopeless(void **state)
{
    (void)state;
    struct dispatch *d = make();
    const uint64_t up[] = {7, 8};
    char big[400];
    memset(big, 'x', sizeof big);
    add(d, 1, 0, 4, 0, false, 0);
    assert_int_equal(take(d, 7, 1), 1);
    dispatch_refuse(d, 1, 7, span_of(big, sizeof big), 2);
    assert_null(dispatch_hopeless(d, up, 2));
    assert_null(dispatch_hopeless(d, up, 0)); /* nobody is here: somebody may come */
    assert_int_equal(take(d, 7, 3), 0);
    assert_int_equal(dispatch_need(d, 7, 0), 0);
    assert_int_equal(take(d, 8, 4), 1);
    dispatch_refuse(d, 1, 8, span_str("too long"), 5);
    dispatch_refuse(d, 1, 8, span_str("too long"), 5); /* said twice is once */
    assert_int_equal(dispatch_hopeless(d, up, 2)->id, 1);
    assert_string_equal(dispatch_hopeless(d, up, 2)->words, "too long");
    assert_int_equal(take(d, 9, 6), 1); /* a third one may try */
    dispatch_destroy(d);
}

/* More nodes than refusals are remembered: the job must not go round for ever. */
static void a_job_that_everybody_refuses_ends(void **state)
{
    (void)state;
    struct dispatch *d = make();
    uint64_t up[20];
    int rounds = 0;
    for (uint64_t i = 0; i < 20; i++) up[i] = 100 + i;
    add(d, 1, 0, 4, 0, false, 0);
    while (!dispatch_hopeless(d, up, 20) && rounds < 1000) {
        const uint64_t node = up[rounds++ % 20];
        if (take(d, node, rounds)) dispatch_refuse(d, 1, node, span_str("no"), rounds);
    }
    assert_in_range(rounds, 20, 500);
    dispatch_destroy(d);
}

static void done_jobs_of_old_steps_are_forgotten_and_nothing_else(void **state)
{
    (void)state;
    struct dispatch *d = make();
    add(d, 1, 0, 4, 0, false, 0);
    add(d, 2, 1, 4, 0, false, 0);
    add(d, 3, 0, 4, 0, false, 0);
    assert_int_equal(take(d, 7, 1), 1);
    assert_int_equal(dispatch_finish(d, 1, 2), ERR_OK);
    assert_int_equal(dispatch_finish(d, 2, 2), ERR_OK); /* a whole group for a job that waits */
    dispatch_forget(d, 1);
    assert_null(dispatch_find(d, 1));
    assert_non_null(dispatch_find(d, 2));
    assert_int_equal(dispatch_finish(d, 1, 3), ERR_STALE); /* late, for one that is forgotten */
    assert_int_equal(take(d, 7, 4), 3);
    dispatch_destroy(d);
}

static void the_oldest_waiting_job_is_told(void **state)
{
    (void)state;
    struct dispatch *d = make();
    assert_int_equal(stats(d).oldest_ns, 0);
    add(d, 1, 0, 4, 0, false, 100);
    add(d, 2, 0, 4, 0, false, 50);
    assert_int_equal(stats(d).n_waiting, 2);
    assert_int_equal(stats(d).oldest_ns, 50);
    dispatch_destroy(d);
}

/* -- anything in any order: each job is finished exactly once in the end
 * ------------------------------------------------ */

enum { N_JOB = 60, N_NODE = 5 };

struct chaos {
    struct dispatch *d;
    bool out[N_NODE][N_JOB + 1]; /* what each node believes it has */
    int n_ok[N_JOB + 1];
    uint64_t seed, turn;
};

static uint32_t dice(struct chaos *c, uint32_t n)
{
    return (uint32_t)(rng_u64(c->seed, 1, c->turn++) % n);
}

static uint32_t list_held(const struct chaos *c, uint32_t node, uint64_t *out)
{
    uint32_t n = 0;
    for (uint64_t i = 1; i <= N_JOB; i++)
        if (c->out[node][i]) out[n++] = i;
    return n;
}

static void one_event(struct chaos *c, int64_t now)
{
    uint64_t held[N_JOB];
    const uint32_t node = dice(c, N_NODE), job = 1 + dice(c, N_JOB);
    switch (dice(c, 8)) {
    case 0:
    case 1: {
        const struct job *j = dispatch_take(c->d, node + 1, 1 + dice(c, 8), dice(c, 4), now);
        if (j && dice(c, 10)) c->out[node][j->id] = true; /* else the answer is lost on the way */
        break;
    }
    case 2:
    case 3: /* a group is sent; it stays held when the ack is lost, and is sent again */
        if (!c->out[node][job]) break;
        if (dispatch_finish(c->d, job, now) == ERR_OK) c->n_ok[job]++;
        if (dice(c, 4)) c->out[node][job] = false;
        break;
    case 4:
        dispatch_lost(c->d, node + 1, now);
        break; /* silent, or gone: it still holds its jobs */
    case 5:
        memset(c->out[node], 0, sizeof c->out[node]);
        break; /* killed, unnoticed */
    case 6:
        dispatch_reconcile(c->d, node + 1, held, list_held(c, node, held), now - 20, now);
        break;
    case 7:
        if (c->out[node][job]) dispatch_return(c->d, job, node + 1, now);
        c->out[node][job] = false;
        break;
    }
}

static void whatever_happens_each_job_is_done_exactly_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct chaos c = {.d = make(), .seed = seed};
        for (uint64_t i = 1; i <= N_JOB; i++)
            add(c.d, i, i / 10, 1 + (uint32_t)(i % 8), i % 4, dice(&c, 2), 0);
        for (int64_t now = 1; now < 1500; now++) {
            one_event(&c, now);
            uint32_t n_done = 0;
            for (uint64_t i = 1; i <= N_JOB; i++) n_done += dispatch_find(c.d, i)->state == JOB_DONE;
            assert_int_equal(stats(c.d).n_waiting + stats(c.d).n_in_flight + n_done, N_JOB);
        }
        /* and when an honest node is left alone with it, it comes to an end */
        for (uint64_t i = 1; i <= N_NODE; i++) dispatch_lost(c.d, i, 2000);
        for (const struct job *j; (j = dispatch_take(c.d, 99, 8, 4, 2001));) {
            const uint64_t id = j->id;
            if (dispatch_finish(c.d, id, 2002) == ERR_OK) c.n_ok[id]++;
        }
        for (uint64_t i = 1; i <= N_JOB; i++) assert_int_equal(c.n_ok[i], 1);
        dispatch_destroy(c.d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_go_out_in_order_and_once),
        cmocka_unit_test(a_job_waits_for_room_and_for_its_version),
        cmocka_unit_test(a_job_is_finished_once),
        cmocka_unit_test(a_lost_node_s_jobs_go_to_others_first_and_in_order),
        cmocka_unit_test(a_group_after_the_lease_counts_once),
        cmocka_unit_test(a_job_is_given_back_by_its_holder_only),
        cmocka_unit_test(what_a_node_does_not_list_was_lost_on_the_way),
        cmocka_unit_test(a_refused_job_goes_to_another_node_or_is_hopeless),
        cmocka_unit_test(a_job_that_everybody_refuses_ends),
        cmocka_unit_test(done_jobs_of_old_steps_are_forgotten_and_nothing_else),
        cmocka_unit_test(the_oldest_waiting_job_is_told),
        cmocka_unit_test(whatever_happens_each_job_is_done_exactly_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
