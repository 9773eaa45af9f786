// SPDX-License-Identifier: Apache-2.0
/* The verbs of grpoctl that read files and need no daemon. argv[1]: the program. */
#include "common/base/file.h"
#include "common/run/db.h"
#include "tests/e2e/ctl_run.h"

static void make_run(void)
{
    struct db *db;
    static const char *const text[] = {"good", "bad \033[31m", "middling"};
    static const double reward[] = {1, 0, 0.5};
    assert_int_equal(file_mkdirs("runs/q", NULL), ERR_OK);
    assert_int_equal(db_open("runs/q/run.db", true, &db, NULL), ERR_OK);
    for (uint64_t step = 1; step <= 2; step++) {
        const struct db_job j = {.job_id = step, .step = step, .prompt = "1+1=", .gold = "2"};
        assert_int_equal(db_put_job(db, &j, NULL), ERR_OK);
        for (uint32_t i = 0; i < 3; i++) {
            const struct db_completion c = {.job_id = step, .sample = i, .n_tok = 5, .text = text[i], .finish = i % 2};
            assert_int_equal(db_put_completion(db, &c, NULL), ERR_OK);
            assert_int_equal(db_put_reward(db, step, i, "accuracy", reward[i], NULL), ERR_OK);
            assert_int_equal(db_put_advantage(db, step, i, reward[i] - 0.5, NULL), ERR_OK);
        }
    }
    db_close(db);
}

static void test_samples(void **state)
{
    (void)state;
    make_run();
    struct ran r = RUN("samples", "--best", "-n", "1", "--run", "runs/q");
    assert_int_equal(r.code, 0);
    assert_string_equal(
        r.out, "step 2, job 2, sample 0: reward 1, advantage +0.5, 5 tokens, ended by itself, answer wanted: 2\n  > 1+1=\n  | good\n");
    r = RUN("samples", "--worst", "-n", "1"); /* the newest run here */
    assert_has(r.out, "  | bad \\x1b[31m\n");
    assert_has(r.out, "cut at the length limit");
    r = RUN("samples", "--step", "1", "--json");
    assert_int_equal(r.code, 0);
    assert_int_equal(count(r.out, "\n"), 3);
    assert_has(r.out, "{\"step\":1,\"job_id\":1,\"sample\":2,\"finish\":\"eos\",\"n_tok\":5,\"reward\":0.5,\"advantage\":0.0,\"prompt\":"
                      "\"1+1=\",\"gold\":\"2\","
                      "\"text\":\"middling\"}");
    r = RUN("samples", "--step", "9");
    assert_int_equal(r.code, 1);
    assert_has(r.err, "no completions of step 9");
    assert_int_equal(file_write("runs/q/run.db", "not a database, not at all", 26, NULL), ERR_OK);
    r = RUN("samples");
    assert_int_equal(r.code, 1);
    assert_has(r.err, "runs/q/run.db");
}

static void test_metrics(void **state)
{
    (void)state;
    static char text[600000];
    size_t n = 0;
    assert_int_equal(file_mkdirs("runs/q", NULL), ERR_OK);
    for (int i = 1; i <= 3000; i++)
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "{\"step\":%d,\"reward\":0.5,\"kl\":null,\"truncated_frac\":0.25,\"gen_s\":0.5,\"loss\":\"x\"}\n", i);
    n += (size_t)snprintf(text + n, sizeof text - n, "{\"step\":30"); /* still being written */
    assert_int_equal(file_write("runs/q/metrics.jsonl", text, n, NULL), ERR_OK);
    struct ran r = RUN("metrics", "-n", "2");
    assert_int_equal(r.code, 0);
    assert_int_equal(count(r.out, "\n"), 4); /* folder, heads, two steps */
    assert_has(r.out, "\n3,000     0.5");
    assert_has(r.out, "25 %");
    assert_has(r.out, "500 ms");
    r = RUN("metrics", "--last", "2", "--json");
    assert_string_equal(r.out, "{\"step\":2999,\"reward\":0.5,\"kl\":null,\"truncated_frac\":0.25,\"gen_s\":0.5,\"loss\":\"x\"}\n"
                               "{\"step\":3000,\"reward\":0.5,\"kl\":null,\"truncated_frac\":0.25,\"gen_s\":0.5,\"loss\":\"x\"}\n");
    for (int last = 700; last <= 900; last++) { /* wherever a block of the file begins, whole lines come out */
        char many[16], *some[] = {"grpoctl", "metrics", "--json", "-n", many, NULL};
        if (last % 10 && (last < 765 || last > 795)) continue;
        static char got[100000];
        snprintf(many, sizeof many, "%d", last);
        assert_int_equal(finish(spawn(some, "", "some")), 0);
        slurp("some", got, sizeof got);
        assert_int_equal(count(got, "\n"), last);
        assert_int_equal(strncmp(got, "{\"step\":", 8), 0);
    }
    char *argv[] = {"grpoctl", "metrics", "--json", NULL};
    assert_int_equal(finish(spawn(argv, "", "all")), 0);
    static char all[sizeof text];
    slurp("all", all, sizeof all);
    assert_int_equal(count(all, "\n"), 3000);
    assert_int_equal(strncmp(all, text, strlen(all)), 0);
    assert_int_equal(file_write("runs/q/metrics.jsonl", "\n\nnonsense\n[1]\n", 14, NULL), ERR_OK);
    r = RUN("metrics");
    assert_int_equal(r.code, 0);
    assert_has(r.out, "no JSON objects");
    assert_int_equal(file_write("runs/q/metrics.jsonl", "", 0, NULL), ERR_OK);
    assert_has(RUN("metrics").out, "no steps yet");
}

static void test_dump(void **state)
{
    (void)state;
    /* an ack [7, 14, "gone"], bare; and twice behind its length */
    static const char frame[] = "\x93\x07\x0e\xa4gone", twice[] = "\x08\0\0\0\x93\x07\x0e\xa4gone\x08\0\0\0\x93\x07\x0e\xa4gone";
    assert_int_equal(file_write("one", frame, 8, NULL), ERR_OK);
    assert_int_equal(file_write("two", twice, 24, NULL), ERR_OK);
    assert_int_equal(file_write("cut", twice, 22, NULL), ERR_OK);
    struct ran r = RUN("dump", "one");
    assert_int_equal(r.code, 0);
    assert_string_equal(r.out, "{\"msg\":\"ack\",\"code\":14,\"why\":\"gone\"}\n");
    r = RUN("dump", "two");
    assert_int_equal(count(r.out, "gone"), 2);
    r = RUN("dump", "cut");
    assert_int_equal(r.code, 1);
    assert_int_equal(count(r.out, "gone"), 1);
    assert_has(r.err, "cut: byte 12:");
    assert_int_equal(RUN("dump", "absent").code, 1);
}

static void test_plot(void **state)
{
    (void)state;
    char text[4000];
    size_t n = 0;
    assert_int_equal(file_mkdirs("runs/q", NULL), ERR_OK);
    for (int i = 1; i <= 20; i++) n += (size_t)snprintf(text + n, sizeof text - n, "{\"step\":%d,\"reward\":%g,\"kl\":%d}\n", i, i / 20.0, 100 * i);
    assert_int_equal(file_write("runs/q/metrics.jsonl", text, n, NULL), ERR_OK);
    struct ran r = RUN("plot", "--width", "60", "--height", "10");
    assert_int_equal(r.code, 0);
    assert_int_equal(count(r.out, "\n"), 10);
    assert_has(r.out, "reward");
    assert_null(strchr(r.out, '\033'));
    r = RUN("plot", "kl");
    assert_int_equal(r.code, 0);
    assert_has(r.out, "2000");
    r = RUN("plot", "nothing");
    assert_int_equal(r.code, 1);
    assert_has(r.err, "nothing");
    assert_has(r.err, "reward"); /* what there is */
    assert_int_equal(RUN("plot", "--width", "3").code, 2);
    r = RUN("plot", "--svg", "-");
    assert_int_equal(strncmp(r.out, "<svg", 4) && strncmp(r.out, "<?xml", 5), 0);
    r = RUN("plot", "--svg", "out.svg");
    assert_int_equal(r.code, 0);
    assert_string_equal(r.out, "");
    assert_true(file_exists("out.svg"));
    assert_int_equal(RUN("plot", "--svg", "no/such/folder/out.svg").code, 1);
    r = RUN("plot", "--run", "runs/none");
    assert_int_equal(r.code, 1);
    assert_has(r.err, "runs/none");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    if (!ctl_program(argc, argv)) return 2;
    const struct CMUnitTest tests[] = {T(test_samples), T(test_metrics), T(test_plot), T(test_dump)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
