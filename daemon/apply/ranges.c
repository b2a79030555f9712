/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From regions and chunks to ordered ranges; see ranges.h. Pure and deterministic: ties by address.
 */
#include "ranges.h"

#include <string.h>

#define MIB (1024ull * 1024)
#define BLOCK_BYTES (2 * MIB)
#define SPREAD_SLICE_BYTES (32 * MIB)

/* A candidate before it is given to a node. */
typedef struct {
    HnRange range;
    uint32_t heat;
    int32_t node;      /* where it mostly lies, HN_NODE_NONE unknown */
    bool is_last;      /* nothing to move was seen in it */
    bool is_spare;     /* nobody's, and a sibling's by position: taken if the others are not enough */
} Slice;

typedef struct {
    const HnHost *host;
    const HnDomain *domain;
    const HnVerdict *verdict;
    const HnAction *action;
    uint64_t vcpus_before, vcpus_mine, vcpus_all; /* counts, to divide by position */
    bool is_divided;       /* wide, without cells */
    bool is_spread;
    bool has_heat;         /* the action wants the hottest first, and it is known of some */
} View;

static bool is_immovable(const HnRegion *region)
{
    return region->movability != HN_MOVABLE && region->movability != HN_MOVABLE_SHARED;
}

/* Bytes of a region on nodes in `from` (0: any) but not in `to`. */
static uint64_t elsewhere_bytes(const HnHost *host, const HnRegion *region, HnNodemask from, HnNodemask to)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < host->n_nodes; i++) {
        const HnNodemask bit = (HnNodemask)1 << i;

        if (!(to & bit) && (from == 0 || (from & bit)))
            bytes += region->resident_bytes[i];
    }
    return bytes;
}

static uint64_t low_vcpus(const HnCpuset *vcpus)
{
    return vcpus->words[0];
}

static bool has_heat(const HnDomain *domain)
{
    for (uint32_t i = 0; i < domain->n_regions; i++) {
        for (uint32_t k = 0; k < domain->regions[i].n_chunks; k++) {
            if (domain->regions[i].chunks[k].heat > 0)
                return true;
        }
    }
    return false;
}

static View make_view(const HnHost *host, const HnDomain *domain, const HnVerdict *verdict,
                      const HnAction *action)
{
    View view = {.host = host, .domain = domain, .verdict = verdict, .action = action};

    view.has_heat = action->hottest_first && has_heat(domain);
    view.is_spread = action->is_spread || __builtin_popcountll(action->to_nodes) > 1;
    view.is_divided = verdict->n_clients > 1 && verdict->clients[action->client].guest_cell < 0;
    for (uint32_t i = 0; i < verdict->n_clients; i++) {
        const uint32_t n = hn_cpuset_count(&verdict->clients[i].vcpus);

        if (i < action->client)
            view.vcpus_before += n;
        if (i == action->client)
            view.vcpus_mine = n;
        view.vcpus_all += n;
    }
    return view;
}

static bool is_of_client(const View *view, const HnRegion *region)
{
    const int32_t cell = view->verdict->clients[view->action->client].guest_cell;

    return cell < 0 || region->guest_cell == cell || view->verdict->n_clients == 1;
}

/* The slice [*start, *end) of a length that is this client's by position. */
static void divide(const View *view, uint64_t length, uint64_t unit, uint64_t *ret_start, uint64_t *ret_end)
{
    const uint64_t n_units = (length + unit - 1) / unit;
    const uint64_t all = MAX(view->vcpus_all, 1);

    *ret_start = MIN(n_units * view->vcpus_before / all * unit, length);
    *ret_end = MIN(n_units * (view->vcpus_before + view->vcpus_mine) / all * unit, length);
}

static HnRange range_of(const HnRegion *region, uint64_t offset, uint64_t length)
{
    return (HnRange){
        .start = region->hva_start + offset,
        .length_bytes = length,
        .page_bytes = region->page_bytes,
        .is_thp = region->is_thp,
        .is_shared = region->movability == HN_MOVABLE_SHARED,
    };
}

/* Whose a chunk is: as the plan was made, else by its touchers. */
static uint8_t owner_of(const View *view, uint32_t region_index, uint32_t index)
{
    const HnVerdict *verdict = view->verdict;
    const uint64_t touchers = view->domain->regions[region_index].chunks[index].touch_clients;
    uint8_t owner = HN_CHUNK_ANY;

    if (region_index < verdict->n_chunk_maps && index < verdict->chunk_maps[region_index].n_chunks)
        return verdict->chunk_maps[region_index].client[index];
    for (uint32_t i = 0; i < verdict->n_clients; i++) {
        if (touchers & low_vcpus(&verdict->clients[i].vcpus))
            owner = owner == HN_CHUNK_ANY ? (uint8_t)i : HN_CHUNK_SHARED;
    }
    return owner;
}

static bool is_chunk_mine(const View *view, uint32_t region_index, uint32_t index, bool *ret_is_spare)
{
    const uint8_t owner = view->is_divided ? owner_of(view, region_index, index) : HN_CHUNK_ANY;
    uint64_t start, end;

    *ret_is_spare = false;
    if (!view->is_divided)
        return true;
    if (view->is_spread || owner == HN_CHUNK_SHARED)
        return view->is_spread && owner == HN_CHUNK_SHARED; /* a spread is about what is shared */
    if (owner != HN_CHUNK_ANY)
        return owner == view->action->client;
    /* What is nobody's the plan has divided by bytes, as far as it lies away from the homes. */
    divide(view, view->domain->regions[region_index].n_chunks, 1, &start, &end);
    *ret_is_spare = index < start || index >= end;
    return true;
}

static void add_chunks(const View *view, uint32_t region_index, GArray *slices)
{
    const HnRegion *region = &view->domain->regions[region_index];

    for (uint32_t i = 0; i < region->n_chunks; i++) {
        const HnChunk *chunk = &region->chunks[i];
        const uint64_t offset = i * region->chunk_bytes;
        bool is_spare;
        Slice slice;

        if (offset >= region->length_bytes || !is_chunk_mine(view, region_index, i, &is_spare))
            continue;
        slice = (Slice){
            .range = range_of(region, offset, MIN(region->chunk_bytes, region->length_bytes - offset)),
            .heat = view->action->hottest_first ? chunk->heat : 0,
            .node = chunk->node,
            .is_spare = is_spare,
        };
        slice.range.is_cold = view->has_heat && chunk->heat == 0;
        slice.is_last = chunk->node == HN_NODE_NONE
                            ? chunk->n_probes > 0
                            : (view->action->to_nodes >> chunk->node & 1) && chunk->n_probes_on_node == chunk->n_probes;
        g_array_append_val(slices, slice);
    }
}

static void add_without_map(const View *view, const HnRegion *region, GArray *slices)
{
    const uint64_t unit = MAX(BLOCK_BYTES, region->page_bytes);
    const uint64_t step = view->is_spread ? MAX(SPREAD_SLICE_BYTES, region->page_bytes) : region->length_bytes;
    uint64_t start = 0, end = region->length_bytes;

    if (view->is_divided && !view->is_spread)
        divide(view, region->length_bytes, unit, &start, &end);
    for (uint64_t offset = start; offset < end; offset += step) {
        Slice slice = {.range = range_of(region, offset, MIN(step, end - offset)), .node = HN_NODE_NONE};

        g_array_append_val(slices, slice);
    }
}

static gint compare_slices(gconstpointer a, gconstpointer b)
{
    const Slice *x = a, *y = b;

    if (x->is_last != y->is_last)
        return x->is_last ? 1 : -1;
    if (x->is_spare != y->is_spare)
        return x->is_spare ? 1 : -1;
    if (x->heat != y->heat)
        return x->heat > y->heat ? -1 : 1;
    return x->range.start < y->range.start ? -1 : x->range.start > y->range.start;
}

/* Appends, or lengthens the last range if the slice follows it and is of the same kind. */
static void append_range(GArray *ranges, const HnRange *range)
{
    HnRange *last = ranges->len > 0 ? &g_array_index(ranges, HnRange, ranges->len - 1) : NULL;

    if (last && last->start + last->length_bytes == range->start && last->page_bytes == range->page_bytes &&
        last->is_thp == range->is_thp && last->is_shared == range->is_shared && last->is_cold == range->is_cold)
        last->length_bytes += range->length_bytes;
    else
        g_array_append_vals(ranges, range, 1);
}

static void part_free(gpointer data)
{
    HnPart *part = data;

    if (part->ranges)
        g_array_unref(part->ranges);
    g_free(part);
}

/* The destination with the most room in its share. */
static int32_t widest_node(const View *view, const uint64_t *quota)
{
    int32_t best = HN_NODE_NONE;

    for (int32_t i = 0; i < (int32_t)view->host->n_nodes; i++) {
        if ((view->action->to_nodes >> i & 1) && (best == HN_NODE_NONE || quota[i] > quota[best]))
            best = i;
    }
    return best;
}

/* Gives each slice to a destination: first those that may stay where they are, then the others. */
static int32_t *assign(const View *view, const GArray *slices)
{
    int32_t *node_of = g_new(int32_t, slices->len + 1);
    uint64_t quota[HN_MAX_NODES] = {0}, total = 0;
    const uint32_t n_to = MAX((uint32_t)__builtin_popcountll(view->action->to_nodes), 1);

    for (guint i = 0; i < slices->len; i++)
        total += g_array_index(slices, Slice, i).range.length_bytes;
    for (uint32_t i = 0; i < view->host->n_nodes; i++)
        quota[i] = (view->action->to_nodes >> i & 1) ? total / n_to : 0;
    for (guint i = 0; i < slices->len; i++) {
        const Slice *slice = &g_array_index(slices, Slice, i);

        node_of[i] = slice->node >= 0 && quota[slice->node] > 0 ? slice->node : HN_NODE_NONE;
        if (node_of[i] != HN_NODE_NONE)
            quota[node_of[i]] -= MIN(quota[node_of[i]], slice->range.length_bytes);
    }
    for (guint i = 0; i < slices->len; i++) {
        if (node_of[i] == HN_NODE_NONE) {
            node_of[i] = widest_node(view, quota);
            quota[node_of[i]] -= MIN(quota[node_of[i]], g_array_index(slices, Slice, i).range.length_bytes);
        }
    }
    return node_of;
}

static GPtrArray *deal_out(const View *view, const GArray *slices)
{
    GPtrArray *parts = g_ptr_array_new_with_free_func(part_free);
    HnPart *part_of[HN_MAX_NODES] = {0};
    g_autofree int32_t *node_of = assign(view, slices);
    const uint32_t n_to = MAX((uint32_t)__builtin_popcountll(view->action->to_nodes), 1);

    for (guint i = 0; i < slices->len; i++) {
        const Slice *slice = &g_array_index(slices, Slice, i);
        const int32_t node = node_of[i];

        if (!part_of[node]) {
            part_of[node] = g_new0(HnPart, 1);
            part_of[node]->to_node = node;
            part_of[node]->ranges = g_array_new(FALSE, FALSE, sizeof(HnRange));
            part_of[node]->limit_bytes = view->action->bytes / n_to;
        }
        append_range(part_of[node]->ranges, &slice->range);
    }
    for (uint32_t i = 0; i < view->host->n_nodes; i++) {
        if (part_of[i])
            g_ptr_array_add(parts, part_of[i]);
    }
    return parts;
}

GPtrArray *hn_ranges_of(const HnHost *host, const HnDomain *domain, const HnVerdict *verdict,
                        const HnAction *action, uint64_t *ret_immovable_bytes)
{
    const View view = make_view(host, domain, verdict, action);
    g_autoptr(GArray) slices = g_array_new(FALSE, FALSE, sizeof(Slice));
    uint64_t expected_bytes = 0, immovable_bytes = 0;
    GPtrArray *parts;

    for (uint32_t i = 0; i < domain->n_regions; i++) {
        const HnRegion *region = &domain->regions[i];
        const uint64_t elsewhere =
            elsewhere_bytes(host, region, action->from_nodes, action->to_nodes);

        if (!is_of_client(&view, region))
            continue;
        if (is_immovable(region)) {
            immovable_bytes += elsewhere;
            continue;
        }
        /* A divided region's share cannot be told: no second pass for want of it. */
        if (!view.is_divided && !view.is_spread)
            expected_bytes += elsewhere;
        if (region->n_chunks > 0 && region->chunk_bytes >= region->page_bytes)
            add_chunks(&view, i, slices);
        else
            add_without_map(&view, region, slices);
    }
    g_array_sort(slices, compare_slices);
    parts = deal_out(&view, slices);
    for (guint i = 0; i < parts->len; i++) {
        HnPart *part = parts->pdata[i];

        part->expected_bytes = parts->len == 1 ? expected_bytes : 0;
        /* A twentieth: the plan's figure may come from another source than the regions', probes for instance. */
        if (part->expected_bytes > 0 && action->bytes >= expected_bytes - expected_bytes / 20)
            part->limit_bytes = UINT64_MAX;
    }
    *ret_immovable_bytes = immovable_bytes;
    return parts;
}
