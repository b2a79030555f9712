/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Token bucket arithmetic; see bucket.h. Pure.
 *
 * Tokens are kept in byte-nanoseconds per second so that no fraction is lost however often it is asked.
 */
#include "bucket.h"

#include <homenode/cpuset.h>

#define NS_PER_SEC 1000000000ll
#define BURST_NS 50000000ll
#define LONGEST_NS (3600 * NS_PER_SEC) /* beyond an hour the bucket is full anyway */

static __int128 capacity(const HnBucket *bucket)
{
    return (__int128)bucket->rate_bytes_per_sec * BURST_NS;
}

static void refill(HnBucket *bucket, uint64_t now_ns)
{
    uint64_t elapsed_ns;

    if (now_ns <= bucket->at_ns)
        return; /* two threads read the clock one after the other and came here the other way round */
    elapsed_ns = MIN(now_ns - bucket->at_ns, (uint64_t)LONGEST_NS);
    bucket->at_ns = now_ns;
    bucket->tokens += (__int128)bucket->rate_bytes_per_sec * elapsed_ns;
    bucket->tokens = MIN(bucket->tokens, capacity(bucket));
}

void hn_bucket_init(HnBucket *bucket, uint64_t rate_bytes_per_sec, uint64_t now_ns)
{
    bucket->rate_bytes_per_sec = rate_bytes_per_sec;
    bucket->tokens = capacity(bucket);
    bucket->at_ns = now_ns;
}

void hn_bucket_set_rate(HnBucket *bucket, uint64_t rate_bytes_per_sec, uint64_t now_ns)
{
    if (rate_bytes_per_sec == bucket->rate_bytes_per_sec)
        return;
    refill(bucket, now_ns);
    /* Without a limit nothing was counted, so there is neither debt nor credit to keep. */
    if (bucket->rate_bytes_per_sec == 0)
        bucket->tokens = 0;
    bucket->rate_bytes_per_sec = rate_bytes_per_sec;
    bucket->tokens = MIN(bucket->tokens, capacity(bucket));
}

uint64_t hn_bucket_wait_ns(HnBucket *bucket, uint64_t bytes, uint64_t now_ns)
{
    __int128 wanted, missing;

    if (bucket->rate_bytes_per_sec == 0)
        return 0;
    refill(bucket, now_ns);
    /* Half the burst stays for those that come late. */
    wanted = MIN((__int128)bytes * NS_PER_SEC, capacity(bucket) / 2);
    if (bucket->tokens >= wanted)
        return 0;
    missing = wanted - bucket->tokens;
    return (uint64_t)((missing + bucket->rate_bytes_per_sec - 1) / bucket->rate_bytes_per_sec);
}

void hn_bucket_take(HnBucket *bucket, uint64_t bytes, uint64_t now_ns)
{
    if (bucket->rate_bytes_per_sec == 0)
        return;
    refill(bucket, now_ns);
    bucket->tokens -= (__int128)bytes * NS_PER_SEC;
}

void hn_bucket_give(HnBucket *bucket, uint64_t bytes, uint64_t now_ns)
{
    if (bucket->rate_bytes_per_sec == 0)
        return;
    refill(bucket, now_ns);
    bucket->tokens = MIN(bucket->tokens + (__int128)bytes * NS_PER_SEC, capacity(bucket));
}

uint64_t hn_bucket_batch_bytes(const HnBucket *bucket)
{
    if (bucket->rate_bytes_per_sec == 0)
        return UINT64_MAX;
    return MAX(bucket->rate_bytes_per_sec / (uint64_t)(2 * NS_PER_SEC / BURST_NS), 1);
}
