/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the movers promise of pace, shown on the movers as they are, with made-up time: the rate within 5 % over 10 s,
 * and the 99th percentile of the calls' times at most twice the target, whatever calls cost and however they spread;
 * under pressure slower, then nothing, then full speed again.
 */
#include "apply/mover.h"
#include "virtual-host.h"

#define MIB (1ull << 20)
#define US 1000ull
#define MS 1000000ull
#define SEC (1000 * MS)
#define PID 4711

static void job_ended(HnMoveJob *job, void *user_data)
{
    g_async_queue_push(user_data, job);
}

/* Moves `bytes` from node 0 to node 1, the last cold_bytes of them in the slow lane. How it ended. */
static HnReason run_move(VirtualHost *host, const HnLimits *limits, uint64_t bytes, uint64_t cold_bytes, bool is_huge,
                         uint32_t cap_mib_per_sec, uint64_t auto_bytes_per_sec)
{
    const HnSyscalls *sys = virtual_host_syscalls(host);
    const HnRange range = {.start = VIRTUAL_BASE, .length_bytes = bytes - cold_bytes, .page_bytes = 4096,
                           .is_thp = is_huge};
    const HnRange cold = {.start = VIRTUAL_BASE + bytes - cold_bytes, .length_bytes = cold_bytes, .page_bytes = 4096,
                          .is_thp = is_huge, .is_cold = true};
    HnMoveSpec spec = {.pid = PID, .base_page_bytes = 4096, .to_node_id = 1, .limit_bytes = UINT64_MAX,
                       .expected_bytes = bytes, .ranges = g_array_new(FALSE, FALSE, sizeof(HnRange))};
    GAsyncQueue *ended = g_async_queue_new();
    HnMovers *movers = hn_movers_new(sys, virtual_host_root(host), limits, job_ended, ended);
    HnTarget *target = hn_target_new();
    HnDomain *domain = hn_domain_new(2);
    HnProgress progress;
    HnMoveResult result;
    HnMoveJob *job;

    if (auto_bytes_per_sec)
        hn_movers_set_auto_rate(movers, auto_bytes_per_sec);
    domain->pid = PID;
    domain->wish.max_mib_per_sec = cap_mib_per_sec;
    hn_target_observe(target, domain, SEC, sys->now_ns(sys->user_data));
    g_array_append_val(spec.ranges, range);
    if (cold_bytes > 0)
        g_array_append_val(spec.ranges, cold);
    job = hn_move_job_new(NULL, target, PID, PID, hn_move_new(&spec));
    job->to_node_id = 1;
    hn_target_begin(target, bytes);
    hn_movers_push(movers, job);
    g_assert_true(g_async_queue_pop(ended) == job);
    hn_move_result(job->move, &result);
    g_test_message("%s: %s", hn_reason_name(result.reason), result.sentence);
    g_assert_true(hn_target_progress(target, &progress));
    g_assert_cmpuint(progress.bytes_done, ==, result.moved_bytes);
    if (result.reason == HN_REASON_DONE) {
        g_assert_cmpuint(result.moved_bytes, ==, bytes);
        g_assert_cmpuint(progress.cold_bytes_done, ==, cold_bytes);
        g_assert_true(progress.is_cold == (cold_bytes > 0));
    }
    hn_move_job_free(job, sys);
    hn_movers_free(movers);
    hn_target_unref(target);
    hn_domain_free(domain);
    g_async_queue_unref(ended);
    return result.reason;
}

static void move_all(VirtualHost *host, const HnLimits *limits, uint64_t bytes, uint64_t cold_bytes, bool is_huge,
                     uint32_t cap_mib_per_sec, uint64_t auto_bytes_per_sec)
{
    const HnReason reason = run_move(host, limits, bytes, cold_bytes, is_huge, cap_mib_per_sec, auto_bytes_per_sec);

    g_assert_cmpstr(hn_reason_name(reason), ==, "done");
}

static gint compare_u64(gconstpointer a, gconstpointer b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The smallest value that at least permille of all are not above. */
static uint64_t quantile_ns(const GArray *calls, uint32_t permille)
{
    g_autoptr(GArray) times = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    for (guint i = 0; i < calls->len; i++)
        g_array_append_val(times, g_array_index(calls, VirtualCall, i).call_ns);
    g_array_sort(times, compare_u64);
    return g_array_index(times, uint64_t, (calls->len * permille + 999) / 1000 - 1);
}

/* Bytes per second between two instants; a call's bytes count evenly over its time. */
static double rate_between(const GArray *calls, uint64_t from_ns, uint64_t to_ns)
{
    double bytes = 0;

    for (guint i = 0; i < calls->len; i++) {
        const VirtualCall *call = &g_array_index(calls, VirtualCall, i);
        const uint64_t start = MAX(call->start_ns, from_ns), end = MIN(call->start_ns + call->call_ns, to_ns);

        if (end > start)
            bytes += (double)call->moved_bytes * (double)(end - start) / (double)call->call_ns;
    }
    return bytes / ((double)(to_ns - from_ns) / SEC);
}

static const struct {
    const char *name;
    uint32_t rate_mib, cap_mib; /* 0: no limit */
    bool is_huge;
    VirtualCosts costs;
} cases[] = {
    /* 1.2 us per 4 KiB page; a 2 MiB page in 0.19 ms (docs/acting.md names the sources) */
    {"small pages", 1024, 0, false, {.fixed_ns = 50 * US, .ns_per_mib = 310 * US, .spread_permille = 300}},
    {"huge pages", 1024, 0, true, {.fixed_ns = 50 * US, .ns_per_mib = 95 * US, .spread_permille = 300}},
    {"a slow rate", 64, 0, false, {.fixed_ns = 50 * US, .ns_per_mib = 310 * US, .spread_permille = 300}},
    {"less than a huge page a call", 8, 0, true, {.fixed_ns = 50 * US, .ns_per_mib = 95 * US, .spread_permille = 300}},
    {"the domain's own cap", 1024, 100, false, {.fixed_ns = 50 * US, .ns_per_mib = 310 * US, .spread_permille = 300}},
    {"waits that last too long", 256, 0, false,
     {.fixed_ns = 50 * US, .ns_per_mib = 310 * US, .spread_permille = 300, .oversleep_ns = 4 * MS}},
    {"calls that spread widely", 256, 0, false,
     {.fixed_ns = 50 * US, .ns_per_mib = 400 * US, .spread_permille = 900}},
    {"one call in fifty takes six times as long", 256, 0, false,
     {.fixed_ns = 50 * US, .ns_per_mib = 310 * US, .spread_permille = 200, .outlier_permille = 20, .outlier_factor = 6}},
    {"the guest begins to write hard", 128, 0, false,
     {.fixed_ns = 50 * US, .ns_per_mib = 310 * US, .spread_permille = 300, .dear_from_ns = 5 * SEC,
      .dear_until_ns = 8 * SEC, .dear_factor = 4}},
    {"a slow machine", 128, 0, false, {.fixed_ns = 200 * US, .ns_per_mib = 3000 * US, .spread_permille = 250}},
    {"a machine slower still", 128, 0, false, {.fixed_ns = 200 * US, .ns_per_mib = 5000 * US, .spread_permille = 500}},
    {"the guest begins to write very hard", 64, 0, false,
     {.fixed_ns = 50 * US, .ns_per_mib = 310 * US, .spread_permille = 300, .dear_from_ns = 2 * SEC,
      .dear_until_ns = 60 * SEC, .dear_factor = 25}},
    {"no limit", 0, 0, false, {.fixed_ns = 50 * US, .ns_per_mib = 310 * US, .spread_permille = 300}},
    {"no limit, huge, spread widely", 0, 0, true,
     {.fixed_ns = 50 * US, .ns_per_mib = 95 * US, .spread_permille = 900, .outlier_permille = 15, .outlier_factor = 5}},
};

static void test_rate_and_call_times(gconstpointer data)
{
    const guint i = GPOINTER_TO_UINT(data);
    const uint32_t limit_mib = cases[i].cap_mib ? cases[i].cap_mib : cases[i].rate_mib;
    const uint64_t bytes = (limit_mib ? limit_mib * 12 : 12 * 1024) * MIB;
    VirtualHost *host = virtual_host_new(2 * bytes + 1024 * MIB, &cases[i].costs, false);
    const GArray *calls;
    HnLimits limits;
    uint64_t p99_ns;

    hn_limits_init(&limits);
    limits.host_bytes_per_sec = cases[i].rate_mib * MIB;
    limits.is_backoff_enabled = false;
    virtual_host_add_process(host, PID, bytes, 0, cases[i].is_huge);
    move_all(host, &limits, bytes, 0, cases[i].is_huge, cases[i].cap_mib, 0);
    g_assert_cmpuint(virtual_host_bytes_on(host, PID, 1), ==, bytes);
    calls = virtual_host_calls(host);
    p99_ns = quantile_ns(calls, 990);
    g_test_message("%u calls, median %.2f ms, 99th percentile %.2f ms", calls->len, (double)quantile_ns(calls, 500) / MS,
                   (double)p99_ns / MS);
    g_assert_cmpuint(p99_ns, <=, 2 * limits.call_target_ns);
    for (uint64_t from_s = 1; limit_mib > 0 && from_s <= 2; from_s++) {
        const double share = rate_between(calls, from_s * SEC, (from_s + 10) * SEC) / (limit_mib * MIB);

        g_test_message("10 s from %" G_GUINT64_FORMAT " s on: %.4f of the limit", from_s - 1, share);
        g_assert_cmpfloat(share, >=, 0.95);
        g_assert_cmpfloat(share, <=, 1.05);
    }
    virtual_host_free(host);
}

/* What is touched moves first, at full speed; the rest afterwards, slowly; both keep their rate. */
static void test_slow_lane(void)
{
    const VirtualCosts costs = {.fixed_ns = 50 * US, .ns_per_mib = 310 * US, .spread_permille = 300};
    const uint64_t warm_bytes = 3000 * MIB, cold_bytes = 900 * MIB;
    VirtualHost *host = virtual_host_new(10000 * MIB, &costs, false);
    uint64_t moved_bytes = 0, turn_ns = 0;
    const GArray *calls;
    HnLimits limits;
    double warm, cold;

    hn_limits_init(&limits);
    limits.cold_bytes_per_sec = 75 * MIB;
    limits.is_backoff_enabled = false;
    virtual_host_add_process(host, PID, warm_bytes + cold_bytes, 0, false);
    move_all(host, &limits, warm_bytes + cold_bytes, cold_bytes, false, 0, 0);
    calls = virtual_host_calls(host);
    for (guint i = 0; i < calls->len && turn_ns == 0; i++) {
        const VirtualCall *call = &g_array_index(calls, VirtualCall, i);

        moved_bytes += call->moved_bytes;
        if (moved_bytes >= warm_bytes) {
            g_assert_cmpuint(moved_bytes, ==, warm_bytes); /* no call mixes the lanes */
            turn_ns = call->start_ns + call->call_ns;
        }
    }
    warm = rate_between(calls, SEC, turn_ns) / (1024 * MIB);
    cold = rate_between(calls, turn_ns, turn_ns + 10 * SEC) / (75 * MIB);
    g_test_message("of their limits: warm %.4f, cold %.4f", warm, cold);
    g_assert_cmpfloat(warm, >=, 0.95);
    g_assert_cmpfloat(warm, <=, 1.05);
    g_assert_cmpfloat(cold, >=, 0.95);
    g_assert_cmpfloat(cold, <=, 1.05);
    virtual_host_free(host);
}

/* host-rate = auto is the number for this host, 1 GiB/s until that is known; a node's own limit holds under it. */
static void test_auto_rate(void)
{
    static const struct {
        uint64_t auto_mib, node_mib, expected_mib;
    } autos[] = {{0, 0, 1024}, {1536, 0, 1536}, {2048, 1024, 1024}, {2048, 256, 256}};
    const VirtualCosts costs = {.fixed_ns = 50 * US, .ns_per_mib = 310 * US, .spread_permille = 300};

    for (guint i = 0; i < G_N_ELEMENTS(autos); i++) {
        const uint64_t bytes = autos[i].expected_mib * 12 * MIB;
        VirtualHost *host = virtual_host_new(2 * bytes + 1024 * MIB, &costs, false);
        HnLimits limits;
        double share;

        hn_limits_init(&limits);
        g_assert_cmpuint(limits.host_bytes_per_sec, ==, HN_RATE_AUTO);
        limits.node_bytes_per_sec = autos[i].node_mib * MIB;
        limits.is_backoff_enabled = false;
        virtual_host_add_process(host, PID, bytes, 0, false);
        move_all(host, &limits, bytes, 0, false, 0, autos[i].auto_mib * MIB);
        share = rate_between(virtual_host_calls(host), SEC, 11 * SEC) / (autos[i].expected_mib * MIB);
        g_test_message("auto %" G_GUINT64_FORMAT ", node %" G_GUINT64_FORMAT ": %.4f of %" G_GUINT64_FORMAT " MiB/s",
                       autos[i].auto_mib, autos[i].node_mib, share, autos[i].expected_mib);
        g_assert_cmpfloat(share, >=, 0.95);
        g_assert_cmpfloat(share, <=, 1.05);
        virtual_host_free(host);
    }
}

/* Memory pressure from the third second on: slower at 10 %, nothing at all at 30 %, full speed again soon after it has
 * ended; and given up where it does not end. */
static void test_pressure(gconstpointer data)
{
    static const struct {
        uint32_t percent;
        uint64_t until_s;
        double least, most; /* share of the limit under pressure, once it has been noticed */
        HnReason reason;
    } pressures[] = {
        {4, 7, 0.95, 1.05, HN_REASON_DONE},
        {10, 7, 0.05, 0.08, HN_REASON_DONE}, /* a sixteenth */
        {30, 7, 0, 0, HN_REASON_DONE},
        {30, 1000, 0, 0, HN_REASON_BACKED_OFF},
    };
    const guint i = GPOINTER_TO_UINT(data);
    const VirtualCosts costs = {.fixed_ns = 50 * US, .ns_per_mib = 310 * US, .spread_permille = 300,
                                .pressed_from_ns = 3 * SEC, .pressed_until_ns = pressures[i].until_s * SEC,
                                .psi_percent = pressures[i].percent};
    const uint64_t limit = 256 * MIB, bytes = 14 * limit;
    VirtualHost *host = virtual_host_new(2 * bytes, &costs, false);
    const GArray *calls;
    HnLimits limits;
    double under, after;

    hn_limits_init(&limits);
    limits.host_bytes_per_sec = limit;
    virtual_host_add_process(host, PID, bytes, 0, false);
    g_assert_cmpstr(hn_reason_name(run_move(host, &limits, bytes, 0, false, 0, 0)), ==,
                    hn_reason_name(pressures[i].reason));
    calls = virtual_host_calls(host);
    g_assert_cmpfloat(rate_between(calls, 1 * SEC + SEC / 10, 3 * SEC), >=, 0.95 * (double)limit);
    under = rate_between(calls, 5 * SEC, 7 * SEC) / (double)limit;
    after = rate_between(calls, 12 * SEC, 14 * SEC) / (double)limit;
    g_test_message("%u %%: %.3f of the limit under pressure, %.3f five seconds after it", pressures[i].percent, under, after);
    g_assert_cmpfloat(under, >=, pressures[i].least);
    g_assert_cmpfloat(under, <=, pressures[i].most);
    if (pressures[i].reason == HN_REASON_DONE) {
        g_assert_cmpfloat(after, >=, 0.95);
        g_assert_cmpfloat(after, <=, 1.05);
    } else {
        const VirtualCall *last = &g_array_index(calls, VirtualCall, calls->len - 1);

        g_assert_cmpuint(last->start_ns, <, 4 * SEC);
    }
    virtual_host_free(host);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/apply/pace/%s", cases[i].name);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_rate_and_call_times);
    }
    g_test_add_func("/apply/pace/slow lane", test_slow_lane);
    g_test_add_func("/apply/pace/auto", test_auto_rate);
    for (guint i = 0; i < 4; i++) {
        g_autofree char *path = g_strdup_printf("/apply/pace/pressure %u", i);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_pressure);
    }
    return g_test_run();
}
