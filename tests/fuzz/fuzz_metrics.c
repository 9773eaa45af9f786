// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a metrics.jsonl: refused with a line number, or a table, which plots in a terminal and as SVG. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/run/metrics.h"
#include "common/run/plot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first column over the second, twice. */
static void draw(const struct metrics *m)
{
    char *text;
    size_t n;
    const struct plot p = {.title = m->name[0], .subtitle = m->name[m->n_column - 1], .x_label = "step", .unit = m->n_row & 1, .n_series = 2,
                           .series = {{m->name[0], m->value[m->n_column - 1], m->value[0], m->n_row, PLOT_LINE},
                                      {m->name[m->n_column - 1], m->value[m->n_column - 1], m->value[0], m->n_row, PLOT_POINTS}}};
    if (plot_svg(&p, &text, &n, NULL)) abort();
    if (strlen(text) != n || strstr(text, "=\"nan") || strstr(text, "=\"inf")) abort();
    free(text);
    if (plot_term(&p, 30, 9, true, &text, NULL)) abort();
    unsigned lines = 0;
    for (const char *s = text; *s; s++) lines += *s == '\n';
    if (lines != 9) abort();
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct metrics m;
    struct why why = {0};
    if (metrics_parse(span_of(data, size), "fuzz", &m, &why)) {
        if (strncmp(why.text, "fuzz:", 5)) abort();
        return 0;
    }
    for (uint32_t i = 0; i < m.n_column; i++)
        if (metrics_column(&m, m.name[i]) != m.value[i]) abort();
    if (m.n_column && m.n_row) draw(&m);
    metrics_done(&m);
    return 0;
}
