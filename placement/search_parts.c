/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Large neighbourhoods: some of the items are taken out and placed anew by branch and bound, the
 * others standing still (Shaw 1998). What moves, exchanges and chains of three cannot do, because
 * every step on the way is worse or finds no room, an exact search of ten items does at once; it is
 * worth most where memory is nearly full.
 *
 * The items are those on two nodes, pair by pair: what is wrong between two nodes is put right
 * there, and any of them may also go to a third. The parts of a wide domain go together, since they
 * have homes all or none. Where there are more than ten, each goes with the others of nearly its
 * demand, and in the next pass with others.
 */
#include "search.h"

#include "search_steps.h"

#include <string.h>

#define N_TAKEN 10
/* Visits for one such problem: its proof needs a few hundred. */
#define MAX_VISITS_PART 600

/* The items on two nodes, least demand first, and their siblings. Returns how many. */
static uint32_t collect(const HnAssignment *a, const HnMovable *movable, uint32_t p, uint32_t q,
                        bool *is_taken, uint32_t *ret_items)
{
    const HnModel *m = a->model;
    uint32_t count = 0;

    memset(is_taken, 0, m->n_items);
    for (uint32_t k = 0; k < movable->count; k++) {
        const HnItem *it = &m->items[movable->by_demand[k]];
        uint32_t position =
            hn_model_position(m, movable->by_demand[k], a->state[movable->by_demand[k]]);
        if (position != p && position != q)
            continue;
        for (uint32_t i = it->kin_first; i < it->kin_first + it->kin_count; i++)
            if (!is_taken[i] && !m->items[i].is_fixed && m->items[i].allowed) {
                is_taken[i] = true;
                ret_items[count++] = i;
            }
    }
    return count;
}

bool hn_search_parts(HnAssignment *a, const HnAssignment *before, const HnMovable *movable,
                     uint32_t pass, uint64_t *visits_left)
{
    const HnModel *m = a->model;
    g_autofree uint32_t *here = g_new(uint32_t, movable->count + 1);
    g_autofree bool *is_taken = g_new(bool, m->n_items + 1);
    int64_t total = hn_assignment_total(a);

    for (uint32_t p = 0; p < m->n_nodes; p++)
        for (uint32_t q = p + 1; q < m->n_nodes; q++) {
            uint32_t count = collect(a, movable, p, q, is_taken, here);
            /* Every other pass the cuts fall in the middle of what they were. */
            uint32_t size = count > N_TAKEN && pass % 2 ? N_TAKEN / 2 : N_TAKEN;
            for (uint32_t at = 0; at + 1 < count && *visits_left > 0; at += size, size = N_TAKEN) {
                uint64_t visits = MIN(*visits_left, MAX_VISITS_PART), left = visits;
                hn_search_exact_of(a, before, here + at, MIN(count - at, size), &left);
                *visits_left -= visits - left;
            }
        }
    return hn_assignment_total(a) < total;
}
