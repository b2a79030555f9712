/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small world for tests of placement/: guests with a true load and true memory, a clock that is
 * moved by hand, snapshots of it, and plans applied to it perfectly or action by action.
 *
 * Must not contain a model of performance: that is the simulator's business.
 */
#pragma once

#include <homenode/policy.h>

typedef struct {
    HnSnapshot *snapshot; /* the truth; handed to hn_decide() as it is */
    uint64_t *load_mcpu;  /* [n_domains] true demand of each domain, evenly over its vCPUs */
} World;

/* A world on that host, with no guests; takes the host. */
World *world_new(HnHost *host);
void world_free(World *world);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(World, world_free)

/* A host of equal nodes, all memory free. */
HnHost *world_host(uint32_t n_nodes, uint32_t cpus_per_node, uint32_t smt, uint64_t bytes_per_node);

/* Adds an opted-in, long-running guest with unpinned vCPUs and memory on node `memory_node`, spread
 * over all nodes if that is HN_NODE_NONE; memory is taken from the nodes' free bytes. */
HnDomain *world_add(World *world, uint32_t n_vcpus, uint64_t bytes, uint64_t load_mcpu,
                    int32_t memory_node);
/* Pins all vCPUs of a guest to a node, as homenode would have. */
void world_pin(World *world, HnDomain *domain, int32_t node);

/* Lets time pass: counters advance by the true loads, each multiplied by 1 + noise where |noise| is
 * at most noise_permille, drawn from *seed. */
void world_step(World *world, uint64_t elapsed_ns, uint32_t noise_permille, uint64_t *seed);

/* Carries out one action; returns false if it would take more memory than is free on a node. */
bool world_apply_action(World *world, const HnPlan *plan, const HnAction *action);
/* All of them in order. */
bool world_apply(World *world, const HnPlan *plan);

/* Home of all vCPUs of a domain, HN_NODE_NONE if they are not confined to one. */
int32_t world_home(const World *world, const HnDomain *domain);
uint32_t world_local_permille(const World *world, const HnDomain *domain);
uint64_t world_random(uint64_t *seed); /* splitmix64 */

/* What random fleets look like. */
typedef struct {
    uint32_t min_nodes, max_nodes;
    uint32_t n_domains;
    uint32_t cpu_load_permille;    /* of all capacity, that all domains together ask for */
    uint32_t memory_fill_permille; /* of all memory, that they take up */
    uint32_t pinned_permille;      /* of domains that have a home already */
    bool is_odd; /* unequal nodes, sparse ids, odd distances, nodes without CPUs or memory, SMT */
    bool has_wishes; /* nodesets, groups, pins, weights, modes, jobs, immovable memory */
} WorldMix;

/* A random world of that mix, always one that makes sense. */
World *world_new_random(const WorldMix *mix, uint64_t *seed);
