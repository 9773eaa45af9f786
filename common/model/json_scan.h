// SPDX-License-Identifier: Apache-2.0
/* json_scan.h - the two parts of a tokenizer.json that are too large for a tree of objects: read in place.
 *
 * 150,000 entries and as many merges took jansson 0.35 s and 100 MB; walked over, they take a twentieth. Any
 * thread. */
#ifndef COMMON_MODEL_JSON_SCAN_H
#define COMMON_MODEL_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"

/* Copy text without the values of model.vocab and model.merges, null and as many ends of line in their
 * places; *ret_vocab and *ret_merges are those values in text (p is NULL when they are absent), whole only as
 * far as brackets go. The copy is the caller's (free) and has to be parsed: of what is not JSON, only enough
 * is noticed to go on. ERR_NOMEM. */
enum err json_scan_cut(struct span text, char **ret_rest, size_t *ret_n, struct span *ret_vocab,
                       struct span *ret_merges) MUST_CHECK;

/* A place in a JSON text. Start with {.p, .end, .start}; end with json_scan_done(). */
struct json_scan {
    const uint8_t *p, *end, *start;
    uint8_t *text[2]; /* strings with escapes in them, unescaped: the last two */
    size_t cap[2];
};

/* Past white space, is c next? Then past it. */
bool json_scan_take(struct json_scan *s, char c);
/* A string, without its quotes; good until the next call but one. ERR_FORMAT: no string, not UTF-8, a bad
 * escape or a NUL. */
enum err json_scan_string(struct json_scan *s, struct span *ret_text) MUST_CHECK;
/* A whole number of at most 18 digits. */
enum err json_scan_int(struct json_scan *s, int64_t *ret) MUST_CHECK;
/* "line N: not what was expected", for a caller that stops here; returns ERR_FORMAT. first_line: of s->start.
 */
enum err json_scan_bad(const struct json_scan *s, unsigned first_line, const char *expected, struct why *why);
unsigned json_scan_line(struct span text, const uint8_t *at); /* of a place in text; the first is 1 */
void json_scan_done(struct json_scan *s);

#endif
