/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor's look at memory management: what merges, reclaims, splits or demotes guest memory.
 */
#include "doctor/doctor-private.h"

#include <string.h>

/* The kernel's default of khugepaged's scan_sleep_millisecs. */
#define KHUGEPAGED_DEFAULT_MS 10000

void hn_doctor_huge_pages(HnExamination *e)
{
    g_autofree char *thp = hn_doctor_text(e, "sys/kernel/mm/transparent_hugepage/enabled");
    g_autofree char *defrag = hn_doctor_text(e, "sys/kernel/mm/transparent_hugepage/defrag");
    g_autofree char *sleep_ms = hn_doctor_text(
        e, "sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs");
    if (!thp)
        return;
    if (strstr(thp, "[never]"))
        hn_doctor_add(e, "huge-pages", "note",
                      "probing and moving take longer, and guests translate addresses slower",
                      "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (QEMU asks for "
                      "them itself)",
                      "transparent huge pages: never");
    else if (defrag && strstr(defrag, "[always]"))
        hn_doctor_add(e, "huge-pages", "note",
                      "any process may stall while memory is compacted for it, movers too",
                      "echo madvise > /sys/kernel/mm/transparent_hugepage/defrag",
                      "transparent huge pages: defrag is always");
    else
        hn_doctor_add(e, "huge-pages", "ok", NULL, NULL, "transparent huge pages: %s", thp);
    if (sleep_ms && g_ascii_strtoull(sleep_ms, NULL, 10) < KHUGEPAGED_DEFAULT_MS / 2)
        hn_doctor_add(e, "khugepaged", "note",
                      "khugepaged uses more CPU time than by default; numad leaves it so when it "
                      "has run",
                      "echo 10000 > "
                      "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs",
                      "khugepaged scans every %s ms", sleep_ms);
}

void hn_doctor_ksm(HnExamination *e)
{
    g_autofree char *run = hn_doctor_text(e, "sys/kernel/mm/ksm/run");
    g_autofree char *across = hn_doctor_text(e, "sys/kernel/mm/ksm/merge_across_nodes");
    if (g_strcmp0(run, "1") == 0 && g_strcmp0(across, "0") != 0)
        hn_doctor_add(e, "ksm", "warn",
                      "merged pages lie on one node for all guests: some accesses stay remote",
                      "echo 2 > /sys/kernel/mm/ksm/run; echo 0 > "
                      "/sys/kernel/mm/ksm/merge_across_nodes; echo 1 > /sys/kernel/mm/ksm/run",
                      "KSM merges pages across nodes");
    else
        hn_doctor_add(e, "ksm", "ok", NULL, NULL, "KSM is %s",
                      g_strcmp0(run, "1") == 0 ? "on, within nodes" : "off");
}

void hn_doctor_zone_reclaim(HnExamination *e)
{
    g_autofree char *mode = hn_doctor_text(e, "proc/sys/vm/zone_reclaim_mode");
    if (!mode)
        return;
    if (strcmp(mode, "0") != 0)
        hn_doctor_add(e, "zone-reclaim", "warn",
                      "a guest's allocations stall while its full node is reclaimed",
                      "sysctl vm.zone_reclaim_mode=0", "vm.zone_reclaim_mode is %s", mode);
    else
        hn_doctor_add(e, "zone-reclaim", "ok", NULL, NULL, "vm.zone_reclaim_mode is 0");
}

void hn_doctor_demotion(HnExamination *e)
{
    g_autofree char *enabled = hn_doctor_text(e, "sys/kernel/mm/numa/demotion_enabled");
    if (g_strcmp0(enabled, "true") == 0 || g_strcmp0(enabled, "1") == 0)
        hn_doctor_add(e, "demotion", "note",
                      "under pressure guest memory goes to nodes without CPUs: it counts as remote "
                      "and is brought back",
                      "echo false > /sys/kernel/mm/numa/demotion_enabled",
                      "reclaim demotes to slower nodes");
}
