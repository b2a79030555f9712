/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One round: see round.h.
 *
 * What the operator said since (pause, release, dry run), and what failed, is laid over the
 * snapshot and the plan here and nowhere else: a dry run and a release change the wish before the
 * decision, so that the decision, its record and its replay agree; a held domain is shown to the
 * decision as one whose actions are still under way, which is planned around and whose past does
 * not change; so is one whose last action failed and is not to be tried again yet.
 */
#include "round.h"
#include "heat.h"
#include "observe/faults.h"
#include "recorder.h"
#include "report/plan_json.h"

#include <string.h>

static void waiting_free(gpointer data)
{
    HnWaiting *waiting = data;
    g_free(waiting->sentence);
    g_free(waiting);
}

HnRound *hn_round_new(HnBackend *backend, HnObserver *observer, uint64_t now_ns)
{
    HnRound *round = g_new0(HnRound, 1);
    round->backend = backend;
    round->observer = observer;
    round->now_ns = now_ns;
    hn_observe_options_init(&round->observe, now_ns);
    hn_policy_init(&round->policy);
    round->forces = g_array_new(FALSE, TRUE, sizeof(HnForce));
    round->outcomes = g_array_new(FALSE, TRUE, sizeof(HnOutcome));
    round->in_flight = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    round->held = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    round->released = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    round->wishes = g_array_new(FALSE, TRUE, sizeof(HnObserveWish));
    round->dirty = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    round->waiting = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, waiting_free);
    return round;
}

void hn_round_add_waiting(HnRound *round, const char *uuid, HnReason reason, const char *sentence,
                          uint64_t wait_ns)
{
    HnWaiting *waiting = g_new0(HnWaiting, 1);
    *waiting = (HnWaiting){reason, g_strdup(sentence), wait_ns};
    g_hash_table_insert(round->waiting, g_strdup(uuid), waiting);
}

static void alternative_free(gpointer data)
{
    HnAlternative *alternative = data;
    hn_plan_free(alternative->plan);
    g_free(alternative);
}

void hn_round_free(HnRound *round)
{
    if (!round)
        return;
    g_strfreev(round->fresh);
    g_strfreev(round->touched);
    hn_past_free(round->past);
    g_array_unref(round->forces);
    g_array_unref(round->outcomes);
    g_hash_table_unref(round->in_flight);
    g_hash_table_unref(round->held);
    g_hash_table_unref(round->released);
    g_hash_table_unref(round->waiting);
    g_array_unref(round->wishes);
    g_hash_table_unref(round->dirty);
    g_clear_pointer(&round->heat, g_hash_table_unref);
    g_free(round->explain_uuid);
    g_clear_error(&round->error);
    hn_snapshot_free(round->snapshot);
    hn_plan_free(round->plan);
    g_clear_pointer(&round->alternatives, g_ptr_array_unref);
    g_clear_pointer(&round->record, g_bytes_unref);
    json_object_put(round->document);
    g_free(round);
}

static bool observe(HnRound *round)
{
    g_autoptr(GPtrArray) infos = NULL;
    if (!round->backend->ops->list(round->backend, &infos, &round->error))
        return false;
    /* Who asks explicitly gets an answer from what is there now. */
    bool is_now = round->forces->len > 0 || round->explain_uuid;
    if (is_now)
        round->observe.probe_max_age_ns = 0;
    for (guint i = 0; is_now && i < round->wishes->len; i++)
        g_array_index(round->wishes, HnObserveWish, i).probe_max_age_ns = 0;
    round->observe.wishes = (const HnObserveWish *)round->wishes->data;
    round->observe.n_wishes = round->wishes->len;
    round->observe.fresh_uuids = (const char *const *)round->fresh;
    round->observe.touch_uuids = (const char *const *)round->touched;
    round->snapshot = hn_observer_observe(round->observer, infos, &round->observe, &round->error);
    return round->snapshot != NULL;
}

/* Write intensity is measured beside the rounds. */
static void add_dirty_rates(HnRound *round)
{
    for (guint i = 0; i < round->snapshot->domains->len; i++) {
        HnDomain *domain = g_ptr_array_index(round->snapshot->domains, i);
        const HnDirtyKept *kept = g_hash_table_lookup(round->dirty, domain->uuid);
        if (!kept || kept->measured_ns > round->now_ns)
            continue;
        domain->dirty_bytes_per_sec = kept->bytes_per_sec;
        domain->dirty_age_ns = round->now_ns - kept->measured_ns;
    }
}

/* What DAMON told of a domain since the round before, and earlier. */
static void add_heat(HnRound *round)
{
    for (guint i = 0; round->heat && i < round->snapshot->domains->len; i++) {
        HnDomain *domain = g_ptr_array_index(round->snapshot->domains, i);
        const HnHeatKept *kept = g_hash_table_lookup(round->heat, domain->uuid);
        if (kept)
            hn_heat_kept_lay(kept, round->now_ns, domain);
    }
}

static bool is_held(const HnRound *round, const HnDomain *domain)
{
    return round->is_host_held || g_hash_table_contains(round->held, domain->uuid);
}

/* Of the domains in doubt, those that hinting could tell something about, and for whose sake the
 * host may be changed: not for one that is only to be advised on, nor while the operator wants rest. */
static void count_doubtful(HnRound *round)
{
    for (guint i = 0; i < round->plan->verdicts->len; i++) {
        const HnVerdict *verdict = g_ptr_array_index(round->plan->verdicts, i);
        const HnDomain *domain = g_ptr_array_index(round->snapshot->domains, i); /* same order */
        if (verdict->is_managed && verdict->doubt.wants_hinting &&
            domain->wish.mode == HN_MODE_AUTO && !is_held(round, domain) &&
            hn_faults_can_be_switched_on(
                hn_observer_no_faults_reason(round->observer, verdict->uuid)))
            round->n_doubtful++;
    }
}

static void override_wishes(HnRound *round)
{
    for (guint i = 0; i < round->snapshot->domains->len; i++) {
        HnDomain *domain = g_ptr_array_index(round->snapshot->domains, i);
        HnMode mode = domain->wish.mode;
        if (g_hash_table_contains(round->released, domain->uuid) && mode == HN_MODE_AUTO)
            domain->wish.mode = HN_MODE_OFF;
        else if (round->is_dry_run && mode == HN_MODE_AUTO)
            domain->wish.mode = HN_MODE_ADVISE;
    }
}

static bool is_forced(const HnRound *round, const char *uuid)
{
    for (guint i = 0; i < round->forces->len; i++)
        if (strcmp(g_array_index(round->forces, HnForce, i).uuid, uuid) == 0)
            return true;
    return false;
}

static gint compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Domains to be planned around. One that the operator forces is planned anew even if it is moving:
 * the new plan overtakes the old. Ascending, so that a record is the same for the same round. */
static char **list_in_flight(const HnRound *round)
{
    g_autoptr(GPtrArray) uuids = g_ptr_array_new();
    for (guint i = 0; i < round->snapshot->domains->len; i++) {
        const HnDomain *domain = g_ptr_array_index(round->snapshot->domains, i);
        bool is_moving = g_hash_table_contains(round->in_flight, domain->uuid) ||
                         g_hash_table_contains(round->waiting, domain->uuid);
        if (is_held(round, domain) || (is_moving && !is_forced(round, domain->uuid)))
            g_ptr_array_add(uuids, g_strdup(domain->uuid));
    }
    g_ptr_array_sort(uuids, compare_strings);
    g_ptr_array_add(uuids, NULL);
    return (char **)g_ptr_array_steal(uuids, NULL);
}

static void say(HnVerdict *verdict, HnReason reason, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void say(HnVerdict *verdict, HnReason reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_free(verdict->sentence);
    verdict->sentence = g_strdup_vprintf(format, args);
    va_end(args);
    verdict->reason = reason;
}

static void override_verdicts(HnRound *round)
{
    for (guint i = 0; i < round->snapshot->domains->len; i++) {
        const HnDomain *domain = g_ptr_array_index(round->snapshot->domains, i);
        HnVerdict *verdict = hn_plan_find(round->plan, domain->uuid);
        if (!verdict)
            continue;
        const HnWaiting *waiting = g_hash_table_lookup(round->waiting, domain->uuid);
        if (g_hash_table_contains(round->released, domain->uuid) &&
            verdict->reason == HN_REASON_MODE_OFF)
            say(verdict, HN_REASON_RELEASED,
                "Released by the operator; 'homenode rebalance %s' or 'homenode enable %s' takes "
                "it back.",
                domain->name, domain->name);
        else if (is_held(round, domain) && verdict->is_managed)
            say(verdict, HN_REASON_PAUSED_BY_ADMIN,
                "Paused by the operator; 'homenode resume%s%s' ends it.",
                round->is_host_held ? "" : " ", round->is_host_held ? "" : domain->name);
        else if (waiting && verdict->reason == HN_REASON_IN_PROGRESS)
            say(verdict, waiting->reason,
                "%s; tried again in %" G_GUINT64_FORMAT " s or when something changes.",
                waiting->sentence, waiting->wait_ns / 1000000000 + 1);
    }
}

static HnPlan *decide(const HnRound *round, HnPast *past, const GArray *forces, char **in_flight,
                      GError **error)
{
    return hn_decide(round->snapshot, &round->policy, past, (const HnForce *)forces->data,
                     forces->len, (const HnOutcome *)round->outcomes->data, round->outcomes->len,
                     (const char *const *)in_flight, error);
}

static void find_alternatives(HnRound *round, char **in_flight)
{
    HnNodemask homes = hn_host_home_nodes(round->snapshot->host);
    g_autoptr(GArray) forces = g_array_new(FALSE, TRUE, sizeof(HnForce));

    round->no_faults_because = hn_observer_no_faults_reason(round->observer, round->explain_uuid);
    round->alternatives = g_ptr_array_new_with_free_func(alternative_free);
    for (int32_t node = 0; node < (int32_t)round->snapshot->host->n_nodes; node++) {
        if (!(homes >> node & 1))
            continue;
        HnForce force = {.node = node};
        g_strlcpy(force.uuid, round->explain_uuid, sizeof force.uuid);
        g_array_set_size(forces, 0);
        g_array_append_val(forces, force);
        g_autoptr(HnPast) past = hn_past_copy(round->past);
        HnAlternative *alternative = g_new0(HnAlternative, 1);
        alternative->node = node;
        alternative->plan = decide(round, past, forces, in_flight, NULL);
        g_ptr_array_add(round->alternatives, alternative);
    }
}

static void record(HnRound *round, char *past_before, char **in_flight)
{
    HnRoundRecord view = {
        .policy = round->policy,
        .past = past_before,
        .forces = round->forces,
        .outcomes = round->outcomes,
        .in_flight = in_flight,
        .snapshot = round->snapshot,
        .plan = hn_plan_to_json(round->plan, round->snapshot->host),
    };
    json_object *document = hn_round_record_to_json(&view);
    json_object_put(view.plan);
    if (round->is_recorded)
        round->record = hn_recorder_pack(document);
    if (round->with_document)
        round->document = json_object_get(document);
    json_object_put(document);
}

void hn_round_run(HnRound *round)
{
    gint64 began_us = g_get_monotonic_time();
    if (observe(round)) {
        override_wishes(round);
        add_dirty_rates(round);
        add_heat(round);
        bool is_kept = round->is_recorded || round->with_document;
        g_autofree char *past_before = is_kept ? hn_past_format(round->past) : NULL;
        g_auto(GStrv) in_flight = list_in_flight(round);
        if (round->explain_uuid)
            find_alternatives(round, in_flight);
        round->plan = decide(round, round->past, round->forces, in_flight, &round->error);
        if (round->plan) {
            count_doubtful(round);
            if (is_kept)
                record(round, past_before, in_flight);
            override_verdicts(round);
        }
    }
    round->took_ns = (uint64_t)(g_get_monotonic_time() - began_us) * 1000;
}
