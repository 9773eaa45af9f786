// SPDX-License-Identifier: Apache-2.0
/* version.h - the version rules, said once for both daemons.
 *
 * A policy version is (incarnation, counter). A learner takes a new incarnation (random, never 0) each time it starts, resumed or
 * not, so a counter that repeats after a resume with other weights is never taken for the old one. Within one incarnation the
 * counter only grows; counter 0 is the model as loaded. A token is of the version that drew it; its K and V are of the
 * version that computed them. */
#ifndef PROTO_VERSION_H
#define PROTO_VERSION_H

#include <stdbool.h>
#include <stdint.h>

#define PROTO_VERSION 1

struct version {
    uint64_t incarnation; /* 0: no version at all */
    uint64_t counter;
};

static inline bool version_eq(struct version a, struct version b)
{
    return a.incarnation == b.incarnation && a.counter == b.counter;
}

/* Is `have` good enough for work that wants at least `want`? A want without incarnation takes anything. */
static inline bool version_serves(struct version have, struct version want)
{
    return want.incarnation == 0 || (have.incarnation == want.incarnation && have.counter >= want.counter);
}

/* Versions between; UINT64_MAX across incarnations. */
static inline uint64_t version_age(struct version now, struct version then)
{
    if (now.incarnation != then.incarnation || then.counter > now.counter) return UINT64_MAX;
    return now.counter - then.counter;
}

/* How a completion ended (message group, field finish). */
enum finish { FINISH_EOS = 0, FINISH_LENGTH = 1, FINISH_ABORT = 2 };

/* What a token is (message group, field kind): bits. A tool's tokens, later, are not SAMPLED and so not trained on. */
enum token_kind {
    TOKEN_SAMPLED = 1,  /* drawn by the policy */
    TOKEN_KV_MIXED = 2, /* some K or V it attended to is of another version than its own: outside the exactness claim */
};

#endif
