// SPDX-License-Identifier: Apache-2.0
/* The chart as SVG. All geometry in pixels of a 880 x 460 drawing; colors only in the style sheet, once for each scheme. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/run/axis.h"
#include "common/run/plot.h"

#define WIDTH  880
#define HEIGHT 460
#define LEFT   66
#define RIGHT  798 /* the plot's last column; values of the curves' ends stand behind it */
#define TOP    92
#define BOTTOM 408

static const char style[] =
    "<style>\n"
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:13px;fill:#57606a}\n"
    ".ground{fill:#ffffff;stroke:#d0d7de}\n"
    ".title{font-size:18px;font-weight:600;fill:#1f2328}\n"
    ".grid{stroke:#e4e8ec;stroke-width:1}\n"
    ".axis{stroke:#8c959f;stroke-width:1}\n"
    ".line,.faint{fill:none;stroke-linejoin:round;stroke-linecap:round}\n"
    ".line{stroke-width:2.75}\n"
    ".faint{stroke-width:1;opacity:.38}\n"
    ".thread{fill:none;stroke-width:1.25;stroke-dasharray:1 4;stroke-linecap:round;opacity:.8}\n"
    ".area{stroke:none;opacity:.08}\n"
    ".end{font-size:14px;font-weight:600}\n"
    ".s0{stroke:#0969da}.s1{stroke:#cf5a00}.s2{stroke:#1a7f37}.s3{stroke:#8250df}\n"
    ".f0{fill:#0969da}.f1{fill:#cf5a00}.f2{fill:#1a7f37}.f3{fill:#8250df}\n"
    ".dot{stroke:#ffffff;stroke-width:1.5}\n"
    "@media (prefers-color-scheme:dark){\n"
    "text{fill:#9198a1}\n"
    ".ground{fill:#0d1117;stroke:#30363d}\n"
    ".title{fill:#f0f6fc}\n"
    ".grid{stroke:#21262d}\n"
    ".axis{stroke:#656d76}\n"
    ".area{opacity:.14}.faint{opacity:.5}\n"
    ".s0{stroke:#58a6ff}.s1{stroke:#f0883e}.s2{stroke:#3fb950}.s3{stroke:#bc8cff}\n"
    ".f0{fill:#58a6ff}.f1{fill:#f0883e}.f2{fill:#3fb950}.f3{fill:#bc8cff}\n"
    ".dot{stroke:#0d1117}\n"
    "}\n"
    "</style>\n";

struct canvas {
    FILE *f;
    const struct plot *p;
    struct axis x, y;
};

static double px(const struct canvas *c, double v)
{
    return LEFT + axis__at(&c->x, v) * (RIGHT - LEFT);
}

static double py(const struct canvas *c, double v)
{
    return BOTTOM - axis__at(&c->y, v) * (BOTTOM - TOP);
}

/* Bytes of the character at s if it is whole, shortest-form UTF-8 that XML allows, else 0. */
static unsigned character(const unsigned char *s)
{
    const unsigned n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    if (n == 1) return s[0] >= ' ' && s[0] != 0x7f;
    for (unsigned i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (n == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))) return 0; /* too long; surrogates */
    if (n == 3 && s[0] == 0xef && s[1] == 0xbf && s[2] > 0xbd) return 0;                      /* U+FFFE, U+FFFF */
    if (n == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))) return 0;
    return n;
}

static void put_text(FILE *f, const char *text)
{
    static const char *const entity[] = {['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&quot;"};
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        const unsigned n = character(s);
        if (n == 1 && *s < sizeof entity / sizeof *entity && entity[*s])
            fputs(entity[*s], f);
        else if (n)
            fwrite(s, 1, n, f);
        else
            fputc('?', f);
        s += n ? n : 1;
    }
}

static void put_at(const struct canvas *c, double x, double y, const char *attributes, const char *text)
{
    fprintf(c->f, "<text x=\"%.1f\" y=\"%.1f\"%s>", x, y, attributes);
    put_text(c->f, text);
    fputs("</text>\n", c->f);
}

static void put_grid(const struct canvas *c)
{
    char label[32];
    for (unsigned i = 0; i < c->y.n_tick; i++) {
        const double v = axis__tick(&c->y, i), y = py(c, v);
        axis__label(&c->y, v, label);
        fprintf(c->f, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n", LEFT, y, RIGHT);
        put_at(c, LEFT - 10, y + 4.5, " text-anchor=\"end\"", label);
    }
    for (unsigned i = 0; i < c->x.n_tick; i++) {
        const double v = axis__tick(&c->x, i), x = px(c, v);
        axis__label(&c->x, v, label);
        fprintf(c->f, "<path class=\"axis\" d=\"M%.1f %dv5\"/>\n", x, BOTTOM);
        put_at(c, x, BOTTOM + 21, " text-anchor=\"middle\"", label);
    }
    fprintf(c->f, "<path class=\"axis\" d=\"M%d %dH%d\"/>\n", LEFT, BOTTOM, RIGHT);
    put_at(c, (LEFT + RIGHT) / 2.0, BOTTOM + 42, " text-anchor=\"middle\"", c->p->x_label);
}

/* Corners of a line within one pixel column. */
struct column {
    double x, first, lo, hi, last;
    bool any, lo_before_hi;
};

static void put_corner(FILE *f, bool *move, double x, double y)
{
    fprintf(f, "%c%.1f %.1f", *move ? 'M' : 'L', x, y);
    *move = false;
}

static void put_column(FILE *f, const struct column *k, bool *move)
{
    if (!k->any) return;
    put_corner(f, move, k->x, k->first);
    const double a = k->lo_before_hi ? k->lo : k->hi, b = k->lo_before_hi ? k->hi : k->lo;
    if (k->hi - k->lo < 0.05) return;
    put_corner(f, move, k->x, a);
    put_corner(f, move, k->x, b);
    put_corner(f, move, k->x, k->last);
}

static void add_to_column(struct column *k, double x, double y)
{
    if (!k->any) *k = (struct column){x, y, y, y, y, true, true};
    if (y < k->lo) k->lo = y, k->lo_before_hi = false;
    if (y > k->hi) k->hi = y, k->lo_before_hi = true;
    k->last = y;
}

/* The line's runs of finite values as path data; with `area`, each closed down to the axis. */
static void put_runs(const struct canvas *c, const struct plot_series *s, bool area)
{
    struct column k = {0};
    bool move = true;
    double from = 0;
    for (size_t i = 0; i <= s->n; i++) {
        const bool shown = i < s->n && axis__shows(s->x[i]) && axis__shows(s->y[i]);
        const double x = shown ? px(c, s->x[i]) : 0, y = shown ? py(c, s->y[i]) : 0;
        if (k.any && (!shown || floor(x) > floor(k.x))) {
            const bool alone = move && !shown;
            put_column(c->f, &k, &move);
            if (alone && !area) fputs("h0", c->f); /* a round cap makes a dot of it */
            if (!shown && area) fprintf(c->f, "V%dH%.1fZ", BOTTOM, from);
            k.any = false;
        }
        if (!shown) {
            move = true;
            continue;
        }
        if (move && !k.any) from = x;
        add_to_column(&k, x, y);
    }
}

static void put_line(const struct canvas *c, const struct plot_series *s, unsigned hue)
{
    if (s->style == PLOT_LINE) {
        fprintf(c->f, "<path class=\"area f%u\" d=\"", hue);
        put_runs(c, s, true);
        fputs("\"/>\n", c->f);
    }
    fprintf(c->f, "<path class=\"%s s%u\" d=\"", s->style == PLOT_LINE ? "line" : "faint", hue);
    put_runs(c, s, false);
    fputs("\"/>\n", c->f);
}

/* The next point that is not drawn on the one before, from *i on. */
static bool next_point(const struct canvas *c, const struct plot_series *s, size_t *i, double *x, double *y)
{
    for (; *i < s->n; ++*i) {
        if (!axis__shows(s->x[*i]) || !axis__shows(s->y[*i]) || px(c, s->x[*i]) - *x < 1) continue;
        *x = px(c, s->x[*i]);
        *y = py(c, s->y[*i]);
        ++*i;
        return true;
    }
    return false;
}

static void put_points(const struct canvas *c, const struct plot_series *s, unsigned hue)
{
    bool move = true;
    double x = 0, y;
    fprintf(c->f, "<path class=\"thread s%u\" d=\"", hue);
    for (size_t i = 0; next_point(c, s, &i, &x, &y);) put_corner(c->f, &move, x, y);
    fputs("\"/>\n", c->f);
    x = 0;
    for (size_t i = 0; next_point(c, s, &i, &x, &y);)
        fprintf(c->f, "<circle class=\"dot f%u\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"/>\n", hue, x, y);
}

/* A series of its own hue, except that a line takes that of the faint one before it: they are the same thing. */
static void choose_hues(const struct plot *p, unsigned hue[PLOT_MAX_SERIES])
{
    unsigned next = 0;
    for (uint32_t i = 0; i < p->n_series; i++)
        hue[i] = i && p->series[i].style == PLOT_LINE && p->series[i - 1].style == PLOT_FAINT ? hue[i - 1] : next++;
}

static unsigned n_character(const char *s)
{
    unsigned n = 0;
    for (; *s; s++) n += (*s & 0xc0) != 0x80;
    return n;
}

static void put_legend(const struct canvas *c, const unsigned *hue)
{
    double x = LEFT;
    for (uint32_t i = 0; i < c->p->n_series; i++) {
        const struct plot_series *s = &c->p->series[i];
        const double sample = s->style == PLOT_POINTS ? 12 : 23;
        if (s->style == PLOT_POINTS)
            fprintf(c->f, "<circle class=\"dot f%u\" cx=\"%.1f\" cy=\"70\" r=\"4.5\"/>\n", hue[i], x + 6);
        else
            fprintf(c->f, "<path class=\"%s s%u\" d=\"M%.1f 70h20\"/>\n", s->style == PLOT_LINE ? "line" : "faint", hue[i], x + 1);
        put_at(c, x + sample + 6, 74.5, "", s->label);
        x += sample + 30 + 7.2 * n_character(s->label); /* the width of a character, more or less */
    }
}

/* The last value of each line and point series, behind it; pushed apart where they would touch. */
static void put_ends(const struct canvas *c, const unsigned *hue)
{
    double taken[PLOT_MAX_SERIES];
    unsigned n = 0;
    for (uint32_t i = 0; i < c->p->n_series; i++) {
        const struct plot_series *s = &c->p->series[i];
        size_t k = s->n;
        while (k && !(axis__shows(s->x[k - 1]) && axis__shows(s->y[k - 1]))) k--;
        if (!k || s->style == PLOT_FAINT) continue;
        double y = py(c, s->y[k - 1]) + 5;
        for (unsigned j = 0; j < n; j++)
            if (fabs(y - taken[j]) < 17) y = taken[j] + (y < taken[j] ? -17 : 17);
        taken[n++] = y;
        char label[32], attributes[48];
        struct axis fine = c->y;
        fine.step /= 10;
        axis__label(&fine, s->y[k - 1], label);
        snprintf(attributes, sizeof attributes, " class=\"end f%u\"", hue[i]);
        put_at(c, RIGHT + 12, y, attributes, label);
    }
}

static void put_all(const struct canvas *c)
{
    const struct plot *p = c->p;
    unsigned hue[PLOT_MAX_SERIES];
    choose_hues(p, hue);
    fprintf(c->f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n<title>", WIDTH, HEIGHT,
            WIDTH, HEIGHT);
    put_text(c->f, p->title);
    fprintf(c->f, "</title>\n%s<rect class=\"ground\" x=\".5\" y=\".5\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", style, WIDTH - 1, HEIGHT - 1);
    put_at(c, LEFT, 36, " class=\"title\"", p->title);
    if (p->subtitle) put_at(c, RIGHT, 36, " text-anchor=\"end\"", p->subtitle);
    put_legend(c, hue);
    put_grid(c);
    for (int style_now = PLOT_FAINT; style_now <= PLOT_POINTS; style_now++)
        for (uint32_t i = 0; i < p->n_series; i++) {
            if ((int)p->series[i].style != style_now) continue;
            if (style_now == PLOT_POINTS)
                put_points(c, &p->series[i], hue[i]);
            else
                put_line(c, &p->series[i], hue[i]);
        }
    put_ends(c, hue);
    fputs("</svg>\n", c->f);
}

enum err plot_svg(const struct plot *p, char **ret_text, size_t *ret_n, struct why *why)
{
    char *text = NULL;
    size_t n = 0;
    struct canvas c = {.p = p, .x = axis__x(p, 9), .y = axis__y(p, 6), .f = open_memstream(&text, &n)};
    if (!c.f) return why_set(why, ERR_NOMEM, "no memory for a chart");
    put_all(&c);
    const bool bad = ferror(c.f) != 0;
    if (fclose(c.f) || bad) {
        free(text);
        return why_set(why, ERR_NOMEM, "no memory for a chart");
    }
    *ret_text = text;
    *ret_n = n;
    return ERR_OK;
}
