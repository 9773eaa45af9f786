// SPDX-License-Identifier: Apache-2.0
/* arith.h - the quickstart's model and its verifiable task, made on the spot: two-digit addition with the
 * carry written out.
 *
 *     prompt    47+85=
 *     solution  7+5=12 4+8+1=13
 *               #### 132
 *
 * The units first, then the tens plus the carry (0 or 1), then the answer as GSM8K writes it. A row of the
 * data is
 * {"prompt", "answer", "solution"}; the solution has no end token: whoever trains on it appends one. With the
 * tokenizer made here a prompt is 6 tokens, a solution at most 21. Everything is a function of the seed
 * alone. Any thread; blocks on the disk.
 *
 * The solutions to warm up with are those of a careless teacher: each of the three sums and carries is off by one with probability
 * ARITH_SLIP, and what follows builds on it. A model that has learnt from them writes well and computes badly, about
 * (1 - ARITH_SLIP)^3 of its answers right; that leaves GRPO something to find out, and noise enough to find it in. */
#ifndef COMMON_MODEL_ARITH_H
#define COMMON_MODEL_ARITH_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/model/dims.h"

#define ARITH_N_PROBLEM 8100 /* 10..99 + 10..99, in order */
#define ARITH_SLIP      0.34f /* of sft.jsonl */
#define ARITH_N_VOCAB   261  /* ids of the tokenizer: 256 bytes, "##", "####", three special tokens */

struct arith_opts {
    uint64_t seed;           /* of the split, the order of rows and the initial weights */
    uint32_t n_test;         /* problems held out, none of them in train; 0: 500; less than ARITH_N_PROBLEM */
    const struct dims *dims; /* borrowed; NULL: arith_dims(). At least ARITH_N_VOCAB rows in the embedding */
};

/* The quickstart's shape, 0.8 M parameters: d 128, 4 layers, 4 query and 2 key/value heads of 32, ff 384. */
struct dims arith_dims(void);

/* arith_make_model and arith_make_data. */
enum err arith_make(const char *dir_model, const char *dir_data, const struct arith_opts *o,
                    struct why *why) MUST_CHECK;

/* A Hugging Face folder with random weights (normal, 0.088 for matrices, 0.06 for the embedding) and the tokenizer; it appears whole. ERR_EXIST: dir is there and
 * not empty. */
enum err arith_make_model(const char *dir, const struct arith_opts *o, struct why *why) MUST_CHECK;

/* dir/train.jsonl, dir/test.jsonl, and dir/sft.jsonl: the problems of train.jsonl by the careless teacher, their answers right as there
 * (dir is made if need be). Each is replaced whole. ERR_RANGE: n_test. */
enum err arith_make_data(const char *dir, const struct arith_opts *o, struct why *why) MUST_CHECK;

#endif
