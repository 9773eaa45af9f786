// SPDX-License-Identifier: Apache-2.0
/* curve.h - the curve of a run as a chart: a column of metrics.jsonl step by step, its moving average, and the held-out accuracy.
 *
 *     struct curve c;
 *     TRY(curve_open("runs/quickstart", NULL, &c, why));
 *     enum err e = plot_term(&c.plot, 80, 20, true, &text, why);
 *     curve_close(&c);
 */
#ifndef COMMON_RUN_CURVE_H
#define COMMON_RUN_CURVE_H

#include "common/run/metrics.h"
#include "common/run/plot.h"

struct curve {
    struct plot plot; /* borrows from what follows; move the struct as a whole only before use */
    struct metrics metrics;
    double *step, *average;
    char title[256], subtitle[256], average_label[64];
};

/* Read RUN_DIR/metrics.jsonl and make the chart of a column; NULL: "reward", or "loss" where no step has a reward.
 * ERR_NOENT: no such run, no such column (the words list those there are), or no step yet. Else as metrics_read. */
enum err curve_open(const char *run_dir, const char *column, struct curve *ret_curve, struct why *why) MUST_CHECK;
void curve_close(struct curve *c);

/* Write RUN_DIR/reward.svg, the chart of the default column. Blocking; for the end of a run, or any time. */
enum err curve_write_svg(const char *run_dir, struct why *why) MUST_CHECK;

#endif
