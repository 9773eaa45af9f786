// SPDX-License-Identifier: Apache-2.0
/* tokenizer_room.h - what tokenizer.c and tokenizer_read.c share; private to them. */
#ifndef COMMON_MODEL_TOKENIZER_ROOM_H
#define COMMON_MODEL_TOKENIZER_ROOM_H

#include "common/model/added.h"
#include "common/model/bpe.h"
#include "common/model/pretok.h"
#include "common/model/tokenizer.h"

/* What an id decodes to. */
struct tok_piece {
    const uint8_t *p; /* in bpe or in tokenizer.arena */
    uint32_t n;
    bool there, special;
};

struct tokenizer {
    struct bpe *bpe;
    struct pretok pretok;
    struct added added;
    struct tok_piece *piece; /* [n_id] */
    uint32_t n_id;
    uint8_t *arena; /* bytes of added tokens */
    int32_t eos, bos;
    struct hash128 hash;
};

#endif
