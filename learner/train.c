// SPDX-License-Identifier: Apache-2.0
#include "learner/train.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/model/folder.h"
#include "common/run/curve.h"
#include "common/svc/log.h"
#include "learner/advantage.h"
#include "learner/ckpt.h"

void step_batch_destroy(struct step_batch *b)
{
    if (!b) return;
    for (uint32_t i = 0; i < b->n; i++) group_destroy(b->group[i]);
    free(b->group);
    free(b);
}

/* What a step works on, allocated anew for each step: its size varies. */
struct step {
    uint32_t n;          /* samples */
    uint64_t n_tok;      /* completion tokens, all samples */
    struct sample *s;    /* [n] */
    struct completion **c; /* [n] NULL for sft */
    float *lp, *ref, *score; /* [n_tok] */
    double *reward;      /* [n] as used for advantages */
    int32_t *sol;        /* sft: solutions with their EOS, end to end */
};

static void step_done(struct step *st)
{
    free(st->s), free(st->c), free(st->lp), free(st->ref), free(st->score), free(st->reward), free(st->sol);
}

/* To the bit what a node computes from the fp32 of its job: the reciprocal of a double would often be another number. */
static float inv_temp(const struct train *t)
{
    return 1 / (float)t->conf->temperature;
}

static bool stopping(const struct train *t)
{
    return atomic_load((atomic_bool *)t->stop);
}

/* -- starting ---------------------------------------------------------------------------------------------------------- */

static enum err load_checkpoint(struct train *t, const char *dir, struct ckpt *c, struct why *why)
{
    TRY(ckpt_load(dir, c, trainer_table(t->trainer), why));
    if (c->seed != t->conf->seed)
        return why_set(why, ERR_MISMATCH, "%s was made with seed %llu, now %llu: give --resume false, or another run_dir", dir,
                       (unsigned long long)c->seed, (unsigned long long)t->conf->seed);
    TRY(trainer_set_state(t->trainer, c->master, c->m, c->v, c->adam_t));
    t->step = c->step;
    t->accuracy = c->accuracy;
    t->first_accuracy = c->first_accuracy;
    log_event(LOG_LEVEL_INFO, "resumed", "%s, step %llu", dir, (unsigned long long)c->step);
    return ERR_OK;
}

static enum err set_reference(struct train *t, uint16_t *image, struct why *why)
{
    if (t->conf->beta <= 0) return ERR_OK;
    TRY(folder_load(t->conf->model, trainer_table(t->trainer), NULL, image, why));
    return trainer_set_reference(t->trainer, image, why);
}

/* A run that starts anew: an old checkpoint would be taken for its newest by the next resume. */
static enum err load_model(struct train *t, struct ckpt *c, struct why *why)
{
    char dir[4096];
    if (ckpt_newest(t->conf->run_dir, dir, sizeof dir) == ERR_OK) {
        log_event(LOG_LEVEL_WARN, "started_anew", "checkpoints up to %s are removed", dir);
        TRY(ckpt_remove_all(t->conf->run_dir, why));
    }
    TRY(folder_load(t->conf->model, trainer_table(t->trainer), c->master, NULL, why));
    return trainer_set_master(t->trainer, c->master);
}

enum err train_load(struct train *t, struct why *why)
{
    char dir[4096];
    struct ckpt c;
    t->accuracy = t->first_accuracy = NAN;
    TRY(ckpt_init(&c, trainer_table(t->trainer)->n_param));
    enum err e;
    if (t->conf->resume && ckpt_newest(t->conf->run_dir, dir, sizeof dir) == ERR_OK) e = load_checkpoint(t, dir, &c, why);
    else e = load_model(t, &c, why);
    if (!e) e = set_reference(t, c.image, why);
    t->saved = t->step;
    ckpt_done(&c);
    return e;
}

/* -- parts of a step --------------------------------------------------------------------------------------------------- */

static bool reached(const struct train *t)
{
    return t->conf->stop_accuracy > 0 && t->accuracy >= t->conf->stop_accuracy;
}

bool train_is_finished(const struct train *t)
{
    return t->step >= t->conf->max_steps || reached(t);
}

static enum err save(struct train *t, struct why *why)
{
    struct ckpt c;
    TRY(record_sync(t->record, why));
    TRY(ckpt_init(&c, trainer_table(t->trainer)->n_param));
    c.step = t->step;
    c.seed = t->conf->seed;
    c.accuracy = t->accuracy;
    c.first_accuracy = t->first_accuracy;
    c.finished = train_is_finished(t);
    enum err e = trainer_get_state(t->trainer, c.master, c.m, c.v, &c.adam_t);
    if (!e) e = trainer_get_image(t->trainer, c.image);
    if (!e) e = ckpt_save(t->conf->run_dir, &c, t->dims, trainer_table(t->trainer), t->conf->model, t->conf->save_total_limit, why);
    ckpt_done(&c);
    if (e) return e;
    t->saved = t->step;
    log_event(LOG_LEVEL_INFO, "saved", "step %llu", (unsigned long long)t->step);
    return ERR_OK;
}

/* Version number = steps done, so a resumed run counts on. */
static enum err publish(struct train *t, double *ret_s, struct why *why)
{
    const int64_t t0 = clock_now_ns();
    uint16_t *image = malloc(trainer_table(t->trainer)->n_param * sizeof *image);
    if (!image) return ERR_NOMEM;
    enum err e = trainer_get_image(t->trainer, image);
    if (!e) e = push_source_publish(t->source, (struct version){t->incarnation, t->step}, image, why);
    free(image);
    *ret_s = clock_s(clock_now_ns() - t0);
    if (e) return e;
    uint64_t upto = t->conf->mode ? 0 : t->step + t->conf->max_staleness + 1;
    if (upto > t->conf->max_steps) upto = t->conf->max_steps;
    t->calls.published(t->calls.service, t->step, upto);
    return ERR_OK;
}

/* Which reward says whether an answer is right: `accuracy`, else the first. */
static uint32_t right_reward(const struct train *t)
{
    for (uint32_t i = 0; i < t->rewards->n; i++)
        if (!strcmp(t->rewards->reward[i]->name, "accuracy")) return i;
    return 0;
}

/* Mean of that reward over the held-out rows, through the nodes, at the present version. */
static enum err evaluate(struct train *t)
{
    const uint32_t r = right_reward(t);
    void *letter;
    t->calls.evaluate(t->calls.service, t->step, t->step);
    TRY(queue_take(t->eval_q, -1, &letter));
    struct step_batch *b = letter;
    double right = 0, n = 0;
    for (uint32_t i = 0; i < b->n; i++)
        for (uint32_t k = 0; k < b->group[i]->n; k++, n++) right += b->group[i]->c[k].reward[r];
    step_batch_destroy(b);
    t->accuracy = n > 0 ? right / n : NAN;
    if (isnan(t->first_accuracy)) t->first_accuracy = t->accuracy;
    log_event(LOG_LEVEL_INFO, "evaluated", "step %llu: accuracy %.4f over %.0f completions", (unsigned long long)t->step, t->accuracy, n);
    return ERR_OK;
}

/* Before the first step, so that a curve has its beginning: the line of step 0 holds an accuracy and nothing else. */
static enum err evaluate_first(struct train *t, struct why *why)
{
    TRY(evaluate(t));
    struct step_metrics m = {.accuracy = t->accuracy};
    double *const none[] = {&m.loss, &m.lr, &m.reward, &m.reward_std, &m.kl, &m.entropy, &m.grad_norm, &m.clip_frac, &m.completion_length,
                            &m.completion_length_min, &m.completion_length_max, &m.truncated_frac, &m.zero_variance_frac, &m.mismatch_max,
                            &m.mismatch_tok, &m.staleness, &m.gen_s, &m.reward_s, &m.train_s, &m.push_s, &m.step_s, &m.tok_per_s};
    for (unsigned i = 0; i < sizeof none / sizeof *none; i++) *none[i] = NAN;
    return t->step ? ERR_OK : record_step(t->record, &m, NULL, why);
}

static bool eval_is_due(const struct train *t)
{
    return t->conf->eval_steps && *t->conf->eval_data && t->step % t->conf->eval_steps == 0;
}

/* A control for the whole machine: the same rewards, dealt to other completions. Nothing can be learnt from them. */
static void deal_rewards(const struct train *t, double *r, uint32_t n)
{
    for (uint32_t i = n - 1; i > 0; i--) {
        const uint32_t k = (uint32_t)(rng_u64(t->conf->seed ^ 0x636f6e74726f6cu, t->step, i) % (i + 1));
        const double x = r[i];
        r[i] = r[k];
        r[k] = x;
    }
}

static enum err lay_out(const struct train *t, const struct step_batch *b, struct step *st)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < b->n; i++) st->n += b->group[i]->n;
    st->s = calloc(st->n, sizeof *st->s);
    st->c = calloc(st->n, sizeof *st->c);
    st->reward = calloc(st->n, sizeof *st->reward);
    if (!st->s || !st->c || !st->reward) return ERR_NOMEM;
    for (uint32_t i = 0; i < b->n; i++)
        for (uint32_t j = 0; j < b->group[i]->n; j++, k++) {
            struct completion *c = &b->group[i]->c[j];
            const struct prompt_row *row = &t->data->row[b->group[i]->row];
            st->c[k] = c;
            st->reward[k] = c->total;
            st->s[k] = (struct sample){.prompt = row->tok, .n_prompt = row->n_tok, .tok = c->tok, .n_tok = c->n_tok, .old_lp = c->lp, .kind = c->kind};
            st->n_tok += c->n_tok;
        }
    st->lp = calloc(st->n_tok, sizeof *st->lp);
    st->score = calloc(st->n_tok, sizeof *st->score);
    return st->lp && st->score ? ERR_OK : ERR_NOMEM;
}

static void set_advantages(const struct train *t, const struct step_batch *b, struct step *st, struct step_metrics *m)
{
    uint32_t at = 0, flat = 0;
    double std_sum = 0;
    if (t->conf->shuffle_rewards) deal_rewards(t, st->reward, st->n);
    const double batch_std = advantage_std(st->reward, st->n);
    double *adv = calloc(st->n, sizeof *adv);
    for (uint32_t i = 0; adv && i < b->n; i++) {
        const uint32_t g = b->group[i]->n;
        advantage_group(st->reward + at, g, (enum scale_rewards)t->conf->scale_rewards, batch_std, adv + at);
        flat += advantage_is_flat(st->reward + at, g);
        std_sum += advantage_std(st->reward + at, g);
        for (uint32_t k = 0; k < g; k++) st->c[at + k]->adv = st->s[at + k].adv = adv[at + k];
        at += g;
    }
    free(adv);
    m->zero_variance_frac = (double)flat / b->n;
    m->reward_std = std_sum / b->n;
}

/* -- exactness --------------------------------------------------------------------------------------------------------- */

static bool covered(const struct completion *c, uint32_t j, uint64_t version)
{
    return c->version[j] == version && !(c->kind[j] & TOKEN_KV_MIXED);
}

/* Compare what the rollout reported with lp for the tokens covered by this version. */
static uint64_t compare(const struct step *st, const float *lp, uint64_t version, double *worst)
{
    uint64_t n = 0, at = 0;
    for (uint32_t i = 0; i < st->n; i++) {
        const struct completion *c = st->c[i];
        for (uint32_t j = 0; j < c->n_tok; j++, at++) {
            if (!covered(c, j, version)) continue;
            const double d = fabs((double)lp[at] - c->lp[j]);
            if (!(d <= *worst)) *worst = d;
            n++;
        }
    }
    return n;
}

/* Samples written by older versions are scored with the version that wrote them; st->lp holds the present one's. */
static enum err measure_mismatch(struct train *t, const struct step *st, struct step_metrics *m, struct why *why)
{
    const uint64_t now = t->step, oldest = now > t->conf->max_staleness ? now - t->conf->max_staleness : 0;
    double worst = 0, stale = 0;
    uint64_t n = compare(st, st->lp, now, &worst);
    for (uint64_t v = oldest; v < now; v++) {
        const uint16_t *image;
        uint32_t n_with = 0;
        for (uint32_t i = 0; i < st->n; i++)
            for (uint32_t j = 0; j < st->c[i]->n_tok; j++) n_with += covered(st->c[i], j, v);
        if (!n_with || push_source_take(t->source, (struct version){t->incarnation, v}, &image)) continue;
        enum err e = trainer_score(t->trainer, image, st->s, st->n, inv_temp(t), st->score, why);
        push_source_give(t->source, (struct version){t->incarnation, v});
        if (e) return e;
        n += compare(st, st->score, v, &worst);
    }
    for (uint32_t i = 0; i < st->n; i++) {
        const struct completion *c = st->c[i];
        m->n_mixed += c->version[0] != c->version[c->n_tok - 1];
        for (uint32_t j = 0; j < c->n_tok; j++) stale += (double)(now - c->version[j]);
    }
    m->mismatch_max = worst;
    m->mismatch_tok = (double)n / (double)st->n_tok;
    m->staleness = stale / (double)st->n_tok;
    return ERR_OK;
}

/* -- a step ------------------------------------------------------------------------------------------------------------ */

static double learning_rate(const struct train *t)
{
    const struct lr_opts o = {(enum lr_schedule)t->conf->lr_scheduler_type, t->conf->learning_rate, t->conf->min_lr_rate, t->conf->warmup_steps,
                              t->conf->max_steps};
    /* transformers' schedule gives a rate of 0 to the very first step of a warm-up; so does this */
    return lr_at(&o, t->step);
}

static void count_completions(const struct step_batch *b, struct step_metrics *m)
{
    double n = 0, len = 0, cut = 0, reward = 0;
    m->completion_length_min = INFINITY;
    for (uint32_t i = 0; i < b->n; i++) {
        m->reward_s += clock_s(b->group[i]->reward_ns);
        for (uint32_t k = 0; k < b->group[i]->n; k++, n++) {
            const struct completion *c = &b->group[i]->c[k];
            len += c->n_tok;
            cut += c->finish == FINISH_LENGTH;
            reward += c->total;
            for (uint32_t r = 0; r < m->n_reward; r++) m->reward_by_name[r] += c->reward[r];
            m->completion_length_min = fmin(m->completion_length_min, c->n_tok);
            m->completion_length_max = fmax(m->completion_length_max, c->n_tok);
        }
    }
    for (uint32_t r = 0; r < m->n_reward; r++) m->reward_by_name[r] /= n;
    m->completion_length = len / n;
    m->truncated_frac = cut / n;
    m->reward = reward / n;
}

static void keep_result(struct step_metrics *m, const struct step_result *r, bool has_kl)
{
    const double n = r->loss.n_tok ? (double)r->loss.n_tok : 1;
    m->loss = r->loss.loss;
    m->grad_norm = r->grad_norm;
    m->entropy = r->loss.entropy / n;
    m->clip_frac = r->loss.clipped / n;
    m->kl = has_kl ? r->loss.kl / n : NAN;
}

static enum err score_reference(struct train *t, struct step *st, struct why *why)
{
    uint64_t at = 0;
    if (t->conf->beta <= 0) return ERR_OK;
    st->ref = calloc(st->n_tok, sizeof *st->ref);
    if (!st->ref) return ERR_NOMEM;
    for (uint32_t i = 0; i < st->n; i++) {
        st->s[i].ref_lp = st->ref + at;
        at += st->s[i].n_tok;
    }
    return trainer_score_reference(t->trainer, st->s, st->n, inv_temp(t), st->ref, why);
}

static enum err update_grpo(struct train *t, const struct step_batch *b, struct step *st, struct step_metrics *m, struct why *why)
{
    const struct learner_conf *c = t->conf;
    const struct loss_opts o = {LOSS_GRPO, (float)c->epsilon, (float)(c->epsilon_high > 0 ? c->epsilon_high : c->epsilon), (float)c->beta,
                                inv_temp(t)};
    struct step_result r;
    TRY(lay_out(t, b, st));
    count_completions(b, m);
    set_advantages(t, b, st, m);
    TRY(score_reference(t, st, why));
    loss_weigh((enum loss_type)c->loss_type, c->max_completion_length, st->s, st->n);
    /* versions are compared before the update: the step's own pass gives the present version's logprobs */
    TRY(trainer_step(t->trainer, st->s, st->n, &o, m->lr, st->lp, &r, why));
    keep_result(m, &r, c->beta > 0);
    return measure_mismatch(t, st, m, why);
}

/* Prompt and solution as one sample each; the loss is the mean over the solutions' tokens. */
static enum err update_sft(struct train *t, struct step *st, struct step_metrics *m, struct why *why)
{
    const struct learner_conf *c = t->conf;
    const struct loss_opts o = {.kind = LOSS_SFT, .inv_temp = 1};
    const uint32_t n = c->prompts_per_step * c->num_generations;
    struct step_result r;
    uint64_t total = 0, at = 0;
    st->n = n;
    st->s = calloc(n, sizeof *st->s);
    uint32_t *rows = calloc(n, sizeof *rows);
    if (!st->s || !rows) {
        free(rows);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = prompts_draw(t->data, t->step * n + i);
        total += t->data->row[rows[i]].n_sol + 1;
    }
    st->sol = calloc(total, sizeof *st->sol);
    for (uint32_t i = 0; st->sol && i < n; i++) {
        const struct prompt_row *row = &t->data->row[rows[i]];
        memcpy(st->sol + at, row->sol, row->n_sol * sizeof *row->sol);
        st->sol[at + row->n_sol] = t->eos;
        st->s[i] = (struct sample){.prompt = row->tok, .n_prompt = row->n_tok, .tok = st->sol + at, .n_tok = row->n_sol + 1};
        at += row->n_sol + 1;
    }
    free(rows);
    if (!st->sol) return ERR_NOMEM;
    loss_weigh(LOSS_TYPE_DAPO, 0, st->s, n);
    TRY(trainer_step(t->trainer, st->s, n, &o, m->lr, NULL, &r, why));
    keep_result(m, &r, false);
    m->completion_length = (double)total / n;
    m->reward = m->mismatch_max = m->mismatch_tok = m->staleness = NAN;
    st->n_tok = total;
    return ERR_OK;
}

static enum err next_batch(struct train *t, struct step_batch **ret)
{
    void *letter;
    TRY(queue_take(t->train_q, -1, &letter));
    *ret = letter;
    return ERR_OK;
}

static void describe(const struct train *t, struct step_metrics *m)
{
    m->n_reward = t->conf->mode ? 0 : t->rewards->n;
    for (uint32_t i = 0; i < m->n_reward; i++) m->reward_name[i] = t->rewards->reward[i]->name;
    m->lr = learning_rate(t);
    m->accuracy = NAN;
}

static enum err run_step(struct train *t, struct why *why)
{
    struct step st = {0};
    struct step_metrics m = {0};
    struct step_batch *b = NULL;
    const int64_t t0 = clock_now_ns();
    const uint64_t doing = t->step + 1;
    describe(t, &m);
    enum err e = t->conf->mode ? ERR_OK : next_batch(t, &b);
    const int64_t t1 = clock_now_ns();
    if (!e) e = t->conf->mode ? update_sft(t, &st, &m, why) : update_grpo(t, b, &st, &m, why);
    const int64_t t2 = clock_now_ns();
    if (!e) {
        t->step++;
        e = publish(t, &m.push_s, why);
    }
    if (!e && eval_is_due(t)) {
        e = evaluate(t);
        if (!e) m.accuracy = t->accuracy;
        if (e == ERR_CLOSED && stopping(t)) e = ERR_OK; /* the step itself is whole */
    }
    if (!e) {
        m.step = m.policy_version = t->step;
        m.gen_s = clock_s(t1 - t0);
        m.train_s = clock_s(t2 - t1);
        m.step_s = clock_s(t2 - t0) + m.push_s;
        m.tok_per_s = (double)st.n_tok / m.step_s;
        if (isnan(t->first_reward)) t->first_reward = m.reward;
        t->last_reward = m.reward;
        t->calls.progress(t->calls.service, &m);
        e = record_step(t->record, &m, b, why);
    }
    step_done(&st);
    step_batch_destroy(b);
    return e ? why_add(why, e, "step %llu", (unsigned long long)doing) : ERR_OK;
}

static enum err run_all(struct train *t, struct why *why)
{
    double s;
    const uint64_t begun = t->step;
    TRY(publish(t, &s, why));
    if (t->conf->eval_steps && *t->conf->eval_data && isnan(t->accuracy)) TRY(evaluate_first(t, why));
    if (isnan(t->first_accuracy)) t->first_accuracy = t->accuracy;
    while (!stopping(t) && !train_is_finished(t)) {
        TRY(run_step(t, why));
        if (t->step % t->conf->save_steps == 0 || train_is_finished(t)) TRY(save(t, why));
    }
    if (t->step == begun && train_is_finished(t)) return save(t, why); /* the first evaluation was good enough */
    return t->saved == t->step ? ERR_OK : save(t, why);
}

/* For people; a run that ends before its first step has none. */
static void draw_curve(const struct train *t)
{
    struct why why = {0};
    const enum err e = t->step ? curve_write_svg(t->conf->run_dir, &why) : ERR_OK;
    if (e) log_event(LOG_LEVEL_WARN, "no_curve", "%s", why_str(&why, e));
}

void *train_main(void *arg)
{
    struct train *t = arg;
    struct why why = {0};
    char summary[256];
    t->first_reward = t->last_reward = NAN;
    t->started_ns = clock_now_ns();
    enum err e = run_all(t, &why);
    if (e == ERR_CLOSED && stopping(t)) e = t->saved == t->step ? ERR_OK : save(t, &why); /* it waited for groups: between two steps */
    draw_curve(t);
    snprintf(summary, sizeof summary, "reward %.3f -> %.3f, held-out accuracy %.3f -> %.3f, %llu steps, %.0f s", t->first_reward, t->last_reward,
             t->first_accuracy, t->accuracy, (unsigned long long)t->step, clock_s(clock_now_ns() - t->started_ns));
    t->calls.ended(t->calls.service, e, &why, summary);
    return NULL;
}
