/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Back-off: how much of the allowed rate may be used while the host or the guest is under pressure. A pure
 * function of samples; time is in the sample.
 *
 * Theory: additive increase, multiplicative decrease, one step per sample (every 250 ms while moving). Signs:
 *   - memory pressure of the host (PSI "some avg10"): moving competes with reclaim;
 *   - run delay of the guest's vCPUs, as a *rise* over what it was before the move: an overcommitted guest
 *     always waits, and that alone is no reason to stop what may cure it;
 *   - call time: more than twice the target although the batch is at its floor.
 *
 *     FULL <-> SLOW (halved per bad sample down to 1/16, +1/10 per good one)
 *     FULL, SLOW -> PAUSED (at the pause thresholds) -> SLOW (2 s without a bad sample)
 *     PAUSED -> GIVE_UP (paused for limits->give_up_ns)
 */
#pragma once

#include "limits.h"

#define HN_BACKOFF_SAMPLE_NS 250000000ull
#define HN_BACKOFF_LEAST_PERMILLE 62 /* 1/16 */

typedef enum { HN_BACKOFF_FULL, HN_BACKOFF_SLOW, HN_BACKOFF_PAUSED, HN_BACKOFF_GIVE_UP } HnBackoffState;

typedef struct {
    uint64_t now_ns;
    bool has_psi;
    uint32_t psi_permille;
    bool has_run_delay;
    uint32_t run_delay_permille;          /* of wall time, mean of the vCPUs, since the last sample */
    uint32_t run_delay_baseline_permille; /* the same before the move */
    uint64_t call_ns;                     /* longest call since the last sample at the floor size; 0: none */
} HnPressure;

typedef struct {
    HnBackoffState state;
    uint32_t speed_permille; /* 1000: full; 0: paused */
    uint64_t paused_ns;      /* when the pause began */
    uint64_t bad_ns;         /* last bad sample */
} HnBackoff;

void hn_backoff_init(HnBackoff *backoff);
void hn_backoff_update(HnBackoff *backoff, const HnPressure *pressure, const HnLimits *limits);

/* "some avg10" of a PSI file in permille. Error: HN_MODEL_ERROR_SYNTAX. */
bool hn_psi_parse(const char *text, size_t len, uint32_t *ret_permille, GError **error);
