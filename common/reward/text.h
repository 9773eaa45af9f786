// SPDX-License-Identifier: Apache-2.0
/* text.h - answers that are no numbers, compared token by token. Private to this room. */
#ifndef COMMON_REWARD_TEXT_H
#define COMMON_REWARD_TEXT_H

#include <stdbool.h>

#include "common/base/span.h"

/* The same tokens, blanks and wrappers left out; of words the case does not count; a choice may stand in parentheses.
 * Two empty texts are equal. */
bool text__equal(struct span a, struct span b);

#endif
