// SPDX-License-Identifier: Apache-2.0
/* replay.c - runs a fuzz target over its saved corpus, without a fuzzer: `replay_X DIR`. Also feeds every prefix
 * and every single-bit flip of the first 64 bytes of each file, so that a plain run is not just a reload. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *read_file(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    uint8_t *p = n >= 0 ? malloc((size_t)n + 1) : NULL;
    if (p && fread(p, 1, (size_t)n, f) != (size_t)n) {
        free(p);
        p = NULL;
    }
    fclose(f);
    if (p) *ret_n = (size_t)n;
    return p;
}

/* A copy of exactly n bytes, so that a sanitizer sees one byte too far. */
static void run_exact(const uint8_t *p, size_t n)
{
    uint8_t *c = malloc(n ? n : 1);
    if (!c) return;
    memcpy(c, p, n);
    LLVMFuzzerTestOneInput(c, n);
    free(c);
}

static unsigned run_file(const char *path)
{
    size_t n = 0;
    uint8_t *p = read_file(path, &n);
    if (!p) return 0;
    unsigned runs = 1;
    run_exact(p, n);
    size_t step = n > 512 ? n / 512 : 1;
    for (size_t k = 0; k < n; k += step, runs++) run_exact(p, k);
    for (size_t i = 0; i < n && i < 64; i++)
        for (int b = 0; b < 8; b++, runs++) {
            p[i] ^= (uint8_t)(1u << b);
            run_exact(p, n);
            p[i] ^= (uint8_t)(1u << b);
        }
    free(p);
    return runs;
}

int main(int argc, char **argv)
{
    if (argc != 2) return fprintf(stderr, "usage: %s CORPUS_DIR\n", argv[0]), 2;
    DIR *d = opendir(argv[1]);
    if (!d) return fprintf(stderr, "%s: no such corpus\n", argv[1]), 1;
    unsigned files = 0, runs = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
        runs += run_file(path);
        files++;
    }
    closedir(d);
    printf("%u files, %u runs\n", files, runs);
    return files ? 0 : 1; /* an empty corpus tests nothing */
}
