// SPDX-License-Identifier: Apache-2.0
/* dump.c - frames of a file, a line of JSON each. A file is one bare frame, or frames each behind its length (u32, little-endian) as on the
 * control socket. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/svc/ctl_sock.h"
#include "ctl/ctl.h"
#include "proto/msg.h"

#define MAX_FILE ((size_t)1 << 30)

static enum err read_stdin(char **ret_text, size_t *ret_n, struct why *why)
{
    char *p = NULL;
    size_t n = 0, cap = 0;
    for (;;) {
        if (n == cap) {
            cap = cap ? cap * 2 : 65536;
            char *q = cap <= MAX_FILE ? realloc(p, cap) : NULL;
            if (!q) break;
            p = q;
        }
        const size_t k = fread(p + n, 1, cap - n, stdin);
        n += k;
        if (!k) {
            *ret_text = p;
            *ret_n = n;
            return ERR_OK;
        }
    }
    free(p);
    return why_set(why, ERR_RANGE, "stdin: more than fits");
}

static enum err print(struct span frame, uint32_t max_item, struct msg_buf *b, struct why *why)
{
    TRY(msg_print(frame, max_item, b, why));
    printf("%.*s\n", (int)b->n, (const char *)b->p);
    return ERR_OK;
}

static enum err frames(struct span all, uint32_t max_item, const char *name, struct why *why)
{
    struct msg_buf b = {0};
    enum err e = ERR_OK;
    size_t at = 0;
    if (msg_id_of(all) != MSG_ID_NONE && print(all, max_item, &b, NULL) == ERR_OK) at = all.n;
    while (!e && at < all.n) {
        const uint8_t *p = all.p + at;
        const size_t left = all.n - at;
        const uint32_t n = left < 4 ? 0 : p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        if (left < 4 || n > CTL_MAX_FRAME || n > left - 4) e = why_set(why, ERR_FORMAT, "cut, or neither a frame nor frames behind their lengths");
        else e = print(span_of(p + 4, n), max_item, &b, why);
        if (e) why_add(why, e, "%s: byte %zu", name, at);
        at += 4 + (size_t)n;
    }
    msg_buf_done(&b);
    return e;
}

int verb_dump(int argc, char **argv)
{
    uint32_t items = 16;
    struct why why = {0};
    int code;
    char *text;
    size_t n;
    const struct opt opt[] = {{"items", 'n', OPT_U32, &items, 0, 1e9, "N", "elements shown of an array (16)"}};
    struct args a = {.verb = argv[0], .words = "FILE", .about = "frames of a file (- is stdin), a line of JSON each", .opt = opt,
                     .n_opt = ARRAY_LEN(opt), .max_words = 1};
    if (!args_parse(&a, argc, argv, &code)) return code;
    if (!a.n_word) {
        say("name a file with frames, or - for stdin");
        return CTL_USAGE;
    }
    const bool in = !strcmp(a.word[0], "-");
    enum err e = in ? read_stdin(&text, &n, &why) : file_read(a.word[0], MAX_FILE, &text, &n, &why);
    if (!e) {
        e = frames(span_of(text, n), items, in ? "stdin" : a.word[0], &why);
        free(text);
    }
    if (e) say("%s", why_str(&why, e));
    return e ? CTL_FAILED : CTL_OK;
}
