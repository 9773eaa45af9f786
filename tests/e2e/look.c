// SPDX-License-Identifier: Apache-2.0
/* look.c - the rig's eyes: control sockets, metrics.jsonl, run.db, checkpoints. */
#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/svc/ctl_sock.h"
#include "tests/e2e/rig.h"

#define ASK_MS 20000

/* -- control sockets --------------------------------------------------------------------------------------------------- */

static json_t *read_reply(struct span frame, struct why *why)
{
    struct msg_ctl_reply m;
    const enum err e = msg_get_ctl_reply(frame, &m, why);
    if (e) return NULL;
    if (m.code) {
        why_set(why, (enum err)m.code, "%.*s", (int)m.why.n, (const char *)m.why.p);
        return NULL;
    }
    json_t *j = json_loadb((const char *)m.json.p, m.json.n, 0, NULL);
    if (!j) why_set(why, ERR_FORMAT, "the answer is no JSON");
    return j;
}

json_t *rig_try_ask(const char *sock, const char *verb, const char *args, struct why *why)
{
    struct msg_buf b = {0};
    uint8_t *reply;
    size_t n;
    const struct msg_ctl m = {.verb = span_str(verb), .args = span_str(args ? args : "")};
    enum err e = msg_put_ctl(&m, &b);
    if (!e) e = ctl_call(sock, msg_buf_span(&b), ASK_MS, &reply, &n, why);
    msg_buf_done(&b);
    if (e) return NULL;
    json_t *j = read_reply(span_of(reply, n), why);
    free(reply);
    return j;
}

struct asking {
    const char *sock, *verb, *args;
    json_t *answer;
    struct why why;
};

static bool is_answered(void *arg)
{
    struct asking *a = arg;
    a->answer = rig_try_ask(a->sock, a->verb, a->args, &a->why);
    return a->answer;
}

json_t *rig_ask(const char *sock, const char *verb, const char *args)
{
    struct asking a = {.sock = sock, .verb = verb, .args = args};
    rig_wait(is_answered, &a, 30, rig_text("an answer to %s at %s", verb, sock));
    return a.answer;
}

double rig_number(const char *sock, const char *verb, const char *key)
{
    json_t *j = rig_ask(sock, verb, NULL), *v = json_object_get(j, key);
    CHECK(json_is_number(v) || json_is_null(v), "%s of %s has no number %s", verb, sock, key);
    const double x = json_is_number(v) ? json_number_value(v) : NAN;
    json_decref(j);
    return x;
}

json_t *rig_node_json(const char *run, const char *node)
{
    json_t *all = rig_ask(rig_learner_sock(run), "nodes", NULL), *x, *found = NULL;
    size_t i;
    json_array_foreach(json_object_get(all, "nodes"), i, x)
    {
        const char *name = json_string_value(json_object_get(x, "name"));
        if (name && !strcmp(name, node)) found = x; /* the last of that name: a restarted node is another one */
    }
    json_incref(found);
    json_decref(all);
    return found;
}

/* -- generating -------------------------------------------------------------------------------------------------------- */

static void *copy_of(struct msg_arr a, size_t elem)
{
    void *p = calloc(a.n + 1u, elem);
    CHECK(p, "out of memory");
    msg_arr_copy(a, elem, p);
    return p;
}

static void read_group(struct span frame, struct gen *g)
{
    struct msg_group m;
    struct msg_ctl_reply r;
    if (msg_id_of(frame) == MSG_ID_ctl_reply) {
        g->e = msg_get_ctl_reply(frame, &r, &g->why);
        if (!g->e) g->e = why_set(&g->why, (enum err)r.code, "%.*s", (int)r.why.n, (const char *)r.why.p);
        return;
    }
    g->e = msg_get_group(frame, &m, &g->why);
    if (g->e) return;
    g->n_seq = m.n_tok.n;
    g->n_tok = m.tokens.n;
    g->prefill_tok = m.prefill_tok;
    g->len = copy_of(m.n_tok, 4);
    g->tok = copy_of(m.tokens, 4);
    g->lp = copy_of(m.logprob, 4);
}

struct gen rig_generate(const char *sock, const struct msg_job *job)
{
    struct gen g = {0};
    struct msg_buf b = {0};
    uint8_t *reply;
    size_t n;
    g.e = msg_put_job(job, &b);
    if (!g.e) g.e = ctl_call(sock, msg_buf_span(&b), ASK_MS, &reply, &n, &g.why);
    msg_buf_done(&b);
    if (g.e) return g;
    read_group(span_of(reply, n), &g);
    free(reply);
    return g;
}

void rig_gen_done(struct gen *g)
{
    free(g->len), free(g->tok), free(g->lp);
    *g = (struct gen){0};
}

bool rig_gen_same(const struct gen *a, const struct gen *b)
{
    return !a->e && !b->e && a->n_seq == b->n_seq && a->n_tok == b->n_tok && !memcmp(a->len, b->len, a->n_seq * sizeof *a->len) &&
           !memcmp(a->tok, b->tok, a->n_tok * sizeof *a->tok) && !memcmp(a->lp, b->lp, a->n_tok * sizeof *a->lp);
}

/* -- metrics.jsonl ----------------------------------------------------------------------------------------------------- */

json_t *rig_metrics(const char *run)
{
    char *text;
    size_t n;
    json_t *all = json_array();
    if (file_read(rig_path("%s/metrics.jsonl", run), 64u << 20, &text, &n, NULL)) return all;
    for (char *at = text, *nl; (nl = memchr(at, '\n', n - (size_t)(at - text))); at = nl + 1) {
        json_t *j = json_loadb(at, (size_t)(nl - at), 0, NULL);
        CHECK(json_is_object(j), "a line of metrics.jsonl is no JSON: %.*s", (int)(nl - at), at);
        json_array_append_new(all, j);
    }
    free(text);
    return all;
}

uint64_t rig_last_step(const char *run)
{
    json_t *all = rig_metrics(run);
    const size_t n = json_array_size(all);
    const json_int_t step = n ? json_integer_value(json_object_get(json_array_get(all, n - 1), "step")) : 0;
    json_decref(all);
    return (uint64_t)step;
}

double rig_sum(const json_t *metrics, const char *key)
{
    double sum = 0;
    for (size_t i = 0; i < json_array_size(metrics); i++) sum += json_number_value(json_object_get(json_array_get(metrics, i), key));
    return sum;
}

double rig_max(const json_t *metrics, const char *key)
{
    double max = -INFINITY;
    for (size_t i = 0; i < json_array_size(metrics); i++)
        max = fmax(max, json_number_value(json_object_get(json_array_get(metrics, i), key)));
    return max;
}

/* -- run.db ------------------------------------------------------------------------------------------------------------ */

double rig_db(const char *run, const char *other, const char *fmt, ...)
{
    char sql[2000];
    sqlite3 *db;
    sqlite3_stmt *st;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sql, sizeof sql, fmt, ap);
    va_end(ap);
    CHECK(!sqlite3_open_v2(rig_path("%s/run.db", run), &db, SQLITE_OPEN_READWRITE, NULL), "%s", sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 10000);
    if (other) {
        const char *attach = rig_text("ATTACH '%s' AS b", rig_path("%s/run.db", other));
        CHECK(!sqlite3_exec(db, attach, NULL, NULL, NULL), "%s", sqlite3_errmsg(db));
    }
    CHECK(!sqlite3_prepare_v2(db, sql, -1, &st, NULL), "%s: %s", sql, sqlite3_errmsg(db));
    CHECK(sqlite3_step(st) == SQLITE_ROW, "%s: no row: %s", sql, sqlite3_errmsg(db));
    const double x = sqlite3_column_type(st, 0) == SQLITE_NULL ? NAN : sqlite3_column_double(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return x;
}

bool rig_same_file(const char *a, const char *b)
{
    char *x = NULL, *y = NULL;
    size_t n, m;
    const bool same = !file_read(a, 1u << 30, &x, &n, NULL) && !file_read(b, 1u << 30, &y, &m, NULL) && n == m && !memcmp(x, y, n);
    free(x), free(y);
    return same;
}

void rig_check_same_run(const char *a, const char *b, uint64_t n)
{
    static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "trainer_state.json", "config.json", "tokenizer.json"};
    static const char *const join[][2] = {
        {"completions", "x.tokens = y.tokens AND x.logprobs = y.logprobs AND x.finish = y.finish AND x.n_tok = y.n_tok AND x.text = y.text"},
        {"rewards", "x.name = y.name AND x.value = y.value"},
        {"advantages", "x.value = y.value"},
    };
    const double jobs = rig_db(a, NULL, "SELECT count(*) FROM jobs");
    const double same = rig_db(a, b, "SELECT count(*) FROM main.jobs x JOIN b.jobs y USING (job_id) WHERE x.step = y.step AND x.row = y.row");
    CHECK(jobs > 0 && jobs == rig_db(b, NULL, "SELECT count(*) FROM jobs") && same == jobs, "%g jobs, %g are the same", jobs, same);
    for (unsigned i = 0; i < sizeof join / sizeof *join; i++) {
        const double all = rig_db(a, NULL, "SELECT count(*) FROM %s", join[i][0]);
        const double eq = rig_db(a, b, "SELECT count(*) FROM main.%s x JOIN b.%s y USING (job_id, sample) WHERE %s", join[i][0], join[i][0],
                                 join[i][1]);
        CHECK(all > 0 && all == rig_db(b, NULL, "SELECT count(*) FROM %s", join[i][0]) && all == eq, "%s: %g rows, %g are the same", join[i][0],
              all, eq);
    }
    CHECK(rig_db(b, NULL, "SELECT count(*) FROM steps WHERE step BETWEEN 1 AND %llu", (unsigned long long)n) == (double)n &&
              rig_db(b, NULL, "SELECT count(*) FROM steps") == (double)n,
          "steps 1 to %llu, each once", (unsigned long long)n);
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++)
        CHECK(rig_same_file(rig_path("%s/checkpoints/step-%llu/%s", a, (unsigned long long)n, files[i]),
                            rig_path("%s/checkpoints/step-%llu/%s", b, (unsigned long long)n, files[i])),
              "%s of step %llu differs", files[i], (unsigned long long)n);
}
