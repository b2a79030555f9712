/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claims: memory of a domain that no client owns in particular (no cell detail, untouched or shared
 * chunks), divided.
 */
#pragma once

#include "client.h"

/* Divides memory that is nobody's in particular by the clients' claims. A byte serves any of them
 * alike, so each first takes what is at its home: that need not move. What is left, and all that
 * cannot move, comes to clients with homes in the same mixture, so that none of them seems to gain
 * by changing places with a sibling; to clients without homes it comes node by node, so that as
 * little as possible has to move. `is_loose` says which arrays. `bytes` ([n_nodes]) is
 * used up. `node_rank` (canonical.h) breaks ties. */
void hn_claims_divide(HnSplit *split, const HnHost *host, const uint32_t *node_rank,
                      uint64_t *bytes, bool is_loose);
