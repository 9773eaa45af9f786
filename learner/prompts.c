// SPDX-License-Identifier: Apache-2.0
#include "learner/prompts.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/rng.h"

#define DATA_MAX_BYTES (4ull << 30)

struct source {
    const char *path;
    const struct tokenizer *tok;
    uint32_t max_tok;
    bool need_solution;
    struct why *why;
};

/* The first of the columns that is there, as text (numbers are written out). NULL: none. */
static char *column(json_t *j, const char *const *names)
{
    for (; *names; names++) {
        json_t *v = json_object_get(j, *names);
        if (json_is_string(v)) return strdup(json_string_value(v));
        if (json_is_number(v)) return json_dumps(v, JSON_ENCODE_ANY);
    }
    return NULL;
}

static enum err encode(const struct source *s, const char *text, uint32_t line, const char *what, int32_t **ret, uint32_t *ret_n)
{
    struct tok_buf b = {0};
    enum err e = tokenizer_encode(s->tok, span_str(text), true, &b);
    if (e) {
        free(b.id);
        return why_set(s->why, e, "%s:%u: %s: %s", s->path, line, what, err_str(e));
    }
    *ret = b.id;
    *ret_n = b.n;
    return ERR_OK;
}

static enum err read_row(const struct source *s, const char *text, size_t n, uint32_t line, struct prompt_row *r)
{
    static const char *const prompt[] = {"prompt", "problem", "question", NULL}, *const answer[] = {"answer", "solution", NULL},
                             *const solution[] = {"solution", "answer", NULL};
    json_error_t je;
    json_t *j = json_loadb(text, n, 0, &je);
    r->line = line;
    if (!json_is_object(j)) {
        json_decref(j);
        return why_set(s->why, ERR_FORMAT, "%s:%u: %s", s->path, line, j ? "not a JSON object" : je.text);
    }
    r->prompt = column(j, prompt);
    r->answer = column(j, answer);
    r->solution = column(j, solution);
    json_decref(j);
    if (!r->prompt || !*r->prompt) return why_set(s->why, ERR_FORMAT, "%s:%u: no prompt (or problem, question)", s->path, line);
    if (!r->answer) return why_set(s->why, ERR_FORMAT, "%s:%u: no answer (or solution)", s->path, line);
    TRY(encode(s, r->prompt, line, "prompt", &r->tok, &r->n_tok));
    if (r->n_tok > s->max_tok)
        return why_set(s->why, ERR_RANGE, "%s:%u: the prompt has %u tokens, max_prompt_length is %u", s->path, line, r->n_tok, s->max_tok);
    if (!r->n_tok) return why_set(s->why, ERR_FORMAT, "%s:%u: the prompt has no tokens", s->path, line);
    return s->need_solution ? encode(s, r->solution, line, "solution", &r->sol, &r->n_sol) : ERR_OK;
}

static bool is_blank(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == '\r')) i++;
    return i == n;
}

static enum err read_rows(const struct source *s, const char *text, size_t n, uint32_t limit, struct prompts *p)
{
    uint32_t cap = 0, line = 0;
    for (const char *at = text, *end = text + n; at < end && (!limit || p->n < limit);) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        const size_t len = nl ? (size_t)(nl - at) : (size_t)(end - at);
        line++;
        if (!is_blank(at, len)) {
            if (p->n == cap) {
                cap = cap ? cap * 2 : 256;
                struct prompt_row *rows = realloc(p->row, cap * sizeof *rows);
                if (!rows) return ERR_NOMEM;
                p->row = rows;
            }
            p->row[p->n] = (struct prompt_row){0};
            TRY(read_row(s, at, len, line, &p->row[p->n++]));
        }
        at += len + 1;
    }
    return p->n ? ERR_OK : why_set(s->why, ERR_FORMAT, "%s: no rows", s->path);
}

enum err prompts_open(const char *path, const struct tokenizer *tok, uint32_t max_prompt_tok, uint32_t limit, bool need_solution, uint64_t seed,
                      struct prompts *ret_prompts, struct why *why)
{
    char *text;
    size_t n;
    TRY(file_read(path, DATA_MAX_BYTES, &text, &n, why));
    enum err e = prompts_parse(span_of(text, n), path, tok, max_prompt_tok, limit, need_solution, seed, ret_prompts, why);
    free(text);
    return e;
}

enum err prompts_parse(struct span text, const char *path, const struct tokenizer *tok, uint32_t max_prompt_tok, uint32_t limit, bool need_solution,
                       uint64_t seed, struct prompts *ret_prompts, struct why *why)
{
    struct prompts p = {.seed = seed, .epoch = UINT64_MAX};
    const struct source s = {path, tok, max_prompt_tok, need_solution, why};
    enum err e = read_rows(&s, (const char *)text.p, text.n, limit, &p);
    if (!e) {
        p.order = calloc(p.n, sizeof *p.order);
        e = p.order ? ERR_OK : ERR_NOMEM;
    }
    if (e) {
        prompts_close(&p);
        return e;
    }
    *ret_prompts = p;
    return ERR_OK;
}

void prompts_close(struct prompts *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        struct prompt_row *r = &p->row[i];
        free(r->prompt), free(r->answer), free(r->solution), free(r->tok), free(r->sol);
    }
    free(p->row);
    free(p->order);
    *p = (struct prompts){0};
}

/* Fisher and Yates, keyed by the epoch. */
static void shuffle(struct prompts *p, uint64_t epoch)
{
    for (uint32_t i = 0; i < p->n; i++) p->order[i] = i;
    for (uint32_t i = p->n - 1; i > 0; i--) {
        const uint32_t k = (uint32_t)(rng_u64(p->seed, 0x70726f6d70740000u + epoch, i) % (i + 1)), t = p->order[i];
        p->order[i] = p->order[k];
        p->order[k] = t;
    }
    p->epoch = epoch;
}

uint32_t prompts_draw(struct prompts *p, uint64_t i)
{
    const uint64_t epoch = i / p->n;
    if (epoch != p->epoch) shuffle(p, epoch);
    return p->order[i % p->n];
}
