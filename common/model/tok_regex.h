// SPDX-License-Identifier: Apache-2.0
/* tok_regex.h - the regular expressions of tokenizer files, with the meaning that the tokenizers library
 * gives them.
 *
 * A file's expression is in Oniguruma's language. The part of it that pre-tokenizers use is read here and
 * written anew for PCRE2, with white space spelt out (PCRE2's \s has U+180E too); anything else is refused by
 * name, and so is what could run away: a repeated group that repeats inside. Immutable once open: any thread
 * may search. */
#ifndef COMMON_MODEL_TOK_REGEX_H
#define COMMON_MODEL_TOK_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/span.h"

struct tok_regex;

/* Working memory of one thread; start zeroed. tok_regex_work_done() frees it. */
struct tok_regex_work {
    void *match, *stack, *context;
};

/* ERR_UNSUPPORTED names what is outside; ERR_FORMAT: not an expression. */
enum err tok_regex_open(struct span pattern, struct tok_regex **ret_re, struct why *why) MUST_CHECK;
void tok_regex_close(struct tok_regex *re);

/* From now on with the interpreter, as where the system forbids code that is made at run time (the same
 * answers, slower): for the test of that road. */
void tok_regex_interpret(struct tok_regex *re);

/* The leftmost match at or after `from`: [*ret_begin, *ret_end), never empty. text is UTF-8 (not checked
 * again). ERR_NOENT: none. ERR_RANGE: the expression needs too many steps on this text. ERR_NOMEM. */
enum err tok_regex_find(const struct tok_regex *re, struct tok_regex_work *w, struct span text, size_t from,
                        size_t *ret_begin, size_t *ret_end) MUST_CHECK;
void tok_regex_work_done(struct tok_regex_work *w);

#endif
