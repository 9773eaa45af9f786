// SPDX-License-Identifier: Apache-2.0
/* quickstart.c - grpoctl quickstart: options, the phases, the end. What makes the curve is in the tables of
 * settings below. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/team.h"
#include "common/model/arith.h"
#include "common/run/curve.h"
#include "common/svc/daemon.h"
#include "ctl/ctl.h"
#include "ctl/quickstart.h"

#define CODE_STOPPED 130

/* The warm-up ends when the held-out accuracy is seen in here; a little within the promised 0.15 to 0.35,
 * since 500 problems leave a standard deviation of 0.02 and GRPO's own first look must agree. */
#define SFT_LOW   0.22
#define SFT_HIGH  0.33
#define SFT_STEPS 1200

/* How the warm-up goes near its goal: an evaluation every so many steps, and what the learning rate is
 * multiplied by. Each time that it overshoots, it goes back to the checkpoint before and on with the next
 * line. */
static const struct {
    uint32_t eval_steps;
    double rate;
} sft_level[] = {{20, 1}, {2, 1}, {1, 1}, {1, 0.5}, {1, 0.2}, {1, 0.05}};

#define GRPO_STEPS    1000 /* at most */
#define CONTROL_STEPS 150
#define MAX_THREADS   8 /* more do not help a model this small */

/* -- time -------------------------------------------------------------------------------------------------
 */

/* Add the time since the last call to what is kept. */
static enum err keep_time(struct quickstart *q, enum phase phase, struct why *why)
{
    const int64_t now = clock_now_ns();
    const double s = clock_s(now - q->since_ns);
    q->since_ns = now;
    q->st.elapsed_s += s;
    if (phase == PHASE_SFT) q->st.sft_s += s;
    return state_write(q->dir, &q->st, why);
}

/* -- the daemons' settings ---------------------------------------------------------------------- */

static void common_args(const struct quickstart *q, const char *run_dir, const char *model, const char *data,
                        struct argv *a)
{
    argv_add(a, "", "%s", q->learner_bin);
    argv_add(a, "--run-dir", "%s", run_dir);
    argv_add(a, "--model", "%s", model);
    argv_add(a, "--train-data", "%s/data/%s", q->dir, data);
    argv_add(a, "--eval-data", "%s/data/test.jsonl", q->dir);
    argv_add(a, "--seed", "%llu", (unsigned long long)q->st.seed);
    argv_add(a, "--device", "%s", q->o.device);
    argv_add(a, "--threads", "%u", q->learner_threads);
    argv_add(a, "--max-prompt-length", "%u", QUICKSTART_PROMPT);
    argv_add(a, "--max-completion-length", "%u", QUICKSTART_COMPLETION);
}

static void sft_args(const struct quickstart *q, const char *model, struct argv *a)
{
    const uint32_t level = q->st.sft_level, every = sft_level[level].eval_steps;
    common_args(q, q->sft_dir, model, "sft.jsonl", a);
    argv_add(a, "--mode", "%s", "sft");
    argv_add(a, "--prompts-per-step", "%u", 16);
    argv_add(a, "--num-generations", "%u", 8);
    argv_add(a, "--learning-rate", "%g", 1e-3 * sft_level[level].rate);
    argv_add(a, "--warmup-steps", "%u", 10);
    argv_add(a, "--max-steps", "%u", SFT_STEPS);
    argv_add(a, "--eval-steps", "%u", every);
    argv_add(a, "--save-steps", "%u", every);
    argv_add(a, "--save-total-limit", "%u", 2);
    argv_add(a, "--stop-accuracy", "%g", SFT_LOW);
}

static void grpo_args(const struct quickstart *q, const char *model, struct argv *a)
{
    common_args(q, q->dir, model, "train.jsonl", a);
    argv_add(a, "--prompts-per-step", "%u", 32);
    argv_add(a, "--num-generations", "%u", 8);
    argv_add(a, "--learning-rate", "%g", 1e-4);
    argv_add(a, "--warmup-steps", "%u", 10);
    argv_add(a, "--max-steps", "%u", (unsigned)q->view.max_step);
    argv_add(a, "--eval-steps", "%u", 10);
    argv_add(a, "--save-steps", "%u", 50);
    argv_add(a, "--stop-accuracy", "%g", q->o.target);
    argv_add(a, "--max-staleness", "%u", q->st.async ? 2 : 0);
    argv_add(a, "--shuffle-rewards", "%s", q->st.control ? "true" : "false");
}

/* In step with each other the daemons take turns, and each has all the CPUs; else they share them out. */
static void share_cpus(struct quickstart *q)
{
    uint32_t n = q->o.threads ? q->o.threads : team_usable_cpus();
    if (n > MAX_THREADS && !q->o.threads) n = MAX_THREADS;
    q->learner_threads = q->st.async ? (n + 1) / 2 : n;
    const uint32_t left = q->st.async ? n - q->learner_threads : n;
    q->node_threads = left / q->n_node ? left / q->n_node : 1;
}

/* -- warm-up ----------------------------------------------------------------------------------------------
 */

/* It overshot: back to the checkpoint before, and on more slowly. */
static enum err sft_back(struct quickstart *q, const struct quickstart_ckpt *c, struct why *why)
{
    if (q->st.sft_level + 1 == ARRAY_LEN(sft_level))
        return why_set(why, ERR_RANGE,
                       "the warm-up jumps over accuracies from 0.15 to 0.35, to %.3f, however small its "
                       "steps; another --seed may do",
                       c->accuracy);
    q->st.sft_level++;
    view_say(&q->view,
             "warm-up: accuracy %.3f at step %llu is too much; back a little, and on with an evaluation "
             "every %u steps",
             c->accuracy, (unsigned long long)c->step, sft_level[q->st.sft_level].eval_steps);
    TRY(state_write(q->dir, &q->st, why));
    return file_remove_tree(c->dir, why);
}

/* Is the warm-up done? What overshot is taken back. */
static enum err sft_look(struct quickstart *q, struct quickstart_ckpt *c, bool *ret_done, struct why *why)
{
    *ret_done = false;
    const enum err e = state_ckpt(q->sft_dir, c, why);
    if (e == ERR_NOENT) return ERR_OK;
    if (e || !c->finished) return e;
    if (!(c->accuracy >= SFT_LOW))
        return why_set(why, ERR_RANGE,
                       "the warm-up has an accuracy of %.3f after %llu steps, which is too little; another "
                       "--seed may do",
                       c->accuracy, (unsigned long long)c->step);
    if (c->accuracy > SFT_HIGH) return sft_back(q, c, why);
    *ret_done = true;
    return ERR_OK;
}

static enum err warm_up(struct quickstart *q, struct quickstart_ckpt *ret, struct why *why)
{
    char model[QUICKSTART_PATH + 16];
    bool done;
    snprintf(model, sizeof model, "%s/model", q->dir);
    TRY(sft_look(q, ret, &done, why));
    if (done) return ERR_OK;
    view_phase(&q->view, PHASE_SFT, SFT_STEPS, q->st.elapsed_s);
    q->view.start_accuracy = NAN;
    while (!done) {
        struct argv a = {0};
        sft_args(q, model, &a);
        const enum err e = run_daemons(q, PHASE_SFT, q->sft_dir, &a, why);
        argv_done(&a);
        TRY(keep_time(q, PHASE_SFT, e ? NULL : why));
        if (e) return e;
        TRY(sft_look(q, ret, &done, why));
        if (!done && !file_exists(ret->dir) && q->st.sft_level == 0)
            return why_set(why, ERR_INTERNAL, "%s: the learner ended without a checkpoint", q->sft_dir);
    }
    view_say(&q->view, "warm-up: held-out accuracy %.3f after %llu steps, %.0f s", ret->accuracy,
             (unsigned long long)ret->step, q->st.sft_s);
    return ERR_OK;
}

/* -- GRPO -------------------------------------------------------------------------------------------------
 */

static bool has_reached(const struct quickstart *q, const struct quickstart_ckpt *c)
{
    return c->accuracy >= q->o.target;
}

static uint32_t max_steps(const struct quickstart *q)
{
    return q->o.steps ? q->o.steps : q->st.control ? CONTROL_STEPS : GRPO_STEPS;
}

/* A larger --steps or --target takes up a finished run again. */
static bool is_finished(const struct quickstart *q, const struct quickstart_ckpt *c)
{
    return c->finished && (has_reached(q, c) || c->step >= max_steps(q));
}

static enum err train(struct quickstart *q, const struct quickstart_ckpt *from, struct quickstart_ckpt *ret,
                      struct why *why)
{
    const uint32_t max = max_steps(q);
    struct argv a = {0};
    view_phase(&q->view, PHASE_GRPO, max, q->st.elapsed_s);
    q->view.target = q->st.control ? 0 : q->o.target;
    q->view.start_accuracy = from->accuracy;
    q->view.async = q->st.async;
    grpo_args(q, from->dir, &a);
    enum err e = run_daemons(q, PHASE_GRPO, q->dir, &a, why);
    argv_done(&a);
    const enum err kept = keep_time(q, PHASE_GRPO, e ? NULL : why);
    if (e || kept) return e ? e : kept;
    TRY(state_ckpt(q->dir, ret, why));
    return ret->finished ? ERR_OK
                         : why_set(why, ERR_INTERNAL, "%s: the learner ended before its run did", q->dir);
}

/* -- the end ----------------------------------------------------------------------------------------------
 */

static void draw_curve(struct quickstart *q)
{
    struct why why = {0};
    struct curve c;
    struct page p;
    char *text = NULL;
    page_init(&p, q->view.out);
    if (!q->view.live || curve_open(q->dir, NULL, &c, &why)) return;
    if (!plot_term(&c.plot, p.width < 100 ? p.width : 100, 18, p.colour, &text, &why))
        fputs(text, q->view.out);
    curve_close(&c);
    free(text);
}

static void print_json(const struct quickstart *q, const struct quickstart_ckpt *c, const struct seen *s)
{
    const struct {
        const char *name;
        double x;
    } real[] = {{"reward_first", s->reward_first},     {"reward_last", s->reward},
                {"accuracy_first", c->first_accuracy}, {"accuracy_last", c->accuracy},
                {"seconds", q->st.elapsed_s},          {"sft_seconds", q->st.sft_s},
                {"mismatch_max", s->mismatch}};
    json_t *j =
        json_pack("{s:s, s:I, s:b, s:b, s:I, s:I, s:b}", "dir", q->dir, "seed", (json_int_t)q->st.seed,
                  "control", q->st.control, "async", q->st.async, "steps", (json_int_t)c->step,
                  "mixed_version_completions", (json_int_t)s->n_mixed, "reached", has_reached(q, c));
    for (uint32_t i = 0; i < ARRAY_LEN(real); i++)
        json_object_set_new(j, real[i].name, isfinite(real[i].x) ? json_real(real[i].x) : json_null());
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (text)
        printf("%s\n", text);
    else
        say("out of memory");
    free(text);
    json_decref(j);
}

/* What there is to see, then the last line. Returns the exit code. */
static int sum_up(struct quickstart *q, const struct quickstart_ckpt *c, bool already)
{
    struct seen s;
    struct why why = {0};
    struct view *v = &q->view;
    watch_read(q->dir, &s);
    const enum err e = curve_write_svg(q->dir, &why);
    if (e) say("no picture: %s", why_str(&why, e));
    draw_curve(q);
    if (already)
        view_say(v, "%s is finished. --fresh starts the next run there, --fresh --seed N another one",
                 q->dir);
    view_say(v, "the policy: %s; its curve: %s/reward.svg; every completion: %s/run.db", c->dir, q->dir,
             q->dir);
    if (s.n_mixed > 0 || q->st.async)
        view_say(v, "completions that span two policy versions: %.0f", s.n_mixed);
    if (!already) view_say(v, "the next run: --fresh, and --seed N for another curve");
    const bool ok = q->st.control || q->o.steps || has_reached(q, c);
    if (!ok)
        view_say(v, "the goal of %.2f was not reached in %llu steps", q->o.target,
                 (unsigned long long)c->step);
    view_say(v, "reward %.2f -> %.2f, held-out accuracy %.3f -> %.3f, %llu steps, %.0f s", s.reward_first,
             s.reward, c->first_accuracy, c->accuracy, (unsigned long long)c->step, q->st.elapsed_s);
    if (q->o.json) print_json(q, c, &s);
    return ok ? CTL_OK : CTL_FAILED;
}

/* -- the beginning ------------------------------------------------------------------------------ */

/* A daemon beside this program: in the build tree, in one folder, or as installed. */
static enum err find_daemon(const struct quickstart *q, const char *name, const char *room, char *out,
                            size_t cap, struct why *why)
{
    char self[2048];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash) *slash = 0;
    const char *from = q->o.bin ? q->o.bin : self;
    for (int i = 0; i < 3; i++) {
        static const char *const up[] = {"", "../", "../"};
        snprintf(out, cap, "%s/%s%s%s%s", from, up[i], i == 1 ? room : i ? "sbin" : "", i ? "/" : "", name);
        if (access(out, X_OK) == 0) return ERR_OK;
    }
    return why_set(why, ERR_NOENT,
                   "%s is neither in %s nor beside it: build it (./deploy/quickstart does), or name its "
                   "folder with --bin",
                   name, from);
}

/* The run that lies there must be the one that is asked for. */
static enum err adopt(struct quickstart *q, bool seed_given, struct why *why)
{
    const struct quickstart_state *st = &q->st;
    if (seed_given && st->seed != q->o.seed)
        return why_set(why, ERR_EXIST,
                       "%s holds a run with --seed %llu: --fresh starts anew, another --dir keeps both",
                       q->dir, (unsigned long long)st->seed);
    if ((q->o.control && !st->control) || (q->o.async && !st->async))
        return why_set(why, ERR_EXIST,
                       "%s holds a run without --%s: --fresh starts anew, another --dir keeps both", q->dir,
                       q->o.control && !st->control ? "control" : "async");
    return ERR_OK;
}

/* Model and data; made once. */
static enum err make(struct quickstart *q, struct why *why)
{
    char model[QUICKSTART_PATH + 16], data[QUICKSTART_PATH + 32];
    const struct arith_opts o = {.seed = q->st.seed};
    snprintf(model, sizeof model, "%s/model", q->dir);
    snprintf(data, sizeof data, "%s/data/train.jsonl", q->dir);
    if (!file_exists(model)) TRY(arith_make_model(model, &o, why));
    snprintf(data, sizeof data, "%s/data", q->dir);
    return arith_make_data(data, &o, why);
}

static enum err prepare(struct quickstart *q, bool seed_given, struct why *why)
{
    if (q->o.fresh) TRY(state_clear(q->dir, why));
    const enum err e = state_read(q->dir, &q->st, why);
    if (e == ERR_OK)
        TRY(adopt(q, seed_given, why));
    else if (e != ERR_NOENT)
        return e;
    else if (state_is_there(q->dir))
        return why_set(why, ERR_EXIST,
                       "%s holds something, but not a quickstart (no quickstart.json): choose another --dir",
                       q->dir);
    else {
        q->st = (struct quickstart_state){.seed = q->o.seed, .control = q->o.control, .async = q->o.async};
        TRY(state_write(q->dir, &q->st, why));
    }
    snprintf(q->head, sizeof q->head, "seed %llu%s%s, %s", (unsigned long long)q->st.seed,
             q->st.control ? ", rewards shuffled" : "", q->st.async ? ", asynchronous" : "", q->dir);
    q->view.head = q->head;
    share_cpus(q);
    return make(q, why);
}

static int stopped(struct quickstart *q)
{
    struct quickstart_ckpt c;
    const bool grpo = state_ckpt(q->dir, &c, NULL) == ERR_OK,
               any = grpo || state_ckpt(q->sft_dir, &c, NULL) == ERR_OK;
    view_clear(&q->view);
    if (any)
        view_say(
            &q->view,
            "stopped and saved at step %llu of %s; the same command goes on from there, --fresh starts anew",
            (unsigned long long)c.step, grpo ? "GRPO" : "the warm-up");
    else
        view_say(&q->view, "stopped before the first step was saved; the same command starts again");
    return CODE_STOPPED;
}

static int go(struct quickstart *q, bool seed_given)
{
    struct why why = {0};
    struct quickstart_ckpt sft, c;
    enum err e = prepare(q, seed_given, &why);
    if (!e && state_ckpt(q->dir, &c, NULL) == ERR_OK && is_finished(q, &c)) return sum_up(q, &c, true);
    if (!e && !q->view.live) view_say(&q->view, "quickstart: %s", q->head);
    if (!e) e = warm_up(q, &sft, &why);
    if (!e && q->n_stop) e = ERR_CANCELLED;
    if (!e) e = train(q, &sft, &c, &why);
    view_clear(&q->view);
    if (e == ERR_CANCELLED) return stopped(q);
    if (!e) return sum_up(q, &c, false);
    if (*why.text) say("%s", why.text);
    return CTL_FAILED;
}

/* One quickstart in a folder at a time. */
static int with_lock(struct quickstart *q, bool seed_given)
{
    struct why why = {0};
    int lock = -1, code = CTL_FAILED;
    enum err e = file_mkdirs(q->dir, &why);
    if (!e) e = daemon_lock(q->dir, "quickstart", &lock, &why);
    if (!e) e = find_daemon(q, "grpo-learner", "learner", q->learner_bin, sizeof q->learner_bin, &why);
    if (!e) e = find_daemon(q, "grpo-rollout", "rollout", q->rollout_bin, sizeof q->rollout_bin, &why);
    if (!e) e = loop_create(&q->loop);
    if (!e) e = run_signals(q);
    if (e)
        say("%s", why_str(&why, e));
    else
        code = go(q, seed_given);
    run_signals_end(q);
    loop_destroy(q->loop);
    if (lock >= 0) close(lock);
    return code;
}

int verb_quickstart(int argc, char **argv)
{
    struct quickstart q = {.o = {.dir = "runs/quickstart", .device = "auto", .target = 0.8, .nodes = 1}};
    int code;
    uint64_t seed = UINT64_MAX;
    const struct opt opt[] = {
        {"seed", 's', OPT_U64, &seed, 0, 1e15, "N", "another one, another curve (42)"},
        {"target", 0, OPT_F64, &q.o.target, 0.36, 1, "X", "held-out accuracy to reach (0.80)"},
        {"steps", 0, OPT_U32, &q.o.steps, 1, 1e6, "N", "GRPO steps at most"},
        {"async", 0, OPT_FLAG, &q.o.async, 0, 0, NULL,
         "decode during updates: samples may be two versions old"},
        {"control", 0, OPT_FLAG, &q.o.control, 0, 0, NULL, "shuffle the rewards: accuracy must not rise"},
        {"fresh", 0, OPT_FLAG, &q.o.fresh, 0, 0, NULL, "remove the run that is there, and start anew"},
        {"dir", 0, OPT_STR, &q.o.dir, 0, 0, "DIR", "where everything goes (runs/quickstart)"},
        {"nodes", 0, OPT_U32, &q.o.nodes, 1, QUICKSTART_MAX_NODE, "N", "rollout processes (1)"},
        {"threads", 0, OPT_U32, &q.o.threads, 1, 1024, "N", "CPUs to use (all, at most 8)"},
        {"device", 0, OPT_STR, &q.o.device, 0, 0, "NAME", "auto, cpu, cpu:avx2, cpu:avx512, cpu:avx512bf16"},
        {"bin", 0, OPT_STR, &q.o.bin, 0, 0, "DIR",
         "where grpo-learner and grpo-rollout are (beside this program)"},
        {"json", 0, OPT_FLAG, &q.o.json, 0, 0, NULL, "the result as JSON on stdout, all else on stderr"}};
    struct args a = {.verb = argv[0],
                     .words = "",
                     .about = "watch a small language model learn arithmetic, from nothing, on this machine",
                     .opt = opt,
                     .n_opt = ARRAY_LEN(opt)};
    if (!args_parse(&a, argc, argv, &code)) return code;
    q.o.seed = seed == UINT64_MAX ? 42 : seed;
    q.n_node = q.o.nodes;
    q.since_ns = clock_now_ns();
    const size_t n = strlen(q.o.dir);
    if (!n || n > 80) {
        say("--dir must have 1 to 80 characters: the control sockets are in it, and their addresses are "
            "short");
        return CTL_USAGE;
    }
    snprintf(q.dir, sizeof q.dir, "%s", q.o.dir);
    while (strlen(q.dir) > 1 && q.dir[strlen(q.dir) - 1] == '/') q.dir[strlen(q.dir) - 1] = 0;
    snprintf(q.sft_dir, sizeof q.sft_dir, "%s/sft", q.dir);
    view_open(&q.view, q.o.json ? stderr : stdout);
    return with_lock(&q, seed != UINT64_MAX);
}
