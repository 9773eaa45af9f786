// SPDX-License-Identifier: Apache-2.0
/* rewards.h - every reward of the table. Private to this room: the world asks reward_find(). */
#ifndef COMMON_REWARD_REWARDS_H
#define COMMON_REWARD_REWARDS_H

#include "common/reward/reward.h"

double accuracy__score(const struct reward_in *in);
double cosine__score_code(const struct reward_in *in);
double cosine__score_paper(const struct reward_in *in);
double format__score(const struct reward_in *in);

/* Is the completion's final answer the gold one? */
bool accuracy__right(const struct reward_in *in);

#endif
