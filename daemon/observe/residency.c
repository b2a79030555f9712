/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Probing where pages lie; see residency.h.
 *
 * Addresses are computed, not stored: the walk over a domain's RAM fills one batch, asks, accounts,
 * and goes on, so that an exact scan of any size needs a few kilobytes. Results go into fresh
 * arrays that replace those of the regions only when all batches succeeded.
 */
#include "observe/residency.h"

#include <errno.h>
#include <math.h>
#include <numaif.h>
#include <string.h>

#define BASE_PAGE_BYTES 4096u
#define HUGE_PAGE_BYTES ((uint64_t)2 << 20)
#define ORDINARY_CHUNKS 512u
#define CHUNKED_BYTES_PER_CHUNK ((uint64_t)128 << 20)

static int query_kernel(void *user_data, int64_t pid, size_t n, void **addresses, int *ret_status)
{
    return (int)move_pages((int)pid, n, addresses, NULL, ret_status, 0);
}

const HnProbeOps *hn_probe_ops_kernel(void)
{
    static const HnProbeOps ops = {.query = query_kernel};

    return &ops;
}

bool hn_residency_query(const HnProbeOps *ops, int64_t pid, size_t n, void **addresses,
                        int *ret_status, GError **error)
{
    for (size_t done = 0; done < n;) {
        size_t batch = MIN(n - done, (size_t)HN_QUERY_BATCH);

        if (ops->query(ops->user_data, pid, batch, addresses + done, ret_status + done) < 0) {
            int saved_errno = errno;

            g_set_error(
                error, G_FILE_ERROR,
                saved_errno == ESRCH ? G_FILE_ERROR_NOENT : g_file_error_from_errno(saved_errno),
                "cannot ask where pages of process %" G_GINT64_FORMAT " lie: %s%s", pid,
                g_strerror(saved_errno), saved_errno == EPERM ? " (CAP_SYS_PTRACE is needed)" : "");
            return false;
        }
        done += batch;
    }
    return true;
}

void hn_residency_init(HnResidency *residency, uint32_t n_nodes)
{
    *residency = (HnResidency){.node_bytes = g_new0(uint64_t, n_nodes)};
}

void hn_residency_clear(HnResidency *residency)
{
    g_free(residency->node_bytes);
    *residency = (HnResidency){0};
}

uint64_t hn_chunk_bytes(uint64_t total_bytes)
{
    uint64_t n_max = CLAMP(total_bytes / CHUNKED_BYTES_PER_CHUNK, ORDINARY_CHUNKS, HN_MAX_CHUNKS);
    uint64_t chunk_bytes = HUGE_PAGE_BYTES;

    while (total_bytes / chunk_bytes > n_max && chunk_bytes <= UINT64_MAX / 2)
        chunk_bytes *= 2;
    return chunk_bytes;
}

/* SplitMix64 (Steele, Lea, Flood 2014): one multiplication chain per draw, any seed is good. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* a × b / c without overflow for what occurs here (bytes × counts). */
static uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
    return (uint64_t)((unsigned __int128)a * b / c);
}

/* How one region is walked. */
typedef struct {
    uint64_t n;          /* addresses */
    uint64_t step_bytes; /* exact: one address per step, at its start; 0: strata, drawn */
} Walk;

static Walk plan_walk(const HnRegion *region, uint64_t total_bytes, const HnProbePlan *plan)
{
    uint64_t page_bytes = MAX(region->page_bytes, (uint64_t)BASE_PAGE_BYTES);
    uint64_t n_pages = (region->length_bytes + page_bytes - 1) / page_bytes;
    uint64_t chunk_bytes = hn_chunk_bytes(total_bytes);
    uint64_t n;

    if (plan->is_exact) {
        uint64_t step_bytes = plan->is_all_huge ? MAX(page_bytes, HUGE_PAGE_BYTES) : page_bytes;
        /* A start that is not aligned adds a short first piece. */
        uint64_t lead_bytes = region->hva_start % step_bytes;

        n = (lead_bytes + region->length_bytes + step_bytes - 1) / step_bytes;
        return (Walk){n, step_bytes};
    }
    n = mul_div(plan->n_probes, region->length_bytes, total_bytes);
    n = MAX(n, (region->length_bytes + chunk_bytes - 1) / chunk_bytes);
    if (n >= n_pages)
        return (Walk){n_pages, page_bytes};
    return (Walk){n, 0};
}

/* Offset and length of piece i: what its address speaks for. */
static void walk_piece(const Walk *walk, const HnRegion *region, uint64_t i, uint64_t *ret_offset,
                       uint64_t *ret_bytes)
{
    uint64_t start, end;

    if (walk->step_bytes == 0) {
        start = mul_div(region->length_bytes, i, walk->n);
        end = mul_div(region->length_bytes, i + 1, walk->n);
    } else {
        uint64_t lead_bytes = region->hva_start % walk->step_bytes;

        start = i == 0 ? 0 : i * walk->step_bytes - lead_bytes;
        end = MIN((i + 1) * walk->step_bytes - lead_bytes, region->length_bytes);
    }
    *ret_offset = start;
    *ret_bytes = end - start;
}

/* Tallies of one region while it is walked. */
typedef struct {
    HnChunk *chunks;
    uint64_t chunk_bytes;
    uint32_t n_chunks;
    uint64_t *node_bytes;  /* [n_nodes] */
    uint32_t *chunk_nodes; /* [n_nodes] hits of the chunk being walked */
    uint32_t chunk_probes;
    uint32_t at_chunk;
} Tally;

/* Chunks are walked in order: when one is left, its majority is decided. */
static void close_chunk(Tally *tally, uint32_t n_nodes)
{
    HnChunk *chunk = &tally->chunks[tally->at_chunk];
    uint32_t best = 0;

    chunk->node = HN_NODE_NONE;
    for (uint32_t node = 0; node < n_nodes; node++) {
        if (tally->chunk_nodes[node] > best) {
            best = tally->chunk_nodes[node];
            chunk->node = (int32_t)node;
        }
        tally->chunk_nodes[node] = 0;
    }
    /* Larger counts than the field holds are scaled, the share stays. */
    if (tally->chunk_probes > UINT16_MAX) {
        best = (uint32_t)mul_div(best, UINT16_MAX, tally->chunk_probes);
        tally->chunk_probes = UINT16_MAX;
    }
    chunk->n_probes = (uint16_t)tally->chunk_probes;
    chunk->n_probes_on_node = (uint16_t)best;
    tally->chunk_probes = 0;
}

/* One batch of one region: addresses, offsets and weights beside each other. */
typedef struct {
    void *addresses[HN_QUERY_BATCH];
    int status[HN_QUERY_BATCH];
    uint64_t offsets[HN_QUERY_BATCH];
    uint64_t bytes[HN_QUERY_BATCH];
    size_t n;
} Batch;

static void account_batch(const Batch *batch, const HnHost *host, Tally *tally,
                          HnResidency *residency, uint64_t *node_hits)
{
    for (size_t i = 0; i < batch->n; i++) {
        uint32_t chunk = (uint32_t)(batch->offsets[i] / tally->chunk_bytes);
        int32_t node = HN_NODE_NONE;

        if (chunk != tally->at_chunk) {
            close_chunk(tally, host->n_nodes);
            tally->at_chunk = chunk;
        }
        tally->chunk_probes++;
        if (batch->status[i] >= 0)
            node = hn_host_index_of_id(host, batch->status[i]);
        if (node != HN_NODE_NONE) {
            tally->node_bytes[node] += batch->bytes[i];
            tally->chunk_nodes[node]++;
            node_hits[node]++;
        } else if (batch->status[i] == -ENOENT || batch->status[i] == -EFAULT) {
            residency->absent_bytes += batch->bytes[i];
        } else {
            residency->unknown_bytes += batch->bytes[i];
        }
    }
    residency->n_probes += batch->n;
}

static bool walk_region(const HnProbeOps *ops, const HnHost *host, int64_t pid,
                        const HnRegion *region, const Walk *walk, uint64_t *random, Tally *tally,
                        HnResidency *residency, uint64_t *node_hits, GError **error)
{
    uint64_t page_bytes = MAX(region->page_bytes, (uint64_t)BASE_PAGE_BYTES);
    Batch batch;

    for (uint64_t done = 0; done < walk->n; done += batch.n) {
        batch.n = (size_t)MIN(walk->n - done, (uint64_t)HN_QUERY_BATCH);
        for (size_t i = 0; i < batch.n; i++) {
            uint64_t offset;

            walk_piece(walk, region, done + i, &offset, &batch.bytes[i]);
            if (walk->step_bytes == 0) {
                offset += next_random(random) % batch.bytes[i];
                offset -= offset % page_bytes;
            }
            batch.offsets[i] = offset;
            batch.addresses[i] = (void *)(uintptr_t)(region->hva_start + offset);
        }
        if (!hn_residency_query(ops, pid, batch.n, batch.addresses, batch.status, error))
            return false;
        account_batch(&batch, host, tally, residency, node_hits);
    }
    close_chunk(tally, host->n_nodes);
    return true;
}

/* Gives the region its new map; touches survive if the shape is the same. */
static void adopt_tally(HnRegion *region, Tally *tally, uint32_t n_nodes)
{
    if (region->chunks && region->n_chunks == tally->n_chunks &&
        region->chunk_bytes == tally->chunk_bytes) {
        for (uint32_t i = 0; i < tally->n_chunks; i++) {
            tally->chunks[i].heat = region->chunks[i].heat;
            tally->chunks[i].touch_clients = region->chunks[i].touch_clients;
        }
    }
    g_free(region->chunks);
    region->chunks = g_steal_pointer(&tally->chunks);
    region->n_chunks = tally->n_chunks;
    region->chunk_bytes = tally->chunk_bytes;
    memcpy(region->resident_bytes, tally->node_bytes, n_nodes * sizeof(uint64_t));
}

static uint64_t total_of(const HnRegion *regions, uint32_t n_regions)
{
    uint64_t total_bytes = 0;

    for (uint32_t i = 0; i < n_regions; i++)
        total_bytes += regions[i].length_bytes;
    return total_bytes;
}

static void free_tallies(Tally *tallies, uint32_t n_regions)
{
    for (uint32_t i = 0; i < n_regions; i++) {
        g_free(tallies[i].chunks);
        g_free(tallies[i].node_bytes);
        g_free(tallies[i].chunk_nodes);
    }
    g_free(tallies);
}

static uint32_t widest_error_permille(const uint64_t *node_hits, uint32_t n_nodes)
{
    uint64_t n_present = 0;
    uint32_t widest = 0;

    for (uint32_t node = 0; node < n_nodes; node++)
        n_present += node_hits[node];
    for (uint32_t node = 0; node < n_nodes; node++)
        widest = MAX(widest, hn_residency_error_permille(node_hits[node], n_present));
    return widest;
}

bool hn_residency_probe(const HnProbeOps *ops, const HnHost *host, int64_t pid, HnRegion *regions,
                        uint32_t n_regions, const HnProbePlan *plan, HnResidency *ret_residency,
                        GError **error)
{
    uint64_t total_bytes = total_of(regions, n_regions);
    uint64_t chunk_bytes = hn_chunk_bytes(total_bytes);
    g_autofree uint64_t *node_hits = g_new0(uint64_t, host->n_nodes);
    Tally *tallies = g_new0(Tally, MAX(n_regions, 1u));
    HnResidency residency;
    uint64_t random = plan->seed;
    bool is_exact = true;

    hn_residency_init(&residency, host->n_nodes);
    for (uint32_t i = 0; i < n_regions; i++) {
        Walk walk = plan_walk(&regions[i], total_bytes, plan);
        uint64_t n_chunks = (regions[i].length_bytes + chunk_bytes - 1) / chunk_bytes;

        if (regions[i].length_bytes == 0)
            continue;
        tallies[i].chunks = g_new0(HnChunk, n_chunks);
        tallies[i].n_chunks = (uint32_t)n_chunks;
        tallies[i].chunk_bytes = chunk_bytes;
        tallies[i].node_bytes = g_new0(uint64_t, host->n_nodes);
        tallies[i].chunk_nodes = g_new0(uint32_t, host->n_nodes);
        for (uint64_t k = 0; k < n_chunks; k++)
            tallies[i].chunks[k].node = HN_NODE_NONE;
        if (!walk_region(ops, host, pid, &regions[i], &walk, &random, &tallies[i], &residency,
                         node_hits, error)) {
            free_tallies(tallies, n_regions);
            hn_residency_clear(&residency);
            return false;
        }
        is_exact &= walk.step_bytes != 0;
        for (uint32_t node = 0; node < host->n_nodes; node++)
            residency.node_bytes[node] += tallies[i].node_bytes[node];
    }
    for (uint32_t i = 0; i < n_regions; i++)
        if (tallies[i].chunks)
            adopt_tally(&regions[i], &tallies[i], host->n_nodes);
    free_tallies(tallies, n_regions);
    residency.error_permille = is_exact ? 0 : widest_error_permille(node_hits, host->n_nodes);
    *ret_residency = residency;
    return true;
}

uint64_t hn_residency_n_addresses(const HnRegion *regions, uint32_t n_regions,
                                  const HnProbePlan *plan)
{
    uint64_t total_bytes = total_of(regions, n_regions);
    uint64_t n = 0;

    for (uint32_t i = 0; i < n_regions; i++)
        if (regions[i].length_bytes > 0)
            n += plan_walk(&regions[i], total_bytes, plan).n;
    return n;
}

uint32_t hn_residency_error_permille(uint64_t n_hits, uint64_t n)
{
    /* The promise is 95 % in any series of runs, not on average over all: aim at 97.5 %, because
     * 200 runs of a just-95 % interval cover the truth in fewer than 190 of them half the time. */
    const double z = 2.24;
    double count = (double)n;
    double share, center, half_width, from_share;

    if (n == 0)
        return 1000;
    share = (double)MIN(n_hits, n) / count;
    center = (share + z * z / (2 * count)) / (1 + z * z / count);
    half_width =
        z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count * count));
    /* The interval is not centred on the share seen: its farther end counts. */
    from_share = fabs(center - share) + half_width;
    return (uint32_t)MIN(1000.0, ceil(from_share * 1000));
}
