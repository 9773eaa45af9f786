// SPDX-License-Identifier: Apache-2.0
/* nodes.h - the rollout nodes that are or were here: who, since when, heard from when, and a question they left open. Loop thread. */
#ifndef LEARNER_NODES_H
#define LEARNER_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/svc/net.h"
#include "proto/version.h"

struct node {
    struct node *next;
    uint64_t id, boot, peer; /* peer: its connection; 0: none */
    char name[64], addr[64], numerics[96];
    bool exact;         /* its numerics are the learner's */
    bool silent;        /* its lease ran out; cleared when it is heard again */
    bool drain;
    int64_t joined_ns, heard_ns;
    struct version have;
    struct net_req *ask; /* parked; NULL: none */
    uint32_t ask_room, max_seq; /* of the open question; at most */
    uint64_t n_group, n_tok; /* groups taken from it, their tokens */
    uint32_t n_running, n_waiting, free_block, n_block, swap_ms, stall_us;
    float tok_per_s;
};

#define NODES_MAX 1024 /* known at a time; of those that are gone the oldest is forgotten for a new one */

struct nodes {
    struct node *head;
    uint32_t n;
    uint64_t last_id;
};

/* The node of this process (boot), new or known. NULL: out of memory, or NODES_MAX are here. */
struct node *nodes_greet(struct nodes *n, uint64_t boot, int64_t now_ns);
struct node *nodes_find(const struct nodes *n, uint64_t id);
struct node *nodes_by_peer(const struct nodes *n, uint64_t peer);
void nodes_done(struct nodes *n);
bool node_is_up(const struct node *n);

#endif
