// SPDX-License-Identifier: Apache-2.0
/* metrics.h - metrics.jsonl of a run, read whole: a table with a row per line and a column per name.
 *
 * The file is one JSON object a line, one line a step; the learner appends to it, anyone may read it meanwhile. A value is a number;
 * null, true and false read as NaN, 1 and 0; a name that a line lacks is NaN there; text, lists and objects make no column.
 * Any thread; a table belongs to one. */
#ifndef COMMON_RUN_METRICS_H
#define COMMON_RUN_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"

#define METRICS_MAX_COLUMN 512

struct metrics {
    size_t n_row;
    uint32_t n_column;
    char **name;    /* [n_column] in the order of first appearance */
    double **value; /* [n_column][n_row] */
};

/* Read the file. A last line that is torn (no line end, no whole object) is left out. The caller owns *ret_metrics (metrics_done);
 * on error it is untouched. ERR_NOENT, ERR_ACCESS; ERR_FORMAT names the line ("PATH:12: ..."); ERR_RANGE: too many names. */
enum err metrics_read(const char *path, struct metrics *ret_metrics, struct why *why) MUST_CHECK;

/* The same of bytes; `path` is what the words call them. */
enum err metrics_parse(struct span text, const char *path, struct metrics *ret_metrics, struct why *why) MUST_CHECK;

void metrics_done(struct metrics *m); /* {0} is a no-op */

/* The column of that name [n_row], borrowed; NULL when no line has it. */
const double *metrics_column(const struct metrics *m, const char *name);

#endif
