// SPDX-License-Identifier: Apache-2.0
/* Any bytes through the reader; what it accepts, msgpack-c must read alike. */
#include <stdlib.h>

#include "tests/unit/wire_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span f = span_of(data, size);
    if (oracle_compare(f, false) == ORACLE_DIFFERS) abort();

    /* every typed read at every token, on a copy of the cursor */
    struct wire w = wire_of(f);
    struct wire_item it;
    do {
        struct wire c[7] = {w, w, w, w, w, w, w};
        bool b;
        uint32_t u32, n;
        uint64_t u64;
        float f32;
        struct span s;
        unsigned ok = !wire_bool(&c[0], &b) + !wire_u64(&c[1], &u64) + !wire_f32(&c[2], &f32) +
                      !wire_str(&c[3], &s) + !wire_bin(&c[4], &s) + !wire_array(&c[5], &n);
        if (ok > 1) abort(); /* a value has one type */
        if (!wire_u32(&c[6], &u32) && (wire_u64(&(struct wire){w.p, w.end}, &u64) || u64 != u32)) abort();
    } while (wire_next(&w, &it) == ERR_OK);
    return 0;
}
