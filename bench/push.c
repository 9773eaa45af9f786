// SPDX-License-Identifier: Apache-2.0
/* push.c - how long weights take from the trainer's hand to verified on a node, on both roads: `bench_push
 * [MB [VERSIONS]]`.
 *
 * One process, two loops on two threads, the real network over loopback. One line a version and road: publish
 * (copy and hash), fetch (first request to last byte), verify (hash), and all together. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/push/push.h"
#include "common/svc/loop.h"
#include "common/svc/net.h"

enum { N_TENSOR = 290 }; /* as many as a model of 0.5 B parameters */

struct learner {
    struct loop *loop;
    struct push_source *src;
    struct net_server *server;
    struct msg_buf reply;
};

struct node {
    struct loop *loop;
    enum err e;
    struct why why;
    struct push_image image;
};

static void on_req(void *arg, struct net_req *req, struct span frame)
{
    struct learner *l = arg;
    if (push_source_answer(l->src, frame, &l->reply) == ERR_OK) net_reply(req, msg_buf_span(&l->reply));
}

static void *serve(void *arg)
{
    struct learner *l = arg;
    loop_run(l->loop);
    net_server_close(l->server);
    loop_destroy(l->loop);
    return NULL;
}

static void on_done(void *arg, enum err e, struct push_image *image, const struct why *why)
{
    struct node *n = arg;
    n->e = e;
    if (why) n->why = *why;
    if (image) n->image = *image;
    loop_stop(n->loop);
}

static enum err one(struct learner *l, struct node *n, struct push_fetch *f, uint64_t counter,
                    const uint16_t *weights, uint64_t n_param, struct why *why)
{
    struct push_source_stats st;
    int64_t start_ns = clock_now_ns();
    TRY(push_source_publish(l->src, (struct version){1, counter}, weights, why));
    TRY(push_fetch_start(f, (struct version){0, 0}, on_done, n, why));
    loop_run(n->loop);
    if (n->e) return why_set(why, n->e, "%s", why_str(&n->why, n->e));
    int64_t all_ns = clock_now_ns() - start_ns;
    push_source_stats(l->src, &st);
    printf("push road=%s mb=%.0f publish_ms=%.1f fetch_ms=%.1f verify_ms=%.1f total_ms=%.1f gb_per_s=%.2f\n",
           n->image.road == PUSH_SHM ? "shm" : "net", (double)n_param * 2e-6, (double)st.publish_ns * 1e-6,
           (double)n->image.fetch_ns * 1e-6, (double)n->image.verify_ns * 1e-6, (double)all_ns * 1e-6,
           (double)n_param * 2 / (double)all_ns);
    push_image_done(&n->image);
    return ERR_OK;
}

static enum err bench_road(bool shm, const uint64_t *end, const uint16_t *weights, uint64_t n_version,
                           struct why *why)
{
    struct learner l = {0};
    struct node n = {0};
    struct push_fetch *f = NULL;
    struct net_client *c = NULL;
    pthread_t th;
    char url[64];
    struct push_source_opts so = {
        .host = "a",
        .run = "bench-push",
        .end = end,
        .n_tensor = N_TENSOR,
        .n_param = end[N_TENSOR - 1],
        .n_keep = 1,
        .use_shm = true,
        .chunk_bytes = PUSH_CHUNK_MAX,
        .shm_mode = 0600,
        .shm_gid = -1,
    };
    struct net_server_opts no = {.max_frame_bytes = 65536, .n_ctx = 16, .arg = &l, .on_req = on_req};
    struct net_client_opts co = {.max_frame_bytes = PUSH_CHUNK_MAX + 65536};
    TRY(loop_create(&l.loop));
    TRY(loop_create(&n.loop));
    TRY(push_source_create(&so, &l.src, why));
    TRY(net_listen(l.loop, "tcp://127.0.0.1:0", &no, &l.server, why));
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", net_server_port(l.server));
    if (pthread_create(&th, NULL, serve, &l)) return ERR_NOMEM;
    TRY(net_dial(n.loop, url, &co, &c, why));
    struct push_fetch_opts fo = {
        .loop = n.loop,
        .link = push_link_net(c),
        .host = shm ? "a" : "b",
        .end = end,
        .n_tensor = N_TENSOR,
        .n_param = end[N_TENSOR - 1],
        .window = 4,
    };
    TRY(push_fetch_create(&fo, &f, why));
    enum err e = ERR_OK;
    for (uint64_t i = 0; i < n_version && !e; i++) e = one(&l, &n, f, i, weights, fo.n_param, why);
    net_client_close(c);
    push_fetch_destroy(f);
    loop_destroy(n.loop);
    loop_stop(l.loop);
    pthread_join(th, NULL);
    push_source_destroy(l.src);
    msg_buf_done(&l.reply);
    return e;
}

int main(int argc, char **argv)
{
    uint64_t mb = argc > 1 ? strtoull(argv[1], NULL, 10) : 270,
             n_version = argc > 2 ? strtoull(argv[2], NULL, 10) : 5;
    if (mb < 1 || mb > 20000 || n_version < 1)
        return fprintf(stderr, "usage: bench_push [MB [VERSIONS]]\n"), 2;
    uint64_t n_param = mb * 500000, end[N_TENSOR];
    for (uint64_t i = 0; i < N_TENSOR; i++) end[i] = n_param * (i + 1) / N_TENSOR;
    uint16_t *weights = malloc(n_param * sizeof *weights);
    if (!weights) return fprintf(stderr, "bench_push: out of memory\n"), 1;
    for (uint64_t i = 0; i < n_param; i++) weights[i] = (uint16_t)(i * 2654435761u >> 13);
    int rc = 0;
    for (int shm = 1; shm >= 0 && !rc; shm--) {
        struct why why = {0};
        enum err e = bench_road(shm, end, weights, n_version, &why);
        if (e) rc = fprintf(stderr, "bench_push: %s\n", why_str(&why, e)) < 0 ? 2 : 1;
    }
    free(weights);
    return rc;
}
