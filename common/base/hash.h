// SPDX-License-Identifier: Apache-2.0
/* hash.h - xxh3-128 over bytes: tensors of a push, tokenizers, models. Not a defence against forgery. Any thread. */
#ifndef COMMON_BASE_HASH_H
#define COMMON_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash128 {
    uint64_t lo, hi;
};

/* One-shot hash of n bytes. */
struct hash128 hash_bytes(const void *p, size_t n);

/* Fold b into a: the hash of the two, order matters. */
struct hash128 hash_mix(struct hash128 a, struct hash128 b);

static inline bool hash_eq(struct hash128 a, struct hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

/* 32 hex digits and a NUL into out[33]. */
void hash_hex(struct hash128 h, char *out);

#endif
