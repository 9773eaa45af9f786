// SPDX-License-Identifier: Apache-2.0
/* rig.h - what benchmarks share: model shapes by name, random weights, and what the machine can do at most. One thread drives it. */
#ifndef BENCH_RIG_H
#define BENCH_RIG_H

#include <stdint.h>

#include "common/dev/dev.h"
#include "common/model/forward.h"

/* "quickstart" (0.8 M), "smollm2-135m", "qwen2-0.5b", "qwen2-1.5b"; ends the program for another name. */
struct dims rig_dims(const char *name);

/* bf16 weights from a seed, [n_param]; the caller frees them. */
uint16_t *rig_weights(const struct tensor_table *table);

/* Ends the program with words when e is an error. */
void rig_must(enum err e, const struct why *why, const char *what);

struct rig_machine {
    double flops;     /* of bf16 products with fp32 sums, all threads: the product that fits the caches best */
    double bytes_s;   /* read bandwidth of main memory, all threads: the best of several plain loops */
};
/* Measure with n_thread threads, about a second. Take it in the same run as what is compared with it. */
struct rig_machine rig_measure(struct dev *dev);

/* Multiply-adds of one token's matrix products, times 2; without the head when head is false. */
double rig_flop_per_tok(const struct dims *d, bool head);

#endif
