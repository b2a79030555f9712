/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a domain to its clients.
 *
 * A domain that fits one node (by CPUs and by memory, looking at the nodes as if empty) is one
 * client, whatever its guest topology. One that does not is wide: its guest cells are the clients
 * if it has any that fit; else it is cut into the fewest parts that fit (wide.c). Here is also read
 * what the snapshot says about each client's present: home, room it needs, constraints. Must not
 * decide where it should be.
 */
#include "client.h"

#include "claims.h"
#include "demand.h"
#include "wide.h"

#include <string.h>

/* After that long, memory that would not move is tried again. */
#define RESIDUE_TTL_NS (600 * UINT64_C(1000000000))
/* Where unpinned vCPUs run is smoothed slowly: the kernel shuffles them all the time. */
#define SEEN_HALFLIFE_NS (20 * UINT64_C(1000000000))
/* Share of its touches that a part must keep to itself to be worth a node of its own where one node
 * would do; half is what falls to a part of two by chance. */
#define PRIVATE_PERMILLE 700
/* A change of the smoothed picture below this is noise. */
#define SEEN_BAND_PERMILLE 125

uint64_t hn_node_reserve_bytes(const HnNode *node, const HnPolicy *policy)
{
    uint64_t share = node->mem_total_bytes / 1000 * policy->reserve_permille;
    /* The floor is meant for servers; a small node must not lose all its room to it. */
    uint64_t floor_bytes = MIN(policy->reserve_min_bytes, node->mem_total_bytes / 25);

    return MAX(share, floor_bytes);
}

uint64_t hn_node_usable_bytes(const HnNode *node, const HnPolicy *policy)
{
    uint64_t kept = hn_node_reserve_bytes(node, policy) + node->mem_watermark_bytes;

    return node->mem_total_bytes > kept ? node->mem_total_bytes - kept : 0;
}

uint64_t hn_node_usable_for(const HnNode *node, const HnPolicy *policy, uint64_t huge_page_bytes)
{
    if (huge_page_bytes == 0)
        return hn_node_usable_bytes(node, policy);
    for (uint32_t i = 0; i < node->n_huge_pools; i++)
        if (node->huge_pools[i].page_bytes == huge_page_bytes)
            return node->huge_pools[i].total_pages * huge_page_bytes;
    return 0;
}

/* The hugepage pool most of the RAM comes from, 0 for ordinary memory. */
static uint64_t huge_pool_of(const HnDomain *domain, bool *ret_has_big_pages)
{
    uint64_t huge_bytes = 0, thp_bytes = 0, all_bytes = 0, page_bytes = 0, largest = 0;

    for (uint32_t i = 0; i < domain->n_regions; i++) {
        const HnRegion *region = &domain->regions[i];
        all_bytes += region->length_bytes;
        if (region->backing == HN_BACKING_HUGETLB) {
            huge_bytes += region->length_bytes;
            if (region->length_bytes > largest) {
                largest = region->length_bytes;
                page_bytes = region->page_bytes;
            }
        } else if (region->is_thp) {
            thp_bytes += region->length_bytes;
        }
    }
    *ret_has_big_pages = all_bytes > 0 && (huge_bytes + thp_bytes) > all_bytes / 2;
    return huge_bytes > all_bytes / 2 ? page_bytes : 0;
}

/* Does the domain fit some node that its admin allows, looking at the node as if empty? */
static bool fits_one_node(const HnHost *host, const HnDomain *domain, const HnPolicy *policy,
                          HnNodemask nodes, uint64_t bytes, uint64_t huge_page_bytes)
{
    for (uint32_t i = 0; i < host->n_nodes; i++)
        if ((nodes >> i & 1) && domain->n_vcpus <= host->nodes[i].n_cpus &&
            bytes <= hn_node_usable_for(&host->nodes[i], policy, huge_page_bytes))
            return true;
    return false;
}

/* Homes that the admin's nodesets leave: the metadata wish and a numatune nodeset. */
static HnNodemask nodes_allowed(const HnHost *host, const HnDomain *domain)
{
    HnNodemask nodes = hn_host_home_nodes(host);

    if (domain->wish.has_nodeset)
        nodes &= domain->wish.nodeset;
    if (domain->is_numatune_admin)
        nodes &= domain->admin_nodeset;
    return nodes;
}

/* A cell's memory is in the regions of that cell. */
static void add_cell_memory(const HnDomain *domain, uint32_t n_nodes, HnClient *client)
{
    for (uint32_t i = 0; i < domain->n_regions; i++) {
        const HnRegion *region = &domain->regions[i];
        if (region->guest_cell != client->guest_cell)
            continue;
        bool is_movable =
            region->movability == HN_MOVABLE || region->movability == HN_MOVABLE_SHARED;
        for (uint32_t n = 0; n < n_nodes; n++) {
            if (is_movable)
                client->movable_bytes[n] += region->resident_bytes[n];
            else
                client->immovable_bytes[n] += region->resident_bytes[n];
        }
    }
}

static bool has_cell_regions(const HnDomain *domain, uint32_t n_nodes)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < domain->n_regions; i++) {
        if (domain->regions[i].is_ambiguous)
            return false;
        if (domain->regions[i].guest_cell >= 0)
            for (uint32_t n = 0; n < n_nodes; n++)
                bytes += domain->regions[i].resident_bytes[n];
    }
    return bytes > 0;
}

void hn_split_keep_undivided(HnSplit *split, uint32_t n_nodes)
{
    bool is_kept = split->domain->wish.memory == HN_MEMORY_KEEP;

    for (uint32_t n = 0; n < n_nodes; n++) {
        uint64_t resident = split->domain->resident_bytes[n];
        split->stuck_bytes[n] =
            is_kept ? resident : MIN(split->domain->immovable_bytes[n], resident);
        split->loose_bytes[n] = resident - split->stuck_bytes[n];
    }
}

void hn_client_keep_private(HnClient *client, uint32_t private_permille)
{
    client->private_permille = private_permille;
    client->sibling_permille = 1000 - private_permille;
}

void hn_split_allocate(HnSplit *split, uint32_t n_clients, uint32_t n_nodes)
{
    split->n_clients = n_clients;
    split->n_vcpu_words = G_N_ELEMENTS(((HnCpuset *)NULL)->words);
    split->clients = g_new0(HnClient, n_clients);
    split->client_bytes = g_new0(uint64_t, (size_t)n_clients * n_nodes * 2);
    for (uint32_t c = 0; c < n_clients; c++) {
        split->clients[c].movable_bytes = &split->client_bytes[(size_t)c * n_nodes * 2];
        split->clients[c].immovable_bytes = split->clients[c].movable_bytes + n_nodes;
        split->clients[c].guest_cell = -1;
        hn_client_keep_private(&split->clients[c], 1000);
    }
}

static void split_by_cells(HnSplit *split, uint32_t n_nodes)
{
    const HnDomain *domain = split->domain;
    bool has_detail = has_cell_regions(domain, n_nodes);

    hn_split_allocate(split, domain->n_cells, n_nodes);
    for (uint32_t c = 0; c < domain->n_cells; c++) {
        HnClient *client = &split->clients[c];
        client->vcpus = domain->cells[c].vcpus;
        client->guest_cell = (int32_t)domain->cells[c].id;
        client->claim_bytes = domain->cells[c].memory_bytes;
        /* The guest knows its cells and keeps its threads near their memory, mostly (AutoNUMA runs
         * in guests too); 900 leaves a pull between neighbouring cells. */
        hn_client_keep_private(client, 900);
        if (has_detail)
            add_cell_memory(domain, n_nodes, client);
    }
    if (!has_detail)
        hn_split_keep_undivided(split, n_nodes);
}

static void split_as_one(HnSplit *split, uint32_t n_nodes)
{
    const HnDomain *domain = split->domain;

    uint32_t end = 0;

    hn_split_allocate(split, 1, n_nodes);
    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        hn_cpuset_add(&split->clients[0].vcpus, domain->vcpus[i].id);
        end = MAX(end, domain->vcpus[i].id + 1);
    }
    split->n_vcpu_words = MIN((end + 63) / 64, split->n_vcpu_words);
    hn_split_keep_undivided(split, n_nodes);
}

/* Cells can be clients if each fits a node and together they hold every vCPU. */
static bool cells_are_usable(const HnHost *host, const HnDomain *domain, const HnPolicy *policy,
                             HnNodemask nodes, uint64_t huge_page_bytes, bool by_cores)
{
    uint32_t n_vcpus = 0;

    if (domain->n_cells < 2 || domain->n_cells > HN_MAX_CLIENTS)
        return false;
    for (uint32_t c = 0; c < domain->n_cells; c++) {
        bool fits = false;
        uint32_t count = hn_cpuset_count(&domain->cells[c].vcpus);
        for (uint32_t i = 0; i < host->n_nodes; i++)
            fits |= (nodes >> i & 1) &&
                    count <= (by_cores ? host->nodes[i].n_cores : host->nodes[i].n_cpus) &&
                    domain->cells[c].memory_bytes <=
                        hn_node_usable_for(&host->nodes[i], policy, huge_page_bytes);
        if (!fits)
            return false;
        n_vcpus += count;
    }
    return n_vcpus == domain->n_vcpus;
}

/* The guess makes it fast while many affinities are classified. */
int32_t hn_split_confining_node(const HnHost *host, const HnCpuset *affinity, int32_t guess)
{
    int32_t first = hn_cpuset_next(affinity, 0);

    if (first < 0)
        return HN_NODE_NONE;
    if (guess < 0 || !hn_cpuset_has(&host->nodes[guess].cpus, (uint32_t)first))
        guess = hn_host_node_of_cpu(host, (uint32_t)first);
    if (guess < 0 || !hn_cpuset_is_subset(affinity, &host->nodes[guess].cpus))
        return HN_NODE_NONE;
    return guess;
}

bool hn_split_is_outside(const HnSplit *split, uint32_t client)
{
    const HnDomain *domain = split->domain;
    const HnClient *c = &split->clients[client];

    if (c->home_now == HN_NODE_NONE || c->allowed == 0)
        return false;
    return (domain->wish.has_nodeset && !(domain->wish.nodeset >> c->home_now & 1)) ||
           (domain->is_numatune_admin && !(domain->admin_nodeset >> c->home_now & 1));
}

bool hn_split_has_outsider(const HnSplit *split)
{
    for (uint32_t c = 0; c < split->n_clients; c++)
        if (hn_split_is_outside(split, c))
            return true;
    return false;
}

/* Home and pin constraints of one client from its vCPUs' affinities. */
static void read_pins(const HnHost *host, const HnDomain *domain, HnClient *client)
{
    int32_t home = HN_NODE_NONE;
    bool is_first = true, is_confined = true;

    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        const HnVcpu *vcpu = &domain->vcpus[i];
        if (!hn_cpuset_has(&client->vcpus, vcpu->id))
            continue;
        client->n_vcpus++;
        int32_t node =
            is_confined ? hn_split_confining_node(host, &vcpu->affinity, home) : HN_NODE_NONE;
        is_confined = is_confined && node != HN_NODE_NONE && (is_first || node == home);
        home = node;
        is_first = false;
        if (!vcpu->is_admin_pinned)
            continue;
        HnNodemask reachable = 0;
        for (uint32_t n = 0; n < host->n_nodes; n++)
            if (hn_cpuset_intersects(&vcpu->admin_cpus, &host->nodes[n].cpus))
                reachable |= UINT64_C(1) << n;
        if (client->allowed & ~reachable) {
            client->allowed &= reachable;
            client->constraint = HN_REASON_PINNED_BY_ADMIN;
        }
    }
    client->home_now = is_confined && !is_first ? home : HN_NODE_NONE;
}

/* Where the unpinned vCPUs of a client run: observed, smoothed, and mixed with a quarter of
 * "anywhere the kernel's balancer may put them", because an unpinned thread that sits well today is
 * not at home. */
static void update_shares(const HnHost *host, const HnDomain *domain, HnPastClient *past,
                          HnClient *client, uint64_t elapsed_ns)
{
    uint32_t n_nodes = host->n_nodes, n_seen = 0, n_cpus = 0, worst = 0;
    uint32_t seen[HN_MAX_NODES] = {0};
    bool is_new = past->seen_permille == NULL;

    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        const HnVcpu *vcpu = &domain->vcpus[i];
        int32_t node = vcpu->last_cpu >= 0 && hn_cpuset_has(&client->vcpus, vcpu->id)
                           ? hn_host_node_of_cpu(host, (uint32_t)vcpu->last_cpu)
                           : HN_NODE_NONE;
        if (node >= 0) {
            seen[node]++;
            n_seen++;
        }
    }
    for (uint32_t n = 0; n < n_nodes; n++)
        n_cpus += host->nodes[n].n_cpus;
    if (is_new) {
        past->seen_permille = g_new0(uint16_t, n_nodes);
        past->held_permille = g_new0(uint16_t, n_nodes);
    }
    uint32_t weight = hn_demand_weight(elapsed_ns, SEEN_HALFLIFE_NS);
    for (uint32_t n = 0; n < n_nodes; n++) {
        uint32_t anywhere = host->nodes[n].n_cpus * 1000u / MAX(n_cpus, 1);
        uint32_t sample = n_seen ? (750 * seen[n] / n_seen) + anywhere / 4 : anywhere;
        int32_t old = past->seen_permille[n];
        past->seen_permille[n] =
            (uint16_t)(is_new ? (int32_t)sample
                              : old + ((int32_t)sample - old) * (int32_t)weight / 65536);
        worst = MAX(worst, (uint32_t)ABS((int32_t)past->seen_permille[n] -
                                         (int32_t)past->held_permille[n]));
    }
    if (is_new || worst > SEEN_BAND_PERMILLE)
        memcpy(past->held_permille, past->seen_permille, sizeof(uint16_t) * n_nodes);
    client->share_permille = past->held_permille;
}

static int32_t node_of_most_memory(const HnClient *client, uint32_t n_nodes,
                                   const uint32_t *node_rank)
{
    uint32_t best = 0;
    uint64_t most = 0;

    for (uint32_t n = 0; n < n_nodes; n++) {
        uint64_t bytes = client->movable_bytes[n] + client->immovable_bytes[n];
        if (n == 0 || bytes > most || (bytes == most && node_rank[n] < node_rank[best])) {
            most = bytes;
            best = n;
        }
    }
    return (int32_t)best;
}

/* What a domain may still grow to: a booting one at configured size, a ballooned one at its target.
 */
static uint64_t planned_bytes(const HnDomain *domain, const HnPolicy *policy, uint64_t now_ns)
{
    uint64_t age_ns = now_ns > domain->started_ns ? now_ns - domain->started_ns : 0;

    if (age_ns < policy->boot_window_ns)
        return MAX(domain->configured_bytes, domain->current_bytes);
    /* Later on, RAM the guest never touched is still promised to it: it may fault it in at any
     * time. */
    return domain->current_bytes ? domain->current_bytes : domain->configured_bytes;
}

static void fill_client(HnSplit *split, uint32_t index, const HnHost *host,
                        const uint32_t *node_rank, uint64_t growth_bytes, uint64_t elapsed_ns)
{
    const HnDomain *domain = split->domain;
    HnClient *client = &split->clients[index];
    HnPastClient *past = &split->record->clients[index];

    for (uint32_t i = 0; i < domain->n_vcpus; i++)
        if (hn_cpuset_has(&client->vcpus, domain->vcpus[i].id))
            client->smoothed_mcpu += hn_demand_of_vcpu(split->record, domain, i);
    if (index == 0) /* workers go with the first client */
        client->smoothed_mcpu += hn_demand_of_workers(split->record, domain);
    past->held_mcpu = hn_demand_hold(past->held_mcpu, past->is_held, client->smoothed_mcpu);
    past->is_held = true;
    client->held_mcpu = past->held_mcpu;

    for (uint32_t n = 0; n < host->n_nodes; n++) {
        if (domain->wish.memory == HN_MEMORY_KEEP) {
            client->immovable_bytes[n] += client->movable_bytes[n];
            client->movable_bytes[n] = 0;
        }
        client->all_movable_bytes += client->movable_bytes[n];
        client->resident_bytes += client->movable_bytes[n] + client->immovable_bytes[n];
    }
    client->growth_bytes = growth_bytes;
    if (client->home_now == HN_NODE_NONE)
        update_shares(host, domain, past, client, elapsed_ns);
    client->main_node = client->home_now != HN_NODE_NONE
                            ? client->home_now
                            : node_of_most_memory(client, host->n_nodes, node_rank);
}

/* Does it want more CPU than any node it may live on has, a sibling counting what it yields? Only
 * what was measured and held counts: a guess would cut every guest that starts. What is cut stays
 * so until it wants a quarter less, and while a re-home is under way or fresh. */
static bool exceeds_cores(const HnHost *host, const HnPastDomain *record, const HnPolicy *policy,
                          HnNodemask allowed, uint64_t now_ns)
{
    bool is_cut = record->n_clients > 1 && record->n_nodes == host->n_nodes;
    bool is_fresh =
        is_cut && (record->asked_ns || (record->last_rehome_ns &&
                                        now_ns - record->last_rehome_ns < policy->cooldown_ns));
    uint64_t demand_mcpu = 0, most_mcpu = 0;

    for (uint32_t c = 0; c < record->n_clients; c++)
        demand_mcpu += record->clients[c].is_held ? record->clients[c].held_mcpu : 0;
    for (uint32_t n = 0; n < host->n_nodes; n++) {
        const HnNode *node = &host->nodes[n];
        if (allowed >> n & 1)
            most_mcpu = MAX(most_mcpu, (uint64_t)node->n_cores * 1000 +
                                           (uint64_t)(node->n_cpus - node->n_cores) *
                                               policy->smt_yield_permille);
    }
    if (record->n_samples == 0 || most_mcpu == 0)
        return false;
    return is_fresh || demand_mcpu > (is_cut ? most_mcpu / 4 * 3 : most_mcpu);
}

/* Undoes what a way of splitting has filled. */
static void forget_parts(HnSplit *split, uint32_t n_nodes)
{
    for (uint32_t i = 0; i < split->n_chunk_maps; i++)
        g_free(split->chunk_maps[i].client);
    g_clear_pointer(&split->chunk_maps, g_free);
    split->n_chunk_maps = 0;
    g_clear_pointer(&split->clients, g_free);
    g_clear_pointer(&split->client_bytes, g_free);
    memset(split->loose_bytes, 0, sizeof(uint64_t) * n_nodes * 3);
    split->is_split_by_touch = false;
}

/* A domain that would fit a node but for its siblings is cut by cores only where the parts keep to
 * themselves: guest cells, parts found by who touches what, or the homes it has been given so. Else
 * the halves would do nothing but talk to each other, and it stays one. */
static bool split_by_cores(HnSplit *split, const HnHost *host, const HnPolicy *policy,
                           HnNodemask allowed, uint64_t planned_bytes)
{
    bool is_apart = true;

    if (cells_are_usable(host, split->domain, policy, allowed, split->huge_page_bytes, true)) {
        split_by_cells(split, host->n_nodes);
        return true;
    }
    if (!hn_wide_split(split, host, policy, allowed, planned_bytes, true))
        is_apart = false;
    for (uint32_t c = 0; c < split->n_clients; c++) {
        /* Cut along its homes: it was given them because its parts kept to themselves at least so
         * much, and nothing has said otherwise since. */
        if (!split->is_split_by_touch)
            hn_client_keep_private(&split->clients[c], PRIVATE_PERMILLE);
        is_apart &= split->clients[c].private_permille >= PRIVATE_PERMILLE;
    }
    if (!is_apart)
        forget_parts(split, host->n_nodes);
    return is_apart;
}

void hn_split_init(HnSplit *split, const HnHost *host, const uint32_t *node_rank,
                   const HnDomain *domain, HnPastDomain *record, const HnPolicy *policy,
                   bool is_sent, uint64_t now_ns, uint64_t elapsed_ns)
{
    HnNodemask homes = hn_host_home_nodes(host);
    HnNodemask allowed = nodes_allowed(host, domain);
    uint64_t resident = 0;

    memset(split, 0, sizeof(*split));
    split->domain = domain;
    split->record = record;
    if (now_ns - record->residue_ns < RESIDUE_TTL_NS)
        split->residue_bytes = record->residue_bytes;
    split->loose_bytes = g_new0(uint64_t, (size_t)host->n_nodes * 3);
    split->stuck_bytes = split->loose_bytes + host->n_nodes;
    split->shared_bytes = split->stuck_bytes + host->n_nodes;
    split->huge_page_bytes = huge_pool_of(domain, &split->has_big_pages);
    for (uint32_t n = 0; n < host->n_nodes; n++)
        resident += domain->resident_bytes[n];
    uint64_t planned = MAX(planned_bytes(domain, policy, now_ns), resident);

    split->is_wide =
        !fits_one_node(host, domain, policy, allowed, planned, split->huge_page_bytes) &&
        domain->n_vcpus > 1;
    split->exceeds_cores = !split->is_wide && !is_sent && domain->n_vcpus > 1 &&
                           (allowed & (allowed - 1)) != 0 &&
                           exceeds_cores(host, record, policy, allowed, now_ns);
    split->is_split_by_cores =
        split->exceeds_cores && split_by_cores(split, host, policy, allowed, planned);
    if (split->is_split_by_cores)
        split->is_wide = true;
    else if (!split->is_wide)
        split_as_one(split, host->n_nodes);
    else if (cells_are_usable(host, domain, policy, allowed, split->huge_page_bytes, false))
        split_by_cells(split, host->n_nodes);
    else
        hn_wide_split(split, host, policy, allowed, planned, false);

    hn_past_domain_set_clients(record, split->n_clients, host->n_nodes);
    for (uint32_t c = 0; c < split->n_clients; c++) {
        split->clients[c].allowed = allowed;
        split->clients[c].constraint =
            allowed == homes ? HN_REASON_CONVERGED : HN_REASON_NODESET_BY_ADMIN;
        read_pins(host, domain, &split->clients[c]);
        if (split->clients[c].allowed == 0)
            split->clients[c].constraint = HN_REASON_CONSTRAINT_EMPTY;
    }
    hn_claims_divide(split, host, node_rank, split->loose_bytes, true);
    hn_claims_divide(split, host, node_rank, split->stuck_bytes, false);
    for (uint32_t c = 0; c < split->n_clients; c++)
        fill_client(split, c, host, node_rank, (planned - resident) / split->n_clients, elapsed_ns);
}

void hn_split_clear(HnSplit *split)
{
    g_free(split->clients);
    g_free(split->client_bytes);
    g_free(split->loose_bytes);
    for (uint32_t i = 0; i < split->n_chunk_maps; i++)
        g_free(split->chunk_maps[i].client);
    g_free(split->chunk_maps);
    memset(split, 0, sizeof(*split));
}
