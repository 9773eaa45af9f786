// SPDX-License-Identifier: Apache-2.0
/* nfc.h - Unicode normalization form C, in time that is linear in the text whatever its marks are. Any
 * thread. */
#ifndef COMMON_MODEL_NFC_H
#define COMMON_MODEL_NFC_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"

/* Working memory, kept from one call to the next; start zeroed. nfc_done() frees it. */
struct nfc_work {
    int32_t *cp; /* characters of a stretch, decomposed */
    int32_t *tmp;
    uint8_t *out;
    size_t cap, out_n, out_cap;
};

/* text (UTF-8) -> its NFC: text itself when it is so already, else bytes in w, good until the next call.
 * ERR_NOMEM. */
enum err nfc(struct nfc_work *w, struct span text, struct span *ret_text) MUST_CHECK;
void nfc_done(struct nfc_work *w);

#endif
