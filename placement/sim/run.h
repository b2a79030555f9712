/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One scenario under one policy, from start to end: what came of each guest, and a series over
 * time.
 */
#pragma once

#include "policy.h"

typedef struct {
    char *name;
    double start_s;
    double run_s;          /* its own run time; < 0: not finished (or it has no end) */
    double bytes_local;    /* 0..1, mean over its running time */
    double accesses_local; /* 0..1, mean over its running time */
    double last_bytes_local, last_accesses_local;
    int32_t last_node; /* where it mostly runs at the end, node index */
    uint32_t n_rehomes;
    double moved_bytes;
    double last_rehome_s; /* < 0: never */
} HnSimGuestResult;

typedef struct {
    double at_s;
    double bytes_local, accesses_local; /* 0..1, mean over running guests, by memory */
    double moved_bytes;                 /* so far, all guests */
} HnSimPoint;

typedef struct {
    const HnSimPolicy *policy;
    double run_s;      /* until the last guest with work was done; < 0: not all were */
    GArray *guests;    /* HnSimGuestResult */
    GArray *series;    /* HnSimPoint, one a second */
    double *node_load; /* [n_nodes] mean demand over capacity, 0.. */
    uint32_t n_nodes;
    uint32_t n_rehomes;
    double moved_bytes;
} HnSimResult;

HnSimResult *hn_sim_run(const HnSimScenario *scenario, const HnSimPolicy *policy);
void hn_sim_result_free(HnSimResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnSimResult, hn_sim_result_free)
