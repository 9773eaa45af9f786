// SPDX-License-Identifier: Apache-2.0
#include "ctl/args.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

#define MAX_WORD 40

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    const unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* Letters to insert, remove, change or swap with a neighbour. Long words are as far as can be. */
static unsigned distance(const char *a, const char *b)
{
    const size_t n = strlen(a), m = strlen(b);
    unsigned d[MAX_WORD + 1][MAX_WORD + 1];
    if (n > MAX_WORD || m > MAX_WORD) return MAX_WORD;
    for (size_t i = 0; i <= n; i++)
        for (size_t j = 0; j <= m; j++) {
            if (!i || !j) {
                d[i][j] = (unsigned)(i + j);
                continue;
            }
            d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && d[i - 2][j - 2] + 1 < d[i][j]) d[i][j] = d[i - 2][j - 2] + 1;
        }
    return d[n][m];
}

const char *args_nearest(const char *word, const char *const *name, uint32_t n)
{
    const char *best = NULL, *begins = NULL;
    unsigned least = MAX_WORD, n_begin = 0;
    for (uint32_t i = 0; i < n; i++) {
        const unsigned k = distance(word, name[i]);
        if (k < least) least = k, best = name[i];
        if (*word && !strncmp(word, name[i], strlen(word))) n_begin++, begins = name[i];
    }
    if (n_begin == 1) return begins;
    return best && least <= (strlen(best) > 4 ? 2 : 1) ? best : NULL;
}

static int usage(const struct args *a, const char *what, const char *which)
{
    fprintf(stderr, "grpoctl %s: %s%s%s\nTry: grpoctl %s --help\n", a->verb, what, which ? " " : "", which ? which : "", a->verb);
    return CTL_USAGE;
}

static const struct opt *find(const struct args *a, const char *name, size_t n)
{
    for (uint32_t i = 0; i < a->n_opt; i++)
        if (strlen(a->opt[i].name) == n && !strncmp(a->opt[i].name, name, n)) return &a->opt[i];
    return NULL;
}

static int unknown(const struct args *a, const char *given)
{
    const char *name[64], *near;
    uint32_t n = 0;
    char words[200];
    for (uint32_t i = 0; i < a->n_opt && n < 64; i++) name[n++] = a->opt[i].name;
    near = strncmp(given, "--", 2) ? NULL : args_nearest(given + 2, name, n);
    snprintf(words, sizeof words, "%.60s%s%s%s", given, near ? ": did you mean --" : "", near ? near : "", near ? "?" : "");
    return usage(a, "unknown option", words);
}

static bool number(const char *v, double *ret)
{
    char *end;
    errno = 0;
    *ret = strtod(v, &end);
    return end != v && !*end && !errno && isfinite(*ret);
}

/* 0, or the exit code. */
static int set_number(const struct args *a, const struct opt *o, const char *v)
{
    double x;
    char words[200];
    const bool whole = o->kind == OPT_U32 || o->kind == OPT_U64;
    if (!number(v, &x) || (whole && (x != floor(x) || strspn(v, "0123456789") != strlen(v)))) {
        snprintf(words, sizeof words, "%.60s: a %snumber is expected", v, whole ? "whole " : "");
        return usage(a, o->name, words);
    }
    if (x < o->min || x > o->max) {
        snprintf(words, sizeof words, "%.60s: must lie between %g and %g", v, o->min, o->max);
        return usage(a, o->name, words);
    }
    if (o->kind == OPT_U32) *(uint32_t *)o->to = (uint32_t)x;
    else if (o->kind == OPT_U64) *(uint64_t *)o->to = strtoull(v, NULL, 10);
    else *(double *)o->to = x;
    return 0;
}

/* The option o, its value v (NULL: not joined by =). *i moves over a value taken from argv. */
static int one(const struct args *a, const struct opt *o, const char *v, int argc, char **argv, int *i)
{
    double x;
    if (o->kind == OPT_FLAG) {
        if (v) return usage(a, o->name, "takes no value");
        *(bool *)o->to = true;
        return 0;
    }
    if (o->kind == OPT_SEC && !v) {
        if (*i + 1 < argc && number(argv[*i + 1], &x)) return set_number(a, o, argv[++*i]);
        *(double *)o->to = 1;
        return 0;
    }
    if (!v && *i + 1 >= argc) return usage(a, o->name, "needs a value");
    if (!v) v = argv[++*i];
    if (o->kind != OPT_STR) return set_number(a, o, v);
    *(const char **)o->to = v;
    return 0;
}

static int by_letter(const struct args *a, int argc, char **argv, int *i)
{
    const char *s = argv[*i] + 1;
    for (uint32_t k = 0; k < a->n_opt; k++)
        if (a->opt[k].letter && a->opt[k].letter == *s)
            return a->opt[k].kind == OPT_FLAG && s[1] ? unknown(a, argv[*i]) : one(a, &a->opt[k], s[1] ? s + 1 : NULL, argc, argv, i);
    return unknown(a, argv[*i]);
}

static int by_name(const struct args *a, int argc, char **argv, int *i)
{
    const char *s = argv[*i] + 2, *eq = strchr(s, '=');
    const struct opt *o = find(a, s, eq ? (size_t)(eq - s) : strlen(s));
    return o ? one(a, o, eq ? eq + 1 : NULL, argc, argv, i) : unknown(a, argv[*i]);
}

static void help(const struct args *a)
{
    printf("grpoctl %s%s%s - %s\n", a->verb, *a->words ? " " : "", a->words, a->about);
    for (uint32_t i = 0; i < a->n_opt; i++) {
        const struct opt *o = &a->opt[i];
        char left[60], letter[8] = "    ";
        if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, o->kind == OPT_FLAG ? "%s--%s" : o->kind == OPT_SEC ? "%s--%s [%s]" : "%s--%s %s", letter, o->name,
                 o->arg ? o->arg : "");
        printf("%s  %-26s %s\n", i ? "" : "\nOptions:\n", left, o->help);
    }
    printf("\nExit: 0 done, 1 refused or failed, 2 usage, 3 no daemon reached, 4 timed out. More: man grpoctl\n");
}

bool args_parse(struct args *a, int argc, char **argv, int *ret_code)
{
    bool words_only = false;
    *ret_code = 0;
    for (int i = 1; i < argc && !*ret_code; i++) {
        const char *s = argv[i];
        if (words_only || s[0] != '-' || !s[1]) {
            if (a->n_word >= a->max_words) *ret_code = usage(a, "unexpected word", s);
            else a->word[a->n_word++] = s;
        } else if (!strcmp(s, "--help") || !strcmp(s, "-h")) {
            help(a);
            return false;
        } else if (!strcmp(s, "--")) {
            words_only = true;
        } else {
            *ret_code = s[1] == '-' ? by_name(a, argc, argv, &i) : by_letter(a, argc, argv, &i);
        }
    }
    return *ret_code == 0;
}
