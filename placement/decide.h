/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the steps of one decision share: every domain's standing, and the round itself. Only
 * decide.c and the files named by its steps (standing.c gate.c verdict.c plan_order.c audit.c)
 * include this.
 */
#pragma once

#include "cost.h"
#include "evidence.h"

/* What of a domain has to be compared between rounds, and its locality: read while the domain is at
 * hand, because going through all vCPUs of a large host once more costs as much as deciding. */
typedef struct {
    HnLocality locality;
    uint64_t shape, wish; /* hashes */
    uint64_t touch_mark;  /* differs when there are new touches */
    uint64_t scan_seq;    /* of the latest hinting faults */
} HnLook;

/* One domain in this round. Parallel to the snapshot's domains and to the splits. */
typedef struct {
    HnSplit *split;
    const HnDomain *domain;
    HnPastDomain *record;
    HnLook look;
    uint32_t first_item; /* index of its first client's item; the others follow */
    bool is_managed;
    bool is_advised; /* managed, but never acted upon */
    bool is_forced;
    int32_t forced_node; /* host index or HN_NODE_NONE */
    int32_t refused_node; /* ordered to it, but most of its memory would not follow; HN_NODE_NONE */
    bool is_initial;     /* first home of a young domain: neither gain nor confirmation is asked */
    bool is_torn_by_admin; /* without a home because a pin of the admin holds some vCPUs elsewhere */
    bool is_frozen;      /* nothing may change; `reason` says why */
    bool
        is_home_frozen; /* memory may still come home, the home may not change; `reason` says why */
    int32_t kept_home; /* home frozen and without a home: the one it may go back to, HN_NODE_NONE */
    bool is_in_flight;
    HnReason reason; /* of the freeze; later of the verdict */
    /* Filled by the gate. */
    bool is_changed; /* the target differs from today */
    bool is_confirmed;
    bool is_stuck;   /* confirmed, but its memory, or whose room it needs, has nowhere to go meanwhile */
    bool was_pruned; /* the search wanted a change, the gate dropped it */
    int32_t stuck_home; /* if is_stuck: the home it was meant for (host index) */
    int64_t gain_ns; /* per second: cost without its change - cost with it, the others changed */
    int64_t threshold_ns;
    /* Filled by the verdict: memory alone keeps it out of a node that would bring that much. */
    int64_t kept_out_ns; /* 0: nothing is kept from it */
    int64_t better_ns; /* what the better node behind a wall would bring, per second; 0: it was asked for */
    uint32_t kept_out_node; /* canonical */
} HnStanding;

typedef struct {
    const HnSnapshot *snapshot;
    const HnPolicy *policy;
    HnPast *past;
    uint64_t now_ns, elapsed_ns;
    uint32_t n_domains;
    HnStanding *standings; /* [n_domains] */
    HnSplit *splits;       /* [n_domains] */
    uint32_t *order;       /* [n_domains] domains in canonical order */
    HnModel *model;
    HnAssignment *before; /* today */
    HnAssignment *wished; /* what the search found */
    HnAssignment *target; /* what the gate left of it */
    /* Domains that are only advised do not go where they are advised to go: what is done must be right
     * without that. So they stand still while the others are placed, and get their advice afterwards,
     * the others standing where they will be. */
    bool is_advising;     /* the second of these */
    HnAssignment *acted;  /* then: what the first has decided; else NULL */
} HnRound;

/* standing.c: who may be touched, and why not. */
void hn_standing_read(HnRound *round, const HnForce *forces, uint32_t n_forces,
                      const char *const *in_flight);
/* Memory that would not follow the domain's first client to `node` (host index): what cannot move,
 * what its admin keeps, what lately was found not to move. ret_bytes [n_nodes of the host]: where it
 * lies. Returns how much of it lies elsewhere than on `node`. */
uint64_t hn_standing_stays(const HnRound *round, const HnStanding *s, uint32_t node,
                           uint64_t *ret_bytes);
/* Nodes (host indices, of those its constraints leave) to which it may be ordered as far as its
 * memory is concerned: if the larger part does not follow, only that which has most of it. Not empty if
 * those are not. */
HnNodemask hn_standing_orderable(const HnRound *round, const HnStanding *s);
/* Is the domain ordered to one node? */
bool hn_standing_is_sent(const HnForce *forces, uint32_t n_forces, const char *uuid);

/* gate.c: takes the search's wish in round->wished and leaves in round->target what repays and is
 * confirmed; updates proposals in the past. Of those only that are placed now (hn_round_places()). */
void hn_gate(HnRound *round);
/* Whether an assignment changes anything for a domain: a home, or memory to bring home. */
bool hn_gate_is_change(const HnRound *round, const HnAssignment *assignment,
                       const HnStanding *standing);

/* plan_order.c: a domain that would act, but whose memory could not even begin to move: no node on the
 * way has room for one huge page. NULL: none. */
HnStanding *hn_plan_find_stuck(HnRound *round);
/* plan_order.c: the ordered actions from today to the target. */
void hn_plan_order(const HnRound *round, HnPlan *plan);

/* verdict.c: a verdict with reason and sentence for every domain, and the plan's totals. */
void hn_verdicts(const HnRound *round, HnPlan *plan);

/* doubt_round.c: facts of the round into every domain's doubt, its answer and the trust in the two
 * numbers into the verdicts. */
void hn_doubts(HnRound *round, HnPlan *plan);
/* The domain as it is now; to be read when it has been split. */
void hn_doubt_look(const HnHost *host, const HnSplit *split, HnLook *ret_look);

/* audit.c: outcomes into the past; predictions against measurements. */
void hn_audit_outcomes(HnRound *round, const HnOutcome *outcomes, uint32_t n_outcomes);
void hn_audit_measure(HnRound *round);

/* Small look-ups. */
/* Is it the domain's turn to be placed? */
static inline bool hn_round_places(const HnRound *round, const HnStanding *s)
{
    return s->is_advised == round->is_advising;
}
/* Where all will be as far as this domain is concerned: what is advised counts for advice only. */
static inline const HnAssignment *hn_round_after(const HnRound *round, const HnStanding *s)
{
    return round->acted && !s->is_advised ? round->acted : round->target;
}
static inline uint32_t hn_round_state(const HnRound *round, const HnAssignment *a,
                                      const HnStanding *s, uint32_t client)
{
    return a->state[s->first_item + client];
}
/* Home (host index) of a client in an assignment; HN_NODE_NONE if it stays without one. */
int32_t hn_round_home(const HnRound *round, const HnAssignment *a, const HnStanding *s,
                      uint32_t client);
/* Bytes that the assignment makes the client move. */
uint64_t hn_round_bytes(const HnRound *round, const HnAssignment *a, const HnStanding *s,
                        uint32_t client);
