/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The manager's beginning and end: what an earlier run left, what is put back when this one stops,
 * and the few rounds of
 * --once. See manager.h.
 */
#include "backend/wish.h"
#include "dirty.h"
#include "log.h"
#include "manager_state.h"
#include "operator_state.h"
#include "ownership.h"

#include <errno.h>
#include <gio/gio.h>
#include <glib/gstdio.h>

/* Rounds that --once takes: the first has no rates, the policy wants confirming ones. */
#define ONCE_EXTRA_ROUNDS 2
#define ONCE_CONNECT_S 10

static bool parse_wish(const char *xml, const HnHost *host, HnWish *ret_wish)
{
    /* A wrong element is not an error here: its sentence is in ret_wish->invalid and becomes a
     * reason. */
    hn_wish_parse(xml, host, ret_wish);
    return true;
}

static char *read_line(const HnRoot *root, const char *path)
{
    g_autofree char *text = NULL;
    if (!hn_root_read(root, path, 4096, &text, NULL, NULL))
        return g_strdup("unknown");
    return g_strdup(g_strstrip(text));
}

static HnPast *load_past(const HnManager *manager)
{
    g_autofree char *file = g_build_filename(manager->runtime_dir, "past", NULL);
    g_autofree char *text = NULL;
    gsize len = 0;
    g_autoptr(GError) error = NULL;
    if (manager->is_dry_run || !g_file_get_contents(file, &text, &len, NULL))
        return hn_past_new();
    HnPast *past = hn_past_parse(text, len, &error);
    if (past)
        return past;
    hn_log(LOG_WARNING, NULL, "%s is ignored: %s", file, error->message);
    return hn_past_new();
}

/* What an earlier run left: adopt it (the observer then knows our pins) or give it back. */
static bool load_journal(HnManager *manager, GError **error)
{
    g_autofree char *dir = g_build_filename(manager->runtime_dir, "journal", NULL);
    manager->journal = hn_journal_new(dir, manager->boot_id, error);
    if (!manager->journal)
        return false;
    g_autoptr(GPtrArray) found = hn_journal_load(manager->journal, manager->root, error);
    if (!found)
        return false;
    for (guint i = 0; i < found->len; i++) {
        const HnJournalFound *entry = g_ptr_array_index(found, i);
        if (entry->state == HN_JOURNAL_CORRUPT)
            hn_log(LOG_WARNING, NULL, "journal: %s", entry->message);
        if (entry->state != HN_JOURNAL_SAME)
            continue;
        HnGuest *guest = hn_guests_want(manager->guests, entry->uuid, entry->name);
        bool is_adopted = manager->config->on_start == HN_ON_START_ADOPT;
        hn_log(LOG_NOTICE, HN_MSG_ADOPTED, "%s was pinned by an earlier run: %s", entry->name,
               is_adopted ? "adopted" : "to be restored");
        guest->is_left_over = !is_adopted; /* by the first round: only then is there a connection */
        hn_manager_remember(manager, guest, HN_HISTORY_DAEMON, HN_REASON_IN_PROGRESS,
                            is_adopted ? "Adopted from an earlier run of the daemon."
                                       : "Restored, left over from an earlier run of the daemon.",
                            0);
    }
    return true;
}

/* ---- What the operator ordered. ---- */

static char *state_file(const HnManager *manager)
{
    return g_build_filename(manager->runtime_dir, "state", NULL);
}

static void take_over(HnManager *manager, const HnOperatorState *state)
{
    guint n_held = 0, n_released = 0;
    manager->is_host_held = state->is_host_held;
    for (guint i = 0; i < state->domains->len; i++) {
        const HnDomainOrders *orders = &g_array_index(state->domains, HnDomainOrders, i);
        HnGuest *guest = hn_guests_want(manager->guests, orders->uuid, NULL);
        guest->pid = orders->pid;
        guest->start_ticks = orders->start_ticks;
        guest->is_held = orders->is_held;
        guest->is_released = orders->is_released;
        n_held += orders->is_held;
        n_released += orders->is_released;
    }
    if (state->is_host_held || state->domains->len)
        hn_log(LOG_NOTICE, NULL, "orders of before still stand: %u paused, %u released%s", n_held,
               n_released, state->is_host_held ? ", the host is paused" : "");
}

/* A file that cannot be read may have said "paused": then nothing is begun until somebody has looked. */
static void load_state(HnManager *manager)
{
    g_autofree char *file = state_file(manager);
    g_autofree char *text = NULL;
    gsize len = 0;
    g_autoptr(GError) error = NULL;
    g_autoptr(HnOperatorState) state = NULL;

    if (manager->is_dry_run)
        return;
    if (g_file_get_contents(file, &text, &len, &error))
        state = hn_operator_state_parse(text, len, file, &error);
    else if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return;
    if (!state) {
        hn_log(LOG_ERR, NULL,
               "%s; the host is paused, as something in it may have been: 'homenode resume' goes on",
               error->message);
        manager->is_host_held = true;
    } else if (g_strcmp0(state->boot_id, manager->boot_id) == 0) {
        manager->state_text = g_steal_pointer(&text);
        take_over(manager, state);
    } else {
        g_unlink(file); /* its guests ended with that boot */
    }
    hn_actuator_set_paused(manager->actuator, NULL, manager->is_host_held);
}

void hn_manager_save_state(HnManager *manager)
{
    g_autoptr(HnOperatorState) state = hn_operator_state_new(manager->boot_id);
    g_autoptr(GPtrArray) guests = hn_guests_list(manager->guests);
    g_autoptr(GError) error = NULL;

    if (manager->is_dry_run)
        return;
    state->is_host_held = manager->is_host_held;
    for (guint i = 0; i < guests->len; i++) {
        const HnGuest *guest = g_ptr_array_index(guests, i);
        HnDomainOrders orders = {.pid = guest->pid,
                                 .start_ticks = guest->start_ticks,
                                 .is_held = guest->is_held,
                                 .is_released = guest->is_released};
        g_strlcpy(orders.uuid, guest->uuid, sizeof orders.uuid);
        if (orders.is_held || orders.is_released)
            g_array_append_val(state->domains, orders);
    }
    bool is_empty = !state->is_host_held && state->domains->len == 0;
    g_autofree char *text = is_empty ? NULL : hn_operator_state_format(state);
    if (g_strcmp0(text, manager->state_text) == 0)
        return;
    g_autofree char *file = state_file(manager);
    bool is_good = text ? g_file_set_contents_full(file, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &error)
                        : g_unlink(file) == 0 || errno == ENOENT;
    if (!is_good) {
        hn_log(LOG_ERR, NULL, "what the operator ordered would not survive a restart: %s",
               error ? error->message : g_strerror(errno));
        return; /* tried again with the next round */
    }
    g_free(manager->state_text);
    manager->state_text = g_steal_pointer(&text);
}

HnManager *hn_manager_new(const HnManagerOptions *options, HnConfig *config, GError **error)
{
    g_autoptr(HnManager) manager = g_new0(HnManager, 1);
    manager->backend = options->backend;
    manager->root = options->root;
    manager->config = config;
    manager->config_file = g_strdup(options->config_file);
    manager->runtime_dir = g_strdup(options->runtime_dir);
    manager->connect = g_strdup(options->connect);
    manager->is_config_optional = options->is_config_optional;
    manager->is_dry_run = options->is_dry_run;
    manager->host_name = g_strdup(g_get_host_name());
    manager->boot_id = read_line(options->root, "proc/sys/kernel/random/boot_id");
    manager->outcomes = g_array_new(FALSE, TRUE, sizeof(HnOutcome));
    manager->guests = hn_guests_new();
    manager->history = hn_history_new(config->history_entries);
    manager->recorder = hn_recorder_new(config->record_bytes);
    manager->series = hn_series_new();
    manager->orders = hn_orders_new();
    manager->past = load_past(manager);
    if (!load_journal(manager, error))
        return NULL;
    HnObserverConfig observing = {.parse_wish = parse_wish,
                                  .ownership = hn_ownership_of(manager->journal)};
    manager->observer = hn_observer_new(manager->root, &observing);
    manager->hinting = hn_hinting_new(manager->journal, manager->root, manager->is_dry_run);
    manager->heat = hn_heat_new(manager->journal, manager->root, manager->is_dry_run);
    manager->actuator = hn_actuator_new(manager->backend, manager->root, manager->journal,
                                        &config->limits, hn_manager_on_outcome, manager);
    load_state(manager);
    manager->desk = g_thread_pool_new(hn_manager_work_at_desk, NULL, 1, TRUE, error);
    return manager->desk ? g_steal_pointer(&manager) : NULL;
}

void hn_manager_free(HnManager *manager)
{
    if (!manager)
        return;
    g_clear_handle_id(&manager->round_timer, g_source_remove);
    g_clear_handle_id(&manager->event_timer, g_source_remove);
    g_clear_handle_id(&manager->order_timer, g_source_remove);
    /* It removes itself when it fires; after that its id must not be used. */
    if (manager->once_timer && g_main_context_find_source_by_id(NULL, manager->once_timer))
        g_source_remove(manager->once_timer);
    if (manager->desk)
        g_thread_pool_free(manager->desk, FALSE, TRUE);
    hn_manager_cancel_dirty(manager);
    hn_hinting_free(manager->hinting);
    hn_heat_free(manager->heat);
    g_clear_pointer(&manager->actuator, hn_actuator_free);
    hn_observer_free(manager->observer);
    g_clear_pointer(&manager->journal, hn_journal_free);
    hn_past_free(manager->past);
    hn_snapshot_free(manager->snapshot);
    hn_plan_free(manager->plan);
    g_array_unref(manager->outcomes);
    hn_guests_free(manager->guests);
    hn_history_free(manager->history);
    hn_recorder_free(manager->recorder);
    hn_series_free(manager->series);
    hn_orders_free(manager->orders);
    hn_config_free(manager->config);
    g_free(manager->last_error);
    g_free(manager->state_text);
    g_free(manager->config_file);
    g_free(manager->runtime_dir);
    g_free(manager->connect);
    g_free(manager->host_name);
    g_free(manager->boot_id);
    g_free(manager);
}

void hn_manager_start(HnManager *manager)
{
    manager->is_started = true;
    manager->backend->ops->watch(manager->backend, hn_manager_on_change, manager);
    hn_manager_begin_round(manager);
}

static gboolean on_once_overdue(gpointer data)
{
    HnManager *manager = data;
    if (manager->n_rounds == 0 && manager->n_failed_rounds == 0) {
        g_autofree char *problem = g_strdup_printf("no connection to %s after %d s",
                                                   manager->config->connect, ONCE_CONNECT_S);
        manager->once_func(NULL, problem, manager->once_data);
    }
    return G_SOURCE_REMOVE;
}

void hn_manager_run_once(HnManager *manager, HnOnceFunc func, void *user_data)
{
    manager->once_timer = g_timeout_add_seconds(ONCE_CONNECT_S, on_once_overdue, manager);
    manager->once_func = func;
    manager->once_data = user_data;
    manager->once_rounds = manager->config->policy.confirm_rounds + ONCE_EXTRA_ROUNDS;
    hn_manager_start(manager);
}

/* Serves the main context until `is_busy` says no or the deadline has passed. */
static void drain(HnManager *manager, const guint *n_busy, uint64_t deadline_ns)
{
    while (*n_busy > 0 && hn_manager_now_ns() < deadline_ns)
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(2000);
}

static void remove_stats(HnManager *manager)
{
    g_autoptr(GPtrArray) guests = hn_guests_list(manager->guests);
    for (guint i = 0; i < guests->len; i++) {
        HnGuest *guest = g_ptr_array_index(guests, i);
        if (guest->stats_xml || guest->is_stats_busy)
            hn_manager_write_stats(manager, guest, NULL);
    }
}

bool hn_manager_is_idle(const HnManager *manager)
{
    return manager->n_at_desk == 0 && manager->n_calls == 0 && manager->n_heat == 0;
}

bool hn_manager_stop(HnManager *manager)
{
    uint64_t deadline_ns = hn_manager_now_ns() + manager->config->stop_timeout_ns;
    g_autoptr(GError) error = NULL;
    bool is_good = true;

    manager->is_stopping = true;
    hn_log_notify("STOPPING=1\nSTATUS=restoring guests");
    hn_actuator_set_paused(manager->actuator, NULL, true);
    drain(manager, &manager->n_at_desk, deadline_ns);
    drain(manager, &manager->n_heat, deadline_ns);
    if (manager->config->on_stop == HN_ON_STOP_RESTORE && !manager->is_dry_run) {
        hn_actuator_set_paused(manager->actuator, NULL, false);
        uint64_t now_ns = hn_manager_now_ns();
        is_good = hn_actuator_release_wait(manager->actuator, NULL,
                                           deadline_ns > now_ns ? deadline_ns - now_ns : 0, &error);
        if (!is_good)
            hn_log(LOG_ERR, HN_MSG_STOPPED,
                   "not everything could be restored: %s; the journal is kept, the next start "
                   "restores it",
                   error->message);
    }
    /* Also with on-stop = keep: what is switched on for the sake of evidence serves nobody then. */
    g_autoptr(GError) switch_error = NULL;
    if (!hn_hinting_end(manager->hinting, &switch_error)) {
        hn_log(LOG_ERR, HN_MSG_STOPPED, "kernel.numa_balancing could not be put back: %s",
               switch_error->message);
        is_good = false;
    }
    g_autoptr(GError) heat_error = NULL;
    if (!hn_heat_end(manager->heat, &heat_error)) {
        hn_log(LOG_ERR, HN_MSG_STOPPED, "DAMON could not be switched off: %s", heat_error->message);
        is_good = false;
    }
    remove_stats(manager);
    drain(manager, &manager->n_calls, deadline_ns);
    return is_good;
}
