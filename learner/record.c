// SPDX-License-Identifier: Apache-2.0
#include "learner/record.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/run/db.h"
#include "learner/train.h"

struct record {
    struct db *db;
    FILE *lines;
    char path[4096];
    const struct prompts *prompts;
    const struct reward_list *rewards;
};

/* The bytes of metrics.jsonl up to and with the line of `step`: what a resumed run keeps. */
static size_t keep_bytes(const char *text, size_t n, uint64_t step)
{
    size_t kept = 0;
    for (size_t at = 0; at < n;) {
        const char *nl = memchr(text + at, '\n', n - at);
        if (!nl) break; /* a torn line */
        json_t *j = json_loadb(text + at, (size_t)(nl - text) - at, 0, NULL), *s = json_object_get(j, "step");
        const bool keep = json_is_integer(s) && (uint64_t)json_integer_value(s) <= step;
        json_decref(j);
        if (!keep) break;
        at = (size_t)(nl - text) + 1;
        kept = at;
    }
    return kept;
}

static enum err open_lines(struct record *r, uint64_t step, struct why *why)
{
    char *text;
    size_t n, kept = 0;
    if (step && file_exists(r->path)) {
        TRY(file_read(r->path, (size_t)1 << 32, &text, &n, why));
        kept = keep_bytes(text, n, step);
        free(text);
    }
    r->lines = fopen(r->path, "ae");
    if (!r->lines || ftruncate(fileno(r->lines), (off_t)kept)) return why_set(why, err_from_errno(errno), "%s: %s", r->path, strerror(errno));
    return ERR_OK;
}

enum err record_open(const char *run_dir, uint64_t step, const struct prompts *prompts, const struct reward_list *rewards,
                     struct record **ret_record, struct why *why)
{
    char path[4096];
    struct record *r = calloc(1, sizeof *r);
    if (!r) return ERR_NOMEM;
    r->prompts = prompts;
    r->rewards = rewards;
    snprintf(path, sizeof path, "%s/run.db", run_dir);
    snprintf(r->path, sizeof r->path, "%s/metrics.jsonl", run_dir);
    enum err e = db_open(path, true, &r->db, why);
    if (!e) e = db_rewind(r->db, step, why);
    if (!e) e = open_lines(r, step, why);
    if (e) {
        if (r->lines) fclose(r->lines);
        db_close(r->db);
        free(r);
        return e;
    }
    *ret_record = r;
    return ERR_OK;
}

enum err record_close(struct record *r, struct why *why)
{
    if (!r) return ERR_OK;
    const bool bad = fclose(r->lines) != 0;
    enum err e = bad ? why_set(why, err_from_errno(errno), "%s: %s", r->path, strerror(errno)) : ERR_OK;
    db_close(r->db);
    free(r);
    return e;
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static char *line_of(const struct step_metrics *m)
{
    const struct {
        const char *name;
        double value;
    } real[] = {
        {"loss", m->loss}, {"lr", m->lr}, {"reward", m->reward}, {"reward_std", m->reward_std}, {"accuracy", m->accuracy}, {"kl", m->kl},
        {"entropy", m->entropy}, {"grad_norm", m->grad_norm}, {"clip_frac", m->clip_frac}, {"completion_length", m->completion_length},
        {"completion_length_min", m->completion_length_min}, {"completion_length_max", m->completion_length_max},
        {"truncated_frac", m->truncated_frac}, {"zero_variance_frac", m->zero_variance_frac}, {"mismatch_max", m->mismatch_max},
        {"mismatch_tok", m->mismatch_tok}, {"staleness", m->staleness}, {"gen_s", m->gen_s}, {"reward_s", m->reward_s},
        {"train_s", m->train_s}, {"push_s", m->push_s}, {"step_s", m->step_s}, {"tok_per_s", m->tok_per_s},
    };
    json_t *j = json_pack("{s:I}", "step", (json_int_t)m->step);
    for (unsigned i = 0; i < sizeof real / sizeof *real; i++) json_object_set_new(j, real[i].name, number(real[i].value));
    for (uint32_t i = 0; i < m->n_reward; i++) {
        char name[80];
        snprintf(name, sizeof name, "reward_%s", m->reward_name[i]);
        json_object_set_new(j, name, number(m->reward_by_name[i]));
    }
    json_object_set_new(j, "mixed_version_completions", json_integer(m->n_mixed));
    json_object_set_new(j, "policy_version", json_integer((json_int_t)m->policy_version));
    char *text = json_dumps(j, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
    json_decref(j);
    return text;
}

static enum err put_completion(struct record *r, const struct group *g, uint32_t i, struct why *why)
{
    const struct completion *c = &g->c[i];
    const struct db_completion x = {g->job_id, i, c->finish, c->n_tok, c->text, c->tok, c->lp, c->version};
    TRY(db_put_completion(r->db, &x, why));
    for (uint32_t k = 0; k < r->rewards->n; k++)
        TRY(db_put_reward(r->db, g->job_id, i, r->rewards->reward[k]->name, c->reward[k], why));
    return db_put_advantage(r->db, g->job_id, i, c->adv, why);
}

static enum err put_group(struct record *r, uint64_t step, const struct group *g, struct why *why)
{
    const struct prompt_row *row = &r->prompts->row[g->row];
    const struct db_job j = {g->job_id, step, g->node, g->row, row->prompt, row->answer, row->tok, row->n_tok, clock_s(g->wait_ns), clock_s(g->gen_ns)};
    TRY(db_put_job(r->db, &j, why));
    for (uint32_t i = 0; i < g->n; i++) TRY(put_completion(r, g, i, why));
    return ERR_OK;
}

static enum err put_all(struct record *r, const struct step_metrics *m, const struct step_batch *b, const char *line, struct why *why)
{
    TRY(db_begin(r->db, why));
    for (uint32_t i = 0; b && i < b->n; i++) TRY(put_group(r, m->step, b->group[i], why));
    TRY(db_put_step(r->db, m->step, m->policy_version, line, why));
    return db_commit(r->db, why);
}

enum err record_step(struct record *r, const struct step_metrics *m, const struct step_batch *b, struct why *why)
{
    char *line = line_of(m);
    if (!line) return ERR_NOMEM;
    enum err e = m->step ? put_all(r, m, b, line, why) : ERR_OK;
    if (!e && (fprintf(r->lines, "%s\n", line) < 0 || fflush(r->lines))) e = why_set(why, err_from_errno(errno), "%s: %s", r->path, strerror(errno));
    free(line);
    return e;
}

enum err record_sync(struct record *r, struct why *why)
{
    double busy;
    if (fsync(fileno(r->lines))) return why_set(why, err_from_errno(errno), "%s: cannot sync: %s", r->path, strerror(errno));
    return db_number(r->db, "PRAGMA wal_checkpoint(PASSIVE)", &busy, why); /* which syncs */
}
