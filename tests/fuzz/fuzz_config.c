// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a config.json: refused with words, or dims that the checks accept and that survive a round
 * trip. */
#include <stdlib.h>
#include <string.h>

#include "common/model/dims.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dims d, back;
    struct why why = {0};
    struct tensor_table t;
    memset(&d, 0, sizeof d);
    memset(&back, 0, sizeof back);
    if (dims_parse(span_of(data, size), "fuzz", &d, &why)) {
        if (!why.text[0]) abort();
        return 0;
    }
    char *text = dims_print(&d);
    if (!text) return 0;
    if (dims_parse(span_str(text), "printed", &back, &why)) abort();
    free(text);
    if (back.n_layer != d.n_layer || back.n_vocab != d.n_vocab || back.rope_theta != d.rope_theta ||
        back.rms_eps != d.rms_eps || back.n_eos != d.n_eos || memcmp(back.eos, d.eos, sizeof d.eos))
        abort();
    if (tensor_table_init(&d, &t)) return 0;
    const struct tensor_info *last = &t.t[t.n - 1];
    if (last->offset + (uint64_t)last->rows * last->cols != t.n_param || t.n_param > UINT64_C(1) << 50)
        abort();
    tensor_table_done(&t);
    return 0;
}
