// SPDX-License-Identifier: Apache-2.0
#include "common/model/utf8.h"

/* Length by the first byte, and the bounds of the second (Unicode, table 3-7). 0: no character starts so. */
static unsigned lead(uint8_t b, uint8_t *ret_lo, uint8_t *ret_hi)
{
    *ret_lo = b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80;
    *ret_hi = b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
    return b < 0x80 ? 1 : b < 0xc2 ? 0 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : b < 0xf5 ? 4 : 0;
}

size_t utf8_next(const uint8_t *p, const uint8_t *end, enum utf8_kind *ret_kind, uint32_t *ret_cp)
{
    uint8_t lo, hi;
    const unsigned n = lead(*p, &lo, &hi);
    *ret_kind = n ? UTF8_OK : UTF8_BAD;
    if (n <= 1) {
        if (n) *ret_cp = *p;
        return 1;
    }
    uint32_t cp = *p & (0x7fu >> n);
    for (unsigned i = 1; i < n; i++, lo = 0x80, hi = 0xbf) {
        if (p + i == end || p[i] < lo || p[i] > hi) {
            *ret_kind = p + i == end ? UTF8_CUT : UTF8_BAD;
            return i;
        }
        cp = cp << 6 | (p[i] & 0x3f);
    }
    *ret_cp = cp;
    return n;
}

size_t utf8_prev(const uint8_t *begin, const uint8_t *p, uint32_t *ret_cp)
{
    enum utf8_kind kind;
    const uint8_t *at = p - 1;
    while (at > begin && (*at & 0xc0) == 0x80) at--;
    *ret_cp = 0xfffd;
    utf8_next(at, p, &kind, ret_cp);
    return (size_t)(p - at);
}

size_t utf8_put(uint32_t cp, uint8_t *out)
{
    if (cp < 0x80) {
        out[0] = (uint8_t)cp;
        return 1;
    }
    const size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i; i--, cp >>= 6) out[i] = (uint8_t)(0x80 | (cp & 0x3f));
    out[0] = (uint8_t)((0xf00u >> n) | cp);
    return n;
}

size_t utf8_check(struct span s)
{
    const uint8_t *p = s.p, *end = s.p + s.n;
    while (p < end) {
        uint64_t eight;
        if (end - p >= 8 && (memcpy(&eight, p, 8), !(eight & UINT64_C(0x8080808080808080)))) {
            p += 8;
            continue;
        }
        enum utf8_kind kind;
        uint32_t cp;
        const size_t n = utf8_next(p, end, &kind, &cp);
        if (kind != UTF8_OK) break;
        p += n;
    }
    return (size_t)(p - s.p);
}
