// SPDX-License-Identifier: Apache-2.0
/* A node as its learner sees it: a whole service in this process, and a learner played by hand that refuses,
 * forgets to answer, talks nonsense, goes away and comes back as another one. No group is lost on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/model/folder.h"
#include "common/push/push.h"
#include "common/svc/log.h"
#include "common/svc/net.h"
#include "proto/msg.h"
#include "rollout/service.h"
#include "tests/unit/svc_rig.h"

enum { SOON_MS = 60000, G = 2 };

static const struct dims dims = {.n_layer = 1,
                                 .n_embd = 32,
                                 .n_head = 2,
                                 .n_head_kv = 1,
                                 .head_dim = 16,
                                 .n_ff = 32,
                                 .n_vocab = 64,
                                 .max_pos = 128,
                                 .rope_theta = 10000,
                                 .rms_eps = 1e-6f,
                                 .tied = true,
                                 .qkv_bias = true};

static char root[64];

static int set_up(void **state)
{
    (void)state;
    log_init("rollout", (enum log_level) - 1); /* it has a lot to complain of */
    snprintf(root, sizeof root, "/tmp/test_link.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(root); /* no socket is left */
}

enum manners { WELL, NO_ACK, NONSENSE, REFUSE_ASK, REFUSE_HELLO };

struct learner {
    struct net_server *net, *bulk;
    struct push_source *source;
    uint64_t incarnation, version;
    uint16_t port;
    enum manners manners;
    uint64_t next_job, last_job; /* jobs next_job .. last_job are to be given */
    int32_t token;               /* of the prompts */
    struct net_req *parked, *unanswered;
    int n_hello, n_ask, n_group, n_refusal, n_beat, n_bye, n_bye_jobs;
    uint64_t group_job, group_incarnation, group_of[100]; /* how often each job's group came */
    uint32_t group_tok;
};

struct world {
    struct loop *l;
    struct rollout_conf conf;
    struct service *s;
    struct learner r;
};

static struct msg_buf out;

#define REPLY(req, name, ...)                                                                                \
    do {                                                                                                     \
        const struct msg_##name m_ = {__VA_ARGS__};                                                          \
        assert_int_equal(msg_put_##name(&m_, &out), ERR_OK);                                                 \
        net_reply(req, msg_buf_span(&out));                                                                  \
    } while (0)

static void on_hello(struct world *w, struct net_req *req)
{
    struct learner *r = &w->r;
    char url[32], *config = dims_print(&dims);
    snprintf(url, sizeof url, "tcp://:%u", net_server_port(r->bulk));
    r->n_hello++;
    if (r->manners == NONSENSE)
        net_reply(req, span_of("\xc1nonsense", 9));
    else if (r->manners == REFUSE_HELLO)
        REPLY(req, ack, .code = ERR_MISMATCH, .why = span_str("not you"));
    else
        REPLY(req, welcome, .node_id = 3, .incarnation = r->incarnation, .version = r->version,
              .run = span_str("by hand"), .config_json = span_str(config), .bulk_url = span_str(url),
              .lease_ms = 1000, .beat_ms = 50);
    free(config);
}

static void on_ask(struct world *w, struct net_req *req, struct span frame)
{
    struct learner *r = &w->r;
    struct msg_ask m;
    int32_t prompt[5];
    assert_int_equal(msg_get_ask(frame, &m, NULL), ERR_OK);
    r->n_ask++;
    if (r->manners == REFUSE_ASK) {
        r->manners = WELL;
        REPLY(req, ack, .code = ERR_NOENT, .why = span_str("say hello first"));
        return;
    }
    if (r->manners == NONSENSE) return net_reply(req, span_of("\xc1", 1));
    assert_true(m.node_id == 3 && m.incarnation == r->incarnation && m.room_seq > 0);
    if (r->next_job > r->last_job) {
        r->parked = req;
        return;
    }
    for (int i = 0; i < 5; i++) prompt[i] = r->token;
    REPLY(req, job, .job_id = r->next_job++, .group_size = G, .seed = 1, .temperature = 1, .top_p = 1,
          .max_tok = 4, .incarnation = r->incarnation, .min_version = r->version,
          .tokens = msg_arr_of(prompt, 5));
}

static void on_group(struct world *w, struct net_req *req, struct span frame)
{
    struct learner *r = &w->r;
    struct msg_group m;
    assert_int_equal(msg_get_group(frame, &m, NULL), ERR_OK);
    assert_int_equal(m.node_id, 3);
    if (m.why.n)
        r->n_refusal++;
    else
        r->n_group++;
    r->group_job = m.job_id;
    r->group_incarnation = m.incarnation;
    r->group_tok = m.tokens.n;
    r->group_of[m.job_id]++;
    if (r->manners == NO_ACK)
        r->unanswered = req;
    else
        REPLY(req, ack, .code = 0);
}

static void on_req(void *arg, struct net_req *req, struct span frame)
{
    struct world *w = arg;
    struct msg_bye b;
    switch (msg_id_of(frame)) {
    case MSG_ID_hello:
        return on_hello(w, req);
    case MSG_ID_ask:
        return on_ask(w, req, frame);
    case MSG_ID_group:
        return on_group(w, req, frame);
    case MSG_ID_beat:
        w->r.n_beat++;
        REPLY(req, idle, .retry_ms = 50, .incarnation = w->r.incarnation, .version = w->r.version);
        return;
    default:
        assert_int_equal(msg_get_bye(frame, &b, NULL), ERR_OK);
        w->r.n_bye++;
        w->r.n_bye_jobs = (int)b.jobs.n;
        REPLY(req, ack, .code = 0);
    }
}

static void on_bulk(void *arg, struct net_req *req, struct span frame)
{
    struct world *w = arg;
    assert_int_equal(push_source_answer(w->r.source, frame, &out), ERR_OK);
    net_reply(req, msg_buf_span(&out));
}

static void publish(struct learner *r)
{
    struct tensor_table t;
    uint64_t end[64];
    assert_int_equal(tensor_table_init(&dims, &t), ERR_OK);
    for (uint32_t i = 0; i < t.n; i++) end[i] = t.t[i].offset + (uint64_t)t.t[i].rows * t.t[i].cols;
    const struct push_source_opts o = {.host = "",
                                       .run = root,
                                       .end = end,
                                       .n_tensor = t.n,
                                       .n_param = t.n_param,
                                       .n_keep = 2,
                                       .chunk_bytes = 65536,
                                       .shm_gid = -1};
    uint16_t *image = calloc(t.n_param, sizeof *image);
    float *f = malloc(t.n_param * sizeof *f);
    folder_init_weights(&t, r->incarnation, f);
    for (uint64_t i = 0; i < t.n_param; i++) memcpy(&image[i], (char *)&f[i] + 2, 2);
    assert_int_equal(push_source_create(&o, &r->source, NULL), ERR_OK);
    assert_int_equal(
        push_source_publish(r->source, (struct version){r->incarnation, r->version}, image, NULL), ERR_OK);
    free(f), free(image);
    tensor_table_done(&t);
}

static void learner_up(struct world *w, uint64_t incarnation, enum manners manners)
{
    struct learner *r = &w->r;
    char url[64];
    struct why why = {0};
    const struct net_server_opts o = {.max_frame_bytes = 1 << 20, .n_ctx = 16, .arg = w, .on_req = on_req},
                                 b = {.max_frame_bytes = 4096, .n_ctx = 8, .arg = w, .on_req = on_bulk};
    r->incarnation = incarnation;
    r->version = incarnation % 100;
    r->manners = manners;
    publish(r);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", r->port);
    if (net_listen(w->l, url, &o, &r->net, &why) || net_listen(w->l, "tcp://127.0.0.1:0", &b, &r->bulk, &why))
        fail_msg("%s", why.text);
    r->port = net_server_port(r->net);
}

static void learner_down(struct world *w)
{
    net_server_close(w->r.net);
    net_server_close(w->r.bulk);
    push_source_destroy(w->r.source);
    w->r.net = w->r.bulk = NULL;
    w->r.source = NULL;
    w->r.parked = w->r.unanswered = NULL;
}

static void begin(struct world *w, enum manners manners)
{
    char text[128];
    struct why why = {0};
    static const char *const settings[][2] = {{"device", "cpu"},      {"threads", "1"},
                                              {"max_num_seqs", "8"},  {"kv_memory", "1M"},
                                              {"log_level", "error"}, {"name", "n"}};
    *w = (struct world){.r.token = 7, .r.next_job = 1};
    assert_int_equal(loop_create(&w->l), ERR_OK);
    learner_up(w, 1005, manners);
    assert_int_equal(conf_defaults(&rollout_conf_list, &w->conf, NULL), ERR_OK);
    for (unsigned i = 0; i < sizeof settings / sizeof *settings; i++)
        assert_int_equal(conf_set(&rollout_conf_list, &w->conf, settings[i][0], settings[i][1], NULL),
                         ERR_OK);
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", w->r.port);
    assert_int_equal(conf_set(&rollout_conf_list, &w->conf, "learner", text, NULL), ERR_OK);
    snprintf(text, sizeof text, "%s/n.sock", root);
    assert_int_equal(conf_set(&rollout_conf_list, &w->conf, "control", text, NULL), ERR_OK);
    if (service_create(w->l, &w->conf, &w->s, &why)) fail_msg("%s", why.text);
}

static void end(struct world *w)
{
    service_destroy(w->s);
    learner_down(w);
    loop_destroy(w->l);
    conf_done(&rollout_conf_list, &w->conf);
    msg_buf_done(&out);
}

static void until(struct world *w, const int *n, int want)
{
    if (!rig_turn(w->l, n, want, SOON_MS)) fail_msg("%d of %d came", *n, want);
}

static void give(struct world *w, uint64_t n_job)
{
    w->r.last_job += n_job;
    if (!w->r.parked) return;
    struct net_req *req = w->r.parked;
    w->r.parked = NULL;
    REPLY(req, idle, .retry_ms = 1, .incarnation = w->r.incarnation,
          .version = w->r.version); /* asks again */
}

static void a_job_becomes_a_group(void **state)
{
    (void)state;
    struct world w;
    begin(&w, WELL);
    give(&w, 6); /* more than there is room for at once */
    until(&w, &w.r.n_group, 6);
    for (int i = 1; i <= 6; i++) assert_int_equal(w.r.group_of[i], 1);
    assert_int_equal(w.r.group_incarnation, 1005);
    assert_in_range(w.r.group_tok, G, 4 * G);
    until(&w, &w.r.n_beat, 3);
    assert_int_equal(w.r.n_hello, 1);
    assert_int_equal(w.s->version.counter, 5);
    end(&w);
}

static void what_cannot_be_done_is_refused_with_words(void **state)
{
    (void)state;
    struct world w;
    begin(&w, WELL);
    w.r.token = 64; /* outside the vocabulary */
    give(&w, 2);
    until(&w, &w.r.n_refusal, 2);
    w.r.token = 7;
    give(&w, 1);
    until(&w, &w.r.n_group, 1); /* and goes on */
    end(&w);
}

/* The learner takes a group and never says so: it is offered again, and again, until it does. */
static void a_group_without_an_ack_is_offered_again(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NO_ACK);
    give(&w, 1);
    until(&w, &w.r.n_group, 1);
    until(&w, &w.r.n_group, 2);
    w.r.manners = WELL;
    until(&w, &w.r.n_group, 3);
    give(&w, 1);
    until(&w, &w.r.n_group, 4);
    assert_int_equal(w.r.group_of[1], 3);
    assert_int_equal(w.r.group_of[2], 1);
    assert_int_equal(w.r.n_hello, 1); /* on the same connection */
    end(&w);
}

/* Told to greet again while a group is on its way: the call is gone with the connection, the group is not. */
static void a_group_on_its_way_survives_a_new_greeting(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NO_ACK);
    give(&w, 1);
    until(&w, &w.r.n_group, 1);
    w.r.manners = REFUSE_ASK;
    give(&w, 0);
    until(&w, &w.r.n_hello, 2);
    until(&w, &w.r.n_group, 2);
    give(&w, 1);
    until(&w, &w.r.n_group, 3);
    assert_int_equal(w.r.group_of[1], 2);
    end(&w);
}

static void a_learner_that_comes_back_gets_its_groups(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NO_ACK);
    give(&w, 1);
    until(&w, &w.r.n_group, 1);
    learner_down(&w); /* and back, with the same incarnation: the network was away */
    loop_drain(w.l, 30);
    learner_up(&w, 1005, WELL);
    until(&w, &w.r.n_hello, 2);
    until(&w, &w.r.n_group, 2);
    assert_int_equal(w.r.group_job, 1);
    end(&w);
}

static void another_learner_gets_none_of_the_old_one_s_groups(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NO_ACK);
    give(&w, 1);
    until(&w, &w.r.n_group, 1);
    learner_down(&w);
    loop_drain(w.l, 30);
    learner_up(&w, 2009, WELL); /* resumed: the same numbers mean other weights */
    give(&w, 1);
    until(&w, &w.r.n_group, 2);
    assert_int_equal(w.r.group_of[1], 1);
    assert_int_equal(w.r.group_of[2], 1);
    assert_int_equal(w.r.group_incarnation, 2009);
    assert_int_equal(w.s->version.counter, 9);
    end(&w);
}

static void nonsense_is_survived(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NONSENSE);
    until(&w, &w.r.n_hello, 2);
    w.r.manners = REFUSE_HELLO;
    until(&w, &w.r.n_hello, 3);
    w.r.manners = WELL;
    until(&w, &w.r.n_ask, 1);
    w.r.manners = NONSENSE;
    give(&w, 0);
    until(&w, &w.r.n_ask, 2);
    w.r.manners = WELL;
    give(&w, 1);
    until(&w, &w.r.n_group, 1);
    end(&w);
}

static void a_node_says_bye_and_names_its_jobs(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NO_ACK);
    give(&w, 2);
    until(&w, &w.r.n_group, 2);
    service_stop(w.s);
    loop_run(w.l); /* which the bye's answer ends */
    assert_int_equal(w.r.n_bye, 1);
    assert_int_equal(w.r.n_bye_jobs, 2);
    end(&w);
}

/* -- the control socket, from a plain client -- */

static int ctl_dial(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s/n.sock", root);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void ctl_say(int fd)
{
    const uint8_t len[4] = {(uint8_t)out.n, (uint8_t)(out.n >> 8), 0, 0};
    assert_int_equal(send(fd, len, 4, MSG_NOSIGNAL), 4);
    assert_int_equal(send(fd, out.p, out.n, MSG_NOSIGNAL), out.n);
}

static void ctl_job(int fd, uint32_t max_tok, int32_t id)
{
    const struct msg_job j = {.job_id = 1,
                              .group_size = 2,
                              .temperature = 1,
                              .top_p = 1,
                              .max_tok = max_tok,
                              .tokens = msg_arr_of(&id, 1)};
    assert_int_equal(msg_put_job(&j, &out), ERR_OK);
    ctl_say(fd);
}

/* The next frame that comes, turning the loop meanwhile. */
static struct span ctl_hear(struct world *w, int fd, uint8_t *buf, size_t cap)
{
    size_t n = 0, want = 4;
    for (int i = 0; i < SOON_MS && n < want; i++) {
        const ssize_t k = recv(fd, buf + n, want - n, MSG_DONTWAIT);
        if (k > 0) n += (size_t)k;
        if (n == 4 && want == 4) want += buf[0] | (size_t)buf[1] << 8;
        assert_true(want <= cap);
        if (n < want) loop_drain(w->l, 1);
    }
    assert_true(n == want && want > 4);
    return span_of(buf + 4, n - 4);
}

static void a_client_gets_its_group_and_one_that_left_costs_nothing(void **state)
{
    (void)state;
    struct world w;
    struct msg_group g;
    struct msg_ctl_reply r;
    uint8_t buf[8192];
    char text[300];
    begin(&w, WELL);
    int fd = ctl_dial();
    until(&w, (int *)&w.s->n_swap, 1);
    ctl_job(fd, 5, 7);
    assert_int_equal(msg_get_group(ctl_hear(&w, fd, buf, sizeof buf), &g, NULL), ERR_OK);
    assert_true(g.n_tok.n == 2 && g.incarnation == 1005 && g.tokens.n >= 2);
    ctl_job(fd, 5, 64);
    assert_int_equal(msg_get_ctl_reply(ctl_hear(&w, fd, buf, sizeof buf), &r, NULL), ERR_OK);
    msg_str_copy(r.why, text, sizeof text);
    assert_int_equal(r.code, ERR_RANGE);
    assert_non_null(strstr(text, "id 64"));
    int other = ctl_dial();
    ctl_job(other, 100, 7);
    loop_drain(w.l, 2);
    close(other); /* called off, and forgotten */
    for (int i = 0; i < 5000 && (w.s->n_inflight || w.s->ctl_work); i++) loop_drain(w.l, 1);
    assert_int_equal(w.s->n_inflight, 0);
    assert_null(w.s->ctl_work);
    const struct msg_ctl m = {.verb = span_str("status")};
    assert_int_equal(msg_put_ctl(&m, &out), ERR_OK);
    ctl_say(fd);
    assert_int_equal(msg_get_ctl_reply(ctl_hear(&w, fd, buf, sizeof buf), &r, NULL), ERR_OK);
    msg_str_copy(r.json, (char *)buf + 4096, 4000);
    assert_non_null(strstr((char *)buf + 4096, "\"daemon\":\"rollout\""));
    close(fd);
    end(&w);
}

/* Works in the engine, groups unanswered, a client at the control socket: the end frees all of it. */
static void the_end_may_come_at_any_time(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct world w;
        begin(&w, i & 1 ? NO_ACK : WELL);
        give(&w, 4);
        if (i > 4) until(&w, (int *)&w.s->n_swap, 1);
        int fd = ctl_dial();
        ctl_job(fd, 100, 7);
        if (i) rig_turn(w.l, &w.r.n_group, 4 + i, 10 * i);
        end(&w);
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_becomes_a_group),
        cmocka_unit_test(what_cannot_be_done_is_refused_with_words),
        cmocka_unit_test(a_group_without_an_ack_is_offered_again),
        cmocka_unit_test(a_group_on_its_way_survives_a_new_greeting),
        cmocka_unit_test(a_learner_that_comes_back_gets_its_groups),
        cmocka_unit_test(another_learner_gets_none_of_the_old_one_s_groups),
        cmocka_unit_test(nonsense_is_survived),
        cmocka_unit_test(a_node_says_bye_and_names_its_jobs),
        cmocka_unit_test(a_client_gets_its_group_and_one_that_left_costs_nothing),
        cmocka_unit_test(the_end_may_come_at_any_time),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
