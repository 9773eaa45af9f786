// SPDX-License-Identifier: Apache-2.0
/* tokenizer.json, a NUL, tokenizer_config.json, a NUL, text: any bytes. Refused with words, or a tokenizer
 * whose ids are its own, and whose decode gives the same in one go and id by id. */
#include <stdlib.h>
#include <string.h>

#include "common/model/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What stands before the next NUL, which goes; the rest stays in *s. */
static struct span part(struct span *s)
{
    const uint8_t *end = s->n ? memchr(s->p, 0, s->n) : NULL;
    const struct span first = span_of(s->p, end ? (size_t)(end - s->p) : s->n);
    *s = end ? span_of(end + 1, s->n - first.n - 1) : span_of(s->p + s->n, 0);
    return first;
}

static void check_decode(const struct tokenizer *t, const int32_t *id, uint32_t n, bool skip)
{
    struct text_buf whole = {0}, parts = {0};
    struct tok_stream s = {0};
    if (tokenizer_decode(t, id, n, skip, &whole)) abort();
    for (uint32_t i = 0; i < n; i++)
        if (tokenizer_stream(t, &s, id + i, 1, skip, &parts)) abort();
    if (tokenizer_stream_end(&s, &parts)) abort();
    if (!span_eq(span_of(whole.p, whole.n), span_of(parts.p, parts.n)) || whole.p[whole.n]) abort();
    free(whole.p);
    free(parts.p);
}

static void check_text(const struct tokenizer *t, struct span text, bool special)
{
    struct tok_buf b = {0};
    const enum err e = tokenizer_encode(t, text, special, &b);
    if (e && (b.n || (e != ERR_FORMAT && e != ERR_RANGE))) abort();
    for (uint32_t i = 0; i < b.n; i++)
        if (b.id[i] < 0 || (uint32_t)b.id[i] >= tokenizer_n_vocab(t)) abort();
    check_decode(t, b.id, b.n, false);
    check_decode(t, b.id, b.n, true);
    free(b.id);
}

/* Ids from anywhere. */
static void check_ids(const struct tokenizer *t, struct span bytes)
{
    const uint32_t n = (uint32_t)bytes.n;
    int32_t *id = malloc((n + 1) * sizeof *id);
    if (!id) return;
    for (uint32_t i = 0; i < n; i++) id[i] = bytes.p[i] == 0xff ? -1 : bytes.p[i];
    check_decode(t, id, n, n & 1);
    free(id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = span_of(data, size);
    const struct span json = part(&rest), config = part(&rest);
    struct tokenizer *t = NULL;
    struct why why = {0};
    if (tokenizer_parse(json, config, &t, &why)) {
        if (!why.text[0] || t) abort();
        return 0;
    }
    if (tokenizer_eos(t) >= (int32_t)tokenizer_n_vocab(t)) abort();
    check_text(t, rest, true);
    check_text(t, rest, false);
    check_ids(t, rest);
    tokenizer_close(t);
    return 0;
}
