// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a JSONL file of prompts: rows with tokens within the bound, drawn once an epoch, or words that
 * begin with the file. First byte: what is asked for. */
#include <stdlib.h>
#include <string.h>

#include "learner/prompts.h"
#include "tests/unit/tok_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tokenizer *tok;

static void stop(void)
{
    tokenizer_close(tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prompts p;
    struct why why = {0};
    if (!tok && (!(tok = rig_tokenizer()) || atexit(stop))) abort();
    if (!size) return 0;
    const uint32_t limit = data[0] & 3;
    if (prompts_parse(span_of(data + 1, size - 1), "f", tok, 40, limit, data[0] & 4, 3, &p, &why)) {
        if (strncmp(why.text, "f:", 2)) abort();
        return 0;
    }
    if (!p.n || (limit && p.n > limit)) abort();
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p.n; i++) {
        const struct prompt_row *r = &p.row[i];
        if (!*r->prompt || !r->answer || !r->n_tok || r->n_tok > 40 || !r->line) abort();
        for (uint32_t k = 0; k < r->n_tok; k++)
            if (r->tok[k] < 0 || (uint32_t)r->tok[k] >= tokenizer_n_vocab(tok)) abort();
        sum += prompts_draw(&p, i);
    }
    if (sum != (uint64_t)p.n * (p.n - 1) / 2) abort();
    prompts_close(&p);
    return 0;
}
