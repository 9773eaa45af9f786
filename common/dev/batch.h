// SPDX-License-Identifier: Apache-2.0
/* batch.h - the facts of one step, row by row, in device memory.
 *
 * A row is one token to compute. Rows of one sequence stand together, in order. The rollout mixes prefill rows and decode
 * rows; the learner packs whole sequences. A kernel reads sizes only as buckets (n_row, n_seq, n_out) and everything else
 * from these arrays, so one recorded step serves every batch of its bucket. Padding rows have slot -1 and write nothing.
 * Letters: docs/letters.md. */
#ifndef COMMON_DEV_BATCH_H
#define COMMON_DEV_BATCH_H

#include <stdint.h>

struct batch {
    uint32_t n_row; /* B: rows computed */
    uint32_t n_seq; /* lines of the block table */
    uint32_t n_out; /* rows whose logits are wanted */
    uint32_t table_cols; /* blocks per line of the table */

    const int32_t *id;    /* [n_row] token id */
    const int32_t *pos;   /* [n_row] absolute position in its sequence, from 0 */
    const int32_t *seq;   /* [n_row] its line of the block table */
    const int32_t *slot;  /* [n_row] where its K and V go: block * S + offset; -1: nowhere (padding) */
    const int32_t *table; /* [n_seq, table_cols] block ids; entry j holds positions j*S .. j*S+S-1 */
    const int32_t *first; /* [n_seq + 1] first row of each sequence; first[n_seq] = rows in use */
    const int32_t *out;   /* [n_out] row numbers, ascending */
};

/* Where keys and values live: blocks of S tokens for all layers. Layout inside a block is the back end's own; the pool
 * knows only block_bytes (ops->kv_block_bytes). Unwritten slots are zero. */
struct kv {
    void *mem; /* [P] blocks of block_bytes, device */
    uint64_t block_bytes;
    uint32_t n_block;   /* P */
    uint32_t block_tok; /* S: KV_BLOCK_TOK */
};

/* S, and the size of an attention piece: keys are taken in pieces of ATTN_PIECE_TOK at absolute positions, each piece
 * reduced alone, pieces merged in order (docs/numerics.md). A prompt is shared in whole blocks. */
#define KV_BLOCK_TOK   16
#define ATTN_PIECE_TOK 64

#endif
