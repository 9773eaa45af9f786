// SPDX-License-Identifier: Apache-2.0
/* err.h - how a call fails here.
 *
 * Every call that can fail returns enum err; ERR_OK is 0. Where the outside world can be wrong (files, settings,
 * frames, devices) the call also takes `struct why *why`, last: words for a person, written only on failure.
 * why may be NULL. Libraries return; only services log; only main ends a process.
 *
 *     if (n > max) return why_set(why, ERR_RANGE, "%s: %u tokens, at most %u", path, n, max);
 */
#ifndef COMMON_BASE_ERR_H
#define COMMON_BASE_ERR_H

#ifdef __cplusplus
extern "C" {
#endif

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

enum err {
    ERR_OK = 0,
#define ERR(name, words) ERR_##name,
#include "common/base/err.def"
#undef ERR
    ERR_COUNT
};

/* Words for a person. Caller's storage; start with `struct why why = {0};`. */
struct why {
    char text[512];
};

/* The fixed words of an error ("out of memory"); "unknown error" outside the list. Any thread. */
const char *err_str(enum err e);

/* errno -> the nearest enum err (ENOSPC -> ERR_NOSPACE, ...); ERR_IO when there is none. Never ERR_OK. */
enum err err_from_errno(int errnum);

/* Write the words (cut to fit) and return e, so that a failure is said and returned in one line. */
enum err why_set(struct why *why, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Put "prefix: " before what is already said; returns e. For a caller that knows the file or the peer. */
enum err why_add(struct why *why, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* What to print: the words if there are any, else err_str(e). why may be NULL. */
const char *why_str(const struct why *why, enum err e);

/* if (call fails) return its error */
#define TRY(call)                                                                                                 \
    do {                                                                                                          \
        enum err try_e_ = (call);                                                                                 \
        if (try_e_) return try_e_;                                                                                \
    } while (0)

/* if (call fails) { e = its error; goto label; } - needs `enum err e` in scope */
#define TRY_GOTO(call, label)                                                                                     \
    do {                                                                                                          \
        e = (call);                                                                                               \
        if (e) goto label;                                                                                        \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
