// SPDX-License-Identifier: Apache-2.0
/* kv_block.c - whole blocks: their size, copies and zeros. */
#include "common/dev/cpu/isa.h"

uint64_t CPU_FN(kv_block_bytes)(uint32_t n_layer, uint32_t n_head_kv, uint32_t head_dim)
{
    return (uint64_t)n_layer * 2 * n_head_kv * kv_part(head_dim) * sizeof(uint16_t);
}

/* Zero the slots from `keep` on, in every layer and head. */
static void clear_tail(const struct kv *kv, const struct attn *a, int32_t block, uint32_t keep)
{
    const uint32_t dim = a->head_dim;
    for (uint32_t l = 0; l < a->n_layer; l++) {
        struct attn at = *a;
        at.layer = l;
        for (uint32_t h = 0; h < a->n_head_kv; h++) {
            uint16_t *k = kv_at(kv, &at, block, 0, h), *v = kv_at(kv, &at, block, 1, h);
            for (uint32_t t = keep; t < KV_BLOCK_TOK; t++) {
                for (uint32_t i = 0; i < dim; i += 2) memset(k + (uint64_t)i * KV_BLOCK_TOK + t * 2, 0, 4);
                for (uint32_t i = 0; i < dim; i++) v[(uint64_t)(t / 2) * dim * 2 + (uint64_t)i * 2 + t % 2] = 0;
            }
        }
    }
}

enum err CPU_FN(kv_copy)(struct dev *d, struct stream *s, const struct kv *kv, const struct attn *a, const int32_t *src,
                         const int32_t *dst, const int32_t *keep_tok, uint32_t n)
{
    (void)d, (void)s;
    char *mem = kv->mem;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(mem + (uint64_t)dst[i] * kv->block_bytes, mem + (uint64_t)src[i] * kv->block_bytes, kv->block_bytes);
        clear_tail(kv, a, dst[i], (uint32_t)keep_tok[i]);
    }
    return ERR_OK;
}

enum err CPU_FN(kv_zero)(struct dev *d, struct stream *s, const struct kv *kv, const int32_t *block, uint32_t n)
{
    (void)d, (void)s;
    for (uint32_t i = 0; i < n; i++) memset((char *)kv->mem + (uint64_t)block[i] * kv->block_bytes, 0, kv->block_bytes);
    return ERR_OK;
}
