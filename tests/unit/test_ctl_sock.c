// SPDX-License-Identifier: Apache-2.0
/* The control socket: whole frames only, one request of a client at a time, and no client can harm the daemon
 * or another client. */
#include "common/svc/ctl_sock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/svc_rig.h"

enum { SOON_MS = 20000 };

enum manner { COPY, KEEP, LONG };

struct world {
    struct loop *l;
    struct ctl_server *s;
    enum manner manner;
    struct ctl_req *kept[64];
    int n_req, n_kept, n_gone;
    unsigned sum;
    struct ctl_req *gone;
};

static char dir[64], path[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_ctl.XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/d.sock", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir); /* and nothing else was left behind */
}

static void on_req(void *arg, struct ctl_req *req, struct span frame)
{
    struct world *w = arg;
    w->n_req++;
    for (size_t i = 0; i < frame.n; i++) w->sum += frame.p[i];
    if (w->manner == COPY) return ctl_reply(req, frame);
    if (w->manner == LONG) {
        uint8_t *big = calloc(1, 1 << 20);
        ctl_reply(req, span_of(big, 1 << 20));
        free(big);
        return;
    }
    ctl_req_set_data(req, w);
    w->kept[w->n_kept++] = req;
}

static void on_gone(void *arg, struct ctl_req *req)
{
    struct world *w = arg;
    assert_ptr_equal(ctl_req_data(req), w);
    w->n_gone++;
    w->gone = req;
}

static struct world begin(enum manner manner)
{
    struct world w = {.manner = manner};
    assert_int_equal(loop_create(&w.l), ERR_OK);
    return w;
}

static void open_door(struct world *w)
{
    struct why why = {0};
    const struct ctl_server_opts o = {.arg = w, .on_req = on_req, .on_gone = on_gone};
    if (ctl_listen(w->l, path, &o, &w->s, &why)) fail_msg("%s", why.text);
}

static void end(struct world *w)
{
    ctl_server_close(w->s);
    loop_destroy(w->l);
    assert_int_equal(access(path, F_OK), -1);
}

/* -- raw clients -- */

static int dial(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = {20, 0};
    assert_true(fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience));
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const void *p, size_t n)
{
    assert_int_equal(send(fd, p, n, MSG_NOSIGNAL), n);
}

static void hear(int fd, void *p, size_t n)
{
    assert_int_equal(recv(fd, p, n, MSG_WAITALL), n);
}

/* -- clients in a thread, as the tool is -- */

struct caller {
    pthread_t t;
    const uint8_t *p;
    size_t n;
    int timeout_ms;
    enum err e;
    uint8_t *reply;
    size_t n_reply;
    struct why why;
    struct loop *l;
    int done;
};

static void told(void *arg)
{
    struct caller *c = arg;
    c->done = 1;
}

static void *call_main(void *arg)
{
    struct caller *c = arg;
    c->e = ctl_call(path, span_of(c->p, c->n), c->timeout_ms, &c->reply, &c->n_reply, &c->why);
    loop_post(c->l, told, c);
    return NULL;
}

static void start(struct world *w, struct caller *c)
{
    c->l = w->l;
    assert_int_equal(pthread_create(&c->t, NULL, call_main, c), 0);
}

static void finish(struct world *w, struct caller *c, enum err want)
{
    assert_true(rig_turn(w->l, &c->done, 1, SOON_MS));
    pthread_join(c->t, NULL);
    if (c->e != want) fail_msg("%s", why_str(&c->why, c->e));
}

static void frames_of_all_sizes_come_back(void **state)
{
    (void)state;
    static const size_t size[] = {0, 1, 5000, 1 << 20, CTL_MAX_FRAME};
    struct world w = begin(COPY);
    uint8_t *p = malloc(CTL_MAX_FRAME);
    for (size_t i = 0; i < CTL_MAX_FRAME; i++) p[i] = (uint8_t)(i * 2654435761u >> 13);
    open_door(&w);
    for (unsigned i = 0; i < sizeof size / sizeof *size; i++) {
        struct caller c = {.p = p, .n = size[i], .timeout_ms = SOON_MS};
        start(&w, &c);
        finish(&w, &c, ERR_OK);
        assert_int_equal(c.n_reply, size[i]);
        assert_memory_equal(c.reply, p, size[i]);
        free(c.reply);
    }
    free(p);
    end(&w);
}

static void a_frame_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct world w = begin(COPY);
    static const uint8_t frame[] = {3, 0, 0, 0, 'a', 'b', 'c', 0, 0, 0, 0, 1, 0, 0, 0, 'd'};
    uint8_t back[sizeof frame];
    open_door(&w);
    int fd = dial();
    for (unsigned i = 0; i < sizeof frame; i++) {
        say(fd, frame + i, 1);
        loop_drain(w.l, 3);
        assert_int_equal(w.n_req, i < 6 ? 0 : i < 10 ? 1 : i < 15 ? 2 : 3);
    }
    hear(fd, back, sizeof back);
    assert_memory_equal(back, frame, sizeof frame);
    close(fd);
    end(&w);
}

static void requests_of_a_client_are_handed_over_one_by_one(void **state)
{
    (void)state;
    struct world w = begin(KEEP);
    uint8_t back[5];
    open_door(&w);
    int fd = dial();
    for (uint8_t i = 0; i < 5; i++) say(fd, (uint8_t[]){1, 0, 0, 0, i}, 5);
    for (int i = 1; i <= 5; i++) {
        assert_true(rig_turn(w.l, &w.n_kept, i, SOON_MS));
        loop_drain(w.l, 5);
        assert_int_equal(w.n_req, i);
        const uint8_t x = (uint8_t)(i - 1);
        ctl_reply(w.kept[i - 1], span_of(&x, 1));
    }
    for (uint8_t i = 0; i < 5; i++) {
        loop_drain(w.l, 2);
        hear(fd, back, 5);
        assert_int_equal(back[4], i);
    }
    close(fd);
    end(&w);
}

static void a_length_beyond_the_bound_hangs_up(void **state)
{
    (void)state;
    struct world w = begin(COPY);
    static const uint8_t head[3][4] = {{1, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 0x80}};
    uint8_t c;
    open_door(&w);
    for (int i = 0; i < 3; i++) {
        int fd = dial();
        say(fd, head[i], 4);
        loop_drain(w.l, 20);
        assert_true(recv(fd, &c, 1, 0) <= 0);
        close(fd);
    }
    assert_int_equal(w.n_req, 0);
    int cut = dial(); /* and one that ends within its length */
    say(cut, "\1\0", 2);
    close(cut);
    loop_drain(w.l, 10);
    assert_int_equal(w.n_gone, 0);
    end(&w);
}

static void many_clients_at_once(void **state)
{
    (void)state;
    struct world w = begin(KEEP);
    struct caller c[40] = {0};
    uint8_t what[40];
    open_door(&w);
    for (uint8_t i = 0; i < 40; i++) {
        what[i] = i;
        c[i] = (struct caller){.p = &what[i], .n = 1, .timeout_ms = SOON_MS};
        start(&w, &c[i]);
    }
    assert_true(rig_turn(w.l, &w.n_kept, 40, SOON_MS));
    assert_int_equal(w.sum, 39 * 40 / 2);
    for (int i = 39; i >= 0; i--) ctl_reply(w.kept[i], span_of("done", 4));
    for (int i = 0; i < 40; i++) {
        finish(&w, &c[i], ERR_OK);
        assert_int_equal(c[i].n_reply, 4);
        free(c[i].reply);
    }
    end(&w);
}

static void a_client_that_goes_away_is_told_once(void **state)
{
    (void)state;
    struct world w = begin(KEEP);
    open_door(&w);
    int fd = dial(), other = dial();
    say(fd, "\1\0\0\0a", 5);
    assert_true(rig_turn(w.l, &w.n_kept, 1, SOON_MS));
    say(other, "\1\0\0\0b", 5);
    assert_true(rig_turn(w.l, &w.n_kept, 2, SOON_MS));
    close(fd);
    assert_true(rig_turn(w.l, &w.n_gone, 1, SOON_MS));
    assert_ptr_equal(w.gone, w.kept[0]);
    ctl_reply(w.kept[1], span_of("x", 1));
    close(other); /* its request is answered: nothing is open */
    loop_drain(w.l, 20);
    assert_int_equal(w.n_gone, 1);
    end(&w);
}

/* 60 questions, each with an answer of a megabyte that is not read: a few are answered, the others wait in
 * the client's own buffer. */
static void a_client_that_does_not_read_is_not_answered_into_memory(void **state)
{
    (void)state;
    struct world w = begin(LONG);
    open_door(&w);
    int fd = dial();
    for (int i = 0; i < 60; i++) {
        say(fd, "\1\0\0\0a", 5);
        loop_drain(w.l, 1);
    }
    assert_in_range(w.n_req, 1, 3);
    w.manner = COPY;
    struct caller c = {.p = (const uint8_t *)"hi", .n = 2, .timeout_ms = SOON_MS};
    start(&w, &c);
    finish(&w, &c, ERR_OK);
    free(c.reply);
    close(fd);
    loop_drain(w.l, 10);
    end(&w);
}

static void a_client_that_only_talks_is_cut_off(void **state)
{
    (void)state;
    struct world w = begin(KEEP);
    uint8_t *noise = calloc(1, 1 << 20);
    size_t sent = 0;
    open_door(&w);
    int fd = dial();
    say(fd, "\1\0\0\0a", 5); /* stays open */
    for (int i = 0; i < 4000 && !w.n_gone; i++) {
        const ssize_t n = send(fd, noise, 1 << 20, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        loop_drain(w.l, 1);
    }
    assert_int_equal(w.n_gone, 1);
    assert_in_range(sent, CTL_MAX_FRAME, 3 * CTL_MAX_FRAME);
    close(fd);
    free(noise);
    end(&w);
}

static void a_silent_daemon_is_a_timeout(void **state)
{
    (void)state;
    struct world w = begin(KEEP);
    struct caller c = {.p = (const uint8_t *)"hi", .n = 2, .timeout_ms = 60};
    open_door(&w);
    start(&w, &c);
    finish(&w, &c, ERR_TIMEOUT);
    assert_non_null(strstr(c.why.text, path));
    end(&w);
}

/* The loop is not turned at all: neither a question too long for the socket's buffer nor a full queue of
 * clients may hang the tool. */
static void a_daemon_that_stands_still_is_a_timeout(void **state)
{
    (void)state;
    struct world w = begin(COPY);
    uint8_t *p = calloc(1, 8 << 20), *reply = NULL;
    size_t n;
    struct why why = {0};
    open_door(&w);
    const int64_t t0 = clock_now_ns();
    for (int i = 0; i < 20; i++)
        assert_int_equal(ctl_call(path, span_of(p, 8 << 20), 50, &reply, &n, &why), ERR_TIMEOUT);
    assert_true(clock_now_ns() - t0 < 20 * NS_PER_S);
    assert_null(reply);
    free(p);
    end(&w);
}

static void a_daemon_that_closes_ends_the_open_question(void **state)
{
    (void)state;
    struct world w = begin(KEEP);
    struct caller c = {.p = (const uint8_t *)"hi", .n = 2, .timeout_ms = SOON_MS};
    open_door(&w);
    start(&w, &c);
    assert_true(rig_turn(w.l, &w.n_kept, 1, SOON_MS));
    ctl_server_close(w.s);
    w.s = NULL;
    finish(&w, &c, ERR_CLOSED);
    assert_int_equal(w.n_gone, 0); /* the owner is closing: it knows */
    ctl_server_close(NULL);
    loop_destroy(w.l);
}

static void a_stale_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    (void)state;
    struct world w = begin(COPY);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat st;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd); /* as a killed daemon leaves it */
    open_door(&w);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    struct ctl_server *second = NULL;
    struct why why = {0};
    const struct ctl_server_opts o = {.arg = &w, .on_req = on_req};
    assert_int_equal(ctl_listen(w.l, path, &o, &second, &why), ERR_EXIST);
    assert_non_null(strstr(why.text, path));
    struct caller c = {.p = (const uint8_t *)"hi", .n = 2, .timeout_ms = SOON_MS};
    start(&w, &c);
    finish(&w, &c, ERR_OK);
    free(c.reply);
    end(&w);
}

static void a_file_in_the_way_is_not_removed(void **state)
{
    (void)state;
    struct world w = begin(COPY);
    struct why why = {0};
    const struct ctl_server_opts o = {.arg = &w, .on_req = on_req};
    FILE *f = fopen(path, "w");
    fputs("precious", f);
    fclose(f);
    assert_int_not_equal(ctl_listen(w.l, path, &o, &w.s, &why), ERR_OK);
    assert_non_null(strstr(why.text, path));
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    loop_destroy(w.l);
}

static void paths_that_cannot_be_are_refused_with_words(void **state)
{
    (void)state;
    struct world w = begin(COPY);
    struct why why = {0};
    const struct ctl_server_opts o = {.arg = &w, .on_req = on_req};
    char big[200];
    uint8_t *reply;
    size_t n;
    memset(big, 'a', sizeof big - 1);
    big[0] = '/', big[sizeof big - 1] = 0;
    assert_int_equal(ctl_listen(w.l, big, &o, &w.s, &why), ERR_INVAL);
    assert_non_null(strstr(why.text, "107"));
    assert_int_not_equal(ctl_listen(w.l, "/no/such/folder/x.sock", &o, &w.s, &why), ERR_OK);
    assert_non_null(strstr(why.text, "/no/such/folder/x.sock"));
    assert_int_not_equal(ctl_call(big, span_str("x"), 50, &reply, &n, &why), ERR_OK);
    assert_int_equal(ctl_call(path, span_str("x"), 50, &reply, &n, &why), ERR_NOENT);
    assert_non_null(strstr(why.text, "no daemon answers"));
    loop_destroy(w.l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_all_sizes_come_back),
        cmocka_unit_test(a_frame_may_come_byte_by_byte),
        cmocka_unit_test(requests_of_a_client_are_handed_over_one_by_one),
        cmocka_unit_test(a_length_beyond_the_bound_hangs_up),
        cmocka_unit_test(many_clients_at_once),
        cmocka_unit_test(a_client_that_goes_away_is_told_once),
        cmocka_unit_test(a_client_that_does_not_read_is_not_answered_into_memory),
        cmocka_unit_test(a_client_that_only_talks_is_cut_off),
        cmocka_unit_test(a_silent_daemon_is_a_timeout),
        cmocka_unit_test(a_daemon_that_stands_still_is_a_timeout),
        cmocka_unit_test(a_daemon_that_closes_ends_the_open_question),
        cmocka_unit_test(a_stale_socket_is_replaced_and_a_live_one_is_not),
        cmocka_unit_test(a_file_in_the_way_is_not_removed),
        cmocka_unit_test(paths_that_cannot_be_are_refused_with_words),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
