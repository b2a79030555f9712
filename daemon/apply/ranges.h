/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which addresses an action is about: from the regions and chunks of a snapshot to ranges for the movers, one
 * list per destination node. Pure.
 *
 * Rules:
 *   - A client that is a guest cell has the regions of that cell. The only client has everything. Clients of a
 *     wide domain without cells share the chunks as the plan's chunk maps say (without: a chunk touched by vCPUs of
 *     one client only is that client's, one touched by several is shared). Shared ones are moved only by a
 *     spread action. Those without evidence (or everything, where there is no chunk map) are divided by position in
 *     proportion to the clients' vCPUs; what is a sibling's by position comes last, should the others not make up
 *     the action's bytes: the plan has divided bytes, not positions.
 *   - Immovable regions are left out and counted.
 *   - An action for (nearly) all that the snapshot saw elsewhere means all of it, also what has come to lie there
 *     since: an overtaken move may have gone on for a while after the snapshot. Anything less is a slice, and a limit.
 *   - Hottest first where the action says so and there is a map: by heat, then by address. Chunks whose probes all
 *     lie on the destination already (or found nothing) come last: they are looked at all the same.
 *   - Where heat is known of some chunks, those without any are cold: they come after all others (but the ones at
 *     home), in the slow lane. A chunk at the edge of what was sampled may be called cold wrongly: it moves all
 *     the same, later.
 *   - A spread action gives each destination an equal share of the bytes; a chunk that lies on one of them stays
 *     while its share is not used up. Without a map the slices are of 32 MiB.
 */
#pragma once

#include <homenode/plan.h>
#include <homenode/snapshot.h>

#include "move.h"

typedef struct {
    int32_t to_node;         /* index into HnHost.nodes */
    GArray *ranges;          /* HnRange, in order; the taker sets it NULL */
    uint64_t expected_bytes; /* resident elsewhere (in from_nodes), as far as the snapshot knows */
    uint64_t limit_bytes;    /* this node's share of the action's bytes; UINT64_MAX: all of it is meant */
} HnPart;

/* GPtrArray of HnPart *, owned, one per destination node that has anything to look at, ascending node.
 * *ret_immovable_bytes: of that client, elsewhere, and staying there. */
GPtrArray *hn_ranges_of(const HnHost *host, const HnDomain *domain, const HnVerdict *verdict,
                        const HnAction *action, uint64_t *ret_immovable_bytes);
