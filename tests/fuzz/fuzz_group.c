// SPDX-License-Identifier: Apache-2.0
/* Any frame as a group: refused with words, or a copy that keeps every limit and can be scored. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learner/group.h"
#include "tests/unit/group_rig.h"
#include "tests/unit/tok_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tokenizer *tok;
static struct reward_list rewards;

static void stop(void)
{
    tokenizer_close(tok);
}

static void check(const struct group *g)
{
    if (g->n != rig_limits.group_size) abort();
    for (uint32_t i = 0; i < g->n; i++) {
        const struct completion *c = &g->c[i];
        if (!c->n_tok || c->n_tok > rig_limits.max_tok || c->finish > FINISH_LENGTH) abort();
        for (uint32_t j = 0; j < c->n_tok; j++)
            if (c->tok[j] < 0 || (uint32_t)c->tok[j] >= rig_limits.n_vocab || !isfinite(c->lp[j]) ||
                c->version[j] > 6 || c->version[j] < 2)
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct msg_group m;
    struct group *g = NULL;
    struct why why = {0};
    const struct prompt_row row = {.answer = "7"};
    if (!tok && (!(tok = rig_tokenizer()) || atexit(stop) ||
                 reward_list_parse("accuracy,format", "", &rewards, NULL)))
        abort();
    if (msg_get_group(span_of(data, size), &m, &why)) return 0;
    if (group_read(&m, &rig_limits, &g, &why)) {
        if (!why.text[0] || g) abort();
        return 0;
    }
    check(g);
    if (group_score(g, tok, &row, &rewards)) abort();
    for (uint32_t i = 0; i < g->n; i++)
        if (!g->c[i].text || !isfinite(g->c[i].total)) abort();
    group_destroy(g);
    return 0;
}
