// SPDX-License-Identifier: Apache-2.0
/* isa.h - prototypes of the learner's ops of one build (ISA is defined by the build). */
#ifndef LEARNER_KERN_CPU_ISA_H
#define LEARNER_KERN_CPU_ISA_H

#include "common/dev/simd.h"
#include "learner/kern/ops.h"

enum err CPU_FN(loss_head)(struct dev *d, struct stream *s, float *logits, uint32_t m, uint32_t v, const struct loss_opts *o,
                           const struct loss_rows *r, uint16_t *dlogits);
uint64_t CPU_FN(pack_dx_bytes)(uint32_t n, uint32_t k);
enum err CPU_FN(pack_dx)(struct dev *d, struct stream *s, const uint16_t *rows, struct weight *w);
enum err CPU_FN(matmul_dx)(struct dev *d, struct stream *s, const uint16_t *dy, uint32_t m, const struct weight *w,
                           enum matmul_out out, void *dx);
enum err CPU_FN(matmul_dw)(struct dev *d, struct stream *s, const uint16_t *dy, const uint16_t *a, uint32_t m, uint32_t n,
                           uint32_t k, float *dw);
enum err CPU_FN(bias_bwd)(struct dev *d, struct stream *s, const uint16_t *dy, uint32_t m, uint32_t n, float *db);
enum err CPU_FN(rmsnorm_bwd)(struct dev *d, struct stream *s, const float *dy, const float *x, const int32_t *row, uint32_t m,
                             uint32_t c, const uint16_t *w, const float *rstd, float *dx, float *dw);
uint64_t CPU_FN(attention_bwd_bytes)(uint32_t n_row, const struct attn *a);
enum err CPU_FN(attention_bwd)(struct dev *d, struct stream *s, const uint16_t *qkv, const uint16_t *o, const uint16_t *d_o,
                               const float *lse, const float *rope, const struct batch *b, const struct attn *a, void *work,
                               uint16_t *dqkv);
enum err CPU_FN(swiglu_bwd)(struct dev *d, struct stream *s, const float *dh, const uint16_t *gu, uint32_t m, uint32_t f,
                            uint16_t *dgu);
enum err CPU_FN(embed_bwd)(struct dev *d, struct stream *s, const float *dx, const struct batch *b, uint32_t v, uint32_t c,
                           float *dtable);
enum err CPU_FN(to_bf16)(struct dev *d, struct stream *s, const float *x, uint64_t n, uint16_t *y);
enum err CPU_FN(sum_sq)(struct dev *d, struct stream *s, const float *x, uint64_t n, double *sum);
enum err CPU_FN(adamw)(struct dev *d, struct stream *s, const struct adamw *o, bool decay, uint64_t n, const float *g, float *m,
                       float *v, float *master, uint16_t *image);

#endif
