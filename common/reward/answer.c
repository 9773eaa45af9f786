// SPDX-License-Identifier: Apache-2.0
#include <gmp.h>

#include "common/reward/number.h"
#include "common/reward/reward.h"
#include "common/reward/tex.h"
#include "common/reward/text.h"

/* Is the byte at i escaped, that is, behind an odd number of backslashes? */
static bool escaped(struct span s, size_t i)
{
    size_t k = i;
    while (k && s.p[k - 1] == '\\') k--;
    return (i - k) & 1;
}

/* Does \boxed or \fbox stand before the brace at i? */
static bool is_box(struct span s, size_t i)
{
    while (i && (s.p[i - 1] == ' ' || s.p[i - 1] == '\n')) i--;
    return (i >= 6 && !memcmp(s.p + i - 6, "\\boxed", 6)) || (i >= 5 && !memcmp(s.p + i - 5, "\\fbox", 5));
}

/* The contents of the last box that is closed. From the end, a brace is closed when more have closed than opened behind it. */
static bool last_box(struct span s, struct span *ret)
{
    size_t closing = 0;
    for (size_t i = s.n; i-- > 0;) {
        if ((s.p[i] != '{' && s.p[i] != '}') || escaped(s, i)) continue;
        if (s.p[i] == '}') {
            closing++;
        } else if (closing) {
            closing--;
            if (!is_box(s, i)) continue;
            size_t end = i + 1;
            for (size_t depth = 1; depth; end++)
                if ((s.p[end] == '{' || s.p[end] == '}') && !escaped(s, end)) depth += s.p[end] == '{' ? 1 : (size_t)-1;
            *ret = span_of(s.p + i + 1, end - i - 2);
            return true;
        }
    }
    return false;
}

static bool last_marked(struct span s, struct span *ret)
{
    for (size_t i = s.n; i-- >= 4;) {
        if (memcmp(s.p + i - 3, "####", 4)) continue;
        const uint8_t *from = s.p + i + 1, *nl = memchr(from, '\n', s.n - i - 1);
        *ret = span_of(from, (size_t)((nl ? nl : s.p + s.n) - from));
        return true;
    }
    return false;
}

bool answer_extract(struct span text, struct span *ret)
{
    struct span s;
    if (!last_box(text, &s) && !last_marked(text, &s)) return false;
    *ret = tex__trim(s);
    return true;
}

#define MAX_LIST_BYTES 4096
#define MAX_ITEM       16
#define MAX_LEVEL      3

/* "(a, b)", "[a, b)", "\{a, b\}" or "a, b". */
struct list {
    struct span open, close; /* the brackets; n == 0: none */
    struct span item[MAX_ITEM];
    unsigned n;
};

static bool is_any(struct span t, const char *const *list)
{
    for (; *list; list++)
        if (span_eq_str(t, *list)) return true;
    return false;
}

/* Split at commas that stand in no bracket but the outer one, if that is asked for. false: no list of 2 to MAX_ITEM items. */
static bool split(struct span s, bool bracket, struct list *l)
{
    static const char *const opens[] = {"(", "[", "{", "\\{", NULL}, *const closes[] = {")", "]", "}", "\\}", NULL};
    struct tex x = tex__of(s);
    *l = (struct list){0};
    if (bracket) l->open = tex__next(&x).s;
    if (bracket && (span_eq_str(l->open, "{") || !is_any(l->open, opens))) return false;
    const uint8_t *from = x.p;
    for (int depth = 0;;) {
        const uint8_t *at = x.p;
        const struct span t = tex__next(&x).s;
        const bool last = depth == 0 && (bracket ? is_any(t, closes) : t.n == 0);
        if (last || (depth == 0 && span_eq_str(t, ","))) {
            if (l->n == MAX_ITEM) return false;
            l->item[l->n++] = span_of(from, (size_t)(at - from));
            from = x.p;
        }
        if (last && bracket) l->close = t;
        if (last) return l->n > 1 && tex__next(&x).s.n == 0;
        depth += is_any(t, opens) - is_any(t, closes);
        if (t.n == 0 || depth < 0) return false;
    }
}

static bool as_list(struct span s, struct list *l)
{
    return s.n <= MAX_LIST_BYTES && (split(s, true, l) || split(s, false, l));
}

static bool equal(struct span a, struct span b, int level);

/* Brackets keep their order; bare lists and sets, at the outermost level, do not. */
static bool equal_lists(const struct list *a, const struct list *b, int level)
{
    const bool set_a = !a->open.n || span_eq_str(a->open, "\\{"), set_b = !b->open.n || span_eq_str(b->open, "\\{");
    if (a->n != b->n || set_a != set_b) return false;
    if (!set_a && (!span_eq(a->open, b->open) || !span_eq(a->close, b->close))) return false;
    uint32_t used = 0;
    for (unsigned i = 0; i < a->n; i++) {
        unsigned k = i;
        if (set_a && level == 0)
            for (k = 0; k < b->n && ((used >> k & 1) || !equal(a->item[i], b->item[k], level + 1));) k++;
        else if (!equal(a->item[i], b->item[i], level + 1))
            return false;
        if (k == b->n) return false;
        used |= UINT32_C(1) << k;
    }
    return true;
}

/* Without "x =" or "x \in" at its front. */
static struct span unnamed(struct span s)
{
    struct tex x = tex__of(s);
    const struct tex_tok name = tex__next(&x), is = tex__next(&x);
    if (!tex__letter(name) || !(tex__is(is, "=") || tex__is(is, "\\in"))) return s;
    return span_of(x.p, (size_t)(x.end - x.p));
}

static bool equal(struct span a, struct span b, int level)
{
    mpq_t qa, qb;
    struct list la, lb;
    mpq_inits(qa, qb, NULL);
    const bool is_a = number__parse(a, qa), is_b = number__parse(b, qb), same = is_a && is_b && mpq_equal(qa, qb);
    mpq_clears(qa, qb, NULL);
    if (is_a || is_b) return same; /* 1,234 is no list of two */
    a = unnamed(tex__trim(a));
    b = unnamed(tex__trim(b));
    if (level < MAX_LEVEL && as_list(a, &la) && as_list(b, &lb)) return equal_lists(&la, &lb, level);
    return text__equal(a, b);
}

bool answer_equal(struct span a, struct span b)
{
    return equal(a, b, 0);
}
