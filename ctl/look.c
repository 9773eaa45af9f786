// SPDX-License-Identifier: Apache-2.0
/* look.c - one picture, or a picture again and again. A page is made whole in memory first, so a watch does not flicker. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "ctl/ctl.h"

int page_fail(struct page *p, int code, const struct why *why)
{
    if (p->watching && code != CTL_USAGE) page_line(p, TINT_RED, "%s", why_str(why, ERR_INTERNAL));
    else say("%s", why_str(why, ERR_INTERNAL));
    return code;
}

static int picture(const struct common *c, int (*draw)(struct page *p, void *arg), void *arg, bool clear)
{
    char *text = NULL;
    size_t n = 0;
    struct page p;
    FILE *f = open_memstream(&text, &n);
    if (!f) {
        say("out of memory");
        return CTL_FAILED;
    }
    page_init(&p, f);
    p.watching = c->watch_s > 0;
    const int code = draw(&p, arg);
    if (fclose(f)) say("out of memory");
    else {
        if (clear) fputs("\033[H\033[2J", stdout);
        fwrite(text, 1, n, stdout);
    }
    free(text);
    return code;
}

/* Until the given time, however often a signal wakes us. */
static void sleep_until(int64_t at_ns)
{
    for (int64_t left; (left = at_ns - clock_now_ns()) > 0;) poll(NULL, 0, (int)(left / NS_PER_MS) + 1);
}

int look(const struct common *c, int (*draw)(struct page *p, void *arg), void *arg)
{
    const bool clear = isatty(STDOUT_FILENO) == 1 && !c->json;
    if (c->watch_s <= 0) return picture(c, draw, arg, false);
    for (bool first = true;; first = false) {
        const int64_t next = clock_now_ns() + (int64_t)(c->watch_s * (double)NS_PER_S);
        if (!first && !clear && !c->json) putchar('\n');
        const int code = picture(c, draw, arg, clear);
        if (code == CTL_USAGE || fflush(stdout)) return code ? code : CTL_FAILED;
        sleep_until(next);
    }
}
