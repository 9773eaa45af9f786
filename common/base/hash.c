// SPDX-License-Identifier: Apache-2.0
#include "common/base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

struct hash128 hash_bytes(const void *p, size_t n)
{
    XXH128_hash_t h = XXH3_128bits(p, n);
    return (struct hash128){.lo = h.low64, .hi = h.high64};
}

struct hash128 hash_mix(struct hash128 a, struct hash128 b)
{
    struct hash128 two[2] = {a, b};
    return hash_bytes(two, sizeof two);
}

void hash_hex(struct hash128 h, char *out)
{
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, h.hi, h.lo);
}
