// SPDX-License-Identifier: Apache-2.0
#include "common/reward/reward.h"

#include "common/reward/rewards.h"

static const struct reward table[] = {
    {"accuracy", "1 if the final answer (last \\boxed{}, else #### line) equals the gold one exactly, else 0", accuracy__score},
    {"cosine", "accuracy by length in characters, 1 to 0.5 if right, 0 to -0.5 if wrong, as Open-RS3's code", cosine__score_code},
    {"cosine_paper", "accuracy by length in tokens, 1 to 0.5 if right, -0.5 to 0 if wrong, as the Open-RS paper", cosine__score_paper},
    {"format", "1 if the text holds exactly one \"\\n</think>\\n\" (Open-RS), else 0", format__score},
    {0},
};

const struct reward *reward_all(void)
{
    return table;
}

const struct reward *reward_find(struct span name)
{
    for (const struct reward *r = table; r->name; r++)
        if (span_eq_str(name, r->name)) return r;
    return NULL;
}
