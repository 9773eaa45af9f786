// SPDX-License-Identifier: Apache-2.0
/* queues.c - what waits where: jobs, groups, batches. */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"

static void line(struct page *p, const json_t *j, const char *name, const char *key)
{
    struct human h;
    page_pair(p, name, "%s", human_count(js_num(j, key), &h));
}

static void draw_learner(struct page *p, const json_t *j)
{
    struct human h;
    const char *node;
    json_t *n, *flight = json_object_get(j, "in_flight_by_node");
    line(p, j, "jobs waiting", "jobs_waiting");
    line(p, j, "jobs in flight", "jobs_in_flight");
    json_object_foreach(flight, node, n)
    {
        char name[200];
        snprintf(name, sizeof name, "  at %s", node);
        page_pair(p, name, "%s", human_count(json_number_value(n), &h));
    }
    line(p, j, "groups waiting for rewards", "groups_waiting_for_rewards");
    line(p, j, "groups waiting for their step", "groups_waiting_for_step");
    line(p, j, "batches waiting to train", "batches_waiting_to_train");
    page_pair(p, "age of the oldest waiting", "%s", human_time(js_num(j, "oldest_job_s"), &h));
    line(p, j, "jobs given out again", "jobs_retried");
    line(p, j, "groups dropped as too old", "groups_stale");
    line(p, j, "groups refused", "groups_refused");
}

static void draw_rollout(struct page *p, const json_t *j)
{
    line(p, j, "sequences running", "sequences_running");
    line(p, j, "sequences waiting", "sequences_waiting");
    line(p, j, "jobs of the learner held", "jobs_held");
    line(p, j, "groups not yet handed over", "groups_unsent");
}

static int draw(struct page *p, void *arg)
{
    const struct common *c = arg;
    struct why why = {0};
    struct door d;
    struct answer a;
    const int code = pick_and_ask(c, WHO_LEARNER, WHO_ROLLOUT, "queues", &d, &a, &why);
    const bool learner = json_object_get(a.j, "jobs_waiting") != NULL;
    if (code) page_fail(p, code, &why);
    else if (c->json) fprintf(p->f, "%s\n", a.text);
    else {
        page_head(p, "%s %s", who_name(learner ? WHO_LEARNER : WHO_ROLLOUT), d.path);
        (learner ? draw_learner : draw_rollout)(p, a.j);
    }
    answer_done(&a);
    return code;
}

int verb_queues(int argc, char **argv)
{
    struct common c = {0};
    int code;
    const struct opt opt[] = {OPTS_DOOR(c), OPTS_JSON(c), OPTS_WATCH(c)};
    struct args a = {.verb = argv[0], .words = "", .about = "what waits where, and how old the oldest is", .opt = opt, .n_opt = ARRAY_LEN(opt)};
    return args_parse(&a, argc, argv, &code) ? look(&c, draw, &c) : code;
}
