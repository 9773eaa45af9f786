// SPDX-License-Identifier: Apache-2.0
/* tex.h - an answer's bytes as TeX tokens, read in place. Private to this room.
 *
 * What only sets type is left out: blanks, "$" and "\$", \( \) \[ \], \left \right, \, \! \; \quad \displaystyle.
 * "{,}" reads as ",". The signs U+2212, U+00D7, U+00B0 and U+03C0 read as "-", "\times", "\degree" and "\pi". */
#ifndef COMMON_REWARD_TEX_H
#define COMMON_REWARD_TEX_H

#include <stdbool.h>

#include "common/base/span.h"

/* A command with its backslash ("\frac"), an escaped brace ("\{"), "\\", or one byte. n == 0: the end. */
struct tex_tok {
    struct span s;
    bool gap; /* a blank stood before it */
};

struct tex {
    const uint8_t *p, *end;
};

struct tex tex__of(struct span s);
struct tex_tok tex__next(struct tex *x);
bool tex__is(struct tex_tok t, const char *s);
bool tex__digit(struct tex_tok t);
bool tex__letter(struct tex_tok t);
bool tex__wrapper(struct tex_tok t); /* \text, \mathrm, \mbox, ...: a command whose {argument} stands for itself */

/* Without blanks and `$` around it, a pair of ** and a full stop at the end. */
struct span tex__trim(struct span s);

#endif
