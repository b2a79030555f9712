/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Adaptive batch size and the histogram of call times; see batch.h. Pure.
 */
#include "batch.h"

#define MIB (1024ull * 1024)
#define AIM_MOST_PPM 750000u
#define AIM_LEAST_PPM 20000u
#define AIM_DIVISOR 550 /* ln(1/0.7) / 200 = 1/560: one call in 200 may be too long */

#define CUT_DIVISOR 16
#define LEAST_BYTES 65536ull
#define TOO_LONG_SCORE 200   /* of one call; each other at the floor takes 1 off */
#define LEAST_PATIENCE_CALLS 64 /* too long, before what did not pay is tried again: twice as many each time */
#define MOST_PATIENCE_CALLS 65536
#define SPAN_CALLS 64
#define ENOUGH_CALLS 16      /* to judge by */
#define DEARER_PERMILLE 2500 /* per byte: then it is the call that takes long */

static uint64_t least_bytes(const HnBatch *batch, const HnLimits *limits)
{
    const uint64_t floor_bytes = limits->batch_floor_bytes;
    const uint64_t cut_bytes = MAX(MAX(floor_bytes / CUT_DIVISOR, LEAST_BYTES), batch->unit_bytes);

    return batch->is_cut ? MIN(cut_bytes, floor_bytes) : floor_bytes;
}

/* What takes the time aimed at. */
static uint64_t wished_bytes(const HnBatch *batch, const HnLimits *limits)
{
    return (uint64_t)((unsigned __int128)limits->call_target_ns * batch->aim_ppm / 1000000 * MIB /
                      batch->cost_ns_per_mib);
}

uint64_t hn_batch_bytes(const HnBatch *batch, const HnLimits *limits)
{
    const uint64_t least = least_bytes(batch, limits);
    uint64_t bytes;

    if (batch->cost_ns_per_mib == 0)
        return limits->batch_floor_bytes;
    /* A larger call has not been tried: at most double. */
    bytes = MIN(wished_bytes(batch, limits), MAX(batch->last_bytes * 2, least));
    return CLAMP(bytes, least, limits->batch_ceiling_bytes);
}

bool hn_batch_is_least(const HnBatch *batch, const HnLimits *limits, uint64_t bytes)
{
    return bytes <= least_bytes(batch, limits);
}

static void note_call(HnBatchSpan *span, uint64_t bytes, uint64_t ns)
{
    if (span->n >= SPAN_CALLS)
        *span = (HnBatchSpan){span->n / 2, span->bytes / 2, span->ns / 2};
    span->n++;
    span->bytes += bytes;
    span->ns += ns;
}

/* Are smaller calls so much dearer per byte that they are not worth it? */
static bool has_not_paid(const HnBatch *batch)
{
    const HnBatchSpan *at = &batch->at_floor, *below = &batch->below_floor;

    return below->n >= ENOUGH_CALLS &&
           (unsigned __int128)below->ns * at->bytes * 1000 >
               (unsigned __int128)at->ns * below->bytes * DEARER_PERMILLE;
}

/* A call at the whole floor: is it to be cut? */
static void judge_whole(HnBatch *batch, const HnLimits *limits, uint64_t bytes, uint64_t call_ns)
{
    if (call_ns <= 2 * limits->call_target_ns) {
        if (batch->too_long > 0 && --batch->too_long == 0)
            batch->at_floor = (HnBatchSpan){0};
        return;
    }
    note_call(&batch->at_floor, bytes, call_ns);
    batch->too_long += TOO_LONG_SCORE;
    if (batch->too_long > TOO_LONG_SCORE) {
        batch->is_cut = true;
        batch->below_floor = (HnBatchSpan){0};
    }
}

/* A call while the floor is cut: does that pay, is it needed? */
static void judge_cut(HnBatch *batch, const HnLimits *limits, uint64_t bytes, uint64_t call_ns)
{
    /* Only what is clearly smaller tells what size does. */
    if (bytes <= batch->at_floor.bytes / batch->at_floor.n / 2)
        note_call(&batch->below_floor, bytes, call_ns);
    if (has_not_paid(batch)) {
        batch->patience_calls = CLAMP(2 * batch->patience_calls, LEAST_PATIENCE_CALLS, MOST_PATIENCE_CALLS);
        batch->too_long = -(int32_t)batch->patience_calls * TOO_LONG_SCORE;
    } else if (wished_bytes(batch, limits) >= 2 * limits->batch_floor_bytes) {
        batch->patience_calls = 0;
        batch->too_long = 0;
    } else {
        return;
    }
    batch->is_cut = false;
    batch->at_floor = (HnBatchSpan){0};
}

void hn_batch_update(HnBatch *batch, const HnLimits *limits, uint64_t bytes, uint64_t call_ns)
{
    uint64_t sample;

    if (bytes == 0)
        return;
    if (batch->aim_ppm == 0)
        batch->aim_ppm = AIM_MOST_PPM;
    else if (call_ns > 2 * limits->call_target_ns && !hn_batch_is_least(batch, limits, bytes))
        batch->aim_ppm = MAX(batch->aim_ppm / 10 * 7, AIM_LEAST_PPM);
    else
        batch->aim_ppm = MIN(batch->aim_ppm + batch->aim_ppm / AIM_DIVISOR, AIM_MOST_PPM);
    sample = MAX((uint64_t)((unsigned __int128)call_ns * MIB / bytes), 1);
    if (batch->cost_ns_per_mib == 0)
        batch->cost_ns_per_mib = sample;
    else if (sample > batch->cost_ns_per_mib)
        batch->cost_ns_per_mib += (sample - batch->cost_ns_per_mib + 1) / 2;
    else
        batch->cost_ns_per_mib -= (batch->cost_ns_per_mib - sample) / 8;
    batch->last_bytes = bytes;
    if (batch->is_cut)
        judge_cut(batch, limits, bytes, call_ns);
    else if (bytes <= limits->batch_floor_bytes && batch->unit_bytes < limits->batch_floor_bytes)
        judge_whole(batch, limits, bytes, call_ns);
}

/* 2^(k/6) in units of 1/65536, k = 1..5. */
static const uint32_t step_bounds[HN_HISTOGRAM_STEPS - 1] = {73562, 82570, 92682, 104032, 116772};

static uint32_t bucket_of(uint64_t ns)
{
    uint32_t octave, step = 0;
    uint64_t mantissa;

    if (ns == 0)
        return 0;
    octave = 63 - (uint32_t)__builtin_clzll(ns);
    if (octave >= 40)
        return HN_HISTOGRAM_BUCKETS - 1;
    mantissa = (uint64_t)(((unsigned __int128)ns << 16) >> octave);
    while (step < HN_HISTOGRAM_STEPS - 1 && mantissa >= step_bounds[step])
        step++;
    return octave * HN_HISTOGRAM_STEPS + step;
}

static uint64_t bucket_end_ns(uint32_t bucket)
{
    uint32_t octave = bucket / HN_HISTOGRAM_STEPS, step = bucket % HN_HISTOGRAM_STEPS;
    uint64_t mantissa = step < HN_HISTOGRAM_STEPS - 1 ? step_bounds[step] : 131072;

    return (uint64_t)(((unsigned __int128)mantissa << octave) >> 16);
}

const uint64_t hn_call_times_bounds_ns[HN_CALL_TIMES_BOUNDS] = {
    500000,   1000000,   2500000,   5000000,   10000000,   25000000,
    50000000, 100000000, 250000000, 500000000, 1000000000,
};

void hn_call_times_add(HnCallTimes *times, uint64_t ns)
{
    guint i = 0;

    while (i < HN_CALL_TIMES_BOUNDS && ns > hn_call_times_bounds_ns[i])
        i++;
    times->counts[i]++;
    times->sum_ns += ns;
}

void hn_histogram_add(HnHistogram *histogram, uint64_t ns)
{
    histogram->n++;
    histogram->max_ns = MAX(histogram->max_ns, ns);
    histogram->buckets[bucket_of(ns)]++;
}

uint64_t hn_histogram_quantile_ns(const HnHistogram *histogram, uint32_t permille)
{
    uint64_t rank = (histogram->n * permille + 999) / 1000, seen = 0;

    if (histogram->n == 0)
        return 0;
    rank = CLAMP(rank, 1, histogram->n);
    for (uint32_t i = 0; i < HN_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= rank)
            return MIN(bucket_end_ns(i), histogram->max_ns);
    }
    return histogram->max_ns;
}
