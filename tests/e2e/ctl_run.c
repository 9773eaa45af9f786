// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/ctl_run.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"

static char program[4096], dir[64];
static const char *env_extra;

bool ctl_program(int argc, char **argv)
{
    return argc == 2 && realpath(argv[1], program);
}

void ctl_env(const char *extra)
{
    env_extra = extra;
}

void slurp(const char *path, char *out, size_t cap)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    out[fread(out, 1, cap - 1, f)] = 0;
    fclose(f);
}

/* Start grpoctl with words ended by NULL; stdin is the text. */
pid_t spawn(char *const *argv, const char *in, const char *out)
{
    posix_spawn_file_actions_t fa;
    pid_t pid;
    char *env[] = {"PATH=/usr/bin:/bin", "TERM=xterm", (char *)env_extra, NULL};
    assert_int_equal(file_write("stdin", in, strlen(in), NULL), ERR_OK);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "stdin", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&fa, 2, "stderr", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(posix_spawn(&pid, program, &fa, NULL, argv, env), 0);
    posix_spawn_file_actions_destroy(&fa);
    return pid;
}

int finish(pid_t pid)
{
    int st;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

struct ran run_argv(char *const *argv, const char *in)
{
    static struct ran r;
    const int64_t t = clock_now_ns();
    r.code = finish(spawn(argv, in, "stdout"));
    r.s = clock_s(clock_now_ns() - t);
    slurp("stdout", r.out, sizeof r.out);
    slurp("stderr", r.err, sizeof r.err);
    return r;
}

struct ran run_on_terminal(char *const *argv)
{
    static struct ran r;
    const struct winsize size = {.ws_row = 40, .ws_col = 100};
    const int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    size_t n = 0;
    ssize_t k;
    assert_true(fd >= 0);
    assert_int_equal(grantpt(fd) || unlockpt(fd) || ioctl(fd, TIOCSWINSZ, &size), 0);
    const int held = open(ptsname(fd), O_RDWR | O_NOCTTY | O_CLOEXEC); /* else it reads as hung up before the child opens it */
    const pid_t pid = spawn(argv, "", ptsname(fd));
    r.code = finish(pid); /* what it shows fits in the terminal's buffer */
    close(held);
    while (n < sizeof r.out - 1 && (k = read(fd, r.out + n, sizeof r.out - 1 - n)) > 0) n += (size_t)k;
    r.out[n] = 0;
    close(fd);
    slurp("stderr", r.err, sizeof r.err);
    return r;
}

void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("\"%s\" does not hold \"%s\"", text, part);
}

int set_up(void **state)
{
    (void)state;
    env_extra = NULL;
    snprintf(dir, sizeof dir, "/tmp/test_ctl.XXXXXX");
    return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

int tear_down(void **state)
{
    (void)state;
    if (chdir("/")) return -1;
    return (int)file_remove_tree(dir, NULL);
}

unsigned count(const char *text, const char *part)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, part)); p++) n++;
    return n;
}
