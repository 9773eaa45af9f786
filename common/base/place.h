// SPDX-License-Identifier: Apache-2.0
/* place.h - lay arrays one after another in one block, each on a 64-byte line. With base NULL it only counts, so the same
 * function says how many bytes a block needs and then lays it out. Any thread. */
#ifndef COMMON_BASE_PLACE_H
#define COMMON_BASE_PLACE_H

#include <stddef.h>
#include <stdint.h>

struct placer {
    char *base;    /* NULL: count only */
    uint64_t used; /* bytes so far */
};

static inline void *place(struct placer *p, uint64_t bytes)
{
    void *at = p->base ? p->base + p->used : NULL;
    p->used += (bytes + 63) / 64 * 64;
    return at;
}

#endif
