// SPDX-License-Identifier: Apache-2.0
#include "learner/loss.h"

#include "proto/version.h"

uint32_t loss_trained_tok(const struct sample *s)
{
    if (!s->kind) return s->n_tok;
    uint32_t n = 0;
    for (uint32_t j = 0; j < s->n_tok; j++) n += (s->kind[j] & TOKEN_SAMPLED) != 0;
    return n;
}

void loss_weigh(enum loss_type type, uint32_t max_completion_length, struct sample *s, uint32_t n)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < n; i++) total += loss_trained_tok(&s[i]);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t len = loss_trained_tok(&s[i]);
        double div = (double)total;
        if (type == LOSS_TYPE_GRPO) div = (double)n * (len ? len : 1);
        if (type == LOSS_TYPE_DR_GRPO) div = (double)n * max_completion_length;
        s[i].weight = div > 0 ? 1 / div : 0;
    }
}

void loss_stats_add(struct loss_stats *st, const struct sample *s, const struct micro_out *out)
{
    for (uint32_t j = 0; j < out->n; j++) {
        const struct sample *of = &s[out->sample[j]];
        if (of->kind && !(of->kind[out->tok[j]] & TOKEN_SAMPLED)) continue;
        st->loss += out->loss[j];
        st->kl += out->kl[j];
        st->entropy += out->entropy[j];
        st->clipped += out->clipped[j];
        st->n_tok++;
    }
}
