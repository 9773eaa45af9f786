// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a checkpoint's trainer_state.json: three counts, or refused with words and nothing written. */
#include <stdlib.h>
#include <string.h>

#include "learner/ckpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ckpt c, before;
    struct why why = {0};
    memset(&c, 0, sizeof c);
    c.step = c.adam_t = c.seed = UINT64_MAX;
    before = c;
    if (ckpt_parse_state(span_of(data, size), "f", &c, &why)) {
        if (strncmp(why.text, "f: ", 3) || memcmp(&c, &before, sizeof c)) abort();
    } else if (c.step > INT64_MAX || c.adam_t > INT64_MAX || c.seed > INT64_MAX) {
        abort();
    }
    return 0;
}
