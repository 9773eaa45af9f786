// SPDX-License-Identifier: Apache-2.0
/* rig.h - real daemons on loopback for the tests of this folder: a temporary folder, a tiny model and data, processes with their
 * logs, questions to control sockets, metrics.jsonl and run.db.
 *
 * One test is one process, so the rig is one, and keeps its state to itself. Whatever fails says so, prints the end of every daemon's
 * log, kills them and ends the process: a test needs no way out. Waiting is always for something, with a deadline. The daemons end
 * with the test, however it ends. */
#ifndef TESTS_E2E_RIG_H
#define TESTS_E2E_RIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/model/dims.h"
#include "proto/msg.h"

/* -- start, end, failure ----------------------------------------------------------------------------------------------- */

struct rig_test {
    const char *name;
    void (*fn)(void);
};

/* Run the test that argv[1] names, in a folder of its own; with no name, list them. For main. */
int rig_main(int argc, char **argv, const struct rig_test *tests);

void rig_fail(const char *file, int line, const char *cond, const char *fmt, ...) PRINTF_LIKE(4, 5) __attribute__((noreturn));

/* The words say what was found, with numbers. */
#define CHECK(cond, ...)                                                                                                          \
    do {                                                                                                                          \
        if (!(cond)) rig_fail(__FILE__, __LINE__, #cond, __VA_ARGS__);                                                            \
    } while (0)
#define FAIL(...) rig_fail(__FILE__, __LINE__, "never here", __VA_ARGS__)

/* A path in the test's folder; texts made by printf. Both are kept until the test ends. */
const char *rig_path(const char *fmt, ...) PRINTF_LIKE(1, 2);
const char *rig_text(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* -- model and data ---------------------------------------------------------------------------------------------------- */

/* The quickstart's model in small (2 layers, d 32, 512 positions), or of these dims; random weights. Returns its folder. */
struct dims rig_dims(void);
const char *rig_model(const char *name, uint64_t seed, const struct dims *d);

/* Rows that a model of this size learns in a second, without ever being sure: the prompt is min_prompt..max_prompt letters, the
 * solution up to max_filler letters, in half the rows that think the end of a thought, then "#### " and a digit out of four. So lengths
 * vary, and one completion in four is right. */
struct rig_data {
    uint32_t n_row, min_prompt, max_prompt, max_filler;
    uint64_t seed;
    bool think;
};
const char *rig_data(const char *name, const struct rig_data *d);

/* The model after some sft on rows like these, trained by grpo-learner itself. Returns its folder. */
const char *rig_warm(const char *model, const struct rig_data *d, uint32_t steps);

/* -- processes --------------------------------------------------------------------------------------------------------- */

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

struct proc;

/* grpo-learner on rig_path(run) with settings for small and quick runs; args are added, and win. Model and data: "model" and "train"
 * unless args say otherwise. */
struct proc *rig_learner(const char *run, const char *const *args);
/* grpo-rollout called name; its control socket is rig_sock(name). learner: an address, NULL: none. */
struct proc *rig_node(const char *name, const char *learner, const char *const *args);

/* Where the learner of this run listens: waits until it says so. */
const char *rig_address(const char *run);
const char *rig_sock(const char *name);         /* of a node */
const char *rig_learner_sock(const char *run);

void rig_signal(struct proc *p, int sig);
void rig_kill(struct proc *p);                  /* SIGKILL, and wait for its end */
int rig_exit_code(struct proc *p, double s);    /* waits for its end; 128 + n after signal n; a test fails after s seconds */
void rig_stop(struct proc *p);                  /* SIGTERM; its exit code must be 0 */
void rig_may_end(struct proc *p);               /* that it ends by itself from now on is no failure */
bool rig_is_up(struct proc *p);
bool rig_said(const struct proc *p, const char *words); /* is this in its log? */

/* Ask until cond(arg) holds; fails after s seconds, or when a daemon ends that was not told to. */
void rig_wait(bool (*cond)(void *arg), void *arg, double s, const char *what);
bool rig_wait_maybe(bool (*cond)(void *arg), void *arg, double s); /* false: the time is over, and that is no failure */
void rig_wait_said(const struct proc *p, const char *words, double s);
void rig_wait_step(const char *run, uint64_t step, double s); /* until metrics.jsonl has this step */

/* -- asking ------------------------------------------------------------------------------------------------------------ */

/* A verb to a control socket. NULL when nobody answers or the answer is an error (its words go to why). The caller decrefs. */
json_t *rig_try_ask(const char *sock, const char *verb, const char *args, struct why *why);
json_t *rig_ask(const char *sock, const char *verb, const char *args); /* fails the test instead */
double rig_number(const char *sock, const char *verb, const char *key);
/* A node's line in the learner's list; NULL: not there. The caller decrefs. */
json_t *rig_node_json(const char *run, const char *node);

/* One group from a node's control socket. */
struct gen {
    enum err e;
    struct why why;
    uint32_t n_tok, n_seq, prefill_tok;
    uint32_t *len;  /* [n_seq] */
    int32_t *tok;   /* [n_tok] */
    float *lp;      /* [n_tok] */
};
struct gen rig_generate(const char *sock, const struct msg_job *job);
void rig_gen_done(struct gen *g);
bool rig_gen_same(const struct gen *a, const struct gen *b); /* tokens and logprobs, bit by bit */

/* -- what a run leaves ------------------------------------------------------------------------------------------------- */

json_t *rig_metrics(const char *run);            /* an array of lines; the caller decrefs */
uint64_t rig_last_step(const char *run);         /* of metrics.jsonl; 0: none */
double rig_sum(const json_t *metrics, const char *key);
double rig_max(const json_t *metrics, const char *key);

/* One number out of run.db; other (may be NULL) is attached as b. */
double rig_db(const char *run, const char *other, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool rig_same_file(const char *a, const char *b);
/* Fails unless two runs have the same samples (tokens, logprobs, rewards, advantages), every job once, steps 1..n; and the same weights
 * and optimiser after n steps. */
void rig_check_same_run(const char *a, const char *b, uint64_t n);

#endif
