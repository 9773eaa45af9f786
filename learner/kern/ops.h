// SPDX-License-Identifier: Apache-2.0
/* ops.h - operations only the learner needs: backward passes, the fused loss head, the optimiser.
 *
 * Conventions as in common/dev/ops.h. Gradients of the residual stream are fp32; inputs of products are bf16; weight
 * gradients accumulate in fp32 in ascending row order, so a step is bit-identical on any number of threads.
 * Sizes as there; N of bias_bwd a multiple of 16, N of matmul_dx even.
 * Every op is deterministic: no atomics, fixed order of sums. Checked against tests/ref and finite differences. */
#ifndef LEARNER_KERN_OPS_H
#define LEARNER_KERN_OPS_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/dev/batch.h"
#include "common/dev/dev.h"
#include "common/dev/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Per-token loss of one completion token with ratio r = exp(lp - old_lp), advantage A, weight w (mask / normaliser):
 *     w * ( -min(r A, clip(r, 1 - eps_low, 1 + eps_high) A) + beta * (exp(ref - lp) - (ref - lp) - 1) )
 * (GRPO, Shao et al. 2024, eq. 3 and 4; asymmetric clip as DAPO, Yu et al. 2025). SFT: loss = -w * lp. */
enum loss_kind { LOSS_GRPO, LOSS_SFT };
struct loss_opts {
    enum loss_kind kind;
    float eps_low, eps_high; /* TRL: epsilon, epsilon_high */
    float beta;              /* 0: ref_lp is not read */
    float inv_temp;          /* logits are multiplied by it before the softmax */
};

/* What a row of the loss head reads and writes; device arrays [M]. */
struct loss_rows {
    const int32_t *target; /* the next token's id; -1: this row is not trained on */
    const float *old_lp;   /* logprob under the policy that wrote the token */
    const float *ref_lp;   /* under the frozen reference */
    const float *adv;      /* A */
    const float *weight;   /* w */
    float *lp;             /* out: logprob now (bits of ops->logprob) */
    float *entropy;        /* out */
    float *loss;           /* out: the weighted loss of the row */
    float *kl;             /* out: k3 estimate, unweighted; 0 when beta is 0 */
    float *clipped;        /* out: 1 when the clip was active (the min chose the clipped term and it is flat), else 0 */
};

struct adamw {
    float lr, beta1, beta2, eps, weight_decay;
    float bias1, bias2; /* 1 - beta1^t, 1 - beta2^t */
    float grad_scale;   /* multiplies every gradient first: the clip factor */
};

struct learner_ops {
    /* The fused loss head: from logits fp32 [M, V] (overwritten as scratch) to dlogits bf16 [M, V] = d loss / d logits
     * (before inv_temp is undone it is included) and the outputs of loss_rows, in one pass over each row. */
    enum err (*loss_head)(struct dev *d, struct stream *s, float *logits, uint32_t m, uint32_t v, const struct loss_opts *o,
                          const struct loss_rows *r, uint16_t *dlogits) MUST_CHECK;

    /* W [n, k] packed for matmul_dx. */
    uint64_t (*pack_dx_bytes)(uint32_t n, uint32_t k);
    enum err (*pack_dx)(struct dev *d, struct stream *s, const uint16_t *rows, struct weight *w) MUST_CHECK;

    /* dx[M, K] = dy[M, N] W. dy bf16; dx by `out` (MATMUL_F32_ADD accumulates). W packed by pack_dx. */
    enum err (*matmul_dx)(struct dev *d, struct stream *s, const uint16_t *dy, uint32_t m, const struct weight *w,
                          enum matmul_out out, void *dx) MUST_CHECK;

    /* dw[N, K] fp32 += dy[M, N]^T a[M, K]; both bf16, rows summed in ascending order. */
    enum err (*matmul_dw)(struct dev *d, struct stream *s, const uint16_t *dy, const uint16_t *a, uint32_t m, uint32_t n,
                          uint32_t k, float *dw) MUST_CHECK;

    /* db[N] fp32 += column sums of dy bf16 [M, N]. */
    enum err (*bias_bwd)(struct dev *d, struct stream *s, const uint16_t *dy, uint32_t m, uint32_t n, float *db) MUST_CHECK;

    /* Backward of rmsnorm. dy fp32 [M, C]; x, w, rstd as forward (row: as forward, NULL = identity). dx fp32: row row[i] (or i)
     * += its gradient. dw[C] fp32 +=. */
    enum err (*rmsnorm_bwd)(struct dev *d, struct stream *s, const float *dy, const float *x, const int32_t *row, uint32_t m,
                            uint32_t c, const uint16_t *w, const float *rstd, float *dx, float *dw) MUST_CHECK;

    /* Backward of attention and of the rotation. qkv as left by rope_kv (q, k rotated), o and do bf16 [B, H*D], lse [B, H].
     * dqkv bf16 [B, (H + 2 Hk) D]: gradients of the product's output before the rotation, q, k and v. Sequences are whole:
     * rows first[i] .. first[i+1]-1 are positions 0, 1, ... of sequence i. work: attention_bwd_bytes(...) of device memory. */
    uint64_t (*attention_bwd_bytes)(uint32_t n_row, const struct attn *a);
    enum err (*attention_bwd)(struct dev *d, struct stream *s, const uint16_t *qkv, const uint16_t *o, const uint16_t *d_o,
                              const float *lse, const float *rope, const struct batch *b, const struct attn *a, void *work,
                              uint16_t *dqkv) MUST_CHECK;

    /* dgu bf16 [M, 2F] from dh fp32 [M, F] and gu bf16 [M, 2F]. */
    enum err (*swiglu_bwd)(struct dev *d, struct stream *s, const float *dh, const uint16_t *gu, uint32_t m, uint32_t f,
                           uint16_t *dgu) MUST_CHECK;

    /* dtable[V, C] fp32: row id[b] += dx[b], rows in ascending order. */
    enum err (*embed_bwd)(struct dev *d, struct stream *s, const float *dx, const struct batch *b, uint32_t v, uint32_t c,
                          float *dtable) MUST_CHECK;

    /* y = round(x) to bf16, n elements. */
    enum err (*to_bf16)(struct dev *d, struct stream *s, const float *x, uint64_t n, uint16_t *y) MUST_CHECK;

    /* *sum (device, fp64) = sum of squares of x fp32 [n], blocks of fixed size summed in order; NaN or inf when any element is. */
    enum err (*sum_sq)(struct dev *d, struct stream *s, const float *x, uint64_t n, double *sum) MUST_CHECK;

    /* AdamW with decoupled decay (Loshchilov & Hutter 2019, algorithm 2; torch.optim.AdamW), n elements: g *= grad_scale;
     * m, v, master updated; image = round(master) bf16. decay false: weight_decay is not applied (norms and biases). */
    enum err (*adamw)(struct dev *d, struct stream *s, const struct adamw *o, bool decay, uint64_t n, const float *g, float *m,
                      float *v, float *master, uint16_t *image) MUST_CHECK;
};

/* The table for an open device; ERR_UNSUPPORTED when its back end has none. */
enum err learner_ops_of(const struct dev *d, const struct learner_ops **ret_ops, struct why *why) MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
