// SPDX-License-Identifier: Apache-2.0
/* grpoctl: the operator's tool. A table of verbs, one file per verb. Options that come before the verb are handed to it after its own name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
};

static const struct verb verbs[] = {
    {"status", verb_status, "what the learner and a rollout node do now"},
    {"queues", verb_queues, "what waits where, and how old the oldest is"},
    {"nodes", verb_nodes, "the rollout nodes: state, version, work, speed"},
    {"pause", verb_pause, "stand still"},
    {"resume", verb_resume, "go on after a pause"},
    {"drain", verb_drain, "let a node finish what it has, and leave"},
    {"generate", verb_generate, "complete a prompt on a rollout node"},
    {"samples", verb_samples, "completions of a run, with reward and advantage"},
    {"metrics", verb_metrics, "the last steps of a run; Prometheus text"},
    {"plot", verb_plot, "the curve of a run, on the terminal or as SVG"},
    {"conf", verb_conf, "the settings a daemon runs with"},
    {"dump", verb_dump, "frames of a file, as JSON lines"},
    {"quickstart", verb_quickstart, "watch a small language model learn, from nothing, on this machine"},
    {"version", verb_version, "of this program and of the daemons that answer"},
};

static void help(void)
{
    printf("grpoctl - look at and steer the daemons of grpod\n\nUsage: grpoctl VERB [options]     (grpoctl VERB --help: its options)\n\n");
    for (uint32_t i = 0; i < ARRAY_LEN(verbs); i++) printf("  %-11s %s\n", verbs[i].name, verbs[i].about);
    printf("\nWhich daemon: --run DIR (a learner's run folder), --socket PATH, --on learner|rollout; else $GRPO_RUN or $GRPO_SOCKET; else the\n"
           "usual places: runs/*/, /run/grpo*/, /var/lib/grpo/, /tmp/grpo-rollout-*.sock.\n"
           "Data goes to stdout, narration to stderr; NO_COLOR is heeded.\n"
           "Exit: 0 done, 1 refused or failed, 2 usage, 3 no daemon reached, 4 timed out. More: man grpoctl\n");
}

static int unknown(const char *given)
{
    const char *name[ARRAY_LEN(verbs)];
    for (uint32_t i = 0; i < ARRAY_LEN(verbs); i++) name[i] = verbs[i].name;
    const char *near = args_nearest(given, name, ARRAY_LEN(verbs));
    say("no verb \"%s\"%s%s%s (grpoctl --help lists them)", given, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return CTL_USAGE;
}

/* How many words of argv an option before the verb takes: 0: it is none of those. */
static int leading(const char *s)
{
    static const char *const value[] = {"--run", "--socket", "--on", "--timeout"};
    for (uint32_t i = 0; i < ARRAY_LEN(value); i++) {
        const size_t n = strlen(value[i]);
        if (!strncmp(s, value[i], n) && (!s[n] || s[n] == '=')) return s[n] ? 1 : 2;
    }
    return !strcmp(s, "--json") ? 1 : 0;
}

static int run_verb(int argc, char **argv, int at)
{
    for (uint32_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].name, argv[at])) continue;
        char **v = calloc((size_t)argc + 1, sizeof *v);
        int n = 0;
        if (!v) {
            say("out of memory");
            return CTL_FAILED;
        }
        v[n++] = argv[at];
        for (int k = 1; k < at; k++) v[n++] = argv[k];
        for (int k = at + 1; k < argc; k++) v[n++] = argv[k];
        const int code = verbs[i].run(n, v);
        free(v);
        return code;
    }
    return unknown(argv[at]);
}

static int run(int argc, char **argv)
{
    int at = 1;
    while (at < argc && argv[at][0] == '-') {
        const char *s = argv[at];
        const int n = leading(s);
        if (!strcmp(s, "--help") || !strcmp(s, "-h")) return help(), CTL_OK;
        if (!strcmp(s, "--version")) return printf("grpoctl %s\n", GRPO_VERSION), CTL_OK;
        if (!n) {
            say("unknown option %s before a verb (grpoctl --help)", s);
            return CTL_USAGE;
        }
        at += n;
    }
    if (at >= argc) {
        say("a verb is missing (grpoctl --help lists them)");
        return CTL_USAGE;
    }
    if (!strcmp(argv[at], "help")) return at + 1 < argc ? run_verb(3, (char *[]){argv[0], argv[at + 1], "--help", NULL}, 1) : (help(), CTL_OK);
    return run_verb(argc, argv, at);
}

int main(int argc, char **argv)
{
    int code = run(argc, argv);
    if (fflush(stdout) || ferror(stdout)) {
        say("cannot write: %s", strerror(errno));
        if (code == CTL_OK) code = CTL_FAILED;
    }
    return code;
}
