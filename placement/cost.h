/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cost function, term by term, and assignments that keep it up to date.
 *
 * Every term is in nanoseconds of stall per second of wall time, an integer: sums do not depend on
 * their order. docs/placement.md derives each.
 */
#pragma once

#include "model.h"

/* Load costs also where nobody waits yet: shared caches, turbo, queueing. A quarter of the load's
 * share of the node: a node at half load is worth leaving for an empty one, a node at an eighth is
 * not. */
#define HN_SOFT_DIVISOR 4
/* What a communicating pair loses when apart: stall of one member alone of its group. */
#define HN_GROUP_NS_PER_SEC INT64_C(100000000)
/* What one pair of an anti-group on one node is worth avoiding: more than locality of a small
 * guest. */
#define HN_ANTI_NS_PER_SEC INT64_C(300000000)

/* Two parts of a wide domain on a node that cannot hold both: more than any locality is worth. */
#define HN_CLASH_NS_PER_SEC (INT64_C(1) << 42)
/* A home outside of the admin's nodeset: likewise. */
#define HN_OUTSIDE_NS_PER_SEC HN_CLASH_NS_PER_SEC

/* cost * own / all, own <= all; 128 bits only where the product needs them. */
static inline int64_t hn_cost_part(int64_t cost, int64_t own, int64_t all)
{
    int64_t product;

    if (!__builtin_mul_overflow(cost, own, &product))
        return product / all;
    return (int64_t)((__int128)cost * own / all);
}

/* Where memory lies, as shares in 2^-20 (more digits than any measurement of residency has) of the
 * nodes that hold any. */
typedef struct {
    uint32_t count;
    uint8_t node[HN_MAX_NODES];
    int32_t share[HN_MAX_NODES];
} HnSpread;

/* Adds bytes on a node, as a share of all_bytes. */
void hn_spread_add(HnSpread *spread, uint32_t node, int64_t bytes, int64_t all_bytes);
/* Remote access: `bound_mcpu` of memory-bound demand on the node whose row of distances is given.
 */
int64_t hn_cost_remote(const uint8_t *distances, const HnSpread *spread, int64_t bound_mcpu,
                       uint32_t kappa_permille);
/* CPU: load and weighted load of a node against its capacity. */
int64_t hn_cost_contention(const HnModelNode *node, int64_t load_mcpu, int64_t weighted_mcpu);
/* Work W on a node loaded L/C takes L/C times as long: stall W (L/C - 1); plus the soft part. In
 * eighths. */
static inline int64_t hn_cost_waiting(const HnModelNode *node, int64_t load_mcpu)
{
    int64_t excess = load_mcpu > node->capacity_mcpu ? load_mcpu - node->capacity_mcpu : 0;

    return 8 * excess + load_mcpu * 8 / HN_SOFT_DIVISOR;
}

/* Finds the nodes whose contention may be computed without its ceilings, wherever the model's items go. */
void hn_cost_tame(HnModel *model);
/* The same where nothing can reach a ceiling: this is the innermost of all loops. */
static inline int64_t hn_cost_contention_tame(const HnModelNode *node, int64_t load_mcpu,
                                      int64_t weighted_mcpu)
{
    uint64_t product = (uint64_t)weighted_mcpu * (uint64_t)hn_cost_waiting(node, load_mcpu);

    return (int64_t)((unsigned __int128)product * (uint64_t)node->contention_factor >> 27);
}
/* Roaming: what contention on a node would differ, if unpinned demand were there as a whole or not
 * at all by chance, from it being there in part for certain; to be weighed with p (1 - p). */
int64_t hn_cost_roaming(const HnModelNode *node, int64_t demand_mcpu, int64_t weighted_mcpu);
/* Memory bandwidth: what the node is asked for against what it serves, borne by its memory-bound
 * load. */
int64_t hn_cost_bandwidth(const HnModelNode *node, int64_t draw_mib, int64_t bound_mcpu);
/* Moving: host CPU and guest stall per byte, and the time until the bytes have arrived, both spread
 * over the payback horizon. `remote_ns` is the stall per second if those bytes stay remote. */
int64_t hn_cost_moving(uint64_t bytes, bool has_big_pages, int64_t remote_ns,
                       const HnPolicy *policy);
/* Passthrough devices: demand on `home`, nearest of the device's nodes at `distance`. */
int64_t hn_cost_device(int64_t weighted_mcpu, uint8_t distance);

/* A complete assignment. Copyable by hn_assignment_copy(). */
typedef struct {
    const HnModel *model;
    uint8_t *state; /* [n_items] */
    int64_t load_mcpu[HN_MAX_NODES];
    int64_t weighted_mcpu[HN_MAX_NODES];
    int64_t bound_mcpu[HN_MAX_NODES]; /* this and the next only where the model has_bandwidth */
    int64_t draw_mib[HN_MAX_NODES];
    int64_t node_cost[HN_MAX_NODES];
    int64_t used_bytes[HN_MAX_KINDS][HN_MAX_NODES];
    uint32_t *group_count; /* [(n_groups + n_antis) * n_nodes] */
} HnAssignment;

HnAssignment *hn_assignment_new(const HnModel *model); /* every item in its initial state */
HnAssignment *hn_assignment_copy(const HnAssignment *assignment);
void hn_assignment_set(HnAssignment *to, const HnAssignment *from);
void hn_assignment_free(HnAssignment *assignment);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnAssignment, hn_assignment_free)

/* May the item go to `state` as far as its constraints and memory go, the others staying put? */
bool hn_assignment_fits(const HnAssignment *assignment, uint32_t item, uint32_t state);
/* Change of the total if the item left (first half) and then entered `state` (second half). */
int64_t hn_assignment_leave(const HnAssignment *assignment, uint32_t item);
int64_t hn_assignment_enter(const HnAssignment *assignment, uint32_t item, uint32_t state);
/* The cheapest of `nodes` to enter, by hn_assignment_enter(), if it is below `below`: returns its price
 * and sets ret_state; else returns `below`. Ties fall to the first. `must_fit`: only nodes where
 * hn_assignment_fits(). This is where a search spends its time. */
int64_t hn_assignment_enter_best(const HnAssignment *assignment, uint32_t item, HnNodemask nodes,
                                 int64_t below, bool must_fit, uint32_t *ret_state);
/* Cost of a node if these amounts were added to what is on it. */
int64_t hn_assignment_node_cost(const HnAssignment *assignment, uint32_t node, int64_t load_mcpu,
                                int64_t weighted_mcpu, int64_t bound_mcpu, int64_t draw_mib);
/* The second half without company, for an item that is out; a lower bound of it for any larger
 * loads. */
int64_t hn_assignment_enter_bare(const HnAssignment *assignment, uint32_t item, uint32_t state);
/* The least of it over every state the item may have. */
int64_t hn_assignment_enter_bare_least(const HnAssignment *assignment, uint32_t item);
static inline int64_t hn_assignment_delta(const HnAssignment *assignment, uint32_t item,
                                          uint32_t state)
{
    return hn_assignment_leave(assignment, item) + hn_assignment_enter(assignment, item, state);
}
/* Puts the item into `state` (any state, also one that does not fit) and returns the change of the
 * total. */
int64_t hn_assignment_move(HnAssignment *assignment, uint32_t item, uint32_t state);
/* What putting an item somewhere changed, to take it back without computing anything anew. */
typedef struct {
    int64_t load_mcpu[HN_MAX_NODES];
    int64_t weighted_mcpu[HN_MAX_NODES];
    int64_t bound_mcpu[HN_MAX_NODES];
    int64_t draw_mib[HN_MAX_NODES];
    int64_t node_cost[HN_MAX_NODES];
    int64_t used_bytes[HN_MAX_NODES];
} HnSaved;
/* hn_assignment_move() for an item that is out, and back out again; nested like brackets. */
int64_t hn_assignment_put(HnAssignment *assignment, uint32_t item, uint32_t state,
                          HnSaved *ret_saved);
void hn_assignment_take_back(HnAssignment *assignment, uint32_t item, const HnSaved *saved);
/* Adds (+1) the item to, or takes it (-1) from, the counts of its groups as in `state`. */
void hn_assignment_count_groups(HnAssignment *assignment, uint32_t item, uint32_t state, int sign);
/* What hn_assignment_move() would return and hn_assignment_has_room() say after it, without doing it;
 * for items without company only. */
int64_t hn_assignment_price(const HnAssignment *assignment, uint32_t item, uint32_t state);
bool hn_assignment_would_have_room(const HnAssignment *assignment, const HnAssignment *before,
                                   uint32_t item, uint32_t state);
/* Is there room wherever the item lies, counting as room what was as full in `before`? */
bool hn_assignment_has_room(const HnAssignment *assignment, const HnAssignment *before,
                            uint32_t item);

/* The total over all items and nodes. The parts of items are rounded down each, so their sum may
 * fall short of it by a few nanoseconds. */
int64_t hn_assignment_total(const HnAssignment *assignment);
/* The part of one item: its unary terms, its share of its nodes' contention, its company. */
void hn_assignment_item_cost(const HnAssignment *assignment, uint32_t item, HnCost *ret_cost);
void hn_cost_add(HnCost *sum, const HnCost *part);
