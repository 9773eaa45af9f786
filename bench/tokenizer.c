// SPDX-License-Identifier: Apache-2.0
/* tokenizer.c - how fast text becomes ids and back: `bench_tokenizer FOLDER FILE...`.
 *
 * Each file is cut into documents of about 4 KB at ends of lines, as bench/peer_tokenizer.py does. One line a
 * file: the best of five passes, in processor time of this one thread, so that a busy machine counts less. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/file.h"
#include "common/model/tokenizer.h"

enum { DOCUMENT = 4096, PASSES = 5 };

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void must(enum err e, const struct why *why)
{
    if (!e) return;
    fprintf(stderr, "%s\n", why_str(why, e));
    exit(1);
}

/* The document at p: up to the first end of a line at DOCUMENT or later. */
static size_t document(const char *p, size_t n)
{
    if (n <= DOCUMENT) return n;
    const char *end = memchr(p + DOCUMENT - 1, '\n', n - DOCUMENT + 1);
    return end ? (size_t)(end - p) + 1 : n;
}

static void encode(const struct tokenizer *t, const char *text, size_t n, struct tok_buf *ids)
{
    ids->n = 0;
    for (size_t at = 0, k; at < n; at += k) {
        k = document(text + at, n - at);
        must(tokenizer_encode(t, span_of(text + at, k), true, ids), NULL);
    }
}

static void bench(const struct tokenizer *t, const char *path)
{
    char *text;
    size_t n;
    struct why why = {0};
    struct tok_buf ids = {0};
    struct text_buf back = {0};
    double enc = 1e9, dec = 1e9;
    must(file_read(path, 1u << 30, &text, &n, &why), &why);
    for (int i = 0; i < PASSES; i++) {
        const double a = cpu_s();
        encode(t, text, n, &ids);
        const double b = cpu_s();
        back.n = 0;
        must(tokenizer_decode(t, ids.id, ids.n, false, &back), NULL);
        const double c = cpu_s();
        enc = b - a < enc ? b - a : enc;
        dec = c - b < dec ? c - b : dec;
    }
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    printf("tokenizer file=%s mb=%.1f ids=%u encode_mb_per_s=%.1f decode_mb_per_s=%.1f\n", name,
           (double)n * 1e-6, ids.n, (double)n * 1e-6 / enc, (double)back.n * 1e-6 / dec);
    free(text);
    free(ids.id);
    free(back.p);
}

int main(int argc, char **argv)
{
    struct tokenizer *t;
    struct why why = {0};
    if (argc < 3) return fprintf(stderr, "usage: %s FOLDER FILE...\n", argv[0]), 2;
    const double a = cpu_s();
    must(tokenizer_open(argv[1], &t, &why), &why);
    printf("tokenizer open_ms=%.0f\n", (cpu_s() - a) * 1e3);
    for (int i = 2; i < argc; i++) bench(t, argv[i]);
    tokenizer_close(t);
    return 0;
}
