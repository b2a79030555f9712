/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The observer whole: captured machines against golden text, live processes against what is known
 * of them, and a process that vanishes at every point.
 *
 * HN_UPDATE_GOLDEN=1 rewrites the golden texts; then read the difference.
 */
#include "fake.h"
#include "machine.h"
#include "observe/capture.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <time.h>

#define MIB ((uint64_t)1 << 20)

static const char *program;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- captured machines ---- */

static void test_captured(gconstpointer data)
{
    const char *name = data;
    g_autofree char *dir = g_test_build_filename(G_TEST_DIST, "fixtures", "hosts", name, NULL);
    g_autofree char *root_dir = g_build_filename(dir, "root", NULL);
    g_autofree char *ini = g_build_filename(dir, "domains.ini", NULL);
    g_autofree char *golden_path = g_build_filename(dir, "golden.txt", NULL);
    g_autofree char *golden = NULL;
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(HnRoot) root = hn_root_open(root_dir, &error);
    g_autoptr(HnObserver) observer = NULL;
    g_autoptr(GPtrArray) infos = NULL;
    g_autoptr(HnSnapshot) snapshot = NULL;
    HnObserveOptions options;

    g_assert_no_error(error);
    infos = machine_load_infos(ini, &error);
    g_assert_no_error(error);
    observer = hn_observer_new(root, NULL);
    hn_observe_options_init(&options, 1000000000);
    options.with_faults = true;
    snapshot = hn_observer_observe(observer, infos, &options, &error);
    g_assert_no_error(error);
    text = machine_format(snapshot, observer);
    if (g_getenv("HN_UPDATE_GOLDEN"))
        g_assert_true(g_file_set_contents(golden_path, text, -1, NULL));
    g_assert_true(g_file_get_contents(golden_path, &golden, NULL, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(text, ==, golden);
    /* a captured machine does not move: neither must what is seen */
    for (int i = 0; i < 2; i++) {
        g_autoptr(HnSnapshot) again = NULL;
        g_autofree char *again_text = NULL;

        options.now_ns += 2000000000;
        again = hn_observer_observe(observer, infos, &options, NULL);
        again_text = machine_format(again, observer);
        g_assert_cmpstr(again_text, ==, text);
    }
}

/* ---- live processes ---- */

/* The kernel, with a page in the middle of the first region moved away, and failing on demand. */
typedef struct {
    uint64_t n_calls, n_asked;
    int fail_errno;
} Kernel;

static int query(void *user_data, int64_t pid, size_t n, void **addresses, int *ret_status)
{
    Kernel *kernel = user_data;

    kernel->n_calls++;
    kernel->n_asked += n;
    if (kernel->fail_errno) {
        errno = kernel->fail_errno;
        return -1;
    }
    return hn_probe_ops_kernel()->query(NULL, pid, n, addresses, ret_status);
}

typedef struct {
    HnRoot *root;
    Kernel kernel;
    HnObserver *observer;
    GPtrArray *infos;
    HnObserveOptions options;
} Fixture;

static void set_up(Fixture *fixture, gconstpointer data)
{
    HnObserverConfig config = {.probe_ops = {.query = query, .user_data = &fixture->kernel}};

    fixture->root = hn_root_open("/", NULL);
    fixture->observer = hn_observer_new(fixture->root, &config);
    fixture->infos = g_ptr_array_new();
    hn_observe_options_init(&fixture->options, now_ns());
}

static void tear_down(Fixture *fixture, gconstpointer data)
{
    uint32_t n_descriptors;
    uint64_t bytes;

    g_ptr_array_set_size(fixture->infos, 0);
    hn_snapshot_free(
        hn_observer_observe(fixture->observer, fixture->infos, &fixture->options, NULL));
    hn_observer_usage(fixture->observer, &n_descriptors, &bytes);
    g_assert_cmpuint(n_descriptors, ==, 0); /* forgotten domains hold nothing */
    g_ptr_array_unref(fixture->infos);
    hn_observer_free(fixture->observer);
    hn_root_free(fixture->root);
}

static HnSnapshot *observe(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    HnSnapshot *snapshot;

    fixture->options.now_ns = now_ns();
    snapshot = hn_observer_observe(fixture->observer, fixture->infos, &fixture->options, &error);
    g_assert_no_error(error);
    return snapshot;
}

static const HnDomain *only_domain(const HnSnapshot *snapshot)
{
    g_assert_cmpuint(snapshot->domains->len, ==, 1);
    return g_ptr_array_index(snapshot->domains, 0);
}

static void test_live(Fixture *fixture, gconstpointer data)
{
    FakeQemu *qemu = fake_qemu_start(program, "live", 2, "32,16", "small");
    g_autoptr(HnSnapshot) snapshot = NULL;
    const HnDomain *domain;
    uint64_t sum_bytes = 0;

    g_ptr_array_add(fixture->infos, &qemu->info);
    snapshot = observe(fixture);
    domain = only_domain(snapshot);
    g_assert_cmpstr(domain->unobservable, ==, NULL);
    g_assert_cmpuint(domain->n_vcpus, ==, 2);
    g_assert_cmpuint(domain->vcpus[1].id, ==, 1);
    g_assert_cmpuint(domain->n_workers, ==, 1);
    g_assert_cmpuint(domain->n_regions, ==, 2);
    g_assert_cmpint(domain->regions[0].guest_cell, ==, 0);
    g_assert_cmpuint(domain->regions[0].length_bytes, ==, 32 * MIB);
    g_assert_cmphex(domain->regions[1].gpa_base, ==, 32 * MIB);
    g_assert_cmpint(domain->resident_source, ==, HN_SOURCE_PROBE);
    for (uint32_t i = 0; i < snapshot->host->n_nodes; i++)
        sum_bytes += domain->resident_bytes[i];
    g_assert_cmpuint(sum_bytes, ==, 48 * MIB); /* all of it was touched */
    g_assert_cmpuint(domain->started_ns, <=, snapshot->taken_ns);
    g_assert_cmpuint(snapshot->taken_ns - domain->started_ns, <, 60000000000u);
    fake_qemu_free(qemu);
}

/* Nothing was ever touched: nothing is resident, and that is known exactly. */
static void test_absent(Fixture *fixture, gconstpointer data)
{
    FakeQemu *qemu = fake_qemu_start(program, "absent", 1, "64", "nothing");
    g_autoptr(HnSnapshot) snapshot = NULL;
    const char *fresh[] = {qemu->info.uuid, NULL};
    const HnDomain *domain;

    g_ptr_array_add(fixture->infos, &qemu->info);
    fixture->options.fresh_uuids = fresh;
    snapshot = observe(fixture);
    domain = only_domain(snapshot);
    g_assert_cmpuint(fixture->kernel.n_asked, ==, 64 * MIB / 4096);
    for (uint32_t i = 0; i < snapshot->host->n_nodes; i++)
        g_assert_cmpuint(domain->resident_bytes[i], ==, 0);
    g_assert_cmpint(domain->regions[0].chunks[0].node, ==, HN_NODE_NONE);
    g_assert_cmpuint(domain->resident_error_permille, ==, 0);
    fake_qemu_free(qemu);
}

/* Probes are repeated when they are old, wished, or never; not otherwise. */
static void test_probe_age(Fixture *fixture, gconstpointer data)
{
    FakeQemu *qemu = fake_qemu_start(program, "age", 1, "64", "small");
    const char *fresh[] = {qemu->info.uuid, NULL};
    uint64_t n_asked;

    g_ptr_array_add(fixture->infos, &qemu->info);
    fixture->options.n_probes = 100;
    hn_snapshot_free(observe(fixture));
    g_assert_cmpuint(fixture->kernel.n_asked, ==, 100);
    hn_snapshot_free(observe(fixture)); /* younger than 10 s */
    g_assert_cmpuint(fixture->kernel.n_asked, ==, 100);
    fixture->options.probe_max_age_ns = 0;
    hn_snapshot_free(observe(fixture));
    g_assert_cmpuint(fixture->kernel.n_asked, ==, 200);
    fixture->options.probe_max_age_ns = UINT64_MAX;
    hn_snapshot_free(observe(fixture));
    g_assert_cmpuint(fixture->kernel.n_asked, ==, 200);
    fixture->options.fresh_uuids = fresh;
    fixture->options.exact_max_bytes = 0; /* fresh, but sampled */
    hn_snapshot_free(observe(fixture));
    g_assert_cmpuint(fixture->kernel.n_asked, ==, 300);
    n_asked = fixture->kernel.n_asked;
    fixture->options.exact_max_bytes = 64 * MIB;
    hn_snapshot_free(observe(fixture));
    g_assert_cmpuint(fixture->kernel.n_asked - n_asked, ==, 64 * MIB / 4096);
    fake_qemu_free(qemu);
}

/* What is wished of one domain outweighs what is said for all; others' wishes do not touch it. */
static void test_wishes(Fixture *fixture, gconstpointer data)
{
    FakeQemu *qemu = fake_qemu_start(program, "wishes", 1, "64", "small");
    HnObserveWish wishes[] = {{.uuid = "00000000-0000-0000-0000-000000000000"},
                              {.probe_max_age_ns = UINT64_MAX},
                              {.uuid = "ffffffff-ffff-ffff-ffff-ffffffffffff"}};

    g_strlcpy(wishes[1].uuid, qemu->info.uuid, sizeof wishes[1].uuid);
    g_ptr_array_add(fixture->infos, &qemu->info);
    fixture->options.n_probes = 100;
    fixture->options.probe_max_age_ns = 0;
    hn_snapshot_free(observe(fixture));
    g_assert_cmpuint(fixture->kernel.n_asked, ==, 100);
    fixture->options.wishes = wishes;
    fixture->options.n_wishes = G_N_ELEMENTS(wishes);
    hn_snapshot_free(observe(fixture)); /* it has probes, and wants no others */
    g_assert_cmpuint(fixture->kernel.n_asked, ==, 100);
    wishes[1].probe_max_age_ns = 0;
    hn_snapshot_free(observe(fixture));
    g_assert_cmpuint(fixture->kernel.n_asked, ==, 200);
    fixture->options.n_wishes = 1; /* somebody else's only */
    fixture->options.probe_max_age_ns = UINT64_MAX;
    hn_snapshot_free(observe(fixture));
    g_assert_cmpuint(fixture->kernel.n_asked, ==, 200);
    fake_qemu_free(qemu);
}

static void test_hotplug(Fixture *fixture, gconstpointer data)
{
    FakeQemu *qemu = fake_qemu_start(program, "hotplug", 2, "4", "small");
    HnGuestCell cell = {.id = 0};

    qemu->info.cells = g_array_new(FALSE, TRUE, sizeof(HnGuestCell));
    for (uint32_t i = 0; i < 8; i++)
        hn_cpuset_add(&cell.vcpus, i);
    g_array_append_val(qemu->info.cells, cell);
    g_ptr_array_add(fixture->infos, &qemu->info);
    hn_snapshot_free(observe(fixture));
    fake_qemu_tell(qemu, "plug"); /* the back end has not noticed */
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);
        const HnDomain *domain = only_domain(snapshot);

        g_assert_cmpuint(domain->n_vcpus, ==, 3);
        g_assert_cmpint(domain->vcpus[2].guest_cell, ==, 0);
        g_assert_null(domain->unobservable);
    }
    fake_qemu_tell(qemu, "unplug");
    fake_qemu_tell(qemu, "unplug"); /* … nor this */
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);
        const HnDomain *domain = only_domain(snapshot);

        g_assert_cmpuint(domain->n_vcpus, ==, 1);
        g_assert_nonnull(strstr(domain->unobservable, "vCPU 1"));
    }
    g_array_unref(qemu->info.cells);
    qemu->info.cells = NULL;
    fake_qemu_free(qemu);
}

/* A mapping that is no RAM comes: the regions, and what is known of them, stay. */
static void test_mapping_comes(Fixture *fixture, gconstpointer data)
{
    FakeQemu *qemu = fake_qemu_start(program, "mapping", 1, "16", "small");
    uint64_t n_asked;

    g_ptr_array_add(fixture->infos, &qemu->info);
    hn_snapshot_free(observe(fixture));
    n_asked = fixture->kernel.n_asked;
    fake_qemu_tell(qemu, "map");
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);
        const HnDomain *domain = only_domain(snapshot);

        g_assert_null(domain->unobservable);
        g_assert_cmpuint(domain->n_regions, ==, 1);
        g_assert_cmpuint(domain->regions[0].n_chunks, ==, 8);
    }
    g_assert_cmpuint(fixture->kernel.n_asked, ==, n_asked);
    fake_qemu_free(qemu);
}

static void test_vanishing(Fixture *fixture, gconstpointer data)
{
    FakeQemu *stays = fake_qemu_start(program, "stays", 1, "4", "small");
    FakeQemu *goes = fake_qemu_start(program, "goes", 1, "4", "small");
    FakeQemu *never_seen = fake_qemu_start(program, "never", 1, "4", "small");

    g_ptr_array_add(fixture->infos, &stays->info);
    g_ptr_array_add(fixture->infos, &goes->info);
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);

        g_assert_cmpuint(snapshot->domains->len, ==, 2);
    }
    fake_qemu_kill(goes);
    fake_qemu_kill(never_seen);
    g_ptr_array_add(fixture->infos, &never_seen->info);
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);

        g_assert_cmpstr(only_domain(snapshot)->name, ==, "stays");
        g_assert_cmpint(hn_observer_dup_pidfd(fixture->observer, goes->info.uuid), ==, -1);
    }
    {
        int pidfd = hn_observer_dup_pidfd(fixture->observer, stays->info.uuid);

        g_assert_cmpint(pidfd, >=, 0);
        g_close(pidfd, NULL);
    }
    fake_qemu_free(stays);
    fake_qemu_free(goes);
    fake_qemu_free(never_seen);
}

/* The pid belongs to another guest, or to no guest: it is never taken for ours. */
static void test_wrong_process(Fixture *fixture, gconstpointer data)
{
    FakeQemu *qemu = fake_qemu_start(program, "other", 1, "4", "small");
    g_autofree char *name = g_steal_pointer(&qemu->info.name);

    qemu->info.name = g_strdup("mine");
    g_ptr_array_add(fixture->infos, &qemu->info);
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);

        g_assert_cmpuint(snapshot->domains->len, ==, 0);
    }
    g_assert_cmpuint(fixture->kernel.n_calls, ==, 0); /* its memory was not even asked for */
    qemu->info.pid = 0;
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);

        g_assert_nonnull(only_domain(snapshot)->unobservable);
        g_assert_cmpuint(only_domain(snapshot)->configured_bytes, ==, 4 * MIB);
    }
    fake_qemu_free(qemu);
}

/* Rights are missing, or memory was configured that is not there: told in a sentence, the rest is
 * seen. */
static void test_unobservable(Fixture *fixture, gconstpointer data)
{
    FakeQemu *qemu = fake_qemu_start(program, "partly", 2, "4", "small");

    g_ptr_array_add(fixture->infos, &qemu->info);
    fixture->kernel.fail_errno = EPERM;
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);
        const HnDomain *domain = only_domain(snapshot);

        g_assert_nonnull(strstr(domain->unobservable, "CAP_SYS_PTRACE"));
        g_assert_cmpuint(domain->n_vcpus, ==, 2);
        g_assert_cmpuint(domain->n_regions, ==, 1);
        g_assert_cmpint(domain->resident_source, ==, HN_SOURCE_NONE);
    }
    fixture->kernel.fail_errno = 0;
    ((HnMemoryInfo *)g_ptr_array_index(qemu->info.memory, 0))->length_bytes = 8 * MIB;
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);

        g_assert_nonnull(strstr(only_domain(snapshot)->unobservable, "8 MiB"));
    }
    ((HnMemoryInfo *)g_ptr_array_index(qemu->info.memory, 0))->length_bytes = 4 * MIB;
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);

        g_assert_null(only_domain(snapshot)->unobservable);
    }
    fake_qemu_free(qemu);
}

static void test_snapshot_is_a_copy(Fixture *fixture, gconstpointer data)
{
    FakeQemu *qemu = fake_qemu_start(program, "copy", 1, "16", "small");
    g_autoptr(HnSnapshot) first = NULL;
    const HnDomain *domain;

    g_ptr_array_add(fixture->infos, &qemu->info);
    first = observe(fixture);
    domain = only_domain(first);
    fake_qemu_kill(qemu);
    hn_snapshot_free(observe(fixture)); /* forgets all it kept of the domain */
    g_assert_cmpuint(domain->regions[0].n_chunks, ==, 8);
    g_assert_cmpint(domain->regions[0].chunks[7].node, ==, 0);
    g_assert_cmpstr(domain->name, ==, "copy");
    fake_qemu_free(qemu);
}

/* A guest's own use is not "other load"; without the guest in the list it is. */
static void test_other_load(Fixture *fixture, gconstpointer data)
{
    FakeQemu *qemu = fake_qemu_start(program, "load", 1, "4", "small");
    uint64_t with_mcpu = 0, without_mcpu = 0, n_cpus = 0;

    fake_qemu_tell(qemu, "spin");
    hn_snapshot_free(observe(fixture));
    g_usleep(400000);
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);

        for (uint32_t i = 0; i < snapshot->host->n_nodes; i++) {
            without_mcpu += snapshot->host->nodes[i].other_load_mcpu;
            n_cpus += snapshot->host->nodes[i].n_cpus;
        }
    }
    g_ptr_array_add(fixture->infos, &qemu->info);
    hn_snapshot_free(observe(fixture));
    g_usleep(400000);
    {
        g_autoptr(HnSnapshot) snapshot = observe(fixture);
        const HnDomain *domain = only_domain(snapshot);

        for (uint32_t i = 0; i < snapshot->host->n_nodes; i++)
            with_mcpu += snapshot->host->nodes[i].other_load_mcpu;
        g_test_message("other load: %" G_GUINT64_FORMAT
                       " mCPU without the guest in the list, %" G_GUINT64_FORMAT
                       " with it; it ran %" G_GUINT64_FORMAT " ms in all",
                       without_mcpu, with_mcpu, domain->vcpus[0].exec_ns / 1000000);
    }
    g_assert_cmpuint(without_mcpu, >,
                     100); /* at least what the spinner got on a machine however loaded */
    g_assert_cmpuint(with_mcpu, <=, n_cpus * 1000);
    fake_qemu_free(qemu);
}

/* ---- the control group as a cheap sign ---- */

#define G2_FIRST_HVA 0x7f6cbc600000u
#define G2_PRESENT_BYTES 35651584u /* of the first region; the second is all there */

/* Guest g2 of the captured machine, as it was. */
static int query_g2(void *user_data, int64_t pid, size_t n, void **addresses, int *ret_status)
{
    ((Kernel *)user_data)->n_calls++;
    for (size_t i = 0; i < n; i++) {
        uint64_t hva = (uint64_t)(uintptr_t)addresses[i];

        ret_status[i] = hva >= G2_FIRST_HVA + G2_PRESENT_BYTES ? -ENOENT : 0;
    }
    return 0;
}

/* Writes the group's counters in place, as the kernel would change them. */
static void write_counters(const char *path, uint64_t node0_bytes, uint64_t node1_bytes)
{
    FILE *file = g_fopen(path, "w");

    g_assert_nonnull(file);
    fprintf(file,
            "anon N0=%" G_GUINT64_FORMAT " N1=%" G_GUINT64_FORMAT
            "\nshmem N0=0 N1=0\nanon_thp N0=0 N1=0\n",
            node0_bytes, node1_bytes);
    fclose(file);
}

/* Little moved: the totals follow the counters, QEMU's own memory cancels out. Much moved: probed
 * again. */
static void test_control_group(void)
{
    g_autofree char *parent = g_dir_make_tmp("hn-group-XXXXXX", NULL);
    g_autofree char *source =
        g_test_build_filename(G_TEST_DIST, "fixtures", "hosts", "two-nodes", NULL);
    g_autofree char *copy = g_strdup_printf("cp -r '%s' '%s/m'", source, parent);
    g_autofree char *cleanup = g_strdup_printf("rm -rf '%s'", parent);
    g_autofree char *root_dir = g_build_filename(parent, "m", "root", NULL);
    g_autofree char *ini = g_build_filename(parent, "m", "domains.ini", NULL);
    g_autofree char *counters =
        g_build_filename(root_dir, "sys/fs/cgroup/machine.slice", "machine-qemu\\x2d2\\x2dg2.scope",
                         "memory.numa_stat", NULL);
    const uint64_t own_bytes = 20 * MIB; /* QEMU's heap and the like, on node 1 */
    const uint64_t guest_bytes = G2_PRESENT_BYTES + 48 * MIB;
    Kernel kernel = {0};
    HnObserverConfig config = {.probe_ops = {.query = query_g2, .user_data = &kernel}};
    HnObserveOptions options;
    HnObserver *observer;
    HnRoot *root;

    g_assert_true(g_spawn_command_line_sync(copy, NULL, NULL, NULL, NULL));
    root = hn_root_open(root_dir, NULL);
    observer = hn_observer_new(root, &config);
    hn_observe_options_init(&options, 1000000000);
    options.probe_max_age_ns = UINT64_MAX;
    options.n_probes = 1 << 20; /* all pages */
    write_counters(counters, guest_bytes, own_bytes);
    for (int step = 0; step < 4; step++) {
        g_autoptr(GPtrArray) infos = machine_load_infos(ini, NULL);
        g_autoptr(HnSnapshot) snapshot = NULL;
        uint64_t n_calls = kernel.n_calls;
        const HnDomain *domain;

        g_ptr_array_remove_index(infos, 2);
        g_ptr_array_remove_index(infos, 0); /* g2 is left */
        if (step == 1)
            write_counters(counters, guest_bytes - MIB, own_bytes + MIB); /* 1 of 96 MiB */
        else if (step == 2)
            write_counters(counters, guest_bytes - 8 * MIB, own_bytes + 8 * MIB);
        else if (step == 3)
            write_counters(counters, 30 * MIB, 0); /* charged elsewhere: not to be trusted */
        options.now_ns += 2000000000;
        snapshot = hn_observer_observe(observer, infos, &options, NULL);
        domain = only_domain(snapshot);
        g_assert_null(domain->unobservable);
        g_assert_cmpint(kernel.n_calls > n_calls, ==, step != 1);
        g_assert_cmpint(domain->resident_source, ==, step < 3 ? HN_SOURCE_CGROUP : HN_SOURCE_PROBE);
        g_assert_cmpuint(domain->resident_age_ns, ==, 0);
        g_assert_cmpuint(domain->resident_bytes[0], ==, guest_bytes - (step == 1 ? MIB : 0));
        g_assert_cmpuint(domain->resident_bytes[1], ==, step == 1 ? MIB : 0);
    }
    hn_observer_free(observer);
    hn_root_free(root);
    g_assert_true(g_spawn_command_line_sync(cleanup, NULL, NULL, NULL, NULL));
}

/* ---- capture ---- */

/* What was captured is seen again as it was, and holds nothing it should not. */
static void test_capture(Fixture *fixture, gconstpointer data)
{
    FakeQemu *qemu = fake_qemu_start(program, "captured", 2, "8", "small");
    g_autofree char *parent = g_dir_make_tmp("hn-capture-XXXXXX", NULL);
    g_autofree char *out = g_build_filename(parent, "machine", NULL);
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", parent);
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) not_empty = NULL;
    g_autoptr(HnSnapshot) live = NULL;
    g_autoptr(HnSnapshot) captured = NULL;
    HnRoot *root;
    HnObserver *observer;
    int64_t pids[] = {qemu->pid, 999999999};
    const HnDomain *a, *b;

    g_ptr_array_add(fixture->infos, &qemu->info);
    fixture->options.n_probes = 1 << 20; /* all pages */
    live = observe(fixture);
    g_assert_true(hn_capture(fixture->root, out, pids, 2, &error));
    g_assert_no_error(error);
    g_assert_false(hn_capture(fixture->root, out, pids, 2, &not_empty));
    g_assert_nonnull(strstr(not_empty->message, out));
    root = hn_root_open(out, NULL);
    observer = hn_observer_new(root, NULL);
    captured = hn_observer_observe(observer, fixture->infos, &fixture->options, &error);
    g_assert_no_error(error);
    a = only_domain(live);
    b = only_domain(captured);
    g_assert_null(b->unobservable);
    g_assert_cmpuint(a->start_ticks, ==, b->start_ticks);
    g_assert_cmpuint(b->n_vcpus, ==, 2);
    g_assert_cmpint(a->vcpus[1].tid, ==, b->vcpus[1].tid);
    g_assert_true(hn_cpuset_equal(&a->vcpus[1].affinity, &b->vcpus[1].affinity));
    g_assert_cmpuint(a->regions[0].hva_start, ==, b->regions[0].hva_start);
    g_assert_cmpint(b->resident_source, ==, HN_SOURCE_NUMA_MAPS);
    g_assert_cmpuint(a->resident_bytes[0], ==, b->resident_bytes[0]);
    g_assert_cmpuint(live->host->n_nodes, ==, captured->host->n_nodes);
    g_assert_cmpuint(live->host->nodes[0].mem_total_bytes, ==,
                     captured->host->nodes[0].mem_total_bytes);
    g_assert_cmpint(hn_observer_dup_pidfd(observer, qemu->info.uuid), ==,
                    -1); /* never a real process */
    hn_observer_free(observer);
    hn_root_free(root);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
    fake_qemu_free(qemu);
}

static void test_capture_filters(void)
{
    static const char cmdline[] =
        "/usr/bin/qemu-system-x86_64\0-name\0guest=web\0-object\0secret,id=s,data=hunter2\0"
        "-drive\0file=/secret/disk.img\0-uuid\0u\0-nodefaults\0-m\0"
        "64";
    static const char smaps[] =
        "7f0000000000-7f0000200000 rw-p 0 00:00 0\nRss: 4 kB\nPss: 4 kB\nVmFlags: rd wr dc hg \n"
        "7f1000000000-7f1000200000 r--p 0 08:01 77 /secret/disk.img\nRss: 4 kB\nVmFlags: rd \n"
        "7f2000000000-7f2000001000 rw-p 0 00:00 0\nRss: 4 kB\nVmFlags: rd wr dc hg \n";
    g_autoptr(GArray) starts = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    size_t len;
    g_autofree char *kept = hn_capture_filter_cmdline(cmdline, sizeof cmdline, &len);
    g_autofree char *kept_smaps = hn_capture_filter_smaps(smaps, strlen(smaps), starts);

    g_assert_cmpmem(kept, len, "/usr/bin/qemu-system-x86_64\0-name\0guest=web\0-uuid\0u\0-m\00064",
                    strlen("/usr/bin/qemu-system-x86_64") + 1 + 6 + 10 + 6 + 2 + 3 + 3);
    g_assert_cmpstr(kept_smaps, ==,
                    "7f0000000000-7f0000200000 rw-p 0 00:00 0\nRss: 4 kB\nVmFlags: rd wr dc hg \n");
    g_assert_cmpuint(starts->len, ==, 1);
}

int main(int argc, char **argv)
{
    static const char *const machines[] = {"four-nodes-sparse", "one-node-v1", "smt-isolated",
                                           "two-nodes"};

    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(argc, ==, 2);
    if (!g_file_test("/sys/devices/system/cpu/online", G_FILE_TEST_EXISTS)) { /* a chroot that packages are built in */
        g_print("1..0 # SKIP machine: /sys is not mounted\n");
        return 0;
    }
    program = argv[1];
    for (size_t i = 0; i < G_N_ELEMENTS(machines); i++) {
        g_autofree char *path = g_strdup_printf("/observe/captured/%s", machines[i]);

        g_test_add_data_func(path, machines[i], test_captured);
    }
#define ADD(name, function)                                                                        \
    g_test_add("/observe/observer/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("live", test_live);
    ADD("absent", test_absent);
    ADD("probe-age", test_probe_age);
    ADD("wishes", test_wishes);
    ADD("hotplug", test_hotplug);
    ADD("mapping-comes", test_mapping_comes);
    ADD("vanishing", test_vanishing);
    ADD("wrong-process", test_wrong_process);
    ADD("unobservable", test_unobservable);
    ADD("snapshot-is-a-copy", test_snapshot_is_a_copy);
    ADD("other-load", test_other_load);
    ADD("capture", test_capture);
#undef ADD
    g_test_add_func("/observe/observer/control-group", test_control_group);
    g_test_add_func("/observe/capture/filters", test_capture_filters);
    return g_test_run();
}
