/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What bare QEMUs do in their lives, done by this machine's QEMU and seen through the QMP back end:
 * memory and vCPUs are plugged in, memory is written to and its dirty rate measured, the guest is
 * stopped and continued, and migrated to another QEMU for good.
 *     test-bare-qemu KERNEL      KERNEL: the demo guest, which writes to its memory for ever
 *
 * TCG, so it runs where there is no KVM. Skipped where there is no qemu-system-x86_64. Each step
 * waits for its evidence; the limit only ends a test that has failed.
 */
#include "fake-qemu.h"

#include "observe/regions.h"
#include "qmp/qemu.h"

#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define LIMIT_US (60 * G_USEC_PER_SEC)

static const char *kernel;

/* A host with one guest on it. */
typedef struct {
    RealQemu *qemu;
    HnRoot *root;
    HnBackend *backend;
    char uuid[HN_UUID_LEN + 1];
    GString *changes; /* "KIND UUID\n" of what concerns guests */
} Place;

static void record_change(const HnChange *change, void *user_data)
{
    Place *place = user_data;
    g_string_append_printf(place->changes, "%d %s\n", (int)change->kind, change->uuid);
}

/* False: this machine has no QEMU, and the test is skipped. */
static bool place_open(Place *place, const char *uuid, const char *const *more)
{
    *place = (Place){0};
    g_strlcpy(place->uuid, uuid, sizeof place->uuid);
    place->qemu = real_qemu_start_as("bare", uuid, 64 * MIB, more);
    if (!place->qemu) {
        g_test_skip("machine: no qemu-system-x86_64");
        return false;
    }
    place->changes = g_string_new(NULL);
    place->root = hn_root_open("/", NULL);
    HnQmpOptions options = {.directory = real_qemu_dir(place->qemu), .root = place->root};
    place->backend = hn_backend_qmp_new(&options);
    place->backend->ops->watch(place->backend, record_change, place);
    return true;
}

static void place_close(Place *place)
{
    hn_backend_free(place->backend);
    hn_root_free(place->root);
    real_qemu_free(place->qemu);
    g_string_free(place->changes, TRUE);
}

/* ---- waiting ---- */

typedef bool (*Condition)(Place *place, const HnDomainInfo *info);

/* Asks until the guest's facts are so; returns them. info is NULL for a guest that is not known. */
static HnDomainInfo *wait_for(Place *place, Condition condition, const char *what)
{
    gint64 limit_us = g_get_monotonic_time() + LIMIT_US;
    while (g_get_monotonic_time() < limit_us) {
        g_autoptr(HnDomainInfo) info = NULL;
        place->backend->ops->get(place->backend, place->uuid, &info, NULL);
        if (condition(place, info))
            return g_steal_pointer(&info);
        while (g_main_context_iteration(NULL, FALSE))
            ;
        g_usleep(50 * 1000);
    }
    g_error("waited in vain for %s", what);
    return NULL;
}

static bool is_known(Place *place, const HnDomainInfo *info)
{
    return info && !info->unobservable;
}

static bool is_gone(Place *place, const HnDomainInfo *info)
{
    return !info;
}

static bool is_running(Place *place, const HnDomainInfo *info)
{
    return info && info->state == HN_STATE_RUNNING && info->job == HN_JOB_NONE;
}

static bool is_paused(Place *place, const HnDomainInfo *info)
{
    return info && info->state == HN_STATE_PAUSED && info->job == HN_JOB_NONE;
}

static bool is_migrating(Place *place, const HnDomainInfo *info)
{
    return info && info->job == HN_JOB_MIGRATION;
}

static bool has_three_vcpus(Place *place, const HnDomainInfo *info)
{
    return info && info->vcpus->len == 3;
}

static bool was_told(Place *place, HnChangeKind kind)
{
    g_autofree char *line = g_strdup_printf("%d %s\n", (int)kind, place->uuid);
    return strstr(place->changes->str, line) != NULL;
}

static bool was_told_of_state(Place *place, const HnDomainInfo *info)
{
    return was_told(place, HN_CHANGE_STATE);
}

static bool was_told_of_end(Place *place, const HnDomainInfo *info)
{
    return was_told(place, HN_CHANGE_STOPPED);
}

static void await(Place *place, Condition condition, const char *what)
{
    hn_domain_info_free(wait_for(place, condition, what));
}

/* ---- hot-plug ---- */

static const HnMemoryInfo *find_memory(const HnDomainInfo *info, const char *id)
{
    for (guint i = 0; i < info->memory->len; i++) {
        const HnMemoryInfo *memory = g_ptr_array_index(info->memory, i);
        if (g_strcmp0(memory->object_id, id) == 0)
            return memory;
    }
    return NULL;
}

/* The memory that was plugged in is found in the process, and its addresses are what QEMU says. */
static void check_region(Place *place, const HnDomainInfo *info, const HnMemoryInfo *memory)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) mappings = hn_smaps_read(place->root, info->pid, &error);
    HnRegionMap map;
    g_assert_no_error(error);
    hn_regions_match(mappings, info, 1, &map);
    g_assert_cmpstr(map.problem, ==, NULL);
    g_assert_cmpuint(map.total_bytes, ==, info->configured_bytes);
    for (uint64_t at = 0; at < memory->length_bytes; at += memory->length_bytes - 4096) {
        uint32_t region;
        uint64_t offset;
        HnQemuGpa2Hva truth;
        json_object *arguments = hn_qemu_gpa2hva_build(memory->gpa_base + at);
        json_object *reply = real_qemu_ask(place->qemu, HN_QEMU_HUMAN_MONITOR_COMMAND,
                                           json_object_to_json_string(arguments));
        g_assert_true(hn_qemu_gpa2hva_decode(reply, &truth, &error));
        g_assert_no_error(error);
        g_assert_true(
            hn_gpa_to_region(map.regions, map.n_regions, memory->gpa_base + at, &region, &offset));
        g_assert_cmphex(map.regions[region].hva_start + offset, ==, truth.host_address);
        hn_qemu_gpa2hva_clear(&truth);
        json_object_put(arguments);
        json_object_put(reply);
    }
    hn_region_map_clear(&map);
}

static void test_hot_plug(void)
{
    static const char *const more[] = {"-m", "slots=4,maxmem=2G", "-smp",
                                       "sockets=4,cores=1,threads=1,maxcpus=4", NULL};
    Place place;
    if (!place_open(&place, "5d1f0a52-8f0e-4f0c-9d3a-000000000001", more))
        return;
    g_autoptr(HnDomainInfo) before = wait_for(&place, is_known, "the guest");
    g_assert_cmpint(before->pid, ==, real_qemu_pid(place.qemu));
    g_assert_cmpuint(before->memory->len, ==, 1);
    g_assert_cmpuint(before->configured_bytes, ==, 64 * MIB);

    real_qemu_tell(place.qemu, "object-add",
                   "{\"qom-type\":\"memory-backend-ram\",\"id\":\"dimm-ram\",\"size\":134217728}");
    g_autoptr(HnDomainInfo) made = wait_for(&place, is_known, "the guest");
    g_assert_cmpuint(made->memory->len, ==, 1); /* no guest RAM yet */
    real_qemu_tell(place.qemu, "device_add",
                   "{\"driver\":\"pc-dimm\",\"id\":\"dimm\",\"memdev\":\"dimm-ram\"}");
    g_autoptr(HnDomainInfo) plugged = wait_for(&place, is_known, "the guest");
    const HnMemoryInfo *dimm = find_memory(plugged, "dimm-ram");
    g_assert_nonnull(dimm);
    g_assert_cmpuint(dimm->length_bytes, ==, 128 * MIB);
    g_assert_cmphex(dimm->gpa_base, >=, 4 * GIB);
    g_assert_false(dimm->is_virtio_mem);
    g_assert_cmpuint(plugged->configured_bytes, ==, 192 * MIB);
    g_assert_cmpuint(plugged->current_bytes, ==, 192 * MIB);
    check_region(&place, plugged, dimm);

    /* A device that may grow to 256 MiB; its guest, which has no driver, has taken none of it. */
    real_qemu_tell(place.qemu, "object-add",
                   "{\"qom-type\":\"memory-backend-ram\",\"id\":\"vm-ram\",\"size\":268435456}");
    real_qemu_tell(place.qemu, "device_add",
                   "{\"driver\":\"virtio-mem-pci\",\"id\":\"vm0\",\"memdev\":\"vm-ram\","
                   "\"requested-size\":67108864}");
    g_autoptr(HnDomainInfo) grown = wait_for(&place, is_known, "the guest");
    const HnMemoryInfo *device = find_memory(grown, "vm-ram");
    g_assert_nonnull(device);
    g_assert_true(device->is_virtio_mem);
    g_assert_cmpuint(device->length_bytes, ==, 256 * MIB);
    g_assert_cmphex(device->gpa_base, >=, 4 * GIB);
    g_assert_cmpuint(grown->configured_bytes, ==, 448 * MIB);
    g_assert_cmpuint(grown->current_bytes, ==, 192 * MIB);
    check_region(&place, grown, device);
    check_region(&place, grown, find_memory(grown, "dimm-ram"));

    real_qemu_tell(place.qemu, "device_add",
                   "{\"driver\":\"qemu64-x86_64-cpu\",\"id\":\"cpu2\",\"socket-id\":2,"
                   "\"core-id\":0,\"thread-id\":0}");
    await(&place, has_three_vcpus, "the third vCPU");
    HnCpuset cpus;
    g_assert_true(hn_cpuset_parse("0", 1, &cpus, NULL));
    g_assert_true(place.backend->ops->pin_vcpu(place.backend, place.uuid, 2, &cpus, NULL));
    place_close(&place);
}

/* ---- dirty rate ---- */

/* Begins one and waits for its end; bytes per second. */
static uint64_t measure(Place *place)
{
    const HnBackendOps *ops = place->backend->ops;
    gint64 limit_us = g_get_monotonic_time() + LIMIT_US;
    g_autoptr(GError) error = NULL;
    HnDirtyRate rate = {0};
    /* Not within a second of the last one. */
    while (!ops->start_dirty_rate(place->backend, place->uuid, HN_DIRTY_PAGE_SAMPLING, 1, &error)) {
        g_assert_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY);
        g_assert_cmpint(g_get_monotonic_time(), <, limit_us);
        g_clear_error(&error);
        g_usleep(50 * 1000);
    }
    g_assert_false(
        ops->start_dirty_rate(place->backend, place->uuid, HN_DIRTY_PAGE_SAMPLING, 1, &error));
    g_assert_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY);
    g_clear_error(&error);
    while (!rate.is_measured) {
        g_usleep(50 * 1000);
        ops->get_dirty_rate(place->backend, place->uuid, &rate, &error);
        g_assert_no_error(error);
        g_assert_null(rate.vcpu_bytes_per_sec);
        g_assert_cmpint(g_get_monotonic_time(), <, limit_us);
    }
    g_assert_cmpfloat(rate.calc_seconds, ==, 1);
    return rate.bytes_per_sec;
}

static void test_dirty_rate(void)
{
    const char *const more[] = {"-kernel", kernel, "-append", "-- touch=all", NULL};
    Place place;
    uint64_t bytes_per_sec = 0;
    if (!place_open(&place, "5d1f0a52-8f0e-4f0c-9d3a-000000000002", more))
        return;
    await(&place, is_running, "the guest");
    /* The firmware comes first. */
    for (guint i = 0; i < 20 && bytes_per_sec == 0; i++)
        bytes_per_sec = measure(&place);
    g_assert_cmpuint(bytes_per_sec, >, 0);

    real_qemu_tell(place.qemu, "stop", NULL);
    await(&place, is_paused, "the guest to be stopped");
    await(&place, was_told_of_state, "that to be told");
    g_assert_cmpuint(measure(&place), ==, 0);
    real_qemu_tell(place.qemu, "cont", NULL);
    await(&place, is_running, "the guest to go on");
    place_close(&place);
}

/* ---- migration ---- */

/* Two hosts, the same guest: seen as busy on both while it is under way, as running on one after
 * it. */
static void test_migration(void)
{
    static const char *const incoming[] = {"-incoming", "defer", NULL};
    const char uuid[] = "5d1f0a52-8f0e-4f0c-9d3a-000000000003";
    g_autoptr(GError) error = NULL;
    Place from, to;
    if (!place_open(&from, uuid, NULL))
        return;
    g_assert_true(place_open(&to, uuid, incoming));
    await(&from, is_running, "the guest");
    await(&to, is_migrating, "a QEMU that waits for one");

    g_autofree char *socket = g_build_filename(real_qemu_dir(to.qemu), "admin", "migration", NULL);
    g_autofree char *uri = g_strdup_printf("{\"uri\":\"unix:%s\"}", socket);
    real_qemu_tell(to.qemu, "migrate-incoming", uri);
    /* Slow enough to stay under way until it is told otherwise. */
    real_qemu_tell(from.qemu, "migrate-set-parameters", "{\"max-bandwidth\":4096}");
    real_qemu_tell(from.qemu, "migrate", uri);
    g_autoptr(HnDomainInfo) leaving = wait_for(&from, is_migrating, "the migration");
    g_assert_cmpint(leaving->state, ==, HN_STATE_RUNNING);
    g_assert_false(
        from.backend->ops->start_dirty_rate(from.backend, uuid, HN_DIRTY_PAGE_SAMPLING, 1, &error));
    g_assert_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_BUSY);
    g_autoptr(HnDomainInfo) coming = wait_for(&to, is_migrating, "the migration");
    g_assert_cmpint(coming->state, ==, HN_STATE_PAUSED);
    g_assert_cmpint(coming->pid, ==, real_qemu_pid(to.qemu));

    real_qemu_tell(from.qemu, "migrate-set-parameters", "{\"max-bandwidth\":1073741824}");
    await(&to, is_running, "the guest to run elsewhere");
    await(&from, is_paused, "the guest to be stopped here");
    await(&to, was_told_of_state, "that to be told there");
    await(&from, was_told_of_state, "that to be told here");
    g_assert_false(was_told(&from, HN_CHANGE_STOPPED));
    real_qemu_quit(from.qemu);
    await(&from, is_gone, "what is left here to end");
    await(&from, was_told_of_end, "that to be told");
    await(&to, is_running, "the guest, still");
    g_assert_false(was_told(&to, HN_CHANGE_STOPPED));
    place_close(&from);
    place_close(&to);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(argc, ==, 2);
    kernel = argv[1];
    g_test_add_func("/bare-qemu/hot-plug", test_hot_plug);
    g_test_add_func("/bare-qemu/dirty-rate", test_dirty_rate);
    g_test_add_func("/bare-qemu/migration", test_migration);
    return g_test_run();
}
