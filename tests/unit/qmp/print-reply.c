/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One printer per decoder. See print-reply.h.
 */
#include "print-reply.h"

#include <string.h>
#include "qmp/qemu.h"

static void print_status(json_object *value, GString *out, GError **error)
{
    HnQemuStatus status;

    if (hn_qemu_status_decode(value, &status, error))
        g_string_append_printf(out, "%s%s\n", status.status, status.is_running ? " running" : "");
}

static void print_name(json_object *value, GString *out, GError **error)
{
    g_autofree char *name = NULL;

    if (hn_qemu_name_decode(value, &name, error))
        g_string_append_printf(out, "%s\n", name ? name : "none");
}

static void print_uuid(json_object *value, GString *out, GError **error)
{
    g_autofree char *uuid = NULL;

    if (hn_qemu_uuid_decode(value, &uuid, error))
        g_string_append_printf(out, "%s\n", uuid ? uuid : "none");
}

static void print_kvm(json_object *value, GString *out, GError **error)
{
    gboolean is_enabled = FALSE;

    if (hn_qemu_kvm_decode(value, &is_enabled, error))
        g_string_append_printf(out, "%s\n", is_enabled ? "enabled" : "disabled");
}

static void print_cpus(json_object *value, GString *out, GError **error)
{
    g_autoptr(GArray) cpus = NULL;

    if (!hn_qemu_cpus_decode(value, &cpus, error))
        return;
    for (guint i = 0; i < cpus->len; i++) {
        const HnQemuCpu *cpu = &g_array_index(cpus, HnQemuCpu, i);

        g_string_append_printf(out, "cpu %u thread %d node %d %s\n", cpu->cpu_index, cpu->thread_id,
                               cpu->node_id, cpu->qom_path);
    }
}

static void print_hotpluggable(json_object *value, GString *out, GError **error)
{
    g_autoptr(GArray) cpus = NULL;

    if (!hn_qemu_hotpluggable_cpus_decode(value, &cpus, error))
        return;
    for (guint i = 0; i < cpus->len; i++) {
        const HnQemuHotpluggableCpu *cpu = &g_array_index(cpus, HnQemuHotpluggableCpu, i);

        g_string_append_printf(out, "%u x %s node %d socket %d die %d core %d thread %d %s\n",
                               cpu->vcpus_count, cpu->type, cpu->node_id, cpu->socket_id,
                               cpu->die_id, cpu->core_id, cpu->thread_id,
                               cpu->qom_path ? cpu->qom_path : "unplugged");
    }
}

static void print_memdevs(json_object *value, GString *out, GError **error)
{
    g_autoptr(GArray) memdevs = NULL;

    if (!hn_qemu_memdevs_decode(value, &memdevs, error))
        return;
    for (guint i = 0; i < memdevs->len; i++) {
        const HnQemuMemdev *memdev = &g_array_index(memdevs, HnQemuMemdev, i);

        g_string_append_printf(out, "%s %" G_GUINT64_FORMAT " bytes%s%s policy %s nodes",
                               memdev->id ? memdev->id : "none", memdev->size_bytes,
                               memdev->is_shared ? " shared" : "",
                               memdev->is_prealloc ? " prealloc" : "", memdev->policy);
        for (guint k = 0; k < memdev->host_nodes->len; k++)
            g_string_append_printf(out, " %u", g_array_index(memdev->host_nodes, guint, k));
        g_string_append_c(out, '\n');
    }
}

static void print_memory_devices(json_object *value, GString *out, GError **error)
{
    static const char *const kinds[] = {"dimm", "nvdimm", "virtio-pmem", "virtio-mem", "other"};
    g_autoptr(GArray) devices = NULL;

    if (!hn_qemu_memory_devices_decode(value, &devices, error))
        return;
    for (guint i = 0; i < devices->len; i++) {
        const HnQemuMemoryDevice *device = &g_array_index(devices, HnQemuMemoryDevice, i);

        g_string_append_printf(out,
                               "%s %s of %s at %#" G_GINT64_MODIFIER "x node %d: "
                               "%" G_GUINT64_FORMAT " bytes, requested %" G_GUINT64_FORMAT
                               ", at most %" G_GUINT64_FORMAT "\n",
                               kinds[device->kind], device->id, device->memdev, device->address,
                               device->node_id, device->size_bytes, device->requested_size_bytes,
                               device->max_size_bytes);
    }
}

static void print_dirty_rate(json_object *value, GString *out, GError **error)
{
    static const char *const statuses[] = {"unstarted", "measuring", "measured"};
    static const char *const modes[] = {"page-sampling", "dirty-bitmap", "dirty-ring"};
    HnQemuDirtyRate rate;

    if (!hn_qemu_dirty_rate_decode(value, &rate, error))
        return;
    g_string_append_printf(out, "%s %s over %" G_GUINT64_FORMAT " ms", statuses[rate.status],
                           modes[rate.mode], rate.calc_time_ms);
    if (rate.has_rate)
        g_string_append_printf(out, ": %" G_GUINT64_FORMAT " MiB/s", rate.rate_mib_per_s);
    g_string_append_printf(out, ", %u vcpus\n", rate.vcpus->len);
    hn_qemu_dirty_rate_clear(&rate);
}

static void print_migration(json_object *value, GString *out, GError **error)
{
    HnQemuMigration migration;

    if (hn_qemu_migration_decode(value, &migration, error))
        g_string_append_printf(out,
                               "%s%s: %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " bytes left\n",
                               migration.status, migration.is_active ? " (active)" : "",
                               migration.ram_remaining_bytes, migration.ram_total_bytes);
}

static void print_stats(json_object *value, GString *out, GError **error)
{
    g_autoptr(GArray) all = NULL;

    if (!hn_qemu_stats_decode(value, &all, error))
        return;
    for (guint i = 0; i < all->len; i++) {
        const HnQemuStats *stats = &g_array_index(all, HnQemuStats, i);

        g_string_append_printf(out, "%s %s:", stats->provider,
                               stats->qom_path ? stats->qom_path : "vm");
        for (guint k = 0; k < stats->stats->len; k++) {
            const HnQemuStat *stat = &g_array_index(stats->stats, HnQemuStat, k);

            g_string_append_printf(out, " %s=%" G_GUINT64_FORMAT, stat->name, stat->value);
        }
        g_string_append_c(out, '\n');
    }
}

static void print_human(json_object *value, GString *out, GError **error)
{
    g_autoptr(GArray) blocks = NULL;
    HnQemuGpa2Hva answer;

    if (strstr(json_object_get_string(value), "Block Name")) {
        if (!hn_qemu_ramblocks_decode(value, &blocks, error))
            return;
        for (guint i = 0; i < blocks->len; i++) {
            const HnQemuRamBlock *block = &g_array_index(blocks, HnQemuRamBlock, i);

            g_string_append_printf(out,
                                   "%s pages %" G_GUINT64_FORMAT " at %#" G_GINT64_MODIFIER
                                   "x used %#" G_GINT64_MODIFIER "x of %#" G_GINT64_MODIFIER
                                   "x host %#" G_GINT64_MODIFIER "x\n",
                                   block->name, block->page_size_bytes, block->offset,
                                   block->used_bytes, block->total_bytes, block->host_address);
        }
    } else if (hn_qemu_gpa2hva_decode(value, &answer, error)) {
        g_string_append_printf(out, "%s at %#" G_GINT64_MODIFIER "x\n",
                               answer.is_ram ? answer.block : "no RAM", answer.host_address);
        hn_qemu_gpa2hva_clear(&answer);
    }
}

static const struct {
    const char *command;
    void (*print)(json_object *value, GString *out, GError **error);
} decoders[] = {
    {HN_QEMU_QUERY_STATUS, print_status},
    {HN_QEMU_QUERY_NAME, print_name},
    {HN_QEMU_QUERY_UUID, print_uuid},
    {HN_QEMU_QUERY_KVM, print_kvm},
    {HN_QEMU_QUERY_CPUS_FAST, print_cpus},
    {HN_QEMU_QUERY_HOTPLUGGABLE_CPUS, print_hotpluggable},
    {HN_QEMU_QUERY_MEMDEV, print_memdevs},
    {HN_QEMU_QUERY_MEMORY_DEVICES, print_memory_devices},
    {HN_QEMU_QUERY_DIRTY_RATE, print_dirty_rate},
    {HN_QEMU_QUERY_MIGRATE, print_migration},
    {HN_QEMU_QUERY_STATS, print_stats},
    {HN_QEMU_HUMAN_MONITOR_COMMAND, print_human},
};

void print_reply(json_object *sent, json_object *reply, GString *out)
{
    const char *command = json_object_get_string(json_object_object_get(sent, "execute"));
    json_object *value = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(decoders); i++) {
        g_autoptr(GError) error = NULL;

        if (!g_str_equal(decoders[i].command, command))
            continue;
        g_string_append_printf(out, "# %s\n", command);
        if (json_object_object_get_ex(reply, "return", &value)) {
            decoders[i].print(value, out, &error);
            if (error)
                g_string_append_printf(out, "error: %s\n", error->message);
        }
    }
}
