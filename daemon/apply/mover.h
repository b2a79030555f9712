/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The movers: one thread per destination node, each with its queue (AutoNUMA's knuma_migratedN).
 *
 * Theory. A job is one domain's memory to one node. The thread takes the first job of its queue that may run (not
 * held, not waiting for tokens, busy pages or back-off), does one small step of it (a query, or one move_pages
 * call), and looks again: a capped or paused domain never delays the next one. Before each call it checks, in this
 * order: is the process still the one that was meant (a pidfd opened while its start time matched, not exited);
 * pressure; room on the node; tokens of host, node and domain. Jobs that have come to their cold memory (the slow lane)
 * give way to all others, and share a bucket of their own.
 *
 *     queued -> running -> ended (the result is handed back once, from the mover's thread)
 *
 * The race that remains: the process dies and its pid is reused by another between the check and the call, some
 * microseconds; pids wrap around in their whole range first, and addresses of guest RAM seldom exist elsewhere.
 *
 * Must not: touch the back end or the journal; decide.
 */
#pragma once

#include "batch.h"
#include "move.h"
#include "target.h"

typedef struct {
    /* for whoever gets it back */
    void *owner;
    HnTarget *target;         /* counted */
    int64_t pid;
    uint64_t start_ticks;
    int32_t to_node_id;       /* the kernel's */
    uint64_t watermark_bytes; /* of the destination */
    HnMove *move;             /* owned */
    gint cancel_reason;       /* atomic; HN_REASON_IN_PROGRESS: go on. Set from any thread */
    /* the mover's */
    int pidfd; /* -1: not yet opened */
    uint64_t not_before_ns;
    bool is_cold; /* what it moves next is; under the movers' lock */
    uint64_t floor_call_ns;
} HnMoveJob;

/* Takes over `move`; takes a reference to `target`. */
HnMoveJob *hn_move_job_new(void *owner, HnTarget *target, int64_t pid, uint64_t start_ticks, HnMove *move);
void hn_move_job_free(HnMoveJob *job, const HnSyscalls *sys);

typedef struct HnMovers HnMovers;

/* Called from a mover's thread; the job is the callee's again. */
typedef void (*HnMoveEndedFunc)(HnMoveJob *job, void *user_data);

HnMovers *hn_movers_new(const HnSyscalls *sys, const HnRoot *root, const HnLimits *limits, HnMoveEndedFunc func,
                        void *user_data);
/* Ends every queued job as SUPERSEDED (all are handed back) and joins the threads. */
void hn_movers_free(HnMovers *movers);

/* Queues a job at its destination's mover, which is started if it is not there yet. */
void hn_movers_push(HnMovers *movers, HnMoveJob *job);
/* Something changed that may let a job run or end: look again. */
void hn_movers_wake(HnMovers *movers);
void hn_movers_set_held(HnMovers *movers, bool is_held);
void hn_movers_set_limits(HnMovers *movers, const HnLimits *limits);
/* What HN_RATE_AUTO means on this host; 1 GiB/s until it is said. Takes effect with the next batch. */
void hn_movers_set_auto_rate(HnMovers *movers, uint64_t bytes_per_sec);
/* How long the calls of move_pages took, all that ever were. */
void hn_movers_call_times(HnMovers *movers, HnCallTimes *ret_times);
