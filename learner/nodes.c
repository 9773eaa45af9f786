// SPDX-License-Identifier: Apache-2.0
#include "learner/nodes.h"

#include <stdlib.h>

/* Forget the oldest node that is gone; false: all are here. What it held was given to others when it went. */
static bool make_room(struct nodes *n)
{
    for (struct node **at = &n->head; *at; at = &(*at)->next) {
        struct node *x = *at;
        if (x->peer) continue;
        *at = x->next;
        free(x);
        n->n--;
        return true;
    }
    return false;
}

struct node *nodes_greet(struct nodes *n, uint64_t boot, int64_t now_ns)
{
    for (struct node *x = n->head; x; x = x->next)
        if (x->boot == boot) return x;
    if (n->n >= NODES_MAX && !make_room(n)) return NULL;
    struct node *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    n->n++;
    x->id = ++n->last_id;
    x->boot = boot;
    x->joined_ns = now_ns;
    struct node **at = &n->head;
    while (*at) at = &(*at)->next;
    *at = x;
    return x;
}

struct node *nodes_find(const struct nodes *n, uint64_t id)
{
    for (struct node *x = n->head; x; x = x->next)
        if (x->id == id) return x;
    return NULL;
}

struct node *nodes_by_peer(const struct nodes *n, uint64_t peer)
{
    for (struct node *x = n->head; x; x = x->next)
        if (x->peer == peer) return x;
    return NULL;
}

void nodes_done(struct nodes *n)
{
    while (n->head) {
        struct node *x = n->head;
        n->head = x->next;
        free(x);
    }
    n->n = 0;
}

bool node_is_up(const struct node *n)
{
    return n->peer != 0 && !n->silent;
}
