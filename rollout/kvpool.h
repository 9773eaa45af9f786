// SPDX-License-Identifier: Apache-2.0
/* kvpool.h - blocks of key/value cache, lent to sequences and shared by count.
 *
 * One pool per engine, called only from the engine thread: no locks. Storage is one device buffer of P blocks, each for all layers
 * (common/dev/batch.h). A block lent anew reads as zero: the engine zeroes it. */
#ifndef ROLLOUT_KVPOOL_H
#define ROLLOUT_KVPOOL_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/dev/batch.h"
#include "common/dev/dev.h"
#include "common/model/dims.h"

struct kvpool;

/* Create a pool of n_block free blocks for a model of these dims. Borrows dev. The caller owns *ret_pool. ERR_INVAL, ERR_NOMEM. */
enum err kvpool_create(struct dev *dev, const struct dims *d, uint32_t n_block, struct kvpool **ret_pool, struct why *why) MUST_CHECK;
void kvpool_destroy(struct kvpool *p); /* NULL is a no-op; every block must be back */

const struct kv *kvpool_kv(const struct kvpool *p);
uint32_t kvpool_n_free(const struct kvpool *p);
uint32_t kvpool_n_block(const struct kvpool *p);

/* Lend n blocks, zeroed, one holder each; their ids go to ret_block[]. All or nothing. ERR_BUSY: too few free. */
enum err kvpool_take(struct kvpool *p, uint32_t n, int32_t *ret_block) MUST_CHECK;

/* One more holder of each. */
void kvpool_share(struct kvpool *p, const int32_t *block, uint32_t n);

/* One holder less of each; a block that nobody holds is free again. */
void kvpool_give(struct kvpool *p, const int32_t *block, uint32_t n);

/* Blocks that hold n_tok tokens. */
static inline uint32_t kvpool_blocks(uint32_t n_tok)
{
    return (n_tok + KV_BLOCK_TOK - 1) / KV_BLOCK_TOK;
}

#endif
