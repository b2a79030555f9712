/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Steps of the local search that take more than one item.
 */
#pragma once

#include "cost.h"

/* The items that may move, in canonical order. */
typedef struct {
    uint32_t count;
    uint32_t *items;
    uint32_t *by_demand; /* the same, least demand first; ties in canonical order */
} HnMovable;

/* One pass of exchanges; true if it improved anything. */
bool hn_search_swap(HnAssignment *assignment, const HnAssignment *before, const HnMovable *movable);
/* One pass of chains: an item enters a node, another leaves it for a third place. */
bool hn_search_chain(HnAssignment *assignment, const HnAssignment *before,
                     const HnMovable *movable);
/* One pass of small problems solved exactly: what lies on two nodes, placed anew wherever it likes;
 * uses up visits_left. */
bool hn_search_parts(HnAssignment *assignment, const HnAssignment *before,
                     const HnMovable *movable, uint32_t pass, uint64_t *visits_left);
/* Exchanges two items if that helps. */
bool hn_search_try_swap(HnAssignment *assignment, const HnAssignment *before, uint32_t u,
                        uint32_t v);
