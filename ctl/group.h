// SPDX-License-Identifier: Apache-2.0
/* group.h - the answer to a job, checked as it comes from outside. Pure. */
#ifndef CTL_GROUP_H
#define CTL_GROUP_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"
#include "proto/version.h"

/* Owns its arrays. Completion i has tokens at[i] .. at[i + 1] - 1. */
struct ctl_group {
    uint32_t n;
    uint32_t *at; /* [n + 1] */
    uint8_t *finish;
    int32_t *tok;
    float *lp;
    uint32_t *version;
    uint64_t incarnation;
    double wait_s, gen_s;
    uint32_t prefill_tok;
};

/* A frame that answers a job for n completions: a group, or a reply that says why not. Returns an exit code, with words naming `from` unless 0. */
int ctl_group_read(struct span frame, const char *from, uint32_t n, struct ctl_group *ret, struct why *why);
void ctl_group_done(struct ctl_group *g); /* zeroed is fine */

const char *ctl_finish_name(uint32_t finish); /* eos, length, abort */

#endif
