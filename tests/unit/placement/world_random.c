/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random hosts and fleets. Everything comes from the seed, which the tests print.
 */
#include "world.h"

#define MIB UINT64_C(1048576)

static uint64_t between(uint64_t *seed, uint64_t low, uint64_t high)
{
    return low + world_random(seed) % (high - low + 1);
}

static bool chance(uint64_t *seed, uint32_t permille)
{
    return world_random(seed) % 1000 < permille;
}

static HnHost *random_host(const WorldMix *mix, uint64_t *seed)
{
    uint32_t n_nodes = (uint32_t)between(seed, mix->min_nodes, mix->max_nodes);
    uint32_t smt = mix->is_odd && chance(seed, 400) ? 2 : 1;
    uint32_t cpus = (uint32_t)between(seed, 1, 16) * 2;
    uint64_t bytes = between(seed, 4, 512) * 256 * MIB;
    HnHost *host = world_host(n_nodes, cpus, smt, bytes);
    int32_t id = 0;

    for (uint32_t n = 0; n < n_nodes && mix->is_odd; n++) {
        HnNode *node = &host->nodes[n];
        id += (int32_t)between(seed, n > 0, 3);
        node->id = id;
        if (chance(seed, 300)) { /* a smaller node */
            for (uint32_t c = cpus / 2; c < cpus; c++)
                hn_cpuset_remove(&node->cpus, n * cpus + c);
            node->n_cpus = hn_cpuset_count(&node->cpus);
            node->n_cores = MAX(node->n_cpus / smt, 1);
            node->mem_total_bytes /= 2;
        }
        if (n > 0 && chance(seed, 100))
            node->mem_total_bytes = 0;
        else if (n > 0 && chance(seed, 100)) {
            hn_cpuset_zero(&node->cpus);
            node->n_cpus = node->n_cores = 0;
        }
        node->mem_free_bytes = node->mem_total_bytes;
        node->mem_watermark_bytes = node->mem_total_bytes / 500;
        node->bandwidth_bytes_per_sec = chance(seed, 300) ? between(seed, 1, 20) * 1024 * MIB : 0;
        node->other_load_mcpu = chance(seed, 300) ? between(seed, 0, 1000 * node->n_cpus) : 0;
        for (uint32_t m = 0; m < n_nodes; m++)
            if (m != n)
                host->distance[n * n_nodes + m] = (uint8_t)between(seed, 11, 40);
    }
    return host;
}

static void add_wishes(World *world, HnDomain *domain, uint64_t *seed)
{
    HnHost *host = world->snapshot->host;
    HnNodemask homes = hn_host_home_nodes(host);
    uint32_t kind = (uint32_t)between(seed, 0, 13);

    if (kind == 0) {
        domain->wish.has_nodeset = true;
        domain->wish.nodeset = world_random(seed);
    } else if (kind == 1) {
        domain->is_numatune_admin = true;
        domain->admin_nodeset = homes & world_random(seed);
    } else if (kind == 2) {
        domain->wish.group = g_strdup_printf("group-%u", (unsigned)between(seed, 0, 2));
    } else if (kind == 3) {
        domain->wish.anti_group = g_strdup_printf("anti-%u", (unsigned)between(seed, 0, 1));
    } else if (kind == 4) {
        domain->wish.weight = (uint32_t)between(seed, 1, 1000);
    } else if (kind == 5) {
        domain->wish.mode = (HnMode)between(seed, HN_MODE_NONE, HN_MODE_ADVISE);
    } else if (kind == 6) {
        domain->job = (HnJob)between(seed, 0, 2);
    } else if (kind == 7) {
        for (uint32_t n = 0; n < host->n_nodes; n++)
            domain->immovable_bytes[n] = domain->resident_bytes[n] / between(seed, 1, 3);
    } else if (kind == 8) {
        domain->wish.memory = HN_MEMORY_KEEP;
    } else if (kind == 9) {
        for (uint32_t v = 0; v < domain->n_vcpus; v++) {
            domain->vcpus[v].is_admin_pinned = true;
            hn_host_cpus_of(host, homes & world_random(seed), &domain->vcpus[v].admin_cpus);
            if (hn_cpuset_is_empty(&domain->vcpus[v].admin_cpus))
                hn_host_cpus_of(host, homes, &domain->vcpus[v].admin_cpus);
            domain->vcpus[v].affinity = domain->vcpus[v].admin_cpus;
        }
    } else if (kind == 10) {
        domain->device_nodes = world_random(seed) & homes;
    } else if (kind == 11) {
        domain->state = HN_STATE_PAUSED;
    }
}

static void place(World *world, HnDomain *domain, uint32_t pinned_permille, uint64_t *seed)
{
    HnHost *host = world->snapshot->host;
    HnNodemask homes = hn_host_home_nodes(host);
    uint32_t node = (uint32_t)between(seed, 0, host->n_nodes - 1);

    while (!(homes >> node & 1))
        node = (node + 1) % host->n_nodes;
    if (chance(seed, pinned_permille) && domain->n_vcpus <= host->nodes[node].n_cpus)
        world_pin(world, domain, (int32_t)node);
    for (uint32_t v = 0; v < domain->n_vcpus; v++)
        domain->vcpus[v].last_cpu = hn_cpuset_next(&domain->vcpus[v].affinity, 0);
}

/* Puts the memory on one node or over several, wherever there is room. */
static void put_memory(World *world, HnDomain *domain, uint64_t bytes, uint64_t *seed)
{
    HnHost *host = world->snapshot->host;
    uint32_t n_parts = chance(seed, 600) ? 1 : host->n_nodes;
    uint32_t node = (uint32_t)between(seed, 0, host->n_nodes - 1);
    uint64_t left = bytes;

    for (uint32_t tries = 0; tries < 2 * host->n_nodes && left > 0;
         tries++, node = (node + 1) % host->n_nodes) {
        uint64_t keep = host->nodes[node].mem_total_bytes / 20;
        uint64_t room =
            host->nodes[node].mem_free_bytes > keep ? host->nodes[node].mem_free_bytes - keep : 0;
        uint64_t part = MIN(MIN(left, bytes / n_parts + 1), room) / MIB * MIB;
        domain->resident_bytes[node] += part;
        host->nodes[node].mem_free_bytes -= part;
        left -= part;
    }
    domain->configured_bytes = domain->current_bytes = MAX(bytes - left, MIB);
}

World *world_new_random(const WorldMix *mix, uint64_t *seed)
{
    World *world = world_new(random_host(mix, seed));
    HnHost *host = world->snapshot->host;
    uint64_t all_cpus = 0, all_bytes = 0, load_sum = 0, bytes_sum = 0;
    g_autofree uint64_t *load = g_new(uint64_t, mix->n_domains),
                        *bytes = g_new(uint64_t, mix->n_domains);

    for (uint32_t n = 0; n < host->n_nodes; n++) {
        all_cpus += host->nodes[n].n_cpus;
        all_bytes += host->nodes[n].mem_free_bytes;
    }
    for (uint32_t d = 0; d < mix->n_domains; d++) {
        load_sum += load[d] = between(seed, 1, 8);
        bytes_sum += bytes[d] = between(seed, 1, 8);
    }
    for (uint32_t d = 0; d < mix->n_domains; d++) {
        uint64_t mcpu = all_cpus * mix->cpu_load_permille * load[d] / load_sum;
        uint64_t size =
            all_bytes / 1000 * mix->memory_fill_permille / bytes_sum * bytes[d] / MIB * MIB;
        uint32_t n_vcpus = (uint32_t)MIN(mcpu / 1000 + 1, 64);
        HnDomain *domain = world_add(world, n_vcpus, 0, MIN(mcpu, 1000 * n_vcpus), 0);
        put_memory(world, domain, size, seed);
        place(world, domain, mix->pinned_permille, seed);
        if (mix->has_wishes)
            add_wishes(world, domain, seed);
    }
    return world;
}
