// SPDX-License-Identifier: Apache-2.0
/* queue.h - a bounded queue of letters between threads. Letters are pointers; the queue never owns what they point at. */
#ifndef COMMON_BASE_QUEUE_H
#define COMMON_BASE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct queue;

/* Room for cap letters (1 .. 2^31 - 1, else ERR_INVAL). The caller owns *ret_queue. */
enum err queue_create(uint32_t cap, struct queue **ret_queue) MUST_CHECK;
void queue_destroy(struct queue *q); /* no thread may be in it; letters left are forgotten */

/* Put without waiting. ERR_BUSY: full, that is the back-pressure. ERR_CLOSED. Any thread. */
enum err queue_try_put(struct queue *q, void *letter) MUST_CHECK;

/* Take the oldest, waiting at most timeout_ns (0: not at all; negative: for ever). ERR_TIMEOUT; ERR_CLOSED once closed and empty. */
enum err queue_take(struct queue *q, int64_t timeout_ns, void **ret_letter) MUST_CHECK;

/* No more puts; wakes everyone. What is inside can still be taken. */
void queue_close(struct queue *q);

uint32_t queue_len(struct queue *q);

#endif
