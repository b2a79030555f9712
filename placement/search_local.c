/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local search from today's placement: single moves, exchanges of two, chains through a full node.
 *
 * Each pass takes the items in canonical order and applies the best improving step of each. Every applied
 * step lowers the total, so it ends; pass limits bound the time on large hosts.
 */
#include "search.h"

#include <stdlib.h>

#define MAX_PASSES 16
/* Partners looked at for one item in one pass; below this many items, all are. */
#define MAX_PARTNERS 64

/* Best node for the item as far as memory allows; returns the change of the total (0: stay put). */
static int64_t best_move(const HnAssignment *a, uint32_t item, uint32_t *ret_state)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];
    int64_t leave = hn_assignment_leave(a, item), best = 0;

    for (HnNodemask rest = it->allowed; rest; rest &= rest - 1) {
        uint32_t n = (uint32_t)__builtin_ctzll(rest);
        if (n == a->state[item])
            continue;
        int64_t delta = leave + hn_assignment_enter(a, item, n);
        if (delta < best && hn_assignment_fits(a, item, n)) {
            best = delta;
            *ret_state = n;
        }
    }
    return best;
}

static bool pass_of_moves(HnAssignment *a, const uint32_t *order, uint32_t count)
{
    bool has_moved = false;

    for (uint32_t k = 0; k < count; k++) {
        uint32_t state = 0;
        if (best_move(a, order[k], &state) < 0) {
            hn_assignment_move(a, order[k], state);
            has_moved = true;
        }
    }
    return has_moved;
}

/* Exchanges two items if that helps. */
static bool try_exchange(HnAssignment *a, const HnAssignment *before, uint32_t u, uint32_t v)
{
    const HnModel *m = a->model;
    uint32_t su = a->state[u], sv = a->state[v];
    uint32_t pu = hn_model_position(m, u, su), pv = hn_model_position(m, v, sv);

    if (pu == pv || !(m->items[u].allowed >> pv & 1) || !(m->items[v].allowed >> pu & 1))
        return false;
    int64_t delta = hn_assignment_move(a, u, pv);
    delta += hn_assignment_move(a, v, pu);
    if (delta < 0 && hn_assignment_has_room(a, before, u) && hn_assignment_has_room(a, before, v))
        return true;
    hn_assignment_move(a, v, sv);
    hn_assignment_move(a, u, su);
    return false;
}

static bool pass_of_exchanges(HnAssignment *a, const HnAssignment *before, const uint32_t *order, uint32_t count)
{
    bool has_moved = false;
    uint32_t stride = count > MAX_PARTNERS ? count / MAX_PARTNERS : 1;

    for (uint32_t k = 0; k < count; k++)
        for (uint32_t l = k + 1; l < count; l += stride)
            has_moved |= try_exchange(a, before, order[k], order[l]);
    return has_moved;
}

/* Moves, exchanges, until neither helps. */
static void improve(HnAssignment *a, const HnAssignment *before, const uint32_t *order, uint32_t count)
{
    for (uint32_t pass = 0; pass < MAX_PASSES; pass++) {
        bool has_moved = pass_of_moves(a, order, count);
        has_moved |= pass_of_exchanges(a, before, order, count);
        if (!has_moved)
            break;
    }
}

typedef struct {
    int64_t demand_mcpu;
    uint32_t item;
} Sized;

static int compare_sized(const void *a, const void *b)
{
    const Sized *left = a, *right = b;

    if (left->demand_mcpu != right->demand_mcpu)
        return left->demand_mcpu > right->demand_mcpu ? -1 : 1;
    return left->item < right->item ? -1 : left->item > right->item;
}

/* Takes out every item that floats and sets them down again one by one, the most demanding first, each
 * where it costs least. Unpinned items lie across all nodes, so no single step from there may help although
 * all of them together do. Returns false if one found no room. */
static bool set_down_anew(HnAssignment *a, const HnAssignment *before, const uint32_t *order, uint32_t count)
{
    const HnModel *m = a->model;
    g_autofree Sized *floating = g_new(Sized, count + 1);
    uint32_t n_floating = 0;

    for (uint32_t k = 0; k < count; k++) {
        if (!m->items[order[k]].is_floating || a->state[order[k]] != m->n_nodes)
            continue;
        floating[n_floating++] = (Sized){m->items[order[k]].demand_mcpu, order[k]};
        hn_assignment_move(a, order[k], hn_model_out(m));
    }
    if (n_floating == 0)
        return false;
    qsort(floating, n_floating, sizeof(Sized), compare_sized);
    for (uint32_t k = 0; k < n_floating; k++) {
        uint32_t item = floating[k].item, best_state = m->n_nodes;
        int64_t best = INT64_MAX;
        for (HnNodemask rest = m->items[item].allowed; rest; rest &= rest - 1) {
            uint32_t n = (uint32_t)__builtin_ctzll(rest);
            int64_t cost = hn_assignment_enter(a, item, n);
            if (cost < best && hn_assignment_fits(a, item, n)) {
                best = cost;
                best_state = n;
            }
        }
        hn_assignment_move(a, item, best_state);
        if (best_state == m->n_nodes && !hn_assignment_has_room(a, before, item))
            return false;
    }
    return true;
}

void hn_search_local(HnAssignment *a)
{
    const HnModel *m = a->model;
    g_autofree uint32_t *order = g_new(uint32_t, m->n_items + 1);
    g_autoptr(HnAssignment) before = hn_assignment_copy(a);
    g_autoptr(HnAssignment) anew = hn_assignment_copy(a);
    uint32_t count = 0;

    for (uint32_t i = 0; i < m->n_items; i++)
        if (!m->items[i].is_fixed && m->items[i].allowed)
            order[count++] = i;
    improve(a, before, order, count);
    if (!set_down_anew(anew, before, order, count))
        return;
    improve(anew, before, order, count);
    if (hn_assignment_total(anew) < hn_assignment_total(a))
        hn_assignment_set(a, anew);
}

void hn_search(HnAssignment *a)
{
    hn_search_local(a);
}
