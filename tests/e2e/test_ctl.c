// SPDX-License-Identifier: Apache-2.0
/* grpoctl against daemons that answer well, badly or not at all. argv[1]: the program. What a user relies on: the exit code says what
 * happened, data is on stdout and words on stderr, nothing hangs past --timeout, and nothing a daemon says can crash it. */
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/model/arith.h"
#include "tests/e2e/ctl_run.h"
#include "tests/e2e/fake_daemon.h"

#define SOCK "x.sock"

static const char learner_status[] =
    "{\"daemon\":\"learner\",\"version\":\"0.1.0\",\"run_dir\":\"runs/q\",\"mode\":\"grpo\",\"device\":\"cpu/avx2\",\"policy_version\":37,"
    "\"step\":37,\"max_steps\":200,\"paused\":false,\"nodes\":2,\"uptime_s\":130.5,\"reward\":0.4312,\"loss\":-0.01,\"tok_per_s\":12345.6,"
    "\"step_s\":1.25,\"mismatch_max\":0.0}";
static const char rollout_status[] =
    "{\"daemon\":\"rollout\",\"version\":\"0.1.0\",\"name\":\"node-a\",\"learner\":\"tcp://127.0.0.1:6510\",\"link\":\"ready\"}";

/* -- good answers ------------------------------------------------------------------------------------------------------- */

static void test_status_for_people_and_for_programs(void **state)
{
    (void)state;
    struct fake *f = fake_start(SOCK, ANSWER, learner_status);
    struct ran r = RUN("status", "--socket", SOCK);
    assert_int_equal(r.code, 0);
    assert_string_equal(r.err, "");
    assert_has(r.out, "learner runs/q\n");
    assert_has(r.out, "37 of 200 (18 %), 1.2 s a step, about 3 min 24 s left");
    assert_has(r.out, "2 min 11 s");
    assert_has(r.out, "12,346");
    assert_null(strchr(r.out, '\033')); /* not a terminal: no colours */
    r = RUN("status", "--socket", SOCK, "--json");
    assert_int_equal(r.code, 0);
    assert_int_equal(strncmp(r.out, learner_status, sizeof learner_status - 1), 0); /* exactly what the daemon said */
    assert_string_equal(r.out + sizeof learner_status - 1, "\n");
    r = RUN("--socket=" SOCK, "--json", "status"); /* before the verb too */
    assert_int_equal(strncmp(r.out, learner_status, sizeof learner_status - 1), 0);
    ctl_env("GRPO_SOCKET=" SOCK);
    r = RUN("status", "--json");
    assert_int_equal(strncmp(r.out, learner_status, sizeof learner_status - 1), 0);
    fake_stop(f);
}

static void test_colours_on_a_terminal_alone(void **state)
{
    (void)state;
    struct fake *f = fake_start(SOCK, ANSWER, "{\"daemon\":\"learner\",\"run_dir\":\"\\u001b[5mblink\"}");
    char *argv[] = {"grpoctl", "status", "--socket", SOCK, NULL};
    struct ran r = run_on_terminal(argv);
    assert_int_equal(r.code, 0);
    assert_has(r.out, "\033[1mlearner \\x1b[5mblink\033[0m"); /* ours, and none of the daemon's */
    assert_null(strstr(r.out, "\033[5m"));
    ctl_env("NO_COLOR=1");
    r = run_on_terminal(argv);
    assert_has(r.out, "learner \\x1b[5mblink\r\n");
    assert_null(strchr(r.out, '\033'));
    fake_stop(f);
}

static void test_queues_and_nodes(void **state)
{
    (void)state;
    struct fake *f = fake_start(
        SOCK, ANSWER,
        "{\"jobs_waiting\":12,\"jobs_in_flight\":8,\"in_flight_by_node\":{\"node-a\":5,\"b\":3},\"groups_waiting_for_rewards\":1,"
        "\"groups_waiting_for_step\":2,\"batches_waiting_to_train\":4,\"oldest_job_s\":3.25}");
    struct ran r = RUN("queues", "--socket", SOCK);
    assert_int_equal(r.code, 0);
    assert_has(r.out, "jobs waiting                  12\n");
    assert_has(r.out, "at node-a                   5\n");
    assert_has(r.out, "groups waiting for rewards    1\n");
    assert_has(r.out, "batches waiting to train      4\n");
    assert_has(r.out, "age of the oldest waiting     3.2 s\n");
    assert_string_equal(fake_log(f), "queues ");
    fake_stop(f);
    f = fake_start(SOCK, ANSWER,
                   "{\"nodes\":[{\"name\":\"a\",\"state\":\"up\",\"current\":true,\"policy_version\":3},{\"name\":\"b\",\"state\":\"gone\","
                   "\"current\":false,\"policy_version\":2,\"kv_blocks\":100,\"kv_free_blocks\":25}]}");
    r = RUN("nodes", "--socket", SOCK);
    assert_int_equal(r.code, 0);
    assert_has(r.out, "node  state  version");
    assert_has(r.out, "\na     up           3");
    assert_has(r.out, "\nb     gone        2*");
    assert_has(r.out, "75 %");
    fake_stop(f);
}

static void test_conf_and_prometheus(void **state)
{
    (void)state;
    struct fake *f = fake_start(SOCK, ANSWER, "{\"learning_rate\":\"1e-06\",\"run_dir\":\"runs/q\",\"prometheus\":\"grpo_x 1\\ngrpo_y 2\\n\"}");
    struct ran r = RUN("conf", "--socket", SOCK, "learning_rate");
    assert_int_equal(r.code, 0);
    assert_string_equal(r.out, "1e-06\n");
    r = RUN("conf", "--socket", SOCK, "learning_rat");
    assert_int_equal(r.code, 1);
    assert_has(r.err, "did you mean learning_rate?");
    r = RUN("conf", "--socket", SOCK);
    assert_has(r.out, "learning_rate  1e-06\n");
    r = RUN("metrics", "--prometheus", "--socket", SOCK);
    assert_int_equal(r.code, 0);
    assert_string_equal(r.out, "grpo_x 1\ngrpo_y 2\n");
    fake_stop(f);
}

static void test_a_drain_hits_the_node_meant(void **state)
{
    (void)state;
    struct fake *f = fake_start(SOCK, ANSWER, rollout_status);
    struct ran r = RUN("drain", "node-b", "--socket", SOCK);
    assert_int_equal(r.code, 1);
    assert_has(r.err, "is the node node-a, not node-b");
    assert_string_equal(fake_log(f), "status "); /* it was not drained */
    r = RUN("drain", "node-a", "--socket", SOCK);
    assert_int_equal(r.code, 0);
    assert_string_equal(r.out, "");
    assert_string_equal(fake_log(f), "status status drain ");
    fake_stop(f);
    f = fake_start(SOCK, ANSWER, learner_status);
    r = RUN("drain", "node-b", "--socket", SOCK);
    assert_int_equal(r.code, 0);
    assert_string_equal(fake_log(f), "status drain{\"node\":\"node-b\"} ");
    r = RUN("drain", "--socket", SOCK);
    assert_int_equal(r.code, 2);
    fake_stop(f);
}

/* Two runs on one host: a run's status shows its own node, wherever its socket is. */
static void test_a_run_finds_its_own(void **state)
{
    (void)state;
    assert_int_equal(file_mkdirs("runs/p", NULL), ERR_OK);
    assert_int_equal(file_mkdirs("runs/q", NULL), ERR_OK);
    assert_int_equal(file_mkdirs("runs/r", NULL), ERR_OK);
    assert_int_equal(file_write("runs/q/learner.addr", "tcp://0.0.0.0:6510\n", 19, NULL), ERR_OK);
    assert_int_equal(file_write("runs/p/learner.addr", "tcp://0.0.0.0:6511\n", 19, NULL), ERR_OK);
    struct fake *p = fake_start("runs/p/learner.sock", ANSWER, "{\"daemon\":\"learner\",\"run_dir\":\"runs/p\"}");
    struct fake *q = fake_start("runs/q/learner.sock", ANSWER, learner_status);
    struct fake *its = fake_start("runs/r/rollout-1.sock", ANSWER, rollout_status);
    struct fake *other =
        fake_start("runs/r/rollout-2.sock", ANSWER, "{\"daemon\":\"rollout\",\"name\":\"else\",\"learner\":\"tcp://127.0.0.1:6511\"}");
    struct ran r = RUN("status", "--run", "runs/q");
    assert_int_equal(r.code, 0);
    assert_has(r.out, "learner runs/q\n");
    assert_has(r.out, "rollout node node-a\n");
    assert_null(strstr(r.out, "else"));
    r = RUN("status", "--run", "runs/p/");
    assert_has(r.out, "learner runs/p\n");
    assert_has(r.out, "rollout node else\n");
    r = RUN("status", "--run", "runs/p", "--on", "learner");
    assert_null(strstr(r.out, "rollout node"));
    r = RUN("queues"); /* two learners: it says which */
    assert_int_equal(r.code, 0);
    assert_has(r.err, "2 learners answer; this is the one at runs/");
    fake_stop(p), fake_stop(q), fake_stop(its), fake_stop(other);
}

static void test_generate(void **state)
{
    (void)state;
    const struct arith_opts o = {.seed = 1};
    assert_int_equal(arith_make_model("model", &o, NULL), ERR_OK); /* ids 0, 1, 2 are ! " # in its tokenizer */
    struct fake *f = fake_start(SOCK, GROUP, "{\"daemon\":\"rollout\",\"model\":\"model\"}");
    struct ran r = RUN("generate", "1+2=", "--socket", SOCK);
    assert_int_equal(r.code, 0);
    assert_string_equal(r.out, "!\"#\n");
    assert_has(r.err, "3 tokens");
    assert_has(r.err, "policy version 4");
    r = RUN("generate", "1+2=", "-n", "2", "--socket", SOCK, "--model", "model");
    assert_string_equal(r.out, "--- 1: 3 tokens, ended by itself\n!\"#\n\n--- 2: 3 tokens, length\n!\"#\n");
    r = run_argv((char *[]){"grpoctl", "generate", "--json", "--seed", "77", "--socket", SOCK, NULL}, "1+2=\n"); /* stdin */
    assert_int_equal(r.code, 0);
    assert_has(r.out, "{\"seed\":77,\"incarnation\":9,\"prompt_tokens\":[16,10,17,28],"); /* no newline in it */
    assert_has(r.out, "\"completions\":[{\"text\":\"!\\\"#\",\"finish\":\"eos\",\"tokens\":[0,1,2],\"logprobs\":[-0.5,-0.5,-0.5],"
                      "\"versions\":[4,4,4]}]}");
    assert_int_equal(RUN("generate", "", "--socket", SOCK).code, 2);
    assert_int_equal(RUN("generate", "x", "--seed", "-1", "--socket", SOCK).code, 2);
    assert_int_equal(RUN("generate", "x", "--on", "learner").code, 2);
    r = RUN("generate", "\xff", "--socket", SOCK);
    assert_int_equal(r.code, 1);
    assert_has(r.err, "not UTF-8");
    r = RUN("generate", "x", "--model", "elsewhere", "--socket", SOCK);
    assert_int_equal(r.code, 1);
    assert_has(r.err, "elsewhere/tokenizer.json");
    fake_stop(f);
    static const struct {
        enum manner m;
        int code;
    } bad[] = {{REFUSE, 1}, {CUT, 1}, {HANG_UP, 1}, {BABBLE, 1}, {ENDLESS, 1}, {OTHER, 1}, {SILENT, 4}, {TRICKLE, 4}, {ANSWER, 1}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        f = fake_start(SOCK, bad[i].m, NULL);
        r = RUN("generate", "x", "--model", "model", "--socket", SOCK, "--timeout", "0.3");
        if (r.code != bad[i].code) fail_msg("manner %u: exit %d: %s", bad[i].m, r.code, r.err);
        assert_string_equal(r.out, "");
        assert_true(*r.err && r.s < 5);
        fake_stop(f);
    }
}

/* -- bad answers -------------------------------------------------------------------------------------------------------- */

static char *const asking[][4] = {{"status"}, {"queues"}, {"nodes"},           {"conf"},
                                  {"pause"},  {"resume"}, {"drain", "node-a"}, {"metrics", "--prometheus"}};

static struct ran run_asking(unsigned i, const char *timeout)
{
    char *argv[12] = {"grpoctl", "--socket", SOCK, "--timeout", (char *)timeout};
    int n = 5;
    for (int k = 0; asking[i][k]; k++) argv[n++] = asking[i][k];
    return run_argv(argv, "");
}

static void every_verb(enum manner m, int code, const char *words)
{
    struct fake *f = fake_start(SOCK, m, NULL);
    for (unsigned i = 0; i < sizeof asking / sizeof *asking; i++) {
        const struct ran r = run_asking(i, "0.3");
        if (r.code != code) fail_msg("%s: exit %d instead of %d: %s", asking[i][0], r.code, code, r.err);
        if (!strstr(r.err, words)) fail_msg("%s: \"%s\" does not say \"%s\"", asking[i][0], r.err, words);
        assert_string_equal(r.out, "");
        assert_null(strchr(r.err, '\033'));
        assert_true(r.s < 5);
    }
    fake_stop(f);
}

static void test_a_no_is_passed_on(void **state)
{
    (void)state;
    every_verb(REFUSE, 1, "not on a \\x1b[31mSunday");
}

static void test_a_cut_answer(void **state)
{
    (void)state;
    every_verb(CUT, 1, "hung up without a whole answer");
    every_verb(HANG_UP, 1, "hung up without a whole answer");
}

static void test_nonsense(void **state)
{
    (void)state;
    every_verb(BABBLE, 1, "makes no sense");
    every_verb(ENDLESS, 1, "does not speak like a daemon");
    every_verb(OTHER, 1, "makes no sense");
}

static void test_silence_and_dawdling_time_out(void **state)
{
    (void)state;
    every_verb(SILENT, 4, "no answer within 300 ms");
    every_verb(TRICKLE, 4, "no answer within 300 ms");
}

/* It listens, but takes nobody any more: its queue of clients is full. */
static void test_a_daemon_that_stands_still(void **state)
{
    (void)state;
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = SOCK};
    int client[64];
    unsigned n = 0;
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 1), 0);
    for (;; n++) {
        assert_true(n < 64);
        client[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(client[n], (struct sockaddr *)&a, sizeof a)) break;
    }
    const struct ran r = RUN("status", "--socket", SOCK, "--timeout", "0.3");
    assert_int_equal(r.code, 4);
    assert_true(r.s < 5);
    for (unsigned i = 0; i <= n; i++) close(client[i]);
    close(fd);
}

static void test_json_of_any_shape(void **state)
{
    (void)state;
    static const char *const shape[] = {
        ("{\"daemon\":5,\"nodes\":\"x\",\"in_flight_by_node\":[1],\"jobs_waiting\":\"many\",\"step\":[],\"max_steps\":{},\"uptime_s\":null,"
         "\"prometheus\":\"\"}"),
        ("{\"daemon\":\"learner\",\"nodes\":[1,null,{}],\"jobs_waiting\":-1e300,\"in_flight_by_node\":{\"\":null},\"step\":1e308,"
         "\"max_steps\":-1,\"step_s\":1e308,\"prometheus\":\"\"}"),
        ("{\"nodes\":[{\"daemon\":1}],\"kv_blocks\":-1,\"run_dir\":\"\\u001b[2J\\u0007\",\"name\":\"\\u001b\",\"prometheus\":\"\"}"),
    };
    for (unsigned k = 0; k < sizeof shape / sizeof *shape; k++) {
        struct fake *f = fake_start(SOCK, ANSWER, shape[k]);
        for (unsigned i = 0; i < sizeof asking / sizeof *asking; i++) {
            const struct ran r = run_asking(i, "5");
            if (r.code > 1) fail_msg("%s: exit %d: %s", asking[i][0], r.code, r.err); /* drain: another node's name */
            assert_null(strchr(r.out, '\033'));
            assert_null(strchr(r.err, '\033'));
        }
        fake_stop(f);
    }
    static const char *const none[] = {"", "[]", "nonsense", "{\"a\":", "\"text\"", "{\"a\":1,\"a\":2}"};
    for (unsigned k = 0; k < sizeof none / sizeof *none; k++) {
        struct fake *f = fake_start(SOCK, ANSWER, none[k]);
        const struct ran r = RUN("status", "--socket", SOCK, "--json");
        assert_int_equal(r.code, 1);
        assert_has(r.err, "no JSON object");
        assert_string_equal(r.out, "");
        fake_stop(f);
    }
}

static void test_nobody_there(void **state)
{
    (void)state;
    struct ran r = RUN("status", "--socket", SOCK);
    assert_int_equal(r.code, 3);
    assert_has(r.err, SOCK ": no daemon answers here");
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = SOCK}; /* left over from one that was killed */
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    r = RUN("queues", "--socket", SOCK);
    assert_int_equal(r.code, 3);
    r = RUN("status", "--run", "runs/none");
    assert_int_equal(r.code, 3);
    assert_has(r.err, "runs/none: no such run folder");
    r = RUN("pause", "--socket", "stdin"); /* a plain file */
    assert_int_equal(r.code, 3);
}

/* -- the rest ----------------------------------------------------------------------------------------------------------- */

static void test_usage(void **state)
{
    (void)state;
    struct ran r = RUN("stauts");
    assert_int_equal(r.code, 2);
    assert_has(r.err, "did you mean status?");
    assert_int_equal(RUN("status", "--nope").code, 2);
    assert_int_equal(RUN("status", "--on", "sofa").code, 2);
    assert_int_equal(RUN("status", "--timeout", "soon").code, 2);
    assert_int_equal(RUN("drain").code, 2);
    assert_int_equal(RUN("--nope", "status").code, 2);
    assert_int_equal(RUN("dump").code, 2);
    assert_int_equal(run_argv((char *[]){"grpoctl", NULL}, "").code, 2);
    r = RUN("--help");
    assert_int_equal(r.code, 0);
    assert_has(r.out, "queues");
    assert_string_equal(r.err, "");
    r = RUN("nodes", "--help");
    assert_int_equal(r.code, 0);
    assert_has(r.out, "--watch [SEC]");
}

static void test_a_full_disk_is_no_success(void **state)
{
    (void)state;
    struct fake *f = fake_start(SOCK, ANSWER, learner_status);
    char *argv[] = {"grpoctl", "status", "--socket", SOCK, NULL};
    const int code = finish(spawn(argv, "", "/dev/full"));
    char err[1000];
    slurp("stderr", err, sizeof err);
    assert_int_equal(code, 1);
    assert_has(err, "cannot write");
    fake_stop(f);
}

/* Until the output so far holds a text; at most 10 s. */
static void wait_for(const char *part, char *out, size_t cap)
{
    for (int i = 0; i < 1000; i++) {
        slurp("stdout", out, cap);
        if (strstr(out, part)) return;
        usleep(10000);
    }
    fail_msg("\"%s\" never came", part);
}

static void test_a_watch_outlives_a_restart(void **state)
{
    (void)state;
    static char out[1 << 20];
    struct fake *f = fake_start(SOCK, ANSWER, learner_status);
    char *argv[] = {"grpoctl", "status", "--socket", SOCK, "--watch", "0.05", NULL};
    const pid_t pid = spawn(argv, "", "stdout");
    wait_for("learner runs/q", out, sizeof out);
    fake_stop(f);
    wait_for("no daemon answers here", out, sizeof out);
    f = fake_start(SOCK, ANSWER, rollout_status);
    wait_for("rollout node node-a", out, sizeof out);
    kill(pid, SIGTERM);
    assert_int_equal(finish(pid), 128 + SIGTERM);
    assert_true(count(out, "learner runs/q") >= 1);
    assert_null(strchr(out, '\033')); /* into a file: no clearing of a screen */
    fake_stop(f);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    if (!ctl_program(argc, argv)) return 2;
    const struct CMUnitTest tests[] = {T(test_status_for_people_and_for_programs),
                                       T(test_colours_on_a_terminal_alone),
                                       T(test_queues_and_nodes),
                                       T(test_conf_and_prometheus),
                                       T(test_a_drain_hits_the_node_meant),
                                       T(test_a_run_finds_its_own),
                                       T(test_generate),
                                       T(test_a_no_is_passed_on),
                                       T(test_a_cut_answer),
                                       T(test_nonsense),
                                       T(test_silence_and_dawdling_time_out),
                                       T(test_a_daemon_that_stands_still),
                                       T(test_json_of_any_shape),
                                       T(test_nobody_there),
                                       T(test_usage),
                                       T(test_a_full_disk_is_no_success),
                                       T(test_a_watch_outlives_a_restart)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
