// SPDX-License-Identifier: Apache-2.0
#include "common/model/added.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "common/model/unicode_table.h"
#include "common/model/utf8.h"

static int compare(struct span a, struct span b)
{
    const size_t n = a.n < b.n ? a.n : b.n;
    const int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static enum err copy(struct span from, struct span *ret)
{
    uint8_t *p = malloc(from.n + 1);
    if (!p) return ERR_NOMEM;
    memcpy(p, from.p, from.n);
    *ret = span_of(p, from.n);
    return ERR_OK;
}

enum err added_add(struct added *a, const struct added_token *t, struct why *why)
{
    if (!t->content.n || t->content.n > ADDED_MAX_BYTES || t->pattern.n > ADDED_MAX_BYTES)
        return why_set(why, ERR_RANGE, "added_tokens: id %d has %zu bytes, from 1 to %d", (int)t->id,
                       t->content.n, ADDED_MAX_BYTES);
    if (a->n == ADDED_MAX_TOKEN)
        return why_set(why, ERR_RANGE, "added_tokens: more than %d tokens", ADDED_MAX_TOKEN);
    if (a->n == a->cap) {
        const uint32_t cap = a->cap ? 2 * a->cap : 32;
        struct added_token *p = realloc(a->token, cap * sizeof *p);
        if (!p) return why_set(why, ERR_NOMEM, "added_tokens: out of memory");
        a->token = p;
        a->cap = cap;
    }
    struct added_token *x = &a->token[a->n++];
    *x = *t;
    x->content = x->pattern = span_of(NULL, 0);
    if (copy(t->content, &x->content) || copy(t->pattern, &x->pattern))
        return why_set(why, ERR_NOMEM, "added_tokens: out of memory");
    return ERR_OK;
}

static int by_pattern(const void *a, const void *b)
{
    const struct added_token *const *x = a, *const *y = b;
    return compare((*x)->pattern, (*y)->pattern);
}

static int by_content(const void *a, const void *b)
{
    const struct added_token *const *x = a, *const *y = b;
    return compare((*x)->content, (*y)->content);
}

static enum err same_text(const struct added_token *a, const struct added_token *b, struct why *why)
{
    return why_set(why, ERR_FORMAT, "added_tokens: ids %d and %d are the same text", (int)a->id, (int)b->id);
}

static enum err seal(struct added *a, bool normalized, struct added_set *s, struct why *why)
{
    s->token = calloc(a->n + 1, sizeof *s->token);
    if (!s->token) return why_set(why, ERR_NOMEM, "added_tokens: out of memory");
    for (uint32_t i = 0; i < a->n; i++) {
        const struct added_token *t = &a->token[i];
        if (t->normalized != normalized) continue;
        s->token[s->n++] = t;
        s->first[t->pattern.p[0]] = true;
    }
    qsort(s->token, s->n, sizeof *s->token, by_pattern);
    for (uint32_t i = 1; i < s->n; i++)
        if (span_eq(s->token[i - 1]->pattern, s->token[i]->pattern))
            return same_text(s->token[i - 1], s->token[i], why);
    return ERR_OK;
}

enum err added_seal(struct added *a, struct why *why)
{
    a->by_content = calloc(a->n + 1, sizeof *a->by_content);
    if (!a->by_content) return why_set(why, ERR_NOMEM, "added_tokens: out of memory");
    for (uint32_t i = 0; i < a->n; i++) a->by_content[i] = &a->token[i];
    qsort(a->by_content, a->n, sizeof *a->by_content, by_content);
    for (uint32_t i = 1; i < a->n; i++)
        if (span_eq(a->by_content[i - 1]->content, a->by_content[i]->content))
            return same_text(a->by_content[i - 1], a->by_content[i], why);
    TRY(seal(a, false, &a->raw, why));
    return seal(a, true, &a->normal, why);
}

const struct added_token *added_find(const struct added *a, struct span content)
{
    uint32_t lo = 0, hi = a->n;
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        const int c = compare(a->by_content[mid]->content, content);
        if (!c) return a->by_content[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

void added_done(struct added *a)
{
    for (uint32_t i = 0; i < a->n; i++) {
        free((void *)a->token[i].content.p);
        free((void *)a->token[i].pattern.p);
    }
    free(a->token);
    free(a->by_content);
    free(a->raw.token);
    free(a->normal.token);
    *a = (struct added){0};
}

/* -- the walk ------------------------------------------------------------------------------------------- */

/* First of s->token[lo, hi) whose byte k is at least b; all of them agree before k and are longer than k. */
static uint32_t lower(const struct added_set *s, uint32_t lo, uint32_t hi, size_t k, unsigned b)
{
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (s->token[mid]->pattern.p[k] < b)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest pattern that stands at p. */
static const struct added_token *longest(const struct added_set *s, const uint8_t *p, size_t n)
{
    const struct added_token *best = NULL;
    uint32_t lo = 0, hi = s->n;
    for (size_t k = 0; k < n && lo < hi; k++) {
        lo = lower(s, lo, hi, k, p[k]);
        hi = lower(s, lo, hi, k, p[k] + 1u);
        if (lo < hi && s->token[lo]->pattern.n == k + 1) best = s->token[lo++]; /* a prefix sorts first */
    }
    return best;
}

/* \w of the library's own expressions: letters and what counts as such, marks, decimal digits, connectors,
 * joiners. */
static bool is_word(uint32_t cp)
{
    const struct unicode_range *new = unicode_find(unicode_new, UNICODE_N_NEW, cp);
    const char *c = new ? new->category : utf8proc_category_string((utf8proc_int32_t)cp);
    if (cp == 0x200c || cp == 0x200d || (cp >= 0x24b6 && cp <= 0x24e9)) return true;
    if ((cp >= 0x1f130 && cp <= 0x1f149) || (cp >= 0x1f150 && cp <= 0x1f169) ||
        (cp >= 0x1f170 && cp <= 0x1f189))
        return true; /* letters in circles and squares */
    return c[0] == 'L' || c[0] == 'M' || !strcmp(c, "Nd") || !strcmp(c, "Nl") || !strcmp(c, "Pc");
}

static bool word_before(struct span text, size_t at)
{
    uint32_t cp;
    if (!at) return false;
    utf8_prev(text.p, text.p + at, &cp);
    return is_word(cp);
}

static bool word_after(struct span text, size_t at)
{
    enum utf8_kind kind;
    uint32_t cp = 0;
    if (at == text.n) return false;
    utf8_next(text.p + at, text.p + text.n, &kind, &cp);
    return kind == UTF8_OK && is_word(cp);
}

/* Where white space that ends at `at` begins, but not before `low`. */
static size_t spaces_before(struct span text, size_t low, size_t at)
{
    while (at > low) {
        uint32_t cp;
        const size_t n = utf8_prev(text.p + low, text.p + at, &cp);
        if (!utf8_is_space(cp)) break;
        at -= n;
    }
    return at;
}

/* Where white space that begins at `at` ends. A stretch is walked once, however many tokens end in it. */
static size_t spaces_after(struct added_walk *w, size_t at)
{
    if (at >= w->spaces_begin && at < w->spaces_end) return w->spaces_end;
    w->spaces_begin = at;
    while (at < w->text.n) {
        enum utf8_kind kind;
        uint32_t cp;
        const size_t n = utf8_next(w->text.p + at, w->text.p + w->text.n, &kind, &cp);
        if (kind != UTF8_OK || !utf8_is_space(cp)) break;
        at += n;
    }
    w->spaces_end = at;
    return at;
}

/* The next token that counts. It may reach over white space on either side, on the right even over the start
 * of the token after it: the library looks for that one right behind the text of this one. */
static const struct added_token *search(struct added_walk *w, size_t *ret_begin, size_t *ret_end)
{
    const struct span text = w->text;
    while (w->search < text.n) {
        const size_t at = w->search;
        const struct added_token *t =
            w->set->first[text.p[at]] ? longest(w->set, text.p + at, text.n - at) : NULL;
        if (!t) {
            w->search++;
            continue;
        }
        const size_t end = w->search = at + t->pattern.n;
        if (t->single_word && (word_before(text, at) || word_after(text, end))) continue;
        *ret_begin = t->lstrip && at > w->done ? spaces_before(text, w->done, at) : at;
        *ret_end = t->rstrip ? spaces_after(w, end) : end;
        return t;
    }
    return NULL;
}

bool added_next(struct added_walk *w, struct added_part *ret_part)
{
    size_t begin = w->text.n, end = w->text.n;
    const struct added_token *t = w->waiting;
    if (t) {
        *ret_part = (struct added_part){.token = t};
        w->done = w->waiting_end;
        w->waiting = NULL;
        return true;
    }
    if (w->set->n) t = search(w, &begin, &end);
    if (!t && w->done >= w->text.n) return false;
    if (w->done < begin) {
        *ret_part = (struct added_part){.text = span_of(w->text.p + w->done, begin - w->done)};
        w->waiting = t;
        w->waiting_end = end;
        w->done = begin;
        return true;
    }
    *ret_part = (struct added_part){.token = t};
    w->done = end;
    return true;
}
