/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor: see doctor.h. One function per finding, in the order in which an operator would look.
 */
#include "doctor.h"
#include "report/fields.h"

#include <stdarg.h>
#include <string.h>

#define MAX_READ 65536

typedef struct {
    const HnDoctorInput *input;
    json_object *checks;
} Examination;

/* linux/capability.h, stable numbers. */
enum {
    CAP_BIT_DAC_READ_SEARCH = 2,
    CAP_BIT_SYS_PTRACE = 19,
    CAP_BIT_SYS_NICE = 23,
    CAP_BIT_SYS_ADMIN = 21,
    CAP_BIT_PERFMON = 38
};

static void add(Examination *e, const char *check, const char *state, const char *cost,
                const char *remedy, const char *format, ...) G_GNUC_PRINTF(6, 7);

static void add(Examination *e, const char *check, const char *state, const char *cost,
                const char *remedy, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *finding = g_strdup_vprintf(format, args);
    va_end(args);
    json_object *row = json_object_new_object();
    hn_put_string(row, "check", check);
    hn_put_string(row, "state", state);
    hn_put_string(row, "finding", finding);
    hn_put_string(row, "cost", cost);
    hn_put_string(row, "remedy", remedy);
    json_object_array_add(e->checks, row);
}

/* Text without surrounding white space, NULL if it cannot be read. */
static char *text_of(const Examination *e, const char *path)
{
    g_autofree char *text = NULL;
    if (!hn_root_read(e->input->root, path, MAX_READ, &text, NULL, NULL))
        return NULL;
    return g_strdup(g_strstrip(text));
}

/* The number after "NAME:" in a file of such lines, in `base`; false if it is not there. */
static bool field_of(const char *text, const char *name, guint base, uint64_t *ret_value)
{
    const char *line = text ? strstr(text, name) : NULL;
    if (!line)
        return false;
    line += strlen(name);
    while (g_ascii_isspace(*line))
        line++;
    char *end = NULL;
    *ret_value = g_ascii_strtoull(line, &end, base);
    return end != line;
}

static void examine_kernel(Examination *e)
{
    g_autofree char *release = text_of(e, "proc/sys/kernel/osrelease");
    char *end = NULL;
    guint64 major = release ? g_ascii_strtoull(release, &end, 10) : 0;
    guint64 minor = release && *end == '.' ? g_ascii_strtoull(end + 1, NULL, 10) : 0;
    if (!release)
        add(e, "kernel", "warn", "nothing is known of it", "mount /proc",
            "the kernel's version cannot be read");
    else if (major < 6 || (major == 6 && minor < 1))
        add(e, "kernel", "warn", "untested: statistics may be missing", "use kernel 6.1 or later",
            "Linux %s", release);
    else
        add(e, "kernel", "ok", NULL, NULL, "Linux %s", release);
}

static void examine_nodes(Examination *e)
{
    g_autofree char *online = text_of(e, "sys/devices/system/node/online");
    g_autofree char *with_cpu = text_of(e, "sys/devices/system/node/has_cpu");
    g_autofree char *with_memory = text_of(e, "sys/devices/system/node/has_memory");
    if (!online)
        add(e, "numa", "fail", "nothing can be placed", "boot a kernel with CONFIG_NUMA",
            "no NUMA nodes in /sys/devices/system/node");
    else if (!with_cpu || !strpbrk(with_cpu, ",-"))
        add(e, "numa", "note", "nothing to place: homenoded sleeps", NULL,
            "one node with CPUs (online %s, with CPUs %s, with memory %s)", online,
            with_cpu ? with_cpu : "?", with_memory ? with_memory : "?");
    else
        add(e, "numa", "ok", NULL, NULL, "nodes online %s, with CPUs %s, with memory %s", online,
            with_cpu, with_memory ? with_memory : "?");
}

static void examine_balancing(Examination *e)
{
    g_autofree char *value = text_of(e, "proc/sys/kernel/numa_balancing");
    if (!value)
        add(e, "numa-balancing", "note",
            "no hinting faults: which vCPU touches which node is inferred from residency",
            "boot a kernel with CONFIG_NUMA_BALANCING",
            "the kernel has no automatic NUMA balancing");
    else if (strcmp(value, "0") == 0)
        add(e, "numa-balancing", "note",
            "no hinting faults: 'accesses local' is not measured, wide guests are split by vCPU "
            "number",
            "sysctl kernel.numa_balancing=1 (with the guests pinned by homenode it agrees with the "
            "placement)",
            "kernel.numa_balancing is 0");
    else
        add(e, "numa-balancing", "ok", NULL, NULL, "kernel.numa_balancing is %s", value);
}

static void examine_cgroups(Examination *e)
{
    if (hn_root_exists(e->input->root, "sys/fs/cgroup/cgroup.controllers")) {
        g_autofree char *controllers = text_of(e, "sys/fs/cgroup/cgroup.controllers");
        bool has_both =
            controllers && strstr(controllers, "memory") && strstr(controllers, "cpuset");
        if (has_both)
            add(e, "cgroups", "ok", NULL, NULL, "cgroup v2 with %s", controllers);
        else
            add(e, "cgroups", "warn", "no bytes per node from the control group, no nodesets",
                "enable the controllers cpuset and memory", "cgroup v2 with %s",
                controllers ? controllers : "none");
    } else if (hn_root_exists(e->input->root, "sys/fs/cgroup/memory")) {
        add(e, "cgroups", "note", "bytes per node are sampled instead of read",
            "boot with systemd.unified_cgroup_hierarchy=1", "cgroup v1");
    } else {
        add(e, "cgroups", "warn", "no bytes per node from the control group, no nodesets",
            "mount cgroup2", "no control groups below /sys/fs/cgroup");
    }
}

static void examine_capabilities(Examination *e)
{
    static const struct {
        int bit;
        const char *name, *cost, *state;
    } needed[] = {
        {CAP_BIT_SYS_PTRACE, "CAP_SYS_PTRACE", "guest memory can be neither probed nor moved",
         "fail"},
        {CAP_BIT_SYS_NICE, "CAP_SYS_NICE",
         "shared guest memory cannot be moved, vhost threads not pinned", "fail"},
        {CAP_BIT_PERFMON, "CAP_PERFMON", "no page-fault sampling: no touch matrix for wide guests",
         "note"},
    };
    g_autofree char *status = text_of(e, "proc/self/status");
    uint64_t effective = 0;
    if (!hn_root_is_live(e->input->root)) {
        add(e, "capabilities", "note", "nothing is changed", NULL,
            "a captured machine is read (--sysroot)");
        return;
    }
    if (!field_of(status, "CapEff:", 16, &effective)) {
        add(e, "capabilities", "warn", "unknown", "mount /proc",
            "effective capabilities cannot be read");
        return;
    }
    bool is_complete = true;
    for (guint i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (effective >> needed[i].bit & 1)
            continue;
        /* CAP_SYS_ADMIN contains CAP_PERFMON. */
        if (needed[i].bit == CAP_BIT_PERFMON && effective >> CAP_BIT_SYS_ADMIN & 1)
            continue;
        is_complete = false;
        add(e, "capabilities", needed[i].state, needed[i].cost,
            "start homenoded by its service unit, which grants it", "%s is missing",
            needed[i].name);
    }
    if (is_complete)
        add(e, "capabilities", "ok", NULL, NULL, "all needed are in effect");
}

static void examine_connection(Examination *e)
{
    const HnDoctorInput *input = e->input;
    if (input->is_connected)
        add(e, "hypervisor", "ok", NULL, NULL, "connected to %s", input->connect);
    else
        add(e, "hypervisor", "fail", "no domain is seen; what was pinned stays pinned",
            "systemctl start libvirtd (or virtqemud); homenoded connects by itself",
            "no connection to %s", input->connect);
    if (input->last_error)
        add(e, "round", "fail", "nothing is decided", "see the finding",
            "the last round failed: %s", input->last_error);
    if (input->is_dry_run)
        add(e, "dry-run", "note", "nothing is changed", "start without --dry-run",
            "the daemon only advises");
}

static void examine_pressure(Examination *e)
{
    g_autofree char *memory = text_of(e, "proc/pressure/memory");
    if (!memory) {
        add(e, "pressure", "note", "moving does not slow down under memory pressure",
            "boot with psi=1", "no pressure stall information");
        return;
    }
    const char *some = strstr(memory, "some avg10=");
    double avg = some ? g_ascii_strtod(some + strlen("some avg10="), NULL) : 0;
    if (avg >= 5)
        add(e, "pressure", "warn", "moving is slowed down or paused",
            "free memory, or fewer guests", "memory pressure: %.1f %% of the last 10 s", avg);
    else
        add(e, "pressure", "ok", NULL, NULL, "memory pressure: %.1f %% of the last 10 s", avg);
}

static void examine_huge_pages(Examination *e)
{
    g_autofree char *thp = text_of(e, "sys/kernel/mm/transparent_hugepage/enabled");
    if (!thp)
        return;
    if (strstr(thp, "[never]"))
        add(e, "huge-pages", "note",
            "probing and moving take longer, and guests translate addresses slower",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            "transparent huge pages: never");
    else
        add(e, "huge-pages", "ok", NULL, NULL, "transparent huge pages: %s", thp);
}

static void examine_ksm(Examination *e)
{
    g_autofree char *run = text_of(e, "sys/kernel/mm/ksm/run");
    g_autofree char *across = text_of(e, "sys/kernel/mm/ksm/merge_across_nodes");
    if (g_strcmp0(run, "1") == 0 && g_strcmp0(across, "1") == 0)
        add(e, "ksm", "warn",
            "merged pages lie on one node for all guests: some accesses stay remote",
            "echo 2 > /sys/kernel/mm/ksm/run; echo 0 > /sys/kernel/mm/ksm/merge_across_nodes; echo "
            "1 > "
            "/sys/kernel/mm/ksm/run",
            "KSM merges pages across nodes");
    else
        add(e, "ksm", "ok", NULL, NULL, "KSM is %s",
            g_strcmp0(run, "1") == 0 ? "on, within nodes" : "off");
}

/* Other programs that move or pin what homenode moves and pins. */
static void examine_rivals(Examination *e)
{
    static const struct {
        const char *comm, *remedy;
    } rivals[] = {
        {"numad", "systemctl disable --now numad"},
        {"numafast", "systemctl disable --now numafast"},
        {"irqbalance", NULL}, /* interrupts only: harmless, but worth knowing */
        {"tuned", NULL},
        {"momd", "let MoM leave NUMA alone"},
    };
    bool is_clean = true;
    g_auto(GStrv) names = hn_root_list(e->input->root, "proc", NULL);
    for (guint i = 0; names && names[i]; i++) {
        if (!g_ascii_isdigit(names[i][0]))
            continue;
        g_autofree char *path = g_strdup_printf("proc/%s/comm", names[i]);
        g_autofree char *comm = text_of(e, path);
        for (guint r = 0; comm && r < G_N_ELEMENTS(rivals); r++) {
            if (strcmp(comm, rivals[r].comm) != 0 || !rivals[r].remedy)
                continue;
            is_clean = false;
            add(e, "other-balancers", "warn",
                "it moves the same guests by other rules: both undo each other's work",
                rivals[r].remedy, "%s runs (pid %s)", comm, names[i]);
        }
    }
    if (is_clean)
        add(e, "other-balancers", "ok", NULL, NULL, "no other NUMA balancer runs");
}

static void examine_zone_reclaim(Examination *e)
{
    g_autofree char *mode = text_of(e, "proc/sys/vm/zone_reclaim_mode");
    if (mode && strcmp(mode, "0") != 0)
        add(e, "zone-reclaim", "warn",
            "a guest's allocations stall while its full node is reclaimed",
            "sysctl vm.zone_reclaim_mode=0", "vm.zone_reclaim_mode is %s", mode);
}

static void examine_perf(Examination *e)
{
    g_autofree char *paranoid = text_of(e, "proc/sys/kernel/perf_event_paranoid");
    if (!hn_root_exists(e->input->root, "sys/kernel/tracing/events/kvm/kvm_page_fault") &&
        !hn_root_exists(e->input->root, "sys/kernel/debug/tracing/events/kvm/kvm_page_fault"))
        add(e, "page-fault-sampling", "note",
            "no touch matrix: wide guests without cells are split by vCPU number",
            "mount tracefs at /sys/kernel/tracing, load kvm", "no kvm:kvm_page_fault trace event");
    else
        add(e, "page-fault-sampling", "ok", NULL, NULL,
            "kvm:kvm_page_fault is there (perf_event_paranoid %s)", paranoid ? paranoid : "?");
}

json_object *hn_doctor_examine(const HnDoctorInput *input)
{
    Examination e = {.input = input, .checks = json_object_new_array()};
    examine_kernel(&e);
    examine_nodes(&e);
    examine_connection(&e);
    examine_capabilities(&e);
    examine_balancing(&e);
    examine_rivals(&e);
    examine_cgroups(&e);
    examine_pressure(&e);
    examine_huge_pages(&e);
    examine_ksm(&e);
    examine_zone_reclaim(&e);
    examine_perf(&e);
    return e.checks;
}
