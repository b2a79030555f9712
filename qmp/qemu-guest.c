/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decoders of what a guest is and which threads it has: status, name, UUID, accelerator, vCPUs,
 * statistics. See qemu.h.
 */
#include "qmp/qemu.h"

#include "qmp/reply.h"

gboolean hn_qemu_status_decode(json_object *value, HnQemuStatus *ret_status, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_STATUS, -1, NULL};
    HnQemuStatus status = {0};

    if (!hn_reply_is(&place, value, json_type_object, error) ||
        !hn_reply_word(&place, value, "status", HN_REPLY_REQUIRED, status.status,
                       sizeof status.status, error) ||
        !hn_reply_bool(&place, value, "running", HN_REPLY_REQUIRED, &status.is_running, error))
        return FALSE;
    *ret_status = status;
    return TRUE;
}

gboolean hn_qemu_name_decode(json_object *value, char **ret_name, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_NAME, -1, NULL};
    char *name = NULL;

    if (!hn_reply_is(&place, value, json_type_object, error) ||
        !hn_reply_string(&place, value, "name", HN_REPLY_OPTIONAL, &name, error))
        return FALSE;
    *ret_name = name;
    return TRUE;
}

gboolean hn_qemu_uuid_decode(json_object *value, char **ret_uuid, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_UUID, -1, NULL};
    g_autofree char *text = NULL;
    g_autofree char *uuid = NULL;

    if (!hn_reply_is(&place, value, json_type_object, error) ||
        !hn_reply_string(&place, value, "UUID", HN_REPLY_REQUIRED, &text, error))
        return FALSE;
    if (!g_uuid_string_is_valid(text))
        return hn_reply_error(&place, "UUID", error, "is no UUID: '%.64s'", text);
    uuid = g_ascii_strdown(text, -1);
    *ret_uuid =
        g_str_equal(uuid, "00000000-0000-0000-0000-000000000000") ? NULL : g_steal_pointer(&uuid);
    return TRUE;
}

gboolean hn_qemu_kvm_decode(json_object *value, gboolean *ret_is_enabled, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_KVM, -1, NULL};

    return hn_reply_is(&place, value, json_type_object, error) &&
           hn_reply_bool(&place, value, "enabled", HN_REPLY_REQUIRED, ret_is_enabled, error);
}

/* ---- vCPUs ---- */

static void cpu_clear(gpointer data)
{
    HnQemuCpu *cpu = data;

    g_free(cpu->qom_path);
}

/* An id of CpuInstanceProperties; -1 if not given. */
static gboolean read_id(const HnReplyPlace *place, json_object *props, const char *field, gint *ret,
                        GError **error)
{
    gint64 id = -1;

    if (props && !hn_reply_int(place, props, field, HN_REPLY_OPTIONAL, 0, G_MAXINT, &id, error))
        return FALSE;
    *ret = (gint)id;
    return TRUE;
}

static gboolean decode_cpu(guint index, json_object *object, HnQemuCpu *cpu, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_CPUS_FAST, (gint)index, NULL};
    const HnReplyPlace inner = {HN_QEMU_QUERY_CPUS_FAST, (gint)index, "props"};
    json_object *props = NULL;
    gint64 cpu_index = 0, thread_id = 0;

    if (!hn_reply_is(&place, object, json_type_object, error) ||
        !hn_reply_int(&place, object, "cpu-index", HN_REPLY_REQUIRED, 0, G_MAXINT, &cpu_index,
                      error) ||
        !hn_reply_int(&place, object, "thread-id", HN_REPLY_REQUIRED, 1, G_MAXINT, &thread_id,
                      error) ||
        !hn_reply_string(&place, object, "qom-path", HN_REPLY_REQUIRED, &cpu->qom_path, error) ||
        !hn_reply_member(&place, object, "props", HN_REPLY_OPTIONAL, json_type_object, &props,
                         error) ||
        !read_id(&inner, props, "node-id", &cpu->node_id, error))
        return FALSE;
    cpu->cpu_index = (guint)cpu_index;
    cpu->thread_id = (pid_t)thread_id;
    return TRUE;
}

static gint compare_cpus(gconstpointer a, gconstpointer b)
{
    guint x = ((const HnQemuCpu *)a)->cpu_index, y = ((const HnQemuCpu *)b)->cpu_index;

    return (x > y) - (x < y);
}

gboolean hn_qemu_cpus_decode(json_object *value, GArray **ret_cpus, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_CPUS_FAST, -1, NULL};
    g_autoptr(GArray) cpus = g_array_new(FALSE, TRUE, sizeof(HnQemuCpu));

    g_array_set_clear_func(cpus, cpu_clear);
    if (!hn_reply_is(&place, value, json_type_array, error))
        return FALSE;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        g_array_set_size(cpus, (guint)i + 1);
        if (!decode_cpu((guint)i, json_object_array_get_idx(value, i),
                        &g_array_index(cpus, HnQemuCpu, i), error))
            return FALSE;
    }
    g_array_sort(cpus, compare_cpus);
    for (guint i = 1; i < cpus->len; i++) {
        guint cpu_index = g_array_index(cpus, HnQemuCpu, i).cpu_index;

        if (cpu_index == g_array_index(cpus, HnQemuCpu, i - 1).cpu_index)
            return hn_reply_error(&place, NULL, error, "names cpu-index %u twice", cpu_index);
    }
    *ret_cpus = g_steal_pointer(&cpus);
    return TRUE;
}

static void hotpluggable_cpu_clear(gpointer data)
{
    HnQemuHotpluggableCpu *cpu = data;

    g_free(cpu->type);
    g_free(cpu->qom_path);
}

static gboolean decode_hotpluggable_cpu(guint index, json_object *object,
                                        HnQemuHotpluggableCpu *cpu, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_HOTPLUGGABLE_CPUS, (gint)index, NULL};
    const HnReplyPlace inner = {HN_QEMU_QUERY_HOTPLUGGABLE_CPUS, (gint)index, "props"};
    json_object *props = NULL;
    gint64 count = 0;

    if (!hn_reply_is(&place, object, json_type_object, error) ||
        !hn_reply_int(&place, object, "vcpus-count", HN_REPLY_REQUIRED, 1, G_MAXINT, &count,
                      error) ||
        !hn_reply_string(&place, object, "type", HN_REPLY_REQUIRED, &cpu->type, error) ||
        !hn_reply_string(&place, object, "qom-path", HN_REPLY_OPTIONAL, &cpu->qom_path, error) ||
        !hn_reply_member(&place, object, "props", HN_REPLY_REQUIRED, json_type_object, &props,
                         error) ||
        !read_id(&inner, props, "node-id", &cpu->node_id, error) ||
        !read_id(&inner, props, "socket-id", &cpu->socket_id, error) ||
        !read_id(&inner, props, "die-id", &cpu->die_id, error) ||
        !read_id(&inner, props, "core-id", &cpu->core_id, error) ||
        !read_id(&inner, props, "thread-id", &cpu->thread_id, error))
        return FALSE;
    cpu->vcpus_count = (guint)count;
    return TRUE;
}

gboolean hn_qemu_hotpluggable_cpus_decode(json_object *value, GArray **ret_cpus, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_HOTPLUGGABLE_CPUS, -1, NULL};
    g_autoptr(GArray) cpus = g_array_new(FALSE, TRUE, sizeof(HnQemuHotpluggableCpu));

    g_array_set_clear_func(cpus, hotpluggable_cpu_clear);
    if (!hn_reply_is(&place, value, json_type_array, error))
        return FALSE;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        g_array_set_size(cpus, (guint)i + 1);
        if (!decode_hotpluggable_cpu((guint)i, json_object_array_get_idx(value, i),
                                     &g_array_index(cpus, HnQemuHotpluggableCpu, i), error))
            return FALSE;
    }
    *ret_cpus = g_steal_pointer(&cpus);
    return TRUE;
}

/* ---- statistics ---- */

json_object *hn_qemu_stats_build(HnQemuStatsTarget target, const char *const *names)
{
    json_object *arguments = json_object_new_object();
    json_object *providers = json_object_new_array();
    json_object *provider = json_object_new_object();

    json_object_object_add(arguments, "target",
                           json_object_new_string(target == HN_QEMU_STATS_VM ? "vm" : "vcpu"));
    json_object_object_add(provider, "provider", json_object_new_string("kvm"));
    if (names) {
        json_object *list = json_object_new_array();

        for (; *names; names++)
            json_object_array_add(list, json_object_new_string(*names));
        json_object_object_add(provider, "names", list);
    }
    json_object_array_add(providers, provider);
    json_object_object_add(arguments, "providers", providers);
    return arguments;
}

static void stat_clear(gpointer data)
{
    HnQemuStat *stat = data;

    g_free(stat->name);
}

static void stats_clear(gpointer data)
{
    HnQemuStats *stats = data;

    g_free(stats->provider);
    g_free(stats->qom_path);
    g_clear_pointer(&stats->stats, g_array_unref);
}

/* One of a provider's statistics. Histograms are lists of numbers and are left out. */
static gboolean decode_stat(const HnReplyPlace *place, json_object *object, GArray *stats,
                            GError **error)
{
    HnQemuStat stat = {0};
    json_object *value = NULL;

    if (!hn_reply_is(place, object, json_type_object, error))
        return FALSE;
    if (!json_object_object_get_ex(object, "value", &value))
        return hn_reply_error(place, "value", error, "is missing");
    if (json_object_is_type(value, json_type_array))
        return TRUE;
    if (json_object_is_type(value, json_type_boolean))
        stat.value = json_object_get_boolean(value) ? 1 : 0;
    else if (!hn_reply_size(place, object, "value", HN_REPLY_REQUIRED, &stat.value, error))
        return FALSE;
    if (!hn_reply_string(place, object, "name", HN_REPLY_REQUIRED, &stat.name, error))
        return FALSE;
    g_array_append_val(stats, stat);
    return TRUE;
}

static gboolean decode_stats(guint index, json_object *object, HnQemuStats *result, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_STATS, (gint)index, NULL};
    const HnReplyPlace inner = {HN_QEMU_QUERY_STATS, (gint)index, "stats"};
    json_object *list = NULL;

    result->stats = g_array_new(FALSE, TRUE, sizeof(HnQemuStat));
    g_array_set_clear_func(result->stats, stat_clear);
    if (!hn_reply_is(&place, object, json_type_object, error) ||
        !hn_reply_string(&place, object, "provider", HN_REPLY_REQUIRED, &result->provider, error) ||
        !hn_reply_string(&place, object, "qom-path", HN_REPLY_OPTIONAL, &result->qom_path, error) ||
        !hn_reply_member(&place, object, "stats", HN_REPLY_REQUIRED, json_type_array, &list, error))
        return FALSE;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        if (!decode_stat(&inner, json_object_array_get_idx(list, i), result->stats, error))
            return FALSE;
    }
    return TRUE;
}

gboolean hn_qemu_stats_decode(json_object *value, GArray **ret_stats, GError **error)
{
    const HnReplyPlace place = {HN_QEMU_QUERY_STATS, -1, NULL};
    g_autoptr(GArray) all = g_array_new(FALSE, TRUE, sizeof(HnQemuStats));

    g_array_set_clear_func(all, stats_clear);
    if (!hn_reply_is(&place, value, json_type_array, error))
        return FALSE;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        g_array_set_size(all, (guint)i + 1);
        if (!decode_stats((guint)i, json_object_array_get_idx(value, i),
                          &g_array_index(all, HnQemuStats, i), error))
            return FALSE;
    }
    *ret_stats = g_steal_pointer(&all);
    return TRUE;
}
