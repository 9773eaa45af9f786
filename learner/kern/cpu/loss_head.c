// SPDX-License-Identifier: Apache-2.0
/* loss_head.c - one pass over each row of logits: logprob, ratio, clip, KL, and the gradient of the logits. */
#include "common/base/bf16.h"
#include "common/dev/par.h"
#include "common/dev/softmax.h"
#include "learner/kern/cpu/isa.h"

struct head {
    const float *logits;
    uint32_t v;
    const struct loss_opts *o;
    const struct loss_rows *r;
    uint16_t *dlogits;
};

/* A token's unweighted loss, and its derivative by the logprob. */
struct token_loss {
    float loss, d_lp, kl, clipped;
};

static struct token_loss grpo(const struct loss_opts *o, float lp, float old_lp, float ref_lp, float adv)
{
    struct token_loss t = {0};
    const float ratio = f_exp(lp - old_lp);
    const float low = 1 - o->eps_low, high = 1 + o->eps_high;
    const float cut = ratio < low ? low : ratio > high ? high : ratio;
    const float free_term = ratio * adv, cut_term = cut * adv;
    /* The minimum is flat where it is the clipped term that was cut. */
    const bool flat = cut != ratio && cut_term < free_term;
    t.loss = flat ? -cut_term : -free_term;
    t.d_lp = flat ? 0 : -free_term;
    t.clipped = flat;
    if (o->beta != 0) {
        const float gap = ref_lp - lp, e = f_exp(gap);
        t.kl = e - gap - 1;
        t.loss += o->beta * t.kl;
        t.d_lp += o->beta * (1 - e);
    }
    return t;
}

static void clear_row(const struct head *h, uint32_t r)
{
    const struct loss_rows *out = h->r;
    out->lp[r] = out->entropy[r] = out->loss[r] = out->kl[r] = out->clipped[r] = 0;
    memset(h->dlogits + (uint64_t)r * h->v, 0, h->v * sizeof *h->dlogits);
}

/* dlogits = coef * inv_temp * (onehot - softmax), coef = w d loss / d lp */
static void put_grad(const struct head *h, uint32_t r, const struct softmax *s, float coef)
{
    const float *z = h->logits + (uint64_t)r * h->v;
    uint16_t *g = h->dlogits + (uint64_t)r * h->v;
    const float c = coef * h->o->inv_temp;
    const vf norm = vf_set1(s->m + s->log_sum), minus = vf_set1(-c);
    for (uint32_t i = 0; i < h->v; i += 16) {
        const vf x = vf_mul(minus, vf_exp(vf_sub(softmax_z(z, i, h->v, s->inv_temp), norm)));
        if (h->v - i >= 16) {
            vf_to_bf16(g + i, x);
        } else { /* the row ends here, and the next one is somebody else's */
            uint16_t y[16];
            vf_to_bf16(y, x);
            memcpy(g + i, y, (h->v - i) * sizeof *y);
        }
    }
    const uint32_t t = (uint32_t)h->r->target[r];
    float one[16];
    vf_store(one, vf_exp(vf_sub(vf_set1(z[t] * s->inv_temp), norm)));
    g[t] = bf16_from_f32(c * (1 - one[0]));
}

static void run_rows(void *v, uint32_t begin, uint32_t end)
{
    const struct head *h = v;
    const struct loss_rows *io = h->r;
    for (uint32_t r = begin; r < end; r++) {
        if (io->target[r] < 0) {
            clear_row(h, r);
            continue;
        }
        const float *z = h->logits + (uint64_t)r * h->v;
        const struct softmax s = softmax_of(z, h->v, h->o->inv_temp);
        const float lp = softmax_logprob(&s, z[io->target[r]]), w = io->weight[r];
        struct token_loss t = {.loss = -lp, .d_lp = -1};
        if (h->o->kind == LOSS_GRPO) t = grpo(h->o, lp, io->old_lp[r], h->o->beta != 0 ? io->ref_lp[r] : 0, io->adv[r]);
        io->lp[r] = lp;
        io->entropy[r] = softmax_entropy(&s, z, h->v);
        io->loss[r] = w * t.loss;
        io->kl[r] = t.kl;
        io->clipped[r] = t.clipped;
        put_grad(h, r, &s, w * t.d_lp);
    }
}

enum err CPU_FN(loss_head)(struct dev *d, struct stream *s, float *logits, uint32_t m, uint32_t v, const struct loss_opts *o,
                           const struct loss_rows *r, uint16_t *dlogits)
{
    (void)s;
    struct head h = {logits, v, o, r, dlogits};
    par_for(d, m, (uint64_t)m * v * 8, run_rows, &h);
    return ERR_OK;
}
