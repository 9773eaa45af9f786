// SPDX-License-Identifier: Apache-2.0
/* quickstart_proc.c - a child process and its log. By fork and exec rather than by uv_spawn: a child must ask
 * for its parent-death signal between the two. Loop thread. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/file.h"
#include "ctl/ctl.h"
#include "ctl/quickstart.h"

#define TAIL_LINES 15
#define MAX_LOG    (64u << 20)

void argv_add(struct argv *a, const char *name, const char *fmt, ...)
{
    char text[4200];
    va_list ap;
    if (a->n + 2 > ARGV_MAX) {
        a->failed = true;
        return;
    }
    if (*name) a->word[a->n++] = strdup(name);
    va_start(ap, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    a->word[a->n++] = strdup(text);
    if (n < 0 || (size_t)n >= sizeof text || !a->word[a->n - 1] || (*name && !a->word[a->n - 2]))
        a->failed = true;
}

void argv_done(struct argv *a)
{
    for (uint32_t i = 0; i < a->n; i++) free(a->word[i]);
    *a = (struct argv){0};
}

/* Between fork and exec: only what is safe there. Never returns. */
static _Noreturn void child(const struct argv *a, int log, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127); /* it died before we asked */
    const int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) _exit(127);
    execv(a->word[0], a->word);
    static const char words[] = "cannot be started\n";
    if (write(2, words, sizeof words - 1) < 0) _exit(126);
    _exit(127);
}

enum err proc_start(struct proc *p, const struct argv *a, struct why *why)
{
    if (a->failed || !a->n) return why_set(why, ERR_NOMEM, "%s: a command line that is too long", p->name);
    const int log = open(p->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    struct stat st;
    if (log < 0 || fstat(log, &st)) {
        const int bad = errno;
        if (log >= 0) close(log);
        return why_set(why, err_from_errno(bad), "%s: %s", p->log, strerror(bad));
    }
    p->log_from = (long)st.st_size;
    const pid_t parent = getpid();
    p->pid = fork();
    if (p->pid == 0) child(a, log, parent);
    close(log);
    if (p->pid < 0) {
        p->pid = 0;
        return why_set(why, err_from_errno(errno), "%s: cannot start a process: %s", p->name,
                       strerror(errno));
    }
    p->started = true;
    p->ended = false;
    return ERR_OK;
}

void proc_signal(const struct proc *p, int sig)
{
    if (p->started && !p->ended) kill(p->pid, sig);
}

bool proc_reap(struct proc *p)
{
    if (p->started && !p->ended && waitpid(p->pid, &p->status, WNOHANG) == p->pid) p->ended = true;
    return !p->started || p->ended;
}

bool proc_is_well(const struct proc *p)
{
    return p->started && (!p->ended || (WIFEXITED(p->status) && WEXITSTATUS(p->status) == 0));
}

void proc_tell(const struct proc *p)
{
    char *text;
    size_t n;
    if (!p->started) return;
    if (!p->ended)
        say("%s (pid %d) still runs", p->name, (int)p->pid);
    else if (WIFSIGNALED(p->status))
        say("%s was ended by signal %d (%s)", p->name, WTERMSIG(p->status), strsignal(WTERMSIG(p->status)));
    else
        say("%s ended with exit code %d", p->name, WEXITSTATUS(p->status));
    if (file_read(p->log, MAX_LOG, &text, &n, NULL)) {
        say("its log is %s", p->log);
        return;
    }
    const size_t from = p->log_from >= 0 && (size_t)p->log_from <= n ? (size_t)p->log_from : 0;
    size_t at = n;
    for (int lines = 0; at > from; at--)
        if (text[at - 1] == '\n' && at != n && ++lines == TAIL_LINES) break;
    char *clean = text_clean(span_of(text + at, n - at), true);
    say("the end of its log, %s:", p->log);
    fprintf(stderr, "%s%s", clean && *clean ? clean : "(nothing)\n",
            clean && *clean && clean[strlen(clean) - 1] != '\n' ? "\n" : "");
    free(clean);
    free(text);
}
