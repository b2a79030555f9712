/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door to the decision: a snapshot and the past in, a plan and the new past out. No clock (the
 * snapshot's time is "now"), no I/O, nothing global; the same arguments give the same plan, bit for bit.
 */
#pragma once

#include <homenode/plan.h>

/* Tunables; every one is a key of homenode.conf(5), section [placement]. */
typedef struct {
    uint32_t min_gain_permille;      /* of the domain's demand: least improvement worth a move */
    uint32_t confirm_rounds;         /* rounds in a row that must agree (2) */
    uint64_t cooldown_ns;            /* per domain, after a re-home (60 s) */
    uint32_t thrash_moves_per_hour;  /* per domain (6) */
    uint64_t payback_horizon_ns;     /* bytes moved are charged over this time (60 s) */
    uint64_t move_bytes_per_sec;     /* rate cap used for predictions (1 GiB/s) */
    uint32_t kappa_permille;         /* remote penalty factor (docs/placement.md: 930) */
    uint32_t memory_bound_permille;  /* share of CPU time waiting for memory where not measured (500) */
    uint32_t smt_yield_permille;     /* what a second sibling adds to a core (200; docs/placement.md) */
    uint32_t reserve_permille;       /* of a node's memory never planned for (20) */
    uint64_t reserve_min_bytes;      /* at least this (256 MiB), but never above 1/25 of the node */
    uint64_t headroom_bytes;         /* what the mover leaves free beyond the watermarks, whatever the
                                      * reserve is (0; the daemon takes it from [apply] headroom) */
    uint64_t boot_window_ns;         /* a domain younger than this counts at configured size */
    uint64_t demand_halflife_ns;     /* smoothing of CPU use */
    uint32_t converged_permille;     /* at or above: converged (980) */
    bool fence_when_converged;       /* restrictive nodeset after convergence */
    uint32_t doubt_rounds;           /* rounds without a change that sampling may take (30) */
    uint64_t recheck_min_ns;         /* first interval until a settled domain is looked at again (2 min) */
    uint64_t recheck_ceiling_ns;     /* … which doubles up to this (1 h) */
} HnPolicy;

void hn_policy_init(HnPolicy *policy); /* the documented defaults */
bool hn_policy_validate(const HnPolicy *policy, GError **error);

/* A forced rebalance: skips gain, confirmation and cooldown, never safety or the admin's constraints. */
typedef struct {
    char uuid[HN_UUID_LEN + 1]; /* "" : all managed domains */
    int32_t node;               /* wanted home (index), HN_NODE_NONE: wherever is best */
} HnForce;

/* What past rounds left behind: smoothed demand, evidence filters, homes, confirmations, cooldowns, move
 * counts, marks. Opaque; owned by the caller; one per host. */
typedef struct HnPast HnPast;
HnPast *hn_past_new(void);
HnPast *hn_past_copy(const HnPast *past);
void hn_past_free(HnPast *past);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnPast, hn_past_free)

/* What became of actions since the last decision: the daemon tells, so that cooldowns count real moves
 * and the audit can compare. */
typedef struct {
    char uuid[HN_UUID_LEN + 1];
    uint64_t generation; /* of the plan that asked for it */
    HnActionKind kind;
    uint32_t client;
    HnReason reason;      /* DONE, DONE_WITH_RESIDUE, NODE_FULL, VANISHED, … */
    uint64_t bytes_moved;
    uint64_t bytes_left;  /* would not move */
    int32_t to_node;
} HnOutcome;

/* One decision. `past` is updated in place (smoothing, filters, gates); `forces` and `outcomes` may be
 * NULL when their count is 0. `in_flight` names (uuid) domains whose actions of an earlier plan still
 * run; they are planned around, not anew. Returns a plan with a verdict for every domain; NULL only if
 * the snapshot makes no sense (error set). */
HnPlan *hn_decide(const HnSnapshot *snapshot, const HnPolicy *policy, HnPast *past,
                  const HnForce *forces, uint32_t n_forces, const HnOutcome *outcomes,
                  uint32_t n_outcomes, const char *const *in_flight, GError **error);

/* The past as text and back, so that a restarted daemon and a replayed recording decide alike. Format:
 * one `key value…` line each, versioned; unknown lines are skipped. Caller frees. */
char *hn_past_format(const HnPast *past);
HnPast *hn_past_parse(const char *text, size_t len, GError **error);
