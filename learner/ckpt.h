// SPDX-License-Identifier: Apache-2.0
/* ckpt.h - checkpoints: RUN/checkpoints/step-N/, a Hugging Face folder that also holds optimizer.safetensors (master, exp_avg,
 * exp_avg_sq, fp32, canonical order) and trainer_state.json. Whole or absent: written beside, synced, renamed. Blocking. */
#ifndef LEARNER_CKPT_H
#define LEARNER_CKPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"
#include "common/model/dims.h"

struct ckpt {
    uint64_t step;    /* steps done */
    uint64_t adam_t;
    uint64_t seed;
    double accuracy;  /* last held-out accuracy; NaN: none */
    double first_accuracy; /* of the run, before its first step; NaN: none */
    bool finished;    /* the run reached its end */
    float *master, *m, *v; /* host fp32 [n_param] */
    uint16_t *image;  /* host bf16 [n_param] */
};

/* Buffers for n_param. */
enum err ckpt_init(struct ckpt *c, uint64_t n_param) MUST_CHECK;
void ckpt_done(struct ckpt *c);

/* Write c as run_dir/checkpoints/step-N and remove the oldest beyond keep (> 0). tokenizer_from: folder whose tokenizer files are copied.
 * One of the same step is replaced. Killed at any moment, whole checkpoints are left, and what is not whole goes with the next save. */
enum err ckpt_save(const char *run_dir, const struct ckpt *c, const struct dims *d, const struct tensor_table *t, const char *tokenizer_from,
                   uint32_t keep, struct why *why) MUST_CHECK;

/* The newest whole checkpoint's folder into out; ERR_NOENT: none. */
enum err ckpt_newest(const char *run_dir, char *out, size_t cap) MUST_CHECK;

/* Remove them all: the run starts anew. None there is fine. */
enum err ckpt_remove_all(const char *run_dir, struct why *why) MUST_CHECK;

/* The numbers of trainer_state.json into c; its buffers stay. ERR_FORMAT names `name`. */
enum err ckpt_parse_state(struct span json, const char *name, struct ckpt *c, struct why *why) MUST_CHECK;

/* Read trainer_state.json and the optimiser (master, m, v) of a checkpoint folder into c. */
enum err ckpt_load(const char *dir, struct ckpt *c, const struct tensor_table *t, struct why *why) MUST_CHECK;

#endif
