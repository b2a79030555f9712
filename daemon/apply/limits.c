/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Defaults and ranges of the limits; see limits.h. Pure.
 */
#include "limits.h"

#include <homenode/cpuset.h>

#define MIB (1024ull * 1024)
#define MSEC 1000000ull

void hn_limits_init(HnLimits *limits)
{
    *limits = (HnLimits){
        .host_bytes_per_sec = HN_RATE_AUTO,
        .node_bytes_per_sec = 1024 * MIB,
        .cold_bytes_per_sec = 256 * MIB,
        .is_collapse_enabled = true,
        .call_target_ns = 5 * MSEC,
        .batch_floor_bytes = 2 * MIB,
        .batch_ceiling_bytes = 64 * MIB,
        .headroom_bytes = 64 * MIB,
        .busy_retries = 4,
        .busy_wait_ns = 20 * MSEC,
        .is_backoff_enabled = true,
        .psi_slow_permille = 50,
        .psi_pause_permille = 200,
        .run_delay_slow_permille = 100,
        .run_delay_pause_permille = 400,
        .give_up_ns = 30000 * MSEC,
    };
}

static bool check(const char *name, uint64_t value, uint64_t low, uint64_t high, GError **error)
{
    if (value >= low && value <= high)
        return true;
    g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
                "limit %s is %" G_GUINT64_FORMAT ", allowed is %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
                name, value, low, high);
    return false;
}

bool hn_limits_validate(const HnLimits *l, GError **error)
{
    const uint64_t most_bytes_per_sec = 1024 * 1024 * MIB; /* above any memory bus: a typing error */

    return (l->host_bytes_per_sec == HN_RATE_AUTO ||
            check("host_bytes_per_sec", l->host_bytes_per_sec, 0, most_bytes_per_sec, error)) &&
           check("node_bytes_per_sec", l->node_bytes_per_sec, 0, most_bytes_per_sec, error) &&
           check("cold_bytes_per_sec", l->cold_bytes_per_sec, 0, most_bytes_per_sec, error) &&
           check("call_target_ns", l->call_target_ns, MSEC / 10, 1000 * MSEC, error) &&
           check("batch_floor_bytes", l->batch_floor_bytes, 4096, 1024 * MIB, error) &&
           check("batch_ceiling_bytes", l->batch_ceiling_bytes, l->batch_floor_bytes, 1024 * MIB, error) &&
           check("headroom_bytes", l->headroom_bytes, 0, 1024 * 1024 * MIB, error) &&
           check("busy_retries", l->busy_retries, 0, 16, error) &&
           check("busy_wait_ns", l->busy_wait_ns, 0, 10000 * MSEC, error) &&
           check("psi_slow_permille", l->psi_slow_permille, 1, 1000, error) &&
           check("psi_pause_permille", l->psi_pause_permille, l->psi_slow_permille, 1000, error) &&
           check("run_delay_slow_permille", l->run_delay_slow_permille, 1, 1000, error) &&
           check("run_delay_pause_permille", l->run_delay_pause_permille, l->run_delay_slow_permille, 1000,
                 error) &&
           check("give_up_ns", l->give_up_ns, 1000 * MSEC, 3600000 * MSEC, error);
}
