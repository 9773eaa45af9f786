// SPDX-License-Identifier: Apache-2.0
/* rig.c - the test's folder, failure, processes. What is asked of daemons and read from runs: look.c. */
#include "tests/e2e/rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/model/arith.h"

#define MAX_PROC  64
#define MAX_ARG   96
#define LOG_LINES 40
#define LOOK_MS   10

struct proc {
    char name[64], log[256], sock[256];
    pid_t pid;
    bool ended, may_end;
    int code;
};

static char dir[128];
static struct proc procs[MAX_PROC];
static int n_proc;
static char **texts;
static int n_text;
static pid_t owner; /* the test itself: a forked child must not tidy up */

/* -- failure and the end ----------------------------------------------------------------------------------------------- */

/* A sanitizer, or a slow machine, stretches every deadline. */
static double slow(void)
{
    const char *s = getenv("GRPO_TEST_SLOW");
    const double x = s ? atof(s) : 1;
    return x >= 1 ? x : 1;
}

static void print_log(const struct proc *p)
{
    char *text;
    size_t n;
    fprintf(stderr, "---- %s (pid %d%s)\n", p->name, (int)p->pid, p->ended ? ", ended" : "");
    if (file_read(p->log, 64u << 20, &text, &n, NULL)) return;
    size_t at = n;
    for (int lines = 0; at > 0; at--)
        if (text[at - 1] == '\n' && lines++ == LOG_LINES) break;
    fwrite(text + at, 1, n - at, stderr);
    free(text);
}

/* What a daemon that still answers says of itself. */
static void print_state(const struct proc *p)
{
    static const char *const verbs[] = {"status", "queues", "nodes"};
    for (unsigned i = 0; i < 3 && !p->ended && *p->sock; i++) {
        json_t *j = rig_try_ask(p->sock, verbs[i], NULL, NULL);
        char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(4)) : NULL;
        if (text) fprintf(stderr, "%s: %s\n", verbs[i], text);
        free(text);
        json_decref(j);
    }
}

static bool reap(struct proc *p)
{
    int st;
    if (p->ended) return true;
    if (waitpid(p->pid, &st, WNOHANG) != p->pid) return false;
    p->ended = true;
    p->code = WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
    return true;
}

/* In order if they can, for a killed learner leaves its shared memory behind. */
static void kill_all(void)
{
    const int64_t deadline = clock_now_ns() + 3 * NS_PER_S;
    int n_up = 1;
    for (int i = 0; i < n_proc; i++)
        if (!procs[i].ended) kill(procs[i].pid, SIGTERM), kill(procs[i].pid, SIGCONT);
    while (n_up && clock_now_ns() < deadline) {
        n_up = 0;
        for (int i = 0; i < n_proc; i++) n_up += !reap(&procs[i]);
        if (n_up) nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * NS_PER_MS}, NULL);
    }
    for (int i = 0; i < n_proc; i++) {
        if (procs[i].ended) continue;
        kill(procs[i].pid, SIGKILL);
        waitpid(procs[i].pid, NULL, 0);
        procs[i].ended = true;
    }
}

static void remove_dir(void)
{
    struct why why = {0};
    if (getenv("GRPO_TEST_KEEP")) fprintf(stderr, "kept: %s\n", dir);
    else if (*dir && file_remove_tree(dir, &why)) fprintf(stderr, "%s\n", why.text);
}

void rig_fail(const char *file, int line, const char *cond, const char *fmt, ...)
{
    va_list ap;
    fflush(stdout);
    fprintf(stderr, "%s:%d: %s: ", file, line, cond);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    if (getpid() == owner) {
        for (int i = 0; i < n_proc; i++) print_log(&procs[i]), print_state(&procs[i]);
        kill_all();
        remove_dir();
    }
    fflush(stderr);
    _exit(1);
}

/* What a sanitizer has to say about a daemon fails the test, even where the daemon went on. */
static void check_sanitizers(const struct proc *p)
{
    static const char *const words[] = {"ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) CHECK(!rig_said(p, words[i]), "%s said so", p->name);
}

static void run_test(const struct rig_test *t)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/grpo-e2e-XXXXXX", tmp && strlen(tmp) < 60 ? tmp : "/tmp");
    if (!mkdtemp(dir)) {
        perror(dir);
        exit(1);
    }
    owner = getpid();
    t->fn();
    for (int i = 0; i < n_proc; i++)
        if (!procs[i].ended) rig_stop(&procs[i]);
    for (int i = 0; i < n_proc; i++) check_sanitizers(&procs[i]);
    remove_dir();
    for (int i = 0; i < n_text; i++) free(texts[i]);
    free(texts);
}

int rig_main(int argc, char **argv, const struct rig_test *tests)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    for (const struct rig_test *t = tests; t->name; t++) {
        if (argc < 2) printf("%s\n", t->name);
        else if (!strcmp(t->name, argv[1])) {
            run_test(t);
            return 0;
        }
    }
    if (argc < 2) return 0;
    fprintf(stderr, "no test %s\n", argv[1]);
    return 2;
}

/* -- texts ------------------------------------------------------------------------------------------------------------- */

static const char *keep_text(char *s)
{
    char **p = realloc(texts, ((size_t)n_text + 1) * sizeof *p);
    CHECK(s && p, "out of memory");
    texts = p;
    return texts[n_text++] = s;
}

const char *rig_text(const char *fmt, ...)
{
    va_list ap;
    char *s;
    va_start(ap, fmt);
    const int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return keep_text(n < 0 ? NULL : s);
}

const char *rig_path(const char *fmt, ...)
{
    va_list ap;
    char name[256], *s;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return keep_text(asprintf(&s, "%s/%s", dir, name) < 0 ? NULL : s);
}

/* -- model and data ---------------------------------------------------------------------------------------------------- */

struct dims rig_dims(void)
{
    struct dims d = arith_dims();
    d.n_layer = 2;
    d.n_embd = 32;
    d.n_head = 2;
    d.n_head_kv = 1;
    d.head_dim = 16;
    d.n_ff = 64;
    d.max_pos = 512;
    return d;
}

const char *rig_model(const char *name, uint64_t seed, const struct dims *d)
{
    struct why why = {0};
    const struct dims small = rig_dims();
    const char *path = rig_path("%s", name);
    const enum err e = arith_make_model(path, &(struct arith_opts){.seed = seed, .dims = d ? d : &small}, &why);
    CHECK(!e, "%s", why_str(&why, e));
    return path;
}

static uint32_t draw(const struct rig_data *d, uint64_t row, uint64_t i, uint32_t below)
{
    return (uint32_t)(rng_u64(d->seed, row, i) % below);
}

const char *rig_data(const char *name, const struct rig_data *d)
{
    const char *path = rig_path("%s.jsonl", name);
    FILE *f = fopen(path, "we");
    CHECK(f, "%s", path);
    for (uint32_t r = 0; r < d->n_row; r++) {
        const uint32_t n = d->min_prompt + draw(d, r, 0, d->max_prompt - d->min_prompt + 1), k = draw(d, r, 1, d->max_filler + 1);
        const uint32_t digit = 1 + draw(d, r, 2, 4);
        fprintf(f, "{\"prompt\": \"");
        for (uint32_t i = 1; i < n; i++) fputc('a' + (int)draw(d, r, 10 + i, 8), f);
        fprintf(f, "=\", \"answer\": \"%u\", \"solution\": \"", digit);
        for (uint32_t i = 0; i < k; i++) fputc('a' + (int)draw(d, r, 1000 + i, 8), f);
        fprintf(f, "%s\\n#### %u\"}\n", d->think && draw(d, r, 3, 2) ? "\\n</think>" : "", digit);
    }
    CHECK(!fclose(f), "%s", path);
    return path;
}

const char *rig_warm(const char *model, const struct rig_data *d, uint32_t steps)
{
    const char *run = rig_text("warm-%s-%u", model, steps), *data = rig_data(rig_text("%s-data", run), d), *n = rig_text("%u", steps);
    struct proc *p = rig_learner(run, ARGS("--mode", "sft", "--model", rig_path("%s", model), "--train-data", data, "--max-steps", n,
                                           "--learning-rate", "5e-3", "--prompts-per-step", "8", "--num-generations", "2", "--save-steps", n,
                                           "--warmup-steps", "5"));
    const int code = rig_exit_code(p, 120);
    CHECK(code == 0, "sft ended with %d", code);
    return rig_path("%s/checkpoints/step-%u", run, steps);
}

/* -- processes --------------------------------------------------------------------------------------------------------- */

/* In the child: both outputs to the log, the test's death is its death. */
static void become(const struct proc *p, const char *program, const char *const *argv)
{
    const int fd = open(p->log, O_WRONLY | O_CREAT | O_APPEND, 0600), null = open("/dev/null", O_RDONLY);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != owner || fd < 0 || null < 0) _exit(127);
    signal(SIGPIPE, SIG_DFL);
    dup2(null, 0);
    dup2(fd, 1);
    dup2(fd, 2);
    execv(program, (char *const *)argv);
    fprintf(stderr, "%s: %s\n", program, strerror(errno));
    _exit(127);
}

static struct proc *spawn(const char *name, const char *env, const char *sock, const char *const *defaults, const char *const *args)
{
    const char *program = getenv(env), *argv[MAX_ARG];
    int n = 0;
    CHECK(program, "%s is not set: the path of the daemon under test", env);
    CHECK(n_proc < MAX_PROC, "too many processes");
    argv[n++] = program;
    for (const char *const *a = defaults; *a && n < MAX_ARG - 1; a++) argv[n++] = *a;
    for (const char *const *a = args; *a && n < MAX_ARG - 1; a++) argv[n++] = *a;
    CHECK(n < MAX_ARG - 1, "too many arguments");
    argv[n] = NULL;
    struct proc *p = &procs[n_proc];
    snprintf(p->name, sizeof p->name, "%s", name);
    snprintf(p->log, sizeof p->log, "%s/%s-%d.log", dir, name, n_proc);
    snprintf(p->sock, sizeof p->sock, "%s", sock);
    fflush(NULL);
    p->pid = fork();
    CHECK(p->pid >= 0, "fork: %s", strerror(errno));
    if (!p->pid) become(p, program, argv);
    n_proc++;
    return p;
}

struct proc *rig_learner(const char *run, const char *const *args)
{
    const char *path = rig_path("%s", run);
    unlink(rig_path("%s/learner.addr", run)); /* of an earlier life */
    return spawn(rig_text("learner-%s", run), "GRPO_LEARNER", rig_learner_sock(run),
                 ARGS("--run-dir", path, "--model", rig_path("model"), "--train-data", rig_path("train.jsonl"), "--listen",
                      "tcp://127.0.0.1:0", "--threads", "1", "--prompts-per-step", "4", "--num-generations", "4", "--max-prompt-length",
                      "128", "--max-completion-length", "48", "--learning-rate", "1e-3", "--micro-batch-tokens", "1024", "--beat-ms", "100",
                      "--save-steps", "1", "--log-level", "debug"),
                 args);
}

struct proc *rig_node(const char *name, const char *learner, const char *const *args)
{
    const char *sock = rig_sock(name);
    unlink(sock); /* of an earlier life */
    if (learner)
        return spawn(rig_text("node-%s", name), "GRPO_ROLLOUT", sock,
                     ARGS("--learner", learner, "--name", name, "--control", sock, "--threads", "1", "--max-model-len", "512", "--log-level",
                          "debug"),
                     args);
    return spawn(rig_text("node-%s", name), "GRPO_ROLLOUT", sock,
                 ARGS("--name", name, "--control", sock, "--threads", "1", "--max-model-len", "512", "--log-level", "debug"), args);
}

bool rig_is_up(struct proc *p)
{
    return !reap(p);
}

void rig_signal(struct proc *p, int sig)
{
    if (sig == SIGTERM || sig == SIGKILL || sig == SIGINT) p->may_end = true;
    CHECK(!reap(p), "%s has ended with %d before signal %d", p->name, p->code, sig);
    CHECK(!kill(p->pid, sig), "%s: %s", p->name, strerror(errno));
}

void rig_may_end(struct proc *p)
{
    p->may_end = true;
}

static bool has_ended(void *p)
{
    return reap(p);
}

int rig_exit_code(struct proc *p, double s)
{
    p->may_end = true;
    rig_wait(has_ended, p, s, rig_text("the end of %s", p->name));
    return p->code;
}

void rig_kill(struct proc *p)
{
    rig_signal(p, SIGKILL);
    const int code = rig_exit_code(p, 20);
    CHECK(code == 128 + SIGKILL, "%s ended with %d", p->name, code);
}

void rig_stop(struct proc *p)
{
    rig_signal(p, SIGTERM);
    const int code = rig_exit_code(p, 60);
    CHECK(code == 0, "%s ended with %d after SIGTERM", p->name, code);
}

bool rig_said(const struct proc *p, const char *words)
{
    char *text;
    size_t n;
    if (file_read(p->log, 64u << 20, &text, &n, NULL)) return false;
    const bool yes = memmem(text, n, words, strlen(words)) != NULL;
    free(text);
    return yes;
}

/* -- waiting ----------------------------------------------------------------------------------------------------------- */

static bool wait_for(bool (*cond)(void *arg), void *arg, double s, const char *what)
{
    const int64_t deadline = clock_now_ns() + (int64_t)(s * (double)NS_PER_S);
    while (!cond(arg)) {
        for (int i = 0; i < n_proc; i++) {
            const bool ended = reap(&procs[i]);
            CHECK(!ended || procs[i].may_end, "%s ended with %d while the test waited for %s", procs[i].name, procs[i].code, what);
        }
        if (clock_now_ns() > deadline) return false;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * NS_PER_MS}, NULL);
    }
    return true;
}

void rig_wait(bool (*cond)(void *arg), void *arg, double s, const char *what)
{
    const bool came = wait_for(cond, arg, s * slow(), what);
    CHECK(came, "%.0f s have passed without %s", s * slow(), what);
}

bool rig_wait_maybe(bool (*cond)(void *arg), void *arg, double s)
{
    return wait_for(cond, arg, s, "something");
}

struct said {
    const struct proc *p;
    const char *words;
};

static bool has_said(void *arg)
{
    const struct said *x = arg;
    return rig_said(x->p, x->words);
}

void rig_wait_said(const struct proc *p, const char *words, double s)
{
    struct said x = {p, words};
    rig_wait(has_said, &x, s, rig_text("\"%s\" from %s", words, p->name));
}

struct step_wait {
    const char *run;
    uint64_t step;
};

static bool has_step(void *arg)
{
    const struct step_wait *x = arg;
    return rig_last_step(x->run) >= x->step;
}

void rig_wait_step(const char *run, uint64_t step, double s)
{
    struct step_wait x = {run, step};
    rig_wait(has_step, &x, s, rig_text("step %llu of %s", (unsigned long long)step, run));
}

static bool is_there(void *path)
{
    return file_exists(path);
}

const char *rig_address(const char *run)
{
    char *text;
    size_t n;
    struct why why = {0};
    const char *path = rig_path("%s/learner.addr", run);
    rig_wait(is_there, (void *)path, 60, path);
    const enum err e = file_read(path, 256, &text, &n, &why); /* written whole */
    CHECK(!e, "%s", why_str(&why, e));
    text[strcspn(text, "\n")] = 0;
    const char *kept = rig_text("%s", text);
    free(text);
    return kept;
}

const char *rig_sock(const char *name)
{
    return rig_path("%s.sock", name);
}

const char *rig_learner_sock(const char *run)
{
    return rig_path("%s/learner.sock", run);
}
