/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Assignments: which item is in which state, what that costs, and what a change would. Loads and costs of
 * the nodes are kept, so that a change touches the nodes it concerns and no others; every increment agrees
 * with the total (test-cost). What the terms are is cost.c's business, what is looked at and not kept
 * cost_trial.c's.
 */
#include "cost.h"

#include <string.h>

static inline int64_t node_cost(const HnAssignment *a, uint32_t n, int64_t load, int64_t weighted,
                                int64_t bound, int64_t draw)
{
    const HnModelNode *node = &a->model->nodes[n];
    int64_t cost = node->is_tame ? hn_cost_contention_tame(node, load, weighted)
                                     : hn_cost_contention(node, load, weighted);

    if (node->bandwidth_mib)
        cost += hn_cost_bandwidth(node, draw, bound);
    return cost;
}

static void add_load(HnAssignment *a, uint32_t item, uint32_t n, int64_t permille, int sign)
{
    const HnItem *it = &a->model->items[item];

    if (permille == 1000) {
        a->load_mcpu[n] += sign * it->demand_mcpu;
        a->weighted_mcpu[n] += sign * it->weighted_mcpu;
        a->bound_mcpu[n] += sign * it->bound_mcpu;
        a->draw_mib[n] += sign * it->draw_mib;
        return;
    }
    a->load_mcpu[n] += sign * (it->demand_mcpu * permille / 1000);
    a->weighted_mcpu[n] += sign * (it->weighted_mcpu * permille / 1000);
    if (!a->model->has_bandwidth)
        return;
    a->bound_mcpu[n] += sign * (it->bound_mcpu * permille / 1000);
    a->draw_mib[n] += sign * (it->draw_mib * permille / 1000);
}

void hn_assignment_count_groups(HnAssignment *a, uint32_t item, uint32_t state, int sign)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];
    uint32_t position = hn_model_position(m, item, state);

    if (!hn_model_is_homed(m, item, state))
        return;
    if (it->group >= 0)
        a->group_count[(size_t)it->group * m->n_nodes + position] += (uint32_t)sign;
    if (it->anti >= 0)
        a->group_count[(size_t)(m->n_groups + (uint32_t)it->anti) * m->n_nodes + position] +=
            (uint32_t)sign;
}

static void count_in(HnAssignment *a, uint32_t item, uint32_t state, int sign)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];
    bool is_staying = state == m->n_nodes;

    if (state == hn_model_out(m))
        return;
    for (uint32_t n = 0; n < m->n_nodes && is_staying; n++) {
        a->used_bytes[it->kind][n] += sign * m->stay_bytes[(size_t)item * m->n_nodes + n];
        if (it->is_floating && hn_model_share(m, item, n) > 0)
            add_load(a, item, n, hn_model_share(m, item, n), sign);
    }
    if (!is_staying)
        a->used_bytes[it->kind][state] += sign * it->need_bytes;
    uint32_t position = hn_model_position(m, item, state);
    if (!is_staying || !it->is_floating)
        add_load(a, item, position, 1000, sign);
    hn_assignment_count_groups(a, item, state, sign);
}

static void refresh_node(HnAssignment *a, uint32_t n)
{
    a->node_cost[n] =
        node_cost(a, n, a->load_mcpu[n], a->weighted_mcpu[n], a->bound_mcpu[n], a->draw_mib[n]);
}

HnAssignment *hn_assignment_new(const HnModel *model)
{
    HnAssignment *a = g_new0(HnAssignment, 1);

    a->model = model;
    a->state = g_new0(uint8_t, model->n_items);
    a->group_count = g_new0(uint32_t, (size_t)(model->n_groups + model->n_antis) * model->n_nodes);
    for (uint32_t i = 0; i < model->n_items; i++) {
        a->state[i] = model->items[i].initial;
        count_in(a, i, a->state[i], +1);
    }
    for (uint32_t n = 0; n < model->n_nodes; n++)
        refresh_node(a, n);
    return a;
}

void hn_assignment_set(HnAssignment *to, const HnAssignment *from)
{
    const HnModel *m = from->model;
    uint8_t *state = to->state;
    uint32_t *group_count = to->group_count;

    *to = *from;
    to->state = state;
    to->group_count = group_count;
    if (m->n_items > 0)
        memcpy(state, from->state, m->n_items);
    if (m->n_groups + m->n_antis > 0)
        memcpy(group_count, from->group_count,
               sizeof(uint32_t) * (size_t)(m->n_groups + m->n_antis) * m->n_nodes);
}

HnAssignment *hn_assignment_copy(const HnAssignment *assignment)
{
    const HnModel *m = assignment->model;
    HnAssignment *copy = g_new0(HnAssignment, 1);

    copy->state = g_new0(uint8_t, m->n_items);
    copy->group_count = g_new0(uint32_t, (size_t)(m->n_groups + m->n_antis) * m->n_nodes);
    hn_assignment_set(copy, assignment);
    return copy;
}

void hn_assignment_free(HnAssignment *assignment)
{
    if (!assignment)
        return;
    g_free(assignment->state);
    g_free(assignment->group_count);
    g_free(assignment);
}

bool hn_assignment_fits(const HnAssignment *a, uint32_t item, uint32_t state)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];

    if (state >= m->n_nodes)
        return false; /* "stay" can be left, not entered: others may have taken the room */
    if (!(it->allowed >> state & 1))
        return false;
    if (a->state[item] == state)
        return true;
    int64_t freed =
        a->state[item] == m->n_nodes ? m->stay_bytes[(size_t)item * m->n_nodes + state] : 0;
    int64_t grown = it->need_bytes - freed;
    return grown <= 0 ||
           a->used_bytes[it->kind][state] + grown <= m->nodes[state].capacity_bytes[it->kind];
}

/* Two parts of a wide domain on a node that holds one of them only: what made it wide. */
static bool is_clash(const HnModel *m, uint32_t item, uint32_t other, uint32_t position)
{
    const HnItem *x = &m->items[item], *y = &m->items[other];
    const HnModelNode *node = &m->nodes[position];

    return x->n_vcpus + y->n_vcpus > node->n_cpus ||
           x->size_bytes + y->size_bytes > node->usable_bytes[x->kind];
}

/* Siblings of a wide domain pull each other near, but not onto one node that cannot hold them. */
static int64_t kin_cost(const HnAssignment *a, uint32_t item, uint32_t state, int64_t clash_ns)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];
    uint32_t position = hn_model_position(m, item, state);
    int64_t cost = 0;

    for (uint32_t k = it->kin_first; k < it->kin_first + it->kin_count; k++) {
        if (k == item || a->state[k] == hn_model_out(m))
            continue;
        if (!hn_model_is_homed(m, item, state) || !hn_model_is_homed(m, k, a->state[k])) {
            cost += (it->kin_factor + m->items[k].kin_factor) * (m->mean_distance - 10);
            /* All of it gets homes, or none. */
            if (hn_model_is_homed(m, item, state) != hn_model_is_homed(m, k, a->state[k]))
                cost += clash_ns;
            continue;
        }
        uint32_t other = hn_model_position(m, k, a->state[k]);
        cost += it->kin_factor * (m->distance[position * m->n_nodes + other] - 10);
        cost += m->items[k].kin_factor * (m->distance[other * m->n_nodes + position] - 10);
        if (other == position && is_clash(m, item, k, position))
            cost += clash_ns;
    }
    return MIN(cost, HN_MAX_ITEM_COST);
}

/* Members of its group that are where the item is in `state`, itself not counted. Whoever roams is
 * with nobody. */
static int64_t others_there(const HnAssignment *a, uint32_t group, uint32_t item, uint32_t state)
{
    const HnModel *m = a->model;
    uint32_t position = hn_model_position(m, item, state), now = a->state[item];

    if (!hn_model_is_homed(m, item, state))
        return 0;
    bool is_counted = now != hn_model_out(m) && hn_model_is_homed(m, item, now) &&
                      hn_model_position(m, item, now) == position;
    return (int64_t)a->group_count[(size_t)group * m->n_nodes + position] - is_counted;
}

static int64_t company_of(const HnAssignment *a, uint32_t item, uint32_t state)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];
    int64_t cost = 0;

    /* Members elsewhere cost; counted as "minus those here", the constant cancels in differences.
     */
    if (it->group >= 0)
        cost -= others_there(a, (uint32_t)it->group, item, state) * m->group_pair_ns[it->group];
    if (it->anti >= 0)
        cost += others_there(a, m->n_groups + (uint32_t)it->anti, item, state) * HN_ANTI_NS_PER_SEC;
    if (it->kin_count > 1)
        cost += kin_cost(a, item, state, HN_CLASH_NS_PER_SEC);
    return cost;
}

/* Pairs of the item with members of its groups if it were in `state`. */
static inline int64_t company_cost(const HnAssignment *a, uint32_t item, uint32_t state)
{
    return hn_item_has_company(&a->model->items[item]) ? company_of(a, item, state) : 0;
}

/* Cost of a node if so many permille of the item's load were added to what is on it. */
static inline int64_t cost_with(const HnAssignment *a, uint32_t item, uint32_t n, int64_t permille)
{
    const HnItem *it = &a->model->items[item];
    bool has_bandwidth = a->model->has_bandwidth;

    return node_cost(a, n, a->load_mcpu[n] + it->demand_mcpu * permille / 1000,
                     a->weighted_mcpu[n] + it->weighted_mcpu * permille / 1000,
                     has_bandwidth ? a->bound_mcpu[n] + it->bound_mcpu * permille / 1000 : 0,
                     has_bandwidth ? a->draw_mib[n] + it->draw_mib * permille / 1000 : 0);
}

int64_t hn_assignment_leave(const HnAssignment *a, uint32_t item)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];
    uint32_t state = a->state[item], position = hn_model_position(m, item, state);

    if (state == hn_model_out(m))
        return 0;
    int64_t delta = -hn_model_unary(m, item, state) - company_cost(a, item, state);
    if (state == m->n_nodes && it->is_floating) {
        for (uint32_t n = 0; n < m->n_nodes; n++) {
            int64_t s = hn_model_share(m, item, n);
            if (s > 0) /* x * -s / 1000 is -(x * s / 1000) */
                delta += cost_with(a, item, n, -s) - a->node_cost[n];
        }
        return delta;
    }
    return delta +
           node_cost(a, position, a->load_mcpu[position] - it->demand_mcpu,
                     a->weighted_mcpu[position] - it->weighted_mcpu,
                     a->bound_mcpu[position] - it->bound_mcpu,
                     a->draw_mib[position] - it->draw_mib) -
           a->node_cost[position];
}

/* What all of the item's load adds to a node as it is. */
static inline int64_t added_whole(const HnAssignment *a, uint32_t item, uint32_t n)
{
    const HnItem *it = &a->model->items[item];

    return node_cost(a, n, a->load_mcpu[n] + it->demand_mcpu,
                     a->weighted_mcpu[n] + it->weighted_mcpu, a->bound_mcpu[n] + it->bound_mcpu,
                     a->draw_mib[n] + it->draw_mib) -
           a->node_cost[n];
}

int64_t hn_assignment_node_cost(const HnAssignment *a, uint32_t n, int64_t load_mcpu,
                                int64_t weighted_mcpu, int64_t bound_mcpu, int64_t draw_mib)
{
    return node_cost(a, n, a->load_mcpu[n] + load_mcpu, a->weighted_mcpu[n] + weighted_mcpu,
                     a->bound_mcpu[n] + bound_mcpu, a->draw_mib[n] + draw_mib);
}

int64_t hn_assignment_enter_bare(const HnAssignment *a, uint32_t item, uint32_t state)
{
    const HnModel *m = a->model;
    int64_t delta = hn_model_unary(m, item, state);

    if (state < m->n_nodes || !m->items[item].is_floating)
        return delta + added_whole(a, item, hn_model_position(m, item, state));
    for (uint32_t n = 0; n < m->n_nodes; n++)
        if (hn_model_share(m, item, n) > 0)
            delta += cost_with(a, item, n, hn_model_share(m, item, n)) - a->node_cost[n];
    return delta;
}

int64_t hn_assignment_enter_bare_least(const HnAssignment *a, uint32_t item)
{
    const HnModel *m = a->model;
    const int64_t *unary = &m->unary[(size_t)item * (m->n_nodes + 1)];
    int64_t least = INT64_MAX;

    for (HnNodemask rest = m->items[item].allowed; rest; rest &= rest - 1) {
        uint32_t n = (uint32_t)__builtin_ctzll(rest);
        if (unary[n] < least)
            least = MIN(least, unary[n] + added_whole(a, item, n));
    }
    return unary[m->n_nodes] < least ? MIN(least, hn_assignment_enter_bare(a, item, m->n_nodes))
                                     : least;
}

int64_t hn_assignment_enter(const HnAssignment *a, uint32_t item, uint32_t state)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];
    bool is_out = a->state[item] == hn_model_out(m);
    uint32_t own = is_out ? UINT32_MAX : hn_model_position(m, item, a->state[item]);
    int64_t delta = company_cost(a, item, state);
    int64_t present = 0; /* permille of the item's own load that is on the node now */

    if (a->state[item] == m->n_nodes && it->is_floating)
        present = hn_model_share(m, item, state);
    else if (own == state)
        present = 1000;
    if (present == 0)
        return delta + hn_assignment_enter_bare(a, item, state);
    int64_t load = a->load_mcpu[state] - it->demand_mcpu * present / 1000;
    int64_t weighted = a->weighted_mcpu[state] - it->weighted_mcpu * present / 1000;
    int64_t bound = 0, draw = 0;
    if (m->has_bandwidth) {
        bound = a->bound_mcpu[state] - it->bound_mcpu * present / 1000;
        draw = a->draw_mib[state] - it->draw_mib * present / 1000;
    }
    return delta + hn_model_unary(m, item, state) +
           node_cost(a, state, load + it->demand_mcpu, weighted + it->weighted_mcpu,
                     bound + it->bound_mcpu, draw + it->draw_mib) -
           node_cost(a, state, load, weighted, bound, draw);
}

int64_t hn_assignment_enter_best(const HnAssignment *a, uint32_t item, HnNodemask nodes,
                                 int64_t below, bool must_fit, uint32_t *ret_state)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];
    const int64_t *unary = &m->unary[(size_t)item * (m->n_nodes + 1)];
    uint32_t now = a->state[item];
    /* Where nothing of it is now, and no company's place matters, it is two terms. */
    bool is_plain = !hn_item_has_company(it) && (now != m->n_nodes || !it->is_floating);
    uint32_t own = now == hn_model_out(m) ? UINT32_MAX : hn_model_position(m, item, now);

    for (; nodes; nodes &= nodes - 1) {
        uint32_t n = (uint32_t)__builtin_ctzll(nodes);
        int64_t price;
        if (!is_plain || n == own)
            price = hn_assignment_enter(a, item, n);
        else if (unary[n] >= below)
            continue; /* more load never makes a node cheaper: its own terms are the least it costs */
        else if (m->nodes[n].is_tame && !m->has_bandwidth)
            price = unary[n] - a->node_cost[n] +
                    hn_cost_contention_tame(&m->nodes[n], a->load_mcpu[n] + it->demand_mcpu,
                                    a->weighted_mcpu[n] + it->weighted_mcpu);
        else
            price = unary[n] + added_whole(a, item, n);
        if (price < below && (!must_fit || hn_assignment_fits(a, item, n))) {
            below = price;
            *ret_state = n;
        }
    }
    return below;
}

/* Recomputes a node's cost; returns the change. */
static int64_t refresh_delta(HnAssignment *a, uint32_t n)
{
    int64_t old = a->node_cost[n];

    refresh_node(a, n);
    return a->node_cost[n] - old;
}

int64_t hn_assignment_move(HnAssignment *a, uint32_t item, uint32_t state)
{
    const HnModel *m = a->model;
    uint32_t old = a->state[item];
    uint32_t from = hn_model_position(m, item, old), to = hn_model_position(m, item, state);
    int64_t delta = hn_model_unary(m, item, state) - hn_model_unary(m, item, old);

    if (old != hn_model_out(m))
        delta -= company_cost(a, item, old);
    count_in(a, item, old, -1);
    a->state[item] = (uint8_t)state;
    count_in(a, item, state, +1);
    if (state != hn_model_out(m))
        delta += company_cost(a, item, state);
    if ((old == m->n_nodes || state == m->n_nodes) && m->items[item].is_floating) {
        for (uint32_t n = 0; n < m->n_nodes; n++)
            delta += refresh_delta(a, n);
        return delta;
    }
    delta += refresh_delta(a, from);
    return from == to ? delta : delta + refresh_delta(a, to);
}

static int64_t clamp_cost(__int128 value)
{
    return value > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)value;
}

static void finish(HnCost *cost)
{
    cost->total_ns_per_sec =
        clamp_cost((__int128)cost->remote_ns_per_sec + cost->cpu_ns_per_sec +
                   cost->bandwidth_ns_per_sec + cost->moving_ns_per_sec + cost->company_ns_per_sec);
}

void hn_cost_add(HnCost *sum, const HnCost *part)
{
    sum->remote_ns_per_sec = clamp_cost((__int128)sum->remote_ns_per_sec + part->remote_ns_per_sec);
    sum->cpu_ns_per_sec = clamp_cost((__int128)sum->cpu_ns_per_sec + part->cpu_ns_per_sec);
    sum->bandwidth_ns_per_sec =
        clamp_cost((__int128)sum->bandwidth_ns_per_sec + part->bandwidth_ns_per_sec);
    sum->moving_ns_per_sec = clamp_cost((__int128)sum->moving_ns_per_sec + part->moving_ns_per_sec);
    sum->company_ns_per_sec =
        clamp_cost((__int128)sum->company_ns_per_sec + part->company_ns_per_sec);
    finish(sum);
}

int64_t hn_assignment_total(const HnAssignment *a)
{
    const HnModel *m = a->model;
    __int128 sum = 0, kin_twice = 0;

    for (uint32_t n = 0; n < m->n_nodes; n++)
        sum += a->node_cost[n];
    for (uint32_t i = 0; i < m->n_items; i++) {
        sum += hn_model_unary(m, i, a->state[i]);
        if (m->items[i].kin_count > 1 && a->state[i] != hn_model_out(m))
            kin_twice += kin_cost(a, i, a->state[i], HN_CLASH_NS_PER_SEC);
    }
    sum += kin_twice / 2;
    for (uint32_t g = 0; g < m->n_groups + m->n_antis; g++) {
        int64_t together = 0;
        for (uint32_t n = 0; n < m->n_nodes; n++) {
            int64_t count = a->group_count[(size_t)g * m->n_nodes + n];
            together += count * (count - 1) / 2;
        }
        if (g < m->n_groups)
            sum += (__int128)(m->group_size[g] * (m->group_size[g] - 1) / 2 - together) *
                   m->group_pair_ns[g];
        else
            sum += (__int128)together * HN_ANTI_NS_PER_SEC;
    }
    return clamp_cost(sum);
}

/* An item's part of the stall on one node: in proportion to what it puts there. */
static void add_node_share(const HnAssignment *a, uint32_t item, uint32_t n, int64_t permille,
                           HnCost *cost)
{
    const HnItem *it = &a->model->items[item];
    const HnModelNode *node = &a->model->nodes[n];
    int64_t all_w = MAX(a->weighted_mcpu[n], 1), all_b = MAX(a->bound_mcpu[n], 1);
    int64_t own_w = it->weighted_mcpu * permille / 1000, own_b = it->bound_mcpu * permille / 1000;

    /* The node's cost is at hand; only where it is of two parts must they be told apart. */
    bool is_contention = !node->bandwidth_mib && a->weighted_mcpu[n] == all_w;
    int64_t contention =
        is_contention ? a->node_cost[n] : hn_cost_contention(node, a->load_mcpu[n], all_w);
    cost->cpu_ns_per_sec += hn_cost_part(contention, own_w, all_w);
    if (node->bandwidth_mib)
        cost->bandwidth_ns_per_sec +=
            hn_cost_part(hn_cost_bandwidth(node, a->draw_mib[n], all_b), own_b, all_b);
}

void hn_assignment_item_cost(const HnAssignment *a, uint32_t item, HnCost *ret_cost)
{
    const HnModel *m = a->model;
    const HnItem *it = &m->items[item];
    uint32_t state = a->state[item], position = hn_model_position(m, item, state);
    HnCost cost = {0};

    if (state == m->n_nodes && it->is_floating) {
        for (uint32_t n = 0; n < m->n_nodes; n++)
            if (hn_model_share(m, item, n) > 0)
                add_node_share(a, item, n, hn_model_share(m, item, n), &cost);
    } else {
        add_node_share(a, item, position, 1000, &cost);
    }
    HnTerms terms = hn_model_terms(m, item, state);
    cost.remote_ns_per_sec = terms.remote_ns;
    cost.moving_ns_per_sec = terms.moving_ns;
    cost.company_ns_per_sec = terms.device_ns;
    cost.cpu_ns_per_sec += terms.roaming_ns;
    if (it->group >= 0)
        cost.company_ns_per_sec +=
            (m->group_size[it->group] - 1 - others_there(a, (uint32_t)it->group, item, state)) *
            m->group_pair_ns[it->group] / 2;
    if (it->anti >= 0)
        cost.company_ns_per_sec +=
            others_there(a, m->n_groups + (uint32_t)it->anti, item, state) * HN_ANTI_NS_PER_SEC / 2;
    if (it->kin_count > 1)
        cost.company_ns_per_sec += kin_cost(a, item, state, 0) / 2; /* a rule, not a stall */
    finish(&cost);
    *ret_cost = cost;
}
