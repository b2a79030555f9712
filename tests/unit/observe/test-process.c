/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Process and thread files: real lines, and lines made to mislead. */
#include "observe/process.h"

#include <string.h>

#define STAT_TAIL                                                                                  \
    " S 1 752 749 0 -1 4194560 2309 0 0 0 291 0 5 0 20 0 6 0 252388 1125142528 9911 "              \
    "18446744073709551615 1 1 0 0 0 "                                                              \
    "0 268444224 4096 16963 0 0 0 -1 3 0 0 0 0 0 0 0 0 0 0 0 0 0\n"

static void test_stat(void)
{
    static const struct {
        const char *text;
        bool is_good;
    } cases[] = {
        {"752 (CPU 0/KVM)" STAT_TAIL, true},
        {"752 (evil) R 1 2)" STAT_TAIL, true}, /* a name made to look like fields */
        {"752 ()))" STAT_TAIL, true},
        {"", false},
        {"752 CPU 0/KVM S 1 2 3", false},
        {"752 (CPU 0/KVM) S 1 2 3", false},
        {"752 (a) S 1 752 749 0 -1 4194560 2309 0 0 0 291 0 5 0 20 0 x 0 252388 1 1 1 1 1 0 0 0 0 "
         "1 4096 1 0 0 0 -1 3 0",
         false}, /* number of threads */
        {"752 (a) S 1 752 749 0 -1 4194560 2309 0 0 0 291 0 5 0 20 0 6 0 252388 1 1 1 1 1 0 0 0 0 "
         "1 4096 1 0 0 0 -1 "
         "8192 0",
         false}, /* CPU out of range */
        {"752 (a) S 1 752 749 0 -1 4194560 2309 0 0 0 291 0 5 0 20 0 6 0 99999999999999999999 1 1 "
         "1 1 1 0 0 0 0 1 4096 "
         "1 0 0 0 -1 3 0",
         false},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnTaskStat stat = {0};
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(hn_task_stat_parse(cases[i].text, strlen(cases[i].text), &stat, &error), ==,
                        cases[i].is_good);
        if (!cases[i].is_good) {
            g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX);
            g_assert_cmpuint(stat.start_ticks, ==, 0); /* written only on success */
            continue;
        }
        g_assert_no_error(error);
        g_assert_cmpint(stat.state, ==, 'S');
        g_assert_cmpuint(stat.n_threads, ==, 6);
        g_assert_cmpuint(stat.start_ticks, ==, 252388);
        g_assert_cmpuint(stat.vsize_bytes, ==, 1125142528);
        g_assert_cmpint(stat.last_cpu, ==, 3);
    }
}

static void test_schedstat(void)
{
    uint64_t exec_ns = 0, run_delay_ns = 0;

    g_assert_true(
        hn_schedstat_parse("2919492493 157810277 4205\n", 26, &exec_ns, &run_delay_ns, NULL));
    g_assert_cmpuint(exec_ns, ==, 2919492493u);
    g_assert_cmpuint(run_delay_ns, ==, 157810277u);
    g_assert_false(hn_schedstat_parse("", 0, &exec_ns, &run_delay_ns, NULL));
    g_assert_false(hn_schedstat_parse("1 2", 3, &exec_ns, &run_delay_ns, NULL));
    g_assert_false(hn_schedstat_parse("1 -2 3\n", 7, &exec_ns, &run_delay_ns, NULL));
    g_assert_false(
        hn_schedstat_parse("99999999999999999999 2 3\n", 25, &exec_ns, &run_delay_ns, NULL));
}

static void test_status(void)
{
    static const char good[] =
        "Name:\tqemu\nVmLck:\t  262144 kB\nVmPin:\t       0 kB\nCpus_allowed:\tf\n"
        "Cpus_allowed_list:\t0-1,4\nMems_allowed_list:\t0,2\nfuture_key:\t%%%\n";
    static const char *const bad[] = {
        "Name:\tqemu\n",
        "Cpus_allowed_list:\t1-0\n",
        "Cpus_allowed_list:\t0-99999\n",
        "VmLck:\t12\nCpus_allowed_list:\t0\n",
        "VmPin:\t-5 kB\nCpus_allowed_list:\t0\n",
    };
    HnTaskStatus status;

    g_assert_true(hn_task_status_parse(good, strlen(good), &status, NULL));
    g_assert_cmpuint(hn_cpuset_count(&status.cpus_allowed), ==, 3);
    g_assert_true(hn_cpuset_has(&status.cpus_allowed, 4));
    g_assert_cmpuint(hn_cpuset_count(&status.mems_allowed), ==, 2);
    g_assert_cmpuint(status.locked_bytes, ==, 262144u * 1024);
    g_assert_cmpuint(status.pinned_bytes, ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(hn_task_status_parse(bad[i], strlen(bad[i]), &status, &error));
        g_assert_nonnull(error);
    }
}

static void test_classify(void)
{
    static const struct {
        const char *name;
        HnThreadKind kind;
        uint32_t id;
    } cases[] = {
        {"CPU 0/KVM\n", HN_THREAD_VCPU, 0},
        {"CPU 255/KVM\n", HN_THREAD_VCPU, 255},
        {"CPU 12/TCG\n", HN_THREAD_VCPU, 12},
        {"ALL CPUs/TCG\n", HN_THREAD_ALL_VCPUS, 0},
        {"IO iothread1\n", HN_THREAD_IOTHREAD, 1},
        {"IO iothread12\n", HN_THREAD_IOTHREAD, 12},
        {"IO disk0-io7\n", HN_THREAD_IOTHREAD, 7},
        {"IO blk\n", HN_THREAD_IOTHREAD, 0},
        {"IO mon_iothread\n", HN_THREAD_EMULATOR, 0},
        {"vhost-749\n", HN_THREAD_VHOST, 0},
        {"vhost-\n", HN_THREAD_EMULATOR, 0},
        {"vhost-749x\n", HN_THREAD_EMULATOR, 0},
        {"qemu-system-x86\n", HN_THREAD_EMULATOR, 0},
        {"kvm-nx-lpage-re\n", HN_THREAD_EMULATOR, 0},
        {"CPU 99999999999\n", HN_THREAD_EMULATOR, 0},
        {"CPU 0\n", HN_THREAD_EMULATOR, 0},
        {"CPU /KVM\n", HN_THREAD_EMULATOR, 0},
        {"IO \n", HN_THREAD_EMULATOR, 0},
        {"", HN_THREAD_EMULATOR, 0},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint32_t id = 77;

        g_assert_cmpint(hn_thread_classify(cases[i].name, strlen(cases[i].name), &id), ==,
                        cases[i].kind);
        g_assert_cmpuint(id, ==, cases[i].id);
    }
}

/* '|' stands for the NUL between arguments. */
static void test_cmdline(void)
{
    static const struct {
        const char *arguments;
        HnCmdlineMatch match;
    } cases[] = {
        {"/usr/bin/qemu-system-x86_64|-name|guest=web,debug-threads=on|-S|", HN_CMDLINE_MATCH},
        {"/usr/bin/qemu-system-x86_64|-name|web|", HN_CMDLINE_MATCH},
        {"/usr/bin/qemu-system-x86_64|-name|web,process=foo|", HN_CMDLINE_MATCH},
        {"/usr/bin/qemu-system-x86_64|-name|debug-threads=on,guest=web|", HN_CMDLINE_MATCH},
        {"qemu-kvm|-uuid|11111111-2222-3333-4444-555555555555|", HN_CMDLINE_MATCH},
        {"/usr/libexec/qemu-kvm|-name|guest=web|", HN_CMDLINE_MATCH},
        /* another guest whose name begins alike, or contains ours */
        {"/usr/bin/qemu-system-x86_64|-name|guest=web2,debug-threads=on|", HN_CMDLINE_OTHER},
        {"/usr/bin/qemu-system-x86_64|-name|guest=we|", HN_CMDLINE_OTHER},
        {"/usr/bin/qemu-system-x86_64|-name|guest=web,,b|",
         HN_CMDLINE_OTHER}, /* is called "web,b" */
        {"/usr/bin/qemu-system-x86_64|-name|guest=x,,guest=web|", HN_CMDLINE_OTHER},
        {"/usr/bin/qemu-system-x86_64|-drive|file=guest=web|-name|other|", HN_CMDLINE_OTHER},
        {"/bin/sleep|-name|guest=web|", HN_CMDLINE_OTHER}, /* no QEMU */
        {"/usr/bin/qemu-system-x86_64|-m|512|", HN_CMDLINE_UNNAMED},
        {"/bin/sleep|60|", HN_CMDLINE_OTHER},
        {"", HN_CMDLINE_OTHER}, /* a kernel thread or a zombie */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strdup(cases[i].arguments);
        size_t len = strlen(text);

        g_strdelimit(text, "|", '\0');
        g_assert_cmpint(hn_cmdline_match(text, len, "web", "11111111-2222-3333-4444-555555555555"),
                        ==, cases[i].match);
    }
}

/* A comma in the name is doubled on the command line. */
static void test_cmdline_comma(void)
{
    static const char text[] = "qemu-system-x86_64\0-name\0guest=a,,b,debug-threads=on";

    g_assert_cmpint(hn_cmdline_match(text, sizeof text, "a,b", NULL), ==, HN_CMDLINE_MATCH);
    g_assert_cmpint(hn_cmdline_match(text, sizeof text, "a", NULL), ==, HN_CMDLINE_OTHER);
}

static void test_cgroup(void)
{
    static const struct {
        const char *text, *v2, *v1;
        bool is_machine;
    } cases[] = {
        {"0::/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator\n",
         "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope", NULL, true},
        {"0::/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/vcpu3\n",
         "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope", NULL, true},
        {"0::/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt\n",
         "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope", NULL, true},
        {"9:cpu,cpuacct:/machine/qemu-1-web.libvirt-qemu/emulator\n4:memory:/machine/"
         "qemu-1-web.libvirt-qemu\n0::/\n",
         "/", "/machine/qemu-1-web.libvirt-qemu", true},
        {"4:memory:/machine.slice/machine-qemu\\x2d1\\x2dweb.scope\n", NULL,
         "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope", true},
        {"0::/user.slice/user-1000.slice/session-3.scope\n",
         "/user.slice/user-1000.slice/session-3.scope", NULL, false},
        {"0::/../outside\n", NULL, NULL, false},
        {"", NULL, NULL, false},
    };
    static const char *const bad[] = {"0:/no/second/colon\n", "0::relative\n", "nonsense\n"};

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *v2 = NULL, *v1 = NULL;
        bool is_machine;

        g_assert_true(
            hn_cgroup_parse(cases[i].text, strlen(cases[i].text), &v2, &v1, &is_machine, NULL));
        g_assert_cmpstr(v2, ==, cases[i].v2);
        g_assert_cmpstr(v1, ==, cases[i].v1);
        g_assert_cmpint(is_machine, ==, cases[i].is_machine);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *v2 = NULL, *v1 = NULL;
        g_autoptr(GError) error = NULL;
        bool is_machine;

        g_assert_false(hn_cgroup_parse(bad[i], strlen(bad[i]), &v2, &v1, &is_machine, &error));
        g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/observe/process/stat", test_stat);
    g_test_add_func("/observe/process/schedstat", test_schedstat);
    g_test_add_func("/observe/process/status", test_status);
    g_test_add_func("/observe/process/classify", test_classify);
    g_test_add_func("/observe/process/cmdline", test_cmdline);
    g_test_add_func("/observe/process/cmdline-comma", test_cmdline_comma);
    g_test_add_func("/observe/process/cgroup", test_cgroup);
    return g_test_run();
}
