// SPDX-License-Identifier: Apache-2.0
/* Whatever comes to a learner's ports, the run goes on as if nothing had come: noise, cut frames, messages with fields made up, and an
 * impostor that takes work, hands back nonsense and vanishes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/svc/net.h"
#include "proto/version.h"
#include "tests/e2e/rig.h"

#define SEED 77

static const struct rig_data letters = {.n_row = 60, .min_prompt = 6, .max_prompt = 40, .max_filler = 12, .seed = 3};

/* One client that sends frames one after the other; each must be answered, or its connection closed. */
struct foe {
    struct loop *loop;
    struct net_client *c;
    uint32_t i, n, n_answer, n_closed;
    void (*make)(struct foe *f, struct msg_buf *out); /* frame number i */
    struct msg_buf buf;
    uint64_t node_id, incarnation;
};

static uint64_t draw(const struct foe *f, uint64_t k, uint64_t below)
{
    const uint64_t x = rng_u64(SEED, f->i, k);
    return below ? x % below : x;
}

static void send_next(struct foe *f);

static void on_answer(void *arg, enum err e, struct span reply)
{
    struct foe *f = arg;
    struct msg_welcome w;
    f->n_answer += !e;
    f->n_closed += e == ERR_CLOSED;
    CHECK(e != ERR_TIMEOUT, "frame %u was not answered", f->i);
    if (!e && msg_id_of(reply) == MSG_ID_welcome && !msg_get_welcome(reply, &w, NULL)) f->node_id = w.node_id, f->incarnation = w.incarnation;
    f->i++;
    send_next(f);
}

static void send_next(struct foe *f)
{
    if (f->i == f->n) return loop_stop(f->loop);
    f->make(f, &f->buf);
    CHECK(!net_call(f->c, msg_buf_span(&f->buf), 20000, on_answer, f), "call %u", f->i);
}

static void attack(const char *address, uint32_t n, void (*make)(struct foe *f, struct msg_buf *out))
{
    struct foe f = {.n = n, .make = make};
    struct why why = {0};
    CHECK(!loop_create(&f.loop), "loop");
    CHECK(!net_dial(f.loop, address, &(struct net_client_opts){.max_frame_bytes = 64u << 20}, &f.c, &why), "%s", why.text);
    send_next(&f);
    loop_run(f.loop);
    printf("%s: %u frames, %u answers, %u times closed\n", address, n, f.n_answer, f.n_closed);
    CHECK(f.n_answer > n / 2, "%u answers", f.n_answer);
    net_client_close(f.c);
    loop_destroy(f.loop);
    msg_buf_done(&f.buf);
}

static void make_noise(struct foe *f, struct msg_buf *out)
{
    const uint32_t n = (uint32_t)draw(f, 1, 200);
    out->n = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t b = (uint8_t)draw(f, 100 + i, 0);
        if (i == 0) b = 0x90 | (b & 15); /* an array at least */
        if (i == 1) b = (uint8_t)draw(f, 2, 34);
        CHECK(!msg_buf_add(out, &b, 1), "memory");
    }
}

/* -- to the nodes' address ---------------------------------------------------------------------------------------------- */

/* A group whose arrays are almost right: the shape, an id, a logprob, a version or a length is not. */
static void make_group(struct foe *f, struct msg_buf *out)
{
    static uint32_t n_tok[8], version[400];
    static uint8_t finish[8], kind[400];
    static int32_t tok[400];
    static float lp[400];
    const uint32_t bad = (uint32_t)draw(f, 3, 7), g = bad == 0 ? 3 : 4;
    uint32_t total = 0;
    for (uint32_t i = 0; i < g; i++) total += n_tok[i] = 1 + (uint32_t)draw(f, 10 + i, 40);
    for (uint32_t i = 0; i < total; i++) tok[i] = 'a', lp[i] = -1, version[i] = 0, kind[i] = TOKEN_SAMPLED;
    memset(finish, 0, sizeof finish);
    if (bad == 1) tok[draw(f, 4, total)] = 272 + (int32_t)draw(f, 5, 1u << 30);
    if (bad == 2) tok[draw(f, 4, total)] = -1;
    if (bad == 3) lp[draw(f, 4, total)] = draw(f, 5, 2) ? 1.5f : -INFINITY;
    if (bad == 4) version[draw(f, 4, total)] = 1000000;
    if (bad == 5) n_tok[draw(f, 4, g)] = draw(f, 5, 2) ? 0 : UINT32_MAX;
    if (bad == 6) finish[draw(f, 4, g)] = (uint8_t)(2 + draw(f, 5, 200));
    const struct msg_group m = {.node_id = f->node_id, .job_id = draw(f, 6, 40), .incarnation = f->incarnation, .n_tok = msg_arr_of(n_tok, g),
                                .finish = msg_arr_of(finish, g), .tokens = msg_arr_of(tok, total), .logprob = msg_arr_of(lp, total),
                                .version = msg_arr_of(version, total), .kind = msg_arr_of(kind, total)};
    CHECK(!msg_put_group(&m, out), "group");
}

static void make_hello(struct foe *f, struct msg_buf *out, uint32_t proto)
{
    const struct msg_hello m = {.proto = proto, .name = span_str("impostor"), .boot = 4711, .numerics = span_str("none"),
                                .max_seq = (uint32_t)draw(f, 3, 2) * UINT32_MAX};
    CHECK(!msg_put_hello(&m, out), "hello");
}

static void make_beat(struct foe *f, struct msg_buf *out)
{
    static uint64_t jobs[3000];
    for (int i = 0; i < 3000; i++) jobs[i] = draw(f, 20, 0);
    const struct msg_beat m = {.node_id = draw(f, 3, 2) ? f->node_id : draw(f, 4, 0), .incarnation = f->incarnation, .version = draw(f, 5, 0),
                               .jobs = msg_arr_of(jobs, (uint32_t)draw(f, 6, 3000)), .tok_per_s = NAN};
    CHECK(!msg_put_beat(&m, out), "beat");
}

static void make_for_nodes(struct foe *f, struct msg_buf *out)
{
    const struct msg_ask ask = {.node_id = draw(f, 3, 0), .room_seq = UINT32_MAX, .incarnation = f->incarnation, .version = draw(f, 4, 0)};
    const struct msg_bye bye = {.node_id = draw(f, 3, 0)};
    switch (f->i == 0 ? 0 : draw(f, 0, 8)) {
    case 0: make_hello(f, out, PROTO_VERSION); break;
    case 1: make_hello(f, out, (uint32_t)draw(f, 1, 0)); break;
    case 2: CHECK(!msg_put_ask(&ask, out), "ask"); break;
    case 3: make_beat(f, out); break;
    case 4: CHECK(!msg_put_bye(&bye, out), "bye"); break;
    case 5: make_noise(f, out); break;
    default: make_group(f, out);
    }
    if (f->i && draw(f, 7, 5) == 0 && out->n) out->n = draw(f, 8, out->n); /* cut */
}

/* Takes work, and is gone with it. */
static void make_theft(struct foe *f, struct msg_buf *out)
{
    if (f->i == 0) return make_hello(f, out, PROTO_VERSION);
    const struct msg_ask ask = {.node_id = f->node_id, .room_seq = 1000, .incarnation = f->incarnation, .version = UINT64_MAX >> 1};
    CHECK(!msg_put_ask(&ask, out), "ask");
}

/* -- to the weights' address -------------------------------------------------------------------------------------------- */

static void make_for_weights(struct foe *f, struct msg_buf *out)
{
    static const uint64_t edge[] = {0, 1, 2, 4095, 1u << 20, UINT32_MAX, INT64_MAX, UINT64_MAX - 1, UINT64_MAX};
    const struct msg_manifest_get get = {.incarnation = edge[draw(f, 3, 9)], .version = edge[draw(f, 4, 9)]};
    const struct msg_chunk_get chunk = {.incarnation = draw(f, 3, 2) ? f->incarnation : edge[draw(f, 3, 9)], .version = draw(f, 4, 30),
                                        .offset = edge[draw(f, 5, 9)], .bytes = (uint32_t)edge[draw(f, 6, 9)]};
    switch (draw(f, 0, 3)) {
    case 0: CHECK(!msg_put_manifest_get(&get, out), "manifest"); break;
    case 1: CHECK(!msg_put_chunk_get(&chunk, out), "chunk"); break;
    default: make_noise(f, out);
    }
}

static void a_run_among_foes(void)
{
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
    struct proc *l = rig_learner("run", ARGS("--max-steps", "100000", "--save-steps", "100000", "--learning-rate", "1e-5"));
    const char *address = rig_address("run");
    rig_node("a", address, ARGS("--max-num-seqs", "16"));
    rig_wait_step("run", 2, 60);
    json_t *j = rig_ask(rig_learner_sock("run"), "status", NULL);
    const char *bulk = json_string_value(json_object_get(j, "bulk_url"));
    const char *at = rig_text("tcp://127.0.0.1%s", bulk ? strrchr(bulk, ':') : "");
    json_decref(j);
    attack(address, 1500, make_for_nodes);
    attack(at, 800, make_for_weights);
    attack(address, 2, make_theft);
    rig_wait_step("run", rig_last_step("run") + 5, 60); /* what was stolen is done by others */
    j = rig_node_json("run", "impostor");
    CHECK(rig_is_up(l) && j, "the list of nodes suffers from what they say");
    json_decref(j);
    rig_stop(l);

    const double steps = rig_db("run", NULL, "SELECT count(*) FROM steps");
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM jobs") == steps * 4 && rig_db("run", NULL, "SELECT count(*) FROM completions") == steps * 16,
          "%g steps", steps);
    json_t *m = rig_metrics("run");
    CHECK(rig_max(m, "mismatch_max") == 0 && rig_sum(m, "mismatch_tok") == steps, "nonsense was trained on: mismatch %g", rig_max(m, "mismatch_max"));
    json_decref(m);
}

int main(int argc, char **argv)
{
    static const struct rig_test tests[] = {{"a_run_among_foes", a_run_among_foes}, {NULL, NULL}};
    return rig_main(argc, argv, tests);
}
