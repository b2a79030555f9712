/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every parser of daemon/observe over arbitrary bytes. All parsers see every input: which file it
 * pretends to be does not matter to memory safety. The bytes are copied into a block of exactly
 * their size, so that an address sanitizer sees one byte too many. What a parser accepts must also
 * make sense; that is asserted here.
 */
#include "../qmp/fuzz.h"

#include "observe/capture.h"
#include "observe/damon.h"
#include "observe/faults.h"
#include "observe/host-read.h"
#include "observe/memcg.h"
#include "observe/movability.h"
#include "observe/numa-maps.h"
#include "observe/process.h"
#include "observe/regions.h"
#include "observe/soft-dirty.h"
#include "observe/touch-events.h"
#include "observe/touch-matrix.h"

#include <string.h>

#define N_NODES 3
#define N_CPUS 64
#define MIB ((uint64_t)1 << 20)

static HnHost *make_host(void)
{
    HnHost *host = hn_host_new(N_NODES);

    host->page_bytes = 4096;
    for (uint32_t i = 0; i < N_NODES; i++)
        host->nodes[i].id = (int32_t)(i * i);
    return host;
}

static void parse_process(const char *text, size_t len)
{
    HnTaskStat stat;
    g_autofree HnTaskStatus *status = g_new0(HnTaskStatus, 1);
    uint64_t exec_ns, run_delay_ns;
    uint32_t id;
    bool is_machine;
    char *v2 = NULL, *v1 = NULL;

    if (hn_task_stat_parse(text, len, &stat, NULL))
        g_assert_true(stat.last_cpu >= 0 && stat.last_cpu < HN_MAX_CPUS);
    hn_task_status_parse(text, len, status, NULL);
    hn_schedstat_parse(text, len, &exec_ns, &run_delay_ns, NULL);
    hn_thread_classify(text, len, &id);
    hn_cmdline_match(text, len, "web", "11111111-2222-3333-4444-555555555555");
    if (hn_cgroup_parse(text, len, &v2, &v1, &is_machine, NULL)) {
        /* nothing may lead out of the control group file system */
        g_assert_true(!v2 || (!strstr(v2, "/..") && (*v2 == '/' || *v2 == '\0')));
        g_assert_true(!v1 || (!strstr(v1, "/..") && (*v1 == '/' || *v1 == '\0')));
    }
    g_free(v2);
    g_free(v1);
}

static void parse_host(const char *text, size_t len, const HnHost *host)
{
    HnMeminfo meminfo;
    uint64_t bytes[N_NODES], ticks[N_CPUS] = {0}, value;
    uint8_t distances[N_NODES];
    g_autofree HnCpuset *set = g_new0(HnCpuset, 1);

    if (hn_meminfo_parse(text, len, &meminfo, NULL))
        g_assert_cmpuint(meminfo.free_bytes + meminfo.reclaimable_bytes, <=, meminfo.total_bytes);
    hn_zoneinfo_parse(text, len, host, bytes, NULL);
    hn_distance_parse(text, len, N_NODES, distances, NULL);
    hn_proc_stat_parse(text, len, N_CPUS, ticks, NULL);
    hn_cpu_list_parse(text, len, set, NULL);
    hn_number_parse(text, len, &value, NULL);
}

static void parse_counters(const char *text, size_t len, const HnHost *host)
{
    HnNumaStat stat;
    HnNumaCounters counters;
    HnStallInfo stall;
    HnSchedNuma numa;

    hn_numa_stat_init(&stat, N_NODES);
    hn_numa_stat_parse(text, len, true, host, &stat, NULL);
    hn_numa_stat_parse(text, len, false, host, &stat, NULL);
    hn_numa_stat_clear(&stat);
    hn_numa_counters_parse(text, len, &counters, NULL);
    if (hn_stall_parse(text, len, &stall, NULL))
        g_assert_cmpuint(stall.some_avg10_bp, <=, 10000);
    hn_sched_numa_init(&numa, N_NODES);
    if (hn_sched_numa_parse(text, len, host, &numa, NULL))
        g_assert_true(numa.preferred_node >= HN_NODE_NONE && numa.preferred_node < N_NODES);
    hn_sched_numa_clear(&numa);
}

/* Both directions of every translation agree at the regions' edges. */
static void check_regions(const HnRegionMap *map)
{
    g_assert_cmpuint(map->total_bytes, <=, map->configured_bytes);
    for (uint32_t i = 0; i < map->n_regions; i++) {
        const uint64_t offsets[] = {0, map->regions[i].length_bytes / 2,
                                    map->regions[i].length_bytes - 1};

        for (size_t k = 0; k < G_N_ELEMENTS(offsets); k++) {
            uint32_t region;
            uint64_t offset;

            g_assert_true(hn_gpa_to_region(map->regions, map->n_regions,
                                           hn_region_gpa_at(&map->regions[i], offsets[k]), &region,
                                           &offset));
            g_assert_cmpuint(region, ==, i);
            g_assert_cmpuint(offset, ==, offsets[k]);
        }
    }
}

static void parse_maps(const char *text, size_t len, const HnHost *host)
{
    HnMemoryInfo memories[] = {
        {.object_id = (char *)"ram-node0",
         .guest_cell = 0,
         .length_bytes = 64 * MIB,
         .gpa_base = UINT64_MAX},
        {.object_id = (char *)"ram-node1",
         .guest_cell = 1,
         .length_bytes = 64 * MIB,
         .gpa_base = UINT64_MAX},
        {.object_id = (char *)"memdimm0",
         .guest_cell = 1,
         .length_bytes = 2 * MIB,
         .gpa_base = 4096 * MIB},
    };
    g_autoptr(GPtrArray) memory = g_ptr_array_new();
    HnDomainInfo info = {.machine_type = (char *)"pc-q35-10.0", .memory = memory};
    g_autoptr(GArray) mappings = hn_smaps_parse(text, len, NULL);
    g_autoptr(GArray) starts = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    HnRegionMap map;
    size_t kept_len;

    for (size_t i = 0; i < G_N_ELEMENTS(memories); i++)
        g_ptr_array_add(memory, &memories[i]);
    if (mappings) {
        hn_regions_match(mappings, &info, N_NODES, &map);
        check_regions(&map);
        hn_numa_maps_parse(text, len, host, map.regions, map.n_regions, NULL, NULL);
        hn_region_map_clear(&map);
    }
    g_free(hn_capture_filter_smaps(text, len, starts));
    g_free(hn_capture_filter_cmdline(text, len, &kept_len));
}

typedef struct {
    HnTouchMatrix *matrix;
    const HnRegion *region;
    uint32_t n_touches;
} Touched;

static void take_touch(const HnTouch *touch, void *user_data)
{
    Touched *touched = user_data;
    HnTouchPlace place;

    touched->n_touches++;
    for (int is_gpa = 0; is_gpa < 2; is_gpa++) {
        if (!hn_touch_matrix_add(touched->matrix, touched->n_touches % 3, touch->address, is_gpa,
                                 1, &place))
            continue;
        g_assert_cmpuint(place.chunk, <, touched->region->n_chunks);
        g_assert_cmpuint(place.hva - touched->region->hva_start, <, touched->region->length_bytes);
    }
}

/* As a format file and as records of a ring, with the places of two real events. */
static void parse_touches(const char *text, size_t len)
{
    static const HnTouchFormat formats[] = {{1502, 24, 32, 8}, {135, 8, 24, 4}};
    static const uint32_t vcpus[] = {0, 1};
    HnChunk chunks[32] = {0};
    HnRegion region = {.hva_start = 0x7f0000000000,
                       .length_bytes = 63 * MIB,
                       .chunk_bytes = 2 * MIB,
                       .n_chunks = G_N_ELEMENTS(chunks),
                       .chunks = chunks};
    g_autoptr(HnTouchMatrix) matrix = hn_touch_matrix_new(&region, 1, vcpus, 2);
    uint32_t n_known;

    for (int is_kvm = 0; is_kvm < 2; is_kvm++) {
        HnTouchFormat format;

        if (hn_touch_format_parse(text, len, hn_touch_events(is_kvm), &format, NULL))
            g_assert_true(format.id > 0 && format.address_offset <= 4096 &&
                          format.flags_offset <= 4096);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Touched touched = {matrix, &region, 0};
        HnTouchTally tally = {0};

        hn_touch_records_parse((const uint8_t *)text, len, &formats[i], hn_touch_events(true),
                               take_touch, &touched, &tally);
        g_assert_cmpuint(tally.n_touches, ==, touched.n_touches);
        g_assert_cmpuint(tally.n_touches, <=, len / 16);
        hn_touch_matrix_tick(matrix, (i + 1) * HN_TOUCH_WINDOW_NS);
    }
    hn_touch_matrix_fill(matrix, &region, 1, &n_known);
    g_assert_cmpuint(n_known, <=, region.n_chunks);
}

/* As a number of DAMON's, as ranges it might tell, and as entries of pagemap. */
static void parse_extras(const char *text, size_t len)
{
    uint64_t chunk_written[4] = {0}, value;
    HnWritten written = {
        .chunk_bytes = 2 * MIB, .n_chunks = G_N_ELEMENTS(chunk_written), .chunk_written = chunk_written};
    g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(HnDamonRange));
    g_autoptr(HnDomain) domain = hn_domain_new(N_NODES);
    HnRegion *region = hn_domain_add_region(domain, N_NODES);
    g_autofree uint64_t *entries = g_new0(uint64_t, len / sizeof(uint64_t) + 1);

    if (hn_damon_number_parse(text, len, &value, NULL))
        g_assert_true(len > 0 && g_ascii_isdigit(text[0]));
    region->length_bytes = 7 * MIB;
    region->chunk_bytes = 2 * MIB;
    region->n_chunks = 4;
    region->chunks = g_new0(HnChunk, 4);
    g_array_append_vals(ranges, text, (guint)(len / sizeof(HnDamonRange)));
    for (guint i = 0; i < ranges->len; i++)
        g_array_index(ranges, HnDamonRange, i).n_accesses %= HN_DAMON_SAMPLES + 1;
    hn_damon_lay(ranges, 0, domain);
    g_assert_cmpuint(domain->heat.n_ranges, ==, ranges->len);
    if (len > 0)
        memcpy(entries, text, len / sizeof(uint64_t) * sizeof(uint64_t));
    hn_pagemap_count(entries, len / sizeof(uint64_t), 4096, 0, &written);
    g_assert_cmpuint(written.written_bytes, <=, len / sizeof(uint64_t) * 4096);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_malloc(size ? size : 1);
    g_autoptr(HnHost) host = make_host();
    uint64_t first[N_NODES] = {0};
    HnRegion region = {
        .hva_start = 0x7f0000000000, .length_bytes = 1u << 30, .resident_bytes = first};
    HnOpenFiles files = {0};
    g_autofree char *target = NULL;

    if (size)
        memcpy(text, data, size);
    parse_process(text, size);
    parse_host(text, size, host);
    parse_counters(text, size, host);
    parse_maps(text, size, host);
    parse_touches(text, size);
    parse_extras(text, size);
    hn_numa_maps_parse(text, size, host, &region, 1, NULL, NULL);
    target = g_strndup(text, size);
    hn_open_files_account(&files, target);
    return 0;
}
