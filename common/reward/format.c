// SPDX-License-Identifier: Apache-2.0
#include "common/reward/rewards.h"

double format__score(const struct reward_in *in)
{
    static const char mark[] = "\n</think>\n";
    const size_t k = sizeof mark - 1;
    const uint8_t *p = in->completion.p, *end = p + in->completion.n;
    unsigned n = 0;
    while (n < 2 && (size_t)(end - p) >= k && (p = memmem(p, (size_t)(end - p), mark, k))) n++, p += k;
    return n == 1 ? 1.0 : 0.0;
}
