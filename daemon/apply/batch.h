/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How large the next move_pages call should be, and how long the calls took. Plain values, pure.
 *
 * A call's time is what a guest may have to wait for a page in flight, and what a competing mmap in QEMU
 * waits for; but each call also drains every CPU's LRU cache, so tiny calls waste time on all CPUs. The
 * size follows a target: it rises carefully and falls at once.
 *
 * What is promised is the 99th percentile, at most twice the target, and how far calls spread around their mean is
 * the machine's affair. So the mean aimed at is itself controlled (a stochastic approximation of a quantile): three
 * quarters of the target at most; less by 30 % after each call of over twice the target, more by 1/550 after each
 * other. It stands still where one call in 200 is too long. Calls that could not have been smaller teach nothing.
 *
 * The floor is there because of what a call costs whatever its size. Where even calls at the floor keep taking over
 * twice the target (two within about 200), it is cut, to a sixteenth at most, and the rule above goes on below it. If
 * smaller calls then turn out two and a half times as dear per byte, it was the calls and not the bytes that took
 * long: the floor is as before, and only many more such calls, twice as many each time, make it be tried again.
 *
 *     WHOLE -> CUT (calls at the floor too long) -> WHOLE (does not pay, or the size is twice the floor anyway)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "limits.h"

/* Calls of about one size, the recent ones weighing more. */
typedef struct {
    uint32_t n;
    uint64_t bytes, ns;
} HnBatchSpan;

typedef struct {
    uint64_t unit_bytes;      /* set by the owner: the least that can move; 0: small pages */
    uint64_t cost_ns_per_mib; /* smoothed; 0: nothing known yet */
    uint64_t last_bytes;
    uint32_t aim_ppm;         /* of the target: what the mean call shall take; 0: nothing known yet */
    bool is_cut;              /* the floor is */
    int32_t too_long;         /* score of calls at the whole floor; beyond a bound it is cut */
    uint32_t patience_calls;  /* by how many too long ones that bound was raised for cutting not having paid */
    HnBatchSpan at_floor, below_floor; /* those that were too long, and those since it was cut */
} HnBatch;

/* At most limits->batch_ceiling_bytes; the floor while nothing is known. */
uint64_t hn_batch_bytes(const HnBatch *batch, const HnLimits *limits);
/* Could a call of so many bytes not have been smaller? */
bool hn_batch_is_least(const HnBatch *batch, const HnLimits *limits, uint64_t bytes);
/* A call that was asked to move `bytes` took `call_ns`. */
void hn_batch_update(HnBatch *batch, const HnLimits *limits, uint64_t bytes, uint64_t call_ns);

/* How long calls took since the beginning, for metrics: how many took at most so long, and longer than the bound
 * before; the last count is of all beyond the last bound. Bounds hold the default target (5 ms) and twice that. */
#define HN_CALL_TIMES_BOUNDS 11

typedef struct {
    uint64_t counts[HN_CALL_TIMES_BOUNDS + 1];
    uint64_t sum_ns;
} HnCallTimes;

extern const uint64_t hn_call_times_bounds_ns[HN_CALL_TIMES_BOUNDS]; /* ascending */

void hn_call_times_add(HnCallTimes *times, uint64_t ns);

/* Call times in steps of 2^(1/6) (12 %), up to 2^40 ns (18 minutes). */
#define HN_HISTOGRAM_STEPS 6
#define HN_HISTOGRAM_BUCKETS (40 * HN_HISTOGRAM_STEPS)

typedef struct {
    uint64_t n;
    uint64_t max_ns;
    uint32_t buckets[HN_HISTOGRAM_BUCKETS];
} HnHistogram;

void hn_histogram_add(HnHistogram *histogram, uint64_t ns);
/* Upper bound of the bucket in which the permille-th value lies, at most max_ns; 0 when empty. */
uint64_t hn_histogram_quantile_ns(const HnHistogram *histogram, uint32_t permille);
