/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mover threads; see mover.h.
 *
 * Locks: movers->lock guards queues, limits and the buckets of host and nodes; it is never held during a system
 * call or a read. A target's lock is taken inside it never the other way round.
 */
#include "mover.h"

#include "observe/process.h"
#include "room.h"

#include <errno.h>
#include <string.h>

/* Nothing can be known to change earlier. */
#define PRESSURE_WAIT_NS HN_BACKOFF_SAMPLE_NS

enum { PAGES_SMALL, PAGES_HUGE, PAGES_COLLAPSED, N_PAGE_CLASSES };

/* Collapsing a page that is huge already costs a look (2 to 27 us by platform-collapse); a copy of 2 MiB takes
 * longer than this on any machine. */
#define COPY_NS_PER_BLOCK 100000ull
#define BLOCK_BYTES (2ull << 20)
/* EINVAL means "not this block" as well as "not with this kernel": so often in a row, with no success ever, it is
 * the kernel. */
#define MAX_COLLAPSE_REFUSALS 4
/* The least that hn_host_auto_move_bytes_per_sec() can say. */
#define DEFAULT_AUTO_BYTES_PER_SEC (1ull << 30)

typedef struct {
    HnMovers *movers;
    int32_t node_id;
    GThread *thread;
    GQueue queue; /* HnMoveJob *; under movers->lock */
    HnBucket bucket;
    HnBatch batches[N_PAGE_CLASSES]; /* the thread's own */
    bool is_full; /* ENOMEM: the queue is ending; under movers->lock */
} Mover;

struct HnMovers {
    const HnSyscalls *sys;
    const HnRoot *root;
    HnMoveEndedFunc func;
    void *user_data;
    GMutex lock;
    GCond cond;
    HnLimits limits; /* as given, but with a number for HN_RATE_AUTO */
    bool is_host_rate_auto;
    uint64_t auto_bytes_per_sec;
    HnBucket host_bucket, cold_bucket;
    guint n_collapse_refusals;
    bool has_collapsed, is_collapse_off; /* this kernel can, or cannot */
    GHashTable *by_node; /* node id → Mover, owned */
    bool is_held;
    bool is_stopping;
};

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

static uint64_t now_ns(const HnMovers *movers)
{
    return movers->sys->now_ns(movers->sys->user_data);
}

/* ---- one step ---- */

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
    const uint64_t now = now_ns(movers);
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
static bool take_tokens(HnMovers *movers, Mover *mover, HnMoveJob *job, const HnLimits *limits, bool is_cold,
                        uint64_t bytes)
{
    const uint64_t now = now_ns(movers);
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

static void give_tokens(HnMovers *movers, Mover *mover, HnMoveJob *job, bool is_cold, uint64_t bytes)
{
    const uint64_t now = now_ns(movers);

    g_mutex_lock(&movers->lock);
    hn_bucket_give(&movers->host_bucket, bytes, now);
    hn_bucket_give(&mover->bucket, bytes, now);
    if (is_cold)
        hn_bucket_give(&movers->cold_bucket, bytes, now);
    hn_target_give(job->target, bytes, now);
    g_mutex_unlock(&movers->lock);
}

/* For what has been copied already. */
static void owe_tokens(HnMovers *movers, Mover *mover, HnMoveJob *job, uint64_t bytes)
{
    const uint64_t now = now_ns(movers);

    g_mutex_lock(&movers->lock);
    hn_bucket_take(&movers->host_bucket, bytes, now);
    hn_bucket_take(&mover->bucket, bytes, now);
    hn_target_take(job->target, bytes, now);
    g_mutex_unlock(&movers->lock);
}

/* One call of move_pages, if everything allows it. True: the node turned out to be full. */
static bool move_once(HnMovers *movers, Mover *mover, HnMoveJob *job, const HnLimits *limits)
{
    HnBatch *batch;
    uint64_t batch_bytes, bytes;
    HnMoved moved = {0};
    bool is_hugetlb, is_cold;

    if (!check_identity(movers, job) || !check_pressure(movers, job, limits))
        return false;
    batch = &mover->batches[hn_move_page_bytes(job->move, &is_hugetlb) > 65536 ? PAGES_HUGE : PAGES_SMALL];
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
    if (!take_tokens(movers, mover, job, limits, is_cold, bytes))
        return false;

    hn_move_go(job->move, movers->sys, batch_bytes, &moved);
    if (moved.moved_bytes < moved.asked_bytes)
        give_tokens(movers, mover, job, is_cold, moved.asked_bytes - moved.moved_bytes);
    hn_batch_update(batch, limits, moved.asked_bytes, moved.call_ns);
    if (moved.asked_bytes <= limits->batch_floor_bytes)
        job->floor_call_ns = MAX(job->floor_call_ns, moved.call_ns);
    hn_target_moved(job->target, moved.moved_bytes, is_cold, moved.call_ns, now_ns(movers));
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
static void collapse_once(HnMovers *movers, Mover *mover, HnMoveJob *job, const HnLimits *limits)
{
    HnBatch *batch = &mover->batches[PAGES_COLLAPSED];
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
        !take_tokens(movers, mover, job, limits, false, 0))
        return;
    batch_bytes = hn_batch_bytes(batch, limits);
    /* A huge page is taken before its small ones are given back; nothing is pushed out of memory for that. */
    if (!hn_room_read(movers->root, job->to_node_id, job->watermark_bytes, 0, 0, limits, &room_bytes, NULL) ||
        room_bytes < BLOCK_BYTES) {
        hn_move_skip_collapse(job->move, "the node has no room for a huge page beside its small ones");
        return;
    }
    hn_move_collapse(job->move, movers->sys, job->pidfd, MIN(batch_bytes, room_bytes), &collapsed);
    if (collapsed.done_bytes > 0)
        hn_batch_update(batch, limits, collapsed.done_bytes, collapsed.call_ns);
    if (collapsed.call_ns > collapsed.done_bytes / BLOCK_BYTES * COPY_NS_PER_BLOCK)
        owe_tokens(movers, mover, job, collapsed.done_bytes);
    why = judge_collapse(movers, &collapsed);
    if (why)
        hn_move_skip_collapse(job->move, why);
}

/* One step. True: the node is full. */
static bool step(HnMovers *movers, Mover *mover, HnMoveJob *job, const HnLimits *limits, bool *ret_has_ended)
{
    const uint64_t now = now_ns(movers);
    uint64_t wait_ns;

    *ret_has_ended = false;
    switch (hn_move_next(job->move, movers->sys, limits, now, &wait_ns)) {
    case HN_NEXT_LOOKED:
        return false;
    case HN_NEXT_READY:
        return move_once(movers, mover, job, limits);
    case HN_NEXT_COLLAPSE:
        collapse_once(movers, mover, job, limits);
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

/* ---- the thread ---- */

static bool is_cancelled(HnMoveJob *job)
{
    return g_atomic_int_get(&job->cancel_reason) != HN_REASON_IN_PROGRESS;
}

/* The first job that may run or has to end, cold ones last; else NULL and the time of the earliest that may, 0
 * if there is none. */
static HnMoveJob *choose(const HnMovers *movers, const Mover *mover, uint64_t now, uint64_t *ret_earliest_ns)
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

static void hand_back(HnMovers *movers, Mover *mover, HnMoveJob *job)
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
static void end_unrun(HnMovers *movers, Mover *mover, HnMoveJob *job)
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
    Mover *mover = data;
    HnMovers *movers = mover->movers;

    g_mutex_lock(&movers->lock);
    while (!movers->is_stopping || mover->queue.head) {
        const HnLimits limits = movers->limits;
        const uint64_t now = now_ns(movers);
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
        is_full = step(movers, mover, job, &limits, &has_ended);
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
    Mover *mover = data;

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
    hn_bucket_init(&movers->host_bucket, movers->limits.host_bytes_per_sec, now_ns(movers));
    hn_bucket_init(&movers->cold_bucket, limits->cold_bytes_per_sec, now_ns(movers));
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
    Mover *mover;

    g_mutex_lock(&movers->lock);
    mover = g_hash_table_lookup(movers->by_node, GINT_TO_POINTER(job->to_node_id));
    if (!mover) {
        g_autofree char *name = g_strdup_printf("mover-%d", job->to_node_id);

        mover = g_new0(Mover, 1);
        mover->movers = movers;
        mover->node_id = job->to_node_id;
        g_queue_init(&mover->queue);
        hn_bucket_init(&mover->bucket, movers->limits.node_bytes_per_sec, now_ns(movers));
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
    hn_bucket_set_rate(&movers->host_bucket, movers->limits.host_bytes_per_sec, now_ns(movers));
    hn_bucket_set_rate(&movers->cold_bucket, limits->cold_bytes_per_sec, now_ns(movers));
    g_hash_table_iter_init(&iter, movers->by_node);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        hn_bucket_set_rate(&((Mover *)value)->bucket, limits->node_bytes_per_sec, now_ns(movers));
    g_cond_broadcast(&movers->cond);
    g_mutex_unlock(&movers->lock);
}

void hn_movers_set_auto_rate(HnMovers *movers, uint64_t bytes_per_sec)
{
    g_mutex_lock(&movers->lock);
    movers->auto_bytes_per_sec = bytes_per_sec;
    if (movers->is_host_rate_auto) {
        movers->limits.host_bytes_per_sec = bytes_per_sec;
        hn_bucket_set_rate(&movers->host_bucket, bytes_per_sec, now_ns(movers));
    }
    g_mutex_unlock(&movers->lock);
}
