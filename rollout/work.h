// SPDX-License-Identifier: Apache-2.0
/* work.h - a group on its way through the engine: what was asked, and what has been drawn so far.
 *
 * Made on the loop, handed to the engine thread, handed back finished; one owner at a time. */
#ifndef ROLLOUT_WORK_H
#define ROLLOUT_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "proto/version.h"

#define WORK_MAX_EOS 8

/* One completion. Arrays [max_tok]. */
struct seq {
    uint32_t sample; /* 0..G-1 */
    uint32_t n_tok;
    int32_t *tok;
    float *lp;
    uint32_t *version;
    uint8_t *kind;
    bool done;
    enum finish finish;
    /* the engine's own */
    int32_t *block; /* [n_block] the prompt's shared blocks first */
    uint32_t n_block;
};

struct work {
    uint64_t job_id, seed;
    uint32_t group_size, max_tok, top_k;
    float temperature, top_p, min_p;
    struct version want; /* incarnation 0: anything loaded */
    uint32_t n_eos;
    int32_t eos[WORK_MAX_EOS];
    uint32_t n_prompt;
    int32_t *prompt;
    struct seq *seq; /* [G] */
    void *owner;     /* who asked: the service's own */

    /* filled by the engine */
    enum err e; /* refused or aborted: the words say why */
    struct why why;
    uint64_t incarnation; /* of the versions drawn with */
    int64_t arrived_ns, started_ns, ended_ns;
    uint32_t prefill_tok; /* prompt tokens computed for the whole group */
    uint32_t n_done;

    /* the engine's own */
    struct work *next;
    bool started, aborted;
    bool mixed; /* some of its K and V is of an older version than the present one */
    uint32_t n_prefilled;
    int32_t *prompt_block;
    uint32_t n_prompt_block;
};

/* Allocate for a prompt of n_prompt tokens (copied) and G completions of up to max_tok. ERR_NOMEM; ERR_RANGE: a size of 0. */
enum err work_create(const int32_t *prompt, uint32_t n_prompt, uint32_t group_size, uint32_t max_tok, struct work **ret_work) MUST_CHECK;
void work_destroy(struct work *w); /* NULL is a no-op */

#endif
