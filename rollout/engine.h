// SPDX-License-Identifier: Apache-2.0
/* engine.h - continuous batching: one step at a time over everything that runs. Engine thread only; no sockets, no locks.
 *
 * A group is admitted when there is room for all of it (blocks for the longest it may become, so nothing is ever preempted), its
 * prompt is prefilled once, in chunks, and its G completions share the prompt's whole blocks. A step mixes decode rows and prefill
 * rows. Results are the same bits whatever else runs beside a sequence. */
#ifndef ROLLOUT_ENGINE_H
#define ROLLOUT_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/dev/dev.h"
#include "common/model/forward.h"
#include "rollout/work.h"

struct engine;

struct engine_opts {
    uint32_t max_num_seqs;           /* sequences at once (vLLM) */
    uint32_t max_num_batched_tokens; /* rows of a step (vLLM); at least max_num_seqs */
    uint32_t max_model_len;          /* prompt + completion; 0: as many as the model's positions */
    uint32_t n_block;                /* blocks of cache; 0: enough for max_num_seqs of max_model_len, within kv_bytes */
    uint64_t kv_bytes;               /* bound on the cache when n_block is 0 */
    uint32_t n_real_vocab;           /* ids at or above are never drawn; 0: all may be */
};

/* Borrows dev. The caller owns *ret_engine. No model is loaded yet: nothing is admitted. */
enum err engine_create(struct dev *dev, const struct dims *d, const struct engine_opts *o, struct engine **ret_engine,
                       struct why *why) MUST_CHECK;
void engine_destroy(struct engine *e); /* works still inside are forgotten, not freed: take them with engine_abort_all first */

/* Put a work into the queue. ERR_RANGE with words (both lengths named): it can never fit; the work is untouched. Takes it otherwise. */
enum err engine_submit(struct engine *e, struct work *w, struct why *why) MUST_CHECK;

/* Draw with these weights from the next step on. Borrows m until the next swap. Running sequences keep their K and V and are marked. Work that
 * wants another incarnation is aborted. */
void engine_swap(struct engine *e, const struct model *m, struct version v);
struct version engine_version(const struct engine *e);

/* End a work before its time; it comes out of the next engine_step as finished, its blocks free. w is only compared: one that has left the
 * engine already, even one that is freed, is no error. */
void engine_abort(struct engine *e, const struct work *w);
void engine_abort_all(struct engine *e);

/* Is there anything to do now? */
bool engine_has_work(const struct engine *e);

/* One step. *ret_done: works that ended in it, linked by next; the caller owns them. An error of the device is returned. Logits that are not
 * numbers are the weights' fault, or the prompt's: the works that run end with ERR_NONFINITE, the engine goes on. */
enum err engine_step(struct engine *e, struct work **ret_done, struct why *why) MUST_CHECK;

struct engine_stats {
    uint32_t n_running, n_waiting; /* sequences */
    uint32_t n_free_block, n_block;
    uint64_t gen_tok, prefill_tok, n_step, n_group, n_swap;
    int64_t sample_ns, forward_ns; /* time spent */
};
void engine_stats(const struct engine *e, struct engine_stats *ret_stats);

#endif
