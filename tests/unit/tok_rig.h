// SPDX-License-Identifier: Apache-2.0
/* tok_rig.h - the quickstart's byte-level tokenizer, for tests that only need one. */
#ifndef TESTS_UNIT_TOK_RIG_H
#define TESTS_UNIT_TOK_RIG_H

#include <stdio.h>
#include <stdlib.h>

#include "common/base/file.h"
#include "common/model/arith.h"
#include "common/model/tokenizer.h"

/* A small shape with room for its ids. */
static inline struct dims rig_dims(void)
{
    struct dims d = arith_dims();
    d.n_layer = 1;
    d.n_embd = 32;
    d.n_head = 2;
    d.n_head_kv = 1;
    d.head_dim = 16;
    d.n_ff = 32;
    return d;
}

/* NULL: it could not be made. */
static inline struct tokenizer *rig_tokenizer(void)
{
    char root[] = "/tmp/tok_rig.XXXXXX", dir[64];
    struct tokenizer *t = NULL;
    const struct dims d = rig_dims();
    if (!mkdtemp(root)) return NULL;
    snprintf(dir, sizeof dir, "%s/model", root);
    if (arith_make_model(dir, &(struct arith_opts){.dims = &d}, NULL) || tokenizer_open(dir, &t, NULL))
        t = NULL;
    return file_remove_tree(root, NULL) ? NULL : t;
}

#endif
