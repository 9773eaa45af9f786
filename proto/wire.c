// SPDX-License-Identifier: Apache-2.0
/* wire.c - the bounded reader. Every read goes through take(), which is the only place that moves the cursor.
 */
#include "proto/wire.h"

#include <string.h>

/* n bytes from the cursor, or NULL when fewer are left. */
static const uint8_t *take(struct wire *w, size_t n)
{
    if (n > wire_left(w)) return NULL;
    const uint8_t *p = w->p;
    w->p += n;
    return p;
}

/* Big-endian unsigned number of n bytes, n in 1, 2, 4, 8. */
static bool take_be(struct wire *w, size_t n, uint64_t *ret)
{
    const uint8_t *p = take(w, n);
    if (!p) return false;
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) v = v << 8 | p[i];
    *ret = v;
    return true;
}

static bool take_bytes(struct wire *w, enum wire_type type, uint64_t n, struct wire_item *it)
{
    const uint8_t *p = take(w, n);
    if (!p) return false;
    it->type = type;
    it->bytes = span_of(p, n);
    return true;
}

/* A length of len_bytes, for an EXT then its type, then the bytes. */
static bool take_long(struct wire *w, enum wire_type type, size_t len_bytes, struct wire_item *it)
{
    uint64_t n, ext = 0;
    if (!take_be(w, len_bytes, &n)) return false;
    if (type == WIRE_EXT && !take_be(w, 1, &ext)) return false;
    it->ext = (int8_t)ext;
    return take_bytes(w, type, n, it);
}

static bool take_fixext(struct wire *w, size_t n, struct wire_item *it)
{
    uint64_t ext;
    if (!take_be(w, 1, &ext)) return false;
    it->ext = (int8_t)ext;
    return take_bytes(w, WIRE_EXT, n, it);
}

/* An item takes a byte at least, so a head that promises more than the bytes left is a lie. */
static bool set_head(const struct wire *w, enum wire_type type, uint64_t n, struct wire_item *it)
{
    if ((type == WIRE_MAP ? 2 * n : n) > wire_left(w)) return false;
    it->type = type;
    it->n = (uint32_t)n;
    return true;
}

static bool take_head(struct wire *w, enum wire_type type, size_t len_bytes, struct wire_item *it)
{
    uint64_t n;
    return take_be(w, len_bytes, &n) && set_head(w, type, n, it);
}

static bool set_int(int64_t v, struct wire_item *it)
{
    it->type = v < 0 ? WIRE_NEG : WIRE_UINT;
    it->i = v; /* the same bits as u */
    return true;
}

static bool take_uint(struct wire *w, size_t n, struct wire_item *it)
{
    it->type = WIRE_UINT;
    return take_be(w, n, &it->u);
}

static bool take_int(struct wire *w, size_t n, struct wire_item *it)
{
    uint64_t v;
    if (!take_be(w, n, &v)) return false;
    switch (n) {
    case 1:
        return set_int((int8_t)v, it);
    case 2:
        return set_int((int16_t)v, it);
    case 4:
        return set_int((int32_t)v, it);
    default:
        return set_int((int64_t)v, it);
    }
}

static bool take_float(struct wire *w, size_t n, struct wire_item *it)
{
    uint64_t v;
    if (!take_be(w, n, &v)) return false;
    uint32_t v32 = (uint32_t)v;
    it->type = n == 4 ? WIRE_F32 : WIRE_F64;
    if (n == 4)
        memcpy(&it->f32, &v32, 4);
    else
        memcpy(&it->f64, &v, 8);
    return true;
}

static bool set_simple(enum wire_type type, bool b, struct wire_item *it)
{
    it->type = type;
    it->b = b;
    return true;
}

/* The first bytes 0xc0 .. 0xdf, in the order of the specification. */
static bool next_tagged(struct wire *w, uint8_t tag, struct wire_item *it)
{
    switch (tag) {
    case 0xc0: return set_simple(WIRE_NIL, false, it);
    case 0xc2: return set_simple(WIRE_BOOL, false, it);
    case 0xc3: return set_simple(WIRE_BOOL, true, it);
    case 0xc4: return take_long(w, WIRE_BIN, 1, it);
    case 0xc5: return take_long(w, WIRE_BIN, 2, it);
    case 0xc6: return take_long(w, WIRE_BIN, 4, it);
    case 0xc7: return take_long(w, WIRE_EXT, 1, it);
    case 0xc8: return take_long(w, WIRE_EXT, 2, it);
    case 0xc9: return take_long(w, WIRE_EXT, 4, it);
    case 0xca: return take_float(w, 4, it);
    case 0xcb: return take_float(w, 8, it);
    case 0xcc: return take_uint(w, 1, it);
    case 0xcd: return take_uint(w, 2, it);
    case 0xce: return take_uint(w, 4, it);
    case 0xcf: return take_uint(w, 8, it);
    case 0xd0: return take_int(w, 1, it);
    case 0xd1: return take_int(w, 2, it);
    case 0xd2: return take_int(w, 4, it);
    case 0xd3: return take_int(w, 8, it);
    case 0xd4: return take_fixext(w, 1, it);
    case 0xd5: return take_fixext(w, 2, it);
    case 0xd6: return take_fixext(w, 4, it);
    case 0xd7: return take_fixext(w, 8, it);
    case 0xd8: return take_fixext(w, 16, it);
    case 0xd9: return take_long(w, WIRE_STR, 1, it);
    case 0xda: return take_long(w, WIRE_STR, 2, it);
    case 0xdb: return take_long(w, WIRE_STR, 4, it);
    case 0xdc: return take_head(w, WIRE_ARRAY, 2, it);
    case 0xdd: return take_head(w, WIRE_ARRAY, 4, it);
    case 0xde: return take_head(w, WIRE_MAP, 2, it);
    case 0xdf: return take_head(w, WIRE_MAP, 4, it);
    default: return false; /* 0xc1 is never used */
    }
}

static bool next(struct wire *w, struct wire_item *it)
{
    const uint8_t *p = take(w, 1);
    if (!p) return false;
    uint8_t tag = *p;
    if (tag <= 0x7f || tag >= 0xe0) return set_int((int8_t)tag, it);
    if (tag <= 0x8f) return set_head(w, WIRE_MAP, tag & 0x0f, it);
    if (tag <= 0x9f) return set_head(w, WIRE_ARRAY, tag & 0x0f, it);
    if (tag <= 0xbf) return take_bytes(w, WIRE_STR, tag & 0x1f, it);
    return next_tagged(w, tag, it);
}

enum err wire_next(struct wire *w, struct wire_item *ret)
{
    struct wire_item it = {0};
    if (!next(w, &it)) return ERR_FORMAT;
    *ret = it;
    return ERR_OK;
}

enum err wire_skip(struct wire *w)
{
    /* Values still owed, instead of a stack; each takes a byte at least, so it never needs more than the
     * bytes left. */
    uint64_t owed = 1;
    while (owed) {
        struct wire_item it;
        TRY(wire_next(w, &it));
        owed--;
        if (it.type == WIRE_ARRAY) owed += it.n;
        if (it.type == WIRE_MAP) owed += 2 * (uint64_t)it.n;
        if (owed > wire_left(w)) return ERR_FORMAT;
    }
    return ERR_OK;
}

/* The next token, which must be of this type. */
static enum err want(struct wire *w, enum wire_type type, struct wire_item *it)
{
    TRY(wire_next(w, it));
    return it->type == type ? ERR_OK : ERR_FORMAT;
}

enum err wire_bool(struct wire *w, bool *ret)
{
    struct wire_item it;
    TRY(want(w, WIRE_BOOL, &it));
    *ret = it.b;
    return ERR_OK;
}

enum err wire_u64(struct wire *w, uint64_t *ret)
{
    struct wire_item it;
    TRY(wire_next(w, &it));
    if (it.type == WIRE_NEG) return ERR_RANGE;
    if (it.type != WIRE_UINT) return ERR_FORMAT;
    *ret = it.u;
    return ERR_OK;
}

enum err wire_u32(struct wire *w, uint32_t *ret)
{
    uint64_t v;
    TRY(wire_u64(w, &v));
    if (v > UINT32_MAX) return ERR_RANGE;
    *ret = (uint32_t)v;
    return ERR_OK;
}

enum err wire_f32(struct wire *w, float *ret)
{
    struct wire_item it;
    TRY(want(w, WIRE_F32, &it));
    *ret = it.f32;
    return ERR_OK;
}

enum err wire_str(struct wire *w, struct span *ret)
{
    struct wire_item it;
    TRY(want(w, WIRE_STR, &it));
    *ret = it.bytes;
    return ERR_OK;
}

enum err wire_bin(struct wire *w, struct span *ret)
{
    struct wire_item it;
    TRY(want(w, WIRE_BIN, &it));
    *ret = it.bytes;
    return ERR_OK;
}

enum err wire_array(struct wire *w, uint32_t *ret_n)
{
    struct wire_item it;
    TRY(want(w, WIRE_ARRAY, &it));
    *ret_n = it.n;
    return ERR_OK;
}
