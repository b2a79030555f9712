/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading the host; see host-read.h.
 *
 * What changes only when hardware comes or goes (ids, CPUs, cores, distances, bandwidth) is built
 * once into a template. Each round compares the few lists that announce such a change with those
 * the template was built from, and only then builds it anew; then it fills in the numbers that
 * move.
 */
#include "observe/host-read.h"
#include "observe/kept.h"

#include <string.h>
#include <unistd.h>

#define MAX_LIST_BYTES 65536
#define MAX_SMALL_BYTES 4096
#define MAX_ZONEINFO_BYTES (16u << 20)
#define MAX_PROC_STAT_BYTES (8u << 20)
#define MAX_MEMINFO_BYTES 65536
#define NODE_DIR "sys/devices/system/node"
#define CPU_DIR "sys/devices/system/cpu"

/* The lists whose change means another topology. Absent ones count as empty. */
static const char *const watched_paths[] = {
    NODE_DIR "/online",
    NODE_DIR "/has_memory",
    CPU_DIR "/online",
    "sys/fs/cgroup/cpuset.cpus.isolated",
};

typedef struct {
    HnKept meminfo;
    char *meminfo_path;
    uint32_t n_pools;
    uint64_t pool_page_bytes[HN_MAX_HUGE_POOLS];
    HnKept pool_total[HN_MAX_HUGE_POOLS];
    HnKept pool_free[HN_MAX_HUGE_POOLS];
    char *pool_total_path[HN_MAX_HUGE_POOLS];
    char *pool_free_path[HN_MAX_HUGE_POOLS];
} NodeFiles;

struct HnHostReader {
    const HnRoot *root;
    HnKeptBudget budget;
    GString *buffer;
    HnKept watched[G_N_ELEMENTS(watched_paths)];
    char *watched_text[G_N_ELEMENTS(watched_paths)];
    HnKept zoneinfo, proc_stat;
    HnHost *topology; /* template, NULL: none yet */
    NodeFiles *files; /* [topology->n_nodes] */
    uint64_t generation;
    bool has_ticks;
    uint64_t *ticks; /* [HN_MAX_CPUS] busy, at the last call */
};

HnHostReader *hn_host_reader_new(const HnRoot *root)
{
    HnHostReader *reader = g_new0(HnHostReader, 1);

    reader->root = root;
    reader->budget = hn_kept_budget_from_limits();
    reader->buffer = g_string_sized_new(16384);
    reader->zoneinfo = reader->proc_stat = HN_KEPT_NONE;
    for (size_t i = 0; i < G_N_ELEMENTS(watched_paths); i++)
        reader->watched[i] = HN_KEPT_NONE;
    return reader;
}

static void drop_topology(HnHostReader *reader)
{
    for (uint32_t i = 0; reader->topology && i < reader->topology->n_nodes; i++) {
        NodeFiles *files = &reader->files[i];

        hn_kept_close(&files->meminfo, &reader->budget);
        g_free(files->meminfo_path);
        for (uint32_t k = 0; k < files->n_pools; k++) {
            hn_kept_close(&files->pool_total[k], &reader->budget);
            hn_kept_close(&files->pool_free[k], &reader->budget);
            g_free(files->pool_total_path[k]);
            g_free(files->pool_free_path[k]);
        }
    }
    g_clear_pointer(&reader->files, g_free);
    g_clear_pointer(&reader->topology, hn_host_free);
}

void hn_host_reader_free(HnHostReader *reader)
{
    if (!reader)
        return;
    drop_topology(reader);
    for (size_t i = 0; i < G_N_ELEMENTS(watched_paths); i++) {
        hn_kept_close(&reader->watched[i], &reader->budget);
        g_free(reader->watched_text[i]);
    }
    hn_kept_close(&reader->zoneinfo, &reader->budget);
    hn_kept_close(&reader->proc_stat, &reader->budget);
    g_string_free(reader->buffer, TRUE);
    g_free(reader->ticks);
    g_free(reader);
}

uint64_t hn_host_reader_generation(const HnHostReader *reader)
{
    return reader->generation;
}

/* A CPU or node list; a file that does not exist is an empty list. */
static bool read_list(const HnRoot *root, const char *path, HnCpuset *ret_set, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) local_error = NULL;
    size_t len;

    if (!hn_root_read(root, path, MAX_LIST_BYTES, &text, &len, &local_error)) {
        if (!hn_error_is_gone(local_error)) {
            g_propagate_error(error, g_steal_pointer(&local_error));
            return false;
        }
        hn_cpuset_zero(ret_set);
        return true;
    }
    if (!hn_cpu_list_parse(text, len, ret_set, error)) {
        g_prefix_error(error, "%s: ", path);
        return false;
    }
    return true;
}

/* A number that may be missing. */
static uint64_t read_number_or(const HnRoot *root, const char *path, uint64_t fallback)
{
    g_autofree char *text = NULL;
    size_t len;
    uint64_t value;

    if (!hn_root_read(root, path, MAX_SMALL_BYTES, &text, &len, NULL) ||
        !hn_number_parse(text, len, &value, NULL))
        return fallback;
    return value;
}

/* Distinct cores among `cpus`: each CPU stands for the lowest of its siblings. */
static uint32_t count_cores(const HnRoot *root, const HnCpuset *cpus)
{
    HnCpuset cores;

    hn_cpuset_zero(&cores);
    for (int32_t cpu = hn_cpuset_next(cpus, 0); cpu >= 0;
         cpu = hn_cpuset_next(cpus, (uint32_t)cpu + 1)) {
        g_autofree char *path =
            g_strdup_printf(CPU_DIR "/cpu%d/topology/thread_siblings_list", cpu);
        HnCpuset siblings;
        int32_t first = cpu;

        if (read_list(root, path, &siblings, NULL) && hn_cpuset_has(&siblings, (uint32_t)cpu))
            first = hn_cpuset_next(&siblings, 0);
        hn_cpuset_add(&cores, (uint32_t)first);
    }
    return hn_cpuset_count(&cores);
}

/* HMAT, as seen from CPUs where the kernel tells (access1), else from whatever initiator is
 * nearest. The files say MB/s (Documentation/ABI/stable/sysfs-devices-node). */
static uint64_t read_bandwidth(const HnRoot *root, uint32_t id)
{
    static const char *const classes[] = {"access1", "access0"};

    for (size_t i = 0; i < G_N_ELEMENTS(classes); i++) {
        g_autofree char *path =
            g_strdup_printf(NODE_DIR "/node%u/%s/initiators/read_bandwidth", id, classes[i]);
        uint64_t mb_per_sec = read_number_or(root, path, 0);

        if (mb_per_sec > 0 && mb_per_sec < UINT64_MAX / 1000000)
            return mb_per_sec * 1000000;
    }
    return 0;
}

/* nodeN/hugepages/hugepages-2048kB/{nr,free}_hugepages */
static void find_pools(HnHostReader *reader, uint32_t id, NodeFiles *files)
{
    g_autofree char *dir = g_strdup_printf(NODE_DIR "/node%u/hugepages", id);
    g_auto(GStrv) names = hn_root_list(reader->root, dir, NULL);

    for (uint32_t i = 0; names && names[i] && files->n_pools < HN_MAX_HUGE_POOLS; i++) {
        uint64_t kib = 0;
        uint32_t at = files->n_pools;
        char *end;

        if (!g_str_has_prefix(names[i], "hugepages-"))
            continue;
        kib = g_ascii_strtoull(names[i] + strlen("hugepages-"), &end, 10);
        if (kib == 0 || kib > (UINT64_MAX >> 12) || !g_str_equal(end, "kB"))
            continue;
        files->pool_page_bytes[at] = kib * 1024;
        files->pool_total[at] = files->pool_free[at] = HN_KEPT_NONE;
        files->pool_total_path[at] = g_strdup_printf("%s/%s/nr_hugepages", dir, names[i]);
        files->pool_free_path[at] = g_strdup_printf("%s/%s/free_hugepages", dir, names[i]);
        files->n_pools++;
    }
}

static bool read_distances(HnHostReader *reader, HnHost *host, const HnCpuset *online,
                           GError **error)
{
    uint32_t n_online = hn_cpuset_count(online);
    g_autofree uint8_t *row = g_new0(uint8_t, MAX(n_online, 1u));

    for (uint32_t from = 0; from < host->n_nodes; from++) {
        g_autofree char *path = g_strdup_printf(NODE_DIR "/node%d/distance", host->nodes[from].id);
        g_autofree char *text = NULL;
        uint32_t column = 0;
        size_t len;

        if (!hn_root_read(reader->root, path, MAX_LIST_BYTES, &text, &len, error))
            return false;
        if (!hn_distance_parse(text, len, n_online, row, error)) {
            g_prefix_error(error, "%s: ", path);
            return false;
        }
        /* One column per online node; nodes with neither CPUs nor memory are not ours. */
        for (int32_t id = hn_cpuset_next(online, 0); id >= 0;
             id = hn_cpuset_next(online, (uint32_t)id + 1)) {
            int32_t to = hn_host_index_of_id(host, id);

            if (to != HN_NODE_NONE)
                host->distance[from * host->n_nodes + (uint32_t)to] = row[column];
            column++;
        }
    }
    return true;
}

/* A kernel without NUMA: one node, all of it. */
static HnHost *build_flat(HnHostReader *reader, const HnCpuset *cpus)
{
    HnHost *host = hn_host_new(1);

    host->nodes[0].cpus = *cpus;
    reader->files = g_new0(NodeFiles, 1);
    reader->files[0].meminfo = HN_KEPT_NONE;
    reader->files[0].meminfo_path = g_strdup("proc/meminfo");
    return host;
}

static HnHost *build_nodes(HnHostReader *reader, const HnCpuset *online_nodes,
                           const HnCpuset *usable_cpus, GError **error)
{
    g_autofree HnCpuset *cpus_of = g_new0(HnCpuset, HN_MAX_NODES);
    g_autoptr(HnHost) host = NULL;
    HnCpuset with_memory;
    uint32_t ids[HN_MAX_NODES];
    uint32_t n = 0;

    if (!read_list(reader->root, NODE_DIR "/has_memory", &with_memory, error))
        return NULL;
    for (int32_t id = hn_cpuset_next(online_nodes, 0); id >= 0;
         id = hn_cpuset_next(online_nodes, (uint32_t)id + 1)) {
        g_autofree char *path = g_strdup_printf(NODE_DIR "/node%d/cpulist", id);
        HnCpuset cpus;

        if (!read_list(reader->root, path, &cpus, error))
            return NULL;
        if (hn_cpuset_is_empty(&cpus) && !hn_cpuset_has(&with_memory, (uint32_t)id))
            continue;
        if (n == HN_MAX_NODES) {
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE, "more than %d nodes",
                        HN_MAX_NODES);
            return NULL;
        }
        hn_cpuset_and(&cpus, usable_cpus);
        cpus_of[n] = cpus;
        ids[n++] = (uint32_t)id;
    }
    if (n == 0) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE, "no node has CPUs or memory");
        return NULL;
    }
    host = hn_host_new(n);
    reader->files = g_new0(NodeFiles, n);
    for (uint32_t i = 0; i < n; i++) {
        host->nodes[i].id = (int32_t)ids[i];
        host->nodes[i].cpus = cpus_of[i];
        host->nodes[i].bandwidth_bytes_per_sec = read_bandwidth(reader->root, ids[i]);
        reader->files[i].meminfo = HN_KEPT_NONE;
        reader->files[i].meminfo_path = g_strdup_printf(NODE_DIR "/node%u/meminfo", ids[i]);
        find_pools(reader, ids[i], &reader->files[i]);
    }
    if (!read_distances(reader, host, online_nodes, error)) {
        reader->topology = g_steal_pointer(&host); /* so that its files are dropped with it */
        drop_topology(reader);
        return NULL;
    }
    return g_steal_pointer(&host);
}

static bool build_topology(HnHostReader *reader, GError **error)
{
    HnCpuset online_nodes, usable, isolated, nohz_full, partitioned;
    HnHost *host;

    drop_topology(reader);
    if (!read_list(reader->root, NODE_DIR "/online", &online_nodes, error) ||
        !read_list(reader->root, CPU_DIR "/online", &usable, error) ||
        !read_list(reader->root, CPU_DIR "/isolated", &isolated, error) ||
        !read_list(reader->root, CPU_DIR "/nohz_full", &nohz_full, error) ||
        !read_list(reader->root, "sys/fs/cgroup/cpuset.cpus.isolated", &partitioned, error))
        return false;
    hn_cpuset_or(&isolated, &nohz_full);
    hn_cpuset_or(&isolated, &partitioned);
    hn_cpuset_and_not(&usable, &isolated);
    host = hn_cpuset_is_empty(&online_nodes) ? build_flat(reader, &usable)
                                             : build_nodes(reader, &online_nodes, &usable, error);
    if (!host)
        return false;
    host->isolated = isolated;
    host->page_bytes = hn_root_is_live(reader->root) ? (uint64_t)sysconf(_SC_PAGESIZE) : 4096;
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        host->nodes[i].n_cpus = hn_cpuset_count(&host->nodes[i].cpus);
        host->nodes[i].n_cores = count_cores(reader->root, &host->nodes[i].cpus);
    }
    reader->topology = host;
    reader->generation++;
    reader->has_ticks = false;
    return true;
}

/* Has one of the watched lists changed since the template was built? Remembers what it saw. */
static bool check_watched(HnHostReader *reader)
{
    bool is_changed = false;

    for (size_t i = 0; i < G_N_ELEMENTS(watched_paths); i++) {
        const char *text = "";

        if (hn_kept_read(&reader->watched[i], &reader->budget, reader->root, watched_paths[i],
                         MAX_LIST_BYTES, reader->buffer, NULL))
            text = reader->buffer->str;
        if (reader->watched_text[i] && g_str_equal(reader->watched_text[i], text))
            continue;
        g_free(reader->watched_text[i]);
        reader->watched_text[i] = g_strdup(text);
        is_changed = true;
    }
    return is_changed;
}

static bool read_node(HnHostReader *reader, HnNode *node, NodeFiles *files, GError **error)
{
    HnMeminfo meminfo;

    if (!hn_kept_read(&files->meminfo, &reader->budget, reader->root, files->meminfo_path,
                      MAX_MEMINFO_BYTES, reader->buffer, error) ||
        !hn_meminfo_parse(reader->buffer->str, reader->buffer->len, &meminfo, error)) {
        g_prefix_error(error, "%s: ", files->meminfo_path);
        return false;
    }
    node->mem_total_bytes = meminfo.total_bytes;
    node->mem_free_bytes = meminfo.free_bytes;
    node->mem_reclaimable_bytes = meminfo.reclaimable_bytes;
    node->n_huge_pools = files->n_pools;
    for (uint32_t i = 0; i < files->n_pools; i++) {
        HnHugePool *pool = &node->huge_pools[i];

        pool->page_bytes = files->pool_page_bytes[i];
        if (!hn_kept_read(&files->pool_total[i], &reader->budget, reader->root,
                          files->pool_total_path[i], MAX_SMALL_BYTES, reader->buffer, error) ||
            !hn_number_parse(reader->buffer->str, reader->buffer->len, &pool->total_pages, error) ||
            !hn_kept_read(&files->pool_free[i], &reader->budget, reader->root,
                          files->pool_free_path[i], MAX_SMALL_BYTES, reader->buffer, error) ||
            !hn_number_parse(reader->buffer->str, reader->buffer->len, &pool->free_pages, error)) {
            g_prefix_error(error, "%s: ", files->pool_total_path[i]);
            return false;
        }
    }
    return true;
}

/* Busy time per node since the last call; the ticks are remembered for the next one. */
static bool read_busy(HnHostReader *reader, const HnHost *host, uint64_t *ret_busy_ns,
                      GError **error)
{
    g_autofree uint64_t *ticks = g_new0(uint64_t, HN_MAX_CPUS);
    uint64_t ns_per_tick = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);

    if (!hn_kept_read(&reader->proc_stat, &reader->budget, reader->root, "proc/stat",
                      MAX_PROC_STAT_BYTES, reader->buffer, error) ||
        !hn_proc_stat_parse(reader->buffer->str, reader->buffer->len, HN_MAX_CPUS, ticks, error))
        return false;
    for (uint32_t i = 0; i < host->n_nodes && reader->has_ticks; i++) {
        const HnCpuset *cpus = &host->nodes[i].cpus;

        for (int32_t cpu = hn_cpuset_next(cpus, 0); cpu >= 0;
             cpu = hn_cpuset_next(cpus, (uint32_t)cpu + 1))
            if (ticks[cpu] > reader->ticks[cpu]) /* they can step back when a CPU was offline */
                ret_busy_ns[i] += (ticks[cpu] - reader->ticks[cpu]) * ns_per_tick;
    }
    g_free(reader->ticks);
    reader->ticks = g_steal_pointer(&ticks);
    reader->has_ticks = true;
    return true;
}

bool hn_host_reader_read(HnHostReader *reader, HnHost **ret_host, uint64_t **ret_busy_ns,
                         GError **error)
{
    g_autoptr(HnHost) host = NULL;
    g_autofree uint64_t *busy_ns = NULL;
    g_autofree uint64_t *watermark_bytes = NULL;

    if ((check_watched(reader) || !reader->topology) && !build_topology(reader, error))
        return false;
    host = hn_host_copy(reader->topology);
    for (uint32_t i = 0; i < host->n_nodes; i++)
        if (!read_node(reader, &host->nodes[i], &reader->files[i], error))
            return false;
    watermark_bytes = g_new0(uint64_t, host->n_nodes);
    if (!hn_kept_read(&reader->zoneinfo, &reader->budget, reader->root, "proc/zoneinfo",
                      MAX_ZONEINFO_BYTES, reader->buffer, error) ||
        !hn_zoneinfo_parse(reader->buffer->str, reader->buffer->len, host, watermark_bytes, error))
        return false;
    for (uint32_t i = 0; i < host->n_nodes; i++)
        host->nodes[i].mem_watermark_bytes = watermark_bytes[i];
    busy_ns = g_new0(uint64_t, host->n_nodes);
    if (!read_busy(reader, host, busy_ns, error))
        return false;
    if (!hn_host_validate(host, error)) {
        drop_topology(reader); /* read it anew next time, whatever it was */
        return false;
    }
    *ret_host = g_steal_pointer(&host);
    if (ret_busy_ns)
        *ret_busy_ns = g_steal_pointer(&busy_ns);
    return true;
}
