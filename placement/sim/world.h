/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulated host in virtual time: where each vCPU runs, where each chunk of memory lies, how
 * fast the guests progress. Policies look at it and move things; hn_sim_world_step() lets time
 * pass.
 *
 * The cost model is that of published measurements (docs/simulator.md gives formulas, constants and
 * the model's known errors). Nothing here decides anything.
 */
#pragma once

#include "scenario.h"

typedef struct {
    HnNodemask allowed; /* nodes it may run on; several: the kernel's scheduler spreads it */
    double *node_share; /* [n_nodes] share of its run time per node, sums to 1 */
    double exec_ns;
    double run_delay_ns;
    double hint_cost; /* share of its time lost to hinting faults, set by a policy */
} HnSimVcpu;

/* A move in progress: chunks of one guest that lie in `from` go to `to`, at most `bytes_left`. */
typedef struct {
    HnNodemask from;
    int32_t to;
    double bytes_left;
    double bytes_per_s;
    double carried_bytes; /* part of the next chunk already copied */
    uint64_t token;       /* the policy's own name for it */
    HnCpuset vcpus;       /* only chunks touched by these; empty: any */
} HnSimMove;

typedef struct {
    const HnSimGuest *spec;
    HnSimVcpu *vcpus; /* [spec->n_vcpus] */
    uint32_t n_chunks;
    double chunk_bytes;
    int16_t *chunk_node; /* [n_chunks], HN_NODE_NONE: not resident yet */
    GArray *moves;       /* HnSimMove; one runs at a time, in order */
    double work_done_gib;
    double finished_s;  /* < 0: not yet */
    uint32_t n_rehomes; /* times a policy gave it another home */
    double bytes_moved;
    double speed; /* progress per second of the last step, 1 = alone and all local */
    bool is_started, is_running;
    double demand_factor; /* this step's noise */
} HnSimVm;

typedef struct {
    const HnSimScenario *scenario;
    uint32_t n_nodes;
    double now_s;
    double *capacity_cpus; /* [n_nodes], siblings discounted */
    double *load_cpus;     /* [n_nodes] the guests' demand in the last step */
    double *copy_cpus;     /* [n_nodes] CPUs that copying takes in this step */
    double *copy_gib_per_s; /* [n_nodes] what copying reads and writes there */
    GPtrArray *vms;        /* HnSimVm *, owned, in the scenario's order */
    uint64_t random_state;
    GArray *finished_moves; /* uint64_t tokens of moves done since the policy last looked */
} HnSimWorld;

/* The scenario must outlive the world. */
HnSimWorld *hn_sim_world_new(const HnSimScenario *scenario);
void hn_sim_world_free(HnSimWorld *world);
void hn_sim_world_step(HnSimWorld *world);
bool hn_sim_world_is_done(const HnSimWorld *world);

/* True when vCPU `vcpu` ever touches `chunk` (the pattern's truth). */
bool hn_sim_touches(const HnSimVm *vm, uint32_t vcpu, uint32_t chunk);
/* Share of its resident memory on `node`, 0..1. */
double hn_sim_vm_memory_share(const HnSimVm *vm, uint32_t node);
double hn_sim_vm_resident_bytes(const HnSimVm *vm);
/* Share of its memory on the nodes its vCPUs run on, and of its accesses that are local; 0..1. */
double hn_sim_vm_bytes_local(const HnSimWorld *world, const HnSimVm *vm);
double hn_sim_vm_accesses_local(const HnSimWorld *world, const HnSimVm *vm);
/* The node where most of its vCPU time is spent. */
int32_t hn_sim_vm_main_node(const HnSimWorld *world, const HnSimVm *vm);
/* Free memory of a node, at the guests' resident size. */
double hn_sim_node_free_bytes(const HnSimWorld *world, uint32_t node);
/* Latency ratio of an access from `from` to `to`, 1 = local. */
double hn_sim_rho(const HnSimWorld *world, uint32_t from, uint32_t to);
/* Deterministic random number in [0, 1). */
double hn_sim_random(HnSimWorld *world);
/* Puts one chunk elsewhere at once, without cost (the policy accounts for it). */
void hn_sim_place_chunk(HnSimWorld *world, HnSimVm *vm, uint32_t chunk, int32_t node);
/* Queues a move; see HnSimMove. */
void hn_sim_queue_move(HnSimVm *vm, const HnSimMove *move);
/* What the moves of this step take from the nodes: fills copy_cpus and copy_gib_per_s. */
void hn_sim_moves_weigh(HnSimWorld *world);
/* Carries on the guest's first move for one step; returns the bytes copied. */
double hn_sim_moves_run(HnSimWorld *world, HnSimVm *vm);
