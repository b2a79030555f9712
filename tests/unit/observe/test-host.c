/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's files: real text, absurd numbers, and a topology that changes under the reader. */
#include "observe/host-read.h"
#include "scratch.h"

#include <string.h>

static void test_meminfo(void)
{
    static const char node[] =
        "Node 3 MemTotal:        1048576 kB\nNode 3 MemFree:          524288 kB\n"
        "Node 3 Inactive(file):     1024 kB\nNode 3 KReclaimable:       2048 kB\n"
        "Node 3 SReclaimable:       1000 kB\nNode 3 HugePages_Total:     0\n";
    static const char old[] =
        "MemTotal: 1000 kB\nMemFree: 500 kB\nInactive(file): 10 kB\nSReclaimable: 20 kB\n";
    static const char *const bad[] = {
        "",
        "Node 0 MemTotal: 5 kB\n",
        "MemTotal: x kB\nMemFree: 1 kB\n",
        "MemTotal: 5\nMemFree: 1 kB\n",
        "MemTotal: 5 kB\nMemFree: 99999999999999999999 kB\n",
        "MemTotal: 5 kB\nMemFree: 5000 kB\n",
        "Node \n",
    };
    HnMeminfo meminfo;

    g_assert_true(hn_meminfo_parse(node, strlen(node), &meminfo, NULL));
    g_assert_cmpuint(meminfo.total_bytes, ==, (uint64_t)1 << 30);
    g_assert_cmpuint(meminfo.free_bytes, ==, 1 << 29);
    g_assert_cmpuint(meminfo.reclaimable_bytes, ==, 3072 * 1024);
    g_assert_true(hn_meminfo_parse(old, strlen(old), &meminfo, NULL));
    g_assert_cmpuint(meminfo.reclaimable_bytes, ==, 30 * 1024);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(hn_meminfo_parse(bad[i], strlen(bad[i]), &meminfo, &error));
        g_assert_nonnull(error);
        g_assert_true(error->domain == HN_MODEL_ERROR);
    }
}

static void test_zoneinfo(void)
{
    static const char text[] =
        "Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 5\n  pages free     2816\n"
        "        min      10\n        low      12\n        high     15\n  pagesets\n    cpu: 0\n"
        "              count:    0\n              high:     99\nNode 0, zone   Normal\n        "
        "high     100\n"
        "Node 2, zone   Normal\n        high     7\nNode 9, zone   Normal\n        high     1000\n";
    g_autoptr(HnHost) host = hn_host_new(2);
    uint64_t bytes[2] = {1, 1};
    g_autoptr(GError) error = NULL;

    host->page_bytes = 4096;
    host->nodes[0].id = 0;
    host->nodes[1].id = 2;
    g_assert_true(hn_zoneinfo_parse(text, strlen(text), host, bytes, NULL));
    g_assert_cmpuint(bytes[0], ==, 115 * 4096);
    g_assert_cmpuint(bytes[1], ==, 7 * 4096);
    g_assert_false(hn_zoneinfo_parse("Node 0, zone DMA\n high x\n", 25, host, bytes, &error));
    g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX);
    g_assert_cmpuint(bytes[0], ==, 115 * 4096);
}

static void test_distance(void)
{
    uint8_t row[3];
    static const struct {
        const char *text;
        bool is_good;
    } cases[] = {
        {"10 20 31\n", true}, {"10 20 31", true},     {"10 20\n", false}, {"10 20 31 40\n", false},
        {"10 x 31\n", false}, {"10 256 31\n", false}, {"", false}};

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpint(hn_distance_parse(cases[i].text, strlen(cases[i].text), 3, row, NULL), ==,
                        cases[i].is_good);
    g_assert_cmpuint(row[2], ==, 31);
}

static void test_proc_stat(void)
{
    static const char text[] =
        "cpu  300 3 30 3000 30 3 3 3 200 0\ncpu0 100 1 10 1000 10 1 2 3 90 0\n"
        "cpu2 200 2 20 2000 20 2 1 0 110 0\nintr 1 2 3\nctxt 5\n";
    uint64_t ticks[3] = {0, 77, 0};

    g_assert_true(hn_proc_stat_parse(text, strlen(text), 3, ticks, NULL));
    g_assert_cmpuint(ticks[0], ==, 117); /* all but idle and iowait; guest is within user */
    g_assert_cmpuint(ticks[1], ==, 77);  /* offline: as before */
    g_assert_cmpuint(ticks[2], ==, 225);
    g_assert_true(
        hn_proc_stat_parse(text, strlen(text), 1, ticks, NULL)); /* more CPUs than asked for */
    g_assert_false(hn_proc_stat_parse("cpu  1 2 3\n", 11, 3, ticks, NULL));
    g_assert_false(hn_proc_stat_parse("cpu0 1 2 3\n", 11, 3, ticks, NULL));
    g_assert_false(
        hn_proc_stat_parse("cpu0 1 2 3 4 5 6 7 99999999999999999999\n", 40, 3, ticks, NULL));
    g_assert_false(hn_proc_stat_parse("", 0, 3, ticks, NULL));
}

static void test_lists_and_numbers(void)
{
    HnCpuset set;
    uint64_t value;

    g_assert_true(hn_cpu_list_parse("(null)\n", 7, &set, NULL));
    g_assert_true(hn_cpuset_is_empty(&set));
    g_assert_true(
        hn_cpu_list_parse("  (null)\n", 9, &set, NULL)); /* as seen with isolcpus= on 6.12 */
    g_assert_true(hn_cpuset_is_empty(&set));
    g_assert_true(hn_cpu_list_parse("\n", 1, &set, NULL));
    g_assert_true(hn_cpuset_is_empty(&set));
    g_assert_true(hn_cpu_list_parse("1-2,5\n", 6, &set, NULL));
    g_assert_cmpuint(hn_cpuset_count(&set), ==, 3);
    g_assert_false(hn_cpu_list_parse("1-x\n", 4, &set, NULL));
    g_assert_true(hn_number_parse("12\n", 3, &value, NULL) && value == 12);
    g_assert_false(hn_number_parse("\n", 1, &value, NULL));
    g_assert_false(hn_number_parse("12 13\n", 6, &value, NULL));
}

/* A machine of two nodes below a temporary directory. */
typedef struct {
    char *dir;
    HnRoot *root;
} Fixture;

static void set_up(Fixture *fixture, gconstpointer data)
{
    fixture->dir = g_dir_make_tmp("hn-host-XXXXXX", NULL);
    fixture->root = hn_root_open(fixture->dir, NULL);
    scratch_put(fixture->dir, "sys/devices/system/node/online", "0-1\n");
    scratch_put(fixture->dir, "sys/devices/system/node/has_memory", "0-1\n");
    scratch_put(fixture->dir, "sys/devices/system/cpu/online", "0-3\n");
    scratch_put(fixture->dir, "sys/devices/system/cpu/isolated", "\n");
    scratch_put(fixture->dir, "sys/devices/system/cpu/nohz_full", "(null)\n");
    scratch_put(fixture->dir, "sys/devices/system/node/node0/cpulist", "0-1\n");
    scratch_put(fixture->dir, "sys/devices/system/node/node1/cpulist", "2-3\n");
    scratch_put(fixture->dir, "sys/devices/system/node/node0/distance", "10 21\n");
    scratch_put(fixture->dir, "sys/devices/system/node/node1/distance", "17 10\n");
    scratch_put(fixture->dir, "sys/devices/system/node/node0/meminfo",
        "Node 0 MemTotal: 4096 kB\nNode 0 MemFree: 1024 kB\n");
    scratch_put(fixture->dir, "sys/devices/system/node/node1/meminfo",
        "Node 1 MemTotal: 8192 kB\nNode 1 MemFree: 2048 kB\n");
    scratch_put(fixture->dir, "proc/zoneinfo", "Node 0, zone Normal\n high 5\nNode 1, zone Normal\n high 6\n");
    scratch_put(fixture->dir, "proc/stat",
        "cpu0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0\ncpu2 0 0 0 0 0 0 0 0\ncpu3 0 0 0 0 0 0 0 0\n");
}

static void tear_down(Fixture *fixture, gconstpointer data)
{
    hn_root_free(fixture->root);
    scratch_remove(fixture->dir);
    g_free(fixture->dir);
}

static void test_reader(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HnHostReader) reader = hn_host_reader_new(fixture->root);
    g_autoptr(HnHost) first = NULL;
    g_autoptr(HnHost) second = NULL;
    g_autofree uint64_t *first_busy_ns = NULL;
    g_autofree uint64_t *busy_ns = NULL;

    g_assert_true(hn_host_reader_read(reader, &first, &first_busy_ns, NULL));
    g_assert_cmpuint(first->n_nodes, ==, 2);
    g_assert_cmpuint(hn_host_distance(first, 0, 1), ==, 21);
    g_assert_cmpuint(hn_host_distance(first, 1, 0), ==, 17);
    g_assert_cmpuint(first->nodes[1].mem_free_bytes, ==, 2048 * 1024);
    g_assert_cmpuint(first->nodes[1].mem_watermark_bytes, ==, 6 * 4096);
    g_assert_cmpuint(first_busy_ns[0], ==, 0);
    scratch_put(fixture->dir, "proc/stat",
        "cpu0 50 0 0 9 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0\ncpu2 10 0 10 0 0 0 0 0\ncpu3 0 0 0 0 0 0 0 "
        "0\n");
    scratch_put(fixture->dir, "sys/devices/system/node/node1/meminfo",
        "Node 1 MemTotal: 8192 kB\nNode 1 MemFree: 4 kB\n");
    g_assert_true(hn_host_reader_read(reader, &second, &busy_ns, NULL));
    g_assert_cmpuint(hn_host_reader_generation(reader), ==, 1);
    g_assert_cmpuint(second->nodes[1].mem_free_bytes, ==, 4096);
    g_assert_cmpuint(busy_ns[0], ==, 500000000); /* 50 ticks of 10 ms */
    g_assert_cmpuint(busy_ns[1], ==, 200000000);
}

/* A CPU goes offline, isolated ones appear by a cpuset partition: the topology is read again. */
static void test_reader_change(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HnHostReader) reader = hn_host_reader_new(fixture->root);
    g_autoptr(HnHost) before = NULL;
    g_autoptr(HnHost) after = NULL;
    g_autoptr(HnHost) isolated = NULL;
    g_autofree uint64_t *busy_ns = NULL;

    g_assert_true(hn_host_reader_read(reader, &before, NULL, NULL));
    scratch_put(fixture->dir, "sys/devices/system/cpu/online", "0-2\n");
    scratch_put(fixture->dir, "sys/devices/system/node/node1/cpulist", "2\n");
    scratch_put(fixture->dir, "proc/stat", "cpu0 50 0 0 9 0 0 0 0\n");
    g_assert_true(hn_host_reader_read(reader, &after, &busy_ns, NULL));
    g_assert_cmpuint(hn_host_reader_generation(reader), ==, 2);
    g_assert_cmpuint(after->nodes[1].n_cpus, ==, 1);
    g_assert_cmpuint(busy_ns[0], ==, 0); /* differences would mean nothing */
    scratch_put(fixture->dir, "sys/fs/cgroup/cpuset.cpus.isolated", "0\n");
    g_assert_true(hn_host_reader_read(reader, &isolated, NULL, NULL));
    g_assert_cmpuint(isolated->nodes[0].n_cpus, ==, 1);
    g_assert_true(hn_cpuset_has(&isolated->isolated, 0));
}

static void test_reader_errors(Fixture *fixture, gconstpointer data)
{
    static const struct {
        const char *path, *text;
    } breaks[] = {
        {"sys/devices/system/node/node1/meminfo", "garbage\n"},
        {"sys/devices/system/node/node1/distance", "10\n"},
        {"sys/devices/system/node/online", "0-x\n"},
        {"proc/zoneinfo", "Node x\n"},
        {"proc/stat", "\n"},
        {"sys/devices/system/node/node0/distance", "11 21\n"}, /* not its own nearest */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(breaks); i++) {
        g_autoptr(HnHostReader) reader = hn_host_reader_new(fixture->root);
        g_autofree char *full = g_build_filename(fixture->dir, breaks[i].path, NULL);
        g_autofree char *good = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(HnHost) again = NULL;
        HnHost *none = NULL;

        g_assert_true(g_file_get_contents(full, &good, NULL, NULL));
        scratch_put(fixture->dir, breaks[i].path, breaks[i].text);
        g_assert_false(hn_host_reader_read(reader, &none, NULL, &error));
        g_assert_nonnull(error);
        g_assert_null(none);
        scratch_put(fixture->dir, breaks[i].path, good); /* the same reader recovers */
        g_assert_true(hn_host_reader_read(reader, &again, NULL, NULL));
    }
}

/* A kernel without NUMA has no node directory: one node, all of it. */
static void test_reader_flat(void)
{
    g_autofree char *dir = g_dir_make_tmp("hn-flat-XXXXXX", NULL);
    g_autoptr(HnRoot) root = hn_root_open(dir, NULL);
    g_autoptr(HnHostReader) reader = hn_host_reader_new(root);
    g_autoptr(HnHost) host = NULL;
    scratch_put(dir, "sys/devices/system/cpu/online", "0-1\n");
    scratch_put(dir, "proc/meminfo", "MemTotal: 4096 kB\nMemFree: 1024 kB\n");
    scratch_put(dir, "proc/zoneinfo", "Node 0, zone Normal\n high 5\n");
    scratch_put(dir, "proc/stat", "cpu0 0 0 0 0 0 0 0 0\n");
    g_assert_true(hn_host_reader_read(reader, &host, NULL, NULL));
    g_assert_cmpuint(host->n_nodes, ==, 1);
    g_assert_cmpuint(host->nodes[0].n_cpus, ==, 2);
    scratch_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/observe/host/meminfo", test_meminfo);
    g_test_add_func("/observe/host/zoneinfo", test_zoneinfo);
    g_test_add_func("/observe/host/distance", test_distance);
    g_test_add_func("/observe/host/proc-stat", test_proc_stat);
    g_test_add_func("/observe/host/lists-and-numbers", test_lists_and_numbers);
    g_test_add("/observe/host/reader", Fixture, NULL, set_up, test_reader, tear_down);
    g_test_add("/observe/host/reader-change", Fixture, NULL, set_up, test_reader_change, tear_down);
    g_test_add("/observe/host/reader-errors", Fixture, NULL, set_up, test_reader_errors, tear_down);
    g_test_add_func("/observe/host/reader-flat", test_reader_flat);
    return g_test_run();
}
