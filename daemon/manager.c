/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The round: observe → decide → apply → report. See manager.h.
 */
#include "manager_state.h"
#include "dirty.h"
#include "log.h"
#include "report/fields.h"
#include "report/metrics.h"
#include "report/plan_json.h"

#include <gio/gio.h>
#include <string.h>
#include <time.h>

/* A quiet host is recorded and its past saved this often: enough to see what went before an
 * incident. */
#define QUIET_SAVE_NS (UINT64_C(30) * 1000 * 1000 * 1000)
#define ORDER_TICK_MS 1000
/* A statistics element whose figures do not change is written again after this for its times. */
#define STATS_TIMES_NS (UINT64_C(300) * 1000 * 1000 * 1000)

typedef struct {
    HnManager *manager;
    HnRound *round;
    HnTrialFunc func; /* NULL: the real round */
    void *user_data;
} Errand;

uint64_t hn_manager_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- The round. ---- */

static bool keep(HnManager *manager, HnRound *round);
static void apply(HnManager *manager);
static void gather_evidence(HnManager *manager, const HnRound *round);
static void report(HnManager *manager, HnRound *round);
static void schedule_next(HnManager *manager);

static void finish_round(HnManager *manager, HnRound *round)
{
    manager->is_round_running = false;
    if (keep(manager, round)) { /* what was observed and decided: round.c, in the worker */
        hn_manager_note_domains(manager); /* what changed since: opt-outs, jobs, complaints */
        apply(manager);
        gather_evidence(manager, round);
        report(manager, round);
    }
    if (manager->control) {
        hn_control_server_end_early(manager->control);
        hn_control_server_round_ended(manager->control);
    }
    schedule_next(manager);
}

static gboolean end_errand(gpointer data)
{
    Errand *errand = data;
    errand->manager->n_at_desk--;
    if (errand->func)
        errand->func(errand->manager, errand->round, errand->user_data);
    else
        finish_round(errand->manager, errand->round);
    hn_round_free(errand->round);
    g_free(errand);
    return G_SOURCE_REMOVE;
}

void hn_manager_work_at_desk(gpointer data, gpointer unused)
{
    Errand *errand = data;
    hn_round_run(errand->round);
    g_idle_add_full(G_PRIORITY_DEFAULT, end_errand, errand, NULL);
}

static void send_to_desk(HnManager *manager, HnRound *round, HnTrialFunc func, void *user_data)
{
    Errand *errand = g_new0(Errand, 1);
    *errand = (Errand){manager, round, func, user_data};
    manager->n_at_desk++;
    g_thread_pool_push(manager->desk, errand, NULL);
}

void hn_manager_try(HnManager *manager, HnRound *round, HnTrialFunc func, void *user_data)
{
    round->is_trial = true;
    send_to_desk(manager, round, func, user_data);
}

GHashTable *hn_manager_in_flight(HnManager *manager)
{
    GHashTable *set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char **uuids = hn_actuator_in_flight(manager->actuator);
    for (guint i = 0; uuids && uuids[i]; i++)
        g_hash_table_add(set, uuids[i]); /* the set owns the strings, the vector goes */
    return set;
}

/* Whose touches are sampled until the next round: of those in doubt, the wide and the disputed ones
 * (or all). A wide domain with guest cells is cut by them and needs no matrix. What was learnt stays
 * when sampling ends. Trials ask for the same: else they would switch the sampling off. */
static char **list_touched(HnManager *manager)
{
    GPtrArray *uuids = g_ptr_array_new();
    HnTouchWish wish = manager->config->touch_matrix;
    for (guint i = 0; manager->plan && wish != HN_TOUCH_OFF && i < manager->plan->verdicts->len;
         i++) {
        const HnVerdict *verdict = g_ptr_array_index(manager->plan->verdicts, i);
        bool is_cut_by_cells = verdict->n_clients > 0 && verdict->clients[0].guest_cell >= 0;
        bool is_wanted = wish == HN_TOUCH_ALL ? verdict->doubt.wants_hinting
                                              : verdict->doubt.wants_touch && !is_cut_by_cells;
        if (verdict->is_managed && is_wanted)
            g_ptr_array_add(uuids, g_strdup(verdict->uuid));
    }
    g_ptr_array_add(uuids, NULL);
    return (char **)g_ptr_array_free(uuids, FALSE);
}

/* What the doubt of each domain asks for; a domain that is not known yet gets what is said for all.
 * Trials ask for the same as rounds, or they would renew what nobody wants. */
static void set_wishes(HnManager *manager, HnRound *round)
{
    const HnConfig *config = manager->config;
    for (guint i = 0; manager->plan && i < manager->plan->verdicts->len; i++) {
        const HnVerdict *verdict = g_ptr_array_index(manager->plan->verdicts, i);
        HnDoubtState state = verdict->doubt.state;
        HnObserveWish wish = {
            .probe_max_age_ns = hn_doubt_probe_age(&verdict->doubt, config->probe_max_age_ns,
                                                   config->probe_ceiling_ns),
            .with_faults = config->with_hinting_faults &&
                           (state == HN_DOUBT_UNKNOWN || state == HN_DOUBT_SAMPLING ||
                            state == HN_DOUBT_DISTURBED),
        };
        g_strlcpy(wish.uuid, verdict->uuid, sizeof wish.uuid);
        g_array_append_val(round->wishes, wish); /* verdicts ascend by uuid */
    }
}

static void set_dirty(HnManager *manager, HnRound *round)
{
    g_autoptr(GPtrArray) guests = hn_guests_list(manager->guests);
    for (guint i = 0; i < guests->len; i++) {
        const HnGuest *guest = g_ptr_array_index(guests, i);
        if (!guest->dirty_ns)
            continue;
        HnDirtyKept *kept = g_new(HnDirtyKept, 1);
        *kept = (HnDirtyKept){guest->dirty_bytes_per_sec, guest->dirty_ns};
        g_hash_table_insert(round->dirty, g_strdup(guest->uuid), kept);
    }
}

static void set_freshness(HnManager *manager, HnRound *round)
{
    const HnConfig *config = manager->config;
    round->observe.probe_max_age_ns = config->probe_max_age_ns;
    round->observe.n_probes = config->n_probes;
    round->observe.exact_max_bytes = config->exact_max_bytes;
    round->observe.with_faults = config->with_hinting_faults;
    set_wishes(manager, round);
    set_dirty(manager, round);
    round->heat = hn_heat_known(manager->heat);
    g_autoptr(GPtrArray) fresh = g_ptr_array_new();
    for (guint i = 0; i < round->outcomes->len; i++)
        g_ptr_array_add(fresh, g_strdup(g_array_index(round->outcomes, HnOutcome, i).uuid));
    for (guint i = 0; manager->plan && i < manager->plan->verdicts->len; i++) {
        const HnVerdict *verdict = g_ptr_array_index(manager->plan->verdicts, i);
        if (verdict->doubt.wants_fresh)
            g_ptr_array_add(fresh, g_strdup(verdict->uuid));
    }
    g_ptr_array_add(fresh, NULL);
    round->fresh = (char **)g_ptr_array_steal(fresh, NULL);
    round->touched = list_touched(manager);
}

static void add_waiting(HnManager *manager, HnRound *round)
{
    g_autoptr(GPtrArray) guests = hn_guests_list(manager->guests);
    for (guint i = 0; i < guests->len; i++) {
        const HnGuest *guest = g_ptr_array_index(guests, i);
        if (guest->failure && guest->retry_ns > round->now_ns)
            hn_round_add_waiting(round, guest->uuid, guest->failure_reason, guest->failure,
                                 guest->retry_ns - round->now_ns);
    }
}

HnRound *hn_manager_new_round(HnManager *manager)
{
    HnRound *round = hn_round_new(manager->backend, manager->observer, hn_manager_now_ns());
    round->is_dry_run = manager->is_dry_run;
    round->policy = manager->config->policy;
    round->past = hn_past_copy(manager->past);
    g_array_append_vals(round->outcomes, manager->outcomes->data, manager->outcomes->len);
    g_hash_table_unref(round->in_flight);
    round->in_flight = hn_manager_in_flight(manager);
    round->is_host_held = manager->is_host_held;
    hn_guests_add_held(manager->guests, round->held);
    hn_guests_add_released(manager->guests, round->released);
    add_waiting(manager, round);
    set_freshness(manager, round);
    return round;
}

void hn_manager_begin_round(HnManager *manager)
{
    g_clear_handle_id(&manager->round_timer, g_source_remove);
    g_clear_handle_id(&manager->event_timer, g_source_remove);
    if (manager->is_stopping)
        return;
    if (manager->is_round_running) {
        manager->is_again = true;
        return;
    }
    if (!manager->backend->ops->is_connected(manager->backend)) {
        schedule_next(manager); /* CONNECTED causes a round; meanwhile state and journal are kept */
        return;
    }
    HnRound *round = hn_manager_new_round(manager);
    hn_orders_take_forces(manager->orders, round->forces);
    g_array_set_size(manager->outcomes, 0);
    round->is_recorded =
        manager->config->record_bytes > 0 &&
        (!manager->quiet_since_ns || round->now_ns - manager->recorded_ns >= QUIET_SAVE_NS);
    manager->is_round_running = true;
    manager->is_again = false;
    manager->round_began_ns = round->now_ns;
    send_to_desk(manager, round, NULL, NULL);
}

static void fail(HnManager *manager, HnRound *round)
{
    manager->n_failed_rounds++;
    /* The same complaint every two seconds would bury everything else. */
    if (g_strcmp0(manager->last_error, round->error->message) != 0)
        hn_log(LOG_WARNING, HN_MSG_ROUND_FAILED, "this round saw nothing and changed nothing: %s",
               round->error->message);
    g_free(manager->last_error);
    manager->last_error = g_strdup(round->error->message);
    g_array_prepend_vals(manager->outcomes, round->outcomes->data, round->outcomes->len);
    hn_orders_return_forces(manager->orders);
    if (manager->once_func)
        manager->once_func(NULL, manager->last_error, manager->once_data);
}

/* Takes over what the round saw and decided; false if it came to nothing. */
static bool keep(HnManager *manager, HnRound *round)
{
    if (round->error) {
        fail(manager, round);
        return false;
    }
    g_clear_pointer(&manager->last_error, g_free);
    hn_past_free(manager->past);
    hn_snapshot_free(manager->snapshot);
    hn_plan_free(manager->plan);
    manager->past = g_steal_pointer(&round->past);
    manager->snapshot = g_steal_pointer(&round->snapshot);
    manager->plan = g_steal_pointer(&round->plan);
    manager->n_rounds++;
    manager->round_took_ns = round->took_ns;
    if (round->record) {
        hn_recorder_add(manager->recorder, g_steal_pointer(&round->record));
        manager->recorded_ns = round->now_ns;
    }
    hn_guests_observe(manager->guests, manager->snapshot);
    return true;
}

static void note_decision(HnManager *manager, const HnVerdict *verdict)
{
    HnGuest *guest = hn_guests_get(manager->guests, verdict->uuid);
    if (!guest)
        return;
    hn_guest_decided(guest, verdict, manager->plan->generation, manager->snapshot->host);
    hn_manager_remember(manager, guest, HN_HISTORY_DECISION, verdict->reason, verdict->sentence,
                        verdict->bytes_to_move);
}

static void apply(HnManager *manager)
{
    HnPlan *plan = manager->plan;
    hn_actuator_observe(manager->actuator, manager->snapshot); /* run delay while nothing moves */
    if (!manager->is_dry_run && plan->actions->len > 0) {
        for (guint i = 0; i < plan->verdicts->len; i++) {
            const HnVerdict *verdict = g_ptr_array_index(plan->verdicts, i);
            if (verdict->will_act)
                note_decision(manager, verdict);
        }
        hn_actuator_submit(manager->actuator, plan, manager->snapshot);
    }
    g_autoptr(GHashTable) in_flight = hn_manager_in_flight(manager);
    hn_orders_decided(manager->orders, plan, in_flight);
    hn_orders_check(manager->orders, in_flight);
}

void hn_manager_watch_heat(HnManager *manager, bool is_allowed)
{
    g_autoptr(GHashTable) held = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (!manager->plan || manager->is_stopping)
        return;
    hn_guests_add_held(manager->guests, held);
    hn_guests_add_released(manager->guests, held);
    hn_heat_want(manager->heat, manager->plan, manager->snapshot, held,
                 is_allowed && manager->config->is_damon_allowed && !manager->is_host_held, &manager->n_heat);
}

/* What must be switched on to be seen: takes a millisecond, or runs elsewhere. */
static void gather_evidence(HnManager *manager, const HnRound *round)
{
    const HnConfig *config = manager->config;
    uint32_t n_doubtful = config->with_hinting_faults ? round->n_doubtful : 0;
    g_autofree char *sentence =
        hn_hinting_want(manager->hinting, n_doubtful, config->is_balancing_switched,
                        config->scan_bytes >> 20);
    if (sentence)
        hn_log(LOG_INFO, NULL, "%s", sentence);
    hn_manager_measure_dirty(manager);
    hn_manager_watch_heat(manager, true);
}

/* Nothing moves and every managed domain is where it should be. */
static bool is_quiet(HnManager *manager)
{
    for (guint i = 0; i < manager->plan->verdicts->len; i++) {
        const HnVerdict *verdict = g_ptr_array_index(manager->plan->verdicts, i);
        if (verdict->is_managed && verdict->reason != HN_REASON_CONVERGED &&
            verdict->reason != HN_REASON_SINGLE_NODE_HOST && verdict->reason != HN_REASON_IDLE)
            return false;
    }
    return manager->plan->actions->len == 0 && manager->outcomes->len == 0;
}

static void note_quiet(HnManager *manager)
{
    if (!is_quiet(manager))
        manager->quiet_since_ns = 0;
    else if (!manager->quiet_since_ns)
        manager->quiet_since_ns = manager->snapshot->taken_ns;
}

static void note_single_node(HnManager *manager)
{
    HnNodemask homes = hn_host_home_nodes(manager->snapshot->host);
    manager->is_single_node = (homes & (homes - 1)) == 0;
    if (manager->is_single_node && !manager->is_single_node_said)
        hn_log(LOG_NOTICE, HN_MSG_SINGLE_NODE,
               "this host has one node that can be a home: nothing to place, waiting for changes "
               "only");
    manager->is_single_node_said = manager->is_single_node;
}

static void save_past(HnManager *manager, uint64_t now_ns)
{
    if (manager->is_dry_run ||
        (manager->quiet_since_ns && now_ns - manager->past_saved_ns < QUIET_SAVE_NS))
        return;
    g_autofree char *file = g_build_filename(manager->runtime_dir, "past", NULL);
    g_autofree char *text = hn_past_format(manager->past);
    g_autoptr(GError) error = NULL;
    /* Losing it costs some seconds of smoothing after a restart: no fsync. */
    if (!g_file_set_contents_full(file, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &error))
        hn_log(LOG_WARNING, NULL, "cannot save the state for a restart: %s", error->message);
    manager->past_saved_ns = now_ns;
}

static void write_metrics_file(HnManager *manager)
{
    const char *file = manager->config->metrics_file;
    if (!*file)
        return;
    g_autofree char *text = hn_manager_metrics(manager);
    g_autoptr(GError) error = NULL;
    if (!g_file_set_contents_full(file, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, &error) &&
        g_strcmp0(manager->last_error, error->message) != 0) {
        hn_log(LOG_WARNING, NULL, "daemon.metrics-file: %s", error->message);
        g_free(manager->last_error);
        manager->last_error = g_strdup(error->message);
    }
}

static void write_due_stats(HnManager *manager, const GArray *statuses, uint64_t now_ns)
{
    HnStatsOrigin origin = {manager->host_name, manager->boot_id, 0};
    HnStatsOrigin timed = origin;
    timed.unix_s = g_get_real_time() / G_USEC_PER_SEC;
    for (guint i = 0; i < statuses->len; i++) {
        const HnDomainStatus *status = &g_array_index(statuses, HnDomainStatus, i);
        HnGuest *guest = hn_guests_get(manager->guests, status->verdict->uuid);
        bool is_wanted = manager->config->is_stats_written && status->verdict->is_managed &&
                         !manager->is_dry_run && !guest->is_released;
        if (!is_wanted) {
            if (guest->stats_xml && !guest->is_stats_busy)
                hn_manager_write_stats(manager, guest, NULL);
            continue;
        }
        if (guest->is_stats_busy ||
            (guest->stats_written_ns &&
             now_ns - guest->stats_written_ns < manager->config->stats_interval_ns))
            continue;
        /* That the same figures are newer now is worth a write of libvirt's only once in a while. */
        g_autofree char *key = hn_status_to_xml(status, &origin);
        if (guest->stats_xml && g_strcmp0(key, guest->stats_key) == 0 &&
            now_ns - guest->stats_written_ns < STATS_TIMES_NS)
            continue;
        g_autofree char *xml = hn_status_to_xml(status, &timed);
        g_free(guest->stats_key);
        guest->stats_key = g_steal_pointer(&key);
        guest->stats_written_ns = now_ns;
        hn_manager_write_stats(manager, guest, xml);
    }
}

static void notify_supervisor(HnManager *manager)
{
    g_autofree char *state =
        g_strdup_printf("STATUS=%s", manager->plan->summary ? manager->plan->summary : "");
    hn_log_notify(state);
}

static void report(HnManager *manager, HnRound *round)
{
    g_autoptr(GArray) statuses = hn_manager_statuses(manager);
    note_quiet(manager);
    note_single_node(manager);
    hn_series_add(manager->series, g_get_real_time() / 1000, manager->plan,
                  (const HnDomainStatus *)statuses->data, statuses->len, manager->snapshot->host);
    write_due_stats(manager, statuses, round->now_ns);
    write_metrics_file(manager);
    save_past(manager, round->now_ns);
    notify_supervisor(manager);
    if (manager->control)
        hn_control_server_emit_round(manager->control);
    if (manager->once_func && --manager->once_rounds == 0)
        manager->once_func(hn_plan_to_json(manager->plan, manager->snapshot->host), NULL,
                           manager->once_data);
}

/* ---- When. ---- */

static gboolean on_round_due(gpointer data)
{
    HnManager *manager = data;
    manager->round_timer = 0;
    hn_manager_begin_round(manager);
    return G_SOURCE_REMOVE;
}

static gboolean on_event_due(gpointer data)
{
    HnManager *manager = data;
    manager->event_timer = 0;
    hn_manager_begin_round(manager);
    return G_SOURCE_REMOVE;
}

static void schedule_next(HnManager *manager)
{
    if (manager->is_stopping)
        return;
    if (manager->is_again) {
        hn_manager_request_round(manager);
        return;
    }
    if (manager->round_timer)
        return;
    /* A host with nothing to place wakes up for events only, and rarely to look whether that is
     * still so. */
    uint64_t ns = manager->is_single_node && !manager->once_func
                      ? manager->config->idle_interval_ns
                      : manager->config->round_interval_ns;
    manager->round_timer = g_timeout_add((guint)(ns / 1000000), on_round_due, manager);
}

void hn_manager_request_round(HnManager *manager)
{
    if (!manager->is_started || manager->is_stopping || manager->event_timer)
        return;
    if (manager->is_round_running) {
        manager->is_again = true;
        return;
    }
    manager->is_again = false;
    manager->event_timer =
        g_timeout_add((guint)(manager->config->event_delay_ns / 1000000), on_event_due, manager);
}

/* ---- State for others. ---- */

GArray *hn_manager_statuses(HnManager *manager)
{
    GArray *statuses = g_array_new(FALSE, TRUE, sizeof(HnDomainStatus));
    for (guint i = 0; manager->plan && i < manager->plan->verdicts->len; i++) {
        const HnVerdict *verdict = g_ptr_array_index(manager->plan->verdicts, i);
        const HnDomain *domain = hn_snapshot_find(manager->snapshot, verdict->uuid);
        const HnGuest *guest =
            domain ? hn_guests_want(manager->guests, domain->uuid, domain->name) : NULL;
        if (!guest)
            continue;
        HnDomainStatus status = {
            .host = manager->snapshot->host,
            .domain = domain,
            .verdict = verdict,
            .account = &guest->account,
            .now_ns = manager->snapshot->taken_ns,
            .is_held = guest->is_held || manager->is_host_held,
            .is_released = guest->is_released,
        };
        HnProgress progress;
        if (hn_actuator_progress(manager->actuator, verdict->uuid, &progress))
            status.moving = (HnMoving){progress.is_moving, progress.bytes_done,
                                       progress.bytes_total, progress.bytes_per_sec,
                                       progress.is_cold, progress.cold_bytes_done};
        g_array_append_val(statuses, status);
    }
    return statuses;
}

void hn_manager_remember(HnManager *manager, HnGuest *guest, HnHistoryKind kind, HnReason reason,
                         const char *sentence, uint64_t bytes)
{
    HnHistoryEntry entry = {
        .unix_s = g_get_real_time() / G_USEC_PER_SEC,
        .kind = kind,
        .name = guest->name,
        .reason = reason,
        .sentence = sentence,
        /* Of the last decision; what the operator wants his own words say. */
        .from = kind == HN_HISTORY_ADMIN ? NULL : guest->from,
        .to = kind == HN_HISTORY_ADMIN ? NULL : guest->to,
        .bytes = bytes,
        .score_now = guest->score_before,
        .score_after = guest->score_predicted,
        .generation = guest->generation,
    };
    g_strlcpy(entry.uuid, guest->uuid, sizeof entry.uuid);
    hn_history_add(manager->history, &entry);
    hn_guest_note(guest, reason, sentence, entry.unix_s);
}

void hn_manager_set_config(HnManager *manager, HnConfig *config)
{
    hn_actuator_set_limits(manager->actuator, &config->limits);
    hn_history_set_max(manager->history, config->history_entries);
    hn_recorder_set_max(manager->recorder, config->record_bytes);
    hn_hinting_reset(manager->hinting);
    hn_heat_reset(manager->heat);
    hn_config_free(manager->config);
    manager->config = config;
    /* A longer interval must not wait for the shorter one to end, nor the other way round. */
    g_clear_handle_id(&manager->round_timer, g_source_remove);
    hn_manager_request_round(manager);
}

bool hn_manager_reload(HnManager *manager, GError **error)
{
    HnConfig *config = hn_config_read(manager->config_file, manager->is_config_optional, error);
    if (!config)
        return false;
    if (manager->connect) {
        g_free(config->connect);
        config->connect = g_strdup(manager->connect);
    }
    g_autofree char *stale = hn_config_first_restart_difference(manager->config, config);
    if (stale)
        hn_log(LOG_WARNING, HN_MSG_CONFIG,
               "%s: %s has changed; that takes effect with the next start",
               manager->config_file, stale);
    hn_manager_set_config(manager, config);
    return true;
}

/* ---- Orders. ---- */

static void report_order(json_object *document, void *user_data)
{
    HnManager *manager = user_data;
    if (manager->control)
        hn_control_server_emit(manager->control, "JOB_PROGRESS", document);
    else
        json_object_put(document);
}

static gboolean on_order_tick(gpointer data)
{
    HnManager *manager = data;
    g_autoptr(GHashTable) in_flight = hn_manager_in_flight(manager);
    GHashTableIter iter;
    gpointer uuid;
    g_hash_table_iter_init(&iter, in_flight);
    while (g_hash_table_iter_next(&iter, &uuid, NULL)) {
        HnProgress progress;
        if (hn_actuator_progress(manager->actuator, uuid, &progress))
            hn_orders_progress(manager->orders, uuid, progress.bytes_done, progress.bytes_total,
                               progress.bytes_per_sec);
    }
    if (!manager->is_round_running)
        hn_orders_check(manager->orders, in_flight);
    hn_orders_report(manager->orders, report_order, manager);
    if (hn_orders_has_running(manager->orders))
        return G_SOURCE_CONTINUE;
    manager->order_timer = 0;
    return G_SOURCE_REMOVE;
}

void hn_manager_watch_orders(HnManager *manager)
{
    if (!manager->order_timer)
        manager->order_timer = g_timeout_add(ORDER_TICK_MS, on_order_tick, manager);
}
