/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control verbs that change something: what is to be moved, released, held, and how the daemon and
 * a domain are configured. Refused on the read-only socket by the server, logged by its audit.
 */
#include "control_private.h"
#include "report/fields.h"
#include "report/plan_json.h"

#include <string.h>

/* ---- Orders. ---- */

/* A domain that is asked for by name is taken back from a release, and its history says who asked.
 */
static void take_back(HnManager *manager, const HnForce *force)
{
    HnGuest *guest = hn_guests_get(manager->guests, force->uuid);
    if (!guest)
        return;
    g_autofree char *sentence =
        force->node == HN_NODE_NONE
            ? g_strdup("The operator asked for a rebalance.")
            : g_strdup_printf("The operator asked for node %d.",
                              manager->snapshot->host->nodes[force->node].id);
    guest->is_released = false;
    hn_guest_forget_failures(guest);
    hn_manager_remember(manager, guest, HN_HISTORY_ADMIN, HN_REASON_FORCED, sentence, 0);
}

void hn_verb_rebalance(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    HnManager *manager = server->manager;
    g_autoptr(GArray) forces = g_array_new(FALSE, TRUE, sizeof(HnForce));
    bool is_trial = hn_control_bool_arg(args, "dry-run");

    if (hn_control_is_early(server, request, args, hn_verb_rebalance))
        return;
    if (!hn_control_forces_of(server, request, args, !is_trial, forces, true))
        return;
    if (is_trial) {
        hn_control_try_plan(server, request, forces);
        return;
    }
    if (manager->is_dry_run) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "The daemon runs with --dry-run and changes nothing; 'homenode "
                            "rebalance --dry-run' shows "
                            "the plan");
        return;
    }
    for (guint i = 0; i < forces->len; i++)
        take_back(manager, &g_array_index(forces, HnForce, i));
    hn_manager_save_state(manager);
    uint64_t id = hn_orders_add(manager->orders, (const HnForce *)forces->data, forces->len);
    if (!id) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "%d jobs are under way already; wait for one to end", HN_ORDERS_MAX);
        return;
    }
    hn_manager_watch_orders(manager);
    hn_manager_request_round(manager);
    json_object *object = hn_document_new();
    hn_put_u64(object, "job", id);
    hn_qmp_request_return(request, object);
}

void hn_pending_release_free(gpointer data)
{
    HnPendingRelease *release = data;
    g_hash_table_unref(release->waiting);
    json_object_put(release->rows);
    g_free(release);
}

static void add_release_row(HnPendingRelease *release, const char *uuid, const char *name,
                            HnReason reason, const char *sentence)
{
    json_object *row = json_object_new_object();
    hn_put_string(row, "uuid", uuid);
    hn_put_string(row, "name", name);
    hn_put_string(row, "reason", hn_reason_name(reason));
    hn_put_string(row, "sentence", sentence);
    json_object_array_add(release->rows, row);
}

static void answer_release_if_complete(HnControlServer *server, HnPendingRelease *release)
{
    if (g_hash_table_size(release->waiting) > 0)
        return;
    json_object *object = hn_document_new();
    hn_put(object, "domains", g_steal_pointer(&release->rows));
    hn_qmp_request_return(release->request, object);
    g_ptr_array_remove(server->releases, release);
}

void hn_control_server_released(HnControlServer *server, const char *uuid, const char *name,
                                HnReason reason, const char *sentence)
{
    for (guint i = server->releases->len; i-- > 0;) {
        HnPendingRelease *release = g_ptr_array_index(server->releases, i);
        if (!g_hash_table_remove(release->waiting, uuid))
            continue;
        add_release_row(release, uuid, name, reason, sentence);
        answer_release_if_complete(server, release);
    }
}

void hn_verb_release(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    HnManager *manager = server->manager;
    if (hn_control_is_early(server, request, args, hn_verb_release))
        return;
    g_autoptr(GPtrArray) uuids = hn_control_domains_of(server, request, args);
    if (!uuids)
        return;
    if (manager->is_dry_run) {
        hn_qmp_request_fail(
            request, HN_QMP_CLASS_GENERIC,
            "The daemon runs with --dry-run and changes nothing, so nothing can be released");
        return;
    }
    if (uuids->len == 0) {
        g_autoptr(GPtrArray) guests = hn_guests_list(manager->guests);
        for (guint i = 0; i < guests->len; i++) {
            const HnDomain *domain =
                manager->snapshot
                    ? hn_snapshot_find(manager->snapshot, ((HnGuest *)guests->pdata[i])->uuid)
                    : NULL;
            if (domain && domain->wish.mode == HN_MODE_AUTO)
                g_ptr_array_add(uuids, g_strdup(domain->uuid));
        }
    }
    HnPendingRelease *release = g_new0(HnPendingRelease, 1);
    release->request = request;
    release->waiting = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    release->rows = json_object_new_array();
    g_ptr_array_add(server->releases, release);
    for (guint i = 0; i < uuids->len; i++) {
        HnGuest *guest = hn_guests_want(manager->guests, g_ptr_array_index(uuids, i), NULL);
        g_autoptr(HnJournalEntry) entry = hn_journal_get(manager->journal, guest->uuid);
        guest->is_released = true;
        if (entry)
            g_hash_table_add(release->waiting, g_strdup(guest->uuid));
        else
            add_release_row(release, guest->uuid, guest->name, HN_REASON_RELEASED,
                            "Nothing of it was changed, so nothing was restored.");
        if (entry)
            hn_manager_release(manager, guest);
    }
    hn_manager_save_state(manager);
    hn_manager_request_round(manager);
    answer_release_if_complete(server, release);
}

static void hold(HnControlServer *server, HnQmpRequest *request, json_object *args, bool is_held)
{
    HnManager *manager = server->manager;
    g_autoptr(GPtrArray) uuids = hn_control_domains_of(server, request, args);
    if (!uuids)
        return;
    json_object *object = hn_document_new();
    json_object *rows = json_object_new_array();
    if (uuids->len == 0) {
        manager->is_host_held = is_held;
        hn_actuator_set_paused(manager->actuator, NULL, is_held);
    }
    for (guint i = 0; i < uuids->len; i++) {
        HnGuest *guest = hn_guests_want(manager->guests, g_ptr_array_index(uuids, i), NULL);
        guest->is_held = is_held;
        if (!is_held)
            guest->is_released = false;
        hn_actuator_set_paused(manager->actuator, guest->uuid, is_held);
        hn_manager_remember(manager, guest, HN_HISTORY_ADMIN, HN_REASON_PAUSED_BY_ADMIN,
                            is_held ? "The operator paused it." : "The operator resumed it.", 0);
        json_object *row = json_object_new_object();
        hn_put_string(row, "uuid", guest->uuid);
        hn_put_string(row, "name", guest->name);
        hn_put_bool(row, "is-held", is_held);
        json_object_array_add(rows, row);
    }
    hn_put(object, "domains", rows);
    hn_put_bool(object, "is-paused", manager->is_host_held);
    hn_manager_save_state(manager); /* what is answered holds, also over a crash */
    hn_manager_request_round(manager);
    hn_qmp_request_return(request, object);
}

void hn_verb_pause(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    if (!hn_control_is_early(user_data, request, args, hn_verb_pause))
        hold(user_data, request, args, true);
}

void hn_verb_resume(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    if (!hn_control_is_early(user_data, request, args, hn_verb_resume))
        hold(user_data, request, args, false);
}

void hn_verb_set(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnManager *manager = ((HnControlServer *)user_data)->manager;
    const char *key = hn_control_string_arg(args, "key");
    const char *value = hn_control_string_arg(args, "value");
    g_autoptr(GError) error = NULL;
    g_autoptr(HnConfig) config = hn_config_copy(manager->config);

    if (!hn_config_set(config, key, value, &error)) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_INVALID_ARGUMENT, "%s", error->message);
        return;
    }
    if (hn_config_needs_restart(key)) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "%s takes effect only with the next start: change it in %s", key,
                            manager->config_file);
        return;
    }
    json_object *object = hn_document_new();
    g_autofree char *now = hn_config_get(config, key);
    hn_put_string(object, "key", key);
    hn_put_string(object, "value", now);
    hn_manager_set_config(manager, g_steal_pointer(&config));
    hn_qmp_request_return(request, object);
}
