// SPDX-License-Identifier: Apache-2.0
/* bf16.h - bfloat16 as uint16_t: round to nearest even, NaN stays NaN, denormals kept. Any thread. */
#ifndef COMMON_BASE_BF16_H
#define COMMON_BASE_BF16_H

#include <stdint.h>
#include <string.h>

static inline float bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint16_t bf16_from_f32(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

/* f as it reads back after a round trip through bf16 */
static inline float bf16_round(float f)
{
    return bf16_to_f32(bf16_from_f32(f));
}

#endif
