// SPDX-License-Identifier: Apache-2.0
/* unicode_table.h - where the tokenizers library's Unicode differs from that of PCRE2 and utf8proc.
 *
 * Ids are exact only with its tables: its regular expressions know Unicode 16, its normalizer Unicode 9. Any
 * thread. */
#ifndef COMMON_MODEL_UNICODE_TABLE_H
#define COMMON_MODEL_UNICODE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define UNICODE_N_NEW   126
#define UNICODE_N_INERT 67
#define UNICODE_N_BLOCK 0x1100

struct unicode_range {
    uint32_t first, last;
    char category[3];
};

/* Characters that Unicode 15 and 16 added, with their general categories, in order. */
extern const struct unicode_range unicode_new[UNICODE_N_NEW];
/* Those before 15 that its normalizer passes by: no reordering, no composition, no decomposition. In order.
 */
extern const struct unicode_range unicode_inert[UNICODE_N_INERT];
/* A bit for each 256 characters among which is one of either table. */
extern const uint8_t unicode_block[UNICODE_N_BLOCK / 8];

static inline const struct unicode_range *unicode_find(const struct unicode_range *r, uint32_t n, uint32_t cp)
{
    const struct unicode_range *const end = r + n;
    uint32_t lo = 0;
    while (lo < n) {
        const uint32_t mid = lo + (n - lo) / 2;
        if (r[mid].last < cp)
            lo = mid + 1;
        else
            n = mid;
    }
    return r + lo < end && r[lo].first <= cp && cp <= r[lo].last ? &r[lo] : (const struct unicode_range *)0;
}

/* cp <= U+10FFFF. The normalizer passes it by. */
static inline bool unicode_is_inert(uint32_t cp)
{
    if (!(unicode_block[cp >> 11] & 1u << (cp >> 8 & 7))) return false;
    return unicode_find(unicode_inert, UNICODE_N_INERT, cp) || unicode_find(unicode_new, UNICODE_N_NEW, cp);
}

#endif
