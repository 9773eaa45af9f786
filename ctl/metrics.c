// SPDX-License-Identifier: Apache-2.0
/* metrics.c - the last lines of metrics.jsonl, as a table or as they are; and the daemons' Prometheus text. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

struct view {
    struct common c;
    double n; /* < 0: not given */
    bool prometheus;
};

/* -- the file's end ----------------------------------------------------------------------------------------------------- */

/* The last n whole lines (0: all) of a file, malloced with a NUL. A last line without its end is still being written: it is left out. */
static enum err read_tail(const char *path, uint32_t n, char **ret_text, struct why *why)
{
    FILE *f = fopen(path, "re");
    if (!f || fseeko(f, 0, SEEK_END)) {
        enum err e = why_set(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
        if (f) fclose(f);
        return e;
    }
    const off_t size = ftello(f);
    off_t want = n ? 65536 : size;
    char *text = NULL, *start = NULL;
    for (;; want *= 4) {
        const off_t take = want < size ? want : size;
        char *more = take < (off_t)1 << 32 ? realloc(text, (size_t)take + 1) : NULL;
        if (!more || fseeko(f, size - take, SEEK_SET)) {
            free(more ? more : text);
            text = NULL;
            break;
        }
        text = more;
        size_t k = fread(text, 1, (size_t)take, f);
        while (k && text[k - 1] != '\n') k--;
        text[k] = 0;
        uint32_t lines = 0;
        for (start = text + k; start > text && lines < (n ? n : UINT32_MAX); lines++)
            for (start--; start > text && start[-1] != '\n';) start--;
        if (take == size || (n && lines == n && start > text)) break;
    }
    fclose(f);
    if (!text) return why_set(why, ERR_NOMEM, "%s: too large to read", path);
    memmove(text, start, strlen(start) + 1);
    *ret_text = text;
    return ERR_OK;
}

/* -- for people --------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *head, *key;
    char how; /* c count, n number, t time, p share */
} column[] = {
    {"step", "step", 'c'}, {"reward", "reward", 'n'}, {"std", "reward_std", 'n'}, {"accuracy", "accuracy", 'n'}, {"loss", "loss", 'n'},
    {"kl", "kl", 'n'}, {"entropy", "entropy", 'n'}, {"grad", "grad_norm", 'n'}, {"clipped", "clip_frac", 'p'}, {"length", "completion_length", 'n'},
    {"cut", "truncated_frac", 'p'}, {"flat", "zero_variance_frac", 'p'}, {"mismatch", "mismatch_max", 'n'}, {"stale", "staleness", 'n'},
    {"generate", "gen_s", 't'}, {"train", "train_s", 't'}, {"tok/s", "tok_per_s", 'c'},
};

static void add_cell(struct table *t, const json_t *j, const char *key, char how)
{
    struct human h;
    const double x = js_num(j, key);
    if (how == 'p' && x >= 0) table_add(t, "%.0f %%", x * 100);
    else table_add(t, "%s", how == 'c' ? human_count(x, &h) : how == 't' ? human_time(x, &h) : human_num(x, &h));
}

static void draw_table(struct page *p, char *text, const char *path)
{
    struct col col[ARRAY_LEN(column)] = {0};
    struct table t;
    uint32_t bad = 0;
    for (uint32_t i = 0; i < ARRAY_LEN(column); i++) col[i] = (struct col){.head = column[i].head, .right = true};
    table_init(&t, col, ARRAY_LEN(column));
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *j = json_loads(line, 0, NULL);
        if (!json_is_object(j)) bad++;
        for (uint32_t i = 0; json_is_object(j) && i < ARRAY_LEN(column); i++) add_cell(&t, j, column[i].key, column[i].how);
        json_decref(j);
    }
    if (t.n_cell) table_print(&t, p);
    else if (!bad) page_line(p, TINT_NONE, "no steps yet");
    if (bad) page_line(p, TINT_RED, "%s: %u lines are no JSON objects", path, bad);
    table_done(&t);
}

static int draw(struct page *p, void *arg)
{
    const struct view *m = arg;
    struct why why = {0};
    char dir[4096], path[4200], *text = NULL;
    if (run_folder(&m->c, dir, sizeof dir, &why)) return page_fail(p, CTL_FAILED, &why);
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    if (read_tail(path, m->n >= 0 ? (uint32_t)m->n : m->c.json ? 0 : 20, &text, &why)) return page_fail(p, CTL_FAILED, &why);
    if (m->c.json) fputs(text, p->f);
    else {
        page_head(p, "%s", dir);
        draw_table(p, text, path);
    }
    free(text);
    return CTL_OK;
}

/* -- Prometheus --------------------------------------------------------------------------------------------------------- */

static int prometheus(const struct common *c)
{
    static const enum who both[] = {WHO_LEARNER, WHO_ROLLOUT};
    struct why none = {0};
    int worst = CTL_OK, shown = 0;
    const bool one = one_door(c);
    for (int i = 0; i < (one ? 1 : 2); i++) {
        struct why why = {0};
        struct door d;
        struct answer r;
        const int code = pick_and_ask(c, both[i], one ? WHO_ROLLOUT : WHO_ANY, "metrics", &d, &r, &why);
        const char *text = json_string_value(json_object_get(r.j, "prometheus"));
        if (text) fputs(text, stdout), shown++;
        else if (code == CTL_NO_DAEMON && !one) none = why;
        else {
            say("%s", code ? why_str(&why, ERR_INTERNAL) : "the answer holds no metrics");
            worst = code ? code : CTL_FAILED;
        }
        answer_done(&r);
        if (code == CTL_USAGE) return code;
    }
    if (shown || worst) return worst;
    say("%s", none.text);
    return CTL_NO_DAEMON;
}

int verb_metrics(int argc, char **argv)
{
    struct view m = {.n = -1};
    int code;
    const struct opt opt[] = {OPTS_DOOR(m.c),
                              {"last", 'n', OPT_F64, &m.n, 0, 1e9, "N", "that many steps, 0 for all (20; with --json all)"},
                              {"json", 0, OPT_FLAG, &m.c.json, 0, 0, NULL, "the lines of metrics.jsonl as they are"},
                              {"prometheus", 0, OPT_FLAG, &m.prometheus, 0, 0, NULL, "what the daemons count, as Prometheus text"},
                              OPTS_WATCH(m.c)};
    struct args a = {.verb = argv[0], .words = "", .about = "the last steps of a run (needs no daemon); Prometheus text (of the daemons)", .opt = opt,
                     .n_opt = ARRAY_LEN(opt)};
    if (!args_parse(&a, argc, argv, &code)) return code;
    return m.prometheus ? prometheus(&m.c) : look(&m.c, draw, &m);
}
