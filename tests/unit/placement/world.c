/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "world.h"

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)

uint64_t world_random(uint64_t *seed)
{
    uint64_t x = *seed += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

World *world_new(HnHost *host)
{
    World *world = g_new0(World, 1);

    world->snapshot = hn_snapshot_new();
    world->snapshot->host = host;
    world->snapshot->taken_ns = 3600 * SECOND_NS;
    return world;
}

void world_free(World *world)
{
    if (!world)
        return;
    hn_snapshot_free(world->snapshot);
    g_free(world->load_mcpu);
    g_free(world);
}

HnHost *world_host(uint32_t n_nodes, uint32_t cpus_per_node, uint32_t smt, uint64_t bytes_per_node)
{
    HnHost *host = hn_host_new(n_nodes);

    host->page_bytes = 4096;
    for (uint32_t n = 0; n < n_nodes; n++) {
        HnNode *node = &host->nodes[n];
        node->id = (int32_t)n;
        for (uint32_t c = 0; c < cpus_per_node; c++)
            hn_cpuset_add(&node->cpus, n * cpus_per_node + c);
        node->n_cpus = cpus_per_node;
        node->n_cores = cpus_per_node / smt;
        node->mem_total_bytes = bytes_per_node;
        node->mem_free_bytes = bytes_per_node;
    }
    return host;
}

static void take_free(HnNode *node, uint64_t bytes)
{
    node->mem_free_bytes -= MIN(bytes, node->mem_free_bytes);
}

HnDomain *world_add(World *world, uint32_t n_vcpus, uint64_t bytes, uint64_t load_mcpu,
                    int32_t memory_node)
{
    HnHost *host = world->snapshot->host;
    HnDomain *domain = hn_domain_new(host->n_nodes);
    guint index = world->snapshot->domains->len;
    HnCpuset all;

    g_snprintf(domain->uuid, sizeof(domain->uuid), "00000000-0000-0000-0000-%012u", index);
    domain->name = g_strdup_printf("g%u", index);
    domain->is_kvm = true;
    domain->pid = 1000 + (int64_t)index;
    domain->start_ticks = 1;
    domain->started_ns = 1;
    domain->wish.mode = HN_MODE_AUTO;
    domain->configured_bytes = domain->current_bytes = bytes;
    domain->resident_source = HN_SOURCE_CGROUP;
    hn_host_cpus_of(host, ~UINT64_C(0), &all);
    for (uint32_t v = 0; v < n_vcpus; v++) {
        HnVcpu *vcpu = hn_domain_add_vcpu(domain, host->n_nodes);
        vcpu->id = v;
        vcpu->tid = (int32_t)(100000 + index * 1000 + v);
        vcpu->start_ticks = 1;
        vcpu->affinity = all;
        vcpu->last_cpu = -1;
    }
    for (uint32_t n = 0; n < host->n_nodes; n++) {
        uint64_t part = memory_node == HN_NODE_NONE ? bytes / host->n_nodes
                        : memory_node == (int32_t)n ? bytes
                                                    : 0;
        domain->resident_bytes[n] = part;
        take_free(&host->nodes[n], part);
    }
    g_ptr_array_add(world->snapshot->domains, domain);
    world->load_mcpu = g_renew(uint64_t, world->load_mcpu, index + 1);
    world->load_mcpu[index] = load_mcpu;
    return domain;
}

void world_pin(World *world, HnDomain *domain, int32_t node)
{
    for (uint32_t v = 0; v < domain->n_vcpus; v++)
        domain->vcpus[v].affinity = world->snapshot->host->nodes[node].cpus;
}

void world_step(World *world, uint64_t elapsed_ns, uint32_t noise_permille, uint64_t *seed)
{
    world->snapshot->taken_ns += elapsed_ns;
    for (guint d = 0; d < world->snapshot->domains->len; d++) {
        HnDomain *domain = g_ptr_array_index(world->snapshot->domains, d);
        int64_t noise = noise_permille ? (int64_t)(world_random(seed) % (2 * noise_permille + 1)) -
                                             noise_permille
                                       : 0;
        uint64_t load =
            world->load_mcpu[d] * (uint64_t)(1000 + noise) / 1000 / MAX(domain->n_vcpus, 1);
        for (uint32_t v = 0; v < domain->n_vcpus; v++) {
            /* Half of it granted, half waited for: demand must come out the same. */
            uint64_t wanted_ns = elapsed_ns / 1000 * load;
            domain->vcpus[v].exec_ns += wanted_ns / 2;
            domain->vcpus[v].run_delay_ns += wanted_ns - wanted_ns / 2;
        }
    }
}

static const HnClientVerdict *client_of(const HnPlan *plan, const HnAction *action)
{
    const HnVerdict *verdict =
        g_ptr_array_index(plan->verdicts, (guint)g_ascii_strtoull(action->uuid + 24, NULL, 10));

    return &verdict->clients[action->client];
}

static void apply_pin(World *world, const HnPlan *plan, HnDomain *domain, const HnAction *action)
{
    HnCpuset cpus;

    hn_host_cpus_of(world->snapshot->host, action->to_nodes, &cpus);
    for (uint32_t v = 0; v < domain->n_vcpus; v++) {
        HnVcpu *vcpu = &domain->vcpus[v];
        if (!hn_cpuset_has(&client_of(plan, action)->vcpus, vcpu->id))
            continue;
        vcpu->affinity = cpus;
        if (vcpu->is_admin_pinned)
            hn_cpuset_and(&vcpu->affinity, &vcpu->admin_cpus);
        vcpu->last_cpu = hn_cpuset_next(&vcpu->affinity, 0);
    }
    for (uint32_t w = 0; w < domain->n_workers && action->client == 0; w++)
        if (!domain->workers[w].is_admin_pinned)
            domain->workers[w].affinity = cpus;
}

static bool apply_move(World *world, HnDomain *domain, const HnAction *action)
{
    HnHost *host = world->snapshot->host;
    uint32_t to = (uint32_t)__builtin_ctzll(action->to_nodes);
    uint64_t left = action->bytes;

    if (action->bytes > host->nodes[to].mem_free_bytes + host->nodes[to].mem_reclaimable_bytes)
        return false;
    for (uint32_t n = 0; n < host->n_nodes && left > 0; n++) {
        if (!(action->from_nodes >> n & 1) || n == to)
            continue;
        uint64_t part = MIN(left, domain->resident_bytes[n] -
                                      MIN(domain->immovable_bytes[n], domain->resident_bytes[n]));
        domain->resident_bytes[n] -= part;
        domain->resident_bytes[to] += part;
        host->nodes[n].mem_free_bytes += part;
        take_free(&host->nodes[to], part);
        left -= part;
    }
    return true;
}

bool world_apply_action(World *world, const HnPlan *plan, const HnAction *action)
{
    /* Uuids of worlds end in the domain's index. */
    guint index = (guint)g_ascii_strtoull(action->uuid + 24, NULL, 10);
    HnDomain *domain = g_ptr_array_index(world->snapshot->domains, index);

    switch (action->kind) {
    case HN_ACTION_UNFENCE:
        domain->is_fenced = false;
        return true;
    case HN_ACTION_FENCE:
        domain->is_fenced = true;
        return true;
    case HN_ACTION_PIN:
        apply_pin(world, plan, domain, action);
        return true;
    case HN_ACTION_MOVE_MEMORY:
        return apply_move(world, domain, action);
    }
    return false;
}

bool world_apply(World *world, const HnPlan *plan)
{
    bool is_possible = true;

    for (guint i = 0; i < plan->actions->len; i++)
        is_possible &= world_apply_action(world, plan, &g_array_index(plan->actions, HnAction, i));
    return is_possible;
}

int32_t world_home(const World *world, const HnDomain *domain)
{
    for (uint32_t n = 0; n < world->snapshot->host->n_nodes; n++) {
        bool is_inside = true;
        for (uint32_t v = 0; v < domain->n_vcpus; v++)
            is_inside &= hn_cpuset_is_subset(&domain->vcpus[v].affinity,
                                             &world->snapshot->host->nodes[n].cpus);
        if (is_inside)
            return (int32_t)n;
    }
    return HN_NODE_NONE;
}

uint32_t world_local_permille(const World *world, const HnDomain *domain)
{
    int32_t home = world_home(world, domain);
    uint64_t all = 0;

    for (uint32_t n = 0; n < world->snapshot->host->n_nodes; n++)
        all += domain->resident_bytes[n];
    return home < 0 || all == 0 ? 0 : (uint32_t)(domain->resident_bytes[home] * 1000 / all);
}
