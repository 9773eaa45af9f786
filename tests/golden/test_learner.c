// SPDX-License-Identifier: Apache-2.0
/* Advantages and loss weights against TRL's own statements, learning rates against transformers' schedules
 * (make_learner.py). Argument: the folder of values.json. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "learner/advantage.h"
#include "learner/loss.h"
#include "learner/optim.h"
#include "proto/version.h"

static json_t *golden;

static double num(json_t *j, const char *key)
{
    return json_number_value(json_object_get(j, key));
}

static const char *text(json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static void close_to(double got, double want, double rel, const char *what)
{
    if (!(fabs(got - want) <= rel * fmax(1e-12, fabs(want))))
        fail_msg("%s: %.17g, TRL has %.17g", what, got, want);
}

static double *numbers(json_t *list, uint32_t *ret_n)
{
    *ret_n = (uint32_t)json_array_size(list);
    double *p = calloc(*ret_n + 1, sizeof *p);
    for (uint32_t i = 0; i < *ret_n; i++) p[i] = json_number_value(json_array_get(list, i));
    return p;
}

static void advantages_are_trl_s(void **state)
{
    (void)state;
    size_t k;
    json_t *x;
    uint32_t n, same, n_case = 0;
    json_array_foreach(json_object_get(golden, "advantages"), k, x)
    {
        double *r = numbers(json_object_get(x, "rewards"), &n),
               *want = numbers(json_object_get(x, "advantages"), &same), adv[64];
        const uint32_t g = (uint32_t)num(x, "group");
        const char *scale = text(x, "scale");
        const enum scale_rewards s = !strcmp(scale, "group")   ? SCALE_GROUP
                                     : !strcmp(scale, "batch") ? SCALE_BATCH
                                                               : SCALE_NONE;
        assert_int_equal(n, same);
        for (uint32_t i = 0; i < n; i += g) advantage_group(r + i, g, s, advantage_std(r, n), adv + i);
        for (uint32_t i = 0; i < n; i++) {
            /* equal rewards: TRL may keep a rounding error of the mean over 1e-4; here it is 0 */
            if (fabs(want[i]) < 1e-11)
                assert_true(fabs(adv[i]) < 1e-11);
            else
                close_to(adv[i], want[i], 1e-9, scale);
        }
        free(r), free(want);
        n_case++;
    }
    assert_int_equal(n_case, 9);
}

/* Flat groups are exactly 0 and are counted; a sum of tenths would not be. */
static void equal_rewards_teach_nothing(void **state)
{
    (void)state;
    const double r[] = {0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1}, one[] = {3}, two[] = {0.1, 0.1 + 1e-12};
    double adv[7];
    for (int s = SCALE_GROUP; s <= SCALE_NONE; s++) {
        advantage_group(r, 7, (enum scale_rewards)s, 0, adv);
        for (int i = 0; i < 7; i++) assert_true(adv[i] == 0);
        advantage_group(one, 1, (enum scale_rewards)s, 0.5, adv);
        assert_true(adv[0] == 0);
    }
    assert_true(advantage_is_flat(r, 7) && advantage_is_flat(one, 1) && !advantage_is_flat(two, 2));
    assert_true(advantage_std(one, 1) == 0);
    advantage_group(NULL, 0, SCALE_GROUP, 0, NULL);
}

struct batch_of {
    struct sample s[8];
    uint8_t kind[8][16];
    uint32_t n;
};

static void read_samples(json_t *x, struct batch_of *b)
{
    json_t *list;
    size_t i;
    memset(b, 0, sizeof *b);
    json_array_foreach(json_object_get(x, "trained"), i, list)
    {
        struct sample *s = &b->s[b->n];
        s->n_tok = (uint32_t)json_array_size(list);
        s->kind = b->kind[b->n];
        for (uint32_t t = 0; t < s->n_tok; t++)
            b->kind[b->n][t] = json_integer_value(json_array_get(list, t)) ? TOKEN_SAMPLED : 0;
        b->n++;
    }
}

static void a_loss_is_weighed_as_trl_does(void **state)
{
    (void)state;
    static const char *const names[] = {"grpo", "bnpo", "dr_grpo", "dapo"};
    static const enum loss_type types[] = {LOSS_TYPE_GRPO, LOSS_TYPE_BNPO, LOSS_TYPE_DR_GRPO, LOSS_TYPE_DAPO};
    const char *beta;
    json_t *x;
    int n_case = 0;
    json_object_foreach(json_object_get(golden, "loss"), beta, x)
    {
        struct batch_of b;
        json_t *per_token = json_object_get(x, "per_token");
        read_samples(x, &b);
        for (int k = 0; k < 4; k++, n_case++) {
            double sum = 0;
            loss_weigh(types[k], (uint32_t)num(x, "max_completion_length"), b.s, b.n);
            for (uint32_t i = 0; i < b.n; i++)
                for (uint32_t t = 0; t < b.s[i].n_tok; t++)
                    if (b.kind[i][t])
                        sum += b.s[i].weight *
                               json_number_value(json_array_get(json_array_get(per_token, i), t));
            close_to(sum, num(json_object_get(x, "loss"), names[k]), 1e-9, names[k]);
        }
    }
    assert_int_equal(n_case, 8);
}

static void nothing_to_train_weighs_nothing(void **state)
{
    (void)state;
    const uint8_t kind[3] = {0, TOKEN_KV_MIXED, 0};
    for (int type = LOSS_TYPE_GRPO; type <= LOSS_TYPE_DAPO; type++) {
        struct sample s[2] = {{.n_tok = 3, .kind = kind}, {.n_tok = 3, .kind = kind}};
        loss_weigh((enum loss_type)type, 10, s, 2);
        assert_int_equal(loss_trained_tok(&s[0]), 0);
        assert_true(isfinite(s[0].weight) && isfinite(s[1].weight));
    }
    const struct sample all = {.n_tok = 5};
    assert_int_equal(loss_trained_tok(&all), 5); /* without kinds: every token */
}

static void a_step_s_sums_leave_out_what_is_not_trained(void **state)
{
    (void)state;
    const uint8_t kind[2] = {TOKEN_SAMPLED, 0};
    const struct sample s[2] = {{.n_tok = 2, .kind = kind}, {.n_tok = 1}};
    const uint32_t of[] = {0, 0, 1}, tok[] = {0, 1, 0};
    const float one[] = {1, 100, 3}, two[] = {10, 100, 20};
    const struct micro_out out = {
        .n = 3, .sample = of, .tok = tok, .lp = one, .entropy = one, .loss = two, .kl = one, .clipped = one};
    struct loss_stats st = {0};
    loss_stats_add(&st, s, &out);
    assert_int_equal(st.n_tok, 2);
    assert_true(st.loss == 30 && st.kl == 4 && st.entropy == 4 && st.clipped == 4);
}

static void learning_rates_are_transformers(void **state)
{
    (void)state;
    static const char *const names[] = {"constant", "linear", "cosine", "cosine_with_min_lr"};
    size_t k;
    json_t *x;
    uint32_t n, n_rate = 0;
    json_array_foreach(json_object_get(golden, "lr"), k, x)
    {
        struct lr_opts o = {.learning_rate = num(x, "learning_rate"),
                            .min_lr_rate = num(x, "min_lr_rate"),
                            .warmup_steps = (uint64_t)num(x, "warmup_steps"),
                            .max_steps = (uint64_t)num(x, "max_steps")};
        unsigned type = 0;
        while (type < 4 && strcmp(names[type], text(x, "type"))) type++;
        assert_in_range(type, 0, 3);
        o.type = (enum lr_schedule)type;
        double *want = numbers(json_object_get(x, "rates"), &n);
        for (uint32_t i = 0; i < n; i++, n_rate++) {
            if (fabs(want[i]) < 1e-18)
                assert_true(fabs(lr_at(&o, i)) < 1e-18);
            else
                close_to(lr_at(&o, i), want[i], 1e-12, names[type]);
        }
        free(want);
    }
    assert_int_equal(n_rate, 5 * (10 + 10 + 10 + 100 + 2));
}

/* A run that is given more steps than it was planned for stays at the end of its schedule. */
static void a_rate_is_never_negative_nor_rises_again(void **state)
{
    (void)state;
    for (int type = LR_CONSTANT; type <= LR_COSINE_MIN; type++)
        for (uint64_t warmup = 0; warmup <= 30; warmup += 10) {
            const struct lr_opts o = {(enum lr_schedule)type, 1e-3, 0.1, warmup, 20};
            double last = INFINITY;
            for (uint64_t step = warmup; step < 100; step++) {
                const double lr = lr_at(&o, step);
                assert_true(lr >= 0 && lr <= 1e-3 && lr <= last);
                last = lr;
            }
        }
}

int main(int argc, char **argv)
{
    char path[4096];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(advantages_are_trl_s),
        cmocka_unit_test(equal_rewards_teach_nothing),
        cmocka_unit_test(a_loss_is_weighed_as_trl_does),
        cmocka_unit_test(nothing_to_train_weighs_nothing),
        cmocka_unit_test(a_step_s_sums_leave_out_what_is_not_trained),
        cmocka_unit_test(learning_rates_are_transformers),
        cmocka_unit_test(a_rate_is_never_negative_nor_rises_again),
    };
    if (argc != 2) return 2;
    snprintf(path, sizeof path, "%s/values.json", argv[1]);
    golden = json_load_file(path, 0, NULL);
    if (!golden) return fprintf(stderr, "%s: cannot read\n", path), 2;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
