/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may start and who has ended; the state machine in actuator.h. Runs in the actuator's thread only.
 *
 * Must not: block, or call the outcome function from anywhere but hn_schedule_handle().
 */
#include "actuator-private.h"

#include <gio/gio.h>
#include <string.h>

#define MIB (1024.0 * 1024)

static HnActDomain *domain_of(HnActuator *actuator, const HnWork *work)
{
    return g_hash_table_lookup(actuator->domains, work->action.uuid);
}

/* ---- ending ---- */

static void post_outcome(HnActuator *actuator, const HnOutcome *outcome, const char *sentence)
{
    HnResult *result = g_new0(HnResult, 1);

    result->kind = HN_RESULT_OUTCOME;
    result->outcome = *outcome;
    result->end.sentence = g_strdup(sentence);
    hn_actuator_post(actuator, result);
}

/* The work is over: told once. */
static void end_work(HnActuator *actuator, HnWork *work)
{
    HnActDomain *domain = domain_of(actuator, work);
    HnOutcome outcome = {
        .generation = work->generation,
        .kind = work->action.kind,
        .client = work->action.client,
        .reason = work->reason,
        .bytes_moved = work->moved_bytes,
        .bytes_left = work->left_bytes,
        .to_node = work->to_node,
    };

    g_strlcpy(outcome.uuid, work->action.uuid, sizeof(outcome.uuid));
    /* Of a part of a domain the plan tells how much, not which pages: what could not be found is no more to be had
     * than what would not move, and must not be asked for again and again. */
    if (work->is_divided && work->reason == HN_REASON_DONE && work->moved_bytes < work->action.bytes)
        outcome.bytes_left = work->action.bytes - work->moved_bytes;
    if (work->state == HN_WORK_RUNNING)
        domain->n_running--;
    if (work->has_begun)
        hn_target_end(domain->target, work->left_bytes);
    work->state = HN_WORK_ENDED;
    post_outcome(actuator, &outcome, work->sentence ? work->sentence : "");
}

/* May a later step of the domain go on? Also the next slice after one that found less room than planned, if something
 * moved: what the others free meanwhile is room for it, and it looks for itself. */
static bool lets_go_on(const HnWork *work, const HnWork *later)
{
    return hn_reason_is_success(work->reason) ||
           (work->reason == HN_REASON_NODE_FULL && work->moved_bytes > 0 &&
            work->action.kind == HN_ACTION_MOVE_MEMORY && later->action.kind == HN_ACTION_MOVE_MEMORY);
}

/* The same; if it failed, the later steps of that domain in that plan fall with it. */
static void end_work_and_followers(HnActuator *actuator, HnWork *work)
{
    end_work(actuator, work);
    for (guint i = 0; i < actuator->runs->len; i++) {
        HnRun *run = actuator->runs->pdata[i];

        for (guint k = 0; run->generation == work->generation && k < run->works->len; k++) {
            HnWork *later = run->works->pdata[k];
            g_autofree char *sentence = NULL;

            if (later->state != HN_WORK_WAITING || lets_go_on(work, later) || later->action.step <= work->action.step ||
                strcmp(later->action.uuid, work->action.uuid) != 0)
                continue;
            sentence = g_strdup_printf("not tried, because %s failed: %s", hn_action_kind_name(work->action.kind),
                                       work->sentence);
            hn_work_note(later, work->reason, sentence);
            end_work(actuator, later);
        }
    }
}

void hn_schedule_stop_work(HnActuator *actuator, HnWork *work, HnReason reason, const char *sentence)
{
    if (work->state == HN_WORK_WAITING) {
        work->reason = reason;
        g_free(work->sentence);
        work->sentence = g_strdup(sentence);
        end_work(actuator, work);
        return;
    }
    /* A control call ends by itself; what it has done is told as it is. */
    for (guint i = 0; i < work->running->len; i++) {
        HnMoveJob *job = work->running->pdata[i];

        g_atomic_int_set(&job->cancel_reason, (gint)reason);
    }
    for (guint i = 0; i < work->jobs->len; i++) {
        HnMoveJob *job = work->jobs->pdata[i];

        g_atomic_int_set(&job->cancel_reason, (gint)reason);
    }
}

void hn_schedule_stop_domain(HnActuator *actuator, const char *uuid, uint64_t before, HnReason reason,
                             const char *sentence)
{
    for (guint i = 0; i < actuator->runs->len; i++) {
        HnRun *run = actuator->runs->pdata[i];

        for (guint k = 0; run->generation < before && k < run->works->len; k++) {
            HnWork *work = run->works->pdata[k];

            if (work->state != HN_WORK_ENDED && strcmp(work->action.uuid, uuid) == 0)
                hn_schedule_stop_work(actuator, work, reason, sentence);
        }
    }
    hn_movers_wake(actuator->movers);
}

/* ---- starting ---- */

static void push_control(HnActuator *actuator, HnActDomain *domain, HnResultKind result, HnWork *work)
{
    HnControlTask *task = g_new0(HnControlTask, 1);

    task->result = result;
    task->work = work;
    g_strlcpy(task->uuid, domain->uuid, sizeof(task->uuid));
    domain->is_control_busy = true;
    g_thread_pool_push(actuator->pool, task, NULL);
}

static void push_jobs(HnActuator *actuator, HnActDomain *domain, HnWork *work)
{
    hn_target_begin(domain->target, work->action.bytes);
    work->has_begun = true;
    /* First all into `running`: the first may come back before the last is queued. */
    for (guint i = 0; i < work->jobs->len; i++)
        g_ptr_array_add(work->running, work->jobs->pdata[i]);
    for (guint i = 0; i < work->jobs->len; i++)
        hn_movers_push(actuator->movers, work->jobs->pdata[i]);
    g_ptr_array_set_size(work->jobs, 0);
    hn_job_watch_start(actuator);
}

/* May a fence of ours be in the way of memory that shall move? Also the one before the last: a daemon killed
 * between writing down that it opens the fence and doing it leaves it closed. (Opening one that is open costs a
 * look.) */
static bool is_fenced_off(HnActuator *actuator, const HnWork *work)
{
    HnPiece piece;

    return work->action.kind == HN_ACTION_MOVE_MEMORY &&
           hn_journal_lookup(actuator->control.journal, work->action.uuid, HN_PIECE_NODESET, 0, &piece) &&
           piece.has_set && !piece.is_yielded &&
           (!hn_cpuset_is_subset(&work->to_node_ids, &piece.set) ||
            (piece.has_previous && !hn_cpuset_is_subset(&work->to_node_ids, &piece.previous)));
}

/* Work of an older plan for the same domain still has to come back. */
static bool is_older_running(HnActuator *actuator, const HnWork *work)
{
    for (guint i = 0; i < actuator->runs->len; i++) {
        HnRun *run = actuator->runs->pdata[i];

        for (guint k = 0; run->generation < work->generation && k < run->works->len; k++) {
            const HnWork *other = run->works->pdata[k];

            if (other->state == HN_WORK_RUNNING && strcmp(other->action.uuid, work->action.uuid) == 0)
                return true;
        }
    }
    return false;
}

/* True if something changed (started or ended). */
static bool try_start(HnActuator *actuator, HnWork *work)
{
    HnActDomain *domain = domain_of(actuator, work);

    if (work->reason == HN_REASON_IN_PROGRESS && domain->job != HN_JOB_NONE)
        hn_work_note(work, domain->job == HN_JOB_MIGRATION ? HN_REASON_MIGRATING : HN_REASON_DOMAIN_BUSY,
                     "a job of the domain is in progress");
    if (work->reason == HN_REASON_IN_PROGRESS && domain->wants_release)
        hn_work_note(work, HN_REASON_RELEASED, "the domain is being released");
    if (work->reason != HN_REASON_IN_PROGRESS) {
        end_work_and_followers(actuator, work);
        return true;
    }
    if (actuator->is_paused || domain->is_paused || is_older_running(actuator, work))
        return false;
    if (work->action.kind != HN_ACTION_MOVE_MEMORY || is_fenced_off(actuator, work)) {
        if (domain->is_control_busy)
            return false;
        push_control(actuator, domain,
                     work->action.kind == HN_ACTION_MOVE_MEMORY ? HN_RESULT_OPENED : HN_RESULT_CONTROL, work);
    } else {
        push_jobs(actuator, domain, work);
    }
    work->state = HN_WORK_RUNNING;
    domain->n_running++;
    return true;
}

/* One plan as far as it goes. True if something changed. */
static bool advance_run(HnActuator *actuator, HnRun *run)
{
    uint32_t step = UINT32_MAX;
    bool has_changed = false;

    for (guint i = 0; i < run->works->len; i++) {
        const HnWork *work = run->works->pdata[i];

        if (work->state != HN_WORK_ENDED)
            step = MIN(step, work->action.step);
    }
    for (guint i = 0; i < run->works->len; i++) {
        HnWork *work = run->works->pdata[i];

        if (work->state == HN_WORK_WAITING && work->action.step == step)
            has_changed |= try_start(actuator, work);
    }
    return has_changed;
}

static bool is_over(const HnRun *run)
{
    for (guint i = 0; i < run->works->len; i++) {
        if (((const HnWork *)run->works->pdata[i])->state != HN_WORK_ENDED)
            return false;
    }
    return true;
}

static void advance_domains(HnActuator *actuator)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, actuator->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        HnActDomain *domain = value;

        if (domain->n_running > 0 || domain->is_control_busy)
            continue;
        if (domain->wants_release)
            push_control(actuator, domain, HN_RESULT_RESTORE, NULL);
        else if (domain->is_stopped)
            g_hash_table_iter_remove(&iter);
    }
}

void hn_schedule_advance(HnActuator *actuator)
{
    bool has_changed;

    do {
        has_changed = false;
        for (guint i = 0; i < actuator->runs->len; i++)
            has_changed |= advance_run(actuator, actuator->runs->pdata[i]);
    } while (has_changed);
    for (guint i = actuator->runs->len; i > 0; i--) {
        if (is_over(actuator->runs->pdata[i - 1]))
            g_ptr_array_remove_index(actuator->runs, i - 1);
    }
    advance_domains(actuator);
}

/* ---- results ---- */

static void take_job(HnActuator *actuator, HnMoveJob *job)
{
    HnWork *work = job->owner;
    HnMoveResult result;

    hn_move_result(job->move, &result);
    work->moved_bytes += result.moved_bytes;
    work->left_bytes += result.left_bytes;
    hn_work_note(work, result.reason, result.sentence);
    g_ptr_array_remove(work->running, job);
    hn_move_job_free(job, actuator->control.sys);
    if (work->running->len > 0)
        return;
    if (work->immovable_bytes > 0) {
        g_autofree char *sentence = g_strdup_printf("%s; %.1f MiB cannot move", work->sentence,
                                                    work->immovable_bytes / MIB);

        work->left_bytes += work->immovable_bytes;
        hn_work_note(work, HN_REASON_DONE_WITH_RESIDUE, sentence);
    }
    end_work_and_followers(actuator, work);
}

static void take_control(HnActuator *actuator, HnResult *result)
{
    HnWork *work = result->work;
    HnActDomain *domain = domain_of(actuator, work);

    domain->is_control_busy = false;
    if (result->kind == HN_RESULT_OPENED && hn_reason_is_success(result->end.reason)) {
        push_jobs(actuator, domain, work);
        return;
    }
    hn_work_note(work, result->end.reason, result->end.sentence);
    end_work_and_followers(actuator, work);
}

static void take_restore(HnActuator *actuator, const HnResult *result)
{
    HnActDomain *domain = g_hash_table_lookup(actuator->domains, result->uuid);
    HnOutcome outcome = {.kind = HN_ACTION_UNFENCE, .reason = result->end.reason, .to_node = HN_NODE_NONE};

    domain->is_control_busy = false;
    domain->wants_release = false;
    g_strlcpy(outcome.uuid, result->uuid, sizeof(outcome.uuid));
    if (result->end.reason != HN_REASON_RELEASED && result->end.reason != HN_REASON_VANISHED &&
        !actuator->first_error)
        actuator->first_error = g_error_new(G_IO_ERROR, G_IO_ERROR_FAILED, "%s: %s",
                                            domain->name ? domain->name : domain->uuid, result->end.sentence);
    post_outcome(actuator, &outcome, result->end.sentence);
}

void hn_schedule_handle(HnActuator *actuator, HnResult *result)
{
    switch (result->kind) {
    case HN_RESULT_JOB:
        take_job(actuator, g_steal_pointer(&result->job));
        break;
    case HN_RESULT_CONTROL:
    case HN_RESULT_OPENED:
        take_control(actuator, result);
        break;
    case HN_RESULT_RESTORE:
        take_restore(actuator, result);
        break;
    case HN_RESULT_DOMAIN_JOB:
        hn_job_watch_take(actuator, result);
        break;
    case HN_RESULT_OUTCOME:
        if (actuator->func)
            actuator->func(&result->outcome, result->end.sentence, actuator->user_data);
        break;
    }
    if (result->kind != HN_RESULT_OUTCOME)
        hn_schedule_advance(actuator);
    hn_result_free(result, actuator->control.sys);
}
