/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One step of a job: is it the same process, does pressure allow it, is there room, are there tokens; then one call.
 * Nothing here waits: what has to wait says until when.
 */
#include "mover-private.h"

#include "observe/process.h"
#include "room.h"

#include <errno.h>

/* Nothing can be known to change earlier. */
#define PRESSURE_WAIT_NS HN_BACKOFF_SAMPLE_NS

/* Collapsing a page that is huge already costs a look (2 to 27 us by platform-collapse); a copy of 2 MiB takes
 * longer than this on any machine. */
#define COPY_NS_PER_BLOCK 100000ull
/* EINVAL means "not this block" as well as "not with this kernel": so often in a row, with no success ever, it is
 * the kernel. */
#define MAX_COLLAPSE_REFUSALS 4

/* Is the process still the one that was meant? If not, the move is ended. */
static bool check_identity(const HnMovers *movers, HnMoveJob *job)
{
    const HnSyscalls *sys = movers->sys;
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT, job->pid);
    HnTaskStat stat;

    if (job->pidfd < 0) {
        job->pidfd = sys->pidfd_open(sys->user_data, job->pid);
        if (job->pidfd < 0 && errno != ESRCH) {
            hn_move_end(job->move, HN_REASON_KERNEL_REFUSED,
                        g_strdup_printf("pidfd_open of process %" G_GINT64_FORMAT ": %s", job->pid,
                                        g_strerror(errno)));
            return false;
        }
        /* Opened first, compared then: the pidfd is of the process whose start time this is, or of one that has
         * already exited. */
        if (job->pidfd >= 0 &&
            (!hn_task_stat_read(movers->root, dir, &stat, NULL) || stat.start_ticks != job->start_ticks)) {
            sys->close(sys->user_data, job->pidfd);
            job->pidfd = -1;
        }
    }
    if (job->pidfd >= 0 && sys->pidfd_is_alive(sys->user_data, job->pidfd) > 0)
        return true;
    hn_move_end(job->move, HN_REASON_VANISHED,
                g_strdup_printf("process %" G_GINT64_FORMAT " has ended", job->pid));
    return false;
}

/* Pressure: false if the job has to wait or was ended. */
static bool check_pressure(const HnMovers *movers, HnMoveJob *job, const HnLimits *limits)
{
    const uint64_t now = hn_movers_now_ns(movers);
    const HnBackoff backoff = hn_target_backoff(job->target, movers->root, limits, job->floor_call_ns, now);

    job->floor_call_ns = 0;
    if (backoff.state == HN_BACKOFF_GIVE_UP) {
        hn_move_end(job->move, HN_REASON_BACKED_OFF,
                    g_strdup_printf("paused by pressure for %.0f s: given up", (double)limits->give_up_ns / 1e9));
        return false;
    }
    if (backoff.state != HN_BACKOFF_PAUSED)
        return true;
    job->not_before_ns = now + PRESSURE_WAIT_NS;
    return false;
}

/* Room: shortens *batch_bytes to it; false if the move was ended. */
static bool check_room(const HnMovers *movers, HnMoveJob *job, const HnLimits *limits, uint64_t *batch_bytes)
{
    g_autoptr(GError) error = NULL;
    bool is_hugetlb;
    const uint64_t page_bytes = hn_move_page_bytes(job->move, &is_hugetlb);
    uint64_t room_bytes;

    if (!hn_room_read(movers->root, job->to_node_id, job->watermark_bytes, is_hugetlb ? page_bytes : 0,
                      MAX(limits->batch_floor_bytes, page_bytes), limits, &room_bytes, &error)) {
        hn_move_end(job->move, HN_REASON_KERNEL_REFUSED,
                    g_strdup_printf("node %d: cannot tell its free memory: %s", job->to_node_id, error->message));
        return false;
    }
    if (room_bytes < page_bytes) {
        hn_move_end(job->move, HN_REASON_NODE_FULL,
                    g_strdup_printf("node %d has no room left: free memory and clean file pages are down to its "
                                    "watermarks and the headroom of %" G_GUINT64_FORMAT " MiB",
                                    job->to_node_id, limits->headroom_bytes >> 20));
        return false;
    }
    *batch_bytes = MIN(*batch_bytes, room_bytes);
    return true;
}

/* Tokens of host, node and domain, all or none; false if the job has to wait. */
static bool take_tokens(HnMover *mover, HnMoveJob *job, const HnLimits *limits, bool is_cold,
                        uint64_t bytes)
{
    HnMovers *movers = mover->movers;
    const uint64_t now = hn_movers_now_ns(movers);
    uint64_t shared_rate = limits->host_bytes_per_sec, wait_ns;

    if (shared_rate == 0 || (limits->node_bytes_per_sec != 0 && limits->node_bytes_per_sec < shared_rate))
        shared_rate = limits->node_bytes_per_sec;
    g_mutex_lock(&movers->lock);
    wait_ns = hn_bucket_wait_ns(&movers->host_bucket, bytes, now);
    wait_ns = MAX(wait_ns, hn_bucket_wait_ns(&mover->bucket, bytes, now));
    if (is_cold)
        wait_ns = MAX(wait_ns, hn_bucket_wait_ns(&movers->cold_bucket, bytes, now));
    wait_ns = MAX(wait_ns, hn_target_wait_ns(job->target, bytes, shared_rate, now));
    if (wait_ns == 0) {
        hn_bucket_take(&movers->host_bucket, bytes, now);
        hn_bucket_take(&mover->bucket, bytes, now);
        if (is_cold)
            hn_bucket_take(&movers->cold_bucket, bytes, now);
        hn_target_take(job->target, bytes, now);
    }
    g_mutex_unlock(&movers->lock);
    job->not_before_ns = wait_ns == 0 ? 0 : now + wait_ns;
    return wait_ns == 0;
}

static void give_tokens(HnMover *mover, HnMoveJob *job, bool is_cold, uint64_t bytes)
{
    HnMovers *movers = mover->movers;
    const uint64_t now = hn_movers_now_ns(movers);

    g_mutex_lock(&movers->lock);
    hn_bucket_give(&movers->host_bucket, bytes, now);
    hn_bucket_give(&mover->bucket, bytes, now);
    if (is_cold)
        hn_bucket_give(&movers->cold_bucket, bytes, now);
    hn_target_give(job->target, bytes, now);
    g_mutex_unlock(&movers->lock);
}

/* For what has been copied already. */
static void owe_tokens(HnMover *mover, HnMoveJob *job, uint64_t bytes)
{
    HnMovers *movers = mover->movers;
    const uint64_t now = hn_movers_now_ns(movers);

    g_mutex_lock(&movers->lock);
    hn_bucket_take(&movers->host_bucket, bytes, now);
    hn_bucket_take(&mover->bucket, bytes, now);
    hn_target_take(job->target, bytes, now);
    g_mutex_unlock(&movers->lock);
}

/* One call of move_pages, if everything allows it. True: the node turned out to be full. */
static bool move_once(HnMover *mover, HnMoveJob *job, const HnLimits *limits)
{
    HnMovers *movers = mover->movers;
    HnBatch *batch;
    uint64_t batch_bytes, bytes;
    HnMoved moved = {0};
    bool is_hugetlb, is_cold;

    if (!check_identity(movers, job) || !check_pressure(movers, job, limits))
        return false;
    batch = &mover->batches[hn_move_page_bytes(job->move, &is_hugetlb) > 65536 ? HN_PAGES_HUGE : HN_PAGES_SMALL];
    batch_bytes = MIN(hn_batch_bytes(batch, limits), hn_target_batch_bytes(job->target));
    is_cold = hn_move_is_cold(job->move);
    g_mutex_lock(&movers->lock);
    batch_bytes = MIN(batch_bytes, MIN(hn_bucket_batch_bytes(&movers->host_bucket),
                                       hn_bucket_batch_bytes(&mover->bucket)));
    if (is_cold)
        batch_bytes = MIN(batch_bytes, hn_bucket_batch_bytes(&movers->cold_bucket));
    job->is_cold = is_cold;
    g_mutex_unlock(&movers->lock);
    if (!check_room(movers, job, limits, &batch_bytes))
        return false;
    bytes = hn_move_batch_bytes(job->move, batch_bytes);
    if (!take_tokens(mover, job, limits, is_cold, bytes))
        return false;

    hn_move_go(job->move, movers->sys, batch_bytes, &moved);
    if (moved.moved_bytes < moved.asked_bytes)
        give_tokens(mover, job, is_cold, moved.asked_bytes - moved.moved_bytes);
    if (hn_batch_is_least(batch, limits, moved.tried_bytes))
        job->floor_call_ns = MAX(job->floor_call_ns, moved.call_ns);
    hn_batch_update(batch, limits, moved.tried_bytes, moved.call_ns);
    g_mutex_lock(&movers->lock);
    hn_call_times_add(&movers->calls, moved.call_ns);
    g_mutex_unlock(&movers->lock);
    hn_target_moved(job->target, moved.moved_bytes, is_cold, moved.call_ns, hn_movers_now_ns(movers));
    return moved.is_node_full;
}

/* What a call of MADV_COLLAPSE says about the kernel; NULL, or why it is left from now on. */
static const char *judge_collapse(HnMovers *movers, const HnCollapsed *collapsed)
{
    const char *why = NULL;

    g_mutex_lock(&movers->lock);
    if (collapsed->done_bytes > 0)
        movers->has_collapsed = true;
    if (collapsed->err == EPERM)
        why = "process_madvise is not permitted: it takes CAP_SYS_NICE and CAP_SYS_PTRACE";
    else if (collapsed->err == ENOSYS)
        why = "this kernel has no process_madvise";
    else if (collapsed->err == EINVAL && !movers->has_collapsed &&
             ++movers->n_collapse_refusals >= MAX_COLLAPSE_REFUSALS)
        why = "this kernel does not collapse another process's pages (EINVAL)";
    movers->is_collapse_off |= why != NULL;
    g_mutex_unlock(&movers->lock);
    return why;
}

/* One call for huge pages that were split on the way, at the rates of a move. */
static void collapse_once(HnMover *mover, HnMoveJob *job, const HnLimits *limits)
{
    HnMovers *movers = mover->movers;
    HnBatch *batch = &mover->batches[HN_PAGES_COLLAPSED];
    HnCollapsed collapsed;
    uint64_t batch_bytes, room_bytes;
    const char *why;
    bool is_off;

    g_mutex_lock(&movers->lock);
    is_off = movers->is_collapse_off || !limits->is_collapse_enabled;
    g_mutex_unlock(&movers->lock);
    if (is_off) {
        hn_move_skip_collapse(job->move, NULL); /* told when it was found out */
        return;
    }
    /* No bytes beforehand: nobody knows how many will be copied. What was is paid for afterwards, and a debt
     * waited for. */
    if (!check_identity(movers, job) || !check_pressure(movers, job, limits) ||
        !take_tokens(mover, job, limits, false, 0))
        return;
    batch_bytes = hn_batch_bytes(batch, limits);
    /* A huge page is taken before its small ones are given back; nothing is pushed out of memory for that. */
    if (!hn_room_read(movers->root, job->to_node_id, job->watermark_bytes, 0, 0, limits, &room_bytes, NULL) ||
        room_bytes < HN_MOVER_BLOCK_BYTES) {
        hn_move_skip_collapse(job->move, "the node has no room for a huge page beside its small ones");
        return;
    }
    hn_move_collapse(job->move, movers->sys, job->pidfd, MIN(batch_bytes, room_bytes), &collapsed);
    if (collapsed.done_bytes > 0)
        hn_batch_update(batch, limits, collapsed.done_bytes, collapsed.call_ns);
    if (collapsed.call_ns > collapsed.done_bytes / HN_MOVER_BLOCK_BYTES * COPY_NS_PER_BLOCK)
        owe_tokens(mover, job, collapsed.done_bytes);
    why = judge_collapse(movers, &collapsed);
    if (why)
        hn_move_skip_collapse(job->move, why);
}

bool hn_mover_step(HnMover *mover, HnMoveJob *job, const HnLimits *limits, bool *ret_has_ended)
{
    HnMovers *movers = mover->movers;
    const uint64_t now = hn_movers_now_ns(movers);
    uint64_t wait_ns;

    *ret_has_ended = false;
    switch (hn_move_next(job->move, movers->sys, limits, now, &wait_ns)) {
    case HN_NEXT_LOOKED:
        return false;
    case HN_NEXT_READY:
        return move_once(mover, job, limits);
    case HN_NEXT_COLLAPSE:
        collapse_once(mover, job, limits);
        return false;
    case HN_NEXT_WAIT:
        job->not_before_ns = now + wait_ns;
        return false;
    case HN_NEXT_END:
        *ret_has_ended = true;
        return false;
    }
    g_assert_not_reached();
}
