// SPDX-License-Identifier: Apache-2.0
/* Where daemons are looked for: every usual place, the newest first, one socket once, and in /tmp nobody else's. */
#include "ctl/where.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/file.h"

static char root[32];

static const char *at(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", root, name);
    return p;
}

static void folder_of(const char *name)
{
    char dir[256];
    snprintf(dir, sizeof dir, "%s", at(name));
    *strrchr(dir, '/') = 0;
    assert_int_equal(file_mkdirs(dir, NULL), ERR_OK);
}

static void set_age(const char *name, long seconds)
{
    const struct timespec t[2] = {{1000000000 - seconds, 0}, {1000000000 - seconds, 0}};
    assert_int_equal(utimensat(AT_FDCWD, at(name), t, AT_SYMLINK_NOFOLLOW), 0);
}

/* A socket file, so old. */
static void put_socket(const char *name, long age)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    folder_of(name);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(snprintf(a.sun_path, sizeof a.sun_path, "%s", at(name)) < (int)sizeof a.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    set_age(name, age);
}

static void put_file(const char *name, const char *text, long age)
{
    folder_of(name);
    assert_int_equal(file_write(at(name), text, strlen(text), NULL), ERR_OK);
    set_age(name, age);
}

static struct where here(void)
{
    static char cwd[64], runtime[64];
    snprintf(cwd, sizeof cwd, "%s/w", root);
    snprintf(runtime, sizeof runtime, "%s/user", root);
    assert_int_equal(file_mkdirs(cwd, NULL), ERR_OK);
    return (struct where){.root = root, .cwd = cwd, .runtime = runtime};
}

static void assert_door(const struct doors *d, uint32_t i, enum who who, const char *name)
{
    assert_true(i < d->n);
    assert_string_equal(d->d[i].path, at(name));
    assert_int_equal(d->d[i].who, who);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test_where.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return (int)file_remove_tree(root, NULL);
}

static void test_every_place_in_order(void **state)
{
    (void)state;
    struct doors d;
    put_socket("tmp/grpo-rollout-9.sock", 0);
    put_socket("var/lib/grpo/runs/x/learner.sock", 0);
    put_socket("var/lib/grpo/learner.sock", 0);
    put_socket("run/grpo-rollout/rollout.sock", 0);
    put_socket("user/grpo/rollout-b.sock", 0);
    put_socket("w/runs/old/learner.sock", 100);
    put_socket("w/runs/new/learner.sock", 50);
    put_socket("w/runs/new/rollout.sock", 49);
    put_socket("w/runs/new/other.sock", 0);              /* no daemon's name */
    put_file("w/runs/file/learner.sock", "no socket", 0); /* nor a socket */
    struct where w = here();
    assert_int_equal(where_doors(&w, &d, NULL), ERR_OK);
    assert_door(&d, 0, WHO_ROLLOUT, "w/runs/new/rollout.sock");
    assert_door(&d, 1, WHO_LEARNER, "w/runs/new/learner.sock");
    assert_door(&d, 2, WHO_LEARNER, "w/runs/old/learner.sock");
    assert_door(&d, 3, WHO_ROLLOUT, "user/grpo/rollout-b.sock");
    assert_door(&d, 4, WHO_ROLLOUT, "run/grpo-rollout/rollout.sock");
    assert_door(&d, 5, WHO_LEARNER, "var/lib/grpo/learner.sock");
    assert_door(&d, 6, WHO_LEARNER, "var/lib/grpo/runs/x/learner.sock");
    assert_door(&d, 7, WHO_ROLLOUT, "tmp/grpo-rollout-9.sock");
    assert_int_equal(d.n, 8);
}

static void test_a_run_brings_its_own_learner_and_any_node(void **state)
{
    (void)state;
    struct doors d;
    struct where w = here();
    char run[64];
    put_socket("w/runs/a/learner.sock", 90);
    put_socket("w/runs/a/rollout.sock", 90);
    put_socket("w/runs/b/learner.sock", 1);
    put_socket("run/grpo/rollout.sock", 1);
    snprintf(run, sizeof run, "%s/w/runs/../runs/a", root); /* another spelling of a folder that the usual places hold too */
    w.run = run;
    assert_int_equal(where_doors(&w, &d, NULL), ERR_OK);
    assert_int_equal(d.n, 3);
    assert_door(&d, 0, WHO_LEARNER, "w/runs/../runs/a/learner.sock");
    assert_door(&d, 1, WHO_ROLLOUT, "w/runs/../runs/a/rollout.sock");
    assert_door(&d, 2, WHO_ROLLOUT, "run/grpo/rollout.sock");
}

static void test_in_tmp_only_our_own(void **state)
{
    (void)state;
    struct doors d;
    struct where w = here();
    if (geteuid()) skip(); /* only root can give a socket away */
    put_socket("tmp/grpo-rollout-1.sock", 0);
    put_socket("tmp/grpo-rollout-2.sock", 0);
    put_socket("run/grpo/rollout.sock", 0);
    assert_int_equal(lchown(at("tmp/grpo-rollout-2.sock"), 12345, 12345), 0);
    assert_int_equal(lchown(at("run/grpo/rollout.sock"), 12345, 12345), 0); /* the service user's */
    assert_int_equal(where_doors(&w, &d, NULL), ERR_OK);
    assert_int_equal(d.n, 2);
    assert_door(&d, 0, WHO_ROLLOUT, "run/grpo/rollout.sock");
    assert_door(&d, 1, WHO_ROLLOUT, "tmp/grpo-rollout-1.sock");
}

static void test_what_is_named_is_taken(void **state)
{
    (void)state;
    struct doors d;
    struct why why = {0};
    struct where w = here();
    char longest[200];
    put_socket("w/runs/a/learner.sock", 0);
    w.socket = "/some/where.sock";
    w.run = "also given";
    assert_int_equal(where_doors(&w, &d, &why), ERR_OK);
    assert_int_equal(d.n, 1);
    assert_string_equal(d.d[0].path, "/some/where.sock");
    assert_int_equal(d.d[0].who, WHO_ANY);
    w.socket = "";
    assert_int_equal(where_doors(&w, &d, &why), ERR_NOENT);
    assert_non_null(strstr(why.text, "also given"));
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    w.socket = longest;
    assert_int_equal(where_doors(&w, &d, &why), ERR_RANGE);
}

static void test_the_run_to_read_is_the_newest(void **state)
{
    (void)state;
    char dir[256];
    struct why why = {0};
    struct where w = here();
    assert_int_equal(where_run(&w, dir, sizeof dir, &why), ERR_NOENT);
    assert_non_null(strstr(why.text, "--run"));
    put_file("var/lib/grpo/a/run.db", "", 0);
    assert_int_equal(where_run(&w, dir, sizeof dir, NULL), ERR_OK);
    assert_string_equal(dir, at("var/lib/grpo/a"));
    put_file("w/runs/old/metrics.jsonl", "", 30); /* what is here goes before the service's */
    put_file("w/runs/new/run.db", "", 20);
    assert_int_equal(where_run(&w, dir, sizeof dir, NULL), ERR_OK);
    assert_string_equal(dir, at("w/runs/new"));
    put_file("w/runs/old/run.db", "", 10);
    assert_int_equal(where_run(&w, dir, sizeof dir, NULL), ERR_OK);
    assert_string_equal(dir, at("w/runs/old"));
    w.run = "/nowhere/at/all";
    assert_int_equal(where_run(&w, dir, sizeof dir, &why), ERR_NOENT);
}

static void test_ports(void **state)
{
    (void)state;
    char dir[64];
    assert_int_equal(where_url_port("tcp://127.0.0.1:6510"), 6510);
    assert_int_equal(where_url_port("tcp://[::1]:7\n"), 7);
    assert_int_equal(where_url_port(""), 0);
    assert_int_equal(where_url_port("tcp://host"), 0);
    assert_int_equal(where_url_port("tcp://host:65536"), 0);
    assert_int_equal(where_url_port("tcp://host:12x"), 0);
    put_file("w/learner.addr", "tcp://0.0.0.0:6511\n", 0);
    snprintf(dir, sizeof dir, "%s/w", root);
    assert_int_equal(where_port(dir), 6511);
    assert_int_equal(where_port("/nowhere"), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_every_place_in_order),  T(test_a_run_brings_its_own_learner_and_any_node), T(test_in_tmp_only_our_own),
                                       T(test_what_is_named_is_taken), T(test_the_run_to_read_is_the_newest),             T(test_ports)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
