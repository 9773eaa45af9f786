// SPDX-License-Identifier: Apache-2.0
/* backward.h - the backward pass, mirror of common/model/forward.h: head, layer(i), embed. Trainer thread.
 *
 * Gradients of weights are added to one flat fp32 array in canonical order; the gradient of the residual stream dx [B, C] is
 * fp32 and updated in place as the layers are walked from the last to the first. */
#ifndef LEARNER_BACKWARD_H
#define LEARNER_BACKWARD_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/model/forward.h"
#include "learner/kern/ops.h"

/* The weights again, packed for dx = dy W. */
struct backward_weights {
    struct weight wqkv, wo, wgu, wdown;
};

/* Scratch for B rows and n head rows, device memory. */
struct backward_scratch {
    uint16_t *dy;      /* [B, C] the residual gradient, rounded: input of products */
    float *dh;         /* [B, F] */
    uint16_t *dgu;     /* [B, 2F] */
    float *dn;         /* [B, C] gradient of a norm's output */
    uint16_t *dattn;   /* [B, H D] */
    uint16_t *dqkv;    /* [B, (H + 2 Hk) D] */
    void *work;        /* of attention_bwd */
};

struct backward {
    const struct model *m;         /* borrowed: shapes, norms, the device */
    const struct learner_ops *ops;
    struct backward_weights *layer;/* [L] */
    struct weight head;
    struct backward_scratch s;
    uint32_t max_row;
    void *block, *scratch;
};

/* Allocate for micro-batches of up to max_row rows. Borrows m. */
enum err backward_init(struct backward *bw, const struct model *m, const struct learner_ops *ops, uint32_t max_row,
                       struct why *why) MUST_CHECK;
void backward_done(struct backward *bw); /* a zeroed struct is a no-op */

/* Pack an image (device or host memory), after every update. */
enum err backward_load(struct backward *bw, const uint16_t *image) MUST_CHECK;

/* For out rows [first, first + n): from dlogits bf16 [n, V], the norm output and rstd kept by forward_head, and x [B, C] the last
 * residual: adds to grad the head's and the final norm's gradients, and to dx the rows' gradients. */
enum err backward_head(struct backward *bw, struct stream *s, const struct batch *b, const float *x, uint32_t first, uint32_t n,
                       const uint16_t *norm, const float *rstd, const uint16_t *dlogits, float *dx, float *grad) MUST_CHECK;

/* One layer: act as kept by forward_layer with (save). */
enum err backward_layer(struct backward *bw, struct stream *s, const struct batch *b, uint32_t layer, const struct act *act,
                        float *dx, float *grad) MUST_CHECK;

enum err backward_embed(struct backward *bw, struct stream *s, const struct batch *b, const float *dx, float *grad) MUST_CHECK;

#endif
