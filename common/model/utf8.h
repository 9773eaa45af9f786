// SPDX-License-Identifier: Apache-2.0
/* utf8.h - UTF-8 one character at a time, bytes from outside. Any thread. */
#ifndef COMMON_MODEL_UTF8_H
#define COMMON_MODEL_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"

enum utf8_kind {
    UTF8_OK,  /* a character */
    UTF8_BAD, /* bytes that no character starts with */
    UTF8_CUT, /* the text ends inside a character */
};

/* What stands at p: ret_cp is the character (UTF8_OK only). Returns how many bytes it takes, at least 1; of
 * bad bytes, those that one U+FFFD stands for (Unicode 3.9, substitution of maximal subparts). p < end. */
size_t utf8_next(const uint8_t *p, const uint8_t *end, enum utf8_kind *ret_kind, uint32_t *ret_cp);

/* The character before p; the text is UTF-8 and begin < p. Returns how many bytes it takes. */
size_t utf8_prev(const uint8_t *begin, const uint8_t *p, uint32_t *ret_cp);

/* cp into out, at most 4 bytes; returns how many. */
size_t utf8_put(uint32_t cp, uint8_t *out);

/* How many bytes are good UTF-8 before the first that is not; s.n if all are. */
size_t utf8_check(struct span s);

/* White_Space of Unicode. */
static inline bool utf8_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

#endif
