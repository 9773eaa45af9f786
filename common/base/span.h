// SPDX-License-Identifier: Apache-2.0
/* span.h - borrowed bytes with their length; never owns, never NUL-terminated. */
#ifndef COMMON_BASE_SPAN_H
#define COMMON_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *p;
    size_t n;
};

static inline struct span span_of(const void *p, size_t n)
{
    struct span s;
    s.p = (const uint8_t *)p;
    s.n = n;
    return s;
}

static inline struct span span_str(const char *s)
{
    return span_of(s, strlen(s));
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool span_eq_str(struct span a, const char *s)
{
    return span_eq(a, span_str(s));
}

#endif
