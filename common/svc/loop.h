// SPDX-License-Identifier: Apache-2.0
/* loop.h - a daemon's one event loop (libuv), its timers, signals, letters from other threads and work on the uv pool.
 *
 * All calls are for the loop's own thread but loop_post and loop_stop. The loop never blocks. */
#ifndef COMMON_SVC_LOOP_H
#define COMMON_SVC_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/base/err.h"

struct loop;

enum err loop_create(struct loop **ret_loop) MUST_CHECK;
/* Everything that hangs from it must be closed. Waits for work on the pool; runs pending letters and those that they post. NULL is a no-op. */
void loop_destroy(struct loop *l);
uv_loop_t *loop_uv(struct loop *l);

/* Run until loop_stop. */
void loop_run(struct loop *l);
/* Let callbacks run for timeout_ms, or until loop_stop: for closing down and for tests. */
void loop_drain(struct loop *l, int timeout_ms);
void loop_stop(struct loop *l); /* any thread */

/* Run fn(arg) on the loop's thread, in the order posted. Any thread, never blocks, never fails but for memory (then it aborts:
 * a lost letter would be a lost group). */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);

/* Call fn every every_ms, first after first_ms; every_ms 0: once. The caller owns the timer: loop_timer_stop frees it. */
struct loop_timer;
enum err loop_timer_start(struct loop *l, uint64_t first_ms, uint64_t every_ms, void (*fn)(void *arg), void *arg,
                          struct loop_timer **ret_timer) MUST_CHECK;
void loop_timer_stop(struct loop_timer *t); /* NULL is a no-op; may be called in fn */

/* work(arg) on the uv pool, then done(arg) on the loop. */
enum err loop_work(struct loop *l, void (*work)(void *arg), void (*done)(void *arg), void *arg) MUST_CHECK;

/* SIGTERM and SIGINT call on_stop once; a second one ends the process at once with 128 + signal. SIGHUP calls on_reload (may be NULL). */
enum err loop_signals(struct loop *l, void (*on_stop)(void *arg), void (*on_reload)(void *arg), void *arg) MUST_CHECK;

#endif
