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

/* The reward of that name, or NULL. reward_all(): the whole table, ended by a NULL name.
 *
 *   accuracy  1 if the completion has a final answer and it equals the gold one, else 0. The gold answer is what answer_extract()
 *             finds in `gold` (a whole solution), else `gold` itself, trimmed. An empty gold pays nothing.
 *   cosine    accuracy that depends on the length, as Open-RS3's code has it; cosine_paper: as its paper has it (cosine.h).
 *   format    1 if the completion holds "\n</think>\n" exactly once, else 0: Open-RS's format_reward (the chat template writes the
 *             opening tag, so only the closing one is asked for). */
const struct reward *reward_find(struct span name);
const struct reward *reward_all(void);

/* The final answer in a text: the contents of the last \boxed{...} (or \fbox) with balanced braces, else what follows the last
 * "####" up to the line's end, trimmed. A box that is never closed is no answer. false when there is none. *ret borrows text.
 * (GSM8K writes "#### n".) Linear in the text. */
bool answer_extract(struct span text, struct span *ret);

/* Are two answers the same number, exactly? Integers, decimals, a/b, \frac{a}{b}, mixed numbers, 0.\overline{3}, 1e5 and
 * \times 10^{5}, signs, thousands commas, percent, spaces, a leading $ and LaTeX wrappers such as \text{} and \left are understood.
 * A degree sign or a unit behind the number is left out, never converted; so is "x =" before it. Sums, products and powers are no
 * numbers (a model is not paid for writing down the question).
 *
 * A list of up to 16 items is compared item by item: (a, b) and [a, b) in order, a bare a, b and a \{a, b\} in any. Anything else
 * compares as text, with blanks and LaTeX that only sets type left out; of words the case does not count, and a choice is C or (C).
 *
 * On purpose not as math-verify, the judge that Open-RS uses: no rounding (0.333333 is not 1/3), no algebra (2\sqrt{3} is not
 * \sqrt{12}), 20\% is 1/5 and never 20, 52_8 is not 52, "5 million" is not 5; 3 1/2, 1e3, 5. and 0.\overline{3} are numbers.
 * tests/golden/answers.tsv holds such pairs.
 *
 * Exact rationals (GMP), bounded in size: a text above 4,096 bytes, a number above 1,000 digits, an exponent above
 * 1,000 compare as text. Linear in the texts. */
bool answer_equal(struct span a, struct span b);

#endif
