/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who places the guests in a simulation. Each is a model: off (the kernel's scheduler alone), bind
 * and inverse (static, best and worst), numad and kernel balancing written from descriptions of
 * what they do, and homenode, which is not a model but the agent's own hn_decide().
 */
#pragma once

#include "world.h"

typedef struct {
    const char *name;
    const char *description;
    double period_s; /* of tick() */
    void *(*start)(HnSimWorld *world);
    void (*tick)(void *state, HnSimWorld *world);
    void (*stop)(void *state);
} HnSimPolicy;

extern const HnSimPolicy hn_sim_policy_off;
extern const HnSimPolicy hn_sim_policy_bind;
extern const HnSimPolicy hn_sim_policy_inverse;
extern const HnSimPolicy hn_sim_policy_numad;
extern const HnSimPolicy hn_sim_policy_kernel;
extern const HnSimPolicy hn_sim_policy_homenode;

/* All of them, NULL-terminated, in the order of tables. */
extern const HnSimPolicy *const hn_sim_policies[];
const HnSimPolicy *hn_sim_policy_find(const char *name);
