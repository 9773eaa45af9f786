// SPDX-License-Identifier: Apache-2.0
/* quickstart.h - grpoctl quickstart: what its files share. A small model and its task are made on the spot,
 * warmed up by SFT, then trained by GRPO between real daemons, which are children of this process.
 *
 *   quickstart.c        options, the phases, the end
 *   quickstart_run.c    one run of the daemons: start, watch, end
 *   quickstart_proc.c   a child process and its log
 *   quickstart_state.c  what lies in the folder: quickstart.json, checkpoints, --fresh
 *   quickstart_watch.c  what the daemons and metrics.jsonl say, read on the uv pool
 *   quickstart_view.c   the picture on a terminal, lines elsewhere
 *
 * One loop, one thread, but for quickstart_watch.c. */
#ifndef CTL_QUICKSTART_H
#define CTL_QUICKSTART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "common/base/err.h"
#include "common/svc/loop.h"

#define QUICKSTART_MAX_NODE 16
#define QUICKSTART_PATH     512 /* of the folder; sockets within it must fit their address */

/* The task: a prompt has 6 tokens, a solution at most 22 with its end. */
#define QUICKSTART_PROMPT     16u
#define QUICKSTART_COMPLETION 32u
#define QUICKSTART_SEQS       256u /* decoded at once */

/* -- quickstart_proc.c -------------------------------------------------------------------------- */

/* A child in a session of its own: the terminal's Ctrl-C does not reach it. When this process dies, however
 * it dies, the child gets SIGTERM. */
struct proc {
    char name[32], log[QUICKSTART_PATH + 64];
    pid_t pid;     /* 0: not started, or ended and reaped */
    long log_from; /* where this child's part of the log begins */
    int status;    /* as waitpid has it, once ended */
    bool started, ended;
};

#define ARGV_MAX 96

/* Words of a command line; argv_add copies. Too many, or out of memory: failed. */
struct argv {
    char *word[ARGV_MAX + 1];
    uint32_t n;
    bool failed;
};
void argv_add(struct argv *a, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
void argv_done(struct argv *a);

/* Start word[0], its output added to p->log. Call from the thread that lives as long as the process. */
enum err proc_start(struct proc *p, const struct argv *a, struct why *why) MUST_CHECK;
void proc_signal(const struct proc *p, int sig); /* nothing when it is not running */
bool proc_reap(struct proc *p);                  /* true: it has ended, now or before */
/* Ended by itself, with 0? */
bool proc_is_well(const struct proc *p);
/* How it ended and the last lines that it wrote, on stderr. */
void proc_tell(const struct proc *p);

/* -- quickstart_state.c ------------------------------------------------------------------------- */

/* DIR/quickstart.json: what this run is, and how far its warm-up has been refined. */
struct quickstart_state {
    uint64_t seed;
    bool control, async;
    uint32_t sft_level; /* how often the warm-up overshot and was taken back */
    double elapsed_s;   /* of all calls so far */
    double sft_s;       /* of them, in the warm-up */
};

/* ERR_NOENT: no run yet. ERR_FORMAT. */
enum err state_read(const char *dir, struct quickstart_state *ret, struct why *why) MUST_CHECK;
enum err state_write(const char *dir, const struct quickstart_state *s, struct why *why) MUST_CHECK;

/* The newest checkpoint below run_dir. */
struct quickstart_ckpt {
    char dir[QUICKSTART_PATH + 64];
    uint64_t step;
    bool finished;
    double accuracy, first_accuracy; /* NaN: none */
};
/* ERR_NOENT: none. ERR_FORMAT: it cannot be understood. */
enum err state_ckpt(const char *run_dir, struct quickstart_ckpt *ret, struct why *why) MUST_CHECK;

/* Remove what a run leaves in dir, and nothing else. ERR_EXIST: dir holds things, but no quickstart.json: it
 * is somebody else's. */
enum err state_clear(const char *dir, struct why *why) MUST_CHECK;
/* Is there anything of a run in dir? */
bool state_is_there(const char *dir);

/* -- quickstart_watch.c ------------------------------------------------------------------------- */

enum phase { PHASE_SFT, PHASE_GRPO };

/* What is known of the running daemons; NaN where nothing is. */
struct seen {
    bool learner_up, node_up;
    double learner_version, node_version, learner_tok_s, node_tok_s, jobs_waiting, jobs_in_flight, groups,
        batches, decoding;
    /* of metrics.jsonl */
    uint64_t n_row;
    double step, loss, loss_first, step_s, mismatch; /* mismatch: the largest of all */
    double reward, reward_first;                     /* means of the last and of the first ten steps */
    double accuracy, accuracy_step, n_mixed; /* n_mixed: completions that span two versions, all told */
};

struct watch;
/* Look every 500 ms at the daemons' sockets below run_dir and at its metrics.jsonl; after each look on_seen
 * is called on the loop. The caller owns *ret_watch. n_node: sockets node_sock[] (borrowed). */
enum err watch_start(struct loop *l, const char *run_dir, const char *node_dir, uint32_t n_node,
                     void (*on_seen)(void *arg), void *arg, struct watch **ret_watch) MUST_CHECK;
/* No more calls; what is under way is waited for. NULL is a no-op. */
void watch_stop(struct watch *w);
const struct seen *watch_seen(const struct watch *w);
/* What metrics.jsonl of a run says; blocks on the disk. */
void watch_read(const char *run_dir, struct seen *ret);

/* The socket of node i. */
void watch_node_sock(const char *dir, uint32_t i, char *out, size_t cap);

/* -- quickstart_view.c -------------------------------------------------------------------------- */

struct view {
    FILE *out; /* stdout; with --json stderr */
    bool live, colour, blocks, stopping, async;
    uint32_t n_line;  /* of the picture that stands on the terminal */
    const char *head; /* borrowed: "seed 42, runs/quickstart" */
    enum phase phase;
    double target;         /* accuracy wanted of GRPO; 0: none */
    double start_accuracy; /* until there is a newer one; NaN: none */
    double max_step, before_s;
    int64_t phase_ns, begun_ns; /* when the phase and its first step that we saw began */
    double begun_at, best;      /* how far it was then, and is now: 0..1 */
    double said_step, said_accuracy_step;
    int64_t said_ns;
};

void view_open(struct view *v, FILE *out);
/* Begin a phase; before_s: what earlier phases and calls took. */
void view_phase(struct view *v, enum phase phase, double max_step, double before_s);
void view_draw(struct view *v, const struct seen *s);
/* A line that stays, above the picture. */
void view_say(struct view *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
void view_clear(struct view *v); /* take the picture away */
/* How much of the phase is done, 0..0.99: SFT by its loss, GRPO by its reward, either by the steps that end
 * it in any case. */
double view_progress(const struct view *v, const struct seen *s);

/* -- quickstart_run.c --------------------------------------------------------------------------- */

struct quickstart_opts {
    const char *dir, *bin, *device;
    uint64_t seed;
    uint32_t steps, nodes, threads; /* 0: the default */
    double target;
    bool control, async, fresh, json;
};

struct quickstart {
    struct loop *loop;
    struct quickstart_opts o;
    char dir[QUICKSTART_PATH], sft_dir[QUICKSTART_PATH + 8], head[QUICKSTART_PATH + 32];
    char learner_bin[4096], rollout_bin[4096];
    struct quickstart_state st;
    struct view view;
    int64_t since_ns; /* elapsed time is counted up to here */
    uint32_t n_node, learner_threads, node_threads;
    int64_t stop_ns; /* when we were told to end */
    int n_stop;      /* how often we were told to end */
    struct uv_signal_s *sig;
    struct daemons *d; /* running; NULL: none */
};

/* Catch SIGINT, SIGTERM, SIGHUP and SIGCHLD. */
enum err run_signals(struct quickstart *q) MUST_CHECK;
void run_signals_end(struct quickstart *q);

/* Start a learner with these arguments and the nodes for it; return when all of them have ended.
 * ERR_CANCELLED: we were told to stop; the learner has saved. ERR_CLOSED: a daemon ended as it should not; it
 * has been told. */
enum err run_daemons(struct quickstart *q, enum phase phase, const char *run_dir, const struct argv *learner,
                     struct why *why) MUST_CHECK;

#endif
