// SPDX-License-Identifier: Apache-2.0
/* The learner as its nodes see it: a whole service in this process, its trainer at work, and nodes played by
 * hand that come and go, fall silent, lie, send twice and send late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/svc/log.h"
#include "common/svc/net.h"
#include "learner/ckpt.h"
#include "learner/service.h"
#include "proto/msg.h"
#include "tests/unit/svc_rig.h"
#include "tests/unit/tok_rig.h"

enum { SOON_MS = 30000, G = 2, PROMPTS = 3, MAX_TOK = 4 };

static char root[64], run_dir[96], model[96], data[96];

static int set_up(void **state)
{
    (void)state;
    const struct dims d = rig_dims();
    log_init("learner", LOG_LEVEL_ERROR);
    snprintf(root, sizeof root, "/tmp/test_rpc.XXXXXX");
    if (!mkdtemp(root)) return -1;
    snprintf(run_dir, sizeof run_dir, "%s/run", root);
    snprintf(model, sizeof model, "%s/model", root);
    snprintf(data, sizeof data, "%s/data", root);
    return (int)arith_make(model, data, &(struct arith_opts){.dims = &d, .n_test = 4}, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    return (int)file_remove_tree(root, NULL);
}

/* -- the learner -- */

struct world {
    struct loop *l;
    struct learner_conf conf;
    struct service *s;
};

static void set(struct world *w, const char *name, const char *value)
{
    struct why why = {0};
    if (conf_set(&learner_conf_list, &w->conf, name, value, &why)) fail_msg("%s", why.text);
}

static void begin(struct world *w)
{
    static const char *const settings[][2] = {{"listen", "tcp://127.0.0.1:0"},
                                              {"device", "cpu"},
                                              {"threads", "1"},
                                              {"prompts_per_step", "3"},
                                              {"num_generations", "2"},
                                              {"max_completion_length", "4"},
                                              {"max_prompt_length", "16"},
                                              {"max_steps", "2"},
                                              {"lease_s", "0.4"},
                                              {"beat_ms", "50"},
                                              {"use_shm", "false"},
                                              {"save_steps", "1"},
                                              {"resume", "false"},
                                              {"log_level", "error"}};
    char path[128];
    *w = (struct world){0};
    assert_int_equal(loop_create(&w->l), ERR_OK);
    assert_int_equal(conf_defaults(&learner_conf_list, &w->conf, NULL), ERR_OK);
    for (unsigned i = 0; i < sizeof settings / sizeof *settings; i++) set(w, settings[i][0], settings[i][1]);
    set(w, "run_dir", run_dir);
    set(w, "model", model);
    snprintf(path, sizeof path, "%s/train.jsonl", data);
    set(w, "train_data", path);
}

static int always;

static void start(struct world *w)
{
    struct why why = {0};
    if (service_create(w->l, &w->conf, &w->s, &why)) fail_msg("%s", why.text);
    for (int i = 0; i < 1000 && !dispatch_find(w->s->dispatch, 0); i++)
        rig_turn(w->l, &always, 1, 10); /* the first step is queued */
    assert_non_null(dispatch_find(w->s->dispatch, 0));
}

static void end(struct world *w)
{
    service_destroy(w->s);
    loop_destroy(w->l);
    conf_done(&learner_conf_list, &w->conf);
}

/* -- a node by hand -- */

struct peer {
    struct world *w;
    struct net_client *c;
    int up;
    uint64_t id;
    int n_reply;
    enum err e;
    struct msg_buf reply;
};

static void on_up(void *arg, bool up)
{
    struct peer *p = arg;
    p->up += up;
}

static void join(struct peer *p, struct world *w)
{
    char url[64];
    const struct net_client_opts o = {.max_frame_bytes = 1 << 20, .arg = p, .on_up = on_up};
    *p = (struct peer){.w = w};
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", net_server_port(w->s->net));
    assert_int_equal(net_dial(w->l, url, &o, &p->c, NULL), ERR_OK);
    assert_true(rig_turn(w->l, &p->up, 1, SOON_MS));
}

static void leave(struct peer *p)
{
    net_client_close(p->c);
    p->c = NULL;
    msg_buf_done(&p->reply);
}

static void on_reply(void *arg, enum err e, struct span frame)
{
    struct peer *p = arg;
    p->reply.n = 0;
    p->e = e;
    assert_int_equal(msg_buf_add(&p->reply, frame.p, frame.n), ERR_OK);
    p->n_reply++;
}

/* Ask without waiting. */
static void send_frame(struct peer *p, struct span frame)
{
    assert_int_equal(net_call(p->c, frame, 0, on_reply, p), ERR_OK);
}

static enum msg_id answer(struct peer *p, int n)
{
    assert_true(rig_turn(p->w->l, &p->n_reply, n, SOON_MS));
    assert_int_equal(p->e, ERR_OK);
    return msg_id_of(msg_buf_span(&p->reply));
}

#define SEND(p, name, ...)                                                                                   \
    do {                                                                                                     \
        struct msg_buf b_ = {0};                                                                             \
        const struct msg_##name m_ = {__VA_ARGS__};                                                          \
        assert_int_equal(msg_put_##name(&m_, &b_), ERR_OK);                                                  \
        send_frame(p, msg_buf_span(&b_));                                                                    \
        msg_buf_done(&b_);                                                                                   \
    } while (0)

/* An ack's code; the words must hold `words`. */
static enum err ack(struct peer *p, int n, const char *words)
{
    struct msg_ack a;
    char text[300];
    assert_int_equal(answer(p, n), MSG_ID_ack);
    assert_int_equal(msg_get_ack(msg_buf_span(&p->reply), &a, NULL), ERR_OK);
    msg_str_copy(a.why, text, sizeof text);
    if (!strstr(text, words)) fail_msg("\"%s\" lacks \"%s\"", text, words);
    return (enum err)a.code;
}

static void hello(struct peer *p, uint64_t boot)
{
    struct msg_welcome m;
    const int n = p->n_reply;
    SEND(p, hello, .proto = PROTO_VERSION, .name = span_str("by hand"), .boot = boot, .max_seq = 8);
    assert_int_equal(answer(p, n + 1), MSG_ID_welcome);
    assert_int_equal(msg_get_welcome(msg_buf_span(&p->reply), &m, NULL), ERR_OK);
    assert_true(m.node_id && m.incarnation == p->w->s->incarnation && m.beat_ms == 50 && m.lease_ms == 400);
    p->id = m.node_id;
}

static void ask(struct peer *p, uint32_t room)
{
    SEND(p, ask, .node_id = p->id, .room_seq = room, .incarnation = p->w->s->incarnation,
         .version = p->w->s->version);
}

/* Ask until there is a job; its id. */
static uint64_t take_job(struct peer *p)
{
    struct msg_job j;
    for (int i = 0; i < 200; i++) {
        const int n = p->n_reply;
        ask(p, 8);
        if (answer(p, n + 1) == MSG_ID_job) {
            assert_int_equal(msg_get_job(msg_buf_span(&p->reply), &j, NULL), ERR_OK);
            assert_true(j.group_size == G && j.max_tok == MAX_TOK && j.tokens.n == 6 &&
                        j.incarnation == p->w->s->incarnation);
            return j.job_id;
        }
        rig_turn(p->w->l, &always, 1, 10);
    }
    fail_msg("no job came");
    return 0;
}

/* Send a group of G completions for a job; what: 0 a good one, 1 with a token too many, 2 of another
 * incarnation. */
static void send_group(struct peer *p, uint64_t job, int what)
{
    static const uint32_t n_tok[G] = {2, 3};
    static const int32_t tok[6] = {50, 51, 52, 53, 54, 55};
    static const float lp[6] = {-1, -2, -3, -1, -2, -3};
    static const uint8_t finish[G] = {0, 1}, kind[6] = {1, 1, 1, 1, 1, 1};
    uint32_t version[6];
    for (int i = 0; i < 6; i++) version[i] = (uint32_t)p->w->s->version;
    SEND(p, group, .node_id = p->id, .job_id = job, .incarnation = p->w->s->incarnation + (what == 2),
         .n_tok = msg_arr_of(n_tok, G), .finish = msg_arr_of(finish, G),
         .tokens = msg_arr_of(tok, what == 1 ? 6 : 5), .logprob = msg_arr_of(lp, 5),
         .version = msg_arr_of(version, 5), .kind = msg_arr_of(kind, 5));
}

static enum err give(struct peer *p, uint64_t job, int what, const char *words)
{
    const int n = p->n_reply;
    send_group(p, job, what);
    return ack(p, n + 1, words);
}

static void strangers_are_told_to_say_hello(void **state)
{
    (void)state;
    struct world w;
    struct peer p;
    begin(&w), start(&w), join(&p, &w);
    send_frame(&p, span_of("\xc1\xff garbage", 10));
    assert_int_equal(ack(&p, 1, "not a message"), ERR_FORMAT);
    send_frame(&p, span_of("", 0));
    assert_int_equal(ack(&p, 2, "not a message"), ERR_FORMAT);
    SEND(&p, ask, .node_id = 1, .room_seq = 8);
    assert_int_equal(ack(&p, 3, "say hello first"), ERR_NOENT);
    SEND(&p, beat, .node_id = 1);
    assert_int_equal(ack(&p, 4, "say hello first"), ERR_NOENT);
    SEND(&p, hello, .proto = PROTO_VERSION + 1, .boot = 5);
    assert_int_equal(ack(&p, 5, "protocol"), ERR_MISMATCH);
    SEND(&p, hello, .proto = PROTO_VERSION, .boot = 5, .tok_lo = 1);
    assert_int_equal(ack(&p, 6, "tokenizer"), ERR_MISMATCH);
    SEND(&p, manifest_get, .version = 0); /* the bulk address answers this, not this one */
    assert_int_equal(ack(&p, 7, "not a message"), ERR_FORMAT);
    send_frame(&p, span_of("\x92\x01", 2)); /* a hello that is cut */
    assert_int_not_equal(ack(&p, 8, ""), ERR_OK);
    assert_null(w.s->nodes.head);
    leave(&p);
    end(&w);
}

static void a_node_needs_this_learner_s_weights_to_get_work(void **state)
{
    (void)state;
    struct world w;
    struct peer p;
    struct msg_idle i;
    begin(&w), start(&w), join(&p, &w);
    hello(&p, 5);
    SEND(&p, ask, .node_id = p.id, .room_seq = 8); /* holds nothing yet */
    assert_int_equal(answer(&p, 2), MSG_ID_idle);
    assert_int_equal(msg_get_idle(msg_buf_span(&p.reply), &i, NULL), ERR_OK);
    assert_true(i.incarnation == w.s->incarnation && i.version == 0 && !i.pause && !i.drain);
    assert_int_equal(dispatch_at(w.s->dispatch, p.id), 0);
    take_job(&p);
    assert_int_equal(dispatch_at(w.s->dispatch, p.id), 1);
    leave(&p);
    end(&w);
}

static void a_name_cannot_speak_to_a_terminal(void **state)
{
    (void)state;
    struct world w;
    struct peer p;
    begin(&w), start(&w), join(&p, &w);
    SEND(&p, hello, .proto = PROTO_VERSION, .name = span_str("a\x1b[2J\n\xff\"b"), .boot = 5, .max_seq = 8);
    assert_int_equal(answer(&p, 1), MSG_ID_welcome);
    assert_string_equal(w.s->nodes.head->name, "a?[2J??\"b");
    leave(&p);
    end(&w);
}

static void a_run_ends_when_its_groups_have_come_each_once(void **state)
{
    (void)state;
    struct world w;
    struct peer p;
    char dir[200], path[128], *text;
    size_t n;
    begin(&w), start(&w), join(&p, &w);
    hello(&p, 5);
    for (int i = 0; i < 2 * PROMPTS; i++) {
        const uint64_t job = take_job(&p);
        assert_int_equal(give(&p, job, 2, "another incarnation"), ERR_STALE);
        assert_int_equal(give(&p, job, 0, ""), ERR_OK);
        assert_int_equal(give(&p, job, 0, "done already"), ERR_STALE); /* sent again: its ack was lost */
        assert_int_equal(give(&p, 1000 + job, 0, "done already"), ERR_STALE);
    }
    for (int i = 0; i < 2000 && !w.s->summary[0]; i++) rig_turn(w.l, &always, 1, 10);
    assert_non_null(strstr(w.s->summary, "2 steps"));
    assert_int_equal(w.s->exit_code, 0);
    assert_int_equal(w.s->n_stale, 3 * 2 * PROMPTS);
    leave(&p);
    end(&w);
    assert_int_equal(ckpt_newest(run_dir, dir, sizeof dir), ERR_OK);
    assert_string_equal(dir + strlen(dir) - 6, "step-2");
    snprintf(path, sizeof path, "%s/metrics.jsonl", run_dir);
    assert_int_equal(file_read(path, 1 << 20, &text, &n, NULL), ERR_OK);
    uint32_t lines = 0;
    for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
    assert_int_equal(lines, 2);
    free(text);
}

static void a_silent_node_s_work_goes_to_another_and_its_late_group_counts_once(void **state)
{
    (void)state;
    struct world w;
    struct peer a, b;
    begin(&w), start(&w), join(&a, &w), join(&b, &w);
    hello(&a, 5), hello(&b, 6);
    const uint64_t one = take_job(&a), two = take_job(&a), three = take_job(&a);
    assert_int_equal(dispatch_at(w.s->dispatch, a.id), 3);
    const int64_t end_ns = clock_now_ns() + 20 * NS_PER_S;
    while (dispatch_at(w.s->dispatch, a.id) && clock_now_ns() < end_ns) { /* b is heard, a is not */
        const int n = b.n_reply;
        SEND(&b, beat, .node_id = b.id);
        assert_int_equal(answer(&b, n + 1), MSG_ID_idle);
        rig_turn(w.l, &always, 1, 20);
    }
    assert_int_equal(dispatch_at(w.s->dispatch, a.id), 0);
    assert_false(node_is_up(nodes_find(&w.s->nodes, a.id)));
    assert_int_equal(take_job(&b), one);
    assert_int_equal(take_job(&b), two);
    assert_int_equal(give(&a, one, 0, ""), ERR_OK); /* late, but first */
    assert_true(node_is_up(nodes_find(&w.s->nodes, a.id)));
    assert_int_equal(give(&b, one, 0, "done already"), ERR_STALE);
    assert_int_equal(give(&b, two, 0, ""), ERR_OK);
    assert_int_equal(give(&a, two, 0, "done already"), ERR_STALE);
    assert_int_equal(give(&a, three, 0, ""), ERR_OK); /* while it waits for a node */
    leave(&a), leave(&b);
    end(&w);
}

static void a_lost_connection_gives_the_work_to_another(void **state)
{
    (void)state;
    struct world w;
    struct peer a, b;
    begin(&w), start(&w), join(&a, &w), join(&b, &w);
    hello(&a, 5), hello(&b, 6);
    const uint64_t one = take_job(&a);
    leave(&a);
    const int64_t end_ns = clock_now_ns() + 20 * NS_PER_S;
    while (dispatch_find(w.s->dispatch, one)->state != JOB_WAITING && clock_now_ns() < end_ns)
        rig_turn(w.l, &always, 1, 5);
    assert_int_equal(take_job(&b), one);
    const uint64_t two = take_job(&b);
    const int n = b.n_reply;
    SEND(&b, bye, .node_id = b.id);
    assert_int_equal(ack(&b, n + 1, ""), ERR_OK);
    assert_int_equal(dispatch_find(w.s->dispatch, two)->state, JOB_WAITING);
    leave(&b);
    end(&w);
}

/* Connected anew before its old connection was seen to be gone: a job must not be the answer to a question that nobody
 * waits for any more. */
static void a_node_that_moved_leaves_no_open_question(void **state)
{
    (void)state;
    struct world w;
    struct peer a, b;
    begin(&w), start(&w), join(&a, &w), join(&b, &w);
    hello(&a, 5);
    for (int i = 0; i < PROMPTS; i++) take_job(&a);
    const int n = a.n_reply;
    ask(&a, 8);
    loop_drain(w.l, 30);
    assert_int_equal(a.n_reply, n); /* there is none: the question stays open */
    hello(&b, 5);
    assert_int_equal(b.id, a.id);
    assert_int_equal(answer(&a, n + 1), MSG_ID_idle);
    assert_null(nodes_find(&w.s->nodes, b.id)->ask);
    assert_int_equal(dispatch_at(w.s->dispatch, b.id), PROMPTS); /* it still has its work */
    leave(&a), leave(&b);
    end(&w);
}

static void a_stranger_cannot_say_bye_for_a_node(void **state)
{
    (void)state;
    struct world w;
    struct peer a, b;
    begin(&w), start(&w), join(&a, &w), join(&b, &w);
    hello(&a, 5);
    const uint64_t one = take_job(&a);
    SEND(&b, bye, .node_id = a.id);
    ack(&b, 1, "");
    assert_int_equal(dispatch_find(w.s->dispatch, one)->state, JOB_IN_FLIGHT);
    assert_true(node_is_up(nodes_find(&w.s->nodes, a.id)));
    leave(&a), leave(&b);
    end(&w);
}

/* The answer with a job was lost: the node's beats do not list it. */
static void a_job_that_no_beat_lists_goes_out_again(void **state)
{
    (void)state;
    struct world w;
    struct peer a;
    begin(&w);
    set(&w, "lease_s", "60");
    start(&w), join(&a, &w);
    struct msg_welcome m;
    SEND(&a, hello, .proto = PROTO_VERSION, .name = span_str("by hand"), .boot = 5, .max_seq = 8);
    assert_int_equal(answer(&a, 1), MSG_ID_welcome);
    assert_int_equal(msg_get_welcome(msg_buf_span(&a.reply), &m, NULL), ERR_OK);
    a.id = m.node_id;
    const uint64_t one = take_job(&a), two = take_job(&a);
    const int64_t end_ns = clock_now_ns() + 20 * NS_PER_S;
    while (dispatch_at(w.s->dispatch, a.id) == 2 && clock_now_ns() < end_ns) {
        const int n = a.n_reply;
        SEND(&a, beat, .node_id = a.id, .incarnation = w.s->incarnation, .jobs = msg_arr_of(&two, 1));
        assert_int_equal(answer(&a, n + 1), MSG_ID_idle);
        rig_turn(w.l, &always, 1, 50);
    }
    assert_int_equal(dispatch_find(w.s->dispatch, one)->state, JOB_WAITING);
    assert_int_equal(dispatch_find(w.s->dispatch, two)->state, JOB_IN_FLIGHT);
    leave(&a);
    end(&w);
}

/* A node that was restarted, or another one, says hello where a node sits: that one is gone, and its work is
 * not waited for. */
static void one_connection_is_one_node(void **state)
{
    (void)state;
    struct world w;
    struct peer a;
    begin(&w), start(&w), join(&a, &w);
    hello(&a, 5);
    const uint64_t first = a.id, one = take_job(&a);
    hello(&a, 6);
    assert_int_not_equal(a.id, first);
    assert_false(node_is_up(nodes_find(&w.s->nodes, first)));
    assert_int_equal(take_job(&a), one);
    leave(&a);
    end(&w);
}

/* A node's group that cannot be used is not asked of it again; when nobody else is there the run ends with
 * words rather than in a circle. */
static void a_node_that_sends_nonsense_is_not_asked_for_ever(void **state)
{
    (void)state;
    struct world w;
    struct peer a, b;
    begin(&w), start(&w), join(&a, &w), join(&b, &w);
    hello(&a, 5), hello(&b, 6);
    const uint64_t one = take_job(&a);
    assert_int_equal(give(&a, one, 1, "different lengths"), ERR_FORMAT);
    assert_int_equal(w.s->n_bad, 1);
    assert_int_equal(dispatch_find(w.s->dispatch, one)->state, JOB_WAITING);
    assert_int_not_equal(take_job(&a), one);
    assert_int_equal(take_job(&b), one);
    assert_int_equal(w.s->exit_code, 0);
    assert_int_equal(give(&b, one, 1, "different lengths"), ERR_FORMAT);
    assert_int_equal(w.s->exit_code, 1);
    for (int i = 0; i < 2000 && !w.s->summary[0]; i++) rig_turn(w.l, &always, 1, 10);
    assert_true(w.s->summary[0] != 0);
    leave(&a), leave(&b);
    end(&w);
}

static void what_cannot_work_is_said_at_the_start(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *words;
    } bad[] = {
        {"micro_batch_tokens", "16", NULL},
        {"max_completion_length", "12", "micro_batch_tokens is 16"},
        {"max_completion_length", "250", "positions"},
        {"num_generations", "4096", NULL},
        {"temperature", "0", "temperature"},
        {"reward_funcs", "acuracy", "acuracy"},
        {"model", "/no/such/model", "/no/such/model"},
        {"train_data", "/no/such/data", "/no/such/data"},
        {"listen", "ipc:///tmp/x", "tcp://host:port"},
        {"max_prompt_length", "5", "train.jsonl:1: "},
        {"bulk_listen", "nonsense", "nonsense"},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct world w;
        struct why why = {0};
        begin(&w);
        if (i == 1) set(&w, "micro_batch_tokens", "16");
        set(&w, bad[i].name, bad[i].value);
        const enum err e = service_create(w.l, &w.conf, &w.s, &why);
        if (!bad[i].words) {
            if (e) fail_msg("%s = %s: %s", bad[i].name, bad[i].value, why.text);
        } else if (!e || !strstr(why.text, bad[i].words) || e == ERR_EXIST) {
            fail_msg("%s = %s: \"%s\" lacks \"%s\"", bad[i].name, bad[i].value, why.text, bad[i].words);
        }
        end(&w);
    }
}

static void the_bulk_address_keeps_a_host_that_was_named(void **state)
{
    (void)state;
    static const char *const url[][2] = {{"tcp://127.0.0.1:0", "tcp://127.0.0.1:"},
                                         {"tcp://0.0.0.0:0", "tcp://:"},
                                         {"tcp://*:0", "tcp://:"},
                                         {"", "tcp://:"}};
    for (int i = 0; i < 4; i++) {
        struct world w;
        begin(&w);
        set(&w, "bulk_listen", url[i][0]);
        start(&w);
        if (strncmp(w.s->bulk_url, url[i][1], strlen(url[i][1])))
            fail_msg("%s gave %s", url[i][0], w.s->bulk_url);
        end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_are_told_to_say_hello),
        cmocka_unit_test(a_node_needs_this_learner_s_weights_to_get_work),
        cmocka_unit_test(a_name_cannot_speak_to_a_terminal),
        cmocka_unit_test(a_run_ends_when_its_groups_have_come_each_once),
        cmocka_unit_test(a_silent_node_s_work_goes_to_another_and_its_late_group_counts_once),
        cmocka_unit_test(a_lost_connection_gives_the_work_to_another),
        cmocka_unit_test(a_node_that_moved_leaves_no_open_question),
        cmocka_unit_test(a_stranger_cannot_say_bye_for_a_node),
        cmocka_unit_test(a_job_that_no_beat_lists_goes_out_again),
        cmocka_unit_test(one_connection_is_one_node),
        cmocka_unit_test(a_node_that_sends_nonsense_is_not_asked_for_ever),
        cmocka_unit_test(what_cannot_work_is_said_at_the_start),
        cmocka_unit_test(the_bulk_address_keeps_a_host_that_was_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
