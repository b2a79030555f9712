/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of the actuator share: an actuator over the fake kernel and the fake back end (world.h), with real
 * threads, and what it has told.
 */
#pragma once

#include "world.h"

#define MIB (1ull << 20)
#define MS 1000000ull
#define SEC (1000 * MS)
#define ALL_MIB (WORLD_PAGES * FAKE_PAGE)

typedef struct {
    HnOutcome outcome;
    char *sentence;
} ActTold;

typedef struct {
    World *world;
    HnActuator *actuator;
    HnLimits limits;
    GPtrArray *told;
} ActFixture;

/* Keeps what is told; for an actuator of one's own. */
void act_on_outcome(const HnOutcome *outcome, const char *sentence, void *user_data);
void act_setup(ActFixture *f, gconstpointer data);
void act_teardown(ActFixture *f, gconstpointer data);
/* Until so many outcomes have been told in all; 10 s at most. */
void act_wait_for(ActFixture *f, guint n_outcomes);
/* Lets things happen for a while. */
void act_idle(guint ms);
/* Until so many calls of move_pages have begun. */
void act_wait_for_moves(ActFixture *f, guint n_moves);
/* The i-th outcome is that. */
const ActTold *act_assert_told(ActFixture *f, guint i, HnActionKind kind, HnReason reason, uint64_t generation);
/* A plan: all memory to those nodes. */
void act_submit_move(ActFixture *f, uint64_t generation, HnNodemask to);
/* A plan: pins, then all memory. */
void act_submit_home(ActFixture *f, uint64_t generation, HnNodemask to);
void act_assert_in_flight(ActFixture *f, bool is);
void act_assert_pins(ActFixture *f, const char *expected);
bool act_has_journal(ActFixture *f);
