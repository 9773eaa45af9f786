// SPDX-License-Identifier: Apache-2.0
/* A run that was stopped or killed and resumed is, bit by bit, the run that was not; and what a run leaves behind says how to go on. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/rng.h"
#include "tests/e2e/rig.h"

#define STEPS     20
#define STEPS_ARG "20"

static const struct rig_data letters = {.n_row = 60, .min_prompt = 6, .max_prompt = 40, .max_filler = 12, .seed = 3};
static const char *warm, *held;

static void prepare(void)
{
    const struct rig_data h = {.n_row = 11, .min_prompt = 6, .max_prompt = 40, .max_filler = 12, .seed = 4};
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
    held = rig_data("held", &h);
    warm = rig_warm("model", &letters, 150);
}

/* beta: the frozen reference is the starting model, also after a resume. */
static struct proc *start_at(const char *run, const char *threads, const char *save_steps, const char *listen)
{
    return rig_learner(run, ARGS("--model", warm, "--max-steps", STEPS_ARG, "--save-steps", save_steps, "--threads", threads, "--beta", "0.05",
                                 "--lr-scheduler-type", "cosine", "--warmup-steps", "4", "--eval-data", held, "--eval-steps", "5", "--listen",
                                 listen));
}

static struct proc *start(const char *run, const char *threads)
{
    return start_at(run, threads, "7", "tcp://127.0.0.1:0");
}

static void to_the_end(struct proc *l)
{
    const int code = rig_exit_code(l, 120);
    CHECK(code == 0, "the learner ended with %d", code);
}

/* An uninterrupted run, as "whole". */
static void whole_run(void)
{
    struct proc *l = start("whole", "1"), *n = rig_node("w", rig_address("whole"), ARGS("--max-num-seqs", "16"));
    to_the_end(l);
    rig_stop(n);
}

/* The lines of metrics.jsonl, but for the clock's. b was told to stop in step `stopped` (0: never): an evaluation at its end is not waited
 * for, and is missing. */
static void check_same_metrics(const char *a, const char *b, uint64_t stopped)
{
    static const char *const keys[] = {"step", "loss", "lr", "reward", "reward_std", "kl", "entropy", "grad_norm", "clip_frac", "accuracy",
                                       "completion_length", "truncated_frac", "mismatch_max", "mismatch_tok", "policy_version"};
    json_t *x = rig_metrics(a), *y = rig_metrics(b);
    CHECK(json_array_size(x) == STEPS + 1 && json_array_size(y) == STEPS + 1, "%zu and %zu lines", json_array_size(x), json_array_size(y));
    for (size_t i = 0; i <= STEPS; i++) /* the first is of the evaluation before the first step */
        for (unsigned k = 0; k < sizeof keys / sizeof *keys; k++) {
            json_t *p = json_object_get(json_array_get(x, i), keys[k]), *q = json_object_get(json_array_get(y, i), keys[k]);
            if (stopped && i == stopped && !strcmp(keys[k], "accuracy") && json_is_null(q)) continue;
            CHECK(p && json_equal(p, q), "line %zu: %s is %.17g and %.17g", i, keys[k], json_number_value(p), json_number_value(q));
        }
    json_decref(x), json_decref(y);
}

/* Run until step `at` at least, then sig. Returns the step it got to, below STEPS; names the run. A slow test may miss the window: again. */
static uint64_t interrupt(int sig, uint64_t at, const char **ret_run)
{
    for (int i = 0; i < 6; i++) {
        const char *run = *ret_run = rig_text("cut%d", i);
        struct proc *l = start(run, "1"), *n = rig_node(rig_text("n%d", i), rig_address(run), ARGS("--max-num-seqs", "16"));
        rig_wait_step(run, at, 60);
        const bool late = !rig_is_up(l);
        if (!late) rig_signal(l, sig);
        const int code = rig_exit_code(l, 60);
        CHECK(code == (sig == SIGKILL && !late ? 128 + SIGKILL : 0), "the learner ended with %d", code);
        rig_stop(n);
        const uint64_t step = rig_last_step(run);
        if (step < STEPS) return step;
    }
    FAIL("the run was over each time before it could be interrupted");
}

/* With two threads on either side, which must change nothing. */
static void resume(const char *run)
{
    struct proc *l = start(run, "2"), *n = rig_node("again", rig_address(run), ARGS("--max-num-seqs", "16", "--threads", "2"));
    to_the_end(l);
    CHECK(rig_said(l, "resumed"), "it did not resume");
    rig_stop(n);
}

static void a_stopped_run_goes_on(void)
{
    const char *run;
    prepare();
    whole_run();
    const uint64_t step = interrupt(SIGTERM, 3, &run);
    /* the step was finished and saved */
    CHECK(file_exists(rig_path("%s/checkpoints/step-%llu/trainer_state.json", run, (unsigned long long)step)), "step %llu is not saved",
          (unsigned long long)step);
    CHECK(rig_db(run, NULL, "SELECT max(step) FROM steps") == (double)step, "run.db");
    resume(run);
    rig_check_same_run("whole", run, STEPS);
    check_same_metrics("whole", run, step);
}

static void a_killed_run_goes_on(void)
{
    const char *run;
    prepare();
    whole_run();
    /* past the checkpoint of step 7: some steps are in run.db and not in a checkpoint, and are done again */
    const uint64_t step = interrupt(SIGKILL, 9, &run);
    CHECK(step >= 9 && rig_db(run, NULL, "SELECT max(step) FROM steps") >= (double)step, "step %llu", (unsigned long long)step);
    resume(run);
    CHECK(rig_db(run, NULL, "SELECT count(*) - count(DISTINCT job_id) FROM jobs") == 0, "a job is there twice");
    CHECK(rig_db(run, NULL, "SELECT count(*) FROM jobs") == STEPS * 4, "jobs");
    rig_check_same_run("whole", run, STEPS);
    check_same_metrics("whole", run, 0);
}

/* Killed before the first checkpoint: from the beginning, with nothing left of the first try. */
static void a_run_killed_early_starts_again(void)
{
    const char *run;
    prepare();
    whole_run();
    interrupt(SIGKILL, 2, &run);
    if (file_exists(rig_path("%s/checkpoints/step-7/trainer_state.json", run))) FAIL("too late: already saved");
    struct proc *l = start(run, "1"), *n = rig_node("again", rig_address(run), ARGS("--max-num-seqs", "16"));
    to_the_end(l);
    rig_stop(n);
    rig_check_same_run("whole", run, STEPS);
    check_same_metrics("whole", run, 0);
}

static bool time_is_up(void *deadline_ns)
{
    return clock_now_ns() > *(int64_t *)deadline_ns;
}

/* Killed again and again, at any moment: while it trains, writes, saves. With a node that sees it all. */
static void a_run_killed_at_any_moment_goes_on(void)
{
    prepare();
    whole_run();
    struct proc *l = start_at("hard", "1", "2", "tcp://127.0.0.1:0");
    const char *address = rig_address("hard");
    struct proc *n = rig_node("n", address, ARGS("--max-num-seqs", "16"));
    int kills = 0;
    for (uint64_t at = 1; at < STEPS - 2 && kills < 8; at = rig_last_step("hard") + 1) {
        rig_may_end(l);
        rig_wait_step("hard", at, 60);
        int64_t deadline = clock_now_ns() + (int64_t)(rng_u64(1, (uint64_t)kills, 0) % 40) * NS_PER_MS;
        rig_wait(time_is_up, &deadline, 10, "a moment");
        if (!rig_is_up(l)) break;
        rig_kill(l);
        kills++;
        l = start_at("hard", "1", "2", address);
    }
    to_the_end(l);
    printf("killed %d times\n", kills);
    rig_stop(n);
    rig_check_same_run("whole", "hard", STEPS);
    check_same_metrics("whole", "hard", 0);
}

/* Asynchronous: other tokens after a kill, but the books are those of one run. */
static void a_killed_asynchronous_run_goes_on(void)
{
    prepare();
    const char *const *args = ARGS("--model", warm, "--max-steps", STEPS_ARG, "--save-steps", "4", "--max-staleness", "2");
    struct proc *l = rig_learner("run", args), *n = rig_node("a", rig_address("run"), ARGS("--max-num-seqs", "16"));
    rig_wait_step("run", 6, 60);
    if (rig_is_up(l)) rig_kill(l); /* else it was over: the rest holds all the same */
    rig_stop(n);
    l = rig_learner("run", args);
    if (rig_last_step("run") < STEPS) {
        n = rig_node("b", rig_address("run"), ARGS("--max-num-seqs", "16"));
        to_the_end(l);
        rig_stop(n);
    }
    to_the_end(l);
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM steps") == STEPS && rig_last_step("run") == STEPS, "steps");
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM (SELECT step FROM jobs GROUP BY step HAVING count(*) = 4)") == STEPS, "jobs of a step");
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM completions") == STEPS * 16, "completions");
    json_t *m = rig_metrics("run");
    CHECK(rig_max(m, "mismatch_max") == 0, "mismatch %g", rig_max(m, "mismatch_max"));
    json_decref(m);
}

/* -- the end of a run -------------------------------------------------------------------------------------------------- */

static struct proc *short_run(const char *const *args)
{
    struct proc *l = rig_learner("run", args), *n = rig_node("s", rig_address("run"), ARGS("--max-num-seqs", "16"));
    to_the_end(l);
    rig_stop(n);
    return l;
}

static void a_finished_run_says_how_to_start_the_next(void)
{
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
    struct proc *l = short_run(ARGS("--max-steps", "3"));
    CHECK(rig_said(l, "3 steps"), "the summary");
    l = rig_learner("run", ARGS("--max-steps", "3"));
    to_the_end(l);
    CHECK(rig_said(l, "is finished at step 3") && rig_said(l, "To start the next run"), "how to go on");
    CHECK(rig_last_step("run") == 3, "the run is as it was");

    /* each way that it names: more steps go on, resume false starts anew */
    short_run(ARGS("--max-steps", "5"));
    CHECK(rig_last_step("run") == 5 && rig_db("run", NULL, "SELECT count(*) FROM steps") == 5, "step %llu", (unsigned long long)rig_last_step("run"));
    short_run(ARGS("--max-steps", "2", "--resume", "false"));
    CHECK(rig_last_step("run") == 2 && rig_db("run", NULL, "SELECT count(*) FROM steps") == 2, "step %llu", (unsigned long long)rig_last_step("run"));
    CHECK(file_exists(rig_path("run/checkpoints/step-2/trainer_state.json")), "the new run's checkpoint");
    CHECK(!file_exists(rig_path("run/checkpoints/step-5")), "the old run's would be resumed");
    l = rig_learner("run", ARGS("--max-steps", "2"));
    to_the_end(l);
    CHECK(rig_said(l, "is finished at step 2"), "the new run is the one that counts");
}

static void the_last_checkpoints_are_kept(void)
{
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
    short_run(ARGS("--max-steps", "12", "--save-steps", "2", "--save-total-limit", "3"));
    for (int i = 1; i <= 12; i++) {
        const bool there = file_exists(rig_path("run/checkpoints/step-%d/model.safetensors", i));
        CHECK(there == (i == 8 || i == 10 || i == 12), "step-%d", i);
    }
}

int main(int argc, char **argv)
{
    static const struct rig_test tests[] = {{"a_stopped_run_goes_on", a_stopped_run_goes_on},
                                            {"a_killed_run_goes_on", a_killed_run_goes_on},
                                            {"a_run_killed_early_starts_again", a_run_killed_early_starts_again},
                                            {"a_run_killed_at_any_moment_goes_on", a_run_killed_at_any_moment_goes_on},
                                            {"a_killed_asynchronous_run_goes_on", a_killed_asynchronous_run_goes_on},
                                            {"a_finished_run_says_how_to_start_the_next", a_finished_run_says_how_to_start_the_next},
                                            {"the_last_checkpoints_are_kept", the_last_checkpoints_are_kept},
                                            {NULL, NULL}};
    return rig_main(argc, argv, tests);
}
