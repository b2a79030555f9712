/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pure parts of the QMP back end: command lines, facts out of replies, derived uuids, which
 * sockets may be used.
 */
#include "backend/qmp-cmdline.h"
#include "backend/qmp-facts.h"
#include "backend/qmp-sidecar.h"

#include <string.h>

/* Arguments separated by blanks, which become NUL as in /proc. */
static HnQmpCmdline *parse(const char *text)
{
    g_autofree char *copy = g_strconcat(text, " ", NULL);
    size_t len = strlen(copy);
    g_strdelimit(copy, " ", '\0');
    return hn_qmp_cmdline_parse(copy, len);
}

static const struct {
    const char *text, *objects, *cells, *boot, *devices; /* cells: "id:memdev:vcpus" */
    bool has_passthrough, has_ring, has_launch_security;
} command_lines[] = {
    {"qemu -m 64", "", "", NULL, "", false, false, false},
    {"qemu -machine pc,memory-backend=ram0 -object memory-backend-ram,id=ram0,size=1M", "ram0", "",
     "ram0", "", false, false, false},
    {"qemu -object {\"qom-type\":\"memory-backend-memfd\",\"id\":\"ram-node0\",\"size\":4096} "
     "-object {\"qom-type\":\"iothread\",\"id\":\"io1\"} -numa "
     "node,nodeid=0,cpus=0-1,cpus=4,memdev=ram-node0 -numa node,nodeid=3,memdev=b,cpus=2-3 "
     "-numa dist,src=0,dst=3,val=20",
     "ram-node0", "0:ram-node0:0-1,4 3:b:2-3", NULL, "", false, false, false},
    {"qemu --object memory-backend-file,mem-path=/a,,id=b,id=c --M "
     "q35,confidential-guest-support=s",
     "c", "", NULL, "", false, false, true},
    {"qemu -device vfio-pci,host=3b:00.0 -device "
     "{\"driver\":\"vfio-pci\",\"host\":\"0001:02:03.4\"}",
     "", "", NULL, "0000:3b:00.0 0001:02:03.4", true, false, false},
    {"qemu -netdev vhost-vdpa,vhostdev=/dev/vhost-vdpa-0,id=n -accel kvm,dirty-ring-size=4096", "",
     "", NULL, "", true, true, false},
    {"qemu -accel kvm,dirty-ring-size=0 -object {broken -numa", "", "", NULL, "", false, false,
     false},
    /* Values of other options are not options. */
    {"qemu -name numa node,memdev=x", "", "", NULL, "", false, false, false},
    {"", "", "", NULL, "", false, false, false},
};

static char *join(const GPtrArray *words)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < words->len; i++)
        g_string_append_printf(text, "%s%s", i ? " " : "", (const char *)words->pdata[i]);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void test_cmdline(gconstpointer data)
{
    guint i = GPOINTER_TO_UINT(data);
    g_autoptr(HnQmpCmdline) cmdline = parse(command_lines[i].text);
    g_autofree char *objects = join(cmdline->memory_objects),
                    *devices = join(cmdline->host_devices);
    g_autoptr(GString) cells = g_string_new(NULL);
    for (guint k = 0; k < cmdline->cells->len; k++) {
        const HnQmpCell *cell = &g_array_index(cmdline->cells, HnQmpCell, k);
        g_autofree char *vcpus = hn_cpuset_format(&cell->vcpus);
        g_string_append_printf(cells, "%s%u:%s:%s", k ? " " : "", cell->id, cell->memdev, vcpus);
    }
    g_assert_cmpstr(objects, ==, command_lines[i].objects);
    g_assert_cmpstr(cells->str, ==, command_lines[i].cells);
    g_assert_cmpstr(cmdline->boot_memdev, ==, command_lines[i].boot);
    g_assert_cmpstr(devices, ==, command_lines[i].devices);
    g_assert_cmpint(cmdline->has_passthrough, ==, command_lines[i].has_passthrough);
    g_assert_cmpint(cmdline->has_dirty_ring, ==, command_lines[i].has_ring);
    g_assert_cmpint(cmdline->has_launch_security, ==, command_lines[i].has_launch_security);
}

/* What QEMU 7.2 answered, see tests/fixtures/qmp; order of query-memdev included. */
static const char memdevs[] =
    "[{\"share\":true,\"prealloc\":false,\"host-nodes\":[],\"size\":67108864,\"policy\":"
    "\"default\","
    "\"id\":\"ram-node1\"},{\"share\":false,\"prealloc\":false,\"host-nodes\":[],\"size\":"
    "134217728,"
    "\"policy\":\"default\",\"id\":\"memvirtiomem0\"},{\"share\":false,\"prealloc\":false,"
    "\"host-nodes\":[],\"size\":67108864,\"policy\":\"default\",\"id\":\"memdimm0\"},{\"share\":"
    "false,"
    "\"prealloc\":false,\"host-nodes\":[],\"size\":67108864,\"policy\":\"default\",\"id\":\"ram-"
    "node0\"},"
    "{\"share\":false,\"prealloc\":false,\"host-nodes\":[],\"size\":4096,\"policy\":\"default\","
    "\"id\":\"unused\"}]";
static const char devices[] =
    "[{\"type\":\"dimm\",\"data\":{\"memdev\":\"/objects/memdimm0\",\"hotplugged\":true,"
    "\"addr\":4294967296,\"hotpluggable\":true,\"size\":67108864,\"slot\":0,\"node\":1,\"id\":"
    "\"dimm0\"}},"
    "{\"type\":\"virtio-mem\",\"data\":{\"memdev\":\"/objects/"
    "memvirtiomem0\",\"memaddr\":4362076160,"
    "\"block-size\":2097152,\"size\":33554432,\"node\":0,\"max-size\":134217728,"
    "\"requested-size\":33554432,\"id\":\"virtiomem0\"}}]";
static const char cpus[] = "[{\"thread-id\":420,\"props\":{\"node-id\":0},\"cpu-index\":0,\"qom-"
                           "path\":\"/a\",\"target\":\"x86_64\"},"
                           "{\"thread-id\":422,\"props\":{\"node-id\":1},\"cpu-index\":1,\"qom-"
                           "path\":\"/b\",\"target\":\"x86_64\"}]";

static json_object *json(const char *text)
{
    json_object *value = json_tokener_parse(text);
    g_assert_nonnull(value);
    return value;
}

static void make_answers(HnQmpAnswers *answers)
{
    json_object *values[] = {json(memdevs), json(devices), json(cpus)};
    *answers = (HnQmpAnswers){.name = g_strdup("web"), .machine = g_strdup("pc-q35-10.0-machine")};
    g_assert_true(hn_qemu_memdevs_decode(values[0], &answers->memdevs, NULL));
    g_assert_true(hn_qemu_memory_devices_decode(values[1], &answers->memory_devices, NULL));
    g_assert_true(hn_qemu_cpus_decode(values[2], &answers->cpus, NULL));
    g_strlcpy(answers->status.status, "running", sizeof answers->status.status);
    answers->status.is_running = TRUE;
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
        json_object_put(values[i]);
}

static void test_facts(void)
{
    static const struct {
        const char *id;
        int32_t cell;
        uint64_t mib, gpa;
        bool is_virtio_mem;
    } wanted[] = {{"ram-node0", 0, 64, UINT64_MAX, false},
                  {"ram-node1", 1, 64, UINT64_MAX, false},
                  {"memdimm0", 1, 64, UINT64_C(4294967296), false},
                  {"memvirtiomem0", 0, 128, UINT64_C(4362076160), true}};
    HnQmpAnswers answers;
    make_answers(&answers);
    g_autoptr(HnQmpCmdline) cmdline = parse(
        "qemu -object memory-backend-ram,id=ram-node0 -object memory-backend-memfd,id=ram-node1 "
        "-numa node,nodeid=0,cpus=0,memdev=ram-node0 -numa "
        "node,nodeid=1,cpus=1-2,memdev=ram-node1");
    g_autoptr(HnDomainInfo) info = hn_qmp_facts_build(&answers, cmdline, "/s", 42, 7);
    g_assert_cmpstr(info->name, ==, "web");
    g_assert_cmpstr(info->monitor, ==, "/s");
    g_assert_cmpstr(info->machine_type, ==, "pc-q35-10.0");
    g_assert_true(info->is_bare_qemu && info->is_shared_memory);
    g_assert_cmpint(info->pid, ==, 42);
    g_assert_cmpuint(info->configured_bytes, ==, UINT64_C(320) << 20);
    g_assert_cmpuint(info->current_bytes, ==, UINT64_C(224) << 20); /* 32 of 128 MiB are plugged */
    g_assert_cmpuint(info->memory->len, ==, G_N_ELEMENTS(wanted));
    for (guint i = 0; i < G_N_ELEMENTS(wanted); i++) {
        const HnMemoryInfo *memory = g_ptr_array_index(info->memory, i);
        g_assert_cmpstr(memory->object_id, ==, wanted[i].id);
        g_assert_cmpint(memory->guest_cell, ==, wanted[i].cell);
        g_assert_cmpuint(memory->length_bytes, ==, wanted[i].mib << 20);
        g_assert_cmpuint(memory->gpa_base, ==, wanted[i].gpa);
        g_assert_cmpint(memory->is_virtio_mem, ==, wanted[i].is_virtio_mem);
    }
    g_assert_cmpuint(info->cells->len, ==, 2);
    g_assert_cmpuint(info->vcpus->len, ==, 2);
    g_assert_cmpint(g_array_index(info->vcpus, HnVcpuInfo, 1).guest_cell, ==, 1);
    hn_qmp_answers_clear(&answers);
}

/* Without -numa: the backend the machine names, or the one it made itself; QEMU's cell 0 is no cell
 * of the guest's configuration. */
static void test_facts_one_piece(void)
{
    static const struct {
        const char *text, *id;
    } cases[] = {
        {"qemu -machine pc,memory-backend=ram-node0 -object memory-backend-ram,id=ram-node0",
         "ram-node0"},
        {"qemu -object memory-backend-ram,id=ram-node0 -object memory-backend-ram,id=unused",
         "ram-node1"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnQmpAnswers answers;
        make_answers(&answers);
        g_autoptr(HnQmpCmdline) cmdline = parse(cases[i].text);
        g_autoptr(HnDomainInfo) info = hn_qmp_facts_build(&answers, cmdline, "/s", 42, 7);
        g_assert_cmpstr(((HnMemoryInfo *)g_ptr_array_index(info->memory, 0))->object_id, ==,
                        cases[i].id);
        g_assert_cmpint(((HnMemoryInfo *)g_ptr_array_index(info->memory, 0))->guest_cell, ==, -1);
        g_assert_cmpint(g_array_index(info->vcpus, HnVcpuInfo, 1).guest_cell, ==, -1);
        hn_qmp_answers_clear(&answers);
    }
}

static void test_state(void)
{
    static const struct {
        const char *status;
        bool is_running, is_migrating;
        HnDomainState state;
        HnJob job;
    } cases[] = {
        {"running", true, false, HN_STATE_RUNNING, HN_JOB_NONE},
        {"running", true, true, HN_STATE_RUNNING, HN_JOB_MIGRATION},
        {"paused", false, false, HN_STATE_PAUSED, HN_JOB_NONE},
        {"inmigrate", false, false, HN_STATE_PAUSED, HN_JOB_MIGRATION},
        {"finish-migrate", false, false, HN_STATE_PAUSED, HN_JOB_MIGRATION},
        {"save-vm", false, false, HN_STATE_PAUSED, HN_JOB_OTHER},
        {"shutdown", false, false, HN_STATE_SHUTDOWN, HN_JOB_NONE},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnQmpAnswers answers;
        make_answers(&answers);
        g_strlcpy(answers.status.status, cases[i].status, sizeof answers.status.status);
        answers.status.is_running = cases[i].is_running;
        answers.migration.is_active = cases[i].is_migrating;
        g_autoptr(HnQmpCmdline) cmdline = parse("qemu");
        g_autoptr(HnDomainInfo) info = hn_qmp_facts_build(&answers, cmdline, "/s", 42, 7);
        g_assert_cmpint(info->state, ==, cases[i].state);
        g_assert_cmpint(info->job, ==, cases[i].job);
        hn_qmp_answers_clear(&answers);
    }
}

static void test_uuid(void)
{
    char uuid[HN_UUID_LEN + 1], other[HN_UUID_LEN + 1];
    hn_qmp_facts_derive_uuid("/run/a", 42, 7, uuid);
    g_assert_true(g_uuid_string_is_valid(uuid));
    g_assert_cmpint(uuid[14], ==, '8');
    hn_qmp_facts_derive_uuid("/run/a", 42, 7, other);
    g_assert_cmpstr(uuid, ==, other);
    hn_qmp_facts_derive_uuid("/run/b", 42, 7, other);
    g_assert_cmpstr(uuid, !=, other);
    hn_qmp_facts_derive_uuid("/run/a", 42, 8, other);
    g_assert_cmpstr(uuid, !=, other);
}

static void test_socket(void)
{
    static const struct {
        const char *path;
        bool is_allowed;
    } cases[] = {
        {"/run/homenode/qemu/a.qmp", true},
        {"/run/libvirtual/a", true},
        {"/run/libvirt/libvirt-sock", false},
        {"/var/lib/libvirt/qemu/domain-1-a/monitor.sock", false},
        {"/home/u/.config/libvirt/qemu/lib/domain-1-a/monitor.sock", false},
        {"relative", false},
        {"", false},
        {"/01234567890123456789012345678901234567890123456789012345678901234567890123456789"
         "01234567890123456789012345678",
         false},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *problem = hn_qmp_socket_problem(cases[i].path);
        g_assert_cmpint(problem == NULL, ==, cases[i].is_allowed);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(command_lines); i++) {
        g_autofree char *path = g_strdup_printf("/qmp-facts/cmdline/%u", i);
        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_cmdline);
    }
    g_test_add_func("/qmp-facts/facts", test_facts);
    g_test_add_func("/qmp-facts/one-piece", test_facts_one_piece);
    g_test_add_func("/qmp-facts/state", test_state);
    g_test_add_func("/qmp-facts/uuid", test_uuid);
    g_test_add_func("/qmp-facts/socket", test_socket);
    return g_test_run();
}
