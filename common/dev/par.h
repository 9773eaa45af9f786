// SPDX-License-Identifier: Apache-2.0
/* par.h - split a loop of a CPU kernel over the device's team. Results must not depend on the split: every item computes alone. */
#ifndef COMMON_DEV_PAR_H
#define COMMON_DEV_PAR_H

#include <stdint.h>

#include "common/base/team.h"
#include "common/dev/dev.h"

/* Below this much work (multiply-adds, or bytes touched) waking the team costs more than it gives. */
#define PAR_MIN_WORK 60000

/* At least `bytes` of scratch that belongs to the device: one kernel uses it at a time, nothing in it lasts. NULL: out of memory.
 * Grown rarely and kept, so a step does not allocate. */
void *dev_scratch(struct dev *d, uint64_t bytes);

/* Parts for each member: more than one, so that a member that comes late, or a part that takes longer, holds nobody up. */
#define PAR_PARTS 4

/* fn(arg, begin, end) over parts of [0, n). work: of the whole loop. */
static inline void par_for(struct dev *d, uint32_t n, uint64_t work, void (*fn)(void *arg, uint32_t begin, uint32_t end), void *arg)
{
    struct team *t = dev_team(d);
    const uint32_t parts = team_size(t) * PAR_PARTS, step = (uint32_t)(((uint64_t)n + parts - 1) / parts);
    if (!n) return;
    if (work < PAR_MIN_WORK) fn(arg, 0, n);
    else team_share(t, n, step, fn, arg);
}

#endif
