// SPDX-License-Identifier: Apache-2.0
#include "common/svc/conf.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"

static const struct conf_key *find(const struct conf_list *l, const char *name)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const char *a = l->key[i].name, *b = name;
        while (*a && (*a == *b || (*a == '_' && *b == '-'))) a++, b++;
        if (!*a && !*b) return &l->key[i];
    }
    return NULL;
}

static void *field(const struct conf_key *k, void *conf)
{
    return (char *)conf + k->offset;
}

/* A number with an optional k, M or G. */
static enum err parse_number(const struct conf_key *k, const char *v, double *ret, struct why *why)
{
    char *end;
    errno = 0;
    double x = strtod(v, &end);
    const double unit = k->type == CONF_U64 ? 1024 : 1000;
    if (end != v && k->type != CONF_F64 && *end && strchr("kMG", *end)) {
        for (int i = *end == 'k' ? 1 : *end == 'M' ? 2 : 3; i; i--) x *= unit;
        end++;
    }
    if (end == v || *end || errno || !isfinite(x)) return why_set(why, ERR_INVAL, "%s = %s: a number is expected", k->name, v);
    if (k->type != CONF_F64 && x != floor(x)) return why_set(why, ERR_INVAL, "%s = %s: a whole number is expected", k->name, v);
    if (x < k->min || x > k->max) return why_set(why, ERR_RANGE, "%s = %s: must lie between %g and %g", k->name, v, k->min, k->max);
    *ret = x;
    return ERR_OK;
}

static enum err parse_bool(const struct conf_key *k, const char *v, bool *ret, struct why *why)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (int i = 0; i < 4; i++) {
        if (!strcmp(v, yes[i])) return *ret = true, ERR_OK;
        if (!strcmp(v, no[i])) return *ret = false, ERR_OK;
    }
    return why_set(why, ERR_INVAL, "%s = %s: true or false is expected", k->name, v);
}

static enum err parse_choice(const struct conf_key *k, const char *v, uint32_t *ret, struct why *why)
{
    uint32_t i = 0;
    const size_t n = strlen(v);
    for (const char *p = k->choices; *p; i++) {
        const size_t len = strcspn(p, "|");
        if (len == n && !strncmp(p, v, n)) return *ret = i, ERR_OK;
        p += len + (p[len] == '|');
    }
    return why_set(why, ERR_INVAL, "%s = %s: one of %s is expected", k->name, v, k->choices);
}

static enum err set_key(const struct conf_key *k, void *conf, const char *v, struct why *why)
{
    void *f = field(k, conf);
    double x = 0;
    if (k->type == CONF_BOOL) return parse_bool(k, v, f, why);
    if (k->type == CONF_CHOICE) return parse_choice(k, v, f, why);
    if (k->type == CONF_STR) {
        char *copy = strdup(v);
        if (!copy) return ERR_NOMEM;
        free(*(char **)f);
        *(char **)f = copy;
        return ERR_OK;
    }
    TRY(parse_number(k, v, &x, why));
    if (k->type == CONF_U32) *(uint32_t *)f = (uint32_t)x;
    if (k->type == CONF_U64) *(uint64_t *)f = (uint64_t)x;
    if (k->type == CONF_F64) *(double *)f = x;
    return ERR_OK;
}

enum err conf_set(const struct conf_list *l, void *conf, const char *name, const char *value, struct why *why)
{
    const struct conf_key *k = find(l, name);
    if (!k) return why_set(why, ERR_NOENT, "unknown setting \"%s\" (--help lists them)", name);
    return set_key(k, conf, value, why);
}

enum err conf_defaults(const struct conf_list *l, void *conf, struct why *why)
{
    for (uint32_t i = 0; i < l->n; i++) TRY(set_key(&l->key[i], conf, l->key[i].def, why));
    return ERR_OK;
}

void conf_done(const struct conf_list *l, void *conf)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (l->key[i].type == CONF_STR) {
            free(*(char **)field(&l->key[i], conf));
            *(char **)field(&l->key[i], conf) = NULL;
        }
}

struct ini_state {
    const struct conf_list *l;
    void *conf;
    enum err e;
    struct why *why;
};

static int on_ini(void *user, const char *section, const char *name, const char *value)
{
    struct ini_state *st = user;
    if (*section && strcmp(section, st->l->section)) {
        if (!strcmp(section, "learner") || !strcmp(section, "rollout")) return 1;
        st->e = why_set(st->why, ERR_NOENT, "unknown section [%s]", section);
        return 0;
    }
    st->e = conf_set(st->l, st->conf, name, value, st->why);
    return st->e == ERR_OK;
}

enum err conf_parse(const struct conf_list *l, void *conf, const char *text, const char *name, struct why *why)
{
    struct ini_state st = {l, conf, ERR_OK, why};
    const int line = ini_parse_string(text, on_ini, &st);
    if (st.e) return why_add(why, st.e, "%s:%d", name, line > 0 ? line : 0);
    if (line > 0) return why_set(why, ERR_FORMAT, "%s:%d: not a line of the form name = value", name, line);
    return line < 0 ? ERR_NOMEM : ERR_OK;
}

enum err conf_read(const struct conf_list *l, void *conf, const char *path, struct why *why)
{
    char *text;
    size_t n;
    TRY(file_read(path, 1u << 20, &text, &n, why));
    enum err e = conf_parse(l, conf, text, path, why);
    free(text);
    return e;
}

static const char *config_arg(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--config")) return i + 1 < argc ? argv[i + 1] : "";
        if (!strncmp(argv[i], "--config=", 9)) return argv[i] + 9;
    }
    return NULL;
}

/* --name value, --name=value; *i moves over what was used. */
static enum err one_arg(const struct conf_list *l, void *conf, int argc, char **argv, int *i, struct why *why)
{
    char name[64];
    const char *a = argv[*i], *eq = strchr(a, '=');
    if (strncmp(a, "--", 2)) return why_set(why, ERR_INVAL, "unexpected \"%s\": settings are --name value", a);
    const size_t n = eq ? (size_t)(eq - a - 2) : strlen(a + 2);
    if (n >= sizeof name) return why_set(why, ERR_NOENT, "unknown setting \"%s\"", a);
    memcpy(name, a + 2, n);
    name[n] = 0;
    if (!strcmp(name, "config")) return *i += eq ? 0 : 1, ERR_OK;
    const struct conf_key *k = find(l, name);
    if (!k) return why_set(why, ERR_NOENT, "unknown setting \"--%s\" (--help lists them)", name);
    if (eq) return set_key(k, conf, eq + 1, why);
    const bool alone = *i + 1 >= argc || !strncmp(argv[*i + 1], "--", 2);
    if (k->type == CONF_BOOL && alone) return set_key(k, conf, "true", why);
    if (*i + 1 >= argc) return why_set(why, ERR_INVAL, "--%s: a value is expected", name);
    return set_key(k, conf, argv[++*i], why);
}

enum err conf_args(const struct conf_list *l, void *conf, int argc, char **argv, const char *about, bool *ret_stop, struct why *why)
{
    const char *config = config_arg(argc, argv);
    *ret_stop = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            conf_help(l, about, stdout);
            *ret_stop = true;
            return ERR_OK;
        }
        if (!strcmp(argv[i], "--version")) {
            printf("grpo-%s " GRPO_VERSION "\n", l->section);
            *ret_stop = true;
            return ERR_OK;
        }
    }
    if (config) TRY(conf_read(l, conf, config, why));
    for (int i = 1; i < argc; i++) TRY(one_arg(l, conf, argc, argv, &i, why));
    return ERR_OK;
}

void conf_get(const struct conf_key *k, const void *conf, char *out, size_t cap)
{
    const void *f = (const char *)conf + k->offset;
    switch (k->type) {
    case CONF_BOOL: snprintf(out, cap, "%s", *(const bool *)f ? "true" : "false"); break;
    case CONF_U32: snprintf(out, cap, "%u", *(const uint32_t *)f); break;
    case CONF_U64: snprintf(out, cap, "%llu", (unsigned long long)*(const uint64_t *)f); break;
    case CONF_F64: snprintf(out, cap, "%.17g", *(const double *)f); break;
    case CONF_STR: snprintf(out, cap, "%s", *(char *const *)f); break;
    case CONF_CHOICE: {
        const char *p = k->choices;
        for (uint32_t i = *(const uint32_t *)f; i; i--) p += strcspn(p, "|") + 1;
        snprintf(out, cap, "%.*s", (int)strcspn(p, "|"), p);
    }
    }
}

void conf_help(const struct conf_list *l, const char *about, FILE *f)
{
    fprintf(f, "%s\n\nSettings (--name value, or \"name = value\" in a file given by --config):\n", about);
    for (uint32_t i = 0; i < l->n; i++) {
        const struct conf_key *k = &l->key[i];
        fprintf(f, "  %-28s %s", k->name, k->help);
        if (k->choices) fprintf(f, " [%s]", k->choices);
        fprintf(f, " (default: %s%s)\n", *k->def ? k->def : "none", k->live ? "; may change while running" : "");
    }
}
