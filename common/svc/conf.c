// SPDX-License-Identifier: Apache-2.0
#include "common/svc/conf.h"

#include <ctype.h>
#include <errno.h>
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
    if (x < k->min || x > k->max) return why_set(why, ERR_RANGE, "%s = %s: must lie between %.15g and %.15g", k->name, v, k->min, k->max);
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

struct reader {
    const struct conf_list *l;
    void *conf;
    char section[64];
};

/* Cut white space off both ends, in place. */
static char *trim(char *s)
{
    while (isspace((unsigned char)*s)) s++;
    for (char *end = s + strlen(s); end > s && isspace((unsigned char)end[-1]);) *--end = 0;
    return s;
}

static enum err open_section(struct reader *r, char *line, struct why *why)
{
    char *end = strchr(line, ']');
    if (!end || end[1]) return why_set(why, ERR_FORMAT, "\"%s\" is no [section]", line);
    *end = 0;
    const char *name = trim(line + 1);
    if (*name && strcmp(name, r->l->section) && strcmp(name, "learner") && strcmp(name, "rollout"))
        return why_set(why, ERR_NOENT, "unknown section [%s]", name);
    snprintf(r->section, sizeof r->section, "%s", name);
    return ERR_OK;
}

/* One line, without its end. A ';' after white space begins a comment, as does '#' or ';' in front. */
static enum err read_line(struct reader *r, char *line, struct why *why)
{
    for (char *p = line + strcspn(line, ";"); *p; p += 1 + strcspn(p + 1, ";"))
        if (p == line || isspace((unsigned char)p[-1])) {
            *p = 0;
            break;
        }
    line = trim(line);
    if (!*line || *line == '#') return ERR_OK;
    if (*line == '[') return open_section(r, line, why);
    char *sign = strchr(line, '=');
    if (!sign) return why_set(why, ERR_FORMAT, "\"%s\" is not of the form name = value", line);
    *sign = 0;
    if (*r->section && strcmp(r->section, r->l->section)) return ERR_OK; /* the other daemon's */
    return conf_set(r->l, r->conf, trim(line), trim(sign + 1), why);
}

enum err conf_parse(const struct conf_list *l, void *conf, struct span text, const char *name, struct why *why)
{
    struct reader r = {.l = l, .conf = conf};
    const char *at = (const char *)text.p, *end = at + text.n;
    if (text.n >= 3 && !memcmp(at, "\xEF\xBB\xBF", 3)) at += 3;
    for (unsigned n = 1; at < end; n++) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        const size_t len = (size_t)((nl ? nl : end) - at);
        if (memchr(at, 0, len)) return why_set(why, ERR_FORMAT, "%s:%u: a NUL byte: this is not a text file", name, n);
        char *line = strndup(at, len);
        const enum err e = line ? read_line(&r, line, why) : ERR_NOMEM;
        free(line);
        if (e) return why_add(why, e, "%s:%u", name, n);
        at += len + (nl != NULL);
    }
    return ERR_OK;
}

enum err conf_read(const struct conf_list *l, void *conf, const char *path, struct why *why)
{
    char *text;
    size_t n;
    TRY(file_read(path, 1u << 20, &text, &n, why));
    enum err e = conf_parse(l, conf, span_of(text, n), path, why);
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
    if (config && !*config) return why_set(why, ERR_INVAL, "--config: a file is expected");
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
