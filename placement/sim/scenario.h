/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a simulation is about: a host, guests with known access patterns, and how long. A scenario
 * is a text a person writes (key file: [scenario], [host], one [guest NAME] each);
 * docs/simulator.md lists the keys. Parsing touches no file.
 */
#pragma once

#include <homenode/host.h>

typedef enum {
    HN_SIM_PRIVATE, /* each vCPU touches its own slice */
    HN_SIM_SHARED,  /* every vCPU touches everything */
    HN_SIM_HALF, /* the lower half of the vCPUs shares the lower half of memory, the rest the rest
                  */
} HnSimPattern;

typedef enum {
    HN_SIM_ON_NODE,     /* all memory starts on `start_node` */
    HN_SIM_INTERLEAVED, /* page by page over all nodes with memory */
    HN_SIM_FIRST_TOUCH, /* where the vCPU that touches it runs at that time */
} HnSimLayout;

typedef struct {
    char *name;
    uint32_t n_vcpus;
    uint64_t memory_bytes;
    HnSimPattern pattern;
    double busy;           /* share of its time a vCPU wants to run, 0..1 */
    double memory_bound;   /* mu: share of run time that waits for memory when local, 0..1 */
    double vcpu_gib_per_s; /* memory traffic of one vCPU that runs all the time, all local */
    double work_gib;       /* traffic until it is done; 0: runs to the end */
    double start_s;        /* when it is started */
    double boot_s;         /* its memory becomes resident evenly over this time */
    double wake_s;         /* idle until then (0: from the start) */
    double noise;          /* its demand varies by this share, +- */
    HnSimLayout layout;
    int32_t start_node;  /* node index */
    int32_t bind_node;   /* policy bind: its node; HN_NODE_NONE: slice i to its vCPU's node */
    bool is_immovable;   /* passthrough: its memory is pinned */
    int32_t device_node; /* HN_NODE_NONE: none */
    char *group;         /* may be NULL */
    char *anti_group;
} HnSimGuest;

typedef struct {
    char *title;
    double duration_s; /* ends earlier when every guest with work is done */
    double step_s;     /* of virtual time */
    uint32_t seed;
    double kappa;          /* remote penalty: ratio at distance d is 1 + kappa * (d/10 - 1) */
    double node_gib_per_s; /* what a node's memory controllers serve; 0: never the bottleneck */
    double smt_yield;      /* what a busy sibling adds to a core, 0..1 */
    HnHost *host;
    GPtrArray *guests; /* HnSimGuest *, owned */
} HnSimScenario;

/* Errors: HN_MODEL_ERROR, naming the group, the key, the value and what is allowed. */
HnSimScenario *hn_sim_scenario_parse(const char *text, size_t len, GError **error);
void hn_sim_scenario_free(HnSimScenario *scenario);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnSimScenario, hn_sim_scenario_free)
