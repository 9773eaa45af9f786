// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a safetensors file: refused with words, or every tensor lies inside and can be read. */
#include <stdlib.h>

#include "common/model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors f = {0};
    struct why why = {0};
    enum err e = safetensors_parse(span_of(data, size), "fuzz", &f, &why);
    if (e) {
        if (!why.text[0] && e != ERR_NOMEM) abort();
        return 0;
    }
    uint64_t total = 0;
    for (uint32_t i = 0; i < f.n; i++) {
        const struct st_tensor *t = &f.t[i];
        if (t->data < data || t->data + t->n_bytes > data + size || safetensors_find(&f, t->name) != t)
            abort();
        total += t->n_bytes;
        float *x =
            malloc((t->n_elem + 1) * sizeof *x); /* n_elem <= size: every element takes at least a byte */
        uint16_t *h = malloc((t->n_elem + 1) * sizeof *h);
        if (x && h && st_read_f32(t, x, &why) != st_read_bf16(t, h, &why)) abort();
        free(x);
        free(h);
    }
    if (total > size) abort();
    safetensors_close(&f);
    return 0;
}
