// SPDX-License-Identifier: Apache-2.0
/* What a service manager hears, and that a folder belongs to one daemon. */
#include "common/svc/daemon.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/svc_rig.h"

static char dir[64], path[96];
static int manager = -1; /* what systemd listens with */

static int set_up(void **state)
{
    (void)state;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const struct timeval patience = {5, 0};
    snprintf(dir, sizeof dir, "/tmp/test_daemon.XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/notify", dir);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (manager < 0 || bind(manager, (struct sockaddr *)&a, sizeof a)) return -1;
    return setsockopt(manager, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    close(manager);
    return rmdir(dir);
}

static const char *heard(void)
{
    static char text[2000];
    const ssize_t n = recv(manager, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static void the_manager_is_told(void **state)
{
    (void)state;
    char big[1000];
    setenv("NOTIFY_SOCKET", path, 1);
    daemon_ready();
    assert_string_equal(heard(), "READY=1");
    daemon_status("step %d of %d", 3, 9);
    assert_string_equal(heard(), "STATUS=step 3 of 9");
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    daemon_status("%s", big);
    assert_int_equal(strncmp(heard(), "STATUS=xxxx", 11), 0);
    daemon_reloading();
    assert_string_equal(heard(), "RELOADING=1");
    daemon_stopping();
    assert_string_equal(heard(), "STOPPING=1");
    unsetenv("NOTIFY_SOCKET");
    daemon_ready(); /* nobody listens: fine */
}

static bool alive(void *arg)
{
    return *(bool *)arg;
}

static void the_watchdog_is_fed_while_all_is_well(void **state)
{
    (void)state;
    struct loop *l;
    struct loop_timer *t = NULL;
    bool well = true;
    char pid[16], c;
    assert_int_equal(loop_create(&l), ERR_OK);
    assert_int_equal(daemon_watchdog(l, alive, &well, &t), ERR_OK);
    assert_null(t); /* nobody asked for it */
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("NOTIFY_SOCKET", path, 1);
    setenv("WATCHDOG_USEC", "40000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(daemon_watchdog(l, alive, &well, &t), ERR_OK);
    assert_non_null(t);
    loop_drain(l, 100);
    assert_string_equal(heard(), "WATCHDOG=1");
    assert_string_equal(heard(), "WATCHDOG=1"); /* at half the interval: several by now */
    well = false;
    while (recv(manager, &c, 1, MSG_DONTWAIT) > 0) continue;
    loop_drain(l, 60);
    assert_true(recv(manager, &c, 1, MSG_DONTWAIT) < 0);
    loop_timer_stop(t);
    loop_destroy(l);
    unsetenv("NOTIFY_SOCKET"), unsetenv("WATCHDOG_USEC"), unsetenv("WATCHDOG_PID");
}

static void a_folder_belongs_to_one_daemon(void **state)
{
    (void)state;
    int fd = -1, second = -1;
    char file[128], big[5000];
    struct why why = {0};
    snprintf(file, sizeof file, "%s/learner.lock", dir);
    assert_int_equal(daemon_lock(dir, "learner", &fd, &why), ERR_OK);
    assert_int_equal(daemon_lock(dir, "learner", &second, &why), ERR_EXIST);
    assert_non_null(strstr(why.text, file));
    assert_int_equal(second, -1);
    close(fd); /* as the end of the process does */
    assert_int_equal(daemon_lock(dir, "learner", &fd, &why), ERR_OK);
    close(fd);
    unlink(file);
    assert_int_equal(daemon_lock("/no/such/folder", "learner", &fd, &why), ERR_NOENT);
    assert_non_null(strstr(why.text, "/no/such/folder"));
    memset(big, '/', sizeof big - 1);
    memcpy(big, dir, strlen(dir));
    big[sizeof big - 1] = 0;
    assert_int_equal(daemon_lock(big, "learner", &fd, &why), ERR_INVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_manager_is_told),
        cmocka_unit_test(the_watchdog_is_fed_while_all_is_well),
        cmocka_unit_test(a_folder_belongs_to_one_daemon),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
