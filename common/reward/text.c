// SPDX-License-Identifier: Apache-2.0
#include "common/reward/text.h"

#include "common/reward/tex.h"

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

static bool same_letter(struct tex_tok a, struct tex_tok b)
{
    return tex__letter(a) && tex__letter(b) && (*a.s.p | 0x20) == (*b.s.p | 0x20);
}

/* A choice as "C" or "(C)": the letter, else 0. */
static uint8_t choice(struct span s)
{
    struct flat f = {.x = tex__of(s)};
    struct tex_tok t = flat_next(&f);
    const bool paren = tex__is(t, "(");
    if (paren) t = flat_next(&f);
    if (!tex__letter(t) || (paren && !tex__is(flat_next(&f), ")"))) return 0;
    return flat_next(&f).s.n ? 0 : *t.s.p;
}

bool text__equal(struct span a, struct span b)
{
    struct flat fa = {.x = tex__of(a)}, fb = {.x = tex__of(b)};
    bool cases = false, words = true; /* a letter differs in case; all are letters */
    for (size_t n = 0;; n++) {
        const struct tex_tok ta = flat_next(&fa), tb = flat_next(&fb);
        if (!ta.s.n && !tb.s.n) return !cases || n > 1;
        words = words && tex__letter(ta);
        if (!span_eq(ta.s, tb.s)) cases = true;
        if (cases && (!words || !(span_eq(ta.s, tb.s) || same_letter(ta, tb)))) break;
    }
    const uint8_t c = choice(a);
    return c && c == choice(b);
}

