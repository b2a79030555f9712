/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the pages of a guest's RAM lie: queries of move_pages(2), sampled or exact, and the
 * counters of the domain's control group.
 *
 * A query (nodes = NULL) moves nothing. It walks one page-table path per address under the reader's
 * side of the mmap lock for at most HN_QUERY_BATCH addresses at a time, which is why it may be used
 * on a running guest of any size while smaps and numa_maps, one walk over everything, may not.
 *
 * Sampling: the domain's RAM is cut into as many equal strata as there are probes, and one page is
 * drawn from each (docs/evidence.md: never worse than drawing freely, far better where placement
 * comes in runs). With transparent huge pages a stratum of 2 MiB holds one page, so the sample is
 * the truth.
 */
#pragma once

#include <homenode/domain.h>
#include <homenode/host.h>

/* Pages per call: the cost per page is flat from 256 on (docs/evidence.md). */
#define HN_QUERY_BATCH 512
/* Ceiling of chunks per domain (docs/evidence.md). */
#define HN_MAX_CHUNKS 4096

/* The one kernel call, behind a pointer so that tests can be the kernel. Same contract as
 * move_pages(2) with nodes = NULL: 0, status[i] = node id or -errno; or -1 with errno. */
typedef struct {
    int (*query)(void *user_data, int64_t pid, size_t n, void **addresses, int *ret_status);
    void *user_data;
} HnProbeOps;

const HnProbeOps *hn_probe_ops_kernel(void);

/* Asks for n addresses of process pid, in batches. ret_status[i]: the kernel's node id, -ENOENT
 * absent (never touched, or swapped out), -EFAULT the shared zero page (only ever read), or not
 * mapped. Error: G_FILE_ERROR, code from errno (NOENT: gone, PERM: CAP_SYS_PTRACE is missing). */
bool hn_residency_query(const HnProbeOps *ops, int64_t pid, size_t n, void **addresses,
                        int *ret_status, GError **error);

/* What was found of one domain. */
typedef struct {
    uint64_t *node_bytes;   /* [n_nodes], by HnHost index */
    uint64_t absent_bytes;  /* not in memory: never touched or swapped out */
    uint64_t unknown_bytes; /* another error, or a node that the host does not list */
    uint64_t n_probes;
    /* The widest 95 % interval of a node's share of what is present; 0: exact. */
    uint32_t error_permille;
} HnResidency;
void hn_residency_init(HnResidency *residency, uint32_t n_nodes);
void hn_residency_clear(HnResidency *residency);

/* Bytes of a chunk for a domain with `total_bytes` of RAM: 2 MiB × 2ᵏ so that there are at most 512
 * chunks up to 64 GiB (24 bytes each: the map of an ordinary domain stays below 16 KiB), and more,
 * up to HN_MAX_CHUNKS, above. */
uint64_t hn_chunk_bytes(uint64_t total_bytes);

typedef struct {
    uint32_t n_probes; /* spread over the regions by size, at least one for each chunk */
    bool is_exact;     /* ask for every page instead */
    bool is_all_huge;  /* exact: what is present is in 2 MiB pages, one address speaks for each */
    uint64_t seed;     /* decides which page of a stratum: equal arguments, equal addresses */
} HnProbePlan;

/* Probes the RAM of a domain and fills in, for each region: resident_bytes ([host->n_nodes],
 * allocated) and the chunk map: chunk_bytes, n_chunks, and of each chunk node, n_probes (absent
 * pages included) and n_probes_on_node. Heat and touches are kept when the map keeps its shape.
 * Errors as hn_residency_query(); then the regions are as before. */
bool hn_residency_probe(const HnProbeOps *ops, const HnHost *host, int64_t pid, HnRegion *regions,
                        uint32_t n_regions, const HnProbePlan *plan, HnResidency *ret_residency,
                        GError **error);

/* Number of addresses that plan asks for. */
uint64_t hn_residency_n_addresses(const HnRegion *regions, uint32_t n_regions,
                                  const HnProbePlan *plan);

/* How far the true share may be (95 %) from the one seen in `n_hits` of `n` independent probes, in
 * permille, rounded up; 1000 if n is 0. Wilson's score interval, because shares near 0 and 1 are
 * the ordinary case here; stratified probes do better. */
uint32_t hn_residency_error_permille(uint64_t n_hits, uint64_t n);
