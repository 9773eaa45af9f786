// SPDX-License-Identifier: Apache-2.0
#include <gmp.h>

#include "common/reward/number.h"
#include "common/reward/reward.h"
#include "common/reward/tex.h"

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

/* Tokens as two writers of the same text would agree on them: wrappers and braces around one token are left out,
 * \dfrac is \frac. */
struct flat {
    struct tex x;
    uint64_t dropped; /* bit d: the brace open at depth d was left out */
    unsigned depth;
};

static void push(struct flat *f, bool drop)
{
    if (f->depth < 64) f->dropped = (f->dropped & ~(UINT64_C(1) << f->depth)) | (uint64_t)drop << f->depth;
    f->depth++;
}

static bool pop(struct flat *f)
{
    if (!f->depth) return false;
    f->depth--;
    return f->depth < 64 && (f->dropped >> f->depth & 1);
}

static struct tex_tok common_name(struct tex_tok t)
{
    static const char *const pair[][2] = {{"\\dfrac", "\\frac"}, {"\\tfrac", "\\frac"}, {"\\cfrac", "\\frac"},
                                          {"\\le", "\\leq"},     {"\\ge", "\\geq"},     {"\\ne", "\\neq"}};
    for (unsigned i = 0; i < sizeof pair / sizeof *pair; i++)
        if (tex__is(t, pair[i][0])) t.s = span_str(pair[i][1]);
    return t;
}

static struct tex_tok flat_next(struct flat *f)
{
    for (;;) {
        const struct tex_tok t = tex__next(&f->x);
        struct tex ahead = f->x;
        if (tex__wrapper(t)) {
            if (tex__is(tex__next(&ahead), "{")) {
                f->x = ahead;
                push(f, true);
            }
        } else if (tex__is(t, "{")) {
            const struct tex_tok one = tex__next(&ahead);
            if (!tex__wrapper(one) && tex__is(tex__next(&ahead), "}") && !tex__is(one, "{") && !tex__is(one, "}")) {
                f->x = ahead;
                return common_name(one);
            }
            push(f, false);
            return t;
        } else if (!tex__is(t, "}") || !pop(f)) {
            return common_name(t);
        }
    }
}

static bool equal_text(struct span a, struct span b)
{
    struct flat fa = {.x = tex__of(a)}, fb = {.x = tex__of(b)};
    for (;;) {
        const struct tex_tok ta = flat_next(&fa), tb = flat_next(&fb);
        if (!span_eq(ta.s, tb.s)) return false;
        if (!ta.s.n) return true;
    }
}

bool answer_equal(struct span a, struct span b)
{
    mpq_t qa, qb;
    mpq_inits(qa, qb, NULL);
    const bool numbers = number__parse(a, qa) && number__parse(b, qb), same = numbers && mpq_equal(qa, qb);
    mpq_clears(qa, qb, NULL);
    return numbers ? same : equal_text(tex__trim(a), tex__trim(b));
}
