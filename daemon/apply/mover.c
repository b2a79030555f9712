/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mover threads, their queues and limits; see mover.h, and mover-step.c for what is done with a job.
 */
#include "mover-private.h"

/* The least that hn_host_auto_move_bytes_per_sec() can say. */
#define DEFAULT_AUTO_BYTES_PER_SEC (1ull << 30)

/* ---- jobs ---- */

HnMoveJob *hn_move_job_new(void *owner, HnTarget *target, int64_t pid, uint64_t start_ticks, HnMove *move)
{
    HnMoveJob *job = g_new0(HnMoveJob, 1);

    job->owner = owner;
    job->target = hn_target_ref(target);
    job->pid = pid;
    job->start_ticks = start_ticks;
    job->move = move;
    job->cancel_reason = HN_REASON_IN_PROGRESS;
    job->pidfd = -1;
    return job;
}

void hn_move_job_free(HnMoveJob *job, const HnSyscalls *sys)
{
    if (!job)
        return;
    if (job->pidfd >= 0)
        sys->close(sys->user_data, job->pidfd);
    hn_target_unref(job->target);
    hn_move_free(job->move);
    g_free(job);
}

/* ---- the thread ---- */

static bool is_cancelled(HnMoveJob *job)
{
    return g_atomic_int_get(&job->cancel_reason) != HN_REASON_IN_PROGRESS;
}

/* The first job that may run or has to end, cold ones last; else NULL and the time of the earliest that may, 0
 * if there is none. */
static HnMoveJob *choose(const HnMovers *movers, const HnMover *mover, uint64_t now, uint64_t *ret_earliest_ns)
{
    HnMoveJob *cold = NULL;

    *ret_earliest_ns = 0;
    for (GList *link = mover->queue.head; link; link = link->next) {
        HnMoveJob *job = link->data;

        if (movers->is_stopping || mover->is_full || is_cancelled(job))
            return job;
        if (movers->is_held || hn_target_is_held(job->target))
            continue;
        if (job->not_before_ns <= now && !job->is_cold)
            return job;
        if (job->not_before_ns <= now)
            cold = cold ? cold : job;
        else if (*ret_earliest_ns == 0 || job->not_before_ns < *ret_earliest_ns)
            *ret_earliest_ns = job->not_before_ns;
    }
    return cold;
}

static void hand_back(HnMovers *movers, HnMover *mover, HnMoveJob *job)
{
    const HnSyscalls *sys = movers->sys;
    HnMoveResult result;

    g_queue_remove(&mover->queue, job);
    g_mutex_unlock(&movers->lock);
    hn_move_result(job->move, &result);
    if (result.reason == HN_REASON_KERNEL_REFUSED && job->pidfd >= 0 &&
        sys->pidfd_is_alive(sys->user_data, job->pidfd) == 0)
        hn_move_vanished(job->move);
    movers->func(job, movers->user_data);
    g_mutex_lock(&movers->lock);
}

/* A job that must not run any more. */
static void end_unrun(HnMovers *movers, HnMover *mover, HnMoveJob *job)
{
    const HnReason reason = (HnReason)g_atomic_int_get(&job->cancel_reason);

    if (reason != HN_REASON_IN_PROGRESS)
        hn_move_end(job->move, reason, g_strdup("stopped before all was moved"));
    else if (movers->is_stopping)
        hn_move_end(job->move, HN_REASON_SUPERSEDED, g_strdup("homenode stops"));
    else
        hn_move_end(job->move, HN_REASON_NODE_FULL,
                    g_strdup_printf("node %d is full: what was queued for it was dropped", mover->node_id));
    hand_back(movers, mover, job);
}

static void wait_for_work(HnMovers *movers, uint64_t now, uint64_t earliest_ns)
{
    movers->sys->wait(movers->sys->user_data, &movers->cond, &movers->lock,
                      earliest_ns == 0 ? UINT64_MAX : earliest_ns - now);
}

static gpointer mover_main(gpointer data)
{
    HnMover *mover = data;
    HnMovers *movers = mover->movers;

    g_mutex_lock(&movers->lock);
    while (!movers->is_stopping || mover->queue.head) {
        const HnLimits limits = movers->limits;
        const uint64_t now = hn_movers_now_ns(movers);
        uint64_t earliest_ns;
        HnMoveJob *job = choose(movers, mover, now, &earliest_ns);
        bool has_ended, is_full;

        if (!job) {
            wait_for_work(movers, now, earliest_ns);
            continue;
        }
        if (movers->is_stopping || mover->is_full || is_cancelled(job)) {
            end_unrun(movers, mover, job);
            mover->is_full = mover->is_full && mover->queue.head;
            continue;
        }
        g_mutex_unlock(&movers->lock);
        is_full = hn_mover_step(mover, job, &limits, &has_ended);
        g_mutex_lock(&movers->lock);
        if (has_ended)
            hand_back(movers, mover, job);
        mover->is_full = mover->is_full || is_full;
    }
    g_mutex_unlock(&movers->lock);
    return NULL;
}

static void mover_free(gpointer data)
{
    HnMover *mover = data;

    g_thread_join(mover->thread);
    g_free(mover);
}

static void take_limits(HnMovers *movers, const HnLimits *limits)
{
    movers->limits = *limits;
    movers->is_host_rate_auto = limits->host_bytes_per_sec == HN_RATE_AUTO;
    if (movers->is_host_rate_auto)
        movers->limits.host_bytes_per_sec = movers->auto_bytes_per_sec;
}

HnMovers *hn_movers_new(const HnSyscalls *sys, const HnRoot *root, const HnLimits *limits, HnMoveEndedFunc func,
                        void *user_data)
{
    HnMovers *movers = g_new0(HnMovers, 1);

    movers->sys = sys;
    movers->root = root;
    movers->auto_bytes_per_sec = DEFAULT_AUTO_BYTES_PER_SEC;
    take_limits(movers, limits);
    movers->func = func;
    movers->user_data = user_data;
    g_mutex_init(&movers->lock);
    g_cond_init(&movers->cond);
    hn_bucket_init(&movers->host_bucket, movers->limits.host_bytes_per_sec, hn_movers_now_ns(movers));
    hn_bucket_init(&movers->cold_bucket, limits->cold_bytes_per_sec, hn_movers_now_ns(movers));
    movers->by_node = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, mover_free);
    return movers;
}

void hn_movers_free(HnMovers *movers)
{
    if (!movers)
        return;
    g_mutex_lock(&movers->lock);
    movers->is_stopping = true;
    g_cond_broadcast(&movers->cond);
    g_mutex_unlock(&movers->lock);
    g_hash_table_unref(movers->by_node);
    g_cond_clear(&movers->cond);
    g_mutex_clear(&movers->lock);
    g_free(movers);
}

void hn_movers_push(HnMovers *movers, HnMoveJob *job)
{
    HnMover *mover;

    g_mutex_lock(&movers->lock);
    mover = g_hash_table_lookup(movers->by_node, GINT_TO_POINTER(job->to_node_id));
    if (!mover) {
        g_autofree char *name = g_strdup_printf("mover-%d", job->to_node_id);

        mover = g_new0(HnMover, 1);
        mover->movers = movers;
        mover->node_id = job->to_node_id;
        mover->batches[HN_PAGES_HUGE].unit_bytes = mover->batches[HN_PAGES_COLLAPSED].unit_bytes =
            HN_MOVER_BLOCK_BYTES;
        g_queue_init(&mover->queue);
        hn_bucket_init(&mover->bucket, movers->limits.node_bytes_per_sec, hn_movers_now_ns(movers));
        g_hash_table_insert(movers->by_node, GINT_TO_POINTER(job->to_node_id), mover);
        mover->thread = g_thread_new(name, mover_main, mover);
    }
    g_queue_push_tail(&mover->queue, job);
    g_cond_broadcast(&movers->cond);
    g_mutex_unlock(&movers->lock);
}

void hn_movers_wake(HnMovers *movers)
{
    g_mutex_lock(&movers->lock);
    g_cond_broadcast(&movers->cond);
    g_mutex_unlock(&movers->lock);
}

void hn_movers_set_held(HnMovers *movers, bool is_held)
{
    g_mutex_lock(&movers->lock);
    movers->is_held = is_held;
    g_cond_broadcast(&movers->cond);
    g_mutex_unlock(&movers->lock);
}

void hn_movers_set_limits(HnMovers *movers, const HnLimits *limits)
{
    GHashTableIter iter;
    gpointer value;

    g_mutex_lock(&movers->lock);
    take_limits(movers, limits);
    hn_bucket_set_rate(&movers->host_bucket, movers->limits.host_bytes_per_sec, hn_movers_now_ns(movers));
    hn_bucket_set_rate(&movers->cold_bucket, limits->cold_bytes_per_sec, hn_movers_now_ns(movers));
    g_hash_table_iter_init(&iter, movers->by_node);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        hn_bucket_set_rate(&((HnMover *)value)->bucket, limits->node_bytes_per_sec, hn_movers_now_ns(movers));
    g_cond_broadcast(&movers->cond);
    g_mutex_unlock(&movers->lock);
}

void hn_movers_set_auto_rate(HnMovers *movers, uint64_t bytes_per_sec)
{
    g_mutex_lock(&movers->lock);
    movers->auto_bytes_per_sec = bytes_per_sec;
    if (movers->is_host_rate_auto) {
        movers->limits.host_bytes_per_sec = bytes_per_sec;
        hn_bucket_set_rate(&movers->host_bucket, bytes_per_sec, hn_movers_now_ns(movers));
    }
    g_mutex_unlock(&movers->lock);
}

void hn_movers_call_times(HnMovers *movers, HnCallTimes *ret_times)
{
    g_mutex_lock(&movers->lock);
    *ret_times = movers->calls;
    g_mutex_unlock(&movers->lock);
}
