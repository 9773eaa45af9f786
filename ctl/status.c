// SPDX-License-Identifier: Apache-2.0
/* status.c - what a daemon does now; and the verbs that change it: pause, resume. */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"

static void progress(struct page *p, const json_t *j)
{
    struct human a, b;
    const double step = js_num(j, "step"), max = js_num(j, "max_steps"), step_s = js_num(j, "step_s");
    char left[80] = "";
    if (step_s > 0 && max > step)
        snprintf(left, sizeof left, ", %s a step, about %s left", human_time(step_s, &a), human_time((max - step) * step_s, &b));
    page_pair(p, "step", "%s of %s (%.0f %%)%s", human_count(step, &a), human_count(max, &b), max > 0 && step >= 0 ? 100 * step / max : 0, left);
}

static void draw_learner(struct page *p, const struct door *d, const json_t *j)
{
    struct human a, b;
    page_head(p, "learner %s", js_str(j, "run_dir"));
    page_pair(p, "state", "%s%s, up %s", js_true(j, "paused") ? "paused, " : "", js_str(j, "mode"), human_time(js_num(j, "uptime_s"), &a));
    progress(p, j);
    page_pair(p, "policy version", "%s", human_count(js_num(j, "policy_version"), &a));
    page_pair(p, "reward, loss", "%s, %s", human_num(js_num(j, "reward"), &a), human_num(js_num(j, "loss"), &b));
    page_pair(p, "tokens a second", "%s", human_count(js_num(j, "tok_per_s"), &a));
    page_pair(p, "largest mismatch", "%s", human_num(js_num(j, "mismatch_max"), &a));
    page_pair(p, "nodes", "%s", human_count(js_num(j, "nodes"), &a));
    page_pair(p, "device", "%s", js_str(j, "device"));
    page_pair(p, "version, socket", "%s, %s", js_str(j, "version"), d->path);
}

static void draw_rollout(struct page *p, const struct door *d, const json_t *j)
{
    struct human a, b;
    const double blocks = js_num(j, "kv_blocks"), used = blocks - js_num(j, "kv_free_blocks");
    const bool linked = js_str(j, "learner")[0] != '-';
    page_head(p, "rollout node %s", js_str(j, "name"));
    page_pair(p, "state", "%s%sup %s", js_true(j, "paused") ? "paused, " : "", js_true(j, "draining") ? "draining, " : "",
              human_time(js_num(j, "uptime_s"), &a));
    page_pair(p, "learner", "%s%s%s%s", linked ? js_str(j, "learner") : "none: a server of its own", linked ? " (" : "",
              linked ? js_str(j, "link") : "", linked ? ")" : "");
    page_pair(p, "model from", "%s", js_str(j, "model"));
    page_pair(p, "policy version", "%s", human_count(js_num(j, "policy_version"), &a));
    page_pair(p, "sequences", "%s running, %s waiting", human_count(js_num(j, "running"), &a), human_count(js_num(j, "waiting"), &b));
    page_pair(p, "tokens a second", "%s", human_count(js_num(j, "tok_per_s"), &a));
    page_pair(p, "tokens", "%s generated, %s of prompts", human_count(js_num(j, "generated_tokens"), &a),
              human_count(js_num(j, "prefilled_tokens"), &b));
    page_pair(p, "groups", "%s", human_count(js_num(j, "groups"), &a));
    page_pair(p, "cache in use", "%s of %s blocks", human_count(used, &a), human_count(blocks, &b));
    page_pair(p, "last swap", "%s, decoding stood still for %s", human_time(js_num(j, "swap_s"), &a), human_time(js_num(j, "stall_s"), &b));
    page_pair(p, "device", "%s", js_str(j, "device"));
    page_pair(p, "version, socket", "%s, %s", js_str(j, "version"), d->path);
}

static void draw_daemon(struct page *p, const struct common *c, const struct door *d, const struct answer *a)
{
    if (c->json) fprintf(p->f, "%s\n", a->text);
    else if (!strcmp(js_str(a->j, "daemon"), "learner")) draw_learner(p, d, a->j);
    else draw_rollout(p, d, a->j);
}

/* The learner and a node of its, whichever answer. */
static int draw_both(struct page *p, void *arg)
{
    static const enum who both[] = {WHO_LEARNER, WHO_ROLLOUT};
    const struct common *c = arg;
    struct why why = {0};
    int worst = CTL_OK;
    uint32_t shown = 0;
    for (int i = 0; i < 2; i++) {
        struct why w = {0};
        struct door d;
        struct answer a;
        const int code = pick_and_ask(c, both[i], WHO_ANY, "status", &d, &a, &w);
        if (code == CTL_USAGE) return page_fail(p, code, &w);
        if (code == CTL_OK && shown++ && !c->json) fputc('\n', p->f);
        if (code == CTL_OK) draw_daemon(p, c, &d, &a);
        else if (code != CTL_NO_DAEMON) worst = page_fail(p, code, &w);
        else if (!why.text[0]) why = w;
        answer_done(&a);
    }
    if (shown || worst) return worst;
    if (!named(c)) why_set(&why, ERR_NOENT, "no daemon answers: start one, or name it with --run DIR or --socket PATH");
    return page_fail(p, CTL_NO_DAEMON, &why);
}

static int draw_one(struct page *p, void *arg)
{
    const struct common *c = arg;
    struct why why = {0};
    struct door d;
    struct answer a;
    const int code = pick_and_ask(c, WHO_LEARNER, WHO_ROLLOUT, "status", &d, &a, &why);
    if (code) page_fail(p, code, &why);
    else draw_daemon(p, c, &d, &a);
    answer_done(&a);
    return code;
}

int verb_status(int argc, char **argv)
{
    struct common c = {0};
    int code;
    const struct opt opt[] = {OPTS_DOOR(c), OPTS_JSON(c), OPTS_WATCH(c)};
    struct args a = {.verb = argv[0], .words = "", .about = "what the learner and a rollout node do now", .opt = opt, .n_opt = ARRAY_LEN(opt)};
    if (!args_parse(&a, argc, argv, &code)) return code;
    return look(&c, one_door(&c) ? draw_one : draw_both, &c);
}

/* -- pause and resume --------------------------------------------------------------------------------------------------- */

static int set_paused(int argc, char **argv, const char *about)
{
    struct common c = {0};
    struct why why = {0};
    struct door d;
    struct answer r;
    int code;
    const struct opt opt[] = {OPTS_DOOR(c), OPTS_JSON(c)};
    struct args a = {.verb = argv[0], .words = "", .about = about, .opt = opt, .n_opt = ARRAY_LEN(opt)};
    if (!args_parse(&a, argc, argv, &code)) return code;
    code = pick_and_ask(&c, WHO_LEARNER, WHO_ROLLOUT, argv[0], &d, &r, &why);
    if (code) say("%s", why_str(&why, ERR_INTERNAL));
    else if (c.json) printf("%s\n", r.text);
    else {
        const bool learner = !strcmp(js_str(r.j, "daemon"), "learner");
        say("the %s %s %s", learner ? "learner" : "rollout node", js_str(r.j, learner ? "run_dir" : "name"),
            !js_true(r.j, "paused") ? "goes on" : strcmp(argv[0], "resume") ? "is paused" : "is still paused by its learner");
    }
    answer_done(&r);
    return code;
}

int verb_pause(int argc, char **argv)
{
    return set_paused(argc, argv, "stop giving out work (learner), or stand still between two tokens (rollout)");
}

int verb_resume(int argc, char **argv)
{
    return set_paused(argc, argv, "go on after a pause");
}
