/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doctor on machines made for it: each finding appears when what it names is there, and only then.
 */
#include "doctor/doctor-private.h"
#include "scratch.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

/* A healthy host; cases add to it or put something else in its place. */
static const char *const healthy[] = {
    "proc/sys/kernel/osrelease", "6.12.107-amd64\n",
    "proc/sys/kernel/numa_balancing", "1\n",
    "proc/sys/kernel/perf_event_paranoid", "3\n",
    "proc/sys/vm/zone_reclaim_mode", "0\n",
    "proc/pressure/memory", "some avg10=0.12 avg60=0.00 avg300=0.00 total=1\n",
    "proc/1/comm", "systemd\n",
    "sys/devices/system/node/online", "0-1\n",
    "sys/devices/system/node/has_cpu", "0-1\n",
    "sys/devices/system/node/has_memory", "0-1\n",
    "sys/devices/system/node/node0/cpulist", "0-3\n",
    "sys/devices/system/node/node1/cpulist", "4-7\n",
    "sys/devices/system/cpu/online", "0-7\n",
    "sys/devices/system/cpu/isolated", "\n",
    "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n",
    "sys/fs/cgroup/machine.slice/cpuset.cpus.effective", "0-7\n",
    "sys/fs/cgroup/machine.slice/cpuset.mems.effective", "0-1\n",
    "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n",
    "sys/kernel/mm/transparent_hugepage/defrag", "always defer [madvise] never\n",
    "sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "10000\n",
    "sys/kernel/mm/ksm/run", "0\n",
    "sys/kernel/mm/ksm/merge_across_nodes", "1\n",
    "sys/kernel/mm/numa/demotion_enabled", "false\n",
    "sys/kernel/tracing/events/kvm/kvm_page_fault/format",
    "name: kvm_page_fault\nID: 1502\nformat:\n"
    "\tfield:u64 fault_address;\toffset:24;\tsize:8;\tsigned:0;\n"
    "\tfield:u64 error_code;\toffset:32;\tsize:8;\tsigned:0;\n",
    NULL,
};

static char *machine_new(void)
{
    char *dir = g_dir_make_tmp("hn-doctor-XXXXXX", NULL);
    for (guint i = 0; healthy[i]; i += 2)
        scratch_put(dir, healthy[i], healthy[i + 1]);
    return dir;
}

static const char *member(json_object *row, const char *key)
{
    json_object *value = NULL;
    g_assert_true(json_object_object_get_ex(row, key, &value));
    return value ? json_object_get_string(value) : NULL;
}

/* The first finding of that check in that state, NULL if there is none. */
static json_object *find(json_object *checks, const char *check, const char *state)
{
    for (size_t i = 0; i < json_object_array_length(checks); i++) {
        json_object *row = json_object_array_get_idx(checks, i);
        if (strcmp(member(row, "check"), check) == 0 && strcmp(member(row, "state"), state) == 0)
            return row;
    }
    return NULL;
}

static json_object *examine(const char *dir, const HnDoctorInput *base)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(HnRoot) root = hn_root_open(dir, &error);
    HnDoctorInput input = *base;
    g_assert_no_error(error);
    input.root = root;
    json_object *checks = hn_doctor_examine(&input);
    /* What holds of every finding. */
    for (size_t i = 0; i < json_object_array_length(checks); i++) {
        json_object *row = json_object_array_get_idx(checks, i);
        const char *state = member(row, "state");
        g_assert_nonnull(member(row, "finding"));
        if (strcmp(state, "ok") != 0)
            g_assert_nonnull(member(row, "cost"));
        if (strcmp(state, "warn") == 0 || strcmp(state, "fail") == 0)
            g_assert_nonnull(member(row, "remedy"));
    }
    return checks;
}

static const HnDoctorInput connected = {
    .is_connected = true, .connect = "qemu:///system", .libvirt_version = 11003000};

static void test_healthy(void)
{
    g_autofree char *dir = machine_new();
    json_object *checks = examine(dir, &connected);
    for (size_t i = 0; i < json_object_array_length(checks); i++) {
        json_object *row = json_object_array_get_idx(checks, i);
        if (strcmp(member(row, "check"), "capabilities") == 0)
            continue; /* a captured machine has none */
        g_test_message("%s: %s", member(row, "check"), member(row, "finding"));
        g_assert_cmpstr(member(row, "state"), ==, "ok");
    }
    json_object_put(checks);
    scratch_remove(dir);
}

static void test_findings(void)
{
    static const struct {
        const char *path, *text; /* text NULL: the file is not there */
        const char *check, *state, *finding;
    } cases[] = {
        {"proc/sys/kernel/osrelease", "5.10.0-8\n", "kernel", "warn", "Linux 5.10.0-8"},
        {"proc/sys/kernel/osrelease", NULL, "kernel", "warn", "cannot be read"},
        {"sys/devices/system/node/online", NULL, "numa", "fail", "no NUMA nodes"},
        {"sys/devices/system/node/has_cpu", "0\n", "numa", "note", "one node with CPUs"},
        {"proc/sys/kernel/numa_balancing", "0\n", "numa-balancing", "note", "is 0"},
        {"proc/sys/kernel/numa_balancing", "2\n", "numa-balancing", "note", "tiering"},
        {"proc/sys/kernel/numa_balancing", NULL, "numa-balancing", "note", "no automatic"},
        {"proc/pressure/memory", "some avg10=12.50 avg60=0\n", "pressure", "warn", "12.5 %"},
        {"proc/pressure/memory", NULL, "pressure", "note", "no pressure stall"},
        {"sys/kernel/tracing/events/kvm/kvm_page_fault/format", NULL, "page-fault-sampling",
         "note", "no-trace-event (perf_event_paranoid 3)"},
        {"sys/kernel/tracing/events/kvm/kvm_page_fault/format", "ID: 7\n", "page-fault-sampling",
         "note", "no-trace-event"},
        {"sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n", "huge-pages",
         "note", "never"},
        {"sys/kernel/mm/transparent_hugepage/defrag", "[always] defer madvise never\n",
         "huge-pages", "note", "defrag is always"},
        {"sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "1000\n",
         "khugepaged", "note", "every 1000 ms"},
        {"sys/kernel/mm/ksm/run", "1\n", "ksm", "warn", "across nodes"},
        {"proc/sys/vm/zone_reclaim_mode", "1\n", "zone-reclaim", "warn", "mode is 1"},
        {"sys/kernel/mm/numa/demotion_enabled", "true\n", "demotion", "note", "demotes"},
        {"sys/fs/cgroup/cgroup.controllers", "cpu io pids\n", "cgroups", "warn", "cpu io pids"},
        {"sys/fs/cgroup/cgroup.controllers", "", "cgroups", "warn", "no controllers"},
        {"sys/fs/cgroup/cgroup.controllers", NULL, "cgroups", "warn", "no control groups"},
        {"sys/devices/system/cpu/isolated", "1,5\n", "isolated-cpus", "note", "CPUs 1,5 are"},
        {"sys/devices/system/cpu/isolated", "4-7\n", "isolated-cpus", "warn", "CPUs 4-7 are"},
        {"sys/fs/cgroup/machine.slice/cpuset.cpus.effective", "0-3\n", "cpuset", "warn",
         "confined to CPUs 0-3 of 0-7"},
        {"sys/fs/cgroup/machine.slice/cpuset.mems.effective", "1\n", "cpuset", "warn",
         "confined to nodes 1 of 0-1"},
        {"proc/4711/comm", "numad\n", "other-balancers", "warn", "numad runs (pid 4711)"},
        {"proc/4711/comm", "numafast\n", "other-balancers", "warn", "numafast runs"},
        {"proc/4711/comm", "oeaware\n", "other-balancers", "warn", "oeaware runs"},
        {"proc/4711/comm", "vcmmd\n", "other-balancers", "warn", "vcmmd runs"},
        {"proc/4711/comm", "memtierd\n", "other-balancers", "warn", "memtierd runs"},
        {"proc/4711/comm", "momd\n", "other-balancers", "warn", "momd runs"},
        {"sys/kernel/sched_ext/state", "enabled\n", "other-balancers", "note", "sched_ext"},
        {"sys/kernel/mm/damon/admin/kdamonds/0/contexts/0/schemes/1/action", "migrate_hot\n",
         "other-balancers", "warn", "kdamond 0, scheme 1 is migrate_hot"},
        {"etc/tuned/active_profile", "sap-hana-kvm-guest\n", "tuned", "note",
         "'sap-hana-kvm-guest' turns kernel.numa_balancing off (it is 1 now)"},
        {"etc/tuned/active_profile", "virtual-host\n", "tuned", "ok", "'virtual-host'"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *dir = machine_new();
        g_autofree char *full = g_build_filename(dir, cases[i].path, NULL);
        g_test_message("%s: %s", cases[i].path, cases[i].text ? cases[i].text : "(gone)");
        if (cases[i].text)
            scratch_put(dir, cases[i].path, cases[i].text);
        else
            g_assert_cmpint(g_unlink(full), ==, 0);
        json_object *checks = examine(dir, &connected);
        json_object *row = find(checks, cases[i].check, cases[i].state);
        g_assert_nonnull(row);
        g_test_message("  %s | %s | %s", member(row, "finding"), member(row, "cost"),
                       member(row, "remedy"));
        g_assert_nonnull(strstr(member(row, "finding"), cases[i].finding));
        /* Nothing else is found wrong. */
        for (size_t c = 0; c < json_object_array_length(checks); c++) {
            json_object *other = json_object_array_get_idx(checks, c);
            bool is_expected = other == row || strcmp(member(other, "check"), "capabilities") == 0 ||
                               strcmp(member(other, "state"), "ok") == 0;
            if (!is_expected)
                g_error("%s: %s", member(other, "check"), member(other, "finding"));
        }
        json_object_put(checks);
        scratch_remove(dir);
    }
}

/* Layouts that take more than one file. */
static void test_old_layouts(void)
{
    g_autofree char *dir = machine_new();
    g_autofree char *v2 = g_build_filename(dir, "sys/fs/cgroup", NULL);
    g_autofree char *tracing = g_build_filename(dir, "sys/kernel/tracing", NULL);
    scratch_remove(v2);
    scratch_remove(tracing);
    scratch_put(dir, "sys/fs/cgroup/memory/cgroup.procs", "");
    scratch_put(dir, "sys/fs/cgroup/cpuset/machine.slice/cpuset.cpus", "0-7\n");
    scratch_put(dir, "sys/fs/cgroup/cpuset/machine.slice/cpuset.mems", "0\n");
    json_object *checks = examine(dir, &connected);
    g_assert_nonnull(find(checks, "page-fault-sampling", "note"));
    g_assert_cmpstr(member(find(checks, "cgroups", "note"), "finding"), ==, "cgroup v1");
    g_assert_nonnull(strstr(member(find(checks, "cpuset", "warn"), "finding"), "nodes 0 of 0-1"));
    json_object_put(checks);
    scratch_remove(dir);

    dir = (g_free(dir), machine_new());
    scratch_put(dir, "sys/kernel/mm/ksm/run", "1\n");
    scratch_put(dir, "sys/kernel/mm/ksm/merge_across_nodes", "0\n");
    checks = examine(dir, &connected);
    g_assert_nonnull(strstr(member(find(checks, "ksm", "ok"), "finding"), "within nodes"));
    json_object_put(checks);
    scratch_remove(dir);
}

static void test_connection(void)
{
    g_autofree char *dir = machine_new();
    static const struct {
        HnDoctorInput input;
        const char *check, *state, *finding;
    } cases[] = {
        {{.connect = "qemu:///system"}, "hypervisor", "fail", "no connection to qemu:///system"},
        {{.is_connected = true, .connect = "x", .libvirt_version = 12008001}, "libvirt", "ok",
         "libvirt 12.8.1"},
        {{.is_connected = true, .connect = "x", .libvirt_version = 8010000}, "libvirt", "note",
         "libvirt 8.10.0"},
        {{.is_connected = true, .connect = "x", .libvirt_version = 7000000}, "libvirt", "fail",
         "libvirt 7.0.0"},
        {{.is_connected = true, .connect = "x", .last_error = "no such host"}, "round", "fail",
         "no such host"},
        {{.is_connected = true, .connect = "x", .is_dry_run = true}, "dry-run", "note", "advises"},
        {{.is_connected = true, .connect = "x"}, "damon", "ok", "not used"},
        {{.is_connected = true, .connect = "x", .is_damon_wanted = true, .is_damon_on = true}, "damon", "ok",
         "watches a guest"},
        {{.is_connected = true, .connect = "x", .is_damon_wanted = true, .damon_impediment = "damon-exclusive"}, "damon",
         "note", "(damon-exclusive)"},
        {{.is_connected = true, .connect = "x"}, "soft-dirty", "ok", "is 'no'"},
        {{.is_connected = true, .connect = "x", .is_soft_dirty_wanted = true}, "soft-dirty", "ok", "captured"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        json_object *checks = examine(dir, &cases[i].input);
        json_object *row = find(checks, cases[i].check, cases[i].state);
        g_assert_nonnull(row);
        g_assert_nonnull(strstr(member(row, "finding"), cases[i].finding));
        json_object_put(checks);
    }
    scratch_remove(dir);
}

static void test_capabilities(void)
{
    static const struct {
        uint64_t effective;
        const char *state, *finding;
    } cases[] = {
        {UINT64_MAX, "ok", "all needed"},
        {1u << 19 | 1u << 23 | 1u << 21, "ok", "all needed"}, /* SYS_ADMIN contains PERFMON */
        {1u << 19 | 1u << 23, "note", "CAP_PERFMON is missing"},
        {1u << 23, "fail", "CAP_SYS_PTRACE is missing"},
        {1u << 19, "fail", "CAP_SYS_NICE is missing"},
        {0, "fail", "CAP_SYS_PTRACE is missing"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnExamination e = {.input = &connected, .checks = json_object_new_array()};
        hn_doctor_judge_capabilities(&e, cases[i].effective);
        json_object *row = find(e.checks, "capabilities", cases[i].state);
        g_assert_nonnull(row);
        g_assert_nonnull(strstr(member(row, "finding"), cases[i].finding));
        json_object_put(e.checks);
    }
}

/* ---- guests ---- */

#define START                                                                                      \
    "2026-11-21 14:27:01.123+0000: starting up libvirt version: 11.3.0, package: 3+deb13u4 "       \
    "(Debian), qemu version: %sDebian 1:%s+ds-1, kernel: 6.12.107-amd64, hostname: h1\n"           \
    "LC_ALL=C \\\nPATH=/usr/sbin \\\n/usr/bin/qemu-system-x86_64 \\\n-name guest=g1\n"

static void put_log(const char *dir, const char *name, const char *version)
{
    g_autofree char *path = g_strdup_printf("var/log/libvirt/qemu/%s.log", name);
    g_autofree char *text = g_strdup_printf(START, version, version);
    scratch_put(dir, path, text);
}

static void test_guests(void)
{
    g_autofree char *dir = machine_new();
    HnDoctorGuest guests[] = {
        {.name = "g1", .pid = 301, .is_kvm = true},
        {.name = "g2", .pid = 302, .is_kvm = true},
        {.name = "old", .pid = 303, .is_kvm = false},
        {.name = "bare", .pid = 304, .is_kvm = true, .is_bare_qemu = true},
        {.name = "../../../etc/passwd", .is_kvm = true, .unobservable = "its process is not known"},
    };
    HnDoctorInput input = connected;
    input.guests = guests;
    input.n_guests = G_N_ELEMENTS(guests);
    put_log(dir, "g1", "10.0.13");
    put_log(dir, "g2", "10.0.13");
    put_log(dir, "old", "7.2.22");
    put_log(dir, "bare", "9.9.9"); /* not its: libvirt does not run it */
    scratch_put(dir, "proc/301/cmdline", "qemu");
    scratch_put(dir, "proc/302/cmdline", "qemu");
    static const char ring[] = "qemu\0-accel\0kvm,dirty-ring-size=4096\0-m\0" "64";
    g_autofree char *cmdline = g_build_filename(dir, "proc/302/cmdline", NULL);
    g_assert_true(g_file_set_contents(cmdline, ring, sizeof ring, NULL));
    g_autofree char *exe = g_build_filename(dir, "proc/301/exe", NULL);
    g_assert_cmpint(symlink("/usr/bin/qemu-system-x86_64 (deleted)", exe), ==, 0);

    json_object *checks = examine(dir, &input);
    g_assert_cmpstr(member(find(checks, "qemu", "ok"), "finding"), ==,
                    "QEMU 10.0.13 (g1, g2); 7.2.22 (old); of unknown version (bare, "
                    "../../../etc/passwd)");
    g_assert_cmpstr(member(find(checks, "qemu-replaced", "note"), "finding"), ==,
                    "run a QEMU that has been replaced on disk: g1");
    g_assert_nonnull(strstr(member(find(checks, "qemu-tcg", "note"), "finding"), "10.0: old"));
    g_assert_nonnull(strstr(member(find(checks, "guest", "warn"), "finding"), "is not known"));
    g_assert_null(find(checks, "dirty-ring", "warn")); /* 6.12 resets whole rings */
    json_object_put(checks);

    scratch_put(dir, "proc/sys/kernel/osrelease", "7.2.13+deb14-amd64\n");
    put_log(dir, "old", "6.2.0");
    checks = examine(dir, &input);
    g_assert_nonnull(strstr(member(find(checks, "dirty-ring", "warn"), "finding"), "later: g2"));
    g_assert_nonnull(strstr(member(find(checks, "qemu", "note"), "finding"), "7.2: old"));
    json_object_put(checks);
    scratch_remove(dir);
}

static void test_log(void)
{
    static const struct {
        const char *text;
        bool is_start;
        const char *libvirt, *qemu;
    } cases[] = {
        {"", false, NULL, NULL},
        {"2026: shutting down, reason=destroyed\n", false, NULL, NULL},
        {"x: starting up libvirt version: 9.0.0, package: 4, qemu version: 7.2.22Debian 1:7.2, "
         "kernel: 6.1\n",
         true, "9.0.0", "7.2.22"},
        /* The last start counts. */
        {"x: starting up libvirt version: 9.0.0, qemu version: 7.2.22Debian\n"
         "y: shutting down\n"
         "z: starting up libvirt version: 11.3.0, qemu version: 10.0.13\n",
         true, "11.3.0", "10.0.13"},
        {"x: starting up libvirt version: 9.0.0, package: 4\n, qemu version: 1.2.3\n", true, "9.0.0",
         NULL},
        {"x: starting up libvirt version: ", true, "", NULL},
        {"x: starting up libvirt version: 9, qemu version: next\n", true, "9", ""},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *libvirt = NULL, *qemu = NULL;
        g_assert_cmpint(hn_doctor_log_parse(cases[i].text, &libvirt, &qemu), ==, cases[i].is_start);
        g_assert_cmpstr(libvirt, ==, cases[i].libvirt);
        g_assert_cmpstr(qemu, ==, cases[i].qemu);
    }
    static const struct {
        const char *text;
        uint64_t version;
    } versions[] = {
        {"10.0.13Debian", 10000013}, {"7.2", 7002000},       {"6.12.107-amd64", 6012107},
        {"7.3.0-rc1", 7003000},      {"11", 11000000},       {"next", 0},
        {"", 0},                     {"1.99999.3", 1999003}, {"6.-1", 6000000},
    };
    for (guint i = 0; i < G_N_ELEMENTS(versions); i++)
        g_assert_cmpuint(hn_doctor_version_parse(versions[i].text), ==, versions[i].version);
    g_assert_cmpuint(hn_doctor_version_parse(NULL), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/doctor/healthy", test_healthy);
    g_test_add_func("/doctor/findings", test_findings);
    g_test_add_func("/doctor/old-layouts", test_old_layouts);
    g_test_add_func("/doctor/connection", test_connection);
    g_test_add_func("/doctor/capabilities", test_capabilities);
    g_test_add_func("/doctor/guests", test_guests);
    g_test_add_func("/doctor/log", test_log);
    return g_test_run();
}
