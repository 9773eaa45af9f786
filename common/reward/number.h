// SPDX-License-Identifier: Apache-2.0
/* number.h - the exact rational number that an answer's text writes. Private to this room. */
#ifndef COMMON_REWARD_NUMBER_H
#define COMMON_REWARD_NUMBER_H

#include <gmp.h>
#include <stdbool.h>

#include "common/base/span.h"

/* true and *ret_q (initialised by the caller) when the whole text is one number within the bounds; else *ret_q is anything. */
bool number__parse(struct span s, mpq_t ret_q);

#endif
