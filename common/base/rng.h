// SPDX-License-Identifier: Apache-2.0
/* rng.h - a counter-based generator: the number depends on the key and the counter, never on what was drawn before.
 *
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Every back end computes the
 * same bits, so a token's draw is keyed by (seed, job, sample, position) and never by its place in a batch.
 * Header only, valid C++ (and device code where RNG_FN says so). Any thread. */
#ifndef COMMON_BASE_RNG_H
#define COMMON_BASE_RNG_H

#include <stdint.h>

#ifdef __CUDACC__
#define RNG_FN static __host__ __device__ inline
#else
#define RNG_FN static inline
#endif

struct rng4 {
    uint32_t v[4];
};

/* Ten rounds of Philox4x32: four random words for (key, counter). */
RNG_FN struct rng4 rng_philox(uint64_t key, uint64_t ctr_lo, uint64_t ctr_hi)
{
    uint32_t c0 = (uint32_t)ctr_lo, c1 = (uint32_t)(ctr_lo >> 32);
    uint32_t c2 = (uint32_t)ctr_hi, c3 = (uint32_t)(ctr_hi >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int i = 0; i < 10; i++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    struct rng4 r;
    r.v[0] = c0, r.v[1] = c1, r.v[2] = c2, r.v[3] = c3;
    return r;
}

/* A word to a float in the open interval (0, 1): 23 bits, so that the half is exact and the largest is not rounded up to 1. */
RNG_FN float rng_unit(uint32_t w)
{
    return ((float)(w >> 9) + 0.5f) * (1.0f / 8388608.0f);
}

/* The one draw of one token: uniform in (0, 1). seed: the run's; job: job_id (0 for a request outside a run);
 * sample: 0..G-1; pos: absolute position of the token drawn. */
RNG_FN float rng_token(uint64_t seed, uint64_t job, uint32_t sample, uint32_t pos)
{
    return rng_unit(rng_philox(seed, job, ((uint64_t)sample << 32) | pos).v[0]);
}

/* The i-th 64-bit word of a named stream (shuffles, initial weights). */
RNG_FN uint64_t rng_u64(uint64_t seed, uint64_t stream, uint64_t i)
{
    struct rng4 r = rng_philox(seed, i, stream);
    return (uint64_t)r.v[1] << 32 | r.v[0];
}

#endif
