// SPDX-License-Identifier: Apache-2.0
/* clock.h - time is int64 monotonic nanoseconds everywhere; wall time is for people and files only. Any thread. */
#ifndef COMMON_BASE_CLOCK_H
#define COMMON_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

/* CLOCK_MONOTONIC, in ns. Never goes back; unaffected by clock steps. */
int64_t clock_now_ns(void);

/* CLOCK_REALTIME, in ns since 1970: for time stamps that people read, never for differences. */
int64_t clock_wall_ns(void);

/* ns -> seconds as a double, for printing and metrics. */
static inline double clock_s(int64_t ns)
{
    return (double)ns * 1e-9;
}

#endif
