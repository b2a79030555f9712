/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What placement/ answers: for every domain a verdict with a reason, and an ordered list of actions.
 *
 * The same object is printed, applied, recorded, replayed and simulated. Costs are integers, so that sums
 * do not depend on order and the same input gives the same plan on every machine.
 */
#pragma once

#include <homenode/doubt.h>
#include <homenode/reason.h>
#include <homenode/snapshot.h>

/* Stall in nanoseconds per second, per term of the cost function (docs/placement.md). */
typedef struct {
    int64_t remote_ns_per_sec;     /* accesses to other nodes */
    int64_t cpu_ns_per_sec;        /* demand above capacity */
    int64_t bandwidth_ns_per_sec;  /* memory controllers exceeded */
    int64_t moving_ns_per_sec;     /* bytes to move over the payback horizon */
    int64_t company_ns_per_sec;    /* groups, anti-groups, devices */
    int64_t total_ns_per_sec;
} HnCost;

/* One client of one domain: vCPUs and the RAM that belongs with them, placed as one. */
typedef struct {
    HnCpuset vcpus;        /* vCPU numbers */
    int32_t guest_cell;    /* -1: not a cell */
    int32_t home_now;      /* node index, HN_NODE_NONE: none yet */
    int32_t home_wanted;   /* node index, HN_NODE_NONE: stays undecided */
    uint64_t demand_mcpu;  /* smoothed */
    uint64_t bytes_to_move;
} HnClientVerdict;

/* Which client each chunk of one region belongs to: only for wide domains that were split by who touches
 * what (domains with guest cells are split by HnRegion.guest_cell instead). */
#define HN_CHUNK_SHARED 254 /* touched by several clients: spread over their homes, or left */
#define HN_CHUNK_ANY 255    /* no evidence: divided like the vCPUs */
typedef struct {
    uint32_t n_chunks;
    uint8_t *client; /* [n_chunks]: index into HnVerdict.clients, or one of the two above */
} HnChunkMap;

typedef struct {
    char uuid[HN_UUID_LEN + 1];
    char *name;
    bool is_managed;  /* opted in with auto or advise, and valid */
    bool will_act;    /* actions for it are in the plan */
    bool is_wide;
    HnReason reason;
    char *sentence;   /* English, with the numbers */
    uint32_t n_clients;
    HnClientVerdict *clients;
    uint32_t n_chunk_maps;  /* 0, or the number of the domain's regions */
    HnChunkMap *chunk_maps; /* [n_chunk_maps], in the order of HnDomain.regions */
    uint32_t score_now;   /* 0..100, 100 best */
    uint32_t score_after; /* predicted; = score_now when nothing is done */
    HnCost cost_now, cost_after;
    uint64_t bytes_to_move;
    uint64_t move_ms;    /* at the rate cap */
    uint64_t payback_ms; /* UINT64_MAX: never */
    uint32_t bytes_local_permille;    /* share of its memory on the nodes its vCPUs run on */
    bool has_accesses_local;
    uint32_t accesses_local_permille; /* share of sampled touches that were local */
    /* How much the two numbers can be trusted: age, and half width of the 95 % interval. */
    uint64_t bytes_local_age_ns;
    uint32_t bytes_local_error_permille;
    uint64_t accesses_local_age_ns; /* valid if has_accesses_local, as the next */
    uint32_t accesses_local_error_permille;
    HnDoubtAnswer doubt; /* what the next round should look at */
} HnVerdict;

typedef enum {
    HN_ACTION_UNFENCE,     /* open the nodeset before a move */
    HN_ACTION_PIN,         /* a client's vCPUs (and, first client, its workers) to CPUs of `to_nodes` */
    HN_ACTION_MOVE_MEMORY, /* bytes of a client from `from_nodes` to one node */
    HN_ACTION_FENCE,       /* restrictive one-node nodeset, after convergence */
} HnActionKind;

typedef struct {
    HnActionKind kind;
    uint32_t step;    /* actions of a step may run together; a step starts when the one before is done */
    char uuid[HN_UUID_LEN + 1];
    uint32_t client;  /* index into the verdict's clients */
    HnNodemask from_nodes; /* MOVE_MEMORY: where the bytes lie */
    HnNodemask to_nodes;   /* PIN, FENCE: allowed nodes; MOVE_MEMORY: one node, or several to spread over */
    uint64_t bytes;        /* MOVE_MEMORY: at most this much (a swap moves in slices) */
    bool is_spread;        /* MOVE_MEMORY: distribute over to_nodes (shared chunks) */
    bool hottest_first;
    HnReason reason;
} HnAction;

typedef struct {
    uint64_t generation;
    uint64_t made_ns;
    GPtrArray *verdicts; /* HnVerdict *, owned, ascending uuid: one for every domain of the snapshot */
    GArray *actions;     /* HnAction, in order */
    HnCost cost_now, cost_after;
    uint32_t score_now, score_after; /* host-wide, demand-weighted */
    uint32_t n_kept_out;    /* managed domains that memory alone keeps from a node worth their move */
    uint32_t cpu_load_permille; /* what the guests want, as far as measured, of the CPUs that are there for
                                   them: siblings and load that is not theirs discounted */
    bool is_overfull;       /* n_kept_out > 0, or the guests want more than three times the CPUs */
    GPtrArray *departures;  /* if so: char * uuid, owned: whose departure would help most, best first */
    char *summary;          /* one English sentence, or two: what is to be done; what the host lacks */
} HnPlan;

HnPlan *hn_plan_new(void);
void hn_plan_free(HnPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnPlan, hn_plan_free)
HnVerdict *hn_plan_find(const HnPlan *plan, const char *uuid_or_name);
const char *hn_action_kind_name(HnActionKind kind); /* "unfence" "pin" "move-memory" "fence" */
