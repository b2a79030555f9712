/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the touch matrix costs, in CPU time of this process: per drained record, and per round, for
 * an ordinary and for the largest guest. Medians. The rings are filled by the test, so what the
 * kernel spends on writing a record is not in it.
 *
 *     bench-touch
 */
#include "fake-perf.h"
#include "observe/touch-matrix.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define N_ROUNDS 101
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static double cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double median(double *values)
{
    qsort(values, N_ROUNDS, sizeof *values, compare);
    return values[N_ROUNDS / 2];
}

typedef struct {
    HnTouchMatrix *matrix;
    uint32_t vcpu;
} Sink;

static void take(const HnTouch *touch, void *user_data)
{
    Sink *sink = user_data;
    HnTouchPlace place;

    hn_touch_matrix_add(sink->matrix, sink->vcpu, touch->address, true, 1, &place);
}

static void bench(uint32_t n_vcpus, uint64_t ram_bytes, uint64_t chunk_bytes)
{
    FakePerf *perf = fake_perf_new();
    HnPerfOps ops = fake_perf_ops(perf);
    HnTouchFormat format = {1502, 24, 32, 8};
    HnRegion region = {.hva_start = 0x7f0000000000,
                       .length_bytes = ram_bytes,
                       .chunk_bytes = chunk_bytes,
                       .n_chunks = (uint32_t)(ram_bytes / chunk_bytes)};
    g_autofree uint32_t *ids = g_new0(uint32_t, n_vcpus);
    g_autoptr(GByteArray) buffer = g_byte_array_new();
    double drain_ns[N_ROUNDS], tick_ns[N_ROUNDS];
    HnTouchTally tally = {0};
    HnPerfRing ring;
    Sink sink = {0};
    uint64_t random = 1;
    uint32_t n_known;

    region.chunks = g_new0(HnChunk, region.n_chunks);
    for (uint32_t i = 0; i < n_vcpus; i++)
        ids[i] = i;
    sink.matrix = hn_touch_matrix_new(&region, 1, ids, n_vcpus);
    ops.open(perf, 1, format.id, 1, 64, &ring);
    for (uint32_t round = 0; round < N_ROUNDS; round++) {
        double start_ns;

        for (uint32_t i = 0; i < 4000; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            fake_perf_fault(perf, 1, (random >> 11) % ram_bytes, i % 2 ? 2 : 0);
        }
        sink.vcpu = round % n_vcpus;
        start_ns = cpu_ns();
        hn_perf_ring_drain(&ring, &format, hn_touch_events(true), buffer, take, &sink, &tally);
        drain_ns[round] = (cpu_ns() - start_ns) / 4000;
        start_ns = cpu_ns();
        hn_touch_matrix_tick(sink.matrix, (round + 1) * 2 * HN_TOUCH_WINDOW_NS);
        hn_touch_matrix_fill(sink.matrix, &region, 1, &n_known);
        tick_ns[round] = cpu_ns() - start_ns;
    }
    if (tally.n_touches != N_ROUNDS * 4000u || tally.n_lost || tally.n_malformed)
        g_error("drained %" G_GUINT64_FORMAT " records, not %u", tally.n_touches, N_ROUNDS * 4000u);
    printf("%3u vCPUs, %5" G_GUINT64_FORMAT
           " GiB: %.0f ns a record, %.3f ms a round beside, matrix %" G_GUINT64_FORMAT
           " KiB, rings %zu KiB\n",
           n_vcpus, ram_bytes / GIB, median(drain_ns), median(tick_ns) / 1e6,
           hn_touch_matrix_bytes(sink.matrix) / 1024,
           n_vcpus * (hn_perf_ring_pages(n_vcpus) + 1) * 4);
    ops.close(perf, &ring);
    hn_touch_matrix_free(sink.matrix);
    g_free(region.chunks);
    fake_perf_free(perf);
}

int main(void)
{
    bench(8, 64 * GIB, 128 * MIB);
    bench(64, 1024 * GIB, 256 * MIB);
    bench(256, 12 * 1024 * GIB, 4 * GIB);
    return 0;
}
