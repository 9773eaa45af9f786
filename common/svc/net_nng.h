// SPDX-License-Identifier: Apache-2.0
/* net_nng.h - private to net_*.c: nng's errors and addresses in our words, and how a socket is ended. */
#ifndef COMMON_SVC_NET_NNG_H
#define COMMON_SVC_NET_NNG_H

#include <arpa/inet.h>
#include <nng/nng.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"

static inline enum err net_err(int rv)
{
    switch (rv) {
    case 0: return ERR_OK;
    case NNG_ENOMEM: return ERR_NOMEM;
    case NNG_EADDRINUSE: return ERR_EXIST;
    case NNG_EADDRINVAL:
    case NNG_EINVAL: return ERR_INVAL;
    case NNG_EPERM: return ERR_ACCESS;
    case NNG_ETIMEDOUT: return ERR_TIMEOUT;
    case NNG_ECLOSED:
    case NNG_ECONNRESET:
    case NNG_ECONNSHUT:
    case NNG_ECANCELED:
    case NNG_ECONNREFUSED: return ERR_CLOSED;
    default: return ERR_IO;
    }
}

/* End a socket whose aios are stopped already; no callback comes afterwards. Waits for a second at most. */
void net__close(nng_socket sock);

/* nng's ipc listener dies for good when a client closes in mid-handshake (nng 1.5.2), so only these are allowed. */
static inline bool net_url_ok(const char *url)
{
    return !strncmp(url, "tcp://", 6) || !strncmp(url, "tls+tcp://", 10);
}

static inline void net_pipe_addr(nng_pipe p, char *out, size_t cap)
{
    nng_sockaddr sa;
    char ip[64] = "?";
    unsigned port = 0;
    out[0] = 0;
    if (nng_pipe_get_addr(p, NNG_OPT_REMADDR, &sa)) return;
    if (sa.s_family == NNG_AF_INET) {
        inet_ntop(AF_INET, &sa.s_in.sa_addr, ip, sizeof ip);
        port = ntohs(sa.s_in.sa_port);
    } else if (sa.s_family == NNG_AF_INET6) {
        inet_ntop(AF_INET6, sa.s_in6.sa_addr, ip, sizeof ip);
        port = ntohs(sa.s_in6.sa_port);
    }
    snprintf(out, cap, "%s:%u", ip, port);
}

#endif
