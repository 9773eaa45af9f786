// SPDX-License-Identifier: Apache-2.0
/* kern.h - private to tests/kern: one case of one op, its arrays on the host and on a device.
 *
 * A case is made once from a row of the table (test_ops.c): inputs from a generator keyed by the row, expected outputs by tests/ref. It is
 * then placed on one device after another and run there: whole, again, row by row, in uneven parts. One thread. */
#ifndef TESTS_KERN_KERN_H
#define TESTS_KERN_KERN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/dev/dev.h"
#include "common/dev/ops.h"
#include "learner/kern/ops.h"
#include "rollout/kern/ops.h"

enum type { T_BF16, T_F32, T_F64, T_I32, T_U8 };

/* Bits of row.flags: what the op's make() does beyond the plain thing. */
enum {
    K_F32 = 1,     /* product: out fp32, written */
    K_ADD = 2,     /* product: out fp32, added to */
    K_BIAS = 4,    /* product: with bias */
    K_MAP = 8,     /* norm: rows through a map; embedding: ids outside the table */
    K_TEMP = 16,   /* logprob, loss: a temperature; AdamW: a clip factor */
    K_MASK = 32,   /* logprob: some logits are -inf; loss: SFT instead of GRPO; AdamW: decay */
    K_KL = 64,     /* loss: beta > 0 */
    K_BIG = 128,   /* left out of the small table */
};

/* One line of the table. What m, n, k mean is said at the op's make(). lens: lengths of the sequences, ended by 0. */
struct row {
    const char *op;
    uint32_t m, n, k;
    unsigned flags;
    uint32_t h, hk, d;
    const uint32_t *lens;
};

struct arr {
    const char *name;
    enum type type;
    uint32_t rows, cols;
    bool out;     /* compared bit by bit between runs */
    bool fresh;   /* out, and what stood there before must not matter: filled with rubbish first */
    void *host;   /* contents before a run; owned */
    void *dev;    /* on the present device, with guard bytes behind; owned */
    double *want; /* expected contents, NaN where NaN must be; NULL: not compared with ref; owned by the case */
    double rel, abs; /* |got - want| <= rel |want| + abs max |want of this row|; of the whole array when a row is one number */
};

#define CASE_MAX_ARR 20

struct kase {
    const struct row *row;
    const struct op *op;
    uint64_t seed, n_drawn;
    struct arr arr[CASE_MAX_ARR];
    uint32_t n_arr;
    void *hold[64];
    uint32_t n_hold;
    uint32_t n_row; /* what run() may be split by */
    double flop;    /* of one whole run, for --time; 0: bytes touched instead */

    /* host facts of an op, set by make() */
    struct attn a;
    uint32_t n_seq, table_cols;
    int32_t *first; /* [n_seq + 1] */
    uint32_t n_block;
    struct loss_opts loss;
    struct adamw adamw;

    /* on the present device, set by place() and the op's prepare() */
    struct dev *dev;
    const struct learner_ops *learn;
    const struct rollout_ops *roll;
    void *mem[8];
    uint32_t n_mem;
    struct weight w;
    struct kv kv;
    int32_t *sub_first; /* first[] of the rows of one run */
};

struct op {
    const char *name; /* of the slot */
    bool summed;      /* outputs are sums over rows: not run row by row */
    void (*make)(struct kase *c);
    enum err (*prepare)(struct kase *c); /* before each set of runs: packing, zeroed caches. NULL: nothing */
    enum err (*run)(struct kase *c, uint32_t row0, uint32_t n);
    /* Instead of all of the above: an op that moves bits, checked by what it promises. Says what is wrong, or returns NULL. */
    const char *(*check)(struct kase *c);
};

const struct op *op_find(const char *name); /* NULL: no such op */

/* Numbers: u64, uniform in (0, 1), about normal. */
uint64_t draw_u64(struct kase *c);
double draw_unit(struct kase *c);
double draw_normal(struct kase *c);

/* Zeroed host memory that the case owns. */
void *hold(struct kase *c, uint64_t bytes);

/* Add an array. Index of it; contents are zero. */
uint32_t arr_add(struct kase *c, const char *name, enum type type, uint32_t rows, uint32_t cols);
/* The same, filled with scale * normal. */
uint32_t arr_fill(struct kase *c, const char *name, enum type type, uint32_t rows, uint32_t cols, double scale);
/* Declare an array an output with these bounds; returns want [rows * cols], zeroed, to be filled in. fresh: see above. */
double *arr_want(struct kase *c, uint32_t i, bool fresh, double rel, double abs);
double *arr_doubles(struct kase *c, uint32_t i); /* its host contents, held by the case */
void *arr_at(const struct kase *c, uint32_t i, uint64_t row); /* device address of a row; with no device yet, host */
double arr_get(const struct arr *a, const void *mem, uint64_t i);
void arr_set(const struct arr *a, uint64_t i, double x); /* in host, rounded to the type */

/* Zeroed device memory until the case leaves the device; NULL: out of memory. */
void *dev_mem(struct kase *c, uint64_t bytes);

void case_make(struct kase *c, const struct row *row, uint64_t seed);
void case_done(struct kase *c);

/* Rows of sequences of row.lens: n_seq, first, n_block, and arrays B_ID .. B_FIRST, the first ones of the case. Blocks are dealt out in
 * no order. case_batch: the batch of rows row0 .. row0+n-1 on the device. case_kv: an empty cache for it, and sub_first. */
enum { B_ID, B_POS, B_SEQ, B_SLOT, B_TABLE, B_FIRST, B_END };
uint32_t case_seqs(struct kase *c); /* rows in all */
enum err case_kv(struct kase *c);
enum err case_batch(struct kase *c, uint32_t row0, uint32_t n, struct batch *ret_b);
/* cos and sin of positions 0 .. n_pos-1 as an fp32 array [n_pos, D] */
uint32_t arr_rope(struct kase *c, uint32_t n_pos, uint32_t dim);

/* Run the case on d1 (one thread) and d2 (two): against ref, again, split, on two threads. Says each disagreement on stdout.
 * ret_worst: the largest error as a share of its bound. */
bool case_check(struct kase *c, struct dev *d1, struct dev *d2, double *ret_worst);
/* Seconds of one whole run on d, best of several. */
double case_time(struct kase *c, struct dev *d);

/* finite.c, draw.c, odd.c: what is not a row of the table. Each says what is wrong on stdout. */
bool finite_differences(void);
bool draw_checks(struct dev *d, const struct rollout_ops *ops);
bool odd_checks(struct dev *d, const struct learner_ops *learn, const struct rollout_ops *roll);

extern const struct op fwd_ops[], bwd_ops[], bit_ops[]; /* ended by a NULL name */

#endif
