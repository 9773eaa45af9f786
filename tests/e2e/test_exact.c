// SPDX-License-Identifier: Apache-2.0
/* The logprobs that the rollout reports are, bit by bit, the learner's: over GRPO steps, with lengths that cross pieces of attention, in
 * time with the updates and behind them, over either road; one bit of one weight is noticed. And a request's tokens depend on nothing but
 * the request. */
#include <math.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/e2e/flip.h"
#include "tests/e2e/rig.h"

/* Prompts end before and behind the first piece's end (64), completions run over the next one's. */
static const struct rig_data letters = {.n_row = 80, .min_prompt = 30, .max_prompt = 100, .max_filler = 60, .seed = 3};
static const char *warm;

static void prepare(void)
{
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
    warm = rig_warm("model", &letters, 120);
}

static void finish(struct proc *l)
{
    const int code = rig_exit_code(l, 120);
    CHECK(code == 0, "the learner ended with %d", code);
}

/* Tokens of a step whose own version and whose cache are of one version: those up to the first change. */
static uint32_t count_covered(const void *versions, uint32_t n)
{
    const uint32_t *v = versions;
    uint32_t k = 0;
    while (k < n && v[k] == v[0]) k++;
    return k;
}

struct cover {
    double covered, all, mixed;
};

static struct cover cover_of(const char *run, uint64_t step)
{
    struct cover c = {0};
    sqlite3 *db;
    sqlite3_stmt *st;
    CHECK(!sqlite3_open_v2(rig_path("%s/run.db", run), &db, SQLITE_OPEN_READWRITE, NULL), "run.db");
    CHECK(!sqlite3_prepare_v2(db, "SELECT versions, n_tok FROM completions JOIN jobs USING (job_id) WHERE step = ?1", -1, &st, NULL), "%s",
          sqlite3_errmsg(db));
    sqlite3_bind_int64(st, 1, (sqlite3_int64)step);
    while (sqlite3_step(st) == SQLITE_ROW) {
        const uint32_t n = (uint32_t)sqlite3_column_int(st, 1), k = count_covered(sqlite3_column_blob(st, 0), n);
        c.covered += k;
        c.all += n;
        c.mixed += k < n;
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    return c;
}

static void in_time_with_the_updates(void)
{
    prepare();
    /* a temperature whose reciprocal comes out differently in fp32 and in fp64 */
    struct proc *l = rig_learner("run", ARGS("--model", warm, "--max-steps", "8", "--max-completion-length", "80", "--temperature", "0.96"));
    rig_node("a", rig_address("run"), ARGS("--max-num-seqs", "16"));
    finish(l);
    json_t *m = rig_metrics("run"), *line;
    size_t i;
    CHECK(json_array_size(m) == 8, "steps");
    json_array_foreach(m, i, line)
    {
        const double worst = json_number_value(json_object_get(line, "mismatch_max")), share = json_number_value(json_object_get(line, "mismatch_tok"));
        CHECK(worst == 0 && share == 1, "step %zu: mismatch %g over %g of the tokens", i + 1, worst, share);
        CHECK(json_number_value(json_object_get(line, "staleness")) == 0, "step %zu", i + 1);
    }
    CHECK(rig_max(m, "grad_norm") > 0 && rig_sum(m, "reward") > 0, "nothing was learnt");
    json_decref(m);
    const double crossing = rig_db("run", NULL, "SELECT count(*) FROM completions JOIN jobs USING (job_id) WHERE length(prompt_tok) / 4 < 64 AND"
                                                " length(prompt_tok) / 4 + n_tok > 70");
    CHECK(crossing > 10, "%g completions go over the end of a piece", crossing);
}

struct version_wait {
    const char *sock;
    double version;
};

static bool has_swapped(void *arg)
{
    const struct version_wait *w = arg;
    return rig_number(w->sock, "status", "policy_version") > w->version;
}

/* Hold the node while it decodes, until newer weights are there, and let it go on. A model this small is else too quick to be met by an
 * update. true: completions of two versions have been trained on. */
static bool hold_over_an_update(void *arg)
{
    struct version_wait w = {arg, 0};
    json_t *m = rig_metrics("run");
    const bool seen = rig_sum(m, "mixed_version_completions") > 0;
    json_decref(m);
    if (seen) return true;
    json_decref(rig_ask(w.sock, "pause", NULL));
    w.version = rig_number(w.sock, "status", "policy_version");
    if (rig_number(w.sock, "status", "running") > 0) rig_wait_maybe(has_swapped, &w, 0.3);
    json_decref(rig_ask(w.sock, "resume", NULL));
    return false;
}

/* Decoding goes on during updates: some completions are of two versions. What the learner can hold to account is exact, the rest counted. */
static void behind_the_updates(void)
{
    prepare();
    struct proc *l = rig_learner("run", ARGS("--model", warm, "--max-steps", "100000", "--max-staleness", "2", "--max-completion-length", "80",
                                             "--prompts-per-step", "8", "--save-steps", "100000", "--learning-rate", "3e-4"));
    rig_node("a", rig_address("run"), ARGS("--max-num-seqs", "8"));
    rig_wait_step("run", 3, 60);
    rig_wait(hold_over_an_update, (void *)rig_sock("a"), 60, "a completion of two versions");
    rig_wait_step("run", rig_last_step("run") + 3, 60);
    rig_stop(l);
    json_t *m = rig_metrics("run"), *line;
    size_t i;
    double mixed = 0, left_out = 0;
    json_array_foreach(m, i, line)
    {
        const struct cover c = cover_of("run", i + 1);
        const double share = json_number_value(json_object_get(line, "mismatch_tok")), n_mixed = json_number_value(json_object_get(line, "mixed_version_completions"));
        CHECK(json_number_value(json_object_get(line, "mismatch_max")) == 0, "step %zu: mismatch %g", i + 1,
              json_number_value(json_object_get(line, "mismatch_max")));
        CHECK(fabs(share - c.covered / c.all) < 1e-6, "step %zu: %g of the tokens covered, run.db says %g", i + 1, share, c.covered / c.all);
        CHECK(n_mixed == c.mixed, "step %zu: %g completions of two versions, run.db says %g", i + 1, n_mixed, c.mixed);
        mixed += c.mixed;
        left_out += c.all - c.covered;
    }
    printf("%g completions of two versions, %g tokens left out, staleness up to %.2f\n", mixed, left_out, rig_max(m, "staleness"));
    CHECK(mixed > 0 && left_out > 0, "nothing was decoded during an update");
    CHECK(rig_max(m, "staleness") > 0 && rig_max(m, "staleness") <= 2, "staleness %g", rig_max(m, "staleness"));
    json_decref(m);
    /* no token is older than allowed when it is trained on: version of its first token >= step - 1 - 2 */
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM completions JOIN jobs USING (job_id) WHERE instr('0123456789ABCDEF', substr(hex(versions), 1, 1)) * 16"
                              " + instr('0123456789ABCDEF', substr(hex(versions), 2, 1)) - 17 < step - 3") == 0,
          "too old");
}

/* -- the weights' road ------------------------------------------------------------------------------------------------- */

/* run "whole" by shared memory, run by what args make of it: the same run, and the road that was meant. */
static void same_by(const char *run, const char *road, const char *const *learner_args, const char *const *node_args)
{
    struct proc *l = rig_learner(run, learner_args), *n = rig_node(run, rig_address(run), node_args);
    rig_wait_step(run, 3, 60);
    json_t *j = rig_ask(rig_sock(run), "status", NULL);
    const char *got = json_string_value(json_object_get(j, "road"));
    CHECK(got && !strcmp(got, road), "%s: weights came by %s, not %s", run, got ? got : "nothing", road);
    json_decref(j);
    finish(l);
    rig_stop(n);
    if (strcmp(run, "whole")) rig_check_same_run("whole", run, 12);
}

static void both_roads_give_the_same_run(void)
{
    prepare();
#define SAME "--model", warm, "--max-steps", "12"
    same_by("whole", "shm", ARGS(SAME), ARGS("--max-num-seqs", "16"));
    same_by("net", "net", ARGS(SAME), ARGS("--max-num-seqs", "16", "--road", "net"));
    same_by("far", "net", ARGS(SAME), ARGS("--max-num-seqs", "16", "--host-id", "another-host"));
    same_by("none", "net", ARGS(SAME, "--use-shm", "false"), ARGS("--max-num-seqs", "16"));
#undef SAME
}

/* -- a flipped bit ----------------------------------------------------------------------------------------------------- */

/* A false friend stands between learner and node, and passes on weights with one bit changed (and the hash to match). Everything else
 * goes its way, so only the logprobs can tell. */
static void one_flipped_bit_is_noticed(void)
{
    prepare();
    struct proc *l = rig_learner("run", ARGS("--model", warm, "--max-steps", "3"));
    const char *address = rig_address("run");
    struct flip *f = flip_start(address, warm);
    rig_node("a", flip_address(f), ARGS("--max-num-seqs", "16", "--road", "net"));
    finish(l);
    CHECK(flip_count(f) >= 1, "no bit was flipped");
    json_t *m = rig_metrics("run");
    for (size_t i = 0; i < json_array_size(m); i++) {
        const double worst = json_number_value(json_object_get(json_array_get(m, i), "mismatch_max"));
        printf("step %zu: mismatch %g\n", i + 1, worst);
        CHECK(worst > 0, "step %zu: mismatch %g", i + 1, worst);
    }
    json_decref(m);
    flip_stop(f);
}

/* -- a request ---------------------------------------------------------------------------------------------------------- */

#define N_ASK 64

struct asker {
    pthread_t thread;
    const char *sock;
    uint64_t id;
    struct gen g;
};

/* Request id: a prompt of its own, three completions. */
static void *ask_one(void *arg)
{
    struct asker *a = arg;
    int32_t prompt[100];
    const uint32_t n = 5 + (uint32_t)(a->id * 13) % 90;
    for (uint32_t i = 0; i < n; i++) prompt[i] = (int32_t)('a' + rng_u64(9, a->id, i) % 8);
    const struct msg_job job = {.job_id = a->id, .group_size = 3, .seed = 5, .temperature = 0.8f, .top_p = 1, .max_tok = 90,
                                .tokens = msg_arr_of(prompt, n)};
    a->g = rig_generate(a->sock, &job);
    return NULL;
}

static void ask_alone(const char *sock, uint64_t id, struct gen *ret)
{
    struct asker a = {.sock = sock, .id = id};
    ask_one(&a);
    CHECK(!a.g.e, "request %llu: %s", (unsigned long long)id, a.g.why.text);
    *ret = a.g;
}

static void ask_all(const char *sock, struct asker *a)
{
    for (uint64_t i = 0; i < N_ASK; i++) {
        a[i] = (struct asker){.sock = sock, .id = i};
        CHECK(!pthread_create(&a[i].thread, NULL, ask_one, &a[i]), "thread");
    }
    for (uint64_t i = 0; i < N_ASK; i++) {
        pthread_join(a[i].thread, NULL);
        CHECK(!a[i].g.e, "request %llu: %s", (unsigned long long)i, a[i].g.why.text);
    }
}

static bool is_loaded(void *sock)
{
    return rig_number(sock, "status", "policy_version") >= 0 && rig_number(sock, "status", "incarnation") > 0;
}

static struct proc *server(const char *name, const char *threads)
{
    struct proc *p = rig_node(name, NULL, ARGS("--model", warm, "--threads", threads, "--max-num-seqs", "192"));
    rig_wait(is_loaded, (void *)rig_sock(name), 30, "the model to be loaded");
    return p;
}

/* Alone in a cold daemon; all at once with 63 others; by two threads after a restart; alone again in a daemon that has seen it all. */
static void a_request_gives_the_same_tokens_anywhere(void)
{
    static const uint64_t probe[] = {0, 17, 42, 63};
    static struct asker one_thread[N_ASK], two_threads[N_ASK];
    struct gen alone[4], again;
    prepare();
    struct proc *p = server("s", "1");
    ask_alone(rig_sock("s"), probe[0], &alone[0]);
    ask_all(rig_sock("s"), one_thread);
    rig_stop(p);
    p = server("s", "2");
    for (int i = 1; i < 4; i++) ask_alone(rig_sock("s"), probe[i], &alone[i]);
    ask_all(rig_sock("s"), two_threads);
    double tokens = 0;
    for (int i = 0; i < N_ASK; i++) {
        CHECK(rig_gen_same(&one_thread[i].g, &two_threads[i].g), "request %d: one thread and two", i);
        tokens += one_thread[i].g.n_tok;
    }
    for (int i = 0; i < 4; i++) {
        CHECK(rig_gen_same(&alone[i], &one_thread[probe[i]].g), "request %llu: alone and among %d", (unsigned long long)probe[i], N_ASK);
        ask_alone(rig_sock("s"), probe[i], &again);
        CHECK(rig_gen_same(&alone[i], &again), "request %llu: again", (unsigned long long)probe[i]);
        rig_gen_done(&again);
        rig_gen_done(&alone[i]);
    }
    CHECK(!rig_gen_same(&one_thread[1].g, &one_thread[2].g), "every request gives the same");
    printf("%g tokens of %d requests\n", tokens, N_ASK);
    for (int i = 0; i < N_ASK; i++) rig_gen_done(&one_thread[i].g), rig_gen_done(&two_threads[i].g);
    rig_stop(p);
}

int main(int argc, char **argv)
{
    static const struct rig_test tests[] = {{"in_time_with_the_updates", in_time_with_the_updates},
                                            {"behind_the_updates", behind_the_updates},
                                            {"both_roads_give_the_same_run", both_roads_give_the_same_run},
                                            {"one_flipped_bit_is_noticed", one_flipped_bit_is_noticed},
                                            {"a_request_gives_the_same_tokens_anywhere", a_request_gives_the_same_tokens_anywhere},
                                            {NULL, NULL}};
    return rig_main(argc, argv, tests);
}
