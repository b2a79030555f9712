/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What DAMON, the kernel's data access monitor, knows of a guest's RAM, and the heat of chunks that follows.
 *
 * Theory. DAMON cuts a process' ranges into regions, looks at one page of each per sampling interval whether it was
 * accessed (for KVM guests through the MMU notifiers: facts of the second page table are seen), merges neighbours that
 * behave alike and splits the rest. After each aggregation interval a region has a count of samples in which it was
 * found accessed. A scheme that does nothing ("stat") and matches everything shows all regions in sysfs as "tried".
 * A chunk's heat is the share of samples, in permille, that found it accessed, averaged over the ranges that cover it,
 * and it fades with age like the heat of touches (touch-matrix.h).
 *
 * DAMON tells which memory is hot, not who heats it: it fills no touch matrix.
 *
 * Must not: write anything; damon_switch.h in the daemon does that.
 */
#pragma once

#include "observe/root.h"

#include <homenode/domain.h>

#define HN_DAMON_ADMIN "sys/kernel/mm/damon/admin/kdamonds"
#define HN_DAMON_KDAMOND HN_DAMON_ADMIN "/0"
#define HN_DAMON_CONTEXT HN_DAMON_KDAMOND "/contexts/0"
#define HN_DAMON_SCHEME HN_DAMON_CONTEXT "/schemes/0"

/* One page of each region is looked at per sampling interval. 256 regions every 25 ms are 10,240 looks a second,
 * and after 0.5 s each region had 20 of them. */
#define HN_DAMON_SAMPLE_US 25000
#define HN_DAMON_AGGREGATE_US 500000
#define HN_DAMON_SAMPLES (HN_DAMON_AGGREGATE_US / HN_DAMON_SAMPLE_US)
/* Regions: at least so many, so that none is larger than a 32nd of the RAM; it begins with 64 slices, so that the
 * first answer is of use. */
#define HN_DAMON_MIN_REGIONS 32
#define HN_DAMON_SLICES 64
#define HN_DAMON_MAX_REGIONS 256

/* A range of host-virtual addresses, [start, end). */
typedef struct {
    uint64_t start, end;
    uint32_t n_accesses; /* samples of the last aggregation that found it accessed */
    uint32_t age;        /* aggregations for which it has been like this */
} HnDamonRange;

/* Why DAMON does not watch, as a stable code.
 * - "captured-machine": a captured machine has no processes to watch
 * - "no-damon": the kernel was built without DAMON's sysfs interface, or is too old to show regions (Linux 6.2)
 * - "no-fvaddr": it cannot watch fixed ranges of a process (CONFIG_DAMON_VADDR)
 * - "damon-in-use": somebody else's kdamond is set up: there is one set of them for the whole host
 * - "damon-exclusive": DAMON_STAT, DAMON_RECLAIM or DAMON_LRU_SORT runs, which suffers no other
 * - "damon-denied": the files may not be written
 * - "damon-refused": the kernel refused something else; the log has it */
#define HN_DAMON_CAPTURED "captured-machine"
#define HN_DAMON_NONE "no-damon"
#define HN_DAMON_NO_FVADDR "no-fvaddr"
#define HN_DAMON_IN_USE "damon-in-use"
#define HN_DAMON_EXCLUSIVE "damon-exclusive"
#define HN_DAMON_DENIED "damon-denied"
#define HN_DAMON_REFUSED "damon-refused"

/* What can be told without writing: NULL (nothing stands against it), or a code. `is_ours`: a kdamond that is set up
 * is the asker's own. */
const char *hn_damon_check(const HnRoot *root, bool is_ours);
/* One English sentence for a code: what it means and what would help. */
const char *hn_damon_sentence(const char *code);

/* The RAM as at most max_slices ranges to begin with: ascending, apart from each other, cut at 2 MiB, each region's
 * number in proportion to its length and at least one. GArray of HnDamonRange, owned; empty if there is no RAM or it
 * is in more than max_slices pieces. Pure. */
GArray *hn_damon_slices(const HnRegion *regions, uint32_t n_regions, uint32_t max_slices);

/* A file of sysfs with one unsigned decimal number and a newline. Error: HN_MODEL_ERROR_SYNTAX. */
bool hn_damon_number_parse(const char *text, size_t len, uint64_t *ret_value, GError **error);
/* All regions as last shown below HN_DAMON_SCHEME/tried_regions, ascending; at most 2 * HN_DAMON_MAX_REGIONS are
 * believed. GArray of HnDamonRange, owned; NULL with G_FILE_ERROR or HN_MODEL_ERROR_SYNTAX. */
GArray *hn_damon_ranges_read(const HnRoot *root, GError **error);

/* Lays ranges over the domain's chunks: HnChunk.heat and HnDomain.heat (but is_on and impediment). Heat by touches,
 * where there is any, is better and stays. `age_ns`: since the ranges were read. Pure. */
void hn_damon_lay(const GArray *ranges, uint64_t age_ns, HnDomain *domain);
