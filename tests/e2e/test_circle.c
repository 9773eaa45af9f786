// SPDX-License-Identifier: Apache-2.0
/* The circle closes: prompt, rollout, group, reward, advantage, loss, update, weights, rollout, between two daemons; and what is kept of it
 * is true: metrics.jsonl, run.db and the checkpoint tell one story. */
#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/model/folder.h"
#include "common/run/db.h"
#include "tests/e2e/rig.h"

#define G 4u
#define P 4u

static const struct rig_data letters = {.n_row = 200, .min_prompt = 6, .max_prompt = 40, .max_filler = 12, .seed = 3};

/* A node and a run to its end, exit 0. Returns the node, which waits for the next learner. */
static struct proc *run_all(const char *run, const char *const *args)
{
    struct proc *l = rig_learner(run, args), *n = rig_node("a", rig_address(run), ARGS("--max-num-seqs", "16"));
    const int code = rig_exit_code(l, 120);
    CHECK(code == 0, "the learner ended with %d", code);
    return n;
}

static void check_fields(const json_t *line, size_t i)
{
    /* issue, section 1; the numbers that only some runs have may be null */
    static const char *const number[] = {"step", "loss", "lr", "reward", "reward_std", "reward_accuracy", "entropy", "grad_norm", "clip_frac",
                                         "completion_length", "completion_length_min", "completion_length_max", "truncated_frac",
                                         "zero_variance_frac", "mismatch_max", "mismatch_tok", "staleness", "gen_s", "reward_s", "train_s",
                                         "push_s", "tok_per_s", "policy_version"};
    static const char *const maybe[] = {"accuracy", "kl"};
    for (unsigned k = 0; k < sizeof number / sizeof *number; k++)
        CHECK(json_is_number(json_object_get(line, number[k])), "line %zu: %s", i, number[k]);
    for (unsigned k = 0; k < sizeof maybe / sizeof *maybe; k++) CHECK(json_object_get(line, maybe[k]), "line %zu: %s", i, maybe[k]);
    CHECK(json_integer_value(json_object_get(line, "step")) == (json_int_t)i + 1, "line %zu", i);
    CHECK(json_integer_value(json_object_get(line, "policy_version")) == (json_int_t)i + 1, "line %zu", i);
}

/* A folder that opens as a model by our own reader; golden tests hold it against transformers. */
static void check_checkpoint(const char *run, uint32_t step)
{
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "optimizer.safetensors",
                                        "trainer_state.json"};
    const char *dir = rig_path("%s/checkpoints/step-%u", run, step);
    struct dims d, want = rig_dims();
    struct tensor_table t;
    struct why why = {0};
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) CHECK(file_exists(rig_text("%s/%s", dir, files[i])), "%s", files[i]);
    CHECK(!dims_read(dir, &d, &why), "%s", why.text);
    CHECK(d.n_layer == want.n_layer && d.n_embd == want.n_embd && d.n_vocab == want.n_vocab, "another shape");
    CHECK(!tensor_table_init(&d, &t), "table");
    uint16_t *new = malloc(t.n_param * 2), *old = malloc(t.n_param * 2);
    CHECK(new &&old && !folder_load(dir, &t, NULL, new, &why) && !folder_load(rig_path("model"), &t, NULL, old, &why), "%s", why.text);
    free(new), free(old);
    tensor_table_done(&t);
}

static void three_steps(void)
{
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
    struct proc *n = run_all("run", ARGS("--max-steps", "3"));
    json_t *m = rig_metrics("run"), *line;
    size_t i;
    CHECK(json_array_size(m) == 3, "%zu lines of metrics.jsonl", json_array_size(m));
    json_array_foreach(m, i, line) check_fields(line, i);
    json_decref(m);
    check_checkpoint("run", 3);
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM completions") == 3. * P * G, "completions");
    const double v = rig_number(rig_sock("a"), "status", "policy_version");
    CHECK(v >= 2, "the node is at version %g: weights have not come back", v);
    rig_stop(n);
}

/* -- the whole story of a run ------------------------------------------------------------------------------------------ */

struct tally {
    uint32_t n, flat;
    double reward[P * G], adv[P * G], right, std_sum;
    bool bad_text;
};

static bool take_sample(void *arg, const struct db_sample *s)
{
    struct tally *t = arg;
    const char *mark = strstr(s->text, "####");
    t->reward[t->n] = s->reward;
    t->adv[t->n++] = s->advantage;
    /* scored by hand: what stands behind the last #### up to the line's end is the gold digit */
    for (const char *next; mark && (next = strstr(mark + 1, "####"));) mark = next;
    char got[64] = "";
    if (mark) sscanf(mark + 4, "%*[ ]%63[^\n]", got);
    const size_t n = strlen(got);
    if (s->reward > 0.5 && (n < 1 || got[0] != s->gold[0])) t->bad_text = true;
    if (s->reward < 0.5 && n == 1 && got[0] == s->gold[0]) t->bad_text = true;
    return t->n < P * G;
}

/* Rewards and advantages of one step out of run.db, the advantages computed anew; and the step's line of metrics.jsonl follows from them. */
static void check_step(struct db *db, const json_t *line, uint64_t step)
{
    struct tally t = {0};
    struct why why = {0};
    double sum = 0;
    CHECK(!db_samples(db, step, DB_BY_JOB, 1000, take_sample, &t, &why), "%s", why.text);
    CHECK(t.n == P * G && !t.bad_text, "step %llu: %u samples%s", (unsigned long long)step, t.n, t.bad_text ? ", a wrong reward" : "");
    for (uint32_t g = 0; g < P; g++) {
        double mean = 0, ss = 0;
        const double *r = t.reward + g * G;
        for (uint32_t i = 0; i < G; i++) mean += r[i] / G;
        for (uint32_t i = 0; i < G; i++) ss += (r[i] - mean) * (r[i] - mean);
        const double std = sqrt(ss / (G - 1));
        for (uint32_t i = 0; i < G; i++) {
            const double want = (r[i] - mean) / (std + 1e-4), got = t.adv[g * G + i];
            CHECK(fabs(got - want) < 1e-9, "step %llu: advantage %.17g, from the rewards %.17g", (unsigned long long)step, got, want);
            sum += r[i];
        }
        t.flat += ss <= 0;
        t.std_sum += std;
    }
    const struct {
        const char *name;
        double want;
    } of_line[] = {{"reward", sum / (P * G)}, {"reward_accuracy", sum / (P * G)}, {"reward_std", t.std_sum / P}, {"zero_variance_frac", (double)t.flat / P}};
    for (unsigned i = 0; i < sizeof of_line / sizeof *of_line; i++) {
        const double got = json_number_value(json_object_get(line, of_line[i].name));
        CHECK(fabs(got - of_line[i].want) < 1e-6, "step %llu: %s is %g, run.db says %g", (unsigned long long)step, of_line[i].name, got,
              of_line[i].want);
    }
}

static void check_lengths(const json_t *line, uint64_t step)
{
    static const char *const of[][2] = {{"completion_length", "avg(n_tok)"}, {"completion_length_min", "min(n_tok)"},
                                        {"completion_length_max", "max(n_tok)"}, {"truncated_frac", "avg(finish = 1)"}};
    for (unsigned i = 0; i < 4; i++) {
        const double got = json_number_value(json_object_get(line, of[i][0]));
        const double want = rig_db("run", NULL, "SELECT %s FROM completions JOIN jobs USING (job_id) WHERE step = %llu", of[i][1],
                                   (unsigned long long)step);
        CHECK(fabs(got - want) < 1e-6, "step %llu: %s is %g, run.db says %g", (unsigned long long)step, of[i][0], got, want);
    }
}

static void check_db(uint32_t steps)
{
    const double jobs = rig_db("run", NULL, "SELECT count(*) FROM jobs"), want = steps * P;
    CHECK(jobs == want, "%g jobs", jobs);
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM (SELECT step FROM jobs GROUP BY step HAVING count(*) = %u)", P) == steps, "jobs of a step");
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM (SELECT job_id FROM completions GROUP BY job_id HAVING count(*) = %u)", G) == want, "groups");
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM rewards") == want * G && rig_db("run", NULL, "SELECT count(*) FROM advantages") == want * G,
          "a reward and an advantage for each");
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM completions WHERE length(tokens) != 4 * n_tok OR length(logprobs) != 4 * n_tok"
                              " OR length(versions) != 4 * n_tok OR n_tok < 1 OR n_tok > 48") == 0,
          "arrays of a completion");
    /* synchronous: what step s trains on was drawn by version s - 1, from the first token to the last */
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM completions JOIN jobs USING (job_id) WHERE hex(versions) !="
                              " replace(hex(zeroblob(n_tok)), '00', printf('%%02X000000', step - 1))") == 0,
          "versions");
    CHECK(rig_db("run", NULL, "SELECT count(DISTINCT policy_version) FROM steps WHERE policy_version = step") == steps, "steps");
}

static void the_books_agree(void)
{
    const uint32_t steps = 10;
    struct db *db;
    struct why why = {0};
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
    struct proc *n = run_all("run", ARGS("--model", rig_warm("model", &letters, 150), "--max-steps", "10"));
    json_t *m = rig_metrics("run"), *line;
    size_t i;
    CHECK(json_array_size(m) == steps, "%zu lines", json_array_size(m));
    CHECK(!db_open(rig_path("run/run.db"), false, &db, &why), "%s", why.text);
    json_array_foreach(m, i, line)
    {
        check_fields(line, i);
        check_step(db, line, i + 1);
        check_lengths(line, i + 1);
    }
    db_close(db);
    /* or the test would have seen nothing */
    CHECK(rig_sum(m, "reward") > 0 && rig_sum(m, "zero_variance_frac") < steps && rig_max(m, "grad_norm") > 0, "no reward, or no variance");
    json_decref(m);
    check_db(steps);
    check_checkpoint("run", steps);
    CHECK(!rig_same_file(rig_path("run/checkpoints/step-10/model.safetensors"), rig_path("run/checkpoints/step-9/model.safetensors")),
          "an update has changed nothing");
    /* each prompt went through the model once for its four completions */
    const double prompts = rig_db("run", NULL, "SELECT sum(length(prompt_tok) / 4) FROM jobs"), prefilled = rig_number(rig_sock("a"), "status", "prefilled_tokens");
    CHECK(prefilled == prompts, "%g prompt tokens were computed, the prompts have %g", prefilled, prompts);
    rig_stop(n);
}

/* Two rewards with weights, advantages over the deviation of the batch. */
static void rewards_have_names_and_weights(void)
{
    struct rig_data d = letters;
    sqlite3 *db;
    sqlite3_stmt *st;
    double r[P * G], adv[P * G], acc = 0, format = 0, mean = 0, ss = 0;
    uint32_t n = 0;
    d.think = true;
    rig_model("model", 1, NULL);
    rig_data("train", &d);
    run_all("run", ARGS("--model", rig_warm("model", &d, 200), "--max-steps", "1", "--reward-funcs", "accuracy,format", "--reward-weights", "2,0.5",
                        "--scale-rewards", "batch", "--max-completion-length", "60"));
    CHECK(!sqlite3_open_v2(rig_path("run/run.db"), &db, SQLITE_OPEN_READWRITE, NULL), "run.db");
    CHECK(!sqlite3_prepare_v2(db, "SELECT x.value, y.value, a.value FROM rewards x JOIN rewards y USING (job_id, sample) JOIN advantages a USING"
                                  " (job_id, sample) WHERE x.name = 'accuracy' AND y.name = 'format' ORDER BY job_id, sample", -1, &st, NULL),
          "%s", sqlite3_errmsg(db));
    for (; n < P * G && sqlite3_step(st) == SQLITE_ROW; n++) {
        r[n] = 2 * sqlite3_column_double(st, 0) + 0.5 * sqlite3_column_double(st, 1);
        adv[n] = sqlite3_column_double(st, 2);
        acc += sqlite3_column_double(st, 0) / (P * G), format += sqlite3_column_double(st, 1) / (P * G), mean += r[n] / (P * G);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    CHECK(n == P * G && acc > 0 && format > 0 && format < 1, "%u completions, accuracy %g, format %g", n, acc, format);
    for (uint32_t i = 0; i < n; i++) ss += (r[i] - mean) * (r[i] - mean);
    for (uint32_t i = 0; i < n; i++) {
        double of_group = 0;
        for (uint32_t k = i / G * G; k < i / G * G + G; k++) of_group += r[k] / G;
        const double want = (r[i] - of_group) / (sqrt(ss / (n - 1)) + 1e-4);
        CHECK(fabs(adv[i] - want) < 1e-9, "completion %u: advantage %.17g, from the rewards %.17g", i, adv[i], want);
    }
    json_t *m = rig_metrics("run");
    CHECK(fabs(rig_sum(m, "reward_accuracy") - acc) < 1e-6 && fabs(rig_sum(m, "reward_format") - format) < 1e-6 &&
              fabs(rig_sum(m, "reward") - mean) < 1e-6,
          "reward %g, accuracy %g, format %g", rig_sum(m, "reward"), rig_sum(m, "reward_accuracy"), rig_sum(m, "reward_format"));
    json_decref(m);
}

/* Rewards dealt at random: the run goes its way, and advantages no longer follow from the rewards of their completions. */
static void the_control_deals_rewards(void)
{
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
    run_all("run", ARGS("--model", rig_warm("model", &letters, 150), "--max-steps", "6", "--shuffle-rewards"));
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM steps") == 6, "steps");
    const double right = rig_db("run", NULL, "SELECT count(*) FROM rewards WHERE value > 0.5");
    const double odd = rig_db("run", NULL, "SELECT count(*) FROM rewards r JOIN advantages a USING (job_id, sample) WHERE r.value > 0.5 AND a.value <= 0");
    CHECK(right >= 3 && odd > 0, "%g right completions, %g of them with no advantage", right, odd);
}

/* Held-out accuracy comes through the nodes, at one version, every held-out row once. */
static void evaluation_counts(void)
{
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
    const struct rig_data held = {.n_row = 37, .min_prompt = 6, .max_prompt = 40, .max_filler = 12, .seed = 4};
    const char *eval = rig_data("held", &held);
    run_all("run", ARGS("--model", rig_warm("model", &letters, 150), "--max-steps", "4", "--eval-data", eval, "--eval-steps", "2"));
    json_t *m = rig_metrics("run");
    CHECK(json_array_size(m) == 5, "a line for the start and one for each step");
    for (size_t i = 0; i <= 4; i++) {
        json_t *acc = json_object_get(json_array_get(m, i), "accuracy");
        CHECK(json_integer_value(json_object_get(json_array_get(m, i), "step")) == (json_int_t)i, "line %zu", i);
        CHECK(json_is_number(acc) == (i % 2 == 0), "step %zu", i);
        const double right = json_number_value(acc) * 37;
        CHECK(right >= 0 && right <= 37 && fabs(right - round(right)) < 1e-4, "accuracy is %g of 37", right);
    }
    CHECK(rig_sum(m, "accuracy") > 0, "nothing was right");
    json_decref(m);
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM jobs") == 4 * P, "evaluation is not training");
}

/* stop_accuracy is a goal: the first evaluation that reaches it ends the run, which is then finished. */
static void a_goal_ends_the_run(void)
{
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
    const struct rig_data held = {.n_row = 37, .min_prompt = 6, .max_prompt = 40, .max_filler = 12, .seed = 4};
    const char *const *args = ARGS("--model", rig_warm("model", &letters, 150), "--max-steps", "500", "--eval-data", rig_data("held", &held),
                                   "--eval-steps", "2", "--stop-accuracy", "0.01");
    run_all("run", args);
    CHECK(rig_last_step("run") < 10, "%llu steps", (unsigned long long)rig_last_step("run"));
    struct proc *l = rig_learner("run", args);
    CHECK(rig_exit_code(l, 60) == 0 && rig_said(l, "is finished at step"), "a goal that is reached is an end");
}

int main(int argc, char **argv)
{
    static const struct rig_test tests[] = {{"three_steps", three_steps},
                                            {"a_goal_ends_the_run", a_goal_ends_the_run},
                                            {"the_books_agree", the_books_agree},
                                            {"rewards_have_names_and_weights", rewards_have_names_and_weights},
                                            {"the_control_deals_rewards", the_control_deals_rewards},
                                            {"evaluation_counts", evaluation_counts},
                                            {NULL, NULL}};
    return rig_main(argc, argv, tests);
}
