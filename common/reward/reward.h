// SPDX-License-Identifier: Apache-2.0
/* reward.h - rewards are pure functions of (completion text, gold answer): no state, no I/O, any thread.
 *
 * Add a reward = one file here, one row in the table of reward.c, one test. */
#ifndef COMMON_REWARD_REWARD_H
#define COMMON_REWARD_REWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"

struct reward_in {
    struct span completion; /* decoded text, special tokens left out */
    struct span gold;       /* the data row's answer (or solution) */
    uint32_t n_tok;         /* completion length in tokens */
    bool truncated;         /* stopped by length, not by EOS */
};

struct reward {
    const char *name; /* as in reward_funcs and the metrics */
    const char *help;
    double (*score)(const struct reward_in *in);
};

/* The reward of that name, or NULL. reward_all(): the whole table, ended by a NULL name. */
const struct reward *reward_find(struct span name);
const struct reward *reward_all(void);

/* The final answer in a text: the contents of the last \boxed{...} with balanced braces, else what follows the last
 * "####" up to the line's end, trimmed. false when there is none. *ret borrows text. (GSM8K writes "#### n".) */
bool answer_extract(struct span text, struct span *ret);

/* Are two answers the same number, exactly? Integers, decimals, a/b, \frac{a}{b}, signs, thousands commas, percent, spaces,
 * a leading $ and LaTeX wrappers such as \text{} and \left are understood; anything else compares as trimmed text.
 * Exact rationals (GMP), bounded in size: an exponent or a length beyond the bound is compared as text. */
bool answer_equal(struct span a, struct span b);

#endif
