// SPDX-License-Identifier: Apache-2.0
/* A run's books: a line and a transaction per step; a resumed run cuts both back to the step it goes on from.
 */
#include "learner/record.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "common/base/file.h"
#include "common/run/db.h"
#include "learner/train.h"

static char root[64];
static int32_t prompt_tok[2] = {1, 2};
static struct prompt_row rows[2] = {{.prompt = "1+1=", .answer = "2", .tok = prompt_tok, .n_tok = 2},
                                    {.prompt = "2+2=", .answer = "4", .tok = prompt_tok, .n_tok = 2}};
static const struct prompts prompts = {.n = 2, .row = rows};
static struct reward_list rewards;

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test_record.XXXXXX");
    return mkdtemp(root) && !reward_list_parse("accuracy,format", "", &rewards, NULL) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return (int)file_remove_tree(root, NULL);
}

static int fresh(void **state)
{
    tear_down(state);
    return (int)file_mkdirs(root, NULL);
}

static struct record *open_at(uint64_t step)
{
    struct record *r = NULL;
    struct why why = {0};
    if (record_open(root, step, &prompts, &rewards, &r, &why)) fail_msg("%s", why.text);
    return r;
}

static struct step_metrics metrics(uint64_t step)
{
    return (struct step_metrics){.step = step,
                                 .policy_version = step,
                                 .n_reward = 2,
                                 .reward_name = {"accuracy", "format"},
                                 .reward_by_name = {0.5, 0.25},
                                 .loss = 0.125,
                                 .reward = 0.5,
                                 .accuracy = NAN,
                                 .kl = INFINITY,
                                 .n_mixed = 3};
}

/* Two groups of two, jobs 10 * step and 10 * step + 1. */
static enum err put(struct record *r, uint64_t step, struct why *why)
{
    static int32_t tok[2] = {5, 6};
    static float lp[2] = {-1, -2};
    static uint32_t version[2] = {3, 3};
    struct completion c[2][2];
    struct group g[2], *list[2] = {&g[0], &g[1]};
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t k = 0; k < 2; k++)
            c[i][k] = (struct completion){.n_tok = 2,
                                          .tok = tok,
                                          .lp = lp,
                                          .version = version,
                                          .text = (char *)"#### 2",
                                          .reward = {k, 1},
                                          .total = k + 1,
                                          .adv = k - 0.5};
        g[i] = (struct group){.job_id = 10 * step + i, .step = step, .node = 1, .row = i, .n = 2, .c = c[i]};
    }
    const struct step_batch b = {.step = step, .n = 2, .group = list};
    const struct step_metrics m = metrics(step);
    return record_step(r, &m, &b, why);
}

static void put_ok(struct record *r, uint64_t step)
{
    struct why why = {0};
    if (put(r, step, &why)) fail_msg("%s", why.text);
}

static void close_ok(struct record *r)
{
    struct why why = {0};
    if (record_close(r, &why)) fail_msg("%s", why.text);
}

/* metrics.jsonl: the steps of its lines, each line a whole object. */
static uint32_t lines(uint64_t *step, uint32_t cap)
{
    char path[128], *text;
    size_t size;
    uint32_t n = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", root);
    assert_int_equal(file_read(path, 1 << 20, &text, &size, NULL), ERR_OK);
    for (char *at = text, *nl; (nl = strchr(at, '\n')); at = nl + 1, n++) {
        json_t *j = json_loadb(at, (size_t)(nl - at), 0, NULL);
        assert_true(json_is_object(j) && n < cap);
        step[n] = (uint64_t)json_integer_value(json_object_get(j, "step"));
        json_decref(j);
    }
    assert_true(!size || text[size - 1] == '\n');
    free(text);
    return n;
}

static double number(const char *sql)
{
    char path[128];
    struct db *d;
    double x = -1;
    snprintf(path, sizeof path, "%s/run.db", root);
    assert_int_equal(db_open(path, false, &d, NULL), ERR_OK);
    assert_int_equal(db_number(d, sql, &x, NULL), ERR_OK);
    db_close(d);
    return x;
}

static void a_step_is_a_line_and_a_transaction(void **state)
{
    (void)state;
    struct record *r = open_at(0);
    char path[128], *text;
    size_t n;
    put_ok(r, 1);
    assert_true(number("SELECT count(*) FROM steps") == 1); /* at once, for whoever looks on */
    assert_true(number("SELECT count(*) FROM completions") == 4 &&
                number("SELECT count(*) FROM jobs WHERE step = 1") == 2);
    assert_true(number("SELECT total(value) FROM rewards WHERE name = 'accuracy'") == 2 &&
                number("SELECT total(value) FROM advantages") == 0);
    snprintf(path, sizeof path, "%s/metrics.jsonl", root);
    assert_int_equal(file_read(path, 1 << 20, &text, &n, NULL), ERR_OK);
    json_t *j = json_loads(text, 0, NULL);
    assert_true(json_integer_value(json_object_get(j, "step")) == 1 &&
                json_number_value(json_object_get(j, "reward_format")) == 0.25);
    assert_true(json_is_null(json_object_get(j, "accuracy")) &&
                json_is_null(json_object_get(j, "kl"))); /* JSON has no NaN */
    static const char *const names[] = {"step",
                                        "loss",
                                        "lr",
                                        "reward",
                                        "reward_std",
                                        "reward_accuracy",
                                        "accuracy",
                                        "kl",
                                        "entropy",
                                        "grad_norm",
                                        "clip_frac",
                                        "completion_length",
                                        "completion_length_min",
                                        "completion_length_max",
                                        "truncated_frac",
                                        "zero_variance_frac",
                                        "mismatch_max",
                                        "mismatch_tok",
                                        "staleness",
                                        "gen_s",
                                        "reward_s",
                                        "train_s",
                                        "push_s",
                                        "tok_per_s",
                                        "policy_version"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (!json_object_get(j, names[i])) fail_msg("no %s", names[i]);
    json_decref(j);
    free(text);
    assert_int_equal(record_sync(r, NULL), ERR_OK);
    close_ok(r);
    close_ok(NULL);
}

static void a_resumed_run_cuts_both_back(void **state)
{
    (void)state;
    uint64_t step[9];
    struct record *r = open_at(0);
    for (uint64_t i = 1; i <= 5; i++) put_ok(r, i);
    close_ok(r);
    r = open_at(3);
    assert_int_equal(lines(step, 9), 3);
    assert_true(number("SELECT max(step) FROM steps") == 3 &&
                number("SELECT count(*) FROM completions") == 12);
    assert_true(number("SELECT count(*) FROM rewards") == 24 &&
                number("SELECT count(*) FROM advantages") == 12);
    put_ok(r, 4); /* and goes on */
    close_ok(r);
    assert_int_equal(lines(step, 9), 4);
    assert_true(step[2] == 3 && step[3] == 4);
    close_ok(open_at(0)); /* started anew */
    assert_int_equal(lines(step, 9), 0);
    assert_true(number("SELECT count(*) FROM jobs") == 0);
}

static void a_torn_or_foreign_line_is_cut(void **state)
{
    (void)state;
    static const char *const tail[] = {"{\"step\": 3, \"loss\": 0.",
                                       "garbage\n{\"step\": 3}\n",
                                       "{\"loss\": 1}\n",
                                       "{\"step\": \"3\"}\n",
                                       "\n",
                                       "{\"step\": 3}",
                                       "\0\0\0"};
    for (unsigned i = 0; i < sizeof tail / sizeof *tail; i++) {
        uint64_t step[9];
        char path[128];
        assert_int_equal(fresh(NULL), 0);
        struct record *r = open_at(0);
        put_ok(r, 1), put_ok(r, 2);
        close_ok(r);
        snprintf(path, sizeof path, "%s/metrics.jsonl", root);
        FILE *f = fopen(path, "a");
        fwrite(tail[i], 1, i == 6 ? 3 : strlen(tail[i]), f);
        fclose(f);
        r = open_at(7);
        put_ok(r, 3);
        close_ok(r);
        assert_int_equal(lines(step, 9), 3);
        assert_true(step[0] == 1 && step[1] == 2 && step[2] == 3);
    }
}

static void sft_has_no_groups(void **state)
{
    (void)state;
    uint64_t step[9];
    struct record *r = open_at(0);
    struct step_metrics m = metrics(1);
    m.n_reward = 0;
    assert_int_equal(record_step(r, &m, NULL, NULL), ERR_OK);
    close_ok(r);
    assert_int_equal(lines(step, 9), 1);
    assert_true(number("SELECT count(*) FROM steps") == 1 && number("SELECT count(*) FROM jobs") == 0);
}

static void a_folder_that_cannot_be_written_is_named(void **state)
{
    (void)state;
    struct record *r = NULL;
    struct why why = {0};
    char path[128];
    assert_int_not_equal(record_open("/no/such/run", 0, &prompts, &rewards, &r, &why), ERR_OK);
    assert_non_null(strstr(why.text, "/no/such/run"));
    snprintf(path, sizeof path, "%s/metrics.jsonl", root);
    assert_int_equal(file_mkdirs(path, NULL), ERR_OK); /* a folder where the file should be */
    assert_int_not_equal(record_open(root, 0, &prompts, &rewards, &r, &why), ERR_OK);
    assert_non_null(strstr(why.text, path));
    assert_null(r);
}

/* In a child: files may not grow beyond what is there. 7: refused with words that name the run. */
static int cramped(void)
{
    struct why why = {0};
    struct record *r = open_at(0);
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){100000, 100000})) return 99;
    for (uint64_t i = 1; i < 2000; i++) {
        const enum err e = put(r, i, &why);
        if (e) return e == ERR_NOSPACE && strstr(why.text, root) ? 7 : (int)e;
    }
    return 98;
}

static void a_full_disk_is_said_and_the_books_can_be_opened_again(void **state)
{
    (void)state;
    uint64_t step[2000];
    int status;
    const pid_t pid = fork();
    if (!pid) _exit(cramped());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    struct record *r = open_at(1);
    put_ok(r, 2);
    close_ok(r);
    assert_int_equal(lines(step, 2000), 2);
    assert_true(number("SELECT count(*) FROM steps") == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_step_is_a_line_and_a_transaction, fresh),
        cmocka_unit_test_setup(a_resumed_run_cuts_both_back, fresh),
        cmocka_unit_test_setup(a_torn_or_foreign_line_is_cut, fresh),
        cmocka_unit_test_setup(sft_has_no_groups, fresh),
        cmocka_unit_test_setup(a_folder_that_cannot_be_written_is_named, fresh),
        cmocka_unit_test_setup(a_full_disk_is_said_and_the_books_can_be_opened_again, fresh),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
