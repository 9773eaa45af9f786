// SPDX-License-Identifier: Apache-2.0
/* daemon.h - what a service manager wants: ready, status, watchdog, stopping (sd_notify; silent when nobody listens), and a lock on a
 * run folder. Loop thread. */
#ifndef COMMON_SVC_DAEMON_H
#define COMMON_SVC_DAEMON_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/svc/loop.h"

void daemon_ready(void);
void daemon_status(const char *fmt, ...) PRINTF_LIKE(1, 2); /* one line for `systemctl status` */
void daemon_reloading(void);
void daemon_stopping(void);

/* Ping the manager's watchdog at half its interval while alive(arg) holds. No watchdog asked for: does nothing. *ret_timer may become NULL;
 * the caller stops it. */
enum err daemon_watchdog(struct loop *l, bool (*alive)(void *arg), void *arg, struct loop_timer **ret_timer) MUST_CHECK;

/* Lock a folder against a second daemon of the same kind (flock on dir/name.lock); the file descriptor keeps it: close() ends it.
 * ERR_EXIST: another process holds it. */
enum err daemon_lock(const char *dir, const char *name, int *ret_fd, struct why *why) MUST_CHECK;

#endif
