// SPDX-License-Identifier: Apache-2.0
#include "common/reward/rewards.h"
#include "common/reward/tex.h"

bool accuracy__right(const struct reward_in *in)
{
    struct span answer, gold;
    if (!answer_extract(in->gold, &gold)) gold = tex__trim(in->gold);
    return gold.n && answer_extract(in->completion, &answer) && answer_equal(answer, gold);
}

double accuracy__score(const struct reward_in *in)
{
    return accuracy__right(in) ? 1.0 : 0.0;
}
