/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decoders of QEMU's replies: what the recordings do not have. Each refusal names command and
 * field; replies of QEMUs to come, with kinds and fields not known here, are read as far as they
 * are.
 */
#include <string.h>
#include "qmp/message.h"
#include "qmp/qemu.h"

static json_object *parse(const char *text)
{
    json_object *value = json_tokener_parse(text);

    g_assert_true(value || g_str_equal(text, "null"));
    return value;
}

/* ---- refusals ---- */

typedef gboolean (*AnyDecoder)(json_object *value, gpointer ret, GError **error);

/* Large enough for every result struct. */
typedef union {
    HnQemuStatus status;
    HnQemuDirtyRate rate;
    HnQemuMigration migration;
    HnQemuGpa2Hva answer;
    gpointer pointer;
    gboolean flag;
} AnyResult;

#define DECODER(f) ((AnyDecoder)(gpointer)(f))

#define CPU "\"cpu-index\":0,\"thread-id\":7,\"qom-path\":\"/m\""
#define MEMDEV "\"size\":1,\"prealloc\":false,\"policy\":\"bind\""

static const struct {
    gpointer decode;
    const char *value;
    const char *text;
} refusals[] = {
    {hn_qemu_status_decode, "[]", "query-status: the reply must be object, not array"},
    {hn_qemu_status_decode, "null", "query-status: the reply must be object, not null"},
    {hn_qemu_status_decode, "{\"status\":\"running\"}", "query-status: running is missing"},
    {hn_qemu_status_decode, "{\"status\":5,\"running\":true}",
     "query-status: status must be string, not int"},
    {hn_qemu_status_decode, "{\"status\":\"a-status-longer-than-any\",\"running\":true}",
     "query-status: status is longer than 23 bytes: 'a-status-longer-than-any'"},
    {hn_qemu_name_decode, "{\"name\":null}", "query-name: name must be string, not null"},
    {hn_qemu_uuid_decode, "{\"UUID\":\"1234\"}", "query-uuid: UUID is no UUID: '1234'"},
    {hn_qemu_kvm_decode, "{\"enabled\":1}", "query-kvm: enabled must be boolean, not int"},
    {hn_qemu_cpus_decode, "{}", "query-cpus-fast: the reply must be array, not object"},
    {hn_qemu_cpus_decode, "[{" CPU "},5]", "query-cpus-fast: [1] must be object, not int"},
    {hn_qemu_cpus_decode, "[{\"cpu-index\":0}]", "query-cpus-fast: [0].thread-id is missing"},
    {hn_qemu_cpus_decode, "[{\"cpu-index\":0,\"thread-id\":0}]",
     "query-cpus-fast: [0].thread-id must be from 1 to 2147483647, not 0"},
    {hn_qemu_cpus_decode, "[{" CPU ",\"props\":{\"node-id\":-1}}]",
     "query-cpus-fast: [0].props.node-id must be from 0 to 2147483647, not -1"},
    {hn_qemu_cpus_decode, "[{" CPU "},{" CPU "}]",
     "query-cpus-fast: the reply names cpu-index 0 twice"},
    {hn_qemu_hotpluggable_cpus_decode, "[{\"vcpus-count\":1,\"type\":\"x\"}]",
     "query-hotpluggable-cpus: [0].props is missing"},
    {hn_qemu_memdevs_decode, "[{\"size\":-1}]",
     "query-memdev: [0].size must be from 0 to 9223372036854775806, not -1"},
    {hn_qemu_memdevs_decode, "[{\"size\":18446744073709551615}]",
     "query-memdev: [0].size must be from 0 to 9223372036854775806, not 18446744073709551615"},
    {hn_qemu_memdevs_decode, "[{" MEMDEV ",\"host-nodes\":[0,1024]}]",
     "query-memdev: [0].host-nodes must list nodes from 0 to 1023, not 1024"},
    {hn_qemu_memdevs_decode, "[{" MEMDEV ",\"host-nodes\":[null]}]",
     "query-memdev: [0].host-nodes must list nodes from 0 to 1023, not null"},
    {hn_qemu_memory_devices_decode, "[{\"type\":\"dimm\",\"data\":{\"memdev\":\"/objects/m\"}}]",
     "query-memory-devices: [0].data.addr is missing"},
    {hn_qemu_memory_devices_decode,
     "[{\"type\":\"virtio-mem\",\"data\":{\"memdev\":\"/objects/m\",\"memaddr\":0,\"size\":0}}]",
     "query-memory-devices: [0].data.max-size is missing"},
    {hn_qemu_dirty_rate_decode, "{\"status\":\"asleep\",\"calc-time\":1}",
     "query-dirty-rate: status has a value not known here: 'asleep'"},
    {hn_qemu_dirty_rate_decode,
     "{\"status\":\"measured\",\"calc-time\":1,\"vcpu-dirty-rate\":[{\"id\":0}]}",
     "query-dirty-rate: vcpu-dirty-rate[0].dirty-rate is missing"},
    {hn_qemu_dirty_rate_decode,
     "{\"status\":\"measured\",\"calc-time\":1,\"calc-time-unit\":\"hour\"}",
     "query-dirty-rate: calc-time-unit has a value not known here: 'hour'"},
    {hn_qemu_migration_decode, "{\"status\":\"active\",\"ram\":{\"total\":1}}",
     "query-migrate: ram.remaining is missing"},
    {hn_qemu_stats_decode, "[{\"provider\":\"kvm\",\"stats\":[{\"name\":\"x\"}]}]",
     "query-stats: [0].stats.value is missing"},
    {hn_qemu_stats_decode, "[{\"provider\":\"kvm\",\"stats\":[{\"name\":\"x\",\"value\":\"y\"}]}]",
     "query-stats: [0].stats.value must be int, not string"},
    {hn_qemu_ramblocks_decode, "\"\"", "info ramblock: the reply has no heading: ''"},
    {hn_qemu_ramblocks_decode, "\"Block Name Total\\r\\nram 4 KiB 0x0 0x1\\r\\n\"",
     "info ramblock: the reply has a line not known here: 'ram 4 KiB 0x0 0x1'"},
    {hn_qemu_ramblocks_decode, "\"Block Name Total\\nram 4 XiB 0x0 0x1 0x2\"",
     "info ramblock: the reply has a line not known here: 'ram 4 XiB 0x0 0x1 0x2'"},
    {hn_qemu_ramblocks_decode, "\"Block Name Total HVA RO\\nram 4 KiB 0x0 0x1 0x2 0x3 xx\"",
     "info ramblock: the reply has a line not known here: 'ram 4 KiB 0x0 0x1 0x2 0x3 xx'"},
    {hn_qemu_gpa2hva_decode, "\"unknown command: 'gpa2hva'\\r\\n\"",
     "gpa2hva: the reply is not known here: 'unknown command: 'gpa2hva''"},
    {hn_qemu_gpa2hva_decode, "\"Host virtual address for 0x1 (a) is 0x0\"",
     "gpa2hva: the reply is not known here: 'Host virtual address for 0x1 (a) is 0x0'"},
    {hn_qemu_gpa2hva_decode, "\"Host virtual address for 0x1 (a) is 0x1ffffffffffffffff\"",
     "gpa2hva: the reply is not known here: 'Host virtual address for 0x1 (a) is "
     "0x1ffffffffffffffff'"},
};

static void test_refusals(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
        json_object *value = parse(refusals[i].value);
        g_autoptr(GError) error = NULL;
        AnyResult result = {0}, untouched = {0};

        g_assert_false(DECODER(refusals[i].decode)(value, &result, &error));
        g_assert_error(error, HN_QMP_ERROR, HN_QMP_ERROR_REPLY);
        g_assert_cmpstr(error->message, ==, refusals[i].text);
        g_assert_cmpmem(&result, sizeof result, &untouched, sizeof untouched);
        json_object_put(value);
    }
}

/* ---- what is read though it is not in the recordings ---- */

static void test_names(void)
{
    json_object *nameless = parse("{}");
    json_object *zeros = parse("{\"UUID\":\"00000000-0000-0000-0000-000000000000\"}");
    json_object *upper = parse("{\"UUID\":\"0123ABCD-89ab-cdef-0123-456789ABCDEF\"}");
    g_autofree char *name = NULL, *none = NULL, *uuid = NULL;

    g_assert_true(hn_qemu_name_decode(nameless, &name, NULL));
    g_assert_null(name);
    g_assert_true(hn_qemu_uuid_decode(zeros, &none, NULL));
    g_assert_null(none);
    g_assert_true(hn_qemu_uuid_decode(upper, &uuid, NULL));
    g_assert_cmpstr(uuid, ==, "0123abcd-89ab-cdef-0123-456789abcdef");
    json_object_put(nameless);
    json_object_put(zeros);
    json_object_put(upper);
}

/* Out of order, without cells, with fields of a later QEMU. */
static void test_cpus(void)
{
    json_object *value =
        parse("[{\"cpu-index\":2,\"thread-id\":12,\"qom-path\":\"/b\",\"new\":{}},"
              "{\"cpu-index\":0,\"thread-id\":10,\"qom-path\":\"/a\",\"props\":{}}]");
    g_autoptr(GArray) cpus = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_true(hn_qemu_cpus_decode(value, &cpus, &error));
    g_assert_cmpuint(cpus->len, ==, 2);
    g_assert_cmpuint(g_array_index(cpus, HnQemuCpu, 0).cpu_index, ==, 0);
    g_assert_cmpint(g_array_index(cpus, HnQemuCpu, 1).thread_id, ==, 12);
    g_assert_cmpint(g_array_index(cpus, HnQemuCpu, 1).node_id, ==, -1);
    json_object_put(value);
}

static void test_memory(void)
{
    json_object *memdevs = parse("[{\"size\":4096,\"prealloc\":true,\"policy\":\"interleave\","
                                 "\"host-nodes\":[1,3]}]");
    json_object *devices =
        parse("[{\"type\":\"nvdimm\",\"data\":{\"memdev\":\"/machine/x\",\"addr\":1,\"size\":2}},"
              "{\"type\":\"virtio-pmem\",\"data\":{\"memdev\":\"/objects/p\",\"memaddr\":3,"
              "\"size\":4}},"
              "{\"type\":\"hv-balloon\",\"data\":{\"max-size\":5}}]");
    g_autoptr(GArray) a = NULL;
    g_autoptr(GArray) b = NULL;
    const HnQemuMemdev *memdev;
    const HnQemuMemoryDevice *device;

    g_assert_true(hn_qemu_memdevs_decode(memdevs, &a, NULL));
    memdev = &g_array_index(a, HnQemuMemdev, 0);
    g_assert_null(memdev->id);
    g_assert_true(memdev->is_prealloc && !memdev->is_shared);
    g_assert_cmpuint(memdev->host_nodes->len, ==, 2);
    g_assert_cmpuint(g_array_index(memdev->host_nodes, guint, 1), ==, 3);

    g_assert_true(hn_qemu_memory_devices_decode(devices, &b, NULL));
    device = &g_array_index(b, HnQemuMemoryDevice, 0);
    g_assert_cmpint(device->kind, ==, HN_QEMU_MEMORY_NVDIMM);
    g_assert_cmpstr(device->memdev, ==, "/machine/x");
    g_assert_cmpint(device->node_id, ==, -1);
    g_assert_null(device->id);
    g_assert_cmpuint(device[1].address, ==, 3);
    g_assert_cmpint(device[2].kind, ==, HN_QEMU_MEMORY_OTHER);
    g_assert_null(device[2].memdev);
    json_object_put(memdevs);
    json_object_put(devices);
}

static void test_dirty_rate(void)
{
    json_object *ring = parse(
        "{\"vcpu-dirty-rate\":[{\"dirty-rate\":41,\"id\":0},{\"dirty-rate\":74,\"id\":1}],"
        "\"status\":\"measured\",\"sample-pages\":0,\"dirty-rate\":115,\"mode\":\"dirty-ring\","
        "\"calc-time\":250,\"calc-time-unit\":\"millisecond\"}");
    json_object *failed = parse("{\"status\":\"measured\",\"dirty-rate\":-1,\"calc-time\":1}");
    HnQemuDirtyRate rate;

    g_assert_true(hn_qemu_dirty_rate_decode(ring, &rate, NULL));
    g_assert_true(rate.has_rate);
    g_assert_cmpuint(rate.rate_mib_per_s, ==, 115);
    g_assert_cmpint(rate.mode, ==, HN_QEMU_DIRTY_RING);
    g_assert_cmpuint(rate.calc_time_ms, ==, 250);
    g_assert_cmpuint(g_array_index(rate.vcpus, HnQemuVcpuDirtyRate, 1).rate_mib_per_s, ==, 74);
    hn_qemu_dirty_rate_clear(&rate);
    g_assert_true(hn_qemu_dirty_rate_decode(failed, &rate, NULL));
    g_assert_false(rate.has_rate);
    hn_qemu_dirty_rate_clear(&rate);
    json_object_put(ring);
    json_object_put(failed);
}

/* A status of a later QEMU counts as active: waiting is the safe side. */
static void test_migration(void)
{
    static const struct {
        const char *status;
        gboolean is_active;
    } cases[] = {
        {"none", FALSE},           {"setup", TRUE},         {"active", TRUE},
        {"postcopy-active", TRUE}, {"cancelling", TRUE},    {"cancelled", FALSE},
        {"failed", FALSE},         {"completed", FALSE},    {"device", TRUE},
        {"wait-unplug", TRUE},     {"something-new", TRUE},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        json_object *value = json_object_new_object();
        HnQemuMigration migration;

        json_object_object_add(value, "status", json_object_new_string(cases[i].status));
        g_assert_true(hn_qemu_migration_decode(value, &migration, NULL));
        g_assert_cmpint(migration.is_active, ==, cases[i].is_active);
        g_assert_cmpint(migration.ram_total_bytes, ==, -1);
        json_object_put(value);
    }
}

static void test_stats(void)
{
    json_object *value =
        parse("[{\"provider\":\"kvm\",\"qom-path\":\"/c\",\"stats\":["
              "{\"name\":\"hist\",\"value\":[1,2]},{\"name\":\"on\",\"value\":true},"
              "{\"name\":\"n\",\"value\":9}]}]");
    g_autoptr(GArray) all = NULL;
    const HnQemuStats *stats;

    g_assert_true(hn_qemu_stats_decode(value, &all, NULL));
    stats = &g_array_index(all, HnQemuStats, 0);
    g_assert_cmpuint(stats->stats->len, ==, 2);
    g_assert_cmpstr(g_array_index(stats->stats, HnQemuStat, 0).name, ==, "on");
    g_assert_cmpuint(g_array_index(stats->stats, HnQemuStat, 0).value, ==, 1);
    g_assert_cmpuint(g_array_index(stats->stats, HnQemuStat, 1).value, ==, 9);
    json_object_put(value);
}

static void test_human(void)
{
    json_object *text = parse("\"Block Name PSize Offset Used Total HVA RO\\r\\n"
                              "  my  ram 2 MiB 0x10 0x20 0x30 0x7f00 ro\\r\\n\\r\\n\"");
    json_object *odd = parse("\"Host virtual address for 0x1 (a) is (b) is 0x2000\"");
    g_autoptr(GArray) blocks = NULL;
    const HnQemuRamBlock *block;
    HnQemuGpa2Hva answer;

    g_assert_true(hn_qemu_ramblocks_decode(text, &blocks, NULL));
    block = &g_array_index(blocks, HnQemuRamBlock, 0);
    g_assert_cmpstr(block->name, ==, "my ram");
    g_assert_cmpuint(block->page_size_bytes, ==, 2 << 20);
    g_assert_cmpuint(block->total_bytes, ==, 0x30);
    g_assert_cmpuint(block->host_address, ==, 0x7f00);

    g_assert_true(hn_qemu_gpa2hva_decode(odd, &answer, NULL));
    g_assert_cmpstr(answer.block, ==, "a) is (b");
    g_assert_cmpuint(answer.host_address, ==, 0x2000);
    hn_qemu_gpa2hva_clear(&answer);
    json_object_put(text);
    json_object_put(odd);
}

/* ---- builders of messages ---- */

static void test_messages(void)
{
    json_object *message = hn_qmp_build_command("a\xff", NULL, json_object_new_int(1));
    g_autoptr(GBytes) command = hn_qmp_serialize(message);
    g_autoptr(GBytes) raw = NULL;
    const char *expected = "{\"execute\":\"a\xef\xbf\xbd\",\"id\":1}\r\n";
    json_object *bad = json_object_new_object();

    g_assert_cmpmem(g_bytes_get_data(command, NULL), g_bytes_get_size(command), expected,
                    strlen(expected));
    json_object_put(message);

    /* A value some handler built of raw bytes still leaves as UTF-8. */
    json_object_object_add(bad, "x", json_object_new_string("\xc3"));
    message = hn_qmp_build_return(bad, NULL);
    raw = hn_qmp_serialize(message);
    g_assert_true(g_utf8_validate_len(g_bytes_get_data(raw, NULL), g_bytes_get_size(raw), NULL));
    json_object_put(message);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qmp/qemu/refusals", test_refusals);
    g_test_add_func("/qmp/qemu/names", test_names);
    g_test_add_func("/qmp/qemu/cpus", test_cpus);
    g_test_add_func("/qmp/qemu/memory", test_memory);
    g_test_add_func("/qmp/qemu/dirty-rate", test_dirty_rate);
    g_test_add_func("/qmp/qemu/migration", test_migration);
    g_test_add_func("/qmp/qemu/stats", test_stats);
    g_test_add_func("/qmp/qemu/human", test_human);
    g_test_add_func("/qmp/qemu/messages", test_messages);
    return g_test_run();
}
