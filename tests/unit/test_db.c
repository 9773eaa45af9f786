// SPDX-License-Identifier: Apache-2.0
/* The database of a run holds whole steps, whatever happens: a reader in the middle, a full disk, a resumed run; and what is
 * no database of ours is left as it was. */
#include "common/run/db.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <sqlite3.h>

#include "common/base/file.h"

#define N_SAMPLE 4

static char root[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test_db.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return (int)file_remove_tree(root, NULL);
}

static const char *at(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", root, name);
    return p;
}

static void ok(enum err e, const struct why *why)
{
    if (e) fail_msg("%s", why_str(why, e));
}

static struct db *open_db(const char *name, bool write)
{
    struct db *d = NULL;
    struct why why = {0};
    ok(db_open(at(name), write, &d, &why), &why);
    assert_non_null(d);
    return d;
}

static double number(struct db *d, const char *q)
{
    double v = -1;
    struct why why = {0};
    ok(db_number(d, q, &v, &why), &why);
    return v;
}

/* What the learner writes for a step, without begin and commit. Job ids are 10 * step and one more. Stops at the first error. */
static enum err put_step(struct db *d, uint64_t step, struct why *why)
{
    static const int32_t tok[] = {1, -2, 300000};
    static const float lp[] = {-0.5f, -1.25f, -0.0f};
    static const uint32_t version[] = {7, 7, 4000000000u};
    for (uint64_t id = 10 * step; id < 10 * step + 2; id++) {
        const struct db_job j = {.job_id = id, .step = step, .node = 3, .row = 5, .prompt = "1+1=", .gold = "2",
                                 .tok = tok,   .n_tok = 3,   .wait_s = 0.5, .gen_s = 2};
        TRY(db_put_job(d, &j, why));
        for (uint32_t i = 0; i < N_SAMPLE; i++) {
            char text[32];
            snprintf(text, sizeof text, "sample %u of %u", i, (unsigned)id);
            const struct db_completion c = {id, i, i & 1, 3, text, tok, lp, version};
            TRY(db_put_completion(d, &c, why));
            TRY(db_put_reward(d, id, i, "accuracy", i == 2, why));
            TRY(db_put_reward(d, id, i, "format", 0.25 * i, why));
            TRY(db_put_advantage(d, id, i, (double)i - 1.5, why));
        }
    }
    return db_put_step(d, step, step + 100, "{\"step\": 1}", why);
}

static void put_whole_step(struct db *d, uint64_t step)
{
    struct why why = {0};
    ok(db_begin(d, &why), &why);
    ok(put_step(d, step, &why), &why);
    ok(db_commit(d, &why), &why);
}

/* -- what was put is there ------------------------------------------------------------------------------ */

struct seen {
    unsigned n, at_most;
    struct db_sample s[32];
    char text[32][40];
};

static bool see(void *arg, const struct db_sample *s)
{
    struct seen *to = arg;
    to->s[to->n] = *s;
    snprintf(to->text[to->n], sizeof to->text[0], "%s|%s|%s", s->prompt, s->gold, s->text);
    to->n++;
    return to->n < to->at_most;
}

static struct seen samples(struct db *d, uint64_t step, enum db_order order, uint32_t limit)
{
    struct seen to = {.at_most = 32};
    struct why why = {0};
    ok(db_samples(d, step, order, limit, see, &to, &why), &why);
    return to;
}

static void what_is_put_is_read_back(void **state)
{
    (void)state;
    struct db *w = open_db("back", true), *r = open_db("back", false);
    struct why why = {0};
    ok(db_put_meta(w, "model", "tiny", &why), &why);
    put_whole_step(w, 1);
    put_whole_step(w, 2);
    const struct seen all = samples(r, 1, DB_BY_JOB, 100);
    assert_int_equal(all.n, 2 * N_SAMPLE);
    const struct db_sample *s = &all.s[6];
    assert_true(s->job_id == 11 && s->step == 1 && s->sample == 2 && s->finish == 0 && s->n_tok == 3);
    assert_true(s->reward == 1.5 && s->advantage == 0.5);
    assert_string_equal(all.text[6], "1+1=|2|sample 2 of 11");
    assert_true(number(r, "SELECT value = 'tiny' FROM meta WHERE key = 'model'") == 1);
    assert_true(number(r, "SELECT policy_version FROM steps WHERE step = 2") == 102);
    assert_true(number(r, "SELECT node + row + wait_s + gen_s FROM jobs WHERE job_id = 20") == 10.5);
    /* blobs are little-endian arrays: the third token, the second logprob, the third version */
    assert_true(number(r, "SELECT hex(tokens) = '01000000FEFFFFFFE0930400' FROM completions") == 1);
    assert_true(number(r, "SELECT hex(substr(logprobs, 5, 4)) = '0000A0BF' FROM completions") == 1);
    assert_true(number(r, "SELECT hex(substr(versions, 9, 4)) = '00286BEE' FROM completions") == 1);
    db_close(r), db_close(w);
}

static void samples_come_in_the_order_asked_for(void **state)
{
    (void)state;
    struct db *w = open_db("order", true);
    struct why why = {0};
    assert_int_equal(samples(w, UINT64_MAX, DB_BY_JOB, 100).n, 0); /* no step yet */
    put_whole_step(w, 1);
    put_whole_step(w, 2);
    struct seen s = samples(w, UINT64_MAX, DB_BEST, 3); /* the newest step */
    assert_int_equal(s.n, 3);
    assert_true(s.s[0].step == 2 && s.s[0].sample == 2 && s.s[0].job_id == 20 && s.s[1].job_id == 21 && s.s[2].sample == 3);
    s = samples(w, 2, DB_WORST, 1);
    assert_true(s.n == 1 && s.s[0].sample == 0 && s.s[0].reward == 0);
    assert_int_equal(samples(w, 9, DB_BY_JOB, 100).n, 0);
    assert_int_equal(samples(w, 2, DB_BY_JOB, 0).n, 0);
    s = (struct seen){.at_most = 2}; /* the caller has enough */
    ok(db_samples(w, 2, DB_BY_JOB, 100, see, &s, &why), &why);
    assert_int_equal(s.n, 2);
    db_close(w);
}

/* -- whole steps ------------------------------------------------------------------------------------------ */

static void a_reader_never_sees_half_a_step(void **state)
{
    (void)state;
    struct db *w = open_db("whole", true), *r = open_db("whole", false);
    struct why why = {0};
    put_whole_step(w, 1);
    ok(db_begin(w, &why), &why);
    ok(put_step(w, 2, &why), &why);
    assert_int_equal(samples(r, UINT64_MAX, DB_BY_JOB, 100).s[0].step, 1);
    assert_true(number(r, "SELECT count(*) FROM completions") == 2 * N_SAMPLE);
    assert_true(number(w, "SELECT count(*) FROM completions") == 4 * N_SAMPLE);
    ok(db_commit(w, &why), &why);
    assert_int_equal(samples(r, UINT64_MAX, DB_BY_JOB, 100).s[0].step, 2);
    ok(db_begin(w, &why), &why);
    ok(put_step(w, 3, &why), &why);
    db_close(w); /* as a process that dies: nothing of step 3 stays */
    assert_true(number(r, "SELECT max(step) FROM jobs") == 2);
    db_close(r);
    w = open_db("whole", true);
    assert_true(number(w, "SELECT count(*) FROM completions") == 4 * N_SAMPLE);
    put_whole_step(w, 3);
    db_close(w);
}

static bool write_meanwhile(void *arg, const struct db_sample *s)
{
    (void)s;
    put_whole_step(arg, 2);
    return false;
}

static void a_reader_does_not_hold_up_the_writer(void **state)
{
    (void)state;
    struct db *w = open_db("meanwhile", true), *r = open_db("meanwhile", false);
    struct why why = {0};
    put_whole_step(w, 1);
    number(w, "PRAGMA busy_timeout = 1"); /* 10 s else */
    ok(db_samples(r, 1, DB_BY_JOB, 10, write_meanwhile, w, &why), &why);
    assert_true(number(r, "SELECT count(*) FROM steps") == 2);
    db_close(r), db_close(w);
}

static atomic_bool writing;

static void *write_steps(void *arg)
{
    for (uint64_t step = 1; step <= 100; step++) put_whole_step(arg, step);
    atomic_store(&writing, false);
    return NULL;
}

static void a_reader_at_any_time_sees_whole_steps(void **state)
{
    (void)state;
    struct db *w = open_db("race", true), *r = open_db("race", false);
    pthread_t t;
    unsigned n_look = 0;
    double last = 0;
    atomic_store(&writing, true);
    assert_int_equal(pthread_create(&t, NULL, write_steps, w), 0);
    while (atomic_load(&writing)) {
        const double wrong = number(r, "SELECT (SELECT count(*) FROM completions) - 8 * (SELECT count(*) FROM steps)");
        const double steps = number(r, "SELECT count(*) FROM steps");
        assert_true(wrong == 0);
        assert_true(steps >= last);
        last = steps;
        n_look++;
    }
    pthread_join(t, NULL);
    assert_true(n_look > 3);
    assert_true(number(r, "SELECT count(*) FROM steps") == 100);
    db_close(r), db_close(w);
}

static void a_rewound_run_does_its_steps_again(void **state)
{
    (void)state;
    struct db *w = open_db("rewind", true);
    struct why why = {0};
    for (uint64_t step = 1; step <= 5; step++) put_whole_step(w, step);
    ok(db_rewind(w, 3, &why), &why);
    assert_true(number(w, "SELECT max(step) FROM steps") == 3);
    assert_true(number(w, "SELECT max(step) FROM jobs") == 3);
    assert_true(number(w, "SELECT count(*) FROM completions") == 3 * 2 * N_SAMPLE);
    assert_true(number(w, "SELECT count(*) FROM rewards") == 3 * 2 * 2 * N_SAMPLE);
    assert_true(number(w, "SELECT count(*) FROM advantages") == 3 * 2 * N_SAMPLE);
    put_whole_step(w, 4);
    put_whole_step(w, 4); /* the same ids replace, they do not add */
    assert_true(number(w, "SELECT count(*) FROM completions") == 4 * 2 * N_SAMPLE);
    ok(db_rewind(w, 0, &why), &why);
    assert_true(number(w, "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM rewards) + (SELECT count(*) FROM steps)") == 0);
    ok(db_rewind(w, 0, &why), &why);
    db_close(w);
}

/* -- what is wrong outside --------------------------------------------------------------------------------- */

static void refused(const char *name, bool write, enum err want, const char *words)
{
    struct db *d = NULL;
    struct why why = {0};
    const enum err e = db_open(at(name), write, &d, &why);
    if (e != want || d || !strstr(why.text, name) || !strstr(why.text, words)) fail_msg("%s: %s: %s", name, err_str(e), why.text);
}

static void make_file(const char *name, const char *bytes, size_t n)
{
    struct why why = {0};
    ok(file_write(at(name), bytes, n, &why), &why);
}

static void what_is_no_database_is_refused(void **state)
{
    (void)state;
    char junk[4096];
    memset(junk, 'x', sizeof junk);
    refused("absent", false, ERR_NOENT, "unable to open");
    assert_false(file_exists(at("absent")));
    refused("no_such_dir/run.db", true, ERR_NOENT, "unable to open");
    make_file("junk", junk, sizeof junk);
    refused("junk", false, ERR_FORMAT, "not a database");
    refused("junk", true, ERR_FORMAT, "not a database");
    make_file("empty", "", 0);
    refused("empty", false, ERR_FORMAT, "not the database of a run");
    db_close(open_db("empty", true)); /* an empty file may become one */
    db_close(open_db("empty", false));
}

static void make_foreign(const char *name, const char *statements)
{
    sqlite3 *s;
    assert_int_equal(sqlite3_open(at(name), &s), SQLITE_OK);
    assert_int_equal(sqlite3_exec(s, statements, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(s);
}

static void assert_untouched(const char *name, const char *from, size_t n)
{
    char *now;
    size_t n_now;
    struct why why = {0};
    ok(file_read(at(name), 1 << 20, &now, &n_now, &why), &why);
    assert_int_equal(n_now, n);
    assert_memory_equal(now, from, n);
    free(now);
}

static void another_programs_database_is_not_touched(void **state)
{
    (void)state;
    static const struct {
        const char *name, *statements, *words;
        enum err e;
    } t[] = {
        {"theirs", "CREATE TABLE music (x); INSERT INTO music VALUES (1)", "not the database of a run", ERR_FORMAT},
        {"meta_of_theirs", "CREATE TABLE meta (a, b)", "not the database of a run", ERR_FORMAT},
        {"meta_empty", "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT)", "not the database of a run", ERR_FORMAT},
        {"future", "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT); INSERT INTO meta VALUES ('schema', '2')", "schema 2, this program knows 1",
         ERR_MISMATCH},
    };
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        char *before;
        size_t n;
        struct why why = {0};
        make_foreign(t[i].name, t[i].statements);
        ok(file_read(at(t[i].name), 1 << 20, &before, &n, &why), &why);
        refused(t[i].name, false, t[i].e, t[i].words);
        refused(t[i].name, true, t[i].e, t[i].words);
        assert_untouched(t[i].name, before, n);
        free(before);
    }
}

static void a_damaged_database_says_so(void **state)
{
    (void)state;
    struct db *d = open_db("damaged", true);
    for (uint64_t step = 1; step <= 20; step++) put_whole_step(d, step);
    db_close(d);
    FILE *f = fopen(at("damaged"), "r+e");
    assert_non_null(f);
    char junk[4096];
    memset(junk, 0xa5, sizeof junk);
    for (long page = 8; page < 20 && !fseek(f, page * 4096, SEEK_SET); page++) assert_int_equal(fwrite(junk, sizeof junk, 1, f), 1);
    fclose(f);
    d = open_db("damaged", false);
    struct why why = {0};
    struct seen to = {.at_most = 32};
    assert_int_equal(db_samples(d, 3, DB_BY_JOB, 30, see, &to, &why), ERR_FORMAT);
    assert_non_null(strstr(why.text, "damaged: database disk image is malformed"));
    db_close(d);
}

static void a_reader_cannot_write(void **state)
{
    (void)state;
    struct db *w = open_db("readonly", true);
    put_whole_step(w, 1);
    struct db *r = open_db("readonly", false);
    struct why why = {0};
    double v;
    assert_int_equal(db_number(r, "INSERT INTO meta VALUES ('a', 'b') RETURNING 1", &v, &why), ERR_ACCESS);
    assert_non_null(strstr(why.text, "readonly"));
    db_close(r), db_close(w);
    r = open_db("readonly", false); /* the writer is gone, and with it its log */
    assert_true(number(r, "SELECT count(*) FROM steps") == 1);
    db_close(r);
}

/* A finished run, read by someone who may not write in its folder. The path has what is special in a URI. */
static void a_finished_run_is_read_by_anyone(void **state)
{
    (void)state;
    struct why why = {0};
    int st;
    assert_int_equal(mkdir(at("shut %3f#?"), 0755), 0);
    struct db *d = open_db("shut %3f#?/run.db", true);
    put_whole_step(d, 1);
    db_close(d);
    assert_int_equal(chmod(root, 0755), 0);
    assert_int_equal(chmod(at("shut %3f#?/run.db"), 0444), 0);
    assert_int_equal(chmod(at("shut %3f#?"), 0555), 0);
    const pid_t pid = fork();
    if (!pid) {
        double n = 0;
        if (!geteuid() && setuid(65534)) _exit(3); /* root may write anywhere */
        if (db_open(at("shut %3f#?/run.db"), false, &d, &why) || db_number(d, "SELECT count(*) FROM completions", &n, &why)) {
            fprintf(stderr, "%s\n", why.text);
            _exit(1);
        }
        _exit(n > 0 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_int_equal(chmod(at("shut %3f#?"), 0755), 0);
    assert_int_equal(st, 0);
}

static void a_second_writer_waits_its_turn(void **state)
{
    (void)state;
    struct db *a = open_db("two", true), *b = open_db("two", true);
    struct why why = {0};
    ok(db_begin(a, &why), &why);
    number(b, "PRAGMA busy_timeout = 1"); /* 10 s else */
    assert_int_equal(db_begin(b, &why), ERR_BUSY);
    ok(db_commit(a, &why), &why);
    put_whole_step(b, 1);
    db_close(a), db_close(b);
}

/* Write steps until the disk is full; the one that did not fit is not there, those before are. */
static void fill(struct db *d, const char *words)
{
    struct why why = {0};
    enum err e = ERR_OK;
    uint64_t step = 0;
    bool committing = false;
    while (!e && step < 2000) {
        step++;
        committing = false;
        e = db_begin(d, &why);
        if (!e) e = put_step(d, step, &why);
        if (e) break;
        committing = true;
        e = db_commit(d, &why);
    }
    if (e != ERR_NOSPACE || !strstr(why.text, words)) fail_msg("step %u: %s: %s", (unsigned)step, err_str(e), why.text);
    if (committing) ok(db_begin(d, &why), &why); /* a commit that failed has undone the step */
    db_close(d);
    assert_true(step > 1);
    d = open_db("full", false);
    assert_true(number(d, "SELECT count(*) FROM steps") == (double)step - 1);
    assert_true(number(d, "SELECT count(*) FROM completions") == ((double)step - 1) * 2 * N_SAMPLE);
    db_close(d);
}

static void a_full_disk_keeps_the_steps_before(void **state)
{
    (void)state;
    struct rlimit was, small = {300000, 300000};
    getrlimit(RLIMIT_FSIZE, &was);
    small.rlim_max = was.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    struct db *d = open_db("full", true);
    setrlimit(RLIMIT_FSIZE, &small); /* the nearest thing to a full disk that needs no mount */
    fill(d, "File too large");
    setrlimit(RLIMIT_FSIZE, &was);
}

static void a_full_database_keeps_the_steps_before(void **state)
{
    (void)state;
    assert_int_equal(file_remove_tree(at("full"), NULL), ERR_OK);
    struct db *d = open_db("full", true);
    number(d, "PRAGMA max_page_count = 60"); /* what SQLite says to ENOSPC, it says to this */
    fill(d, "database or disk is full");
}

static void a_null_is_closed(void **state)
{
    (void)state;
    db_close(NULL);
    struct db *d = open_db("number", true);
    double v = 5;
    struct why why = {0};
    assert_int_equal(db_number(d, "SELECT step FROM steps", &v, &why), ERR_NOENT);
    assert_true(v == 5);
    assert_int_not_equal(db_number(d, "SELEC", &v, &why), ERR_OK);
    assert_non_null(strstr(why.text, "syntax error"));
    db_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_read_back),
        cmocka_unit_test(samples_come_in_the_order_asked_for),
        cmocka_unit_test(a_reader_never_sees_half_a_step),
        cmocka_unit_test(a_reader_does_not_hold_up_the_writer),
        cmocka_unit_test(a_reader_at_any_time_sees_whole_steps),
        cmocka_unit_test(a_rewound_run_does_its_steps_again),
        cmocka_unit_test(what_is_no_database_is_refused),
        cmocka_unit_test(another_programs_database_is_not_touched),
        cmocka_unit_test(a_damaged_database_says_so),
        cmocka_unit_test(a_reader_cannot_write),
        cmocka_unit_test(a_finished_run_is_read_by_anyone),
        cmocka_unit_test(a_second_writer_waits_its_turn),
        cmocka_unit_test(a_full_disk_keeps_the_steps_before),
        cmocka_unit_test(a_full_database_keeps_the_steps_before),
        cmocka_unit_test(a_null_is_closed),
    };
    return cmocka_run_group_tests_name("db", tests, set_up, tear_down);
}
