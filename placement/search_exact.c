/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Branch and bound over the items that may move, the most demanding first.
 *
 * Bounds, all valid because loads only grow along a branch and every node's cost is convex in its
 * load:
 *  - each open item at least at its cheapest: unary cost plus what it adds to a node as loaded so
 * far;
 *  - by Lagrangian relaxation with a price of load per node: each open item at its cheapest unary
 * cost plus price of its load, plus the least that nodes can cost less the price of what comes to
 * them. Any prices are valid. Two sets are tried: those of a perfectly balanced host, and what one
 * more mcpu costs on each node in the best assignment known, which are near the best there are.
 * Only where every domain has the ordinary weight, since otherwise a node's cost is not a function
 * of its load.
 * Groups can lower the cost of an item by at most its pairs; that is allowed for in all.
 */
#include "search.h"

#include <stdlib.h>
#include <string.h>

#define MAX_EXACT_ITEMS 64
/* Room for rounding in the second bound, per node: a hundredth of an mcpu. */
#define ROUNDING_NS 10000
#define N_PRICINGS 2

/* One set of prices, and what follows from it. */
typedef struct {
    int64_t price[HN_MAX_NODES];      /* ns per second and mcpu */
    int64_t level_mcpu[HN_MAX_NODES]; /* load from which on the next mcpu costs at least that */
    int64_t level_cost[HN_MAX_NODES];
    int64_t rest[MAX_EXACT_ITEMS + 1]; /* least unary, company and price of items k.. together */
} Pricing;

typedef struct {
    const HnModel *model;
    const HnAssignment *before;
    HnAssignment *a; /* the branch; open items are out */
    HnAssignment *best;
    int64_t best_cost, cost;
    uint32_t n_items;
    uint32_t items[MAX_EXACT_ITEMS];
    int64_t rest_unary[MAX_EXACT_ITEMS + 1]; /* least unary and company of items k.. together */
    int64_t item_unary[MAX_EXACT_ITEMS];     /* least unary of each */
    HnNodemask nodes[MAX_EXACT_ITEMS];       /* homes worth trying for each, besides staying */
    bool is_uniform;                         /* weights ordinary everywhere: prices hold */
    Pricing pricings[N_PRICINGS];
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

/* What one more mcpu costs on a node: the derivative of hn_cost_contention() at a load, in ns per
 * second (docs/placement.md, "Bounds"). */
static int64_t price_at(const HnModelNode *node, int64_t load_mcpu)
{
    int64_t ratio_millionths = (int64_t)((__int128)load_mcpu * 1000000 / node->capacity_mcpu);
    int64_t soft = 2 * ratio_millionths / HN_SOFT_DIVISOR;

    return ratio_millionths < 1000000 ? soft : 2 * ratio_millionths + soft - 1000000;
}

static void set_level(Pricing *pricing, const HnModel *m, uint32_t n, int64_t load_mcpu)
{
    pricing->level_mcpu[n] = load_mcpu;
    pricing->level_cost[n] = hn_cost_contention(&m->nodes[n], load_mcpu, load_mcpu);
    pricing->price[n] = price_at(&m->nodes[n], load_mcpu);
}

/* Least unary cost and price of an item. */
static int64_t least_priced(const HnModel *m, const Pricing *pricing, uint32_t item)
{
    const HnItem *it = &m->items[item];
    const uint16_t *share = &m->share[(size_t)item * m->n_nodes];
    int64_t least = hn_model_unary(m, item, m->n_nodes);

    if (!it->is_floating)
        least += pricing->price[it->stay_node] * it->demand_mcpu;
    for (uint32_t n = 0; it->is_floating && n < m->n_nodes; n++)
        least += pricing->price[n] * (it->demand_mcpu * share[n] / 1000);
    for (HnNodemask rest = it->allowed; rest; rest &= rest - 1) {
        uint32_t n = (uint32_t)__builtin_ctzll(rest);
        least = MIN(least, hn_model_unary(m, item, n) + pricing->price[n] * it->demand_mcpu);
    }
    return least;
}

static void find_prices(Tree *tree)
{
    const HnModel *m = tree->model;
    __int128 load = 0, capacity = 0;

    for (uint32_t n = 0; n < m->n_nodes; n++) {
        load += tree->before->load_mcpu[n];
        capacity += m->nodes[n].capacity_mcpu;
    }
    for (uint32_t n = 0; n < m->n_nodes; n++) {
        set_level(&tree->pricings[0], m, n, (int64_t)(load * m->nodes[n].capacity_mcpu / capacity));
        set_level(&tree->pricings[1], m, n, tree->best->load_mcpu[n]);
    }
    for (uint32_t p = 0; p < N_PRICINGS; p++)
        for (uint32_t k = tree->n_items; k-- > 0;)
            tree->pricings[p].rest[k] = tree->pricings[p].rest[k + 1] +
                                        least_priced(m, &tree->pricings[p], tree->items[k]) +
                                        least_company(m, tree->items[k]);
}

/* min over x >= 0 of cost(load + x) - price * x for one node, less what it costs now. */
static int64_t relaxed(const Tree *tree, const Pricing *pricing, uint32_t n)
{
    int64_t load = tree->a->load_mcpu[n], level = pricing->level_mcpu[n];

    if (load >= level) /* the next mcpu costs the price or more */
        return 0;
    return pricing->level_cost[n] - pricing->price[n] * (level - load) - tree->a->node_cost[n] -
           ROUNDING_NS;
}

/* Can nothing below this node of the tree be better than the best known? */
static bool is_hopeless(const Tree *tree, uint32_t depth)
{
    const HnModel *m = tree->model;
    int64_t single = tree->cost + tree->rest_unary[depth];

    for (uint32_t p = 0; tree->is_uniform && p < N_PRICINGS; p++) {
        int64_t spread = tree->cost + tree->pricings[p].rest[depth];
        for (uint32_t n = 0; n < m->n_nodes; n++)
            spread += relaxed(tree, &tree->pricings[p], n);
        if (spread >= tree->best_cost)
            return true;
    }
    /* Item by item from the least they can cost to the least they can cost now; most branches end
     * before the last. */
    for (uint32_t k = depth; k < tree->n_items && single < tree->best_cost; k++)
        single += hn_assignment_enter_bare_least(tree->a, tree->items[k]) - tree->item_unary[k];
    return single >= tree->best_cost;
}

/* A leaf is only valid if nothing enters a node that ends up beyond its reserve. */
static bool is_leaf_valid(const Tree *tree)
{
    for (uint32_t k = 0; k < tree->n_items; k++)
        if (!hn_assignment_has_room(tree->a, tree->before, tree->items[k]))
            return false;
    return true;
}

/* Homes to try. One that an item has already, with all of its memory there, is the same as staying:
 * left out, or every settled guest would double the tree. */
static HnNodemask homes_of(const HnModel *m, uint32_t item)
{
    const HnItem *it = &m->items[item];
    HnNodemask nodes = it->allowed;

    if (!it->is_floating &&
        m->stay_bytes[(size_t)item * m->n_nodes + (uint32_t)it->stay_node] == it->need_bytes &&
        hn_model_unary(m, item, (uint32_t)it->stay_node) == hn_model_unary(m, item, m->n_nodes))
        nodes &= ~(UINT64_C(1) << it->stay_node);
    return nodes;
}

static void visit(Tree *tree, uint32_t depth);

static void try_state(Tree *tree, uint32_t depth, uint32_t state)
{
    uint32_t item = tree->items[depth];

    if (!hn_assignment_would_have_room(tree->a, tree->before, item, state))
        return;
    HnSaved saved;
    int64_t delta = hn_assignment_put(tree->a, item, state, &saved);
    tree->cost += delta;
    visit(tree, depth + 1);
    tree->cost -= delta;
    hn_assignment_take_back(tree->a, item, &saved);
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
    if (is_hopeless(tree, depth))
        return;
    /* Cheapest first, so that good leaves come early. */
    uint32_t item = tree->items[depth];
    uint32_t states[HN_MAX_NODES + 1], count = 0;
    int64_t costs[HN_MAX_NODES + 1];
    for (uint32_t n = 0; n <= m->n_nodes; n++) {
        if (n < m->n_nodes && !(tree->nodes[depth] >> n & 1))
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
    int64_t rest = tree->cost + least_company(m, item) + tree->rest_unary[depth + 1];
    for (uint32_t k = 0; k < count && rest + costs[k] < tree->best_cost; k++)
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

bool hn_search_exact_of(HnAssignment *assignment, const HnAssignment *before, const uint32_t *items,
                        uint32_t n_items, uint64_t *visits_left)
{
    const HnModel *m = assignment->model;
    g_autoptr(HnAssignment) branch = hn_assignment_copy(assignment);
    Tree tree = {.model = m,
                 .before = before,
                 .a = branch,
                 .best = assignment,
                 .visits_left = *visits_left,
                 .is_uniform = true};

    if (n_items > MAX_EXACT_ITEMS)
        return false;
    for (uint32_t i = 0; i < m->n_items; i++)
        tree.is_uniform &= m->items[i].weighted_mcpu == m->items[i].demand_mcpu;
    memcpy(tree.items, items, sizeof(uint32_t) * n_items);
    tree.n_items = n_items;
    g_qsort_with_data(tree.items, (gint)tree.n_items, sizeof(uint32_t), compare_heavier,
                      (gpointer)m);
    tree.best_cost = hn_assignment_total(assignment);
    for (uint32_t k = tree.n_items; k-- > 0;) {
        tree.item_unary[k] = least_unary(m, tree.items[k]);
        tree.nodes[k] = homes_of(m, tree.items[k]);
        tree.rest_unary[k] =
            tree.rest_unary[k + 1] + tree.item_unary[k] + least_company(m, tree.items[k]);
        hn_assignment_move(branch, tree.items[k], hn_model_out(m));
    }
    find_prices(&tree);
    tree.cost = hn_assignment_total(branch);
    visit(&tree, 0);
    *visits_left = tree.visits_left;
    return tree.visits_left > 0;
}

bool hn_search_exact(HnAssignment *assignment, uint64_t max_visits)
{
    const HnModel *m = assignment->model;
    g_autoptr(HnAssignment) before = hn_assignment_new(m);
    uint32_t items[MAX_EXACT_ITEMS], n_items = 0;

    for (uint32_t i = 0; i < m->n_items; i++) {
        if (m->items[i].is_fixed || !m->items[i].allowed)
            continue;
        if (n_items == MAX_EXACT_ITEMS)
            return false;
        items[n_items++] = i;
    }
    return hn_search_exact_of(assignment, before, items, n_items, &max_visits);
}
