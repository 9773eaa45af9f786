// SPDX-License-Identifier: Apache-2.0
/* Blocks are lent once, all or nothing, zeroed, and free again when the last holder gives them back. */
#include "rollout/kvpool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const struct dims dims = {.n_layer = 2,
                                 .n_embd = 32,
                                 .n_head = 2,
                                 .n_head_kv = 1,
                                 .head_dim = 16,
                                 .n_ff = 32,
                                 .n_vocab = 32,
                                 .max_pos = 64};
static struct dev *dev;

static int set_up(void **state)
{
    (void)state;
    return (int)dev_open(&(struct dev_opts){.spec = "cpu", .n_thread = 1}, &dev, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    dev_close(dev);
    return 0;
}

static void blocks_are_lent_and_come_back(void **state)
{
    (void)state;
    struct kvpool *p;
    int32_t a[6], b[6], all[8];
    bool seen[8] = {0};
    assert_int_equal(kvpool_create(dev, &dims, 8, &p, NULL), ERR_OK);
    assert_int_equal(kvpool_take(p, 6, a), ERR_OK);
    assert_int_equal(kvpool_n_free(p), 2);
    assert_int_equal(kvpool_take(p, 3, b), ERR_BUSY); /* nothing of it is lent */
    assert_int_equal(kvpool_n_free(p), 2);
    assert_int_equal(kvpool_take(p, 0, b), ERR_OK);
    assert_int_equal(kvpool_take(p, 2, b), ERR_OK);
    for (int i = 0; i < 6; i++) all[i] = a[i];
    all[6] = b[0], all[7] = b[1];
    for (int i = 0; i < 8; i++) {
        assert_in_range(all[i], 0, 7);
        assert_false(seen[all[i]]);
        seen[all[i]] = true;
    }
    kvpool_share(p, a, 2);
    kvpool_give(p, a, 6);
    assert_int_equal(kvpool_n_free(p), 4); /* two have another holder */
    kvpool_give(p, a, 2);
    kvpool_give(p, b, 2);
    assert_int_equal(kvpool_n_free(p), 8);
    kvpool_destroy(p);
    kvpool_destroy(NULL);
}

/* Unwritten slots must read as zero whoever had the block before. */
static void a_block_lent_anew_is_zero(void **state)
{
    (void)state;
    struct kvpool *p;
    int32_t a[2];
    static const uint8_t zero[1 << 16];
    assert_int_equal(kvpool_create(dev, &dims, 2, &p, NULL), ERR_OK);
    const struct kv *kv = kvpool_kv(p);
    assert_in_range(kv->block_bytes, 1, sizeof zero);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(kvpool_take(p, 2, a), ERR_OK);
        for (int i = 0; i < 2; i++) {
            uint8_t *at =
                (uint8_t *)kv->mem + (uint64_t)a[i] * kv->block_bytes; /* a CPU: its memory is ordinary */
            assert_memory_equal(at, zero, kv->block_bytes);
            memset(at, 0xff, kv->block_bytes);
        }
        kvpool_give(p, a, 2);
    }
    kvpool_destroy(p);
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct kvpool *p = NULL;
    struct why why = {0};
    assert_int_equal(kvpool_create(dev, &dims, 0, &p, &why), ERR_INVAL);
    assert_int_equal(kvpool_create(dev, &dims, UINT32_MAX, &p, &why), ERR_INVAL);
    assert_null(p);
    assert_int_equal(kvpool_blocks(0), 0);
    assert_int_equal(kvpool_blocks(1), 1);
    assert_int_equal(kvpool_blocks(KV_BLOCK_TOK), 1);
    assert_int_equal(kvpool_blocks(KV_BLOCK_TOK + 1), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_lent_and_come_back),
        cmocka_unit_test(a_block_lent_anew_is_zero),
        cmocka_unit_test(sizes_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
