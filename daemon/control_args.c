/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading the arguments of control verbs, and the sentences for wrong ones: see control_private.h.
 * Types are checked by the server against its table; here is what depends on the host: which
 * domains, which nodes there are.
 */
#include "control_private.h"

#include <string.h>

const char *hn_control_string_arg(json_object *args, const char *name)
{
    json_object *value = NULL;
    return json_object_object_get_ex(args, name, &value) ? json_object_get_string(value) : NULL;
}

bool hn_control_bool_arg(json_object *args, const char *name)
{
    json_object *value = NULL;
    return json_object_object_get_ex(args, name, &value) && json_object_get_boolean(value);
}

bool hn_control_int_arg(HnQmpRequest *request, json_object *args, const char *name, int64_t min,
                        int64_t max, int64_t otherwise, int64_t *ret_value)
{
    json_object *value = NULL;
    *ret_value = otherwise;
    if (!json_object_object_get_ex(args, name, &value))
        return true;
    *ret_value = json_object_get_int64(value);
    if (*ret_value >= min && *ret_value <= max)
        return true;
    hn_qmp_request_fail(request, HN_QMP_CLASS_INVALID_ARGUMENT,
                        "'%s' is %" G_GINT64_FORMAT ", allowed is %" G_GINT64_FORMAT
                        " to %" G_GINT64_FORMAT,
                        name, *ret_value, min, max);
    return false;
}

const char *hn_control_domain_of(HnControlServer *server, HnQmpRequest *request, const char *name)
{
    g_autofree char *problem = NULL;
    const char *uuid = hn_manager_find(server->manager, name, &problem);
    if (!uuid) {
        /* Before the first round nobody can tell whether there is such a domain. */
        const char *error_class =
            server->manager->snapshot ? HN_QMP_CLASS_DOMAIN_NOT_FOUND : HN_QMP_CLASS_GENERIC;
        hn_qmp_request_fail(request, error_class, "%s", problem);
    }
    return uuid;
}

GPtrArray *hn_control_domains_of(HnControlServer *server, HnQmpRequest *request, json_object *args)
{
    g_autoptr(GPtrArray) uuids = g_ptr_array_new_with_free_func(g_free);
    json_object *list = NULL;
    size_t n =
        json_object_object_get_ex(args, "domains", &list) ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        const char *uuid = hn_control_domain_of(
            server, request, json_object_get_string(json_object_array_get_idx(list, i)));
        if (!uuid)
            return NULL;
        g_ptr_array_add(uuids, g_strdup(uuid));
    }
    return g_steal_pointer(&uuids);
}

/* The node argument as an index, HN_NODE_NONE if absent. False: answered with an error that lists
 * the nodes. */
static bool node_arg(HnControlServer *server, HnQmpRequest *request, json_object *args,
                     int32_t *ret_index)
{
    json_object *value = NULL;
    *ret_index = HN_NODE_NONE;
    if (!json_object_object_get_ex(args, "node", &value))
        return true;
    int64_t id = json_object_get_int64(value);
    HnSnapshot *snapshot = server->manager->snapshot;
    if (!snapshot) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "No round has been completed yet: nodes are unknown");
        return false;
    }
    HnNodemask homes = hn_host_home_nodes(snapshot->host);
    int32_t index = id >= 0 && id <= INT32_MAX ? hn_host_index_of_id(snapshot->host, (int32_t)id)
                                               : HN_NODE_NONE;
    if (index >= 0 && homes >> index & 1) {
        *ret_index = index;
        return true;
    }
    g_autoptr(GString) text = g_string_new(NULL);
    for (uint32_t i = 0; i < snapshot->host->n_nodes; i++)
        if (homes >> i & 1)
            g_string_append_printf(text, "%s%d", text->len ? ", " : "",
                                   snapshot->host->nodes[i].id);
    hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                        "Node %" G_GINT64_FORMAT " %s; nodes that can be a home: %s", id,
                        index < 0 ? "does not exist" : "has no CPUs or no memory", text->str);
    return false;
}

/* A named domain must be one that may be moved, or the operator is told how to make it one. */
static bool check_managed(HnControlServer *server, HnQmpRequest *request, const char *uuid)
{
    const HnDomain *domain = hn_snapshot_find(server->manager->snapshot, uuid);
    const HnGuest *guest = hn_guests_get(server->manager->guests, uuid);
    bool is_released = guest && guest->is_released;
    if (domain->wish.invalid)
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "'%s' is left alone, its placement element is wrong: %s", domain->name,
                            domain->wish.invalid);
    else if ((guest && guest->is_held) || server->manager->is_host_held)
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "'%s' is paused; 'homenode resume%s%s' first", domain->name,
                            server->manager->is_host_held ? "" : " ",
                            server->manager->is_host_held ? "" : domain->name);
    else if (domain->wish.mode == HN_MODE_AUTO || is_released || server->manager->is_dry_run)
        return true;
    else
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "'%s' is not managed (mode '%s'): opt in with 'homenode enable %s'",
                            domain->name, hn_mode_name(domain->wish.mode), domain->name);
    return false;
}

bool hn_control_forces_of(HnControlServer *server, HnQmpRequest *request, json_object *args,
                          bool is_managed_needed, GArray *forces, bool is_all_default)
{
    HnForce force = {.node = HN_NODE_NONE};
    if (!node_arg(server, request, args, &force.node))
        return false;
    g_autoptr(GPtrArray) uuids = hn_control_domains_of(server, request, args);
    if (!uuids)
        return false;
    for (guint i = 0; i < uuids->len; i++) {
        g_strlcpy(force.uuid, g_ptr_array_index(uuids, i), sizeof force.uuid);
        if (is_managed_needed && !check_managed(server, request, force.uuid))
            return false;
        g_array_append_val(forces, force);
    }
    if (uuids->len == 0 && force.node != HN_NODE_NONE) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_INVALID_ARGUMENT,
                            "'node' needs 'domains': which ones?");
        return false;
    }
    if (uuids->len == 0 && is_all_default)
        g_array_append_val(forces, force);
    return true;
}
