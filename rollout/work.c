// SPDX-License-Identifier: Apache-2.0
#include "rollout/work.h"

#include <stdlib.h>
#include <string.h>

enum err work_create(const int32_t *prompt, uint32_t n_prompt, uint32_t group_size, uint32_t max_tok, struct work **ret_work)
{
    if (!n_prompt || !group_size || !max_tok) return ERR_RANGE;
    struct work *w = calloc(1, sizeof *w);
    if (!w) return ERR_NOMEM;
    w->group_size = group_size;
    w->max_tok = max_tok;
    w->n_prompt = n_prompt;
    w->prompt = malloc(n_prompt * sizeof *w->prompt);
    w->seq = calloc(group_size, sizeof *w->seq);
    bool ok = w->prompt && w->seq;
    for (uint32_t i = 0; ok && i < group_size; i++) {
        struct seq *s = &w->seq[i];
        s->sample = i;
        s->tok = calloc(max_tok, sizeof *s->tok);
        s->lp = calloc(max_tok, sizeof *s->lp);
        s->version = calloc(max_tok, sizeof *s->version);
        s->kind = calloc(max_tok, sizeof *s->kind);
        ok = s->tok && s->lp && s->version && s->kind;
    }
    if (!ok) {
        work_destroy(w);
        return ERR_NOMEM;
    }
    memcpy(w->prompt, prompt, n_prompt * sizeof *prompt);
    *ret_work = w;
    return ERR_OK;
}

void work_destroy(struct work *w)
{
    if (!w) return;
    for (uint32_t i = 0; w->seq && i < w->group_size; i++) {
        free(w->seq[i].tok);
        free(w->seq[i].lp);
        free(w->seq[i].version);
        free(w->seq[i].kind);
        free(w->seq[i].block);
    }
    free(w->seq);
    free(w->prompt);
    free(w->prompt_block);
    free(w);
}
