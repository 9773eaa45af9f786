// SPDX-License-Identifier: Apache-2.0
#include "rollout/intake.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum err check(const struct msg_job *j, struct why *why)
{
    if (!j->tokens.n) return why_set(why, ERR_INVAL, "job %llu: an empty prompt", (unsigned long long)j->job_id);
    if (!j->group_size || j->group_size > INTAKE_MAX_GROUP)
        return why_set(why, ERR_RANGE, "group_size %u: must lie between 1 and %u", j->group_size, INTAKE_MAX_GROUP);
    if (!j->max_tok || j->max_tok > 1u << 20) return why_set(why, ERR_RANGE, "max_tok %u: must lie between 1 and %u", j->max_tok, 1u << 20);
    if (!(j->temperature >= 0) || j->temperature > 100) return why_set(why, ERR_RANGE, "temperature %g: must lie between 0 and 100", j->temperature);
    if (!(j->top_p > 0) || j->top_p > 1) return why_set(why, ERR_RANGE, "top_p %g: must lie above 0, up to 1", j->top_p);
    if (!(j->min_p >= 0) || j->min_p > 1) return why_set(why, ERR_RANGE, "min_p %g: must lie between 0 and 1", j->min_p);
    if (j->eos.n > WORK_MAX_EOS) return why_set(why, ERR_RANGE, "%u eos ids, at most %u", j->eos.n, WORK_MAX_EOS);
    return ERR_OK;
}

enum err intake_job(const struct msg_job *j, const int32_t *eos, uint32_t n_eos, struct work **ret_work, struct why *why)
{
    struct work *w;
    TRY(check(j, why));
    int32_t *prompt = malloc(j->tokens.n * sizeof *prompt);
    if (!prompt) return ERR_NOMEM;
    msg_arr_copy(j->tokens, sizeof *prompt, prompt);
    enum err e = work_create(prompt, j->tokens.n, j->group_size, j->max_tok, &w);
    free(prompt);
    if (e) return why_set(why, e, "job %llu: %s", (unsigned long long)j->job_id, err_str(e));
    w->job_id = j->job_id;
    w->seed = j->seed;
    w->temperature = j->temperature;
    w->top_p = j->top_p;
    w->min_p = j->min_p;
    w->top_k = j->top_k;
    w->want = (struct version){j->incarnation, j->min_version};
    w->n_eos = j->eos.n ? j->eos.n : n_eos < WORK_MAX_EOS ? n_eos : WORK_MAX_EOS;
    if (j->eos.n) msg_arr_copy(j->eos, sizeof *w->eos, w->eos);
    else if (w->n_eos) memcpy(w->eos, eos, w->n_eos * sizeof *eos);
    *ret_work = w;
    return ERR_OK;
}

/* The per-token arrays of all samples, end to end. */
struct flat {
    uint32_t *n_tok, *version;
    uint8_t *finish, *kind;
    int32_t *tok;
    float *lp;
};

static enum err flatten(const struct work *w, uint32_t total, struct flat *f)
{
    const uint32_t g = w->group_size;
    *f = (struct flat){calloc(g, 4), calloc(total + 1, 4), calloc(g, 1), calloc(total + 1, 1), calloc(total + 1, 4), calloc(total + 1, 4)};
    if (!f->n_tok || !f->version || !f->finish || !f->kind || !f->tok || !f->lp) return ERR_NOMEM;
    uint32_t at = 0;
    for (uint32_t i = 0; i < g; i++) {
        const struct seq *s = &w->seq[i];
        f->n_tok[i] = s->n_tok;
        f->finish[i] = (uint8_t)s->finish;
        memcpy(f->tok + at, s->tok, s->n_tok * sizeof *s->tok);
        memcpy(f->lp + at, s->lp, s->n_tok * sizeof *s->lp);
        memcpy(f->version + at, s->version, s->n_tok * sizeof *s->version);
        memcpy(f->kind + at, s->kind, s->n_tok);
        at += s->n_tok;
    }
    return ERR_OK;
}

enum err intake_group(const struct work *w, uint64_t node_id, struct msg_buf *out)
{
    struct flat f;
    uint32_t total = 0;
    for (uint32_t i = 0; i < w->group_size; i++) total += w->seq[i].n_tok;
    enum err e = flatten(w, total, &f);
    if (!e) {
        const struct msg_group g = {
            .node_id = node_id,
            .job_id = w->job_id,
            .incarnation = w->incarnation,
            .n_tok = msg_arr_of(f.n_tok, w->group_size),
            .finish = msg_arr_of(f.finish, w->group_size),
            .tokens = msg_arr_of(f.tok, total),
            .logprob = msg_arr_of(f.lp, total),
            .version = msg_arr_of(f.version, total),
            .kind = msg_arr_of(f.kind, total),
            .wait_ns = (uint64_t)(w->started_ns - w->arrived_ns),
            .gen_ns = (uint64_t)(w->ended_ns - w->started_ns),
            .prefill_tok = w->prefill_tok,
        };
        e = msg_put_group(&g, out);
    }
    free(f.n_tok), free(f.version), free(f.finish), free(f.kind), free(f.tok), free(f.lp);
    return e;
}
