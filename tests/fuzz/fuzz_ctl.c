// SPDX-License-Identifier: Apache-2.0
/* What grpoctl does with bytes of a daemon: a group is sound or refused, and a text shown is harmless. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "ctl/group.h"
#include "ctl/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile int32_t sink; /* every token can be read */

/* No control character is left but those that lines allow, and all is UTF-8. */
static void judge(const char *s, bool lines)
{
    size_t left = strlen(s);
    while (left) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t k = utf8proc_iterate((const uint8_t *)s, (utf8proc_ssize_t)left, &c);
        if (k <= 0) abort();
        if ((c < 0x20 && !(lines && (c == '\n' || c == '\t'))) || (c >= 0x7f && c < 0xa0)) abort();
        s += k;
        left -= (size_t)k;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ctl_group g = {0};
    struct why why = {0};
    if (!size) return 0;
    if (ctl_group_read(span_of(data + 1, size - 1), "fuzz", data[0] % 8, &g, &why) == 0) {
        if (g.n != data[0] % 8u || g.at[0] != 0) abort();
        for (uint32_t i = 0; i < g.n; i++)
            if (g.at[i + 1] < g.at[i]) abort();
        for (uint32_t i = 0; i < g.at[g.n]; i++) sink = g.tok[i] ^ (int32_t)g.version[i];
        ctl_group_done(&g);
    } else if (!*why.text)
        abort();
    for (int lines = 0; lines < 2; lines++) {
        char *s = text_clean(span_of(data, size), lines);
        if (!s) abort();
        judge(s, lines);
        (void)text_width(s);
        free(s);
    }
    return 0;
}
