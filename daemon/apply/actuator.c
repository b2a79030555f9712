/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door to acting; see actuator.h. Who may start is schedule.c's, what an action needs is work.c's.
 */
#include "actuator-private.h"

#include "restore.h"

#include <gio/gio.h>
#include <string.h>

/* Threads for pins, nodesets and restores. libvirt may hold one for 30 s per busy domain. */
#define N_CONTROL_THREADS 8

/* ---- results of other threads ---- */

void hn_result_free(HnResult *result, const HnSyscalls *sys)
{
    if (!result)
        return;
    if (result->job) {
        HnWork *work = result->job->owner;

        g_ptr_array_remove(work->running, result->job);
        hn_move_job_free(result->job, sys);
    }
    g_free(result->end.sentence);
    g_free(result);
}

void hn_actuator_post(HnActuator *actuator, HnResult *result)
{
    g_async_queue_push(actuator->results, result);
    g_source_set_ready_time(actuator->source, 0);
}

static gboolean dispatch_results(GSource *source, GSourceFunc callback, gpointer user_data)
{
    HnActuator *actuator = user_data;
    HnResult *result;

    g_source_set_ready_time(source, -1);
    while ((result = g_async_queue_try_pop(actuator->results)))
        hn_schedule_handle(actuator, result);
    return G_SOURCE_CONTINUE;
}

/* GLib passes the callback's data to dispatch; the source has no other use for it. */
static gboolean never_called(gpointer user_data)
{
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = {.dispatch = dispatch_results};

static void job_ended(HnMoveJob *job, void *user_data)
{
    HnResult *result = g_new0(HnResult, 1);

    result->kind = HN_RESULT_JOB;
    result->job = job;
    hn_actuator_post(user_data, result);
}

static HnEnd run_task(const HnControl *control, const HnControlTask *task)
{
    if (task->result == HN_RESULT_RESTORE)
        return hn_restore(control, task->uuid);
    if (task->result == HN_RESULT_OPENED)
        return hn_unfence(control, &task->work->identity);
    switch (task->work->action.kind) {
    case HN_ACTION_PIN:
        return hn_pin(control, &task->work->pin);
    case HN_ACTION_FENCE:
        return hn_fence(control, &task->work->fence);
    default:
        return hn_unfence(control, &task->work->identity);
    }
}

static void control_main(gpointer data, gpointer user_data)
{
    HnActuator *actuator = user_data;
    g_autofree HnControlTask *task = data;
    HnResult *result = g_new0(HnResult, 1);

    result->kind = task->result;
    result->work = task->work;
    g_strlcpy(result->uuid, task->uuid, sizeof(result->uuid));
    if (task->result == HN_RESULT_DOMAIN_JOB)
        result->domain_job = hn_job_watch_ask(&actuator->control, task->uuid);
    else
        result->end = run_task(&actuator->control, task);
    hn_actuator_post(actuator, result);
}

/* ---- making and freeing ---- */

static void domain_free(gpointer data)
{
    HnActDomain *domain = data;

    hn_target_unref(domain->target);
    g_free(domain->name);
    g_free(domain);
}

static void run_free(HnRun *run, const HnSyscalls *sys)
{
    for (guint i = 0; i < run->works->len; i++)
        hn_work_free(run->works->pdata[i], sys);
    g_ptr_array_unref(run->works);
    g_free(run);
}

/* GPtrArray frees its elements with one argument; ended works hold no descriptor, so any kernel will do. */
static void ended_run_free(gpointer data)
{
    run_free(data, hn_syscalls_kernel());
}

HnActuator *hn_actuator_new_full(HnBackend *backend, const HnRoot *root, HnJournal *journal, const HnLimits *limits,
                                 HnOutcomeFunc func, void *user_data, const HnSyscalls *syscalls)
{
    HnActuator *actuator = g_new0(HnActuator, 1);

    actuator->is_dry = !syscalls && !hn_root_is_live(root);
    actuator->control = (HnControl){
        .backend = backend,
        .root = root,
        .journal = journal,
        .sys = syscalls ? syscalls : hn_syscalls_kernel(),
    };
    actuator->func = func;
    actuator->user_data = user_data;
    actuator->domains = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, domain_free);
    actuator->runs = g_ptr_array_new_with_free_func(ended_run_free);
    actuator->results = g_async_queue_new();
    actuator->source = g_source_new(&source_funcs, sizeof(GSource));
    g_source_set_name(actuator->source, "actuator results");
    g_source_set_callback(actuator->source, never_called, actuator, NULL);
    g_source_attach(actuator->source, g_main_context_get_thread_default());
    actuator->movers = hn_movers_new(actuator->control.sys, root, limits, job_ended, actuator);
    actuator->pool = g_thread_pool_new(control_main, actuator, N_CONTROL_THREADS, FALSE, NULL);
    return actuator;
}

HnActuator *hn_actuator_new(HnBackend *backend, const HnRoot *root, HnJournal *journal, const HnLimits *limits,
                            HnOutcomeFunc func, void *user_data)
{
    return hn_actuator_new_full(backend, root, journal, limits, func, user_data, NULL);
}

void hn_actuator_free(HnActuator *actuator)
{
    HnResult *result;

    if (!actuator)
        return;
    hn_job_watch_stop(actuator);
    hn_movers_free(actuator->movers);
    g_thread_pool_free(actuator->pool, FALSE, TRUE);
    while ((result = g_async_queue_try_pop(actuator->results)))
        hn_result_free(result, actuator->control.sys);
    g_source_destroy(actuator->source);
    g_source_unref(actuator->source);
    g_ptr_array_unref(actuator->runs);
    g_hash_table_unref(actuator->domains);
    g_async_queue_unref(actuator->results);
    g_clear_error(&actuator->first_error);
    g_free(actuator);
}

HnActDomain *hn_actuator_domain(HnActuator *actuator, const char *uuid, const char *name)
{
    HnActDomain *domain = g_hash_table_lookup(actuator->domains, uuid);

    if (!domain) {
        domain = g_new0(HnActDomain, 1);
        g_strlcpy(domain->uuid, uuid, sizeof(domain->uuid));
        domain->target = hn_target_new();
        g_hash_table_insert(actuator->domains, domain->uuid, domain);
    }
    if (name && !domain->name)
        domain->name = g_strdup(name);
    return domain;
}

/* ---- plans ---- */

/* Domains that ended unseen (while libvirtd was away). */
static void drop_strangers(HnActuator *actuator, const HnSnapshot *snapshot)
{
    g_autoptr(GHashTable) busy = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_auto(GStrv) in_flight = hn_actuator_in_flight(actuator);
    GHashTableIter iter;
    gpointer value;

    for (guint i = 0; in_flight[i]; i++)
        g_hash_table_add(busy, g_strdup(in_flight[i]));
    g_hash_table_iter_init(&iter, actuator->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const HnActDomain *domain = value;

        if (!domain->is_paused && domain->job == HN_JOB_NONE && !domain->is_control_busy &&
            !g_hash_table_contains(busy, domain->uuid) && !hn_snapshot_find(snapshot, domain->uuid))
            g_hash_table_iter_remove(&iter);
    }
}

void hn_actuator_observe(HnActuator *actuator, const HnSnapshot *snapshot)
{
    const HnSyscalls *sys = actuator->control.sys;

    drop_strangers(actuator, snapshot);
    hn_movers_set_auto_rate(actuator->movers, hn_host_auto_move_bytes_per_sec(snapshot->host));
    for (guint i = 0; i < snapshot->domains->len; i++) {
        const HnDomain *domain = snapshot->domains->pdata[i];
        HnActDomain *known = hn_actuator_domain(actuator, domain->uuid, domain->name);

        known->is_stopped = false;
        hn_target_observe(known->target, domain, snapshot->taken_ns, sys->now_ns(sys->user_data));
    }
}

void hn_actuator_submit(HnActuator *actuator, const HnPlan *plan, const HnSnapshot *snapshot)
{
    const bool is_stale = plan->generation < actuator->last_generation;
    HnRun *run;

    hn_actuator_observe(actuator, snapshot);
    if (plan->actions->len == 0)
        return;
    run = g_new0(HnRun, 1);
    run->generation = plan->generation;
    run->works = g_ptr_array_new();
    actuator->last_generation = MAX(actuator->last_generation, plan->generation);
    for (guint i = 0; i < plan->actions->len; i++) {
        const HnAction *action = &g_array_index(plan->actions, HnAction, i);
        const HnDomain *domain = hn_snapshot_find(snapshot, action->uuid);
        HnActDomain *known = hn_actuator_domain(actuator, action->uuid, domain ? domain->name : NULL);
        HnWork *work = hn_work_new(action, plan->generation, snapshot->host, domain,
                                   hn_plan_find(plan, action->uuid), known->target);

        if (is_stale)
            hn_work_note(work, HN_REASON_SUPERSEDED, "a newer plan is already under way");
        else if (actuator->is_dry)
            hn_work_note(work, HN_REASON_ADVISE_ONLY, "this is a captured machine: nothing is done");
        g_ptr_array_add(run->works, work);
        if (!is_stale)
            hn_schedule_stop_domain(actuator, action->uuid, plan->generation, HN_REASON_SUPERSEDED,
                                    "overtaken by a newer plan");
    }
    g_ptr_array_add(actuator->runs, run);
    hn_schedule_advance(actuator);
}

static gint compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

char **hn_actuator_in_flight(HnActuator *actuator)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GPtrArray *uuids = g_ptr_array_new();
    GHashTableIter iter;
    gpointer key, value;

    for (guint i = 0; i < actuator->runs->len; i++) {
        HnRun *run = actuator->runs->pdata[i];

        for (guint k = 0; k < run->works->len; k++) {
            HnWork *work = run->works->pdata[k];

            if (work->state != HN_WORK_ENDED)
                g_hash_table_add(seen, work->action.uuid);
        }
    }
    g_hash_table_iter_init(&iter, actuator->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        if (((HnActDomain *)value)->wants_release)
            g_hash_table_add(seen, ((HnActDomain *)value)->uuid);
    }
    g_hash_table_iter_init(&iter, seen);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        g_ptr_array_add(uuids, g_strdup(key));
    g_ptr_array_sort(uuids, compare_strings);
    g_ptr_array_add(uuids, NULL);
    return (char **)g_ptr_array_free(uuids, FALSE);
}

bool hn_actuator_progress(HnActuator *actuator, const char *uuid, HnProgress *ret_progress)
{
    HnActDomain *domain = g_hash_table_lookup(actuator->domains, uuid);

    if (!domain || !hn_target_progress(domain->target, ret_progress))
        return false;
    if (ret_progress->is_moving && actuator->is_paused)
        ret_progress->reason = HN_REASON_PAUSED_BY_ADMIN;
    return true;
}

void hn_actuator_call_times(HnActuator *actuator, HnCallTimes *ret_times)
{
    hn_movers_call_times(actuator->movers, ret_times);
}

/* ---- pausing, limits ---- */

void hn_actuator_set_paused(HnActuator *actuator, const char *uuid, bool is_paused)
{
    if (uuid) {
        HnActDomain *domain = hn_actuator_domain(actuator, uuid, NULL);

        domain->is_paused = is_paused;
        hn_target_set_held(domain->target, is_paused);
        hn_movers_wake(actuator->movers);
    } else {
        actuator->is_paused = is_paused;
        hn_movers_set_held(actuator->movers, is_paused);
    }
    hn_schedule_advance(actuator);
}

bool hn_actuator_is_paused(HnActuator *actuator, const char *uuid)
{
    HnActDomain *domain = uuid ? g_hash_table_lookup(actuator->domains, uuid) : NULL;

    return uuid ? domain && domain->is_paused : actuator->is_paused;
}

void hn_actuator_set_limits(HnActuator *actuator, const HnLimits *limits)
{
    hn_movers_set_limits(actuator->movers, limits);
}

/* ---- what happens to domains ---- */

void hn_actuator_job_began(HnActuator *actuator, const char *uuid, HnJob job)
{
    const bool is_migration = job == HN_JOB_MIGRATION;

    hn_actuator_domain(actuator, uuid, NULL)->job = job;
    if (job != HN_JOB_NONE)
        hn_schedule_stop_domain(actuator, uuid, UINT64_MAX,
                                is_migration ? HN_REASON_MIGRATING : HN_REASON_DOMAIN_BUSY,
                                is_migration ? "a migration of the domain began"
                                             : "a save, dump, snapshot or backup of the domain began");
    hn_schedule_advance(actuator);
}

void hn_actuator_job_ended(HnActuator *actuator, const char *uuid)
{
    HnActDomain *domain = g_hash_table_lookup(actuator->domains, uuid);

    if (domain)
        domain->job = HN_JOB_NONE;
}

void hn_actuator_domain_stopped(HnActuator *actuator, const char *uuid)
{
    HnActDomain *domain = g_hash_table_lookup(actuator->domains, uuid);
    g_autoptr(GError) error = NULL;

    if (!hn_journal_forget(actuator->control.journal, uuid, &error))
        g_warning("domain %s ended: %s", uuid, error->message);
    if (!domain)
        return;
    domain->is_stopped = true;
    domain->job = HN_JOB_NONE;
    domain->is_paused = false;
    hn_target_set_held(domain->target, false);
    hn_schedule_stop_domain(actuator, uuid, UINT64_MAX, HN_REASON_VANISHED, "the domain has ended");
    hn_schedule_advance(actuator);
}

bool hn_actuator_owns_pin(HnActuator *actuator, const char *uuid, const char *key, const HnCpuset *cpus)
{
    return hn_journal_owns_pin(actuator->control.journal, uuid, key, cpus);
}

bool hn_actuator_note_tunable(HnActuator *actuator, const char *uuid, const char *key, const char *value)
{
    const HnActDomain *domain = g_hash_table_lookup(actuator->domains, uuid);
    HnPieceKind kind;
    HnCpuset cpus;
    uint32_t id;

    if (domain && domain->wants_release)
        return false; /* our own restore is told too, while the pieces are in the journal still */
    if (!key || !value || !hn_journal_parse_key(key, &kind, &id) ||
        !hn_cpuset_parse(value, strlen(value), &cpus, NULL) ||
        hn_journal_owns_pin(actuator->control.journal, uuid, key, &cpus))
        return false;
    return hn_journal_yield(actuator->control.journal, uuid, kind, id);
}

/* ---- release ---- */

void hn_actuator_release(HnActuator *actuator, const char *uuid)
{
    HnActDomain *domain = hn_actuator_domain(actuator, uuid, NULL);

    if (actuator->is_dry)
        return; /* nothing was ever changed through this actuator */
    domain->wants_release = true;
    hn_schedule_stop_domain(actuator, uuid, UINT64_MAX, HN_REASON_RELEASED, "the domain is being released");
    hn_schedule_advance(actuator);
}

void hn_actuator_release_all(HnActuator *actuator)
{
    g_auto(GStrv) journalled = hn_journal_list(actuator->control.journal);
    g_auto(GStrv) in_flight = hn_actuator_in_flight(actuator);

    for (guint i = 0; journalled[i]; i++)
        hn_actuator_release(actuator, journalled[i]);
    for (guint i = 0; in_flight[i]; i++)
        hn_actuator_release(actuator, in_flight[i]);
}

static bool is_releasing(HnActuator *actuator, const char *uuid)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, actuator->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const HnActDomain *domain = value;

        if (domain->wants_release && (!uuid || strcmp(domain->uuid, uuid) == 0))
            return true;
    }
    return false;
}

bool hn_actuator_release_wait(HnActuator *actuator, const char *uuid, uint64_t timeout_ns, GError **error)
{
    const gint64 deadline_us = g_get_monotonic_time() + (gint64)(timeout_ns / 1000);
    g_autoptr(GError) first = NULL;

    g_clear_error(&actuator->first_error);
    if (uuid)
        hn_actuator_release(actuator, uuid);
    else
        hn_actuator_release_all(actuator);
    while (is_releasing(actuator, uuid)) {
        const gint64 left_us = deadline_us - g_get_monotonic_time();
        HnResult *result =
            left_us > 0 ? g_async_queue_timeout_pop(actuator->results, (guint64)left_us) : NULL;

        if (!result) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                        "not everything was restored within %.1f s; the journal has the rest",
                        (double)timeout_ns / 1e9);
            return false;
        }
        hn_schedule_handle(actuator, result);
    }
    /* What the restores had to tell is in the queue still. */
    dispatch_results(actuator->source, NULL, actuator);
    first = g_steal_pointer(&actuator->first_error);
    if (!uuid)
        hn_journal_restore_sysctls(actuator->control.journal, actuator->control.root, first ? NULL : &first);
    if (!first)
        return true;
    g_propagate_error(error, g_steal_pointer(&first));
    return false;
}
