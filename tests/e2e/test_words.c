// SPDX-License-Identifier: Apache-2.0
/* A server in its own right: completions without a learner. And what is wrong is said in words that tell what to do, by a daemon that
 * ends with the right code, or goes on. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/e2e/rig.h"

static const struct rig_data letters = {.n_row = 60, .min_prompt = 6, .max_prompt = 40, .max_filler = 12, .seed = 3};

static void prepare(void)
{
    rig_model("model", 1, NULL);
    rig_data("train", &letters);
}

static bool is_loaded(void *sock)
{
    return rig_number(sock, "status", "incarnation") > 0;
}

static struct msg_job job_of(const int32_t *prompt, uint32_t n)
{
    return (struct msg_job){.job_id = 1, .group_size = 4, .seed = 5, .temperature = 1, .top_p = 1, .max_tok = 20, .tokens = msg_arr_of(prompt, n)};
}

static void expect(const char *sock, const struct msg_job *j, const char *a, const char *b)
{
    struct gen g = rig_generate(sock, j);
    CHECK(g.e && strstr(g.why.text, a) && strstr(g.why.text, b), "\"%s\" should name %s and %s", g.why.text, a, b);
    rig_gen_done(&g);
}

static void generate_without_a_learner(void)
{
    static int32_t prompt[600];
    prepare();
    rig_node("s", NULL, ARGS("--model", rig_path("model"), "--max-num-seqs", "8", "--max-model-len", "256"));
    const char *sock = rig_sock("s");
    for (int i = 0; i < 600; i++) prompt[i] = 'a' + i % 8;
    rig_wait(is_loaded, (void *)sock, 30, "the model to be loaded");
    struct msg_job j = job_of(prompt, 30);
    struct gen g = rig_generate(sock, &j), h;
    CHECK(!g.e && g.n_seq == 4 && g.n_tok > 4 && g.prefill_tok == 30, "%s, %u completions, %u tokens, %u prefilled", g.why.text, g.n_seq, g.n_tok,
          g.prefill_tok);
    j.temperature = 0; /* greedy: every completion the same */
    h = rig_generate(sock, &j);
    CHECK(!h.e && h.n_tok == 4 * h.len[0] && !memcmp(h.tok, h.tok + h.len[0], h.len[0] * sizeof *h.tok), "%s", h.why.text);
    rig_gen_done(&g);
    rig_gen_done(&h);

    /* wrong ones, each with its words; the daemon goes on */
    j = job_of(prompt, 300);
    expect(sock, &j, "300", "256");
    j = job_of(prompt, 30), j.group_size = 9;
    expect(sock, &j, "9", "max_num_seqs is 8");
    j = job_of(prompt, 0);
    expect(sock, &j, "empty", "prompt");
    j = job_of(prompt, 30), j.max_tok = 0;
    expect(sock, &j, "max_tok", "1");
    j = job_of(prompt, 30), j.temperature = -1;
    expect(sock, &j, "temperature", "-1");
    prompt[7] = 100000;
    j = job_of(prompt, 30);
    expect(sock, &j, "100000", "272");
    prompt[7] = 'a';
    j = job_of(prompt, 30);
    g = rig_generate(sock, &j);
    CHECK(!g.e, "%s", g.why.text);
    rig_gen_done(&g);
}

static bool has_answered(void *sock)
{
    static const int32_t prompt[] = {'a', 'b', 'c', 'd'};
    struct msg_job j = job_of(prompt, 4);
    j.job_id = UINT64_MAX; /* its own draws */
    struct gen g = rig_generate(sock, &j);
    const bool ok = !g.e;
    CHECK(ok || g.e == ERR_NOENT || g.e == ERR_AGAIN, "%s", g.why.text); /* not there yet, or no weights */
    CHECK(!ok || (g.n_seq == 4 && g.n_tok >= 4), "%u completions", g.n_seq);
    rig_gen_done(&g);
    return ok;
}

/* A node in a run answers people too, and its run does not suffer. */
static void a_node_at_work_answers_too(void)
{
    prepare();
    struct proc *l = rig_learner("run", ARGS("--max-steps", "12"));
    rig_node("a", rig_address("run"), ARGS("--max-num-seqs", "16"));
    rig_wait(has_answered, (void *)rig_sock("a"), 30, "an answer");
    rig_wait_step("run", 2, 60);
    for (int i = 0; i < 20; i++) has_answered((void *)rig_sock("a"));
    CHECK(rig_exit_code(l, 60) == 0, "the run");
    CHECK(rig_db("run", NULL, "SELECT count(*) FROM jobs") == 48, "the run's own groups only");
    json_t *m = rig_metrics("run");
    CHECK(rig_max(m, "mismatch_max") == 0 && rig_sum(m, "mismatch_tok") == 12, "mismatch %g", rig_max(m, "mismatch_max"));
    json_decref(m);
    CHECK(has_answered((void *)rig_sock("a")), "and when the learner has gone");
}

/* -- daemons that do not start ----------------------------------------------------------------------------------------- */

static void says(struct proc *p, int code, const char *a, const char *b)
{
    const int got = rig_exit_code(p, 30);
    CHECK(got == code, "ended with %d, not %d (%s)", got, code, a);
    CHECK(rig_said(p, a) && rig_said(p, b), "should have named %s and %s", a, b);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f), "%s", path);
}

static void wrong_settings_of_a_node(void)
{
    prepare();
    says(rig_node("a", NULL, ARGS("--log-level", "info")), 1, "nothing to serve", "--model DIR");
    says(rig_node("b", NULL, ARGS("--model", rig_path("nowhere"))), 1, "nowhere/config.json", "");
    says(rig_node("c", "127.0.0.1:1", ARGS("--log-level", "info")), 1, "127.0.0.1:1", "tcp://host:port");
    says(rig_node("d", NULL, ARGS("--max-num-seq", "4")), 2, "max-num-seq", "--help");
    says(rig_node("e", NULL, ARGS("--max-num-seqs", "0")), 2, "max_num_seqs = 0", "between 1 and 65536");
    says(rig_node("f", NULL, ARGS("--model", rig_path("model"), "--device", "tpu")), 1, "tpu", "");
    write_text(rig_path("bad.conf"), "[rollout]\nmax_num_seqs = 8\nmodle = x\n");
    says(rig_node("g", NULL, ARGS("--config", rig_path("bad.conf"))), 2, "bad.conf:3", "modle");
    struct proc *p = rig_node("h", "tcp://127.0.0.1:1", ARGS("--log-level", "info")); /* nobody there: it waits, and leaves when told */
    rig_wait_said(p, "started", 30);
    rig_stop(p);
    CHECK(!access(rig_path("model"), R_OK) && access(rig_sock("h"), F_OK), "its socket is removed");
}

static void wrong_settings_of_a_learner(void)
{
    prepare();
    says(rig_learner("run", ARGS("--model", "")), 1, "model is not set", "");
    says(rig_learner("run", ARGS("--train-data", "")), 1, "train_data is not set", "");
    says(rig_learner("run", ARGS("--train-data", rig_path("none.jsonl"))), 1, "none.jsonl", "");
    says(rig_learner("run", ARGS("--reward-funcs", "accuracy,beauty")), 1, "beauty", "");
    says(rig_learner("run", ARGS("--loss-type", "ppo")), 2, "loss_type = ppo", "grpo|bnpo");
    says(rig_learner("run", ARGS("--listen", "here")), 1, "here", "tcp://host:port");
    says(rig_learner("run", ARGS("--max-completion-length", "300", "--micro-batch-tokens", "128")), 1, "train.jsonl:1", "micro_batch_tokens is 128");
    says(rig_learner("run", ARGS("--max-completion-length", "1000")), 1, "max_completion_length", "512 positions");
    write_text(rig_path("bad.jsonl"), "{\"prompt\": \"1+1=\", \"answer\": \"2\"}\n{\"prompt\": \"1+2=\", \"answer\": \n");
    says(rig_learner("run", ARGS("--train-data", rig_path("bad.jsonl"))), 1, "bad.jsonl:2", "");
    write_text(rig_path("long.jsonl"), "{\"prompt\": \"1+1=\", \"answer\": \"2\"}\n{\"prompt\": \"123456789+123456789=\", \"answer\": \"1\"}\n");
    says(rig_learner("run", ARGS("--train-data", rig_path("long.jsonl"), "--max-prompt-length", "16")), 1, "long.jsonl:2", "16");
    write_text(rig_path("none.jsonl"), "{\"prompt\": \"1+1=\", \"answer\": \"2\"}\n{\"prompt\": \"1+2=\"}\n");
    says(rig_learner("run", ARGS("--train-data", rig_path("none.jsonl"))), 1, "none.jsonl:2", "answer");
}

/* A folder and a port belong to one learner; the second one is told, and is no success. */
static void a_second_learner_is_told(void)
{
    prepare();
    struct proc *l = rig_learner("run", ARGS("--max-steps", "5"));
    const char *address = rig_address("run");
    says(rig_learner("other", ARGS("--max-steps", "5", "--listen", address)), 1, strrchr(address, ':'), "in use");
    says(rig_learner("run", ARGS("--max-steps", "5")), 1, "another learner uses this folder", "");
    CHECK(rig_is_up(l), "the first one goes on");
    rig_stop(l);
}

/* Another seed, or another model, is another run. */
static void a_resume_with_other_settings_is_told(void)
{
    prepare();
    struct proc *l = rig_learner("run", ARGS("--max-steps", "2", "--mode", "sft"));
    CHECK(rig_exit_code(l, 60) == 0, "sft");
    says(rig_learner("run", ARGS("--max-steps", "4", "--seed", "43")), 1, "seed 42", "43");
    struct dims d = rig_dims();
    d.n_layer = 3;
    says(rig_learner("run", ARGS("--max-steps", "4", "--model", rig_model("deeper", 1, &d))), 1, "checkpoints/step-2", "another size");
}

int main(int argc, char **argv)
{
    static const struct rig_test tests[] = {{"generate_without_a_learner", generate_without_a_learner},
                                            {"a_node_at_work_answers_too", a_node_at_work_answers_too},
                                            {"wrong_settings_of_a_node", wrong_settings_of_a_node},
                                            {"wrong_settings_of_a_learner", wrong_settings_of_a_learner},
                                            {"a_second_learner_is_told", a_second_learner_is_told},
                                            {"a_resume_with_other_settings_is_told", a_resume_with_other_settings_is_told},
                                            {NULL, NULL}};
    return rig_main(argc, argv, tests);
}
