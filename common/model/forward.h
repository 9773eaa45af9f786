// SPDX-License-Identifier: Apache-2.0
/* forward.h - the one forward pass, run by both daemons: embed, layer(i), head.
 *
 * A model is a device's packed copy of one weight image (dims.h: flat bf16, canonical order). It is made whole or not at all;
 * a rollout keeps two and flips between steps. Rounding points: docs/numerics.md. Engine or trainer thread only, except
 * model_load, which a packer thread may call on a model that no step uses. */
#ifndef COMMON_MODEL_FORWARD_H
#define COMMON_MODEL_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/dev/batch.h"
#include "common/dev/dev.h"
#include "common/dev/ops.h"
#include "common/model/dims.h"

struct layer_weights {
    struct weight wqkv; /* [(H + 2 Hk) D, C] */
    struct weight wo;   /* [C, H D] */
    struct weight wgu;  /* [2F, C], gate above up */
    struct weight wdown; /* [C, F] */
    uint16_t *bqkv;     /* [(H + 2 Hk) D] or NULL */
    uint16_t *norm1, *norm2; /* [C] */
};

struct model {
    struct dev *dev; /* borrowed */
    struct dims dims;
    struct tensor_table table;
    struct layer_weights *layer; /* [L] */
    struct weight embed;         /* [V, C] */
    struct weight head;          /* [V, C]; the same memory as embed when tied */
    uint16_t *norm_f;            /* [C] */
    float *rope;                 /* [max_pos, D/2, 2] cos, sin */
    void *block;                 /* the one device block that all of the above live in */
    uint64_t block_bytes;
};

/* Allocate on dev for these dims; weights are zero until loaded. Borrows dev. The caller owns *ret_model. */
enum err model_create(struct dev *dev, const struct dims *dims, struct model **ret_model, struct why *why) MUST_CHECK;
void model_destroy(struct model *m); /* NULL is a no-op */

/* Pack an image [n_param] bf16 (host or device memory, borrowed for the call). */
enum err model_load(struct model *m, const uint16_t *image) MUST_CHECK;

/* Bytes model_create will allocate. */
uint64_t model_bytes(const struct dev *dev, const struct dims *dims);

/* What one layer computes on the way, device memory. The rollout uses one set for every layer; the learner gives each layer its
 * own and keeps it for the backward pass. Fields marked (save) may be NULL when nothing is saved. B rows. */
struct act {
    float *x_in;       /* [B, C] (save) the residual stream before the layer */
    uint16_t *norm1;   /* [B, C] input of wqkv */
    float *rstd1;      /* [B] (save) */
    uint16_t *qkv;     /* [B, (H + 2 Hk) D]; q and k rotated afterwards */
    uint16_t *attn;    /* [B, H D] input of wo */
    float *lse;        /* [B, H] (save) */
    float *x_mid;      /* [B, C] (save) after attention */
    uint16_t *norm2;   /* [B, C] input of wgu */
    float *rstd2;      /* [B] (save) */
    uint16_t *gu;      /* [B, 2F] */
    uint16_t *h;       /* [B, F] input of wdown */
};

/* Bytes of a set for B rows, and the set laid out in mem (that many bytes, device). save: with the (save) fields. */
uint64_t act_bytes(const struct dims *d, uint32_t n_row, bool save);
void act_place(const struct dims *d, uint32_t n_row, bool save, void *mem, struct act *ret_act);

/* x [B, C] fp32 = embedding of the batch's ids. */
enum err forward_embed(const struct model *m, struct stream *s, const struct batch *b, float *x) MUST_CHECK;

/* One layer in place on x; writes K and V of the batch's rows into kv and reads them back through the block table (kv is for
 * all L layers of this model). */
enum err forward_layer(const struct model *m, struct stream *s, const struct batch *b, const struct kv *kv, uint32_t layer,
                       float *x, const struct act *act) MUST_CHECK;

/* For the rows b->out[first .. first+n): norm [n, C] bf16 = final norm of x, logits [n, V] fp32 = norm head^T. rstd [n] (save).
 * Called in chunks so that logits never hold more rows than the caller has room for. */
enum err forward_head(const struct model *m, struct stream *s, const struct batch *b, const float *x, uint32_t first,
                      uint32_t n, uint16_t *norm, float *rstd, float *logits) MUST_CHECK;

#endif
