// SPDX-License-Identifier: Apache-2.0
/* utf8proc gives the tables (decomposition, combining class) and the composition. Its own reordering of marks
 * is quadratic in the length of a run of marks, so the ordering here is a stable counting sort. */
#include "common/model/nfc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "common/model/unicode_table.h"
#include "common/model/utf8.h"

#define DECOMPOSED_MAX 8 /* no canonical decomposition is longer than 4 */

/* Every character below U+0300 is its own NFC and takes no part in composition unless a mark follows. */
static bool plain(struct span text)
{
    size_t i = 0;
    for (; i + 8 <= text.n; i += 8) {
        uint64_t eight;
        memcpy(&eight, text.p + i, 8);
        if (eight & UINT64_C(0x8080808080808080)) break;
    }
    for (; i < text.n; i++)
        if (text.p[i] >= 0xcc) return false;
    return true;
}

static enum err grow(struct nfc_work *w, size_t need)
{
    if (need <= w->cap) return ERR_OK;
    size_t cap = w->cap ? w->cap : 256;
    while (cap < need) cap *= 2;
    int32_t *a = realloc(w->cp, cap * sizeof *a);
    if (!a) return ERR_NOMEM;
    w->cp = a;
    int32_t *b = realloc(w->tmp, cap * sizeof *b);
    if (!b) return ERR_NOMEM;
    w->tmp = b;
    w->cap = cap;
    return ERR_OK;
}

static uint8_t combining(int32_t cp)
{
    if (cp >= 0x300 && unicode_is_inert((uint32_t)cp)) return 0;
    return (uint8_t)utf8proc_get_property(cp)->combining_class;
}

/* Marks cp[0, n), none of class 0, in order of class; equals keep their order. */
static void sort_marks(int32_t *cp, int32_t *tmp, size_t n)
{
    size_t start[257] = {0};
    bool sorted = true;
    for (size_t i = 0; i < n; i++) {
        start[combining(cp[i]) + 1]++;
        if (i && combining(cp[i]) < combining(cp[i - 1])) sorted = false;
    }
    if (sorted) return;
    for (int c = 1; c < 257; c++) start[c] += start[c - 1];
    for (size_t i = 0; i < n; i++) tmp[start[combining(cp[i])]++] = cp[i];
    memcpy(cp, tmp, n * sizeof *cp);
}

static void order(struct nfc_work *w, size_t n)
{
    for (size_t i = 0; i < n;) {
        if (!combining(w->cp[i])) {
            i++;
            continue;
        }
        size_t k = i;
        while (k < n && combining(w->cp[k])) k++;
        if (k > i + 1) sort_marks(w->cp + i, w->tmp, k - i);
        i = k;
    }
}

static enum err decompose(struct nfc_work *w, struct span text, size_t *ret_n)
{
    size_t n = 0;
    for (const uint8_t *p = text.p, *end = p + text.n; p < end;) {
        enum utf8_kind kind;
        uint32_t cp;
        int boundary = 0;
        p += utf8_next(p, end, &kind, &cp);
        if (kind != UTF8_OK) cp = 0xfffd;
        if (n + DECOMPOSED_MAX > w->cap) TRY(grow(w, n + DECOMPOSED_MAX));
        utf8proc_ssize_t k = 1;
        if (cp < 0xc0 || unicode_is_inert(cp))
            w->cp[n] = (int32_t)cp;
        else
            k = utf8proc_decompose_char((int32_t)cp, w->cp + n, DECOMPOSED_MAX,
                                        UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary);
        if (k < 1 || k > DECOMPOSED_MAX) return ERR_INTERNAL;
        n += (size_t)k;
    }
    *ret_n = n;
    return ERR_OK;
}

/* An inert character; or U+11A7, which utf8proc takes for the empty final consonant of a Hangul syllable and
 * drops. */
static bool alone(int32_t cp)
{
    return cp == 0x11a7 || unicode_is_inert((uint32_t)cp);
}

/* Compose cp[0, n) in place; how many are left. What stands alone ends a stretch: utf8proc would compose over
 * it, or with it. */
static size_t compose(int32_t *cp, size_t n)
{
    size_t out = 0;
    for (size_t i = 0, k; i < n; i = k) {
        for (k = i; k < n && !alone(cp[k]); k++) continue;
        if (k == i) {
            cp[out++] = cp[k++];
            continue;
        }
        memmove(cp + out, cp + i, (k - i) * sizeof *cp);
        const utf8proc_ssize_t left =
            utf8proc_normalize_utf32(cp + out, (utf8proc_ssize_t)(k - i), UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        assert(left >= 0 && (size_t)left <= k - i);
        out += (size_t)left;
    }
    return out;
}

enum err nfc(struct nfc_work *w, struct span text, struct span *ret_text)
{
    size_t n;
    *ret_text = text;
    if (plain(text)) return ERR_OK;
    TRY(decompose(w, text, &n));
    order(w, n);
    n = compose(w->cp, n);
    if (w->out_cap < n * 4) {
        uint8_t *p = realloc(w->out, n * 4);
        if (!p) return ERR_NOMEM;
        w->out = p;
        w->out_cap = n * 4;
    }
    w->out_n = 0;
    for (size_t i = 0; i < n; i++) w->out_n += utf8_put((uint32_t)w->cp[i], w->out + w->out_n);
    *ret_text = span_of(w->out, w->out_n);
    return ERR_OK;
}

void nfc_done(struct nfc_work *w)
{
    free(w->cp);
    free(w->tmp);
    free(w->out);
    *w = (struct nfc_work){0};
}
