// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a frame: decoded, printed, and what is decoded survives a round trip bit for bit. */
#include <stdlib.h>
#include <string.h>

#include "proto/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok) abort();
}

/* read, write, read, write: both writings are the same bytes */
#define MSG(name, id)                                                                                        \
    static bool round_##name(struct span frame)                                                              \
    {                                                                                                        \
        struct msg_##name a, b;                                                                              \
        struct msg_buf one = {0}, two = {0};                                                                 \
        if (msg_get_##name(frame, &a, NULL)) return false;                                                   \
        must(msg_put_##name(&a, &one) == ERR_OK);                                                            \
        must(msg_get_##name(msg_buf_span(&one), &b, NULL) == ERR_OK);                                        \
        must(msg_put_##name(&b, &two) == ERR_OK);                                                            \
        must(span_eq(msg_buf_span(&one), msg_buf_span(&two)));                                               \
        msg_buf_done(&one);                                                                                  \
        msg_buf_done(&two);                                                                                  \
        return true;                                                                                         \
    }
#define F(kind, field)
#define END(name)
#include "proto/schema.def"
#undef MSG
#undef F
#undef END

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span f = span_of(data, size);
    unsigned ok = 0;
#define MSG(name, id)                                                                                        \
    if (round_##name(f)) {                                                                                   \
        must(msg_id_of(f) == MSG_ID_##name);                                                                 \
        ok++;                                                                                                \
    }
#define F(kind, field)
#define END(name)
#include "proto/schema.def"
#undef MSG
#undef F
#undef END
    must(ok <= 1); /* a frame is one message */

    struct msg_buf text = {0};
    struct why why = {0};
    enum err e = msg_print(f, 4, &text, &why);
    must((e == ERR_OK) == (ok == 1));
    must(e || (strlen((char *)text.p) == text.n && text.p[text.n - 1] == '}'));
    must(!e || why.text[0]);
    msg_buf_done(&text);
    return 0;
}
