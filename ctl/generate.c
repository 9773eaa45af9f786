// SPDX-License-Identifier: Apache-2.0
/* generate.c - complete a prompt on a rollout node. Token ids travel, so the tokenizer of the node's model is opened here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/model/tokenizer.h"
#include "ctl/ctl.h"
#include "ctl/group.h"
#include "proto/msg.h"

#define MAX_PROMPT ((size_t)4 << 20)
#define TIMEOUT_S  600

struct generate {
    struct common c;
    uint32_t n, top_k, max_tokens;
    double temperature, top_p, min_p;
    const char *seed_text, *model;
    uint64_t seed;
    bool plain;
};

/* -- the prompt --------------------------------------------------------------------------------------------------------- */

/* stdin up to its end, without the newline that a shell puts there. */
static enum err read_prompt(char **ret_text, size_t *ret_n, struct why *why)
{
    char *p = malloc(MAX_PROMPT + 1);
    if (!p) return ERR_NOMEM;
    if (isatty(STDIN_FILENO) == 1) say("type the prompt; Ctrl-D ends it");
    size_t n = fread(p, 1, MAX_PROMPT + 1, stdin);
    if (n > MAX_PROMPT) {
        free(p);
        return why_set(why, ERR_RANGE, "stdin: a prompt has at most %zu bytes", MAX_PROMPT);
    }
    if (n && p[n - 1] == '\n') n--;
    *ret_text = p;
    *ret_n = n;
    return ERR_OK;
}

/* The folder with the tokenizer: as told; or where the node, or its learner, has its model from. */
static enum err model_folder(const struct generate *g, const struct door *node, char *out, size_t cap, struct why *why)
{
    struct answer a;
    struct door d;
    char path[4200];
    snprintf(out, cap, "%s", g->model ? g->model : "");
    if (!*out && ask(node->path, "conf", NULL, g->c.timeout_s, &a, why) == CTL_OK) {
        if (js_str(a.j, "model")[0] != '-') snprintf(out, cap, "%s", js_str(a.j, "model"));
        answer_done(&a);
    }
    if (!*out && !one_door(&g->c) && pick_and_ask(&g->c, WHO_LEARNER, WHO_ANY, "conf", &d, &a, why) == CTL_OK) {
        snprintf(out, cap, "%s", js_str(a.j, "model"));
        answer_done(&a);
    }
    if (!*out) return why_set(why, ERR_NOENT, "which tokenizer? Name the folder of the node's model with --model DIR");
    snprintf(path, sizeof path, "%s/tokenizer.json", out);
    if (!file_exists(path) && !g->model)
        return why_set(why, ERR_NOENT, "%s: not there, seen from here. Name the folder of the node's model with --model DIR", path);
    return ERR_OK;
}

static enum err choose_seed(struct generate *g, struct why *why)
{
    char *end;
    if (!g->seed_text) {
        if (getrandom(&g->seed, sizeof g->seed, 0) != (ssize_t)sizeof g->seed) return why_set(why, ERR_IO, "no random numbers");
        g->seed >>= 11; /* a double holds it, and so any reader of JSON */
        return ERR_OK;
    }
    g->seed = strtoull(g->seed_text, &end, 10);
    if (!*g->seed_text || strspn(g->seed_text, "0123456789") != strlen(g->seed_text) || g->seed > INT64_MAX)
        return why_set(why, ERR_INVAL, "--seed %s: a whole number below 2^63 is expected", g->seed_text);
    return ERR_OK;
}

/* -- the answer --------------------------------------------------------------------------------------------------------- */

static enum err text_of(const struct tokenizer *t, const struct ctl_group *r, uint32_t i, struct text_buf *out)
{
    out->n = 0;
    return tokenizer_decode(t, r->tok + r->at[i], r->at[i + 1] - r->at[i], true, out);
}

static void print_json(const struct generate *g, const struct tokenizer *t, const struct tok_buf *prompt, const struct ctl_group *r)
{
    struct text_buf text = {0};
    json_t *list = json_array(), *ids = json_array();
    for (uint32_t i = 0; i < prompt->n; i++) json_array_append_new(ids, json_integer(prompt->id[i]));
    for (uint32_t i = 0; i < r->n; i++) {
        json_t *tok = json_array(), *lp = json_array(), *ver = json_array(), *words = NULL;
        for (uint32_t k = r->at[i]; k < r->at[i + 1]; k++) {
            json_array_append_new(tok, json_integer(r->tok[k]));
            json_array_append_new(lp, isfinite(r->lp[k]) ? json_real((double)r->lp[k]) : json_null());
            json_array_append_new(ver, json_integer(r->version[k]));
        }
        if (text_of(t, r, i, &text) == ERR_OK) words = json_stringn(text.p ? text.p : "", text.n);
        json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:o, s:o}", "text", words ? words : json_null(), "finish",
                                              ctl_finish_name(r->finish[i]), "tokens", tok, "logprobs", lp, "versions", ver));
    }
    json_t *j = json_pack("{s:I, s:I, s:o, s:f, s:f, s:I, s:o}", "seed", (json_int_t)g->seed, "incarnation", (json_int_t)r->incarnation,
                          "prompt_tokens", ids, "wait_s", r->wait_s, "gen_s", r->gen_s, "prefill_tokens", (json_int_t)r->prefill_tok, "completions",
                          list);
    char *s = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9));
    printf("%s\n", s ? s : "null");
    free(s);
    json_decref(j);
    free(text.p);
}

static void print_texts(const struct generate *g, const struct tokenizer *t, const struct ctl_group *r)
{
    struct text_buf text = {0};
    struct human h, k;
    struct page p;
    page_init(&p, stdout);
    for (uint32_t i = 0; i < r->n; i++) {
        const uint32_t n_tok = r->at[i + 1] - r->at[i];
        if (text_of(t, r, i, &text)) {
            say("out of memory");
            break;
        }
        if (r->n > 1 && i) putchar('\n');
        if (r->n > 1)
            page_head(&p, "--- %u: %u tokens, %s", i + 1, n_tok, r->finish[i] == FINISH_EOS ? "ended by itself" : ctl_finish_name(r->finish[i]));
        if (p.width) page_text(&p, "", span_of(text.p, text.n), 0);
        else {
            fwrite(text.p ? text.p : "", 1, text.n, stdout);
            if (!text.n || text.p[text.n - 1] != '\n') putchar('\n');
        }
    }
    free(text.p);
    fflush(stdout);
    const uint32_t all = r->at[r->n];
    say("%u tokens%s in %s (%s a second), policy version %u, seed %llu", all,
        r->n == 1 && r->finish[0] == FINISH_LENGTH ? ", cut at --max-tokens," : "", human_time(r->gen_s, &h),
        human_count(r->gen_s > 0 ? all / r->gen_s : 0, &k), all ? r->version[all - 1] : 0, (unsigned long long)g->seed);
}

/* -- the verb ----------------------------------------------------------------------------------------------------------- */

static int request(const struct generate *g, const struct door *d, const struct tok_buf *prompt, struct ctl_group *ret, struct why *why)
{
    struct msg_buf b = {0};
    uint8_t *reply = NULL;
    size_t n = 0;
    int code = CTL_FAILED;
    const struct msg_job j = {.group_size = g->n, .seed = g->seed, .temperature = (float)g->temperature, .top_p = (float)g->top_p,
                              .min_p = (float)g->min_p, .top_k = g->top_k, .max_tok = g->max_tokens, .tokens = msg_arr_of(prompt->id, prompt->n)};
    if (msg_put_job(&j, &b) == ERR_OK) code = ask_frame(d->path, msg_buf_span(&b), g->c.timeout_s, &reply, &n, why);
    if (code == CTL_OK) code = ctl_group_read(span_of(reply, n), d->path, g->n, ret, why);
    msg_buf_done(&b);
    free(reply);
    return code;
}

static int complete(struct generate *g, struct span text, struct why *why)
{
    struct door d;
    struct tokenizer *t = NULL;
    struct tok_buf prompt = {0};
    struct ctl_group r = {0};
    char dir[4096];
    int code = choose_seed(g, why) ? CTL_USAGE : CTL_OK;
    if (!code) code = pick(&g->c, WHO_ROLLOUT, WHO_ANY, &d, why);
    if (!code && (model_folder(g, &d, dir, sizeof dir, why) || tokenizer_open(dir, &t, why))) code = CTL_FAILED;
    if (!code) {
        const enum err e = tokenizer_encode(t, text, !g->plain, &prompt);
        if (e) code = CTL_FAILED, why_set(why, e, "the prompt: %s", e == ERR_FORMAT ? "not UTF-8" : err_str(e));
        else if (!prompt.n) code = CTL_USAGE, why_set(why, ERR_INVAL, "the prompt is empty");
    }
    if (!code) code = request(g, &d, &prompt, &r, why);
    if (!code && g->c.json) print_json(g, t, &prompt, &r);
    else if (!code) print_texts(g, t, &r);
    ctl_group_done(&r);
    free(prompt.id);
    tokenizer_close(t);
    return code;
}

int verb_generate(int argc, char **argv)
{
    struct generate g = {.c.timeout_s = TIMEOUT_S, .n = 1, .max_tokens = 256, .temperature = 1, .top_p = 1};
    struct why why = {0};
    int code;
    char *text = NULL;
    size_t n = 0;
    const struct opt opt[] = {{"n", 'n', OPT_U32, &g.n, 1, 4096, "N", "completions (1)"},
                              {"temperature", 't', OPT_F64, &g.temperature, 0, 100, "X", "0: the likeliest token each time (1)"},
                              {"top-p", 0, OPT_F64, &g.top_p, 1e-6, 1, "X", "only tokens that make up this probability (1: all)"},
                              {"top-k", 0, OPT_U32, &g.top_k, 0, 1 << 20, "N", "only that many tokens (0: all)"},
                              {"min-p", 0, OPT_F64, &g.min_p, 0, 1, "X", "only tokens at least so likely as this share of the likeliest (0: all)"},
                              {"max-tokens", 'm', OPT_U32, &g.max_tokens, 1, 1 << 20, "N", "length of a completion at most (256)"},
                              {"seed", 's', OPT_STR, &g.seed_text, 0, 0, "N", "the same seed gives the same tokens (random)"},
                              {"model", 0, OPT_STR, &g.model, 0, 0, "DIR", "the folder with tokenizer.json (the node's own)"},
                              {"plain", 0, OPT_FLAG, &g.plain, 0, 0, NULL, "special tokens in the prompt are ordinary text"},
                              {"json", 0, OPT_FLAG, &g.c.json, 0, 0, NULL, "texts, tokens, logprobs and policy versions as JSON"},
                              OPTS_DOOR(g.c)};
    struct args a = {.verb = argv[0], .words = "[PROMPT]", .about = "complete a prompt (without one, or with -: stdin) on a rollout node", .opt = opt,
                     .n_opt = ARRAY_LEN(opt), .max_words = 1};
    if (!args_parse(&a, argc, argv, &code)) return code;
    struct span prompt;
    if (a.n_word && strcmp(a.word[0], "-")) prompt = span_str(a.word[0]);
    else {
        enum err e = read_prompt(&text, &n, &why);
        if (e) {
            say("%s", why_str(&why, e));
            return CTL_FAILED;
        }
        prompt = span_of(text, n);
    }
    code = complete(&g, prompt, &why);
    if (code) say("%s", why_str(&why, ERR_INTERNAL));
    free(text);
    return code;
}
