/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor's look at control groups and isolation: which CPUs and nodes guests may use at all.
 */
#include "doctor/doctor-private.h"

#include <homenode/cpuset.h>
#include <string.h>

void hn_doctor_cgroups(HnExamination *e)
{
    if (hn_root_exists(e->input->root, "sys/fs/cgroup/cgroup.controllers")) {
        g_autofree char *controllers = hn_doctor_text(e, "sys/fs/cgroup/cgroup.controllers");
        bool has_both =
            controllers && strstr(controllers, "memory") && strstr(controllers, "cpuset");
        if (has_both)
            hn_doctor_add(e, "cgroups", "ok", NULL, NULL, "cgroup v2 with %s", controllers);
        else
            hn_doctor_add(e, "cgroups", "warn",
                          "no bytes per node from the control group, no nodesets",
                          "enable the controllers cpuset and memory", "cgroup v2 with %s",
                          controllers && *controllers ? controllers : "no controllers");
    } else if (hn_root_exists(e->input->root, "sys/fs/cgroup/memory")) {
        hn_doctor_add(e, "cgroups", "note", "bytes per node are sampled instead of read",
                      "boot with systemd.unified_cgroup_hierarchy=1", "cgroup v1");
    } else {
        hn_doctor_add(e, "cgroups", "warn", "no bytes per node from the control group, no nodesets",
                      "mount cgroup2", "no control groups below /sys/fs/cgroup");
    }
}

/* A list of CPUs or nodes in a file; false if there is none. */
static bool read_list(const HnExamination *e, const char *path, HnCpuset *ret_set)
{
    g_autofree char *text = hn_doctor_text(e, path);
    return text && hn_cpuset_parse(text, strlen(text), ret_set, NULL);
}

/* What the group that holds all guests leaves of what is online. */
static void examine_slice(HnExamination *e, const char *kind, const char *online_file,
                          const char *v2_file, const char *v1_file)
{
    HnCpuset online, allowed;
    if (!read_list(e, online_file, &online) ||
        (!read_list(e, v2_file, &allowed) && !read_list(e, v1_file, &allowed)) ||
        hn_cpuset_is_subset(&online, &allowed))
        return;
    g_autofree char *has = hn_cpuset_format(&allowed), *all = hn_cpuset_format(&online);
    hn_doctor_add(e, "cpuset", "warn",
                  "guests can use nothing else: nodes outside are never a home",
                  "systemctl set-property --runtime machine.slice AllowedCPUs= AllowedMemoryNodes=, "
                  "unless it is meant so",
                  "machine.slice is confined to %s %s of %s", kind, has, all);
}

void hn_doctor_isolation(HnExamination *e)
{
    HnCpuset isolated, cpus;
    bool has_isolated = read_list(e, "sys/devices/system/cpu/isolated", &isolated);
    if (has_isolated && !hn_cpuset_is_empty(&isolated)) {
        g_autofree char *list = hn_cpuset_format(&isolated);
        g_autoptr(GString) gone = g_string_new(NULL);
        g_auto(GStrv) names = hn_root_list(e->input->root, "sys/devices/system/node", NULL);
        for (guint i = 0; names && names[i]; i++) {
            g_autofree char *path =
                g_strdup_printf("sys/devices/system/node/%s/cpulist", names[i]);
            if (g_str_has_prefix(names[i], "node") && read_list(e, path, &cpus) &&
                !hn_cpuset_is_empty(&cpus) && hn_cpuset_is_subset(&cpus, &isolated))
                g_string_append_printf(gone, " %s", names[i] + strlen("node"));
        }
        g_autofree char *cost =
            gone->len ? g_strdup_printf("they are never used; no CPU is left of node%s", gone->str)
                      : g_strdup("they are never used: their nodes hold fewer guests");
        hn_doctor_add(e, "isolated-cpus", gone->len ? "warn" : "note", cost,
                      "boot without isolcpus=, unless something else runs there",
                      "CPUs %s are isolated from the scheduler", list);
    }
    examine_slice(e, "CPUs", "sys/devices/system/cpu/online",
                  "sys/fs/cgroup/machine.slice/cpuset.cpus.effective",
                  "sys/fs/cgroup/cpuset/machine.slice/cpuset.cpus");
    examine_slice(e, "nodes", "sys/devices/system/node/has_memory",
                  "sys/fs/cgroup/machine.slice/cpuset.mems.effective",
                  "sys/fs/cgroup/cpuset/machine.slice/cpuset.mems");
}
