// SPDX-License-Identifier: Apache-2.0
/* plot.h - one chart of up to four series over one pair of axes: as SVG, or in a terminal. Pure functions, any thread. */
#ifndef COMMON_RUN_PLOT_H
#define COMMON_RUN_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define PLOT_MAX_SERIES  4
#define PLOT_MIN_COLUMNS 24
#define PLOT_MIN_ROWS    7
#define PLOT_MAX_CELLS   1000 /* either way */

enum plot_style {
    PLOT_FAINT,  /* a thin pale line, behind the others */
    PLOT_LINE,   /* a bold line */
    PLOT_POINTS, /* dots */
};

/* Borrows its arrays, x rising. A y that is not finite is left out: a gap in a line. */
struct plot_series {
    const char *label;
    const double *x, *y; /* [n] */
    size_t n;
    enum plot_style style;
};

struct plot {
    const char *title, *subtitle, *x_label; /* subtitle may be NULL */
    bool unit;                              /* y runs from 0 to 1 if all of it lies there, else where the values do */
    uint32_t n_series;
    struct plot_series series[PLOT_MAX_SERIES];
};

/* A whole SVG file, text within (no fonts, no scripts, nothing fetched). It follows the reader's light or dark scheme and stands on
 * a ground of its own. Its size does not grow with n beyond a point: a pixel column holds at most four corners of a line.
 * The caller owns *ret_text (free), NUL-terminated. */
enum err plot_svg(const struct plot *p, char **ret_text, size_t *ret_n, struct why *why) MUST_CHECK;

/* The same as `height` lines of at most `width` columns, each with its line end: lines in braille dots, points as a disc.
 * With color, ANSI colors; without, a PLOT_FAINT series is left out where there is a PLOT_LINE to be told from.
 * ERR_RANGE: below the least size or above PLOT_MAX_CELLS. The caller owns *ret_text (free). */
enum err plot_term(const struct plot *p, uint32_t width, uint32_t height, bool color, char **ret_text, struct why *why) MUST_CHECK;

/* ret_y[i]: mean of the finite among y[i - half .. i + half], as far as there are any; NaN where there is none. Not of those before
 * alone: that mean lags behind a curve that rises. */
void plot_average(const double *y, size_t n, size_t half, double *ret_y);

#endif
