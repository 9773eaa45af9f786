// SPDX-License-Identifier: Apache-2.0
#include "common/run/curve.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"

#define MIN_HALF     2
#define MAX_HALF     50
#define MAX_PATH_LEN 4096

void curve_close(struct curve *c)
{
    free(c->step);
    free(c->average);
    metrics_done(&c->metrics);
    *c = (struct curve){0};
}

/* The last finite value: its place + 1; 0 if there is none. */
static size_t last_value(const double *v, size_t n)
{
    while (n && !isfinite(v[n - 1])) n--;
    return n;
}

static bool has_value(const struct metrics *m, const char *name)
{
    const double *v = metrics_column(m, name);
    return v && last_value(v, m->n_row);
}

static enum err no_column(const struct metrics *m, const char *path, const char *name, struct why *why)
{
    char list[400] = "";
    for (uint32_t i = 0; i < m->n_column; i++) {
        const size_t n = strlen(list);
        if (n + strlen(m->name[i]) + 3 > sizeof list) break;
        snprintf(list + n, sizeof list - n, "%s%s", n ? " " : "", m->name[i]);
    }
    return why_set(why, ERR_NOENT, "%s: no column \"%s\"; there are: %s", path, name, list);
}

/* Shares and rewards lie between 0 and 1 as a rule; then all charts of them have one scale. */
static bool is_share(const char *name)
{
    const size_t n = strlen(name);
    return !strncmp(name, "reward", 6) || !strcmp(name, "accuracy") || (n > 5 && !strcmp(name + n - 5, "_frac"));
}

/* Of the moving average: a tenth of the run, so that a short one is smoothed too. */
static size_t half_window(size_t n)
{
    const size_t half = n / 20;
    return half < MIN_HALF ? MIN_HALF : half > MAX_HALF ? MAX_HALF : half;
}

static void say(struct curve *c, const char *run_dir, const char *column)
{
    size_t n = strlen(run_dir);
    while (n && run_dir[n - 1] == '/') n--;
    size_t from = n;
    while (from && run_dir[from - 1] != '/') from--;
    snprintf(c->title, sizeof c->title, "%.*s: %s", (int)(n - from), run_dir + from, column);
    snprintf(c->subtitle, sizeof c->subtitle, "%zu steps", c->metrics.n_row);
    const double *accuracy = metrics_column(&c->metrics, "accuracy");
    const size_t at = accuracy ? last_value(accuracy, c->metrics.n_row) : 0;
    if (at) snprintf(c->subtitle, sizeof c->subtitle, "held-out accuracy %.3f at step %.0f", accuracy[at - 1], c->step[at - 1]);
}

static enum err fill(struct curve *c, const char *run_dir, const char *path, const char *column, struct why *why)
{
    const struct metrics *m = &c->metrics;
    const size_t n = m->n_row, half = half_window(n);
    const double *y = metrics_column(m, column), *step = metrics_column(m, "step"), *accuracy = metrics_column(m, "accuracy");
    if (!n) return why_set(why, ERR_NOENT, "%s: no step yet", path);
    if (!y) return no_column(m, path, column, why);
    c->step = malloc(n * sizeof *c->step);
    c->average = malloc(n * sizeof *c->average);
    if (!c->step || !c->average) return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) c->step[i] = step ? step[i] : (double)i + 1;
    plot_average(y, n, half, c->average);
    snprintf(c->average_label, sizeof c->average_label, "mean of %zu steps", 2 * half + 1);
    struct plot *p = &c->plot;
    *p = (struct plot){.title = c->title, .subtitle = c->subtitle, .x_label = "step", .unit = is_share(column)};
    say(c, run_dir, column);
    const bool is_accuracy = !strcmp(column, "accuracy");
    if (!is_accuracy) {
        p->series[p->n_series++] = (struct plot_series){"each step", c->step, y, n, PLOT_FAINT};
        p->series[p->n_series++] = (struct plot_series){c->average_label, c->step, c->average, n, PLOT_LINE};
    }
    if (accuracy && (is_accuracy || (!strcmp(column, "reward") && has_value(m, "accuracy"))))
        p->series[p->n_series++] = (struct plot_series){"held-out accuracy", c->step, accuracy, n, PLOT_POINTS};
    return ERR_OK;
}

static enum err path_in(const char *run_dir, const char *name, char out[MAX_PATH_LEN], struct why *why)
{
    const int n = snprintf(out, MAX_PATH_LEN, "%s/%s", run_dir, name);
    return n < MAX_PATH_LEN ? ERR_OK : why_set(why, ERR_RANGE, "%.80s...: too long a path", run_dir);
}

enum err curve_open(const char *run_dir, const char *column, struct curve *ret_curve, struct why *why)
{
    char path[MAX_PATH_LEN];
    struct curve *c = ret_curve;
    struct metrics m;
    TRY(path_in(run_dir, "metrics.jsonl", path, why));
    TRY(metrics_read(path, &m, why));
    *c = (struct curve){.metrics = m};
    if (!column) column = !has_value(&m, "reward") && has_value(&m, "loss") ? "loss" : "reward";
    enum err e = fill(c, run_dir, path, column, why);
    if (e) curve_close(c);
    return e;
}

enum err curve_write_svg(const char *run_dir, struct why *why)
{
    char path[MAX_PATH_LEN], *text;
    size_t n;
    struct curve c;
    TRY(path_in(run_dir, "reward.svg", path, why));
    TRY(curve_open(run_dir, NULL, &c, why));
    enum err e = plot_svg(&c.plot, &text, &n, why);
    if (!e) {
        e = file_write(path, text, n, why);
        free(text);
    }
    curve_close(&c);
    return e;
}
