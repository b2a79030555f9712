/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fence: a restrictive nodeset of the home nodes, put up after convergence and opened before a move. Mode and
 * nodeset always go together (a nodeset alone turns the domain's mode into "strict", which can never be changed
 * again while it runs).
 *
 * A cpuset.mems write moves whatever lies outside synchronously and unthrottled, so the fence is refused while
 * more than a trifle lies outside: it is never the mover.
 *
 * libvirt has no way back to "no numatune": opened, the nodeset is all nodes with memory, or what the admin had.
 */
#pragma once

#include "control.h"

typedef struct {
    HnIdentity identity;
    HnCpuset node_ids;      /* FENCE: the kernel's node ids */
    uint64_t inside_bytes;  /* resident on those nodes, and elsewhere */
    uint64_t outside_bytes;
} HnFenceRequest;

/* At most this share of the memory may lie outside. */
#define HN_FENCE_OUTSIDE_PERMILLE 20

/* DONE, NODESET_BY_ADMIN, UNSUPPORTED (another mode than restrictive), EVIDENCE_THIN (too much lies outside),
 * KERNEL_REFUSED (journal not writable), or what hn_control_open() and hn_end_of_error() say. */
HnEnd hn_fence(const HnControl *control, const HnFenceRequest *request);
/* Opens our fence, if there is one. DONE also when there is none. */
HnEnd hn_unfence(const HnControl *control, const HnIdentity *identity);

/* What the nodeset is opened to: the piece's original, or all nodes with memory. */
bool hn_fence_open_set(const HnControl *control, const HnPiece *piece, HnCpuset *ret_node_ids, GError **error);
