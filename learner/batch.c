// SPDX-License-Identifier: Apache-2.0
/* batch.c - one host block and one device block of the same layout: a micro-batch is filled on the host and goes over in one
 * copy; the outputs come back in one copy. */
#include "learner/batch.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/place.h"
#include "proto/version.h"

struct inputs {
    int32_t *id, *pos, *seq, *slot; /* [max_row] */
    int32_t *table;                 /* [max_seq * table_cols], laid out for the micro-batch's own width */
    int32_t *first;                 /* [max_seq + 1] */
    int32_t *out, *target;          /* [max_row] */
    float *old_lp, *ref_lp, *adv, *weight;
};

struct outputs {
    float *lp, *entropy, *loss, *kl, *clipped; /* [max_row] */
};

struct batcher {
    struct dev *dev;
    struct batcher_opts o;
    uint32_t max_block, table_len;
    uint64_t in_bytes, out_bytes;
    void *host_in, *host_out, *dev_in, *dev_out;
    struct inputs h, d;
    struct outputs ho, dout;
    uint32_t *out_sample, *out_tok; /* [max_row] host */
};

static uint32_t blocks_for(uint32_t n_row)
{
    return (n_row + KV_BLOCK_TOK - 1) / KV_BLOCK_TOK;
}

static void place_in(const struct batcher *b, struct placer *p, struct inputs *in)
{
    const uint64_t r = (uint64_t)b->o.max_row * 4;
    in->id = place(p, r);
    in->pos = place(p, r);
    in->seq = place(p, r);
    in->slot = place(p, r);
    in->table = place(p, (uint64_t)b->table_len * 4);
    in->first = place(p, (uint64_t)(b->o.max_seq + 1) * 4);
    in->out = place(p, r);
    in->target = place(p, r);
    in->old_lp = place(p, r);
    in->ref_lp = place(p, r);
    in->adv = place(p, r);
    in->weight = place(p, r);
}

static void place_out(const struct batcher *b, struct placer *p, struct outputs *o)
{
    const uint64_t r = (uint64_t)b->o.max_row * 4;
    o->lp = place(p, r);
    o->entropy = place(p, r);
    o->loss = place(p, r);
    o->kl = place(p, r);
    o->clipped = place(p, r);
}

enum err batcher_create(struct dev *dev, const struct batcher_opts *o, struct batcher **ret_batcher, struct why *why)
{
    if (!o->max_row || !o->max_seq) return why_set(why, ERR_INVAL, "batch: a budget of 0 tokens or sequences");
    struct batcher *b = calloc(1, sizeof *b);
    if (!b) return ERR_NOMEM;
    b->dev = dev;
    b->o = *o;
    /* every sequence may waste part of a block; the table is n_seq lines of the longest */
    b->max_block = blocks_for(o->max_row) + o->max_seq;
    const uint64_t lines = o->max_seq < o->max_row ? o->max_seq : o->max_row;
    const uint64_t table = lines * (blocks_for(o->max_row) + 1);
    enum err e = table > UINT32_MAX / 4 ? ERR_RANGE : ERR_OK;
    if (e) goto fail;
    b->table_len = (uint32_t)table;
    struct placer in = {0}, out = {0};
    place_in(b, &in, &b->h);
    place_out(b, &out, &b->ho);
    b->in_bytes = in.used;
    b->out_bytes = out.used;
    b->host_in = calloc(1, in.used);
    b->host_out = calloc(1, out.used);
    b->out_sample = calloc(o->max_row, sizeof *b->out_sample);
    b->out_tok = calloc(o->max_row, sizeof *b->out_tok);
    e = b->host_in && b->host_out && b->out_sample && b->out_tok ? ERR_OK : ERR_NOMEM;
    if (e) goto fail;
    TRY_GOTO(dev->mem->alloc(dev, in.used, &b->dev_in), fail);
    TRY_GOTO(dev->mem->alloc(dev, out.used, &b->dev_out), fail);
    place_in(b, &(struct placer){.base = b->host_in}, &b->h);
    place_in(b, &(struct placer){.base = b->dev_in}, &b->d);
    place_out(b, &(struct placer){.base = b->host_out}, &b->ho);
    place_out(b, &(struct placer){.base = b->dev_out}, &b->dout);
    *ret_batcher = b;
    return ERR_OK;
fail:
    batcher_destroy(b);
    return why_set(why, e, "batch of %u tokens: %s", o->max_row, err_str(e));
}

void batcher_destroy(struct batcher *b)
{
    if (!b) return;
    if (b->dev_in) b->dev->mem->free(b->dev, b->dev_in);
    if (b->dev_out) b->dev->mem->free(b->dev, b->dev_out);
    free(b->host_in);
    free(b->host_out);
    free(b->out_sample);
    free(b->out_tok);
    free(b);
}

uint32_t batcher_max_block(const struct batcher *b)
{
    return b->max_block;
}

static int32_t token_at(const struct sample *s, uint32_t i)
{
    return i < s->n_prompt ? s->prompt[i] : s->tok[i - s->n_prompt];
}

/* Appends one sample's rows, slots and out rows. index: its number in the step. */
static void put_sample(struct batcher *b, struct micro *m, const struct sample *s, uint32_t index)
{
    const uint32_t n_row = s->n_prompt + s->n_tok - 1;
    struct inputs *h = &b->h;
    for (uint32_t i = 0; i < n_row; i++) {
        const uint32_t r = m->n_row + i;
        h->id[r] = token_at(s, i);
        h->pos[r] = (int32_t)i;
        h->seq[r] = (int32_t)m->n_seq;
        h->slot[r] = (int32_t)(m->n_block * KV_BLOCK_TOK + i);
    }
    for (uint32_t j = 0; j < s->n_tok; j++) {
        const uint32_t o = m->n_out++;
        const bool trained = !s->kind || (s->kind[j] & TOKEN_SAMPLED);
        h->out[o] = (int32_t)(m->n_row + s->n_prompt - 1 + j);
        h->target[o] = trained ? s->tok[j] : -1;
        h->old_lp[o] = s->old_lp ? s->old_lp[j] : 0;
        h->ref_lp[o] = s->ref_lp ? s->ref_lp[j] : 0;
        h->adv[o] = (float)s->adv;
        h->weight[o] = (float)s->weight;
        b->out_sample[o] = index;
        b->out_tok[o] = j;
    }
    h->first[m->n_seq] = (int32_t)m->n_row;
    m->n_seq++;
    m->n_row += n_row;
    m->n_block += blocks_for(n_row);
    h->first[m->n_seq] = (int32_t)m->n_row;
}

/* The identity table: line i lists the blocks sequence i was given, in order. */
static uint32_t fill_table(struct batcher *b, const struct micro *m)
{
    uint32_t cols = 1;
    for (uint32_t i = 0; i < m->n_seq; i++) {
        const uint32_t n = blocks_for((uint32_t)(b->h.first[i + 1] - b->h.first[i]));
        if (n > cols) cols = n;
    }
    int32_t next = 0;
    for (uint32_t i = 0; i < m->n_seq; i++) {
        const uint32_t n = blocks_for((uint32_t)(b->h.first[i + 1] - b->h.first[i]));
        for (uint32_t j = 0; j < cols; j++) b->h.table[i * cols + j] = j < n ? next++ : 0;
    }
    return cols;
}

enum err batcher_fill(struct batcher *b, const struct sample *s, uint32_t first, uint32_t n, struct micro *ret_micro,
                      struct why *why)
{
    struct micro m = {.first_sample = first};
    for (uint32_t i = first; i < n; i++) {
        if (!s[i].n_prompt || !s[i].n_tok) return why_set(why, ERR_INVAL, "sample %u has an empty prompt or completion", i);
        const uint32_t rows = s[i].n_prompt + s[i].n_tok - 1;
        if (rows > b->o.max_row)
            return why_set(why, ERR_RANGE, "sample %u has %u tokens, the micro-batch holds %u: raise micro_batch_tokens", i,
                           rows + 1, b->o.max_row);
        if (m.n_row + rows > b->o.max_row || m.n_seq == b->o.max_seq) break;
        put_sample(b, &m, &s[i], i);
        m.n_sample++;
    }
    const uint32_t cols = m.n_seq ? fill_table(b, &m) : 1;
    const struct inputs *d = &b->d;
    m.b = (struct batch){.n_row = m.n_row, .n_seq = m.n_seq, .n_out = m.n_out, .table_cols = cols, .id = d->id, .pos = d->pos,
                         .seq = d->seq, .slot = d->slot, .table = d->table, .first = d->first, .out = d->out};
    m.rows = (struct loss_rows){.target = d->target, .old_lp = d->old_lp, .ref_lp = d->ref_lp, .adv = d->adv,
                                .weight = d->weight, .lp = b->dout.lp, .entropy = b->dout.entropy, .loss = b->dout.loss,
                                .kl = b->dout.kl, .clipped = b->dout.clipped};
    TRY(b->dev->mem->copy_in(b->dev, NULL, b->dev_in, b->host_in, b->in_bytes));
    *ret_micro = m;
    return ERR_OK;
}

enum err batcher_read(struct batcher *b, const struct micro *m, struct micro_out *ret_out)
{
    TRY(b->dev->mem->copy_out(b->dev, NULL, b->host_out, b->dev_out, b->out_bytes));
    *ret_out = (struct micro_out){.n = m->n_out, .sample = b->out_sample, .tok = b->out_tok, .lp = b->ho.lp,
                                  .entropy = b->ho.entropy, .loss = b->ho.loss, .kl = b->ho.kl, .clipped = b->ho.clipped};
    return ERR_OK;
}
