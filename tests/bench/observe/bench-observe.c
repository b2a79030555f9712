/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What observing costs, in CPU time of this process, per domain with 8 vCPUs:
 *
 *     bench-observe FAKE-QEMU [DOMAINS [MIB]]
 *
 * Every figure is a median; ratios compare ways in the same run, interleaved, so that the machine's
 * other load falls on both. Goals (docs/evidence.md): a round ≤ 0.15 ms per domain, 1,024 probes ≤
 * 0.4 ms.
 */
#include "fake.h"
#include "observe/memcg.h"
#include "observe/numa-maps.h"
#include "observe/observer.h"
#include "observe/process.h"
#include "observe/regions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define N_ROUNDS 41
#define GOAL_ROUND_MS 0.15
#define GOAL_PROBES_MS 0.4

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

typedef struct {
    const char *name;
    double ms[N_ROUNDS];
    uint32_t n;
} Series;

static double median(Series *series)
{
    qsort(series->ms, series->n, sizeof(double), compare);
    return series->ms[series->n / 2];
}

/* One round; CPU milliseconds per domain. */
static void observe(HnObserver *observer, GPtrArray *infos, HnObserveOptions *options,
                    Series *series)
{
    uint64_t start_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    g_autoptr(GError) error = NULL;
    HnSnapshot *snapshot;

    options->now_ns = clock_ns(CLOCK_BOOTTIME);
    snapshot = hn_observer_observe(observer, infos, options, &error);
    if (!snapshot || snapshot->domains->len != infos->len)
        g_error("observed %u of %u domains: %s", snapshot ? snapshot->domains->len : 0, infos->len,
                error ? error->message : "no error");
    for (guint i = 0; i < snapshot->domains->len; i++) {
        const HnDomain *domain = g_ptr_array_index(snapshot->domains, i);

        if (domain->unobservable || domain->n_vcpus != 8)
            g_error("%s: %s", domain->name,
                    domain->unobservable ? domain->unobservable : "not 8 vCPUs");
    }
    hn_snapshot_free(snapshot);
    if (series)
        series->ms[series->n++] = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start_ns) / 1e6 /
                                  (infos->len ? infos->len : 1);
}

/* The same values without kept descriptors: a budget of none, through a limit on open files. */
static HnObserver *new_frugal_observer(HnRoot *root)
{
    struct rlimit limit, none = {1, 1};
    HnObserver *observer;

    getrlimit(RLIMIT_NOFILE, &limit);
    none.rlim_max = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &none);
    observer = hn_observer_new(root, NULL);
    setrlimit(RLIMIT_NOFILE, &limit);
    return observer;
}

static void bench_rounds(HnRoot *root, GPtrArray *infos)
{
    HnObserver *kept = hn_observer_new(root, NULL);
    HnObserver *frugal = new_frugal_observer(root);
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    HnObserver *empty = hn_observer_new(root, NULL);
    HnObserveOptions options;
    Series steady = {.name = "steady"}, faults = {.name = "faults"}, probes = {.name = "probes"};
    Series reopened = {.name = "reopened"}, host = {.name = "host"}, first = {.name = "first"};
    uint32_t n_descriptors;
    uint64_t bytes;
    double host_ms, steady_ms;

    hn_observe_options_init(&options, clock_ns(CLOCK_BOOTTIME));
    observe(kept, infos, &options, &first);
    observe(frugal, infos, &options, NULL);
    observe(empty, none, &options, NULL);
    options.probe_max_age_ns = UINT64_MAX;
    observe(kept, infos, &options, NULL); /* the second round asks threads for their names again */
    for (uint32_t i = 0; i < N_ROUNDS; i++) {
        observe(kept, infos, &options, &steady);
        observe(frugal, infos, &options, &reopened);
        observe(empty, none, &options, &host);
        options.with_faults = true;
        observe(kept, infos, &options, &faults);
        options.with_faults = false;
        options.probe_max_age_ns = 0;
        observe(kept, infos, &options, &probes);
        options.probe_max_age_ns = UINT64_MAX;
    }
    hn_observer_usage(kept, &n_descriptors, &bytes);
    host_ms = median(&host);
    steady_ms = median(&steady) - host_ms / infos->len;
    printf("host alone               %7.4f ms a round\n", host_ms);
    printf("first sight of a domain  %7.4f ms (smaps, list of threads, probes)\n", median(&first));
    printf("steady round             %7.4f ms a domain; goal %.2f: %s; at one round in 2 s %.4f %% "
           "of a core\n",
           steady_ms, GOAL_ROUND_MS, steady_ms <= GOAL_ROUND_MS ? "met" : "MISSED",
           steady_ms / 2000 * 100);
    printf("  without kept files     %7.4f ms, %.2f times as much\n",
           median(&reopened) - host_ms / infos->len,
           (median(&reopened) - host_ms / infos->len) / steady_ms);
    printf("  with hinting faults    %7.4f ms, %.2f times\n",
           median(&faults) - host_ms / infos->len,
           (median(&faults) - host_ms / infos->len) / steady_ms);
    printf("  with 1,024 probes      %7.4f ms, %.2f times\n",
           median(&probes) - host_ms / infos->len,
           (median(&probes) - host_ms / infos->len) / steady_ms);
    printf("kept for a domain        %u descriptors, %" G_GUINT64_FORMAT " bytes\n",
           n_descriptors / infos->len, bytes / infos->len);
    hn_observer_free(kept);
    hn_observer_free(frugal);
    hn_observer_free(empty);
}

static double time_probe(const HnHost *host, int64_t pid, HnRegionMap *map, HnProbePlan *plan,
                         uint32_t n_rounds, uint64_t *ret_n)
{
    Series series = {0};

    for (uint32_t i = 0; i < n_rounds; i++) {
        uint64_t start_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        HnResidency residency;

        plan->seed = i;
        if (!hn_residency_probe(hn_probe_ops_kernel(), host, pid, map->regions, map->n_regions,
                                plan, &residency, NULL))
            g_error("the probe failed");
        *ret_n = residency.n_probes;
        hn_residency_clear(&residency);
        series.ms[series.n++] = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start_ns) / 1e6;
    }
    return median(&series);
}

static double time_numa_maps(HnRoot *root, const HnHost *host, int64_t pid, HnRegionMap *map,
                             uint32_t n_rounds)
{
    Series series = {0};

    for (uint32_t i = 0; i < n_rounds; i++) {
        uint64_t start_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

        if (!hn_numa_maps_read(root, pid, host, map->regions, map->n_regions, NULL))
            g_error("numa_maps cannot be read");
        series.ms[series.n++] = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start_ns) / 1e6;
    }
    return median(&series);
}

static void bench_residency(HnRoot *root, const char *program, const char *mib, const char *pages)
{
    FakeQemu *qemu = fake_qemu_start(program, "residency", 1, mib, pages);
    g_autoptr(HnHost) host = NULL;
    HnObserver *observer = hn_observer_new(root, NULL);
    g_autoptr(GArray) mappings = hn_smaps_read(root, qemu->pid, NULL);
    HnProbePlan sampled = {.n_probes = 1024}, exact = {.is_exact = true};
    uint64_t n_sampled, n_exact;
    HnRegionMap map;
    double sampled_ms, exact_ms, maps_ms;

    host = hn_observer_observe_host(observer, 1, NULL);
    hn_regions_match(mappings, &qemu->info, host->n_nodes, &map);
    exact.is_all_huge = map.rss_bytes > 0 && map.huge_bytes == map.rss_bytes;
    sampled_ms = time_probe(host, qemu->pid, &map, &sampled, N_ROUNDS, &n_sampled);
    exact_ms = time_probe(host, qemu->pid, &map, &exact, 5, &n_exact);
    maps_ms = time_numa_maps(root, host, qemu->pid, &map, 5);
    printf("%s MiB, %s pages%s: %" G_GUINT64_FORMAT
           " probes %.4f ms (goal %.1f: %s), every page (%" G_GUINT64_FORMAT
           " addresses) %.4f ms = %.1f times, numa_maps %.4f ms = %.1f times\n",
           mib, pages,
           exact.is_all_huge            ? ""
           : strcmp(pages, "huge") == 0 ? " (the kernel gave small ones)"
                                        : "",
           n_sampled, sampled_ms, GOAL_PROBES_MS, sampled_ms <= GOAL_PROBES_MS ? "met" : "MISSED",
           n_exact, exact_ms, exact_ms / sampled_ms, maps_ms, maps_ms / sampled_ms);
    hn_region_map_clear(&map);
    hn_observer_free(observer);
    fake_qemu_free(qemu);
}

static void bench_cgroup(HnRoot *root)
{
    HnObserver *observer = hn_observer_new(root, NULL);
    g_autoptr(HnHost) host = hn_observer_observe_host(observer, 1, NULL);
    HnCgroup cgroup = {0};
    HnNumaStat stat;
    Series series = {0};

    if (!hn_cgroup_find(root, 1, &cgroup, NULL) &&
        !hn_cgroup_find(root, (int64_t)getpid(), &cgroup, NULL)) {
        printf("memory.numa_stat: no control group here has it\n");
        hn_observer_free(observer);
        return;
    }
    hn_numa_stat_init(&stat, host->n_nodes);
    for (uint32_t i = 0; i < N_ROUNDS; i++) {
        uint64_t start_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

        if (!hn_numa_stat_read(root, &cgroup, host, &stat, NULL))
            g_error("memory.numa_stat cannot be read");
        series.ms[series.n++] = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start_ns) / 1e6;
    }
    printf("memory.numa_stat (v%d) opened, read, parsed: %.4f ms\n", cgroup.is_v2 ? 2 : 1,
           median(&series));
    hn_numa_stat_clear(&stat);
    hn_cgroup_clear(&cgroup);
    hn_observer_free(observer);
}

int main(int argc, char **argv)
{
    uint32_t n_domains = argc > 2 ? (uint32_t)atoi(argv[2]) : 16;
    const char *mib = argc > 3 ? argv[3] : "512";
    g_autoptr(GPtrArray) qemus = g_ptr_array_new_with_free_func((GDestroyNotify)fake_qemu_free);
    g_autoptr(GPtrArray) infos = g_ptr_array_new();
    HnRoot *root;

    if (argc < 2 || n_domains == 0) {
        fprintf(stderr, "usage: bench-observe FAKE-QEMU [DOMAINS [MIB]]\n");
        return 2;
    }
    root = hn_root_open("/", NULL);
    for (uint32_t i = 0; i < n_domains; i++) {
        g_autofree char *name = g_strdup_printf("bench%u", i);
        FakeQemu *qemu = fake_qemu_start(argv[1], name, 8, "16", "small");

        g_ptr_array_add(qemus, qemu);
        g_ptr_array_add(infos, &qemu->info);
    }
    printf("%u domains of 8 vCPUs; medians of %d rounds, CPU time\n", n_domains, N_ROUNDS);
    bench_rounds(root, infos);
    bench_residency(root, argv[1], mib, "small");
    bench_residency(root, argv[1], mib, "huge");
    bench_cgroup(root);
    hn_root_free(root);
    return 0;
}
