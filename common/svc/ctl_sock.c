// SPDX-License-Identifier: Apache-2.0
#include "common/svc/ctl_sock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"

/* A client, with at most one request open: its next frame is looked at when the answer has gone out, and what it sends meanwhile is kept up to a
 * bound, so one that asks and does not read costs a bounded amount of memory. */
struct ctl_req {
    struct ctl_server *s;
    struct ctl_req *next, **prev;
    uv_pipe_t pipe;
    uint8_t *buf;
    size_t n, cap;
    bool open, writing, closing;
    void *data;
};

struct ctl_server {
    struct loop *loop;
    struct ctl_server_opts o;
    uv_pipe_t pipe;
    struct ctl_req *clients;
    char path[108];
    bool closing;
};

static uint32_t get_len(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_len(uint8_t *p, uint32_t n)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(n >> (8 * i));
}

static void client_freed(uv_handle_t *h)
{
    struct ctl_req *r = h->data;
    free(r->buf);
    free(r);
}

static void drop(struct ctl_req *r)
{
    if (r->closing) return;
    r->closing = true;
    *r->prev = r->next;
    if (r->next) r->next->prev = r->prev;
    if (r->open && r->s->o.on_gone && !r->s->closing) r->s->o.on_gone(r->s->o.arg, r);
    uv_close((uv_handle_t *)&r->pipe, client_freed);
}

/* Hand over the next whole frame, if there is one and none is open. */
static void next_frame(struct ctl_req *r)
{
    if (r->closing || r->open || r->writing || r->n < 4) return;
    const uint32_t len = get_len(r->buf);
    if (len > CTL_MAX_FRAME) {
        drop(r);
        return;
    }
    if (r->n - 4 < len) return;
    uint8_t *frame = malloc(len ? len : 1);
    if (!frame) {
        drop(r);
        return;
    }
    memcpy(frame, r->buf + 4, len);
    memmove(r->buf, r->buf + 4 + len, r->n - 4 - len);
    r->n -= 4 + (size_t)len;
    r->open = true;
    r->s->o.on_req(r->s->o.arg, r, span_of(frame, len));
    free(frame);
}

static void on_alloc(uv_handle_t *h, size_t want, uv_buf_t *out)
{
    struct ctl_req *r = h->data;
    (void)want;
    if (r->cap - r->n < 4096) {
        const size_t cap = r->cap ? r->cap * 2 : 16384;
        uint8_t *p = cap <= 2 * (size_t)CTL_MAX_FRAME ? realloc(r->buf, cap) : NULL;
        if (!p) {
            *out = uv_buf_init(NULL, 0); /* libuv reports ENOBUFS, and the client is dropped */
            return;
        }
        r->buf = p;
        r->cap = cap;
    }
    *out = uv_buf_init((char *)r->buf + r->n, (unsigned)(r->cap - r->n));
}

static void on_read(uv_stream_t *st, ssize_t n, const uv_buf_t *b)
{
    struct ctl_req *r = st->data;
    (void)b;
    if (n < 0) {
        drop(r);
        return;
    }
    r->n += (size_t)n;
    next_frame(r);
}

static void on_connect(uv_stream_t *st, int status)
{
    struct ctl_server *s = st->data;
    struct ctl_req *r = status ? NULL : calloc(1, sizeof *r);
    if (!r) return;
    r->s = s;
    uv_pipe_init(loop_uv(s->loop), &r->pipe, 0);
    r->pipe.data = r;
    r->next = s->clients;
    r->prev = &s->clients;
    if (r->next) r->next->prev = &r->next;
    s->clients = r;
    if (uv_accept(st, (uv_stream_t *)&r->pipe) || uv_read_start((uv_stream_t *)&r->pipe, on_alloc, on_read)) drop(r);
}

/* A connected socket that never blocks, or -1 with errno. A daemon that stands still with a full queue of clients is EAGAIN. */
static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a)) {
        const int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

static void server_freed(uv_handle_t *h)
{
    free(h->data);
}

/* Nobody answers at a socket, or the path is no socket at all: then it is somebody's file. */
static void remove_stale(const char *path)
{
    struct stat st;
    if (!lstat(path, &st) && S_ISSOCK(st.st_mode)) unlink(path);
}

enum err ctl_listen(struct loop *l, const char *path, const struct ctl_server_opts *o, struct ctl_server **ret_server, struct why *why)
{
    if (strlen(path) >= 108) return why_set(why, ERR_INVAL, "%s: a socket path has at most 107 bytes", path);
    int fd = connect_to(path);
    if (fd >= 0) close(fd);
    if (fd >= 0 || errno == EAGAIN) return why_set(why, ERR_EXIST, "%s: another daemon answers here", path);
    if (errno == ECONNREFUSED) remove_stale(path);
    struct ctl_server *s = calloc(1, sizeof *s);
    if (!s) return ERR_NOMEM;
    s->loop = l;
    s->o = *o;
    snprintf(s->path, sizeof s->path, "%s", path);
    uv_pipe_init(loop_uv(l), &s->pipe, 0);
    s->pipe.data = s;
    int rv = uv_pipe_bind(&s->pipe, path);
    if (!rv) rv = uv_listen((uv_stream_t *)&s->pipe, 16, on_connect);
    if (rv) {
        uv_close((uv_handle_t *)&s->pipe, server_freed);
        return why_set(why, err_from_errno(-rv), "%s: cannot listen: %s", path, uv_strerror(rv));
    }
    chmod(path, 0660);
    *ret_server = s;
    return ERR_OK;
}

void ctl_server_close(struct ctl_server *s)
{
    if (!s) return;
    s->closing = true;
    while (s->clients) drop(s->clients);
    unlink(s->path);
    uv_close((uv_handle_t *)&s->pipe, server_freed);
}

struct reply {
    uv_write_t w;
    struct ctl_req *r;
    uint8_t bytes[];
};

static void on_written(uv_write_t *w, int status)
{
    struct reply *p = (struct reply *)w;
    struct ctl_req *r = p->r;
    free(p);
    r->writing = false;
    if (status) drop(r);
    else next_frame(r);
}

void ctl_reply(struct ctl_req *r, struct span frame)
{
    if (r->closing) return;
    struct reply *p = malloc(sizeof *p + 4 + frame.n);
    r->open = false;
    if (!p) {
        drop(r);
        return;
    }
    p->r = r;
    put_len(p->bytes, (uint32_t)frame.n);
    memcpy(p->bytes + 4, frame.p, frame.n);
    uv_buf_t b = uv_buf_init((char *)p->bytes, (unsigned)(4 + frame.n));
    r->writing = true;
    if (uv_write(&p->w, (uv_stream_t *)&r->pipe, &b, 1, on_written)) {
        free(p);
        drop(r);
    }
}

void ctl_req_set_data(struct ctl_req *r, void *data)
{
    r->data = data;
}

void *ctl_req_data(const struct ctl_req *r)
{
    return r->data;
}

/* -- client ----------------------------------------------------------------------------------------------------------- */

/* Move n bytes one way or the other before the deadline. */
static enum err move_bytes(int fd, uint8_t *p, size_t n, bool out, int64_t deadline_ns)
{
    while (n) {
        const int64_t left_ms = (deadline_ns - clock_now_ns()) / NS_PER_MS;
        struct pollfd pf = {fd, out ? POLLOUT : POLLIN, 0};
        if (left_ms <= 0 || poll(&pf, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms) == 0) return ERR_TIMEOUT;
        ssize_t k = out ? send(fd, p, n, MSG_NOSIGNAL) : read(fd, p, n);
        if (k < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (k <= 0) return ERR_CLOSED;
        p += k;
        n -= (size_t)k;
    }
    return ERR_OK;
}

static enum err talk(int fd, struct span frame, int64_t deadline_ns, uint8_t **ret_reply, size_t *ret_n)
{
    uint8_t len[4];
    put_len(len, (uint32_t)frame.n);
    TRY(move_bytes(fd, len, 4, true, deadline_ns));
    TRY(move_bytes(fd, (uint8_t *)frame.p, frame.n, true, deadline_ns));
    TRY(move_bytes(fd, len, 4, false, deadline_ns));
    const uint32_t n = get_len(len);
    if (n > CTL_MAX_FRAME) return ERR_FORMAT;
    uint8_t *p = malloc(n + 1u);
    if (!p) return ERR_NOMEM;
    enum err e = move_bytes(fd, p, n, false, deadline_ns);
    if (e) {
        free(p);
        return e;
    }
    p[n] = 0;
    *ret_reply = p;
    *ret_n = n;
    return ERR_OK;
}

/* A connected socket, trying again while the daemon's queue of clients is full. */
static enum err dial(const char *path, int64_t deadline_ns, int *ret_fd, struct why *why)
{
    for (;;) {
        *ret_fd = connect_to(path);
        if (*ret_fd >= 0) return ERR_OK;
        if (errno != EAGAIN) break;
        if (clock_now_ns() >= deadline_ns) return why_set(why, ERR_TIMEOUT, "%s: the daemon takes no more clients", path);
        poll(NULL, 0, 20);
    }
    if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR) return why_set(why, ERR_NOENT, "%s: no daemon answers here", path);
    return why_set(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
}

enum err ctl_probe(const char *path, struct why *why)
{
    const int fd = connect_to(path);
    if (fd >= 0) close(fd);
    if (fd >= 0 || errno == EAGAIN) return ERR_OK;
    if (errno == EACCES || errno == EPERM) return why_set(why, ERR_ACCESS, "%s: %s", path, strerror(errno));
    return why_set(why, ERR_NOENT, "%s: no daemon answers here", path);
}

enum err ctl_call(const char *path, struct span frame, int timeout_ms, uint8_t **ret_reply, size_t *ret_n, struct why *why)
{
    const int64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    int fd;
    TRY(dial(path, deadline_ns, &fd, why));
    enum err e = talk(fd, frame, deadline_ns, ret_reply, ret_n);
    close(fd);
    return e ? why_set(why, e, "%s: %s", path, err_str(e)) : ERR_OK;
}
