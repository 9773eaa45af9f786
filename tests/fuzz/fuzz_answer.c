// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a completion and a gold answer (a NUL parts them): every reward stays in its range, an extracted answer lies in
 * its text, and equality is reflexive and symmetric. */
#include <stdlib.h>
#include <string.h>

#include "common/reward/reward.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_extract(struct span text)
{
    struct span got = {0};
    if (!answer_extract(text, &got)) return;
    if (got.p < text.p || got.p > text.p + text.n || got.n > (size_t)(text.p + text.n - got.p)) abort();
    if (!answer_equal(got, got)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    const size_t n = nul ? (size_t)(nul - data) : size;
    const struct span a = span_of(data, n), b = nul ? span_of(nul + 1, size - n - 1) : a;
    check_extract(a);
    check_extract(b);
    if (answer_equal(a, b) != answer_equal(b, a)) abort();
    if (!answer_equal(a, a) || !answer_equal(b, b)) abort();
    const struct reward_in in = {.completion = a, .gold = b, .n_tok = (uint32_t)n, .truncated = n & 1};
    for (const struct reward *r = reward_all(); r->name; r++) {
        const double v = r->score(&in);
        if (!(v >= -1 && v <= 1)) abort();
    }
    return 0;
}
