/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counters of a control group, pressure, numa_maps. */
#include "observe/memcg.h"
#include "observe/numa-maps.h"

#include <string.h>

static HnHost *make_host(void)
{
    HnHost *host = hn_host_new(2);

    host->page_bytes = 4096;
    host->nodes[0].id = 0;
    host->nodes[1].id = 3;
    return host;
}

static void test_numa_stat_v2(void)
{
    static const char text[] =
        "anon N0=4096 N1=7 N3=8192\nfile N0=100 N3=0\nkernel_stack N0=1 N3=1\n"
        "shmem N0=16384 N3=0\nanon_thp N0=2097152 N3=2097152\nshmem_thp N0=0 N3=4194304\n";
    g_autoptr(HnHost) host = make_host();
    HnNumaStat stat;

    hn_numa_stat_init(&stat, 2);
    g_assert_true(hn_numa_stat_parse(text, strlen(text), true, host, &stat, NULL));
    g_assert_cmpuint(stat.anon_bytes[0], ==, 4096);
    g_assert_cmpuint(stat.anon_bytes[1], ==, 8192); /* node 3; node 1 is not one of ours */
    g_assert_cmpuint(stat.shmem_bytes[0], ==, 16384);
    g_assert_cmpuint(stat.total_bytes, ==, 4096 + 8192 + 16384);
    g_assert_cmpuint(stat.huge_bytes, ==, 2 * 2097152 + 4194304);
    hn_numa_stat_clear(&stat);
}

static void test_numa_stat_v1(void)
{
    static const char text[] =
        "total=300 N0=100 N3=200\nfile=0 N0=0 N3=0\nanon=30 N0=10 N3=20\nunevictable=0 N0=0 N3=0\n"
        "hierarchical_total=300 N0=100 N3=200\nhierarchical_file=0 N0=0 N3=0\n"
        "hierarchical_anon=300 N0=100 N3=200\nhierarchical_unevictable=0 N0=0 N3=0\n";
    g_autoptr(HnHost) host = make_host();
    HnNumaStat stat;

    hn_numa_stat_init(&stat, 2);
    g_assert_true(hn_numa_stat_parse(text, strlen(text), false, host, &stat, NULL));
    g_assert_cmpuint(stat.anon_bytes[0], ==, 100 * 4096);
    g_assert_cmpuint(stat.anon_bytes[1], ==, 200 * 4096);
    g_assert_cmpuint(stat.total_bytes, ==, 300 * 4096);
    hn_numa_stat_clear(&stat);
}

static void test_numa_stat_bad(void)
{
    static const struct {
        bool is_v2;
        const char *text;
    } cases[] = {
        {true, ""},           {true, "file N0=1\n"},     {true, "anon N0=x\n"},
        {true, "anon 0=1\n"}, {true, "anon N0\n"},       {true, "anon N0=18446744073709551615\n"},
        {false, "anon=\n"},   {false, "anon=1 N0=1x\n"}, {false, "anon=1 Nx=1\n"},
    };
    g_autoptr(HnHost) host = make_host();
    HnNumaStat stat;

    hn_numa_stat_init(&stat, 2);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(hn_numa_stat_parse(cases[i].text, strlen(cases[i].text), cases[i].is_v2,
                                          host, &stat, &error));
        g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX);
    }
    hn_numa_stat_clear(&stat);
}

static void test_counters(void)
{
    static const char modern[] =
        "anon 5\nnuma_pages_migrated 18002\nnuma_pte_updates 9000\nnuma_hint_faults 756\n";
    static const char old[] = "anon 5\nfile 6\n";
    HnNumaCounters counters;

    g_assert_true(hn_numa_counters_parse(modern, strlen(modern), &counters, NULL));
    g_assert_true(counters.is_valid);
    g_assert_cmpuint(counters.hint_faults, ==, 756);
    g_assert_cmpuint(counters.pages_migrated, ==, 18002);
    g_assert_cmpuint(counters.pte_updates, ==, 9000);
    g_assert_true(hn_numa_counters_parse(old, strlen(old), &counters, NULL));
    g_assert_false(counters.is_valid);
    g_assert_false(hn_numa_counters_parse("numa_hint_faults x\n", 19, &counters, NULL));
}

static void test_pressure(void)
{
    static const char good[] = "some avg10=93.41 avg60=55.00 avg300=20.12 total=123456\n"
                               "full avg10=0.00 avg60=1.50 avg300=0.00 total=99\n";
    static const char *const bad[] = {
        "",
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        "some avg10=93.4 avg60=55.00 avg300=20.12 total=1\n",
        "some avg10=193.41 avg60=55.00 avg300=20.12 total=1\n",
        "some avg10=93.41 total=1\n",
        "some avg10=-1.00 avg60=55.00 avg300=20.12 total=1\n",
    };
    HnStallInfo stall;

    g_assert_true(hn_stall_parse(good, strlen(good), &stall, NULL));
    g_assert_cmpuint(stall.some_avg10_bp, ==, 9341);
    g_assert_cmpuint(stall.some_avg60_bp, ==, 5500);
    g_assert_cmpuint(stall.full_avg60_bp, ==, 150);
    g_assert_cmpuint(stall.some_total_us, ==, 123456);
    /* before 5.13 the CPU file has no line "full" */
    g_assert_true(
        hn_stall_parse("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", 47, &stall, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(hn_stall_parse(bad[i], strlen(bad[i]), &stall, &error));
        g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SYNTAX);
    }
}

static void test_numa_maps(void)
{
    static const char text[] =
        "7f0000000000 default anon=16384 dirty=8704 active=0 N0=8704 N3=7680 kernelpagesize_kB=4\n"
        "7f1000000000 bind:0 file=/dev/hugepages/N0=5 huge anon=32 dirty=32 N0=32 "
        "kernelpagesize_kB=2048\n"
        "7ffe00000000 default stack anon=3 N0=3 kernelpagesize_kB=4\n";
    g_autoptr(HnHost) host = make_host();
    uint64_t first[2] = {9, 9}, second[2] = {9, 9};
    HnRegion regions[2] = {
        {.hva_start = 0x7f0000000000, .length_bytes = 1 << 26, .resident_bytes = first},
        {.hva_start = 0x7f1000000000, .length_bytes = 1 << 26, .resident_bytes = second},
    };
    bool is_bound;
    g_autoptr(GError) error = NULL;

    g_assert_true(hn_numa_maps_parse(text, strlen(text), host, regions, 2, &is_bound, NULL));
    g_assert_cmpuint(first[0], ==, 8704u * 4096);
    g_assert_cmpuint(first[1], ==, 7680u * 4096);
    g_assert_cmpuint(second[0], ==, 32u * 2097152);
    g_assert_true(is_bound);
    g_assert_false(
        hn_numa_maps_parse("7f0000000000 default N0=x\n", 26, host, regions, 2, NULL, &error));
    g_assert_cmpuint(first[0], ==, 8704u * 4096);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/observe/memcg/numa-stat-v2", test_numa_stat_v2);
    g_test_add_func("/observe/memcg/numa-stat-v1", test_numa_stat_v1);
    g_test_add_func("/observe/memcg/numa-stat-bad", test_numa_stat_bad);
    g_test_add_func("/observe/memcg/counters", test_counters);
    g_test_add_func("/observe/memcg/pressure", test_pressure);
    g_test_add_func("/observe/memcg/numa-maps", test_numa_maps);
    return g_test_run();
}
