/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast and how far apply/ may go. Plain values: the manager reads them from homenode.conf(5),
 * section [apply], and may hand over new ones at any time (hn_actuator_set_limits()); they take effect
 * with the next batch. Nothing here reads a file or a clock.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* host_bytes_per_sec: as the host's nodes suggest, hn_host_auto_move_bytes_per_sec(). */
#define HN_RATE_AUTO UINT64_MAX

typedef struct {
    /* Rates; 0: no limit. The domain's own cap (HnWish.max_mib_per_sec) comes on top. */
    uint64_t host_bytes_per_sec; /* all movers together, default HN_RATE_AUTO */
    uint64_t node_bytes_per_sec; /* per destination node, default 1 GiB/s */

    /* Memory that nobody was seen to touch, where others were: last, and no faster than this, all guests together;
     * 0: like the rest. Default 256 MiB/s, a quarter. */
    uint64_t cold_bytes_per_sec;
    bool is_collapse_enabled; /* huge pages split on the way are rebuilt where the kernel can; default true */

    /* Size of one move_pages call: it adapts so that a call takes call_target_ns. */
    uint64_t call_target_ns;      /* default 5 ms */
    uint64_t batch_floor_bytes;   /* default 2 MiB: each call drains every CPU's LRU cache */
    uint64_t batch_ceiling_bytes; /* default 64 MiB */

    /* Left free on a destination node above the zones' high watermarks, default 64 MiB. */
    uint64_t headroom_bytes;

    /* Pages found busy are tried again so often, after busy_wait_ns, twice that, four times … */
    uint32_t busy_retries;  /* default 4 */
    uint64_t busy_wait_ns;  /* default 20 ms */

    /* Back-off (backoff.h). */
    bool is_backoff_enabled;          /* default true */
    uint32_t psi_slow_permille;       /* memory pressure "some avg10": slower from here, default 50 */
    uint32_t psi_pause_permille;      /* pause from here, default 200 */
    uint32_t run_delay_slow_permille; /* rise of the guest's run delay over its start, default 100 */
    uint32_t run_delay_pause_permille;/* default 400 */
    uint64_t give_up_ns;              /* paused by pressure for so long: given up, default 30 s */
} HnLimits;

/* The defaults above. */
void hn_limits_init(HnLimits *limits);

/* Checks ranges (floor <= ceiling, 4 KiB <= floor, 100 us <= call target <= 1 s, retries <= 16 …).
 * Error: HN_MODEL_ERROR_RANGE, naming the limit, its value and what is allowed. */
bool hn_limits_validate(const HnLimits *limits, GError **error);
