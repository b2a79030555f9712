/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cutting a wide domain without usable guest cells into parts.
 */
#pragma once

#include "client.h"

/* Fills split->clients (and chunk_maps, where a touch matrix exists) with the fewest parts that
 * each fit one of the nodes in `allowed`, together holding `planned_bytes`. At most one part per
 * vCPU. `by_cores`: a part fits a node if each of its vCPUs gets a core. Returns whether the cut has a
 * reason: who touches what, or, where that is not known, the nodes its vCPUs are confined to; without
 * one it is by vCPU number. */
bool hn_wide_split(HnSplit *split, const HnHost *host, const HnPolicy *policy, HnNodemask allowed,
                   uint64_t planned_bytes, bool by_cores);
