// SPDX-License-Identifier: Apache-2.0
/* nodes.c - the rollout nodes of a learner; and drain, which takes one out of service. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

/* -- as the learner sees them ------------------------------------------------------------------------------------------- */

static enum tint tint_of(const char *state)
{
    if (!strcmp(state, "up") || !strcmp(state, "ready")) return TINT_GREEN;
    return !strcmp(state, "silent") || !strcmp(state, "gone") ? TINT_RED : TINT_YELLOW;
}

static void add_share(struct table *t, const json_t *n)
{
    const double all = js_num(n, "kv_blocks"), unused = js_num(n, "kv_free_blocks");
    if (all > 0) table_add(t, "%.0f %%", 100 * (all - unused) / all);
    else table_add(t, "-");
}

static void draw_learners(struct page *p, const json_t *list)
{
    static const struct col col[] = {{"node", .flex = true},
                                     {"state"},
                                     {"version", .right = true},
                                     {"jobs", .right = true},
                                     {"running", .right = true},
                                     {"waiting", .right = true},
                                     {"tok/s", .right = true},
                                     {"groups", .right = true},
                                     {"tokens", .right = true},
                                     {"cache", .right = true},
                                     {"swap", .right = true},
                                     {"stall", .right = true},
                                     {"heard", .right = true},
                                     {"joined", .right = true},
                                     {"exact"},
                                     {"address"}};
    struct table t;
    struct human h;
    size_t i;
    json_t *n;
    table_init(&t, col, ARRAY_LEN(col));
    json_array_foreach(list, i, n)
    {
        table_add(&t, "%s", js_str(n, "name"));
        table_add(&t, "%s", js_str(n, "state"));
        table_tint(&t, tint_of(js_str(n, "state")));
        table_add(&t, "%s%s", human_count(js_num(n, "policy_version"), &h), js_true(n, "current") ? "" : "*");
        table_add(&t, "%s", human_count(js_num(n, "jobs_in_flight"), &h));
        table_add(&t, "%s", human_count(js_num(n, "running"), &h));
        table_add(&t, "%s", human_count(js_num(n, "waiting"), &h));
        table_add(&t, "%s", human_count(js_num(n, "tok_per_s"), &h));
        table_add(&t, "%s", human_count(js_num(n, "groups"), &h));
        table_add(&t, "%s", human_count(js_num(n, "tokens"), &h));
        add_share(&t, n);
        table_add(&t, "%s", human_time(js_num(n, "swap_ms") / 1e3, &h));
        table_add(&t, "%s", human_time(js_num(n, "stall_us") / 1e6, &h));
        table_add(&t, "%s ago", human_time(js_num(n, "heard_s"), &h));
        table_add(&t, "%s ago", human_time(js_num(n, "joined_s"), &h));
        table_add(&t, "%s", js_true(n, "exact") ? "yes" : "no");
        table_add(&t, "%s", js_str(n, "address"));
    }
    if (json_array_size(list)) table_print(&t, p);
    else page_line(p, TINT_NONE, "No node has come yet: start grpo-rollout with --learner and this learner's address.");
    table_done(&t);
}

/* A node asked about itself. */
static void draw_self(struct page *p, const json_t *list)
{
    static const struct col col[] = {{"node", .flex = true}, {"learner"}, {"version", .right = true}, {"running", .right = true},
                                     {"waiting", .right = true}, {"tok/s", .right = true}, {"groups", .right = true}, {"cache", .right = true}};
    struct table t;
    struct human h;
    size_t i;
    json_t *n;
    table_init(&t, col, ARRAY_LEN(col));
    json_array_foreach(list, i, n)
    {
        const char *state = js_true(n, "draining") ? "draining" : js_true(n, "paused") ? "paused" : js_str(n, "link");
        table_add(&t, "%s", js_str(n, "name"));
        table_add(&t, "%s (%s)", js_str(n, "learner"), state);
        table_tint(&t, tint_of(state));
        table_add(&t, "%s", human_count(js_num(n, "policy_version"), &h));
        table_add(&t, "%s", human_count(js_num(n, "running"), &h));
        table_add(&t, "%s", human_count(js_num(n, "waiting"), &h));
        table_add(&t, "%s", human_count(js_num(n, "tok_per_s"), &h));
        table_add(&t, "%s", human_count(js_num(n, "groups"), &h));
        add_share(&t, n);
    }
    table_print(&t, p);
    table_done(&t);
}

static void draw_list(struct page *p, const json_t *j)
{
    const json_t *list = json_object_get(j, "nodes");
    const bool self = json_object_get(json_array_get(list, 0), "daemon") != NULL;
    (self ? draw_self : draw_learners)(p, list);
}

static int draw(struct page *p, void *arg)
{
    const struct common *c = arg;
    struct why why = {0};
    struct door d;
    struct answer a;
    const int code = pick_and_ask(c, WHO_LEARNER, WHO_ROLLOUT, "nodes", &d, &a, &why);
    if (code) page_fail(p, code, &why);
    else if (c->json) fprintf(p->f, "%s\n", a.text);
    else draw_list(p, a.j);
    answer_done(&a);
    return code;
}

int verb_nodes(int argc, char **argv)
{
    struct common c = {0};
    int code;
    const struct opt opt[] = {OPTS_DOOR(c), OPTS_JSON(c), OPTS_WATCH(c)};
    struct args a = {.verb = argv[0], .words = "", .about = "the rollout nodes: state, version, work, speed (* not the newest version)", .opt = opt,
                     .n_opt = ARRAY_LEN(opt)};
    return args_parse(&a, argc, argv, &code) ? look(&c, draw, &c) : code;
}

/* -- drain -------------------------------------------------------------------------------------------------------------- */

static int drain_named(const struct door *d, const struct common *c, const char *node, struct answer *r, struct why *why)
{
    json_t *j = json_pack("{s:s}", "node", node);
    char *args = j ? json_dumps(j, JSON_COMPACT) : NULL;
    int code = CTL_USAGE;
    if (args) code = ask(d->path, "drain", args, c->timeout_s, r, why);
    else why_set(why, ERR_INVAL, "%s: no name a node can have", node);
    free(args);
    json_decref(j);
    return code;
}

/* Is the daemon at d the node of this name? */
static bool is_node(const struct door *d, const struct common *c, const char *node)
{
    struct answer a;
    const bool yes = ask(d->path, "status", NULL, c->timeout_s, &a, NULL) == CTL_OK && !strcmp(js_str(a.j, "name"), node);
    answer_done(&a);
    return yes;
}

/* No learner answers: perhaps the node is on this host. */
static int drain_here(const struct common *c, const char *node, struct answer *r, struct why *why)
{
    struct doors d;
    struct why inner = {0};
    const int code = pick_all(c, WHO_ROLLOUT, &d, &inner);
    for (uint32_t i = 0; code == CTL_OK && i < d.n; i++)
        if (is_node(&d.d[i], c, node)) return ask(d.d[i].path, "drain", NULL, c->timeout_s, r, why);
    why_set(why, ERR_NOENT, "no learner answers, nor a node named %s", node);
    return CTL_NO_DAEMON;
}

/* The daemon behind one door: a learner drains the node named, a node itself - but not when another name is given. */
static int drain_behind(const struct common *c, const char *node, struct answer *r, struct why *why)
{
    struct door d;
    struct answer a;
    int code = pick_and_ask(c, WHO_LEARNER, WHO_ROLLOUT, "status", &d, &a, why);
    const bool learner = !strcmp(js_str(a.j, "daemon"), "learner");
    if (!code && learner && !node) code = CTL_USAGE, why_set(why, ERR_INVAL, "name a node: grpoctl nodes lists them");
    if (!code && !learner && node && strcmp(js_str(a.j, "name"), node)) {
        code = CTL_FAILED;
        why_set(why, ERR_NOENT, "%s is the node %s, not %s", d.path, js_str(a.j, "name"), node);
    }
    if (!code) code = learner ? drain_named(&d, c, node, r, why) : ask(d.path, "drain", NULL, c->timeout_s, r, why);
    answer_done(&a);
    return code;
}

static int drain(const struct common *c, const char *node, struct answer *r, struct why *why)
{
    struct doors d;
    if (one_door(c)) return drain_behind(c, node, r, why);
    if (!node) {
        why_set(why, ERR_INVAL, "name a node (grpoctl nodes lists them), or choose one by --socket PATH or --on rollout");
        return CTL_USAGE;
    }
    const int code = pick_all(c, WHO_LEARNER, &d, why);
    if (code == CTL_NO_DAEMON) return drain_here(c, node, r, why);
    return code ? code : drain_named(&d.d[0], c, node, r, why);
}

int verb_drain(int argc, char **argv)
{
    struct common c = {0};
    struct why why = {0};
    struct answer r = {0};
    int code;
    const struct opt opt[] = {OPTS_DOOR(c), OPTS_JSON(c)};
    struct args a = {.verb = argv[0], .words = "[NODE]", .about = "let a node finish what it has, take nothing more, and leave", .opt = opt,
                     .n_opt = ARRAY_LEN(opt), .max_words = 1};
    if (!args_parse(&a, argc, argv, &code)) return code;
    const char *node = a.n_word ? a.word[0] : NULL;
    code = drain(&c, node, &r, &why);
    if (code) say("%s", why_str(&why, ERR_INTERNAL));
    else if (c.json) printf("%s\n", r.text);
    else say("%s finishes what it has, and leaves", node ? node : js_str(r.j, "name"));
    answer_done(&r);
    return code;
}
