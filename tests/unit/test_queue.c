// SPDX-License-Identifier: Apache-2.0
/* Letters come out once each and in order, a full queue says so at once, and closing wakes everyone. */
#include "common/base/queue.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <cmocka.h>

#include "common/base/clock.h"

static struct queue *make(uint32_t cap)
{
    struct queue *q = NULL;
    assert_int_equal(queue_create(cap, &q), ERR_OK);
    return q;
}

static void put(struct queue *q, intptr_t x)
{
    assert_int_equal(queue_try_put(q, (void *)x), ERR_OK);
}

static intptr_t take(struct queue *q)
{
    void *x = NULL;
    assert_int_equal(queue_take(q, 0, &x), ERR_OK);
    return (intptr_t)x;
}

static void order_is_kept_across_the_ring_s_end(void **state)
{
    (void)state;
    struct queue *q = make(3);
    intptr_t in = 1, out = 1;
    for (int round = 0; round < 10; round++) {
        while (queue_len(q) < 3) put(q, in++);
        assert_int_equal(queue_try_put(q, (void *)1), ERR_BUSY);
        assert_int_equal(take(q), out++);
        assert_int_equal(take(q), out++);
    }
    assert_int_equal(queue_len(q), 1);
    queue_destroy(q);
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct queue *q = NULL;
    assert_int_equal(queue_create(0, &q), ERR_INVAL);
    assert_int_equal(queue_create(UINT32_MAX, &q), ERR_INVAL);
    assert_null(q);
    queue_destroy(NULL);
}

static void an_empty_queue_waits_as_long_as_asked(void **state)
{
    (void)state;
    struct queue *q = make(1);
    void *x;
    assert_int_equal(queue_take(q, 0, &x), ERR_TIMEOUT);
    const int64_t t0 = clock_now_ns();
    assert_int_equal(queue_take(q, 30 * NS_PER_MS, &x), ERR_TIMEOUT);
    assert_true(clock_now_ns() - t0 >= 30 * NS_PER_MS);
    queue_destroy(q);
}

static void a_closed_queue_gives_what_it_has_and_takes_no_more(void **state)
{
    (void)state;
    struct queue *q = make(4);
    void *x;
    put(q, 7);
    queue_close(q);
    assert_int_equal(queue_try_put(q, &x), ERR_CLOSED);
    assert_int_equal(take(q), 7);
    assert_int_equal(queue_take(q, -1, &x), ERR_CLOSED);
    queue_destroy(q);
}

static void *take_one(void *v)
{
    struct queue *q = v;
    void *x = NULL;
    return (void *)(intptr_t)queue_take(q, INT64_MAX, &x);
}

/* INT64_MAX also says: the longest wait is no overflow. */
static void closing_wakes_everyone(void **state)
{
    (void)state;
    struct queue *q = make(1);
    pthread_t t[3];
    void *e;
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&t[i], NULL, take_one, q), 0);
    queue_close(q);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], &e);
        assert_int_equal((intptr_t)e, ERR_CLOSED);
    }
    queue_destroy(q);
}

struct sum {
    struct queue *q;
    atomic_long got, n;
};

static void *consume(void *v)
{
    struct sum *s = v;
    void *x;
    while (queue_take(s->q, -1, &x) == ERR_OK) {
        atomic_fetch_add(&s->got, (long)(intptr_t)x);
        atomic_fetch_add(&s->n, 1);
    }
    return NULL;
}

static void *produce(void *v)
{
    struct sum *s = v;
    for (intptr_t i = 1; i <= 5000;)
        if (queue_try_put(s->q, (void *)i) == ERR_OK) i++;
    return NULL;
}

static void many_threads_lose_nothing_and_take_nothing_twice(void **state)
{
    (void)state;
    struct sum s = {.q = make(16)};
    pthread_t in[3], out[3];
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&out[i], NULL, consume, &s), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&in[i], NULL, produce, &s), 0);
    for (int i = 0; i < 3; i++) pthread_join(in[i], NULL);
    queue_close(s.q);
    for (int i = 0; i < 3; i++) pthread_join(out[i], NULL);
    assert_int_equal(atomic_load(&s.n), 15000);
    assert_int_equal(atomic_load(&s.got), 3 * 5000L * 5001 / 2);
    queue_destroy(s.q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_kept_across_the_ring_s_end),
        cmocka_unit_test(sizes_that_make_no_sense_are_refused),
        cmocka_unit_test(an_empty_queue_waits_as_long_as_asked),
        cmocka_unit_test(a_closed_queue_gives_what_it_has_and_takes_no_more),
        cmocka_unit_test(closing_wakes_everyone),
        cmocka_unit_test(many_threads_lose_nothing_and_take_nothing_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
