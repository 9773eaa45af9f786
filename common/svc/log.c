// SPDX-License-Identifier: Apache-2.0
/* log.c - a line is made whole and written by one call, so lines of threads do not mix. */
#include "common/svc/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *program = "grpo";
static atomic_int max_level = LOG_LEVEL_INFO;
static bool journal;

void log_init(const char *name, enum log_level level)
{
    program = name;
    journal = getenv("JOURNAL_STREAM") != NULL;
    atomic_store(&max_level, (int)level);
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    static const char *const words[] = {"error", "warn", "info", "debug"};
    static const int priority[] = {3, 4, 6, 7};
    char line[1200];
    int n;
    if ((int)level > atomic_load(&max_level)) return;
    if (journal) {
        n = snprintf(line, sizeof line, "<%d>%s ", priority[level], event);
    } else {
        struct timespec t;
        struct tm tm;
        clock_gettime(CLOCK_REALTIME, &t);
        localtime_r(&t.tv_sec, &tm);
        n = snprintf(line, sizeof line, "%02d:%02d:%02d.%03ld %s %-5s %s ", tm.tm_hour, tm.tm_min, tm.tm_sec, t.tv_nsec / 1000000, program,
                     words[level], event);
    }
    va_list ap;
    va_start(ap, fmt);
    int k = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    va_end(ap);
    n += k < (int)sizeof line - n - 1 ? k : (int)sizeof line - n - 2;
    for (int i = 0; i < n; i++) /* names and words may come from a peer: no second line, nothing that a terminal obeys */
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) line[i] = ' ';
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)n) < 0) return; /* nowhere left to say it */
}
