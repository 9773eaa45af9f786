// SPDX-License-Identifier: Apache-2.0
/* Recursive descent over the pattern, printing as it goes. Literals are printed as \x{...}, so nothing in the
 * output is left to PCRE2's own reading. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "common/model/tok_regex.h"

#include <pcre2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/model/unicode_table.h"
#include "common/model/utf8.h"

#define PATTERN_MAX 4096
#define DEPTH_MAX   16
#define REPEAT_MAX  1000
#define STACK_MAX   (8u << 20)
#define STEPS_MIN   10000000u /* PCRE2's own limit; a text gets more if it is long */
#define STEPS_BYTE  16u

/* White_Space, and all that is not. */
#define SPACES                                                                                               \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{" \
    "3000}"
#define NOT_SPACES                                                                                           \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"          \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

struct tok_regex {
    pcre2_code *code;
    bool jit;
};

struct reader {
    const uint8_t *p, *end;
    char *out;
    size_t n, cap;
    unsigned depth;
    bool caseless;
    uint8_t last; /* the letter before, in a caseless group */
    bool repeats; /* the group so far has an unbounded repeat, or a group that repeats */
    struct why *why;
};

/* p stands before one of these marks. */
static bool at_mark(const struct reader *r, const char *marks)
{
    return r->p < r->end && *r->p && strchr(marks, *r->p);
}

static enum err refuse(struct reader *r, enum err e, const char *what, const uint8_t *at)
{
    const size_t n = (size_t)(r->end - at);
    return why_set(r->why, e, "%s at \"%.*s\"", what, (int)(n < 16 ? n : 16), (const char *)at);
}

static enum err print(struct reader *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
static enum err print(struct reader *r, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    const size_t k = (size_t)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (r->n + k + 1 > r->cap) {
        const size_t cap = 2 * (r->n + k + 1);
        char *p = realloc(r->out, cap);
        if (!p) return why_set(r->why, ERR_NOMEM, "out of memory");
        r->out = p;
        r->cap = cap;
    }
    memcpy(r->out + r->n, text, k + 1);
    r->n += k;
    return ERR_OK;
}

/* Next character, which is there. */
static enum err take(struct reader *r, uint32_t *ret_cp)
{
    enum utf8_kind kind;
    const uint8_t *at = r->p;
    if (r->p == r->end) return refuse(r, ERR_FORMAT, "the expression ends too early", at);
    r->p += utf8_next(r->p, r->end, &kind, ret_cp);
    return kind == UTF8_OK ? ERR_OK : refuse(r, ERR_FORMAT, "not UTF-8", at);
}

static bool next_is(const struct reader *r, const char *s)
{
    const size_t n = strlen(s);
    return (size_t)(r->end - r->p) >= n && !memcmp(r->p, s, n);
}

/* Two letters that case folding makes of one character (ss of U+00DF, ff fi fl st of the ligatures):
 * Oniguruma would match that too. */
static enum err check_caseless(struct reader *r, uint32_t cp, const uint8_t *at)
{
    static const char *const folds[] = {"ss", "ff", "fi", "fl", "st"};
    if (cp >= 0x80) return refuse(r, ERR_UNSUPPORTED, "a letter outside ASCII under (?i:", at);
    const char two[3] = {(char)r->last, (char)(cp >= 'A' && cp <= 'Z' ? cp + 32 : cp), 0};
    for (unsigned i = 0; i < sizeof folds / sizeof *folds; i++)
        if (!strcmp(folds[i], two))
            return refuse(r, ERR_UNSUPPORTED, "letters that may be one under (?i:", at);
    r->last = (uint8_t)two[1];
    return ERR_OK;
}

static enum err literal(struct reader *r, uint32_t cp, const uint8_t *at)
{
    if (r->caseless) TRY(check_caseless(r, cp, at));
    return print(r, "\\x{%x}", cp);
}

/* What a category has beyond PCRE2's own. Neighbouring ranges of it are printed as one. */
static enum err print_new(struct reader *r, const char *name)
{
    for (uint32_t i = 0; i < UNICODE_N_NEW; i++) {
        const struct unicode_range *a = &unicode_new[i];
        if (strncmp(a->category, name, strlen(name))) continue;
        while (i + 1 < UNICODE_N_NEW && unicode_new[i + 1].first == unicode_new[i].last + 1 &&
               !strncmp(unicode_new[i + 1].category, name, strlen(name)))
            i++;
        TRY(print(r, "\\x{%x}-\\x{%x}", a->first, unicode_new[i].last));
    }
    return ERR_OK;
}

/* \p{X} and \P{X}, p stands behind the letter. General categories only, and not those whose complement would
 * have to be corrected (C, and Mn apart from Mc). */
static enum err property(struct reader *r, bool negated, bool in_class, const uint8_t *at)
{
    static const char *const names[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "N",  "Nd", "Nl",
                                        "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",
                                        "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Cc", "Cf"};
    if (r->caseless) return refuse(r, ERR_UNSUPPORTED, "a property under (?i:", at);
    if (negated && in_class) return refuse(r, ERR_UNSUPPORTED, "\\P inside a set", at);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        char braced[8];
        snprintf(braced, sizeof braced, "{%s}", names[i]);
        if (!next_is(r, braced)) continue;
        r->p += strlen(braced);
        TRY(print(r, "%s\\p%s", in_class ? "" : negated ? "[^" : "[", braced));
        TRY(print_new(r, names[i]));
        return in_class ? ERR_OK : print(r, "]");
    }
    return refuse(r, ERR_UNSUPPORTED, "property", at);
}

/* After a backslash. A single character goes to *ret_cp; a set is printed, and *ret_cp is UINT32_MAX. */
static enum err escape(struct reader *r, bool in_class, uint32_t *ret_cp)
{
    const uint8_t *at = r->p - 1;
    uint32_t c;
    TRY(take(r, &c));
    *ret_cp = UINT32_MAX;
    if (c < 0x80 && !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) {
        *ret_cp = c;
        return ERR_OK;
    }
    switch (c) {
    case 'r':
        *ret_cp = '\r';
        return ERR_OK;
    case 'n':
        *ret_cp = '\n';
        return ERR_OK;
    case 't':
        *ret_cp = '\t';
        return ERR_OK;
    case 'f':
        *ret_cp = '\f';
        return ERR_OK;
    case 'v':
        *ret_cp = '\v';
        return ERR_OK;
    case 's':
        return print(r, in_class ? SPACES : "[" SPACES "]");
    case 'S':
        return print(r, in_class ? NOT_SPACES : "[^" SPACES "]");
    case 'p':
    case 'P':
        return property(r, c == 'P', in_class, at);
    default:
        return refuse(r, ERR_UNSUPPORTED, "escape", at);
    }
}

/* One character of a class, or a set (UINT32_MAX, printed). */
static enum err class_item(struct reader *r, uint32_t *ret_cp)
{
    const uint8_t *at = r->p;
    if (next_is(r, "[") || next_is(r, "&&")) return refuse(r, ERR_UNSUPPORTED, "a set inside a set", at);
    TRY(take(r, ret_cp));
    return *ret_cp == '\\' ? escape(r, true, ret_cp) : ERR_OK;
}

static enum err class_(struct reader *r, const uint8_t *at)
{
    if (r->caseless) return refuse(r, ERR_UNSUPPORTED, "a set under (?i:", at);
    const bool negated = next_is(r, "^");
    r->p += negated;
    TRY(print(r, negated ? "[^" : "["));
    if (next_is(r, "]")) return refuse(r, ERR_UNSUPPORTED, "a set that starts with ]", at);
    while (!next_is(r, "]")) {
        uint32_t a, b;
        const uint8_t *item = r->p;
        if (next_is(r, "-") && r->p + 1 < r->end && r->p[1] != ']' && r->p > at + 1 + negated)
            return refuse(r, ERR_UNSUPPORTED, "a bare - inside a set", item);
        TRY(class_item(r, &a));
        if (a == UINT32_MAX) continue;
        TRY(print(r, "\\x{%x}", a));
        if (!next_is(r, "-") || (r->p + 1 < r->end && r->p[1] == ']')) continue;
        r->p++;
        const size_t n = r->n;
        TRY(class_item(r, &b));
        if (b == UINT32_MAX || b < a) {
            r->n = n;
            return refuse(r, ERR_FORMAT, "a range that ends before it starts", item);
        }
        TRY(print(r, "-\\x{%x}", b));
    }
    r->p++;
    return print(r, "]");
}

static enum err number(struct reader *r, unsigned *ret)
{
    const uint8_t *at = r->p;
    unsigned n = 0;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9' && n <= REPEAT_MAX) n = 10 * n + (*r->p++ - '0');
    if (r->p == at || n > REPEAT_MAX) return refuse(r, ERR_UNSUPPORTED, "repeat count", at);
    *ret = n;
    return ERR_OK;
}

/* {n} {n,} {n,m}; p stands after the brace. */
static enum err interval(struct reader *r, bool *ret_unbounded, bool *ret_many)
{
    const uint8_t *at = r->p - 1;
    unsigned lo = 0, hi;
    TRY(number(r, &lo));
    hi = lo;
    *ret_unbounded = false;
    if (next_is(r, ",")) {
        r->p++;
        *ret_unbounded = next_is(r, "}");
        if (!*ret_unbounded) TRY(number(r, &hi));
    }
    if (!next_is(r, "}") || hi < lo) return refuse(r, ERR_UNSUPPORTED, "repeat", at);
    r->p++;
    if (at_mark(r, "?+*{")) return refuse(r, ERR_UNSUPPORTED, "a mark after a repeat count", r->p);
    *ret_many = *ret_unbounded || hi > 1;
    return *ret_unbounded ? print(r, "{%u,}", lo) : print(r, "{%u,%u}", lo, hi);
}

/* What may follow an item: nothing, or one quantifier. inner: the item is a group that repeats inside. */
static enum err quantifier(struct reader *r, bool inner)
{
    const uint8_t *at = r->p;
    bool unbounded = false, many = false;
    if (!at_mark(r, "?*+{")) return ERR_OK;
    const char c = (char)*r->p++;
    if (r->caseless) return refuse(r, ERR_UNSUPPORTED, "a repeat under (?i:", at);
    if (c == '{') {
        TRY(interval(r, &unbounded, &many));
    } else {
        unbounded = many = c != '?';
        TRY(print(r, "%c", c));
        if (at_mark(r, "?+")) TRY(print(r, "%c", *r->p++));
        if (at_mark(r, "?+*{")) return refuse(r, ERR_UNSUPPORTED, "a repeat of a repeat", at);
    }
    if (inner && many) return refuse(r, ERR_UNSUPPORTED, "a repeated group that repeats inside", at);
    r->repeats |= unbounded;
    return ERR_OK;
}

static enum err alternatives(struct reader *r);

/* p stands after the parenthesis. */
static enum err group(struct reader *r, const uint8_t *at)
{
    static const char *const opens[] = {"?:", "?i:", "?=", "?!", "?<=", "?<!"};
    const bool caseless = r->caseless, repeats = r->repeats;
    const char *open = NULL;
    if (++r->depth > DEPTH_MAX) return refuse(r, ERR_UNSUPPORTED, "groups nested too deep", at);
    for (unsigned i = 0; i < sizeof opens / sizeof *opens; i++)
        if (next_is(r, opens[i])) open = opens[i];
    if (!open && next_is(r, "?")) return refuse(r, ERR_UNSUPPORTED, "group", at);
    if (open) r->p += strlen(open);
    TRY(print(r, "(%s", open ? open : "?:"));
    r->caseless |= open && !strcmp(open, "?i:");
    r->repeats = false;
    r->last = 0;
    TRY(alternatives(r));
    if (!next_is(r, ")")) return refuse(r, ERR_FORMAT, "a group without an end", at);
    r->p++;
    r->depth--;
    r->caseless = caseless;
    r->last = 0;
    const bool inner = r->repeats, looks = open && open[1] != ':' && open[1] != 'i';
    r->repeats |= repeats;
    TRY(print(r, ")"));
    if (looks && at_mark(r, "?*+{")) return refuse(r, ERR_UNSUPPORTED, "a repeated look-around", at);
    return quantifier(r, inner);
}

static enum err item(struct reader *r)
{
    const uint8_t *at = r->p;
    uint32_t c;
    TRY(take(r, &c));
    if (c == '(') return group(r, at);
    if (c == '[') {
        TRY(class_(r, at));
    } else if (c == '\\') {
        TRY(escape(r, false, &c));
        if (c != UINT32_MAX) TRY(literal(r, c, at));
    } else if (c == '.') {
        TRY(print(r, "[^\\x{a}]"));
    } else if (c && c < 0x80 && strchr("^$?*+{", (int)c)) {
        return refuse(r, ERR_UNSUPPORTED, c == '^' || c == '$' ? "anchor" : "a repeat of nothing", at);
    } else {
        TRY(literal(r, c, at));
    }
    return quantifier(r, false);
}

static enum err alternatives(struct reader *r)
{
    while (r->p < r->end && *r->p != ')') {
        if (*r->p == '|') {
            r->p++;
            r->last = 0;
            TRY(print(r, "|"));
            continue;
        }
        TRY(item(r));
    }
    return ERR_OK;
}

static enum err translate(struct reader *r)
{
    if (r->end - r->p > PATTERN_MAX)
        return why_set(r->why, ERR_UNSUPPORTED, "an expression of more than %d bytes", PATTERN_MAX);
    TRY(print(r, "%s", ""));
    TRY(alternatives(r));
    return r->p == r->end ? ERR_OK : refuse(r, ERR_FORMAT, "a ) too many", r->p);
}

static enum err compile(const struct reader *r, struct tok_regex *re, struct why *why)
{
    int code;
    PCRE2_SIZE at;
    uint32_t empty = 0;
    pcre2_compile_context *cc = pcre2_compile_context_create(NULL);
    if (!cc) return why_set(why, ERR_NOMEM, "out of memory");
    pcre2_set_newline(cc, PCRE2_NEWLINE_LF);
    re->code = pcre2_compile((PCRE2_SPTR)r->out, r->n, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code,
                             &at, cc);
    pcre2_compile_context_free(cc);
    if (!re->code) {
        char words[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)words, sizeof words);
        return why_set(why, code == PCRE2_ERROR_HEAP_FAILED ? ERR_NOMEM : ERR_UNSUPPORTED, "%s", words);
    }
    pcre2_pattern_info(re->code, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty) return why_set(why, ERR_UNSUPPORTED, "an expression that can match nothing");
    /* no JIT (W^X, another machine): the interpreter gives the same answers, slower */
    re->jit = pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE) == 0;
    return ERR_OK;
}

enum err tok_regex_open(struct span pattern, struct tok_regex **ret_re, struct why *why)
{
    struct why words = {0};
    struct reader r = {.p = pattern.p, .end = pattern.p + pattern.n, .why = &words};
    struct tok_regex *re = calloc(1, sizeof *re);
    enum err e = re ? translate(&r) : why_set(&words, ERR_NOMEM, "out of memory");
    if (!e) e = compile(&r, re, &words);
    free(r.out);
    if (e) {
        tok_regex_close(re);
        return why_set(why, e, "regular expression: %s", words.text);
    }
    *ret_re = re;
    return ERR_OK;
}

void tok_regex_close(struct tok_regex *re)
{
    if (!re) return;
    pcre2_code_free(re->code);
    free(re);
}

void tok_regex_interpret(struct tok_regex *re)
{
    re->jit = false;
}

static enum err work_init(struct tok_regex_work *w)
{
    if (!w->match) w->match = pcre2_match_data_create(1, NULL);
    if (!w->context) w->context = pcre2_match_context_create(NULL);
    return w->match && w->context ? ERR_OK : ERR_NOMEM;
}

/* The machine stack did for every expression seen so far; a larger one is made when it does not. */
static bool more_stack(struct tok_regex_work *w)
{
    if (w->stack) return false;
    w->stack = pcre2_jit_stack_create(64u << 10, STACK_MAX, NULL);
    if (w->stack) pcre2_jit_stack_assign(w->context, NULL, w->stack);
    return w->stack;
}

enum err tok_regex_find(const struct tok_regex *re, struct tok_regex_work *w, struct span text, size_t from,
                        size_t *ret_begin, size_t *ret_end)
{
    if (!w->match || !w->context) TRY(work_init(w));
    const size_t steps = STEPS_MIN + STEPS_BYTE * (text.n - from);
    pcre2_set_match_limit(w->context, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    int rc;
    do {
        rc = re->jit
                 ? pcre2_jit_match(re->code, text.p, text.n, from, PCRE2_NO_UTF_CHECK, w->match, w->context)
                 : pcre2_match(re->code, text.p, text.n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, w->match,
                               w->context);
    } while (rc == PCRE2_ERROR_JIT_STACKLIMIT && more_stack(w));
    if (rc == PCRE2_ERROR_NOMATCH) return ERR_NOENT;
    if (rc == PCRE2_ERROR_NOMEMORY) return ERR_NOMEM;
    if (rc < 0) return ERR_RANGE;
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(w->match);
    *ret_begin = v[0];
    *ret_end = v[1];
    return ERR_OK;
}

void tok_regex_work_done(struct tok_regex_work *w)
{
    pcre2_match_data_free(w->match);
    pcre2_match_context_free(w->context);
    pcre2_jit_stack_free(w->stack);
    *w = (struct tok_regex_work){0};
}
