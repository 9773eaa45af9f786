// SPDX-License-Identifier: Apache-2.0
/* Any bytes in any portions at the control socket: the requests handed over are the frames a plain reading of
 * the bytes finds, and the client is let go. First byte: size of a portion. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/hash.h"
#include "common/svc/ctl_sock.h"

static struct loop *loop;
static struct ctl_server *server;
static char path[64];
static struct hash128 seen;

static void on_req(void *arg, struct ctl_req *req, struct span frame)
{
    (void)arg;
    seen = hash_mix(seen, hash_bytes(frame.p, frame.n));
    ctl_reply(req, span_of(frame.p, frame.n < 16 ? frame.n : 16));
}

static void stop(void)
{
    ctl_server_close(server);
    loop_destroy(loop);
}

static void start(void)
{
    const struct ctl_server_opts o = {.on_req = on_req};
    snprintf(path, sizeof path, "/tmp/fuzz_ctl_sock.%d.sock", (int)getpid());
    if (loop_create(&loop) || ctl_listen(loop, path, &o, &server, NULL) || atexit(stop)) abort();
}

static int dial(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) abort();
    return fd;
}

/* What the bytes hold, read the plain way. */
static struct hash128 expected(const uint8_t *p, size_t n)
{
    struct hash128 h = {0};
    while (n >= 4) {
        const uint32_t len = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        if (len > n - 4) break;
        h = hash_mix(h, hash_bytes(p + 4, len));
        p += 4 + len;
        n -= 4 + len;
    }
    return h;
}

static void turn(void)
{
    for (int i = 0; i < 4; i++) uv_run(loop_uv(loop), UV_RUN_NOWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char sink[4096];
    if (size < 1 || size > 20000) return 0;
    if (!loop) start();
    const size_t portion = data[0] ? data[0] : 20000;
    seen = (struct hash128){0};
    int fd = dial();
    turn();
    for (size_t at = 1; at < size;) {
        const size_t n = size - at < portion ? size - at : portion;
        const ssize_t k = send(fd, data + at, n, MSG_NOSIGNAL);
        if (k > 0) at += (size_t)k;
        turn();
        while (recv(fd, sink, sizeof sink, 0) > 0) continue;
        if (k < 0) break; /* hung up on: a length beyond the bound */
    }
    const struct hash128 want = expected(data + 1, size - 1);
    for (int i = 0; i < 20000 && !hash_eq(seen, want); i++) { /* many small frames: one after the other */
        turn();
        while (recv(fd, sink, sizeof sink, 0) > 0) continue;
    }
    if (!hash_eq(seen, want)) abort();
    close(fd);
    turn();
    return 0;
}
