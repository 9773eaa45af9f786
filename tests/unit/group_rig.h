// SPDX-License-Identifier: Apache-2.0
/* group_rig.h - a good group message of G completions, as a node sends it, and the limits it keeps. */
#ifndef TESTS_UNIT_GROUP_RIG_H
#define TESTS_UNIT_GROUP_RIG_H

#include <string.h>

#include "learner/group.h"

enum { RIG_G = 3, RIG_TOK = 9 };

struct group_rig {
    uint32_t n_tok[RIG_G], version[RIG_TOK];
    uint8_t finish[RIG_G], kind[RIG_TOK];
    int32_t tok[RIG_TOK];
    float lp[RIG_TOK];
    struct msg_group m;
};

static const struct group_limits rig_limits = {
    .group_size = RIG_G, .max_tok = 4, .n_vocab = 300, .version = 6, .min_version = 2};

/* 4, 1 and 4 tokens: "#### 1", ... see below. m borrows the rest. */
static inline void group_rig_fill(struct group_rig *r)
{
    memset(r, 0, sizeof *r);
    r->n_tok[0] = 4, r->n_tok[1] = 1, r->n_tok[2] = 4;
    r->finish[1] = FINISH_EOS, r->finish[2] = FINISH_LENGTH;
    for (int i = 0; i < RIG_TOK; i++) {
        r->tok[i] = 40 + i;
        r->lp[i] = -0.5f * (float)i;
        r->version[i] = 2 + (uint32_t)i % 5;
        r->kind[i] = TOKEN_SAMPLED;
    }
    r->m = (struct msg_group){.node_id = 5,
                              .job_id = 77,
                              .incarnation = 9,
                              .n_tok = msg_arr_of(r->n_tok, RIG_G),
                              .finish = msg_arr_of(r->finish, RIG_G),
                              .tokens = msg_arr_of(r->tok, RIG_TOK),
                              .logprob = msg_arr_of(r->lp, RIG_TOK),
                              .version = msg_arr_of(r->version, RIG_TOK),
                              .kind = msg_arr_of(r->kind, RIG_TOK),
                              .wait_ns = 11,
                              .gen_ns = 12,
                              .prefill_tok = 13};
}

#endif
