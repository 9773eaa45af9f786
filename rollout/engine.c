// SPDX-License-Identifier: Apache-2.0
/* engine.c - a step: admit, lay out rows, forward, sample, hand out. Buffers are allocated once, for the largest step. */
#include "rollout/engine.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/place.h"
#include "common/base/rng.h"
#include "rollout/kern/ops.h"
#include "rollout/kvpool.h"

/* What goes to the device for a step, and what comes back. Host and device copies have the same layout. */
struct step_in {
    int32_t *id, *pos, *seq, *slot; /* [max rows] */
    int32_t *table;                 /* [max seqs + 1, table_cols] */
    int32_t *first;                 /* [max seqs + 2] */
    int32_t *out;                   /* [max seqs] */
    struct sample_row *row;         /* [max seqs] */
};
struct step_out {
    int32_t *id; /* [max seqs] */
    float *lp;
};

/* Which sequence an out row draws for. */
struct drawer {
    struct work *w;
    uint32_t sample;
};

struct engine {
    struct dev *dev;
    const struct rollout_ops *ops;
    struct dims dims;
    struct engine_opts o;
    uint32_t table_cols;
    const struct model *model;
    struct version version;
    struct kvpool *pool;

    struct work *waiting, **waiting_tail;
    struct work *active; /* admitted, in order of admission */
    uint32_t n_active_seq, n_waiting_seq;

    uint64_t in_bytes, out_bytes;
    void *host_in, *dev_in, *host_out, *dev_out, *act_block;
    struct step_in h, d;
    struct step_out ho, dout;
    struct act act;
    float *x, *logits;
    uint16_t *norm;
    struct drawer *drawer; /* [max seqs] */
    uint32_t n_row, n_seq, n_out;
    struct engine_stats st;
};

static void place_in(const struct engine *e, struct placer *p, struct step_in *in)
{
    const uint64_t r = (uint64_t)e->o.max_num_batched_tokens * 4, s = (uint64_t)e->o.max_num_seqs + 2;
    in->id = place(p, r);
    in->pos = place(p, r);
    in->seq = place(p, r);
    in->slot = place(p, r);
    in->table = place(p, s * e->table_cols * 4);
    in->first = place(p, s * 4);
    in->out = place(p, s * 4);
    in->row = place(p, s * sizeof *in->row);
}

static void place_out(const struct engine *e, struct placer *p, struct step_out *o)
{
    o->id = place(p, (uint64_t)e->o.max_num_seqs * 4);
    o->lp = place(p, (uint64_t)e->o.max_num_seqs * 4);
}

static void place_act(struct engine *e, struct placer *p)
{
    const uint64_t r = e->o.max_num_batched_tokens, s = e->o.max_num_seqs;
    void *act = place(p, act_bytes(&e->dims, e->o.max_num_batched_tokens, false));
    if (act) act_place(&e->dims, e->o.max_num_batched_tokens, false, act, &e->act);
    e->x = place(p, r * e->dims.n_embd * 4);
    e->norm = place(p, s * e->dims.n_embd * 2);
    e->logits = place(p, s * e->dims.n_vocab * 4);
}

static enum err alloc_buffers(struct engine *e)
{
    struct placer in = {0}, out = {0}, act = {0};
    place_in(e, &in, &e->h);
    place_out(e, &out, &e->ho);
    place_act(e, &act);
    e->in_bytes = in.used;
    e->out_bytes = out.used;
    e->host_in = calloc(1, in.used);
    e->host_out = calloc(1, out.used);
    e->drawer = calloc(e->o.max_num_seqs, sizeof *e->drawer);
    if (!e->host_in || !e->host_out || !e->drawer) return ERR_NOMEM;
    TRY(e->dev->mem->alloc(e->dev, in.used, &e->dev_in));
    TRY(e->dev->mem->alloc(e->dev, out.used, &e->dev_out));
    TRY(e->dev->mem->alloc(e->dev, act.used, &e->act_block));
    place_in(e, &(struct placer){.base = e->host_in}, &e->h);
    place_in(e, &(struct placer){.base = e->dev_in}, &e->d);
    place_out(e, &(struct placer){.base = e->host_out}, &e->ho);
    place_out(e, &(struct placer){.base = e->dev_out}, &e->dout);
    place_act(e, &(struct placer){.base = e->act_block});
    return ERR_OK;
}

/* Blocks for max_num_seqs of the longest, cut to the memory allowed, but never less than one longest sequence. */
static uint32_t pool_blocks(const struct engine *e)
{
    const struct engine_opts *o = &e->o;
    if (o->n_block) return o->n_block;
    const uint64_t one = e->dev->ops->kv_block_bytes(e->dims.n_layer, e->dims.n_head_kv, e->dims.head_dim);
    uint64_t want = (uint64_t)o->max_num_seqs * (kvpool_blocks(o->max_model_len) + 1);
    if (o->kv_bytes && want > o->kv_bytes / one) want = o->kv_bytes / one;
    const uint64_t least = kvpool_blocks(o->max_model_len) + 1;
    return (uint32_t)(want < least ? least : want);
}

enum err engine_create(struct dev *dev, const struct dims *d, const struct engine_opts *o, struct engine **ret_engine, struct why *why)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e) return ERR_NOMEM;
    e->dev = dev;
    e->dims = *d;
    e->o = *o;
    e->waiting_tail = &e->waiting;
    if (!e->o.max_model_len || e->o.max_model_len > d->max_pos) e->o.max_model_len = d->max_pos;
    if (!e->o.n_real_vocab || e->o.n_real_vocab > d->n_vocab) e->o.n_real_vocab = d->n_vocab;
    if (e->o.max_num_batched_tokens < e->o.max_num_seqs + 16) e->o.max_num_batched_tokens = e->o.max_num_seqs + 16;
    e->table_cols = kvpool_blocks(e->o.max_model_len) + 1;
    enum err er = rollout_ops_of(dev, &e->ops, why);
    if (!er) er = kvpool_create(dev, d, pool_blocks(e), &e->pool, why);
    if (!er) {
        er = alloc_buffers(e);
        if (er) why_set(why, er, "buffers for %u sequences: %s", o->max_num_seqs, err_str(er));
    }
    if (er) {
        engine_destroy(e);
        return er;
    }
    *ret_engine = e;
    return ERR_OK;
}

void engine_destroy(struct engine *e)
{
    if (!e) return;
    void *mem[] = {e->dev_in, e->dev_out, e->act_block};
    for (unsigned i = 0; i < sizeof mem / sizeof *mem; i++)
        if (mem[i]) e->dev->mem->free(e->dev, mem[i]);
    kvpool_destroy(e->pool);
    free(e->host_in);
    free(e->host_out);
    free(e->drawer);
    free(e);
}

/* Blocks a work needs for all its life: the prompt's whole blocks once, the rest for each completion. The last token is never fed. */
static uint32_t shared_blocks(const struct work *w)
{
    return w->n_prompt / KV_BLOCK_TOK;
}

static uint32_t own_blocks(const struct work *w)
{
    return kvpool_blocks(w->n_prompt + w->max_tok - 1) - shared_blocks(w);
}

enum err engine_submit(struct engine *e, struct work *w, struct why *why)
{
    if (w->n_prompt >= e->o.max_model_len)
        return why_set(why, ERR_RANGE, "the prompt has %u tokens, max_model_len is %u", w->n_prompt, e->o.max_model_len);
    if (w->n_prompt + w->max_tok > e->o.max_model_len) w->max_tok = e->o.max_model_len - w->n_prompt;
    if (w->group_size > e->o.max_num_seqs)
        return why_set(why, ERR_RANGE, "a group of %u completions, max_num_seqs is %u", w->group_size, e->o.max_num_seqs);
    const uint64_t need = shared_blocks(w) + (uint64_t)w->group_size * own_blocks(w);
    if (need > kvpool_n_block(e->pool))
        return why_set(why, ERR_RANGE, "%u completions of %u + %u tokens need %llu blocks of cache, there are %u: raise kv_memory",
                       w->group_size, w->n_prompt, w->max_tok, (unsigned long long)need, kvpool_n_block(e->pool));
    for (uint32_t i = 0; i < w->n_prompt; i++)
        if (w->prompt[i] < 0 || (uint32_t)w->prompt[i] >= e->dims.n_vocab)
            return why_set(why, ERR_RANGE, "prompt token %u has id %d, the vocabulary ends at %u", i, w->prompt[i], e->dims.n_vocab);
    w->next = NULL;
    *e->waiting_tail = w;
    e->waiting_tail = &w->next;
    e->n_waiting_seq += w->group_size;
    return ERR_OK;
}

void engine_swap(struct engine *e, const struct model *m, struct version v)
{
    for (struct work *w = e->active; w; w = w->next) {
        if (w->n_prefilled) w->mixed = true;
        if (w->want.incarnation && w->want.incarnation != v.incarnation) w->aborted = true;
    }
    for (struct work *w = e->waiting; w; w = w->next)
        if (w->want.incarnation && w->want.incarnation != v.incarnation) w->aborted = true;
    e->model = m;
    e->version = v;
    e->st.n_swap++;
}

struct version engine_version(const struct engine *e)
{
    return e->version;
}

void engine_abort(struct engine *e, const struct work *w)
{
    for (struct work *x = e->active; x; x = x->next)
        if (x == w) x->aborted = true;
    for (struct work *x = e->waiting; x; x = x->next)
        if (x == w) x->aborted = true;
}

void engine_abort_all(struct engine *e)
{
    for (struct work *w = e->active; w; w = w->next) w->aborted = true;
    for (struct work *w = e->waiting; w; w = w->next) w->aborted = true;
}

static bool can_start(const struct engine *e, const struct work *w)
{
    return e->model && version_serves(e->version, w->want) && e->n_active_seq + w->group_size <= e->o.max_num_seqs &&
           shared_blocks(w) + w->group_size * own_blocks(w) <= kvpool_n_free(e->pool);
}

bool engine_has_work(const struct engine *e)
{
    if (e->active) return true;
    for (const struct work *w = e->waiting; w; w = w->next)
        if (w->aborted || can_start(e, w)) return true;
    return false;
}

/* -- admission ------------------------------------------------------------------------------------------------------- */

/* Lend all blocks: sequence i has the shared ones, then its own. The prompt is prefilled through sequence 0. */
static enum err lend(struct engine *e, struct work *w)
{
    const uint32_t shared = shared_blocks(w), own = own_blocks(w);
    w->prompt_block = calloc(shared + 1, sizeof *w->prompt_block);
    if (!w->prompt_block) return ERR_NOMEM;
    for (uint32_t i = 0; i < w->group_size; i++) {
        w->seq[i].block = calloc(shared + own + 1, sizeof(int32_t));
        if (!w->seq[i].block) return ERR_NOMEM;
    }
    TRY(kvpool_take(e->pool, shared, w->prompt_block));
    w->n_prompt_block = shared;
    for (uint32_t i = 0; i < w->group_size; i++) {
        struct seq *s = &w->seq[i];
        memcpy(s->block, w->prompt_block, shared * sizeof *s->block);
        TRY(kvpool_take(e->pool, own, s->block + shared));
        kvpool_share(e->pool, s->block, shared);
        s->n_block = shared + own;
    }
    return ERR_OK;
}

static void give_seq(struct engine *e, struct seq *s)
{
    kvpool_give(e->pool, s->block, s->n_block);
    s->n_block = 0;
}

static enum err admit(struct engine *e)
{
    struct work **at = &e->waiting, **tail = &e->active;
    while (*tail) tail = &(*tail)->next;
    while (*at) {
        struct work *w = *at;
        const bool ready = version_serves(e->version, w->want);
        if (!w->aborted && !can_start(e, w)) {
            if (ready) break; /* first come, first served; work for a later version may be passed */
            at = &w->next;
            continue;
        }
        *at = w->next;
        if (!*at) e->waiting_tail = at;
        w->next = NULL;
        *tail = w;
        tail = &w->next;
        e->n_waiting_seq -= w->group_size;
        e->n_active_seq += w->group_size;
        w->started = true;
        w->started_ns = clock_now_ns();
        w->incarnation = e->version.incarnation;
        if (!w->aborted) TRY(lend(e, w));
    }
    return ERR_OK;
}

/* -- rows ------------------------------------------------------------------------------------------------------------ */

static void put_row(struct engine *e, const struct seq *s, int32_t id, uint32_t pos)
{
    const uint32_t r = e->n_row++;
    e->h.id[r] = id;
    e->h.pos[r] = (int32_t)pos;
    e->h.seq[r] = (int32_t)e->n_seq;
    e->h.slot[r] = s->block[pos / KV_BLOCK_TOK] * KV_BLOCK_TOK + (int32_t)(pos % KV_BLOCK_TOK);
}

static void end_line(struct engine *e, const struct seq *s)
{
    int32_t *line = e->h.table + (uint64_t)e->n_seq * e->table_cols;
    memcpy(line, s->block, s->n_block * sizeof *line);
    e->n_seq++;
    e->h.first[e->n_seq] = (int32_t)e->n_row;
}

/* The last row laid out draws the next token of a sequence. */
static void put_draw(struct engine *e, struct work *w, uint32_t sample)
{
    const uint32_t o = e->n_out++, pos = w->n_prompt + w->seq[sample].n_tok;
    e->h.out[o] = (int32_t)(e->n_row - 1);
    e->h.row[o] = (struct sample_row){
        .inv_temp = w->temperature > 0 ? 1 / w->temperature : 0,
        .top_p = w->top_p,
        .min_p = w->min_p,
        .top_k = w->top_k,
        .u = rng_token(w->seed, w->job_id, sample, pos),
    };
    e->drawer[o] = (struct drawer){w, sample};
}

static void put_decode(struct engine *e, struct work *w)
{
    for (uint32_t i = 0; i < w->group_size; i++) {
        struct seq *s = &w->seq[i];
        if (s->done) continue;
        put_row(e, s, s->tok[s->n_tok - 1], w->n_prompt + s->n_tok - 1);
        end_line(e, s);
        put_draw(e, w, i);
    }
}

/* The next chunk of a prompt, within the rows left; its end draws the first token of all G completions. */
static void put_prefill(struct engine *e, struct work *w)
{
    const uint32_t room = e->o.max_num_batched_tokens - e->n_row;
    uint32_t n = w->n_prompt - w->n_prefilled;
    if (n > room) n = room;
    if (!n) return;
    for (uint32_t i = 0; i < n; i++) put_row(e, &w->seq[0], w->prompt[w->n_prefilled + i], w->n_prefilled + i);
    end_line(e, &w->seq[0]);
    w->n_prefilled += n;
    w->prefill_tok += n;
    e->st.prefill_tok += n;
    for (uint32_t i = 0; w->n_prefilled == w->n_prompt && i < w->group_size; i++) put_draw(e, w, i);
}

/* Decode first, so that running work is never held up by new prompts. */
static void lay_out(struct engine *e)
{
    e->n_row = e->n_seq = e->n_out = 0;
    e->h.first[0] = 0;
    for (struct work *w = e->active; w; w = w->next)
        if (!w->aborted && w->n_prefilled == w->n_prompt) put_decode(e, w);
    for (struct work *w = e->active; w; w = w->next)
        if (!w->aborted && w->n_prefilled < w->n_prompt) put_prefill(e, w);
}

/* -- compute --------------------------------------------------------------------------------------------------------- */

static enum err compute(struct engine *e)
{
    struct dev *dev = e->dev;
    const struct step_in *d = &e->d;
    const struct batch b = {.n_row = e->n_row, .n_seq = e->n_seq, .n_out = e->n_out, .table_cols = e->table_cols, .id = d->id,
                            .pos = d->pos, .seq = d->seq, .slot = d->slot, .table = d->table, .first = d->first, .out = d->out};
    const int64_t t0 = clock_now_ns();
    TRY(dev->mem->copy_in(dev, NULL, e->dev_in, e->host_in, e->in_bytes));
    TRY(forward_embed(e->model, NULL, &b, e->x));
    for (uint32_t i = 0; i < e->dims.n_layer; i++) TRY(forward_layer(e->model, NULL, &b, kvpool_kv(e->pool), i, e->x, &e->act));
    if (!e->n_out) return ERR_OK;
    TRY(forward_head(e->model, NULL, &b, e->x, 0, e->n_out, e->norm, NULL, e->logits));
    const int64_t t1 = clock_now_ns();
    TRY(e->ops->sample(dev, NULL, e->logits, e->n_out, e->dims.n_vocab, e->o.n_real_vocab, d->row, e->dout.id, e->dout.lp, NULL));
    TRY(dev->mem->copy_out(dev, NULL, e->host_out, e->dev_out, e->out_bytes));
    e->st.forward_ns += t1 - t0;
    e->st.sample_ns += clock_now_ns() - t1;
    return ERR_OK;
}

static bool is_eos(const struct work *w, int32_t id)
{
    for (uint32_t i = 0; i < w->n_eos; i++)
        if (w->eos[i] == id) return true;
    return false;
}

static void end_seq(struct engine *e, struct work *w, struct seq *s, enum finish f)
{
    s->done = true;
    s->finish = f;
    w->n_done++;
    give_seq(e, s);
}

static void keep_token(struct engine *e, struct work *w, struct seq *s, int32_t id, float lp)
{
    const uint32_t t = s->n_tok++;
    s->tok[t] = id;
    s->lp[t] = lp;
    s->version[t] = (uint32_t)e->version.counter;
    s->kind[t] = (uint8_t)(TOKEN_SAMPLED | (w->mixed ? TOKEN_KV_MIXED : 0));
    e->st.gen_tok++;
    if (is_eos(w, id)) end_seq(e, w, s, FINISH_EOS);
    else if (s->n_tok == w->max_tok) end_seq(e, w, s, FINISH_LENGTH);
}

/* The prompt's partly filled last block: every other completion gets its own copy. */
static enum err fork_tail(struct engine *e, struct work *w)
{
    const struct attn a = {e->dims.n_head, e->dims.n_head_kv, e->dims.head_dim, 0, e->dims.n_layer};
    const int32_t keep = (int32_t)(w->n_prompt % KV_BLOCK_TOK);
    const uint32_t shared = shared_blocks(w);
    if (!keep) return ERR_OK;
    for (uint32_t i = 1; i < w->group_size; i++)
        TRY(e->dev->ops->kv_copy(e->dev, NULL, kvpool_kv(e->pool), &a, &w->seq[0].block[shared], &w->seq[i].block[shared], &keep, 1));
    return ERR_OK;
}

static enum err hand_out(struct engine *e)
{
    for (uint32_t o = 0; o < e->n_out; o++) {
        struct work *w = e->drawer[o].w;
        struct seq *s = &w->seq[e->drawer[o].sample];
        if (s->n_tok == 0 && s->sample == 0 && own_blocks(w)) TRY(fork_tail(e, w));
        keep_token(e, w, s, e->ho.id[o], e->ho.lp[o]);
    }
    return ERR_OK;
}

/* -- leaving --------------------------------------------------------------------------------------------------------- */

static void abort_work(struct engine *e, struct work *w)
{
    for (uint32_t i = 0; i < w->group_size; i++)
        if (!w->seq[i].done) end_seq(e, w, &w->seq[i], FINISH_ABORT);
    if (!w->e) w->e = why_set(&w->why, ERR_CANCELLED, "the work was called off");
}

static void collect(struct engine *e, struct work **ret_done)
{
    struct work **at = &e->active, **tail = ret_done;
    *ret_done = NULL;
    while (*at) {
        struct work *w = *at;
        if (w->aborted) abort_work(e, w);
        if (w->n_done < w->group_size) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = NULL;
        w->ended_ns = clock_now_ns();
        kvpool_give(e->pool, w->prompt_block, w->n_prompt_block);
        e->n_active_seq -= w->group_size;
        e->st.n_group++;
        *tail = w;
        tail = &w->next;
    }
}

/* Which row it was is not known: all that runs was in the step. */
static void fail_active(struct engine *e)
{
    for (struct work *w = e->active; w; w = w->next) {
        if (w->aborted) continue;
        w->aborted = true;
        w->e = why_set(&w->why, ERR_NONFINITE, "logits are not finite: the weights of version %llu are bad", (unsigned long long)e->version.counter);
    }
}

enum err engine_step(struct engine *e, struct work **ret_done, struct why *why)
{
    *ret_done = NULL;
    TRY(admit(e));
    lay_out(e);
    if (e->n_row) {
        enum err er = compute(e);
        if (!er) er = hand_out(e);
        if (er == ERR_NONFINITE) fail_active(e);
        else if (er) return why_set(why, er, "a step of version %llu failed", (unsigned long long)e->version.counter);
    }
    collect(e, ret_done);
    e->st.n_step++;
    return ERR_OK;
}

void engine_stats(const struct engine *e, struct engine_stats *ret_stats)
{
    *ret_stats = e->st;
    ret_stats->n_running = e->n_active_seq;
    ret_stats->n_waiting = e->n_waiting_seq;
    ret_stats->n_free_block = kvpool_n_free(e->pool);
    ret_stats->n_block = kvpool_n_block(e->pool);
}
