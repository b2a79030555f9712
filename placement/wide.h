/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cutting a wide domain without usable guest cells into parts.
 */
#pragma once

#include "client.h"

/* Fills split->clients (and chunk_maps, where a touch matrix exists) with the fewest parts that
 * each fit one of the nodes in `allowed`, together holding `planned_bytes`. At most one part per
 * vCPU. */
void hn_wide_split(HnSplit *split, const HnHost *host, const HnPolicy *policy, HnNodemask allowed,
                   uint64_t planned_bytes);
