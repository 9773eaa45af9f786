// SPDX-License-Identifier: Apache-2.0
/* A push between two processes over the real network and real shared memory: fifty versions, a learner killed
 * on the way, and what it leaves behind. This program is also the learner: `test_push_net --learner RUN HOST
 * STALL_AFTER`. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "common/push/push.h"
#include "common/svc/loop.h"
#include "common/svc/net.h"
#include "tests/unit/push_rig.h"

extern char **environ;

/* ---- the learner: publishes when told to on standard input, serves until it ends ---- */

struct learner {
    struct loop *loop;
    struct push_source *src;
    struct net_server *server;
    unsigned stall_after, n_req; /* after so many requests it goes silent; 0: never */
};

static void on_req(void *arg, struct net_req *req, struct span frame)
{
    struct learner *l = arg;
    struct msg_buf reply = {0};
    if (l->stall_after && l->n_req++ >= l->stall_after) return;
    if (push_source_answer(l->src, frame, &reply) == ERR_OK) net_reply(req, msg_buf_span(&reply));
    msg_buf_done(&reply);
}

static void *take_orders(void *arg)
{
    struct learner *l = arg;
    uint64_t counter = 0;
    for (int c; (c = getchar()) == 'p'; counter++) {
        enum err e = rig_publish(l->src, (struct version){7, counter});
        printf("%d\n", (int)e);
        fflush(stdout);
    }
    loop_stop(l->loop);
    return NULL;
}

static int learner_main(char **argv)
{
    struct learner l = {.stall_after = (unsigned)atoi(argv[2])};
    struct push_source_opts so = rig_source(argv[0], argv[1], true, 2);
    struct net_server_opts no = {.max_frame_bytes = 65536, .n_ctx = 32, .arg = &l, .on_req = on_req};
    pthread_t th;
    if (loop_create(&l.loop) || push_source_create(&so, &l.src, NULL) ||
        net_listen(l.loop, "tcp://127.0.0.1:0", &no, &l.server, NULL) ||
        pthread_create(&th, NULL, take_orders, &l))
        return 1;
    printf("%u\n", net_server_port(l.server));
    fflush(stdout);
    loop_run(l.loop);
    pthread_join(th, NULL);
    net_server_close(l.server);
    loop_destroy(l.loop);
    push_source_destroy(l.src);
    return 0;
}

/* ---- the node: this process ---- */

struct node {
    pid_t pid; /* the learner's */
    FILE *to, *from;
    struct loop *loop;
    struct net_client *client;
    struct push_fetch *f;
    char run[64];
    bool done;
    enum err e;
    struct why why;
    struct push_image image;
};

static int line(struct node *n)
{
    int v = -1;
    assert_int_equal(fscanf(n->from, "%d", &v), 1);
    return v;
}

static void spawn_learner(struct node *n, const char *host, const char *stall_after)
{
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, in[0], 0);
    posix_spawn_file_actions_adddup2(&fa, out[1], 1);
    char *argv[] = {
        "test_push_net", "--learner", n->run, (char *)(uintptr_t)host, (char *)(uintptr_t)stall_after, NULL};
    assert_int_equal(posix_spawn(&n->pid, "/proc/self/exe", &fa, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&fa);
    close(in[0]);
    close(out[1]);
    n->to = fdopen(in[1], "w");
    n->from = fdopen(out[0], "r");
    assert_true(n->to && n->from);
}

static void open_node(struct node *n, const char *learner_host, const char *host, const char *stall_after)
{
    static int count;
    *n = (struct node){0};
    snprintf(n->run, sizeof n->run, "test-push-net-%d-%d", (int)getpid(), count++);
    spawn_learner(n, learner_host, stall_after);
    char url[64];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", line(n));
    struct net_client_opts co = {.max_frame_bytes = RIG_CHUNK + 65536};
    assert_int_equal(loop_create(&n->loop), ERR_OK);
    assert_int_equal(net_dial(n->loop, url, &co, &n->client, NULL), ERR_OK);
    struct push_fetch_opts fo = {
        .loop = n->loop,
        .link = push_link_net(n->client),
        .host = host,
        .end = rig_end,
        .n_tensor = RIG_TENSORS,
        .n_param = RIG_PARAMS,
        .window = 4,
    };
    assert_int_equal(push_fetch_create(&fo, &n->f, NULL), ERR_OK);
}

static void close_node(struct node *n)
{
    net_client_close(n->client);
    push_fetch_destroy(n->f);
    loop_destroy(n->loop);
    push_image_done(&n->image);
    fclose(n->to); /* the learner's end of orders */
    fclose(n->from);
    int status = -1;
    assert_int_equal(waitpid(n->pid, &status, 0), n->pid);
    if (!WIFSIGNALED(status)) assert_int_equal(status, 0);
}

static void publish(struct node *n)
{
    fputc('p', n->to);
    fflush(n->to);
    assert_int_equal(line(n), ERR_OK);
}

static void on_done(void *arg, enum err e, struct push_image *image, const struct why *why)
{
    struct node *n = arg;
    n->done = true;
    n->e = e;
    if (why) n->why = *why;
    if (image) n->image = *image;
    loop_stop(n->loop);
}

static void start(struct node *n, struct version v)
{
    push_image_done(&n->image);
    n->done = false;
    assert_int_equal(push_fetch_start(n->f, v, on_done, n, NULL), ERR_OK);
}

static enum err wait_done(struct node *n)
{
    while (!n->done) loop_run(n->loop);
    return n->e;
}

static void fifty_versions_on_both_roads(void **state)
{
    (void)state;
    for (int shm = 0; shm < 2; shm++) {
        struct node n;
        open_node(&n, "one", shm ? "one" : "two", "0");
        uint64_t rss = 0;
        for (uint64_t c = 0; c < 50; c++) {
            publish(&n);
            start(&n, (struct version){7, c});
            assert_int_equal(wait_done(&n), ERR_OK);
            assert_int_equal(n.image.road, shm ? PUSH_SHM : PUSH_NET);
            assert_true(rig_is_image(n.image.p, (struct version){7, c}));
            assert_int_equal(rig_shm(n.run, NULL, 0), c ? 2 : 1);
            if (c == 20) rss = rig_rss_bytes();
        }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
        assert_true(rig_rss_bytes() < rss + 4 * 2 * RIG_PARAMS);
#endif
        (void)rss;
        close_node(&n);
        assert_int_equal(rig_shm(n.run, NULL, 0), 0); /* the learner took its objects along */
    }
}

/* kill -9 in the middle: the fetch ends by itself, and the dead learner's shared memory goes when the next
 * one starts. */
static void a_learner_killed_on_the_way(void **state)
{
    (void)state;
    struct node n;
    open_node(&n, "one", "two", "9"); /* silent after the manifest and 8 chunks */
    publish(&n);
    start(&n, (struct version){7, 0});
    uint64_t have = 0, all = 0;
    for (int i = 0; i < 500 && have < 8 * RIG_CHUNK; i++) {
        loop_drain(n.loop, 10);
        push_fetch_progress(n.f, &have, &all);
    }
    assert_int_equal(have, 8 * RIG_CHUNK);
    assert_false(n.done);

    /* an owner that lives keeps its objects, whoever else starts */
    struct push_source *s = NULL;
    struct push_source_opts so = rig_source(n.run, "one", true, 2);
    assert_int_equal(push_source_create(&so, &s, NULL), ERR_OK);
    push_source_destroy(s);
    assert_int_equal(rig_shm(n.run, NULL, 0), 1);

    kill(n.pid, SIGKILL);
    assert_int_equal(wait_done(&n), ERR_CLOSED);
    assert_null(n.image.p);
    close_node(&n);
    assert_int_equal(rig_shm(n.run, NULL, 0), 1); /* left behind */
    assert_int_equal(push_source_create(&so, &s, NULL), ERR_OK);
    assert_int_equal(rig_shm(n.run, NULL, 0), 0); /* swept */
    push_source_destroy(s);
}

/* The client goes while chunks are in the air: cancelled, nothing is called back later. */
static void a_node_that_stops_on_the_way(void **state)
{
    (void)state;
    struct node n;
    open_node(&n, "one", "two", "5");
    publish(&n);
    start(&n, (struct version){7, 0});
    loop_drain(n.loop, 50);
    assert_false(n.done);
    close_node(&n);
    assert_true(n.done);
    assert_int_equal(n.e, ERR_CANCELLED);
    assert_int_equal(rig_shm(n.run, NULL, 0), 0);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--learner") == 0) return learner_main(argv + 2);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest t[] = {
        cmocka_unit_test(fifty_versions_on_both_roads),
        cmocka_unit_test(a_learner_killed_on_the_way),
        cmocka_unit_test(a_node_that_stops_on_the_way),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
