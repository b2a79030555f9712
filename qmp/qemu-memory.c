/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory: backends, plugged devices, and the human monitor's "info ramblock" and "gpa2hva".
 * See qemu.h.
 *
 * The human monitor's replies are text meant for people; the two forms below have been the same
 * from 7.2 to 11.1 but for columns added at the end, and any other is an error, not a guess.
 */
#include "qmp/qemu.h"

#include <string.h>
#include "qmp/reply.h"

/* ---- query-memdev ---- */

static void memdev_clear(gpointer data)
{
    HnQemuMemdev *memdev = data;

    g_free(memdev->id);
    g_clear_pointer(&memdev->host_nodes, g_array_unref);
}

static gboolean decode_host_nodes(const HnReplyPlace *place, json_object *list, GArray *nodes,
                                  GError **error)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        json_object *value = json_object_array_get_idx(list, i);
        gint64 number =
            json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;
        guint node = (guint)number;

        /* Linux has at most 1024 nodes (CONFIG_NODES_SHIFT ≤ 10). */
        if (number < 0 || number > 1023)
            return hn_reply_error(place, "host-nodes", error,
                                  "must list nodes from 0 to 1023, not %s",
                                  value ? json_object_get_string(value) : "null");
        g_array_append_val(nodes, node);
    }
    return TRUE;
}

static gboolean decode_memdev(guint index, json_object *object, HnQemuMemdev *memdev,
                              GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_MEMDEV, (gint)index, NULL};
    json_object *nodes = NULL;

    memdev->host_nodes = g_array_new(FALSE, TRUE, sizeof(guint));
    return hn_reply_is(&place, object, json_type_object, error) &&
           hn_reply_string(&place, object, "id", HN_REPLY_OPTIONAL, &memdev->id, error) &&
           hn_reply_size(&place, object, "size", HN_REPLY_REQUIRED, &memdev->size_bytes, error) &&
           hn_reply_bool(&place, object, "share", HN_REPLY_OPTIONAL, &memdev->is_shared, error) &&
           hn_reply_bool(&place, object, "prealloc", HN_REPLY_REQUIRED, &memdev->is_prealloc,
                         error) &&
           hn_reply_word(&place, object, "policy", HN_REPLY_REQUIRED, memdev->policy,
                         sizeof memdev->policy, error) &&
           hn_reply_member(&place, object, "host-nodes", HN_REPLY_REQUIRED, json_type_array, &nodes,
                           error) &&
           decode_host_nodes(&place, nodes, memdev->host_nodes, error);
}

gboolean hn_qemu_memdevs_decode(json_object *value, GArray **ret_memdevs, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_MEMDEV, -1, NULL};
    g_autoptr(GArray) memdevs = g_array_new(FALSE, TRUE, sizeof(HnQemuMemdev));

    g_array_set_clear_func(memdevs, memdev_clear);
    if (!hn_reply_is(&place, value, json_type_array, error))
        return FALSE;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        g_array_set_size(memdevs, (guint)i + 1);
        if (!decode_memdev((guint)i, json_object_array_get_idx(value, i),
                           &g_array_index(memdevs, HnQemuMemdev, i), error))
            return FALSE;
    }
    *ret_memdevs = g_steal_pointer(&memdevs);
    return TRUE;
}

/* ---- query-memory-devices ---- */

static void memory_device_clear(gpointer data)
{
    HnQemuMemoryDevice *device = data;

    g_free(device->id);
    g_free(device->memdev);
}

/* "/objects/ID" → ID; QEMU gives backends by their QOM path here and by id in query-memdev. */
static gboolean read_memdev(const HnReplyPlace *place, json_object *data, char **ret_id,
                            GError **error)
{
    static const char prefix[] = "/objects/";
    g_autofree char *path = NULL;

    if (!hn_reply_string(place, data, "memdev", HN_REPLY_REQUIRED, &path, error))
        return FALSE;
    *ret_id = g_strdup(g_str_has_prefix(path, prefix) ? path + strlen(prefix) : path);
    return TRUE;
}

static gboolean read_node(const HnReplyPlace *place, json_object *data, gint *ret_node,
                          GError **error)
{
    gint64 node = -1;

    if (!hn_reply_int(place, data, "node", HN_REPLY_OPTIONAL, 0, G_MAXINT, &node, error))
        return FALSE;
    *ret_node = (gint)node;
    return TRUE;
}

/* The fields a kind has; they differ in names, not in meaning. */
static const struct {
    const char *type;
    HnQemuMemoryKind kind;
    const char *address;
    const char *max_size; /* NULL: the same as size */
    const char *requested_size;
} memory_kinds[] = {
    {"dimm", HN_QEMU_MEMORY_DIMM, "addr", NULL, NULL},
    {"nvdimm", HN_QEMU_MEMORY_NVDIMM, "addr", NULL, NULL},
    {"virtio-pmem", HN_QEMU_MEMORY_VIRTIO_PMEM, "memaddr", NULL, NULL},
    {"virtio-mem", HN_QEMU_MEMORY_VIRTIO_MEM, "memaddr", "max-size", "requested-size"},
};

static gboolean decode_memory_device(guint index, json_object *object, HnQemuMemoryDevice *device,
                                     GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_MEMORY_DEVICES, (gint)index, NULL};
    const HnReplyPlace inner = {HN_QEMU_QUERY_MEMORY_DEVICES, (gint)index, "data"};
    char type[32] = "";
    json_object *data = NULL;
    size_t k = 0;

    device->kind = HN_QEMU_MEMORY_OTHER;
    device->node_id = -1;
    if (!hn_reply_is(&place, object, json_type_object, error) ||
        !hn_reply_word(&place, object, "type", HN_REPLY_REQUIRED, type, sizeof type, error) ||
        !hn_reply_member(&place, object, "data", HN_REPLY_REQUIRED, json_type_object, &data,
                         error) ||
        !hn_reply_string(&inner, data, "id", HN_REPLY_OPTIONAL, &device->id, error))
        return FALSE;
    while (k < G_N_ELEMENTS(memory_kinds) && !g_str_equal(memory_kinds[k].type, type))
        k++;
    if (k == G_N_ELEMENTS(memory_kinds))
        return TRUE;

    device->kind = memory_kinds[k].kind;
    if (!read_memdev(&inner, data, &device->memdev, error) ||
        !read_node(&inner, data, &device->node_id, error) ||
        !hn_reply_size(&inner, data, memory_kinds[k].address, HN_REPLY_REQUIRED, &device->address,
                       error) ||
        !hn_reply_size(&inner, data, "size", HN_REPLY_REQUIRED, &device->size_bytes, error))
        return FALSE;
    device->max_size_bytes = device->requested_size_bytes = device->size_bytes;
    return !memory_kinds[k].max_size ||
           (hn_reply_size(&inner, data, memory_kinds[k].max_size, HN_REPLY_REQUIRED,
                          &device->max_size_bytes, error) &&
            hn_reply_size(&inner, data, memory_kinds[k].requested_size, HN_REPLY_REQUIRED,
                          &device->requested_size_bytes, error));
}

gboolean hn_qemu_memory_devices_decode(json_object *value, GArray **ret_devices, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_MEMORY_DEVICES, -1, NULL};
    g_autoptr(GArray) devices = g_array_new(FALSE, TRUE, sizeof(HnQemuMemoryDevice));

    g_array_set_clear_func(devices, memory_device_clear);
    if (!hn_reply_is(&place, value, json_type_array, error))
        return FALSE;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        g_array_set_size(devices, (guint)i + 1);
        if (!decode_memory_device((guint)i, json_object_array_get_idx(value, i),
                                  &g_array_index(devices, HnQemuMemoryDevice, i), error))
            return FALSE;
    }
    *ret_devices = g_steal_pointer(&devices);
    return TRUE;
}

/* ---- the human monitor ---- */

static json_object *build_human(const char *line)
{
    json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "command-line", json_object_new_string(line));
    return arguments;
}

json_object *hn_qemu_info_ramblock_build(void)
{
    return build_human("info ramblock");
}

json_object *hn_qemu_gpa2hva_build(guint64 guest_address)
{
    g_autofree char *line = g_strdup_printf("gpa2hva 0x%" G_GINT64_MODIFIER "x", guest_address);

    return build_human(line);
}

/* "0x…" and nothing behind it. */
static gboolean parse_hex(const char *text, guint64 *ret)
{
    return g_str_has_prefix(text, "0x") &&
           g_ascii_string_to_unsigned(text + 2, 16, 0, G_MAXUINT64, ret, NULL);
}

/* "4 KiB", "2 MiB", "1 GiB": QEMU's size_to_str(), three significant digits, powers of two here. */
static gboolean parse_page_size(const char *number, const char *unit, guint64 *ret_bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
    guint64 count;

    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        if (g_str_equal(unit, units[i]) &&
            g_ascii_string_to_unsigned(number, 10, 1, 1023, &count, NULL)) {
            *ret_bytes = count << (10 * i);
            return TRUE;
        }
    }
    return FALSE;
}

static void ramblock_clear(gpointer data)
{
    HnQemuRamBlock *block = data;

    g_free(block->name);
}

/*
 * One line:  NAME  4 KiB  0xOFFSET 0xUSED 0xTOTAL [0xHVA rw]
 * A name may contain blanks (some come from file names), so the fields are counted from the end; a
 * run of blanks in a name comes out as one. has_hva: the heading names the column.
 */
static gboolean parse_ramblock(const char *line, gboolean has_hva, HnQemuRamBlock *block)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    g_autoptr(GPtrArray) fields = g_ptr_array_new();
    const guint behind_name = has_hva ? 7 : 5;
    const char *const *tail;

    for (guint i = 0; words[i]; i++) {
        if (*words[i])
            g_ptr_array_add(fields, words[i]);
    }
    if (fields->len <= behind_name)
        return FALSE;
    tail = (const char *const *)fields->pdata + (fields->len - behind_name);
    if (!parse_page_size(tail[0], tail[1], &block->page_size_bytes) ||
        !parse_hex(tail[2], &block->offset) || !parse_hex(tail[3], &block->used_bytes) ||
        !parse_hex(tail[4], &block->total_bytes) ||
        (has_hva && (!parse_hex(tail[5], &block->host_address) ||
                     (!g_str_equal(tail[6], "rw") && !g_str_equal(tail[6], "ro")))))
        return FALSE;
    g_ptr_array_set_size(fields, (gint)(fields->len - behind_name));
    g_ptr_array_add(fields, NULL);
    block->name = g_strjoinv(" ", (char **)fields->pdata);
    return TRUE;
}

gboolean hn_qemu_ramblocks_decode(json_object *value, GArray **ret_blocks, GError **error)
{
    const HnReplyPlace place = {"info ramblock", -1, NULL};
    g_autoptr(GArray) blocks = g_array_new(FALSE, TRUE, sizeof(HnQemuRamBlock));
    g_auto(GStrv) lines = NULL;
    gboolean has_hva;

    g_array_set_clear_func(blocks, ramblock_clear);
    if (!hn_reply_is(&place, value, json_type_string, error))
        return FALSE;
    lines = g_strsplit(json_object_get_string(value), "\n", -1);
    if (!lines[0] || !strstr(lines[0], "Block Name") || !strstr(lines[0], "Total"))
        return hn_reply_error(&place, NULL, error, "has no heading: '%.64s'",
                              lines[0] ? lines[0] : "");
    has_hva = strstr(lines[0], "HVA") != NULL;
    for (guint i = 1; lines[i]; i++) {
        HnQemuRamBlock block = {0};

        g_strchomp(lines[i]);
        if (!*lines[i])
            continue;
        if (!parse_ramblock(lines[i], has_hva, &block))
            return hn_reply_error(&place, NULL, error, "has a line not known here: '%.120s'",
                                  lines[i]);
        g_array_append_val(blocks, block);
    }
    *ret_blocks = g_steal_pointer(&blocks);
    return TRUE;
}

/*
 * "Host virtual address for 0x5000000 (ram-node1) is 0x7fca4cdff000", or
 * "No memory is mapped at address 0x…", or "Memory at address 0x… is not RAM".
 */
gboolean hn_qemu_gpa2hva_decode(json_object *value, HnQemuGpa2Hva *ret_answer, GError **error)
{
    const HnReplyPlace place = {"gpa2hva", -1, NULL};
    g_autofree char *text = NULL;
    HnQemuGpa2Hva answer = {0};
    const char *open, *is;

    if (!hn_reply_is(&place, value, json_type_string, error))
        return FALSE;
    text = g_strchomp(g_strdup(json_object_get_string(value)));
    if (g_str_has_prefix(text, "No memory is mapped at address ") ||
        (g_str_has_prefix(text, "Memory at address ") && g_str_has_suffix(text, " is not RAM"))) {
        *ret_answer = answer;
        return TRUE;
    }
    open = strstr(text, " (");
    is = g_strrstr(text, ") is ");
    if (!g_str_has_prefix(text, "Host virtual address for ") || !open || !is || is < open + 2 ||
        !parse_hex(is + strlen(") is "), &answer.host_address) || answer.host_address == 0)
        return hn_reply_error(&place, NULL, error, "is not known here: '%.120s'", text);
    answer.is_ram = TRUE;
    answer.block = g_strndup(open + 2, (gsize)(is - open - 2));
    *ret_answer = answer;
    return TRUE;
}

void hn_qemu_gpa2hva_clear(HnQemuGpa2Hva *answer)
{
    g_free(answer->block);
    memset(answer, 0, sizeof *answer);
}
