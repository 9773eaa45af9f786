// SPDX-License-Identifier: Apache-2.0
/* A process is one node, however often it connects; the list of those that were here does not grow for ever.
 */
#include "learner/nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void a_process_is_one_node(void **state)
{
    (void)state;
    struct nodes n = {0};
    struct node *a = nodes_greet(&n, 111, 5), *b = nodes_greet(&n, 222, 6);
    assert_true(a && b && a != b && a->id && b->id && a->id != b->id);
    assert_ptr_equal(nodes_greet(&n, 111, 7), a);
    assert_int_equal(a->joined_ns, 5);
    assert_ptr_equal(nodes_find(&n, b->id), b);
    assert_null(nodes_find(&n, 99));
    assert_null(nodes_by_peer(&n, 8));
    a->peer = 8;
    assert_ptr_equal(nodes_by_peer(&n, 8), a);
    assert_true(node_is_up(a) && !node_is_up(b));
    a->silent = true;
    assert_false(node_is_up(a));
    nodes_done(&n);
    nodes_done(&n);
}

static void the_oldest_that_are_gone_make_room(void **state)
{
    (void)state;
    struct nodes n = {0};
    uint32_t count = 0;
    struct node *here = nodes_greet(&n, 1, 0);
    here->peer = 1;
    for (uint64_t boot = 2; boot < 5000; boot++) assert_non_null(nodes_greet(&n, boot, 0));
    for (const struct node *x = n.head; x; x = x->next) count++;
    assert_int_equal(count, NODES_MAX);
    assert_ptr_equal(nodes_find(&n, here->id), here);
    assert_non_null(nodes_find(&n, n.last_id)); /* the newest is known too */
    for (struct node *x = n.head; x; x = x->next) x->peer = 1;
    assert_null(nodes_greet(&n, 77777, 0)); /* all of them are here */
    assert_ptr_equal(nodes_greet(&n, 1, 0), here);
    nodes_done(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_process_is_one_node),
                                       cmocka_unit_test(the_oldest_that_are_gone_make_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
