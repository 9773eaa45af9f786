// SPDX-License-Identifier: Apache-2.0
/* grpo-rollout: generates groups of completions and serves them. settings -> log -> loop -> service -> run -> the reverse. */
#include <stdio.h>

#include "common/svc/daemon.h"
#include "common/svc/log.h"
#include "rollout/service.h"

static const char about[] = "grpo-rollout: generates groups of completions for a learner (--learner tcp://host:port), or serves a model "
                            "folder by itself (--model DIR).";

static void on_stop(void *arg)
{
    service_stop(arg);
}

static int run(const struct rollout_conf *conf)
{
    struct loop *loop = NULL;
    struct service *service = NULL;
    struct why why = {0};
    enum err e = loop_create(&loop);
    if (!e) e = service_create(loop, conf, &service, &why);
    if (!e) e = loop_signals(loop, on_stop, NULL, service);
    if (e) log_event(LOG_LEVEL_ERROR, "start_failed", "%s", why_str(&why, e));
    int code = 1;
    if (!e) {
        daemon_ready();
        loop_run(loop);
        code = service->fatal ? 1 : 0;
    }
    service_destroy(service);
    loop_destroy(loop);
    return code;
}

int main(int argc, char **argv)
{
    struct rollout_conf conf = {0};
    struct why why = {0};
    bool stop = false;
    enum err e = conf_defaults(&rollout_conf_list, &conf, &why);
    if (!e) e = conf_args(&rollout_conf_list, &conf, argc, argv, about, &stop, &why);
    if (e) fprintf(stderr, "grpo-rollout: %s\n", why_str(&why, e));
    log_init("rollout", (enum log_level)conf.log_level);
    const int code = e ? 2 : stop ? 0 : run(&conf);
    conf_done(&rollout_conf_list, &conf);
    return code;
}
