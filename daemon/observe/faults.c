/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NUMA hinting faults; see faults.h. */
#include "observe/faults.h"
#include "observe/text.h"
#include "observe/host-read.h"

#include <string.h>

void hn_sched_numa_init(HnSchedNuma *numa, uint32_t n_nodes)
{
    *numa = (HnSchedNuma){
        .preferred_node = HN_NODE_NONE,
        .task_private = g_new0(uint64_t, n_nodes),
        .task_shared = g_new0(uint64_t, n_nodes),
        .group_private = g_new0(uint64_t, n_nodes),
        .group_shared = g_new0(uint64_t, n_nodes),
    };
}

void hn_sched_numa_clear(HnSchedNuma *numa)
{
    g_free(numa->task_private);
    g_free(numa->task_shared);
    g_free(numa->group_private);
    g_free(numa->group_shared);
    *numa = (HnSchedNuma){0};
}

/* "node=1 task_private=8199 task_shared=0 group_private=0 group_shared=0" */
static bool parse_node(HnText line, const HnHost *host, HnSchedNuma *numa)
{
    static const char *const names[] = {
        "task_private=", "task_shared=", "group_private=", "group_shared="};
    uint64_t *const values[] = {numa->task_private, numa->task_shared, numa->group_private,
                                numa->group_shared};
    uint32_t id;
    int32_t index;

    if (!hn_text_take(&line, "node=") || !hn_text_u32(&line, &id) || id > INT32_MAX)
        return false;
    index = hn_host_index_of_id(host, (int32_t)id);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        uint64_t pages;

        hn_text_skip_blanks(&line);
        if (!hn_text_take(&line, names[i]) || !hn_text_u64(&line, &pages))
            return false;
        if (index != HN_NODE_NONE)
            values[i][index] = pages;
    }
    return true;
}

/* "key      :     4": the value after the colon */
static bool parse_value(HnText line, int64_t *ret_value)
{
    HnText key;

    if (!hn_text_until(&line, ':', &key))
        return false;
    hn_text_skip_blanks(&line);
    return hn_text_i64(&line, ret_value) && hn_text_is_empty(&line);
}

bool hn_sched_numa_parse(const char *text, size_t len, const HnHost *host, HnSchedNuma *numa,
                         GError **error)
{
    HnText rest = hn_text(text, len);
    HnText line;
    size_t n_bytes = host->n_nodes * sizeof(uint64_t);

    memset(numa->task_private, 0, n_bytes);
    memset(numa->task_shared, 0, n_bytes);
    memset(numa->group_private, 0, n_bytes);
    memset(numa->group_shared, 0, n_bytes);
    numa->is_valid = false;
    numa->preferred_node = HN_NODE_NONE;
    numa->scan_seq = numa->pages_migrated = numa->total_faults = 0;
    numa->group_id = 0;
    while (hn_text_line(&rest, &line)) {
        HnText whole = line;
        int64_t value = 0;
        bool is_good = true;

        if (hn_text_take(&line, "mm->numa_scan_seq")) {
            is_good = parse_value(line, &value) && value >= 0;
            numa->scan_seq = (uint64_t)value;
            numa->is_valid = true;
        } else if (hn_text_take(&line, "numa_pages_migrated")) {
            is_good = parse_value(line, &value) && value >= 0;
            numa->pages_migrated = (uint64_t)value;
        } else if (hn_text_take(&line, "numa_preferred_nid")) {
            is_good = parse_value(line, &value) && value >= -1 && value <= INT32_MAX;
            if (is_good && value >= 0)
                numa->preferred_node = hn_host_index_of_id(host, (int32_t)value);
        } else if (hn_text_take(&line, "total_numa_faults")) {
            is_good = parse_value(line, &value) && value >= 0;
            numa->total_faults = (uint64_t)value;
        } else if (hn_text_take(&line, "current_node=")) {
            HnText before;

            is_good = hn_text_until(&line, '=', &before) && hn_text_i64(&line, &numa->group_id);
        } else if (hn_text_take(&line, "numa_faults ")) {
            is_good = parse_node(line, host, numa);
        }
        if (!is_good)
            return hn_text_fail(error, "sched", "bad value", &whole);
    }
    return true;
}

void hn_hint_faults_from(const HnSchedNuma *numa, uint32_t n_nodes, HnHintFaults *faults)
{
    faults->is_valid = numa->is_valid;
    faults->scan_seq = numa->scan_seq;
    faults->preferred_node = numa->preferred_node;
    memcpy(faults->private_pages, numa->task_private, n_nodes * sizeof(uint64_t));
    memcpy(faults->shared_pages, numa->task_shared, n_nodes * sizeof(uint64_t));
}

bool hn_numa_balancing_read(const HnRoot *root, uint64_t *ret_mode)
{
    g_autofree char *text = NULL;
    size_t len;

    return hn_root_read(root, "proc/sys/kernel/numa_balancing", 64, &text, &len, NULL) &&
           hn_number_parse(text, len, ret_mode, NULL);
}

const char *hn_faults_impediment(const HnFaultConditions *conditions)
{
    if (conditions->n_memory_nodes < 2)
        return "one-node-host";
    if (!conditions->has_balancing || !conditions->has_sched_numa)
        return "no-kernel-support";
    /* First what no switch can mend, so that the answer does not change with the switch. */
    if (conditions->is_hugetlb)
        return "hugetlb";
    if (conditions->numatune_mode == HN_NUMATUNE_STRICT ||
        conditions->numatune_mode == HN_NUMATUNE_PREFERRED ||
        conditions->numatune_mode == HN_NUMATUNE_INTERLEAVE)
        return "bound-policy";
    if (conditions->n_allowed_nodes == 1)
        return "one-node-nodeset";
    /* QEMU's own heap is scanned all the same and gives some faults (13 % of the pages of a 128 MiB
     * guest were seen on 6.12); a guest whose RAM is scanned gives about as many per pass as it
     * touches pages. */
    if (conditions->is_shmem && conditions->scan_seq >= 2 &&
        conditions->total_faults < conditions->resident_bytes / 4096 / 4)
        return "shared-memory";
    if ((conditions->balancing_mode & 1) == 0)
        return "balancing-off";
    if (conditions->scan_seq == 0 && conditions->total_faults == 0)
        return "not-scanned-yet";
    return NULL;
}

bool hn_faults_can_be_switched_on(const char *impediment)
{
    return !impediment || g_str_equal(impediment, "balancing-off") ||
           g_str_equal(impediment, "not-scanned-yet");
}

const char *hn_faults_impediment_sentence(const char *code)
{
    static const struct {
        const char *code, *sentence;
    } sentences[] = {
        {"one-node-host", "the host has one memory node, so there is nothing to tell apart"},
        {"no-kernel-support",
         "the kernel was built without NUMA balancing (CONFIG_NUMA_BALANCING)"},
        {"balancing-off",
         "kernel.numa_balancing is neither 1 nor 3, so the kernel takes no hinting faults"},
        {"hugetlb", "the guest's RAM is in hugetlb pages, which the kernel never scans"},
        {"bound-policy",
         "numatune mode strict, preferred or interleave binds the guest's RAM, which stops the "
         "kernel from scanning it; mode restrictive does not"},
        {"one-node-nodeset", "the guest may use one node only, which newer kernels do not scan"},
        {"shared-memory",
         "the guest's RAM is shared (memfd or file), which kernels before 7.2 do not scan"},
        {"not-scanned-yet", "the kernel has not scanned the guest yet"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sentences); i++)
        if (g_strcmp0(code, sentences[i].code) == 0)
            return sentences[i].sentence;
    return "unknown";
}
