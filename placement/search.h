/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding an assignment of least cost. Deterministic: ties fall to the canonical order.
 */
#pragma once

#include "cost.h"

/* Improves the assignment in place, never worsens it; items with is_fixed keep their state. */
void hn_search(HnAssignment *assignment);
/* Its two halves, for tests and benchmarks. */
void hn_search_local(HnAssignment *assignment);
/* The first without solving parts exactly. */
void hn_search_steps(HnAssignment *assignment);
/* Branch and bound; returns true if it ran to its end, so that the result is optimal. Gives up
 * after `max_visits` nodes of the search tree with the best found so far. */
bool hn_search_exact(HnAssignment *assignment, uint64_t max_visits);
/* The same for some of the items, the others as they are in `assignment`; `before` is today. Uses up
 * visits_left. */
bool hn_search_exact_of(HnAssignment *assignment, const HnAssignment *before, const uint32_t *items,
                        uint32_t n_items, uint64_t *visits_left);
/* V * log2(N) <= 20 for the items that may move? */
bool hn_search_is_small(const HnModel *model);
