/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty rate and migration: how fast a guest writes, and whether it is on its way out. See qemu.h.
 */
#include "qmp/qemu.h"

#include <string.h>
#include "qmp/reply.h"

/* QEMU's DirtyRateMeasureMode, in the order of HnQemuDirtyMode. */
static const char *const mode_names[] = {"page-sampling", "dirty-bitmap", "dirty-ring"};

json_object *hn_qemu_calc_dirty_rate_build(guint calc_time_s, HnQemuDirtyMode mode,
                                           guint sample_pages)
{
    json_object *arguments = json_object_new_object();

    /* Bounds of migration/dirtyrate.c: MIN_FETCH_DIRTYRATE_TIME_SEC and its neighbours. */
    g_return_val_if_fail(calc_time_s >= 1 && calc_time_s <= 60, arguments);
    g_return_val_if_fail(sample_pages == 0 || (mode == HN_QEMU_DIRTY_PAGE_SAMPLING &&
                                               sample_pages >= 128 && sample_pages <= 16384),
                         arguments);

    json_object_object_add(arguments, "calc-time", json_object_new_int((int)calc_time_s));
    json_object_object_add(arguments, "mode", json_object_new_string(mode_names[mode]));
    if (sample_pages > 0)
        json_object_object_add(arguments, "sample-pages", json_object_new_int((int)sample_pages));
    return arguments;
}

/* The index of text among names. */
static gboolean find_name(const HnReplyPlace *place, const char *field, const char *const *names,
                          size_t n_names, const char *text, guint *ret_index, GError **error)
{
    for (size_t i = 0; i < n_names; i++) {
        if (g_str_equal(names[i], text)) {
            *ret_index = (guint)i;
            return TRUE;
        }
    }
    return hn_reply_error(place, field, error, "has a value not known here: '%.64s'", text);
}

static gboolean decode_vcpu_rates(json_object *list, GArray *rates, GError **error)
{
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        g_autofree char *where = g_strdup_printf("vcpu-dirty-rate[%zu]", i);
        const HnReplyPlace place = {HN_QEMU_QUERY_DIRTY_RATE, -1, where};
        json_object *object = json_object_array_get_idx(list, i);
        HnQemuVcpuDirtyRate rate = {0};
        gint64 id = 0;

        if (!hn_reply_is(&place, object, json_type_object, error) ||
            !hn_reply_int(&place, object, "id", HN_REPLY_REQUIRED, 0, G_MAXINT, &id, error) ||
            !hn_reply_size(&place, object, "dirty-rate", HN_REPLY_REQUIRED, &rate.rate_mib_per_s,
                           error))
            return FALSE;
        rate.vcpu = (guint)id;
        g_array_append_val(rates, rate);
    }
    return TRUE;
}

/* calc-time, in seconds unless the reply says milliseconds (since 8.2). */
static gboolean decode_calc_time(const HnReplyPlace *place, json_object *value, guint64 *ret_ms,
                                 GError **error)
{
    static const char *const units[] = {"second", "millisecond"};
    char unit[16] = "second";
    gint64 calc_time = 0;
    guint index = 0;

    if (!hn_reply_int(place, value, "calc-time", HN_REPLY_REQUIRED, 0, G_MAXINT, &calc_time,
                      error) ||
        !hn_reply_word(place, value, "calc-time-unit", HN_REPLY_OPTIONAL, unit, sizeof unit,
                       error) ||
        !find_name(place, "calc-time-unit", units, G_N_ELEMENTS(units), unit, &index, error))
        return FALSE;
    *ret_ms = (guint64)calc_time * (index == 0 ? 1000 : 1);
    return TRUE;
}

gboolean hn_qemu_dirty_rate_decode(json_object *value, HnQemuDirtyRate *ret_rate, GError **error)
{
    static const char *const statuses[] = {"unstarted", "measuring", "measured"};
    const HnReplyPlace place = {HN_QEMU_QUERY_DIRTY_RATE, -1, NULL};
    g_autoptr(GArray) vcpus = g_array_new(FALSE, TRUE, sizeof(HnQemuVcpuDirtyRate));
    HnQemuDirtyRate rate = {0};
    char status[16] = "", mode[16] = "page-sampling";
    json_object *list = NULL;
    gint64 mib_per_s = -1;
    guint status_index = 0, mode_index = 0;

    if (!hn_reply_is(&place, value, json_type_object, error) ||
        !hn_reply_word(&place, value, "status", HN_REPLY_REQUIRED, status, sizeof status, error) ||
        !find_name(&place, "status", statuses, G_N_ELEMENTS(statuses), status, &status_index,
                   error) ||
        !hn_reply_word(&place, value, "mode", HN_REPLY_OPTIONAL, mode, sizeof mode, error) ||
        !find_name(&place, "mode", mode_names, G_N_ELEMENTS(mode_names), mode, &mode_index,
                   error) ||
        !hn_reply_int(&place, value, "dirty-rate", HN_REPLY_OPTIONAL, -1, G_MAXINT64 - 1,
                      &mib_per_s, error) ||
        !decode_calc_time(&place, value, &rate.calc_time_ms, error) ||
        !hn_reply_member(&place, value, "vcpu-dirty-rate", HN_REPLY_OPTIONAL, json_type_array,
                         &list, error) ||
        !decode_vcpu_rates(list, vcpus, error))
        return FALSE;

    rate.status = (HnQemuDirtyStatus)status_index;
    rate.mode = (HnQemuDirtyMode)mode_index;
    rate.has_rate = rate.status == HN_QEMU_DIRTY_MEASURED && mib_per_s >= 0;
    rate.rate_mib_per_s = rate.has_rate ? (guint64)mib_per_s : 0;
    rate.vcpus = g_steal_pointer(&vcpus);
    *ret_rate = rate;
    return TRUE;
}

void hn_qemu_dirty_rate_clear(HnQemuDirtyRate *rate)
{
    g_clear_pointer(&rate->vcpus, g_array_unref);
    memset(rate, 0, sizeof *rate);
}

gboolean hn_qemu_migration_decode(json_object *value, HnQemuMigration *ret_migration,
                                  GError **error)
{
    /* Every other status of MigrationStatus, also one of later QEMUs, is taken for active: it is
     * safe to wait for a migration that is none, and not the other way round. */
    static const char *const at_rest[] = {"none", "completed", "failed", "cancelled"};
    const HnReplyPlace place = {HN_QEMU_QUERY_MIGRATE, -1, NULL};
    const HnReplyPlace inner = {HN_QEMU_QUERY_MIGRATE, -1, "ram"};
    HnQemuMigration migration = {
        .status = "none", .is_active = TRUE, .ram_total_bytes = -1, .ram_remaining_bytes = -1};
    json_object *ram = NULL;

    if (!hn_reply_is(&place, value, json_type_object, error) ||
        !hn_reply_word(&place, value, "status", HN_REPLY_OPTIONAL, migration.status,
                       sizeof migration.status, error) ||
        !hn_reply_member(&place, value, "ram", HN_REPLY_OPTIONAL, json_type_object, &ram, error))
        return FALSE;
    if (ram && (!hn_reply_int(&inner, ram, "total", HN_REPLY_REQUIRED, 0, G_MAXINT64 - 1,
                              &migration.ram_total_bytes, error) ||
                !hn_reply_int(&inner, ram, "remaining", HN_REPLY_REQUIRED, 0, G_MAXINT64 - 1,
                              &migration.ram_remaining_bytes, error)))
        return FALSE;
    for (size_t i = 0; i < G_N_ELEMENTS(at_rest); i++) {
        if (g_str_equal(migration.status, at_rest[i]))
            migration.is_active = FALSE;
    }
    *ret_migration = migration;
    return TRUE;
}
