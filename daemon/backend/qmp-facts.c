/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A domain's facts out of its monitor's answers; see qmp-facts.h.
 *
 * query-memdev lists backends in no order (QOM keeps them in a hash table), and does not say whose
 * they are: cells and order come from the command line, addresses from query-memory-devices. A
 * backend that neither mentions was plugged in but is no guest RAM (yet): left out.
 *
 * Must not: read anything.
 */
#include "qmp-facts.h"

#include <string.h>

void hn_qmp_answers_clear(HnQmpAnswers *answers)
{
    g_free(answers->name);
    g_free(answers->uuid);
    g_free(answers->machine);
    g_clear_pointer(&answers->cpus, g_array_unref);
    g_clear_pointer(&answers->memdevs, g_array_unref);
    g_clear_pointer(&answers->memory_devices, g_array_unref);
    *answers = (HnQmpAnswers){0};
}

void hn_qmp_facts_derive_uuid(const char *socket, int64_t pid, uint64_t start_ticks,
                              char ret_uuid[HN_UUID_LEN + 1])
{
    g_autofree char *text = g_strdup_printf("homenode:%s:%" G_GINT64_FORMAT ":%" G_GUINT64_FORMAT,
                                            socket, pid, start_ticks);
    g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    hash[12] = '8';                  /* version */
    hash[16] = "89ab"[hash[16] & 3]; /* variant */
    g_snprintf(ret_uuid, HN_UUID_LEN + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hash, hash + 8, hash + 12,
               hash + 16, hash + 20);
}

static bool is_cell(const HnDomainInfo *info, int32_t id)
{
    for (guint i = 0; i < info->cells->len; i++)
        if ((int32_t)g_array_index(info->cells, HnGuestCell, i).id == id)
            return true;
    return false;
}

static const HnQemuMemdev *find_memdev(const HnQmpAnswers *answers, const char *id)
{
    for (guint i = 0; id && i < answers->memdevs->len; i++) {
        const HnQemuMemdev *memdev = &g_array_index(answers->memdevs, HnQemuMemdev, i);
        if (g_strcmp0(memdev->id, id) == 0)
            return memdev;
    }
    return NULL;
}

static HnMemoryInfo *add_memory(HnDomainInfo *info, const char *id, int32_t cell, uint64_t bytes)
{
    HnMemoryInfo *memory = g_new0(HnMemoryInfo, 1);
    memory->object_id = g_strdup(id);
    memory->guest_cell = is_cell(info, cell) ? cell : -1;
    memory->length_bytes = bytes;
    memory->gpa_base = UINT64_MAX;
    info->configured_bytes += bytes;
    g_ptr_array_add(info->memory, memory);
    return memory;
}

static void add_cells(HnDomainInfo *info, const HnQmpAnswers *answers, const HnQmpCmdline *cmdline)
{
    for (guint i = 0; i < cmdline->cells->len; i++) {
        const HnQmpCell *from = &g_array_index(cmdline->cells, HnQmpCell, i);
        const HnQemuMemdev *memdev = find_memdev(answers, from->memdev);
        HnGuestCell cell = {.id = from->id, .vcpus = from->vcpus};
        cell.memory_bytes = memdev ? memdev->size_bytes : 0;
        g_array_append_val(info->cells, cell);
    }
}

static void add_vcpus(HnDomainInfo *info, const HnQmpAnswers *answers)
{
    for (guint i = 0; i < answers->cpus->len; i++) {
        const HnQemuCpu *cpu = &g_array_index(answers->cpus, HnQemuCpu, i);
        HnVcpuInfo vcpu = {.id = cpu->cpu_index, .guest_cell = -1};
        if (is_cell(info, cpu->node_id))
            vcpu.guest_cell = cpu->node_id;
        for (guint k = 0; k < info->cells->len && cpu->cpu_index < HN_MAX_CPUS; k++) {
            HnGuestCell *cell = &g_array_index(info->cells, HnGuestCell, k);
            if ((int32_t)cell->id == cpu->node_id)
                hn_cpuset_add(&cell->vcpus, cpu->cpu_index);
        }
        g_array_append_val(info->vcpus, vcpu);
    }
}

static bool is_of_device(const HnQmpAnswers *answers, const char *id)
{
    for (guint i = 0; i < answers->memory_devices->len; i++) {
        const HnQemuMemoryDevice *device =
            &g_array_index(answers->memory_devices, HnQemuMemoryDevice, i);
        if (g_strcmp0(device->memdev, id) == 0)
            return true;
    }
    return false;
}

static bool is_created_by_admin(const HnQmpCmdline *cmdline, const char *id)
{
    return g_ptr_array_find_with_equal_func(cmdline->memory_objects, id, g_str_equal, NULL);
}

static void add_boot_memory(HnDomainInfo *info, const HnQmpAnswers *answers,
                            const HnQmpCmdline *cmdline)
{
    for (guint i = 0; i < cmdline->cells->len; i++) {
        const HnQmpCell *cell = &g_array_index(cmdline->cells, HnQmpCell, i);
        const HnQemuMemdev *memdev = find_memdev(answers, cell->memdev);
        if (memdev)
            add_memory(info, memdev->id, (int32_t)cell->id, memdev->size_bytes);
    }
    const HnQemuMemdev *boot = find_memdev(answers, cmdline->boot_memdev);
    for (guint i = 0; info->memory->len == 0 && !boot && i < answers->memdevs->len; i++) {
        /* The machine's own ("pc.ram"): nobody named it. */
        const HnQemuMemdev *memdev = &g_array_index(answers->memdevs, HnQemuMemdev, i);
        if (memdev->id && !is_of_device(answers, memdev->id) &&
            !is_created_by_admin(cmdline, memdev->id))
            boot = memdev;
    }
    if (info->memory->len == 0 && boot)
        add_memory(info, boot->id, -1, boot->size_bytes);
}

static guint creation_rank(const HnQmpCmdline *cmdline, const char *id)
{
    guint index;
    return g_ptr_array_find_with_equal_func(cmdline->memory_objects, id, g_str_equal, &index)
               ? index
               : G_MAXUINT;
}

static int compare_devices(gconstpointer a, gconstpointer b, gpointer cmdline)
{
    const HnQemuMemoryDevice *left = a, *right = b;
    guint left_rank = creation_rank(cmdline, left->memdev);
    guint right_rank = creation_rank(cmdline, right->memdev);
    if (left_rank != right_rank)
        return left_rank < right_rank ? -1 : 1;
    return left->address < right->address ? -1 : left->address > right->address;
}

/* nvdimm and virtio-pmem are files, not RAM that could be moved: left out, as with libvirt. */
static void add_device_memory(HnDomainInfo *info, const HnQmpAnswers *answers,
                              const HnQmpCmdline *cmdline)
{
    /* Shallow: the strings stay the answers'. */
    g_autoptr(GArray) devices = g_array_new(FALSE, FALSE, sizeof(HnQemuMemoryDevice));
    for (guint i = 0; i < answers->memory_devices->len; i++) {
        const HnQemuMemoryDevice *device =
            &g_array_index(answers->memory_devices, HnQemuMemoryDevice, i);
        if (device->memdev &&
            (device->kind == HN_QEMU_MEMORY_DIMM || device->kind == HN_QEMU_MEMORY_VIRTIO_MEM))
            g_array_append_vals(devices, device, 1);
    }
    g_array_sort_with_data(devices, compare_devices, (gpointer)cmdline);
    for (guint i = 0; i < devices->len; i++) {
        const HnQemuMemoryDevice *device = &g_array_index(devices, HnQemuMemoryDevice, i);
        uint64_t length_bytes = MAX(device->max_size_bytes, device->size_bytes);
        HnMemoryInfo *memory = add_memory(info, device->memdev, device->node_id, length_bytes);
        memory->gpa_base = device->address;
        memory->is_virtio_mem = device->kind == HN_QEMU_MEMORY_VIRTIO_MEM;
        info->current_bytes -= length_bytes - device->size_bytes; /* what is not plugged */
    }
}

static void set_state(HnDomainInfo *info, const HnQmpAnswers *answers)
{
    const char *status = answers->status.status;
    info->state = answers->status.is_running        ? HN_STATE_RUNNING
                  : strcmp(status, "shutdown") == 0 ? HN_STATE_SHUTDOWN
                                                    : HN_STATE_PAUSED;
    if (answers->migration.is_active || strcmp(status, "inmigrate") == 0 ||
        strcmp(status, "finish-migrate") == 0)
        info->job = HN_JOB_MIGRATION;
    else if (strcmp(status, "save-vm") == 0 || strcmp(status, "restore-vm") == 0)
        info->job = HN_JOB_OTHER;
}

static char *machine_type(const char *qom_type)
{
    static const char suffix[] = "-machine";
    if (!qom_type || !g_str_has_suffix(qom_type, suffix))
        return g_strdup(qom_type);
    return g_strndup(qom_type, strlen(qom_type) - strlen(suffix));
}

HnDomainInfo *hn_qmp_facts_build(const HnQmpAnswers *answers, const HnQmpCmdline *cmdline,
                                 const char *socket, int64_t pid, uint64_t start_ticks)
{
    HnDomainInfo *info = hn_domain_info_new();
    if (answers->uuid)
        g_strlcpy(info->uuid, answers->uuid, sizeof info->uuid);
    else
        hn_qmp_facts_derive_uuid(socket, pid, start_ticks, info->uuid);
    info->name = answers->name ? g_strdup(answers->name) : g_path_get_basename(socket);
    info->monitor = g_strdup(socket);
    info->is_bare_qemu = true;
    info->is_kvm = answers->is_kvm;
    info->pid = pid;
    info->machine_type = machine_type(answers->machine);
    set_state(info, answers);
    add_cells(info, answers, cmdline);
    add_vcpus(info, answers);
    add_boot_memory(info, answers, cmdline);
    add_device_memory(info, answers, cmdline);
    info->current_bytes +=
        info->configured_bytes; /* so far it held what is not plugged, negative */
    for (guint i = 0; i < answers->memdevs->len; i++)
        info->is_shared_memory |= g_array_index(answers->memdevs, HnQemuMemdev, i).is_shared;
    info->has_launch_security = cmdline->has_launch_security;
    info->has_dirty_ring = cmdline->has_dirty_ring;
    info->has_passthrough = cmdline->has_passthrough;
    for (guint i = 0; i < cmdline->host_devices->len; i++)
        g_ptr_array_add(info->host_devices, g_strdup(g_ptr_array_index(cmdline->host_devices, i)));
    return info;
}
