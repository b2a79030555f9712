/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the pages of a guest's RAM lie: queries of move_pages(2), sampled or exact, and the counters of
 * the domain's control group.
 *
 * A query (nodes = NULL) moves nothing. It walks one page-table path per address under the reader's side
 * of the mmap lock for at most HN_QUERY_BATCH addresses at a time, which is why it may be used on a
 * running guest of any size while smaps and numa_maps, one walk over everything, may not.
 *
 * Sampling: the domain's RAM is cut into as many equal strata as there are probes, and one page is drawn
 * from each (performance.md 3.4: never worse than drawing freely, far better where placement comes in
 * runs). With transparent huge pages a stratum of 2 MiB holds one page, so the sample is the truth.
 */
#pragma once

#include <homenode/domain.h>
#include <homenode/host.h>

/* Pages per call: the cost per page is flat from 256 on (performance.md 3.1). */
#define HN_QUERY_BATCH 512
/* Ceiling of chunks per domain (design.md section 1). */
#define HN_MAX_CHUNKS 4096

/* The one kernel call, behind a pointer so that tests can be the kernel. Same contract as move_pages(2)
 * with nodes = NULL: 0, status[i] = node id or -errno; or -1 with errno. */
typedef struct {
    int (*query)(void *user_data, int64_t pid, size_t n, void **addresses, int *ret_status);
    void *user_data;
} HnProbeOps;

const HnProbeOps *hn_probe_ops_kernel(void);

/* Asks for n addresses of process pid, in batches. ret_status[i]: the kernel's node id, -ENOENT absent
 * (never touched, or swapped out), -EFAULT not mapped or the zero page. Error: G_FILE_ERROR, code from
 * errno (ESRCH: gone, EPERM: CAP_SYS_PTRACE is missing). */
bool hn_residency_query(const HnProbeOps *ops, int64_t pid, size_t n, void **addresses, int *ret_status,
                        GError **error);

/* What was found of one domain. */
typedef struct {
    uint64_t *node_bytes;     /* [n_nodes], by HnHost index */
    uint64_t absent_bytes;    /* not in memory: never touched or swapped out */
    uint64_t unknown_bytes;   /* the kernel gave an error other than absent, or a node that is not ours */
    uint64_t n_probes;
    uint32_t error_permille;  /* half width of the 95 % interval of the largest node share; 0: exact */
} HnResidency;
void hn_residency_init(HnResidency *residency, uint32_t n_nodes);
void hn_residency_clear(HnResidency *residency);

/* Bytes of a chunk so that `total_bytes` need at most HN_MAX_CHUNKS: 2 MiB × 2ᵏ. */
uint64_t hn_chunk_bytes(uint64_t total_bytes);

/* Probes the RAM of a domain and fills in, for each region: resident_bytes and the chunk map (chunk_bytes,
 * n_chunks, chunks: node, n_probes, n_probes_on_node; heat and touches keep their values when the map has
 * the same shape). `n_probes` are spread over the regions by size; `is_exact` asks for every page instead
 * (one address per 2 MiB where the region is all huge pages). `seed` decides which page of a stratum:
 * equal arguments, equal addresses. Errors as hn_residency_query(). */
bool hn_residency_probe(const HnProbeOps *ops, const HnHost *host, int64_t pid, HnRegion *regions,
                        uint32_t n_regions, uint32_t n_probes, bool is_exact, uint64_t seed,
                        HnResidency *ret_residency, GError **error);

/* Number of addresses an exact probe of these regions asks for. */
uint64_t hn_residency_exact_cost(const HnRegion *regions, uint32_t n_regions);

/* Half width of the 95 % interval of a share seen in `n_hits` of `n` independent probes, in permille
 * (Wilson's interval, because shares near 0 and 1 are the ordinary case here; 0 if n is 0). */
uint32_t hn_residency_error_permille(uint64_t n_hits, uint64_t n);
