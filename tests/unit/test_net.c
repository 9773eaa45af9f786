// SPDX-License-Identifier: Apache-2.0
/* A call ends once: with its own answer, ERR_CLOSED or ERR_TIMEOUT. A peer that is slow, rude or gone harms
 * nobody else. */
#include "common/svc/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/svc_rig.h"

enum { MAX_FRAME = 16 << 20, SOON_MS = 20000 };

/* -- a server that echoes, keeps, or answers at length; and a client
 * ---------------------------------------------------- */

enum manner { ANSWER, KEEP, LONG };

struct world {
    struct loop *l;
    struct net_server *s;
    struct net_client *c;
    enum manner manner;
    struct net_req *kept[64];
    uint32_t kept_tag[64];
    int n_req, n_kept, n_peer_up, n_peer_down, n_up, n_down;
    uint64_t peer;
    char addr[64];
};

static void on_req(void *arg, struct net_req *req, struct span frame)
{
    struct world *w = arg;
    w->n_req++;
    w->peer = net_req_peer(req);
    net_req_addr(req, w->addr, sizeof w->addr);
    if (w->manner == ANSWER) return net_reply(req, frame);
    if (w->manner == LONG) {
        uint8_t *big = calloc(1, 4 << 20);
        net_reply(req, span_of(big, 4 << 20));
        free(big);
        return;
    }
    memcpy(&w->kept_tag[w->n_kept], frame.p, 4);
    w->kept[w->n_kept++] = req;
}

static void on_peer(void *arg, uint64_t peer, bool up)
{
    struct world *w = arg;
    (void)peer;
    *(up ? &w->n_peer_up : &w->n_peer_down) += 1;
}

static void on_up(void *arg, bool up)
{
    struct world *w = arg;
    *(up ? &w->n_up : &w->n_down) += 1;
}

static void listen_at(struct world *w, const char *url, uint32_t max_frame)
{
    struct why why = {0};
    const struct net_server_opts o = {
        .max_frame_bytes = max_frame, .n_ctx = 64, .arg = w, .on_req = on_req, .on_peer = on_peer};
    if (net_listen(w->l, url, &o, &w->s, &why)) fail_msg("%s", why.text);
}

static void dial(struct world *w, uint16_t port)
{
    char url[64];
    struct why why = {0};
    const struct net_client_opts o = {.max_frame_bytes = MAX_FRAME, .arg = w, .on_up = on_up};
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
    if (net_dial(w->l, url, &o, &w->c, &why)) fail_msg("%s", why.text);
}

static struct world begin(enum manner manner)
{
    struct world w = {.manner = manner};
    assert_int_equal(loop_create(&w.l), ERR_OK);
    return w;
}

static void meet(struct world *w)
{
    listen_at(w, "tcp://127.0.0.1:0", MAX_FRAME);
    dial(w, net_server_port(w->s));
    assert_true(rig_turn(w->l, &w->n_up, 1, SOON_MS));
    assert_true(net_client_is_up(w->c));
}

static void end(struct world *w)
{
    net_client_close(w->c);
    net_server_close(w->s);
    loop_destroy(w->l);
}

struct call {
    int n;
    enum err e;
    size_t len;
    uint32_t tag; /* first four bytes */
    bool same;
    const uint8_t *want;
};

static void done(void *arg, enum err e, struct span reply)
{
    struct call *k = arg;
    k->n++;
    k->e = e;
    k->len = reply.n;
    if (!e && reply.n >= 4) memcpy(&k->tag, reply.p, 4);
    k->same = !e && k->want && !memcmp(reply.p, k->want, reply.n);
}

static void call(struct world *w, struct call *k, const void *p, size_t n, uint32_t timeout_ms)
{
    assert_int_equal(net_call(w->c, span_of(p, n), timeout_ms, done, k), ERR_OK);
}

/* -- the contract
 * ------------------------------------------------------------------------------------------------------ */

static void frames_of_all_sizes_come_back_as_sent(void **state)
{
    (void)state;
    static const size_t size[] = {0, 1, 3, 4095, 65536, 1000003, 12 << 20};
    struct world w = begin(ANSWER);
    uint8_t *p = malloc(12 << 20);
    for (size_t i = 0; i < 12 << 20; i++) p[i] = (uint8_t)(i * 2654435761u >> 13);
    meet(&w);
    for (unsigned i = 0; i < sizeof size / sizeof *size; i++) {
        struct call k = {.want = p};
        call(&w, &k, p, size[i], 0);
        assert_true(rig_turn(w.l, &k.n, 1, SOON_MS));
        assert_int_equal(k.e, ERR_OK);
        assert_int_equal(k.len, size[i]);
        assert_true(k.same || !size[i]);
    }
    assert_int_equal(strncmp(w.addr, "127.0.0.1:", 10), 0);
    free(p);
    end(&w);
}

static void answers_in_any_order_find_their_calls(void **state)
{
    (void)state;
    struct world w = begin(KEEP);
    struct call k[40] = {0};
    meet(&w);
    for (uint32_t i = 0; i < 40; i++) call(&w, &k[i], &i, 4, 0);
    assert_true(rig_turn(w.l, &w.n_kept, 40, SOON_MS));
    for (int i = 0; i < 40; i++) {
        const int j = (i * 17 + 5) % 40; /* a permutation */
        net_reply(w.kept[j], span_of(&w.kept_tag[j], 4));
    }
    for (uint32_t i = 0; i < 40; i++) {
        assert_true(rig_turn(w.l, &k[i].n, 1, SOON_MS));
        assert_int_equal(k[i].e, ERR_OK);
        assert_int_equal(k[i].tag, i);
    }
    loop_drain(w.l, 20);
    for (uint32_t i = 0; i < 40; i++) assert_int_equal(k[i].n, 1);
    end(&w);
}

static void a_silent_server_is_a_timeout_and_the_next_call_is_not_harmed(void **state)
{
    (void)state;
    struct world w = begin(KEEP);
    struct call k = {0}, again = {0};
    const uint32_t a = 1, b = 2;
    meet(&w);
    const int64_t t0 = clock_now_ns();
    call(&w, &k, &a, 4, 60);
    assert_true(rig_turn(w.l, &k.n, 1, SOON_MS));
    assert_int_equal(k.e, ERR_TIMEOUT);
    assert_true(clock_now_ns() - t0 >= 55 * NS_PER_MS);
    call(&w, &again, &b, 4, 0);
    assert_true(rig_turn(w.l, &w.n_kept, 2, SOON_MS));
    net_reply(w.kept[0], span_of("late", 4)); /* for the call that was given up: nobody hears it */
    net_reply(w.kept[1], span_of(&b, 4));
    assert_true(rig_turn(w.l, &again.n, 1, SOON_MS));
    assert_int_equal(again.e, ERR_OK);
    assert_int_equal(again.tag, b);
    assert_int_equal(k.n, 1);
    end(&w);
}

static void a_server_that_closes_ends_the_open_calls(void **state)
{
    (void)state;
    struct world w = begin(KEEP);
    struct call k[3] = {0};
    const uint32_t x = 0;
    meet(&w);
    for (int i = 0; i < 3; i++) call(&w, &k[i], &x, 4, 0);
    assert_true(rig_turn(w.l, &w.n_kept, 3, SOON_MS));
    net_server_close(w.s);
    w.s = NULL;
    for (int i = 0; i < 3; i++) {
        assert_true(rig_turn(w.l, &k[i].n, 1, SOON_MS));
        assert_int_equal(k[i].e, ERR_CLOSED);
    }
    assert_true(rig_turn(w.l, &w.n_down, 1, SOON_MS));
    assert_false(net_client_is_up(w.c));
    end(&w);
}

static void a_client_finds_a_server_that_comes_back(void **state)
{
    (void)state;
    struct world w = begin(ANSWER);
    char url[64];
    meet(&w);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", net_server_port(w.s));
    for (int round = 1; round <= 3; round++) {
        net_server_close(w.s);
        assert_true(rig_turn(w.l, &w.n_down, round, SOON_MS));
        struct call k = {0};
        call(&w, &k, "early", 5, 0); /* asked while nobody is there: waits */
        listen_at(&w, url, MAX_FRAME);
        assert_true(rig_turn(w.l, &w.n_up, round + 1, SOON_MS));
        assert_true(rig_turn(w.l, &k.n, 1, SOON_MS));
        assert_int_equal(k.e, ERR_OK);
        assert_int_equal(k.len, 5);
    }
    end(&w);
}

static void a_call_to_nobody_times_out(void **state)
{
    (void)state;
    struct world w = begin(ANSWER);
    struct call k = {0};
    dial(&w, 1); /* nobody listens at port 1 */
    call(&w, &k, "x", 1, 50);
    assert_true(rig_turn(w.l, &k.n, 1, SOON_MS));
    assert_int_equal(k.e, ERR_TIMEOUT);
    end(&w);
}

static void a_closed_client_calls_nobody_back(void **state)
{
    (void)state;
    struct world w = begin(KEEP);
    struct call k[10] = {0};
    const uint32_t x = 0;
    meet(&w);
    for (int i = 0; i < 10; i++) call(&w, &k[i], &x, 4, 0);
    assert_true(rig_turn(w.l, &w.n_kept, 10, SOON_MS));
    net_reply(w.kept[0], span_of(&x, 4)); /* one answer is on its way */
    net_client_close(w.c);
    w.c = NULL;
    loop_drain(w.l, 30);
    for (int i = 1; i < 10; i++) net_reply(w.kept[i], span_of(&x, 4)); /* goes nowhere */
    loop_drain(w.l, 30);
    for (int i = 0; i < 10; i++) assert_int_equal(k[i].n, 0);
    end(&w);
}

static void a_server_closes_with_everything_open(void **state)
{
    (void)state;
    struct world w = begin(LONG);
    struct call k[20] = {0};
    meet(&w);
    for (int i = 0; i < 20; i++) call(&w, &k[i], "x", 1, 0);
    assert_true(rig_turn(w.l, &w.n_req, 10,
                         SOON_MS)); /* long answers are being sent, some letters are not read yet */
    const int64_t t0 = clock_now_ns();
    net_server_close(w.s);
    net_client_close(w.c);
    loop_destroy(w.l);
    assert_true(clock_now_ns() - t0 < 30 * NS_PER_S);
    for (int i = 0; i < 20; i++) assert_in_range(k[i].n, 0, 1);
}

static void a_frame_too_large_closes_its_connection_only(void **state)
{
    (void)state;
    struct world w = begin(ANSWER), other = {.manner = ANSWER};
    struct call k = {0}, fine = {0};
    uint8_t *p = calloc(1, 70000);
    listen_at(&w, "tcp://127.0.0.1:0", 65536);
    dial(&w, net_server_port(w.s));
    other.l = w.l;
    dial(&other, net_server_port(w.s));
    assert_true(rig_turn(w.l, &w.n_up, 1, SOON_MS) && rig_turn(w.l, &other.n_up, 1, SOON_MS));
    call(&w, &k, p, 70000, 0);
    assert_true(rig_turn(w.l, &k.n, 1, SOON_MS));
    assert_int_equal(k.e, ERR_CLOSED);
    call(&other, &fine, p, 60000, 0);
    assert_true(rig_turn(w.l, &fine.n, 1, SOON_MS));
    assert_int_equal(fine.e, ERR_OK);
    assert_int_equal(other.n_down, 0);
    net_client_close(other.c);
    free(p);
    end(&w);
}

static void bad_addresses_are_refused_with_words(void **state)
{
    (void)state;
    static const char *const bad[] = {"",       "127.0.0.1:5",           "ipc:///tmp/x", "inproc://x",
                                      "tcp://", "tcp://127.0.0.1:99999", "http://x:1"};
    struct world w = begin(ANSWER);
    const struct net_server_opts so = {.max_frame_bytes = 1000, .n_ctx = 1, .arg = &w, .on_req = on_req};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct net_server *s = NULL;
        struct why why = {0};
        if (!net_listen(w.l, bad[i], &so, &s, &why) || !why.text[0] || s)
            fail_msg("listen at \"%s\": \"%s\"", bad[i], why.text);
    }
    struct why why = {0};
    const struct net_client_opts co = {.max_frame_bytes = 1000};
    assert_int_equal(net_dial(w.l, "ipc:///tmp/x", &co, &w.c, &why), ERR_INVAL);
    assert_non_null(strstr(why.text, "tcp://host:port"));
    net_client_close(NULL);
    net_server_close(NULL);
    end(&w);
}

static void a_taken_port_is_said(void **state)
{
    (void)state;
    struct world w = begin(ANSWER);
    char url[64];
    struct why why = {0};
    struct net_server *s = NULL;
    const struct net_server_opts o = {.max_frame_bytes = 1000, .n_ctx = 4, .arg = &w, .on_req = on_req};
    meet(&w);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", net_server_port(w.s));
    assert_int_equal(net_listen(w.l, url, &o, &s, &why), ERR_EXIST);
    assert_non_null(strstr(why.text, url));
    end(&w);
}

/* -- strangers: plain sockets that speak the protocol badly or not at all
 * ------------------------------------------------ */

static int knock(const struct world *w)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(net_server_port(w->s)),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = {20, 0};
    assert_true(fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience));
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const void *p, size_t n)
{
    assert_int_equal(send(fd, p, n, MSG_NOSIGNAL), n);
}

/* Did the server hang up? Its own greeting is read away. */
static bool hung_up(int fd)
{
    char buf[256];
    ssize_t n;
    while ((n = recv(fd, buf, sizeof buf, 0)) > 0) continue;
    return n == 0 || errno == ECONNRESET;
}

static const uint8_t hello_req[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0}; /* the REQ protocol */

static void strangers_are_shown_out_and_the_rest_is_served(void **state)
{
    (void)state;
    struct world w = begin(ANSWER);
    uint8_t huge[16] = {0, 0, 0, 5, 0, 0, 0, 0, 0x80, 0, 0, 1}, noise[5000];
    for (unsigned i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)(i * 2654435761u >> 7);
    meet(&w);
    int garbage = knock(&w), http = knock(&w), huge_len = knock(&w), all_ones = knock(&w), cut = knock(&w),
        mute = knock(&w);
    say(garbage, noise, sizeof noise);
    say(http, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
    say(huge_len, hello_req, 8);
    say(huge_len, huge, sizeof huge); /* says 20 GiB */
    say(all_ones, hello_req, 8);
    memset(huge, 0xff, 8);
    say(all_ones, huge, 8);
    say(cut, hello_req, 5);
    close(cut);
    assert_true(hung_up(garbage));
    assert_true(hung_up(http));
    assert_true(hung_up(huge_len));
    assert_true(hung_up(all_ones));

    /* a request without a request id, and one that is cut by the end of the connection */
    int headless = knock(&w), half = knock(&w);
    say(headless, hello_req, 8);
    say(headless, "\0\0\0\0\0\0\0\2\1\2", 10);
    say(half, hello_req, 8);
    say(half, "\0\0\0\0\0\0\0\144\200\0\0\1abc", 15);
    close(half);

    for (int i = 0; i < 5; i++) {
        struct call k = {0};
        call(&w, &k, "fine", 4, 0);
        assert_true(rig_turn(w.l, &k.n, 1, SOON_MS));
        assert_int_equal(k.e, ERR_OK);
    }
    assert_int_equal(w.n_req, 5); /* none of the strangers' */
    const int all[] = {garbage, http, huge_len, all_ones, mute, headless};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) close(all[i]);
    end(&w);
}

/* A peer that asks for 80 MB of answers and reads none of them. */
static void a_peer_that_does_not_read_holds_up_nobody(void **state)
{
    (void)state;
    struct world w = begin(LONG);
    meet(&w);
    int fd = knock(&w);
    say(fd, hello_req, 8);
    for (uint8_t i = 0; i < 20; i++) {
        const uint8_t ask[13] = {0, 0, 0, 0, 0, 0, 0, 5, 0x80, 0, 0, i, 'x'};
        say(fd, ask, sizeof ask);
    }
    assert_true(rig_turn(w.l, &w.n_req, 20, SOON_MS));
    w.manner = ANSWER;
    for (int i = 0; i < 20; i++) {
        struct call k = {0};
        call(&w, &k, "fine", 4, 0);
        assert_true(rig_turn(w.l, &k.n, 1, SOON_MS));
        assert_int_equal(k.e, ERR_OK);
    }
    close(fd);
    assert_true(rig_turn(w.l, &w.n_peer_down, 1, SOON_MS));
    end(&w);
}

static void a_peer_s_coming_and_going_is_told(void **state)
{
    (void)state;
    struct world w = begin(ANSWER);
    meet(&w);
    assert_true(rig_turn(w.l, &w.n_peer_up, 1, SOON_MS));
    for (int i = 1; i <= 3; i++) {
        int fd = knock(&w);
        say(fd, hello_req, 8);
        assert_true(rig_turn(w.l, &w.n_peer_up, 1 + i, SOON_MS));
        close(fd);
        assert_true(rig_turn(w.l, &w.n_peer_down, i, SOON_MS));
    }
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_all_sizes_come_back_as_sent),
        cmocka_unit_test(answers_in_any_order_find_their_calls),
        cmocka_unit_test(a_silent_server_is_a_timeout_and_the_next_call_is_not_harmed),
        cmocka_unit_test(a_server_that_closes_ends_the_open_calls),
        cmocka_unit_test(a_client_finds_a_server_that_comes_back),
        cmocka_unit_test(a_call_to_nobody_times_out),
        cmocka_unit_test(a_frame_too_large_closes_its_connection_only),
        cmocka_unit_test(bad_addresses_are_refused_with_words),
        cmocka_unit_test(a_taken_port_is_said),
        cmocka_unit_test(strangers_are_shown_out_and_the_rest_is_served),
        cmocka_unit_test(a_peer_that_does_not_read_holds_up_nobody),
        cmocka_unit_test(a_peer_s_coming_and_going_is_told),
        /* last: a close in the middle of a message may leave a thread of nng 1.5.2 stuck for good (net_nng.c)
         */
        cmocka_unit_test(a_closed_client_calls_nobody_back),
        cmocka_unit_test(a_server_closes_with_everything_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
