// SPDX-License-Identifier: Apache-2.0
#include "learner/group.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/place.h"

static enum err check_shape(const struct msg_group *m, const struct group_limits *lim, uint32_t *ret_total, struct why *why)
{
    uint64_t total = 0;
    if (m->n_tok.n != lim->group_size || m->finish.n != lim->group_size)
        return why_set(why, ERR_FORMAT, "group of job %llu has %u completions, %u were asked for", (unsigned long long)m->job_id, m->n_tok.n,
                       lim->group_size);
    for (uint32_t i = 0; i < m->n_tok.n; i++) {
        const uint32_t n = msg_u32_at(m->n_tok, i);
        if (msg_u8_at(m->finish, i) > FINISH_ABORT) return why_set(why, ERR_RANGE, "completion %u ended in no known way", i);
        if (msg_u8_at(m->finish, i) == FINISH_ABORT) return why_set(why, ERR_CANCELLED, "completion %u was aborted", i);
        if (!n || n > lim->max_tok) return why_set(why, ERR_RANGE, "completion %u has %u tokens, at most %u were asked for", i, n, lim->max_tok);
        total += n;
    }
    if (m->tokens.n != total || m->logprob.n != total || m->version.n != total || m->kind.n != total)
        return why_set(why, ERR_FORMAT, "group of job %llu: arrays of different lengths", (unsigned long long)m->job_id);
    *ret_total = (uint32_t)total;
    return ERR_OK;
}

static enum err check_tokens(const struct msg_group *m, const struct group_limits *lim, struct why *why)
{
    for (uint32_t i = 0; i < m->tokens.n; i++) {
        const int32_t id = msg_i32_at(m->tokens, i);
        const float lp = msg_f32_at(m->logprob, i);
        if (id < 0 || (uint32_t)id >= lim->n_vocab) return why_set(why, ERR_RANGE, "token id %d is outside the vocabulary", id);
        if (!isfinite(lp) || lp > 1e-3f) return why_set(why, ERR_RANGE, "a logprob of %g", (double)lp);
        if (msg_u32_at(m->version, i) > lim->version) return why_set(why, ERR_RANGE, "a version that was never published");
        if (msg_u32_at(m->version, i) < lim->min_version)
            return why_set(why, ERR_STALE, "drawn with version %u, at least %llu was asked for", msg_u32_at(m->version, i),
                           (unsigned long long)lim->min_version);
    }
    return ERR_OK;
}

static void place_all(struct group *g, uint32_t total, struct placer *p, int32_t **tok, float **lp, uint32_t **version, uint8_t **kind)
{
    g->c = place(p, g->n * sizeof *g->c);
    *tok = place(p, total * 4ull);
    *lp = place(p, total * 4ull);
    *version = place(p, total * 4ull);
    *kind = place(p, total);
}

enum err group_read(const struct msg_group *m, const struct group_limits *lim, struct group **ret_group, struct why *why)
{
    uint32_t total = 0, at = 0;
    TRY(check_shape(m, lim, &total, why));
    TRY(check_tokens(m, lim, why));
    struct group *g = calloc(1, sizeof *g);
    if (!g) return ERR_NOMEM;
    struct placer p = {0};
    int32_t *tok;
    float *lp;
    uint32_t *version;
    uint8_t *kind;
    g->n = m->n_tok.n;
    place_all(g, total, &p, &tok, &lp, &version, &kind);
    g->block = calloc(1, p.used);
    if (!g->block) {
        free(g);
        return ERR_NOMEM;
    }
    place_all(g, total, &(struct placer){.base = g->block}, &tok, &lp, &version, &kind);
    msg_arr_copy(m->tokens, 4, tok);
    msg_arr_copy(m->logprob, 4, lp);
    msg_arr_copy(m->version, 4, version);
    msg_arr_copy(m->kind, 1, kind);
    for (uint32_t i = 0; i < g->n; i++) {
        struct completion *c = &g->c[i];
        *c = (struct completion){.n_tok = msg_u32_at(m->n_tok, i), .tok = tok + at, .lp = lp + at, .version = version + at, .kind = kind + at,
                                 .finish = (enum finish)msg_u8_at(m->finish, i)};
        at += c->n_tok;
    }
    g->job_id = m->job_id;
    g->node = m->node_id;
    g->wait_ns = (int64_t)m->wait_ns;
    g->gen_ns = (int64_t)m->gen_ns;
    g->prefill_tok = m->prefill_tok;
    *ret_group = g;
    return ERR_OK;
}

void group_destroy(struct group *g)
{
    if (!g) return;
    for (uint32_t i = 0; i < g->n; i++) free(g->c[i].text);
    free(g->block);
    free(g);
}

/* The next item of a comma-separated list; *at moves past it. false: the end. */
static bool next_item(const char **at, struct span *ret)
{
    while (**at == ',' || **at == ' ') ++*at;
    const size_t n = strcspn(*at, ", ");
    *ret = span_of(*at, n);
    *at += n;
    return n > 0;
}

enum err reward_list_parse(const char *names, const char *weights, struct reward_list *ret_list, struct why *why)
{
    struct reward_list l = {0};
    struct span item;
    const char *at = names, *w = weights;
    while (next_item(&at, &item)) {
        if (l.n == MAX_REWARD) return why_set(why, ERR_RANGE, "reward_funcs: at most %d", MAX_REWARD);
        l.reward[l.n] = reward_find(item);
        if (!l.reward[l.n]) return why_set(why, ERR_NOENT, "reward_funcs: there is no reward \"%.*s\"", (int)item.n, (const char *)item.p);
        for (uint32_t i = 0; i < l.n; i++)
            if (l.reward[i] == l.reward[l.n]) return why_set(why, ERR_INVAL, "reward_funcs: \"%s\" is named twice", l.reward[i]->name);
        l.weight[l.n++] = 1;
    }
    if (!l.n) return why_set(why, ERR_INVAL, "reward_funcs: none is named");
    uint32_t n_weight = 0;
    while (next_item(&w, &item)) {
        char *end;
        if (n_weight == l.n) return why_set(why, ERR_INVAL, "reward_weights: more weights than rewards");
        l.weight[n_weight++] = strtod((const char *)item.p, &end);
        if (end != (const char *)item.p + item.n || !isfinite(l.weight[n_weight - 1])) return why_set(why, ERR_INVAL, "reward_weights: not a number in \"%s\"", weights);
    }
    if (n_weight && n_weight != l.n) return why_set(why, ERR_INVAL, "reward_weights: %u weights for %u rewards", n_weight, l.n);
    *ret_list = l;
    return ERR_OK;
}

enum err group_score(struct group *g, const struct tokenizer *tok, const struct prompt_row *row, const struct reward_list *rewards)
{
    const int64_t t0 = clock_now_ns();
    for (uint32_t i = 0; i < g->n; i++) {
        struct completion *c = &g->c[i];
        struct text_buf text = {0};
        const enum err e = tokenizer_decode(tok, c->tok, c->n_tok, true, &text);
        if (e) {
            free(text.p);
            return e;
        }
        c->text = text.p ? text.p : strdup("");
        if (!c->text) return ERR_NOMEM;
        const struct reward_in in = {span_of(c->text, text.n), span_str(row->answer), c->n_tok, c->finish == FINISH_LENGTH};
        c->total = 0;
        for (uint32_t k = 0; k < rewards->n; k++) {
            c->reward[k] = rewards->reward[k]->score(&in);
            c->total += rewards->weight[k] * c->reward[k];
        }
    }
    g->reward_ns = clock_now_ns() - t0;
    return ERR_OK;
}
