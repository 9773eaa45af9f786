// SPDX-License-Identifier: Apache-2.0
/* db.h - run.db, the database of a run: SQLite in WAL mode, written by the learner alone, read by anyone at any time.
 *
 *   meta        (key, value)                                     schema version, and what the run is
 *   jobs        (job_id, step, row, prompt, gold, prompt_tok, node, wait_s, gen_s)
 *   completions (job_id, sample, finish, n_tok, text, tokens, logprobs, versions)     blobs: int32, float32, uint32, little-endian
 *   rewards     (job_id, sample, name, value)
 *   advantages  (job_id, sample, value)
 *   steps       (step, policy_version, wall_ns, metrics)          metrics: the line of metrics.jsonl
 *
 * One handle belongs to one thread. A step is one transaction: a reader sees whole steps. */
#ifndef COMMON_RUN_DB_H
#define COMMON_RUN_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"

#define DB_SCHEMA 1

struct db;

/* Open for writing, creating it if need be; or for reading. ERR_NOENT; ERR_FORMAT: not a database of ours; ERR_MISMATCH: another
 * schema; both leave the file as it was. Any call may say ERR_NOSPACE (disk, quota, file size limit): undo by closing. */
enum err db_open(const char *path, bool write, struct db **ret_db, struct why *why) MUST_CHECK;
void db_close(struct db *d); /* NULL is a no-op; an open transaction is undone */

enum err db_begin(struct db *d, struct why *why) MUST_CHECK;
enum err db_commit(struct db *d, struct why *why) MUST_CHECK;

/* Drop everything of steps after `step`: a resumed run does them again. */
enum err db_rewind(struct db *d, uint64_t step, struct why *why) MUST_CHECK;

struct db_job {
    uint64_t job_id, step, node;
    uint32_t row;
    const char *prompt, *gold;
    const int32_t *tok;
    uint32_t n_tok;
    double wait_s, gen_s;
};
enum err db_put_job(struct db *d, const struct db_job *j, struct why *why) MUST_CHECK;

struct db_completion {
    uint64_t job_id;
    uint32_t sample, finish, n_tok;
    const char *text;
    const int32_t *tok;
    const float *lp;
    const uint32_t *version;
};
enum err db_put_completion(struct db *d, const struct db_completion *c, struct why *why) MUST_CHECK;
enum err db_put_reward(struct db *d, uint64_t job_id, uint32_t sample, const char *name, double value, struct why *why) MUST_CHECK;
enum err db_put_advantage(struct db *d, uint64_t job_id, uint32_t sample, double value, struct why *why) MUST_CHECK;
enum err db_put_step(struct db *d, uint64_t step, uint64_t version, const char *metrics, struct why *why) MUST_CHECK;
enum err db_put_meta(struct db *d, const char *key, const char *value, struct why *why) MUST_CHECK;

/* One sample as a reader sees it; texts are valid during the call. */
struct db_sample {
    uint64_t job_id, step;
    uint32_t sample, finish, n_tok;
    const char *prompt, *gold, *text;
    double reward, advantage; /* sum over names, unweighted */
};
enum db_order { DB_BY_JOB, DB_BEST, DB_WORST };

/* Samples of a step (UINT64_MAX: the newest), at most limit. fn returns false to stop. */
enum err db_samples(struct db *d, uint64_t step, enum db_order order, uint32_t limit, bool (*fn)(void *arg, const struct db_sample *s), void *arg,
                    struct why *why) MUST_CHECK;

/* A single number, such as "SELECT count(*) FROM completions": for tests and small reports. */
enum err db_number(struct db *d, const char *sql, double *ret, struct why *why) MUST_CHECK;

#endif
