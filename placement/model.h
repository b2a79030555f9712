/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The solver's problem: what is left of host, domains and past once only numbers matter.
 *
 * Items are clients. The state of an item is a node (its home, with all of its movable memory
 * brought there) or "stay" (exactly as it is now: vCPUs and memory where they are, nothing done).
 * Nodes and items are in canonical order (canonical.c), so that names never influence a decision.
 * Units: thousandths of a CPU (mcpu), MiB per second, bytes; costs in nanoseconds of stall per
 * second.
 */
#pragma once

#include "client.h"

/* Costs of one item and of one node are cut off here; sums are formed in 128 bits. */
#define HN_MAX_ITEM_COST (INT64_C(1) << 50)
#define HN_MAX_NODE_COST (INT64_C(1) << 55)
/* Ordinary memory and up to HN_MAX_HUGE_POOLS pools. */
#define HN_MAX_KINDS (1 + HN_MAX_HUGE_POOLS)

typedef struct {
    int64_t capacity_mcpu;     /* SMT-discounted, less what is not ours; at least 1 */
    int64_t contention_factor; /* 1e6 * 2^24 / capacity: turns mcpu^2 into ns without dividing */
    int64_t bandwidth_mib;     /* per second; 0: unknown, term off */
    int64_t bandwidth_factor;  /* 1e6 * 2^24 / bandwidth */
    int64_t capacity_bytes[HN_MAX_KINDS]; /* what movable items may take up together */
    int64_t room_bytes[HN_MAX_KINDS];     /* free now, beyond the reserve */
    int64_t usable_bytes[HN_MAX_KINDS];   /* of an empty node */
    uint32_t n_cpus;
    bool is_tame; /* its contention cannot reach a ceiling or leave 64 bits, whatever comes to it */
} HnModelNode;

typedef struct {
    uint32_t split;   /* index into HnModel.splits */
    uint32_t client;  /* index into its clients */
    bool is_fixed;    /* the search must leave it in `initial` */
    uint8_t initial;  /* state: node, or HnModel.n_nodes for "stay" */
    uint8_t kind;     /* of memory */
    int8_t home_now;  /* node or -1 */
    int8_t stay_node; /* the node that stands for it while it stays (home, else where most memory
                         is) */
    bool is_roomy;    /* some node has a core for each of its vCPUs */
    bool is_floating; /* stays unpinned: its load is spread by `share` */
    HnNodemask allowed;
    int64_t demand_mcpu;
    int64_t weighted_mcpu;         /* demand * weight / 100 */
    int64_t bound_mcpu;            /* of the weighted demand: waits for memory */
    int64_t draw_mib;              /* per second from the memory controllers of its node */
    int64_t change_ns;             /* hysteresis: added to every home other than today's */
    int64_t outside_ns;            /* added while it stays where its admin's nodesets do not want it */
    int64_t need_bytes;            /* at its home: movable memory and growth */
    int32_t group, anti;           /* index of its (anti-)affinity group, -1 */
    uint32_t kin_first, kin_count; /* items of the same domain, itself among them */
    uint32_t n_vcpus;
    int64_t size_bytes; /* all of it, with growth */
    int64_t kin_factor; /* ns per second and unit of (distance - 10) to each sibling */
} HnItem;

/* The unary terms of an item in a state, apart; nanoseconds of stall per second. */
typedef struct {
    int64_t remote_ns;
    int64_t moving_ns;
    int64_t device_ns;
    int64_t roaming_ns; /* unpinned vCPUs meet by chance where they are not wanted */
} HnTerms;

typedef struct {
    const HnHost *host;
    const HnPolicy *policy;
    uint32_t n_nodes;
    uint32_t n_items;
    uint32_t n_groups, n_antis;
    uint32_t n_kinds;
    bool has_bandwidth; /* of some node it is known what its memory serves */
    uint64_t kind_page_bytes[HN_MAX_KINDS]; /* 0 for ordinary memory */
    uint32_t node_index[HN_MAX_NODES];      /* canonical number -> index into HnHost.nodes */
    uint32_t node_rank[HN_MAX_NODES];       /* and back */
    HnModelNode nodes[HN_MAX_NODES];
    uint8_t mean_distance; /* over all ordered pairs of nodes, each with itself among them */
    uint8_t *distance;     /* [n_nodes * n_nodes], canonical */
    HnItem *items;         /* [n_items], canonical */
    int64_t *unary; /* [n_items * (n_nodes + 1)]: sum of HnTerms and change_ns; last column: stay */
    HnTerms *stay_terms; /* [n_items]: what the last column of unary is made of */
    int64_t *stay_bytes; /* [n_items * n_nodes]: movable and growth, where they are counted while it
                            stays */
    uint16_t *share;     /* [n_items * n_nodes] permille of its load while it stays */
    int64_t *group_size; /* [n_groups]: members */
    int64_t *group_pair_ns; /* [n_groups]: cost of one pair of members apart */
    uint32_t n_splits;
    HnSplit *splits; /* borrowed */
} HnModel;

/* How each domain enters the model. */
typedef struct {
    bool is_fixed;
    const HnPastClient
        *wanted;          /* not NULL: it is on its way to these homes (its `wanted` fields) */
    int32_t forced_node;  /* host index; HN_NODE_NONE: free */
    HnNodemask forbidden; /* host indices it may not go to (marked worse) */
    bool has_hysteresis;  /* a change of home must bring the policy's minimum gain */
} HnEntry;

/* Ceiling of the factors of a node's contention: demand in mcpu, and weighted. */
#define HN_MAX_MCPU (INT64_C(1) << 36)

/* Builds the model; `entries` has one element per split. `other_mcpu` [n_nodes, host order] is load
 * that belongs to no domain. */
HnModel *hn_model_new(const HnHost *host, const HnPolicy *policy, HnSplit *splits,
                      uint32_t n_splits, const HnEntry *entries, const uint64_t *other_mcpu);
void hn_model_free(HnModel *model);

/* A state only the search uses: taken out, as if it were not there. */
static inline uint32_t hn_model_out(const HnModel *model)
{
    return model->n_nodes + 1;
}

static inline int64_t hn_model_unary(const HnModel *model, uint32_t item, uint32_t state)
{
    return state > model->n_nodes ? 0 : model->unary[(size_t)item * (model->n_nodes + 1) + state];
}

/* Permille of the item's load on node n while it stays and floats. */
static inline int64_t hn_model_share(const HnModel *model, uint32_t item, uint32_t n)
{
    return model->share[(size_t)item * model->n_nodes + n];
}

/* Has it company whose places matter to its cost? */
static inline bool hn_item_has_company(const HnItem *item)
{
    return item->group >= 0 || item->anti >= 0 || item->kin_count > 1;
}

/* Is an item in that state confined to one node (or out)? */
static inline bool hn_model_is_homed(const HnModel *model, uint32_t item, uint32_t state)
{
    return state != model->n_nodes || !model->items[item].is_floating;
}

/* Node that stands for an item in a state. */
static inline uint32_t hn_model_position(const HnModel *model, uint32_t item, uint32_t state)
{
    return state < model->n_nodes ? state : (uint32_t)model->items[item].stay_node;
}

HnTerms hn_model_terms(const HnModel *model, uint32_t item, uint32_t state);

/* Least gain, in ns of stall per second, that a change of home of that (weighted) demand must
 * bring. */
int64_t hn_model_threshold(int64_t weighted_mcpu, const HnPolicy *policy);

/* Bytes that a client would have to move to make node `home` (host index) its home; 0 if what lies
 * elsewhere is within what counts as converged, or known not to move. */
uint64_t hn_model_bytes_to_move(const HnSplit *split, uint32_t client, uint32_t home,
                                const HnPolicy *policy);
