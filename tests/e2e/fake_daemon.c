// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/fake_daemon.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/msg.h"

#define MAX_CLIENTS 32

struct fake {
    char path[108], *json, log[4096];
    enum manner manner;
    int fd;
    pthread_t thread;
    atomic_bool stop;
    pthread_mutex_t lock;
    int client[MAX_CLIENTS]; /* of SILENT: kept open */
    unsigned n_client;
};

static bool read_all(int fd, uint8_t *p, size_t n)
{
    while (n) {
        const ssize_t k = read(fd, p, n);
        if (k <= 0) return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static void write_all(int fd, const void *p, size_t n)
{
    const uint8_t *b = p;
    while (n) {
        const ssize_t k = send(fd, b, n, MSG_NOSIGNAL);
        if (k <= 0) return;
        b += k;
        n -= (size_t)k;
    }
}

static void write_len(int fd, uint32_t n)
{
    const uint8_t len[4] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24)};
    write_all(fd, len, 4);
}

static void note(struct fake *f, struct span frame)
{
    struct msg_ctl m;
    char words[300] = "job ";
    if (msg_id_of(frame) == MSG_ID_ctl && msg_get_ctl(frame, &m, NULL) == ERR_OK)
        snprintf(words, sizeof words, "%.*s%.*s ", (int)m.verb.n, (const char *)m.verb.p, (int)m.args.n, (const char *)m.args.p);
    pthread_mutex_lock(&f->lock);
    strncat(f->log, words, sizeof f->log - strlen(f->log) - 1);
    pthread_mutex_unlock(&f->lock);
}

static void put_group(const struct msg_job *j, struct msg_buf *b)
{
    const uint32_t n = j->group_size, total = 3 * n;
    uint32_t *n_tok = calloc(n, 4), *version = calloc(total, 4);
    uint8_t *finish = calloc(n, 1), *kind = calloc(total, 1);
    int32_t *tok = calloc(total, 4);
    float *lp = calloc(total, 4);
    for (uint32_t i = 0; i < n; i++) n_tok[i] = 3, finish[i] = (uint8_t)(i % 2);
    for (uint32_t i = 0; i < total; i++) tok[i] = (int32_t)(i % 3), lp[i] = -0.5f, version[i] = 4, kind[i] = 1;
    const struct msg_group g = {.incarnation = 9, .n_tok = msg_arr_of(n_tok, n), .finish = msg_arr_of(finish, n), .tokens = msg_arr_of(tok, total),
                                .logprob = msg_arr_of(lp, total), .version = msg_arr_of(version, total), .kind = msg_arr_of(kind, total),
                                .gen_ns = 1000000};
    if (msg_put_group(&g, b)) abort();
    free(n_tok), free(version), free(finish), free(kind), free(tok), free(lp);
}

static void answer(struct fake *f, int fd, struct span frame)
{
    struct msg_buf b = {0};
    struct msg_job job;
    const bool refuse = f->manner == REFUSE;
    const struct msg_ctl_reply r = {
        .code = refuse ? ERR_BUSY : 0, .why = span_str(refuse ? "not on a \033[31mSunday" : ""), .json = span_str(f->json)};
    const struct msg_ack other = {.code = 0, .why = span_str("hm")};
    static const uint8_t babble[64] = {0xde, 0xad, 0xbe, 0xef, 0xc1, 0xff};
    enum err e = f->manner == OTHER ? msg_put_ack(&other, &b) : msg_put_ctl_reply(&r, &b);
    if (e) abort();
    if (f->manner == GROUP && msg_id_of(frame) == MSG_ID_job && msg_get_job(frame, &job, NULL) == ERR_OK) put_group(&job, &b);
    switch (f->manner) {
    case CUT:
        write_len(fd, (uint32_t)b.n);
        write_all(fd, b.p, b.n / 2);
        break;
    case HANG_UP: break;
    case BABBLE:
        write_len(fd, sizeof babble);
        write_all(fd, babble, sizeof babble);
        break;
    case ENDLESS:
        write_len(fd, 0xfffffff0u);
        write_all(fd, babble, sizeof babble);
        break;
    case TRICKLE:
        write_len(fd, 1000000);
        for (int i = 0; i < 200 && !f->stop; i++, poll(NULL, 0, 20)) write_all(fd, babble, 1);
        break;
    default:
        write_len(fd, (uint32_t)b.n);
        write_all(fd, b.p, b.n);
    }
    msg_buf_done(&b);
}

static void serve(struct fake *f, int fd)
{
    uint8_t len[4];
    if (!read_all(fd, len, 4)) {
        close(fd);
        return;
    }
    const uint32_t n = len[0] | (uint32_t)len[1] << 8 | (uint32_t)len[2] << 16 | (uint32_t)len[3] << 24;
    uint8_t *frame = malloc(n + 1u);
    const bool whole = frame && read_all(fd, frame, n);
    if (whole) note(f, span_of(frame, n));
    if (f->manner == SILENT && f->n_client < MAX_CLIENTS) f->client[f->n_client++] = fd;
    else {
        if (whole) answer(f, fd, span_of(frame, n));
        close(fd);
    }
    free(frame);
}

static void *thread_main(void *arg)
{
    struct fake *f = arg;
    while (!f->stop) {
        struct pollfd p = {f->fd, POLLIN, 0};
        if (poll(&p, 1, 50) <= 0) continue;
        const int fd = accept(f->fd, NULL, NULL);
        if (fd >= 0) serve(f, fd);
    }
    return NULL;
}

struct fake *fake_start(const char *path, enum manner manner, const char *json)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct fake *f = calloc(1, sizeof *f);
    if (!f || strlen(path) >= sizeof a.sun_path) abort();
    strcpy(f->path, path);
    strcpy(a.sun_path, path);
    f->json = strdup(json ? json : "{}");
    f->manner = manner;
    pthread_mutex_init(&f->lock, NULL);
    f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(f->fd, (struct sockaddr *)&a, sizeof a) || listen(f->fd, 8) || pthread_create(&f->thread, NULL, thread_main, f)) {
        perror(path);
        abort();
    }
    return f;
}

const char *fake_log(struct fake *f)
{
    static char copy[4096];
    pthread_mutex_lock(&f->lock);
    strcpy(copy, f->log);
    pthread_mutex_unlock(&f->lock);
    return copy;
}

void fake_stop(struct fake *f)
{
    f->stop = true;
    pthread_join(f->thread, NULL);
    for (unsigned i = 0; i < f->n_client; i++) close(f->client[i]);
    close(f->fd);
    unlink(f->path);
    pthread_mutex_destroy(&f->lock);
    free(f->json);
    free(f);
}
