// SPDX-License-Identifier: Apache-2.0
/* Reading is in tokenizer_read.c; here are the two ways through an open tokenizer. */
#include "common/model/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "common/model/tokenizer_room.h"
#include "common/model/utf8.h"

#define TEXT_MAX (1u << 30)

void tokenizer_close(struct tokenizer *t)
{
    if (!t) return;
    bpe_destroy(t->bpe);
    pretok_done(&t->pretok);
    added_done(&t->added);
    free(t->piece);
    free(t->arena);
    free(t);
}

uint32_t tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->n_id;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

struct hash128 tokenizer_hash(const struct tokenizer *t)
{
    return t->hash;
}

int32_t tokenizer_id(const struct tokenizer *t, struct span text)
{
    const struct added_token *a = added_find(&t->added, text);
    return a ? a->id : bpe_id(t->bpe, text);
}

/* -- encode --------------------------------------------------------------------------------------------- */

struct encoder {
    const struct tokenizer *t;
    struct tok_buf *out;
    struct bpe_work bpe;
    struct pretok_work pretok;
};

static enum err encode_piece(void *arg, struct span piece)
{
    struct encoder *e = arg;
    return bpe_encode(e->t->bpe, &e->bpe, piece, e->out);
}

/* Text between added tokens that are looked for as they are. */
static enum err encode_raw(struct encoder *e, struct span text, bool special)
{
    struct added_part part;
    TRY(pretok_normalize(&e->t->pretok, &e->pretok, text, &text));
    if (!special) return pretok_cut(&e->t->pretok, &e->pretok, text, encode_piece, e);
    struct added_walk walk = {.set = &e->t->added.normal, .text = text};
    while (added_next(&walk, &part)) {
        if (part.token)
            TRY(tok_buf_add(e->out, part.token->id));
        else
            TRY(pretok_cut(&e->t->pretok, &e->pretok, part.text, encode_piece, e));
    }
    return ERR_OK;
}

static enum err encode(struct encoder *e, struct span text, bool special)
{
    struct added_part part;
    if (!special) return encode_raw(e, text, false);
    struct added_walk walk = {.set = &e->t->added.raw, .text = text};
    while (added_next(&walk, &part)) {
        if (part.token)
            TRY(tok_buf_add(e->out, part.token->id));
        else
            TRY(encode_raw(e, part.text, true));
    }
    return ERR_OK;
}

enum err tokenizer_encode(const struct tokenizer *t, struct span text, bool special, struct tok_buf *out)
{
    struct encoder e = {.t = t, .out = out};
    const uint32_t n = out->n;
    if (!text.n) return ERR_OK;
    if (text.n > TEXT_MAX) return ERR_RANGE;
    if (utf8_check(text) != text.n) return ERR_FORMAT;
    const enum err x = encode(&e, text, special);
    if (x) out->n = n;
    bpe_work_done(&e.bpe);
    pretok_work_done(&e.pretok);
    return x;
}

/* -- decode --------------------------------------------------------------------------------------------- */

static enum err text_room(struct text_buf *b, size_t n)
{
    if (b->n + n + 1 <= b->cap) return ERR_OK;
    size_t cap = b->cap ? b->cap : 256;
    while (cap < b->n + n + 1) cap *= 2;
    char *p = realloc(b->p, cap);
    if (!p) return ERR_NOMEM;
    b->p = p;
    b->cap = cap;
    return ERR_OK;
}

/* Append bytes that follow what the stream holds back. */
static enum err stream_bytes(struct tok_stream *s, struct span bytes, struct text_buf *out)
{
    /* a held byte can end as a U+FFFD of three bytes, and so can each new one */
    TRY(text_room(out, 3 * (s->n_held + bytes.n)));
    for (size_t i = 0; i < bytes.n;) {
        const uint8_t *p = bytes.p + i, *end = bytes.p + bytes.n;
        uint8_t joined[8];
        enum utf8_kind kind;
        uint32_t cp;
        if (s->n_held) { /* held bytes with the new ones behind them */
            const size_t k = bytes.n - i < 4 ? bytes.n - i : 4;
            memcpy(joined, s->held, s->n_held);
            memcpy(joined + s->n_held, p, k);
            p = joined;
            end = joined + s->n_held + k;
        }
        const size_t n = utf8_next(p, end, &kind, &cp);
        if (kind == UTF8_CUT) {
            memcpy(s->held, p, n);
            s->n_held = (uint8_t)n;
            return ERR_OK;
        }
        memcpy(out->p + out->n, kind == UTF8_OK ? (const char *)p : "\xef\xbf\xbd", kind == UTF8_OK ? n : 3);
        out->n += kind == UTF8_OK ? n : 3;
        i += n - s->n_held; /* what is held was the start of a character, so n is not less */
        s->n_held = 0;
    }
    return ERR_OK;
}

enum err tokenizer_stream(const struct tokenizer *t, struct tok_stream *s, const int32_t *id, uint32_t n,
                          bool skip_special, struct text_buf *out)
{
    TRY(text_room(out, 0));
    for (uint32_t i = 0; i < n; i++) {
        if (id[i] < 0 || (uint32_t)id[i] >= t->n_id) continue;
        const struct tok_piece *p = &t->piece[id[i]];
        if (p->there && !(skip_special && p->special)) TRY(stream_bytes(s, span_of(p->p, p->n), out));
    }
    out->p[out->n] = 0;
    return ERR_OK;
}

enum err tokenizer_stream_end(struct tok_stream *s, struct text_buf *out)
{
    TRY(text_room(out, 3));
    if (s->n_held) memcpy(out->p + out->n, "\xef\xbf\xbd", 3);
    out->n += s->n_held ? 3 : 0;
    out->p[out->n] = 0;
    s->n_held = 0;
    return ERR_OK;
}

enum err tokenizer_decode(const struct tokenizer *t, const int32_t *id, uint32_t n, bool skip_special,
                          struct text_buf *out)
{
    struct tok_stream s = {0};
    const size_t before = out->n;
    enum err e = tokenizer_stream(t, &s, id, n, skip_special, out);
    if (!e) e = tokenizer_stream_end(&s, out);
    if (e) out->n = before;
    return e;
}
