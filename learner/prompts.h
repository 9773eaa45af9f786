// SPDX-License-Identifier: Apache-2.0
/* prompts.h - the data: rows of a JSONL file, tokenized once, and the order they are drawn in.
 *
 * The order is a function of (seed, draw number) alone: each epoch is a shuffle of its own, so a resumed run needs no cursor but the step.
 * Immutable once open: any thread. */
#ifndef LEARNER_PROMPTS_H
#define LEARNER_PROMPTS_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/model/tokenizer.h"

struct prompt_row {
    char *prompt, *answer, *solution; /* text; answer and solution may be empty */
    int32_t *tok;                     /* the prompt */
    uint32_t n_tok;
    int32_t *sol;                     /* the solution, for sft, without EOS */
    uint32_t n_sol;
    uint32_t line;
};

struct prompts {
    uint32_t n;
    struct prompt_row *row;
    uint64_t seed;
    uint64_t epoch; /* that order holds */
    uint32_t *order;
};

/* Read path. limit: rows at most (0: all). need_solution: rows without one are an error. Errors name the file, the line and the field. */
enum err prompts_open(const char *path, const struct tokenizer *tok, uint32_t max_prompt_tok, uint32_t limit, bool need_solution, uint64_t seed,
                      struct prompts *ret_prompts, struct why *why) MUST_CHECK;
/* The same from bytes; path stands in the words. */
enum err prompts_parse(struct span text, const char *path, const struct tokenizer *tok, uint32_t max_prompt_tok, uint32_t limit, bool need_solution,
                       uint64_t seed, struct prompts *ret_prompts, struct why *why) MUST_CHECK;
void prompts_close(struct prompts *p);

/* The row of draw number i (0, 1, ...). One thread: keeps the present epoch's order. */
uint32_t prompts_draw(struct prompts *p, uint64_t i);

#endif
