/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ejection chains: u goes to node n, which has no room for it (or would be overloaded), and pushes
 * v out of n to wherever v costs least, which may be full as well and push out w.
 *
 * Few of the many chains are tried: for each kept-out item its best node, there the items that
 * would lose least by leaving. A chain is done step by step and undone if it does not pay in the
 * end.
 */
#include "search_steps.h"

#include <string.h>

#define MAX_DEPTH 3
/* Candidates for being pushed out per node and step. */
#define N_PUSHED 6
/* Steps tried per pass: bounds its time. */
#define MAX_TRIES 2048

typedef struct {
    HnAssignment *a;
    const HnAssignment *before;
    const HnMovable *movable;
    uint32_t *at_node; /* items by position, as when the pass began */
    uint32_t start[HN_MAX_NODES + 1];
    uint32_t chain[MAX_DEPTH + 1];
    uint8_t came_from[MAX_DEPTH + 1];
    uint32_t tries_left;
} Chains;

static void index_items(Chains *c)
{
    const HnModel *m = c->a->model;
    uint32_t fill[HN_MAX_NODES];

    memset(c->start, 0, sizeof(c->start));
    for (uint32_t k = 0; k < c->movable->count; k++) {
        uint32_t item = c->movable->items[k];
        c->start[hn_model_position(m, item, c->a->state[item]) + 1]++;
    }
    for (uint32_t n = 0; n < m->n_nodes; n++) {
        c->start[n + 1] += c->start[n];
        fill[n] = c->start[n];
    }
    for (uint32_t k = 0; k < c->movable->count; k++) {
        uint32_t item = c->movable->items[k];
        c->at_node[fill[hn_model_position(m, item, c->a->state[item])]++] = item;
    }
}

/* Best other node for an item, room or not. */
static int64_t best_wish(const HnAssignment *a, uint32_t item, uint32_t avoid, uint32_t *ret_state)
{
    const HnModel *m = a->model;
    HnNodemask others = m->items[item].allowed;

    if (avoid < m->n_nodes)
        others &= ~(UINT64_C(1) << avoid);
    if (a->state[item] < m->n_nodes)
        others &= ~(UINT64_C(1) << a->state[item]);
    int64_t price = hn_assignment_enter_best(a, item, others, INT64_MAX, false, ret_state);
    return price == INT64_MAX ? price : price + hn_assignment_leave(a, item);
}

static bool has_room_for_all(const Chains *c, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if (!hn_assignment_has_room(c->a, c->before, c->chain[i]))
            return false;
    return true;
}

static bool is_in_chain(const Chains *c, uint32_t length, uint32_t item)
{
    for (uint32_t i = 0; i < length; i++)
        if (c->chain[i] == item)
            return true;
    return false;
}

/* The last item of the chain has just entered `node`; `delta` is the price so far. Pushes one out
 * of it. */
static bool push_on(Chains *c, uint32_t length, uint32_t node, int64_t delta)
{
    const HnModel *m = c->a->model;
    struct {
        int64_t price;
        uint32_t item, to;
    } best[N_PUSHED];
    uint32_t count = 0;

    for (uint32_t k = c->start[node]; k < c->start[node + 1]; k++) {
        uint32_t item = c->at_node[k], to = 0;
        if (hn_model_position(m, item, c->a->state[item]) != node || is_in_chain(c, length, item) ||
            c->tries_left == 0)
            continue;
        c->tries_left--;
        int64_t price = best_wish(c->a, item, node, &to);
        if (price == INT64_MAX || (count == N_PUSHED && best[count - 1].price <= price))
            continue;
        uint32_t at = count < N_PUSHED ? count++ : N_PUSHED - 1;
        for (; at > 0 && best[at - 1].price > price; at--)
            best[at] = best[at - 1];
        best[at].price = price;
        best[at].item = item;
        best[at].to = to;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t item = best[i].item;
        c->chain[length] = item;
        c->came_from[length] = c->a->state[item];
        int64_t after = delta + hn_assignment_move(c->a, item, best[i].to);
        if (after < 0 && has_room_for_all(c, length + 1))
            return true;
        if (length + 1 < MAX_DEPTH && push_on(c, length + 1, best[i].to, after))
            return true;
        hn_assignment_move(c->a, item, c->came_from[length]);
    }
    return false;
}

bool hn_search_chain(HnAssignment *a, const HnAssignment *before, const HnMovable *movable)
{
    Chains c = {.a = a, .before = before, .movable = movable, .tries_left = MAX_TRIES};
    g_autofree uint32_t *at_node = g_new(uint32_t, movable->count + 1);
    bool has_moved = false;

    c.at_node = at_node;
    index_items(&c);
    for (uint32_t k = 0; k < movable->count && c.tries_left > 0; k++) {
        uint32_t item = movable->items[k], to = 0;
        int64_t delta = best_wish(a, item, UINT32_MAX, &to);
        /* Only what memory keeps out; what load keeps out is the business of exchanges, and of
         * chains only while there are few items. */
        if (delta == INT64_MAX || (delta >= 0 && movable->count > 64))
            continue;
        c.chain[0] = item;
        c.came_from[0] = a->state[item];
        hn_assignment_move(a, item, to);
        if (push_on(&c, 1, to, delta)) {
            has_moved = true;
            index_items(&c);
        } else {
            hn_assignment_move(a, item, c.came_from[0]);
        }
    }
    return has_moved;
}
