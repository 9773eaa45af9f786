// SPDX-License-Identifier: Apache-2.0
/* msg.c - the codec, one function per message, made from schema.def. msgpack-c writes (its writer is sound);
 * wire.h reads. */
#include "proto/msg.h"

#include <stdlib.h>
#include <msgpack.h>

#include "proto/wire.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "arrays travel little-endian and are not swapped here");

/* bytes of an element of each kind of array */
enum { SIZE_I32S = 4, SIZE_U32S = 4, SIZE_U64S = 8, SIZE_F32S = 4, SIZE_U8S = 1 };

void msg_buf_done(struct msg_buf *b)
{
    free(b->p);
    *b = (struct msg_buf){0};
}

enum err msg_buf_reserve(struct msg_buf *b, size_t more)
{
    if (more > SIZE_MAX / 2 - b->n) return ERR_NOMEM;
    size_t need = b->n + more;
    if (need <= b->cap) return ERR_OK;
    size_t cap = b->cap ? b->cap : 256;
    while (cap < need) cap *= 2;
    uint8_t *p = realloc(b->p, cap);
    if (!p) return ERR_NOMEM;
    b->p = p;
    b->cap = cap;
    return ERR_OK;
}

enum err msg_buf_add(struct msg_buf *b, const void *p, size_t n)
{
    TRY(msg_buf_reserve(b, n));
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
    return ERR_OK;
}

void msg_str_copy(struct span s, char *out, size_t cap)
{
    if (!cap) return;
    size_t n = s.n < cap - 1 ? s.n : cap - 1;
    if (n) memcpy(out, s.p, n);
    out[n] = 0;
}

/* ---- writing ---- */

static int sink(void *arg, const char *p, size_t n)
{
    return msg_buf_add(arg, p, n) ? -1 : 0;
}

static enum err packed(int rc)
{
    return rc ? ERR_NOMEM : ERR_OK; /* only the sink can fail */
}

static enum err put_BOOL(msgpack_packer *k, bool v)
{
    return packed(v ? msgpack_pack_true(k) : msgpack_pack_false(k));
}

static enum err put_U32(msgpack_packer *k, uint32_t v)
{
    return packed(msgpack_pack_uint32(k, v));
}

static enum err put_U64(msgpack_packer *k, uint64_t v)
{
    return packed(msgpack_pack_uint64(k, v));
}

static enum err put_F32(msgpack_packer *k, float v)
{
    return packed(msgpack_pack_float(k, v));
}

static enum err put_STR(msgpack_packer *k, struct span v)
{
    if (v.n > UINT32_MAX) return ERR_RANGE;
    TRY(packed(msgpack_pack_str(k, v.n)));
    return packed(msgpack_pack_str_body(k, v.p, v.n));
}

static enum err put_BIN(msgpack_packer *k, struct span v)
{
    if (v.n > UINT32_MAX) return ERR_RANGE;
    TRY(packed(msgpack_pack_bin(k, v.n)));
    return packed(msgpack_pack_bin_body(k, v.p, v.n));
}

#define PUT_ARR(kind)                                                                                        \
    static enum err put_##kind(msgpack_packer *k, struct msg_arr v)                                          \
    {                                                                                                        \
        return put_BIN(k, span_of(v.p, (size_t)v.n * SIZE_##kind));                                          \
    }
PUT_ARR(I32S)
PUT_ARR(U32S)
PUT_ARR(U64S)
PUT_ARR(F32S)
PUT_ARR(U8S)

/* enum { n_field_hello = 0 + 1 + 1 ... }; */
// clang-format off
#define MSG(name, id)  enum { n_field_##name = 0
#define F(kind, field) + 1
#define END(name)      };
// clang-format on
#include "proto/schema.def"
#undef MSG
#undef F
#undef END

static enum err put_head(msgpack_packer *k, struct msg_buf *out, enum msg_id id, size_t n_field)
{
    out->n = 0;
    msgpack_packer_init(k, out, sink);
    TRY(packed(msgpack_pack_array(k, n_field + 1)));
    return put_U32(k, (uint32_t)id);
}

// clang-format off
#define MSG(name, id)                                                 \
    enum err msg_put_##name(const struct msg_##name *m, struct msg_buf *out) \
    {                                                                 \
        msgpack_packer k;                                             \
        TRY(put_head(&k, out, MSG_ID_##name, n_field_##name));
#define F(kind, field) TRY(put_##kind(&k, m->field));
#define END(name)                                                     \
        return ERR_OK;                                                \
    }
// clang-format on
#include "proto/schema.def"
#undef MSG
#undef F
#undef END

/* ---- reading ---- */

struct reader {
    struct wire w;
    uint32_t left; /* fields of the frame not yet read */
    const char *msg;
    struct why *why;
};

/* Is there another field? Counts it as read. */
static bool more(struct reader *r)
{
    if (!r->left) return false;
    r->left--;
    return true;
}

static enum err said(struct reader *r, const char *field, const char *kind, enum err e)
{
    return e ? why_set(r->why, e, "message %s, field %s: not a valid %s", r->msg, field, kind) : ERR_OK;
}

static enum err get_BOOL(struct reader *r, const char *field, bool *ret)
{
    return more(r) ? said(r, field, "bool", wire_bool(&r->w, ret)) : ERR_OK;
}

static enum err get_U32(struct reader *r, const char *field, uint32_t *ret)
{
    return more(r) ? said(r, field, "u32", wire_u32(&r->w, ret)) : ERR_OK;
}

static enum err get_U64(struct reader *r, const char *field, uint64_t *ret)
{
    return more(r) ? said(r, field, "u64", wire_u64(&r->w, ret)) : ERR_OK;
}

static enum err get_F32(struct reader *r, const char *field, float *ret)
{
    return more(r) ? said(r, field, "float32", wire_f32(&r->w, ret)) : ERR_OK;
}

static enum err get_STR(struct reader *r, const char *field, struct span *ret)
{
    return more(r) ? said(r, field, "string", wire_str(&r->w, ret)) : ERR_OK;
}

static enum err get_BIN(struct reader *r, const char *field, struct span *ret)
{
    return more(r) ? said(r, field, "binary", wire_bin(&r->w, ret)) : ERR_OK;
}

static enum err get_arr(struct reader *r, const char *field, uint32_t elem_bytes, struct msg_arr *ret)
{
    struct span s = {0};
    TRY(get_BIN(r, field, &s));
    if (s.n % elem_bytes)
        return why_set(r->why, ERR_FORMAT,
                       "message %s, field %s: %zu bytes are no whole number of elements of %u", r->msg, field,
                       s.n, elem_bytes);
    *ret = msg_arr_of(s.p, (uint32_t)(s.n / elem_bytes)); /* a bin is shorter than 4 GiB */
    return ERR_OK;
}

#define GET_ARR(kind)                                                                                        \
    static enum err get_##kind(struct reader *r, const char *field, struct msg_arr *ret)                     \
    {                                                                                                        \
        return get_arr(r, field, SIZE_##kind, ret);                                                          \
    }
GET_ARR(I32S)
GET_ARR(U32S)
GET_ARR(U64S)
GET_ARR(F32S)
GET_ARR(U8S)

static enum err get_head(struct reader *r, struct span frame, enum msg_id id)
{
    uint32_t n, got;
    r->w = wire_of(frame);
    if (wire_array(&r->w, &n) || n == 0 || wire_u32(&r->w, &got))
        return why_set(r->why, ERR_FORMAT, "message %s: not a frame", r->msg);
    if (got != (uint32_t)id)
        return why_set(r->why, ERR_FORMAT, "message %s expected, %s (%u) came", r->msg,
                       msg_name((enum msg_id)got), got);
    r->left = n - 1;
    return ERR_OK;
}

/* Fields that a newer peer appended, and then the end of the frame. */
static enum err get_tail(struct reader *r)
{
    while (more(r))
        if (wire_skip(&r->w)) return why_set(r->why, ERR_FORMAT, "message %s: malformed surplus", r->msg);
    if (wire_left(&r->w))
        return why_set(r->why, ERR_FORMAT, "message %s: %zu bytes after its end", r->msg, wire_left(&r->w));
    return ERR_OK;
}

// clang-format off
#define MSG(name, id)                                                 \
    enum err msg_get_##name(struct span frame, struct msg_##name *ret, struct why *why) \
    {                                                                 \
        struct msg_##name m = {0};                                    \
        struct reader r = {.msg = #name, .why = why};                 \
        TRY(get_head(&r, frame, MSG_ID_##name));
#define F(kind, field) TRY(get_##kind(&r, #field, &m.field));
#define END(name)                                                     \
        TRY(get_tail(&r));                                            \
        *ret = m;                                                     \
        return ERR_OK;                                                \
    }
// clang-format on
#include "proto/schema.def"
#undef MSG
#undef F
#undef END

const char *msg_name(enum msg_id id)
{
    switch (id) {
#define MSG(name, id)                                                                                        \
    case MSG_ID_##name:                                                                                      \
        return #name;
#define F(kind, field)
#define END(name)
#include "proto/schema.def"
#undef MSG
#undef F
#undef END
    case MSG_ID_NONE:
        break;
    }
    return "?";
}

enum msg_id msg_id_of(struct span frame)
{
    struct wire w = wire_of(frame);
    uint32_t n, id;
    if (wire_array(&w, &n) || n == 0 || wire_u32(&w, &id)) return MSG_ID_NONE;
    return msg_name((enum msg_id)id)[0] == '?' ? MSG_ID_NONE : (enum msg_id)id;
}
