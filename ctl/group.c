// SPDX-License-Identifier: Apache-2.0
#include "ctl/group.h"

#include <stdlib.h>

#include "ctl/ctl.h"
#include "proto/msg.h"

const char *ctl_finish_name(uint32_t f)
{
    return f == FINISH_EOS ? "eos" : f == FINISH_LENGTH ? "length" : f == FINISH_ABORT ? "abort" : "?";
}

void ctl_group_done(struct ctl_group *g)
{
    free(g->at), free(g->finish), free(g->tok), free(g->lp), free(g->version);
    *g = (struct ctl_group){0};
}

/* Do the arrays fit each other? *ret_total: tokens in all. */
static enum err check(const struct msg_group *m, uint32_t n, uint32_t *ret_total, struct why *why)
{
    uint64_t total = 0;
    if (m->n_tok.n != n || m->finish.n != n) return why_set(why, ERR_FORMAT, "%u completions came, %u were asked for", m->n_tok.n, n);
    for (uint32_t i = 0; i < n; i++) total += msg_u32_at(m->n_tok, i);
    if (m->tokens.n != total || m->logprob.n != total || m->version.n != total)
        return why_set(why, ERR_FORMAT, "the lengths add up to %llu tokens, but %u tokens, %u logprobs and %u versions came",
                       (unsigned long long)total, m->tokens.n, m->logprob.n, m->version.n);
    *ret_total = (uint32_t)total;
    return ERR_OK;
}

static enum err copy(const struct msg_group *m, uint32_t n, uint32_t total, struct ctl_group *g)
{
    *g = (struct ctl_group){.n = n,
                            .at = calloc(n + 1u, sizeof *g->at),
                            .finish = calloc(n + 1u, 1),
                            .tok = calloc((size_t)total + 1, sizeof *g->tok),
                            .lp = calloc((size_t)total + 1, sizeof *g->lp),
                            .version = calloc((size_t)total + 1, sizeof *g->version),
                            .incarnation = m->incarnation,
                            .wait_s = (double)m->wait_ns * 1e-9,
                            .gen_s = (double)m->gen_ns * 1e-9,
                            .prefill_tok = m->prefill_tok};
    if (!g->at || !g->finish || !g->tok || !g->lp || !g->version) return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) g->at[i + 1] = g->at[i] + msg_u32_at(m->n_tok, i);
    msg_arr_copy(m->finish, 1, g->finish);
    msg_arr_copy(m->tokens, 4, g->tok);
    msg_arr_copy(m->logprob, 4, g->lp);
    msg_arr_copy(m->version, 4, g->version);
    return ERR_OK;
}

/* A daemon's no; or what no daemon would answer to a job. */
static int refused(struct span frame, const char *from, struct why *why)
{
    struct msg_ctl_reply r;
    struct why inner = {0};
    char words[400];
    const enum err e = msg_get_ctl_reply(frame, &r, &inner);
    if (e) why_set(why, e, "%s: the answer makes no sense: %s", from, why_str(&inner, e));
    else if (!r.code) why_set(why, ERR_FORMAT, "%s: the answer holds no completions", from);
    else {
        msg_str_copy(r.why, words, sizeof words);
        why_set(why, ERR_INVAL, "%s", *words ? words : err_str((enum err)r.code));
    }
    return CTL_FAILED;
}

int ctl_group_read(struct span frame, const char *from, uint32_t n, struct ctl_group *ret, struct why *why)
{
    struct msg_group m;
    struct why inner = {0};
    uint32_t total = 0;
    char words[400];
    if (msg_id_of(frame) != MSG_ID_group) return refused(frame, from, why);
    enum err e = msg_get_group(frame, &m, &inner);
    if (!e && m.why.n) {
        msg_str_copy(m.why, words, sizeof words);
        why_set(why, ERR_INVAL, "%s", *words ? words : "the node cannot do this");
        return CTL_FAILED;
    }
    if (!e) e = check(&m, n, &total, &inner);
    if (!e) e = copy(&m, n, total, ret);
    if (!e) return CTL_OK;
    ctl_group_done(ret);
    why_set(why, e, "%s: the answer makes no sense: %s", from, why_str(&inner, e));
    return CTL_FAILED;
}
