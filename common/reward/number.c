// SPDX-License-Identifier: Apache-2.0
/* A number, by recursive descent over tokens with one token of lookahead:
 *
 *   answer   = [letter "="] signed
 *   signed   = [sign] value [percent | degree] [unit]
 *   value    = atom ["/" atom]          or a mixed number: integer, then a proper fraction
 *   atom     = literal | \frac arg arg | "(" signed ")" | "{" signed "}" | \text{signed}
 *   literal  = digits, grouped by commas or blanks, [. digits [\overline{digits}]] [e5 | \times 10^{5}]
 *
 * Sums, products and powers are not numbers: a model must not be paid for the question. */
#include "common/reward/number.h"

#include <string.h>

#include "common/reward/tex.h"

#define MAX_BYTES  4096
#define MAX_DIGITS 1000
#define MAX_EXP    1000
#define MAX_DEPTH  16
#define MAX_WORD   24

struct num {
    struct tex x;
    struct tex_tok t; /* the one that comes next */
    int depth;
    int paren; /* inside ( ), where a comma parts two items: (1,234) is a point */
};

static void next(struct num *n)
{
    n->t = tex__next(&n->x);
}

static bool is(const struct num *n, const char *s)
{
    return tex__is(n->t, s);
}

static bool eat(struct num *n, const char *s)
{
    if (!is(n, s)) return false;
    next(n);
    return true;
}

struct digits {
    char s[MAX_DIGITS + 1];
    unsigned n;
    bool over;
};

/* Digits that touch, the first may stand apart; how many. */
static unsigned run(struct num *n, struct digits *d)
{
    unsigned k = 0;
    for (; tex__digit(n->t) && (!k || !n->t.gap); k++, next(n)) {
        if (d->n == MAX_DIGITS)
            d->over = true;
        else
            d->s[d->n++] = (char)*n->t.s.p;
    }
    return k;
}

/* 1,234,567 and 1 234 567: groups of three behind the first; not 0,123, which elsewhere is a decimal. */
static bool grouped(struct num *n, struct digits *d)
{
    const unsigned first = run(n, d);
    if (!first || first > 3 || d->s[0] == '0') return first;
    const bool comma = !n->paren && is(n, ",") && !n->t.gap;
    for (;;) {
        const struct num before = *n;
        const unsigned n_before = d->n;
        if (comma && (!is(n, ",") || n->t.gap)) return true;
        if (comma) next(n);
        if (tex__digit(n->t) && n->t.gap != comma && run(n, d) == 3) continue;
        *n = before;
        d->n = n_before;
        return true;
    }
}

static bool small_int(struct num *n, long *ret)
{
    const bool neg = is(n, "-");
    if (neg || is(n, "+")) next(n);
    long v = 0;
    unsigned k = 0;
    for (; tex__digit(n->t) && (!k || !n->t.gap) && k < 6; k++, next(n)) v = v * 10 + (*n->t.s.p - '0');
    if (!k || v > MAX_EXP) return false;
    *ret = neg ? -v : v;
    return true;
}

/* e5, or \times 10^{5}. Absent is fine: *ret_exp stays. */
static bool exponent(struct num *n, long *ret_exp)
{
    if ((is(n, "e") || is(n, "E")) && !n->t.gap) {
        next(n);
        return small_int(n, ret_exp);
    }
    if (!is(n, "\\times") && !is(n, "\\cdot") && !is(n, "*")) return true;
    next(n);
    if (!eat(n, "1") || !eat(n, "0") || !eat(n, "^")) return false;
    if (eat(n, "{")) return small_int(n, ret_exp) && eat(n, "}");
    if (!tex__digit(n->t)) return false;
    *ret_exp = *n->t.s.p - '0'; /* 10^5; of 10^52 TeX takes the 5 alone, and the 2 then ends the number */
    next(n);
    return true;
}

static void scale_ten(mpq_t q, long e)
{
    mpz_t p;
    mpz_init(p);
    mpz_ui_pow_ui(p, 10, (unsigned long)(e < 0 ? -e : e));
    if (e < 0)
        mpz_mul(mpq_denref(q), mpq_denref(q), p);
    else
        mpz_mul(mpq_numref(q), mpq_numref(q), p);
    mpz_clear(p);
    mpq_canonicalize(q);
}

/* q = digits; with n_rep of them repeating for ever: (all - those before) / (10^n_rep - 1). */
static void set_digits(mpq_t q, struct digits *d, unsigned n_rep)
{
    mpz_t z;
    d->s[d->n] = 0;
    mpz_set_str(mpq_numref(q), d->s, 10);
    mpz_set_ui(mpq_denref(q), 1);
    if (!n_rep) return;
    mpz_init(z);
    d->s[d->n - n_rep] = 0;
    if (d->n > n_rep) mpz_set_str(z, d->s, 10);
    mpz_sub(mpq_numref(q), mpq_numref(q), z);
    mpz_ui_pow_ui(mpq_denref(q), 10, n_rep);
    mpz_sub_ui(mpq_denref(q), mpq_denref(q), 1);
    mpz_clear(z);
    mpq_canonicalize(q);
}

/* *ret_whole: digits alone, which a proper fraction may follow. */
static bool literal(struct num *n, mpq_t q, bool *ret_whole)
{
    struct digits d = {.n = 0};
    unsigned n_frac = 0, n_rep = 0;
    long e = 0;
    const bool some = grouped(n, &d);
    struct num before = *n;
    const bool point = is(n, ".") && !(some && n->t.gap);
    if (point) {
        next(n);
        if (!n->t.gap) n_frac = run(n, &d);
        if (is(n, "\\overline")) {
            next(n);
            if (!eat(n, "{") || !(n_rep = run(n, &d)) || !eat(n, "}")) return false;
        }
        if (!n_frac && !n_rep) *n = before; /* a full stop */
    }
    before = *n;
    if (d.over || (!some && !n_frac && !n_rep) || !exponent(n, &e)) return false;
    *ret_whole = !n_frac && !n_rep && before.x.p == n->x.p;
    set_digits(q, &d, n_rep);
    scale_ten(q, e - (long)n_frac);
    return true;
}

static bool full(struct num *n, mpq_t q);
static bool atom(struct num *n, mpq_t q, bool *ret_whole);

static bool divide(mpq_t q, mpq_t by)
{
    if (!mpq_sgn(by)) return false;
    mpq_div(q, q, by);
    return true;
}

/* {signed}, or a single digit as in \frac12. */
static bool argument(struct num *n, mpq_t q)
{
    if (eat(n, "{")) return full(n, q) && eat(n, "}");
    if (!tex__digit(n->t)) return false;
    mpq_set_ui(q, (unsigned long)(*n->t.s.p - '0'), 1);
    next(n);
    return true;
}

static bool is_frac(const struct num *n)
{
    return is(n, "\\frac") || is(n, "\\dfrac") || is(n, "\\tfrac") || is(n, "\\cfrac");
}

static bool frac(struct num *n, mpq_t q)
{
    mpq_t by;
    next(n);
    mpq_init(by);
    const bool ok = argument(n, q) && argument(n, by) && divide(q, by);
    mpq_clear(by);
    return ok;
}

static bool atom(struct num *n, mpq_t q, bool *ret_whole)
{
    if (tex__digit(n->t) || is(n, ".")) return literal(n, q, ret_whole);
    if (is_frac(n)) return frac(n, q);
    if (eat(n, "(")) {
        n->paren++;
        const bool ok = full(n, q);
        n->paren--;
        return ok && eat(n, ")");
    }
    if (tex__wrapper(n->t)) {
        next(n);
        if (!is(n, "{")) return false;
    }
    return eat(n, "{") && full(n, q) && eat(n, "}");
}

/* Behind an integer: a proper fraction makes a mixed number. Something else is left where it is. */
static bool mixed(struct num *n, mpq_t q)
{
    bool whole = false, ok;
    const bool digits = tex__digit(n->t) && n->t.gap;
    if (!is_frac(n) && !digits) return true;
    mpq_t f, by;
    mpq_inits(f, by, NULL);
    ok = digits ? literal(n, f, &whole) && whole && eat(n, "/") && atom(n, by, &whole) && whole && divide(f, by) : frac(n, f);
    ok = ok && mpq_sgn(f) > 0 && mpq_cmp_ui(f, 1, 1) < 0;
    mpq_add(q, q, f);
    mpq_clears(f, by, NULL);
    return ok;
}

static bool value(struct num *n, mpq_t q)
{
    bool whole = false, ok = true;
    if (!atom(n, q, &whole)) return false;
    if (whole && (is_frac(n) || tex__digit(n->t))) return mixed(n, q);
    if (!eat(n, "/")) return true;
    mpq_t by;
    mpq_init(by);
    ok = atom(n, by, &whole) && divide(q, by);
    mpq_clear(by);
    return ok;
}

static bool in_list(const char *word, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(word, *list)) return true;
    return false;
}

/* Words in \text{} that are more than a unit. */
static bool is_no_unit(const char *word)
{
    static const char *const words[] = {"or",    "and",     "to",   "by",   "over",   "times",   "plus",    "minus",    "negative", "not",
                                        "mod",   "choose",  "half", "base", "dozen",  "hundred", "percent", "thousand", "million",  "billion",
                                        "about", "x",      "y",    "z",     "n",       "pi",   "than",     "least",    "most",
                                        NULL};
    return in_list(word, words);
}

/* Words that may follow a number bare. */
static bool is_unit(const char *word)
{
    static const char *const words[] = {
        "cm",     "mm",      "km",      "meter",  "meters", "centimeter", "centimeters", "kilometer", "kilometers", "inch",  "inches", "foot",
        "feet",   "ft",      "yard",    "yards",  "mile",   "miles",      "mph",         "kmph",      "kg",         "gram",  "grams",  "kilogram",
        "kilograms", "pound", "pounds", "lb",     "lbs",    "ounce",      "ounces",      "oz",        "liter",      "liters", "ml",    "gallon",
        "gallons", "second", "seconds", "minute", "minutes", "hour",      "hours",       "day",       "days",       "week",  "weeks",  "month",
        "months", "year",    "years",   "dollar", "dollars", "cent",      "cents",       "degree",    "degrees",    "square", "sq",    "cubic",
        "per",    "unit",    "units",   "point",  "points", NULL};
    return in_list(word, words);
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* ^2 or ^{2} behind a unit. */
static bool unit_power(struct num *n)
{
    if (!eat(n, "^")) return true;
    const bool brace = eat(n, "{");
    if (!tex__digit(n->t)) return false;
    next(n);
    return !brace || eat(n, "}");
}

/* Words up to what is no letter; each must pass. */
static bool words(struct num *n, bool bare)
{
    while (tex__letter(n->t)) {
        char word[MAX_WORD];
        unsigned k = 0;
        for (; tex__letter(n->t) && (!k || !n->t.gap); next(n)) {
            if (k == MAX_WORD - 1) return false;
            word[k++] = (char)lower(*n->t.s.p);
        }
        word[k] = 0;
        if (bare ? !is_unit(word) : is_no_unit(word)) return false;
        if (!unit_power(n)) return false;
        while (!bare && (is(n, ".") || is(n, "/") || is(n, "-"))) next(n);
    }
    return true;
}

static bool suffix(struct num *n, mpq_t q)
{
    if (eat(n, "%")) {
        scale_ten(q, -2);
    } else if (eat(n, "^")) {
        const bool brace = eat(n, "{");
        if (!eat(n, "\\circ") || (brace && !eat(n, "}"))) return false;
    } else {
        eat(n, "\\degree");
    }
    if (!tex__wrapper(n->t)) return words(n, true);
    next(n);
    return eat(n, "{") && words(n, false) && eat(n, "}") && unit_power(n);
}

/* [sign] value [suffix] */
static bool full(struct num *n, mpq_t q)
{
    if (n->depth == MAX_DEPTH) return false;
    n->depth++;
    const bool neg = is(n, "-");
    if (neg || is(n, "+")) next(n);
    const bool ok = value(n, q) && suffix(n, q);
    if (neg) mpq_neg(q, q);
    n->depth--;
    return ok;
}

/* "x =" before a number says nothing about it. */
static void skip_name(struct num *n)
{
    const struct num before = *n;
    if (!tex__letter(n->t) && !(n->t.s.n > 1 && *n->t.s.p == '\\')) return;
    next(n);
    if (!eat(n, "=")) *n = before;
}

bool number__parse(struct span s, mpq_t ret_q)
{
    s = tex__trim(s);
    if (s.n > MAX_BYTES) return false;
    struct num n = {.x = tex__of(s)};
    next(&n);
    skip_name(&n);
    return full(&n, ret_q) && n.t.s.n == 0;
}
