/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verbs on the control sockets: see control.h. Each handler answers at once from the last round, or keeps the
 * request and answers when a trial round, a libvirt call or a release has ended; none blocks.
 */
#include "control.h"
#include "daemon-config.h"
#include "doctor.h"
#include "log.h"
#include "manager_state.h"
#include "placement_element.h"
#include "qmp/server.h"
#include "report/fields.h"
#include "report/plan_json.h"

#include <gio/gio.h>
#include <grp.h>
#include <string.h>

#define HISTORY_DEFAULT 20
#define HISTORY_MAX 100000
#define SNAPSHOT_LAST_MAX 1000

/* A release verb waiting for the actuator. */
typedef struct {
    HnQmpRequest *request;
    GHashTable *waiting; /* set of uuids */
    json_object *rows;
} Release;

struct HnControlServer {
    HnManager *manager;
    HnQmpServer *server;
    GPtrArray *releases; /* Release * */
};

static json_object *document(void)
{
    json_object *object = json_object_new_object();
    hn_put_u64(object, "schema", HN_SCHEMA_VERSION);
    return object;
}

static const char *string_arg(json_object *args, const char *name)
{
    json_object *value = NULL;
    return json_object_object_get_ex(args, name, &value) ? json_object_get_string(value) : NULL;
}

static bool bool_arg(json_object *args, const char *name)
{
    json_object *value = NULL;
    return json_object_object_get_ex(args, name, &value) && json_object_get_boolean(value);
}

/* An integer argument within bounds, `otherwise` if absent. False: answered with an error. */
static bool int_arg(HnQmpRequest *request, json_object *args, const char *name, int64_t min, int64_t max,
                    int64_t otherwise, int64_t *ret_value)
{
    json_object *value = NULL;
    *ret_value = otherwise;
    if (!json_object_object_get_ex(args, name, &value))
        return true;
    *ret_value = json_object_get_int64(value);
    if (*ret_value >= min && *ret_value <= max)
        return true;
    hn_qmp_request_fail(request, HN_QMP_CLASS_INVALID_ARGUMENT,
                        "'%s' is %" G_GINT64_FORMAT ", allowed is %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, name,
                        *ret_value, min, max);
    return false;
}

/* The uuid of the domain named, NULL: answered with an error. */
static const char *domain_of(HnControlServer *server, HnQmpRequest *request, const char *name)
{
    g_autofree char *problem = NULL;
    const char *uuid = hn_manager_find(server->manager, name, &problem);
    if (!uuid)
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "%s", problem);
    return uuid;
}

/* Uuids of the argument "domains", empty if absent; NULL: answered with an error. Caller unrefs. */
static GPtrArray *domains_of(HnControlServer *server, HnQmpRequest *request, json_object *args)
{
    g_autoptr(GPtrArray) uuids = g_ptr_array_new_with_free_func(g_free);
    json_object *list = NULL;
    size_t n = json_object_object_get_ex(args, "domains", &list) ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        const char *uuid =
            domain_of(server, request, json_object_get_string(json_object_array_get_idx(list, i)));
        if (!uuid)
            return NULL;
        g_ptr_array_add(uuids, g_strdup(uuid));
    }
    return g_steal_pointer(&uuids);
}

/* ---- Questions answered from the last round. --------------------------------------------------------------- */

static void do_query_host(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hn_qmp_request_return(request, hn_manager_host_json(((HnControlServer *)user_data)->manager));
}

static void do_query_domains(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    hn_qmp_request_return(request, hn_manager_domains_json(server->manager, bool_arg(args, "managed-only")));
}

static void do_query_domain(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    const char *uuid = domain_of(server, request, string_arg(args, "domain"));
    if (uuid)
        hn_qmp_request_return(request, hn_manager_domain_json(server->manager, uuid));
}

static void do_query_config(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hn_qmp_request_return(request, hn_manager_config_json(((HnControlServer *)user_data)->manager));
}

static void do_metrics(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    g_autofree char *text = hn_manager_metrics(((HnControlServer *)user_data)->manager);
    json_object *object = document();
    hn_put_string(object, "text", text);
    hn_qmp_request_return(request, object);
}

static void do_query_series(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    json_object *object = hn_series_to_json(server->manager->series);
    hn_put_u64(object, "schema", HN_SCHEMA_VERSION);
    hn_put_u64(object, "interval-ms", server->manager->config->round_interval_ns / 1000000);
    hn_qmp_request_return(request, object);
}

static void do_history(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    const char *name = string_arg(args, "domain");
    int64_t limit;
    if (!int_arg(request, args, "limit", 1, HISTORY_MAX, HISTORY_DEFAULT, &limit))
        return;
    /* A domain that has ended is still known by its history. */
    const char *uuid = name ? hn_history_find(server->manager->history, name) : NULL;
    if (name && !uuid)
        uuid = domain_of(server, request, name);
    if (name && !uuid)
        return;
    json_object *object = document();
    hn_put(object, "entries", hn_history_to_json(server->manager->history, uuid, (uint32_t)limit));
    hn_qmp_request_return(request, object);
}

static void do_query_job(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    int64_t id;
    if (!int_arg(request, args, "job", 1, INT64_MAX, 0, &id))
        return;
    json_object *order = hn_orders_to_json(server->manager->orders, (uint64_t)id);
    if (order)
        hn_qmp_request_return(request, order);
    else
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "No job %" G_GINT64_FORMAT "; the last %d are remembered", id, HN_ORDERS_MAX);
}

/* ---- Questions that take a trial round. -------------------------------------------------------------------- */

/* True if the trial worked; else the request is answered with why it did not. */
static bool check_trial(HnRound *round, HnQmpRequest *request)
{
    if (round->plan)
        return true;
    hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "The host could not be observed: %s",
                        round->error->message);
    return false;
}

static void answer_plan(HnManager *manager, HnRound *round, void *user_data)
{
    if (check_trial(round, user_data))
        hn_qmp_request_return(user_data, hn_plan_to_json(round->plan, round->snapshot->host));
}

static void answer_snapshot(HnManager *manager, HnRound *round, void *user_data)
{
    if (check_trial(round, user_data))
        hn_qmp_request_return(user_data, g_steal_pointer(&round->document));
}

static void answer_explain(HnManager *manager, HnRound *round, void *user_data)
{
    if (!check_trial(round, user_data))
        return;
    json_object *answer = hn_manager_explain_json(manager, round);
    if (answer)
        hn_qmp_request_return(user_data, answer);
    else
        hn_qmp_request_fail(user_data, HN_QMP_CLASS_GENERIC, "The domain has just ended");
}

/* The node argument as an index, HN_NODE_NONE if absent. False: answered with an error that lists the nodes. */
static bool node_arg(HnControlServer *server, HnQmpRequest *request, json_object *args, int32_t *ret_index)
{
    json_object *value = NULL;
    *ret_index = HN_NODE_NONE;
    if (!json_object_object_get_ex(args, "node", &value))
        return true;
    int64_t id = json_object_get_int64(value);
    HnSnapshot *snapshot = server->manager->snapshot;
    if (!snapshot) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "No round has been completed yet: nodes are unknown");
        return false;
    }
    HnNodemask homes = hn_host_home_nodes(snapshot->host);
    int32_t index = id >= 0 && id <= INT32_MAX ? hn_host_index_of_id(snapshot->host, (int32_t)id) : HN_NODE_NONE;
    if (index >= 0 && homes >> index & 1) {
        *ret_index = index;
        return true;
    }
    g_autoptr(GString) text = g_string_new(NULL);
    for (uint32_t i = 0; i < snapshot->host->n_nodes; i++)
        if (homes >> i & 1)
            g_string_append_printf(text, "%s%d", text->len ? ", " : "", snapshot->host->nodes[i].id);
    hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "Node %" G_GINT64_FORMAT " %s; nodes that can be a home: %s",
                        id, index < 0 ? "does not exist" : "has no CPUs or no memory", text->str);
    return false;
}

/* A named domain must be one that may be moved, or the operator is told how to make it one. */
static bool check_managed(HnControlServer *server, HnQmpRequest *request, const char *uuid)
{
    const HnDomain *domain = hn_snapshot_find(server->manager->snapshot, uuid);
    const HnGuest *guest = hn_guests_get(server->manager->guests, uuid);
    bool is_released = guest && guest->is_released;
    if (domain->wish.invalid)
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "'%s' is left alone, its placement element is wrong: %s",
                            domain->name, domain->wish.invalid);
    else if ((guest && guest->is_held) || server->manager->is_host_held)
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "'%s' is paused; 'homenode resume%s%s' first",
                            domain->name, server->manager->is_host_held ? "" : " ",
                            server->manager->is_host_held ? "" : domain->name);
    else if (domain->wish.mode == HN_MODE_AUTO || is_released || server->manager->is_dry_run)
        return true;
    else
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "'%s' is not managed (mode '%s'): opt in with 'homenode enable %s'", domain->name,
                            hn_mode_name(domain->wish.mode), domain->name);
    return false;
}

/* Forces from the arguments of rebalance and query-plan. False: answered with an error. */
static bool forces_of(HnControlServer *server, HnQmpRequest *request, json_object *args, bool is_managed_needed,
                      GArray *forces, bool is_all_default)
{
    HnForce force = {.node = HN_NODE_NONE};
    if (!node_arg(server, request, args, &force.node))
        return false;
    g_autoptr(GPtrArray) uuids = domains_of(server, request, args);
    if (!uuids)
        return false;
    for (guint i = 0; i < uuids->len; i++) {
        g_strlcpy(force.uuid, g_ptr_array_index(uuids, i), sizeof force.uuid);
        if (is_managed_needed && !check_managed(server, request, force.uuid))
            return false;
        g_array_append_val(forces, force);
    }
    if (uuids->len == 0 && force.node != HN_NODE_NONE) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_INVALID_ARGUMENT, "'node' needs 'domains': which ones?");
        return false;
    }
    if (uuids->len == 0 && is_all_default)
        g_array_append_val(forces, force);
    return true;
}

static void try_plan(HnControlServer *server, HnQmpRequest *request, const GArray *forces)
{
    HnRound *round = hn_manager_new_round(server->manager);
    g_array_append_vals(round->forces, forces->data, forces->len);
    hn_manager_try(server->manager, round, answer_plan, request);
}

static void do_query_plan(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    g_autoptr(GArray) forces = g_array_new(FALSE, TRUE, sizeof(HnForce));
    if (forces_of(server, request, args, false, forces, false))
        try_plan(server, request, forces);
}

static void do_explain(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    const char *uuid = domain_of(server, request, string_arg(args, "domain"));
    if (!uuid)
        return;
    HnRound *round = hn_manager_new_round(server->manager);
    round->explain_uuid = g_strdup(uuid);
    hn_manager_try(server->manager, round, answer_explain, request);
}

static void do_snapshot(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    int64_t last;
    if (!int_arg(request, args, "last", 1, SNAPSHOT_LAST_MAX, 0, &last))
        return;
    if (last > 0) {
        json_object *object = document();
        hn_put(object, "rounds", hn_recorder_to_json(server->manager->recorder, (uint32_t)last));
        hn_qmp_request_return(request, object);
        return;
    }
    HnRound *round = hn_manager_new_round(server->manager);
    round->with_document = true;
    hn_manager_try(server->manager, round, answer_snapshot, request);
}

/* ---- Orders. ----------------------------------------------------------------------------------------------- */

/* A domain that is asked for by name is taken back from a release, and its history says who asked. */
static void take_back(HnManager *manager, const HnForce *force)
{
    HnGuest *guest = hn_guests_get(manager->guests, force->uuid);
    if (!guest)
        return;
    g_autofree char *sentence =
        force->node == HN_NODE_NONE
            ? g_strdup("The operator asked for a rebalance.")
            : g_strdup_printf("The operator asked for node %d.", manager->snapshot->host->nodes[force->node].id);
    guest->is_released = false;
    hn_manager_remember(manager, guest, HN_HISTORY_ADMIN, HN_REASON_FORCED, sentence, 0);
}

static void do_rebalance(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    HnManager *manager = server->manager;
    g_autoptr(GArray) forces = g_array_new(FALSE, TRUE, sizeof(HnForce));
    bool is_trial = bool_arg(args, "dry-run");

    if (!forces_of(server, request, args, !is_trial, forces, true))
        return;
    if (is_trial) {
        try_plan(server, request, forces);
        return;
    }
    if (manager->is_dry_run) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "The daemon runs with --dry-run and changes nothing; 'homenode rebalance --dry-run' shows "
                            "the plan");
        return;
    }
    for (guint i = 0; i < forces->len; i++)
        take_back(manager, &g_array_index(forces, HnForce, i));
    uint64_t id = hn_orders_add(manager->orders, (const HnForce *)forces->data, forces->len);
    if (!id) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "%d jobs are under way already; wait for one to end",
                            HN_ORDERS_MAX);
        return;
    }
    hn_manager_watch_orders(manager);
    hn_manager_request_round(manager);
    json_object *object = document();
    hn_put_u64(object, "job", id);
    hn_qmp_request_return(request, object);
}

static void release_free(gpointer data)
{
    Release *release = data;
    g_hash_table_unref(release->waiting);
    json_object_put(release->rows);
    g_free(release);
}

static void add_release_row(Release *release, const char *uuid, const char *name, HnReason reason,
                            const char *sentence)
{
    json_object *row = json_object_new_object();
    hn_put_string(row, "uuid", uuid);
    hn_put_string(row, "name", name);
    hn_put_string(row, "reason", hn_reason_name(reason));
    hn_put_string(row, "sentence", sentence);
    json_object_array_add(release->rows, row);
}

static void answer_release_if_complete(HnControlServer *server, Release *release)
{
    if (g_hash_table_size(release->waiting) > 0)
        return;
    json_object *object = document();
    hn_put(object, "domains", g_steal_pointer(&release->rows));
    hn_qmp_request_return(release->request, object);
    g_ptr_array_remove(server->releases, release);
}

void hn_control_server_released(HnControlServer *server, const char *uuid, const char *name, HnReason reason,
                                const char *sentence)
{
    for (guint i = server->releases->len; i-- > 0;) {
        Release *release = g_ptr_array_index(server->releases, i);
        if (!g_hash_table_remove(release->waiting, uuid))
            continue;
        add_release_row(release, uuid, name, reason, sentence);
        answer_release_if_complete(server, release);
    }
}

static void do_release(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    HnManager *manager = server->manager;
    g_autoptr(GPtrArray) uuids = domains_of(server, request, args);
    if (!uuids)
        return;
    if (manager->is_dry_run) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "The daemon runs with --dry-run and changes nothing, so nothing can be released");
        return;
    }
    if (uuids->len == 0) {
        g_autoptr(GPtrArray) guests = hn_guests_list(manager->guests);
        for (guint i = 0; i < guests->len; i++) {
            const HnDomain *domain =
                manager->snapshot ? hn_snapshot_find(manager->snapshot, ((HnGuest *)guests->pdata[i])->uuid) : NULL;
            if (domain && domain->wish.mode == HN_MODE_AUTO)
                g_ptr_array_add(uuids, g_strdup(domain->uuid));
        }
    }
    Release *release = g_new0(Release, 1);
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
    hn_manager_request_round(manager);
    answer_release_if_complete(server, release);
}

static void hold(HnControlServer *server, HnQmpRequest *request, json_object *args, bool is_held)
{
    HnManager *manager = server->manager;
    g_autoptr(GPtrArray) uuids = domains_of(server, request, args);
    if (!uuids)
        return;
    json_object *object = document();
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
    hn_manager_request_round(manager);
    hn_qmp_request_return(request, object);
}

static void do_pause(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hold(user_data, request, args, true);
}

static void do_resume(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    hold(user_data, request, args, false);
}

static void do_set(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnManager *manager = ((HnControlServer *)user_data)->manager;
    const char *key = string_arg(args, "key");
    const char *value = string_arg(args, "value");
    g_autoptr(GError) error = NULL;
    g_autoptr(HnConfig) config = hn_config_copy(manager->config);

    if (!hn_config_set(config, key, value, &error)) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_INVALID_ARGUMENT, "%s", error->message);
        return;
    }
    if (hn_config_needs_restart(key)) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "%s takes effect only with the next start: change it in %s", key, manager->config_file);
        return;
    }
    json_object *object = document();
    g_autofree char *now = hn_config_get(config, key);
    hn_put_string(object, "key", key);
    hn_put_string(object, "value", now);
    hn_manager_set_config(manager, g_steal_pointer(&config));
    hn_qmp_request_return(request, object);
}

/* ---- Verbs that go through the back end, in a thread. ------------------------------------------------------- */

typedef struct {
    HnControlServer *server;
    HnQmpRequest *request;
    char uuid[HN_UUID_LEN + 1];
    HnMode mode;
    bool is_persistent;
} ModeChange;

static void change_mode(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    const ModeChange *change = data;
    HnBackend *backend = change->server->manager->backend;
    g_autoptr(HnDomainInfo) info = NULL;
    g_autofree char *xml = NULL;
    GError *error = NULL;

    bool is_good = backend->ops->get(backend, change->uuid, &info, &error);
    if (is_good && change->mode != HN_MODE_NONE) {
        xml = hn_placement_with_mode(info->placement_xml, change->mode, &error);
        is_good = xml != NULL;
    }
    if (is_good && backend->ops->set_placement(backend, change->uuid, xml, change->is_persistent, &error))
        g_task_return_boolean(task, TRUE);
    else
        g_task_return_error(task, error);
}

static void mode_changed(GObject *source, GAsyncResult *result, gpointer user_data)
{
    const ModeChange *change = g_task_get_task_data(G_TASK(result));
    HnManager *manager = change->server->manager;
    HnGuest *guest = hn_guests_want(manager->guests, change->uuid, NULL);
    g_autoptr(GError) error = NULL;

    manager->n_calls--;
    if (!g_task_propagate_boolean(G_TASK(result), &error)) {
        hn_qmp_request_fail(change->request, HN_QMP_CLASS_GENERIC, "%s: mode not changed: %s",
                            guest->name ? guest->name : change->uuid, error->message);
        return;
    }
    guest->is_released = false;
    hn_manager_request_round(manager);
    json_object *object = document();
    hn_put_string(object, "uuid", guest->uuid);
    hn_put_string(object, "name", guest->name);
    hn_put_string(object, "mode", hn_mode_name(change->mode));
    hn_put_bool(object, "persistent", change->is_persistent);
    hn_qmp_request_return(change->request, object);
}

static void do_set_mode(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    const char *name = string_arg(args, "mode");
    HnMode mode = HN_MODE_NONE;

    while (mode <= HN_MODE_AUTO && strcmp(hn_mode_name(mode), name) != 0)
        mode++;
    if (mode > HN_MODE_AUTO) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_INVALID_ARGUMENT,
                            "'mode' is '%.64s', allowed: auto, advise, off, none (removes the element)", name);
        return;
    }
    const char *uuid = domain_of(server, request, string_arg(args, "domain"));
    if (!uuid)
        return;
    if (server->manager->is_dry_run) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC,
                            "The daemon runs with --dry-run and changes nothing, metadata neither");
        return;
    }
    ModeChange *change = g_new0(ModeChange, 1);
    *change = (ModeChange){.server = server, .request = request, .mode = mode,
                           .is_persistent = bool_arg(args, "persistent")};
    g_strlcpy(change->uuid, uuid, sizeof change->uuid);
    server->manager->n_calls++;
    g_autoptr(GTask) task = g_task_new(NULL, NULL, mode_changed, NULL);
    g_task_set_task_data(task, change, g_free);
    g_task_run_in_thread(task, change_mode);
}

typedef struct {
    HnManager *manager;
    HnQmpRequest *request;
    HnDoctorInput input; /* strings owned */
    json_object *checks;
} Examination;

static void examination_free(gpointer data)
{
    Examination *examination = data;
    g_free((char *)examination->input.connect);
    g_free((char *)examination->input.last_error);
    g_free(examination);
}

static void examine(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    Examination *examination = data;
    examination->checks = hn_doctor_examine(&examination->input);
    g_task_return_boolean(task, TRUE);
}

static void examined(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Examination *examination = g_task_get_task_data(G_TASK(result));
    json_object *object = document();
    examination->manager->n_calls--;
    hn_put(object, "checks", examination->checks);
    hn_qmp_request_return(examination->request, object);
}

static void do_doctor(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnManager *manager = ((HnControlServer *)user_data)->manager;
    Examination *examination = g_new0(Examination, 1);
    examination->request = request;
    examination->manager = manager;
    manager->n_calls++;
    examination->input = (HnDoctorInput){
        .root = manager->root,
        .is_connected = manager->backend->ops->is_connected(manager->backend),
        .connect = g_strdup(manager->config->connect),
        .last_error = g_strdup(manager->last_error),
        .is_dry_run = manager->is_dry_run,
    };
    g_autoptr(GTask) task = g_task_new(NULL, NULL, examined, NULL);
    g_task_set_task_data(task, examination, examination_free);
    g_task_run_in_thread(task, examine);
}

/* ---- The table. -------------------------------------------------------------------------------------------- */

static const HnQmpArg domain_args[] = {
    {"domain", HN_QMP_ARG_STRING, TRUE, "Name or UUID of a running domain."}, {NULL}};
static const HnQmpArg domains_args[] = {
    {"domains", HN_QMP_ARG_STRING_LIST, FALSE, "Names or UUIDs; the whole host if absent."}, {NULL}};
static const HnQmpArg query_domains_args[] = {
    {"managed-only", HN_QMP_ARG_BOOL, FALSE, "Leave out domains that have not opted in."}, {NULL}};
static const HnQmpArg plan_args[] = {
    {"domains", HN_QMP_ARG_STRING_LIST, FALSE, "Names or UUIDs to be forced; none if absent."},
    {"node", HN_QMP_ARG_INT, FALSE, "Kernel id of the home they are forced to; the best if absent."},
    {NULL}};
static const HnQmpArg rebalance_args[] = {
    {"domains", HN_QMP_ARG_STRING_LIST, FALSE, "Names or UUIDs; every managed domain if absent."},
    {"node", HN_QMP_ARG_INT, FALSE, "Kernel id of the wanted home; the best if absent."},
    {"dry-run", HN_QMP_ARG_BOOL, FALSE, "Return the plan instead of carrying it out."},
    {NULL}};
static const HnQmpArg job_args[] = {{"job", HN_QMP_ARG_INT, TRUE, "Number that rebalance returned."}, {NULL}};
static const HnQmpArg mode_args[] = {
    {"domain", HN_QMP_ARG_STRING, TRUE, "Name or UUID of a running domain."},
    {"mode", HN_QMP_ARG_STRING, TRUE, "auto, advise, off, or none to remove the element."},
    {"persistent", HN_QMP_ARG_BOOL, FALSE, "Also in the domain's persistent configuration."},
    {NULL}};
static const HnQmpArg set_args[] = {
    {"key", HN_QMP_ARG_STRING, TRUE, "Key as 'section.name', for instance placement.min-gain."},
    {"value", HN_QMP_ARG_STRING, TRUE, "Value as in homenode.conf(5)."},
    {NULL}};
static const HnQmpArg history_args[] = {
    {"domain", HN_QMP_ARG_STRING, FALSE, "Name or UUID; all domains if absent."},
    {"limit", HN_QMP_ARG_INT, FALSE, "At most so many entries (20)."},
    {NULL}};
static const HnQmpArg snapshot_args[] = {
    {"last", HN_QMP_ARG_INT, FALSE, "Return the last so many recorded rounds instead of a fresh one."}, {NULL}};

static const HnQmpCommand commands[] = {
    {"query-host", FALSE, do_query_host, NULL, "Nodes, loads and the last round.", "object"},
    {"query-domains", FALSE, do_query_domains, query_domains_args, "Every domain, one row each.", "object"},
    {"query-domain", FALSE, do_query_domain, domain_args, "One domain in detail.", "object"},
    {"query-plan", FALSE, do_query_plan, plan_args, "What would be done now; nothing is applied.", "plan"},
    {"explain", FALSE, do_explain, domain_args, "Why a domain is where it is and what would change that.", "object"},
    {"rebalance", TRUE, do_rebalance, rebalance_args, "Decides and acts now, without gain or cooldown.",
     "job number, or a plan"},
    {"query-job", FALSE, do_query_job, job_args, "How far a rebalance is.", "object"},
    {"release", TRUE, do_release, domains_args, "Restores pins and nodesets and lets go.", "object"},
    {"pause", TRUE, do_pause, domains_args, "Begins nothing new until resumed.", "object"},
    {"resume", TRUE, do_resume, domains_args, "Ends a pause.", "object"},
    {"set-mode", TRUE, do_set_mode, mode_args, "Writes the placement element's mode.", "object"},
    {"set", TRUE, do_set, set_args, "Changes the running configuration.", "object"},
    {"query-config", FALSE, do_query_config, NULL, "Every key with its value.", "object"},
    {"history", FALSE, do_history, history_args, "Decisions and what became of them, newest first.", "object"},
    {"doctor", FALSE, do_doctor, NULL, "What of this host helps or hinders.", "object"},
    {"snapshot", FALSE, do_snapshot, snapshot_args, "What a round saw and decided, to be replayed.", "round"},
    {"metrics", FALSE, do_metrics, NULL, "OpenMetrics text.", "object"},
    {"query-series", FALSE, do_query_series, NULL, "Locality, moves and load over time.", "object"},
    {NULL},
};

static const HnQmpEventInfo events[] = {
    {"ROUND", "A round has ended."},
    {"DOMAIN_MOVED", "A domain has a new home."},
    {"JOB_PROGRESS", "A rebalance goes on, or has ended."},
    {"BACKEND", "The hypervisor's daemon came or went."},
    {NULL, NULL},
};

static void audit(const char *command, json_object *args, const HnQmpPeer *peer, gboolean is_read_only,
                  const char *refusal, gpointer user_data)
{
    hn_log(refusal ? LOG_WARNING : LOG_NOTICE, HN_MSG_COMMAND, "%s %s by uid %u, pid %d%s%s", command,
           json_object_to_json_string_ext(args, JSON_C_TO_STRING_PLAIN), (unsigned)peer->uid, (int)peer->pid,
           refusal ? ": refused: " : "", refusal ? refusal : "");
}

void hn_control_server_emit(HnControlServer *server, const char *name, json_object *data)
{
    hn_qmp_server_emit(server->server, name, data, g_get_real_time());
}

void hn_control_server_emit_round(HnControlServer *server)
{
    const HnManager *manager = server->manager;
    if (!manager->plan || hn_qmp_server_counters(server->server).subscribers == 0)
        return;
    json_object *data = json_object_new_object();
    hn_put_u64(data, "generation", manager->plan->generation);
    hn_put_string(data, "summary", manager->plan->summary);
    hn_put_u64(data, "score-now", manager->plan->score_now);
    hn_control_server_emit(server, "ROUND", data);
}

static bool listen_on(HnControlServer *server, const char *runtime_dir, const char *name, bool is_read_only,
                      gid_t gid, GError **error)
{
    int fd = hn_log_socket_from_supervisor(name);
    if (fd >= 0)
        return hn_qmp_server_listen_fd(server->server, fd, is_read_only, error);
    g_autofree char *path = g_build_filename(runtime_dir, name, NULL);
    return hn_qmp_server_listen_path(server->server, path, is_read_only, is_read_only ? 0666 : 0660, gid, error);
}

static bool group_id(const char *group, gid_t *ret_gid, GError **error)
{
    *ret_gid = (gid_t)-1;
    if (!*group)
        return true;
    const struct group *entry = getgrnam(group);
    if (!entry) {
        g_set_error(error, HN_CONFIG_ERROR, HN_CONFIG_ERROR_VALUE,
                    "daemon.control-group is '%s', but there is no such group", group);
        return false;
    }
    *ret_gid = entry->gr_gid;
    return true;
}

HnControlServer *hn_control_server_new(HnManager *manager, const char *runtime_dir, const char *group,
                                       GError **error)
{
    g_autoptr(HnControlServer) server = g_new0(HnControlServer, 1);
    HnQmpServerOptions options = hn_qmp_server_options_default;
    gid_t gid;

    /* A snapshot of a large host, and many recorded ones, are longer than what a monitor answers. */
    options.max_reply_bytes = 64 << 20;
    options.max_total_bytes = 256 << 20;
    server->manager = manager;
    server->releases = g_ptr_array_new_with_free_func(release_free);
    server->server = hn_qmp_server_new("homenode", HN_VERSION, commands, events, &options, server);
    hn_qmp_server_set_audit(server->server, audit);
    if (!group_id(group, &gid, error) || !listen_on(server, runtime_dir, "control", false, gid, error) ||
        !listen_on(server, runtime_dir, "control-ro", true, (gid_t)-1, error))
        return NULL;
    manager->control = server;
    return g_steal_pointer(&server);
}

void hn_control_server_free(HnControlServer *server)
{
    if (!server)
        return;
    for (guint i = 0; i < server->releases->len; i++)
        hn_qmp_request_fail(((Release *)g_ptr_array_index(server->releases, i))->request, HN_QMP_CLASS_GENERIC,
                            "The daemon stops");
    g_ptr_array_unref(server->releases);
    hn_qmp_server_free(server->server);
    if (server->manager->control == server)
        server->manager->control = NULL;
    g_free(server);
}
