// SPDX-License-Identifier: Apache-2.0
/* gemm.h - the one micro-kernel of every product on the CPU: R rows of a times one panel of 32 packed outputs, the accumulators in
 * registers over the whole of K, so each output is one fixed chain of additions whatever R is.
 *
 * A panel is [K/2][32][2] bf16. Included by kernels of common/dev/cpu and learner/kern/cpu. */
#ifndef COMMON_DEV_GEMM_H
#define COMMON_DEV_GEMM_H

#include <stddef.h>

#include "common/dev/simd.h"

#ifdef ISA_ZMM
#define GEMM_ROWS 12 /* 12 x 2 accumulators of 32 registers */
#define GEMM_COLS 2  /* vectors of a panel taken together */
#else
#define GEMM_ROWS 4 /* 4 x 2 ymm accumulators of 16 registers */
#define GEMM_COLS 1
#endif

/* acc[r][c] += sum over k pairs; r < R, c < GEMM_COLS. w points at the panel's first wanted vector. */
#define GEMM_KERNEL(R)                                                                                            \
    SIMD_FN void gemm_##R(const uint16_t *a, size_t lda, const uint16_t *w, uint32_t k, vf (*acc)[GEMM_COLS])      \
    {                                                                                                             \
        vf t[R][GEMM_COLS];                                                                                       \
        for (int r = 0; r < R; r++)                                                                               \
            for (int c = 0; c < GEMM_COLS; c++) t[r][c] = vf_zero();                                              \
        for (uint32_t i = 0; i < k; i += 2) {                                                                     \
            vi b[GEMM_COLS];                                                                                      \
            for (int c = 0; c < GEMM_COLS; c++) b[c] = vi_load(w + (size_t)i * 32 + c * 32);                      \
            _Pragma("GCC unroll 12") for (int r = 0; r < R; r++)                                                  \
            {                                                                                                     \
                const vi x = vi_set1(bf16_pair(a + r * lda + i));                                                 \
                for (int c = 0; c < GEMM_COLS; c++) t[r][c] = vp_dot(t[r][c], b[c], x);                           \
            }                                                                                                     \
        }                                                                                                         \
        for (int r = 0; r < R; r++)                                                                               \
            for (int c = 0; c < GEMM_COLS; c++) acc[r][c] = t[r][c];                                              \
    }
GEMM_KERNEL(1)
GEMM_KERNEL(2)
GEMM_KERNEL(4)
#ifdef ISA_ZMM
GEMM_KERNEL(8)
GEMM_KERNEL(12)
#endif

/* The largest kernel that fits n rows. */
SIMD_FN uint32_t gemm_step(uint32_t n)
{
#ifdef ISA_ZMM
    if (n >= 12) return 12;
    if (n >= 8) return 8;
#endif
    return n >= 4 ? 4 : n >= 2 ? 2 : 1;
}

/* rows (a value of gemm_step) of a times GEMM_COLS vectors at w. */
SIMD_FN void gemm_run(uint32_t rows, const uint16_t *a, size_t lda, const uint16_t *w, uint32_t k, vf (*acc)[GEMM_COLS])
{
    switch (rows) {
#ifdef ISA_ZMM
    case 12: gemm_12(a, lda, w, k, acc); break;
    case 8: gemm_8(a, lda, w, k, acc); break;
#endif
    case 4: gemm_4(a, lda, w, k, acc); break;
    case 2: gemm_2(a, lda, w, k, acc); break;
    default: gemm_1(a, lda, w, k, acc); break;
    }
}

#endif
