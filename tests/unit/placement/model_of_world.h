/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The solver's problem of a world, without the gate around it: for tests and benchmarks of the
 * search.
 */
#pragma once

#include "world.h"

#include "model.h"

typedef struct {
    HnPolicy policy;
    HnPast *past;
    HnSplit *splits;
    uint32_t n_splits;
    HnModel *model;
} WorldModel;

/* Demand is the worlds' true load; every managed domain may move. */
WorldModel *world_model_new(World *world);
void world_model_free(WorldModel *model);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(WorldModel, world_model_free)
