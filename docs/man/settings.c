// SPDX-License-Identifier: Apache-2.0
/* Fills grpo.conf(5): copies the page named by argv[1] to stdout, and puts the daemons' settings where a line says @learner@ or @rollout@. The tables
 * come from the lists that the daemons are built from, so the page cannot say anything else. */
#include <stdio.h>
#include <string.h>

#include "learner/conf.h"
#include "rollout/conf.h"

/* Text as scdoc takes it: nothing in it is markup. */
static void put(const char *s)
{
    for (; *s; s++) {
        if (strchr("\\_*<>[]|#", *s)) putchar('\\');
        putchar(*s);
    }
}

static void put_bounds(const struct conf_key *k)
{
    const bool number = k->type == CONF_U32 || k->type == CONF_U64 || k->type == CONF_F64;
    if (number) printf(" From %.12g to %.12g.", k->min, k->max);
    if (k->type == CONF_BOOL) printf(" Yes or no.");
    if (k->type != CONF_CHOICE) return;
    printf(" One of");
    for (const char *p = k->choices; *p; p += *p == '|') {
        char one[64];
        const size_t n = strcspn(p, "|");
        snprintf(one, sizeof one, "%.*s", (int)n, p);
        printf(p == k->choices ? " _" : ", _");
        put(one);
        printf("_");
        p += n;
    }
    printf(".");
}

static void put_list(const struct conf_list *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const struct conf_key *k = &l->key[i];
        printf("*");
        put(k->name);
        printf("*\n\t");
        put(k->help);
        printf(".");
        put_bounds(k);
        printf(" Default: ");
        put(*k->def ? k->def : "none");
        printf(".%s\n\n", k->live ? " May change while the daemon runs." : "");
    }
}

int main(int argc, char **argv)
{
    char line[2000];
    FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (!f) {
        fprintf(stderr, "usage: man_settings PAGE\n");
        return 2;
    }
    while (fgets(line, sizeof line, f)) {
        if (!strcmp(line, "@learner@\n")) put_list(&learner_conf_list);
        else if (!strcmp(line, "@rollout@\n")) put_list(&rollout_conf_list);
        else fputs(line, stdout);
    }
    fclose(f);
    return ferror(stdout) ? 1 : 0;
}
