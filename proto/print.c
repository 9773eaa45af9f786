// SPDX-License-Identifier: Apache-2.0
/* print.c - msg_print: a frame as one line of JSON, for people and for jq. Text from outside is escaped,
 * never trusted: what is not UTF-8 shows as U+FFFD. */
#include "proto/msg.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

struct printer {
    struct msg_buf *out;
    uint32_t max_item;
    enum err e; /* the first failure; later calls are no-ops */
};

static void add(struct printer *p, const void *s, size_t n)
{
    if (!p->e) p->e = msg_buf_add(p->out, s, n);
}

static void addf(struct printer *p, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void addf(struct printer *p, const char *fmt, ...)
{
    char s[160];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(s, sizeof s, fmt, ap);
    va_end(ap);
    if (n > 0) add(p, s, (size_t)n < sizeof s ? (size_t)n : sizeof s - 1);
}

/* Length of the UTF-8 sequence at s[0], 0 when it is none (overlong, surrogate, beyond U+10FFFF, cut). */
static size_t utf8_len(const uint8_t *s, size_t n)
{
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (s[0] == 0xe0 && s[1] < 0xa0) return 0;
    if (s[0] == 0xed && s[1] > 0x9f) return 0;
    if (s[0] == 0xf0 && s[1] < 0x90) return 0;
    if (s[0] == 0xf4 && s[1] > 0x8f) return 0;
    return len;
}

static void add_str(struct printer *p, struct span s)
{
    add(p, "\"", 1);
    for (size_t i = 0; i < s.n && !p->e;) {
        uint8_t c = s.p[i];
        size_t len = utf8_len(s.p + i, s.n - i);
        if (len == 0)
            add(p, "\\ufffd", 6);
        else if (c == '"' || c == '\\')
            addf(p, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            addf(p, "\\u%04x", c);
        else
            add(p, s.p + i, len);
        i += len ? len : 1;
    }
    add(p, "\"", 1);
}

static void add_f32(struct printer *p, float v)
{
    if (isfinite(v))
        addf(p, "%.9g", (double)v);
    else /* JSON has no such numbers */
        addf(p, "\"%s\"", isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
}

static void show_BOOL(struct printer *p, bool v)
{
    addf(p, "%s", v ? "true" : "false");
}

static void show_U32(struct printer *p, uint32_t v)
{
    addf(p, "%" PRIu32, v);
}

static void show_U64(struct printer *p, uint64_t v)
{
    addf(p, "%" PRIu64, v);
}

static void show_F32(struct printer *p, float v)
{
    add_f32(p, v);
}

static void show_STR(struct printer *p, struct span v)
{
    add_str(p, v);
}

static void show_BIN(struct printer *p, struct span v)
{
    addf(p, "\"%zu bytes\"", v.n);
}

static void show_i32(struct printer *p, int32_t v)
{
    addf(p, "%" PRId32, v);
}

static void show_u8(struct printer *p, uint8_t v)
{
    addf(p, "%u", v);
}

#define SHOW_ARR(kind, at, show)                                                                             \
    static void show_##kind(struct printer *p, struct msg_arr v)                                             \
    {                                                                                                        \
        add(p, "[", 1);                                                                                      \
        for (uint32_t i = 0; i < v.n && i < p->max_item && !p->e; i++) {                                     \
            if (i) add(p, ",", 1);                                                                           \
            show(p, at(v, i));                                                                               \
        }                                                                                                    \
        if (v.n > p->max_item) addf(p, "%s\"... %" PRIu32 " in all\"", p->max_item ? "," : "", v.n);         \
        add(p, "]", 1);                                                                                      \
    }
SHOW_ARR(I32S, msg_i32_at, show_i32)
SHOW_ARR(U32S, msg_u32_at, show_U32)
SHOW_ARR(U64S, msg_u64_at, show_U64)
SHOW_ARR(F32S, msg_f32_at, add_f32)
SHOW_ARR(U8S, msg_u8_at, show_u8)

/* static enum err print_hello(frame, printer, why): decode, then each field in order */
// clang-format off
#define MSG(name, id)                                                 \
    static enum err print_##name(struct span frame, struct printer *p, struct why *why) \
    {                                                                 \
        struct msg_##name m;                                          \
        TRY(msg_get_##name(frame, &m, why));                          \
        addf(p, "{\"msg\":\"%s\"", #name);
#define F(kind, field)                                                \
        addf(p, ",\"%s\":", #field);                                  \
        show_##kind(p, m.field);
#define END(name)                                                     \
        add(p, "}", 2); /* and the NUL */                             \
        return p->e;                                                  \
    }
// clang-format on
#include "proto/schema.def"
#undef MSG
#undef F
#undef END

enum err msg_print(struct span frame, uint32_t max_item, struct msg_buf *out, struct why *why)
{
    struct printer p = {.out = out, .max_item = max_item};
    enum err e = ERR_FORMAT;
    out->n = 0;
    switch (msg_id_of(frame)) {
#define MSG(name, id)                                                                                        \
    case MSG_ID_##name:                                                                                      \
        e = print_##name(frame, &p, why);                                                                    \
        break;
#define F(kind, field)
#define END(name)
#include "proto/schema.def"
#undef MSG
#undef F
#undef END
    case MSG_ID_NONE:
        return why_set(why, ERR_FORMAT, "not a message of grpod");
    }
    if (!e) out->n--; /* the NUL is there but not counted */
    return e;
}
