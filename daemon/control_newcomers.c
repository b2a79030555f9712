/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control verbs about guests that do not run yet: where one would best begin, and the ledger of what
 * was answered (homenode/newcomer.h).
 *
 * Answered at once from the last round, never from a fresh look: who asks is libvirt in the middle of
 * starting a domain, holding that domain's lock, and to list domains now would wait for that very lock.
 * While no round has ended, the nodes themselves are read, which takes no libvirt. That runs in the main
 * thread: 85 ms at most were measured, for 1,000 guests on 16 full nodes; 4 to 8 ms where there is room.
 *
 * The ledger is in RUNTIME_DIR/promises as well, written before the answer: guests that start while the
 * daemon is restarted spread all the same.
 */
#include "control_private.h"
#include "log.h"
#include "promises_text.h"
#include "report/fields.h"
#include "report/plan_json.h"

#include "observe/host-read.h"

#include <string.h>

/* The last snapshot, or (owned by the caller, *ret_fresh) one of the nodes alone. */
static const HnSnapshot *look(HnControlServer *server, HnSnapshot **ret_fresh, GError **error)
{
    if (server->manager->snapshot)
        return server->manager->snapshot;
    g_autoptr(HnHostReader) reader = hn_host_reader_new(server->manager->root);
    g_autoptr(HnSnapshot) snapshot = hn_snapshot_new();
    if (!hn_host_reader_read(reader, &snapshot->host, NULL, error))
        return NULL;
    snapshot->taken_ns = hn_manager_now_ns();
    *ret_fresh = g_steal_pointer(&snapshot);
    return *ret_fresh;
}

static HnNodemask place(HnControlServer *server, const HnSnapshot *snapshot,
                        const HnNewcomer *guest, HnReason *ret_reason, GError **error)
{
    g_autoptr(GHashTable) moving = hn_manager_in_flight(server->manager);
    g_autofree char **uuids = (char **)g_hash_table_get_keys_as_array(moving, NULL);
    bool is_observed = snapshot == server->manager->snapshot;

    return hn_newcomer_place(snapshot, &server->manager->config->policy,
                             is_observed ? server->manager->past : NULL,
                             (const char *const *)uuids, guest, server->promises, ret_reason,
                             error);
}

/* ---- The ledger beyond a restart. ---- */

static char *ledger_file(const HnManager *manager)
{
    return g_build_filename(manager->runtime_dir, "promises", NULL);
}

static void save_ledger(HnControlServer *server)
{
    const HnManager *manager = server->manager;
    g_autofree char *file = ledger_file(manager);
    g_autofree char *text = hn_promises_format(server->promises, manager->boot_id ? manager->boot_id : "");
    g_autoptr(GError) error = NULL;
    if (!g_file_set_contents_full(file, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &error))
        hn_log(LOG_WARNING, NULL, "where guests are to begin would not survive a restart: %s", error->message);
}

GArray *hn_control_load_promises(HnManager *manager)
{
    g_autofree char *file = ledger_file(manager);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    gsize len;
    GArray *promises = NULL;
    uint64_t now_ns = hn_manager_now_ns();

    if (g_file_get_contents(file, &text, &len, &error))
        promises = hn_promises_parse(text, len, file, manager->boot_id ? manager->boot_id : "", &error);
    if (!promises) {
        if (!g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            hn_log(LOG_WARNING, NULL, "%s; guests that are starting now are not counted", error->message);
        return g_array_new(FALSE, TRUE, sizeof(HnPromise));
    }
    for (guint i = promises->len; i-- > 0;)
        if (g_array_index(promises, HnPromise, i).promised_ns > now_ns)
            g_array_remove_index(promises, i);
    hn_promises_settle(promises, NULL, now_ns);
    return promises;
}

/* ---- The verbs. ---- */

static guint n_open(const GArray *promises)
{
    guint n = 0;
    for (guint i = 0; i < promises->len; i++)
        n += g_array_index(promises, HnPromise, i).uuid[0] == '\0';
    return n;
}

static void answer(HnControlServer *server, HnQmpRequest *request, json_object *args,
                   bool is_reserved)
{
    g_autoptr(HnSnapshot) fresh = NULL;
    g_autoptr(GError) error = NULL;
    int64_t n_vcpus, mib;
    HnReason reason;

    if (!hn_control_int_arg(request, args, "vcpus", 1, HN_NEWCOMER_MAX_VCPUS, 0, &n_vcpus) ||
        !hn_control_int_arg(request, args, "mib", 0, (int64_t)(HN_NEWCOMER_MAX_BYTES >> 20), 0,
                            &mib))
        return;
    const HnSnapshot *snapshot = look(server, &fresh, &error);
    uint64_t now_ns = hn_manager_now_ns();
    HnNewcomer guest = {(uint32_t)n_vcpus, (uint64_t)mib << 20};
    HnNodemask nodes = 0;
    if (snapshot) {
        hn_promises_settle(server->promises, server->manager->snapshot, now_ns);
        nodes = place(server, snapshot, &guest, &reason, &error);
    }
    if (!nodes) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "No advice: %s", error->message);
        return;
    }
    g_autofree char *nodeset = hn_host_format_nodes(snapshot->host, nodes);
    json_object *object = hn_document_new();
    hn_put_string(object, "nodeset", nodeset);
    hn_put_string(object, "reason", hn_reason_name(reason));
    hn_put_u64(object, "reserved-guests", n_open(server->promises));
    hn_put_bool(object, "is-observed", snapshot == server->manager->snapshot);
    if (is_reserved) {
        hn_promises_add(server->promises, &guest, nodes, now_ns);
        save_ledger(server);
        hn_log(LOG_INFO, NULL,
               "a guest of %u vCPUs and %" G_GINT64_FORMAT " MiB is to begin on node %s (%s)",
               guest.n_vcpus, mib, nodeset, hn_reason_name(reason));
    }
    hn_qmp_request_return(request, object);
}

void hn_verb_query_placement(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    answer(user_data, request, args, false);
}

void hn_verb_reserve_placement(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    answer(user_data, request, args, true);
}
