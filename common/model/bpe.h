// SPDX-License-Identifier: Apache-2.0
/* bpe.h - vocabulary and merges of byte-level BPE (Sennrich et al. 2016; bytes as Radford et al. 2019).
 *
 * A file writes each byte as a printable character; here an entry whose characters all stand for bytes is
 * kept as those bytes, another one as its text. Built by one thread; after bpe_seal() any thread may look up
 * and encode. */
#ifndef COMMON_MODEL_BPE_H
#define COMMON_MODEL_BPE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/span.h"

#define BPE_ID_MAX (1 << 20) /* ids are below it */

struct bpe;
struct tok_buf;

/* Working memory of one thread, kept from piece to piece; start zeroed. bpe_work_done() frees it. */
struct bpe_work {
    struct bpe_symbol *symbol;
    uint64_t *heap;
    uint32_t cap, heap_n;
};

enum err bpe_create(struct bpe **ret_bpe) MUST_CHECK;
void bpe_destroy(struct bpe *b);

/* One entry of the vocabulary, as the file writes it. */
enum err bpe_add(struct bpe *b, struct span text, int64_t id, struct why *why) MUST_CHECK;

/* The next merge in order of rank; both sides and their join are in the vocabulary, or ERR_FORMAT. */
enum err bpe_merge(struct bpe *b, struct span left, struct span right, struct why *why) MUST_CHECK;

struct bpe_opts {
    bool ignore_merges; /* a piece that is an entry is that entry, whatever the merges would give */
    bool fuse_unk;      /* one unk for a run of bytes that have no entry */
    int32_t unk;        /* id for a byte that has no entry; -1: such bytes are left out */
};
enum err bpe_seal(struct bpe *b, const struct bpe_opts *o) MUST_CHECK;

uint32_t bpe_n_id(const struct bpe *b); /* largest id + 1 */
uint32_t bpe_n_entry(const struct bpe *b);
int32_t bpe_id(const struct bpe *b, struct span text); /* of an entry as the file writes it; -1: none */
/* What id decodes to; p is NULL when there is no such entry. Borrowed from b. */
struct span bpe_bytes(const struct bpe *b, uint32_t id);
struct hash128 bpe_hash(const struct bpe *b); /* over everything that decides ids */

/* Append the ids of one piece of text (any bytes). O(n log n). ERR_NOMEM. */
enum err bpe_encode(const struct bpe *b, struct bpe_work *w, struct span piece,
                    struct tok_buf *out) MUST_CHECK;
void bpe_work_done(struct bpe_work *w);

/* Text as a file writes it -> the bytes it stands for, into out (at least text.n bytes); false: a character
 * of it stands for no byte (out is then undefined). */
bool bpe_to_bytes(struct span text, uint8_t *out, size_t *ret_n);

/* Append to the lists of tokenizer.h. ERR_NOMEM. */
enum err tok_buf_add(struct tok_buf *b, int32_t id) MUST_CHECK;

#endif
