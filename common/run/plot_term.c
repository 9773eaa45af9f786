// SPDX-License-Identifier: Apache-2.0
/* The chart in a terminal: a title, a legend, rows of cells with 2 x 4 braille dots each, the axis, its labels. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/run/axis.h"
#include "common/run/plot.h"

#define DISC        "\xe2\x97\x8f"
#define ROWS_AROUND 4 /* title, legend, axis, labels of x */

/* Of each style: its color; what of it stands in a cell. */
static const char *const color_of[] = {[PLOT_FAINT] = "\033[90m", [PLOT_LINE] = "\033[1;34m", [PLOT_POINTS] = "\033[33m"};

struct cell {
    uint8_t faint, line; /* braille dots */
    bool point;
};

struct screen {
    const struct plot *p;
    struct axis x, y;
    uint32_t margin, columns, rows; /* cells for labels of y; cells of the canvas */
    bool color, has_line;
    struct cell *cell; /* [rows][columns] */
    FILE *f;
};

static void set_dot(struct screen *s, long x, long y, enum plot_style style)
{
    static const uint8_t bit[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    if (x < 0 || y < 0 || x >= 2 * (long)s->columns || y >= 4 * (long)s->rows) return;
    struct cell *c = &s->cell[(size_t)(y / 4) * s->columns + (size_t)(x / 2)];
    if (style == PLOT_POINTS) c->point = true;
    if (style == PLOT_LINE) c->line |= bit[y % 4][x % 2];
    if (style == PLOT_FAINT) c->faint |= bit[y % 4][x % 2];
}

static long dot_x(const struct screen *s, double v)
{
    return lround(axis__at(&s->x, v) * (2 * s->columns - 1));
}

static long dot_y(const struct screen *s, double v)
{
    return lround((1 - axis__at(&s->y, v)) * (4 * s->rows - 1));
}

/* Dots from one place to another, without the first: as many as the longer way has. */
static void set_way(struct screen *s, long x0, long y0, long x1, long y1, enum plot_style style)
{
    const long n = labs(x1 - x0) > labs(y1 - y0) ? labs(x1 - x0) : labs(y1 - y0);
    for (long i = 1; i <= n; i++) {
        const double part = (double)i / (double)n;
        set_dot(s, x0 + lround((double)(x1 - x0) * part), y0 + lround((double)(y1 - y0) * part), style);
    }
}

static void draw(struct screen *s, const struct plot_series *q)
{
    long x0 = 0, y0 = 0;
    bool pen = false;
    for (size_t i = 0; i < q->n; i++) {
        const bool shown = axis__shows(q->x[i]) && axis__shows(q->y[i]);
        if (shown) {
            const long x = dot_x(s, q->x[i]), y = dot_y(s, q->y[i]);
            set_dot(s, x, y, q->style);
            if (pen && q->style != PLOT_POINTS) set_way(s, x0, y0, x, y, q->style);
            x0 = x, y0 = y;
        }
        pen = shown;
    }
}

static void put_braille(FILE *f, uint8_t dots)
{
    const char c[] = {(char)0xe2, (char)(0xa0 | dots >> 6), (char)(0x80 | (dots & 0x3f)), 0};
    fputs(c, f);
}

static void put_colored(const struct screen *s, enum plot_style style, const char *text)
{
    if (s->color) fputs(color_of[style], s->f);
    fputs(text, s->f);
    if (s->color) fputs("\033[0m", s->f);
}

enum { NOTHING = -1 };

/* The style that a cell shows: the front one. */
static int style_of(const struct screen *s, const struct cell *c)
{
    if (c->point) return PLOT_POINTS;
    if (c->line) return PLOT_LINE;
    return c->faint && (s->color || !s->has_line) ? PLOT_FAINT : NOTHING;
}

/* A row up to the last cell that shows something; colors only where they change. */
static void put_cells(const struct screen *s, const struct cell *c)
{
    uint32_t n = s->columns;
    int now = NOTHING;
    while (n && style_of(s, &c[n - 1]) == NOTHING) n--;
    for (uint32_t k = 0; k < n; k++) {
        const int style = style_of(s, &c[k]);
        if (s->color && style != NOTHING && style != now) {
            fputs(now == NOTHING ? "" : "\033[0m", s->f);
            fputs(color_of[style], s->f);
            now = style;
        }
        if (style == NOTHING)
            fputc(' ', s->f);
        else if (style == PLOT_POINTS)
            fputs(DISC, s->f);
        else
            put_braille(s->f, style == PLOT_LINE ? c[k].line : c[k].faint);
    }
    if (now != NOTHING) fputs("\033[0m", s->f);
}

/* At most `room` characters of the text, what is no printable ASCII or UTF-8 byte as "?"; how many were written. */
static uint32_t put_text(FILE *f, const char *text, uint32_t room)
{
    uint32_t n = 0;
    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        const bool continues = (*s & 0xc0) == 0x80;
        if (!continues && n++ == room) return room;
        fputc(*s < ' ' || *s == 0x7f || (continues && !n) ? '?' : *s, f);
    }
    return n;
}

static void put_head(const struct screen *s, uint32_t width)
{
    static const char *const sample[] = {[PLOT_FAINT] = "\xe2\xa0\x92\xe2\xa0\x92", [PLOT_LINE] = "\xe2\xa0\xb6\xe2\xa0\xb6", [PLOT_POINTS] = DISC};
    if (s->color) fputs("\033[1m", s->f);
    put_text(s->f, s->p->title, width);
    if (s->color) fputs("\033[0m", s->f);
    fputc('\n', s->f);
    uint32_t used = 0;
    for (uint32_t i = 0; i < s->p->n_series; i++) {
        const struct plot_series *q = &s->p->series[i];
        const uint32_t head = (i ? 3 : 0) + (q->style == PLOT_POINTS ? 2 : 3);
        if (q->style == PLOT_FAINT && !s->color && s->has_line) continue;
        if (used + head + 4 > width) break;
        if (used) fputs("   ", s->f);
        put_colored(s, q->style, sample[q->style]);
        fputc(' ', s->f);
        used += head + put_text(s->f, q->label, width - used - head);
    }
    fputc('\n', s->f);
}

static void put_rows(const struct screen *s)
{
    for (uint32_t r = 0; r < s->rows; r++) {
        char label[32] = "";
        bool tick = false;
        for (unsigned i = 0; i < s->y.n_tick; i++)
            if (dot_y(s, axis__tick(&s->y, i)) / 4 == (long)r) axis__label(&s->y, axis__tick(&s->y, i), label), tick = true;
        fprintf(s->f, "%*s %s", (int)s->margin, label, tick ? "\xe2\x94\xa4" : "\xe2\x94\x82");
        put_cells(s, s->cell + (size_t)r * s->columns);
        fputc('\n', s->f);
    }
}

static void put_foot(const struct screen *s)
{
    char line[PLOT_MAX_CELLS + 64];
    memset(line, ' ', sizeof line);
    fprintf(s->f, "%*s \xe2\x94\x94", (int)s->margin, "");
    uint32_t end = 0; /* of what stands in line */
    unsigned tick = 0;
    for (uint32_t k = 0; k < s->columns; k++) {
        bool here = false;
        for (; tick < s->x.n_tick && dot_x(s, axis__tick(&s->x, tick)) / 2 <= (long)k; tick++) {
            char label[32];
            axis__label(&s->x, axis__tick(&s->x, tick), label);
            const uint32_t n = (uint32_t)strlen(label), middle = k + 1 > n / 2 ? k + 1 - n / 2 : 0;
            const uint32_t from = middle + n > s->columns + 1 ? s->columns + 1 - n : middle; /* not over the right edge */
            here = true;
            if (n > s->columns || (end && from < end + 2)) continue;
            memcpy(line + from, label, n);
            end = from + n;
        }
        fputs(here ? "\xe2\x94\xb4" : "\xe2\x94\x80", s->f);
    }
    const uint32_t n = (uint32_t)strlen(s->p->x_label);
    if (end + 2 + n <= s->columns + 1) memcpy(line + s->columns + 1 - n, s->p->x_label, n), end = s->columns + 1;
    fprintf(s->f, "\n%*s %.*s\n", (int)s->margin, "", (int)end, line);
}

static uint32_t widest_label(const struct axis *a)
{
    size_t n = 1;
    for (unsigned i = 0; i < a->n_tick; i++) {
        char label[32];
        axis__label(a, axis__tick(a, i), label);
        if (strlen(label) > n) n = strlen(label);
    }
    return (uint32_t)n;
}

static enum err render(struct screen *s, uint32_t width, char **ret_text, struct why *why)
{
    size_t n;
    char *text = NULL;
    s->cell = calloc((size_t)s->rows * s->columns, sizeof *s->cell);
    s->f = s->cell ? open_memstream(&text, &n) : NULL;
    if (!s->f) {
        free(s->cell);
        return why_set(why, ERR_NOMEM, "no memory for a chart");
    }
    for (uint32_t i = 0; i < s->p->n_series; i++) draw(s, &s->p->series[i]);
    put_head(s, width);
    put_rows(s);
    put_foot(s);
    free(s->cell);
    const bool bad = ferror(s->f) != 0;
    if (fclose(s->f) || bad) {
        free(text);
        return why_set(why, ERR_NOMEM, "no memory for a chart");
    }
    *ret_text = text;
    return ERR_OK;
}

enum err plot_term(const struct plot *p, uint32_t width, uint32_t height, bool color, char **ret_text, struct why *why)
{
    if (width < PLOT_MIN_COLUMNS || height < PLOT_MIN_ROWS || width > PLOT_MAX_CELLS || height > PLOT_MAX_CELLS)
        return why_set(why, ERR_RANGE, "a chart of %u x %u cells: %d x %d at least, %d x %d at most", width, height, PLOT_MIN_COLUMNS, PLOT_MIN_ROWS,
                       PLOT_MAX_CELLS, PLOT_MAX_CELLS);
    struct screen s = {.p = p, .rows = height - ROWS_AROUND, .color = color, .y = axis__y(p, (height - ROWS_AROUND + 2) / 3)};
    s.margin = widest_label(&s.y);
    s.columns = width > s.margin + 2 + 4 ? width - s.margin - 2 : 4;
    s.x = axis__x(p, s.columns / 10 + 1);
    for (uint32_t i = 0; i < p->n_series; i++) s.has_line |= p->series[i].style == PLOT_LINE;
    return render(&s, width, ret_text, why);
}
