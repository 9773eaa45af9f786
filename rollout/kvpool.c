// SPDX-License-Identifier: Apache-2.0
#include "rollout/kvpool.h"

#include <assert.h>
#include <stdlib.h>

#include "common/dev/ops.h"

struct kvpool {
    struct dev *dev;
    struct kv kv;
    uint32_t n_free;
    int32_t *free_block; /* stack: the last given is the next lent */
    uint32_t *n_holder;  /* [P] */
};

enum err kvpool_create(struct dev *dev, const struct dims *d, uint32_t n_block, struct kvpool **ret_pool, struct why *why)
{
    if (!n_block || n_block > INT32_MAX / KV_BLOCK_TOK) return why_set(why, ERR_INVAL, "%u blocks of cache", n_block);
    struct kvpool *p = calloc(1, sizeof *p);
    if (!p) return ERR_NOMEM;
    p->dev = dev;
    p->kv.n_block = n_block;
    p->kv.block_tok = KV_BLOCK_TOK;
    p->kv.block_bytes = dev->ops->kv_block_bytes(d->n_layer, d->n_head_kv, d->head_dim);
    p->free_block = calloc(n_block, sizeof *p->free_block);
    p->n_holder = calloc(n_block, sizeof *p->n_holder);
    enum err e = p->free_block && p->n_holder ? dev->mem->alloc(dev, p->kv.block_bytes * n_block, &p->kv.mem) : ERR_NOMEM;
    if (e) {
        why_set(why, e, "key/value cache of %u blocks (%llu MiB): %s", n_block,
                (unsigned long long)(p->kv.block_bytes * n_block >> 20), err_str(e));
        kvpool_destroy(p);
        return e;
    }
    for (uint32_t i = 0; i < n_block; i++) p->free_block[i] = (int32_t)(n_block - 1 - i);
    p->n_free = n_block;
    *ret_pool = p;
    return ERR_OK;
}

void kvpool_destroy(struct kvpool *p)
{
    if (!p) return;
    if (p->kv.mem) {
        assert(p->n_free == p->kv.n_block);
        p->dev->mem->free(p->dev, p->kv.mem);
    }
    free(p->free_block);
    free(p->n_holder);
    free(p);
}

const struct kv *kvpool_kv(const struct kvpool *p)
{
    return &p->kv;
}

uint32_t kvpool_n_free(const struct kvpool *p)
{
    return p->n_free;
}

uint32_t kvpool_n_block(const struct kvpool *p)
{
    return p->kv.n_block;
}

enum err kvpool_take(struct kvpool *p, uint32_t n, int32_t *ret_block)
{
    if (n > p->n_free) return ERR_BUSY;
    for (uint32_t i = 0; i < n; i++) {
        ret_block[i] = p->free_block[--p->n_free];
        p->n_holder[ret_block[i]] = 1;
    }
    const enum err e = p->dev->ops->kv_zero(p->dev, NULL, &p->kv, ret_block, n);
    if (e) kvpool_give(p, ret_block, n);
    return e;
}

void kvpool_share(struct kvpool *p, const int32_t *block, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        assert(p->n_holder[block[i]] > 0);
        p->n_holder[block[i]]++;
    }
}

void kvpool_give(struct kvpool *p, const int32_t *block, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        assert(p->n_holder[block[i]] > 0);
        if (--p->n_holder[block[i]] == 0) p->free_block[p->n_free++] = block[i];
    }
}
