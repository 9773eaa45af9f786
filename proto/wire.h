// SPDX-License-Identifier: Apache-2.0
/* wire.h - a bounded reader of MessagePack, in place.
 *
 * Made for bytes from a socket: it never allocates, never recurses, never reads past the end, and believes no
 * count that the bytes left could not hold. Strings and binaries are borrowed from the frame. Any thread; one
 * reader belongs to one.
 *
 *     struct wire w = wire_of(frame);
 *     uint32_t n;
 *     TRY(wire_array(&w, &n));
 *
 * Every call returns ERR_FORMAT for bytes that are cut short, malformed or of another type, and ERR_RANGE for
 * a number that does not fit; it then writes nothing to its output and the reader must not be used again. */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"

enum wire_type {
    WIRE_NIL,
    WIRE_BOOL,
    WIRE_UINT, /* any integer that is not negative, however it was written */
    WIRE_NEG,  /* a negative integer */
    WIRE_F32,
    WIRE_F64,
    WIRE_STR,
    WIRE_BIN,
    WIRE_EXT,
    WIRE_ARRAY,
    WIRE_MAP,
};

struct wire {
    const uint8_t *p, *end;
};

/* One token: a scalar whole, a string or binary whole, or the head of an array or map whose items follow. */
struct wire_item {
    enum wire_type type;
    union {
        bool b;
        uint64_t u;
        int64_t i;
        float f32;
        double f64;
        uint32_t n; /* ARRAY: items, MAP: pairs */
        int8_t ext; /* EXT: its type; bytes below */
    };
    struct span bytes; /* STR, BIN, EXT: borrowed from the frame */
};

static inline struct wire wire_of(struct span frame)
{
    struct wire w = {frame.p, frame.p ? frame.p + frame.n : frame.p};
    return w;
}

static inline size_t wire_left(const struct wire *w)
{
    return (size_t)(w->end - w->p);
}

/* The next token, of whatever type. */
enum err wire_next(struct wire *w, struct wire_item *ret) MUST_CHECK;

/* Step over one whole value, nested as deep as it likes. */
enum err wire_skip(struct wire *w) MUST_CHECK;

enum err wire_bool(struct wire *w, bool *ret) MUST_CHECK;
enum err wire_u32(struct wire *w, uint32_t *ret) MUST_CHECK; /* any width; ERR_RANGE above UINT32_MAX */
enum err wire_u64(struct wire *w, uint64_t *ret) MUST_CHECK;
enum err wire_f32(struct wire *w, float *ret) MUST_CHECK;       /* float32 only; NaN and infinities pass */
enum err wire_str(struct wire *w, struct span *ret) MUST_CHECK; /* not checked for UTF-8 */
enum err wire_bin(struct wire *w, struct span *ret) MUST_CHECK;
enum err wire_array(struct wire *w, uint32_t *ret_n) MUST_CHECK;

#endif
