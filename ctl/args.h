// SPDX-License-Identifier: Apache-2.0
/* args.h - options of a verb, as a table: parsing and --help come from the same lines. Pure but for the words on stderr. */
#ifndef CTL_ARGS_H
#define CTL_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#define ARRAY_LEN(a)   (sizeof(a) / sizeof *(a))
#define ARGS_MAX_WORDS 4

enum opt_kind {
    OPT_FLAG, /* bool: true when given */
    OPT_STR,  /* const char *, borrowed from argv */
    OPT_U32,
    OPT_U64,
    OPT_F64,
    OPT_SEC, /* double; the value may be left out, then it is 1 */
};

struct opt {
    const char *name; /* without dashes */
    char letter;      /* -n; 0: none */
    enum opt_kind kind;
    void *to;
    double min, max;       /* of numbers */
    const char *arg, *help; /* how the value is called; one line */
};

struct args {
    const char *verb, *words, *about; /* words: what may stand besides options, "[NODE]" */
    const struct opt *opt;
    uint32_t n_opt;
    uint32_t max_words; /* at most ARGS_MAX_WORDS */
    const char *word[ARGS_MAX_WORDS];
    uint32_t n_word;
};

/* argv[0] is the verb. --name value, --name=value, -n value, a lone "-" and what follows "--" are words. False: the verb ends at once with
 * *ret_code, since --help was answered on stdout (0) or the words on stderr say what is wrong (2). */
bool args_parse(struct args *a, int argc, char **argv, int *ret_code);

/* The name that a person may have meant: few letters changed, or the only one that begins so. NULL: none is near. */
const char *args_nearest(const char *word, const char *const *name, uint32_t n);

#endif
