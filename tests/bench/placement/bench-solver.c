/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast the search is and how far from the optimum: times of the search alone and of a whole
 * decision, and gaps against the exact search run to its end, which is itself checked against plain
 * enumeration.
 *
 *   bench-solver [SEED [INSTANCES [DOMAINS NODES]]]
 */
#include "model_of_world.h"
#include "search.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SECOND_NS UINT64_C(1000000000)
#define UNLIMITED UINT64_MAX

/* Bytes on the heap and the most there were, while it is counted, which takes time: every allocation passes here
 * (GLib takes its memory from malloc). What a sanitizer's own malloc gives out cannot be counted so. */
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HAS_HEAP_COUNT 1
#include <malloc.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void __libc_free(void *block);
static bool is_heap_counted;
static gint64 heap_bytes, heap_peak_bytes;

static void *heap_took(void *block)
{
    if (is_heap_counted && block) {
        heap_bytes += (gint64)malloc_usable_size(block);
        heap_peak_bytes = MAX(heap_peak_bytes, heap_bytes);
    }
    return block;
}

static void heap_gives(void *block)
{
    if (is_heap_counted && block)
        heap_bytes -= (gint64)malloc_usable_size(block);
}

void *malloc(size_t size)
{
    return heap_took(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return heap_took(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
    heap_gives(block);
    return heap_took(__libc_realloc(block, size));
}

void free(void *block)
{
    heap_gives(block);
    __libc_free(block);
}
#else
#define HAS_HEAP_COUNT 0
static bool is_heap_counted;
static gint64 heap_bytes, heap_peak_bytes;
#endif

/* CPU time of this process: the machine may be busy with other things. */
static gint64 cpu_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (gint64)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left < right ? -1 : left > right;
}

static double quantile(double *values, uint32_t count, uint32_t permille)
{
    qsort(values, count, sizeof(double), compare_doubles);
    return count ? values[MIN((uint64_t)count * permille / 1000, count - 1)] : 0;
}

static double mean(const double *values, uint32_t count)
{
    double sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += values[i];
    return count ? sum / count : 0;
}

static WorldMix mix_of(uint32_t n_nodes, uint32_t n_domains, uint32_t load, uint32_t fill,
                       uint32_t pinned)
{
    return (WorldMix){.min_nodes = n_nodes,
                      .max_nodes = n_nodes,
                      .n_domains = n_domains,
                      .cpu_load_permille = load,
                      .memory_fill_permille = fill,
                      .pinned_permille = pinned};
}

/* Milliseconds of the search from scratch (all unpinned) and from a placed fleet, and of whole
 * decisions. */
static void bench_time(uint32_t n_domains, uint32_t n_nodes, double goal_ms, uint64_t *seed)
{
    uint32_t repeats = n_domains >= 5000 ? 3 : n_domains >= 1000 ? 9 : 51;
    double search[64], placed[64], decide[64], steady[64];

    for (uint32_t k = 0; k < repeats; k++) {
        WorldMix mix = mix_of(n_nodes, n_domains, 1500, 700, 0);
        g_autoptr(World) world = world_new_random(&mix, seed);
        {
            g_autoptr(WorldModel) wm = world_model_new(world);
            g_autoptr(HnAssignment) a = hn_assignment_new(wm->model);
            gint64 start_us = cpu_us();
            hn_search(a);
            search[k] = (double)(cpu_us() - start_us) / 1000;
        }
        mix.pinned_permille = 1000;
        g_autoptr(World) homed = world_new_random(&mix, seed);
        {
            g_autoptr(WorldModel) wm = world_model_new(homed);
            g_autoptr(HnAssignment) a = hn_assignment_new(wm->model);
            gint64 start_us = cpu_us();
            hn_search(a);
            placed[k] = (double)(cpu_us() - start_us) / 1000;
        }
        g_autoptr(HnPast) past = hn_past_new();
        HnPolicy policy;
        hn_policy_init(&policy);
        for (uint32_t round = 0; round < 5; round++) {
            gint64 start_us = cpu_us();
            g_autoptr(HnPlan) plan =
                hn_decide(world->snapshot, &policy, past, NULL, 0, NULL, 0, NULL, NULL);
            double ms = (double)(cpu_us() - start_us) / 1000;
            if (round == 2)
                decide[k] = ms;
            if (round == 4)
                steady[k] = ms;
            world_apply(world, plan);
            world_step(world, 2 * SECOND_NS, 0, seed);
        }
    }
    printf("%6u x %-3u %9.3f %9.3f %9.3f %9.3f", n_domains, n_nodes,
           quantile(search, repeats, 500), quantile(placed, repeats, 500),
           quantile(decide, repeats, 500), quantile(steady, repeats, 500));
    if (goal_ms > 0)
        printf("   goal %g ms", goal_ms);
    printf("\n");
    fflush(stdout);
}

/* Plain enumeration, for small problems: no bound, nothing clever. */
static void enumerate(HnAssignment *a, const HnAssignment *before, uint32_t item, int64_t *best)
{
    const HnModel *m = a->model;

    if (item == m->n_items) {
        for (uint32_t i = 0; i < m->n_items; i++)
            if (!m->items[i].is_fixed && !hn_assignment_has_room(a, before, i))
                return;
        *best = MIN(*best, hn_assignment_total(a));
        return;
    }
    if (m->items[item].is_fixed) {
        enumerate(a, before, item + 1, best);
        return;
    }
    for (uint32_t state = 0; state <= m->n_nodes; state++) {
        if (state < m->n_nodes && !(m->items[item].allowed >> state & 1))
            continue;
        uint32_t was = a->state[item];
        hn_assignment_move(a, item, state);
        enumerate(a, before, item + 1, best);
        hn_assignment_move(a, item, was);
    }
}

/* Size of the problem's state space. */
static double pow_states(const HnModel *m)
{
    double size = 1;

    for (uint32_t i = 0; i < m->n_items; i++)
        size *= m->items[i].is_fixed ? 1 : 1 + __builtin_popcountll(m->items[i].allowed);
    return size;
}

static void check_exact(uint64_t *seed)
{
    uint32_t n_wrong = 0, n_tried = 0, n_cases = 200;

    for (uint32_t k = 0; k < n_cases; k++) {
        WorldMix mix =
            mix_of(2 + k % 3, 3 + k % 4, 500 + k % 5 * 500, 300 + k % 4 * 200, k % 3 * 500);
        mix.is_odd = k % 2;
        mix.has_wishes = k % 4 == 3;
        g_autoptr(World) world = world_new_random(&mix, seed);
        g_autoptr(WorldModel) wm = world_model_new(world);
        g_autoptr(HnAssignment) a = hn_assignment_new(wm->model), b = hn_assignment_new(wm->model);
        g_autoptr(HnAssignment) before = hn_assignment_new(wm->model);
        int64_t best = INT64_MAX;
        if (pow_states(wm->model) > 20000)
            continue; /* wide domains make many clients */
        n_tried++;
        enumerate(a, before, 0, &best);
        hn_search_exact(b, UNLIMITED);
        int64_t found = hn_assignment_total(b);
        if (found != best) {
            n_wrong++;
            printf("  case %u: exact search %" G_GINT64_FORMAT ", enumeration %" G_GINT64_FORMAT
                   "\n",
                   k, found, best);
        }
    }
    printf("exact search against plain enumeration: %u of %u instances agree\n", n_tried - n_wrong,
           n_tried);
    if (n_wrong)
        exit(1);
}

static void bench_gap(uint64_t *seed, uint32_t n_cases, uint32_t max_v, uint32_t max_n,
                      bool is_large)
{
    g_autofree double *gap = g_new0(double, n_cases), *local_gap = g_new0(double, n_cases),
                      *ms = g_new0(double, n_cases);
    g_autofree double *exact_ms = g_new0(double, n_cases);
    uint32_t n_optimal = 0, n_done = 0;

    for (uint32_t k = 0; k < n_cases; k++) {
        static const uint32_t loads[] = {400, 900, 1300, 2000, 3000},
                              fills[] = {200, 500, 800, 940};
        uint32_t v = is_large ? max_v : 4 + (uint32_t)(world_random(seed) % (max_v - 3));
        uint32_t n = is_large ? max_n : 2 + (uint32_t)(world_random(seed) % (max_n - 1));
        WorldMix mix = mix_of(n, v, loads[k % 5], fills[k / 5 % 4], k / 20 % 3 * 500);
        mix.is_odd = k % 2;
        mix.has_wishes = k % 3 == 0;
        g_autoptr(World) world = world_new_random(&mix, seed);
        g_autoptr(WorldModel) wm = world_model_new(world);
        g_autoptr(HnAssignment) best = hn_assignment_new(wm->model),
                                found = hn_assignment_new(wm->model);
        g_autoptr(HnAssignment) local = hn_assignment_new(wm->model);
        gint64 start_us = cpu_us();
        hn_search(found);
        ms[k] = (double)(cpu_us() - start_us) / 1000;
        hn_search_local(local);
        hn_assignment_set(best, found);
        start_us = cpu_us();
        n_done += hn_search_exact(best, is_large ? 300000 : 2000000);
        exact_ms[k] = (double)(cpu_us() - start_us) / 1000;
        double optimum = MAX((double)hn_assignment_total(best), 1);
        gap[k] = ((double)hn_assignment_total(found) - optimum) / optimum * 100;
        local_gap[k] = ((double)hn_assignment_total(local) - optimum) / optimum * 100;
        n_optimal += gap[k] < 1e-9;
    }
    double gap_mean = mean(gap, n_cases), local_mean = mean(local_gap, n_cases);
    printf("%s V %u, N %u: %u instances, optimum proven for %u, found for %u; gap mean %.3f %%, "
           "p95 %.3f %%, max %.2f %%; "
           "local search alone mean %.3f %%, p95 %.3f %%, max %.2f %%; search median %.3f ms p95 "
           "%.2f ms, proof median %.3f ms\n",
           is_large ? "at" : "up to", max_v, max_n, n_cases, n_done, n_optimal, gap_mean,
           quantile(gap, n_cases, 950), quantile(gap, n_cases, 999), local_mean,
           quantile(local_gap, n_cases, 950), quantile(local_gap, n_cases, 999),
           quantile(ms, n_cases, 500), quantile(ms, n_cases, 950),
           quantile(exact_ms, n_cases, 500));
    fflush(stdout);
}

/* What solving parts exactly brings beyond the steps where there are too many clients to prove anything. */
static void bench_parts(uint64_t *seed, uint32_t n_cases, uint32_t min_v, uint32_t max_v)
{
    g_autofree double *gain = g_new0(double, n_cases), *steps_ms = g_new0(double, n_cases),
                      *all_ms = g_new0(double, n_cases);
    uint32_t n_better = 0;

    for (uint32_t k = 0; k < n_cases; k++) {
        static const uint32_t loads[] = {400, 900, 1300, 2000, 3000},
                              fills[] = {200, 500, 800, 940};
        WorldMix mix = mix_of(2 + (uint32_t)(world_random(seed) % 7),
                              min_v + (uint32_t)(world_random(seed) % (max_v - min_v + 1)),
                              loads[k % 5], fills[k / 5 % 4], k / 20 % 3 * 500);
        mix.is_odd = k % 2;
        mix.has_wishes = k % 3 == 0;
        g_autoptr(World) world = world_new_random(&mix, seed);
        g_autoptr(WorldModel) wm = world_model_new(world);
        g_autoptr(HnAssignment) steps = hn_assignment_new(wm->model),
                                all = hn_assignment_new(wm->model);
        gint64 start_us = cpu_us();
        hn_search_steps(steps);
        steps_ms[k] = (double)(cpu_us() - start_us) / 1000;
        start_us = cpu_us();
        hn_search(all);
        all_ms[k] = (double)(cpu_us() - start_us) / 1000;
        double without = MAX((double)hn_assignment_total(steps), 1);
        gain[k] = (without - (double)hn_assignment_total(all)) / without * 100;
        n_better += gain[k] > 1e-9;
    }
    double gain_mean = mean(gain, n_cases);
    printf("V %u to %u, N up to 8: parts make %u of %u plans better, cost falls by %.2f %% on average, p95 %.1f %%; "
           "search median %.2f ms p95 %.2f ms, without parts %.2f and %.2f ms\n",
           min_v, max_v, n_better, n_cases, gain_mean, quantile(gain, n_cases, 950),
           quantile(all_ms, n_cases, 500), quantile(all_ms, n_cases, 950),
           quantile(steps_ms, n_cases, 500), quantile(steps_ms, n_cases, 950));
}

/* What a decision needs at its peak, its plan and the past it leaves among it: a constant per client and another
 * per client and node. */
static void bench_memory(uint64_t *seed)
{
    static const uint32_t sizes[][2] = {{100, 4},   {1000, 4},   {1000, 8},   {1000, 16},
                                        {1000, 64}, {10000, 8}, {10000, 64}};

    printf("KiB on the heap at the peak of a decision, past and plan included; per client; beyond that of 4 nodes, bytes "
           "per client and node\n");
    double with_four = 0;
    for (uint32_t i = 0; i < G_N_ELEMENTS(sizes) && HAS_HEAP_COUNT; i++) {
        WorldMix mix = mix_of(sizes[i][1], sizes[i][0], 1500, 700, 500);
        g_autoptr(World) world = world_new_random(&mix, seed);
        HnPolicy policy;
        hn_policy_init(&policy);
        is_heap_counted = true;
        gint64 before = heap_bytes, most = 0;
        g_autoptr(HnPast) past = hn_past_new();
        for (uint32_t round = 0; round < 3; round++) {
            heap_peak_bytes = heap_bytes;
            g_autoptr(HnPlan) plan =
                hn_decide(world->snapshot, &policy, past, NULL, 0, NULL, 0, NULL, NULL);
            most = MAX(most, heap_peak_bytes - before);
            world_step(world, 2 * SECOND_NS, 0, seed);
        }
        is_heap_counted = false;
        double per_client = (double)most / sizes[i][0];
        if (sizes[i][1] == 4)
            with_four = per_client;
        printf("%6u x %-3u %9.0f %9.2f", sizes[i][0], sizes[i][1], (double)most / 1024,
               per_client / 1024);
        if (sizes[i][1] > 4)
            printf(" %9.0f", (per_client - with_four) / (sizes[i][1] - 4));
        printf("\n");
    }
    if (!HAS_HEAP_COUNT)
        printf("   not counted in this build\n");
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? g_ascii_strtoull(argv[1], NULL, 0) : 1;

    if (argc > 4) { /* one size only */
        seed = 1;
        bench_time((uint32_t)g_ascii_strtoull(argv[3], NULL, 0),
                   (uint32_t)g_ascii_strtoull(argv[4], NULL, 0), 0, &seed);
        return 0;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %" G_GUINT64_FORMAT "\n", seed);
    check_exact(&seed);
    uint32_t n_cases = argc > 2 ? (uint32_t)g_ascii_strtoull(argv[2], NULL, 0) : 1200;
    bench_gap(&seed, n_cases, 16, 4, false);
    bench_gap(&seed, n_cases / 30, 24, 2, true);
    bench_parts(&seed, n_cases / 8, 65, 128);
    bench_parts(&seed, n_cases / 8, 129, 512);
    printf("milliseconds, medians: search from unpinned, search from a random placement, whole "
           "decision with a plan,\n"
           "whole decision with nothing to do\n");
    bench_time(10, 4, 0, &seed);
    bench_time(100, 4, 1, &seed);
    bench_time(1000, 8, 5, &seed);
    bench_time(10000, 64, 500, &seed);
    bench_memory(&seed);
    return 0;
}
