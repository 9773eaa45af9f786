// SPDX-License-Identifier: Apache-2.0
/* cosine.h - the reward that depends on length (Open-RS, arXiv 2503.16219): from its value at length 0 along half a cosine to its
 * value at max_len.
 *
 *     value(len) = at_max + (at_0 - at_max) * (1 + cos(pi * len / max_len)) / 2
 *
 * What the Open-RS paper says and what its code does are two things; both are here, and each field is a choice of its own:
 *
 *                    code                                           paper
 *   length           characters of the text                         tokens
 *   beyond max_len   the cosine turns back (7168 is like 0)         stays at its value for max_len
 *   right            1.0 falling to 0.5                             1.0 falling to 0.5
 *   wrong            0.0 falling to -0.5: a long one costs more     -0.5 rising to 0.0: a long one costs less
 *
 * Open-RS pays 1 for any completion when it cannot read the gold answer; here every gold answer can be compared, as text if need be. */
#ifndef COMMON_REWARD_COSINE_H
#define COMMON_REWARD_COSINE_H

#include "common/reward/reward.h"

struct cosine {
    double max_len;
    bool in_tokens, clamp;
    double right_at_0, right_at_max, wrong_at_0, wrong_at_max;
};

extern const struct cosine cosine_code, cosine_paper; /* max_len 3584, as in Open-RS3 */

/* Pure, any thread. "Right" is what `accuracy` pays for. max_len > 0. */
double cosine_score(const struct cosine *c, const struct reward_in *in);

#endif
