// SPDX-License-Identifier: Apache-2.0
/* However a step is cut into micro-batches: each sample is in one of them, whole, in order; each row has its
 * own slot; each completion token is predicted by the row before it. */
#include "learner/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/version.h"

enum { N = 6, MAX = 80 };

static const uint32_t n_prompt[N] = {1, 17, 3, 40, 16, 2}, n_tok[N] = {1, 5, 30, 8, 17, 16};
static struct sample s[N];
static int32_t prompt[N][MAX], tok[N][MAX];
static float old_lp[N][MAX], ref_lp[N][MAX];
static uint8_t kind[N][MAX];
static struct dev *dev; /* a CPU: its memory is ordinary */

static int set_up(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t t = 0; t < MAX; t++) {
            prompt[i][t] = (int32_t)(1000 * i + t);
            tok[i][t] = (int32_t)(1000 * i + 500 + t);
            old_lp[i][t] = -(float)(100 * i + t);
            ref_lp[i][t] = -(float)(100 * i + t) / 2;
            kind[i][t] = t % 3 == 1 ? TOKEN_KV_MIXED : TOKEN_SAMPLED | (t % 3 == 2 ? TOKEN_KV_MIXED : 0);
        }
        s[i] = (struct sample){prompt[i],
                               n_prompt[i],
                               tok[i],
                               n_tok[i],
                               i % 2 ? old_lp[i] : NULL,
                               i % 2 ? ref_lp[i] : NULL,
                               i < 4 ? kind[i] : NULL,
                               (double)i - 2.5,
                               1.0 / (i + 1)};
    }
    return (int)dev_open(&(struct dev_opts){.spec = "cpu", .n_thread = 1}, &dev, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    dev_close(dev);
    return 0;
}

static struct batcher *make(uint32_t max_row, uint32_t max_seq)
{
    struct batcher *b = NULL;
    struct why why = {0};
    if (batcher_create(dev, &(struct batcher_opts){max_row, max_seq}, &b, &why)) fail_msg("%s", why.text);
    return b;
}

static void check_inputs(const struct micro *m, uint32_t max_block, bool *used)
{
    const struct batch *b = &m->b;
    uint32_t row = 0, out = 0;
    for (uint32_t q = 0; q < m->n_seq; q++) {
        const struct sample *x = &s[m->first_sample + q];
        const uint32_t n = x->n_prompt + x->n_tok - 1;
        assert_int_equal(b->first[q], row);
        for (uint32_t i = 0; i < n; i++, row++) {
            const int32_t slot = b->slot[row], block = b->table[q * b->table_cols + i / KV_BLOCK_TOK];
            assert_int_equal(b->id[row], i < x->n_prompt ? x->prompt[i] : x->tok[i - x->n_prompt]);
            assert_int_equal(b->pos[row], i);
            assert_int_equal(b->seq[row], q);
            assert_in_range(block, 0, max_block - 1);
            assert_int_equal(slot, block * KV_BLOCK_TOK + (int32_t)(i % KV_BLOCK_TOK));
            assert_false(used[slot]);
            used[slot] = true;
        }
        for (uint32_t j = 0; j < x->n_tok; j++, out++) {
            const bool trained = !x->kind || (x->kind[j] & TOKEN_SAMPLED);
            assert_int_equal(b->out[out], b->first[q] + (int32_t)(x->n_prompt - 1 + j));
            assert_int_equal(m->rows.target[out], trained ? x->tok[j] : -1);
            assert_true(m->rows.old_lp[out] == (x->old_lp ? x->old_lp[j] : 0) &&
                        m->rows.ref_lp[out] == (x->ref_lp ? x->ref_lp[j] : 0));
            assert_true(m->rows.adv[out] == (float)x->adv && m->rows.weight[out] == (float)x->weight);
        }
    }
    assert_int_equal(b->first[m->n_seq], row);
    assert_true(m->n_row == row && b->n_row == row && m->n_out == out && b->n_out == out &&
                b->n_seq == m->n_seq && m->n_seq == m->n_sample);
}

static void check_outputs(struct batcher *b, const struct micro *m)
{
    struct micro_out o;
    for (uint32_t i = 0; i < m->n_out; i++) m->rows.lp[i] = (float)i, m->rows.kl[i] = 2 * (float)i;
    assert_int_equal(batcher_read(b, m, &o), ERR_OK);
    assert_int_equal(o.n, m->n_out);
    for (uint32_t i = 0, q = m->first_sample, j = 0; i < o.n; i++) {
        assert_true(o.sample[i] == q && o.tok[i] == j && o.lp[i] == (float)i && o.kl[i] == 2 * (float)i);
        if (++j == s[q].n_tok) q++, j = 0;
    }
}

static void every_cut_holds_each_sample_once_and_whole(void **state)
{
    (void)state;
    static const uint32_t rows[] = {47, 48, 60, 79, 100, 1000}, seqs[] = {1, 2, 5, 100};
    for (unsigned r = 0; r < sizeof rows / sizeof *rows; r++)
        for (unsigned q = 0; q < sizeof seqs / sizeof *seqs; q++) {
            struct batcher *b = make(rows[r], seqs[q]);
            const uint32_t max_block = batcher_max_block(b);
            uint32_t at = 0;
            while (at < N) {
                struct micro m;
                struct why why = {0};
                bool *used = calloc(max_block * KV_BLOCK_TOK, sizeof *used);
                if (batcher_fill(b, s, at, N, &m, &why)) fail_msg("%s", why.text);
                assert_true(m.first_sample == at && m.n_sample > 0 && m.n_row <= rows[r] &&
                            m.n_seq <= seqs[q] && m.n_block <= max_block);
                check_inputs(&m, max_block, used);
                check_outputs(b, &m);
                /* and it is full: the next sample would not fit */
                const uint32_t next = at + m.n_sample;
                if (next < N)
                    assert_true(m.n_seq == seqs[q] || m.n_row + n_prompt[next] + n_tok[next] - 1 > rows[r]);
                at = next;
                free(used);
            }
            assert_int_equal(at, N);
            batcher_destroy(b);
        }
}

static void what_cannot_be_is_refused_with_words(void **state)
{
    (void)state;
    struct batcher *b = make(46, 4), *none = NULL; /* the fourth sample has 47 rows */
    struct micro m;
    struct why why = {0};
    assert_int_equal(batcher_fill(b, s, 3, N, &m, &why), ERR_RANGE);
    assert_non_null(strstr(why.text, "sample 3 has 48 tokens"));
    assert_non_null(strstr(why.text, "micro_batch_tokens"));
    struct sample empty = s[0];
    empty.n_tok = 0;
    assert_int_equal(batcher_fill(b, &empty, 0, 1, &m, &why), ERR_INVAL);
    empty = s[0], empty.n_prompt = 0;
    assert_int_equal(batcher_fill(b, &empty, 0, 1, &m, &why), ERR_INVAL);
    batcher_destroy(b);
    assert_int_equal(batcher_create(dev, &(struct batcher_opts){0, 4}, &none, &why), ERR_INVAL);
    assert_int_equal(batcher_create(dev, &(struct batcher_opts){4, 0}, &none, &why), ERR_INVAL);
    assert_int_equal(batcher_create(dev, &(struct batcher_opts){100000000, 65536}, &none, &why), ERR_RANGE);
    batcher_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_holds_each_sample_once_and_whole),
        cmocka_unit_test(what_cannot_be_is_refused_with_words),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
