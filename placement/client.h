/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clients: the parts of a domain that are placed as one (ESXi's "NUMA client").
 */
#pragma once

#include "past.h"

#include <homenode/plan.h>

/* More parts than nodes make no sense. */
#define HN_MAX_CLIENTS HN_MAX_NODES

typedef struct {
    HnCpuset vcpus; /* vCPU numbers */
    uint32_t n_vcpus;
    int32_t guest_cell;
    uint64_t
        claim_bytes; /* its part of memory that is nobody's in particular; 0 for all: equal parts */
    uint64_t *movable_bytes;   /* [n_nodes], in HnSplit.client_bytes */
    uint64_t *immovable_bytes; /* [n_nodes], likewise */
    uint64_t all_movable_bytes;
    uint64_t resident_bytes; /* both, summed */
    uint64_t growth_bytes;   /* reserved beyond what is resident */
    uint64_t smoothed_mcpu;
    uint64_t held_mcpu;
    HnNodemask allowed;  /* homes its constraints leave */
    HnReason constraint; /* why `allowed` is not every home node; CONVERGED: it is */
    int32_t home_now;    /* the node all its vCPUs are confined to, HN_NODE_NONE */
    int32_t main_node;   /* where it mostly is: home, else most memory */
    const uint16_t
        *share_permille;       /* [n_nodes] where its unpinned vCPUs run; NULL if home_now is set */
    uint64_t shared_touches;   /* of chunks that several parts touch: weights among siblings */
    uint32_t private_permille; /* share of its touches that fall in its own part (1000: not wide) */
    uint32_t sibling_permille; /* share that falls in other parts; the rest is on what is shared,
                                  and counts where that lies */
} HnClient;

/* A domain, split. */
typedef struct {
    const HnDomain *domain;
    HnPastDomain *record;
    bool is_wide;
    bool is_split_by_touch;
    bool exceeds_cores;     /* fits a node by its threads, but wants more CPU than any node's cores
                               with their siblings give */
    bool is_split_by_cores; /* and is cut for that: then is_wide, too */
    uint32_t n_clients;
    uint32_t n_vcpu_words; /* of the clients' sets of vCPUs, what is not empty in any */
    HnClient *clients;
    uint64_t *client_bytes;   /* what the clients' arrays are in */
    uint64_t huge_page_bytes; /* its RAM comes from this hugepage pool; 0: ordinary pages */
    bool has_big_pages;       /* moves at huge-page speed */
    uint64_t residue_bytes;   /* found not to move lately; tolerated away from home */
    uint64_t *loose_bytes;    /* [n_nodes] movable memory that no client owns in particular; in one
                                 block with the two below */
    uint64_t *stuck_bytes;    /* [n_nodes] immovable memory, likewise */
    uint64_t
        *shared_bytes; /* [n_nodes] of the stuck: chunks touched from several parts; not chased */
    uint32_t n_chunk_maps;
    HnChunkMap *chunk_maps; /* moved into the verdict */
} HnSplit;

/* Splits one domain and brings its record's held values up to date. `node_rank` (canonical.h)
 * breaks ties, `policy` decides the reserve and the boot window. `is_sent`: it is ordered to one node,
 * and not cut if it need not be. Never fails: a domain that fits nowhere is still one client, with
 * `allowed` 0. */
void hn_split_init(HnSplit *split, const HnHost *host, const uint32_t *node_rank,
                   const HnDomain *domain, HnPastDomain *record, const HnPolicy *policy,
                   bool is_sent, uint64_t now_ns, uint64_t elapsed_ns);
void hn_split_clear(HnSplit *split);
/* Is the client at home on a node that its admin's nodesets exclude, though they leave others? */
bool hn_split_is_outside(const HnSplit *split, uint32_t client);
/* Some client of it. */
bool hn_split_has_outsider(const HnSplit *split);
/* The node a set of CPUs lies within, HN_NODE_NONE if there is none; `guess` is looked at first. */
int32_t hn_split_confining_node(const HnHost *host, const HnCpuset *affinity, int32_t guess);
/* So much of its touches falls in its own part, and the rest in its siblings'. */
void hn_client_keep_private(HnClient *client, uint32_t private_permille);
/* Gives the split that many empty clients; for the functions that fill them. */
void hn_split_allocate(HnSplit *split, uint32_t n_clients, uint32_t n_nodes);

/* Takes the domain's whole memory as nobody's in particular; it is divided when the clients' homes
 * are known. */
void hn_split_keep_undivided(HnSplit *split, uint32_t n_nodes);

/* Memory of a node that plans may use when it is empty, and what they leave alone of it. */
uint64_t hn_node_usable_bytes(const HnNode *node, const HnPolicy *policy);
uint64_t hn_node_usable_for(const HnNode *node, const HnPolicy *policy, uint64_t huge_page_bytes);
uint64_t hn_node_reserve_bytes(const HnNode *node, const HnPolicy *policy);
