/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sampling touches through the observer, against live processes that look like QEMU and a perf that
 * is the test's: on and off, accounting, threads that come and go, everything that can be denied.
 */
#include "fake-perf.h"
#include "fake.h"
#include "observe/observer.h"

#include <errno.h>
#include <time.h>

#define MIB ((uint64_t)1 << 20)
#define N_VCPUS 3

static const char *program;

typedef struct {
    FakePerf *perf;
    HnRoot *root;
    HnObserver *observer;
    FakeQemu *qemu;
    GPtrArray *infos;
    HnObserveOptions options;
    const char *uuids[2];
    int32_t tids[N_VCPUS + 1];
} Fixture;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static HnSnapshot *observe(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    HnSnapshot *snapshot;
    const HnDomain *domain;

    fixture->options.now_ns += 2000000000;
    snapshot =
        hn_observer_observe(fixture->observer, fixture->infos, &fixture->options, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(snapshot->domains->len, ==, 1);
    domain = g_ptr_array_index(snapshot->domains, 0);
    for (uint32_t i = 0; i < domain->n_vcpus && i < G_N_ELEMENTS(fixture->tids); i++)
        fixture->tids[i] = domain->vcpus[i].tid;
    return snapshot;
}

static const HnDomain *only(const HnSnapshot *snapshot)
{
    return g_ptr_array_index(snapshot->domains, 0);
}

/* Memory that alternates page by page: what an interleaved node is to another, here "not there". */
static const char every_other[] = "every other page";

static int every_other_is_absent(void *user_data, int64_t pid, size_t n, void **addresses, int *ret_status)
{
    for (size_t i = 0; i < n; i++)
        ret_status[i] = (uintptr_t)addresses[i] / 4096 % 2 ? -ENOENT : 0;
    return 0;
}

static void set_up(Fixture *fixture, gconstpointer data)
{
    HnObserverConfig config = {0};
    HnSnapshot *snapshot;

    fixture->perf = fake_perf_new();
    config.perf_ops = fake_perf_ops(fixture->perf);
    if (data == every_other)
        config.probe_ops.query = every_other_is_absent;
    fixture->root = hn_root_open("/", NULL);
    fixture->observer = hn_observer_new(fixture->root, &config);
    fixture->qemu = fake_qemu_start(program, "touched", N_VCPUS, "16", "small");
    fixture->infos = g_ptr_array_new();
    g_ptr_array_add(fixture->infos, &fixture->qemu->info);
    fixture->uuids[0] = fixture->qemu->info.uuid;
    hn_observe_options_init(&fixture->options, now_ns());
    snapshot = observe(fixture); /* rung off: regions, chunks and threads are known now */
    g_assert_false(only(snapshot)->touches.is_on);
    g_assert_null(only(snapshot)->touches.impediment);
    g_assert_cmpuint(only(snapshot)->touches.age_ns, ==, UINT64_MAX);
    hn_snapshot_free(snapshot);
    g_assert_cmpuint(fixture->perf->n_opened, ==, 0);
}

static void tear_down(Fixture *fixture, gconstpointer data)
{
    hn_observer_free(fixture->observer);
    fake_qemu_free(fixture->qemu);
    g_ptr_array_unref(fixture->infos);
    hn_root_free(fixture->root);
    fake_perf_free(fixture->perf);
}


static void switch_on(Fixture *fixture)
{
    fixture->options.touch_uuids = fixture->uuids;
    g_autoptr(HnSnapshot) snapshot = observe(fixture);
    g_assert_true(only(snapshot)->touches.is_on);
    g_assert_null(only(snapshot)->touches.impediment);
    g_assert_cmpuint(only(snapshot)->touches.n_touches, ==, 0);
}

/* vCPU v touches chunks v, v + 3, …; guest-physical, as KVM tells it. */
static void touch_own(Fixture *fixture, const HnDomain *domain)
{
    for (uint32_t k = 0; k < domain->regions[0].n_chunks; k++)
        for (uint32_t i = 0; i < 20; i++)
            fake_perf_fault(fixture->perf, fixture->tids[k % N_VCPUS],
                            k * domain->regions[0].chunk_bytes + i * 4096, i < 5 ? 2 : 0);
}

static void test_on_and_off(Fixture *fixture, gconstpointer data)
{
    uint64_t n_seen = 0, on_nodes = 0;
    uint64_t idle_bytes, busy_bytes, after_bytes;
    uint32_t idle_descriptors, busy_descriptors, after_descriptors, n_chunks = 0;

    hn_observer_usage(fixture->observer, &idle_descriptors, &idle_bytes);
    switch_on(fixture);
    hn_observer_usage(fixture->observer, &busy_descriptors, &busy_bytes);
    g_assert_cmpuint(busy_descriptors, ==, idle_descriptors + N_VCPUS);
    g_assert_cmpuint(busy_bytes, >, idle_bytes + N_VCPUS * 16 * 4096);
    for (uint32_t round = 0; round < 4; round++) {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);
        const HnDomain *domain = only(snapshot);

        g_assert_cmpuint(domain->touches.n_touches, ==, n_seen);
        g_assert_cmpuint(domain->touches.n_writes, ==, n_seen / 4);
        g_assert_cmpuint(domain->touches.n_elsewhere, ==, round);
        g_assert_cmpuint(domain->touches.n_lost, ==, 0);
        n_chunks = domain->regions[0].n_chunks;
        g_assert_cmpuint(n_chunks, ==, 8);
        touch_own(fixture, domain);
        fake_perf_fault(fixture->perf, fixture->tids[0], 0xfee00000, 0); /* MMIO */
        n_seen += 20 * n_chunks;
    }
    /* Switched off: what came since the last round still counts, then everything is closed. */
    fixture->options.touch_uuids = NULL;
    for (uint32_t round = 0; round < 2; round++) {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);
        const HnDomain *domain = only(snapshot);

        g_assert_false(domain->touches.is_on);
        g_assert_cmpuint(domain->touches.n_touches, ==, n_seen);
        g_assert_cmpuint(domain->touches.n_chunks_known, ==, n_chunks);
        g_assert_cmpuint(domain->touches.age_ns, ==, round * 2000000000);
        g_assert_cmpuint(domain->touches.n_independent, ==, 20 * n_chunks); /* each of another page */
        for (uint32_t k = 0; k < n_chunks; k++) {
            g_assert_cmpuint(domain->regions[0].chunks[k].touch_clients, ==,
                             UINT64_C(1) << (k % N_VCPUS));
            g_assert_cmpuint(domain->regions[0].chunks[k].heat, >, 50);
        }
        for (uint32_t v = 0; v < domain->n_vcpus; v++)
            for (uint32_t n = 0; n < snapshot->host->n_nodes; n++)
                on_nodes += domain->vcpus[v].touches[n];
    }
    /* Nodes are asked of the kernel: the pages are there, so their touches are on some node. What
     * came two rounds ago has faded a little. */
    g_assert_cmpuint(on_nodes / 2, >, n_seen * 3 / 4);
    g_assert_cmpuint(on_nodes / 2, <=, n_seen);
    hn_observer_usage(fixture->observer, &after_descriptors, &after_bytes);
    g_assert_cmpuint(after_descriptors, ==, idle_descriptors);
    g_assert_cmpuint(after_bytes, <, idle_bytes + 1024);
    g_assert_cmpuint(fixture->perf->n_closed, ==, N_VCPUS);
}

/* A guest without KVM: addresses are QEMU's own, and its heap is none of the guest's RAM. */
static void test_tcg(Fixture *fixture, gconstpointer data)
{
    fixture->qemu->info.is_kvm = false;
    switch_on(fixture);
    g_assert_cmpuint(fixture->perf->last_id, ==, 135);
    for (uint32_t round = 0; round < 3; round++) {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);
        const HnRegion *region = &only(snapshot)->regions[0];

        fake_perf_fault(fixture->perf, fixture->tids[1], region->hva_start + 3 * MIB, 6);
        fake_perf_fault(fixture->perf, fixture->tids[1], 0x555555000000, 6);
    }
    g_autoptr(HnSnapshot) snapshot = observe(fixture);
    g_assert_cmpuint(only(snapshot)->touches.n_touches, ==, 3);
    g_assert_cmpuint(only(snapshot)->touches.n_elsewhere, ==, 3);
    g_assert_cmpuint(only(snapshot)->regions[0].chunks[1].touch_clients, ==, 2);
}

/* A full ring: what is lost is counted, and from then on fewer are recorded, each for several. */
static void test_lost(Fixture *fixture, gconstpointer data)
{
    uint64_t n_told;

    switch_on(fixture);
    for (uint32_t i = 0; i < 3000; i++)
        fake_perf_fault(fixture->perf, fixture->tids[0], i % 16 * MIB, 0);
    hn_snapshot_free(observe(fixture));
    fake_perf_fault(fixture->perf, fixture->tids[0], 0, 0);
    g_autoptr(HnSnapshot) snapshot = observe(fixture);
    const HnTouchSummary *touches = &only(snapshot)->touches;
    /* After the first drain one of three was recorded; what was lost was lost before. */
    g_assert_cmpuint(touches->n_touches, ==, 16 * 4096 / FAKE_RECORD_BYTES + 3);
    g_assert_cmpuint(touches->n_lost, ==, 3000 - 16 * 4096 / FAKE_RECORD_BYTES);
    n_told = touches->n_touches;
    fake_perf_fault(fixture->perf, fixture->tids[0], 0, 0);
    g_autoptr(HnSnapshot) later = observe(fixture);
    g_assert_cmpuint(only(later)->touches.n_touches, ==, n_told + 7);
}

/* vCPUs are plugged and unplugged while they are watched. */
static void test_hotplug(Fixture *fixture, gconstpointer data)
{
    switch_on(fixture);
    g_assert_cmpuint(fixture->perf->rings->len, ==, N_VCPUS);
    fake_qemu_tell(fixture->qemu, "plug");
    /* The new thread's name may be read a round late. */
    for (uint32_t i = 0; i < 5 && fixture->perf->rings->len == N_VCPUS; i++)
        hn_snapshot_free(observe(fixture));
    g_assert_cmpuint(fixture->perf->rings->len, ==, N_VCPUS + 1);
    for (uint32_t round = 0; round < 3; round++) {
        fake_perf_fault(fixture->perf, fixture->tids[N_VCPUS], 5 * MIB, 0);
        hn_snapshot_free(observe(fixture));
    }
    g_autoptr(HnSnapshot) snapshot = observe(fixture);
    g_assert_cmpuint(only(snapshot)->n_vcpus, ==, N_VCPUS + 1);
    g_assert_cmpuint(only(snapshot)->regions[0].chunks[2].touch_clients, ==, 1 << N_VCPUS);
    fake_qemu_tell(fixture->qemu, "unplug");
    for (uint32_t i = 0; i < 5 && fixture->perf->rings->len > N_VCPUS; i++)
        hn_snapshot_free(observe(fixture));
    g_assert_cmpuint(fixture->perf->rings->len, ==, N_VCPUS);
}

/* Many times more touches than the kernel is asked about, in order, of memory interleaved in order: what is asked
 * must be a fair sample of both halves. */
static void test_sweep_of_interleaved(Fixture *fixture, gconstpointer data)
{
    uint64_t n_touches = 0, on_node = 0;

    switch_on(fixture);
    for (uint32_t round = 0; round < 3; round++) {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);
        for (uint64_t page = 0; page < 600 * N_VCPUS; page++) /* no more than the rings have room for */
            fake_perf_fault(fixture->perf, fixture->tids[page / 600], page * 4096, 2);
    }
    g_autoptr(HnSnapshot) snapshot = observe(fixture);
    const HnDomain *domain = only(snapshot);

    n_touches = domain->touches.n_touches;
    g_assert_cmpuint(n_touches, ==, 3 * 600 * N_VCPUS);
    g_assert_cmpuint(domain->touches.n_lost, ==, 0);
    for (uint32_t v = 0; v < domain->n_vcpus; v++)
        for (uint32_t n = 0; n < snapshot->host->n_nodes; n++)
            on_node += domain->vcpus[v].touches[n];
    /* Half of them, but for what has faded in 6 s (half-life 30 s) and the sample's error (4 sigma of 1,536: 5 %). */
    g_assert_cmpuint(on_node, >, n_touches * 38 / 100);
    g_assert_cmpuint(on_node, <, n_touches * 55 / 100);
}

/* The guest dies while it is watched: it is left out, and its rings are closed. */
static void test_vanishes(Fixture *fixture, gconstpointer data)
{
    g_autoptr(HnSnapshot) snapshot = NULL;

    switch_on(fixture);
    fake_qemu_kill(fixture->qemu);
    fixture->options.now_ns += 2000000000;
    snapshot =
        hn_observer_observe(fixture->observer, fixture->infos, &fixture->options, NULL);
    g_assert_cmpuint(snapshot->domains->len, ==, 0);
    g_assert_cmpuint(fixture->perf->n_closed, ==, N_VCPUS);
}

typedef struct {
    const char *no_event;
    int fail_with;
    uint32_t fail_after;
    const char *code; /* expected */
    bool is_on;
} Denial;

static const Denial denials[] = {
    {"no-trace-event", 0, 0, "no-trace-event", false},
    {"tracefs-denied", 0, 0, "tracefs-denied", false},
    {NULL, EACCES, 0, "perf-denied", false},
    {NULL, ENOSYS, 0, "no-perf", false},
    {NULL, ENOENT, 0, "no-trace-event", false},
    {NULL, ENOMEM, 1, "no-ring-memory", true}, /* one vCPU of three is better than none */
    {NULL, EMFILE, 2, "no-descriptors", true},
    {NULL, ESRCH, 0, NULL, false}, /* threads that end: ordinary */
};

/* What is denied is told by its code, the round goes on, and it is tried again. */
static void test_denied(Fixture *fixture, gconstpointer data)
{
    const Denial *denial = data;

    fixture->perf->no_event = denial->no_event;
    fixture->perf->fail_with = denial->fail_with;
    fixture->perf->fail_after = denial->fail_after;
    fixture->options.touch_uuids = fixture->uuids;
    for (uint32_t round = 0; round < 3; round++) {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);

        g_assert_cmpstr(only(snapshot)->touches.impediment, ==, denial->code);
        g_assert_cmpint(only(snapshot)->touches.is_on, ==, denial->is_on);
        g_assert_null(only(snapshot)->unobservable);
        g_assert_cmpuint(only(snapshot)->n_vcpus, ==, N_VCPUS);
        g_assert_cmpuint(fixture->perf->rings->len, ==, denial->is_on ? denial->fail_after : 0);
    }
    if (denial->code && !denial->is_on)
        g_assert_cmpstr(hn_observer_no_touches_reason(fixture->observer), ==, denial->code);
    fixture->perf->no_event = NULL;
    fixture->perf->fail_with = 0;
    g_autoptr(HnSnapshot) snapshot = observe(fixture);
    g_assert_null(only(snapshot)->touches.impediment);
    g_assert_cmpuint(fixture->perf->rings->len, ==, N_VCPUS);
    g_assert_null(hn_observer_no_touches_reason(fixture->observer));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(argc, ==, 2);
    if (!g_file_test("/sys/devices/system/cpu/online", G_FILE_TEST_EXISTS)) { /* a chroot that packages are built in */
        g_print("1..0 # SKIP machine: /sys is not mounted\n");
        return 0;
    }
    program = argv[1];
    g_test_add("/touch-watch/on-and-off", Fixture, NULL, set_up, test_on_and_off, tear_down);
    g_test_add("/touch-watch/tcg", Fixture, NULL, set_up, test_tcg, tear_down);
    g_test_add("/touch-watch/sweep-of-interleaved", Fixture, every_other, set_up, test_sweep_of_interleaved, tear_down);
    g_test_add("/touch-watch/lost", Fixture, NULL, set_up, test_lost, tear_down);
    g_test_add("/touch-watch/hotplug", Fixture, NULL, set_up, test_hotplug, tear_down);
    g_test_add("/touch-watch/vanishes", Fixture, NULL, set_up, test_vanishes, tear_down);
    for (size_t i = 0; i < G_N_ELEMENTS(denials); i++) {
        g_autofree char *path = g_strdup_printf("/touch-watch/denied/%zu", i);

        g_test_add(path, Fixture, &denials[i], set_up, test_denied, tear_down);
    }
    return g_test_run();
}
