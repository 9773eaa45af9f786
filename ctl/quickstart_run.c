// SPDX-License-Identifier: Apache-2.0
/* quickstart_run.c - one run of the daemons: a learner, then nodes that dial it; watched until the learner
 * ends. Signals. Loop thread. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/svc/daemon.h"
#include "ctl/ctl.h"
#include "ctl/quickstart.h"

#define TICK_MS  50
#define LOCK_MS  20000           /* how long a learner of an earlier call may still be saving */
#define NODE_NS  (10 * NS_PER_S) /* a node that has been told to go and does not is killed */
#define PORT     6510
#define ONE_NS   (300 * NS_PER_MS) /* signals so close are one: timeout(1) sends its own twice */
#define N_SIGNAL 4

struct daemons {
    struct quickstart *q;
    const char *run_dir;
    struct proc learner, node[QUICKSTART_MAX_NODE];
    bool nodes_started, nodes_told, over; /* over: all have ended */
    int64_t told_ns;
    struct proc *bad; /* the first that ended as it should not */
    struct watch *watch;
    struct loop_timer *tick;
    struct why why;
    enum err e;
};

/* -- ends -------------------------------------------------------------------------------------------------
 */

static void each_node(struct daemons *d, int sig)
{
    for (uint32_t i = 0; i < d->q->n_node; i++) proc_signal(&d->node[i], sig);
}

static void send_nodes_home(struct daemons *d)
{
    if (d->nodes_told) return;
    d->nodes_told = true;
    d->told_ns = clock_now_ns();
    each_node(d, SIGTERM);
}

static void fail(struct daemons *d, struct proc *bad)
{
    if (!d->bad) d->bad = bad;
    proc_signal(&d->learner, SIGTERM); /* it saves */
}

/* Whoever has ended. The run is over when all have. */
static void reap(struct daemons *d)
{
    bool all = proc_reap(&d->learner);
    if (d->learner.ended) {
        if (!proc_is_well(&d->learner) && !d->bad && !d->q->n_stop) d->bad = &d->learner;
        send_nodes_home(d);
    }
    for (uint32_t i = 0; i < d->q->n_node; i++) {
        const bool gone = proc_reap(&d->node[i]);
        if (d->node[i].ended && !d->nodes_told && !d->q->n_stop) fail(d, &d->node[i]);
        all &= gone;
    }
    d->over = all;
    if (all) loop_stop(d->q->loop);
}

/* -- starts -----------------------------------------------------------------------------------------------
 */

static enum err start_node(struct daemons *d, uint32_t i, const char *address)
{
    const struct quickstart *q = d->q;
    struct proc *p = &d->node[i];
    struct argv a = {0};
    char sock[QUICKSTART_PATH + 64];
    watch_node_sock(q->dir, i, sock, sizeof sock);
    snprintf(p->name, sizeof p->name, q->n_node > 1 ? "grpo-rollout %u" : "grpo-rollout", i + 1);
    if (i)
        snprintf(p->log, sizeof p->log, "%s/rollout-%u.log", q->dir, i + 1);
    else
        snprintf(p->log, sizeof p->log, "%s/rollout.log", q->dir);
    argv_add(&a, "", "%s", q->rollout_bin);
    argv_add(&a, "--learner", "%s", address);
    argv_add(&a, "--name", "quickstart-%u", i + 1);
    argv_add(&a, "--control", "%s", sock);
    argv_add(&a, "--device", "%s", q->o.device);
    argv_add(&a, "--threads", "%u", q->node_threads);
    argv_add(&a, "--max-num-seqs", "%u", QUICKSTART_SEQS);
    argv_add(&a, "--max-model-len", "%u", QUICKSTART_PROMPT + QUICKSTART_COMPLETION);
    argv_add(&a, "--kv-memory", "%s", "64M");
    enum err e = proc_start(p, &a, &d->why);
    argv_done(&a);
    return e;
}

static void on_seen(void *arg)
{
    struct daemons *d = arg;
    view_draw(&d->q->view, watch_seen(d->watch));
}

/* The learner listens: nodes dial it. */
static enum err start_nodes(struct daemons *d)
{
    char path[QUICKSTART_PATH + 64], *address;
    size_t n;
    snprintf(path, sizeof path, "%s/learner.addr", d->run_dir);
    TRY(file_read(path, 4096, &address, &n, &d->why));
    address[strcspn(address, "\r\n")] = 0;
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < d->q->n_node; i++) e = start_node(d, i, address);
    free(address);
    if (!e) e = watch_start(d->q->loop, d->run_dir, d->q->dir, d->q->n_node, on_seen, d, &d->watch);
    d->nodes_started = true;
    return e;
}

static void on_tick(void *arg)
{
    struct daemons *d = arg;
    char path[QUICKSTART_PATH + 64];
    snprintf(path, sizeof path, "%s/learner.addr", d->run_dir);
    if (!d->nodes_started && !d->learner.ended && !d->q->n_stop && file_exists(path)) {
        d->e = start_nodes(d);
        if (d->e) fail(d, NULL);
    }
    if (d->nodes_told && clock_now_ns() - d->told_ns > NODE_NS) each_node(d, SIGKILL);
    reap(d); /* a signal may have come between fork and here */
}

/* Is the well-known port free? Someone may take it before the learner does; then the learner says so, and
 * gets any other. */
static bool port_is_free(unsigned port)
{
    const struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool is = fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) &&
                    !bind(fd, (const struct sockaddr *)&a, sizeof a) && !listen(fd, 1);
    if (fd >= 0) close(fd);
    return is;
}

/* A learner of an earlier call, ended by its parent's death, may still be saving. */
static enum err wait_for_folder(struct quickstart *q, const char *run_dir, struct why *why)
{
    int fd = -1;
    TRY(file_mkdirs(run_dir, why));
    const int64_t end = clock_now_ns() + LOCK_MS * NS_PER_MS;
    for (;;) {
        const enum err e = daemon_lock(run_dir, "learner", &fd, why);
        if (!e) break;
        if (q->n_stop) return ERR_CANCELLED;
        if (e != ERR_EXIST || clock_now_ns() > end) return e;
        loop_drain(q->loop, 100);
    }
    close(fd);
    return ERR_OK;
}

static enum err start_learner(struct daemons *d, const struct argv *given, unsigned port)
{
    struct argv a = *given; /* borrows its words; ours come behind */
    char path[QUICKSTART_PATH + 64], address[64];
    snprintf(path, sizeof path, "%s/learner.addr", d->run_dir);
    if (unlink(path) && errno != ENOENT)
        return why_set(&d->why, err_from_errno(errno), "%s: %s", path, strerror(errno));
    snprintf(address, sizeof address, "tcp://127.0.0.1:%u", port);
    if (a.failed || a.n + 2 > ARGV_MAX) return why_set(&d->why, ERR_RANGE, "too many settings");
    a.word[a.n++] = (char[]){"--listen"};
    a.word[a.n++] = address;
    return proc_start(&d->learner, &a, &d->why);
}

/* -- a run ------------------------------------------------------------------------------------------------
 */

static enum err run_once(struct daemons *d, const struct argv *learner, unsigned port)
{
    struct quickstart *q = d->q;
    q->d = d;
    enum err e = start_learner(d, learner, port);
    if (!e) e = loop_timer_start(q->loop, TICK_MS, TICK_MS, on_tick, d, &d->tick);
    /* a call to stop may be left of the run before */
    while (!e && !d->over) loop_run(q->loop);
    if (e) proc_signal(&d->learner, SIGTERM);
    loop_timer_stop(d->tick);
    watch_stop(d->watch);
    view_clear(&q->view);
    q->d = NULL;
    return e ? e : d->e;
}

enum err run_daemons(struct quickstart *q, enum phase phase, const char *run_dir, const struct argv *learner,
                     struct why *why)
{
    unsigned port = port_is_free(PORT) ? PORT : 0;
    TRY(wait_for_folder(q, run_dir, why));
    uv_run(loop_uv(q->loop), UV_RUN_NOWAIT);
    if (q->n_stop) return ERR_CANCELLED;
    for (;; port = 0) {
        struct daemons d = {.q = q, .run_dir = run_dir, .learner.name = "grpo-learner"};
        snprintf(d.learner.log, sizeof d.learner.log, "%s/%s.log", q->dir,
                 phase == PHASE_SFT ? "sft" : "learner");
        const enum err e = run_once(&d, learner, port);
        if (e) {
            why_set(why, e, "%s", why_str(&d.why, e));
            return e;
        }
        if (q->n_stop) return ERR_CANCELLED;
        if (!d.bad) return ERR_OK;
        if (d.bad == &d.learner && !d.nodes_started && port && !port_is_free(port)) continue;
        proc_tell(d.bad);
        return why_set(why, ERR_CLOSED, "%s", "");
    }
}

/* -- signals ----------------------------------------------------------------------------------------------
 */

/* Once: save. Twice: nothing is waited for. */
static void on_stop(struct quickstart *q)
{
    struct daemons *d = q->d;
    const int64_t now = clock_now_ns();
    if (q->n_stop && now - q->stop_ns < ONE_NS) return;
    q->view.stopping = true;
    q->stop_ns = now;
    if (++q->n_stop == 1) {
        if (!d) return;
        if (!q->view.live)
            view_say(&q->view, "stopping: the learner finishes its step and saves; again kills");
        else if (d->watch)
            view_draw(&q->view, watch_seen(d->watch));
        proc_signal(&d->learner, SIGTERM);
        return;
    }
    if (d) {
        proc_signal(&d->learner, SIGKILL);
        each_node(d, SIGKILL);
        for (uint32_t i = 0; i <= q->n_node; i++) {
            const struct proc *p = i ? &d->node[i - 1] : &d->learner;
            if (p->started && !p->ended) waitpid(p->pid, NULL, 0);
        }
    }
    view_clear(&q->view);
    say("killed; what was saved last is in %s/checkpoints", q->dir);
    _exit(130);
}

static void on_signal(uv_signal_t *h, int num)
{
    struct quickstart *q = h->data;
    if (num != SIGCHLD)
        on_stop(q);
    else if (q->d)
        reap(q->d);
}

enum err run_signals(struct quickstart *q)
{
    static const int nums[N_SIGNAL] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD};
    q->sig = calloc(N_SIGNAL, sizeof *q->sig);
    if (!q->sig) return ERR_NOMEM;
    for (int i = 0; i < N_SIGNAL; i++) {
        uv_signal_init(loop_uv(q->loop), &q->sig[i]);
        q->sig[i].data = q;
        uv_unref((uv_handle_t *)&q->sig[i]);
    }
    for (int i = 0; i < N_SIGNAL; i++)
        if (uv_signal_start(&q->sig[i], on_signal, nums[i])) return ERR_IO;
    signal(SIGPIPE, SIG_IGN);
    return ERR_OK;
}

void run_signals_end(struct quickstart *q)
{
    if (!q->sig) return;
    for (int i = 0; i < N_SIGNAL; i++) uv_close((uv_handle_t *)&q->sig[i], NULL);
    uv_run(loop_uv(q->loop), UV_RUN_NOWAIT);
    free(q->sig);
    q->sig = NULL;
}
