/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory of one domain from round to round; see memory-watch.h. */
#include "observe/memory-watch.h"
#include "observe/memcg.h"
#include "observe/numa-maps.h"

#include <string.h>

#define MAX_PROCS_BYTES 65536
#define MAX_NUMA_STAT_BYTES 262144
/* Counters that moved by less than this part of the RAM since the last probes are no news. */
#define CGROUP_NEWS_DIVISOR 64
/* Growth of a booting guest after which smaps is read again to learn of huge pages: at most log2
 * times. */
#define GROWTH_FACTOR 2
#define GROWTH_MIN_BYTES ((uint64_t)64 << 20)
/* RAM of which the kernel gives neither a node nor "absent": less than this part is told nobody. */
#define UNKNOWN_DIVISOR 100
/* Where nothing but a control group's counters is to be had: what QEMU uses itself is in them. */
#define CGROUP_ALONE_ERROR_PERMILLE 50

struct HnMemoryWatch {
    HnWatchContext *context;
    int64_t pid;

    bool has_files;
    HnOpenFiles files;

    bool has_map;
    HnRegionMap map;      /* regions hold the last probes' chunks */
    bool is_all_huge;     /* when smaps was read */
    guint configuration;  /* hash of what was configured then */
    uint64_t vsize_bytes; /* of the process then */

    bool has_probes;
    uint64_t probed_ns;
    HnResidency residency;

    bool has_looked_for_cgroup;
    HnCgroup cgroup; /* dir NULL: none */
    bool is_alone;   /* nothing but this machine is in it */
    HnKept numa_stat;
    uint32_t n_stat_nodes;
    HnNumaStat now;
    HnNumaStat then; /* when the last probes were made */
    bool has_then;
};

HnMemoryWatch *hn_memory_watch_new(HnWatchContext *context, int64_t pid)
{
    HnMemoryWatch *memory = g_new0(HnMemoryWatch, 1);

    memory->context = context;
    memory->pid = pid;
    memory->numa_stat = HN_KEPT_NONE;
    return memory;
}

void hn_memory_watch_forget(HnMemoryWatch *memory)
{
    hn_region_map_clear(&memory->map);
    memory->has_map = false;
    hn_residency_clear(&memory->residency);
    memory->has_probes = false;
    hn_numa_stat_clear(&memory->now);
    hn_numa_stat_clear(&memory->then);
    memory->n_stat_nodes = 0;
    memory->has_then = false;
}

void hn_memory_watch_free(HnMemoryWatch *memory)
{
    if (!memory)
        return;
    hn_memory_watch_forget(memory);
    hn_kept_close(&memory->numa_stat, memory->context->budget);
    hn_cgroup_clear(&memory->cgroup);
    g_free(memory);
}

uint64_t hn_memory_watch_bytes(const HnMemoryWatch *memory)
{
    uint64_t bytes = sizeof *memory + (uint64_t)memory->n_stat_nodes * 5 * sizeof(uint64_t);

    for (uint32_t i = 0; i < memory->map.n_regions; i++)
        bytes += sizeof(HnRegion) + memory->map.regions[i].n_chunks * sizeof(HnChunk);
    return bytes;
}

HnRegion *hn_memory_watch_regions(HnMemoryWatch *memory, uint32_t *ret_n_regions)
{
    *ret_n_regions = memory->map.n_regions;
    return memory->map.regions;
}

static void tell_problem(HnDomain *domain, const char *sentence)
{
    if (!domain->unobservable)
        domain->unobservable = g_strdup(sentence);
}

static void read_files(HnMemoryWatch *memory)
{
    memory->files = hn_open_files_read(memory->context->root, memory->pid);
    memory->has_files = true;
}

bool hn_memory_watch_needs_vhost_kthreads(HnMemoryWatch *memory, HnTasks *tasks)
{
    for (uint32_t i = 0; i < hn_tasks_count(tasks); i++)
        if (hn_tasks_get(tasks, i)->kind == HN_THREAD_VHOST)
            return false;
    if (!memory->has_files)
        read_files(memory);
    return memory->files.has_vhost_net;
}

/* Everything of the configuration that decides which mappings are guest RAM. */
static guint hash_configuration(const HnDomainInfo *info)
{
    guint hash = g_int64_hash(&info->configured_bytes);

    for (guint i = 0; info->memory && i < info->memory->len; i++) {
        const HnMemoryInfo *memory = g_ptr_array_index(info->memory, i);

        hash = hash * 31 + g_int64_hash(&memory->length_bytes);
        hash = hash * 31 + g_int64_hash(&memory->gpa_base);
        hash = hash * 31 + (guint)memory->guest_cell;
    }
    return hash * 31 + (info->host_devices ? info->host_devices->len : 0);
}

/* Are all regions still mapped where they were? Reads /proc/PID/maps, which walks no page tables.
 */
static bool is_map_current(const HnMemoryWatch *memory)
{
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/maps", memory->pid);
    g_autofree char *text = NULL;
    g_autoptr(GArray) mappings = NULL;
    size_t len;

    if (!hn_root_read(memory->context->root, path, 16u << 20, &text, &len, NULL))
        return false;
    mappings = hn_smaps_parse(text, len, NULL); /* the same lines, without the details */
    for (uint32_t i = 0; mappings && i < memory->map.n_regions; i++) {
        const HnRegion *region = &memory->map.regions[i];
        bool is_found = false;

        for (guint k = 0; k < mappings->len && !is_found; k++) {
            const HnMapping *mapping = &g_array_index(mappings, HnMapping, k);

            is_found = mapping->start == region->hva_start && mapping->is_writable;
        }
        if (!is_found)
            return false;
    }
    return mappings != NULL;
}

/* What the probes found stays with a region that is still the same. */
static void inherit_probes(HnRegionMap *fresh, HnRegionMap *old, uint32_t n_nodes)
{
    for (uint32_t i = 0; i < fresh->n_regions; i++) {
        HnRegion *to = &fresh->regions[i];

        for (uint32_t k = 0; k < old->n_regions; k++) {
            HnRegion *from = &old->regions[k];

            if (from->hva_start != to->hva_start || from->length_bytes != to->length_bytes ||
                to->chunks)
                continue;
            memcpy(to->resident_bytes, from->resident_bytes, n_nodes * sizeof(uint64_t));
            to->chunks = g_steal_pointer(&from->chunks);
            to->n_chunks = from->n_chunks;
            to->chunk_bytes = from->chunk_bytes;
            from->n_chunks = 0;
        }
    }
}

static bool read_map(HnMemoryWatch *memory, const HnDomainInfo *info, uint32_t n_nodes,
                     GError **error)
{
    g_autoptr(GArray) mappings = hn_smaps_read(memory->context->root, memory->pid, error);
    HnRegionMap fresh;

    if (!mappings)
        return false;
    hn_regions_match(mappings, info, n_nodes, &fresh);
    inherit_probes(&fresh, &memory->map, n_nodes);
    /* Other regions than before: the probes were about something else. */
    if (fresh.n_regions != memory->map.n_regions || fresh.total_bytes != memory->map.total_bytes)
        memory->has_probes = false;
    hn_region_map_clear(&memory->map);
    memory->map = fresh;
    memory->is_all_huge = fresh.rss_bytes > 0 && fresh.huge_bytes == fresh.rss_bytes;
    memory->has_map = true;
    return true;
}

static bool refresh_map(HnMemoryWatch *memory, const HnDomainInfo *info, const HnHost *host,
                        const HnTaskStat *process, bool is_wanted, GError **error)
{
    guint configuration = hash_configuration(info);
    uint64_t present_bytes = 0;
    bool has_grown;

    for (uint32_t i = 0; memory->has_probes && i < host->n_nodes; i++)
        present_bytes += memory->residency.node_bytes[i];
    has_grown = present_bytes > memory->map.rss_bytes * GROWTH_FACTOR &&
                present_bytes > memory->map.rss_bytes + GROWTH_MIN_BYTES;
    if (memory->has_map && !is_wanted && !has_grown && configuration == memory->configuration) {
        if (process->vsize_bytes == memory->vsize_bytes)
            return true;
        if (!memory->map.problem && is_map_current(memory)) {
            memory->vsize_bytes = process->vsize_bytes;
            return true;
        }
    }
    read_files(memory);
    if (!read_map(memory, info, host->n_nodes, error))
        return false;
    memory->configuration = configuration;
    memory->vsize_bytes = process->vsize_bytes;
    return true;
}

/* Is the process alone in its group? libvirt's is made for it; else the list must name nobody else.
 */
static bool check_alone(const HnMemoryWatch *memory)
{
    g_autofree char *path = g_strconcat(memory->cgroup.dir, "/cgroup.procs", NULL);
    g_autofree char *wanted = g_strdup_printf("%" G_GINT64_FORMAT "\n", memory->pid);
    g_autofree char *text = NULL;

    if (memory->cgroup.is_machine)
        return true;
    return hn_root_read(memory->context->root, path, MAX_PROCS_BYTES, &text, NULL, NULL) &&
           g_str_equal(text, wanted);
}

/* Counters of the machine's group into memory->now; false if there are none to trust. */
static bool read_cgroup(HnMemoryWatch *memory, const HnHost *host)
{
    HnWatchContext *context = memory->context;
    char path[4096];

    if (!memory->has_looked_for_cgroup) {
        memory->has_looked_for_cgroup = true;
        if (hn_cgroup_find(context->root, memory->pid, &memory->cgroup, NULL))
            memory->is_alone = check_alone(memory);
    }
    if (!memory->cgroup.dir || !memory->is_alone)
        return false;
    if (memory->n_stat_nodes != host->n_nodes) {
        hn_numa_stat_clear(&memory->now);
        hn_numa_stat_clear(&memory->then);
        hn_numa_stat_init(&memory->now, host->n_nodes);
        hn_numa_stat_init(&memory->then, host->n_nodes);
        memory->n_stat_nodes = host->n_nodes;
        memory->has_then = false;
    }
    if (g_snprintf(path, sizeof path, "%s/memory.numa_stat", memory->cgroup.dir) >=
        (gint)sizeof path)
        return false;
    return hn_kept_read(&memory->numa_stat, context->budget, context->root, path,
                        MAX_NUMA_STAT_BYTES, context->buffer, NULL) &&
           hn_numa_stat_parse(context->buffer->str, context->buffer->len, memory->cgroup.is_v2,
                              host, &memory->now, NULL);
}

static uint64_t counted_bytes(const HnNumaStat *stat, uint32_t node)
{
    return stat->anon_bytes[node] + stat->shmem_bytes[node];
}

/* Did the counters move since the last probes by enough to probe again? */
static bool is_news(const HnMemoryWatch *memory, uint32_t n_nodes)
{
    uint64_t moved_bytes = 0;

    if (!memory->has_then)
        return false;
    for (uint32_t i = 0; i < n_nodes; i++) {
        uint64_t now_bytes = counted_bytes(&memory->now, i);
        uint64_t then_bytes = counted_bytes(&memory->then, i);

        moved_bytes = MAX(moved_bytes,
                          now_bytes > then_bytes ? now_bytes - then_bytes : then_bytes - now_bytes);
    }
    return moved_bytes > memory->map.total_bytes / CGROUP_NEWS_DIVISOR;
}

static bool probe(HnMemoryWatch *memory, const HnDomainInfo *info, const HnHost *host,
                  const HnObserveOptions *options, bool is_exact, bool has_cgroup, GError **error)
{
    HnProbePlan plan = {
        .n_probes = options->n_probes,
        .is_exact = is_exact,
        .is_all_huge = memory->is_all_huge,
        .seed = options->now_ns ^ ((uint64_t)memory->pid << 32),
    };
    HnResidency fresh;

    if (!hn_residency_probe(memory->context->probe_ops, host, memory->pid, memory->map.regions,
                            memory->map.n_regions, &plan, &fresh, error))
        return false;
    hn_residency_clear(&memory->residency);
    memory->residency = fresh;
    memory->has_probes = true;
    memory->probed_ns = options->now_ns;
    memory->has_then = has_cgroup;
    if (has_cgroup) {
        memcpy(memory->then.anon_bytes, memory->now.anon_bytes, host->n_nodes * sizeof(uint64_t));
        memcpy(memory->then.shmem_bytes, memory->now.shmem_bytes, host->n_nodes * sizeof(uint64_t));
        memory->then.total_bytes = memory->now.total_bytes;
    }
    return true;
}

static bool is_charge_complete(const HnMemoryWatch *memory, uint32_t n_nodes)
{
    uint64_t present_bytes = 0;

    for (uint32_t i = 0; i < memory->map.n_regions; i++)
        if (memory->map.regions[i].backing == HN_BACKING_HUGETLB)
            return false; /* charged to nobody, or to a counter of its own */
    for (uint32_t i = 0; i < n_nodes; i++)
        present_bytes += memory->residency.node_bytes[i];
    return memory->then.total_bytes >= present_bytes / 100 * 98;
}

static void fill_from_probes(const HnMemoryWatch *memory, uint64_t now_ns, uint32_t n_nodes,
                             bool has_cgroup, HnDomain *domain)
{
    bool is_corrected = has_cgroup && memory->has_then && is_charge_complete(memory, n_nodes);

    domain->resident_source = is_corrected ? HN_SOURCE_CGROUP : HN_SOURCE_PROBE;
    domain->resident_age_ns =
        is_corrected || now_ns < memory->probed_ns ? 0 : now_ns - memory->probed_ns;
    domain->resident_error_permille = memory->residency.error_permille;
    for (uint32_t i = 0; i < n_nodes; i++) {
        uint64_t bytes = memory->residency.node_bytes[i];

        if (is_corrected) {
            uint64_t now_bytes = counted_bytes(&memory->now, i);
            uint64_t then_bytes = counted_bytes(&memory->then, i);

            bytes += now_bytes;
            bytes = bytes > then_bytes ? bytes - then_bytes : 0;
        }
        domain->resident_bytes[i] = bytes;
    }
}

/* Where no process can be asked: a captured machine, or a right that is missing. numa_maps only of
 * the first: on a live guest reading it every round would do harm. */
static void fill_from_files(HnMemoryWatch *memory, const HnHost *host, bool has_cgroup,
                            HnDomain *domain)
{
    g_autoptr(GError) error = NULL;

    if (!hn_root_is_live(memory->context->root) &&
        hn_numa_maps_read(memory->context->root, memory->pid, host, memory->map.regions,
                          memory->map.n_regions, &error)) {
        domain->resident_source = HN_SOURCE_NUMA_MAPS;
        for (uint32_t i = 0; i < memory->map.n_regions; i++)
            for (uint32_t node = 0; node < host->n_nodes; node++)
                domain->resident_bytes[node] += memory->map.regions[i].resident_bytes[node];
    } else if (has_cgroup) {
        domain->resident_source = HN_SOURCE_CGROUP;
        domain->resident_error_permille = CGROUP_ALONE_ERROR_PERMILLE;
        for (uint32_t node = 0; node < host->n_nodes; node++)
            domain->resident_bytes[node] = counted_bytes(&memory->now, node);
    } else if (error) {
        tell_problem(domain, error->message);
    }
}

/* Regions go into the snapshot by value: it must stay as it is while the next round changes ours.
 */
static void copy_regions(const HnMemoryWatch *memory, const HnDomainInfo *info, const HnHost *host,
                         HnDomain *domain)
{
    /* Either sign is enough: to try in vain to move pinned memory is worse than to leave some where
     * it is. */
    bool has_vfio = memory->files.has_vfio || (info->host_devices && info->host_devices->len > 0);

    for (uint32_t i = 0; i < memory->map.n_regions; i++) {
        const HnRegion *from = &memory->map.regions[i];
        HnRegion *to = hn_domain_add_region(domain, host->n_nodes);
        uint64_t *resident_bytes = to->resident_bytes;

        *to = *from;
        to->resident_bytes = resident_bytes;
        memcpy(to->resident_bytes, from->resident_bytes, host->n_nodes * sizeof(uint64_t));
        to->chunks =
            from->n_chunks ? g_memdup2(from->chunks, from->n_chunks * sizeof(HnChunk)) : NULL;
        to->movability = hn_region_movability(from, info, has_vfio, host);
        if (to->movability == HN_MOVABLE || to->movability == HN_MOVABLE_SHARED)
            continue;
        for (uint32_t node = 0; node < host->n_nodes; node++)
            domain->immovable_bytes[node] += to->resident_bytes[node];
    }
}

/* khugepaged gathers small pages later, unseen by smaps read earlier; the group's counters tell. */
static void update_huge(HnMemoryWatch *memory)
{
    if (!memory->cgroup.is_v2 || memory->now.total_bytes == 0)
        return;
    for (uint32_t i = 0; i < memory->map.n_regions; i++)
        if (memory->map.regions[i].backing == HN_BACKING_ANON)
            memory->map.regions[i].is_thp = memory->now.huge_bytes > memory->now.total_bytes / 2;
}

void hn_memory_watch_observe(HnMemoryWatch *memory, const HnDomainInfo *info, const HnHost *host,
                             const HnTaskStat *process, const HnObserveOptions *options,
                             bool is_fresh, HnDomain *domain)
{
    g_autoptr(GError) error = NULL;
    bool is_exact = is_fresh && info->configured_bytes <= options->exact_max_bytes;
    bool can_probe = memory->context->probe_ops != NULL;
    bool has_cgroup;
    bool is_due;

    if (!refresh_map(memory, info, host, process, is_exact && can_probe, &error)) {
        tell_problem(domain, error->message);
        return;
    }
    if (memory->map.problem)
        tell_problem(domain, memory->map.problem);
    has_cgroup = read_cgroup(memory, host);
    if (has_cgroup)
        update_huge(memory);
    if (!can_probe) {
        fill_from_files(memory, host, has_cgroup, domain);
        copy_regions(memory, info, host, domain);
        return;
    }
    is_due = !memory->has_probes || is_fresh || (has_cgroup && is_news(memory, host->n_nodes)) ||
             (options->probe_max_age_ns != UINT64_MAX &&
              options->now_ns - memory->probed_ns >= options->probe_max_age_ns);
    /* A device attached meanwhile pins all RAM, whether or not the configuration knew of it. */
    if (is_due)
        read_files(memory);
    if (is_due && !probe(memory, info, host, options, is_exact, has_cgroup, &error))
        tell_problem(domain, error->message);
    if (memory->has_probes)
        fill_from_probes(memory, options->now_ns, host->n_nodes, has_cgroup, domain);
    else
        fill_from_files(memory, host, has_cgroup, domain);
    if (memory->has_probes &&
        memory->residency.unknown_bytes > memory->map.total_bytes / UNKNOWN_DIVISOR) {
        g_autofree char *sentence = g_strdup_printf(
            "the kernel does not say where %" G_GUINT64_FORMAT " MiB of its RAM lie",
            memory->residency.unknown_bytes >> 20);

        tell_problem(domain, sentence);
    }
    copy_regions(memory, info, host, domain);
}
