// SPDX-License-Identifier: Apache-2.0
#include "common/reward/tex.h"

struct tex tex__of(struct span s)
{
    return (struct tex){s.p, s.p + s.n};
}

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool listed(struct span s, const char *const *list)
{
    for (; *list; list++)
        if (span_eq_str(s, *list)) return true;
    return false;
}

static const struct sign {
    const char *utf8, *tex;
} signs[] = {{"\xe2\x88\x92", "-"}, {"\xc3\x97", "\\times"}, {"\xc2\xb0", "\\degree"}, {"\xcf\x80", "\\pi"}, {"\xc2\xa0", ""}};

/* The sign at p, or NULL. */
static const struct sign *sign_at(const uint8_t *p, size_t n)
{
    for (unsigned i = 0; i < sizeof signs / sizeof *signs; i++) {
        const size_t k = strlen(signs[i].utf8);
        if (n >= k && !memcmp(p, signs[i].utf8, k)) return &signs[i];
    }
    return NULL;
}

/* The token at a backslash; n == 0 when it only sets type. Moves x behind it. */
static struct span after_backslash(struct tex *x, bool *gap)
{
    static const char *const sets_type[] = {"\\left", "\\right", "\\displaystyle", "\\textstyle", "\\quad", "\\qquad",
                                            "\\big", "\\Big", "\\bigl", "\\bigr", NULL};
    const uint8_t *from = x->p++;
    if (x->p == x->end) return span_of(from, 1);
    const uint8_t c = *x->p;
    if (is_letter(c)) {
        while (x->p < x->end && is_letter(*x->p)) x->p++;
        const struct span s = span_of(from, (size_t)(x->p - from));
        if (!listed(s, sets_type)) return s;
        *gap = true;
        return span_of(from, 0);
    }
    x->p++;
    if (c == '{' || c == '}' || c == '\\') return span_of(from, 2);
    if (c == ',' || c == ';' || c == ':' || is_blank(c)) *gap = true;
    while (c == '!' && x->p < x->end && is_blank(*x->p)) x->p++; /* it takes space away: 11,\! 000 */
    if (c && strchr(",;:!$()[] \t\r\n", c)) return span_of(from, 0);
    return span_of(from + 1, 1); /* \% and the like */
}

struct tex_tok tex__next(struct tex *x)
{
    struct tex_tok t = {.s = {x->end, 0}};
    while (x->p < x->end) {
        const size_t left = (size_t)(x->end - x->p);
        if (is_blank(*x->p) || *x->p == '~') {
            x->p++;
            t.gap = true;
        } else if (*x->p == '$') {
            x->p++;
        } else if (*x->p == '\\') {
            t.s = after_backslash(x, &t.gap);
            if (t.s.n) return t;
        } else if (left >= 3 && !memcmp(x->p, "{,}", 3)) {
            t.s = span_of(x->p + 1, 1);
            x->p += 3;
            return t;
        } else {
            const struct sign *sign = *x->p < 0x80 ? NULL : sign_at(x->p, left);
            t.s = sign ? span_str(sign->tex) : span_of(x->p, 1);
            x->p += sign ? strlen(sign->utf8) : 1;
            if (t.s.n) return t;
            t.gap = true;
        }
    }
    t.s = span_of(x->end, 0);
    return t;
}

bool tex__is(struct tex_tok t, const char *s)
{
    return span_eq_str(t.s, s);
}

bool tex__digit(struct tex_tok t)
{
    return t.s.n == 1 && *t.s.p >= '0' && *t.s.p <= '9';
}

bool tex__letter(struct tex_tok t)
{
    return t.s.n == 1 && is_letter(*t.s.p);
}

bool tex__wrapper(struct tex_tok t)
{
    static const char *const names[] = {"\\text", "\\textbf", "\\textit", "\\textrm", "\\textnormal", "\\mathrm", "\\mathbf", "\\mathit",
                                        "\\mathsf", "\\mbox", "\\hbox", "\\operatorname", "\\boxed", "\\fbox", NULL};
    return listed(t.s, names);
}

struct span tex__trim(struct span s)
{
    bool again = true;
    while (again) {
        again = false;
        while (s.n && (is_blank(*s.p) || *s.p == '$')) s.p++, s.n--, again = true;
        while (s.n && (is_blank(s.p[s.n - 1]) || (s.p[s.n - 1] == '$' && (s.n < 2 || s.p[s.n - 2] != '\\')))) s.n--, again = true;
        if (s.n > 1 && s.p[s.n - 1] == '.' && s.p[s.n - 2] != '.') s.n--, again = true;
        if (s.n > 4 && !memcmp(s.p, "**", 2) && !memcmp(s.p + s.n - 2, "**", 2)) s.p += 2, s.n -= 4, again = true;
    }
    return s;
}
