/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pure parts that say how fast: buckets, batches, back-off, limits, room. Time is made up.
 */
#include "apply/backoff.h"
#include "apply/batch.h"
#include "apply/bucket.h"
#include "apply/room.h"
#include "fake-kernel.h"

#include <string.h>

#define MIB (1ull << 20)
#define MS 1000000ull
#define SEC (1000 * MS)

/* A greedy taker of `bytes` at a time, who oversleeps by `late_ns`. */
static uint64_t drain(uint64_t rate, uint64_t bytes, uint64_t late_ns, uint64_t span_ns, uint64_t *ret_most_100ms)
{
    g_autoptr(GArray) times = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    HnBucket bucket;
    uint64_t now = 5 * SEC;
    guint oldest = 0;

    hn_bucket_init(&bucket, rate, now);
    *ret_most_100ms = 0;
    while (now < 5 * SEC + span_ns) {
        const uint64_t wait = hn_bucket_wait_ns(&bucket, bytes, now);

        if (wait > 0) {
            now += wait + late_ns;
            continue;
        }
        hn_bucket_take(&bucket, bytes, now);
        g_array_append_val(times, now);
        while (now - g_array_index(times, uint64_t, oldest) >= 100 * MS)
            oldest++;
        *ret_most_100ms = MAX(*ret_most_100ms, (times->len - oldest) * bytes);
        now += 1000; /* a call takes some time */
    }
    return times->len * bytes;
}

static void test_bucket_rate(void)
{
    static const struct {
        uint64_t rate, bytes, late_ns;
    } cases[] = {
        {1024 * MIB, 2 * MIB, 0},          {1024 * MIB, 25 * MIB, 0},     {1024 * MIB, 25 * MIB, 5 * MS},
        {1024 * MIB, 4096, 0},             {100 * MIB, 2 * MIB, 2 * MS},  {8 * MIB, 2 * MIB, 10 * MS},
        {1 * MIB, 2 * MIB, 10 * MS},       {333333333, 1234567, 1 * MS},  {16 * MIB, 2 * MIB, 20 * MS},
        {64 * MIB, 2 * MIB, 20 * MS},      {16 * MIB, 400 * 1024, 20 * MS},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const uint64_t rate = cases[i].rate, span_s = 10;
        uint64_t most;
        const uint64_t total = drain(rate, cases[i].bytes, cases[i].late_ns, span_s * SEC, &most);
        const uint64_t ideal = rate * span_s, grain = cases[i].bytes, half = rate / 40;

        g_test_message("rate %" G_GUINT64_FORMAT ": %.4f of it, worst 100 ms %.3f of its budget", rate,
                       (double)total / ideal, (double)most / (rate / 10));
        g_assert_cmpuint(total, >=, ideal / 100 * 95 - MIN(grain, ideal / 100 * 95));
        g_assert_cmpuint(total, <=, ideal / 100 * 105 + grain);
        g_assert_cmpuint(most, <=, MAX(rate / 10 * 3 / 2 + (grain > half ? grain - half : 0), grain) + 1);
    }
}

static void test_bucket_changes(void)
{
    HnBucket bucket;

    hn_bucket_init(&bucket, 0, 0);
    g_assert_cmpuint(hn_bucket_wait_ns(&bucket, UINT64_MAX / 2, 0), ==, 0);
    hn_bucket_take(&bucket, 1ull << 40, 0);
    g_assert_cmpuint(hn_bucket_batch_bytes(&bucket), ==, UINT64_MAX);
    /* From no limit to one: no old debt, no burst. */
    hn_bucket_set_rate(&bucket, 100 * MIB, SEC);
    g_assert_cmpuint(hn_bucket_wait_ns(&bucket, MIB, SEC), ==, 10 * MS);
    g_assert_cmpuint(hn_bucket_wait_ns(&bucket, MIB, SEC + 10 * MS), ==, 0);
    hn_bucket_take(&bucket, 101 * MIB, SEC + 10 * MS);
    g_assert_cmpuint(hn_bucket_wait_ns(&bucket, MIB, SEC + 10 * MS), ==, 1010 * MS);
    hn_bucket_give(&bucket, 50 * MIB, SEC + 10 * MS);
    g_assert_cmpuint(hn_bucket_wait_ns(&bucket, MIB, SEC + 10 * MS), ==, 510 * MS);
    /* Debt is paid at the new rate. */
    hn_bucket_set_rate(&bucket, 1000 * MIB, SEC + 10 * MS);
    g_assert_cmpuint(hn_bucket_wait_ns(&bucket, MIB, SEC + 10 * MS), ==, 51 * MS);
    /* A clock read before another thread's is no leap back. */
    g_assert_cmpuint(hn_bucket_wait_ns(&bucket, MIB, SEC), ==, 51 * MS);
}

/* Calls of a given cost: does their time approach the target from below and stay under twice? */
static void test_batch_adapts(void)
{
    static const struct {
        uint64_t ns_per_mib, fixed_ns;
    } cases[] = {{100000, 20000}, {300000, 200000}, {2000, 1000}, {10000000, 0}};

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnLimits limits;
        HnBatch batch = {0};
        uint64_t bytes = 0, call_ns = 0;

        hn_limits_init(&limits);
        for (guint n = 0; n < 200; n++) {
            bytes = hn_batch_bytes(&batch, &limits);
            g_assert_cmpuint(bytes, >=, limits.batch_floor_bytes / (n < 2 ? 1 : 16));
            g_assert_cmpuint(bytes, <=, limits.batch_ceiling_bytes);
            call_ns = cases[i].fixed_ns + cases[i].ns_per_mib * bytes / MIB;
            if (n >= 2 || bytes > limits.batch_floor_bytes)
                g_assert_cmpuint(call_ns, <=, 2 * limits.call_target_ns);
            hn_batch_update(&batch, &limits, bytes, call_ns);
        }
        g_test_message("%" G_GUINT64_FORMAT " ns/MiB: %.1f MiB, %.2f ms", cases[i].ns_per_mib,
                       (double)bytes / MIB, (double)call_ns / MS);
        if (bytes < limits.batch_ceiling_bytes) {
            g_assert_cmpuint(call_ns, >=, limits.call_target_ns / 2);
            g_assert_cmpuint(call_ns, <=, limits.call_target_ns);
        }
        /* Ten times as dear at once: after two calls back under the target, or at the floor. */
        for (guint n = 0; n < 4; n++) {
            bytes = hn_batch_bytes(&batch, &limits);
            call_ns = (cases[i].fixed_ns + cases[i].ns_per_mib * bytes / MIB) * 10;
            hn_batch_update(&batch, &limits, bytes, call_ns);
        }
        g_assert_true(call_ns <= limits.call_target_ns || bytes <= limits.batch_floor_bytes);
    }
}

/* Calls at the floor that take too long: smaller ones where the bytes are what takes long, and then, when that has
 * passed, the floor and more again; the floor as it is where it is the call, or where nothing smaller can move. */
static void test_batch_floor(void)
{
    static const struct {
        uint64_t fixed_ns, ns_per_mib, unit_bytes, bytes; /* the size it comes to */
    } cases[] = {
        {0, 10 * MS, 0, 384 * 1024},           /* 3.75 ms */
        {0, 80 * MS, 0, 128 * 1024},           /* a sixteenth */
        {1 * MS, 10 * MS, 0, 282 * 1024},      /* 3.75 ms, a third more per byte */
        {12 * MS, MS / 2, 0, 2 * MIB},
        {6 * MS, 3 * MS, 0, 2 * MIB},
        {0, 10 * MS, 2 * MIB, 2 * MIB},
        {9 * MS, MS / 4, 0, 2 * MIB},          /* 9.5 ms: kept, though not aimed at */
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnBatch batch = {.unit_bytes = cases[i].unit_bytes};
        uint64_t bytes = 0, n_small = 0;
        HnLimits limits;

        hn_limits_init(&limits);
        for (guint n = 0; n < 1000; n++) {
            bytes = hn_batch_bytes(&batch, &limits);
            n_small += bytes < limits.batch_floor_bytes;
            hn_batch_update(&batch, &limits, bytes, cases[i].fixed_ns + cases[i].ns_per_mib * bytes / MIB);
        }
        g_test_message("%" G_GUINT64_FORMAT " us + %" G_GUINT64_FORMAT " us/MiB: %" G_GUINT64_FORMAT " KiB",
                       cases[i].fixed_ns / 1000, cases[i].ns_per_mib / 1000, bytes / 1024);
        g_assert_cmpuint(bytes, >=, cases[i].bytes / 100 * 90);
        g_assert_cmpuint(bytes, <=, cases[i].bytes / 100 * 110);
        if (cases[i].bytes == 2 * MIB)
            g_assert_cmpuint(n_small, <=, 300); /* tried, given up, and seldom tried again */
        for (guint n = 0; n < 1000; n++) {
            bytes = hn_batch_bytes(&batch, &limits);
            hn_batch_update(&batch, &limits, bytes, bytes * 310000 / MIB);
        }
        g_assert_cmpuint(bytes, >, 2 * MIB);
        g_assert_false(batch.is_cut);
    }
}

static void test_histogram(void)
{
    HnHistogram histogram = {0};

    g_assert_cmpuint(hn_histogram_quantile_ns(&histogram, 500), ==, 0);
    for (uint64_t ns = 1; ns <= 100000; ns++)
        hn_histogram_add(&histogram, ns * 100);
    /* Never under the truth, at most 13 % above it. */
    for (uint32_t permille = 10; permille <= 1000; permille += 10) {
        const uint64_t truth = (uint64_t)permille * 100 * 100;
        const uint64_t told = hn_histogram_quantile_ns(&histogram, permille);

        g_assert_cmpuint(told, >=, truth);
        g_assert_cmpuint(told, <=, truth + truth * 13 / 100);
    }
    g_assert_cmpuint(histogram.max_ns, ==, 10000000);
    hn_histogram_add(&histogram, UINT64_MAX);
    g_assert_cmpuint(hn_histogram_quantile_ns(&histogram, 1000), <=, UINT64_MAX);
    hn_histogram_add(&histogram, 0);
    g_assert_cmpuint(histogram.n, ==, 100002);
}

typedef struct {
    uint32_t psi, delay, baseline;
    uint64_t call_ns;
    HnBackoffState state;
    uint32_t speed;
} Step;

static void run_steps(const Step *steps, guint n)
{
    HnLimits limits;
    HnBackoff backoff;

    hn_limits_init(&limits);
    hn_backoff_init(&backoff);
    for (guint i = 0; i < n; i++) {
        const HnPressure pressure = {
            .now_ns = SEC + i * HN_BACKOFF_SAMPLE_NS,
            .has_psi = true,
            .psi_permille = steps[i].psi,
            .has_run_delay = true,
            .run_delay_permille = steps[i].delay,
            .run_delay_baseline_permille = steps[i].baseline,
            .call_ns = steps[i].call_ns,
        };

        hn_backoff_update(&backoff, &pressure, &limits);
        g_test_message("step %u", i);
        g_assert_cmpint(backoff.state, ==, steps[i].state);
        g_assert_cmpuint(backoff.speed_permille, ==, steps[i].speed);
    }
}

static void test_backoff(void)
{
    static const Step slower_and_back[] = {
        {0, 500, 500, 0, HN_BACKOFF_FULL, 1000},     /* always waited so much: no sign */
        {0, 599, 500, 0, HN_BACKOFF_FULL, 1000},
        {0, 600, 500, 0, HN_BACKOFF_SLOW, 500},      /* a rise of 10 points */
        {50, 500, 500, 0, HN_BACKOFF_SLOW, 250},     /* PSI */
        {0, 500, 500, 11 * MS, HN_BACKOFF_SLOW, 125}, /* twice the call target, at the floor */
        {60, 0, 0, 0, HN_BACKOFF_SLOW, 62},
        {60, 0, 0, 0, HN_BACKOFF_SLOW, 62},          /* not less */
        {0, 0, 0, 0, HN_BACKOFF_SLOW, 162},
        {0, 0, 0, 10 * MS, HN_BACKOFF_SLOW, 262},
    };
    static const Step pause_and_back[] = {
        {200, 0, 0, 0, HN_BACKOFF_PAUSED, 0},
        {60, 0, 0, 0, HN_BACKOFF_PAUSED, 0}, /* better, but not well */
        {0, 0, 0, 0, HN_BACKOFF_PAUSED, 0},
        {0, 0, 0, 0, HN_BACKOFF_PAUSED, 0},
        {0, 0, 0, 0, HN_BACKOFF_PAUSED, 0},
        {0, 0, 0, 0, HN_BACKOFF_PAUSED, 0},
        {0, 0, 0, 0, HN_BACKOFF_PAUSED, 0},
        {0, 0, 0, 0, HN_BACKOFF_PAUSED, 0},
        {0, 0, 0, 0, HN_BACKOFF_PAUSED, 0},
        {0, 0, 0, 0, HN_BACKOFF_SLOW, 62}, /* 2 s without a bad sample */
        {0, 0, 0, 0, HN_BACKOFF_SLOW, 162},
        {0, 400, 0, 0, HN_BACKOFF_PAUSED, 0}, /* run delay */
    };
    Step give_up[122];

    run_steps(slower_and_back, G_N_ELEMENTS(slower_and_back));
    run_steps(pause_and_back, G_N_ELEMENTS(pause_and_back));
    for (guint i = 0; i < G_N_ELEMENTS(give_up); i++)
        give_up[i] = (Step){.psi = 500, .state = i < 120 ? HN_BACKOFF_PAUSED : HN_BACKOFF_GIVE_UP};
    run_steps(give_up, G_N_ELEMENTS(give_up));
}

static void test_backoff_off(void)
{
    HnLimits limits;
    HnBackoff backoff;
    const HnPressure pressure = {.now_ns = SEC, .has_psi = true, .psi_permille = 900};

    hn_limits_init(&limits);
    limits.is_backoff_enabled = false;
    hn_backoff_init(&backoff);
    hn_backoff_update(&backoff, &pressure, &limits);
    g_assert_cmpuint(backoff.speed_permille, ==, 1000);
}

static void test_psi(void)
{
    static const struct {
        const char *text;
        int permille; /* -1: an error */
    } cases[] = {
        {"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=9.99 avg60=0 avg300=0 total=0\n", 0},
        {"some avg10=5.67 avg60=1.00 avg300=0.00 total=99\n", 56},
        {"full avg10=1.00\nsome avg10=100.00 avg60=1.00\n", 1000},
        {"some avg10=100.01\n", -1},
        {"some avg10=\n", -1},
        {"some avg10=5\n", -1},
        {"full avg10=1.00\n", -1},
        {"", -1},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        uint32_t permille = 0;
        const bool is_good = hn_psi_parse(cases[i].text, strlen(cases[i].text), &permille, &error);

        g_assert_cmpint(is_good ? (int)permille : -1, ==, cases[i].permille);
        g_assert_true(is_good == !error);
    }
}

static void test_room(void)
{
    static const struct {
        const char *text;
        int64_t bytes, clean_bytes;
    } cases[] = {
        {"Node 3 MemTotal:       1000 kB\nNode 3 MemFree:          12 kB\nNode 3 MemUsed: 9 kB\n", 12288},
        {"Node 3 MemFree: 1 kB\nNode 3 Inactive(file): 9 kB\nNode 3 Dirty: 2 kB\nNode 3 Writeback: 3 kB\n", 1024, 4096},
        {"Node 3 MemFree: 1 kB\nNode 3 Inactive(file): 4 kB\nNode 3 Dirty: 2 kB\nNode 3 Writeback: 3 kB\n", 1024, 0},
        {"Node 3 MemFree: 1 kB\nNode 3 Inactive(file): x kB\n", -1},
        {"Node 3 MemFree: x kB\n", -1},
        {"Node 3 MemFree: 12\n", -1},
        {"Node 3 MemFree: 99999999999999999999 kB\n", -1},
        {"Node 3 MemTotal: 1 kB\n", -1},
        {"", -1},
    };
    FakeKernel *kernel = fake_kernel_new(1, 1, 512 * MIB);
    HnLimits limits;
    uint64_t room = 0;

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t bytes = 0, clean_bytes = 0;
        const bool is_good =
            hn_room_parse_meminfo(cases[i].text, strlen(cases[i].text), &bytes, &clean_bytes, NULL);

        g_assert_cmpint(is_good ? (int64_t)bytes : -1, ==, cases[i].bytes);
        g_assert_cmpuint(clean_bytes, ==, (uint64_t)cases[i].clean_bytes);
    }
    hn_limits_init(&limits);
    g_assert_true(hn_room_read(fake_kernel_root(kernel), 2, 100 * MIB, 0, 2 * MIB, &limits, &room, NULL));
    g_assert_cmpuint(room, ==, (512 - 100 - 64) * MIB);
    g_assert_true(hn_room_read(fake_kernel_root(kernel), 2, 600 * MIB, 0, 2 * MIB, &limits, &room, NULL));
    g_assert_cmpuint(room, ==, 0);
    fake_kernel_write(kernel, "sys/devices/system/node/node2/hugepages/hugepages-2048kB/free_hugepages", "7\n");
    g_assert_true(hn_room_read(fake_kernel_root(kernel), 2, 600 * MIB, 2 * MIB, 2 * MIB, &limits, &room, NULL));
    g_assert_cmpuint(room, ==, 14 * MIB);
    /* Full of files: little by little. */
    fake_kernel_write(kernel, "sys/devices/system/node/node3/meminfo",
                      "Node 3 MemFree: 65536 kB\nNode 3 Inactive(file): 1048576 kB\nNode 3 Dirty: 1024 kB\n");
    g_assert_true(hn_room_read(fake_kernel_root(kernel), 3, 100 * MIB, 0, 2 * MIB, &limits, &room, NULL));
    g_assert_cmpuint(room, ==, 2 * MIB);
    g_assert_true(hn_room_read(fake_kernel_root(kernel), 3, 1086 * MIB, 0, 2 * MIB, &limits, &room, NULL));
    g_assert_cmpuint(room, ==, 0);
    g_assert_true(hn_room_read(fake_kernel_root(kernel), 3, 100 * MIB, 2 * MIB, 2 * MIB, &limits, &room, NULL));
    g_assert_cmpuint(room, ==, 0);
    g_assert_false(hn_room_read(fake_kernel_root(kernel), 9, 0, 0, 0, &limits, &room, NULL));
    fake_kernel_free(kernel);
}

static void test_limits(void)
{
    HnLimits limits, good;
    g_autoptr(GError) error = NULL;

    hn_limits_init(&good);
    g_assert_true(hn_limits_validate(&good, NULL));
    limits = good;
    limits.batch_floor_bytes = 1;
    g_assert_false(hn_limits_validate(&limits, &error));
    g_assert_nonnull(strstr(error->message, "batch_floor_bytes is 1, allowed is 4096 to "));
    g_clear_error(&error);
    limits = good;
    limits.batch_ceiling_bytes = MIB;
    g_assert_false(hn_limits_validate(&limits, &error));
    g_assert_nonnull(strstr(error->message, "batch_ceiling_bytes"));
    g_clear_error(&error);
    limits = good;
    limits.call_target_ns = 1;
    g_assert_false(hn_limits_validate(&limits, &error));
    g_assert_nonnull(strstr(error->message, "call_target_ns"));
    limits = good;
    limits.busy_retries = 17;
    g_assert_false(hn_limits_validate(&limits, NULL));
}

/* A time on a bound belongs to it; beyond the last there is one more. The default target and twice that are bounds. */
static void test_call_times(void)
{
    HnCallTimes times = {0};
    bool has_target = false, has_twice = false;
    HnLimits limits;

    hn_limits_init(&limits);
    for (guint i = 0; i < HN_CALL_TIMES_BOUNDS; i++) {
        const uint64_t bound_ns = hn_call_times_bounds_ns[i];

        if (i > 0)
            g_assert_cmpuint(bound_ns, >, hn_call_times_bounds_ns[i - 1]);
        has_target |= bound_ns == limits.call_target_ns;
        has_twice |= bound_ns == 2 * limits.call_target_ns;
        hn_call_times_add(&times, bound_ns);
        g_assert_cmpuint(times.counts[i], ==, i == 0 ? 1 : 2);
        hn_call_times_add(&times, bound_ns + 1);
        g_assert_cmpuint(times.counts[i + 1], ==, 1);
    }
    g_assert_true(has_target && has_twice);
    memset(&times, 0, sizeof times);
    hn_call_times_add(&times, 0);
    hn_call_times_add(&times, 3 * SEC);
    g_assert_cmpuint(times.counts[0], ==, 1);
    g_assert_cmpuint(times.counts[HN_CALL_TIMES_BOUNDS], ==, 1);
    g_assert_cmpuint(times.sum_ns, ==, 3 * SEC);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/apply/bucket/rate", test_bucket_rate);
    g_test_add_func("/apply/bucket/changes", test_bucket_changes);
    g_test_add_func("/apply/batch/call-times", test_call_times);
    g_test_add_func("/apply/batch/adapts", test_batch_adapts);
    g_test_add_func("/apply/batch/floor", test_batch_floor);
    g_test_add_func("/apply/batch/histogram", test_histogram);
    g_test_add_func("/apply/backoff/table", test_backoff);
    g_test_add_func("/apply/backoff/off", test_backoff_off);
    g_test_add_func("/apply/backoff/psi", test_psi);
    g_test_add_func("/apply/room", test_room);
    g_test_add_func("/apply/limits", test_limits);
    return g_test_run();
}
