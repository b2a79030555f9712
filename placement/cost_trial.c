/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Assignments on trial: what a change would cost, whether there would be room, and taking a change
 * back without computing anything anew. For searches and gates that look at far more than they
 * keep.
 */
#include "cost.h"

/* Nodes whose figures the item touches by being put into `state`. */
static void saved_range(const HnModel *m, uint32_t item, uint32_t state, uint32_t *ret_first,
                        uint32_t *ret_end)
{
    bool is_everywhere = state == m->n_nodes; /* also its memory, where it does not float */

    *ret_first = is_everywhere ? 0 : state;
    *ret_end = is_everywhere ? m->n_nodes : state + 1;
}

int64_t hn_assignment_put(HnAssignment *a, uint32_t item, uint32_t state, HnSaved *ret_saved)
{
    const HnModel *m = a->model;
    uint8_t kind = m->items[item].kind;
    uint32_t first, end;

    saved_range(m, item, state, &first, &end);
    for (uint32_t n = first; n < end; n++) {
        ret_saved->load_mcpu[n] = a->load_mcpu[n];
        ret_saved->weighted_mcpu[n] = a->weighted_mcpu[n];
        ret_saved->bound_mcpu[n] = a->bound_mcpu[n];
        ret_saved->draw_mib[n] = a->draw_mib[n];
        ret_saved->node_cost[n] = a->node_cost[n];
        ret_saved->used_bytes[n] = a->used_bytes[kind][n];
    }
    return hn_assignment_move(a, item, state);
}

void hn_assignment_take_back(HnAssignment *a, uint32_t item, const HnSaved *saved)
{
    const HnModel *m = a->model;
    uint8_t kind = m->items[item].kind;
    uint32_t first, end;

    saved_range(m, item, a->state[item], &first, &end);
    for (uint32_t n = first; n < end; n++) {
        a->load_mcpu[n] = saved->load_mcpu[n];
        a->weighted_mcpu[n] = saved->weighted_mcpu[n];
        a->bound_mcpu[n] = saved->bound_mcpu[n];
        a->draw_mib[n] = saved->draw_mib[n];
        a->node_cost[n] = saved->node_cost[n];
        a->used_bytes[kind][n] = saved->used_bytes[n];
    }
    hn_assignment_count_groups(a, item, a->state[item], -1);
    a->state[item] = (uint8_t)hn_model_out(m);
}

/* Permille of the item's load on node n in a state. */
static inline int64_t permille_on(const HnModel *m, uint32_t item, uint32_t state, uint32_t n)
{
    if (state == hn_model_out(m))
        return 0;
    if (state == m->n_nodes && m->items[item].is_floating)
        return hn_model_share(m, item, n);
    return hn_model_position(m, item, state) == n ? 1000 : 0;
}

int64_t hn_assignment_price(const HnAssignment *a, uint32_t item, uint32_t state)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];
    uint32_t old = a->state[item];
    int64_t delta = hn_model_unary(m, item, state) - hn_model_unary(m, item, old);

    for (uint32_t n = 0; n < m->n_nodes; n++) {
        int64_t gone = permille_on(m, item, old, n), come = permille_on(m, item, state, n);
        if (gone == come)
            continue;
        int64_t bound = 0, draw = 0;
        if (m->has_bandwidth) {
            bound = it->bound_mcpu * come / 1000 - it->bound_mcpu * gone / 1000;
            draw = it->draw_mib * come / 1000 - it->draw_mib * gone / 1000;
        }
        delta += hn_assignment_node_cost(
                     a, n, it->demand_mcpu * come / 1000 - it->demand_mcpu * gone / 1000,
                     it->weighted_mcpu * come / 1000 - it->weighted_mcpu * gone / 1000, bound,
                     draw) -
                 a->node_cost[n];
    }
    return delta;
}

/* Bytes of the item on node n in a state. */
static int64_t bytes_on(const HnModel *m, uint32_t item, uint32_t state, uint32_t n)
{
    if (state == m->n_nodes)
        return m->stay_bytes[(size_t)item * m->n_nodes + n];
    return state == n ? m->items[item].need_bytes : 0;
}

bool hn_assignment_would_have_room(const HnAssignment *a, const HnAssignment *before, uint32_t item,
                                   uint32_t state)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];
    const int64_t *stay = &m->stay_bytes[(size_t)item * m->n_nodes];
    uint32_t now = a->state[item];

    for (uint32_t n = 0; n < m->n_nodes; n++) {
        int64_t bytes = bytes_on(m, item, state, n);
        if (state < m->n_nodes ? n != state : bytes <= 0)
            continue;
        int64_t used = a->used_bytes[it->kind][n] - bytes_on(m, item, now, n) + bytes;
        if (used <= m->nodes[n].capacity_bytes[it->kind])
            continue;
        /* Beyond the reserve already; it adds nothing to that if all it needs is there. */
        bool is_no_worse = used <= before->used_bytes[it->kind][n] &&
                           (state == m->n_nodes || it->need_bytes <= stay[n]);
        if (!is_no_worse)
            return false;
    }
    return true;
}

bool hn_assignment_has_room(const HnAssignment *a, const HnAssignment *before, uint32_t item)
{
    return hn_assignment_would_have_room(a, before, item, a->state[item]);
}
