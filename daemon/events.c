/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the world reports to the manager: changes from the back end, ends of actions, and
 * differences between two snapshots for which there is no event. Main thread; nothing here blocks.
 */
#include "manager_state.h"
#include "log.h"
#include "report/fields.h"
#include "report/plan_json.h"

#include <gio/gio.h>
#include <string.h>

/* A release that failed (domain busy, libvirt gone) is asked for again after this time; libvirt's
 * own job time-out is 30 s. */
#define RELEASE_RETRY_NS (UINT64_C(10) * 1000 * 1000 * 1000)

static void emit_backend(HnManager *manager, bool is_connected)
{
    if (!manager->control)
        return;
    json_object *data = json_object_new_object();
    hn_put_bool(data, "is-connected", is_connected);
    hn_control_server_emit(manager->control, "BACKEND", data);
}

static void on_tunable(HnManager *manager, const HnChange *change)
{
    if (!change->key || !change->value ||
        !hn_actuator_note_tunable(manager->actuator, change->uuid, change->key, change->value))
        return;
    HnGuest *guest = hn_guests_want(manager->guests, change->uuid, NULL);
    g_autofree char *sentence = g_strdup_printf(
        "The admin set %s to %s: it is the admin's from now on.", change->key, change->value);
    hn_guest_forget_failures(guest);
    hn_log(LOG_NOTICE, HN_MSG_YIELDED, "%s: %s", guest->name ? guest->name : change->uuid,
           sentence);
    hn_manager_remember(manager, guest, HN_HISTORY_ADMIN, HN_REASON_PINNED_BY_ADMIN, sentence, 0);
    hn_manager_request_round(manager);
}

static void on_stopped(HnManager *manager, const HnChange *change)
{
    hn_actuator_domain_stopped(manager->actuator, change->uuid);
    HnGuest *guest = hn_guests_get(manager->guests, change->uuid);
    if (guest) {
        g_clear_pointer(&guest->stats_xml, g_free); /* ended with the live configuration */
        guest->is_left_over = guest->is_releasing = false;
        guest->is_released = guest->is_held = false;
    }
    hn_manager_request_round(manager);
}

/* What failed may work now: one domain's, or, with an empty uuid, everybody's. */
static void forget_failures(HnManager *manager, const char *uuid)
{
    g_autoptr(GPtrArray) guests = hn_guests_list(manager->guests);
    for (guint i = 0; i < guests->len; i++) {
        HnGuest *guest = g_ptr_array_index(guests, i);
        if (!*uuid || strcmp(guest->uuid, uuid) == 0)
            hn_guest_forget_failures(guest);
    }
}

void hn_manager_on_change(const HnChange *change, void *user_data)
{
    HnManager *manager = user_data;
    if (manager->is_stopping)
        return;
    switch (change->kind) {
    case HN_CHANGE_CONNECTED:
        if (strcmp(manager->config->connect, "none") == 0)
            hn_log(LOG_NOTICE, HN_MSG_BACKEND_UP, "without libvirt: bare QEMU guests only");
        else
            hn_log(LOG_NOTICE, HN_MSG_BACKEND_UP, "connected to %s", manager->config->connect);
        emit_backend(manager, true);
        forget_failures(manager, "");
        hn_manager_request_round(manager);
        break;
    case HN_CHANGE_DISCONNECTED:
        /* Guests run on, pins hold, the journal is kept: nothing is to be undone because a daemon
         * restarts. */
        hn_log(LOG_WARNING, HN_MSG_BACKEND_DOWN,
               "no connection to %s%s%s: trying again, nothing is changed meanwhile",
               manager->config->connect, change->value ? ": " : "",
               change->value ? change->value : "");
        hn_log_notify("STATUS=waiting for the hypervisor's daemon");
        /* No round will say when the doubt has ended. */
        g_free(hn_hinting_want(manager->hinting, 0, true, 0));
        hn_manager_watch_heat(manager, false);
        emit_backend(manager, false);
        break;
    case HN_CHANGE_STOPPED:
        on_stopped(manager, change);
        break;
    case HN_CHANGE_REMARK:
        hn_log(LOG_WARNING, NULL, "%s", change->value);
        break;
    case HN_CHANGE_TUNABLE:
        on_tunable(manager, change);
        break;
    case HN_CHANGE_METADATA: {
        /* Whoever writes the opt-in element anew takes a release back. */
        HnGuest *guest = hn_guests_get(manager->guests, change->uuid);
        if (guest)
            guest->is_released = false;
        forget_failures(manager, change->uuid);
        hn_manager_request_round(manager);
        break;
    }
    case HN_CHANGE_STARTED:
    case HN_CHANGE_STATE:
    case HN_CHANGE_MEMORY:
        forget_failures(manager, change->uuid);
        hn_manager_request_round(manager);
        break;
    default: /* a kind that only has something to say */
        if (change->value)
            hn_log(LOG_NOTICE, NULL, "%s", change->value);
        break;
    }
}

/* ---- Ends of actions. ---- */

static void on_release_ended(HnManager *manager, HnGuest *guest, const HnOutcome *outcome,
                             const char *sentence)
{
    bool is_good = outcome->reason == HN_REASON_RELEASED || outcome->reason == HN_REASON_VANISHED;
    guest->is_releasing = false;
    guest->is_left_over = guest->is_left_over && !is_good;
    guest->release_retry_ns = is_good ? 0 : hn_manager_now_ns() + RELEASE_RETRY_NS;
    hn_log(is_good ? LOG_NOTICE : LOG_WARNING, HN_MSG_RELEASED, "%s: %s: %s",
           guest->name ? guest->name : guest->uuid, hn_reason_name(outcome->reason), sentence);
    g_clear_pointer(&guest->from, g_free);
    g_clear_pointer(&guest->to, g_free);
    hn_manager_remember(manager, guest, HN_HISTORY_OUTCOME, outcome->reason, sentence, 0);
    if (outcome->reason == HN_REASON_RELEASED)
        hn_manager_write_stats(manager, guest, NULL);
    if (manager->control)
        hn_control_server_released(manager->control, guest->uuid, guest->name, outcome->reason,
                                   sentence);
}

static void log_outcome(const HnGuest *guest, const HnOutcome *outcome, const char *sentence)
{
    HnActuationRecord record = {
        .uuid = guest->uuid,
        .name = guest->name,
        .kind = outcome->kind,
        .from = guest->from,
        .to = guest->to,
        .decided_for = guest->decided_for,
        .outcome = outcome->reason,
        .sentence = sentence,
        .bytes_moved = outcome->bytes_moved,
        .score_before = guest->score_before,
        .score_predicted = guest->score_predicted,
        .generation = outcome->generation,
    };
    hn_log_actuation(&record);
}

static void emit_moved(HnManager *manager, const HnGuest *guest, const HnOutcome *outcome,
                       const char *sentence)
{
    if (!manager->control)
        return;
    json_object *data = json_object_new_object();
    hn_put_string(data, "uuid", guest->uuid);
    hn_put_string(data, "name", guest->name);
    hn_put_string(data, "from", guest->from);
    hn_put_string(data, "to", guest->to);
    hn_put_u64(data, "bytes", outcome->bytes_moved);
    hn_put_string(data, "reason", hn_reason_name(guest->decided_for));
    hn_put_string(data, "sentence", sentence);
    hn_control_server_emit(manager->control, "DOMAIN_MOVED", data);
}

void hn_manager_on_outcome(const HnOutcome *outcome, const char *sentence, void *user_data)
{
    HnManager *manager = user_data;
    HnGuest *guest = hn_guests_want(manager->guests, outcome->uuid, NULL);

    if (outcome->generation == 0 && outcome->kind == HN_ACTION_UNFENCE) {
        on_release_ended(manager, guest, outcome, sentence);
        hn_manager_request_round(manager);
        return;
    }
    g_array_append_vals(manager->outcomes, outcome, 1);
    log_outcome(guest, outcome, sentence);
    hn_manager_remember(manager, guest, HN_HISTORY_OUTCOME, outcome->reason, sentence,
                        outcome->bytes_moved);
    if (hn_guest_outcome(guest, outcome))
        emit_moved(manager, guest, outcome, sentence);
    hn_guest_note_failure(guest, outcome, sentence, hn_manager_now_ns());
    hn_orders_outcome(manager->orders, outcome, sentence);
    hn_manager_request_round(manager); /* look at once what became of it */
}

void hn_manager_release(HnManager *manager, HnGuest *guest)
{
    if (guest->is_releasing)
        return;
    guest->is_releasing = true;
    hn_actuator_release(manager->actuator, guest->uuid);
}

/* ---- Differences between snapshots. ---- */

static void note_job(HnManager *manager, HnGuest *guest, const HnDomain *domain)
{
    if (guest->job == domain->job)
        return;
    if (domain->job != HN_JOB_NONE)
        hn_actuator_job_began(manager->actuator, guest->uuid, domain->job);
    else
        hn_actuator_job_ended(manager->actuator, guest->uuid);
    guest->job = domain->job;
}

static void note_complaint(HnManager *manager, HnGuest *guest, const HnDomain *domain)
{
    if (g_strcmp0(guest->invalid, domain->wish.invalid) == 0)
        return;
    g_free(guest->invalid);
    guest->invalid = g_strdup(domain->wish.invalid);
    if (!guest->invalid)
        return;
    hn_log(LOG_WARNING, HN_MSG_BAD_METADATA, "%s is left alone, its placement element is wrong: %s",
           domain->name, guest->invalid);
    hn_manager_remember(manager, guest, HN_HISTORY_ADMIN, HN_REASON_BAD_METADATA, guest->invalid,
                        0);
}

/* A domain that no longer asks for placement gets back what it had, and so does, with
 * on-start = restore, what an earlier run left. One whose element is wrong is left as it is: neither
 * taken further nor torn down because of a typing error. */
static void note_unwanted(HnManager *manager, HnGuest *guest, const HnDomain *domain,
                         bool is_journalled)
{
    bool is_wanted = (domain->wish.mode == HN_MODE_AUTO || domain->wish.invalid) && !guest->is_left_over;
    if (is_journalled && !is_wanted && !manager->is_dry_run && !guest->is_releasing &&
        manager->snapshot->taken_ns >= guest->release_retry_ns)
        hn_manager_release(manager, guest);
}

/* An entry whose domain is not there any more and whose process is gone: it ended while nobody
 * watched. */
static void note_gone(HnManager *manager, const char *uuid)
{
    g_autoptr(HnJournalEntry) entry = hn_journal_get(manager->journal, uuid);
    if (!entry || manager->is_dry_run)
        return;
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT, entry->pid);
    if (!hn_root_exists(manager->root, path))
        hn_actuator_domain_stopped(manager->actuator, uuid);
}

/* A held domain's work stops in the actuator as well; after a start it is told here, before anything is
 * begun. */
static void note_held(HnManager *manager, const HnGuest *guest)
{
    if (hn_actuator_is_paused(manager->actuator, guest->uuid) != guest->is_held)
        hn_actuator_set_paused(manager->actuator, guest->uuid, guest->is_held);
}

/* Orders to a guest that is not seen any more: they stand while its process does. */
static void forget_ended(HnManager *manager)
{
    g_autoptr(GPtrArray) guests = hn_guests_list(manager->guests);
    for (guint i = 0; i < guests->len; i++) {
        const HnGuest *guest = g_ptr_array_index(guests, i);
        if (hn_snapshot_find(manager->snapshot, guest->uuid) || guest->is_releasing || guest->is_stats_busy)
            continue;
        g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT, guest->pid);
        if (!hn_root_exists(manager->root, path))
            hn_guests_remove(manager->guests, guest->uuid);
    }
}

void hn_manager_note_domains(HnManager *manager)
{
    g_autoptr(GHashTable) journalled = g_hash_table_new(g_str_hash, g_str_equal);
    g_auto(GStrv) uuids = hn_journal_list(manager->journal);
    for (guint i = 0; uuids[i]; i++)
        g_hash_table_add(journalled, uuids[i]);
    for (guint i = 0; i < manager->snapshot->domains->len; i++) {
        const HnDomain *domain = g_ptr_array_index(manager->snapshot->domains, i);
        HnGuest *guest = hn_guests_want(manager->guests, domain->uuid, domain->name);
        note_job(manager, guest, domain);
        note_held(manager, guest);
        note_complaint(manager, guest, domain);
        note_unwanted(manager, guest, domain, g_hash_table_contains(journalled, domain->uuid));
    }
    for (guint i = 0; uuids[i]; i++)
        if (!hn_snapshot_find(manager->snapshot, uuids[i]))
            note_gone(manager, uuids[i]);
    forget_ended(manager);
    hn_manager_save_state(manager);
}

/* ---- Statistics elements. ---- */

typedef struct {
    HnManager *manager;
    char uuid[HN_UUID_LEN + 1];
    char *xml;
} StatsWrite;

static void stats_write_free(gpointer data)
{
    StatsWrite *write = data;
    g_free(write->xml);
    g_free(write);
}

static void stats_write_run(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    StatsWrite *write = data;
    GError *error = NULL;
    /* May wait 30 s for a busy domain; that is why it runs here. */
    if (write->manager->backend->ops->set_stats(write->manager->backend, write->uuid, write->xml,
                                                &error))
        g_task_return_boolean(task, TRUE);
    else
        g_task_return_error(task, error);
}

static void stats_write_done(GObject *source, GAsyncResult *result, gpointer user_data)
{
    StatsWrite *write = g_task_get_task_data(G_TASK(result));
    HnManager *manager = write->manager;
    HnGuest *guest = hn_guests_get(manager->guests, write->uuid);
    g_autoptr(GError) error = NULL;
    bool is_good = g_task_propagate_boolean(G_TASK(result), &error);

    manager->n_calls--;
    if (!is_good)
        hn_log(LOG_DEBUG, NULL, "%s: statistics element not written: %s", write->uuid,
               error->message);
    if (!guest)
        return;
    guest->is_stats_busy = false;
    if (!is_good || !write->xml)
        g_clear_pointer(&guest->stats_key, g_free);
    if (is_good || g_error_matches(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_GONE)) {
        g_free(guest->stats_xml);
        guest->stats_xml = is_good ? g_strdup(write->xml) : NULL;
    }
}

void hn_manager_write_stats(HnManager *manager, HnGuest *guest, const char *xml)
{
    StatsWrite *write = g_new0(StatsWrite, 1);
    write->manager = manager;
    g_strlcpy(write->uuid, guest->uuid, sizeof write->uuid);
    write->xml = g_strdup(xml);
    guest->is_stats_busy = true;
    manager->n_calls++;
    g_autoptr(GTask) task = g_task_new(NULL, NULL, stats_write_done, NULL);
    g_task_set_task_data(task, write, stats_write_free);
    g_task_run_in_thread(task, stats_write_run);
}
