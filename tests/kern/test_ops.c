// SPDX-License-Identifier: Apache-2.0
/* Every op on every back end that opens, against tests/ref: one table, a row for an op and a shape.
 *
 * usage: test_ops [small] [--time] [--worst] [OP]
 *     small    leave out the large shapes (for sanitizers)
 *     --time   GFLOP/s or GB/s of each row on one thread, instead of checking
 *     --worst  the largest error of each row as a share of its bound
 *     OP       only rows of this op
 *
 * A new op is one row here, one entry in ops_*.c and its plain truth in tests/ref. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "tests/kern/kern.h"

#define LENS(...) ((const uint32_t[]){__VA_ARGS__, 0})

static const struct row table[] = {
    /* op, m, n, k, flags, H, Hk, D, lengths */
    {"matmul", 1, 32, 32, 0},
    {"matmul", 1, 272, 128, K_F32},
    {"matmul", 13, 272, 128, K_F32},
    {"matmul", 7, 48, 96, K_BIAS},
    {"matmul", 3, 17, 34, K_BIAS},
    {"matmul", 12, 33, 64, K_ADD},
    {"matmul", 2, 1, 2, K_F32},
    {"matmul", 5, 31, 160, K_ADD | K_BIAS},
    {"matmul", 31, 768, 128, 0},
    {"matmul", 197, 96, 256, K_ADD | K_BIG},
    {"matmul", 64, 300, 1024, K_F32 | K_BIAS | K_BIG},
    {"matmul", 1, 1536, 4096, K_BIG},

    {"embed", 1, 16, 32, 0},
    {"embed", 9, 261, 128, K_MAP},

    {"rmsnorm", 1, 32, 0, 0},
    {"rmsnorm", 33, 128, 0, 0},
    {"rmsnorm", 6, 96, 0, K_MAP},
    {"rmsnorm", 70, 1024, 0, K_BIG},

    {"rope_kv", 0, 0, 0, 0, 2, 1, 16, LENS(1)},
    {"rope_kv", 0, 0, 0, 0, 4, 2, 32, LENS(17, 1, 33)},
    {"rope_kv", 0, 0, 0, K_BIG, 14, 2, 64, LENS(80, 3)},

    {"attention", 0, 0, 0, 0, 1, 1, 16, LENS(1)},
    {"attention", 0, 0, 0, 0, 4, 2, 32, LENS(15, 16, 17)},
    {"attention", 0, 0, 0, 0, 4, 4, 16, LENS(63, 1, 2)},
    {"attention", 0, 0, 0, 0, 6, 1, 32, LENS(64, 65)},
    {"attention", 0, 0, 0, 0, 14, 2, 16, LENS(33, 5)},
    {"attention", 0, 0, 0, 0, 9, 3, 48, LENS(20, 31)},
    {"attention", 0, 0, 0, 0, 8, 1, 80, LENS(12)},
    {"attention", 0, 0, 0, K_BIG, 10, 2, 64, LENS(127, 128, 129)},
    {"attention", 0, 0, 0, K_BIG, 12, 2, 128, LENS(200, 7)},
    {"attention", 0, 0, 0, K_BIG, 2, 1, 256, LENS(100)},
    {"attention", 0, 0, 0, K_BIG, 4, 1, 96, LENS(193)},

    {"swiglu", 1, 32, 0, 0},
    {"swiglu", 11, 384, 0, 0},
    {"swiglu", 65, 1504, 0, K_BIG},

    {"logprob", 1, 16, 0, 0},
    {"logprob", 9, 272, 0, K_TEMP},
    {"logprob", 5, 261, 0, 0},
    {"logprob", 8, 33, 0, K_MASK},
    {"logprob", 40, 5009, 0, K_TEMP | K_MASK | K_BIG},

    {"sample", 1, 16, 16, 0},
    {"sample", 64, 272, 261, 0},
    {"sample", 33, 49, 37, K_MASK},
    {"sample", 60, 3000, 2999, K_BIG},

    {"pack_bytes", 0, 33, 64, 0},
    {"pack", 0, 1, 2, 0},
    {"pack", 0, 261, 96, 0},
    {"pack_dx_bytes", 0, 32, 64, 0},
    {"pack_dx", 0, 2, 1, 0},
    {"pack_dx", 0, 96, 145, 0},
    {"kv_block_bytes", 0, 0, 0, 0, 6, 3, 48},
    {"kv_copy", 0, 0, 0, 0, 1, 1, 16},
    {"kv_copy", 0, 0, 0, 0, 4, 2, 64},
    {"kv_zero", 0, 0, 0, 0, 3, 3, 32},

    {"loss_head", 1, 32, 0, K_MASK},
    {"loss_head", 13, 272, 0, 0},
    {"loss_head", 24, 80, 0, K_KL | K_TEMP},
    {"loss_head", 30, 261, 0, K_KL},
    {"loss_head", 7, 37, 0, K_MASK | K_TEMP},
    {"loss_head", 60, 2000, 0, K_KL | K_TEMP | K_BIG},

    {"matmul_dx", 1, 32, 32, K_F32},
    {"matmul_dx", 9, 272, 96, K_F32},
    {"matmul_dx", 13, 66, 33, K_ADD},
    {"matmul_dx", 150, 384, 128, K_BIG},

    {"matmul_dw", 1, 32, 32, 0},
    {"matmul_dw", 7, 48, 96, 0},
    {"matmul_dw", 33, 17, 35, 0},
    {"matmul_dw", 201, 272, 128, K_BIG},

    {"bias_bwd", 1, 16, 0, 0},
    {"bias_bwd", 35, 112, 0, 0},
    {"bias_bwd", 300, 1152, 0, K_BIG},

    {"rmsnorm_bwd", 1, 32, 0, 0},
    {"rmsnorm_bwd", 19, 128, 0, 0},
    {"rmsnorm_bwd", 6, 96, 0, K_MAP},
    {"rmsnorm_bwd", 120, 1024, 0, K_BIG},

    {"attention_bwd_bytes", 0, 0, 0, 0, 4, 2, 32},
    {"attention_bwd", 0, 0, 0, 0, 1, 1, 16, LENS(1)},
    {"attention_bwd", 0, 0, 0, 0, 4, 2, 32, LENS(15, 16, 17)},
    {"attention_bwd", 0, 0, 0, 0, 6, 1, 48, LENS(33)},
    {"attention_bwd", 0, 0, 0, 0, 14, 2, 16, LENS(1, 20, 2)},
    {"attention_bwd", 0, 0, 0, K_BIG, 8, 1, 64, LENS(65, 128)},
    {"attention_bwd", 0, 0, 0, K_BIG, 3, 3, 128, LENS(70)},

    {"swiglu_bwd", 1, 32, 0, 0},
    {"swiglu_bwd", 11, 384, 0, 0},
    {"swiglu_bwd", 65, 1504, 0, K_BIG},

    {"embed_bwd", 1, 16, 32, 0},
    {"embed_bwd", 40, 21, 96, K_MAP},
    {"embed_bwd", 300, 261, 512, K_BIG},

    {"to_bf16", 1, 0, 0, 0},
    {"to_bf16", 4099, 0, 0, 0},
    {"sum_sq", 1, 0, 0, 0},
    {"sum_sq", 8195, 0, 0, 0},
    {"sum_sq", 200001, 0, 0, K_BIG},
    {"adamw", 1, 0, 0, 0},
    {"adamw", 37, 0, 0, K_MASK},
    {"adamw", 4099, 0, 0, K_TEMP},
    {"adamw", 9000, 0, 0, K_MASK | K_TEMP},
};

/* The slots, by name, in the order of the structs: a slot that is added without a name here does not compile. */
#define DEV_SLOTS(X)                                                                                                                            \
    X(pack_bytes) X(pack) X(matmul) X(embed) X(rmsnorm) X(rope_kv) X(attention) X(swiglu) X(logprob) X(kv_block_bytes) X(kv_copy) X(kv_zero)
#define ROLLOUT_SLOTS(X) X(sample)
#define LEARNER_SLOTS(X)                                                                                                                        \
    X(loss_head) X(pack_dx_bytes) X(pack_dx) X(matmul_dx) X(matmul_dw) X(bias_bwd) X(rmsnorm_bwd) X(attention_bwd_bytes) X(attention_bwd)       \
    X(swiglu_bwd) X(embed_bwd) X(to_bf16) X(sum_sq) X(adamw)

struct slot {
    const char *name;
    size_t at;
};
#define SLOT_DEV(x)     {#x, offsetof(struct ops, x)},
#define SLOT_ROLLOUT(x) {#x, offsetof(struct rollout_ops, x)},
#define SLOT_LEARNER(x) {#x, offsetof(struct learner_ops, x)},
static const struct slot dev_slots[] = {DEV_SLOTS(SLOT_DEV)}, rollout_slots[] = {ROLLOUT_SLOTS(SLOT_ROLLOUT)},
                         learner_slots[] = {LEARNER_SLOTS(SLOT_LEARNER)};
#define N(x) (sizeof(x) / sizeof *(x))
_Static_assert(N(dev_slots) * sizeof(void (*)(void)) == sizeof(struct ops), "name the new slot in DEV_SLOTS");
_Static_assert(N(rollout_slots) * sizeof(void (*)(void)) == sizeof(struct rollout_ops), "name the new slot in ROLLOUT_SLOTS");
_Static_assert(N(learner_slots) * sizeof(void (*)(void)) == sizeof(struct learner_ops), "name the new slot in LEARNER_SLOTS");

const struct op *op_find(const char *name)
{
    const struct op *const lists[] = {fwd_ops, bwd_ops, bit_ops};
    for (unsigned i = 0; i < N(lists); i++)
        for (const struct op *o = lists[i]; o->name; o++)
            if (!strcmp(o->name, name)) return o;
    return NULL;
}

/* Is every slot of this table filled, and is there a row for it? */
static bool walk(const char *what, const void *ops, const struct slot *slot, size_t n)
{
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        void (*fn)(void);
        uint32_t n_row = 0;
        memcpy(&fn, (const char *)ops + slot[i].at, sizeof fn);
        for (size_t r = 0; r < N(table); r++) n_row += !strcmp(table[r].op, slot[i].name);
        if (!fn) ok = false, printf("FAILED %s: slot %s is empty\n", what, slot[i].name);
        if (!n_row || !op_find(slot[i].name)) ok = false, printf("FAILED op %s has no row in the table\n", slot[i].name);
    }
    return ok;
}

struct args {
    bool small, time, worst;
    const char *op;
};

/* One row on one back end. The seed is the row's place, so a row has the same numbers wherever it runs. */
static bool run_row(size_t r, struct dev *d1, struct dev *d2, const struct args *a)
{
    struct kase c;
    double worst = 0;
    bool ok = true;
    case_make(&c, &table[r], 1000 + r);
    if (!a->time) {
        ok = case_check(&c, d1, d2, &worst);
        if (a->worst && !c.op->check) printf("%-12s %-16s m %4u n %4u k %4u: %.3f of the bound\n", d1->isa ? d1->isa : d1->name, table[r].op, table[r].m, table[r].n, table[r].k, worst);
    } else if (!c.op->check) {
        const double s = case_time(&c, d1);
        double bytes = 0;
        for (uint32_t i = 0; i < c.n_arr; i++) bytes += (double)c.arr[i].rows * c.arr[i].cols * 4;
        printf("%-16s %-14s m %4u n %4u k %4u heads %2u/%u dim %3u %10.1f us %8.2f %s\n", d1->name, table[r].op, table[r].m, table[r].n, table[r].k,
               table[r].h, table[r].hk, table[r].d, s * 1e6, (c.flop > 0 ? c.flop : bytes) / s * 1e-9, c.flop > 0 ? "GFLOP/s" : "GB/s");
    }
    case_done(&c);
    return ok;
}

static uint32_t run_table(struct dev *d1, struct dev *d2, const struct args *a, uint32_t *n_failed)
{
    uint32_t n = 0;
    for (size_t r = 0; r < N(table); r++) {
        if ((a->small && table[r].flags & K_BIG) || (a->op && strcmp(a->op, table[r].op))) continue;
        n++;
        *n_failed += !run_row(r, d1, d2, a);
    }
    return n;
}

/* The back end's tables, its rows, and what is not a row. */
static uint32_t run_device(const char *spec, const struct args *a)
{
    struct dev *d1 = NULL, *d2 = NULL;
    struct why why = {0};
    uint32_t failed = 0;
    enum err e = dev_open(&(struct dev_opts){.spec = spec, .n_thread = 1}, &d1, &why);
    if (e == ERR_UNSUPPORTED) return printf("%s: skipped, %s\n", spec, why_str(&why, e)), 0;
    if (!e) e = dev_open(&(struct dev_opts){.spec = spec, .n_thread = 2}, &d2, &why);
    const struct learner_ops *learn = NULL;
    const struct rollout_ops *roll = NULL;
    if (!e) e = learner_ops_of(d1, &learn, &why);
    if (!e) e = rollout_ops_of(d1, &roll, &why);
    if (e) failed++, printf("FAILED %s: %s\n", spec, why_str(&why, e));
    if (!e) {
        failed += !walk("ops", d1->ops, dev_slots, N(dev_slots));
        failed += !walk("rollout_ops", roll, rollout_slots, N(rollout_slots));
        failed += !walk("learner_ops", learn, learner_slots, N(learner_slots));
    }
    if (!failed) {
        const uint32_t n = run_table(d1, d2, a, &failed);
        if (!a->time && !a->op) failed += !draw_checks(d1, roll) + !odd_checks(d1, learn, roll);
        printf("%s: %u rows, %u failed\n", d1->name, n, failed);
    }
    dev_close(d1);
    dev_close(d2);
    return failed;
}

int main(int argc, char **argv)
{
    static const char *const spec[] = {"cpu:avx2", "cpu:avx512", "cpu:avx512bf16"};
    struct args a = {0};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "small")) a.small = true;
        else if (!strcmp(argv[i], "--time")) a.time = true;
        else if (!strcmp(argv[i], "--worst")) a.worst = true;
        else a.op = argv[i];
    }
    if (a.op && !op_find(a.op)) return printf("no op is called %s\n", a.op), 2;
    uint32_t failed = a.time ? 0 : !finite_differences();
    for (unsigned i = 0; i < N(spec); i++) failed += run_device(spec[i], &a);
    return failed ? 1 : 0;
}
