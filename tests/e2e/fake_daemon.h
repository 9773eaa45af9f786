// SPDX-License-Identifier: Apache-2.0
/* fake_daemon.h - a control socket that answers well or badly, for testing what grpoctl makes of it. One thread each. */
#ifndef TESTS_E2E_FAKE_DAEMON_H
#define TESTS_E2E_FAKE_DAEMON_H

#include <stdint.h>

enum manner {
    ANSWER,    /* with the JSON given */
    REFUSE,    /* with words */
    CUT,       /* half an answer, then hang up */
    HANG_UP,   /* at once */
    BABBLE,    /* bytes that are no frame, of a length that is */
    ENDLESS,   /* a length no frame has */
    OTHER,     /* another message */
    SILENT,    /* never a byte */
    TRICKLE,   /* a byte now and then, never a whole answer */
    GROUP,     /* a sound group to a job: n completions of 3 tokens, ids 0, 1, 2 */
    MANNER_COUNT,
};

struct fake;

/* Listen at path. json: what it says to every verb when it answers; NULL: {}. */
struct fake *fake_start(const char *path, enum manner manner, const char *json);
/* What it was asked, as "status conf drain{...} "; "job " for a job. Valid until the next question. */
const char *fake_log(struct fake *f);
void fake_stop(struct fake *f); /* removes the socket */

#endif
