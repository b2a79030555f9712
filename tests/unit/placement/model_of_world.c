/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model_of_world.h"

#include "canonical.h"
#include "demand.h"

#define SECOND_NS UINT64_C(1000000000)

WorldModel *world_model_new(World *world)
{
    WorldModel *out = g_new0(WorldModel, 1);
    HnSnapshot *snapshot = world->snapshot;
    uint32_t n = snapshot->domains->len;
    g_autofree HnEntry *entries = g_new0(HnEntry, n + 1);
    uint64_t seed = 1;
    uint32_t node_rank[HN_MAX_NODES];

    hn_policy_init(&out->policy);
    out->past = hn_past_new();
    out->n_splits = n;
    out->splits = g_new0(HnSplit, n + 1);
    hn_past_begin(out->past, snapshot->host->n_nodes);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t d = 0; d < n; d++) {
            const HnDomain *domain = g_ptr_array_index(snapshot->domains, d);
            HnPastDomain *record = hn_past_domain(out->past, domain, snapshot->taken_ns);
            hn_demand_update(record, domain, round ? 2 * SECOND_NS : 0, &out->policy);
        }
        if (round == 0)
            world_step(world, 2 * SECOND_NS, 0, &seed);
    }
    hn_canonical_nodes(snapshot->host, snapshot->domains, NULL, node_rank);
    for (uint32_t d = 0; d < n; d++) {
        const HnDomain *domain = g_ptr_array_index(snapshot->domains, d);
        hn_split_init(&out->splits[d], snapshot->host, node_rank, domain,
                      hn_past_find(out->past, domain->uuid), &out->policy, false,
                      snapshot->taken_ns, 2 * SECOND_NS);
        entries[d].forced_node = HN_NODE_NONE;
        entries[d].is_fixed = domain->wish.mode != HN_MODE_AUTO || domain->job != HN_JOB_NONE;
        entries[d].has_hysteresis = true;
    }
    out->model = hn_model_new(snapshot->host, &out->policy, out->splits, n, entries, NULL);
    return out;
}

void world_model_free(WorldModel *out)
{
    if (!out)
        return;
    hn_model_free(out->model);
    for (uint32_t d = 0; d < out->n_splits; d++)
        hn_split_clear(&out->splits[d]);
    g_free(out->splits);
    hn_past_free(out->past);
    g_free(out);
}
