/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes the decoders of QEMU's replies. The first input byte says which; the rest is the reply's
 * value. A decoder must take any JSON, and either succeed or set an error that names its command.
 */
#include <string.h>
#include "fuzz.h"
#include "qmp/codec.h"
#include "qmp/qemu.h"

typedef gboolean (*ArrayDecoder)(json_object *value, GArray **ret, GError **error);

static const struct {
    const char *command;
    ArrayDecoder decode;
} array_decoders[] = {
    {HN_QEMU_QUERY_CPUS_FAST, hn_qemu_cpus_decode},
    {HN_QEMU_QUERY_HOTPLUGGABLE_CPUS, hn_qemu_hotpluggable_cpus_decode},
    {HN_QEMU_QUERY_MEMDEV, hn_qemu_memdevs_decode},
    {HN_QEMU_QUERY_MEMORY_DEVICES, hn_qemu_memory_devices_decode},
    {HN_QEMU_QUERY_STATS, hn_qemu_stats_decode},
    {"info ramblock", hn_qemu_ramblocks_decode},
};

static const char *decode_other(guint which, json_object *value, gboolean *ret_is_ok,
                                GError **error)
{
    HnQemuStatus status;
    HnQemuMigration migration;
    HnQemuDirtyRate rate = {0};
    HnQemuGpa2Hva answer = {0};
    g_autofree char *text = NULL;
    gboolean is_enabled;

    switch (which) {
    case 0:
        *ret_is_ok = hn_qemu_status_decode(value, &status, error);
        return HN_QEMU_QUERY_STATUS;
    case 1:
        *ret_is_ok = hn_qemu_name_decode(value, &text, error);
        return HN_QEMU_QUERY_NAME;
    case 2:
        *ret_is_ok = hn_qemu_uuid_decode(value, &text, error);
        return HN_QEMU_QUERY_UUID;
    case 3:
        *ret_is_ok = hn_qemu_kvm_decode(value, &is_enabled, error);
        return HN_QEMU_QUERY_KVM;
    case 4:
        *ret_is_ok = hn_qemu_dirty_rate_decode(value, &rate, error);
        hn_qemu_dirty_rate_clear(&rate);
        return HN_QEMU_QUERY_DIRTY_RATE;
    case 5:
        *ret_is_ok = hn_qemu_migration_decode(value, &migration, error);
        return HN_QEMU_QUERY_MIGRATE;
    default:
        *ret_is_ok = hn_qemu_gpa2hva_decode(value, &answer, error);
        hn_qemu_gpa2hva_clear(&answer);
        return "gpa2hva";
    }
}

static void check(guint which, json_object *value)
{
    g_autoptr(GError) error = NULL;
    gboolean is_ok = FALSE;
    const char *command;

    if (which < G_N_ELEMENTS(array_decoders)) {
        g_autoptr(GArray) array = NULL;

        command = array_decoders[which].command;
        is_ok = array_decoders[which].decode(value, &array, &error);
        g_assert_true(is_ok == (array != NULL));
    } else {
        command = decode_other(which - (guint)G_N_ELEMENTS(array_decoders), value, &is_ok, &error);
    }
    g_assert_true(is_ok == (error == NULL));
    if (error) {
        g_assert_error(error, HN_QMP_ERROR, HN_QMP_ERROR_REPLY);
        g_assert_true(g_str_has_prefix(error->message, command));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(HnQmpCodec) codec = NULL;
    json_object *root = NULL;
    size_t used = 0;

    if (size < 2)
        return 0;
    codec = hn_qmp_codec_new(&hn_qmp_limits_control);
    if (data[1] == '"') {
        /* The human monitor's replies are strings: the rest of the input is its text. */
        g_autofree char *text = g_utf8_make_valid((const char *)data + 2, (gssize)size - 2);

        root = json_object_new_string(text);
    } else if (hn_qmp_codec_feed(codec, (const char *)data + 1, size - 1, &used, &root, NULL) !=
               HN_QMP_GOT_MESSAGE) {
        return 0;
    }
    check(data[0] % 13, root);
    json_object_put(root);
    return 0;
}
