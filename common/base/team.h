// SPDX-License-Identifier: Apache-2.0
/* team.h - a fixed team of threads for compute kernels. The caller is member 0; the others wait between runs, spinning for a moment
 * and then asleep, so that an idle daemon costs nothing. One thread drives a team. */
#ifndef COMMON_BASE_TEAM_H
#define COMMON_BASE_TEAM_H

#include <stdint.h>

#include "common/base/err.h"

struct team;

/* Start n - 1 threads (n > 0). pin: a CPU list such as "0-3,8", one member each in turn (the caller too); NULL or "": no pinning.
 * The caller owns *ret_team. ERR_INVAL: a bad list. */
enum err team_create(uint32_t n, const char *pin, struct team **ret_team, struct why *why) MUST_CHECK;
void team_destroy(struct team *t); /* NULL is a no-op */

uint32_t team_size(const struct team *t);

/* Run fn(arg, i, n) on every member i of n, and return when all have. fn must not call team_run or team_share. */
void team_run(struct team *t, void (*fn)(void *arg, uint32_t i, uint32_t n), void *arg);

/* Run fn(arg, begin, end) over parts of [0, n), at most `step` items each (> 0; a team of one takes all at once), and return when all are
 * done. A member takes the next part when it is free; one that the system does not let run in time takes none, and nobody waits for it.
 * Which member takes what is left to chance: fn's results must not depend on it. The same rule for fn as above. */
void team_share(struct team *t, uint32_t n, uint32_t step, void (*fn)(void *arg, uint32_t begin, uint32_t end), void *arg);

/* CPUs this process may use: its affinity mask, cut to the cgroup's quota (rounded up). At least 1. */
uint32_t team_usable_cpus(void);

#endif
