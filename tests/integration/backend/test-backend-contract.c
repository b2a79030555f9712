/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One set of expectations, held against every back end: the fake, libvirt through its own
 * in-process test driver (test:///default), and QMP with a QEMU played by the test and with the
 * machine's own. What the fake promises here is what the manager's tests rely on.
 *
 *     test-backend-contract            all of these
 *     test-backend-contract real URI   libvirt's daemon at URI (qemu:///system) and the machine's
 * own QEMU, with guests under KVM where there is KVM: in the lab. No other guest may run there.
 */
#include "backend/backend-composite.h"
#include "backend/backend-fake.h"
#include "backend/backend-libvirt.h"
#include "backend/wish.h"
#include "fake-qemu.h"

#include <libvirt/libvirt.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_LIMIT_US (30 * G_USEC_PER_SEC)
#define UNKNOWN_UUID "00000000-0000-4000-8000-000000000000"

/* A back end with one running domain "test": 2 vCPUs, iothread 1, no pins, no metadata; no KVM, but
 * in the lab. */
typedef struct {
    bool is_open;
    HnBackend *backend;
    HnRoot *root;        /* libvirt and real QEMU only */
    virConnectPtr admin; /* libvirt only: somebody else's connection */
    FakeQemu *fake_qemu; /* QMP with a fake only */
    RealQemu *real_qemu; /* QMP with a real one only */
    char uuid[HN_UUID_LEN + 1];
    uint64_t memory_bytes;
    const char *some, *others; /* lists of CPUs to pin to; NULL: this machine has too few */
    GPtrArray *changes;        /* "kind uuid key value" */
    bool is_kvm;               /* the dirty bitmap is possible */
} Fixture;

typedef struct {
    const char *name;
    bool (*open)(Fixture *fixture);       /* connected; false: skipped, and said so */
    HnBackend *(*open_unconnected)(void); /* not connected, watch() not called */
    void (*stop_domain)(Fixture *fixture);
    void (*close)(Fixture *fixture);
    bool has_nodesets;
} Kind;

/* One expectation of one kind. */
typedef struct {
    const Kind *kind;
    void (*func)(Fixture *fixture, gconstpointer kind);
} Case;

/* ---- the kinds ---- */

static bool fake_open(Fixture *fixture)
{
    static const char uuid[] = "6695eb01-f6a4-8304-79aa-97f2502e193f";
    g_strlcpy(fixture->uuid, uuid, sizeof fixture->uuid);
    fixture->backend = hn_backend_fake_new();
    hn_fake_add_domain(fixture->backend, uuid, "test", 2, UINT64_C(8) << 30);
    HnDomainInfo *info = NULL;
    g_assert_true(fixture->backend->ops->get(fixture->backend, uuid, &info, NULL));
    g_array_append_vals(info->iothreads, &(HnIothreadInfo){.id = 1}, 1);
    info->is_kvm = false;
    hn_fake_put_domain(fixture->backend, info);
    return true;
}

static HnBackend *fake_open_unconnected(void)
{
    HnBackend *backend = hn_backend_fake_new();
    hn_fake_set_connected(backend, false);
    return backend;
}

static void fake_stop_domain(Fixture *fixture)
{
    hn_fake_remove_domain(fixture->backend, fixture->uuid);
}

static void fake_close(Fixture *fixture)
{
    hn_backend_free(fixture->backend);
}

static HnBackend *libvirt_new(const HnRoot *root)
{
    HnLibvirtOptions options = {.uri = "test:///default", .root = root};
    return hn_backend_libvirt_new(&options);
}

static bool libvirt_open(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    fixture->root = hn_root_open("/", &error);
    g_assert_no_error(error);
    fixture->backend = libvirt_new(fixture->root);
    fixture->admin = virConnectOpen("test:///default");
    g_assert_nonnull(fixture->admin);
    virDomainPtr domain = virDomainLookupByName(fixture->admin, "test");
    g_assert_nonnull(domain);
    g_assert_cmpint(virDomainAddIOThread(domain, 1, VIR_DOMAIN_AFFECT_LIVE), ==, 0);
    virDomainGetUUIDString(domain, fixture->uuid);
    virDomainFree(domain);
    hn_backend_libvirt_connect(fixture->backend, &error);
    g_assert_no_error(error);
    return true;
}

static HnBackend *libvirt_open_unconnected(void)
{
    return libvirt_new(NULL);
}

static void libvirt_stop_domain(Fixture *fixture)
{
    virDomainPtr domain = virDomainLookupByName(fixture->admin, "test");
    g_assert_cmpint(virDomainDestroy(domain), ==, 0);
    virDomainFree(domain);
}

static void libvirt_close(Fixture *fixture)
{
    hn_backend_free(fixture->backend);
    virConnectClose(fixture->admin); /* the last one resets the driver's domains */
    hn_root_free(fixture->root);
}

/* QMP with a QEMU that the test plays, below a root of its own and with affinities in a table. */
static bool qmp_open(Fixture *fixture)
{
    fixture->fake_qemu = fake_qemu_start("test", fixture->memory_bytes);
    fixture->backend = fake_qemu_backend(fixture->fake_qemu);
    hn_backend_qmp_start(fixture->backend, WAIT_LIMIT_US / 1000);
    g_strlcpy(fixture->uuid, FAKE_QEMU_UUID, sizeof fixture->uuid);
    return true;
}

static HnBackend *qmp_open_unconnected(void)
{
    HnQmpOptions options = {.directory = NULL};
    return hn_backend_qmp_new(&options);
}

static void qmp_stop_domain(Fixture *fixture)
{
    fake_qemu_quit(fixture->fake_qemu);
}

static void qmp_close(Fixture *fixture)
{
    hn_backend_free(fixture->backend);
    fake_qemu_free(fixture->fake_qemu);
}

/* QMP with the machine's own QEMU under TCG, stopped before its first instruction and continued. */
static bool qemu_open(Fixture *fixture)
{
    fixture->memory_bytes = UINT64_C(64) << 20;
    fixture->some = g_get_num_processors() > 1 ? "1" : NULL;
    fixture->others = "0";
    fixture->real_qemu = real_qemu_start("test", fixture->memory_bytes, fixture->uuid);
    if (!fixture->real_qemu) {
        g_test_skip("machine: no qemu-system-x86_64");
        return false;
    }
    fixture->root = hn_root_open("/", NULL);
    HnQmpOptions options = {.directory = real_qemu_dir(fixture->real_qemu), .root = fixture->root};
    fixture->backend = hn_backend_qmp_new(&options);
    hn_backend_qmp_start(fixture->backend, WAIT_LIMIT_US / 1000);
    return true;
}

static void qemu_stop_domain(Fixture *fixture)
{
    real_qemu_quit(fixture->real_qemu);
}

static void qemu_close(Fixture *fixture)
{
    hn_backend_free(fixture->backend);
    hn_root_free(fixture->root);
    real_qemu_free(fixture->real_qemu);
}

/* Libvirt's own daemon, and a guest that it runs. Starting one takes a while in an emulated host:
 * it stays from case to case, until one ends it. */

static const char *real_uri;
static char daemon_uuid[VIR_UUID_STRING_BUFLEN]; /* "": none was started yet */

static virDomainPtr daemon_start(virConnectPtr admin, bool is_kvm)
{
    g_autofree char *xml = g_strdup_printf(
        "<domain type='%s'><name>test</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>"
        "<iothreads>1</iothreads><os><type machine='pc'>hvm</type></os><devices>"
        "<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>",
        is_kvm ? "kvm" : "qemu");
    virDomainPtr domain = virDomainCreateXML(admin, xml, VIR_DOMAIN_NONE);
    g_assert_nonnull(domain);
    virDomainGetUUIDString(domain, daemon_uuid);
    return domain;
}

static bool daemon_open(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    fixture->is_kvm = access("/dev/kvm", R_OK | W_OK) == 0;
    fixture->memory_bytes = UINT64_C(64) << 20;
    fixture->some = g_get_num_processors() > 1 ? "1" : NULL;
    fixture->others = "0";
    fixture->root = hn_root_open("/", &error);
    g_assert_no_error(error);
    fixture->admin = virConnectOpen(real_uri);
    g_assert_nonnull(fixture->admin);
    virDomainPtr domain =
        *daemon_uuid ? virDomainLookupByUUIDString(fixture->admin, daemon_uuid) : NULL;
    if (!domain)
        domain = daemon_start(fixture->admin, fixture->is_kvm);
    virDomainFree(domain);
    g_strlcpy(fixture->uuid, daemon_uuid, sizeof fixture->uuid);
    HnLibvirtOptions options = {.uri = real_uri, .root = fixture->root};
    fixture->backend = hn_backend_libvirt_new(&options);
    hn_backend_libvirt_connect(fixture->backend, &error);
    g_assert_no_error(error);
    return true;
}

static void daemon_end(void)
{
    virConnectPtr admin = virConnectOpen(real_uri);
    virDomainPtr domain = *daemon_uuid ? virDomainLookupByUUIDString(admin, daemon_uuid) : NULL;
    if (domain) {
        virDomainDestroy(domain);
        virDomainFree(domain);
    }
    virConnectClose(admin);
}

static bool qemu_open_accelerated(Fixture *fixture)
{
    fixture->is_kvm = access("/dev/kvm", R_OK | W_OK) == 0;
    real_qemu_set_accel(fixture->is_kvm ? "kvm" : "tcg,thread=multi");
    return qemu_open(fixture);
}

static const Kind real_kinds[] = {
    {"libvirt-daemon", daemon_open, libvirt_open_unconnected, libvirt_stop_domain, libvirt_close,
     true},
    {"qmp-real", qemu_open_accelerated, qmp_open_unconnected, qemu_stop_domain, qemu_close, false},
};

static const Kind kinds[] = {
    {"fake", fake_open, fake_open_unconnected, fake_stop_domain, fake_close, true},
    {"libvirt", libvirt_open, libvirt_open_unconnected, libvirt_stop_domain, libvirt_close, true},
    {"qmp", qmp_open, qmp_open_unconnected, qmp_stop_domain, qmp_close, false},
    {"qmp-real", qemu_open, qmp_open_unconnected, qemu_stop_domain, qemu_close, false},
};

/* ---- help ---- */

static void set_up(Fixture *fixture, gconstpointer data)
{
    fixture->changes = g_ptr_array_new_with_free_func(g_free);
    fixture->memory_bytes = UINT64_C(8) << 30;
    fixture->some = "2-3";
    fixture->others = "0,7";
    fixture->is_open = ((const Case *)data)->kind->open(fixture);
}

static void tear_down(Fixture *fixture, gconstpointer data)
{
    if (fixture->is_open)
        ((const Case *)data)->kind->close(fixture);
    g_ptr_array_unref(fixture->changes);
}

static HnCpuset set_of(const char *list)
{
    HnCpuset set;
    g_assert_true(hn_cpuset_parse(list, strlen(list), &set, NULL));
    return set;
}

static void assert_set(const HnCpuset *set, const char *list)
{
    g_autofree char *text = hn_cpuset_format(set);
    g_assert_cmpstr(text, ==, list);
}

static HnDomainInfo *get(Fixture *fixture)
{
    HnDomainInfo *info = NULL;
    g_autoptr(GError) error = NULL;
    fixture->backend->ops->get(fixture->backend, fixture->uuid, &info, &error);
    g_assert_no_error(error);
    return info;
}

static void record_change(const HnChange *change, void *user_data)
{
    static const char *const kind_names[] = {"connected", "disconnected", "started",
                                             "stopped",   "state",        "metadata",
                                             "tunable",   "memory",       "remark"};
    Fixture *fixture = user_data;
    g_ptr_array_add(fixture->changes,
                    g_strdup_printf("%s %s", kind_names[change->kind], change->uuid));
}

static gboolean quit_waiting(gpointer is_over)
{
    *(bool *)is_over = true;
    return G_SOURCE_CONTINUE;
}

/* Runs the main loop until the change was reported; false if it was not in time. */
static bool wait_for(Fixture *fixture, const char *kind, const char *uuid, guint limit_us)
{
    g_autofree char *wanted = g_strdup_printf("%s %s", kind, uuid);
    bool is_over = false;
    guint timer = g_timeout_add(limit_us / 1000, quit_waiting, &is_over);
    bool is_found = false;
    while (!is_found && !is_over) {
        is_found = g_ptr_array_find_with_equal_func(fixture->changes, wanted, g_str_equal, NULL);
        if (!is_found)
            g_main_context_iteration(NULL, TRUE);
    }
    g_source_remove(timer);
    return is_found;
}

static void assert_error(GError **error, HnBackendError code)
{
    g_assert_error(*error, HN_BACKEND_ERROR, (int)code);
    g_assert_null(strstr((*error)->message, "unknown error")); /* libvirt's own words got lost */
    g_clear_error(error);
}

/* ---- expectations ---- */

static void test_list(Fixture *fixture, gconstpointer kind)
{
    g_autoptr(GPtrArray) infos = NULL;
    g_autoptr(GError) error = NULL;
    g_assert_true(fixture->backend->ops->is_connected(fixture->backend));
    fixture->backend->ops->list(fixture->backend, &infos, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(infos->len, ==, 1);
    const HnDomainInfo *info = g_ptr_array_index(infos, 0);
    g_assert_cmpstr(info->name, ==, "test");
    g_assert_cmpstr(info->uuid, ==, fixture->uuid);
    g_assert_cmpint(info->state, ==, HN_STATE_RUNNING);
    g_assert_cmpint(info->job, ==, HN_JOB_NONE);
    g_assert_null(info->unobservable);
    g_assert_null(info->placement_xml);
    g_assert_cmpuint(info->vcpus->len, ==, 2);
    g_assert_false(g_array_index(info->vcpus, HnVcpuInfo, 0).has_pin);
    g_assert_cmpuint(info->iothreads->len, ==, 1);
    g_assert_false(info->has_emulator_pin);
    g_assert_cmpint(info->numatune_mode, ==, HN_NUMATUNE_NONE);
    g_assert_cmpuint(info->configured_bytes, ==, fixture->memory_bytes);
    g_assert_cmpuint(info->memory->len, ==, 1);
}

static void test_pins(Fixture *fixture, gconstpointer kind)
{
    const HnBackendOps *ops = fixture->backend->ops;
    g_autoptr(GError) error = NULL;
    if (!fixture->some) {
        g_test_skip("machine: one CPU, where everything is pinned already");
        return;
    }
    HnCpuset cpus = set_of(fixture->some), others = set_of(fixture->others), none = set_of("");

    ops->pin_vcpu(fixture->backend, fixture->uuid, 1, &cpus, &error);
    g_assert_no_error(error);
    ops->pin_emulator(fixture->backend, fixture->uuid, &others, &error);
    g_assert_no_error(error);
    ops->pin_iothread(fixture->backend, fixture->uuid, 1, &cpus, &error);
    g_assert_no_error(error);

    /* Mistakes are errors and change nothing. */
    g_assert_false(ops->pin_vcpu(fixture->backend, fixture->uuid, 9, &cpus, &error));
    g_assert_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_FAILED);
    g_assert_nonnull(strstr(error->message, "test"));
    g_clear_error(&error);
    g_assert_false(ops->pin_iothread(fixture->backend, fixture->uuid, 9, &cpus, &error));
    assert_error(&error, HN_BACKEND_ERROR_FAILED);
    g_assert_false(ops->pin_vcpu(fixture->backend, fixture->uuid, 0, &none, &error));
    assert_error(&error, HN_BACKEND_ERROR_UNSUPPORTED);

    g_autoptr(HnDomainInfo) info = get(fixture);
    g_assert_false(g_array_index(info->vcpus, HnVcpuInfo, 0).has_pin);
    g_assert_true(g_array_index(info->vcpus, HnVcpuInfo, 1).has_pin);
    assert_set(&g_array_index(info->vcpus, HnVcpuInfo, 1).pin, fixture->some);
    g_assert_true(info->has_emulator_pin);
    assert_set(&info->emulator_pin, fixture->others);
    g_assert_true(g_array_index(info->iothreads, HnIothreadInfo, 0).has_pin);
    assert_set(&g_array_index(info->iothreads, HnIothreadInfo, 0).pin, fixture->some);
}

/* Set repeatedly: the mode goes with it, or libvirt would refuse the second time. */
static void test_nodeset(Fixture *fixture, gconstpointer kind)
{
    static const char *const lists[] = {"0", "0-1", "1"};
    const bool has_second = ((const Kind *)kind)->open != daemon_open ||
                            g_file_test("/sys/devices/system/node/node1", G_FILE_TEST_EXISTS);
    const size_t n = !((const Kind *)kind)->has_nodesets ? 0 : has_second ? G_N_ELEMENTS(lists) : 1;
    g_autoptr(GError) error = NULL;
    for (size_t i = 0; i < n; i++) {
        HnCpuset nodes = set_of(lists[i]);
        fixture->backend->ops->set_nodeset(fixture->backend, fixture->uuid, &nodes, &error);
        g_assert_no_error(error);
        g_autoptr(HnDomainInfo) info = get(fixture);
        g_assert_cmpint(info->numatune_mode, ==, HN_NUMATUNE_RESTRICTIVE);
        assert_set(&info->numatune_nodes, lists[i]);
    }
    HnCpuset none = set_of("");
    g_assert_false(
        fixture->backend->ops->set_nodeset(fixture->backend, fixture->uuid, &none, &error));
    assert_error(&error, HN_BACKEND_ERROR_UNSUPPORTED);
}

static void test_placement(Fixture *fixture, gconstpointer kind)
{
    const HnBackendOps *ops = fixture->backend->ops;
    g_autoptr(GError) error = NULL;
    g_autoptr(HnHost) host = hn_host_new(1);
    HnWish wish;
    ops->watch(fixture->backend, record_change, fixture);
    g_assert_true(wait_for(fixture, "connected", "", WAIT_LIMIT_US));

    ops->set_placement(fixture->backend, fixture->uuid, "<placement mode='auto' weight='7'/>", true,
                       &error);
    g_assert_no_error(error);
    g_assert_true(wait_for(fixture, "metadata", fixture->uuid, WAIT_LIMIT_US));
    g_autoptr(HnDomainInfo) info = get(fixture);
    g_assert_true(hn_wish_parse(info->placement_xml, host, &wish));
    g_assert_cmpint(wish.mode, ==, HN_MODE_AUTO);
    g_assert_cmpuint(wish.weight, ==, 7);
    hn_wish_clear(&wish);

    /* One element per namespace: it replaces. */
    ops->set_placement(fixture->backend, fixture->uuid, "<placement mode='off'/>", false, &error);
    g_assert_no_error(error);
    g_autoptr(HnDomainInfo) replaced = get(fixture);
    g_assert_true(hn_wish_parse(replaced->placement_xml, host, &wish));
    g_assert_cmpint(wish.mode, ==, HN_MODE_OFF);
    hn_wish_clear(&wish);

    /* Removing is idempotent. */
    for (int i = 0; i < 2; i++) {
        ops->set_placement(fixture->backend, fixture->uuid, NULL, false, &error);
        g_assert_no_error(error);
        g_autoptr(HnDomainInfo) removed = get(fixture);
        g_assert_null(removed->placement_xml);
    }
}

/* Statistics live beside the wish, and writing them is no change that anybody waits for. */
static void test_stats(Fixture *fixture, gconstpointer kind)
{
    const HnBackendOps *ops = fixture->backend->ops;
    g_autoptr(GError) error = NULL;
    ops->watch(fixture->backend, record_change, fixture);
    g_assert_true(wait_for(fixture, "connected", "", WAIT_LIMIT_US));
    ops->set_stats(fixture->backend, fixture->uuid, "<stats home='1' state='converged'/>", &error);
    g_assert_no_error(error);
    g_autoptr(HnDomainInfo) info = get(fixture);
    g_assert_null(info->placement_xml);
    g_assert_false(wait_for(fixture, "metadata", fixture->uuid, 200 * 1000));
    for (int i = 0; i < 2; i++) {
        ops->set_stats(fixture->backend, fixture->uuid, NULL, &error);
        g_assert_no_error(error);
    }
}

static void test_stopped(Fixture *fixture, gconstpointer kind)
{
    const HnBackendOps *ops = fixture->backend->ops;
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) infos = NULL;
    HnDomainInfo *info = NULL;
    HnCpuset cpus = set_of("0");
    ops->watch(fixture->backend, record_change, fixture);
    g_assert_true(wait_for(fixture, "connected", "", WAIT_LIMIT_US));
    ((const Kind *)kind)->stop_domain(fixture);
    g_assert_true(wait_for(fixture, "stopped", fixture->uuid, WAIT_LIMIT_US));
    ops->list(fixture->backend, &infos, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(infos->len, ==, 0);
    g_assert_false(ops->get(fixture->backend, fixture->uuid, &info, &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
    g_assert_false(ops->set_nodeset(fixture->backend, fixture->uuid, &cpus, &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
}

static void test_unknown(Fixture *fixture, gconstpointer kind)
{
    const HnBackendOps *ops = fixture->backend->ops;
    HnBackend *backend = fixture->backend;
    g_autoptr(GError) error = NULL;
    HnCpuset cpus = set_of("0");
    HnDomainInfo *info = NULL;
    HnDirtyRate rate;
    g_assert_false(ops->get(backend, UNKNOWN_UUID, &info, &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
    g_assert_false(ops->pin_vcpu(backend, UNKNOWN_UUID, 0, &cpus, &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
    g_assert_false(ops->pin_emulator(backend, UNKNOWN_UUID, &cpus, &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
    g_assert_false(ops->pin_iothread(backend, UNKNOWN_UUID, 1, &cpus, &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
    g_assert_false(ops->set_nodeset(backend, UNKNOWN_UUID, &cpus, &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
    g_assert_false(ops->set_stats(backend, UNKNOWN_UUID, "<stats/>", &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
    g_assert_false(ops->set_placement(backend, UNKNOWN_UUID, NULL, true, &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
    g_assert_false(ops->start_dirty_rate(backend, UNKNOWN_UUID, HN_DIRTY_PAGE_SAMPLING, 1, &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
    g_assert_false(ops->get_dirty_rate(backend, UNKNOWN_UUID, &rate, &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
}

/* What could end a guest is refused before the hypervisor sees it. */
static void test_dirty_rate_guards(Fixture *fixture, gconstpointer kind)
{
    const HnBackendOps *ops = fixture->backend->ops;
    g_autoptr(GError) error = NULL;
    if (!fixture->is_kvm) {
        g_assert_false(
            ops->start_dirty_rate(fixture->backend, fixture->uuid, HN_DIRTY_BITMAP, 1, &error));
        assert_error(&error, HN_BACKEND_ERROR_UNSUPPORTED);
    }
    g_assert_false(
        ops->start_dirty_rate(fixture->backend, fixture->uuid, HN_DIRTY_RING, 1, &error));
    assert_error(&error, HN_BACKEND_ERROR_UNSUPPORTED); /* no ring, and not allowed */
    g_assert_false(
        ops->start_dirty_rate(fixture->backend, fixture->uuid, HN_DIRTY_PAGE_SAMPLING, 0, &error));
    assert_error(&error, HN_BACKEND_ERROR_UNSUPPORTED);
    g_assert_false(
        ops->start_dirty_rate(fixture->backend, fixture->uuid, HN_DIRTY_PAGE_SAMPLING, 61, &error));
    assert_error(&error, HN_BACKEND_ERROR_UNSUPPORTED);
}

static void test_unconnected(gconstpointer kind)
{
    g_autoptr(HnBackend) backend = ((const Kind *)kind)->open_unconnected();
    g_autoptr(GError) error = NULL;
    GPtrArray *infos = NULL;
    HnDomainInfo *info = NULL;
    HnCpuset cpus = set_of("0");
    g_assert_false(backend->ops->is_connected(backend));
    g_assert_false(backend->ops->list(backend, &infos, &error));
    assert_error(&error, HN_BACKEND_ERROR_DISCONNECTED);
    g_assert_false(backend->ops->get(backend, UNKNOWN_UUID, &info, &error));
    assert_error(&error, HN_BACKEND_ERROR_DISCONNECTED);
    g_assert_false(backend->ops->pin_vcpu(backend, UNKNOWN_UUID, 0, &cpus, &error));
    assert_error(&error, HN_BACKEND_ERROR_DISCONNECTED);
}

/* ---- what only one of them can show ---- */

/* watch() connects by itself, in the background. */
static void test_libvirt_connects(void)
{
    Fixture fixture = {.changes = g_ptr_array_new_with_free_func(g_free)};
    g_autoptr(HnRoot) root = hn_root_open("/", NULL);
    fixture.backend = libvirt_new(root);
    fixture.backend->ops->watch(fixture.backend, record_change, &fixture);
    g_assert_true(wait_for(&fixture, "connected", "", WAIT_LIMIT_US));
    g_assert_true(fixture.backend->ops->is_connected(fixture.backend));
    hn_backend_free(fixture.backend);
    g_ptr_array_unref(fixture.changes);
}

/* No libvirtd: said once, tried again, and the back end can be freed meanwhile. */
static void test_libvirt_unreachable(void)
{
    Fixture fixture = {.changes = g_ptr_array_new_with_free_func(g_free)};
    HnLibvirtOptions options = {.uri =
                                    "qemu+unix:///system?socket=/nonexistent/homenode-test-sock"};
    g_autoptr(GError) error = NULL;
    fixture.backend = hn_backend_libvirt_new(&options);
    g_assert_false(hn_backend_libvirt_connect(fixture.backend, &error));
    g_assert_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_DISCONNECTED);
    g_assert_nonnull(strstr(error->message, "/nonexistent/homenode-test-sock"));
    fixture.backend->ops->watch(fixture.backend, record_change, &fixture);
    g_assert_true(wait_for(&fixture, "disconnected", "", WAIT_LIMIT_US));
    g_assert_false(wait_for(&fixture, "connected", "", 600 * 1000)); /* two more tries meanwhile */
    g_assert_cmpuint(fixture.changes->len, ==, 1);
    hn_backend_free(fixture.backend);
    g_ptr_array_unref(fixture.changes);
}

static void test_fake_failures(void)
{
    g_autoptr(HnBackend) backend = hn_backend_fake_new();
    g_autoptr(GError) error = NULL;
    HnCpuset cpus = set_of("0");
    const char *uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f";
    hn_fake_add_domain(backend, uuid, "a", 1, 1 << 20);
    hn_fake_fail(backend, HN_FAKE_PIN_VCPU, uuid, HN_BACKEND_ERROR_BUSY, "busy", 2);
    for (int i = 0; i < 2; i++) {
        g_assert_false(backend->ops->pin_vcpu(backend, uuid, 0, &cpus, &error));
        assert_error(&error, HN_BACKEND_ERROR_BUSY);
    }
    g_assert_true(backend->ops->pin_vcpu(backend, uuid, 0, &cpus, &error));
    g_assert_cmpuint(hn_fake_calls(backend, HN_FAKE_PIN_VCPU), ==, 3);
    hn_fake_fail(backend, HN_FAKE_SET_STATS, NULL, HN_BACKEND_ERROR_DENIED, "no", UINT32_MAX);
    g_assert_false(backend->ops->set_stats(backend, uuid, "<stats/>", &error));
    assert_error(&error, HN_BACKEND_ERROR_DENIED);
    g_autofree char *before = hn_fake_get_stats(backend, uuid);
    g_assert_null(before);
    hn_fake_heal(backend);
    g_assert_true(backend->ops->set_stats(backend, uuid, "<stats/>", &error));
    g_autofree char *after = hn_fake_get_stats(backend, uuid);
    g_assert_cmpstr(after, ==, "<stats/>");
}

/* The fake raises what real libvirt raises for pins (its test driver raises nothing). */
static void test_fake_tunable(void)
{
    Fixture fixture = {.changes = g_ptr_array_new_with_free_func(g_free)};
    HnCpuset cpus = set_of("0");
    fake_open(&fixture);
    fixture.backend->ops->watch(fixture.backend, record_change, &fixture);
    g_assert_true(fixture.backend->ops->pin_vcpu(fixture.backend, fixture.uuid, 0, &cpus, NULL));
    g_assert_true(wait_for(&fixture, "tunable", fixture.uuid, WAIT_LIMIT_US));
    g_assert_true(fixture.backend->ops->pin_vcpu(fixture.backend, fixture.uuid, 1, &cpus, NULL));
    hn_backend_free(fixture.backend); /* with a change still queued: it must not arrive */
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_cmpuint(fixture.changes->len, ==, 2); /* connected, tunable */
    g_ptr_array_unref(fixture.changes);
}

/* A socket of no directory: attached, remembered, detached. libvirt's are refused. */
static void test_qmp_attach(void)
{
    g_autoptr(GError) error = NULL;
    FakeQemu *qemu = fake_qemu_start("test", 1 << 20);
    g_autofree char *file = g_build_filename(fake_qemu_dir(qemu), "attached", NULL);
    HnQmpOptions options = fake_qemu_options(qemu);
    options.directory = NULL;
    options.attached_file = file;
    char uuid[HN_UUID_LEN + 1];
    for (int restart = 0; restart < 2; restart++) {
        g_autoptr(HnBackend) backend = hn_backend_qmp_new(&options);
        g_autoptr(GPtrArray) infos = NULL;
        hn_backend_qmp_start(backend, WAIT_LIMIT_US / 1000);
        if (restart == 0) {
            g_assert_false(backend->ops->attach(backend, "/run/libvirt/x.sock", uuid, &error));
            assert_error(&error, HN_BACKEND_ERROR_FAILED);
            g_assert_false(backend->ops->attach(backend, "/nonexistent/a/b", uuid, &error));
            assert_error(&error, HN_BACKEND_ERROR_FAILED);
            g_assert_false(backend->ops->detach(backend, fake_qemu_socket(qemu), &error));
            assert_error(&error, HN_BACKEND_ERROR_FAILED);
            backend->ops->attach(backend, fake_qemu_socket(qemu), uuid, &error);
            g_assert_no_error(error);
            g_assert_cmpstr(uuid, ==, FAKE_QEMU_UUID);
        }
        g_assert_true(backend->ops->list(backend, &infos, NULL));
        g_assert_cmpuint(infos->len, ==, 1);
        const HnDomainInfo *info = g_ptr_array_index(infos, 0);
        g_assert_cmpstr(info->monitor, ==, fake_qemu_socket(qemu));
        if (restart == 1) {
            g_autoptr(GPtrArray) rest = NULL;
            backend->ops->detach(backend, fake_qemu_socket(qemu), &error);
            g_assert_no_error(error);
            g_assert_true(backend->ops->list(backend, &rest, NULL));
            g_assert_cmpuint(rest->len, ==, 0);
        }
    }
    fake_qemu_free(qemu);
}

/* The monitor goes away, the process does not: the guest stays, unobservable, and can be given back
 * its affinities. */
static void test_qmp_mute(void)
{
    g_autoptr(GError) error = NULL;
    FakeQemu *qemu = fake_qemu_start("test", 1 << 20);
    g_autoptr(HnBackend) backend = fake_qemu_backend(qemu);
    HnCpuset cpus = set_of("3"), everywhere = set_of("0-7");
    HnDomainInfo *info = NULL;
    hn_backend_qmp_start(backend, WAIT_LIMIT_US / 1000);
    g_assert_true(backend->ops->pin_vcpu(backend, FAKE_QEMU_UUID, 0, &cpus, NULL));
    fake_qemu_hang_up(qemu);
    for (int i = 0; i < 100 && (!info || !info->unobservable); i++) {
        g_clear_pointer(&info, hn_domain_info_free);
        backend->ops->get(backend, FAKE_QEMU_UUID, &info, &error);
        g_assert_no_error(error);
        g_usleep(20 * 1000);
    }
    g_assert_nonnull(info->unobservable);
    g_assert_true(g_array_index(info->vcpus, HnVcpuInfo, 0).has_pin);
    g_clear_pointer(&info, hn_domain_info_free);
    g_assert_true(backend->ops->pin_vcpu(backend, FAKE_QEMU_UUID, 0, &everywhere, NULL));
    g_assert_true(backend->ops->get(backend, FAKE_QEMU_UUID, &info, NULL));
    g_assert_false(g_array_index(info->vcpus, HnVcpuInfo, 0).has_pin);
    hn_domain_info_free(info);
    fake_qemu_free(qemu);
}

/* What lies beside the socket: links and other surprises are not followed, statistics are there. */
static void test_qmp_files(void)
{
    g_autoptr(HnHost) host = hn_host_new(1);
    FakeQemu *qemu = fake_qemu_start("test", 1 << 20);
    g_autoptr(HnBackend) backend = fake_qemu_backend(qemu);
    g_autofree char *element = g_strconcat(fake_qemu_socket(qemu), ".homenode", NULL);
    g_autofree char *stats = g_strconcat(fake_qemu_socket(qemu), ".stats.xml", NULL);
    g_autofree char *text = NULL;
    hn_backend_qmp_start(backend, WAIT_LIMIT_US / 1000);
    for (int i = 0; i < 3; i++) {
        HnDomainInfo *info = NULL;
        HnWish wish;
        if (i == 0)
            g_assert_cmpint(symlink("/etc/hostname", element), ==, 0);
        else if (i == 1)
            g_assert_cmpint(mkfifo(element, 0600), ==, 0);
        else
            g_assert_true(g_file_set_contents(element, "<placement mode='yes'/>", -1, NULL));
        g_assert_true(backend->ops->get(backend, FAKE_QEMU_UUID, &info, NULL));
        g_assert_false(hn_wish_parse(info->placement_xml, host, &wish));
        g_assert_nonnull(wish.invalid);
        g_assert_cmpint(wish.mode, ==, HN_MODE_OFF);
        hn_wish_clear(&wish);
        hn_domain_info_free(info);
        g_assert_cmpint(unlink(element), ==, 0);
    }
    g_assert_cmpint(symlink("/nonexistent/elsewhere", stats), ==, 0);
    g_assert_true(backend->ops->set_stats(backend, FAKE_QEMU_UUID, "<stats home='1'/>", NULL));
    g_assert_false(g_file_test(stats, G_FILE_TEST_IS_SYMLINK));
    g_assert_true(g_file_get_contents(stats, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "<stats home='1'/>\n");
    fake_qemu_quit(qemu);
    HnDomainInfo *info = NULL;
    for (int i = 0; i < 100 && backend->ops->get(backend, FAKE_QEMU_UUID, &info, NULL); i++) {
        g_clear_pointer(&info, hn_domain_info_free);
        g_usleep(20 * 1000);
    }
    g_assert_null(info);
    g_assert_false(g_file_test(stats, G_FILE_TEST_EXISTS));
    fake_qemu_free(qemu);
}

/* Two fakes as one: whose a domain is, whose word counts, and what is said of a uuid both have. */
static void test_composite(void)
{
    static const char one[] = "11111111-1111-4111-8111-111111111111";
    static const char two[] = "22222222-2222-4222-8222-222222222222";
    static const char both[] = "33333333-3333-4333-8333-333333333333";
    Fixture fixture = {.changes = g_ptr_array_new_with_free_func(g_free)};
    HnBackend *first = hn_backend_fake_new(), *second = hn_backend_fake_new();
    g_autoptr(GError) error = NULL;
    GPtrArray *infos = NULL;
    HnCpuset cpus = set_of("1");
    hn_fake_add_domain(first, one, "one", 1, 1 << 20);
    hn_fake_add_domain(first, both, "first", 1, 1 << 20);
    hn_fake_add_domain(second, two, "two", 1, 1 << 20);
    hn_fake_add_domain(second, both, "second", 1, 1 << 20);
    fixture.backend = hn_backend_composite_new(first, second);
    const HnBackendOps *ops = fixture.backend->ops;
    g_assert_cmpstr(ops->name, ==, first->ops->name);
    g_assert_null(ops->attach);
    ops->watch(fixture.backend, record_change, &fixture);

    /* Not listed yet: found all the same, the first one asked first. */
    g_assert_true(ops->pin_vcpu(fixture.backend, two, 0, &cpus, NULL));
    g_assert_true(ops->pin_vcpu(fixture.backend, both, 0, &cpus, NULL));
    g_assert_cmpuint(hn_fake_calls(second, HN_FAKE_PIN_VCPU), ==, 1);
    g_assert_false(ops->pin_vcpu(fixture.backend, UNKNOWN_UUID, 0, &cpus, &error));
    assert_error(&error, HN_BACKEND_ERROR_GONE);
    for (int i = 0; i < 2; i++) {
        g_assert_true(ops->list(fixture.backend, &infos, NULL));
        g_assert_cmpuint(infos->len, ==, 3);
        g_assert_cmpstr(((HnDomainInfo *)g_ptr_array_index(infos, 0))->name, ==, "one");
        g_assert_cmpstr(((HnDomainInfo *)g_ptr_array_index(infos, 1))->name, ==, "two");
        g_assert_cmpstr(((HnDomainInfo *)g_ptr_array_index(infos, 2))->name, ==, "first");
        g_ptr_array_unref(infos);
    }
    g_assert_true(wait_for(&fixture, "remark", "", WAIT_LIMIT_US));
    hn_fake_remove_domain(second, both); /* not the one that is managed */
    g_assert_false(wait_for(&fixture, "stopped", both, 100 * 1000));
    guint n_remarks = 0;
    for (guint i = 0; i < fixture.changes->len; i++)
        n_remarks += strcmp(g_ptr_array_index(fixture.changes, i), "remark ") == 0;
    g_assert_cmpuint(n_remarks, ==, 1);

    /* The first one is lost: nothing is decided about half of the guests, nor asked of the other.
     */
    hn_fake_set_connected(first, false);
    g_assert_false(ops->list(fixture.backend, &infos, &error));
    assert_error(&error, HN_BACKEND_ERROR_DISCONNECTED);
    g_assert_false(ops->pin_vcpu(fixture.backend, one, 0, &cpus, &error));
    assert_error(&error, HN_BACKEND_ERROR_DISCONNECTED);
    g_assert_true(ops->pin_vcpu(fixture.backend, two, 0, &cpus, NULL));
    hn_backend_free(fixture.backend);
    g_ptr_array_unref(fixture.changes);
}

static void run_case(Fixture *fixture, gconstpointer data)
{
    const Case *each = data;
    if (fixture->is_open)
        each->func(fixture, each->kind);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*func)(Fixture *fixture, gconstpointer kind);
    } tests[] = {
        {"list", test_list},       {"pins", test_pins},
        {"nodeset", test_nodeset}, {"placement", test_placement},
        {"stats", test_stats},     {"stopped", test_stopped},
        {"unknown", test_unknown}, {"dirty-rate-guards", test_dirty_rate_guards},
    };
    g_autoptr(GPtrArray) cases = g_ptr_array_new_with_free_func(g_free);
    g_test_init(&argc, &argv, NULL);
    const bool is_real = argc == 3 && strcmp(argv[1], "real") == 0;
    const size_t n_kinds = is_real ? G_N_ELEMENTS(real_kinds) : G_N_ELEMENTS(kinds);
    if (is_real)
        real_uri = argv[2];
    for (size_t i = 0; i < n_kinds; i++) {
        const Kind *kind = is_real ? &real_kinds[i] : &kinds[i];
        for (size_t j = 0; j < G_N_ELEMENTS(tests); j++) {
            g_autofree char *path = g_strdup_printf("/backend/%s/%s", kind->name, tests[j].name);
            Case *each = g_new(Case, 1);
            *each = (Case){kind, tests[j].func};
            g_ptr_array_add(cases, each);
            g_test_add(path, Fixture, each, set_up, run_case, tear_down);
        }
        g_autofree char *path = g_strdup_printf("/backend/%s/unconnected", kind->name);
        g_test_add_data_func(path, kind, test_unconnected);
    }
    if (is_real) {
        int status = g_test_run();
        daemon_end();
        return status;
    }
    g_test_add_func("/backend/libvirt/connects", test_libvirt_connects);
    g_test_add_func("/backend/libvirt/unreachable", test_libvirt_unreachable);
    g_test_add_func("/backend/fake/failures", test_fake_failures);
    g_test_add_func("/backend/fake/tunable", test_fake_tunable);
    g_test_add_func("/backend/qmp/attach", test_qmp_attach);
    g_test_add_func("/backend/qmp/mute", test_qmp_mute);
    g_test_add_func("/backend/qmp/files", test_qmp_files);
    g_test_add_func("/backend/composite/routes", test_composite);
    return g_test_run();
}
