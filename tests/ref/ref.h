// SPDX-License-Identifier: Apache-2.0
/* ref.h - the plain truth: every operation of common/dev/ops.h, rollout/kern/ops.h and learner/kern/ops.h written down once more, in double,
 * with the loops of the formula and nothing else. No rounding points: a back end may differ from it by its rounding alone.
 *
 * Arrays are host memory, row-major, in the shapes of the op's contract (docs/letters.md). "+=" outputs are added to. Operations that
 * only move bits (pack, kv_copy, kv_zero) have no arithmetic to repeat; tests/kern checks them through what they promise. */
#ifndef TESTS_REF_REF_H
#define TESTS_REF_REF_H

#include <stdint.h>

#include "learner/kern/ops.h"

/* Heads of an attention op, and its sequences: rows first[i] .. first[i+1]-1 are positions 0, 1, ... of sequence i. */
struct ref_attn {
    uint32_t h, hk, d;
    uint32_t n_seq;
    const int32_t *first; /* [n_seq + 1] */
};

/* common/dev/ops.h */
void ref_matmul(const double *a, uint32_t m, const double *w, uint32_t n, uint32_t k, const double *bias, double *y);
void ref_embed(const double *table, uint32_t v, uint32_t c, const int32_t *id, uint32_t n_row, double *x);
void ref_rmsnorm(const double *x, const int32_t *row, uint32_t m, uint32_t c, const double *w, double eps, double *y, double *rstd);
void ref_rope(double *qkv, const double *rope, const int32_t *pos, uint32_t n_row, const struct ref_attn *a); /* in place */
void ref_attention(const double *qkv, const struct ref_attn *a, double *o, double *lse);
void ref_swiglu(const double *gu, uint32_t m, uint32_t f, double *h);
void ref_logprob(const double *logits, uint32_t m, uint32_t v, const double *inv_temp, const int32_t *target, double *lp, double *entropy);

/* rollout/kern/ops.h: the distribution that sample draws from, by sorting: p[v_real] sums to 1, 0 where truncated away. inv_temp 0: all of
 * it on the argmax. */
void ref_sample(const double *logits, uint32_t v_real, double inv_temp, uint32_t top_k, double top_p, double min_p, double *p);

/* learner/kern/ops.h */
struct ref_loss { /* [M] each, as struct loss_rows */
    const double *old_lp, *ref_lp, *adv, *weight;
    double *lp, *entropy, *loss, *kl, *clipped;
};
void ref_loss_head(const double *logits, uint32_t m, uint32_t v, const struct loss_opts *o, const int32_t *target, const struct ref_loss *r,
                   double *dlogits);
void ref_matmul_dx(const double *dy, uint32_t m, const double *w, uint32_t n, uint32_t k, double *dx); /* = */
void ref_matmul_dw(const double *dy, const double *a, uint32_t m, uint32_t n, uint32_t k, double *dw); /* += */
void ref_bias_bwd(const double *dy, uint32_t m, uint32_t n, double *db);                               /* += */
void ref_rmsnorm_bwd(const double *dy, const double *x, const int32_t *row, uint32_t m, uint32_t c, const double *w, double eps, double *dx,
                     double *dw); /* += both */
/* qkv with q and k rotated; dqkv before the rotation. The softmax is computed again from qkv; o is taken as given, rounded or not. */
void ref_attention_bwd(const double *qkv, const double *o, const double *d_o, const double *rope, const struct ref_attn *a, double *dqkv);
void ref_swiglu_bwd(const double *dh, const double *gu, uint32_t m, uint32_t f, double *dgu);
void ref_embed_bwd(const double *dx, const int32_t *id, uint32_t n_row, uint32_t v, uint32_t c, double *dtable); /* += */
double ref_sum_sq(const double *x, uint64_t n);
void ref_adamw(const struct adamw *o, bool decay, uint64_t n, const double *g, double *m, double *v, double *master);

#endif
