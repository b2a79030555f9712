/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One domain as the movers see it: its own rate cap, its pressure, its progress. Shared between the actuator's
 * thread and all movers that work for it, hence counted and locked inside; every function may be called from any
 * thread.
 *
 * Must not: know actions or plans.
 */
#pragma once

#include "actuator.h"
#include "backoff.h"
#include "batch.h"
#include "bucket.h"
#include "syscalls.h"

typedef struct HnTarget HnTarget;

HnTarget *hn_target_new(void);
HnTarget *hn_target_ref(HnTarget *target);
void hn_target_unref(HnTarget *target);

/* What a new snapshot says: threads to watch, the domain's cap. While nothing moves, the run delay between two
 * snapshots becomes the baseline. */
void hn_target_observe(HnTarget *target, const HnDomain *domain, uint64_t taken_ns, uint64_t now_ns);

/* Holding: nothing begins while held. (Host-wide holding is the movers'.) */
void hn_target_set_held(HnTarget *target, bool is_held);
bool hn_target_is_held(HnTarget *target);

/* Progress. begin: before the first job of an action that brings new bytes (counts from zero if nothing was
 * under way). */
void hn_target_begin(HnTarget *target, uint64_t total_bytes);
void hn_target_end(HnTarget *target, uint64_t left_bytes);
void hn_target_moved(HnTarget *target, uint64_t bytes, bool is_cold, uint64_t call_ns, uint64_t now_ns);
/* False if nothing was ever begun. */
bool hn_target_progress(HnTarget *target, HnProgress *ret_progress);

/* Reads pressure if the last sample is HN_BACKOFF_SAMPLE_NS old, and tells how fast to go. `floor_call_ns`: longest
 * call at the floor size since the last time, 0: none. Files that cannot be read count as no pressure. */
HnBackoff hn_target_backoff(HnTarget *target, const HnRoot *root, const HnLimits *limits,
                            uint64_t floor_call_ns, uint64_t now_ns);

/* The domain's own bucket. rate_bytes_per_sec: of the allowance it shares (host or node; 0: no limit), of which
 * back-off leaves a part. */
uint64_t hn_target_wait_ns(HnTarget *target, uint64_t bytes, uint64_t rate_bytes_per_sec, uint64_t now_ns);
uint64_t hn_target_batch_bytes(HnTarget *target);
void hn_target_take(HnTarget *target, uint64_t bytes, uint64_t now_ns);
void hn_target_give(HnTarget *target, uint64_t bytes, uint64_t now_ns);
