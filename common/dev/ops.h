// SPDX-License-Identifier: Apache-2.0
/* ops.h - the operations of the forward pass, one commented slot each. Both daemons run these and only these forward.
 *
 * Types: bf16 = uint16_t, round to nearest even at the points named here and in docs/numerics.md and nowhere else; sums
 * fp32. Every output row depends on its own row (and its sequence's K and V) only: its bits are the same whatever stands
 * beside it, on any number of threads. All pointers are device memory. Every slot is filled on every back end.
 * Sizes: K even, C and F multiples of 16, D of 16 up to 256, M, N and V any (a model's are narrower: common/model/dims.h).
 * The plain truth of op x is tests/ref/x.c; the row that checks it is in tests/kern/test_ops.c. */
#ifndef COMMON_DEV_OPS_H
#define COMMON_DEV_OPS_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/dev/batch.h"
#include "common/dev/dev.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A matrix W [N, K] (N outputs, K inputs, row-major as in files) in the back end's own packing. */
struct weight {
    uint32_t n, k;
    void *data; /* device, pack_bytes(n, k) bytes */
};

/* Attention shape, and the K/V layer it reads. */
struct attn {
    uint32_t n_head, n_head_kv, head_dim; /* H, Hk, D */
    uint32_t layer, n_layer;
};

enum matmul_out {
    MATMUL_BF16,    /* y = round(a W^T + bias), bf16 */
    MATMUL_F32,     /* y = a W^T + bias, fp32 */
    MATMUL_F32_ADD, /* y += a W^T + bias, fp32: the residual stream */
};

struct ops {
    /* Bytes of a packed W [n, k]; 64-byte multiple. */
    uint64_t (*pack_bytes)(uint32_t n, uint32_t k);

    /* Pack W from rows bf16 [n, k] (host or device memory) into w->data (already allocated; w->n, w->k set). May be called by
     * another thread than the one that drives the device, on memory no step uses. */
    enum err (*pack)(struct dev *d, struct stream *s, const uint16_t *rows, struct weight *w) MUST_CHECK;

    /* y[M, N] = a[M, K] W^T (+ bias[N]). a bf16; bias bf16 or NULL, added in fp32 after the sum over K; y by `out`.
     * The sum over K is one fixed chain, the same for every M. */
    enum err (*matmul)(struct dev *d, struct stream *s, const uint16_t *a, uint32_t m, const struct weight *w,
                       const uint16_t *bias, enum matmul_out out, void *y) MUST_CHECK;

    /* x[B, C] fp32 = row id[b] of the embedding (packed as a weight [V, C]); an id outside 0..V-1 gives zeros. */
    enum err (*embed)(struct dev *d, struct stream *s, const struct weight *table, const struct batch *b,
                      float *x) MUST_CHECK;

    /* y[M, C] bf16 = round(x * rstd * w), rstd = 1 / sqrt(mean(x^2) + eps), all fp32 (Zhang & Sennrich 2019, eq. 4).
     * x fp32 [.., C]; row i of y comes from row (row ? row[i] : i) of x. rstd [M] fp32 is kept when not NULL. */
    enum err (*rmsnorm)(struct dev *d, struct stream *s, const float *x, const int32_t *row, uint32_t m, uint32_t c,
                        const uint16_t *w, float eps, uint16_t *y, float *rstd) MUST_CHECK;

    /* qkv bf16 [B, (H + 2 Hk) D], q first, then k, then v. Rotates q in place and k (rotate-half form; Su et al. 2021 as in
     * transformers modeling_qwen2.py): out = round(lo*cos - hi*sin), round(hi*cos + lo*sin) in fp32; stores rotated k and
     * plain v of each row at its slot in layer a->layer of kv. qkv's k part is rotated in place too. rope [max_pos, D/2, 2]
     * fp32: cos, sin. */
    enum err (*rope_kv)(struct dev *d, struct stream *s, uint16_t *qkv, const float *rope, const struct batch *b,
                        const struct attn *a, const struct kv *kv) MUST_CHECK;

    /* o[B, H*D] bf16 = softmax(q k^T / sqrt(D)) v over the row's own sequence, positions 0..pos, through the block table.
     * q: the first H*D columns of qkv, row stride (H + 2 Hk) D. Per piece of ATTN_PIECE_TOK keys at absolute positions:
     * s = scale * dot (fp32), m = max s, p = exp(s - m), l = sum p (of unrounded p), acc = sum round_bf16(p) v (fp32);
     * pieces merge in ascending order with the online rule (Milakov & Gimelshein 2018); o = round(acc / l).
     * lse[B, H] fp32 = m + log l is kept when not NULL. */
    enum err (*attention)(struct dev *d, struct stream *s, const uint16_t *qkv, const struct batch *b, const struct attn *a,
                          const struct kv *kv, uint16_t *o, float *lse) MUST_CHECK;

    /* h[M, F] bf16 = round(silu(g) * u), g and u the halves of gu bf16 [M, 2F] (Shazeer 2020). */
    enum err (*swiglu)(struct dev *d, struct stream *s, const uint16_t *gu, uint32_t m, uint32_t f, uint16_t *h) MUST_CHECK;

    /* lp[M] fp32 = z[t] - (max z + log sum exp(z - max z)), z = logits[M, V] * inv_temp[m] (inv_temp NULL: 1), t = target[m]
     * (-1: lp = 0). entropy[M] (when not NULL) = -sum p log p of the same distribution. The one logprob routine: the sampler
     * and the loss head report these bits. */
    enum err (*logprob)(struct dev *d, struct stream *s, const float *logits, uint32_t m, uint32_t v, const float *inv_temp,
                        const int32_t *target, float *lp, float *entropy) MUST_CHECK;

    /* Bytes of one block (S tokens, all layers, keys and values). */
    uint64_t (*kv_block_bytes)(uint32_t n_layer, uint32_t n_head_kv, uint32_t head_dim);

    /* Copy whole blocks src[i] -> dst[i], i < n (host arrays, read before return): a sequence's own copy of a shared,
     * partly filled block. Slots of dst beyond the first keep_tok[i] tokens become zero. */
    enum err (*kv_copy)(struct dev *d, struct stream *s, const struct kv *kv, const struct attn *a, const int32_t *src,
                        const int32_t *dst, const int32_t *keep_tok, uint32_t n) MUST_CHECK;

    /* Zero whole blocks (a block lent again must read as zero where unwritten). */
    enum err (*kv_zero)(struct dev *d, struct stream *s, const struct kv *kv, const int32_t *block, uint32_t n) MUST_CHECK;
};

#ifdef __cplusplus
}
#endif
#endif
