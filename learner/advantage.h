// SPDX-License-Identifier: Apache-2.0
/* advantage.h - rewards of one group to advantages. Pure functions, any thread. */
#ifndef LEARNER_ADVANTAGE_H
#define LEARNER_ADVANTAGE_H

#include <stdbool.h>
#include <stdint.h>

enum scale_rewards { SCALE_GROUP, SCALE_BATCH, SCALE_NONE }; /* TRL: scale_rewards */

/* adv[i] = (r[i] - mean) / (std + 1e-4), std unbiased over the group (GRPO, Shao et al. 2024, section 4.1.2; the constant and
 * the n - 1 as in TRL's GRPOTrainer). SCALE_NONE: no division (Dr. GRPO, Liu et al. 2025). SCALE_BATCH: divides by
 * batch_std. A single completion, or a group of equal rewards, has advantage 0 throughout. Sums run in double, in order. */
void advantage_group(const double *r, uint32_t n, enum scale_rewards scale, double batch_std, double *adv);

/* Unbiased standard deviation; 0 for n < 2. */
double advantage_std(const double *r, uint32_t n);

/* Are all rewards equal? (TRL: frac_reward_zero_std counts such groups.) */
bool advantage_is_flat(const double *r, uint32_t n);

#endif
