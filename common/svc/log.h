// SPDX-License-Identifier: Apache-2.0
/* log.h - one event a line on stderr: time, level, stable event name, words. Under systemd the lines carry <N> priorities and no time.
 * Only services log; libraries return errors. Any thread. */
#ifndef COMMON_SVC_LOG_H
#define COMMON_SVC_LOG_H

#include "common/base/err.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG }; /* the order of the setting log_level */

void log_init(const char *program, enum log_level level);
void log_event(enum log_level level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
