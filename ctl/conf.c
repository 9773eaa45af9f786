// SPDX-License-Identifier: Apache-2.0
/* conf.c - the settings a daemon runs with; and version. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

static int print_one(const struct answer *a, const char *key)
{
    const char *name[256], *k, *near;
    uint32_t n = 0;
    json_t *v;
    json_object_foreach(a->j, k, v)
    {
        if (n < 256) name[n++] = k;
    }
    v = json_object_get(a->j, key);
    if (json_is_string(v)) {
        printf("%s\n", json_string_value(v));
        return CTL_OK;
    }
    near = args_nearest(key, name, n);
    say("%s: no such setting%s%s%s", key, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return CTL_FAILED;
}

static void print_all(const struct door *d, const json_t *j)
{
    static const struct col col[] = {{"setting"}, {"value"}};
    struct table t;
    struct page p;
    const char *k;
    json_t *v;
    page_init(&p, stdout);
    page_head(&p, "%s", d->path);
    table_init(&t, col, ARRAY_LEN(col));
    json_object_foreach((json_t *)j, k, v)
    {
        table_add(&t, "%s", k);
        table_add(&t, "%s", json_is_string(v) ? json_string_value(v) : "-");
    }
    table_print(&t, &p);
    table_done(&t);
}

int verb_conf(int argc, char **argv)
{
    struct common c = {0};
    struct why why = {0};
    struct door d;
    struct answer r;
    int code;
    const struct opt opt[] = {OPTS_DOOR(c), OPTS_JSON(c)};
    struct args a = {.verb = argv[0], .words = "[SETTING]", .about = "the settings a daemon runs with, or the value of one", .opt = opt,
                     .n_opt = ARRAY_LEN(opt), .max_words = 1};
    if (!args_parse(&a, argc, argv, &code)) return code;
    code = pick_and_ask(&c, WHO_LEARNER, WHO_ROLLOUT, "conf", &d, &r, &why);
    if (code) say("%s", why_str(&why, ERR_INTERNAL));
    else if (a.n_word) code = print_one(&r, a.word[0]);
    else if (c.json) printf("%s\n", r.text);
    else print_all(&d, r.j);
    answer_done(&r);
    return code;
}

/* -- version ------------------------------------------------------------------------------------------------------------ */

int verb_version(int argc, char **argv)
{
    static const enum who both[] = {WHO_LEARNER, WHO_ROLLOUT};
    struct common c = {0};
    int code;
    const struct opt opt[] = {OPTS_DOOR(c), {"json", 0, OPT_FLAG, &c.json, 0, 0, NULL, "as one JSON object"}};
    struct args a = {.verb = argv[0], .words = "", .about = "of this program, and of the daemons that answer", .opt = opt, .n_opt = ARRAY_LEN(opt)};
    if (!args_parse(&a, argc, argv, &code)) return code;
    json_t *out = json_pack("{s:s}", "grpoctl", GRPO_VERSION);
    for (int i = 0; i < (one_door(&c) ? 1 : 2); i++) {
        struct why why = {0};
        struct door d;
        struct answer r;
        const enum who other = one_door(&c) ? both[1] : WHO_ANY;
        code = pick_and_ask(&c, both[i], other, "status", &d, &r, &why);
        if (code == CTL_OK) json_object_set_new(out, js_str(r.j, "daemon"), json_string(js_str(r.j, "version")));
        else if (code != CTL_NO_DAEMON || one_door(&c)) say("%s", why_str(&why, ERR_INTERNAL));
        answer_done(&r);
        if (code == CTL_USAGE) break;
    }
    const char *k;
    json_t *v;
    char *text = c.json ? json_dumps(out, JSON_COMPACT) : NULL;
    if (text) printf("%s\n", text);
    else json_object_foreach(out, k, v) printf("%s%s %s\n", strcmp(k, "grpoctl") ? "grpo-" : "", k, json_string_value(v));
    free(text);
    json_decref(out);
    return code == CTL_USAGE ? code : CTL_OK;
}
