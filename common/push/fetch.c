// SPDX-License-Identifier: Apache-2.0
/* fetch.c - a node's end: a state machine on the loop.
 *
 *     IDLE -> MANIFEST -> (shared memory) ----------> VERIFY -> done
 *                     \-> CHUNKS, a window at a time -^
 *
 * Each request holds a slot and remembers the fetch (by number) it belongs to, so an answer that outlives its
 * fetch falls on the floor. Hashing runs in libuv's pool on memory that the job owns until it is back. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/push/mem.h"
#include "common/push/push.h"
#include "common/svc/loop.h"
#include "common/svc/net.h"

enum state { IDLE, MANIFEST, CHUNKS, VERIFY };

enum { MAX_WINDOW = 64, MAX_NAME = 255 };

struct slot {
    struct push_fetch *f;
    bool busy;
    uint64_t serial; /* of the fetch that asked */
    uint64_t offset; /* a chunk's place, bytes */
    uint32_t bytes;  /* a chunk's length; 0: the manifest */
};

/* Hashing one image, off the loop. Owns the memory and the hashes; borrows the fetch's table, so the fetch
 * outlives it. */
struct verify {
    struct push_fetch *f;
    uint64_t serial;
    struct push__mem mem;
    uint64_t *hash; /* [2, n_tensor] lo, hi */
    int64_t start_ns;
    enum err e;
    struct why why;
};

struct push_fetch {
    struct loop *loop;
    struct push_link link;
    char host[PUSH_HOST_LEN];
    uint64_t *end;
    uint32_t n_tensor, window;
    uint64_t n_param;
    bool closing;
    uint32_t n_verify; /* verifiers out: they keep this memory alive */
    struct slot slot[MAX_WINDOW];
    struct msg_buf ask_buf;

    /* the fetch under way */
    enum state state;
    uint64_t serial; /* grows with every start */
    bool asked;      /* MANIFEST: the request is out */
    struct version version;
    push_fetch_fn *done;
    void *arg;
    uint64_t *hash; /* [2, n_tensor] of the manifest */
    struct push__mem mem;
    enum push_road road;
    uint32_t chunk_bytes;
    uint64_t next_byte, have_bytes;
    int64_t start_ns, fetched_ns;

    struct version bad_shm; /* its shared memory failed the hashes: the network next time */
};

static uint64_t image_bytes(const struct push_fetch *f)
{
    return f->n_param * sizeof(uint16_t);
}

enum err push_fetch_create(const struct push_fetch_opts *o, struct push_fetch **ret, struct why *why)
{
    if (!o->n_tensor || !o->n_param || o->end[o->n_tensor - 1] != o->n_param || o->n_param > SIZE_MAX / 4 ||
        !o->window || o->window > MAX_WINDOW)
        return why_set(why, ERR_INVAL, "push: a table of tensors and a window of 1 .. %d wanted", MAX_WINDOW);
    struct push_fetch *f = calloc(1, sizeof *f);
    if (!f) return ERR_NOMEM;
    f->end = calloc(o->n_tensor, sizeof *f->end);
    if (!f->end) {
        free(f);
        return ERR_NOMEM;
    }
    memcpy(f->end, o->end, o->n_tensor * sizeof *f->end);
    snprintf(f->host, sizeof f->host, "%s", o->host ? o->host : "");
    f->loop = o->loop;
    f->link = o->link;
    f->n_tensor = o->n_tensor;
    f->n_param = o->n_param;
    f->window = o->window;
    f->mem.fd = -1;
    for (int i = 0; i < MAX_WINDOW; i++) f->slot[i].f = f;
    *ret = f;
    return ERR_OK;
}

static void free_when_alone(struct push_fetch *f)
{
    if (!f->closing || f->n_verify) return;
    msg_buf_done(&f->ask_buf);
    free(f->end);
    free(f);
}

/* Back to IDLE with nothing held. */
static void reset(struct push_fetch *f)
{
    push__mem_done(&f->mem);
    free(f->hash);
    f->hash = NULL;
    f->state = IDLE;
    f->have_bytes = 0;
}

/* The one way a fetch ends. The callee may start the next from within, or destroy f: f is not touched
 * afterwards. */
static void finish(struct push_fetch *f, enum err e, struct push_image *image, const struct why *why)
{
    push_fetch_fn *done = f->done;
    void *arg = f->arg;
    reset(f);
    done(arg, e, image, why);
}

/* ---- asking ---- */

static void on_answer(void *arg, enum err e, struct span frame);

static struct slot *free_slot(struct push_fetch *f)
{
    for (uint32_t i = 0; i < f->window; i++)
        if (!f->slot[i].busy) return &f->slot[i];
    return NULL;
}

static enum err send_from(struct push_fetch *f, struct slot *s)
{
    enum err e = f->link.ask(f->link.ctx, msg_buf_span(&f->ask_buf), on_answer, s);
    if (e) return e;
    s->busy = true;
    s->serial = f->serial;
    return ERR_OK;
}

static enum err ask_manifest(struct push_fetch *f, struct slot *s)
{
    struct msg_manifest_get m = {.incarnation = f->version.incarnation, .version = f->version.counter};
    TRY(msg_put_manifest_get(&m, &f->ask_buf));
    s->bytes = 0;
    TRY(send_from(f, s));
    f->asked = true;
    return ERR_OK;
}

static enum err ask_chunk(struct push_fetch *f, struct slot *s)
{
    uint64_t left = image_bytes(f) - f->next_byte;
    s->offset = f->next_byte;
    s->bytes = left < f->chunk_bytes ? (uint32_t)left : f->chunk_bytes;
    struct msg_chunk_get m = {
        .incarnation = f->version.incarnation,
        .version = f->version.counter,
        .offset = s->offset,
        .bytes = s->bytes,
    };
    TRY(msg_put_chunk_get(&m, &f->ask_buf));
    TRY(send_from(f, s));
    f->next_byte += s->bytes;
    return ERR_OK;
}

/* Fill the free slots with what is to be asked next. */
static enum err pump(struct push_fetch *f, struct why *why)
{
    struct slot *s;
    enum err e = ERR_OK;
    if (f->state == MANIFEST && !f->asked && (s = free_slot(f))) e = ask_manifest(f, s);
    while (!e && f->state == CHUNKS && f->next_byte < image_bytes(f) && (s = free_slot(f)))
        e = ask_chunk(f, s);
    return e ? why_set(why, e, "push: cannot ask the learner: %s", err_str(e)) : ERR_OK;
}

/* ---- verifying ---- */

static void verify_work(void *arg)
{
    struct verify *v = arg;
    const struct push_fetch *f = v->f; /* only the table, which never changes */
    const uint16_t *p = v->mem.p;
    for (uint64_t i = 0, begin = 0; i < f->n_tensor; begin = f->end[i++]) {
        struct hash128 h = hash_bytes(p + begin, (f->end[i] - begin) * sizeof *p);
        if (h.lo == v->hash[i] && h.hi == v->hash[f->n_tensor + i]) continue;
        v->e = why_set(&v->why, ERR_MISMATCH,
                       "push: tensor %" PRIu64 " (elements %" PRIu64 " .. %" PRIu64
                       ") is not what was published",
                       i, begin, f->end[i]);
        return;
    }
}

static void verify_done(void *arg)
{
    struct verify *v = arg;
    struct push_fetch *f = v->f;
    if (v->serial == f->serial && f->state == VERIFY) {
        if (v->e == ERR_MISMATCH && f->road == PUSH_SHM) f->bad_shm = f->version;
        if (v->e) {
            finish(f, v->e, NULL, &v->why);
        } else {
            struct push_image im = {
                .p = v->mem.p,
                .n_param = f->n_param,
                .version = f->version,
                .road = f->road,
                .fetch_ns = f->fetched_ns - f->start_ns,
                .verify_ns = clock_now_ns() - v->start_ns,
                .bytes = v->mem.bytes,
            };
            v->mem.p = NULL; /* now the callee's */
            finish(f, ERR_OK, &im, NULL);
        }
    }
    push__mem_done(&v->mem);
    free(v->hash);
    free(v);
    f->n_verify--; /* only now: done may have destroyed f */
    free_when_alone(f);
}

/* All bytes are here: the memory and the hashes move into a job for the pool. */
static enum err start_verify(struct push_fetch *f)
{
    f->fetched_ns = clock_now_ns();
    struct verify *v = calloc(1, sizeof *v);
    if (!v) return ERR_NOMEM;
    v->f = f;
    v->serial = f->serial;
    v->start_ns = f->fetched_ns;
    v->mem = f->mem;
    v->hash = f->hash;
    enum err e = loop_work(f->loop, verify_work, verify_done, v);
    if (e) { /* still f's */
        free(v);
        return e;
    }
    f->mem = (struct push__mem){.fd = -1};
    f->hash = NULL;
    f->state = VERIFY;
    f->n_verify++;
    return ERR_OK;
}

/* ---- answers ---- */

/* The learner's own words of refusal, if the frame is any. */
static enum err check_refusal(struct span frame, struct why *why)
{
    if (msg_id_of(frame) != MSG_ID_ack) return ERR_OK;
    struct msg_ack a;
    TRY(msg_get_ack(frame, &a, why));
    char words[256];
    msg_str_copy(a.why, words, sizeof words);
    enum err e = a.code > ERR_OK && a.code < ERR_COUNT ? (enum err)a.code : ERR_FORMAT;
    return why_set(why, e, "push: the learner says: %s", words);
}

static enum err check_table(const struct push_fetch *f, const struct msg_manifest *m, struct why *why)
{
    struct version v = {m->incarnation, m->version};
    if (!v.incarnation || (f->version.incarnation && !version_eq(v, f->version)))
        return why_set(why, ERR_MISMATCH, "push: version %" PRIu64 " came instead of %" PRIu64, v.counter,
                       f->version.counter);
    if (m->n_param != f->n_param || m->end.n != f->n_tensor || m->hash_lo.n != f->n_tensor ||
        m->hash_hi.n != f->n_tensor)
        return why_set(why, ERR_MISMATCH,
                       "push: the learner's model has %u tensors and %" PRIu64
                       " parameters, ours %u and %" PRIu64,
                       m->end.n, m->n_param, f->n_tensor, f->n_param);
    for (uint32_t i = 0; i < f->n_tensor; i++)
        if (msg_u64_at(m->end, i) != f->end[i])
            return why_set(why, ERR_MISMATCH,
                           "push: tensor %u ends at %" PRIu64 " there, at %" PRIu64 " here", i,
                           msg_u64_at(m->end, i), f->end[i]);
    if (m->chunk_bytes < PUSH_CHUNK_MIN)
        return why_set(why, ERR_FORMAT, "push: chunks of %u bytes are offered", m->chunk_bytes);
    return ERR_OK;
}

/* Shared memory when the manifest offers it on this host; any failure is a reason for the network, not an
 * error. */
static bool map_shared(struct push_fetch *f, const struct msg_manifest *m)
{
    char name[MAX_NAME + 1];
    if (!f->host[0] || !msg_str_eq(m->host, f->host) || !m->shm_name.n || m->shm_name.n > MAX_NAME)
        return false;
    if (f->bad_shm.incarnation && version_eq(f->bad_shm, f->version)) return false;
    msg_str_copy(m->shm_name, name, sizeof name);
    return push__mem_open(name, image_bytes(f), &f->mem, NULL) == ERR_OK;
}

static enum err on_manifest(struct push_fetch *f, struct span frame, struct why *why)
{
    struct msg_manifest m;
    TRY(check_refusal(frame, why));
    TRY(msg_get_manifest(frame, &m, why));
    TRY(check_table(f, &m, why));
    f->version = (struct version){m.incarnation, m.version};
    f->hash = calloc(2 * (size_t)f->n_tensor, sizeof *f->hash);
    if (!f->hash) return ERR_NOMEM;
    msg_arr_copy(m.hash_lo, sizeof *f->hash, f->hash);
    msg_arr_copy(m.hash_hi, sizeof *f->hash, f->hash + f->n_tensor);
    if (map_shared(f, &m)) {
        f->road = PUSH_SHM;
        f->have_bytes = image_bytes(f);
        return start_verify(f);
    }
    f->road = PUSH_NET;
    f->chunk_bytes = m.chunk_bytes < PUSH_CHUNK_MAX ? m.chunk_bytes : PUSH_CHUNK_MAX;
    TRY(push__mem_anon(image_bytes(f), &f->mem));
    f->state = CHUNKS;
    return ERR_OK;
}

static enum err on_chunk(struct push_fetch *f, const struct slot *s, struct span frame, struct why *why)
{
    struct msg_chunk c;
    TRY(check_refusal(frame, why));
    TRY(msg_get_chunk(frame, &c, why));
    if (!version_eq((struct version){c.incarnation, c.version}, f->version) || c.offset != s->offset ||
        c.data.n != s->bytes)
        return why_set(why, ERR_MISMATCH,
                       "push: %zu bytes at %" PRIu64 " of version %" PRIu64 " came, asked for %u at %" PRIu64,
                       c.data.n, c.offset, c.version, s->bytes, s->offset);
    memcpy((uint8_t *)f->mem.p + s->offset, c.data.p, s->bytes);
    f->have_bytes += s->bytes;
    return f->have_bytes == image_bytes(f) ? start_verify(f) : ERR_OK;
}

static void on_answer(void *arg, enum err e, struct span frame)
{
    struct slot *s = arg;
    struct push_fetch *f = s->f;
    struct why why = {0};
    s->busy = false;
    if (f->state == IDLE) return;
    if (s->serial != f->serial) { /* of an earlier fetch: only its slot is news */
        e = pump(f, &why);
    } else {
        if (e)
            why_set(&why, e, "push: %s from the learner: %s", s->bytes ? "no chunk" : "no manifest",
                    err_str(e));
        else
            e = s->bytes ? on_chunk(f, s, frame, &why) : on_manifest(f, frame, &why);
        if (!e) e = pump(f, &why);
    }
    if (e) finish(f, e, NULL, &why);
}

/* ---- the caller's side ---- */

enum err push_fetch_start(struct push_fetch *f, struct version v, push_fetch_fn *done, void *arg,
                          struct why *why)
{
    if (f->closing) return why_set(why, ERR_CLOSED, "push: shutting down");
    if (f->state != IDLE) return why_set(why, ERR_BUSY, "push: a fetch is under way");
    f->serial++;
    f->state = MANIFEST;
    f->asked = false;
    f->version = v;
    f->done = done;
    f->arg = arg;
    f->next_byte = f->have_bytes = 0;
    f->start_ns = clock_now_ns();
    enum err e = pump(f, why);
    if (e) reset(f);
    return e;
}

void push_fetch_newer(struct push_fetch *f, struct version newest)
{
    if ((f->state != MANIFEST && f->state != CHUNKS) || !f->version.incarnation || !newest.incarnation)
        return;
    bool same_learner = newest.incarnation == f->version.incarnation;
    if (same_learner && newest.counter <= f->version.counter) return;
    if (same_learner && f->have_bytes * 2 >= image_bytes(f)) return;
    struct why why = {0};
    why_set(&why, ERR_STALE, "push: version %" PRIu64 " is overtaken by %" PRIu64, f->version.counter,
            newest.counter);
    finish(f, ERR_STALE, NULL, &why);
}

void push_fetch_cancel(struct push_fetch *f)
{
    if (f->state != IDLE) finish(f, ERR_CANCELLED, NULL, &(struct why){"push: cancelled"});
}

bool push_fetch_busy(const struct push_fetch *f)
{
    return f->state != IDLE;
}

void push_fetch_progress(const struct push_fetch *f, uint64_t *ret_have, uint64_t *ret_all)
{
    *ret_have = f->state == IDLE ? 0 : f->have_bytes;
    *ret_all = f->state == IDLE ? 0 : image_bytes(f);
}

void push_fetch_destroy(struct push_fetch *f)
{
    if (!f) return;
    f->closing = true;
    push_fetch_cancel(f);
    free_when_alone(f);
}

static enum err ask_net(void *ctx, struct span frame, push_answer_fn *answer, void *arg)
{
    return net_call(ctx, frame, PUSH_TIMEOUT_MS, answer, arg);
}

struct push_link push_link_net(struct net_client *c)
{
    return (struct push_link){.ctx = c, .ask = ask_net};
}

void push_image_done(struct push_image *i)
{
    struct push__mem m = {.p = (void *)(uintptr_t)i->p, .bytes = i->bytes, .fd = -1};
    push__mem_done(&m);
    *i = (struct push_image){0};
}

enum err push_image_alloc(uint64_t n_param, struct version v, struct push_image *ret)
{
    struct push__mem m;
    TRY(push__mem_anon(n_param * sizeof(uint16_t), &m));
    *ret =
        (struct push_image){.p = (const uint16_t *)m.p, .bytes = m.bytes, .n_param = n_param, .version = v};
    return ERR_OK;
}
