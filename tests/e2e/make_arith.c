// SPDX-License-Identifier: Apache-2.0
/* make_arith MODEL DATA - the quickstart's model in small, and its data, for tests that are scripts. */
#include <stdio.h>

#include "common/model/arith.h"

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: make_arith MODEL DATA\n");
        return 2;
    }
    struct dims d = arith_dims();
    d.n_layer = 2;
    d.n_embd = 32;
    d.n_head = 2;
    d.n_head_kv = 1;
    d.head_dim = 16;
    d.n_ff = 64;
    d.max_pos = 512;
    struct why why = {0};
    const enum err e = arith_make(argv[1], argv[2], &(struct arith_opts){.seed = 1, .dims = &d}, &why);
    if (e) fprintf(stderr, "make_arith: %s\n", why_str(&why, e));
    return e ? 1 : 0;
}
