// SPDX-License-Identifier: Apache-2.0
/* samples.c - completions of a step, out of run.db. Needs no daemon. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/run/db.h"
#include "ctl/ctl.h"
#include "ctl/group.h"

struct samples {
    struct common c;
    bool best, worst, full;
    double step; /* < 0: the newest */
    uint32_t n;
    struct page *page;
    uint32_t shown;
};


static json_t *text_or_null(const char *s)
{
    json_t *j = s ? json_string(s) : NULL;
    return j ? j : json_null();
}

static void as_json(const struct samples *x, const struct db_sample *s)
{
    json_t *j = json_pack("{s:I, s:I, s:I, s:s, s:I, s:f, s:f, s:o, s:o, s:o}", "step", (json_int_t)s->step, "job_id", (json_int_t)s->job_id,
                          "sample", (json_int_t)s->sample, "finish", ctl_finish_name(s->finish), "n_tok", (json_int_t)s->n_tok, "reward", s->reward,
                          "advantage", s->advantage, "prompt", text_or_null(s->prompt), "gold", text_or_null(s->gold), "text",
                          text_or_null(s->text));
    char *text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fprintf(x->page->f, "%s\n", text ? text : "null");
    free(text);
    json_decref(j);
}

static void for_people(const struct samples *x, const struct db_sample *s)
{
    struct page *p = x->page;
    const uint32_t lines = x->full ? 0 : 12;
    const enum tint t = s->advantage > 0 ? TINT_GREEN : s->advantage < 0 ? TINT_RED : TINT_BOLD;
    if (x->shown) fputc('\n', p->f);
    page_line(p, t, "step %llu, job %llu, sample %u: reward %.4g, advantage %+.3g, %u tokens, %s%s%s", (unsigned long long)s->step,
              (unsigned long long)s->job_id, s->sample, s->reward, s->advantage, s->n_tok,
              s->finish == FINISH_EOS ? "ended by itself" : s->finish == FINISH_LENGTH ? "cut at the length limit" : "aborted",
              s->gold && *s->gold ? ", answer wanted: " : "", s->gold ? s->gold : "");
    page_text(p, "  > ", span_str(s->prompt ? s->prompt : ""), lines);
    page_text(p, "  | ", span_str(s->text ? s->text : ""), lines);
}

static bool on_sample(void *arg, const struct db_sample *s)
{
    struct samples *x = arg;
    if (x->c.json) as_json(x, s);
    else for_people(x, s);
    x->shown++;
    return true;
}

static enum err show(struct samples *x, const char *dir, struct why *why)
{
    char path[4200];
    struct db *db;
    const uint64_t step = x->step < 0 ? UINT64_MAX : (uint64_t)x->step;
    snprintf(path, sizeof path, "%s/run.db", dir);
    TRY(db_open(path, false, &db, why));
    enum err e = ERR_OK;
    if (x->best || !x->worst) e = db_samples(db, step, x->best ? DB_BEST : DB_BY_JOB, x->n, on_sample, x, why);
    if (!e && x->worst) e = db_samples(db, step, DB_WORST, x->n, on_sample, x, why);
    db_close(db);
    if (e || x->shown) return e;
    if (x->step < 0) return why_set(why, ERR_NOENT, "%s: no completions yet", path);
    return why_set(why, ERR_NOENT, "%s: no completions of step %.0f", path, x->step);
}

static int draw(struct page *p, void *arg)
{
    struct samples *x = arg;
    struct why why = {0};
    char dir[4096];
    x->page = p;
    x->shown = 0;
    int code = run_folder(&x->c, dir, sizeof dir, &why);
    if (!code && show(x, dir, &why)) code = CTL_FAILED;
    return code ? page_fail(p, code, &why) : CTL_OK;
}

int verb_samples(int argc, char **argv)
{
    struct samples x = {.step = -1, .n = 4};
    int code;
    const struct opt opt[] = {OPTS_RUN(x.c),
                              {"step", 0, OPT_F64, &x.step, 0, 1e15, "N", "of this step (the newest)"},
                              {"best", 0, OPT_FLAG, &x.best, 0, 0, NULL, "those with the highest reward"},
                              {"worst", 0, OPT_FLAG, &x.worst, 0, 0, NULL, "those with the lowest; after the best when both are asked for"},
                              {"count", 'n', OPT_U32, &x.n, 1, 1e9, "N", "how many of each (4)"},
                              {"full", 0, OPT_FLAG, &x.full, 0, 0, NULL, "whole texts, however long"},
                              {"json", 0, OPT_FLAG, &x.c.json, 0, 0, NULL, "one JSON object a line"},
                              OPTS_WATCH(x.c)};
    struct args a = {.verb = argv[0], .words = "", .about = "completions of a run, with reward and advantage", .opt = opt, .n_opt = ARRAY_LEN(opt)};
    return args_parse(&a, argc, argv, &code) ? look(&x.c, draw, &x) : code;
}
