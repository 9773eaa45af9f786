// SPDX-License-Identifier: Apache-2.0
/* flip.h - a false friend between a node and its learner: frames pass unchanged, but the weights it hands on have one bit of one weight
 * flipped, with a hash to match. Runs on a thread of its own. */
#ifndef TESTS_E2E_FLIP_H
#define TESTS_E2E_FLIP_H

#include <stdint.h>

struct flip;

/* Stand before the learner at this address; model: a folder with its config. Fails the test when it cannot. */
struct flip *flip_start(const char *learner, const char *model);
const char *flip_address(const struct flip *f); /* what a node should dial; the node must fetch by the network */
uint32_t flip_count(const struct flip *f);      /* versions handed on so far */
void flip_stop(struct flip *f);

#endif
