// SPDX-License-Identifier: Apache-2.0
/* Supervised fine-tuning learns; numbers that are none stop a run with words, and what was saved stays good. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/model/folder.h"
#include "tests/e2e/rig.h"

static const struct rig_data letters = {.n_row = 200, .min_prompt = 6, .max_prompt = 40, .max_filler = 12, .seed = 3};

static void prepare(void)
{
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
}

static double mean_loss(const json_t *m, size_t from, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += json_number_value(json_object_get(json_array_get(m, from + i), "loss"));
    return sum / (double)n;
}

static void sft_learns(void)
{
    prepare();
    struct proc *l = rig_learner("run", ARGS("--mode", "sft", "--max-steps", "60", "--learning-rate", "5e-3", "--save-steps", "60"));
    CHECK(rig_exit_code(l, 120) == 0, "sft");
    json_t *m = rig_metrics("run");
    CHECK(json_array_size(m) == 60, "%zu steps", json_array_size(m));
    const double first = mean_loss(m, 0, 3), last = mean_loss(m, 57, 3);
    json_decref(m);
    printf("loss %.3f -> %.3f\n", first, last);
    CHECK(first > 5 && first < 6, "a random model of 272 ids has a loss of ln 272 = 5.6, not %g", first);
    /* eight letters at random, then a digit out of four: about ln 8 a token is the best there is */
    CHECK(last < 2.5 && last > 1, "loss %g", last);
}

/* Every number of a checkpoint's master weights and moments, as an image too. */
static void check_finite(const char *dir)
{
    struct dims d;
    struct tensor_table t;
    struct why why = {0};
    CHECK(!dims_read(dir, &d, &why), "%s", why.text);
    CHECK(!tensor_table_init(&d, &t), "table");
    float *w = malloc(t.n_param * sizeof *w);
    CHECK(w && !folder_load(dir, &t, w, NULL, &why), "%s", why.text);
    for (uint64_t i = 0; i < t.n_param; i++) CHECK(isfinite(w[i]), "%s: weight %llu is %g", dir, (unsigned long long)i, w[i]);
    free(w);
    tensor_table_done(&t);
}

/* The highest step with a checkpoint. */
static uint64_t newest(const char *run)
{
    for (uint64_t i = 1000; i > 0; i--)
        if (file_exists(rig_text("%s/trainer_state.json", rig_path("%s/checkpoints/step-%llu", run, (unsigned long long)i)))) return i;
    return 0;
}

/* A rate of 10 with a decay of 10 multiplies every matrix by -99 in each step: after some, numbers overflow. */
#define WILD "--learning-rate", "10", "--weight-decay", "10", "--max-steps", "60", "--save-steps", "1", "--save-total-limit", "100"

static void numbers_that_are_none_stop_sft(void)
{
    prepare();
    struct proc *l = rig_learner("run", ARGS("--mode", "sft", WILD));
    const int code = rig_exit_code(l, 120);
    CHECK(code == 1, "ended with %d", code);
    const uint64_t step = newest("run");
    CHECK(step > 1 && step < 60, "saved up to step %llu", (unsigned long long)step);
    CHECK(rig_said(l, "not finite"), "it says so");
    CHECK(rig_said(l, "of layer ") || rig_said(l, " model."), "it names the layer or the tensor");
    CHECK(rig_said(l, rig_text("step %llu:", (unsigned long long)step + 1)), "it names step %llu", (unsigned long long)step + 1);
    CHECK(rig_last_step("run") == step, "metrics.jsonl ends with what was done");
    check_finite(rig_path("run/checkpoints/step-%llu", (unsigned long long)step));
}

/* The same in the circle, where it may be a node that meets them first: the run ends with words, the node lives on. */
static void numbers_that_are_none_stop_grpo(void)
{
    prepare();
    const char *warm = rig_warm("model", &letters, 150);
    struct proc *l = rig_learner("run", ARGS("--model", warm, WILD)), *n = rig_node("a", rig_address("run"), ARGS("--max-num-seqs", "16"));
    const int code = rig_exit_code(l, 120);
    CHECK(code == 1, "ended with %d", code);
    CHECK(rig_said(l, "not finite") || rig_said(l, "not numbers"), "it says so");
    CHECK(rig_is_up(n), "the node goes on");
    const uint64_t step = newest("run");
    CHECK(step >= 1 && step < 60, "saved up to step %llu", (unsigned long long)step);
    check_finite(rig_path("run/checkpoints/step-%llu", (unsigned long long)step));
    rig_stop(n);
}

int main(int argc, char **argv)
{
    static const struct rig_test tests[] = {{"sft_learns", sft_learns},
                                            {"numbers_that_are_none_stop_sft", numbers_that_are_none_stop_sft},
                                            {"numbers_that_are_none_stop_grpo", numbers_that_are_none_stop_grpo},
                                            {NULL, NULL}};
    return rig_main(argc, argv, tests);
}
