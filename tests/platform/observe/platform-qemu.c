/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What regions.c and process.c assume of QEMU, asked of the real one on this machine: the monitor's
 * gpa2hva is the truth, the observer must say the same without it. Guests are started stopped, so
 * their RAM is never touched.
 */
#include "observe/process.h"
#include "observe/regions.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static char *qemu_path;
static HnRoot *root;

typedef struct {
    GPid pid;
    int to_fd;
    FILE *from;
    HnDomainInfo info;
} Qemu;

/* `options`: what makes the guest, blank-separated */
static Qemu *qemu_start(const char *machine_type, const char *options)
{
    Qemu *qemu = g_new0(Qemu, 1);
    g_autofree char *line = g_strdup_printf("%s -name guest=platform,debug-threads=on -S "
                                            "-nodefaults -display none -accel tcg,thread=multi "
                                            "-monitor stdio -machine %s %s",
                                            qemu_path, machine_type, options);
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    g_autoptr(GError) error = NULL;
    int from_fd;

    g_spawn_async_with_pipes(NULL, argv, NULL,
                             G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL,
                             &qemu->pid, &qemu->to_fd, &from_fd, NULL, &error);
    g_assert_no_error(error);
    qemu->from = fdopen(from_fd, "r");
    qemu->info.machine_type = g_strdup(machine_type);
    qemu->info.memory = g_ptr_array_new_with_free_func(g_free);
    return qemu;
}

/* Sends a monitor command; returns the first line of the answer that contains `wanted`, NULL if
 * QEMU ended. */
static char *qemu_ask(Qemu *qemu, const char *command, const char *wanted)
{
    g_autofree char *line = g_strdup_printf("%s\n", command);
    char answer[4096];

    g_assert_cmpint(write(qemu->to_fd, line, strlen(line)), ==, (gssize)strlen(line));
    while (fgets(answer, sizeof answer, qemu->from))
        if (strstr(answer, wanted))
            return g_strdup(answer);
    return NULL;
}

static void qemu_free(Qemu *qemu)
{
    kill(qemu->pid, SIGKILL);
    waitpid(qemu->pid, NULL, 0);
    close(qemu->to_fd);
    fclose(qemu->from);
    g_ptr_array_unref(qemu->info.memory);
    g_free(qemu->info.machine_type);
    g_free(qemu);
}

static void expect_memory(Qemu *qemu, const char *object_id, int32_t cell, uint64_t length_bytes,
                          uint64_t gpa_base)
{
    HnMemoryInfo *memory = g_new0(HnMemoryInfo, 1);

    memory->object_id = (char *)object_id;
    memory->guest_cell = cell;
    memory->length_bytes = length_bytes;
    memory->gpa_base = gpa_base;
    qemu->info.configured_bytes += length_bytes;
    g_ptr_array_add(qemu->info.memory, memory);
}

/* QEMU's own answer: 0 if nothing is mapped there. *ret_id: the memory backend. */
static uint64_t ask_hva(Qemu *qemu, uint64_t gpa, char **ret_id)
{
    g_autofree char *command = g_strdup_printf("gpa2hva 0x%" G_GINT64_MODIFIER "x", gpa);
    g_autofree char *answer = qemu_ask(qemu, command, "0x");
    const char *paren, *is;

    /* the command is echoed first */
    while (answer && !strstr(answer, "Host virtual address") && !strstr(answer, "No memory")) {
        char next[4096];

        g_free(answer);
        answer = fgets(next, sizeof next, qemu->from) ? g_strdup(next) : NULL;
    }
    g_assert_nonnull(answer);
    *ret_id = NULL;
    if (strstr(answer, "No memory") || strstr(answer, "not RAM"))
        return 0;
    paren = strchr(answer, '(');
    is = strstr(answer, ") is 0x");
    g_assert_true(paren && is);
    *ret_id = g_strndup(paren + 1, (gsize)(is - paren - 1));
    return g_ascii_strtoull(is + strlen(") is "), NULL, 16);
}

/* Matches what /proc shows, and compares with the monitor at each address. */
static void check(Qemu *qemu, const uint64_t *gpas, uint32_t n_gpas)
{
    g_autoptr(GArray) mappings = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *ready = qemu_ask(qemu, "info status", "paused");
    HnRegionMap map;

    g_assert_nonnull(ready); /* QEMU is up, its RAM is mapped */
    mappings = hn_smaps_read(root, qemu->pid, &error);
    g_assert_no_error(error);
    hn_regions_match(mappings, &qemu->info, 1, &map);
    g_assert_cmpstr(map.problem, ==, NULL);
    for (uint32_t i = 0; i < n_gpas; i++) {
        g_autofree char *id = NULL;
        uint64_t truth = ask_hva(qemu, gpas[i], &id);
        uint32_t region;
        uint64_t offset, gpa;
        bool is_found = hn_gpa_to_region(map.regions, map.n_regions, gpas[i], &region, &offset);

        g_test_message("gpa %" G_GINT64_MODIFIER "x: QEMU says %" G_GINT64_MODIFIER "x (%s)",
                       gpas[i], truth, id ? id : "nothing");
        g_assert_cmpint(is_found, ==, truth != 0);
        if (!is_found)
            continue;
        g_assert_cmphex(map.regions[region].hva_start + offset, ==, truth);
        g_assert_true(hn_hva_to_gpa(map.regions, map.n_regions, truth, &region, &gpa));
        g_assert_cmphex(gpa, ==, gpas[i]);
        if (g_str_has_prefix(id, "ram-node"))
            g_assert_cmpint(map.regions[region].guest_cell, ==,
                            (int)g_ascii_strtoll(id + 8, NULL, 10));
    }
    hn_region_map_clear(&map);
}

static void test_equal_cells(void)
{
    static const uint64_t gpas[] = {MIB,       64 * MIB - 4096, 64 * MIB, 128 * MIB - 4096,
                                    128 * MIB, 192 * MIB - 1,   192 * MIB};
    Qemu *qemu = qemu_start("q35", "-m 192 -smp 3 "
                                   "-object memory-backend-ram,id=ram-node0,size=64M -numa "
                                   "node,nodeid=0,cpus=0,memdev=ram-node0 "
                                   "-object memory-backend-ram,id=ram-node1,size=64M -numa "
                                   "node,nodeid=1,cpus=1,memdev=ram-node1 "
                                   "-object memory-backend-ram,id=ram-node2,size=64M -numa "
                                   "node,nodeid=2,cpus=2,memdev=ram-node2");

    for (int i = 0; i < 3; i++)
        expect_memory(qemu,
                      i == 0   ? "ram-node0"
                      : i == 1 ? "ram-node1"
                               : "ram-node2",
                      i, 64 * MIB, UINT64_MAX);
    check(qemu, gpas, G_N_ELEMENTS(gpas));
    qemu_free(qemu);
}

static void test_memfd_cells(void)
{
    static const uint64_t gpas[] = {MIB, 64 * MIB - 4096, 64 * MIB, 128 * MIB - 4096};
    Qemu *qemu = qemu_start("pc", "-m 128 -smp 2 "
                                  "-object memory-backend-memfd,id=ram-node0,size=64M,share=on "
                                  "-numa node,nodeid=0,cpus=0,memdev=ram-node0 "
                                  "-object memory-backend-memfd,id=ram-node1,size=64M,share=on "
                                  "-numa node,nodeid=1,cpus=1,memdev=ram-node1");

    expect_memory(qemu, "ram-node0", 0, 64 * MIB, UINT64_MAX);
    expect_memory(qemu, "ram-node1", 1, 64 * MIB, UINT64_MAX);
    check(qemu, gpas, G_N_ELEMENTS(gpas));
    qemu_free(qemu);
}

/* q35 with 5 GiB: the hole from 2 to 4 GiB cuts the second cell. */
static void test_hole_q35(void)
{
    static const uint64_t gpas[] = {MIB,
                                    GIB - 4096,
                                    GIB,
                                    2 * GIB - 4096,
                                    2 * GIB,
                                    3 * GIB,
                                    4 * GIB - 4096 * 4096ull,
                                    4 * GIB,
                                    4 * GIB + 4096,
                                    7 * GIB - 4096,
                                    7 * GIB};
    Qemu *qemu = qemu_start("q35", "-m 5G -smp 2 "
                                   "-object memory-backend-ram,id=ram-node0,size=1G -numa "
                                   "node,nodeid=0,cpus=0,memdev=ram-node0 "
                                   "-object memory-backend-ram,id=ram-node1,size=4G -numa "
                                   "node,nodeid=1,cpus=1,memdev=ram-node1");

    expect_memory(qemu, "ram-node0", 0, GIB, UINT64_MAX);
    expect_memory(qemu, "ram-node1", 1, 4 * GIB, UINT64_MAX);
    check(qemu, gpas, G_N_ELEMENTS(gpas));
    qemu_free(qemu);
}

/* i440fx: the same at 3 GiB, one backend; and just below the size at which the hole moves. */
static void test_hole_i440fx(void)
{
    static const uint64_t big[] = {MIB, 3 * GIB - 4096, 3 * GIB, 4 * GIB, 5 * GIB - 4096, 5 * GIB};
    static const uint64_t small[] = {MIB, 3 * GIB, 3584 * MIB - MIB - 4096, 4 * GIB};
    Qemu *qemu = qemu_start("pc", "-m 4G -smp 1");

    expect_memory(qemu, "pc.ram", -1, 4 * GIB, UINT64_MAX);
    check(qemu, big, G_N_ELEMENTS(big));
    qemu_free(qemu);
    qemu = qemu_start("pc", "-m 3583 -smp 1");
    expect_memory(qemu, "pc.ram", -1, 3583 * MIB, UINT64_MAX);
    check(qemu, small, G_N_ELEMENTS(small));
    qemu_free(qemu);
}

static void test_dimm(void)
{
    Qemu *qemu = qemu_start("q35", "-m 128M,slots=2,maxmem=4G -smp 1");
    g_autofree char *line = NULL;
    uint64_t gpas[4] = {MIB, 0, 0, 0};

    g_free(qemu_ask(qemu, "object_add memory-backend-ram,id=memdimm0,size=256M", "object_add"));
    g_free(qemu_ask(qemu, "device_add pc-dimm,id=dimm0,memdev=memdimm0", "device_add"));
    line = qemu_ask(qemu, "info memory-devices", "addr: 0x");
    g_assert_nonnull(line);
    gpas[1] = g_ascii_strtoull(strstr(line, "0x"), NULL, 16);
    gpas[2] = gpas[1] + 256 * MIB - 4096;
    gpas[3] = gpas[1] + 256 * MIB;
    expect_memory(qemu, "pc.ram", -1, 128 * MIB, UINT64_MAX);
    expect_memory(qemu, "memdimm0", -1, 256 * MIB, gpas[1]);
    check(qemu, gpas, G_N_ELEMENTS(gpas));
    qemu_free(qemu);
}

/* Names of threads, and that the command line names the guest. */
static void test_names(void)
{
    Qemu *qemu = qemu_start("q35", "-m 64 -smp 2 -object iothread,id=iothread7");
    g_autofree char *ready = qemu_ask(qemu, "info status", "paused");
    g_autofree char *dir = g_strdup_printf("proc/%d/task", qemu->pid);
    g_autofree char *path = g_strdup_printf("proc/%d/cmdline", qemu->pid);
    g_autofree char *cmdline = NULL;
    g_auto(GStrv) tids = hn_root_list(root, dir, NULL);
    uint32_t n_vcpus = 0, n_iothreads = 0;
    size_t len;

    g_assert_true(hn_root_read(root, path, 65536, &cmdline, &len, NULL));
    g_assert_cmpint(hn_cmdline_match(cmdline, len, "platform", NULL), ==, HN_CMDLINE_MATCH);
    g_assert_cmpint(hn_cmdline_match(cmdline, len, "plat", NULL), ==, HN_CMDLINE_OTHER);
    for (uint32_t i = 0; tids[i]; i++) {
        g_autofree char *comm_path = g_strdup_printf("%s/%s/comm", dir, tids[i]);
        g_autofree char *comm = NULL;
        uint32_t id;

        if (!hn_root_read(root, comm_path, 64, &comm, &len, NULL))
            continue;
        switch (hn_thread_classify(comm, len, &id)) {
        case HN_THREAD_VCPU:
            g_assert_cmpuint(id, <, 2);
            n_vcpus++;
            break;
        case HN_THREAD_IOTHREAD:
            g_assert_cmpuint(id, ==, 7);
            n_iothreads++;
            break;
        default:
            break;
        }
    }
    g_assert_cmpuint(n_vcpus, ==, 2);
    g_assert_cmpuint(n_iothreads, ==, 1);
    qemu_free(qemu);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    qemu_path = g_find_program_in_path("qemu-system-x86_64");
    if (!qemu_path) {
        g_print("1..0 # SKIP qemu-system-x86_64 is not installed\n");
        return 0;
    }
    root = hn_root_open("/", NULL);
    g_test_add_func("/platform/qemu/names", test_names);
    g_test_add_func("/platform/qemu/equal-cells", test_equal_cells);
    g_test_add_func("/platform/qemu/memfd-cells", test_memfd_cells);
    g_test_add_func("/platform/qemu/hole-q35", test_hole_q35);
    g_test_add_func("/platform/qemu/hole-i440fx", test_hole_i440fx);
    g_test_add_func("/platform/qemu/dimm", test_dimm);
    status = g_test_run();
    hn_root_free(root);
    g_free(qemu_path);
    return status;
}
