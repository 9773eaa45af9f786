// SPDX-License-Identifier: Apache-2.0
/* plot.c - the curve of a run, on the terminal or as SVG. Needs no daemon. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/run/curve.h"
#include "ctl/ctl.h"

#define WIDTH  80
#define HEIGHT 20

struct drawing {
    struct common c;
    const char *column, *svg;
    uint32_t width, height; /* 0: what the terminal has */
};

static uint32_t between(uint32_t x, uint32_t least, uint32_t most)
{
    return x < least ? least : x > most ? most : x;
}

/* Columns and rows: as asked, else as the terminal is, a line left for the prompt. */
static void measure(const struct drawing *d, const struct page *p, uint32_t *ret_w, uint32_t *ret_h)
{
    struct winsize w = {0};
    const bool known = p->width && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_row;
    const uint32_t rows = known ? between(w.ws_row - 1u, PLOT_MIN_ROWS, d->c.watch_s > 0 ? 60 : 30) : HEIGHT;
    *ret_w = d->width ? d->width : between(p->width ? p->width : WIDTH, PLOT_MIN_COLUMNS, 160);
    *ret_h = d->height ? d->height : rows;
}

static int draw(struct page *p, void *arg)
{
    const struct drawing *d = arg;
    struct why why = {0};
    struct curve c;
    char dir[4096], *text = NULL;
    uint32_t w, h;
    if (run_folder(&d->c, dir, sizeof dir, &why) || curve_open(dir, d->column, &c, &why)) return page_fail(p, CTL_FAILED, &why);
    measure(d, p, &w, &h);
    const enum err e = plot_term(&c.plot, w, h, p->colour, &text, &why);
    curve_close(&c);
    if (e) return page_fail(p, e == ERR_RANGE ? CTL_USAGE : CTL_FAILED, &why);
    fputs(text, p->f);
    free(text);
    return CTL_OK;
}

static enum err write_svg(const struct drawing *d, const char *dir, struct why *why)
{
    struct curve c;
    char *text;
    size_t n;
    TRY(curve_open(dir, d->column, &c, why));
    enum err e = plot_svg(&c.plot, &text, &n, why);
    curve_close(&c);
    if (e) return e;
    if (!strcmp(d->svg, "-")) fwrite(text, 1, n, stdout);
    else e = file_write(d->svg, text, n, why);
    free(text);
    return e;
}

int verb_plot(int argc, char **argv)
{
    struct drawing d = {0};
    struct why why = {0};
    char dir[4096];
    int code;
    const struct opt opt[] = {OPTS_RUN(d.c),
                              {"svg", 0, OPT_STR, &d.svg, 0, 0, "FILE", "write a picture instead; - is stdout"},
                              {"width", 0, OPT_U32, &d.width, PLOT_MIN_COLUMNS, PLOT_MAX_CELLS, "N", "columns (the terminal's, else 80)"},
                              {"height", 0, OPT_U32, &d.height, PLOT_MIN_ROWS, PLOT_MAX_CELLS, "N", "lines (the terminal's, else 20)"},
                              OPTS_WATCH(d.c)};
    struct args a = {.verb = argv[0], .words = "[NAME]", .about = "the curve of a run: reward, or another name of metrics.jsonl", .opt = opt,
                     .n_opt = ARRAY_LEN(opt), .max_words = 1};
    if (!args_parse(&a, argc, argv, &code)) return code;
    d.column = a.n_word ? a.word[0] : NULL;
    if (!d.svg) return look(&d.c, draw, &d);
    code = run_folder(&d.c, dir, sizeof dir, &why) || write_svg(&d, dir, &why) ? CTL_FAILED : CTL_OK;
    if (code) say("%s", why_str(&why, ERR_INTERNAL));
    else if (strcmp(d.svg, "-")) say("wrote %s", d.svg);
    return code;
}
