// SPDX-License-Identifier: Apache-2.0
/* group.h - a group as it came from a node, checked and copied; then scored. */
#ifndef LEARNER_GROUP_H
#define LEARNER_GROUP_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/model/tokenizer.h"
#include "common/reward/reward.h"
#include "learner/prompts.h"
#include "proto/msg.h"
#include "proto/version.h"

#define MAX_REWARD 8

struct completion {
    uint32_t n_tok;
    int32_t *tok; /* these arrays lie in the group's one block */
    float *lp;
    uint32_t *version;
    uint8_t *kind;
    enum finish finish;
    char *text; /* decoded, special tokens left out; owned */
    double reward[MAX_REWARD], total; /* by name; weighted sum */
    double adv;
};

struct group {
    uint64_t job_id, step, node;
    bool eval;
    uint32_t row; /* of the data */
    uint32_t n;   /* G */
    struct completion *c;
    int64_t wait_ns, gen_ns, reward_ns;
    uint32_t prefill_tok;
    void *block;
};

/* What a group may hold; anything else is refused, for it comes from outside. */
struct group_limits {
    uint32_t group_size, max_tok, n_vocab;
    uint64_t version, min_version; /* newest published; least that was asked for */
};

/* Check and copy. ERR_FORMAT or ERR_RANGE with words; an aborted completion is ERR_CANCELLED. The caller owns *ret_group. */
enum err group_read(const struct msg_group *m, const struct group_limits *lim, struct group **ret_group, struct why *why) MUST_CHECK;
void group_destroy(struct group *g); /* NULL is a no-op */

struct reward_list {
    uint32_t n;
    const struct reward *reward[MAX_REWARD];
    double weight[MAX_REWARD];
};

/* "accuracy,format" and "1.0,0.5" (weights may be empty: 1 each). ERR_NOENT names the unknown reward. */
enum err reward_list_parse(const char *names, const char *weights, struct reward_list *ret_list, struct why *why) MUST_CHECK;

/* Decode and score every completion. Pure but for the group: any thread. */
enum err group_score(struct group *g, const struct tokenizer *tok, const struct prompt_row *row, const struct reward_list *rewards) MUST_CHECK;

#endif
