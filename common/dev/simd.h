// SPDX-License-Identifier: Apache-2.0
/* simd.h - the vector that CPU kernels are written over: 16 floats, one zmm or two ymm.
 *
 * A kernel source is built once per instruction set with ISA and one of ISA_AVX2, ISA_AVX512, ISA_AVX512BF16 defined; CPU_FN(x)
 * prefixes its symbols. Operations are exact single operations or fused multiply-adds, so a chain of them has the same bits
 * on every set, but for vp_dot: vdpbf16ps sums its two products its own way and flushes denormals. */
#ifndef COMMON_DEV_SIMD_H
#define COMMON_DEV_SIMD_H

#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CPU_CAT2(a, b) a##_##b
#define CPU_CAT(a, b)  CPU_CAT2(a, b)
#define CPU_FN(x)      CPU_CAT(ISA, x)

#define SIMD_FN static inline __attribute__((always_inline))

#if defined(ISA_AVX512) || defined(ISA_AVX512BF16)
#define ISA_ZMM /* one register of 16 floats, 32 of them */

typedef __m512 vf;  /* 16 floats */
typedef __m512i vi; /* 16 words: as pairs of bf16, or integers */

SIMD_FN vf vf_zero(void) { return _mm512_setzero_ps(); }
SIMD_FN vf vf_set1(float x) { return _mm512_set1_ps(x); }
SIMD_FN vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
SIMD_FN void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
SIMD_FN vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
SIMD_FN vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
SIMD_FN vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
SIMD_FN vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
SIMD_FN vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
SIMD_FN vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
SIMD_FN vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
SIMD_FN vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
SIMD_FN vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* a where keep[i], else b */
SIMD_FN vf vf_below(vf x, vf lim, vf a, vf b) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, lim, _CMP_LT_OQ), b, a); }
SIMD_FN vf vf_scale2(vf a, vf n) /* a * 2^n for integral n, no overflow handling */
{
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23)));
}
SIMD_FN vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
SIMD_FN vi vi_set1(uint32_t x) { return _mm512_set1_epi32((int)x); }
SIMD_FN vf vf_even(vi p) { return _mm512_castsi512_ps(_mm512_slli_epi32(p, 16)); } /* low halves of the pairs */
SIMD_FN vf vf_odd(vi p) { return _mm512_castsi512_ps(_mm512_and_si512(p, _mm512_set1_epi32((int)0xffff0000u))); }
SIMD_FN vf vf_from_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
SIMD_FN vi vi_round_bf16(vf v) /* 16 words holding the rounded bf16 in their low halves */
{
    vi u = _mm512_castps_si512(v);
    vi r = _mm512_add_epi32(u, _mm512_add_epi32(_mm512_set1_epi32(0x7fff), _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1))));
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    r = _mm512_mask_or_epi32(r, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_srli_epi32(r, 16);
}
SIMD_FN void vf_to_bf16(uint16_t *p, vf v) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(vi_round_bf16(v))); }
SIMD_FN void vf_split(const float *p, vf *even, vf *odd) /* 16 pairs to their firsts and their seconds */
{
    const __m512i e = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const vf a = vf_load(p), b = vf_load(p + 16);
    *even = _mm512_permutex2var_ps(a, e, b);
    *odd = _mm512_permutex2var_ps(a, _mm512_or_si512(e, _mm512_set1_epi32(1)), b);
}

#else /* AVX2: two halves */

typedef struct { __m256 a, b; } vf;
typedef struct { __m256i a, b; } vi;

#define VF_TWO(x, y) ((vf){x, y})
SIMD_FN vf vf_zero(void) { return VF_TWO(_mm256_setzero_ps(), _mm256_setzero_ps()); }
SIMD_FN vf vf_set1(float x) { return VF_TWO(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
SIMD_FN vf vf_load(const float *p) { return VF_TWO(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
SIMD_FN void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v.a), _mm256_storeu_ps(p + 8, v.b); }
SIMD_FN vf vf_add(vf x, vf y) { return VF_TWO(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)); }
SIMD_FN vf vf_sub(vf x, vf y) { return VF_TWO(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)); }
SIMD_FN vf vf_mul(vf x, vf y) { return VF_TWO(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)); }
SIMD_FN vf vf_div(vf x, vf y) { return VF_TWO(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)); }
SIMD_FN vf vf_sqrt(vf x) { return VF_TWO(_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)); }
SIMD_FN vf vf_max(vf x, vf y) { return VF_TWO(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)); }
SIMD_FN vf vf_min(vf x, vf y) { return VF_TWO(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)); }
SIMD_FN vf vf_fma(vf x, vf y, vf z) { return VF_TWO(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)); }
SIMD_FN vf vf_round(vf x)
{
    return VF_TWO(_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                  _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
SIMD_FN vf vf_below(vf x, vf lim, vf p, vf q)
{
    return VF_TWO(_mm256_blendv_ps(q.a, p.a, _mm256_cmp_ps(x.a, lim.a, _CMP_LT_OQ)),
                  _mm256_blendv_ps(q.b, p.b, _mm256_cmp_ps(x.b, lim.b, _CMP_LT_OQ)));
}
SIMD_FN __m256 half_scale2(__m256 x, __m256 n)
{
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}
SIMD_FN vf vf_scale2(vf x, vf n) { return VF_TWO(half_scale2(x.a, n.a), half_scale2(x.b, n.b)); }
SIMD_FN vi vi_load(const void *p)
{
    return (vi){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
SIMD_FN vi vi_set1(uint32_t x) { return (vi){_mm256_set1_epi32((int)x), _mm256_set1_epi32((int)x)}; }
SIMD_FN vf vf_even(vi p)
{
    return VF_TWO(_mm256_castsi256_ps(_mm256_slli_epi32(p.a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(p.b, 16)));
}
SIMD_FN vf vf_odd(vi p)
{
    const __m256i m = _mm256_set1_epi32((int)0xffff0000u);
    return VF_TWO(_mm256_castsi256_ps(_mm256_and_si256(p.a, m)), _mm256_castsi256_ps(_mm256_and_si256(p.b, m)));
}
SIMD_FN __m256 half_from_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
SIMD_FN vf vf_from_bf16(const uint16_t *p) { return VF_TWO(half_from_bf16(p), half_from_bf16(p + 8)); }
SIMD_FN __m256i half_round_bf16(__m256 v)
{
    __m256i u = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(_mm256_set1_epi32(0x7fff), odd));
    __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_srli_epi32(_mm256_blendv_epi8(r, quiet, nan), 16);
}
SIMD_FN vi vi_round_bf16(vf v) { return (vi){half_round_bf16(v.a), half_round_bf16(v.b)}; }
SIMD_FN void vf_to_bf16(uint16_t *p, vf v)
{
    vi r = vi_round_bf16(v);
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(r.a, r.b), 0xd8);
    _mm256_storeu_si256((__m256i *)p, packed);
}
SIMD_FN __m256 half_split(const float *p, int odd)
{
    const __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
    const __m256 t = odd ? _mm256_shuffle_ps(a, b, 0xdd) : _mm256_shuffle_ps(a, b, 0x88);
    return _mm256_castsi256_ps(_mm256_permute4x64_epi64(_mm256_castps_si256(t), 0xd8));
}
SIMD_FN void vf_split(const float *p, vf *even, vf *odd)
{
    *even = VF_TWO(half_split(p, 0), half_split(p + 16, 0));
    *odd = VF_TWO(half_split(p, 1), half_split(p + 16, 1));
}
#endif

/* acc + w.even * a.even + w.odd * a.odd, lane by lane: the step of every product. w, a: pairs of bf16. */
#if defined(ISA_AVX512BF16)
SIMD_FN vf vp_dot(vf acc, vi w, vi a) { return _mm512_dpbf16_ps(acc, (__m512bh)w, (__m512bh)a); }
#else
SIMD_FN vf vp_dot(vf acc, vi w, vi a) { return vf_fma(vf_odd(w), vf_odd(a), vf_fma(vf_even(w), vf_even(a), acc)); }
#endif

/* 8 rows of 16 halves at src become 16 rows of 8 at dst; strides in halves. */
SIMD_FN void u16_turn(const uint16_t *src, size_t src_row, uint16_t *dst, size_t dst_row)
{
    __m256i r[8], t[8];
    for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_si256((const __m256i *)(src + i * src_row));
    for (int i = 0; i < 8; i += 2) { /* pairs of rows */
        t[i] = _mm256_unpacklo_epi16(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi16(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) /* fours */
        for (int k = 0; k < 2; k++) {
            r[i + 2 * k] = _mm256_unpacklo_epi32(t[i + k], t[i + 2 + k]);
            r[i + 2 * k + 1] = _mm256_unpackhi_epi32(t[i + k], t[i + 2 + k]);
        }
    for (int k = 0; k < 4; k++) { /* eights: column 2k and 2k + 1 of either half */
        t[2 * k] = _mm256_unpacklo_epi64(r[k], r[4 + k]);
        t[2 * k + 1] = _mm256_unpackhi_epi64(r[k], r[4 + k]);
    }
    for (int i = 0; i < 8; i++) {
        _mm_storeu_si128((__m128i *)(dst + i * dst_row), _mm256_castsi256_si128(t[i]));
        _mm_storeu_si128((__m128i *)(dst + (i + 8) * dst_row), _mm256_extracti128_si256(t[i], 1));
    }
}

/* Sums and maxima of the 16 lanes in one fixed tree: halves, quarters, ... */
SIMD_FN float vf_sum(vf v)
{
    float t[16];
    vf_store(t, v);
    for (int w = 8; w; w /= 2)
        for (int i = 0; i < w; i++) t[i] += t[i + w];
    return t[0];
}
SIMD_FN float vf_hmax(vf v)
{
    float t[16];
    vf_store(t, v);
    for (int w = 8; w; w /= 2)
        for (int i = 0; i < w; i++) t[i] = t[i] > t[i + w] ? t[i] : t[i + w];
    return t[0];
}

/* e^x: x = n ln 2 + r, |r| <= ln 2 / 2, Taylor to r^7 / 7!; relative error below 2e-7 on [-87, 88]. Below -87.3 it is 0, above 88.3
 * it is e^88.3; NaN stays NaN. */
SIMD_FN vf vf_exp(vf x0)
{
    const vf lo = vf_set1(-87.3f), hi = vf_set1(88.3f);
    vf x = vf_min(hi, vf_max(lo, x0)); /* in this order NaN comes through */
    vf n = vf_round(vf_mul(x, vf_set1(1.44269504088896341f)));
    vf r = vf_fma(n, vf_set1(-0.693359375f), x);
    r = vf_fma(n, vf_set1(2.12194440e-4f), r);
    vf p = vf_set1(1.0f / 5040);
    p = vf_fma(p, r, vf_set1(1.0f / 720));
    p = vf_fma(p, r, vf_set1(1.0f / 120));
    p = vf_fma(p, r, vf_set1(1.0f / 24));
    p = vf_fma(p, r, vf_set1(1.0f / 6));
    p = vf_fma(p, r, vf_set1(0.5f));
    p = vf_fma(p, r, vf_set1(1.0f));
    p = vf_fma(p, r, vf_set1(1.0f));
    return vf_below(x0, lo, vf_zero(), vf_scale2(p, n));
}
SIMD_FN float f_exp(float x)
{
    float t[16];
    vf_store(t, vf_exp(vf_set1(x)));
    return t[0];
}

/* The first n lanes of p (n < 16), the rest `fill`; and n lanes stored. */
SIMD_FN vf vf_load_n(const float *p, uint32_t n, float fill)
{
    float t[16];
    for (uint32_t i = 0; i < 16; i++) t[i] = i < n ? p[i] : fill;
    return vf_load(t);
}
SIMD_FN void vf_store_n(float *p, vf v, uint32_t n)
{
    float t[16];
    vf_store(t, v);
    memcpy(p, t, n * sizeof *t);
}

/* A pair of neighbouring bf16 as one word. */
SIMD_FN uint32_t bf16_pair(const uint16_t *p)
{
    uint32_t u;
    memcpy(&u, p, 4);
    return u;
}

#endif
