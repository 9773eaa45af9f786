// SPDX-License-Identifier: Apache-2.0
/* added.h - added tokens: whole strings with ids of their own, found in text before anything else.
 *
 * As in the tokenizers library: those that are not `normalized` are looked for in the text as it comes, the
 * others in its normal form; leftmost, longest. Immutable once sealed: any thread may search. */
#ifndef COMMON_MODEL_ADDED_H
#define COMMON_MODEL_ADDED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"

#define ADDED_MAX_TOKEN 65536
#define ADDED_MAX_BYTES 1024 /* of one token; a search costs as much at each place of a text, at worst */

struct added_token {
    struct span content; /* as the file has it */
    struct span pattern; /* what is looked for: content, or its normal form */
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
};

/* The tokens of one kind (normalized or not), in order of their patterns. */
struct added_set {
    const struct added_token **token;
    uint32_t n;
    bool first[256]; /* a pattern starts with this byte */
};

struct added {
    struct added_token *token; /* [n], owned with the bytes of content and pattern */
    uint32_t n, cap;
    const struct added_token **by_content; /* [n] */
    struct added_set raw, normal;
};

/* Copies content and pattern. ERR_RANGE: too long, or too many. */
enum err added_add(struct added *a, const struct added_token *t, struct why *why) MUST_CHECK;
/* No more tokens; from here on they can be found. ERR_FORMAT: two of them are the same text. */
enum err added_seal(struct added *a, struct why *why) MUST_CHECK;
const struct added_token *added_find(const struct added *a, struct span content); /* NULL: none */
void added_done(struct added *a);

/* Walks over text. Start with {.set, .text}; added_next() gives the parts in order: token is NULL for what
 * lies between tokens. Returns false at the end. Never an empty part of text. */
struct added_walk {
    const struct added_set *set;
    struct span text;
    size_t search;                     /* where the next search starts */
    size_t done;                       /* text before it has been given */
    size_t spaces_begin, spaces_end;   /* a stretch of white space that was walked over already */
    const struct added_token *waiting; /* found, to be given after the text before it */
    size_t waiting_end;
};
struct added_part {
    const struct added_token *token;
    struct span text;
};
bool added_next(struct added_walk *w, struct added_part *ret_part);

#endif
