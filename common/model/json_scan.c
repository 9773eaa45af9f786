// SPDX-License-Identifier: Apache-2.0
#include "common/model/json_scan.h"

#include <stdlib.h>
#include <string.h>

#include "common/model/utf8.h"

static void skip_space(struct json_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t')) s->p++;
}

bool json_scan_take(struct json_scan *s, char c)
{
    skip_space(s);
    if (s->p == s->end || *s->p != (uint8_t)c) return false;
    s->p++;
    return true;
}

/* p stands behind a quote: the quote that ends the string, or end. */
static const uint8_t *string_end(const uint8_t *p, const uint8_t *end, bool *ret_escapes)
{
    *ret_escapes = false;
    for (; p < end && *p != '"'; p++)
        if (*p == '\\') {
            *ret_escapes = true;
            if (++p == end) break;
        }
    return p;
}

static int hex4(const uint8_t *p, const uint8_t *end)
{
    int v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        const int c = p[i] | 32, d = p[i] <= '9' ? p[i] - '0' : c - 'a' + 10;
        if (d < 0 || d > 15 || (p[i] > '9' && c < 'a')) return -1;
        v = v << 4 | d;
    }
    return v;
}

/* \uXXXX, p behind the u; a pair of surrogates is one character. NULL: bad. */
static const uint8_t *unicode_escape(const uint8_t *p, const uint8_t *end, uint32_t *ret_cp)
{
    const int hi = hex4(p, end);
    if (hi <= 0 || (hi >= 0xdc00 && hi < 0xe000)) return NULL;
    *ret_cp = (uint32_t)hi;
    if (hi < 0xd800 || hi >= 0xe000) return p + 4;
    if (end - p < 10 || p[4] != '\\' || p[5] != 'u') return NULL;
    const int lo = hex4(p + 6, end);
    if (lo < 0xdc00 || lo >= 0xe000) return NULL;
    *ret_cp = 0x10000 + ((uint32_t)(hi - 0xd800) << 10) + (uint32_t)(lo - 0xdc00);
    return p + 10;
}

static enum err unescape(const uint8_t *p, const uint8_t *end, uint8_t *out, size_t *ret_n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint8_t *o = out;
    while (p < end) {
        if (*p != '\\') {
            *o++ = *p++;
            continue;
        }
        const char *k = p[1] ? strchr(from, p[1]) : NULL;
        uint32_t cp;
        if (k) {
            *o++ = (uint8_t)to[k - from];
            p += 2;
        } else {
            if (p[1] != 'u' || !(p = unicode_escape(p + 2, end, &cp))) return ERR_FORMAT;
            o += utf8_put(cp, o); /* at most 4 bytes for 12, or 3 for 6 */
        }
    }
    *ret_n = (size_t)(o - out);
    return ERR_OK;
}

enum err json_scan_string(struct json_scan *s, struct span *ret_text)
{
    bool escapes;
    size_t n;
    if (!json_scan_take(s, '"')) return ERR_FORMAT;
    const uint8_t *begin = s->p, *end = string_end(s->p, s->end, &escapes);
    if (end == s->end) return ERR_FORMAT;
    for (const uint8_t *p = begin; p < end; p++)
        if (*p < 0x20) return ERR_FORMAT;
    s->p = end + 1;
    *ret_text = span_of(begin, (size_t)(end - begin));
    if (escapes) {
        uint8_t *text = s->text[1];
        const size_t cap = s->cap[1];
        s->text[1] = s->text[0];
        s->cap[1] = s->cap[0];
        s->text[0] = text;
        s->cap[0] = cap;
        if (cap < ret_text->n) {
            if (!(text = realloc(text, ret_text->n))) return ERR_NOMEM;
            s->text[0] = text;
            s->cap[0] = ret_text->n;
        }
        if (unescape(begin, end, text, &n)) return ERR_FORMAT;
        *ret_text = span_of(text, n);
    }
    return utf8_check(*ret_text) == ret_text->n ? ERR_OK : ERR_FORMAT;
}

enum err json_scan_int(struct json_scan *s, int64_t *ret)
{
    skip_space(s);
    const bool minus = json_scan_take(s, '-');
    const uint8_t *begin = s->p;
    int64_t v = 0;
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9' && s->p - begin < 18; s->p++)
        v = 10 * v + (*s->p - '0');
    if (s->p == begin || (*begin == '0' && s->p > begin + 1)) return ERR_FORMAT;
    *ret = minus ? -v : v;
    return ERR_OK;
}

unsigned json_scan_line(struct span text, const uint8_t *at)
{
    unsigned line = 1;
    for (const uint8_t *p = text.p; p < at && (p = memchr(p, '\n', (size_t)(at - p))); p++) line++;
    return line;
}

enum err json_scan_bad(const struct json_scan *s, unsigned first_line, const char *expected, struct why *why)
{
    const unsigned line = json_scan_line(span_of(s->start, (size_t)(s->end - s->start)), s->p);
    return why_set(why, ERR_FORMAT, "line %u: %s expected", first_line + line - 1, expected);
}

void json_scan_done(struct json_scan *s)
{
    free(s->text[0]);
    free(s->text[1]);
    s->text[0] = s->text[1] = NULL;
}

/* -- the cut -------------------------------------------------------------------------------------------- */

/* The value that starts at p ends where? Brackets are counted, strings passed over. */
static const uint8_t *value_end(const uint8_t *p, const uint8_t *end)
{
    size_t depth = 0;
    bool escapes;
    for (; p < end; p++) {
        if (*p == '"') {
            p = string_end(p + 1, end, &escapes);
            if (p == end) break;
            if (!depth) return p + 1;
        } else if (*p == '{' || *p == '[') {
            depth++;
        } else if (*p == '}' || *p == ']') {
            if (!depth) return p; /* a number or a word before it */
            if (!--depth) return p + 1;
        } else if (*p == ',' && !depth) {
            return p;
        }
    }
    return end;
}

static bool is_key(const uint8_t *p, const uint8_t *end, const char *key)
{
    return (size_t)(end - p) == strlen(key) && !memcmp(p, key, strlen(key));
}

struct cut {
    char *out;
    size_t n;
    const uint8_t *copied; /* text before it is in out, or left out */
    struct span *vocab, *merges;
};

static void leave_out(struct cut *c, const uint8_t *value, const uint8_t *end, struct span *ret)
{
    *ret = span_of(value, (size_t)(end - value));
    memcpy(c->out + c->n, c->copied, (size_t)(value - c->copied));
    c->n += (size_t)(value - c->copied);
    memcpy(c->out + c->n, "null", 4);
    c->n += 4;
    const unsigned lines = json_scan_line(*ret, end) - 1; /* what follows keeps its line */
    memset(c->out + c->n, '\n', lines);
    c->n += lines;
    c->copied = end;
}

/* The members of the object whose brace is before p; in_model: of the one under "model". Returns where it
 * ends. */
static const uint8_t *members(struct cut *c, const uint8_t *p, const uint8_t *end, bool in_model)
{
    struct json_scan s = {.p = p, .end = end, .start = p};
    while (!json_scan_take(&s, '}')) {
        bool escapes;
        if (!json_scan_take(&s, '"')) return s.p; /* not JSON: jansson will say so */
        const uint8_t *key = s.p, *key_end = string_end(s.p, end, &escapes);
        if (key_end == end) return end;
        s.p = key_end + 1;
        if (!json_scan_take(&s, ':')) return s.p;
        skip_space(&s);
        const uint8_t *value = s.p;
        const bool big = value < end && (*value == '{' || *value == '[');
        if (!in_model && big && *value == '{' && is_key(key, key_end, "model")) {
            s.p = members(c, value + 1, end, true);
        } else {
            s.p = value_end(value, end);
            if (in_model && big && is_key(key, key_end, "vocab")) leave_out(c, value, s.p, c->vocab);
            if (in_model && big && is_key(key, key_end, "merges")) leave_out(c, value, s.p, c->merges);
        }
        if (!json_scan_take(&s, ',')) {
            json_scan_take(&s, '}');
            break;
        }
    }
    return s.p;
}

enum err json_scan_cut(struct span text, char **ret_rest, size_t *ret_n, struct span *ret_vocab,
                       struct span *ret_merges)
{
    struct json_scan s = {.p = text.p, .end = text.p + text.n, .start = text.p};
    *ret_vocab = *ret_merges = span_of(NULL, 0);
    /* a value that is left out has two bytes at least, null has four; hostile texts have many */
    struct cut c = {
        .out = malloc(2 * text.n + 1), .copied = text.p, .vocab = ret_vocab, .merges = ret_merges};
    if (!c.out) return ERR_NOMEM;
    if (json_scan_take(&s, '{')) members(&c, s.p, s.end, false);
    memcpy(c.out + c.n, c.copied, (size_t)(s.end - c.copied));
    *ret_n = c.n + (size_t)(s.end - c.copied);
    *ret_rest = c.out;
    return ERR_OK;
}
