/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Wide domains without usable guest cells: vCPUs and chunks are split together by who touches what.
 *
 * Number of parts k: the smallest for which k allowed nodes each hold 1/k of the vCPUs and of the
 * memory. vCPUs are grouped so that those which touch the same chunks stay together: the weight
 * between two vCPUs is the heat of the chunks both touch (filtered touches, see evidence.c); parts
 * of equal size are grown greedily from the heaviest vCPU and then improved by exchanging pairs
 * until no exchange helps (Kernighan and Lin 1970, without the look-ahead). The cut that the domain's
 * homes make already stands as long as another brings no eighth of the weight more inside: where all
 * touch everything any cut is as good, and which one is best changes with every sample. A chunk
 * belongs to the part with at least three quarters of its touches, else it is shared; one that nobody
 * touched is divided like the vCPUs.
 *
 * Above 64 vCPUs a bit of the touch matrix (HnChunk.touch_clients) stands for several neighbouring
 * vCPUs (HnTouchSummary.vcpus_per_bit), which then stay together. A domain without a matrix is cut
 * as its vCPUs are confined already, else in the order of vCPU numbers, and then touches are taken to
 * fall anywhere.
 */
#include "wide.h"

#include <string.h>

#define MATRIX_COLUMNS 64
#define OWNER_PERMILLE 750
#define MAX_EXCHANGES 4096
/* Parts that keep less than this of their touches to themselves keep nothing. */
#define COMMON_DIVISOR 10
/* A new cut has to bring this part of all weight inside. */
#define RECUT_DIVISOR 8

static uint32_t count_parts(const HnHost *host, const HnDomain *domain, const HnPolicy *policy,
                            HnNodemask allowed, uint64_t planned_bytes, uint64_t huge_page_bytes,
                            bool by_cores)
{
    uint32_t n_allowed = (uint32_t)__builtin_popcountll(allowed);
    uint32_t max_parts = MAX(1, MIN(MIN(n_allowed, domain->n_vcpus), HN_MAX_CLIENTS));

    for (uint32_t k = 2; k <= max_parts; k++) {
        uint32_t n_fitting = 0;
        for (uint32_t n = 0; n < host->n_nodes; n++) {
            uint32_t n_places = by_cores ? host->nodes[n].n_cores : host->nodes[n].n_cpus;
            n_fitting +=
                (allowed >> n & 1) && (domain->n_vcpus + k - 1) / k <= n_places &&
                planned_bytes / k <= hn_node_usable_for(&host->nodes[n], policy, huge_page_bytes);
        }
        if (n_fitting >= k)
            return k;
    }
    return max_parts;
}

/* Weight between columns u and v: heat of the chunks both touch, shared out over a chunk's touchers.
 * Returns false when there is nothing to go by. */
static bool build_matrix(const HnDomain *domain, uint64_t *matrix)
{
    bool has_any = false;

    for (uint32_t r = 0; r < domain->n_regions; r++) {
        const HnRegion *region = &domain->regions[r];
        for (uint32_t i = 0; region->chunks && i < region->n_chunks; i++) {
            uint64_t touchers = region->chunks[i].touch_clients;
            uint64_t heat = (uint64_t)region->chunks[i].heat + 1;
            uint32_t count = (uint32_t)__builtin_popcountll(touchers);
            has_any |= count > 0;
            if (count < 2)
                continue;
            for (uint64_t a = touchers; a; a &= a - 1)
                for (uint64_t b = a & (a - 1); b; b &= b - 1) {
                    uint32_t u = (uint32_t)__builtin_ctzll(a), v = (uint32_t)__builtin_ctzll(b);
                    uint64_t weight = heat * 1024 / (count - 1);
                    matrix[u * MATRIX_COLUMNS + v] += weight;
                    matrix[v * MATRIX_COLUMNS + u] += weight;
                }
        }
    }
    return has_any;
}

static uint64_t pull(const uint64_t *matrix, const uint8_t *part, uint32_t n_columns,
                     uint32_t column, uint32_t to)
{
    uint64_t sum = 0;

    for (uint32_t v = 0; v < n_columns; v++)
        if (v != column && part[v] == to)
            sum += matrix[column * MATRIX_COLUMNS + v];
    return sum;
}

/* Grows parts of the given sizes, each from the ungrouped column with the most weight. */
static void grow_parts(const uint64_t *matrix, uint32_t n_columns, uint32_t n_parts, uint8_t *part)
{
    memset(part, UINT8_MAX, n_columns);
    for (uint32_t p = 0; p < n_parts; p++) {
        uint32_t size = n_columns * (p + 1) / n_parts - n_columns * p / n_parts;
        for (uint32_t taken = 0; taken < size; taken++) {
            int32_t best = -1;
            uint64_t most = 0;
            for (uint32_t v = 0; v < n_columns; v++) {
                if (part[v] != UINT8_MAX)
                    continue;
                uint64_t weight = pull(matrix, part, n_columns, v, taken ? p : UINT8_MAX);
                if (best < 0 || weight > most) {
                    best = (int32_t)v;
                    most = weight;
                }
            }
            part[best] = (uint8_t)p;
        }
    }
}

/* Exchanges pairs of columns between parts while that brings more weight inside. */
static void exchange_pairs(const uint64_t *matrix, uint32_t n_columns, uint8_t *part)
{
    bool is_better = true;

    for (uint32_t done = 0; is_better && done < MAX_EXCHANGES; done++) {
        is_better = false;
        for (uint32_t u = 0; u < n_columns && !is_better; u++)
            for (uint32_t v = u + 1; v < n_columns && !is_better; v++) {
                if (part[u] == part[v])
                    continue;
                uint64_t now = pull(matrix, part, n_columns, u, part[u]) +
                               pull(matrix, part, n_columns, v, part[v]);
                uint64_t then = pull(matrix, part, n_columns, u, part[v]) +
                                pull(matrix, part, n_columns, v, part[u]);
                if (then > now + 2 * matrix[u * MATRIX_COLUMNS + v]) {
                    uint8_t swapped = part[u];
                    part[u] = part[v];
                    part[v] = swapped;
                    is_better = true;
                }
            }
    }
}

/* Weight between columns of one part. */
static uint64_t weight_inside(const uint64_t *matrix, const uint8_t *part, uint32_t n_columns)
{
    uint64_t sum = 0;

    for (uint32_t u = 0; u < n_columns; u++)
        for (uint32_t v = u + 1; v < n_columns; v++)
            sum += part[u] == part[v] ? matrix[u * MATRIX_COLUMNS + v] : 0;
    return sum;
}

/* Takes the cut by homes instead of the one found, if it is a cut into equal parts of whole columns
 * and the one found is not much better. `home_part`: the part of each vCPU. */
static void keep_cut(const HnDomain *domain, const uint64_t *matrix, uint32_t per_column,
                     uint32_t n_columns, uint32_t n_parts, const uint8_t *home_part, uint8_t *part)
{
    uint8_t kept[MATRIX_COLUMNS] = {0}, whole[MATRIX_COLUMNS] = {0};
    uint32_t sizes[HN_MAX_CLIENTS] = {0};

    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        uint32_t column = i / per_column;
        if (i % per_column == 0)
            sizes[kept[column] = home_part[i]]++;
        else if (kept[column] != home_part[i])
            return;
    }
    for (uint32_t p = 0; p < n_parts; p++)
        if (sizes[p] < n_columns / n_parts || sizes[p] > (n_columns + n_parts - 1) / n_parts)
            return;
    if (weight_inside(matrix, part, n_columns) <=
        weight_inside(matrix, kept, n_columns) + weight_inside(matrix, whole, n_columns) / RECUT_DIVISOR)
        memcpy(part, kept, n_columns);
}

/* The part that owns a chunk with these touchers. */
static uint8_t owner_of(uint64_t touchers, const uint8_t *part, uint32_t n_parts)
{
    uint32_t counts[HN_MAX_CLIENTS] = {0};
    uint32_t total = 0;

    for (uint64_t rest = touchers; rest; rest &= rest - 1) {
        counts[part[__builtin_ctzll(rest)]]++;
        total++;
    }
    if (total == 0)
        return HN_CHUNK_ANY;
    for (uint32_t p = 0; p < n_parts; p++)
        if (counts[p] * 1000 >= total * OWNER_PERMILLE)
            return (uint8_t)p;
    return HN_CHUNK_SHARED;
}

/* A chunk's heat in equal parts for its touchers. */
static void add_shared_touches(const HnChunk *chunk, const uint8_t *part, uint64_t *shared)
{
    uint64_t touchers = chunk->touch_clients;
    uint64_t heat = ((uint64_t)chunk->heat + 1) * 1024 / (uint32_t)__builtin_popcountll(touchers);

    for (uint64_t rest = touchers; rest; rest &= rest - 1)
        shared[part[__builtin_ctzll(rest)]] += heat;
}

/* Per part the heat of its touches. */
typedef struct {
    uint64_t all[HN_MAX_CLIENTS];
    uint64_t own[HN_MAX_CLIENTS];    /* … on chunks that are its own */
    uint64_t common[HN_MAX_CLIENTS]; /* … on chunks that are shared */
    uint64_t shared[HN_MAX_CLIENTS]; /* of shared chunks, each chunk's heat in equal parts for its touchers */
} Touches;

/* Assigns chunks, and adds up on whose each part's touches fall. */
static void map_chunks(HnSplit *split, const uint8_t *part, uint32_t n_parts, Touches *touches)
{
    const HnDomain *domain = split->domain;

    split->n_chunk_maps = domain->n_regions;
    split->chunk_maps = g_new0(HnChunkMap, domain->n_regions);
    for (uint32_t r = 0; r < domain->n_regions; r++) {
        const HnRegion *region = &domain->regions[r];
        uint32_t n_chunks = region->chunks ? region->n_chunks : 0;
        split->chunk_maps[r].n_chunks = n_chunks;
        split->chunk_maps[r].client = g_new0(uint8_t, n_chunks);
        for (uint32_t i = 0; i < n_chunks; i++) {
            uint64_t touchers = region->chunks[i].touch_clients;
            uint8_t owner = owner_of(touchers, part, n_parts);
            uint64_t heat = (uint64_t)region->chunks[i].heat + 1;
            split->chunk_maps[r].client[i] = owner;
            for (uint64_t rest = touchers; rest; rest &= rest - 1) {
                uint8_t toucher = part[__builtin_ctzll(rest)];
                touches->all[toucher] += heat;
                touches->own[toucher] += owner == toucher ? heat : 0;
                touches->common[toucher] += owner == HN_CHUNK_SHARED ? heat : 0;
            }
            if (owner == HN_CHUNK_SHARED)
                add_shared_touches(&region->chunks[i], part, touches->shared);
        }
    }
}

/* Where each part keeps less than a tenth of its touches to itself, all that is touched counts as shared: what
 * seems to be somebody's there is a matter of who was seen first, and others in the next round. */
static void share_all(HnSplit *split, const uint8_t *part, uint32_t n_parts, Touches *touches)
{
    for (uint32_t p = 0; p < n_parts; p++)
        if (touches->own[p] >= touches->all[p] / COMMON_DIVISOR)
            return;
    for (uint32_t r = 0; r < split->n_chunk_maps; r++)
        for (uint32_t i = 0; i < split->chunk_maps[r].n_chunks; i++) {
            uint8_t *owner = &split->chunk_maps[r].client[i];
            const HnChunk *chunk = &split->domain->regions[r].chunks[i];
            if (*owner == HN_CHUNK_ANY || *owner == HN_CHUNK_SHARED)
                continue;
            add_shared_touches(chunk, part, touches->shared);
            *owner = HN_CHUNK_SHARED;
        }
    memset(touches->own, 0, sizeof touches->own);
    memcpy(touches->common, touches->all, sizeof touches->common);
}

/* Takes a chunk's bytes out of what is nobody's on the node and gives them to whose the chunk is. */
static void give_chunk_bytes(HnSplit *split, uint8_t owner, uint32_t node, uint64_t bytes)
{
    bytes = MIN(bytes, split->loose_bytes[node]);
    split->loose_bytes[node] -= bytes;
    if (owner == HN_CHUNK_SHARED) {
        split->stuck_bytes[node] += bytes;
        split->shared_bytes[node] += bytes;
    } else {
        split->clients[owner].movable_bytes[node] += bytes;
    }
}

/* Owned chunks go to their part, as found; shared ones are not chased and count as stuck; the rest
 * stays nobody's and is divided later. Of a chunk that lies on several nodes only the largest part is
 * known; what lies elsewhere is taken from the other nodes in proportion to what they still have, else
 * half of memory interleaved page by page would seem to be nobody's. */
static void divide_memory(HnSplit *split, uint32_t n_nodes)
{
    const HnDomain *domain = split->domain;

    hn_split_keep_undivided(split, n_nodes);
    for (uint32_t r = 0; r < split->n_chunk_maps; r++) {
        const HnRegion *region = &domain->regions[r];
        if (region->movability != HN_MOVABLE && region->movability != HN_MOVABLE_SHARED)
            continue;
        for (uint32_t i = 0; i < split->chunk_maps[r].n_chunks; i++) {
            const HnChunk *chunk = &region->chunks[i];
            uint8_t owner = split->chunk_maps[r].client[i];
            uint64_t mainly = region->chunk_bytes, others = 0;
            if (owner == HN_CHUNK_ANY || chunk->node < 0 || (uint32_t)chunk->node >= n_nodes)
                continue;
            if (chunk->n_probes > 0)
                mainly = mainly / chunk->n_probes * MIN(chunk->n_probes_on_node, chunk->n_probes);
            for (uint32_t n = 0; n < n_nodes; n++)
                others += n != (uint32_t)chunk->node ? split->loose_bytes[n] : 0;
            for (uint32_t n = 0; n < n_nodes && others > 0 && mainly < region->chunk_bytes; n++)
                if (n != (uint32_t)chunk->node)
                    give_chunk_bytes(split, owner, n,
                                     (uint64_t)((unsigned __int128)(region->chunk_bytes - mainly) *
                                                split->loose_bytes[n] / others));
            give_chunk_bytes(split, owner, (uint32_t)chunk->node, mainly);
        }
    }
}

/* Parts by the nodes the vCPUs are confined to, numbered as they first occur, if all of them are and
 * that makes n_parts: a cut once carried out stands when the evidence for it has gone. */
static bool part_by_homes(const HnHost *host, const HnDomain *domain, uint32_t n_parts,
                          uint8_t *part_of_vcpu)
{
    int32_t homes[HN_MAX_CLIENTS], home = HN_NODE_NONE;
    uint32_t n_homes = 0;

    for (uint32_t v = 0; v < domain->n_vcpus; v++) {
        uint32_t p = 0;
        home = hn_split_confining_node(host, &domain->vcpus[v].affinity, home);
        while (p < n_homes && homes[p] != home)
            p++;
        if (home == HN_NODE_NONE || p == n_parts)
            return false;
        if (p == n_homes)
            homes[n_homes++] = home;
        part_of_vcpu[v] = (uint8_t)p;
    }
    return n_homes == n_parts;
}

bool hn_wide_split(HnSplit *split, const HnHost *host, const HnPolicy *policy, HnNodemask allowed,
                   uint64_t planned_bytes, bool by_cores)
{
    const HnDomain *domain = split->domain;
    uint32_t n_parts =
        count_parts(host, domain, policy, allowed, planned_bytes, split->huge_page_bytes, by_cores);
    uint32_t per_column = MAX(domain->touches.vcpus_per_bit, 1u);
    uint32_t n_columns = (domain->n_vcpus + per_column - 1) / per_column;
    g_autofree uint64_t *matrix = g_new0(uint64_t, MATRIX_COLUMNS * MATRIX_COLUMNS);
    /* A bit beyond the last column (a recording may hold anything) counts with the last part. */
    g_autofree uint8_t *part = g_new0(uint8_t, MAX(n_columns, MATRIX_COLUMNS));
    Touches touches = {0};

    for (uint32_t i = 0; i < MAX(n_columns, MATRIX_COLUMNS); i++)
        part[i] = (uint8_t)(MIN((uint64_t)i, n_columns - 1) * n_parts / n_columns);
    split->is_split_by_touch = n_parts > 1 && n_parts <= n_columns && n_columns <= MATRIX_COLUMNS &&
                               build_matrix(domain, matrix);
    g_autofree uint8_t *home_part = g_new0(uint8_t, domain->n_vcpus);
    bool is_at_homes = n_parts > 1 && part_by_homes(host, domain, n_parts, home_part);
    bool is_by_homes = !split->is_split_by_touch && is_at_homes;
    if (split->is_split_by_touch) {
        grow_parts(matrix, n_columns, n_parts, part);
        exchange_pairs(matrix, n_columns, part);
        if (is_at_homes)
            keep_cut(domain, matrix, per_column, n_columns, n_parts, home_part, part);
        map_chunks(split, part, n_parts, &touches);
        share_all(split, part, n_parts, &touches);
    }
    hn_split_allocate(split, n_parts, host->n_nodes);
    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        uint32_t in = split->is_split_by_touch ? part[i / per_column]
                      : is_by_homes ? home_part[i]
                                    : (uint32_t)((uint64_t)i * n_parts / domain->n_vcpus);
        hn_cpuset_add(&split->clients[in].vcpus, domain->vcpus[i].id);
    }
    for (uint32_t p = 0; p < n_parts; p++) {
        HnClient *client = &split->clients[p];
        uint64_t all = touches.all[p];
        /* Nothing known: anywhere. */
        hn_client_keep_private(client, all ? (uint32_t)(touches.own[p] * 1000 / all) : 1000 / n_parts);
        if (all)
            client->sibling_permille =
                (uint32_t)((all - touches.own[p] - touches.common[p]) * 1000 / all);
        client->shared_touches = touches.shared[p];
    }
    divide_memory(split, host->n_nodes);
    return split->is_split_by_touch || is_by_homes;
}
