/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The documented defaults of the tunables and the range each may have. docs/placement.md explains
 * each.
 */
#include <homenode/policy.h>

#define SECOND_NS UINT64_C(1000000000)
#define MIB_BYTES (UINT64_C(1) << 20)

void hn_policy_init(HnPolicy *policy)
{
    *policy = (HnPolicy){
        .min_gain_permille = 50,
        .confirm_rounds = 2,
        .cooldown_ns = 60 * SECOND_NS,
        .thrash_moves_per_hour = 6,
        .payback_horizon_ns = 60 * SECOND_NS,
        .move_bytes_per_sec = UINT64_C(1) << 30,
        .kappa_permille = 930, /* docs/placement.md: rho 1.93 at distance 20 */
        .memory_bound_permille =
            500, /* between kernel builds (80) and memory hammers (1000), same place */
        .smt_yield_permille =
            200, /* numad's figure; xen-api#6763 saw 40 to 75 % lost, same range */
        .reserve_permille = 20,
        .reserve_min_bytes = 256 * MIB_BYTES,
        .boot_window_ns = 60 * SECOND_NS,
        .demand_halflife_ns = 3 * SECOND_NS,
        .converged_permille = 980,
        .fence_when_converged = false,
        .doubt_rounds = 30,
        .recheck_min_ns = 120 * SECOND_NS,
        .recheck_ceiling_ns = 3600 * SECOND_NS,
    };
}

/* One row per tunable: value, allowed range, name. */
typedef struct {
    const char *name;
    uint64_t value, min, max;
} Range;

bool hn_policy_validate(const HnPolicy *policy, GError **error)
{
    const Range ranges[] = {
        {"min_gain_permille", policy->min_gain_permille, 0, 1000},
        {"confirm_rounds", policy->confirm_rounds, 1, 1000},
        {"cooldown_ns", policy->cooldown_ns, 0, 86400 * SECOND_NS},
        {"thrash_moves_per_hour", policy->thrash_moves_per_hour, 1, 3600},
        {"payback_horizon_ns", policy->payback_horizon_ns, SECOND_NS, 86400 * SECOND_NS},
        {"move_bytes_per_sec", policy->move_bytes_per_sec, MIB_BYTES, UINT64_C(1) << 40},
        {"kappa_permille", policy->kappa_permille, 0, 10000},
        {"memory_bound_permille", policy->memory_bound_permille, 0, 1000},
        {"smt_yield_permille", policy->smt_yield_permille, 0, 1000},
        {"reserve_permille", policy->reserve_permille, 0, 900},
        {"reserve_min_bytes", policy->reserve_min_bytes, 0, UINT64_C(1) << 46},
        {"headroom_bytes", policy->headroom_bytes, 0, UINT64_C(1) << 40},
        {"boot_window_ns", policy->boot_window_ns, 0, 86400 * SECOND_NS},
        {"demand_halflife_ns", policy->demand_halflife_ns, SECOND_NS / 10, 3600 * SECOND_NS},
        {"converged_permille", policy->converged_permille, 500, 1000},
        {"doubt_rounds", policy->doubt_rounds, 3, 10000},
        {"recheck_min_ns", policy->recheck_min_ns, SECOND_NS, 86400 * SECOND_NS},
        {"recheck_ceiling_ns", policy->recheck_ceiling_ns, policy->recheck_min_ns,
         86400 * SECOND_NS},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(ranges); i++) {
        const Range *range = &ranges[i];
        if (range->value < range->min || range->value > range->max) {
            g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE,
                        "%s is %" G_GUINT64_FORMAT " (allowed: %" G_GUINT64_FORMAT
                        " to %" G_GUINT64_FORMAT ")",
                        range->name, range->value, range->min, range->max);
            return false;
        }
    }
    return true;
}
