// SPDX-License-Identifier: Apache-2.0
/* source.c - the learner's end: published images, newest first, in a list under one lock.
 *
 * An image is immutable once listed. The lock covers the list and the pin counts only; copying and hashing
 * happen outside it, so the loop that answers never waits for a publish. An image goes when it is neither
 * kept nor pinned. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/push/mem.h"
#include "common/push/push.h"

struct image {
    struct image *next; /* older */
    struct version v;
    struct push__mem mem;
    struct msg_buf manifest; /* the frame that answers manifest_get */
    uint32_t pins;
    bool kept; /* one of the newest n_keep */
};

struct push_source {
    pthread_mutex_t lock; /* images and stats */
    struct image *newest;
    struct push_source_stats stats;

    /* fixed at create */
    uint64_t *end;
    uint32_t n_tensor, n_keep, chunk_bytes, shm_mode;
    int64_t shm_gid;
    uint64_t n_param;
    bool use_shm;
    char host[PUSH_HOST_LEN];
    char prefix[PUSH__NAME_LEN];

    uint64_t *hash_lo, *hash_hi; /* [n_tensor] scratch of publish */
};

static size_t image_bytes(const struct push_source *s)
{
    return s->n_param * sizeof(uint16_t);
}

static enum err check_opts(const struct push_source_opts *o, struct why *why)
{
    if (!o->n_tensor || !o->n_keep || !o->host || !o->run)
        return why_set(why, ERR_INVAL, "push: no tensors, nothing to keep, no host or no run");
    if (o->chunk_bytes < PUSH_CHUNK_MIN || o->chunk_bytes > PUSH_CHUNK_MAX || o->chunk_bytes % 2)
        return why_set(why, ERR_INVAL, "push: chunks of %u bytes, %d .. %d wanted", o->chunk_bytes,
                       PUSH_CHUNK_MIN, PUSH_CHUNK_MAX);
    for (uint32_t i = 0; i < o->n_tensor; i++)
        if (o->end[i] <= (i ? o->end[i - 1] : 0))
            return why_set(why, ERR_INVAL, "push: tensor %u is empty", i);
    if (o->end[o->n_tensor - 1] != o->n_param || o->n_param > SIZE_MAX / 4)
        return why_set(why, ERR_INVAL, "push: tensors end at %" PRIu64 " of %" PRIu64,
                       o->end[o->n_tensor - 1], o->n_param);
    return ERR_OK;
}

enum err push_source_create(const struct push_source_opts *o, struct push_source **ret, struct why *why)
{
    TRY(check_opts(o, why));
    struct push_source *s = calloc(1, sizeof *s);
    if (!s) return ERR_NOMEM;
    pthread_mutex_init(&s->lock, NULL);
    s->end = calloc(o->n_tensor, sizeof *s->end);
    s->hash_lo = calloc(o->n_tensor, sizeof *s->hash_lo);
    s->hash_hi = calloc(o->n_tensor, sizeof *s->hash_hi);
    if (!s->end || !s->hash_lo || !s->hash_hi) {
        push_source_destroy(s);
        return ERR_NOMEM;
    }
    memcpy(s->end, o->end, o->n_tensor * sizeof *s->end);
    s->n_tensor = o->n_tensor;
    s->n_param = o->n_param;
    s->n_keep = o->n_keep;
    s->chunk_bytes = o->chunk_bytes;
    s->use_shm = o->use_shm && o->host[0];
    s->shm_mode = o->shm_mode;
    s->shm_gid = o->shm_gid;
    snprintf(s->host, sizeof s->host, "%s", o->host);
    push__mem_prefix(o->run, s->prefix);
    push__mem_sweep(s->prefix);
    *ret = s;
    return ERR_OK;
}

static void image_free(struct image *im)
{
    push__mem_done(&im->mem);
    msg_buf_done(&im->manifest);
    free(im);
}

void push_source_destroy(struct push_source *s)
{
    if (!s) return;
    for (struct image *im = s->newest, *next; im; im = next) {
        next = im->next;
        image_free(im);
    }
    pthread_mutex_destroy(&s->lock);
    free(s->end);
    free(s->hash_lo);
    free(s->hash_hi);
    free(s);
}

/* ---- publishing: the trainer's thread ---- */

static enum err copy_image(struct push_source *s, struct image *im, const uint16_t *image)
{
    if (s->use_shm) {
        char name[2 * PUSH__NAME_LEN];
        snprintf(name, sizeof name, "%s%016" PRIx64 "-%" PRIu64, s->prefix, im->v.incarnation, im->v.counter);
        if (push__mem_create(name, image, image_bytes(s), s->shm_mode, s->shm_gid, &im->mem, NULL) == ERR_OK)
            return ERR_OK;
    }
    TRY(push__mem_anon(image_bytes(s), &im->mem));
    memcpy(im->mem.p, image, image_bytes(s));
    return ERR_OK;
}

/* Of what the trainer handed over, not of the copy: a copy gone wrong is caught by the nodes. */
static void hash_image(struct push_source *s, const uint16_t *image)
{
    for (uint64_t i = 0, begin = 0; i < s->n_tensor; begin = s->end[i++]) {
        struct hash128 h = hash_bytes(image + begin, (s->end[i] - begin) * sizeof *image);
        s->hash_lo[i] = h.lo;
        s->hash_hi[i] = h.hi;
    }
}

static enum err write_manifest(struct push_source *s, struct image *im)
{
    struct msg_manifest m = {
        .incarnation = im->v.incarnation,
        .version = im->v.counter,
        .n_param = s->n_param,
        .host = span_str(s->host),
        .shm_name = span_str(im->mem.name),
        .end = msg_arr_of(s->end, s->n_tensor),
        .hash_lo = msg_arr_of(s->hash_lo, s->n_tensor),
        .hash_hi = msg_arr_of(s->hash_hi, s->n_tensor),
        .chunk_bytes = s->chunk_bytes,
    };
    return msg_put_manifest(&m, &im->manifest);
}

/* With the lock held: unlist what is neither kept nor pinned; returns it as a list to free. */
static struct image *unlist_dead(struct push_source *s)
{
    struct image *dead = NULL;
    uint32_t n = 0;
    for (struct image **at = &s->newest; *at;) {
        struct image *im = *at;
        im->kept = n++ < s->n_keep;
        if (im->kept || im->pins) {
            at = &im->next;
            continue;
        }
        *at = im->next;
        im->next = dead;
        dead = im;
    }
    return dead;
}

static void free_list(struct image *im)
{
    for (struct image *next; im; im = next) {
        next = im->next;
        image_free(im);
    }
}

/* With the lock held. v without incarnation is the newest. */
static struct image *find(struct push_source *s, struct version v)
{
    if (!v.incarnation) return s->newest;
    struct image *im = s->newest;
    while (im && !version_eq(im->v, v)) im = im->next;
    return im;
}

enum err push_source_publish(struct push_source *s, struct version v, const uint16_t *image, struct why *why)
{
    if (!v.incarnation) return why_set(why, ERR_INVAL, "push: a version needs an incarnation");
    pthread_mutex_lock(&s->lock);
    bool have = find(s, v) != NULL;
    pthread_mutex_unlock(&s->lock);
    if (have) return why_set(why, ERR_EXIST, "push: version %" PRIu64 " is published already", v.counter);

    int64_t start_ns = clock_now_ns();
    struct image *im = calloc(1, sizeof *im);
    if (!im) return ERR_NOMEM;
    im->mem.fd = -1;
    im->v = v;
    hash_image(s, image);
    enum err e = copy_image(s, im, image);
    if (!e) e = write_manifest(s, im);
    if (e) {
        image_free(im);
        return why_set(why, e, "push: no room for version %" PRIu64 ", %zu bytes", v.counter, image_bytes(s));
    }
    pthread_mutex_lock(&s->lock);
    im->next = s->newest;
    s->newest = im;
    s->stats.publish_ns = clock_now_ns() - start_ns;
    struct image *dead = unlist_dead(s);
    pthread_mutex_unlock(&s->lock);
    free_list(dead);
    return ERR_OK;
}

/* ---- lending ---- */

/* Pin a kept image; NULL when there is none. */
static struct image *pin(struct push_source *s, struct version v)
{
    pthread_mutex_lock(&s->lock);
    struct image *im = find(s, v);
    if (im && !im->kept) im = NULL;
    if (im) im->pins++;
    pthread_mutex_unlock(&s->lock);
    return im;
}

static void unpin(struct push_source *s, struct image *im)
{
    pthread_mutex_lock(&s->lock);
    im->pins--;
    struct image *dead = unlist_dead(s);
    pthread_mutex_unlock(&s->lock);
    free_list(dead);
}

enum err push_source_take(struct push_source *s, struct version v, const uint16_t **ret_image)
{
    struct image *im = v.incarnation ? pin(s, v) : NULL;
    if (!im) return ERR_STALE;
    *ret_image = im->mem.p;
    return ERR_OK;
}

void push_source_give(struct push_source *s, struct version v)
{
    pthread_mutex_lock(&s->lock);
    struct image *im = find(s, v); /* pinned, so still listed */
    pthread_mutex_unlock(&s->lock);
    if (im) unpin(s, im);
}

struct version push_source_newest(struct push_source *s)
{
    struct version v = {0};
    pthread_mutex_lock(&s->lock);
    if (s->newest) v = s->newest->v;
    pthread_mutex_unlock(&s->lock);
    return v;
}

void push_source_stats(struct push_source *s, struct push_source_stats *ret)
{
    pthread_mutex_lock(&s->lock);
    *ret = s->stats;
    for (struct image *im = s->newest; im; im = im->next) {
        ret->n_kept++;
        ret->n_shm += im->mem.name[0] != 0;
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- answering ---- */

static enum err put_error(struct msg_buf *reply, enum err e, const struct why *why)
{
    struct msg_ack a = {.code = (uint32_t)e, .why = span_str(why_str(why, e))};
    return msg_put_ack(&a, reply);
}

/* Pin what was asked for, or say why not: nothing yet, or no more. */
static enum err pin_asked(struct push_source *s, uint64_t incarnation, uint64_t counter, struct image **ret,
                          struct why *why)
{
    *ret = pin(s, (struct version){incarnation, counter});
    if (*ret) return ERR_OK;
    if (!push_source_newest(s).incarnation) return why_set(why, ERR_AGAIN, "nothing published yet");
    return why_set(why, ERR_STALE, "version %" PRIu64 " of incarnation %016" PRIx64 " is not kept", counter,
                   incarnation);
}

static enum err answer_manifest(struct push_source *s, struct span frame, struct msg_buf *reply)
{
    struct why why = {0};
    struct msg_manifest_get m;
    struct image *im;
    enum err e = msg_get_manifest_get(frame, &m, &why);
    if (!e) e = pin_asked(s, m.incarnation, m.version, &im, &why);
    if (e) return put_error(reply, e, &why);
    reply->n = 0;
    e = msg_buf_add(reply, im->manifest.p, im->manifest.n);
    unpin(s, im);
    pthread_mutex_lock(&s->lock);
    s->stats.n_manifest++;
    pthread_mutex_unlock(&s->lock);
    return e;
}

static enum err answer_chunk(struct push_source *s, struct span frame, struct msg_buf *reply)
{
    struct why why = {0};
    struct msg_chunk_get m;
    struct image *im;
    enum err e = msg_get_chunk_get(frame, &m, &why);
    if (!e && (!m.bytes || m.bytes > s->chunk_bytes || m.offset > image_bytes(s) ||
               m.bytes > image_bytes(s) - m.offset))
        e = why_set(&why, ERR_RANGE, "%u bytes at %" PRIu64 ": at most %u, of %zu", m.bytes, m.offset,
                    s->chunk_bytes, image_bytes(s));
    if (!e) e = pin_asked(s, m.incarnation, m.version, &im, &why);
    if (e) return put_error(reply, e, &why);
    struct msg_chunk c = {
        .incarnation = im->v.incarnation,
        .version = im->v.counter,
        .offset = m.offset,
        .data = span_of((const uint8_t *)im->mem.p + m.offset, m.bytes),
    };
    e = msg_put_chunk(&c, reply);
    unpin(s, im);
    pthread_mutex_lock(&s->lock);
    s->stats.n_chunk++;
    pthread_mutex_unlock(&s->lock);
    return e;
}

enum err push_source_answer(struct push_source *s, struct span frame, struct msg_buf *reply)
{
    enum msg_id id = msg_id_of(frame);
    if (id == MSG_ID_manifest_get) return answer_manifest(s, frame, reply);
    if (id == MSG_ID_chunk_get) return answer_chunk(s, frame, reply);
    struct why why = {0};
    return put_error(
        reply, why_set(&why, ERR_FORMAT, "the bulk address serves weights only, not %s", msg_name(id)), &why);
}
