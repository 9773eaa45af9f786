// SPDX-License-Identifier: Apache-2.0
/* par.h - split a loop of a CPU kernel over the device's team. Results must not depend on the split: every item computes alone. */
#ifndef COMMON_DEV_PAR_H
#define COMMON_DEV_PAR_H

#include <stdint.h>

#include "common/base/team.h"
#include "common/dev/dev.h"

/* Below this much work (multiply-adds, or bytes touched) waking the team costs more than it gives. */
#define PAR_MIN_WORK 60000

struct par_job {
    void (*fn)(void *arg, uint32_t begin, uint32_t end);
    void *arg;
    uint32_t n;
};

static inline void par_member(void *v, uint32_t i, uint32_t n_member)
{
    const struct par_job *j = (const struct par_job *)v;
    const uint32_t begin = (uint32_t)((uint64_t)j->n * i / n_member), end = (uint32_t)((uint64_t)j->n * (i + 1) / n_member);
    if (begin < end) j->fn(j->arg, begin, end);
}

/* At least `bytes` of scratch that belongs to the device: one kernel uses it at a time, nothing in it lasts. NULL: out of memory.
 * Grown rarely and kept, so a step does not allocate. */
void *dev_scratch(struct dev *d, uint64_t bytes);

/* fn(arg, begin, end) over [0, n), one contiguous part for each member. work: of the whole loop. */
static inline void par_for(struct dev *d, uint32_t n, uint64_t work, void (*fn)(void *arg, uint32_t begin, uint32_t end), void *arg)
{
    if (!n) return;
    struct team *t = dev_team(d);
    if (n == 1 || work < PAR_MIN_WORK || team_size(t) == 1) {
        fn(arg, 0, n);
        return;
    }
    struct par_job j = {fn, arg, n};
    team_run(t, par_member, &j);
}

#endif
