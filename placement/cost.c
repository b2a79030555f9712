/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The terms of the cost function. Pure arithmetic on integers; every intermediate fits 128 bits at
 * 8,192 CPUs, 64 TiB and weight 1,000, every result is cut off at a documented ceiling instead of
 * overflowing.
 */
#include "cost.h"

/* Kernel copy cost per byte: 1.2 us per 4 KiB page, huge pages three times cheaper (Garg et al.).
 * In nanoseconds per 1024 bytes. */
#define MOVE_NS_PER_KIB_SMALL 300
#define MOVE_NS_PER_KIB_BIG 95
/* A passthrough device on a node at distance 20 costs a tenth of the demand. */
#define DEVICE_PERMILLE_PER_HOP 100
#define MAX_MOVED_BYTES (UINT64_C(1) << 48)

static int64_t cap(__int128 value, int64_t ceiling)
{
    return value > ceiling ? ceiling : (int64_t)value;
}

void hn_spread_add(HnSpread *spread, uint32_t node, int64_t bytes, int64_t all_bytes)
{
    /* Both shortened alike until the shift fits: 2^43 bytes are 8 TiB. */
    while (all_bytes >= INT64_C(1) << 43) {
        all_bytes >>= 1;
        bytes >>= 1;
    }
    int64_t share = all_bytes > 0 ? (bytes << 20) / all_bytes : 0;

    if (share == 0)
        return;
    spread->node[spread->count] = (uint8_t)node;
    spread->share[spread->count++] = (int32_t)share;
}

int64_t hn_cost_remote(const uint8_t *distances, const HnSpread *spread, int64_t bound_mcpu,
                       uint32_t kappa_permille)
{
    int64_t far = 0;

    for (uint32_t i = 0; i < spread->count; i++)
        far += (int64_t)spread->share[i] * (distances[spread->node[i]] - 10);
    if (far == 0)
        return 0;
    /* mcpu * 1e6 ns * (distance / 10 - 1) * kappa / 1000 */
    return cap((__int128)(bound_mcpu * 100 * kappa_permille) * far >> 20, HN_MAX_ITEM_COST);
}

/* mass * eighths / 8 * factor / 2^24, cut off. */
static inline int64_t stretched(int64_t mass, int64_t eighths, int64_t factor)
{
    unsigned __int128 product =
        (unsigned __int128)(uint64_t)MIN(mass, HN_MAX_MCPU) * (uint64_t)MIN(eighths, HN_MAX_MCPU);
    unsigned __int128 cost = product * (uint64_t)factor >> 27;

    return cost > (unsigned __int128)HN_MAX_NODE_COST ? HN_MAX_NODE_COST : (int64_t)cost;
}

int64_t hn_cost_contention(const HnModelNode *node, int64_t load_mcpu, int64_t weighted_mcpu)
{
    return MIN(stretched(weighted_mcpu, hn_cost_waiting(node, load_mcpu), node->contention_factor),
               HN_MAX_NODE_COST / 2);
}

void hn_cost_tame(HnModel *model)
{
    __int128 load = 0, weighted = 0;
    int64_t product = 0;

    for (uint32_t i = 0; i < model->n_items; i++) {
        load += model->items[i].demand_mcpu;
        weighted += model->items[i].weighted_mcpu;
    }
    /* All of it on one node, and twice: a price may be asked for what is there already. */
    bool is_small = load <= HN_MAX_MCPU / 32 && weighted <= HN_MAX_MCPU / 2 &&
                    !__builtin_mul_overflow((int64_t)weighted * 2,
                                            (int64_t)load * 2 * (8 + 8 / HN_SOFT_DIVISOR), &product);
    for (uint32_t n = 0; n < model->n_nodes; n++)
        model->nodes[n].is_tame =
            is_small &&
            (__int128)product * model->nodes[n].contention_factor >> 27 <= HN_MAX_NODE_COST / 2;
}

int64_t hn_cost_roaming(const HnModelNode *node, int64_t demand_mcpu, int64_t weighted_mcpu)
{
    return MIN(stretched(weighted_mcpu, 8 * demand_mcpu + demand_mcpu * 8 / HN_SOFT_DIVISOR,
                         node->contention_factor),
               HN_MAX_ITEM_COST);
}

int64_t hn_cost_bandwidth(const HnModelNode *node, int64_t draw_mib, int64_t bound_mcpu)
{
    if (node->bandwidth_mib == 0 || draw_mib <= node->bandwidth_mib)
        return 0;
    return MIN(stretched(bound_mcpu, 8 * (draw_mib - node->bandwidth_mib), node->bandwidth_factor),
               HN_MAX_NODE_COST / 2);
}

int64_t hn_cost_moving(uint64_t bytes, bool has_big_pages, int64_t remote_ns,
                       const HnPolicy *policy)
{
    if (bytes == 0)
        return 0;
    uint64_t rate = has_big_pages ? MOVE_NS_PER_KIB_BIG : MOVE_NS_PER_KIB_SMALL;
    uint64_t horizon_ms = policy->payback_horizon_ns / 1000000;
    /* 2^48 bytes, more than any node has, leave room for both products. */
    bytes = MIN(bytes, MAX_MOVED_BYTES);
    uint64_t copy_ns_per_sec = (bytes >> 10) * rate * 1000 / horizon_ms;
    /* While it moves, half of it is still remote on average. */
    uint64_t transit_ms = MIN(bytes * 500 / policy->move_bytes_per_sec, horizon_ms);
    return cap((__int128)copy_ns_per_sec +
                   hn_cost_part(remote_ns, (int64_t)transit_ms, (int64_t)horizon_ms),
               HN_MAX_ITEM_COST);
}

int64_t hn_cost_device(int64_t weighted_mcpu, uint8_t distance)
{
    return cap((__int128)weighted_mcpu * 100 * DEVICE_PERMILLE_PER_HOP * (distance - 10),
               HN_MAX_ITEM_COST);
}
