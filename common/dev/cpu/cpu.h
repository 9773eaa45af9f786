// SPDX-License-Identifier: Apache-2.0
/* cpu.h - private to the CPU back end: one prototype per op and instruction set, and the layout of packed data.
 *
 * Packed weight [N, K]: [ceil(N/32)][K/2][32][2] bf16; outputs beyond N are zero rows.
 * KV block: [L][2][Hk][16 D] bf16: keys as [D/2][16 tokens][2], values as [8 token pairs][D][2]. */
#ifndef COMMON_DEV_CPU_CPU_H
#define COMMON_DEV_CPU_CPU_H

#include "common/dev/dev.h"
#include "common/dev/ops.h"

#define PANEL_N 32 /* outputs of one panel of a packed weight */

extern const struct ops avx2_ops, avx512_ops, avx512bf16_ops;

/* Elements of one (layer, key or value, kv head) part of a block. */
static inline uint64_t kv_part(uint32_t head_dim)
{
    return (uint64_t)KV_BLOCK_TOK * head_dim;
}

/* Part of block `block`: which 0 keys, 1 values. */
static inline uint16_t *kv_at(const struct kv *kv, const struct attn *a, int32_t block, uint32_t which, uint32_t head)
{
    char *base = (char *)kv->mem + (uint64_t)block * kv->block_bytes;
    return (uint16_t *)base + (((uint64_t)a->layer * 2 + which) * a->n_head_kv + head) * kv_part(a->head_dim);
}

#endif
