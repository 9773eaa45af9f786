// SPDX-License-Identifier: Apache-2.0
/* A file is the old one or the new one, a failure names the path, and nothing is removed through a link. */
#include "common/base/file.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <dirent.h>
#include <pwd.h>
#include <cmocka.h>

static char root[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test_file.XXXXXX");
    return mkdtemp(root) && !chmod(root, 0755) ? 0 : -1;
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

static unsigned entries(const char *dir)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

static void assert_holds(const char *path, const char *want)
{
    struct why why = {0};
    char *text;
    size_t n;
    ok(file_read(path, 1000, &text, &n, &why), &why);
    assert_int_equal(n, strlen(want));
    assert_string_equal(text, want);
    free(text);
}

static void bytes_come_back_and_limits_are_said(void **state)
{
    (void)state;
    struct why why = {0};
    struct span map;
    char *text = NULL;
    size_t n;
    ok(file_write(at("a"), "hello", 5, &why), &why);
    ok(file_write(at("a"), "world!", 6, &why), &why);
    assert_holds(at("a"), "world!");
    assert_int_equal(file_read(at("a"), 5, &text, &n, &why), ERR_RANGE);
    assert_non_null(strstr(why.text, at("a")));
    ok(file_map(at("a"), &map, &why), &why);
    assert_true(span_eq_str(map, "world!"));
    file_unmap(map);
    ok(file_write(at("empty"), "", 0, &why), &why);
    ok(file_map(at("empty"), &map, &why), &why);
    assert_int_equal(map.n, 0);
    file_unmap(map);
    assert_int_equal(file_read(at("none"), 5, &text, &n, &why), ERR_NOENT);
    assert_int_equal(file_read(root, 5, &text, &n, &why), ERR_INVAL); /* a folder is no file */
    assert_null(text);
    ok(file_copy(at("a"), at("b"), &why), &why);
    assert_holds(at("b"), "world!");
}

static void a_fifo_is_refused_not_waited_for(void **state)
{
    (void)state;
    struct why why = {0};
    struct span map;
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    alarm(5);
    assert_int_equal(file_map(at("fifo"), &map, &why), ERR_INVAL);
    alarm(0);
}

static void a_failed_write_keeps_the_old_file(void **state)
{
    (void)state;
    struct why why = {0};
    struct rlimit was, small = {1000, 1000};
    static char big[5000];
    ok(file_mkdirs(at("full"), &why), &why);
    ok(file_write(at("full/f"), "old", 3, &why), &why);
    getrlimit(RLIMIT_FSIZE, &was);
    small.rlim_max = was.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small); /* the nearest thing to a full disk that needs no mount */
    enum err e = file_write(at("full/f"), big, sizeof big, &why);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(e, ERR_NOSPACE);
    assert_non_null(strstr(why.text, "full/f"));
    assert_holds(at("full/f"), "old");
    assert_int_equal(entries(at("full")), 1); /* no temporary file stays */
}

static void a_file_one_may_not_read_is_said_so(void **state)
{
    (void)state;
    struct why why = {0};
    char *text;
    size_t n;
    ok(file_write(at("secret"), "x", 1, &why), &why);
    assert_int_equal(chmod(at("secret"), 0), 0);
    const uid_t me = geteuid();
    if (me == 0) assert_int_equal(seteuid(65534), 0);
    enum err e = file_read(at("secret"), 10, &text, &n, &why);
    if (me == 0) assert_int_equal(seteuid(0), 0);
    assert_int_equal(e, ERR_ACCESS);
    assert_non_null(strstr(why.text, "secret"));
    assert_non_null(strstr(why.text, "needs access"));
    if (me == 0 && getpwuid(65534)) assert_non_null(strstr(why.text, getpwuid(65534)->pw_name)); /* whom to give it to */
}

static void folders_are_made_and_removed_whole(void **state)
{
    (void)state;
    struct why why = {0};
    ok(file_mkdirs(at("d/e/f"), &why), &why);
    ok(file_mkdirs(at("d/e/f"), &why), &why);
    ok(file_write(at("d/e/f/x"), "x", 1, &why), &why);
    ok(file_mkdirs(at("kept"), &why), &why);
    ok(file_write(at("kept/y"), "y", 1, &why), &why);
    assert_int_equal(symlink(at("kept"), at("d/e/link")), 0);
    ok(file_remove_tree(at("d"), &why), &why);
    assert_false(file_exists(at("d")));
    assert_holds(at("kept/y"), "y"); /* the link went, not what it points to */
    ok(file_remove_tree(at("d"), &why), &why);
    ok(file_write(at("plain"), "z", 1, &why), &why);
    assert_int_not_equal(file_mkdirs(at("plain"), &why), ERR_OK);
    assert_int_not_equal(file_mkdirs(at("plain/under"), &why), ERR_OK);
}

static void too_deep_is_an_error_not_a_crash(void **state)
{
    (void)state;
    struct why why = {0};
    char path[1024];
    snprintf(path, sizeof path, "%s/deep", root);
    for (int i = 0; i < 80; i++) strcat(path, "/d");
    ok(file_mkdirs(path, &why), &why);
    assert_int_equal(file_remove_tree(at("deep"), &why), ERR_RANGE);
    for (int i = 0; i < 40; i++) path[strlen(path) - 2] = 0;
    ok(file_remove_tree(path, &why), &why);
    ok(file_remove_tree(at("deep"), &why), &why);
}

static void a_folder_is_published_once(void **state)
{
    (void)state;
    struct why why = {0};
    ok(file_mkdirs(at("new.tmp"), &why), &why);
    ok(file_write(at("new.tmp/f"), "1", 1, &why), &why);
    ok(file_publish_dir(at("new.tmp"), at("new"), &why), &why);
    assert_holds(at("new/f"), "1");
    assert_false(file_exists(at("new.tmp")));
    ok(file_mkdirs(at("new.tmp"), &why), &why);
    assert_int_equal(file_publish_dir(at("new.tmp"), at("new"), &why), ERR_EXIST);
    assert_holds(at("new/f"), "1");
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(bytes_come_back_and_limits_are_said),
        cmocka_unit_test(a_fifo_is_refused_not_waited_for),
        cmocka_unit_test(a_failed_write_keeps_the_old_file),
        cmocka_unit_test(a_file_one_may_not_read_is_said_so),
        cmocka_unit_test(folders_are_made_and_removed_whole),
        cmocka_unit_test(too_deep_is_an_error_not_a_crash),
        cmocka_unit_test(a_folder_is_published_once),
    };
    return cmocka_run_group_tests(t, set_up, tear_down);
}
