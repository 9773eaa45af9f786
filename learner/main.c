// SPDX-License-Identifier: Apache-2.0
/* grpo-learner: asks rollout nodes for groups, scores them, updates the weights and pushes them back. settings -> log -> loop -> service ->
 * run -> the reverse. */
#include <stdio.h>

#include "common/svc/daemon.h"
#include "common/svc/log.h"
#include "learner/service.h"

static const char about[] = "grpo-learner: trains a language model by GRPO (or SFT) with completions from grpo-rollout nodes.";

static void on_stop(void *arg)
{
    service_stop(arg);
}

static int run(const struct learner_conf *conf)
{
    struct loop *loop = NULL;
    struct service *service = NULL;
    struct why why = {0};
    enum err e = loop_create(&loop);
    if (!e) e = service_create(loop, conf, &service, &why);
    if (!e) e = loop_signals(loop, on_stop, NULL, service);
    int code = e ? 1 : 0;
    if (e) {
        log_event(LOG_LEVEL_ERROR, "start_failed", "%s", why_str(&why, e));
    } else {
        daemon_ready();
        loop_run(loop);
        code = service->exit_code;
        printf("%s\n", service->summary);
    }
    service_destroy(service);
    loop_destroy(loop);
    return code;
}

int main(int argc, char **argv)
{
    struct learner_conf conf = {0};
    struct why why = {0};
    bool stop = false;
    enum err e = conf_defaults(&learner_conf_list, &conf, &why);
    if (!e) e = conf_args(&learner_conf_list, &conf, argc, argv, about, &stop, &why);
    if (e) fprintf(stderr, "grpo-learner: %s\n", why_str(&why, e));
    log_init("learner", (enum log_level)conf.log_level);
    const int code = e ? 2 : stop ? 0 : run(&conf);
    conf_done(&learner_conf_list, &conf);
    return code;
}
