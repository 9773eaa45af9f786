// SPDX-License-Identifier: Apache-2.0
/* net_nng.c - ending a socket. nng_close in nng 1.5.2 waits for ever when a message is just coming in: the transport asks for the rest of it on
 * an aio that is closed already, hears nothing, and the pipe is never reaped (fixed upstream in 2023, nanomsg/nng #1636). So it runs on a
 * thread of its own and is left behind when it does not come back; by then nothing of ours is known to the socket. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/svc/net_nng.h"

#define CLOSE_WAIT_S 1

static void *close_main(void *arg)
{
    nng_socket *s = arg;
    nng_close(*s);
    free(s);
    return NULL;
}

void net__close(nng_socket sock)
{
    pthread_t t;
    struct timespec end;
    nng_socket *s = malloc(sizeof *s);
    if (s) *s = sock;
    (void)nng_pipe_notify(sock, NNG_PIPE_EV_ADD_POST, NULL, NULL);
    (void)nng_pipe_notify(sock, NNG_PIPE_EV_REM_POST, NULL, NULL);
    if (!s || pthread_create(&t, NULL, close_main, s)) {
        free(s);
        nng_close(sock);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += CLOSE_WAIT_S;
    if (pthread_timedjoin_np(t, NULL, &end)) pthread_detach(t);
}
