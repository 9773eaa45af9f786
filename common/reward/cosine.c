// SPDX-License-Identifier: Apache-2.0
#include "common/reward/cosine.h"

#include <math.h>

#include "common/reward/rewards.h"

const struct cosine cosine_code = {3584, false, false, 1.0, 0.5, 0.0, -0.5};
const struct cosine cosine_paper = {3584, true, true, 1.0, 0.5, -0.5, 0.0};

/* Characters of UTF-8: bytes that continue none. */
static double characters(struct span s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) n += (s.p[i] & 0xc0) != 0x80;
    return (double)n;
}

double cosine_score(const struct cosine *c, const struct reward_in *in)
{
    const bool right = accuracy__right(in);
    const double at_0 = right ? c->right_at_0 : c->wrong_at_0, at_max = right ? c->right_at_max : c->wrong_at_max;
    double part = (c->in_tokens ? in->n_tok : characters(in->completion)) / c->max_len;
    if (c->clamp && part > 1) part = 1;
    return at_max + (at_0 - at_max) * (1 + cos(M_PI * part)) / 2;
}

double cosine__score_code(const struct reward_in *in)
{
    return cosine_score(&cosine_code, in);
}

double cosine__score_paper(const struct reward_in *in)
{
    return cosine_score(&cosine_paper, in);
}
