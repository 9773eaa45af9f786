// SPDX-License-Identifier: Apache-2.0
#include "common/run/metrics.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"

#define MAX_BYTES ((size_t)1 << 32)

struct reader {
    struct metrics m;
    size_t room; /* rows that the columns have room for */
    const char *path;
};

void metrics_done(struct metrics *m)
{
    for (uint32_t i = 0; i < m->n_column; i++) free(m->name[i]), free(m->value[i]);
    free(m->name);
    free(m->value);
    *m = (struct metrics){0};
}

const double *metrics_column(const struct metrics *m, const char *name)
{
    for (uint32_t i = 0; i < m->n_column; i++)
        if (!strcmp(m->name[i], name)) return m->value[i];
    return NULL;
}

static enum err add_column(struct reader *r, const char *name, struct why *why)
{
    struct metrics *m = &r->m;
    if (m->n_column == METRICS_MAX_COLUMN) return why_set(why, ERR_RANGE, "%s:%zu: more than %d names", r->path, m->n_row + 1, METRICS_MAX_COLUMN);
    m->name[m->n_column] = strdup(name);
    m->value[m->n_column] = malloc(r->room * sizeof(double));
    if (!m->name[m->n_column] || !m->value[m->n_column]) {
        free(m->name[m->n_column]);
        free(m->value[m->n_column]);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i <= m->n_row; i++) m->value[m->n_column][i] = NAN;
    m->n_column++;
    return ERR_OK;
}

/* A row of NaN at n_row. */
static enum err add_row(struct reader *r)
{
    struct metrics *m = &r->m;
    if (m->n_row == r->room) {
        const size_t room = r->room ? 2 * r->room : 256;
        for (uint32_t i = 0; i < m->n_column; i++) {
            double *v = realloc(m->value[i], room * sizeof *v);
            if (!v) return ERR_NOMEM;
            m->value[i] = v;
        }
        r->room = room;
    }
    for (uint32_t i = 0; i < m->n_column; i++) m->value[i][m->n_row] = NAN;
    return ERR_OK;
}

/* Lines have their names in the same order: the column is where the line before had it, or is looked for. */
static enum err put(struct reader *r, const char *name, double v, uint32_t *hint, struct why *why)
{
    struct metrics *m = &r->m;
    uint32_t i = *hint;
    if (i >= m->n_column || strcmp(m->name[i], name)) {
        for (i = 0; i < m->n_column && strcmp(m->name[i], name);) i++;
        if (i == m->n_column) TRY(add_column(r, name, why));
    }
    m->value[i][m->n_row] = v;
    *hint = i + 1;
    return ERR_OK;
}

static enum err put_line(struct reader *r, json_t *line, struct why *why)
{
    const char *name;
    json_t *v;
    uint32_t hint = 0;
    TRY(add_row(r));
    json_object_foreach(line, name, v)
    {
        if (json_is_string(v) || json_is_array(v) || json_is_object(v)) continue;
        const double x = json_is_number(v) ? json_number_value(v) : json_is_null(v) ? NAN : json_is_true(v);
        TRY(put(r, name, x, &hint, why));
    }
    r->m.n_row++;
    return ERR_OK;
}

static enum err read_all(struct reader *r, struct span text, struct why *why)
{
    const char *p = (const char *)text.p, *const end = p + text.n;
    for (size_t number = 1; p < end; number++) {
        json_error_t bad;
        const char *const nl = memchr(p, '\n', (size_t)(end - p));
        const size_t n = (size_t)((nl ? nl : end) - p);
        json_t *line = json_loadb(p, n, JSON_REJECT_DUPLICATES, &bad);
        if (!nl && !json_is_object(line)) { /* torn */
            json_decref(line);
            return ERR_OK;
        }
        if (!line) return why_set(why, ERR_FORMAT, "%s:%zu: %s", r->path, number, bad.text);
        enum err e = json_is_object(line) ? put_line(r, line, why) : why_set(why, ERR_FORMAT, "%s:%zu: not a JSON object", r->path, number);
        json_decref(line);
        if (e) return e;
        p += n + (nl != NULL);
    }
    return ERR_OK;
}

enum err metrics_parse(struct span text, const char *path, struct metrics *ret_metrics, struct why *why)
{
    struct reader r = {.path = path};
    r.m.name = calloc(METRICS_MAX_COLUMN, sizeof *r.m.name);
    r.m.value = calloc(METRICS_MAX_COLUMN, sizeof *r.m.value);
    enum err e = r.m.name && r.m.value ? read_all(&r, text, why) : ERR_NOMEM;
    if (e) {
        metrics_done(&r.m);
        return e;
    }
    *ret_metrics = r.m;
    return ERR_OK;
}

enum err metrics_read(const char *path, struct metrics *ret_metrics, struct why *why)
{
    char *text;
    size_t n;
    TRY(file_read(path, MAX_BYTES, &text, &n, why));
    enum err e = metrics_parse(span_of(text, n), path, ret_metrics, why);
    free(text);
    return e;
}
