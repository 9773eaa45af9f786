// SPDX-License-Identifier: Apache-2.0
/* msg.h - the messages of schema.def as C: struct msg_X, MSG_ID_X, msg_put_X, msg_get_X, and a printer.
 *
 *     struct msg_ack a = {.code = ERR_STALE, .why = span_str("gone")};
 *     TRY(msg_put_ack(&a, &buf));              // buf.p, buf.n: the frame
 *     TRY(msg_get_ack(msg_buf_span(&buf), &a, &why));
 *
 * One struct serves both ways. Strings, binaries and arrays are borrowed: from the caller when writing, from
 * the frame when reading, so a message read lives no longer than its frame. Arrays lie unaligned in a frame:
 * read them with msg_TYPE_at or msg_arr_copy only. Any thread; one buffer belongs to one. */
#ifndef PROTO_MSG_H
#define PROTO_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/span.h"

/* n elements end to end, little-endian, unaligned, borrowed. The field's kind says the size of one. */
struct msg_arr {
    const uint8_t *p;
    uint32_t n;
};

/* Bytes that grow as needed and are used again. Owns p; start with {0}, end with msg_buf_done. */
struct msg_buf {
    uint8_t *p;
    size_t n, cap;
};

void msg_buf_done(struct msg_buf *b);

/* Room for n more bytes; n bytes more. On ERR_NOMEM the buffer is as it was. */
enum err msg_buf_reserve(struct msg_buf *b, size_t more) MUST_CHECK;
enum err msg_buf_add(struct msg_buf *b, const void *p, size_t n) MUST_CHECK;

static inline struct span msg_buf_span(const struct msg_buf *b)
{
    return span_of(b->p, b->n);
}

/* For writing: n elements of the caller's array, which must be of the field's type. */
static inline struct msg_arr msg_arr_of(const void *p, uint32_t n)
{
    struct msg_arr a = {(const uint8_t *)p, n};
    return a;
}

#define MSG_ARR_AT(name, type)                                                                               \
    static inline type msg_##name##_at(struct msg_arr a, uint32_t i)                                         \
    {                                                                                                        \
        type v;                                                                                              \
        memcpy(&v, a.p + (size_t)i * sizeof v, sizeof v);                                                    \
        return v;                                                                                            \
    }
/* element i < n of an I32S, U32S, U64S, F32S, U8S field */
MSG_ARR_AT(i32, int32_t)
MSG_ARR_AT(u32, uint32_t)
MSG_ARR_AT(u64, uint64_t)
MSG_ARR_AT(f32, float)
MSG_ARR_AT(u8, uint8_t)
#undef MSG_ARR_AT

/* All of a, into out[n] of elem_bytes each: 1 for U8S, 8 for U64S, else 4. */
static inline void msg_arr_copy(struct msg_arr a, size_t elem_bytes, void *out)
{
    if (a.n) memcpy(out, a.p, a.n * elem_bytes);
}

/* Is the string exactly this one? / a NUL-ended copy, cut to fit. */
#define msg_str_eq span_eq_str
void msg_str_copy(struct span s, char *out, size_t cap);

/* the C type of each kind of field */
#define MSG_T_BOOL bool
#define MSG_T_U32  uint32_t
#define MSG_T_U64  uint64_t
#define MSG_T_F32  float
#define MSG_T_STR  struct span
#define MSG_T_BIN  struct span
#define MSG_T_I32S struct msg_arr
#define MSG_T_U32S struct msg_arr
#define MSG_T_U64S struct msg_arr
#define MSG_T_F32S struct msg_arr
#define MSG_T_U8S  struct msg_arr

enum msg_id {
    MSG_ID_NONE = 0,
#define MSG(name, id) MSG_ID_##name = id,
#define F(kind, field)
#define END(name)
#include "proto/schema.def"
#undef MSG
#undef F
#undef END
};

/* struct msg_hello { uint32_t proto; struct span name; ... }; */
// clang-format off
#define MSG(name, id)  struct msg_##name {
#define F(kind, field) MSG_T_##kind field;
#define END(name)      };
// clang-format on
#include "proto/schema.def"
#undef MSG
#undef F
#undef END

/* msg_put_X: write m as one frame; what out held is overwritten. ERR_NOMEM; ERR_RANGE: a field beyond 4 GiB.
 * msg_get_X: read a frame of exactly this message. A shorter array leaves the tail zero, a longer one's
 * surplus is stepped over. ERR_FORMAT: malformed, cut, trailing bytes, another message, a wrong type, an
 * array that is no multiple of its element. ERR_RANGE: a number that does not fit its field. why names
 * message and field. *ret is written only on success. */
#define MSG(name, id)                                                                                        \
    enum err msg_put_##name(const struct msg_##name *m, struct msg_buf *out) MUST_CHECK;                     \
    enum err msg_get_##name(struct span frame, struct msg_##name *ret, struct why *why) MUST_CHECK;
#define F(kind, field)
#define END(name)
#include "proto/schema.def"
#undef MSG
#undef F
#undef END

/* The id a frame claims; MSG_ID_NONE when it is no frame or no message of ours. Says nothing about the rest.
 */
enum msg_id msg_id_of(struct span frame);

/* "hello"; "?" for an id that is none. */
const char *msg_name(enum msg_id id);

/* One frame as one line of JSON into out (NUL-ended, the NUL not counted in out->n):
 * {"msg":"ack","code":15,"why":"gone"}. Arrays show their first max_item elements, then "... N in all";
 * binaries show their length. Errors as msg_get. */
enum err msg_print(struct span frame, uint32_t max_item, struct msg_buf *out, struct why *why) MUST_CHECK;

#endif
