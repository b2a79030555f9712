/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A domain's rate, pressure and progress; see target.h.
 */
#include "target.h"

#include "observe/process.h"

#include <string.h>

#define MAX_WATCHED 64 /* threads whose run delay is read: 64 x 8 us every 250 ms */
#define MAX_FILE_BYTES 4096

struct HnTarget {
    gint n_refs;
    GMutex lock; /* everything below */
    int64_t pid;
    int32_t tids[MAX_WATCHED];
    guint n_tids;
    uint64_t cap_bytes_per_sec; /* from metadata; 0: none */
    HnBucket bucket;
    bool is_held;
    /* pressure */
    HnBackoff backoff;
    uint64_t sampled_ns, sampled_delay_ns; /* when, and the sum over the threads then */
    bool has_baseline;
    bool is_baseline_observed; /* between snapshots; else the first window of a move stands for it */
    uint32_t baseline_permille;
    bool has_moved; /* since the last snapshot */
    uint64_t snapshot_ns, snapshot_delay_ns;
    guint snapshot_n;
    /* progress */
    bool was_begun;
    guint n_begun;
    HnProgress progress;
    uint64_t first_ns, last_ns;
    HnHistogram calls;
};

HnTarget *hn_target_new(void)
{
    HnTarget *target = g_new0(HnTarget, 1);

    target->n_refs = 1;
    g_mutex_init(&target->lock);
    hn_backoff_init(&target->backoff);
    return target;
}

HnTarget *hn_target_ref(HnTarget *target)
{
    g_atomic_int_inc(&target->n_refs);
    return target;
}

void hn_target_unref(HnTarget *target)
{
    if (!target || !g_atomic_int_dec_and_test(&target->n_refs))
        return;
    g_mutex_clear(&target->lock);
    g_free(target);
}

/* Mean run delay of n threads over a time, in permille of it. */
static uint32_t delay_permille(uint64_t delay_ns, guint n, uint64_t wall_ns)
{
    if (n == 0 || wall_ns == 0)
        return 0;
    return (uint32_t)MIN((unsigned __int128)delay_ns * 1000 / n / wall_ns, 1000);
}

void hn_target_observe(HnTarget *target, const HnDomain *domain, uint64_t taken_ns, uint64_t now_ns)
{
    uint64_t delay_ns = 0;

    for (uint32_t i = 0; i < domain->n_vcpus; i++)
        delay_ns += domain->vcpus[i].run_delay_ns;
    g_mutex_lock(&target->lock);
    if (target->n_begun == 0 && !target->has_moved && target->snapshot_n == domain->n_vcpus && taken_ns > target->snapshot_ns &&
        delay_ns >= target->snapshot_delay_ns && target->pid == domain->pid) {
        target->has_baseline = target->is_baseline_observed = true;
        target->baseline_permille = delay_permille(delay_ns - target->snapshot_delay_ns, domain->n_vcpus,
                                                   taken_ns - target->snapshot_ns);
    }
    target->has_moved = target->n_begun > 0;
    target->snapshot_ns = taken_ns;
    target->snapshot_delay_ns = delay_ns;
    target->snapshot_n = domain->n_vcpus;
    if (target->pid != domain->pid) {
        target->sampled_ns = 0;
        target->has_baseline = target->is_baseline_observed = false;
    }
    target->pid = domain->pid;
    if (target->n_tids != MIN(domain->n_vcpus, MAX_WATCHED))
        target->sampled_ns = 0; /* the sum is over other threads now */
    target->n_tids = MIN(domain->n_vcpus, MAX_WATCHED);
    for (guint i = 0; i < target->n_tids; i++)
        target->tids[i] = domain->vcpus[i].tid;
    target->cap_bytes_per_sec = (uint64_t)domain->wish.max_mib_per_sec * 1024 * 1024;
    g_mutex_unlock(&target->lock);
}

void hn_target_set_held(HnTarget *target, bool is_held)
{
    g_mutex_lock(&target->lock);
    target->is_held = is_held;
    g_mutex_unlock(&target->lock);
}

bool hn_target_is_held(HnTarget *target)
{
    bool is_held;

    g_mutex_lock(&target->lock);
    is_held = target->is_held;
    g_mutex_unlock(&target->lock);
    return is_held;
}

/* ---- progress ---- */

void hn_target_begin(HnTarget *target, uint64_t total_bytes)
{
    g_mutex_lock(&target->lock);
    if (target->n_begun++ == 0) {
        memset(&target->progress, 0, sizeof(target->progress));
        memset(&target->calls, 0, sizeof(target->calls));
        target->first_ns = target->last_ns = 0;
        target->sampled_ns = 0;
        target->has_baseline = target->is_baseline_observed;
        hn_backoff_init(&target->backoff);
    }
    target->was_begun = target->has_moved = true;
    target->progress.bytes_total += total_bytes;
    g_mutex_unlock(&target->lock);
}

void hn_target_end(HnTarget *target, uint64_t left_bytes)
{
    g_mutex_lock(&target->lock);
    g_assert(target->n_begun > 0);
    target->n_begun--;
    target->progress.residue_bytes += left_bytes;
    g_mutex_unlock(&target->lock);
}

void hn_target_moved(HnTarget *target, uint64_t bytes, bool is_cold, uint64_t call_ns, uint64_t now_ns)
{
    g_mutex_lock(&target->lock);
    if (target->first_ns == 0)
        target->first_ns = now_ns - MIN(call_ns, now_ns);
    target->last_ns = now_ns;
    target->progress.bytes_done += bytes;
    target->progress.cold_bytes_done += is_cold ? bytes : 0;
    target->progress.is_cold = is_cold;
    target->progress.calls++;
    hn_histogram_add(&target->calls, call_ns);
    g_mutex_unlock(&target->lock);
}

bool hn_target_progress(HnTarget *target, HnProgress *ret_progress)
{
    HnProgress progress;
    bool was_begun;

    g_mutex_lock(&target->lock);
    was_begun = target->was_begun;
    progress = target->progress;
    progress.bytes_total = MAX(progress.bytes_total, progress.bytes_done); /* more may have been elsewhere */
    progress.is_moving = target->n_begun > 0;
    progress.reason = HN_REASON_IN_PROGRESS;
    progress.speed_permille = target->backoff.speed_permille;
    if (progress.is_moving && target->is_held)
        progress.reason = HN_REASON_PAUSED_BY_ADMIN;
    else if (progress.is_moving && target->backoff.state != HN_BACKOFF_FULL)
        progress.reason = HN_REASON_BACKED_OFF;
    else if (!progress.is_moving)
        progress.reason = progress.residue_bytes ? HN_REASON_DONE_WITH_RESIDUE : HN_REASON_DONE;
    if (target->last_ns > target->first_ns)
        progress.bytes_per_sec = (uint64_t)((unsigned __int128)progress.bytes_done * 1000000000 /
                                            (target->last_ns - target->first_ns));
    progress.call_p50_ns = hn_histogram_quantile_ns(&target->calls, 500);
    progress.call_p99_ns = hn_histogram_quantile_ns(&target->calls, 990);
    progress.call_max_ns = target->calls.max_ns;
    g_mutex_unlock(&target->lock);
    if (was_begun)
        *ret_progress = progress;
    return was_begun;
}

/* ---- pressure ---- */

static void read_psi(const HnRoot *root, HnPressure *pressure)
{
    g_autofree char *text = NULL;
    size_t len;

    pressure->has_psi = hn_root_read(root, "proc/pressure/memory", MAX_FILE_BYTES, &text, &len, NULL) &&
                        hn_psi_parse(text, len, &pressure->psi_permille, NULL);
}

/* Sum of the run delays of all watched threads; false if one cannot be read. */
static bool read_run_delay(const HnTarget *target, const HnRoot *root, uint64_t *ret_delay_ns)
{
    uint64_t sum_ns = 0;

    for (guint i = 0; i < target->n_tids; i++) {
        g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/task/%" G_GINT32_FORMAT "/schedstat",
                                                target->pid, target->tids[i]);
        g_autofree char *text = NULL;
        uint64_t exec_ns, delay_ns;
        size_t len;

        if (!hn_root_read(root, path, MAX_FILE_BYTES, &text, &len, NULL) ||
            !hn_schedstat_parse(text, len, &exec_ns, &delay_ns, NULL))
            return false;
        sum_ns += delay_ns;
    }
    *ret_delay_ns = sum_ns;
    return target->n_tids > 0;
}

HnBackoff hn_target_backoff(HnTarget *target, const HnRoot *root, const HnLimits *limits,
                            uint64_t floor_call_ns, uint64_t now_ns)
{
    HnPressure pressure = {.now_ns = now_ns, .call_ns = floor_call_ns};
    HnBackoff backoff;
    uint64_t delay_ns;

    g_mutex_lock(&target->lock);
    if (!limits->is_backoff_enabled) {
        hn_backoff_init(&target->backoff);
    } else if (now_ns - target->sampled_ns >= HN_BACKOFF_SAMPLE_NS || target->sampled_ns == 0) {
        read_psi(root, &pressure);
        if (read_run_delay(target, root, &delay_ns)) {
            if (target->sampled_ns != 0 && delay_ns >= target->sampled_delay_ns) {
                pressure.has_run_delay = true;
                pressure.run_delay_permille = delay_permille(delay_ns - target->sampled_delay_ns,
                                                             target->n_tids, now_ns - target->sampled_ns);
                /* Nothing known from before the move: the first window stands for it. */
                if (!target->has_baseline) {
                    target->has_baseline = true;
                    target->baseline_permille = pressure.run_delay_permille;
                }
            }
            target->sampled_delay_ns = delay_ns;
        }
        pressure.run_delay_baseline_permille = target->baseline_permille;
        target->sampled_ns = now_ns;
        hn_backoff_update(&target->backoff, &pressure, limits);
    }
    backoff = target->backoff;
    g_mutex_unlock(&target->lock);
    return backoff;
}

/* ---- rate ---- */

uint64_t hn_target_wait_ns(HnTarget *target, uint64_t bytes, uint64_t rate_bytes_per_sec, uint64_t now_ns)
{
    uint64_t rate, wait_ns;

    g_mutex_lock(&target->lock);
    rate = target->cap_bytes_per_sec;
    if (target->backoff.speed_permille < 1000) {
        /* Without any limit "full speed" is what it has done so far. */
        uint64_t full = rate_bytes_per_sec;

        if (rate != 0 && (full == 0 || rate < full))
            full = rate;
        if (full == 0 && target->last_ns > target->first_ns)
            full = (uint64_t)((unsigned __int128)target->progress.bytes_done * 1000000000 /
                              (target->last_ns - target->first_ns));
        if (full != 0)
            rate = MAX(full * MAX(target->backoff.speed_permille, 1) / 1000, 1);
    }
    if (target->bucket.at_ns == 0)
        hn_bucket_init(&target->bucket, rate, now_ns);
    else
        hn_bucket_set_rate(&target->bucket, rate, now_ns);
    wait_ns = hn_bucket_wait_ns(&target->bucket, bytes, now_ns);
    g_mutex_unlock(&target->lock);
    return wait_ns;
}

uint64_t hn_target_batch_bytes(HnTarget *target)
{
    uint64_t bytes;

    g_mutex_lock(&target->lock);
    bytes = target->bucket.at_ns == 0 && target->cap_bytes_per_sec != 0
                ? MAX(target->cap_bytes_per_sec / 40, 1)
                : hn_bucket_batch_bytes(&target->bucket);
    g_mutex_unlock(&target->lock);
    return bytes;
}

void hn_target_take(HnTarget *target, uint64_t bytes, uint64_t now_ns)
{
    g_mutex_lock(&target->lock);
    hn_bucket_take(&target->bucket, bytes, now_ns);
    g_mutex_unlock(&target->lock);
}

void hn_target_give(HnTarget *target, uint64_t bytes, uint64_t now_ns)
{
    g_mutex_lock(&target->lock);
    hn_bucket_give(&target->bucket, bytes, now_ns);
    g_mutex_unlock(&target->lock);
}
