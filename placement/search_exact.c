/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Branch and bound over the items that may move, the most demanding first.
 *
 * Bounds, both valid because loads only grow along a branch and every node's cost is convex in its
 * load:
 *  - each open item at least at its cheapest: unary cost plus what it adds to a node as loaded so
 * far;
 *  - each open item at least at its cheapest unary cost, plus the least contention any spread of
 * the open demand can cause, by Lagrangian relaxation with the price of a perfectly balanced host.
 * Only where every domain has the ordinary weight, since otherwise a node's cost is not a function
 * of its load. Groups can lower the cost of an item by at most its pairs; that is allowed for in
 * both.
 */
#include "search.h"

#include <stdlib.h>
#include <string.h>

#define MAX_EXACT_ITEMS 64
/* Room for rounding in the second bound, per node: a hundredth of an mcpu. */
#define ROUNDING_NS 10000

typedef struct {
    const HnModel *model;
    const HnAssignment *before;
    HnAssignment *a; /* the branch; open items are out */
    HnAssignment *best;
    int64_t best_cost, cost;
    uint32_t n_items;
    uint32_t items[MAX_EXACT_ITEMS];
    int64_t rest_unary[MAX_EXACT_ITEMS + 1]; /* least unary and company of items k.. together */
    int64_t rest_load[MAX_EXACT_ITEMS + 1];
    bool is_uniform;                  /* weights ordinary everywhere: the second bound holds */
    int64_t price;                    /* ns per second and mcpu */
    int64_t level_mcpu[HN_MAX_NODES]; /* load from which on the next mcpu costs at least that */
    int64_t level_cost[HN_MAX_NODES];
    uint64_t visits_left;
} Tree;

bool hn_search_is_small(const HnModel *m)
{
    uint32_t n_movable = 0, n_states = 0;
    HnNodemask reachable = 0;

    for (uint32_t i = 0; i < m->n_items; i++) {
        if (m->items[i].is_fixed || !m->items[i].allowed)
            continue;
        n_movable++;
        reachable |= m->items[i].allowed;
    }
    n_states = (uint32_t)__builtin_popcountll(reachable);
    /* V * log2(N) <= 20  <=>  N^V <= 2^20 */
    uint64_t size = 1;
    for (uint32_t i = 0; i < n_movable; i++)
        if ((size *= MAX(n_states, 2)) > UINT64_C(1) << 20)
            return false;
    return true;
}

/* Being with all of its group is the most that company can take off an item's cost. */
static int64_t least_company(const HnModel *m, uint32_t item)
{
    int32_t group = m->items[item].group;

    return group < 0 ? 0 : -(m->group_size[group] - 1) * m->group_pair_ns[group];
}

static int64_t least_unary(const HnModel *m, uint32_t item)
{
    int64_t least = hn_model_unary(m, item, m->n_nodes);

    for (HnNodemask rest = m->items[item].allowed; rest; rest &= rest - 1)
        least = MIN(least, hn_model_unary(m, item, (uint32_t)__builtin_ctzll(rest)));
    return least;
}

/* Price of load on a host whose whole demand is spread in proportion to capacity, at ratio r: the
 * derivative of a node's contention there, the same for every node (docs/placement.md, "Bounds").
 */
static void find_price(Tree *tree)
{
    const HnModel *m = tree->model;
    __int128 load = 0, capacity = 0;

    for (uint32_t n = 0; n < m->n_nodes; n++) {
        load += tree->before->load_mcpu[n];
        capacity += m->nodes[n].capacity_mcpu;
    }
    for (uint32_t n = 0; n < m->n_nodes; n++) {
        tree->level_mcpu[n] = (int64_t)(load * m->nodes[n].capacity_mcpu / capacity);
        tree->level_cost[n] =
            hn_cost_contention(&m->nodes[n], tree->level_mcpu[n], tree->level_mcpu[n]);
    }
    int64_t ratio_millionths = (int64_t)(load * 1000000 / capacity);
    int64_t soft = 2 * ratio_millionths / HN_SOFT_DIVISOR;
    tree->price = ratio_millionths < 1000000 ? soft : 2 * ratio_millionths + soft - 1000000;
}

/* min over x >= 0 of cost(load + x) - price * x for one node, less what it costs now. */
static int64_t relaxed(const Tree *tree, uint32_t n)
{
    int64_t load = tree->a->load_mcpu[n], level = tree->level_mcpu[n];

    if (load >= level) /* the next mcpu costs the price or more */
        return 0;
    return tree->level_cost[n] - tree->price * (level - load) - tree->a->node_cost[n] - ROUNDING_NS;
}

static int64_t bound(const Tree *tree, uint32_t depth)
{
    const HnModel *m = tree->model;
    int64_t spread = 0, single = 0;

    if (tree->is_uniform && tree->price > 0) {
        spread = tree->rest_unary[depth] + tree->price * tree->rest_load[depth];
        for (uint32_t n = 0; n < m->n_nodes; n++)
            spread += relaxed(tree, n);
        if (tree->cost + spread >= tree->best_cost)
            return spread;
    }
    for (uint32_t k = depth; k < tree->n_items; k++) {
        uint32_t item = tree->items[k];
        int64_t least = INT64_MAX;
        for (HnNodemask rest = m->items[item].allowed; rest; rest &= rest - 1)
            least = MIN(least,
                        hn_assignment_enter_bare(tree->a, item, (uint32_t)__builtin_ctzll(rest)));
        /* Staying: its own unary cost at least, and what it adds to its nodes. */
        least = MIN(least, hn_assignment_enter_bare(tree->a, item, m->n_nodes));
        single += least + least_company(m, item);
    }
    return MAX(spread, single);
}

/* A leaf is only valid if nothing enters a node that ends up beyond its reserve. */
static bool is_leaf_valid(const Tree *tree)
{
    for (uint32_t k = 0; k < tree->n_items; k++)
        if (!hn_assignment_has_room(tree->a, tree->before, tree->items[k]))
            return false;
    return true;
}

static void visit(Tree *tree, uint32_t depth);

static void try_state(Tree *tree, uint32_t depth, uint32_t state)
{
    uint32_t item = tree->items[depth];
    int64_t delta = hn_assignment_move(tree->a, item, state);

    tree->cost += delta;
    if (hn_assignment_has_room(tree->a, tree->before, item))
        visit(tree, depth + 1);
    tree->cost -= delta;
    hn_assignment_move(tree->a, item, hn_model_out(tree->model));
}

static void visit(Tree *tree, uint32_t depth)
{
    const HnModel *m = tree->model;

    if (tree->visits_left == 0)
        return;
    tree->visits_left--;
    if (depth == tree->n_items) {
        if (tree->cost < tree->best_cost && is_leaf_valid(tree)) {
            tree->best_cost = tree->cost;
            hn_assignment_set(tree->best, tree->a);
        }
        return;
    }
    if (tree->cost + bound(tree, depth) >= tree->best_cost)
        return;
    /* Cheapest first, so that good leaves come early. */
    uint32_t item = tree->items[depth];
    uint32_t states[HN_MAX_NODES + 1], count = 0;
    int64_t costs[HN_MAX_NODES + 1];
    for (uint32_t n = 0; n <= m->n_nodes; n++) {
        if (n < m->n_nodes && !(m->items[item].allowed >> n & 1))
            continue;
        int64_t cost = hn_assignment_enter_bare(tree->a, item, n);
        uint32_t at = count++;
        for (; at > 0 && costs[at - 1] > cost; at--) {
            costs[at] = costs[at - 1];
            states[at] = states[at - 1];
        }
        costs[at] = cost;
        states[at] = n;
    }
    for (uint32_t k = 0; k < count; k++)
        try_state(tree, depth, states[k]);
}

static int compare_heavier(const void *a, const void *b, void *data)
{
    const HnModel *m = data;
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    if (m->items[left].demand_mcpu != m->items[right].demand_mcpu)
        return m->items[left].demand_mcpu > m->items[right].demand_mcpu ? -1 : 1;
    if (m->items[left].need_bytes != m->items[right].need_bytes)
        return m->items[left].need_bytes > m->items[right].need_bytes ? -1 : 1;
    return left < right ? -1 : 1;
}

bool hn_search_exact(HnAssignment *assignment, uint64_t max_visits)
{
    const HnModel *m = assignment->model;
    g_autoptr(HnAssignment) before = hn_assignment_new(m);
    g_autoptr(HnAssignment) branch = hn_assignment_copy(before);
    Tree tree = {.model = m,
                 .before = before,
                 .a = branch,
                 .best = assignment,
                 .visits_left = max_visits,
                 .is_uniform = true};

    for (uint32_t i = 0; i < m->n_items; i++) {
        tree.is_uniform &= m->items[i].weighted_mcpu == m->items[i].demand_mcpu;
        if (m->items[i].is_fixed || !m->items[i].allowed)
            continue;
        if (tree.n_items == MAX_EXACT_ITEMS)
            return false;
        tree.items[tree.n_items++] = i;
    }
    g_qsort_with_data(tree.items, (gint)tree.n_items, sizeof(uint32_t), compare_heavier,
                      (gpointer)m);
    find_price(&tree);
    tree.best_cost = hn_assignment_total(assignment);
    for (uint32_t k = tree.n_items; k-- > 0;) {
        tree.rest_unary[k] = tree.rest_unary[k + 1] + least_unary(m, tree.items[k]) +
                             least_company(m, tree.items[k]);
        tree.rest_load[k] = tree.rest_load[k + 1] +
                            MAX(m->items[tree.items[k]].demand_mcpu - (int64_t)m->n_nodes, 0);
        hn_assignment_move(branch, tree.items[k], hn_model_out(m));
    }
    tree.cost = hn_assignment_total(branch);
    visit(&tree, 0);
    return tree.visits_left > 0;
}
