/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * /proc/PID/numa_maps: exact bytes per node and mapping, at the price of walking the whole process
 * with its mmap lock held (docs/evidence.md: 9 ms/GiB with small pages, starving whoever maps or
 * unmaps; 3.2). For captured machines and diagnosis, never in a loop.
 */
#pragma once

#include "observe/root.h"

#include <homenode/domain.h>
#include <homenode/host.h>

/* Sets resident_bytes ([host->n_nodes], allocated) of each region from the mappings that begin in
 * it. *ret_is_bound (NULL allowed): some region's mapping has a policy other than the default,
 * which stops the kernel from scanning it. Error: HN_MODEL_ERROR_SYNTAX; then the regions are as
 * before. */
bool hn_numa_maps_parse(const char *text, size_t len, const HnHost *host, HnRegion *regions,
                        uint32_t n_regions, bool *ret_is_bound, GError **error);
bool hn_numa_maps_read(const HnRoot *root, int64_t pid, const HnHost *host, HnRegion *regions,
                       uint32_t n_regions, GError **error);
