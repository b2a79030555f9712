/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the movers (mover.c: threads, queues, limits) and a step of a job (mover-step.c) share.
 *
 * Locks: movers->lock guards queues, limits and the buckets of host and nodes; it is never held during a system
 * call or a read. A target's lock is taken inside it, never the other way round.
 */
#pragma once

#include "mover.h"

#include "bucket.h"

#define HN_MOVER_BLOCK_BYTES (2ull << 20) /* a transparent huge page */

enum { HN_PAGES_SMALL, HN_PAGES_HUGE, HN_PAGES_COLLAPSED, HN_N_PAGE_CLASSES };

typedef struct {
    HnMovers *movers;
    int32_t node_id;
    GThread *thread;
    GQueue queue; /* HnMoveJob *; under movers->lock */
    HnBucket bucket;
    HnBatch batches[HN_N_PAGE_CLASSES]; /* the thread's own */
    bool is_full; /* ENOMEM: the queue is ending; under movers->lock */
} HnMover;

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
    HnCallTimes calls; /* of move_pages, all nodes and domains */
    guint n_collapse_refusals;
    bool has_collapsed, is_collapse_off; /* this kernel can, or cannot */
    GHashTable *by_node; /* node id → HnMover, owned */
    bool is_held;
    bool is_stopping;
};

static inline uint64_t hn_movers_now_ns(const HnMovers *movers)
{
    return movers->sys->now_ns(movers->sys->user_data);
}

/* One step of a job: a query, a call of move_pages or of process_madvise, or the finding that it has to wait
 * (job->not_before_ns) or has ended. Called from the mover's thread, without the lock. True: the node is full. */
bool hn_mover_step(HnMover *mover, HnMoveJob *job, const HnLimits *limits, bool *ret_has_ended);
