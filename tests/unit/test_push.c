// SPDX-License-Identifier: Apache-2.0
/* A push over a link with faults: what arrives is what was published or it does not arrive, on either road,
 * and nothing leaks. The real network and real processes are in test_push_net.c. */
#include "common/push/push.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "common/svc/loop.h"
#include "tests/unit/push_rig.h"

#define HOST "this-host"

/* ---- a link that answers from a source in the same thread, in a bad order, with faults ---- */

struct pending {
    struct msg_buf reply;
    enum err e;
    push_answer_fn *answer;
    void *arg;
};

struct rig {
    struct loop *loop;
    struct push_source *src;
    struct push_fetch *f;
    char run[64];

    struct pending q[64];
    unsigned n_pending, n_ask;
    unsigned peak;          /* most requests open at once */
    bool first_in_last_out; /* answers overtake each other */
    unsigned close_after;   /* this many requests are answered, the rest fail */
    unsigned flip_ask;      /* in the answer to this request, count from 1, one bit is flipped */
    bool mute;              /* answers are held back */
    void (*before)(struct rig *r, unsigned n_ask);

    unsigned n_done;
    enum err e;
    struct why why;
    struct push_image image;
};

/* Hand one answer over. */
static void deliver_one(struct rig *r)
{
    if (!r->n_pending) return;
    unsigned at = r->first_in_last_out ? r->n_pending - 1 : 0;
    struct pending p = r->q[at];
    memmove(&r->q[at], &r->q[at + 1], (--r->n_pending - at) * sizeof p);
    p.answer(p.arg, p.e, p.e ? span_of(NULL, 0) : msg_buf_span(&p.reply));
    msg_buf_done(&p.reply);
}

static void deliver(void *arg)
{
    struct rig *r = arg;
    if (!r->mute) deliver_one(r);
}

static void unmute(struct rig *r)
{
    r->mute = false;
    for (unsigned i = 0; i < r->n_pending; i++) loop_post(r->loop, deliver, r);
}

static enum err ask(void *ctx, struct span frame, push_answer_fn *answer, void *arg)
{
    struct rig *r = ctx;
    assert_true(r->n_pending < 64);
    struct pending *p = &r->q[r->n_pending++];
    *p = (struct pending){.answer = answer, .arg = arg};
    if (r->n_pending > r->peak) r->peak = r->n_pending;
    r->n_ask++;
    if (r->before) r->before(r, r->n_ask);
    if (r->close_after && r->n_ask > r->close_after)
        p->e = ERR_CLOSED;
    else
        assert_int_equal(push_source_answer(r->src, frame, &p->reply), ERR_OK);
    if (r->flip_ask == r->n_ask) p->reply.p[p->reply.n - 1000] ^= 4;
    loop_post(r->loop, deliver, r);
    return ERR_OK;
}

static void open_rig(struct rig *r, bool use_shm, const char *fetch_host, uint32_t n_keep)
{
    static int n;
    *r = (struct rig){0};
    snprintf(r->run, sizeof r->run, "test-push-%d-%d", (int)getpid(), n++);
    assert_int_equal(loop_create(&r->loop), ERR_OK);
    struct push_source_opts so = rig_source(r->run, HOST, use_shm, n_keep);
    assert_int_equal(push_source_create(&so, &r->src, NULL), ERR_OK);
    struct push_fetch_opts fo = {
        .loop = r->loop,
        .link = {.ctx = r, .ask = ask},
        .host = fetch_host,
        .end = rig_end,
        .n_tensor = RIG_TENSORS,
        .n_param = RIG_PARAMS,
        .window = 8,
    };
    assert_int_equal(push_fetch_create(&fo, &r->f, NULL), ERR_OK);
}

static void close_rig(struct rig *r)
{
    for (unsigned i = 0; i < r->n_pending; i++) msg_buf_done(&r->q[i].reply);
    r->n_pending = 0;
    push_fetch_destroy(r->f);
    loop_destroy(r->loop);
    push_image_done(&r->image);
    push_source_destroy(r->src);
    assert_int_equal(rig_shm(r->run, NULL, 0), 0); /* nothing left, whatever happened */
}

static void on_done(void *arg, enum err e, struct push_image *image, const struct why *why)
{
    struct rig *r = arg;
    r->n_done++;
    r->e = e;
    r->why = (struct why){0};
    if (why) r->why = *why;
    if (image) r->image = *image;
    assert_true((e == ERR_OK) == (image != NULL));
    loop_stop(r->loop);
}

static void start(struct rig *r, struct version v)
{
    push_image_done(&r->image);
    assert_int_equal(push_fetch_start(r->f, v, on_done, r, NULL), ERR_OK);
}

/* A stop asked for outside the loop ends the next run at once: hence the loop. */
static void run_until(struct rig *r, unsigned n_done)
{
    while (r->n_done < n_done) loop_run(r->loop);
    assert_int_equal(r->n_done, n_done);
}

static enum err fetch(struct rig *r, struct version v)
{
    unsigned before = r->n_done;
    start(r, v);
    run_until(r, before + 1);
    assert_false(push_fetch_busy(r->f));
    return r->e;
}

static const struct version v1 = {0xabc, 1}, v2 = {0xabc, 2}, v3 = {0xabc, 3};

/* ---- the tests ---- */

static void both_roads_bring_the_image(void **state)
{
    (void)state;
    for (int shm = 0; shm < 2; shm++) {
        struct rig r;
        open_rig(&r, true, shm ? HOST : "another-host", 1);
        assert_int_equal(rig_publish(r.src, v1), ERR_OK);
        assert_int_equal(fetch(&r, v1), ERR_OK);
        assert_int_equal(r.image.road, shm ? PUSH_SHM : PUSH_NET);
        assert_true(version_eq(r.image.version, v1));
        assert_true(rig_is_image(r.image.p, v1));
        assert_int_equal(r.n_ask, shm ? 1 : 1 + RIG_CHUNKS);
        if (!shm) assert_int_equal(r.peak, 8); /* the window is used, and kept to */
        /* 0, 0 asks for the newest, and the image in hand stays whole when its version goes */
        const struct push_image old = r.image;
        r.image = (struct push_image){0};
        assert_int_equal(rig_publish(r.src, v2), ERR_OK);
        assert_int_equal(fetch(&r, (struct version){0}), ERR_OK);
        assert_true(rig_is_image(r.image.p, v2));
        assert_true(rig_is_image(old.p, v1));
        push_image_done(&(struct push_image){.p = old.p, .bytes = old.bytes});
        close_rig(&r);
    }
}

static void chunks_may_overtake_each_other(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, false, HOST, 1);
    r.first_in_last_out = true;
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    assert_int_equal(fetch(&r, v1), ERR_OK);
    assert_true(rig_is_image(r.image.p, v1));
    close_rig(&r);
}

/* One flipped bit on the way: the tensor is named, nothing is handed over, and the next try from the start
 * succeeds. */
static void a_corrupted_chunk_is_caught(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, false, HOST, 1);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    r.flip_ask = 1 + 8; /* chunk 7: bytes 458752 ..., elements 229376 ..., tensor 3 */
    assert_int_equal(fetch(&r, v1), ERR_MISMATCH);
    assert_non_null(strstr(r.why.text, "tensor 3 (elements 100007 .. 500000)"));
    r.flip_ask = 0;
    assert_int_equal(fetch(&r, v1), ERR_OK);
    assert_true(rig_is_image(r.image.p, v1));
    close_rig(&r);
}

static void flip_shm(const struct rig *r, size_t at)
{
    char name[300];
    assert_int_equal(rig_shm(r->run, name, sizeof name), 1);
    int fd = shm_open(name, O_RDWR, 0);
    assert_true(fd >= 0);
    uint8_t b;
    assert_int_equal(pread(fd, &b, 1, (off_t)at), 1);
    b ^= 1;
    assert_int_equal(pwrite(fd, &b, 1, (off_t)at), 1);
    close(fd);
}

/* Bad shared memory is caught too; the next fetch of that version takes the network, where the same pages are
 * as bad. */
static void corrupted_shared_memory_is_caught(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, true, HOST, 1);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    flip_shm(&r, 0);
    assert_int_equal(fetch(&r, v1), ERR_MISMATCH);
    assert_non_null(strstr(r.why.text, "tensor 0 (elements 0 .. 1)"));
    assert_int_equal(fetch(&r, v1), ERR_MISMATCH);
    assert_true(r.n_ask > 2); /* chunks */
    flip_shm(&r, 0);          /* mended */
    assert_int_equal(fetch(&r, v1), ERR_OK);
    assert_int_equal(r.image.road, PUSH_NET);
    assert_int_equal(rig_publish(r.src, v2), ERR_OK);
    assert_int_equal(fetch(&r, v2), ERR_OK);
    assert_int_equal(r.image.road, PUSH_SHM); /* another version, trusted anew */
    close_rig(&r);
}

static void shared_memory_that_is_gone_or_short_gives_way(void **state)
{
    (void)state;
    for (int gone = 0; gone < 2; gone++) {
        struct rig r;
        char name[300];
        open_rig(&r, true, HOST, 1);
        assert_int_equal(rig_publish(r.src, v1), ERR_OK);
        assert_int_equal(rig_shm(r.run, name, sizeof name), 1);
        shm_unlink(name);
        if (!gone) { /* the same name, too short */
            int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
            assert_true(fd >= 0 && ftruncate(fd, 4096) == 0);
            close(fd);
        }
        assert_int_equal(fetch(&r, v1), ERR_OK);
        assert_int_equal(r.image.road, PUSH_NET);
        assert_true(rig_is_image(r.image.p, v1));
        close_rig(&r);
    }
}

static void publish_twice(struct rig *r, unsigned n_ask)
{
    if (n_ask != 10) return;
    assert_int_equal(rig_publish(r->src, v2), ERR_OK);
    assert_int_equal(rig_publish(r->src, v3), ERR_OK);
}

static void a_version_evicted_on_the_way_is_stale(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, false, HOST, 2);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    r.before = publish_twice;
    assert_int_equal(fetch(&r, v1), ERR_STALE);
    assert_non_null(strstr(r.why.text, "version 1 of incarnation 0000000000000abc is not kept"));
    assert_int_equal(fetch(&r, (struct version){0}), ERR_OK);
    assert_true(rig_is_image(r.image.p, v3));
    close_rig(&r);
}

static void a_learner_that_dies_on_the_way_ends_the_fetch(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, false, HOST, 1);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    r.close_after = 9;
    assert_int_equal(fetch(&r, v1), ERR_CLOSED);
    assert_null(r.image.p);
    r.close_after = 0;
    assert_int_equal(fetch(&r, v1), ERR_OK); /* answers of the first are still on the way */
    assert_true(rig_is_image(r.image.p, v1));
    close_rig(&r);
}

static void a_newer_version_overtakes_an_early_fetch_only(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, false, HOST, 3);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    start(&r, v1);
    push_fetch_newer(r.f, v1); /* not newer */
    push_fetch_newer(r.f, (struct version){0});
    assert_true(push_fetch_busy(r.f));
    push_fetch_newer(r.f, v2);
    assert_int_equal(r.e, ERR_STALE);
    assert_non_null(strstr(r.why.text, "version 1 is overtaken by 2"));

    /* past half: goes on; but not when the learner itself is another */
    for (int other = 0; other < 2; other++) {
        r.mute = true;
        start(&r, v1);
        uint64_t have = 0, all = 1;
        for (int i = 0; i < 100 && have * 2 < all; i++) {
            deliver_one(&r);
            push_fetch_progress(r.f, &have, &all);
        }
        assert_true(have * 2 >= all && have < all);
        unsigned before = r.n_done;
        push_fetch_newer(r.f, (struct version){other ? 0xdef : 0xabc, 2});
        assert_int_equal(r.n_done, before + (unsigned)other);
        unmute(&r);
        run_until(&r, before + 1);
        assert_int_equal(r.e, other ? ERR_STALE : ERR_OK);
    }
    close_rig(&r);
}

/* Answers that come after a cancel belong to nobody; a fetch started meanwhile is not disturbed. */
static void late_answers_fall_on_the_floor(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, false, HOST, 2);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    assert_int_equal(rig_publish(r.src, v2), ERR_OK);
    r.mute = true;
    start(&r, v1);
    deliver_one(&r); /* the manifest; a window of chunks is asked for */
    assert_int_equal(r.n_pending, 8);
    push_fetch_cancel(r.f);
    assert_int_equal(r.e, ERR_CANCELLED);
    assert_int_equal(r.n_done, 1);
    start(&r, v2); /* every slot is taken: it waits for one */
    assert_int_equal(r.n_ask, 9);
    unmute(&r);
    run_until(&r, 2);
    assert_int_equal(r.e, ERR_OK);
    assert_true(rig_is_image(r.image.p, v2));
    push_fetch_cancel(r.f); /* idle: a no-op */
    assert_int_equal(r.n_done, 2);
    close_rig(&r);
}

static void one_fetch_at_a_time(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, true, HOST, 1);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    start(&r, v1);
    assert_int_equal(push_fetch_start(r.f, v1, on_done, &r, NULL), ERR_BUSY);
    close_rig(&r); /* destroyed with one under way: cancelled */
    assert_int_equal(r.e, ERR_CANCELLED);
    assert_int_equal(r.n_done, 1);
}

/* The verifier is in the pool while all else goes: it keeps what it needs. */
static void destroyed_while_verifying(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, true, HOST, 1);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    r.mute = true;
    start(&r, v1);
    deliver_one(&r); /* the manifest: shared memory is mapped, hashing begins */
    assert_true(push_fetch_busy(r.f));
    close_rig(&r);
    assert_int_equal(r.e, ERR_CANCELLED);
}

/* A verifier of a cancelled fetch comes back while the next fetch is verified: its word counts for nothing.
 */
static void a_late_verifier_is_not_believed(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, true, HOST, 2);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    assert_int_equal(rig_publish(r.src, v2), ERR_OK);
    r.mute = true;
    start(&r, v1);
    deliver_one(&r);
    push_fetch_cancel(r.f);
    start(&r, v2);
    deliver_one(&r);
    run_until(&r, 2);
    assert_int_equal(r.e, ERR_OK);
    assert_true(version_eq(r.image.version, v2));
    assert_true(rig_is_image(r.image.p, v2));
    close_rig(&r);
    assert_int_equal(r.n_done, 2);
}

static void another_model_is_refused_with_words(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, true, HOST, 1);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    push_fetch_destroy(r.f);
    uint64_t end[RIG_TENSORS];
    memcpy(end, rig_end, sizeof end);
    end[2]++;
    struct push_fetch_opts fo = {
        .loop = r.loop,
        .link = {.ctx = &r, .ask = ask},
        .end = end,
        .n_tensor = RIG_TENSORS,
        .n_param = RIG_PARAMS,
        .window = 1,
    };
    assert_int_equal(push_fetch_create(&fo, &r.f, NULL), ERR_OK);
    assert_int_equal(fetch(&r, v1), ERR_MISMATCH);
    assert_string_equal(r.why.text, "push: tensor 2 ends at 100007 there, at 100008 here");
    close_rig(&r);
}

/* ---- the source alone ---- */

static enum err refusal(struct push_source *s, struct span frame)
{
    struct msg_buf reply = {0};
    struct msg_ack a;
    assert_int_equal(push_source_answer(s, frame, &reply), ERR_OK);
    assert_int_equal(msg_get_ack(msg_buf_span(&reply), &a, NULL), ERR_OK);
    assert_true(a.why.n > 0);
    msg_buf_done(&reply);
    return (enum err)a.code;
}

static enum err chunk_refusal(struct push_source *s, struct version v, uint64_t offset, uint32_t bytes)
{
    struct msg_buf b = {0};
    struct msg_chunk_get m = {
        .incarnation = v.incarnation, .version = v.counter, .offset = offset, .bytes = bytes};
    assert_int_equal(msg_put_chunk_get(&m, &b), ERR_OK);
    enum err e = refusal(s, msg_buf_span(&b));
    msg_buf_done(&b);
    return e;
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, false, HOST, 1);
    assert_int_equal(chunk_refusal(r.src, v1, 0, 16), ERR_AGAIN);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    assert_int_equal(rig_publish(r.src, v1), ERR_EXIST);
    assert_int_equal(rig_publish(r.src, (struct version){0, 1}), ERR_INVAL);
    assert_int_equal(chunk_refusal(r.src, v2, 0, 16), ERR_STALE);
    assert_int_equal(chunk_refusal(r.src, v1, 0, 0), ERR_RANGE);
    assert_int_equal(chunk_refusal(r.src, v1, 0, RIG_CHUNK + 1), ERR_RANGE);
    assert_int_equal(chunk_refusal(r.src, v1, 2 * RIG_PARAMS, 1), ERR_RANGE);
    assert_int_equal(chunk_refusal(r.src, v1, 2 * RIG_PARAMS - 1, 2), ERR_RANGE);
    assert_int_equal(chunk_refusal(r.src, v1, UINT64_MAX, 2), ERR_RANGE);
    assert_int_equal(chunk_refusal(r.src, v1, UINT64_MAX - 1, 4), ERR_RANGE);
    assert_int_equal(refusal(r.src, span_str("garbage")), ERR_FORMAT);
    assert_int_equal(refusal(r.src, span_of("\x92\x07\x03", 3)), ERR_FORMAT);  /* an ack */
    assert_int_equal(refusal(r.src, span_of("\x92\x10\xa1x", 4)), ERR_FORMAT); /* manifest_get "x" */
    close_rig(&r);
}

/* The trainer re-scores with an old version: it stays until given back, though others may no longer fetch it.
 */
static void a_taken_version_outlives_its_eviction(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, true, HOST, 1);
    const uint16_t *p = NULL, *q = NULL;
    assert_int_equal(push_source_take(r.src, v1, &p), ERR_STALE);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    assert_int_equal(push_source_take(r.src, v1, &p), ERR_OK);
    assert_int_equal(push_source_take(r.src, v1, &q), ERR_OK);
    assert_ptr_equal(p, q);
    assert_int_equal(rig_publish(r.src, v2), ERR_OK);
    assert_true(version_eq(push_source_newest(r.src), v2));
    assert_int_equal(chunk_refusal(r.src, v1, 0, 16), ERR_STALE);
    assert_true(rig_is_image(p, v1));
    push_source_give(r.src, v1);
    assert_true(rig_is_image(q, v1));
    struct push_source_stats st;
    push_source_stats(r.src, &st);
    assert_int_equal(st.n_kept, 2);
    push_source_give(r.src, v1);
    push_source_stats(r.src, &st);
    assert_int_equal(st.n_kept, 1);
    assert_int_equal(rig_shm(r.run, NULL, 0), 1);
    close_rig(&r);
}

struct trainer {
    struct rig *r;
    uint64_t from, to;
};

static void *publish_many(void *arg)
{
    struct trainer *t = arg;
    for (uint64_t c = t->from; c < t->to; c++)
        assert_int_equal(rig_publish(t->r->src, (struct version){5, c}), ERR_OK);
    return NULL;
}

/* A trainer thread publishes 60 versions while the loop answers and fetches; memory does not grow. */
static void versions_come_and_go_without_growth(void **state)
{
    (void)state;
    for (int shm = 0; shm < 2; shm++) {
        struct rig r;
        open_rig(&r, shm, HOST, 2);
        uint64_t rss = 0;
        for (uint64_t c = 0; c < 60; c += 10) {
            struct trainer t = {&r, c, c + 10};
            pthread_t th;
            assert_int_equal(pthread_create(&th, NULL, publish_many, &t), 0);
            for (int i = 0; i < 10; i++) {
                enum err e = fetch(&r, (struct version){0});
                assert_true(e == ERR_OK || e == ERR_STALE || e == ERR_AGAIN);
                if (!e) assert_true(rig_is_image(r.image.p, r.image.version));
                assert_true(rig_shm(r.run, NULL, 0) <= 3); /* two kept, one being made */
            }
            pthread_join(th, NULL);
            assert_int_equal(fetch(&r, (struct version){5, c + 9}), ERR_OK);
            if (c == 10) rss = rig_rss_bytes();
        }
        struct push_source_stats st;
        push_source_stats(r.src, &st);
        assert_int_equal(st.n_kept, 2);
        assert_int_equal(st.n_shm, shm ? 2 : 0);
        assert_int_equal(rig_shm(r.run, NULL, 0), shm ? 2 : 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
        assert_true(rig_rss_bytes() <
                    rss + 6 * 2 * RIG_PARAMS); /* 40 more versions: room for a few images, not for forty */
#endif
        (void)rss;
        close_rig(&r);
    }
}

/* No room in shared memory is no error: chunks only. A file size limit stands in for a small /dev/shm. */
static void a_full_shared_memory_gives_way_to_chunks(void **state)
{
    (void)state;
    struct rig r;
    struct rlimit was, low;
    open_rig(&r, true, HOST, 1);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    low = was;
    low.rlim_cur = 65536;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    enum err e = rig_publish(r.src, v1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(e, ERR_OK);
    assert_int_equal(rig_shm(r.run, NULL, 0), 0);
    assert_int_equal(fetch(&r, v1), ERR_OK);
    assert_int_equal(r.image.road, PUSH_NET);
    assert_true(rig_is_image(r.image.p, v1));
    close_rig(&r);
}

static void objects_have_the_mode_asked_for(void **state)
{
    (void)state;
    struct rig r;
    char name[300];
    struct stat st;
    mode_t mask = umask(077);
    open_rig(&r, true, HOST, 1);
    assert_int_equal(rig_publish(r.src, v1), ERR_OK);
    umask(mask);
    assert_int_equal(rig_shm(r.run, name, sizeof name), 1);
    int fd = shm_open(name, O_RDONLY, 0);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    close(fd);
    close_rig(&r);
}

static void the_host_says_who_it_is(void **state)
{
    (void)state;
    char a[PUSH_HOST_LEN], b[PUSH_HOST_LEN];
    push_host_id(NULL, a);
    push_host_id("", b);
    assert_string_equal(a, b);
    assert_true(strlen(a) == 32 || strlen(a) == 0);
    push_host_id("forced", b);
    assert_string_equal(b, "forced");
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    struct push_source *s = NULL;
    struct push_source_opts o = rig_source("x", HOST, false, 0);
    assert_int_equal(push_source_create(&o, &s, NULL), ERR_INVAL);
    o.n_keep = 1;
    o.n_param--;
    assert_int_equal(push_source_create(&o, &s, NULL), ERR_INVAL);
    o.n_param++;
    o.chunk_bytes = PUSH_CHUNK_MAX + 2;
    assert_int_equal(push_source_create(&o, &s, NULL), ERR_INVAL);
    assert_null(s);
    push_source_destroy(NULL);
    push_fetch_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(both_roads_bring_the_image),
        cmocka_unit_test(chunks_may_overtake_each_other),
        cmocka_unit_test(a_corrupted_chunk_is_caught),
        cmocka_unit_test(corrupted_shared_memory_is_caught),
        cmocka_unit_test(shared_memory_that_is_gone_or_short_gives_way),
        cmocka_unit_test(a_version_evicted_on_the_way_is_stale),
        cmocka_unit_test(a_learner_that_dies_on_the_way_ends_the_fetch),
        cmocka_unit_test(a_newer_version_overtakes_an_early_fetch_only),
        cmocka_unit_test(late_answers_fall_on_the_floor),
        cmocka_unit_test(one_fetch_at_a_time),
        cmocka_unit_test(destroyed_while_verifying),
        cmocka_unit_test(a_late_verifier_is_not_believed),
        cmocka_unit_test(another_model_is_refused_with_words),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(a_taken_version_outlives_its_eviction),
        cmocka_unit_test(versions_come_and_go_without_growth),
        cmocka_unit_test(a_full_shared_memory_gives_way_to_chunks),
        cmocka_unit_test(objects_have_the_mode_asked_for),
        cmocka_unit_test(the_host_says_who_it_is),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
