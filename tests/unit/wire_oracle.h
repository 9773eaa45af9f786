// SPDX-License-Identifier: Apache-2.0
/* wire_oracle.h - does the bounded reader see what msgpack-c sees? Shared by test_wire.c and fuzz_wire.c. */
#ifndef TESTS_UNIT_WIRE_ORACLE_H
#define TESTS_UNIT_WIRE_ORACLE_H

#include <msgpack.h>
#include <stdbool.h>
#include <string.h>

#include "proto/wire.h"

static inline bool same_bytes(struct span a, const char *p, uint32_t n)
{
    return a.n == n && (n == 0 || (const char *)a.p == p); /* the same bytes, not a copy */
}

static inline bool same_scalar(const struct wire_item *it, const msgpack_object *o)
{
    switch (o->type) {
    case MSGPACK_OBJECT_NIL:
        return it->type == WIRE_NIL;
    case MSGPACK_OBJECT_BOOLEAN:
        return it->type == WIRE_BOOL && it->b == o->via.boolean;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return it->type == WIRE_UINT && it->u == o->via.u64;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return it->type == WIRE_NEG && it->i == o->via.i64;
    case MSGPACK_OBJECT_FLOAT32: {
        float f = (float)o->via.f64; /* a signalling NaN comes back quiet: any NaN will do */
        return it->type == WIRE_F32 && ((f != f && it->f32 != it->f32) || memcmp(&f, &it->f32, 4) == 0);
    }
    case MSGPACK_OBJECT_FLOAT64:
        return it->type == WIRE_F64 && memcmp(&it->f64, &o->via.f64, 8) == 0;
    case MSGPACK_OBJECT_STR:
        return it->type == WIRE_STR && same_bytes(it->bytes, o->via.str.ptr, o->via.str.size);
    case MSGPACK_OBJECT_BIN:
        return it->type == WIRE_BIN && same_bytes(it->bytes, o->via.bin.ptr, o->via.bin.size);
    case MSGPACK_OBJECT_EXT:
        return it->type == WIRE_EXT && it->ext == o->via.ext.type &&
               same_bytes(it->bytes, o->via.ext.ptr, o->via.ext.size);
    default:
        return false;
    }
}

/* Walk both in step. msgpack-c nests 32 deep at most, so recursion is bounded. */
static inline bool same_value(struct wire *w, const msgpack_object *o)
{
    struct wire_item it;
    if (wire_next(w, &it)) return false;
    if (o->type == MSGPACK_OBJECT_ARRAY) {
        bool ok = it.type == WIRE_ARRAY && it.n == o->via.array.size;
        for (uint32_t i = 0; ok && i < it.n; i++) ok = same_value(w, &o->via.array.ptr[i]);
        return ok;
    }
    if (o->type == MSGPACK_OBJECT_MAP) {
        bool ok = it.type == WIRE_MAP && it.n == o->via.map.size;
        for (uint32_t i = 0; ok && i < it.n; i++)
            ok = same_value(w, &o->via.map.ptr[i].key) && same_value(w, &o->via.map.ptr[i].val);
        return ok;
    }
    return same_scalar(&it, o);
}

enum oracle { ORACLE_AGREES, ORACLE_DIFFERS, ORACLE_CANNOT_SAY };

/* Compare on the first value of the frame. Never asks msgpack-c about a frame that the reader refused unless
 * ask_refused: it believes counts and allocates for them. */
static inline enum oracle oracle_compare(struct span frame, bool ask_refused)
{
    struct wire w = wire_of(frame);
    bool ok = wire_skip(&w) == ERR_OK;
    if (!ok && !ask_refused) return ORACLE_CANNOT_SAY;
    msgpack_unpacked u;
    msgpack_unpacked_init(&u);
    size_t off = 0;
    msgpack_unpack_return r = msgpack_unpack_next(&u, (const char *)frame.p, frame.n, &off);
    enum oracle say = ORACLE_AGREES;
    if (r == MSGPACK_UNPACK_NOMEM_ERROR) { /* nested too deep for it */
        say = ORACLE_CANNOT_SAY;
    } else if (ok != (r == MSGPACK_UNPACK_SUCCESS)) {
        say = ORACLE_DIFFERS;
    } else if (ok) {
        struct wire walk = wire_of(frame);
        if (off != frame.n - wire_left(&w) || !same_value(&walk, &u.data) || walk.p != w.p)
            say = ORACLE_DIFFERS;
    }
    msgpack_unpacked_destroy(&u);
    return say;
}

#endif
