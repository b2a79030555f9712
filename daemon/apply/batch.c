/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Adaptive batch size and the histogram of call times; see batch.h. Pure.
 */
#include "batch.h"

#define MIB (1024ull * 1024)
#define AIM_MOST_PPM 750000u
#define AIM_LEAST_PPM 20000u
#define AIM_DIVISOR 550 /* ln(1/0.7) / 200 = 1/560: one call in 200 may be too long */

uint64_t hn_batch_bytes(const HnBatch *batch, const HnLimits *limits)
{
    uint64_t bytes;

    if (batch->cost_ns_per_mib == 0)
        return limits->batch_floor_bytes;
    bytes = (uint64_t)((unsigned __int128)limits->call_target_ns * batch->aim_ppm / 1000000 * MIB /
                       batch->cost_ns_per_mib);
    /* A larger call has not been tried: at most double. */
    bytes = MIN(bytes, MAX(batch->last_bytes * 2, limits->batch_floor_bytes));
    return CLAMP(bytes, limits->batch_floor_bytes, limits->batch_ceiling_bytes);
}

void hn_batch_update(HnBatch *batch, const HnLimits *limits, uint64_t bytes, uint64_t call_ns)
{
    uint64_t sample;

    if (bytes == 0)
        return;
    if (batch->aim_ppm == 0)
        batch->aim_ppm = AIM_MOST_PPM;
    else if (call_ns > 2 * limits->call_target_ns && bytes > limits->batch_floor_bytes)
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
