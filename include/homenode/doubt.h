/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Doubt: how sure the last round was of what it knows of a domain, and what evidence it therefore
 * asks for. Answered by placement/ with every verdict (placement/doubt.h is the machine), carried
 * out by whoever observes. docs/evidence.md has the table of transitions.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define HN_DOUBT_STATES(X)                                                                         \
    X(UNMANAGED, "unmanaged") /* not opted in, or a host with one node: nothing is asked for */    \
    X(UNKNOWN, "unknown")     /* managed, and not measured yet */                                  \
    X(SAMPLING, "sampling")   /* in doubt: every rung that can be had */                           \
    X(SETTLED, "settled")     /* known well enough: looked at ever more rarely */                  \
    X(FENCED, "fenced")       /* settled, and its nodeset is closed: no hinting fault can occur */ \
    X(DISTURBED, "disturbed") /* something looks different: looked at once more, now */            \
    X(ASLEEP, "asleep")       /* no load: there is nothing to learn until it wakes */

/* Why a state was entered. */
#define HN_DOUBT_CAUSES(X)                                                                         \
    X(FIRST_SEEN, "first-seen")                                                                    \
    X(OPTED_OUT, "opted-out")                                                                      \
    X(MEASURED, "measured")     /* the first figures are in */                                     \
    X(LOAD, "load")             /* it wants more or less CPU than while it was known */            \
    X(RESIDENCY, "residency")   /* its memory lies elsewhere, or is another amount */              \
    X(TOPOLOGY, "topology")     /* nodes, CPUs, memory or distances of the host */                 \
    X(WISH, "wish")             /* element, pin or nodeset of the admin */                         \
    X(SHAPE, "shape")           /* vCPUs or memory plugged or unplugged, restarted */              \
    X(DECISION, "decision")     /* the plan would move it, or moves it */                          \
    X(MOVED, "moved")           /* it has a new home */                                            \
    X(ORDER, "order")           /* homenode rebalance */                                           \
    X(WOKE, "woke")             /* it had slept */                                                 \
    X(NEIGHBOUR, "neighbour")   /* another one, a big one, woke */                                 \
    X(RECHECK, "recheck")       /* nothing happened for so long that it is looked at again */      \
    X(EVIDENCE, "evidence")     /* enough was seen */                                              \
    X(BUDGET, "budget")         /* not enough was seen, but nothing changes either */              \
    X(FALSE_ALARM, "false-alarm") /* at the second look it was as before */                        \
    X(IDLE, "idle")             /* no load for some rounds */                                      \
    X(UNMEASURED, "unmeasured") /* it could not be observed */                                     \
    X(FENCE, "fence")           /* the fence was found closed */                                   \
    X(FENCE_GONE, "fence-gone") /* the fence was found open */

typedef enum {
#define X(code, name) HN_DOUBT_##code,
    HN_DOUBT_STATES(X)
#undef X
    HN_N_DOUBT_STATES
} HnDoubtState;

typedef enum {
#define X(code, name) HN_DOUBT_BY_##code,
    HN_DOUBT_CAUSES(X)
#undef X
    HN_N_DOUBT_CAUSES
} HnDoubtCause;

/* What the next round should look at. */
typedef struct {
    HnDoubtState state;
    HnDoubtCause cause;
    uint64_t since_ns;   /* the state was entered then */
    uint64_t calm_ns;    /* nothing has changed for so long */
    uint64_t recheck_ns; /* time until the next look by all rungs; UINT64_MAX: only if something changes */
    bool wants_fresh;    /* rung 2: probes of now, whatever their age */
    bool wants_hinting;  /* rung 3: hinting faults, switched on if need be */
    bool wants_dirty;    /* rung 3: one burst of dirty rate */
    bool wants_touch;    /* rung 4: the touch matrix */
    bool may_fence;      /* local, calm and with room: the fence may be closed */
} HnDoubtAnswer;

const char *hn_doubt_state_name(HnDoubtState state); /* "sampling"; "?" for no valid code */
const char *hn_doubt_cause_name(HnDoubtCause cause);

/* Age at which probes are repeated: min_ns while in doubt; else half the time nothing has changed,
 * at most ceiling_ns, so that the interval between two probes doubles (10, 20, 40 … s). */
uint64_t hn_doubt_probe_age(const HnDoubtAnswer *answer, uint64_t min_ns, uint64_t ceiling_ns);
