// SPDX-License-Identifier: Apache-2.0
/* A checkpoint is whole or is not there: killed before any system call, short of disk, or damaged by others.
 */
#include "learner/ckpt.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/bf16.h"
#include "common/base/file.h"
#include "common/model/folder.h"

static const struct dims dims = {.n_layer = 1,
                                 .n_embd = 32,
                                 .n_head = 2,
                                 .n_head_kv = 1,
                                 .head_dim = 16,
                                 .n_ff = 32,
                                 .n_vocab = 32,
                                 .max_pos = 64,
                                 .rope_theta = 10000,
                                 .rms_eps = 1e-6f,
                                 .tied = true,
                                 .qkv_bias = true};
static struct tensor_table table;
static char root[64], run[96], model[96];

/* In memory where there is such a folder: a hundred saves are a thousand fsyncs. */
static int set_up(void **state)
{
    (void)state;
    char path[128];
    snprintf(root, sizeof root, "%s/test_ckpt.XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(root) || tensor_table_init(&dims, &table)) return -1;
    snprintf(run, sizeof run, "%s/run", root);
    snprintf(model, sizeof model, "%s/model", root);
    snprintf(path, sizeof path, "%s/tokenizer.json", model);
    return file_mkdirs(model, NULL) || file_write(path, "{\"it\": 1}", 9, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    tensor_table_done(&table);
    return (int)file_remove_tree(root, NULL);
}

static int fresh(void **state)
{
    (void)state;
    return (int)file_remove_tree(run, NULL);
}

/* Everything in it follows from the tag. */
static void fill(struct ckpt *c, uint64_t step, uint32_t tag)
{
    assert_int_equal(ckpt_init(c, table.n_param), ERR_OK);
    c->step = step;
    c->adam_t = tag;
    c->seed = 42;
    c->accuracy = tag / 1024.0;
    c->finished = tag % 2;
    for (uint64_t i = 0; i < table.n_param; i++) {
        c->master[i] = (float)(tag + i % 7);
        c->m[i] = (float)(tag + i % 5) / 8;
        c->v[i] = (float)(tag + i % 3) / 16;
        c->image[i] = bf16_from_f32(c->master[i]);
    }
}

static enum err save(uint64_t step, uint32_t tag, uint32_t keep, struct why *why)
{
    struct ckpt c;
    fill(&c, step, tag);
    enum err e = ckpt_save(run, &c, &dims, &table, model, keep, why);
    ckpt_done(&c);
    return e;
}

static void save_ok(uint64_t step, uint32_t tag, uint32_t keep)
{
    struct why why = {0};
    if (save(step, tag, keep, &why)) fail_msg("%s", why.text);
}

/* The newest checkpoint, read back whole and compared; its tag. */
static uint32_t newest_tag(uint64_t *ret_step)
{
    char dir[4096], file[4200];
    struct ckpt c, want;
    struct dims d;
    struct why why = {0};
    uint16_t *image = malloc(table.n_param * sizeof *image);
    assert_int_equal(ckpt_newest(run, dir, sizeof dir), ERR_OK);
    assert_int_equal(ckpt_init(&c, table.n_param), ERR_OK);
    if (ckpt_load(dir, &c, &table, &why)) fail_msg("%s", why.text);
    const uint32_t tag = (uint32_t)c.adam_t;
    fill(&want, c.step, tag);
    assert_memory_equal(c.master, want.master, table.n_param * 4);
    assert_memory_equal(c.m, want.m, table.n_param * 4);
    assert_memory_equal(c.v, want.v, table.n_param * 4);
    assert_true(c.accuracy == want.accuracy && c.finished == want.finished && c.seed == 42);
    if (folder_load(dir, &table, NULL, image, &why) || dims_read(dir, &d, &why)) fail_msg("%s", why.text);
    assert_memory_equal(image, want.image, table.n_param * 2);
    snprintf(file, sizeof file, "%s/tokenizer.json", dir);
    assert_true(file_exists(file));
    *ret_step = c.step;
    ckpt_done(&c);
    ckpt_done(&want);
    free(image);
    return tag;
}

/* What lies in checkpoints/. */
static unsigned entries(void)
{
    char path[128];
    unsigned n = 0;
    snprintf(path, sizeof path, "%s/checkpoints", run);
    DIR *d = opendir(path);
    if (!d) return 0;
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static void what_is_saved_is_loaded(void **state)
{
    (void)state;
    uint64_t step;
    char dir[200];
    assert_int_equal(ckpt_newest(run, dir, sizeof dir), ERR_NOENT);
    save_ok(3, 11, 2);
    assert_int_equal(newest_tag(&step), 11);
    assert_int_equal(step, 3);
    save_ok(3, 12, 2); /* of the same step: replaced */
    assert_int_equal(newest_tag(&step), 12);
    assert_int_equal(entries(), 1);
}

static void no_accuracy_stays_no_accuracy(void **state)
{
    (void)state;
    struct ckpt c;
    char dir[200];
    fill(&c, 1, 2);
    c.accuracy = NAN;
    assert_int_equal(ckpt_save(run, &c, &dims, &table, NULL, 1, NULL), ERR_OK);
    assert_int_equal(ckpt_newest(run, dir, sizeof dir), ERR_OK);
    c.accuracy = 0.5;
    assert_int_equal(ckpt_load(dir, &c, &table, NULL), ERR_OK);
    assert_true(isnan(c.accuracy));
    ckpt_done(&c);
}

static void the_newest_are_kept(void **state)
{
    (void)state;
    uint64_t step;
    static const uint64_t steps[] = {5, 10, 100, 20, 1000};
    for (int i = 0; i < 5; i++) save_ok(steps[i], 7, 3);
    assert_int_equal(entries(), 3);
    newest_tag(&step);
    assert_int_equal(step, 1000); /* by number, not by spelling */
    save_ok(1001, 9, 1);
    assert_int_equal(entries(), 1);
    assert_int_equal(newest_tag(&step), 9);
    assert_int_equal(ckpt_remove_all(run, NULL), ERR_OK);
    assert_int_equal(entries(), 0);
    assert_int_equal(ckpt_remove_all(root, NULL), ERR_OK); /* there never were any */
}

static void strangers_in_the_folder_are_left_alone(void **state)
{
    (void)state;
    char path[200];
    uint64_t step;
    static const char *const names[] = {"best", "step-", "step-12x", "step--3",
                                        "step-99"}; /* the last one has no state in it */
    save_ok(7, 1, 1);
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/checkpoints/%s", run, names[i]);
        assert_int_equal(file_mkdirs(path, NULL), ERR_OK);
    }
    assert_int_equal(newest_tag(&step), 1);
    assert_int_equal(step, 7);
    save_ok(8, 2, 1);
    assert_int_equal(newest_tag(&step), 2);
    assert_int_equal(entries(), 6);
}

/* -- killed before its k-th system call, for every k
 * --------------------------------------------------------------------- */

static int traced_save(uint64_t step, uint32_t tag, uint32_t keep)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) _exit(99);
    raise(SIGSTOP);
    _exit((int)save(step, tag, keep, NULL));
}

/* 0: it ended by itself; 1: it was killed; -1: cannot trace here. */
static int killed_at(int k, uint64_t step, uint32_t tag, uint32_t keep)
{
    int status, ret = 0;
    const pid_t pid = fork();
    if (!pid) traced_save(step, tag, keep);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status)) return -1;
    /* stops at the entry and at the exit of each call: an even k is a moment between two of them */
    for (int n = 0; WIFSTOPPED(status); n++) {
        if (n == k) {
            kill(pid, SIGKILL);
            ret = 1;
        }
        if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) && errno == EPERM) return -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }
    if (!ret) assert_int_equal(WEXITSTATUS(status), 0);
    return ret;
}

/* Kill saves of (step, tags) after `before` was saved as step 4; at each point the newest is whole. */
static void kill_everywhere(uint64_t step, uint32_t before)
{
    int k = 0, n_old = 0, n_new = 0, rc = 1;
    for (; rc == 1; k += 2) {
        uint64_t got;
        assert_int_equal(fresh(NULL), 0);
        save_ok(4, before, 1);
        rc = killed_at(k, step, before + 1, 1);
        if (rc < 0) skip();
        const uint32_t tag = newest_tag(&got);
        assert_true(tag == before || tag == before + 1);
        assert_int_equal(got, tag == before ? 4 : step);
        n_old += tag == before;
        n_new += tag != before;
        save_ok(step + 1, before + 2, 1); /* the next save works, and sweeps */
        assert_int_equal(newest_tag(&got), before + 2);
        assert_int_equal(entries(), 1);
    }
    assert_true(n_old > 20 && n_new > 3);
}

static void a_kill_at_any_moment_leaves_a_whole_checkpoint(void **state)
{
    (void)state;
    kill_everywhere(5, 10); /* and the old one is removed: keep is 1 */
}

static void a_kill_while_a_checkpoint_is_replaced_leaves_one_of_the_two(void **state)
{
    (void)state;
    kill_everywhere(4, 20);
}

/* -- no room
 * -------------------------------------------------------------------------------------------------------------
 */

static int cramped_save(rlim_t bytes)
{
    struct why why = {0};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){bytes, bytes})) _exit(99);
    const enum err e = save(5, 31, 1, &why);
    _exit(e == ERR_NOSPACE && strstr(why.text, run) ? 7 : (int)e);
}

static void a_full_disk_is_said_and_the_old_one_stays(void **state)
{
    (void)state;
    static const rlim_t limit[] = {0, 1, 100, 1000, 5000, 20000}; /* in the image, in the optimiser */
    for (unsigned i = 0; i < sizeof limit / sizeof *limit; i++) {
        int status;
        uint64_t step;
        assert_int_equal(fresh(NULL), 0);
        save_ok(4, 30, 1);
        const pid_t pid = fork();
        if (!pid) cramped_save(limit[i]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 7)
            fail_msg("limit %lu: status %d", (unsigned long)limit[i], status);
        assert_int_equal(newest_tag(&step), 30);
        assert_int_equal(entries(), 1); /* nothing half-written stays */
    }
}

/* -- damaged by others
 * --------------------------------------------------------------------------------------------------- */

static void assert_refused(const char *name, const char *text, size_t n, const char *words)
{
    char dir[200], path[300];
    struct ckpt c;
    struct why why = {0};
    save_ok(4, 1, 1);
    assert_int_equal(ckpt_newest(run, dir, sizeof dir), ERR_OK);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (text)
        assert_int_equal(file_write(path, text, n, NULL), ERR_OK);
    else
        unlink(path);
    assert_int_equal(ckpt_init(&c, table.n_param), ERR_OK);
    if (!ckpt_load(dir, &c, &table, &why) || !strstr(why.text, name) || !strstr(why.text, words))
        fail_msg("%s: \"%s\"", name, why.text);
    ckpt_done(&c);
}

static void a_damaged_checkpoint_is_refused_with_words(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "3",
        "{\"global_step\": 4}",
        "{\"global_step\": 4, \"adam_t\": 1, \"seed\": \"42\"}",
        "{\"global_step\": -4, \"adam_t\": 1, \"seed\": 42}",
        "{\"global_step\": 4, \"adam_t\": -1, \"seed\": 42}",
        "{\"global_step\": 4, \"adam_t\": 1, \"seed\": -1}",
        "{\"global_step\": 4.5, \"adam_t\": 1, \"seed\": 42}",
        "{\"global_step\": 1e99, \"adam_t\": 1, \"seed\": 42}",
        "{\"global_step\": 4, \"global_step\": 5, \"adam_t\": 1, \"seed\": 42}"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused("trainer_state.json", bad[i], strlen(bad[i]), "not the state of a checkpoint");
    assert_refused("optimizer.safetensors", NULL, 0, "");
    assert_refused("optimizer.safetensors", "short", 5, "");
}

static void another_model_s_optimiser_is_refused(void **state)
{
    (void)state;
    char dir[200];
    struct ckpt c;
    struct dims other = dims;
    struct tensor_table t;
    struct why why = {0};
    other.n_ff = 64;
    assert_int_equal(tensor_table_init(&other, &t), ERR_OK);
    save_ok(4, 1, 1);
    assert_int_equal(ckpt_newest(run, dir, sizeof dir), ERR_OK);
    assert_int_equal(ckpt_init(&c, t.n_param), ERR_OK);
    assert_int_equal(ckpt_load(dir, &c, &t, &why), ERR_FORMAT);
    assert_non_null(strstr(why.text, "master is missing or of another size"));
    ckpt_done(&c);
    tensor_table_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_saved_is_loaded, fresh),
        cmocka_unit_test_setup(no_accuracy_stays_no_accuracy, fresh),
        cmocka_unit_test_setup(the_newest_are_kept, fresh),
        cmocka_unit_test_setup(strangers_in_the_folder_are_left_alone, fresh),
        cmocka_unit_test_setup(a_full_disk_is_said_and_the_old_one_stays, fresh),
        cmocka_unit_test_setup(a_damaged_checkpoint_is_refused_with_words, fresh),
        cmocka_unit_test_setup(another_model_s_optimiser_is_refused, fresh),
        cmocka_unit_test_setup(a_kill_at_any_moment_leaves_a_whole_checkpoint, fresh),
        cmocka_unit_test_setup(a_kill_while_a_checkpoint_is_replaced_leaves_one_of_the_two, fresh),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
