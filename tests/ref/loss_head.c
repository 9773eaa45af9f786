// SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "tests/ref/ref.h"

/* Loss of one token without its weight, and how it changes with the logprob. */
static void token(const struct loss_opts *o, double lp, double old_lp, double ref_lp, double adv, double *loss, double *slope, double *kl,
                  double *clipped)
{
    *kl = *clipped = 0;
    if (o->kind == LOSS_SFT) {
        *loss = -lp;
        *slope = -1;
        return;
    }
    const double r = exp(lp - old_lp), lo = 1 - (double)o->eps_low, hi = 1 + (double)o->eps_high, cut = fmin(fmax(r, lo), hi);
    *clipped = cut * adv < r * adv;
    *loss = -fmin(r * adv, cut * adv);
    *slope = *clipped ? 0 : -r * adv;
    if (o->beta == 0) return;
    *kl = exp(ref_lp - lp) - (ref_lp - lp) - 1;
    *loss += (double)o->beta * *kl;
    *slope += (double)o->beta * (1 - exp(ref_lp - lp));
}

void ref_loss_head(const double *logits, uint32_t m, uint32_t v, const struct loss_opts *o, const int32_t *target, const struct ref_loss *r,
                   double *dlogits)
{
    for (uint32_t i = 0; i < m; i++) {
        const double *z = logits + (uint64_t)i * v, t = o->inv_temp;
        double *g = dlogits + (uint64_t)i * v, slope, top = -INFINITY, sum = 0;
        for (uint32_t j = 0; j < v; j++) g[j] = 0;
        r->lp[i] = r->entropy[i] = r->loss[i] = r->kl[i] = r->clipped[i] = 0;
        if (target[i] < 0) continue;
        ref_logprob(z, 1, v, &t, &target[i], &r->lp[i], &r->entropy[i]);
        token(o, r->lp[i], r->old_lp[i], r->ref_lp[i], r->adv[i], &r->loss[i], &slope, &r->kl[i], &r->clipped[i]);
        r->loss[i] *= r->weight[i];
        for (uint32_t j = 0; j < v; j++) top = fmax(top, z[j] * t);
        for (uint32_t j = 0; j < v; j++) sum += exp(z[j] * t - top);
        for (uint32_t j = 0; j < v; j++)
            g[j] = r->weight[i] * slope * t * ((j == (uint32_t)target[i] ? 1 : 0) - exp(z[j] * t - top) / sum);
    }
}
