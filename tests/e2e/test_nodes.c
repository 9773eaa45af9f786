// SPDX-License-Identifier: Apache-2.0
/* Nodes come and go, and the learner comes and goes: no group is lost, none is trained on twice, nobody waits for the dead. */
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "tests/e2e/rig.h"

#define P 8u
#define G 4u

/* a random model hardly ever ends by itself: completions are long, and the state of things can be seen */
static const struct rig_data letters = {.n_row = 200, .min_prompt = 6, .max_prompt = 40, .max_filler = 12, .seed = 3};

static const char *const *plus(const char *const *a, const char *const *b)
{
    static const char *all[64];
    unsigned n = 0;
    for (; *a; a++) all[n++] = *a;
    for (; *b; b++) all[n++] = *b;
    all[n] = NULL;
    return all;
}

static struct proc *learner(const char *steps, const char *const *args)
{
    return rig_learner("run", plus(ARGS("--max-steps", steps, "--prompts-per-step", "8", "--max-completion-length", "300", "--save-steps", "10"), args));
}

/* Room for two groups: the rest is for others. */
static struct proc *node(const char *name, const char *address)
{
    return rig_node(name, address, ARGS("--max-num-seqs", "8"));
}

static void prepare(void)
{
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
}

/* Every step has all its groups, every group all its completions, every job is there once. */
static void check_books(void)
{
    const double steps = rig_db("run", NULL, "SELECT count(*) FROM steps"), jobs = rig_db("run", NULL, "SELECT count(*) FROM jobs");
    CHECK(steps > 0 && rig_db("run", NULL, "SELECT max(step) FROM steps") == steps, "%g steps", steps);
    CHECK(jobs == steps * P, "%g jobs in %g steps", jobs, steps);
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM jobs WHERE job_id / %u + 1 = step", P) == jobs, "each job in its step");
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM (SELECT job_id FROM completions GROUP BY job_id HAVING count(*) = %u)", G) == jobs,
          "every group whole");
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM completions") == jobs * G, "nothing besides");
}

static void finish(struct proc *l)
{
    const int code = rig_exit_code(l, 120);
    CHECK(code == 0, "the learner ended with %d", code);
    check_books();
}

/* What the learner says of a node. */
static double node_number(const char *name, const char *key)
{
    json_t *j = rig_node_json("run", name), *v = json_object_get(j, key);
    const double x = json_is_number(v) ? json_number_value(v) : NAN;
    json_decref(j);
    return x;
}

static bool node_is(const char *name, const char *state)
{
    json_t *j = rig_node_json("run", name);
    const char *s = json_string_value(json_object_get(j, "state"));
    const bool yes = s && !strcmp(s, state);
    json_decref(j);
    return yes;
}

static double queues(const char *key)
{
    return rig_number(rig_learner_sock("run"), "queues", key);
}

struct state_wait {
    const char *name, *state;
};

static bool is_in_state(void *arg)
{
    const struct state_wait *w = arg;
    return node_is(w->name, w->state);
}

static void wait_state(const char *name, const char *state, double s)
{
    struct state_wait w = {name, state};
    rig_wait(is_in_state, &w, s, rig_text("node %s to be %s", name, state));
}

static bool has_groups(void *name)
{
    return node_number(name, "groups") >= 1;
}

static bool has_jobs(void *name)
{
    return node_number(name, "jobs_in_flight") >= 1;
}

/* -- coming ------------------------------------------------------------------------------------------------------------ */

static void a_second_node_needs_an_address_only(void)
{
    prepare();
    struct proc *l = learner("1000", ARGS("--learning-rate", "1e-3")), *a = node("a", rig_address("run"));
    rig_wait_step("run", 3, 60);
    const int64_t t0 = clock_now_ns();
    struct proc *b = node("b", rig_address("run"));
    rig_wait(has_groups, "b", 20, "a group from the second node");
    const double s = clock_s(clock_now_ns() - t0);
    printf("a group from the second node after %.2f s\n", s);
    const char *slow = getenv("GRPO_TEST_SLOW");
    CHECK(s < 5 * (slow ? atof(slow) : 1), "%.2f s until the second node's first group", s);
    CHECK(node_number("b", "policy_version") >= 3, "the second node draws with version %g", node_number("b", "policy_version"));
    const uint64_t step = rig_last_step("run");
    rig_wait_step("run", step + 5, 60);
    CHECK(node_number("b", "groups") > 1 && node_number("a", "groups") > 1, "both work");
    rig_stop(l);
    CHECK(rig_db("run", NULL, "SELECT count(DISTINCT node) FROM jobs") == 2, "both are in run.db");
    check_books();
    CHECK(rig_is_up(a) && rig_is_up(b), "nodes outlive the learner");
}

/* -- going ------------------------------------------------------------------------------------------------------------- */

/* Freeze a node with work in its hands: SIGSTOP, then look; let go and try again when it had none. */
static void freeze(struct proc *p, const char *name)
{
    for (int i = 0; i < 200; i++) {
        rig_wait(has_jobs, (void *)name, 30, "work at the node");
        rig_signal(p, SIGSTOP);
        /* what it had sent before is read by now, and what is left stays; asked twice, for the learner reads sockets and us in turn */
        if (queues("jobs_waiting") >= 0 && node_number(name, "jobs_in_flight") >= 1 && node_number(name, "jobs_in_flight") >= 1) return;
        rig_signal(p, SIGCONT);
    }
    FAIL("the node was never caught with work");
}

static void a_killed_node_loses_no_group(void)
{
    prepare();
    struct proc *l = learner("24", ARGS("--max-staleness", "1")), *b = node("b", rig_address("run"));
    node("a", rig_address("run"));
    rig_wait_step("run", 2, 60);
    freeze(b, "b");
    const double before = queues("jobs_retried");
    rig_kill(b);
    wait_state("b", "gone", 20);
    rig_wait_step("run", rig_last_step("run") + 4, 60); /* so what it held was done by others */
    CHECK(rig_is_up(l) && queues("jobs_retried") > before, "no job was given out again");
    /* and back under its name: another node, taken in like any */
    b = node("b", rig_address("run"));
    rig_wait(has_groups, "b", 30, "work at the restarted node");
    finish(l);
}

/* Pause a node with sequences in its engine. */
static void hold(const char *name)
{
    for (int i = 0; i < 200; i++) {
        rig_wait(has_jobs, (void *)name, 30, "work at the node");
        json_decref(rig_ask(rig_sock(name), "pause", NULL));
        if (node_number(name, "jobs_in_flight") >= 1 && rig_number(rig_sock(name), "status", "running") >= 1) return;
        json_decref(rig_ask(rig_sock(name), "resume", NULL));
    }
    FAIL("the node was never caught with work");
}

/* Told to stop, a node says goodbye: its work goes to others at once, and not when its lease is over. */
static void a_stopped_node_gives_its_work_back(void)
{
    prepare();
    struct proc *l = learner("100000", ARGS("--lease-s", "3600"));
    double before = 0, after = 0;
    node("a", rig_address("run"));
    for (int i = 0; i < 30 && after <= before; i++) { /* it may have finished in the last moment, and has nothing to give */
        struct proc *b = node("b", rig_address("run"));
        hold("b");
        before = queues("jobs_retried");
        rig_stop(b);
        wait_state("b", "gone", 20);
        rig_wait_step("run", rig_last_step("run") + 3, 60);
        after = queues("jobs_retried");
    }
    CHECK(rig_said(l, "node_left") && after > before, "no job was given back");
    rig_stop(l);
    check_books();
}

static void a_frozen_node_holds_nobody_up(void)
{
    prepare();
    struct proc *l = learner("100000", ARGS("--lease-s", "1")), *b = node("b", rig_address("run"));
    node("a", rig_address("run"));
    rig_wait_step("run", 2, 60);
    freeze(b, "b");
    const uint64_t step = rig_last_step("run");
    const double retried = queues("jobs_retried"), stale = queues("groups_stale");
    const int64_t t0 = clock_now_ns();
    rig_wait_step("run", step + 2, 25); /* the default lease would not do */
    printf("two steps after %.2f s, with a lease of 1 s\n", clock_s(clock_now_ns() - t0));
    wait_state("b", "silent", 20);
    CHECK(queues("jobs_retried") > retried, "no job was given out again");
    rig_signal(b, SIGCONT);
    wait_state("b", "up", 20);
    rig_wait(has_jobs, "b", 20, "work at the node that came back");
    rig_wait_step("run", rig_last_step("run") + 2, 60);
    printf("late groups refused: %g\n", queues("groups_stale") - stale);
    rig_stop(l);
    check_books();
}

static bool link_is_down(void *name)
{
    json_t *j = rig_ask(rig_sock(name), "status", NULL);
    const char *s = json_string_value(json_object_get(j, "link"));
    const bool down = s && strcmp(s, "ready");
    json_decref(j);
    return down;
}

static void nodes_wait_for_a_killed_learner(void)
{
    prepare();
    struct proc *l = learner("30", ARGS("--save-steps", "4")), *a = node("a", rig_address("run")), *b = node("b", rig_address("run"));
    const char *address = rig_address("run");
    for (uint64_t step = 5; step <= 15; step += 10) { /* twice, for nodes must outlive more than one */
        rig_wait_step("run", step, 60);
        rig_kill(l);
        rig_wait(link_is_down, "a", 20, "node a to see that the learner is away");
        rig_wait(link_is_down, "b", 20, "node b to see that the learner is away");
        CHECK(rig_last_step("run") < 30, "too late");
        l = learner("30", ARGS("--save-steps", "4", "--listen", address));
    }
    finish(l);
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM steps") == 30, "steps");
    CHECK(rig_is_up(a) && rig_is_up(b), "the same two processes");
    /* synchronous still: each step drawn by the version before it, also across the kills */
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM completions JOIN jobs USING (job_id) WHERE hex(versions) !="
                              " replace(hex(zeroblob(n_tok)), '00', printf('%%02X000000', step - 1))") == 0,
          "versions");
    json_t *m = rig_metrics("run");
    CHECK(rig_max(m, "mismatch_max") == 0 && rig_sum(m, "mismatch_tok") == 30, "mismatch %g", rig_max(m, "mismatch_max"));
    json_decref(m);
}

/* -- refusing ---------------------------------------------------------------------------------------------------------- */

static void what_one_node_refuses_another_does(void)
{
    prepare();
    const struct rig_data longer = {.n_row = 100, .min_prompt = 70, .max_prompt = 100, .max_filler = 12, .seed = 3};
    rig_data("train", &longer);
    struct proc *l = learner("400", ARGS("--max-completion-length", "100")), *a = node("a", rig_address("run"));
    wait_state("a", "up", 30);
    rig_node("b", rig_address("run"), ARGS("--max-model-len", "64"));
    rig_wait_said(l, "job_refused", 60);
    const uint64_t step = rig_last_step("run");
    rig_wait_step("run", step + 3, 60);
    CHECK(rig_is_up(a) && node_number("b", "groups") == 0, "node b cannot have made %g groups", node_number("b", "groups"));
    rig_stop(l);
    check_books();
}

static void what_every_node_refuses_ends_the_run(void)
{
    prepare();
    const struct rig_data longer = {.n_row = 100, .min_prompt = 70, .max_prompt = 100, .max_filler = 12, .seed = 3};
    rig_data("train", &longer);
    struct proc *l = learner("4", ARGS("--max-completion-length", "100"));
    rig_node("b", rig_address("run"), ARGS("--max-model-len", "64"));
    const int code = rig_exit_code(l, 60);
    CHECK(code == 1, "the learner ended with %d", code);
    CHECK(rig_said(l, "every node has refused job") && rig_said(l, "max_model_len is 64"), "the reason");
}

/* A group never fits a node with fewer places than it has completions; waiting for room would be for ever. */
static void a_node_too_small_for_a_group_says_so(void)
{
    prepare();
    struct proc *l = learner("4", ARGS("--num-generations", "16"));
    rig_node("b", rig_address("run"), ARGS("--max-num-seqs", "8"));
    const int code = rig_exit_code(l, 60);
    CHECK(code == 1, "the learner ended with %d", code);
    CHECK(rig_said(l, "a group of 16 completions") && rig_said(l, "max_num_seqs"), "the reason");
}

/* -- leaving in order -------------------------------------------------------------------------------------------------- */

static void a_drained_node_finishes_and_leaves(void)
{
    prepare();
    struct proc *l = learner("100000", ARGS("--learning-rate", "1e-4")), *b = node("b", rig_address("run")), *c = node("c", rig_address("run"));
    node("a", rig_address("run"));
    rig_wait_step("run", 2, 60);
    rig_wait(has_jobs, "b", 30, "work at the node");
    const double retried = queues("jobs_retried");
    rig_may_end(b), rig_may_end(c);
    json_decref(rig_ask(rig_learner_sock("run"), "drain", "{\"node\": \"b\"}")); /* by the learner, */
    json_decref(rig_ask(rig_sock("c"), "drain", NULL));                          /* or at the node */
    CHECK(rig_exit_code(b, 60) == 0 && rig_exit_code(c, 60) == 0, "a drained node's exit code");
    CHECK(rig_said(b, "drained") && rig_said(c, "drained"), "it says so");
    CHECK(queues("jobs_retried") == retried, "work was not finished but given back");
    rig_wait_step("run", rig_last_step("run") + 2, 60);
    rig_stop(l);
    check_books();
}

static bool is_paused(void *sock)
{
    json_t *j = rig_ask(sock, "status", NULL);
    const bool yes = json_is_true(json_object_get(j, "paused"));
    json_decref(j);
    return yes;
}

static bool is_not_paused(void *sock)
{
    return !is_paused(sock);
}

struct still {
    const char *sock;
    double tokens;
    int64_t since_ns;
};

/* For a second, which is several of the learner's beats, not a token more. A step that was under way may end. */
static bool stood_still(void *arg)
{
    struct still *x = arg;
    const double now = rig_number(x->sock, "status", "generated_tokens");
    if (now > x->tokens) x->since_ns = clock_now_ns();
    x->tokens = now;
    return clock_now_ns() - x->since_ns > NS_PER_S;
}

static void check_still(const char *sock)
{
    struct still x = {.sock = sock};
    rig_wait(stood_still, &x, 10, "a second without a token");
}

static void pause_and_resume(void)
{
    prepare();
    struct proc *l = learner("100000", ARGS("--learning-rate", "1e-4"));
    const char *sock = rig_learner_sock("run"), *at_node = rig_sock("a");
    node("a", rig_address("run"));
    rig_wait_step("run", 2, 60);
    json_decref(rig_ask(sock, "pause", NULL));
    rig_wait(is_paused, (void *)at_node, 20, "the pause to reach the node");
    check_still(at_node);
    json_decref(rig_ask(sock, "resume", NULL));
    rig_wait(is_not_paused, (void *)at_node, 20, "the end of the pause to reach the node");
    rig_wait_step("run", rig_last_step("run") + 2, 60);

    json_decref(rig_ask(at_node, "pause", NULL)); /* one node only; the learner's beats do not end it */
    CHECK(is_paused((void *)at_node) && !is_paused((void *)sock), "only the node");
    check_still(at_node);
    json_decref(rig_ask(at_node, "resume", NULL));
    rig_wait_step("run", rig_last_step("run") + 2, 60);
    rig_stop(l);
    check_books();
}

/* -- two are faster than one ------------------------------------------------------------------------------------------- */

struct window {
    const char *sock[2];
    int n;
    double tokens;
    int64_t begun_ns, until_ns;
};

static double tokens_of(const struct window *w)
{
    double sum = 0;
    for (int i = 0; i < w->n; i++) sum += rig_number(w->sock[i], "status", "generated_tokens");
    return sum;
}

static bool window_is_over(void *arg)
{
    return clock_now_ns() > ((struct window *)arg)->until_ns;
}

/* Tokens per second, all nodes named, over a second. */
static double speed(const char *a, const char *b)
{
    struct window w = {{a, b}, b ? 2 : 1, 0, 0, 0};
    w.begun_ns = clock_now_ns();
    w.until_ns = w.begun_ns + NS_PER_S;
    w.tokens = tokens_of(&w);
    rig_wait(window_is_over, &w, 10, "a second");
    const int64_t end = clock_now_ns();
    return (tokens_of(&w) - w.tokens) / clock_s(end - w.begun_ns);
}

static bool is_busy(void *sock)
{
    return rig_number(sock, "status", "running") >= 16;
}

static void two_nodes_are_faster(void)
{
    cpu_set_t set;
    int cpu[2], n = 0;
    CHECK(!sched_getaffinity(0, sizeof set, &set), "CPUs");
    for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
        if (CPU_ISSET(i, &set)) cpu[n++] = i;
    if (n < 2) {
        printf("skipped: one CPU only\n");
        _exit(77);
    }
    struct dims d = rig_dims();
    d.n_embd = 128, d.n_head = 4, d.n_head_kv = 2, d.head_dim = 32, d.n_ff = 384;
    rig_model("model", 1, &d);
    rig_data("train", &letters);
    /* one step with more work than the test lasts: the learner only hands it out */
    struct proc *l = rig_learner("run", ARGS("--max-steps", "1", "--prompts-per-step", "4000", "--num-generations", "8", "--max-completion-length", "384"));
    const char *a = rig_sock("a"), *b = rig_sock("b"), *address = rig_address("run");
    rig_node("a", address, ARGS("--max-num-seqs", "16", "--cpu-pin", rig_text("%d", cpu[0])));
    rig_node("b", address, ARGS("--max-num-seqs", "16", "--cpu-pin", rig_text("%d", cpu[1])));
    rig_wait(is_busy, (void *)a, 30, "work at node a");
    rig_wait(is_busy, (void *)b, 30, "work at node b");
    double best = 0;
    for (int i = 0; i < 25 && best < 1.5; i++) { /* other work on this machine takes from either side */
        json_decref(rig_ask(b, "pause", NULL));
        const double one = speed(a, NULL);
        json_decref(rig_ask(b, "resume", NULL));
        const double two = speed(a, b);
        printf("one node %.0f tokens/s, two nodes %.0f: %.2f times\n", one, two, two / one);
        best = fmax(best, two / one);
    }
    CHECK(best >= 1.5, "%.2f times at best", best);
    rig_stop(l); /* its one step would take minutes */
}

int main(int argc, char **argv)
{
    static const struct rig_test tests[] = {{"a_second_node_needs_an_address_only", a_second_node_needs_an_address_only},
                                            {"a_killed_node_loses_no_group", a_killed_node_loses_no_group},
                                            {"a_stopped_node_gives_its_work_back", a_stopped_node_gives_its_work_back},
                                            {"a_frozen_node_holds_nobody_up", a_frozen_node_holds_nobody_up},
                                            {"nodes_wait_for_a_killed_learner", nodes_wait_for_a_killed_learner},
                                            {"what_one_node_refuses_another_does", what_one_node_refuses_another_does},
                                            {"what_every_node_refuses_ends_the_run", what_every_node_refuses_ends_the_run},
                                            {"a_node_too_small_for_a_group_says_so", a_node_too_small_for_a_group_says_so},
                                            {"a_drained_node_finishes_and_leaves", a_drained_node_finishes_and_leaves},
                                            {"pause_and_resume", pause_and_resume},
                                            {"two_nodes_are_faster", two_nodes_are_faster},
                                            {NULL, NULL}};
    return rig_main(argc, argv, tests);
}
