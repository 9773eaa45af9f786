// SPDX-License-Identifier: Apache-2.0
/* svc_rig.h - a loop that is turned until something has happened, or a deadline has passed. For tests of what
 * lives on a loop. */
#ifndef TESTS_UNIT_SVC_RIG_H
#define TESTS_UNIT_SVC_RIG_H

#include <stdbool.h>

#include "common/base/clock.h"
#include "common/svc/loop.h"

static inline void rig_tick(void *arg)
{
    (void)arg; /* only so that uv_run comes back */
}

/* Turn until *n >= want, at most limit_ms. */
static inline bool rig_turn(struct loop *l, const int *n, int want, int limit_ms)
{
    struct loop_timer *tick;
    const int64_t end = clock_now_ns() + limit_ms * NS_PER_MS;
    if (loop_timer_start(l, 5, 5, rig_tick, NULL, &tick)) return false;
    while (*n < want && clock_now_ns() < end) uv_run(loop_uv(l), UV_RUN_ONCE);
    loop_timer_stop(tick);
    return *n >= want;
}

#endif
