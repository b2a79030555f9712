/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The terms of the cost function. Pure arithmetic on integers; every intermediate fits 128 bits at
 * 8,192 CPUs, 64 TiB and weight 1,000, every result is cut off at a documented ceiling instead of
 * overflowing.
 */
#include "cost.h"

#include <string.h>

/* Kernel copy cost per byte: 1.2 us per 4 KiB page, huge pages three times cheaper (Garg et al.).
 * In nanoseconds per 1024 bytes. */
#define MOVE_NS_PER_KIB_SMALL 300
#define MOVE_NS_PER_KIB_BIG 95
/* A passthrough device on a node at distance 20 costs a tenth of the demand. */
#define DEVICE_PERMILLE_PER_HOP 100
#define MAX_MOVED_BYTES (UINT64_C(1) << 48)

static int64_t cap(__int128 value, int64_t ceiling)
{
    return value > ceiling ? ceiling : (int64_t)value;
}

/* cost * own / all, own <= all; 128 bits only where the product needs them. */
static int64_t part_of(int64_t cost, int64_t own, int64_t all)
{
    int64_t product;

    if (!__builtin_mul_overflow(cost, own, &product))
        return product / all;
    return (int64_t)((__int128)cost * own / all);
}

void hn_spread_add(HnSpread *spread, uint32_t node, int64_t bytes, int64_t all_bytes)
{
    /* Both shortened alike until the shift fits: 2^43 bytes are 8 TiB. */
    while (all_bytes >= INT64_C(1) << 43) {
        all_bytes >>= 1;
        bytes >>= 1;
    }
    int64_t share = all_bytes > 0 ? (bytes << 20) / all_bytes : 0;

    if (share == 0)
        return;
    spread->node[spread->count] = (uint8_t)node;
    spread->share[spread->count++] = (int32_t)share;
}

int64_t hn_cost_remote(const uint8_t *distances, const HnSpread *spread, int64_t bound_mcpu,
                       uint32_t kappa_permille)
{
    int64_t far = 0;

    for (uint32_t i = 0; i < spread->count; i++)
        far += (int64_t)spread->share[i] * (distances[spread->node[i]] - 10);
    if (far == 0)
        return 0;
    /* mcpu * 1e6 ns * (distance / 10 - 1) * kappa / 1000 */
    return cap((__int128)(bound_mcpu * 100 * kappa_permille) * far >> 20, HN_MAX_ITEM_COST);
}

/* mass * eighths / 8 * factor / 2^24, cut off. */
static inline int64_t stretched(int64_t mass, int64_t eighths, int64_t factor)
{
    unsigned __int128 product =
        (unsigned __int128)(uint64_t)MIN(mass, HN_MAX_MCPU) * (uint64_t)MIN(eighths, HN_MAX_MCPU);
    unsigned __int128 cost = product * (uint64_t)factor >> 27;

    return cost > (unsigned __int128)HN_MAX_NODE_COST ? HN_MAX_NODE_COST : (int64_t)cost;
}

/* Work W on a node loaded L/C takes L/C times as long: stall W (L/C - 1); plus the soft part. In
 * eighths. */
static inline int64_t waiting(const HnModelNode *node, int64_t load_mcpu)
{
    int64_t excess = load_mcpu > node->capacity_mcpu ? load_mcpu - node->capacity_mcpu : 0;

    return 8 * excess + load_mcpu * 8 / HN_SOFT_DIVISOR;
}

int64_t hn_cost_contention(const HnModelNode *node, int64_t load_mcpu, int64_t weighted_mcpu)
{
    return MIN(stretched(weighted_mcpu, waiting(node, load_mcpu), node->contention_factor),
               HN_MAX_NODE_COST / 2);
}

/* The same where nothing can reach a ceiling: this is the innermost of all loops. */
static inline int64_t tame_contention(const HnModelNode *node, int64_t load_mcpu,
                                      int64_t weighted_mcpu)
{
    uint64_t product = (uint64_t)weighted_mcpu * (uint64_t)waiting(node, load_mcpu);

    return (int64_t)((unsigned __int128)product * (uint64_t)node->contention_factor >> 27);
}

void hn_cost_tame(HnModel *model)
{
    __int128 load = 0, weighted = 0;
    int64_t product = 0;

    for (uint32_t i = 0; i < model->n_items; i++) {
        load += model->items[i].demand_mcpu;
        weighted += model->items[i].weighted_mcpu;
    }
    /* All of it on one node, and twice: a price may be asked for what is there already. */
    bool is_small = load <= HN_MAX_MCPU / 32 && weighted <= HN_MAX_MCPU / 2 &&
                    !__builtin_mul_overflow((int64_t)weighted * 2,
                                            (int64_t)load * 2 * (8 + 8 / HN_SOFT_DIVISOR), &product);
    for (uint32_t n = 0; n < model->n_nodes; n++)
        model->nodes[n].is_tame =
            is_small &&
            (__int128)product * model->nodes[n].contention_factor >> 27 <= HN_MAX_NODE_COST / 2;
}

int64_t hn_cost_roaming(const HnModelNode *node, int64_t demand_mcpu, int64_t weighted_mcpu)
{
    return MIN(stretched(weighted_mcpu, 8 * demand_mcpu + demand_mcpu * 8 / HN_SOFT_DIVISOR,
                         node->contention_factor),
               HN_MAX_ITEM_COST);
}

int64_t hn_cost_bandwidth(const HnModelNode *node, int64_t draw_mib, int64_t bound_mcpu)
{
    if (node->bandwidth_mib == 0 || draw_mib <= node->bandwidth_mib)
        return 0;
    return MIN(stretched(bound_mcpu, 8 * (draw_mib - node->bandwidth_mib), node->bandwidth_factor),
               HN_MAX_NODE_COST / 2);
}

int64_t hn_cost_moving(uint64_t bytes, bool has_big_pages, int64_t remote_ns,
                       const HnPolicy *policy)
{
    if (bytes == 0)
        return 0;
    uint64_t rate = has_big_pages ? MOVE_NS_PER_KIB_BIG : MOVE_NS_PER_KIB_SMALL;
    uint64_t horizon_ms = policy->payback_horizon_ns / 1000000;
    /* 2^48 bytes, more than any node has, leave room for both products. */
    bytes = MIN(bytes, MAX_MOVED_BYTES);
    uint64_t copy_ns_per_sec = (bytes >> 10) * rate * 1000 / horizon_ms;
    /* While it moves, half of it is still remote on average. */
    uint64_t transit_ms = MIN(bytes * 500 / policy->move_bytes_per_sec, horizon_ms);
    return cap((__int128)copy_ns_per_sec +
                   part_of(remote_ns, (int64_t)transit_ms, (int64_t)horizon_ms),
               HN_MAX_ITEM_COST);
}

int64_t hn_cost_device(int64_t weighted_mcpu, uint8_t distance)
{
    return cap((__int128)weighted_mcpu * 100 * DEVICE_PERMILLE_PER_HOP * (distance - 10),
               HN_MAX_ITEM_COST);
}

static inline int64_t node_cost(const HnAssignment *a, uint32_t n, int64_t load, int64_t weighted,
                                int64_t bound, int64_t draw)
{
    const HnModelNode *node = &a->model->nodes[n];
    int64_t cost = node->is_tame ? tame_contention(node, load, weighted)
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
                    tame_contention(&m->nodes[n], a->load_mcpu[n] + it->demand_mcpu,
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
    cost->cpu_ns_per_sec += part_of(contention, own_w, all_w);
    if (node->bandwidth_mib)
        cost->bandwidth_ns_per_sec +=
            part_of(hn_cost_bandwidth(node, a->draw_mib[n], all_b), own_b, all_b);
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
