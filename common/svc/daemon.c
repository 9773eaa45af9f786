// SPDX-License-Identifier: Apache-2.0
#include "common/svc/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

void daemon_ready(void)
{
    sd_notify(0, "READY=1");
}

void daemon_status(const char *fmt, ...)
{
    char line[400] = "STATUS=";
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + 7, sizeof line - 7, fmt, ap);
    va_end(ap);
    sd_notify(0, line);
}

void daemon_reloading(void)
{
    sd_notify(0, "RELOADING=1");
}

void daemon_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

struct watchdog {
    bool (*alive)(void *);
    void *arg;
};

static void ping(void *arg)
{
    const struct watchdog *w = arg;
    if (w->alive(w->arg)) sd_notify(0, "WATCHDOG=1");
}

enum err daemon_watchdog(struct loop *l, bool (*alive)(void *arg), void *arg, struct loop_timer **ret_timer)
{
    static struct watchdog w; /* one process, one watchdog */
    uint64_t usec = 0;
    *ret_timer = NULL;
    if (sd_watchdog_enabled(0, &usec) <= 0 || !usec) return ERR_OK;
    w = (struct watchdog){alive, arg};
    return loop_timer_start(l, 0, usec / 2000 ? usec / 2000 : 1, ping, &w, ret_timer);
}

enum err daemon_lock(const char *dir, const char *name, int *ret_fd, struct why *why)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/%s.lock", dir, name) >= sizeof path)
        return why_set(why, ERR_INVAL, "%.100s...: path too long", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) return why_set(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        const int e = errno;
        close(fd);
        if (e != EWOULDBLOCK) return why_set(why, err_from_errno(e), "%s: cannot lock: %s", path, strerror(e));
        return why_set(why, ERR_EXIST, "%s: another %s uses this folder", path, name);
    }
    *ret_fd = fd;
    return ERR_OK;
}
