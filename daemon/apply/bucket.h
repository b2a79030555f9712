/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A token bucket: bytes may flow at a rate, with a small burst. A plain value; the time is an argument.
 *
 * The burst is 50 ms worth of the rate, so any 100 ms carry at most 1.5 times their budget
 * (docs/acting.md). What cannot be taken in parts of half the burst (a 2 MiB page below 80 MiB/s) may be taken when half
 * the burst is there, and leaves a debt: it is paid off before the next, so the mean holds for any page size. A taker
 * who is woken late loses nothing as long as that is no more than 25 ms.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t rate_bytes_per_sec; /* 0: no limit */
    __int128 tokens;             /* bytes * 1e9; negative: debt */
    uint64_t at_ns;              /* tokens are valid for this time */
} HnBucket;

/* Starts full. */
void hn_bucket_init(HnBucket *bucket, uint64_t rate_bytes_per_sec, uint64_t now_ns);
/* Keeps debt; a smaller burst takes effect at once. No change, no effect. */
void hn_bucket_set_rate(HnBucket *bucket, uint64_t rate_bytes_per_sec, uint64_t now_ns);
/* Time until `bytes` may be taken, 0: now. (More than half the burst may be taken when that half is there.) */
uint64_t hn_bucket_wait_ns(HnBucket *bucket, uint64_t bytes, uint64_t now_ns);
/* Takes, into debt if need be. */
void hn_bucket_take(HnBucket *bucket, uint64_t bytes, uint64_t now_ns);
/* Gives back what was taken and not used. */
void hn_bucket_give(HnBucket *bucket, uint64_t bytes, uint64_t now_ns);
/* The largest single take that suits the rate: half the burst. UINT64_MAX without limit. */
uint64_t hn_bucket_batch_bytes(const HnBucket *bucket);
