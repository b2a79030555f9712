/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole loop but libvirt and the kernel: placement/ plans for guests of the small world (../placement/world.h), the
 * actuator pins them in the fake back end and moves their memory on a host of two nodes with made-up time
 * (virtual-host.h), and the next round sees what has come of it. Node n has CPUs 4n to 4n + 3.
 */
#pragma once

#include "../placement/world.h"
#include "apply/actuator.h"
#include "virtual-host.h"

#define LOOP_SEC 1000000000ull
#define LOOP_MIB (1ull << 20)

typedef struct {
    World *world;
    VirtualHost *host;
    HnBackend *backend;
    HnJournal *journal;
    HnActuator *actuator;
    HnLimits limits; /* to be changed before loop_begin(); back-off is off */
    HnPolicy policy;
    HnPast *past;
    GArray *outcomes;           /* HnOutcome since the last plan */
    guint n_of[HN_N_REASONS];   /* outcomes so far */
} Loop;

/* Each node has free_bytes free beside its guests. */
Loop *loop_new(uint64_t free_bytes);
void loop_free(Loop *loop);
/* An opted-in guest of small pages with all its memory on that node, and no pins. */
HnDomain *loop_add_guest(Loop *loop, uint32_t n_vcpus, uint64_t bytes, uint64_t load_mcpu, int node);
/* All guests are there: the actuator starts. */
void loop_begin(Loop *loop);

/* 2 s pass; then what is, into the snapshot: pins as the back end has them, memory as the kernel has it. */
void loop_observe(Loop *loop);
/* Observed and decided; to_node >= 0: with an order for that guest. */
HnPlan *loop_decide(Loop *loop, const HnDomain *ordered, int32_t to_node);
/* Carries a plan out and waits for its last outcome. */
void loop_carry_out(Loop *loop, const HnPlan *plan);
/* Both, without orders; the reason of that guest's verdict. */
HnReason loop_round(Loop *loop, const HnDomain *domain);
