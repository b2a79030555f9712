/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Captured machines for tests; see machine.h. */
#include "machine.h"

#include <string.h>

static void free_memory_info(void *data)
{
    HnMemoryInfo *memory = data;

    g_free(memory->object_id);
    g_free(memory);
}

static void free_info(void *data)
{
    HnDomainInfo *info = data;

    g_free(info->name);
    g_free(info->machine_type);
    g_free(info->placement_xml);
    g_array_unref(info->vcpus);
    g_array_unref(info->iothreads);
    g_array_unref(info->cells);
    g_ptr_array_unref(info->memory);
    g_ptr_array_unref(info->host_devices);
    g_free(info);
}

/* "ram-node0:0:67108864" or, hot-plugged, "memdimm0:1:67108864:4294967296" */
static void add_memory(HnDomainInfo *info, const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, ":", -1);
    HnMemoryInfo *memory = g_new0(HnMemoryInfo, 1);

    memory->object_id = g_strdup(parts[0]);
    memory->guest_cell = (int32_t)g_ascii_strtoll(parts[1], NULL, 10);
    memory->length_bytes = g_ascii_strtoull(parts[2], NULL, 10);
    memory->gpa_base = parts[3] ? g_ascii_strtoull(parts[3], NULL, 10) : UINT64_MAX;
    info->configured_bytes += memory->length_bytes;
    g_ptr_array_add(info->memory, memory);
}

static void parse_set(GKeyFile *file, const char *group, const char *key, bool *ret_has,
                      HnCpuset *ret_set)
{
    g_autofree char *text = g_key_file_get_string(file, group, key, NULL);

    *ret_has = text != NULL;
    if (text)
        g_assert_true(hn_cpuset_parse(text, strlen(text), ret_set, NULL));
}

static HnDomainInfo *load_info(GKeyFile *file, const char *group)
{
    HnDomainInfo *info = g_new0(HnDomainInfo, 1);
    g_autofree char *uuid = g_key_file_get_string(file, group, "uuid", NULL);
    g_auto(GStrv) memory = g_key_file_get_string_list(file, group, "memory", NULL, NULL);
    g_auto(GStrv) vcpus = g_key_file_get_string_list(file, group, "vcpus", NULL, NULL);
    g_auto(GStrv) devices = g_key_file_get_string_list(file, group, "devices", NULL, NULL);
    bool has_pin, has_nodeset;
    HnCpuset pin = {0};

    g_strlcpy(info->uuid, uuid ? uuid : "", sizeof info->uuid);
    info->name = g_strdup(group);
    info->pid = g_key_file_get_int64(file, group, "pid", NULL);
    info->is_kvm = g_key_file_get_boolean(file, group, "kvm", NULL);
    info->is_bare_qemu = g_key_file_get_boolean(file, group, "bare", NULL);
    info->is_shared_memory = g_key_file_get_boolean(file, group, "shared", NULL);
    info->machine_type = g_key_file_get_string(file, group, "machine", NULL);
    info->vcpus = g_array_new(FALSE, TRUE, sizeof(HnVcpuInfo));
    info->iothreads = g_array_new(FALSE, TRUE, sizeof(HnIothreadInfo));
    info->cells = g_array_new(FALSE, TRUE, sizeof(HnGuestCell));
    info->memory = g_ptr_array_new_with_free_func(free_memory_info);
    info->host_devices = g_ptr_array_new_with_free_func(g_free);
    parse_set(file, group, "vcpupin", &has_pin, &pin);
    for (uint32_t i = 0; vcpus && vcpus[i]; i++) {
        HnVcpuInfo vcpu = {.id = i,
                           .guest_cell = (int32_t)g_ascii_strtoll(vcpus[i], NULL, 10),
                           .has_pin = has_pin,
                           .pin = pin};

        g_array_append_val(info->vcpus, vcpu);
    }
    for (uint32_t i = 0; memory && memory[i]; i++)
        add_memory(info, memory[i]);
    for (uint32_t i = 0; devices && devices[i]; i++)
        g_ptr_array_add(info->host_devices, g_strdup(devices[i]));
    parse_set(file, group, "emulatorpin", &info->has_emulator_pin, &info->emulator_pin);
    parse_set(file, group, "nodeset", &has_nodeset, &info->numatune_nodes);
    info->numatune_mode = has_nodeset ? HN_NUMATUNE_RESTRICTIVE : HN_NUMATUNE_NONE;
    info->current_bytes = info->configured_bytes;
    return info;
}

GPtrArray *machine_load_infos(const char *path, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GPtrArray) infos = g_ptr_array_new_with_free_func(free_info);
    g_auto(GStrv) groups = NULL;

    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, error))
        return NULL;
    groups = g_key_file_get_groups(file, NULL);
    for (uint32_t i = 0; groups[i]; i++)
        g_ptr_array_add(infos, load_info(file, groups[i]));
    return g_steal_pointer(&infos);
}

static void add_set(GString *out, const char *what, const HnCpuset *set)
{
    g_autofree char *text = hn_cpuset_format(set);

    g_string_append_printf(out, " %s %s", what, *text ? text : "-");
}

static void add_array(GString *out, const char *what, const uint64_t *values, uint32_t n)
{
    g_string_append_printf(out, " %s", what);
    for (uint32_t i = 0; i < n; i++)
        g_string_append_printf(out, "%c%" G_GUINT64_FORMAT, i == 0 ? ' ' : '/', values[i]);
}

static void format_host(GString *out, const HnHost *host)
{
    g_string_append_printf(out, "host nodes %u page_bytes %" G_GUINT64_FORMAT, host->n_nodes,
                           host->page_bytes);
    add_set(out, "isolated", &host->isolated);
    g_string_append_c(out, '\n');
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        const HnNode *node = &host->nodes[i];

        g_string_append_printf(out, "node %d", node->id);
        add_set(out, "cpus", &node->cpus);
        g_string_append_printf(
            out,
            " cores %u\n  total_bytes %" G_GUINT64_FORMAT " free_bytes %" G_GUINT64_FORMAT
            " reclaimable_bytes %" G_GUINT64_FORMAT " watermark_bytes %" G_GUINT64_FORMAT
            " bandwidth_bytes_per_sec %" G_GUINT64_FORMAT "\n  distances",
            node->n_cores, node->mem_total_bytes, node->mem_free_bytes, node->mem_reclaimable_bytes,
            node->mem_watermark_bytes, node->bandwidth_bytes_per_sec);
        for (uint32_t k = 0; k < host->n_nodes; k++)
            g_string_append_printf(out, " %u", hn_host_distance(host, i, k));
        g_string_append_c(out, '\n');
        for (uint32_t k = 0; k < node->n_huge_pools; k++)
            g_string_append_printf(out,
                                   "  pool page_bytes %" G_GUINT64_FORMAT
                                   " total %" G_GUINT64_FORMAT " free %" G_GUINT64_FORMAT "\n",
                                   node->huge_pools[k].page_bytes, node->huge_pools[k].total_pages,
                                   node->huge_pools[k].free_pages);
    }
}

static void format_threads(GString *out, const HnDomain *domain, uint32_t n_nodes)
{
    static const char *const kinds[] = {"emulator", "iothread", "vhost"};

    for (uint32_t i = 0; i < domain->n_vcpus; i++) {
        const HnVcpu *vcpu = &domain->vcpus[i];

        g_string_append_printf(out,
                               "  vcpu %u tid %d start_ticks %" G_GUINT64_FORMAT
                               " cell %d exec_ns %" G_GUINT64_FORMAT
                               " run_delay_ns %" G_GUINT64_FORMAT " cpu %d",
                               vcpu->id, vcpu->tid, vcpu->start_ticks, vcpu->guest_cell,
                               vcpu->exec_ns, vcpu->run_delay_ns, vcpu->last_cpu);
        add_set(out, "affinity", &vcpu->affinity);
        if (vcpu->is_admin_pinned)
            add_set(out, "admin", &vcpu->admin_cpus);
        g_string_append_c(out, '\n');
        if (!vcpu->faults.is_valid)
            continue;
        g_string_append_printf(out, "    faults scan_seq %" G_GUINT64_FORMAT " preferred %d",
                               vcpu->faults.scan_seq, vcpu->faults.preferred_node);
        add_array(out, "private_pages", vcpu->faults.private_pages, n_nodes);
        add_array(out, "shared_pages", vcpu->faults.shared_pages, n_nodes);
        g_string_append_c(out, '\n');
    }
    for (uint32_t i = 0; i < domain->n_workers; i++) {
        const HnWorker *worker = &domain->workers[i];

        g_string_append_printf(out,
                               "  %s %u tid %d exec_ns %" G_GUINT64_FORMAT
                               " run_delay_ns %" G_GUINT64_FORMAT " cpu %d",
                               kinds[worker->kind], worker->id, worker->tid, worker->exec_ns,
                               worker->run_delay_ns, worker->last_cpu);
        add_set(out, "affinity", &worker->affinity);
        if (worker->is_admin_pinned)
            add_set(out, "admin", &worker->admin_cpus);
        g_string_append_c(out, '\n');
    }
}

static void format_memory(GString *out, const HnDomain *domain, uint32_t n_nodes)
{
    static const char *const sources[] = {"none", "cgroup", "probe", "numa_maps"};
    static const char *const backings[] = {"anon", "memfd", "hugetlb", "file"};
    static const char *const movabilities[] = {"movable", "movable-shared", "immovable-vfio",
                                               "immovable-private", "immovable-hugetlb"};

    g_string_append_printf(out, "  resident source %s error_permille %u",
                           sources[domain->resident_source], domain->resident_error_permille);
    add_array(out, "bytes", domain->resident_bytes, n_nodes);
    add_array(out, "immovable_bytes", domain->immovable_bytes, n_nodes);
    g_string_append_c(out, '\n');
    for (uint32_t i = 0; i < domain->n_regions; i++) {
        const HnRegion *region = &domain->regions[i];

        g_string_append_printf(out,
                               "  region hva %" G_GINT64_MODIFIER "x length %" G_GUINT64_FORMAT
                               " gpa %" G_GINT64_MODIFIER "x",
                               region->hva_start, region->length_bytes, region->gpa_base);
        if (region->gpa_hole_end)
            g_string_append_printf(out, " hole %" G_GINT64_MODIFIER "x-%" G_GINT64_MODIFIER "x",
                                   region->gpa_hole_start, region->gpa_hole_end);
        g_string_append_printf(out, " cell %d page_bytes %" G_GUINT64_FORMAT "%s %s %s%s",
                               region->guest_cell, region->page_bytes, region->is_thp ? " thp" : "",
                               backings[region->backing], movabilities[region->movability],
                               region->is_ambiguous ? " ambiguous" : "");
        add_array(out, "bytes", region->resident_bytes, n_nodes);
        if (region->n_chunks)
            g_string_append_printf(out, " chunks %u of %" G_GUINT64_FORMAT, region->n_chunks,
                                   region->chunk_bytes);
        g_string_append_c(out, '\n');
    }
}

char *machine_format(const HnSnapshot *snapshot, HnObserver *observer)
{
    GString *out = g_string_new(NULL);
    uint32_t n_nodes = snapshot->host->n_nodes;

    format_host(out, snapshot->host);
    for (guint i = 0; i < snapshot->domains->len; i++) {
        const HnDomain *domain = g_ptr_array_index(snapshot->domains, i);
        const char *impediment = hn_observer_no_faults_reason(observer, domain->uuid);

        g_string_append_printf(out,
                               "domain %s uuid %s pid %" G_GINT64_FORMAT
                               " start_ticks %" G_GUINT64_FORMAT
                               " %s configured_bytes %" G_GUINT64_FORMAT "\n",
                               domain->name, domain->uuid, domain->pid, domain->start_ticks,
                               domain->is_kvm ? "kvm" : "tcg", domain->configured_bytes);
        if (domain->unobservable)
            g_string_append_printf(out, "  unobservable: %s\n", domain->unobservable);
        g_string_append_printf(out, "  faults: %s\n",
                               impediment ? impediment : "nothing against them");
        if (domain->is_numatune_admin || domain->is_fenced || domain->device_nodes)
            g_string_append_printf(out,
                                   "  nodeset admin %" G_GINT64_MODIFIER
                                   "x fenced %d devices %" G_GINT64_MODIFIER "x\n",
                                   domain->is_numatune_admin ? domain->admin_nodeset : 0,
                                   domain->is_fenced, domain->device_nodes);
        format_threads(out, domain, n_nodes);
        format_memory(out, domain, n_nodes);
    }
    return g_string_free(out, FALSE);
}
