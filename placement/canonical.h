/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An order of nodes and domains that depends on what they are, not on what they are called.
 */
#pragma once

#include "client.h"

/* Ranks the nodes alone, before domains are split (splitting needs an order of nodes to break ties
 * by): node_rank[host index] = rank. `domains` are HnDomain pointers. */
void hn_canonical_nodes(const HnHost *host, const GPtrArray *domains, const uint64_t *other_mcpu,
                        uint32_t *node_rank);

/* Writes node_index[rank] = host index and split_order[rank] = split index. */
void hn_canonical_order(const HnHost *host, const HnSplit *splits, uint32_t n_splits,
                        const uint64_t *other_mcpu, uint32_t *node_index, uint32_t *split_order);
