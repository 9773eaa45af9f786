// SPDX-License-Identifier: Apache-2.0
/* flip.c - a server before the learner's door and one of weights. A manifest that is asked for is the moment to fetch the newest version
 * from the learner, flip the bit, and publish it anew. */
#include "tests/e2e/flip.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/push/push.h"
#include "common/svc/net.h"
#include "tests/e2e/rig.h"

#define MAX_FRAME (64u << 20)

struct flip {
    struct loop *loop;
    pthread_t thread;
    struct net_server *front, *bulk;
    struct net_client *up, *up_bulk;
    struct push_fetch *fetch;
    struct push_source *source;
    struct tensor_table table;
    uint64_t *end;
    struct net_req *asked; /* manifest_get that waits for the fetch; a node asks for one at a time */
    uint8_t frame[256];
    size_t n_frame;
    struct version last;
    struct msg_buf buf;
    char address[64];
    atomic_uint n;
};

struct passing {
    struct flip *f;
    struct net_req *req;
};

static void open_bulk(struct flip *f, const struct msg_welcome *w)
{
    char url[64];
    struct why why = {0};
    if (f->up_bulk) return;
    const char *port = memrchr(w->bulk_url.p, ':', w->bulk_url.n);
    CHECK(port, "a bulk address without a port");
    snprintf(url, sizeof url, "tcp://127.0.0.1%.*s", (int)((const char *)w->bulk_url.p + w->bulk_url.n - port), port);
    CHECK(!net_dial(f->loop, url, &(struct net_client_opts){.max_frame_bytes = MAX_FRAME}, &f->up_bulk, &why), "%s", why.text);
    const struct push_fetch_opts o = {.loop = f->loop, .link = push_link_net(f->up_bulk), .host = "", .end = f->end, .n_tensor = f->table.n,
                                      .n_param = f->table.n_param, .window = 4};
    CHECK(!push_fetch_create(&o, &f->fetch, &why), "%s", why.text);
}

static void on_reply(void *arg, enum err e, struct span reply)
{
    struct passing *p = arg;
    struct flip *f = p->f;
    struct msg_welcome w;
    char url[64];
    if (!e && msg_id_of(reply) == MSG_ID_welcome && !msg_get_welcome(reply, &w, NULL)) {
        open_bulk(f, &w);
        snprintf(url, sizeof url, "tcp://:%u", net_server_port(f->bulk));
        w.bulk_url = span_str(url);
        CHECK(!msg_put_welcome(&w, &f->buf), "welcome");
        reply = msg_buf_span(&f->buf);
    } else if (e) {
        const struct msg_ack a = {.code = (uint32_t)e, .why = span_str("the learner is gone")};
        CHECK(!msg_put_ack(&a, &f->buf), "ack");
        reply = msg_buf_span(&f->buf);
    }
    net_reply(p->req, reply);
    free(p);
}

static void on_front(void *arg, struct net_req *req, struct span frame)
{
    struct flip *f = arg;
    struct passing *p = malloc(sizeof *p);
    CHECK(p, "out of memory");
    *p = (struct passing){f, req};
    CHECK(!net_call(f->up, frame, 0, on_reply, p), "call");
}

static void answer(struct flip *f)
{
    struct net_req *req = f->asked;
    f->asked = NULL;
    CHECK(!push_source_answer(f->source, span_of(f->frame, f->n_frame), &f->buf), "answer");
    net_reply(req, msg_buf_span(&f->buf));
}

static void on_fetched(void *arg, enum err e, struct push_image *image, const struct why *why)
{
    struct flip *f = arg;
    (void)why; /* whatever it is, the node is answered with what there is, and asks again */
    if (!e && !version_eq(f->last, image->version)) {
        const uint64_t at = tensor_find(&f->table, TENSOR_WDOWN, 1)->offset + 17;
        uint16_t *mine = malloc(image->n_param * sizeof *mine);
        CHECK(mine, "out of memory");
        memcpy(mine, image->p, image->n_param * sizeof *mine);
        mine[at] ^= 1;
        CHECK(!push_source_publish(f->source, image->version, mine, NULL), "publish");
        free(mine);
        f->last = image->version;
        atomic_fetch_add(&f->n, 1);
    }
    if (!e) push_image_done(image);
    answer(f);
}

static void on_bulk(void *arg, struct net_req *req, struct span frame)
{
    struct flip *f = arg;
    if (f->asked || frame.n > sizeof f->frame) FAIL("two questions for weights at once");
    f->asked = req;
    memcpy(f->frame, frame.p, frame.n);
    f->n_frame = frame.n;
    const bool fetch = msg_id_of(frame) == MSG_ID_manifest_get && f->fetch;
    if (!fetch || push_fetch_start(f->fetch, (struct version){0, 0}, on_fetched, f, NULL)) answer(f);
}

static void *run(void *arg)
{
    loop_run(((struct flip *)arg)->loop);
    return NULL;
}

static void open_source(struct flip *f)
{
    struct why why = {0};
    f->end = calloc(f->table.n, sizeof *f->end);
    CHECK(f->end, "out of memory");
    for (uint32_t i = 0; i < f->table.n; i++) f->end[i] = f->table.t[i].offset + (uint64_t)f->table.t[i].rows * f->table.t[i].cols;
    const struct push_source_opts o = {.host = "", .run = "flip", .end = f->end, .n_tensor = f->table.n, .n_param = f->table.n_param,
                                       .n_keep = 4, .chunk_bytes = 1u << 16, .shm_gid = -1};
    CHECK(!push_source_create(&o, &f->source, &why), "%s", why.text);
}

struct flip *flip_start(const char *learner, const char *model)
{
    struct flip *f = calloc(1, sizeof *f);
    struct dims d;
    struct why why = {0};
    CHECK(f && !loop_create(&f->loop), "out of memory");
    CHECK(!dims_read(model, &d, &why) && !tensor_table_init(&d, &f->table), "%s", why.text);
    open_source(f);
    const struct net_server_opts front = {.max_frame_bytes = MAX_FRAME, .n_ctx = 32, .arg = f, .on_req = on_front};
    const struct net_server_opts bulk = {.max_frame_bytes = 4096, .n_ctx = 1, .arg = f, .on_req = on_bulk};
    CHECK(!net_listen(f->loop, "tcp://127.0.0.1:0", &front, &f->front, &why), "%s", why.text);
    CHECK(!net_listen(f->loop, "tcp://127.0.0.1:0", &bulk, &f->bulk, &why), "%s", why.text);
    CHECK(!net_dial(f->loop, learner, &(struct net_client_opts){.max_frame_bytes = MAX_FRAME}, &f->up, &why), "%s", why.text);
    snprintf(f->address, sizeof f->address, "tcp://127.0.0.1:%u", net_server_port(f->front));
    CHECK(!pthread_create(&f->thread, NULL, run, f), "thread");
    return f;
}

const char *flip_address(const struct flip *f)
{
    return f->address;
}

uint32_t flip_count(const struct flip *f)
{
    return atomic_load(&f->n);
}

void flip_stop(struct flip *f)
{
    loop_stop(f->loop);
    pthread_join(f->thread, NULL);
    net_server_close(f->front);
    net_server_close(f->bulk);
    net_client_close(f->up);
    net_client_close(f->up_bulk);
    push_fetch_destroy(f->fetch);
    push_source_destroy(f->source);
    loop_destroy(f->loop);
    tensor_table_done(&f->table);
    msg_buf_done(&f->buf);
    free(f->end);
    free(f);
}
