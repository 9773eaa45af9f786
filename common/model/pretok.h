// SPDX-License-Identifier: Apache-2.0
/* pretok.h - from text to the pieces that BPE works on: normalizer and pre-tokenizers of a tokenizer.json.
 *
 * Read: NFC, none, and lists of them; Split by a regular expression or a string, Digits, ByteLevel (last),
 * and lists of them. Anything else is ERR_UNSUPPORTED by name. Immutable once read: any thread may run it. */
#ifndef COMMON_MODEL_PRETOK_H
#define COMMON_MODEL_PRETOK_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/span.h"
#include "common/model/nfc.h"
#include "common/model/tok_regex.h"

#define PRETOK_MAX_STEP 16

struct pretok {
    bool is_nfc;
    bool prefix_space; /* a piece at the ByteLevel step that starts with no space gets one */
    uint32_t n_step;
    struct pretok_step {
        struct tok_regex *re;
        bool keep_match, keep_gap; /* what is cut out as pieces: the matches, what lies between them */
        bool is_level;             /* the ByteLevel step: prefix_space comes before it */
    } step[PRETOK_MAX_STEP];
    struct hash128 hash; /* of what was read */
};

struct pretok_work {
    struct nfc_work nfc;
    struct tok_regex_work regex;
    uint8_t *prefixed;
    size_t prefixed_cap;
};

/* normalizer and pre_tokenizer as they stand in the file (NULL or JSON null: none). End with pretok_done(),
 * also after an error. */
enum err pretok_read(const json_t *normalizer, const json_t *pre_tokenizer, struct pretok *ret_p,
                     struct why *why) MUST_CHECK;
void pretok_done(struct pretok *p);

/* Called for each piece in order; not empty, good during the call. */
typedef enum err pretok_emit(void *arg, struct span piece);

/* text -> its normal form, good until the next call with w. */
enum err pretok_normalize(const struct pretok *p, struct pretok_work *w, struct span text,
                          struct span *ret_text) MUST_CHECK;

/* Cut normalized text. Errors of emit and tok_regex_find. */
enum err pretok_cut(const struct pretok *p, struct pretok_work *w, struct span text, pretok_emit *emit,
                    void *arg) MUST_CHECK;
void pretok_work_done(struct pretok_work *w);

#endif
