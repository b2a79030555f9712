/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory of one domain from round to round: regions, probes, control group. See domain-watch.h
 * for what renews what.
 *
 * Totals come from the best source there is (HnDomain.resident_source):
 * - HN_SOURCE_PROBE: the last probes, while there is no usable control group
 * - HN_SOURCE_CGROUP: the last probes, plus what the group's counters moved since: QEMU's own
 * memory, which they include, cancels out. Only where the group holds nothing but this machine and
 * was charged with at least 98 % of what the probes found.
 * - HN_SOURCE_NUMA_MAPS: a captured machine that has the file
 */
#pragma once

#include "observe/domain-watch.h"

typedef struct HnMemoryWatch HnMemoryWatch;

HnMemoryWatch *hn_memory_watch_new(HnWatchContext *context, int64_t pid);
void hn_memory_watch_free(HnMemoryWatch *memory);
/* Forgets regions, probes and counters. */
void hn_memory_watch_forget(HnMemoryWatch *memory);
uint64_t hn_memory_watch_bytes(const HnMemoryWatch *memory);
/* The regions that are kept, with the chunks of the last probes; they stay the watch's. */
HnRegion *hn_memory_watch_regions(HnMemoryWatch *memory, uint32_t *ret_n_regions);

/* True if the guest has a vhost device and none of the process' threads works for it: then kernel
 * threads outside the process do. */
bool hn_memory_watch_needs_vhost_kthreads(HnMemoryWatch *memory, HnTasks *tasks);

/* Fills in regions, residency and what cannot move; what went wrong goes to domain->unobservable,
 * unless something is there already. */
void hn_memory_watch_observe(HnMemoryWatch *memory, const HnDomainInfo *info, const HnHost *host,
                             const HnTaskStat *process, const HnObserveOptions *options,
                             bool is_fresh, HnDomain *domain);
