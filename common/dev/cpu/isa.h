// SPDX-License-Identifier: Apache-2.0
/* isa.h - prototypes of the ops of one build (ISA is defined by the build). */
#ifndef COMMON_DEV_CPU_ISA_H
#define COMMON_DEV_CPU_ISA_H

#include "common/dev/cpu/cpu.h"
#include "common/dev/simd.h"

uint64_t CPU_FN(pack_bytes)(uint32_t n, uint32_t k);
enum err CPU_FN(pack)(struct dev *d, struct stream *s, const uint16_t *rows, struct weight *w);
enum err CPU_FN(matmul)(struct dev *d, struct stream *s, const uint16_t *a, uint32_t m, const struct weight *w,
                        const uint16_t *bias, enum matmul_out out, void *y);
enum err CPU_FN(embed)(struct dev *d, struct stream *s, const struct weight *table, const struct batch *b, float *x);
enum err CPU_FN(rmsnorm)(struct dev *d, struct stream *s, const float *x, const int32_t *row, uint32_t m, uint32_t c,
                         const uint16_t *w, float eps, uint16_t *y, float *rstd);
enum err CPU_FN(rope_kv)(struct dev *d, struct stream *s, uint16_t *qkv, const float *rope, const struct batch *b,
                         const struct attn *a, const struct kv *kv);
enum err CPU_FN(attention)(struct dev *d, struct stream *s, const uint16_t *qkv, const struct batch *b, const struct attn *a,
                           const struct kv *kv, uint16_t *o, float *lse);
enum err CPU_FN(swiglu)(struct dev *d, struct stream *s, const uint16_t *gu, uint32_t m, uint32_t f, uint16_t *h);
enum err CPU_FN(logprob)(struct dev *d, struct stream *s, const float *logits, uint32_t m, uint32_t v, const float *inv_temp,
                         const int32_t *target, float *lp, float *entropy);
uint64_t CPU_FN(kv_block_bytes)(uint32_t n_layer, uint32_t n_head_kv, uint32_t head_dim);
enum err CPU_FN(kv_copy)(struct dev *d, struct stream *s, const struct kv *kv, const struct attn *a, const int32_t *src,
                         const int32_t *dst, const int32_t *keep_tok, uint32_t n);
enum err CPU_FN(kv_zero)(struct dev *d, struct stream *s, const struct kv *kv, const int32_t *block, uint32_t n);

#endif
