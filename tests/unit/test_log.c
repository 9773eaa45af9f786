// SPDX-License-Identifier: Apache-2.0
/* One event is one line, whatever the words hold and however long they are. */
#include "common/svc/log.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char text[1 << 20];

/* What fn writes to stderr, into text. */
static size_t caught(void (*fn)(void))
{
    FILE *f = tmpfile();
    const int keep = dup(STDERR_FILENO);
    assert_non_null(f);
    dup2(fileno(f), STDERR_FILENO);
    fn();
    dup2(keep, STDERR_FILENO);
    close(keep);
    rewind(f);
    const size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    fclose(f);
    return n;
}

static void hostile(void)
{
    log_event(LOG_LEVEL_WARN, "node_joined", "%s", "a\nb\r\x1b[2J\x7f\tc\xc3\xa9");
    log_event(LOG_LEVEL_DEBUG, "quiet", "not asked for");
}

static void a_line_is_one_line_and_no_terminal_obeys_it(void **state)
{
    (void)state;
    unsetenv("JOURNAL_STREAM");
    log_init("learner", LOG_LEVEL_INFO);
    const size_t n = caught(hostile);
    assert_non_null(strstr(text, " learner warn  node_joined a b  [2J  c\xc3\xa9\n"));
    for (size_t i = 0; i + 1 < n; i++) assert_true((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
    assert_null(strstr(text, "quiet"));
}

static void under_the_journal(void **state)
{
    (void)state;
    setenv("JOURNAL_STREAM", "1:2", 1);
    log_init("learner", LOG_LEVEL_DEBUG);
    caught(hostile);
    assert_int_equal(strncmp(text, "<4>node_joined a b ", 19), 0);
    assert_non_null(strstr(text, "\n<7>quiet not asked for\n"));
    unsetenv("JOURNAL_STREAM");
    log_init("learner", LOG_LEVEL_INFO);
}

static void long_words(void)
{
    static char big[5000];
    for (size_t n = 1000; n < 1300; n++) {
        memset(big, 'x', n);
        big[n] = 0;
        log_event(LOG_LEVEL_INFO, "big", "%s", big);
    }
}

static void long_words_are_cut_and_still_end(void **state)
{
    (void)state;
    const size_t n = caught(long_words);
    size_t lines = 0, longest = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\n') {
            if (i - at > longest) longest = i - at;
            at = i + 1;
            lines++;
        }
    assert_int_equal(lines, 300);
    assert_int_equal(at, n);
    assert_in_range(longest, 1000, 1200);
}

static void *chatter(void *arg)
{
    for (int i = 0; i < 500; i++) log_event(LOG_LEVEL_INFO, "chat", "%s", (const char *)arg);
    return NULL;
}

static void chat(void)
{
    pthread_t a, b;
    pthread_create(&a, NULL, chatter, "aaaaaaaaaaaaaaaaaaaaaaaa");
    pthread_create(&b, NULL, chatter, "bbbbbbbbbbbbbbbbbbbbbbbb");
    pthread_join(a, NULL);
    pthread_join(b, NULL);
}

static void lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    caught(chat);
    int n = 0;
    for (char *at = text, *nl; (nl = strchr(at, '\n')); at = nl + 1, n++) {
        *nl = 0;
        const char *words = strstr(at, "chat ");
        assert_non_null(words);
        assert_true(!strcmp(words + 5, "aaaaaaaaaaaaaaaaaaaaaaaa") ||
                    !strcmp(words + 5, "bbbbbbbbbbbbbbbbbbbbbbbb"));
    }
    assert_int_equal(n, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_one_line_and_no_terminal_obeys_it),
        cmocka_unit_test(under_the_journal),
        cmocka_unit_test(long_words_are_cut_and_still_end),
        cmocka_unit_test(lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
