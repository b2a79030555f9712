/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor's look at the kernel: version, nodes, automatic balancing, pressure, sampling.
 */
#include "doctor/doctor-private.h"
#include "observe/touch-perf.h"

#include <string.h>

/* Percent of the last 10 s that some task waited for memory. */
#define PRESSURE_HIGH 5.0

void hn_doctor_kernel(HnExamination *e)
{
    g_autofree char *release = hn_doctor_text(e, "proc/sys/kernel/osrelease");
    if (!release)
        hn_doctor_add(e, "kernel", "warn", "nothing is known of it", "mount /proc",
                      "the kernel's version cannot be read");
    else if (hn_doctor_kernel_version(e) < 6001)
        hn_doctor_add(e, "kernel", "warn", "untested: statistics may be missing",
                      "use kernel 6.1 or later", "Linux %s", release);
    else
        hn_doctor_add(e, "kernel", "ok", NULL, NULL, "Linux %s", release);
}

void hn_doctor_nodes(HnExamination *e)
{
    g_autofree char *online = hn_doctor_text(e, "sys/devices/system/node/online");
    g_autofree char *with_cpu = hn_doctor_text(e, "sys/devices/system/node/has_cpu");
    g_autofree char *with_memory = hn_doctor_text(e, "sys/devices/system/node/has_memory");
    if (!online)
        hn_doctor_add(e, "numa", "fail", "nothing can be placed", "boot a kernel with CONFIG_NUMA",
                      "no NUMA nodes in /sys/devices/system/node");
    else if (!with_cpu || !strpbrk(with_cpu, ",-"))
        hn_doctor_add(e, "numa", "note", "nothing to place: homenoded sleeps", NULL,
                      "one node with CPUs (online %s, with CPUs %s, with memory %s)", online,
                      with_cpu ? with_cpu : "?", with_memory ? with_memory : "?");
    else
        hn_doctor_add(e, "numa", "ok", NULL, NULL, "nodes online %s, with CPUs %s, with memory %s",
                      online, with_cpu, with_memory ? with_memory : "?");
}

void hn_doctor_balancing(HnExamination *e)
{
    g_autofree char *value = hn_doctor_text(e, "proc/sys/kernel/numa_balancing");
    const char *cost = "no hinting faults: 'accesses local' is not measured, wide guests are split by "
                       "vCPU number";
    if (!value)
        hn_doctor_add(e, "numa-balancing", "note",
                      "no hinting faults: which vCPU touches which node is inferred from residency",
                      "boot a kernel with CONFIG_NUMA_BALANCING",
                      "the kernel has no automatic NUMA balancing");
    else if (e->input->is_hinting_stuck)
        hn_doctor_add(e, "numa-balancing", "note", cost,
                      "sysctl kernel.numa_balancing=1, or evidence.switch-balancing = yes and a "
                      "service unit that grants CAP_SYS_ADMIN",
                      "%s", e->input->hinting);
    else if (e->input->hinting)
        hn_doctor_add(e, "numa-balancing", "ok", NULL, NULL, "%s", e->input->hinting);
    else if (strcmp(value, "0") == 0)
        hn_doctor_add(
            e, "numa-balancing", "note", cost,
            "sysctl kernel.numa_balancing=1 (with the guests pinned by homenode it agrees with the "
            "placement)",
            "kernel.numa_balancing is 0");
    else if (strcmp(value, "2") == 0)
        hn_doctor_add(e, "numa-balancing", "note",
                      "hinting faults come from slow memory only: 'accesses local' is not measured",
                      "sysctl kernel.numa_balancing=1, or 3 for both",
                      "kernel.numa_balancing is 2 (memory tiering)");
    else
        hn_doctor_add(e, "numa-balancing", "ok", NULL, NULL, "kernel.numa_balancing is %s", value);
}

void hn_doctor_pressure(HnExamination *e)
{
    g_autofree char *memory = hn_doctor_text(e, "proc/pressure/memory");
    if (!memory) {
        hn_doctor_add(e, "pressure", "note", "moving does not slow down under memory pressure",
                      "boot with psi=1", "no pressure stall information");
        return;
    }
    const char *some = strstr(memory, "some avg10=");
    double avg = some ? g_ascii_strtod(some + strlen("some avg10="), NULL) : 0;
    if (avg >= PRESSURE_HIGH)
        hn_doctor_add(e, "pressure", "warn", "moving is slowed down or paused",
                      "free memory, or fewer guests", "memory pressure: %.1f %% of the last 10 s",
                      avg);
    else
        hn_doctor_add(e, "pressure", "ok", NULL, NULL, "memory pressure: %.1f %% of the last 10 s",
                      avg);
}

/* Tried, not guessed: tracefs, CAP_PERFMON and kernel.perf_event_paranoid all have a say. */
void hn_doctor_perf(HnExamination *e)
{
    g_autofree char *paranoid = hn_doctor_text(e, "proc/sys/kernel/perf_event_paranoid");
    const char *problem = hn_touch_check(e->input->root, hn_perf_ops_kernel());
    if (problem && strcmp(problem, HN_TOUCH_CAPTURED) != 0)
        hn_doctor_add(e, "page-fault-sampling", "note",
                      "no touch matrix: wide guests without cells are split by vCPU number",
                      hn_touch_impediment_sentence(problem),
                      "page faults of vCPUs cannot be sampled: %s (perf_event_paranoid %s)",
                      problem, paranoid ? paranoid : "?");
    else
        hn_doctor_add(e, "page-fault-sampling", "ok", NULL, NULL,
                      "page faults of vCPUs can be sampled%s (perf_event_paranoid %s)",
                      problem ? ", as far as a captured machine tells" : "",
                      paranoid ? paranoid : "?");
}
