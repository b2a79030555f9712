/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host as a value: allocation, look-up and the checks that make the rest of placement/ safe.
 *
 * After hn_host_validate() the rest may divide by distances and index by node without asking again.
 * Must not observe anything.
 */
#include <homenode/host.h>

#include <string.h>

#define GIB (UINT64_C(1) << 30)

HnHost *hn_host_new(uint32_t n_nodes)
{
    HnHost *host = g_new0(HnHost, 1);

    host->n_nodes = n_nodes;
    host->nodes = g_new0(HnNode, n_nodes);
    host->distance = g_new0(uint8_t, (size_t)n_nodes * n_nodes);
    for (uint32_t i = 0; i < n_nodes; i++)
        for (uint32_t j = 0; j < n_nodes; j++)
            host->distance[(size_t)i * n_nodes + j] = i == j ? 10 : 20;
    return host;
}

HnHost *hn_host_copy(const HnHost *host)
{
    HnHost *copy = g_new0(HnHost, 1);

    *copy = *host;
    copy->nodes = g_new0(HnNode, host->n_nodes);
    memcpy(copy->nodes, host->nodes, sizeof(HnNode) * host->n_nodes);
    copy->distance = g_memdup2(host->distance, (size_t)host->n_nodes * host->n_nodes);
    return copy;
}

void hn_host_free(HnHost *host)
{
    if (!host)
        return;
    g_free(host->nodes);
    g_free(host->distance);
    g_free(host);
}

uint8_t hn_host_distance(const HnHost *host, uint32_t from, uint32_t to)
{
    return host->distance[(size_t)from * host->n_nodes + to];
}

int32_t hn_host_node_of_cpu(const HnHost *host, uint32_t cpu)
{
    for (uint32_t i = 0; i < host->n_nodes; i++)
        if (hn_cpuset_has(&host->nodes[i].cpus, cpu))
            return (int32_t)i;
    return HN_NODE_NONE;
}

int32_t hn_host_index_of_id(const HnHost *host, int32_t node_id)
{
    for (uint32_t i = 0; i < host->n_nodes; i++)
        if (host->nodes[i].id == node_id)
            return (int32_t)i;
    return HN_NODE_NONE;
}

HnNodemask hn_host_home_nodes(const HnHost *host)
{
    HnNodemask mask = 0;

    for (uint32_t i = 0; i < host->n_nodes; i++)
        if (host->nodes[i].n_cpus > 0 && host->nodes[i].mem_total_bytes > 0)
            mask |= UINT64_C(1) << i;
    return mask;
}

uint64_t hn_host_auto_move_bytes_per_sec(const HnHost *host)
{
    uint64_t n_with_memory = 0;

    for (uint32_t i = 0; i < host->n_nodes; i++)
        n_with_memory += host->nodes[i].mem_total_bytes > 0;
    return CLAMP(n_with_memory * (GIB / 2), GIB, 4 * GIB);
}

void hn_host_cpus_of(const HnHost *host, HnNodemask nodes, HnCpuset *ret_cpus)
{
    HnCpuset cpus = {0};

    for (uint32_t i = 0; i < host->n_nodes; i++)
        if (nodes >> i & 1)
            hn_cpuset_or(&cpus, &host->nodes[i].cpus);
    *ret_cpus = cpus;
}

char *hn_host_format_nodes(const HnHost *host, HnNodemask nodes)
{
    HnCpuset ids;

    hn_cpuset_zero(&ids);
    for (uint32_t i = 0; i < host->n_nodes; i++)
        if (nodes >> i & 1)
            hn_cpuset_add(&ids, (uint32_t)host->nodes[i].id);
    return hn_cpuset_format(&ids);
}

static bool fail(GError **error, HnModelError code, const char *format, ...) G_GNUC_PRINTF(3, 4);

static bool fail(GError **error, HnModelError code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (error)
        *error = g_error_new_valist(HN_MODEL_ERROR, (gint)code, format, args);
    va_end(args);
    return false;
}

static bool validate_node(const HnHost *host, uint32_t i, GError **error)
{
    const HnNode *node = &host->nodes[i];

    if (node->id < 0 || (i > 0 && node->id <= host->nodes[i - 1].id))
        return fail(
            error, HN_MODEL_ERROR_SENSE,
            "node id %d at index %u does not ascend (allowed: 0 and up, each larger than the last)",
            node->id, i);
    if (hn_cpuset_count(&node->cpus) != node->n_cpus)
        return fail(error, HN_MODEL_ERROR_SENSE, "node %d: n_cpus is %u but its CPU set holds %u",
                    node->id, node->n_cpus, hn_cpuset_count(&node->cpus));
    if (node->n_cores > node->n_cpus || (node->n_cpus > 0 && node->n_cores == 0))
        return fail(error, HN_MODEL_ERROR_SENSE, "node %d: %u cores for %u CPUs (allowed: 1 to %u)",
                    node->id, node->n_cores, node->n_cpus, node->n_cpus);
    if (hn_cpuset_intersects(&node->cpus, &host->isolated))
        return fail(error, HN_MODEL_ERROR_SENSE, "node %d: its CPU set holds isolated CPUs",
                    node->id);
    for (uint32_t j = 0; j < i; j++)
        if (hn_cpuset_intersects(&node->cpus, &host->nodes[j].cpus))
            return fail(error, HN_MODEL_ERROR_SENSE, "nodes %d and %d share CPUs",
                        host->nodes[j].id, node->id);
    /* mem_free may exceed total by a little while the kernel counts (per-CPU lists), never by
     * double. */
    if (node->mem_free_bytes / 2 > node->mem_total_bytes)
        return fail(error, HN_MODEL_ERROR_SENSE,
                    "node %d: %" G_GUINT64_FORMAT " bytes free of %" G_GUINT64_FORMAT, node->id,
                    node->mem_free_bytes, node->mem_total_bytes);
    if (node->n_huge_pools > HN_MAX_HUGE_POOLS)
        return fail(error, HN_MODEL_ERROR_RANGE, "node %d: %u hugepage pools (allowed: 0 to %d)",
                    node->id, node->n_huge_pools, HN_MAX_HUGE_POOLS);
    return true;
}

bool hn_host_validate(const HnHost *host, GError **error)
{
    uint64_t n_cpus = 0, mem_bytes = 0;

    if (host->n_nodes < 1 || host->n_nodes > HN_MAX_NODES)
        return fail(error, HN_MODEL_ERROR_RANGE, "host with %u nodes (allowed: 1 to %d)",
                    host->n_nodes, HN_MAX_NODES);
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        if (!validate_node(host, i, error))
            return false;
        n_cpus += host->nodes[i].n_cpus;
        mem_bytes |= host->nodes[i].mem_total_bytes;
        for (uint32_t j = 0; j < host->n_nodes; j++) {
            uint8_t distance = hn_host_distance(host, i, j);
            if (i == j ? distance != 10 : distance < 10 || distance > 254)
                return fail(error, HN_MODEL_ERROR_RANGE,
                            "distance from node %d to node %d is %u (allowed: %s)",
                            host->nodes[i].id, host->nodes[j].id, distance,
                            i == j ? "10" : "10 to 254");
        }
    }
    if (n_cpus == 0)
        return fail(error, HN_MODEL_ERROR_SENSE, "host without a usable CPU (allowed: at least 1)");
    if (mem_bytes == 0)
        return fail(error, HN_MODEL_ERROR_SENSE,
                    "host without memory (allowed: some node with memory)");
    return true;
}
