/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From split domains to the solver's problem.
 *
 * All judgement about units, capacities and what counts as movable ends here; the search sees a
 * table of unary costs, loads and byte counts. Must not search.
 */
#include "model.h"

#include "canonical.h"
#include "cost.h"

#include <string.h>

/* What one fully memory-bound CPU draws at most, where nobody measures it: 9.4 GiB/s per node of 12
 * threads (AutoNUMA's tables, 2012). */
#define DRAW_MIB_PER_CPU 800
/* Five thousandths of a CPU: below this nothing is worth a pin call, however idle the domain. */
#define FLOOR_NS_PER_SEC INT64_C(5000000)
#define MAX_DEMAND_MCPU (INT64_C(1) << 32)

uint64_t hn_model_bytes_to_move(const HnSplit *split, uint32_t client, uint32_t home,
                                const HnPolicy *policy)
{
    const HnClient *c = &split->clients[client];
    uint64_t away = c->all_movable_bytes - c->movable_bytes[home];
    uint64_t tolerated = c->resident_bytes / 1000 * (1000 - policy->converged_permille);

    /* Of chunks that all touch, two in a hundred seem to be somebody's at any time, and others the next
     * (docs/evidence.md): twice as much is left, else these would be fetched to and fro. */
    if (split->is_split_by_touch)
        tolerated *= 2;
    /* Which client's it is was not kept: one is as likely as the other. */
    if (split->residue_bytes / 20 * 21 > tolerated)
        tolerated = split->residue_bytes / 20 * 21;
    return away <= tolerated ? 0 : away;
}

/* Capacity, bandwidth, room of one node. */
static void fill_node(HnModel *model, uint32_t rank, uint64_t other_mcpu)
{
    const HnNode *node = &model->host->nodes[model->node_index[rank]];
    HnModelNode *out = &model->nodes[rank];
    int64_t full = (int64_t)node->n_cores * 1000 +
                   (int64_t)(node->n_cpus - node->n_cores) * model->policy->smt_yield_permille;

    /* Load that is not ours takes capacity away, but never all of it: it would share, too. */
    out->capacity_mcpu =
        MAX(MAX(full - (int64_t)MIN(other_mcpu, (uint64_t)INT32_MAX), full / 16), 1);
    out->contention_factor = (INT64_C(1000000) << 24) / out->capacity_mcpu;
    out->bandwidth_mib = (int64_t)(node->bandwidth_bytes_per_sec >> 20);
    out->bandwidth_factor = out->bandwidth_mib ? (INT64_C(1000000) << 24) / out->bandwidth_mib : 0;

    int64_t kept =
        (int64_t)(hn_node_reserve_bytes(node, model->policy) + node->mem_watermark_bytes);
    out->room_bytes[0] = (int64_t)(node->mem_free_bytes + node->mem_reclaimable_bytes) - kept;
    for (uint32_t k = 1; k < model->n_kinds; k++)
        for (uint32_t p = 0; p < node->n_huge_pools; p++)
            if (node->huge_pools[p].page_bytes == model->kind_page_bytes[k])
                out->room_bytes[k] =
                    (int64_t)(node->huge_pools[p].free_pages * node->huge_pools[p].page_bytes);
    out->n_cpus = node->n_cpus;
    for (uint32_t k = 0; k < model->n_kinds; k++)
        out->usable_bytes[k] =
            (int64_t)hn_node_usable_for(node, model->policy, model->kind_page_bytes[k]);
    memcpy(out->capacity_bytes, out->room_bytes, sizeof(out->capacity_bytes));
}

/* Number of the memory kind with that page size; ordinary memory if there are too many kinds. */
static uint8_t kind_of(HnModel *model, uint64_t page_bytes)
{
    for (uint32_t k = 0; k < model->n_kinds; k++)
        if (model->kind_page_bytes[k] == page_bytes)
            return (uint8_t)k;
    if (model->n_kinds == HN_MAX_KINDS)
        return 0;
    model->kind_page_bytes[model->n_kinds] = page_bytes;
    return (uint8_t)model->n_kinds++;
}

static HnNodemask to_canonical(const HnModel *model, HnNodemask mask)
{
    HnNodemask out = 0;

    for (; mask; mask &= mask - 1) {
        uint32_t index = (uint32_t)__builtin_ctzll(mask);
        if (index < model->n_nodes)
            out |= UINT64_C(1) << model->node_rank[index];
    }
    return out;
}

/* Where the client's memory is now, and where what cannot move is (the rest being at home). */
static void spread_of(const HnModel *model, const HnClient *client, HnSpread *ret_now,
                      HnSpread *ret_stuck)
{
    ret_now->count = 0;
    ret_stuck->count = 0;
    for (uint32_t n = 0; n < model->n_nodes; n++) {
        int64_t stuck = (int64_t)client->immovable_bytes[n],
                all = stuck + (int64_t)client->movable_bytes[n];
        if (all == 0)
            continue;
        hn_spread_add(ret_now, model->node_rank[n], all, (int64_t)client->resident_bytes);
        hn_spread_add(ret_stuck, model->node_rank[n], stuck, (int64_t)client->resident_bytes);
    }
}

static int64_t device_cost(const HnModel *model, const HnItem *it, uint32_t rank)
{
    HnNodemask nodes = to_canonical(model, model->splits[it->split].domain->device_nodes);
    uint8_t nearest = UINT8_MAX;

    if (nodes == 0)
        return 0;
    for (; nodes; nodes &= nodes - 1)
        nearest =
            MIN(nearest, model->distance[rank * model->n_nodes + (uint32_t)__builtin_ctzll(nodes)]);
    /* Interrupts and DMA keep a device's node busy even for a guest that looks idle: at least 0.1
     * CPU. */
    return hn_cost_device(MAX(it->weighted_mcpu, 100), nearest);
}

static int64_t remote_from(const HnModel *model, const HnItem *it, uint32_t rank,
                           const HnSpread *spread)
{
    return hn_cost_remote(&model->distance[rank * model->n_nodes], spread, it->bound_mcpu,
                          model->policy->kappa_permille);
}

static HnTerms terms_floating(const HnModel *model, uint32_t item, const HnSpread *now)
{
    const HnItem *it = &model->items[item];
    const uint16_t *share = &model->share[(size_t)item * model->n_nodes];
    __int128 remote = 0, device = 0, roaming = 0;

    for (uint32_t r = 0; r < model->n_nodes; r++) {
        if (share[r] == 0)
            continue;
        remote += (__int128)share[r] * remote_from(model, it, r, now);
        device += (__int128)share[r] * device_cost(model, it, r);
        if (it->is_roomy)
            roaming +=
                (__int128)hn_cost_roaming(&model->nodes[r], it->demand_mcpu, it->weighted_mcpu) *
                share[r] * (1000 - share[r]);
    }
    return (HnTerms){.remote_ns = (int64_t)(remote / 1000),
                     .device_ns = (int64_t)(device / 1000),
                     .roaming_ns = (int64_t)(roaming / 1000000)};
}

static HnTerms terms_in(const HnModel *model, uint32_t item, uint32_t state, const HnSpread *now,
                        const HnSpread *stuck)
{
    const HnItem *it = &model->items[item];
    const HnSplit *split = &model->splits[it->split];
    HnTerms terms = {0};

    if (state == model->n_nodes && it->is_floating)
        return terms_floating(model, item, now);
    uint32_t position = hn_model_position(model, item, state);
    uint64_t moving =
        state == model->n_nodes
            ? 0
            : hn_model_bytes_to_move(split, it->client, model->node_index[state], model->policy);
    terms.device_ns = device_cost(model, it, position);
    terms.remote_ns = remote_from(model, it, position, now);
    if (moving == 0)
        return terms;
    int64_t remote_now = terms.remote_ns;
    terms.remote_ns = remote_from(model, it, state, stuck);
    terms.moving_ns = hn_cost_moving(moving, split->has_big_pages,
                                     MAX(remote_now - terms.remote_ns, 0), model->policy);
    return terms;
}

HnTerms hn_model_terms(const HnModel *model, uint32_t item, uint32_t state)
{
    const HnItem *it = &model->items[item];
    HnSpread now, stuck;

    if (state == model->n_nodes)
        return model->stay_terms[item];
    spread_of(model, &model->splits[it->split].clients[it->client], &now, &stuck);
    return terms_in(model, item, state, &now, &stuck);
}

int64_t hn_model_threshold(int64_t weighted_mcpu, const HnPolicy *policy)
{
    return MAX(weighted_mcpu * policy->min_gain_permille * 1000, FLOOR_NS_PER_SEC);
}

static void fill_unary(HnModel *model, uint32_t item)
{
    const HnItem *it = &model->items[item];
    HnSpread now, stuck;

    spread_of(model, &model->splits[it->split].clients[it->client], &now, &stuck);
    for (uint32_t state = 0; state <= model->n_nodes; state++) {
        HnTerms terms = {0};
        if (state == model->n_nodes || (!it->is_fixed && (it->allowed >> state & 1)) ||
            it->initial == state)
            terms = terms_in(model, item, state, &now, &stuck);
        if (state == model->n_nodes)
            model->stay_terms[item] = terms;
        __int128 sum =
            (__int128)terms.remote_ns + terms.moving_ns + terms.device_ns + terms.roaming_ns;
        if (state < model->n_nodes && (int32_t)state != it->home_now)
            sum += it->change_ns;
        if (state == model->n_nodes)
            sum += it->outside_ns;
        model->unary[(size_t)item * (model->n_nodes + 1) + state] =
            sum > HN_MAX_ITEM_COST ? HN_MAX_ITEM_COST : (int64_t)sum;
    }
}

/* Where the item's bytes are counted while it stays, and its part of the nodes' capacity. */
static void fill_memory(HnModel *model, uint32_t item, const HnClient *client)
{
    HnItem *it = &model->items[item];
    int64_t *stay = &model->stay_bytes[(size_t)item * model->n_nodes];
    int64_t growth = (int64_t)client->growth_bytes;

    it->need_bytes = growth;
    for (uint32_t r = 0; r < model->n_nodes; r++) {
        stay[r] = (int64_t)client->movable_bytes[model->node_index[r]];
        it->need_bytes += stay[r];
    }
    /* What it will still fault in lands where its vCPUs run; in pieces if they roam. */
    if (it->is_floating) {
        int64_t placed = 0;
        for (uint32_t r = 0; r < model->n_nodes; r++) {
            int64_t part = growth / 1000 * model->share[(size_t)item * model->n_nodes + r];
            stay[r] += part;
            placed += part;
        }
        stay[it->stay_node] += MAX(growth - placed, 0);
    } else {
        stay[it->stay_node] += growth;
    }
    for (uint32_t r = 0; r < model->n_nodes; r++) {
        int64_t loose = (int64_t)client->movable_bytes[model->node_index[r]];
        if (it->initial == model->n_nodes)
            model->nodes[r].capacity_bytes[it->kind] +=
                loose; /* free + loose = capacity; growth is used */
        else if (it->initial == r)
            model->nodes[r].capacity_bytes[it->kind] +=
                loose; /* arrived already; the rest is still to come */
    }
}

static void fill_share(HnModel *model, uint32_t item, const HnClient *client)
{
    HnItem *it = &model->items[item];
    uint16_t *share = &model->share[(size_t)item * model->n_nodes];

    it->is_floating = client->home_now == HN_NODE_NONE;
    for (uint32_t n = 0; n < model->n_nodes; n++)
        it->is_roomy |=
            (client->allowed >> n & 1) && client->n_vcpus <= model->host->nodes[n].n_cores;
    for (uint32_t r = 0; r < model->n_nodes; r++)
        share[r] = it->is_floating ? client->share_permille[model->node_index[r]] : 0;
    if (it->is_floating) { /* rounding must not lose load */
        uint32_t most = 0, sum = 0;
        for (uint32_t r = 0; r < model->n_nodes; r++) {
            sum += share[r];
            most = share[r] > share[most] ? r : most;
        }
        share[most] = (uint16_t)(share[most] + 1000 - MIN(sum, 1000));
    }
    it->home_now = it->is_floating ? -1 : (int8_t)model->node_rank[client->home_now];
    it->stay_node = (int8_t)model->node_rank[client->main_node];
}

static void fill_demand(HnModel *model, uint32_t item, const HnSplit *split, const HnClient *client)
{
    HnItem *it = &model->items[item];
    const HnDomain *domain = split->domain;
    int64_t weight = domain->wish.weight ? (int64_t)MIN(domain->wish.weight, 1000) : 100;
    int64_t bound_permille = domain->memory_bound_permille
                                 ? MIN(domain->memory_bound_permille, 1000)
                                 : model->policy->memory_bound_permille;

    it->n_vcpus = client->n_vcpus;
    it->size_bytes = (int64_t)(client->resident_bytes + client->growth_bytes);
    it->demand_mcpu = (int64_t)MIN(client->held_mcpu, (uint64_t)MAX_DEMAND_MCPU);
    it->weighted_mcpu = it->demand_mcpu * weight / 100;
    it->bound_mcpu = it->weighted_mcpu * bound_permille / 1000;
    if (domain->bandwidth_bytes_per_sec)
        it->draw_mib = (int64_t)(domain->bandwidth_bytes_per_sec >> 20) / split->n_clients;
    else
        it->draw_mib = MAX(it->demand_mcpu * bound_permille / 1000 * DRAW_MIB_PER_CPU / 1000,
                           (int64_t)(domain->dirty_bytes_per_sec >> 20) / split->n_clients);
    /* Touches on its siblings' parts fall on each of them alike. */
    if (split->n_clients > 1)
        it->kin_factor = it->bound_mcpu * (int64_t)client->sibling_permille / 1000 * 100 *
                         model->policy->kappa_permille / (split->n_clients - 1);
}

/* The admin's nodeset is a rule, not a wish; but vCPUs are not sent where their memory cannot follow. */
static int64_t outside_cost(const HnSplit *split, uint32_t client)
{
    const HnClient *c = &split->clients[client];

    return hn_split_is_outside(split, client) && c->all_movable_bytes >= c->resident_bytes / 2
               ? HN_OUTSIDE_NS_PER_SEC
               : 0;
}

static uint8_t initial_state(const HnModel *model, const HnEntry *entry, uint32_t client)
{
    if (entry->wanted && entry->wanted[client].wanted != HN_NODE_NONE)
        return (uint8_t)model->node_rank[entry->wanted[client].wanted];
    return (uint8_t)model->n_nodes;
}

static int32_t number_of(GHashTable *numbers, const char *name)
{
    gpointer value = NULL;

    if (!name)
        return -1;
    if (g_hash_table_lookup_extended(numbers, name, NULL, &value))
        return GPOINTER_TO_INT(value);
    int32_t number = (int32_t)g_hash_table_size(numbers);
    g_hash_table_insert(numbers, (gpointer)name, GINT_TO_POINTER(number));
    return number;
}

static void price_groups(HnModel *model)
{
    model->group_size = g_new0(int64_t, model->n_groups + 1);
    model->group_pair_ns = g_new0(int64_t, model->n_groups + 1);
    for (uint32_t i = 0; i < model->n_items; i++)
        if (model->items[i].group >= 0)
            model->group_size[model->items[i].group]++;
    for (uint32_t g = 0; g < model->n_groups; g++)
        if (model->group_size[g] > 1)
            model->group_pair_ns[g] = HN_GROUP_NS_PER_SEC / (model->group_size[g] - 1);
}

static void fill_distances(HnModel *model)
{
    uint32_t n = model->n_nodes, sum = 0;

    model->distance = g_new(uint8_t, (size_t)n * n);
    for (uint32_t a = 0; a < n; a++)
        for (uint32_t b = 0; b < n; b++) {
            model->distance[a * n + b] =
                hn_host_distance(model->host, model->node_index[a], model->node_index[b]);
            sum += model->distance[a * n + b];
        }
    model->mean_distance = (uint8_t)(sum / (n * n));
}

static void fill_item(HnModel *model, uint32_t item, const HnEntry *entry, GHashTable *groups,
                      GHashTable *antis)
{
    HnItem *it = &model->items[item];
    const HnSplit *split = &model->splits[it->split];
    const HnClient *client = &split->clients[it->client];

    it->initial = initial_state(model, entry, it->client);
    it->is_fixed = entry->is_fixed;
    it->allowed = to_canonical(model, client->allowed & ~entry->forbidden);
    if (entry->forced_node != HN_NODE_NONE)
        it->allowed &= UINT64_C(1) << model->node_rank[entry->forced_node];
    it->kind = kind_of(model, split->huge_page_bytes);
    it->group = number_of(groups, split->domain->wish.group);
    it->anti = number_of(antis, split->domain->wish.anti_group);
    fill_share(model, item, client);
    fill_demand(model, item, split, client);
    it->outside_ns = outside_cost(split, it->client);
    it->change_ns =
        entry->has_hysteresis ? hn_model_threshold(it->weighted_mcpu, model->policy) : 0;
}

HnModel *hn_model_new(const HnHost *host, const HnPolicy *policy, HnSplit *splits,
                      uint32_t n_splits, const HnEntry *entries, const uint64_t *other_mcpu)
{
    HnModel *model = g_new0(HnModel, 1);
    g_autoptr(GHashTable) groups = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) antis = g_hash_table_new(g_str_hash, g_str_equal);
    g_autofree uint32_t *order = g_new(uint32_t, n_splits + 1);

    model->host = host;
    model->policy = policy;
    model->n_nodes = host->n_nodes;
    model->n_splits = n_splits;
    model->splits = splits;
    model->n_kinds = 1;
    hn_canonical_order(host, splits, n_splits, other_mcpu, model->node_index, order);
    for (uint32_t r = 0; r < host->n_nodes; r++)
        model->node_rank[model->node_index[r]] = r;
    fill_distances(model);
    for (uint32_t s = 0; s < n_splits; s++)
        model->n_items += splits[s].n_clients;

    model->items = g_new0(HnItem, model->n_items);
    model->unary = g_new0(int64_t, (size_t)model->n_items * (host->n_nodes + 1));
    model->stay_terms = g_new0(HnTerms, model->n_items);
    model->stay_bytes = g_new0(int64_t, (size_t)model->n_items * host->n_nodes);
    model->share = g_new0(uint16_t, (size_t)model->n_items * host->n_nodes);
    uint32_t item = 0;
    for (uint32_t k = 0; k < n_splits; k++) {
        const HnSplit *split = &splits[order[k]];
        uint32_t first = item;
        for (uint32_t c = 0; c < split->n_clients; c++, item++) {
            model->items[item].split = order[k];
            model->items[item].client = c;
            model->items[item].kin_first = first;
            model->items[item].kin_count = split->n_clients;
            fill_item(model, item, &entries[order[k]], groups, antis);
        }
    }
    model->n_groups = g_hash_table_size(groups);
    model->n_antis = g_hash_table_size(antis);
    price_groups(model);
    for (uint32_t r = 0; r < host->n_nodes; r++)
        fill_node(model, r, other_mcpu ? other_mcpu[model->node_index[r]] : 0);
    for (uint32_t r = 0; r < host->n_nodes; r++)
        model->has_bandwidth |= model->nodes[r].bandwidth_mib > 0;
    hn_cost_tame(model);
    for (uint32_t i = 0; i < model->n_items; i++) {
        fill_memory(model, i, &splits[model->items[i].split].clients[model->items[i].client]);
        fill_unary(model, i);
    }
    return model;
}

void hn_model_free(HnModel *model)
{
    if (!model)
        return;
    g_free(model->distance);
    g_free(model->items);
    g_free(model->unary);
    g_free(model->stay_terms);
    g_free(model->stay_bytes);
    g_free(model->share);
    g_free(model->group_size);
    g_free(model->group_pair_ns);
    g_free(model);
}
