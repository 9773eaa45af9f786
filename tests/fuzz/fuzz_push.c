// SPDX-License-Identifier: Apache-2.0
/* Any bytes as what a learner answers to a fetch, and as what a node asks of a source: an image is handed
 * over only when it is the one published, and no request gets anything but a frame. Input: records of
 * [length, 2 bytes little-endian][frame]. */
#include <stdlib.h>
#include <string.h>

#include "common/push/push.h"
#include "common/svc/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_TENSOR = 3, N_PARAM = 3000, MAX_OPEN = 4 };
static const uint64_t end[N_TENSOR] = {1, 2000, N_PARAM};
static const struct version version = {0x1122334455667788, 3};

static uint16_t image[N_PARAM];
static struct loop *loop;
static struct push_source *source;

static struct {
    push_answer_fn *answer;
    void *arg;
} open_asks[MAX_OPEN];
static unsigned n_open;
static bool ended;

static void must(bool ok)
{
    if (!ok) abort();
}

static void set_up(void)
{
    struct push_source_opts o = {
        .host = "h",
        .run = "fuzz",
        .end = end,
        .n_tensor = N_TENSOR,
        .n_param = N_PARAM,
        .n_keep = 1,
        .chunk_bytes = PUSH_CHUNK_MIN,
        .shm_gid = -1,
    };
    for (uint32_t i = 0; i < N_PARAM; i++) image[i] = (uint16_t)(i * 7);
    must(loop_create(&loop) == ERR_OK);
    must(push_source_create(&o, &source, NULL) == ERR_OK);
    must(push_source_publish(source, version, image, NULL) == ERR_OK);
}

static enum err ask(void *ctx, struct span frame, push_answer_fn *answer, void *arg)
{
    (void)ctx;
    must(msg_id_of(frame) == MSG_ID_manifest_get || msg_id_of(frame) == MSG_ID_chunk_get);
    must(n_open < MAX_OPEN);
    open_asks[n_open].answer = answer;
    open_asks[n_open++].arg = arg;
    return ERR_OK;
}

static void on_done(void *arg, enum err e, struct push_image *im, const struct why *why)
{
    (void)arg;
    ended = true;
    must(e == ERR_OK || (why && why->text[0]));
    if (im) {
        must(memcmp(im->p, image, sizeof image) == 0);
        push_image_done(im);
    }
    loop_stop(loop);
}

/* The oldest open request gets this frame. */
static void answer_next(struct span frame)
{
    push_answer_fn *answer = open_asks[0].answer;
    void *arg = open_asks[0].arg;
    memmove(&open_asks[0], &open_asks[1], --n_open * sizeof open_asks[0]);
    answer(arg, ERR_OK, frame);
}

static void ask_source(struct span frame)
{
    struct msg_buf reply = {0};
    must(push_source_answer(source, frame, &reply) == ERR_OK);
    enum msg_id id = msg_id_of(msg_buf_span(&reply));
    must(id == MSG_ID_ack || id == MSG_ID_manifest || id == MSG_ID_chunk);
    msg_buf_done(&reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!loop) set_up();
    struct push_fetch_opts o = {
        .loop = loop,
        .link = {.ask = ask},
        .host = "h",
        .end = end,
        .n_tensor = N_TENSOR,
        .n_param = N_PARAM,
        .window = MAX_OPEN - 1,
    };
    struct push_fetch *f = NULL;
    n_open = 0;
    ended = false;
    must(push_fetch_create(&o, &f, NULL) == ERR_OK);
    must(push_fetch_start(f, (struct version){0}, on_done, NULL, NULL) == ERR_OK);
    while (size >= 2 && !ended && n_open) {
        size_t n = data[0] | (size_t)data[1] << 8;
        data += 2;
        size -= 2;
        if (n > size) n = size;
        ask_source(span_of(data, n));
        answer_next(span_of(data, n));
        data += n;
        size -= n;
    }
    if (!n_open) /* all answered: the verifier has the word */
        while (!ended) loop_run(loop);
    push_fetch_destroy(f);
    must(ended);
    loop_drain(loop, 0);
    return 0;
}
