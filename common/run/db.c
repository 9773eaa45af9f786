// SPDX-License-Identifier: Apache-2.0
#include "common/run/db.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"

enum stmt { PUT_JOB, PUT_COMPLETION, PUT_REWARD, PUT_ADVANTAGE, PUT_STEP, PUT_META, STMT_COUNT };

struct db {
    sqlite3 *s;
    char path[1024];
    sqlite3_stmt *stmt[STMT_COUNT];
};

static const char schema[] = "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT);"
                             "CREATE TABLE IF NOT EXISTS jobs (job_id INTEGER PRIMARY KEY, step INTEGER, row INTEGER, prompt TEXT, gold TEXT,"
                             " prompt_tok BLOB, node INTEGER, wait_s REAL, gen_s REAL);"
                             "CREATE INDEX IF NOT EXISTS jobs_step ON jobs (step);"
                             "CREATE TABLE IF NOT EXISTS completions (job_id INTEGER, sample INTEGER, finish INTEGER, n_tok INTEGER, text TEXT,"
                             " tokens BLOB, logprobs BLOB, versions BLOB, PRIMARY KEY (job_id, sample)) WITHOUT ROWID;"
                             "CREATE TABLE IF NOT EXISTS rewards (job_id INTEGER, sample INTEGER, name TEXT, value REAL,"
                             " PRIMARY KEY (job_id, sample, name)) WITHOUT ROWID;"
                             "CREATE TABLE IF NOT EXISTS advantages (job_id INTEGER, sample INTEGER, value REAL,"
                             " PRIMARY KEY (job_id, sample)) WITHOUT ROWID;"
                             "CREATE TABLE IF NOT EXISTS steps (step INTEGER PRIMARY KEY, policy_version INTEGER, wall_ns INTEGER, metrics TEXT);";

static const char *const sql[STMT_COUNT] = {
    [PUT_JOB] = "INSERT OR REPLACE INTO jobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [PUT_COMPLETION] = "INSERT OR REPLACE INTO completions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [PUT_REWARD] = "INSERT OR REPLACE INTO rewards VALUES (?1, ?2, ?3, ?4)",
    [PUT_ADVANTAGE] = "INSERT OR REPLACE INTO advantages VALUES (?1, ?2, ?3)",
    [PUT_STEP] = "INSERT OR REPLACE INTO steps VALUES (?1, ?2, ?3, ?4)",
    [PUT_META] = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)",
};

static enum err said(struct db *d, struct why *why)
{
    enum err e = ERR_IO;
    const int of_call = errno, errnum = sqlite3_system_errno(d->s);
    switch (sqlite3_errcode(d->s) & 0xff) {
    case SQLITE_FULL: e = ERR_NOSPACE; break;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT: e = ERR_FORMAT; break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: e = ERR_BUSY; break;
    case SQLITE_NOMEM: e = ERR_NOMEM; break;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: e = ERR_ACCESS; break;
    case SQLITE_CANTOPEN: e = errnum ? err_from_errno(errnum) : ERR_NOENT; break;
    case SQLITE_IOERR: /* SQLite knows ENOSPC; a quota or a limit on file sizes it calls an I/O error, and keeps no errno */
        if (of_call == EDQUOT || of_call == EFBIG || of_call == ENOSPC)
            return why_set(why, ERR_NOSPACE, "%s: %s: %s", d->path, sqlite3_errmsg(d->s), strerror(of_call));
        break;
    default: break;
    }
    return why_set(why, e, "%s: %s", d->path, sqlite3_errmsg(d->s));
}

static enum err run(struct db *d, const char *text, struct why *why)
{
    errno = 0;
    return sqlite3_exec(d->s, text, NULL, NULL, NULL) ? said(d, why) : ERR_OK;
}

enum err db_number(struct db *d, const char *text, double *ret, struct why *why)
{
    sqlite3_stmt *st;
    if (sqlite3_prepare_v2(d->s, text, -1, &st, NULL)) return said(d, why);
    const int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) *ret = sqlite3_column_double(st, 0);
    enum err e = rc == SQLITE_ROW ? ERR_OK : rc == SQLITE_DONE ? ERR_NOENT : said(d, why);
    sqlite3_finalize(st);
    return e;
}

/* A file without a table is new, or being made. Of another's database nothing is touched. */
static enum err check_schema(struct db *d, bool *ret_new, struct why *why)
{
    double n_table = 0, n_meta = 0, v = 0;
    TRY(db_number(d, "SELECT count(*) FROM sqlite_master", &n_table, why));
    TRY(db_number(d, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'", &n_meta, why));
    *ret_new = n_table == 0;
    if (*ret_new) return ERR_OK;
    enum err e = n_meta > 0 ? db_number(d, "SELECT value FROM meta WHERE key = 'schema'", &v, why) : ERR_NOENT;
    if (e && e != ERR_NOENT && sqlite3_errcode(d->s) != SQLITE_ERROR) return e; /* SQLITE_ERROR: no such column */
    if (e) return why_set(why, ERR_FORMAT, "%s: not the database of a run", d->path);
    if (v > DB_SCHEMA || v < DB_SCHEMA)
        return why_set(why, ERR_MISMATCH, "%s: schema %g, this program knows %d: use the grpod that made it", d->path, v, DB_SCHEMA);
    return ERR_OK;
}

/* All tables in one transaction: a reader sees none of them or a whole database. */
static enum err make_tables(struct db *d, struct why *why)
{
    char meta[128];
    snprintf(meta, sizeof meta, "INSERT OR IGNORE INTO meta VALUES ('schema', '%d')", DB_SCHEMA);
    TRY(run(d, "PRAGMA journal_mode = WAL", why));
    TRY(db_begin(d, why));
    enum err e = run(d, schema, why);
    if (!e) e = run(d, meta, why);
    if (!e) return db_commit(d, why);
    sqlite3_exec(d->s, "ROLLBACK", NULL, NULL, NULL);
    return e;
}

static enum err prepare(struct db *d, bool write, struct why *why)
{
    bool is_new;
    sqlite3_busy_timeout(d->s, 10000);
    TRY(check_schema(d, &is_new, why));
    if (!write) return is_new ? why_set(why, ERR_FORMAT, "%s: not the database of a run", d->path) : ERR_OK;
    if (is_new) TRY(make_tables(d, why));
    TRY(run(d, "PRAGMA synchronous = NORMAL", why));
    for (int i = 0; i < STMT_COUNT; i++)
        if (sqlite3_prepare_v2(d->s, sql[i], -1, &d->stmt[i], NULL)) return said(d, why);
    return ERR_OK;
}

/* Reading a WAL database takes a -shm file beside it, which a reader who may not write in the folder cannot make. With no -wal there is no
 * writer and nothing but the file: then it is read as it lies. */
static enum err open_still(struct db *d, struct why *why)
{
    static const char hex[] = "0123456789abcdef";
    char wal[sizeof d->path + 8], uri[3 * sizeof d->path + 32] = "file:";
    size_t n = strlen(uri);
    snprintf(wal, sizeof wal, "%s-wal", d->path);
    if (!access(wal, F_OK)) return why_set(why, ERR_ACCESS, "%s: in use, and its folder is closed to this user", d->path);
    for (const char *p = d->path; *p; p++) {
        const unsigned char c = (unsigned char)*p;
        const bool plain = c == '/' || c == '.' || c == '-' || c == '_' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
        if (!plain) uri[n++] = '%', uri[n++] = hex[c >> 4];
        uri[n++] = plain ? (char)c : hex[c & 15];
    }
    snprintf(uri + n, sizeof uri - n, "?immutable=1");
    sqlite3_close(d->s);
    d->s = NULL;
    return sqlite3_open_v2(uri, &d->s, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) ? said(d, why) : prepare(d, false, why);
}

enum err db_open(const char *path, bool write, struct db **ret_db, struct why *why)
{
    struct db *d = calloc(1, sizeof *d);
    if (!d) return ERR_NOMEM;
    if ((size_t)snprintf(d->path, sizeof d->path, "%s", path) >= sizeof d->path) {
        free(d);
        return why_set(why, ERR_RANGE, "%s: too long a path", path);
    }
    const int flags = write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    enum err e = sqlite3_open_v2(path, &d->s, flags, NULL) ? said(d, why) : prepare(d, write, why);
    if (!write && (e == ERR_ACCESS || e == ERR_NOENT) && !access(path, R_OK)) e = open_still(d, why);
    if (e) {
        db_close(d);
        return e;
    }
    *ret_db = d;
    return ERR_OK;
}

void db_close(struct db *d)
{
    if (!d) return;
    for (int i = 0; i < STMT_COUNT; i++) sqlite3_finalize(d->stmt[i]);
    sqlite3_close(d->s);
    free(d);
}

enum err db_begin(struct db *d, struct why *why)
{
    return run(d, "BEGIN IMMEDIATE", why);
}

enum err db_commit(struct db *d, struct why *why)
{
    enum err e = run(d, "COMMIT", why);
    if (e) sqlite3_exec(d->s, "ROLLBACK", NULL, NULL, NULL);
    return e;
}

enum err db_rewind(struct db *d, uint64_t step, struct why *why)
{
    static const char *const of_jobs[] = {"completions", "rewards", "advantages"};
    char q[200];
    TRY(db_begin(d, why));
    enum err e = ERR_OK;
    for (int i = 0; !e && i < 3; i++) {
        snprintf(q, sizeof q, "DELETE FROM %s WHERE job_id IN (SELECT job_id FROM jobs WHERE step > %llu)", of_jobs[i], (unsigned long long)step);
        e = run(d, q, why);
    }
    snprintf(q, sizeof q, "DELETE FROM jobs WHERE step > %llu; DELETE FROM steps WHERE step > %llu", (unsigned long long)step, (unsigned long long)step);
    if (!e) e = run(d, q, why);
    if (!e) return db_commit(d, why);
    sqlite3_exec(d->s, "ROLLBACK", NULL, NULL, NULL);
    return e;
}

static enum err finish(struct db *d, sqlite3_stmt *st, struct why *why)
{
    errno = 0;
    const int rc = sqlite3_step(st);
    enum err e = rc == SQLITE_DONE ? ERR_OK : said(d, why);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return e;
}

static void bind_i(sqlite3_stmt *st, int i, uint64_t v)
{
    sqlite3_bind_int64(st, i, (sqlite3_int64)v);
}

static void bind_t(sqlite3_stmt *st, int i, const char *v)
{
    sqlite3_bind_text(st, i, v ? v : "", -1, SQLITE_STATIC);
}

enum err db_put_job(struct db *d, const struct db_job *j, struct why *why)
{
    sqlite3_stmt *st = d->stmt[PUT_JOB];
    bind_i(st, 1, j->job_id), bind_i(st, 2, j->step), bind_i(st, 3, j->row);
    bind_t(st, 4, j->prompt), bind_t(st, 5, j->gold);
    sqlite3_bind_blob(st, 6, j->tok, (int)(j->n_tok * sizeof *j->tok), SQLITE_STATIC);
    bind_i(st, 7, j->node);
    sqlite3_bind_double(st, 8, j->wait_s);
    sqlite3_bind_double(st, 9, j->gen_s);
    return finish(d, st, why);
}

enum err db_put_completion(struct db *d, const struct db_completion *c, struct why *why)
{
    sqlite3_stmt *st = d->stmt[PUT_COMPLETION];
    bind_i(st, 1, c->job_id), bind_i(st, 2, c->sample), bind_i(st, 3, c->finish), bind_i(st, 4, c->n_tok);
    bind_t(st, 5, c->text);
    sqlite3_bind_blob(st, 6, c->tok, (int)(c->n_tok * sizeof *c->tok), SQLITE_STATIC);
    sqlite3_bind_blob(st, 7, c->lp, (int)(c->n_tok * sizeof *c->lp), SQLITE_STATIC);
    sqlite3_bind_blob(st, 8, c->version, (int)(c->n_tok * sizeof *c->version), SQLITE_STATIC);
    return finish(d, st, why);
}

enum err db_put_reward(struct db *d, uint64_t job_id, uint32_t sample, const char *name, double value, struct why *why)
{
    sqlite3_stmt *st = d->stmt[PUT_REWARD];
    bind_i(st, 1, job_id), bind_i(st, 2, sample), bind_t(st, 3, name);
    sqlite3_bind_double(st, 4, value);
    return finish(d, st, why);
}

enum err db_put_advantage(struct db *d, uint64_t job_id, uint32_t sample, double value, struct why *why)
{
    sqlite3_stmt *st = d->stmt[PUT_ADVANTAGE];
    bind_i(st, 1, job_id), bind_i(st, 2, sample);
    sqlite3_bind_double(st, 3, value);
    return finish(d, st, why);
}

enum err db_put_step(struct db *d, uint64_t step, uint64_t version, const char *metrics, struct why *why)
{
    sqlite3_stmt *st = d->stmt[PUT_STEP];
    bind_i(st, 1, step), bind_i(st, 2, version), bind_i(st, 3, (uint64_t)clock_wall_ns()), bind_t(st, 4, metrics);
    return finish(d, st, why);
}

enum err db_put_meta(struct db *d, const char *key, const char *value, struct why *why)
{
    sqlite3_stmt *st = d->stmt[PUT_META];
    bind_t(st, 1, key), bind_t(st, 2, value);
    return finish(d, st, why);
}

enum err db_samples(struct db *d, uint64_t step, enum db_order order, uint32_t limit, bool (*fn)(void *arg, const struct db_sample *s), void *arg,
                    struct why *why)
{
    static const char *const by[] = {"j.job_id, c.sample", "reward DESC, j.job_id, c.sample", "reward, j.job_id, c.sample"};
    char q[900];
    sqlite3_stmt *st;
    snprintf(q, sizeof q,
             "SELECT j.job_id, j.step, c.sample, c.finish, c.n_tok, j.prompt, j.gold, c.text,"
             " (SELECT total(value) FROM rewards r WHERE r.job_id = c.job_id AND r.sample = c.sample) AS reward,"
             " (SELECT value FROM advantages a WHERE a.job_id = c.job_id AND a.sample = c.sample)"
             " FROM jobs j JOIN completions c ON c.job_id = j.job_id"
             " WHERE j.step = CASE WHEN ?1 < 0 THEN (SELECT max(step) FROM jobs) ELSE ?1 END ORDER BY %s LIMIT %u",
             by[order], limit);
    if (sqlite3_prepare_v2(d->s, q, -1, &st, NULL)) return said(d, why);
    sqlite3_bind_int64(st, 1, step == UINT64_MAX ? -1 : (sqlite3_int64)step);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        const struct db_sample s = {.job_id = (uint64_t)sqlite3_column_int64(st, 0),
                                    .step = (uint64_t)sqlite3_column_int64(st, 1),
                                    .sample = (uint32_t)sqlite3_column_int(st, 2),
                                    .finish = (uint32_t)sqlite3_column_int(st, 3),
                                    .n_tok = (uint32_t)sqlite3_column_int(st, 4),
                                    .prompt = (const char *)sqlite3_column_text(st, 5),
                                    .gold = (const char *)sqlite3_column_text(st, 6),
                                    .text = (const char *)sqlite3_column_text(st, 7),
                                    .reward = sqlite3_column_double(st, 8),
                                    .advantage = sqlite3_column_double(st, 9)};
        if (!fn(arg, &s)) break;
    }
    enum err e = rc == SQLITE_ROW || rc == SQLITE_DONE ? ERR_OK : said(d, why);
    sqlite3_finalize(st);
    return e;
}
