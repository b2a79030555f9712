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
 * other. It stands still where one call in 200 is too long. Calls at the floor teach nothing: they cannot get smaller.
 */
#pragma once

#include <stdint.h>

#include "limits.h"

typedef struct {
    uint64_t cost_ns_per_mib; /* smoothed; 0: nothing known yet */
    uint64_t last_bytes;
    uint32_t aim_ppm;         /* of the target: what the mean call shall take; 0: nothing known yet */
} HnBatch;

/* Between limits->batch_floor_bytes and batch_ceiling_bytes; the floor while nothing is known. */
uint64_t hn_batch_bytes(const HnBatch *batch, const HnLimits *limits);
/* A call that was asked to move `bytes` took `call_ns`. */
void hn_batch_update(HnBatch *batch, const HnLimits *limits, uint64_t bytes, uint64_t call_ns);

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
