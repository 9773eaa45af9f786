// SPDX-License-Identifier: Apache-2.0
#include "ctl/page.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#define PAIR_WIDTH 30

/* -- text --------------------------------------------------------------------------------------------------------------- */

unsigned text_width(const char *s)
{
    unsigned w = 0;
    size_t n = strlen(s);
    while (n) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t k = utf8proc_iterate((const uint8_t *)s, (utf8proc_ssize_t)n, &c);
        w += k > 0 ? (unsigned)utf8proc_charwidth(c) : 1;
        s += k > 0 ? k : 1;
        n -= k > 0 ? (size_t)k : 1;
    }
    return w;
}

/* May this character move the cursor, change the terminal or the order of what is shown? */
static bool harmful(utf8proc_int32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

static void put_char(FILE *f, utf8proc_int32_t c, const uint8_t *p, size_t n, bool lines)
{
    if (!harmful(c) || (lines && (c == '\n' || c == '\t'))) fwrite(p, 1, n, f);
    else if (c == '\n') fputs("\\n", f);
    else if (c == '\t') fputs("\\t", f);
    else if (c == '\r') fputs("\\r", f);
    else fprintf(f, c < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)c);
}

char *text_clean(struct span text, bool lines)
{
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    if (!f) return NULL;
    for (size_t i = 0; i < text.n;) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t k = utf8proc_iterate(text.p + i, (utf8proc_ssize_t)(text.n - i), &c);
        if (k > 0) put_char(f, c, text.p + i, (size_t)k, lines);
        else fputs("\xef\xbf\xbd", f);
        i += k > 0 ? (size_t)k : 1;
    }
    if (fclose(f)) {
        free(out);
        return NULL;
    }
    return out;
}

static char *clean_format(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

static char *clean_format(const char *fmt, va_list ap)
{
    char *raw, *out;
    if (vasprintf(&raw, fmt, ap) < 0) return NULL;
    out = text_clean(span_str(raw), false);
    free(raw);
    return out;
}

/* -- page --------------------------------------------------------------------------------------------------------------- */

void page_init(struct page *p, FILE *f)
{
    struct winsize w = {0};
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    const bool tty = isatty(STDOUT_FILENO) == 1;
    *p = (struct page){.f = f, .colour = tty && !(no && *no) && !(term && !strcmp(term, "dumb"))};
    if (tty) p->width = !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_col ? w.ws_col : 80;
}

static const char *tint_on(const struct page *p, enum tint t)
{
    static const char *const code[] = {"", "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[31m"};
    return p->colour ? code[t] : "";
}

static const char *tint_off(const struct page *p, enum tint t)
{
    return p->colour && t ? "\033[0m" : "";
}

static void put(struct page *p, enum tint t, const char *s)
{
    fprintf(p->f, "%s%s%s", tint_on(p, t), s ? s : "(out of memory)", tint_off(p, t));
}

void page_head(struct page *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = clean_format(fmt, ap);
    va_end(ap);
    put(p, TINT_BOLD, s);
    fputc('\n', p->f);
    free(s);
}

void page_pair(struct page *p, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = clean_format(fmt, ap), *left = text_clean(span_str(name), false);
    va_end(ap);
    const unsigned w = left ? text_width(left) : 0;
    fputs("  ", p->f);
    put(p, TINT_DIM, left);
    fprintf(p->f, "%*s", (int)(w < PAIR_WIDTH ? PAIR_WIDTH - w : 1), "");
    put(p, TINT_NONE, s);
    fputc('\n', p->f);
    free(s);
    free(left);
}

void page_line(struct page *p, enum tint tint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = clean_format(fmt, ap);
    va_end(ap);
    put(p, tint, s);
    fputc('\n', p->f);
    free(s);
}

void page_text(struct page *p, const char *margin, struct span text, uint32_t max_lines)
{
    char *s = text_clean(text, true), *at = s;
    uint32_t n = 0;
    if (!s) put(p, TINT_NONE, NULL);
    while (at && *at && (!max_lines || n < max_lines)) {
        const size_t len = strcspn(at, "\n");
        put(p, TINT_DIM, margin);
        fprintf(p->f, "%.*s\n", (int)len, at);
        at += len + (at[len] == '\n');
        n++;
    }
    if (at && *at) page_line(p, TINT_DIM, "%s... %zu more characters (--full shows them)", margin, strlen(at));
    free(s);
}

/* -- table -------------------------------------------------------------------------------------------------------------- */

void table_init(struct table *t, const struct col *col, uint32_t n_col)
{
    *t = (struct table){.col = col, .n_col = n_col};
}

void table_done(struct table *t)
{
    for (uint32_t i = 0; i < t->n_cell; i++) free(t->cell[i]);
    free(t->cell);
    free(t->tint);
    *t = (struct table){0};
}

static bool grow(struct table *t)
{
    if (t->n_cell < t->cap) return true;
    const uint32_t cap = t->cap ? t->cap * 2 : 64;
    char **cell = realloc(t->cell, cap * sizeof *cell);
    if (cell) t->cell = cell;
    enum tint *tint = realloc(t->tint, cap * sizeof *tint);
    if (tint) t->tint = tint;
    if (!cell || !tint) return false;
    t->cap = cap;
    return true;
}

void table_add(struct table *t, const char *fmt, ...)
{
    va_list ap;
    if (t->failed || !grow(t)) {
        t->failed = true;
        return;
    }
    va_start(ap, fmt);
    t->cell[t->n_cell] = clean_format(fmt, ap);
    va_end(ap);
    t->tint[t->n_cell] = TINT_NONE;
    if (t->cell[t->n_cell]) t->n_cell++;
    else t->failed = true;
}

void table_tint(struct table *t, enum tint tint)
{
    if (t->n_cell) t->tint[t->n_cell - 1] = tint;
}

/* Widths of the columns: of the widest cell, the flexible one cut to what is left. */
static void widths(const struct table *t, const struct page *p, unsigned *w)
{
    unsigned total = 0, flex = UINT32_MAX;
    for (uint32_t c = 0; c < t->n_col; c++) {
        w[c] = text_width(t->col[c].head);
        for (uint32_t i = c; i < t->n_cell; i += t->n_col)
            if (text_width(t->cell[i]) > w[c]) w[c] = text_width(t->cell[i]);
        total += w[c] + (c ? 2 : 0);
        if (t->col[c].flex) flex = c;
    }
    if (!p->width || total <= p->width || flex == UINT32_MAX) return;
    const unsigned over = total - p->width, least = 8;
    w[flex] = w[flex] > over + least ? w[flex] - over : w[flex] < least ? w[flex] : least;
}

/* Bytes of s that fill at most w columns. */
static size_t fits(const char *s, unsigned w)
{
    size_t n = 0;
    unsigned used = 0;
    while (s[n]) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t k = utf8proc_iterate((const uint8_t *)s + n, -1, &c);
        const unsigned cw = k > 0 ? (unsigned)utf8proc_charwidth(c) : 1;
        if (used + cw > w) break;
        used += cw;
        n += k > 0 ? (size_t)k : 1;
    }
    return n;
}

static void put_cell(struct page *p, const struct col *c, const char *s, enum tint tint, unsigned w, bool last)
{
    const unsigned sw = text_width(s);
    const bool cut = sw > w;
    const size_t n = cut ? fits(s, w - 1) : strlen(s);
    const int pad = cut || (last && !c->right) ? 0 : (int)(w - sw);
    if (c->right) fprintf(p->f, "%*s", pad, "");
    fprintf(p->f, "%s%.*s%s%s", tint_on(p, tint), (int)n, s, cut ? "\xe2\x80\xa6" : "", tint_off(p, tint));
    if (!c->right) fprintf(p->f, "%*s", pad, "");
    fputs(last ? "\n" : "  ", p->f);
}

void table_print(const struct table *t, struct page *p)
{
    unsigned w[32];
    if (t->failed || t->n_col > 32) {
        put(p, TINT_NONE, NULL);
        fputc('\n', p->f);
        return;
    }
    widths(t, p, w);
    for (uint32_t c = 0; c < t->n_col; c++) put_cell(p, &t->col[c], t->col[c].head, TINT_BOLD, w[c], c + 1 == t->n_col);
    for (uint32_t i = 0; i < t->n_cell; i++) {
        const uint32_t c = i % t->n_col;
        put_cell(p, &t->col[c], t->cell[i], t->tint[i], w[c], c + 1 == t->n_col);
    }
}

/* -- numbers ------------------------------------------------------------------------------------------------------------ */

const char *human_time(double s, struct human *h)
{
    const long long t = s < 1e15 ? (long long)(s + 0.5) : 0;
    if (isnan(s) || s < 0 || s >= 1e15) snprintf(h->s, sizeof h->s, "-");
    else if (s <= 0) snprintf(h->s, sizeof h->s, "0 s");
    else if (s < 0.000999) snprintf(h->s, sizeof h->s, "%.0f us", s * 1e6);
    else if (s < 0.9995) snprintf(h->s, sizeof h->s, "%.3g ms", s * 1e3);
    else if (s < 59.95) snprintf(h->s, sizeof h->s, s < 9.95 ? "%.1f s" : "%.0f s", s);
    else if (t < 3600) snprintf(h->s, sizeof h->s, "%lld min %02lld s", t / 60, t % 60);
    else if (t < 86400) snprintf(h->s, sizeof h->s, "%lld h %02lld min", t / 3600, t % 3600 / 60);
    else snprintf(h->s, sizeof h->s, "%lld d %lld h", t / 86400, t % 86400 / 3600);
    return h->s;
}

const char *human_count(double n, struct human *h)
{
    const double a = fabs(n);
    if (isnan(n)) snprintf(h->s, sizeof h->s, "-");
    else if (a >= 999.5e9) snprintf(h->s, sizeof h->s, "%.3g T", n / 1e12);
    else if (a >= 999.5e6) snprintf(h->s, sizeof h->s, "%.3g G", n / 1e9);
    else if (a >= 999999.5) snprintf(h->s, sizeof h->s, "%.3g M", n / 1e6);
    else if (a >= 999.5) snprintf(h->s, sizeof h->s, "%s%d,%03d", n < 0 ? "-" : "", (int)(a + 0.5) / 1000, (int)(a + 0.5) % 1000);
    else snprintf(h->s, sizeof h->s, "%.0f", n);
    return h->s;
}

const char *human_num(double x, struct human *h)
{
    if (isnan(x)) snprintf(h->s, sizeof h->s, "-");
    else snprintf(h->s, sizeof h->s, "%.4g", x);
    return h->s;
}
