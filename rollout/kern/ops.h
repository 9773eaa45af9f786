// SPDX-License-Identifier: Apache-2.0
/* ops.h - operations only the rollout needs: drawing the next token. Conventions as in common/dev/ops.h. */
#ifndef ROLLOUT_KERN_OPS_H
#define ROLLOUT_KERN_OPS_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/dev/dev.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What one output row wants, in device memory. */
struct sample_row {
    float inv_temp; /* 1 / temperature; 0: greedy (argmax, lowest id wins ties; logprob at temperature 1) */
    float top_p;    /* 1: off. Smallest set of most likely tokens whose probability reaches top_p; never empty */
    float min_p;    /* 0: off. Tokens below min_p times the largest probability are left out */
    float u;        /* uniform in (0, 1): rng_token(seed, job, sample, position) */
    uint32_t top_k; /* 0: off */
};

struct rollout_ops {
    /* For each of m rows of logits fp32 [m, v]: draw a token among ids 0..v_real-1 by inverting the cumulative sum in
     * ascending id order at u, after temperature, top_k, then top_p, then min_p (each on what the one before left; ties at
     * the top_k border keep the lower ids). id[m], and lp[m]: logprob of the drawn token at the temperature over the whole
     * vocabulary (before truncation), the bits of ops->logprob; lp_raw[m] the same at temperature 1 (NULL: not wanted).
     * A row's draw depends on its own logits and sample_row only. ERR_NONFINITE, once every other row is drawn, when a row holds NaN or
     * +inf anywhere or its v_real logits are all -inf; that row's id and logprobs are 0. */
    enum err (*sample)(struct dev *d, struct stream *s, const float *logits, uint32_t m, uint32_t v, uint32_t v_real,
                       const struct sample_row *row, int32_t *id, float *lp, float *lp_raw) MUST_CHECK;
};

/* The table for an open device; ERR_UNSUPPORTED when its back end has none. */
enum err rollout_ops_of(const struct dev *d, const struct rollout_ops **ret_ops, struct why *why) MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
