/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exchanges. There are V^2/2 pairs; beyond a few dozen items only telling ones are looked at:
 *
 *  - by wish: per ordered pair of nodes the few items that would gain most by going there, against
 * the few of the other node that would gain most, or lose least, by coming here;
 *  - by load: per pair of nodes each item of the fuller one against the item of the other whose
 * demand is smaller by half the difference of load, found by two fingers on lists sorted by demand.
 *
 * Pairs without company are priced without touching the assignment; the others by doing and
 * undoing.
 */
#include "search_steps.h"

#include <string.h>

#define ALL_PAIRS_ITEMS 48
#define N_WISHES 6

/* Does its price depend on unary terms and two nodes' loads only? */
static bool is_plain(const HnAssignment *a, uint32_t item)
{
    const HnItem *it = &a->model->items[item];

    return it->group < 0 && it->anti < 0 && it->kin_count == 1 &&
           !(it->is_floating && a->state[item] == a->model->n_nodes);
}

static int64_t swap_price(const HnAssignment *a, uint32_t u, uint32_t v, uint32_t pu, uint32_t pv)
{
    const HnModel *m = a->model;
    const HnItem *x = &m->items[u], *y = &m->items[v];
    int64_t delta = hn_model_unary(m, u, pv) - hn_model_unary(m, u, a->state[u]) +
                    hn_model_unary(m, v, pu) - hn_model_unary(m, v, a->state[v]);

    delta += hn_assignment_node_cost(a, pu, y->demand_mcpu - x->demand_mcpu,
                                     y->weighted_mcpu - x->weighted_mcpu,
                                     y->bound_mcpu - x->bound_mcpu, y->draw_mib - x->draw_mib) -
             a->node_cost[pu];
    delta += hn_assignment_node_cost(a, pv, x->demand_mcpu - y->demand_mcpu,
                                     x->weighted_mcpu - y->weighted_mcpu,
                                     x->bound_mcpu - y->bound_mcpu, x->draw_mib - y->draw_mib) -
             a->node_cost[pv];
    return delta;
}

bool hn_search_try_swap(HnAssignment *a, const HnAssignment *before, uint32_t u, uint32_t v)
{
    const HnModel *m = a->model;
    uint32_t su = a->state[u], sv = a->state[v];
    uint32_t pu = hn_model_position(m, u, su), pv = hn_model_position(m, v, sv);

    if (pu == pv || !(m->items[u].allowed >> pv & 1) || !(m->items[v].allowed >> pu & 1))
        return false;
    if (is_plain(a, u) && is_plain(a, v) && swap_price(a, u, v, pu, pv) >= 0)
        return false;
    int64_t delta = hn_assignment_move(a, u, pv);
    delta += hn_assignment_move(a, v, pu);
    if (delta < 0 && hn_assignment_has_room(a, before, u) && hn_assignment_has_room(a, before, v))
        return true;
    hn_assignment_move(a, v, sv);
    hn_assignment_move(a, u, su);
    return false;
}

typedef struct {
    int64_t gain_ns;
    uint32_t item;
} Wish;

/* Keeps the N_WISHES largest, in order; ties to the first come. */
static void keep_wish(Wish *list, uint8_t *count, Wish wish)
{
    uint32_t at = *count < N_WISHES ? (*count)++ : N_WISHES - 1;

    if (at == N_WISHES - 1 && *count == N_WISHES && list[at].item != UINT32_MAX &&
        list[at].gain_ns >= wish.gain_ns)
        return;
    for (; at > 0 && list[at - 1].gain_ns < wish.gain_ns; at--)
        list[at] = list[at - 1];
    list[at] = wish;
}

static bool swap_by_wish(HnAssignment *a, const HnAssignment *before, const HnMovable *movable)
{
    const HnModel *m = a->model;
    size_t n_lists = (size_t)m->n_nodes * m->n_nodes;
    g_autofree Wish *lists = g_new(Wish, n_lists * N_WISHES);
    g_autofree uint8_t *counts = g_new0(uint8_t, n_lists);
    bool has_moved = false;

    memset(lists, 0xff, n_lists * N_WISHES * sizeof(Wish));
    for (uint32_t k = 0; k < movable->count; k++) {
        uint32_t item = movable->items[k], from = hn_model_position(m, item, a->state[item]);
        if (m->items[item].is_floating && a->state[item] == m->n_nodes)
            continue;
        int64_t now = hn_model_unary(m, item, a->state[item]);
        for (HnNodemask rest = m->items[item].allowed & ~(UINT64_C(1) << from); rest;
             rest &= rest - 1) {
            uint32_t to = (uint32_t)__builtin_ctzll(rest);
            size_t list = (size_t)from * m->n_nodes + to;
            keep_wish(&lists[list * N_WISHES], &counts[list],
                      (Wish){now - hn_model_unary(m, item, to), item});
        }
    }
    for (uint32_t p = 0; p < m->n_nodes; p++)
        for (uint32_t n = p + 1; n < m->n_nodes; n++) {
            size_t there = (size_t)p * m->n_nodes + n, back = (size_t)n * m->n_nodes + p;
            for (uint32_t i = 0; i < counts[there]; i++)
                for (uint32_t j = 0; j < counts[back]; j++) {
                    uint32_t u = lists[there * N_WISHES + i].item,
                             v = lists[back * N_WISHES + j].item;
                    /* An earlier exchange may have taken one of them elsewhere: then this is
                     * another pair. */
                    has_moved |= hn_search_try_swap(a, before, u, v);
                }
        }
    return has_moved;
}

typedef struct {
    int64_t demand_mcpu;
    uint32_t item;
} Placed;

/* Load per thousandth of capacity. */
static int64_t pressure(const HnAssignment *a, uint32_t n)
{
    return a->load_mcpu[n] * 1000 / a->model->nodes[n].capacity_mcpu;
}

static bool swap_pair_by_load(HnAssignment *a, const HnAssignment *before, const Placed *full,
                              uint32_t n_full, const Placed *other, uint32_t n_other,
                              int64_t difference)
{
    bool has_moved = false;
    uint32_t finger = 0;

    for (uint32_t i = 0; i < n_full; i++) {
        while (finger + 1 < n_other &&
               other[finger + 1].demand_mcpu <= full[i].demand_mcpu - difference)
            finger++;
        if (n_other > 0 && hn_search_try_swap(a, before, full[i].item, other[finger].item))
            has_moved = true;
        else if (finger + 1 < n_other)
            has_moved |= hn_search_try_swap(a, before, full[i].item, other[finger + 1].item);
    }
    return has_moved;
}

static bool swap_by_load(HnAssignment *a, const HnAssignment *before, const HnMovable *movable)
{
    const HnModel *m = a->model;
    g_autofree Placed *placed = g_new(Placed, movable->count + 1);
    uint32_t start[HN_MAX_NODES + 1] = {0}, fill[HN_MAX_NODES];
    bool has_moved = false;

    /* By node and within it by demand: a counting sort of what is sorted by demand already. */
    for (uint32_t k = 0; k < movable->count; k++) {
        uint32_t item = movable->by_demand[k];
        if (!m->items[item].is_floating || a->state[item] != m->n_nodes)
            start[hn_model_position(m, item, a->state[item]) + 1]++;
    }
    for (uint32_t n = 0; n < m->n_nodes; n++) {
        start[n + 1] += start[n];
        fill[n] = start[n];
    }
    for (uint32_t k = 0; k < movable->count; k++) {
        uint32_t item = movable->by_demand[k];
        if (!m->items[item].is_floating || a->state[item] != m->n_nodes)
            placed[fill[hn_model_position(m, item, a->state[item])]++] =
                (Placed){m->items[item].demand_mcpu, item};
    }
    for (uint32_t p = 0; p < m->n_nodes; p++)
        for (uint32_t n = 0; n < m->n_nodes; n++) {
            int64_t gap = pressure(a, p) - pressure(a, n);
            if (p == n || gap <= 0)
                continue;
            int64_t difference =
                gap * MIN(m->nodes[p].capacity_mcpu, m->nodes[n].capacity_mcpu) / 2000;
            /* Below a hundredth of a CPU there is nothing to even out. */
            if (difference >= 10)
                has_moved |=
                    swap_pair_by_load(a, before, placed + start[p], start[p + 1] - start[p],
                                      placed + start[n], start[n + 1] - start[n], difference);
        }
    return has_moved;
}

bool hn_search_swap(HnAssignment *a, const HnAssignment *before, const HnMovable *movable)
{
    bool has_moved = false;

    if (movable->count <= ALL_PAIRS_ITEMS) {
        for (uint32_t k = 0; k < movable->count; k++)
            for (uint32_t l = k + 1; l < movable->count; l++)
                has_moved |= hn_search_try_swap(a, before, movable->items[k], movable->items[l]);
        return has_moved;
    }
    has_moved = swap_by_wish(a, before, movable);
    has_moved |= swap_by_load(a, before, movable);
    return has_moved;
}
