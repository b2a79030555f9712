/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sampling one domain's touches from round to round: rings per vCPU thread, the matrix they fill,
 * and on which nodes the touched pages lie.
 *
 * States: OFF (no ring, no matrix; what was learnt stays in the chunks) → ON (in the first round
 * that wishes it: rings are opened) → OFF (first round that does not: drained once more, closed).
 * ON with an impediment: what could not be opened is tried again each round. A thread that ended
 * loses its ring; one that began gets one.
 */
#pragma once

#include "observe/domain-watch.h"

typedef struct HnTouchWatch HnTouchWatch;

HnTouchWatch *hn_touch_watch_new(HnWatchContext *context, int64_t pid);
void hn_touch_watch_free(HnTouchWatch *watch);
/* Node indices mean something else from now on. */
void hn_touch_watch_forget_nodes(HnTouchWatch *watch);
uint64_t hn_touch_watch_bytes(const HnTouchWatch *watch); /* kept memory, rings included */

/* After threads and memory were observed: drains the rings, and fills in domain->touches,
 * HnVcpu.touches and the chunks of both `regions` (those that are kept) and domain->regions (their
 * copies). `is_on`: sample until the next round. Never fails: what cannot be done is in
 * domain->touches.impediment. */
void hn_touch_watch_observe(HnTouchWatch *watch, HnTasks *tasks, const HnHost *host,
                            uint64_t now_ns, bool is_on, HnRegion *regions, uint32_t n_regions,
                            HnDomain *domain);
