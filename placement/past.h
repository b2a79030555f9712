/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What past rounds left behind, per domain and per node: the only memory of placement/.
 *
 * Everything a later round needs and the snapshot does not carry: last counters, smoothed and held
 * demand, where unpinned vCPUs were seen, what was proposed and asked for, when it moved, what the
 * audit found. Keyed by uuid; a domain whose process changed starts afresh. Must not hold
 * conclusions that the snapshot can give (a home is read from affinities, not remembered).
 */
#pragma once

#include "doubt.h"

/* Re-homes remembered per domain, for the hourly budget; policy allows at most 3600, the oldest of
 * 64 is what a larger budget is measured by. */
#define HN_PAST_MAX_MOVES 64

typedef struct {
    int32_t tid;
    uint64_t start_ticks; /* 0 for workers, which have none in the snapshot */
    uint64_t exec_ns;
    uint64_t run_delay_ns;
    uint64_t smoothed_ucpu; /* millionths of a CPU */
    bool has_rate;
} HnPastThread;

/* One client as the last round split the domain. */
typedef struct {
    uint64_t held_mcpu; /* what decisions use: follows the smoothed demand outside a dead band */
    bool is_held;
    int32_t proposed;  /* home proposed in the last round, HN_NODE_NONE: none */
    int32_t wanted;    /* home asked for by the last plan with actions, HN_NODE_NONE: none */
    int32_t came_from; /* home before that */
    uint16_t
        *seen_permille; /* [n_nodes] where unpinned vCPUs ran, smoothed; NULL: never unpinned */
    uint16_t *held_permille; /* [n_nodes] what decisions use */
} HnPastClient;

typedef struct {
    char uuid[HN_UUID_LEN + 1];
    int64_t pid;
    uint64_t start_ticks;
    uint64_t first_seen_ns;
    uint64_t last_seen_ns;
    uint32_t n_samples; /* rounds with a measured demand */
    uint32_t n_threads;
    HnPastThread *threads;
    uint32_t n_clients;
    uint32_t n_nodes; /* of the arrays in clients */
    HnPastClient *clients;
    uint32_t n_confirmed; /* rounds in a row with the same proposal */

    uint64_t last_rehome_ns; /* 0: never */
    uint32_t n_moves;
    uint64_t moves_ns[HN_PAST_MAX_MOVES]; /* ascending; of the last hour */

    uint64_t residue_bytes; /* would not move last time */
    uint64_t residue_ns;    /* when that was found */

    uint64_t
        asked_ns; /* a plan asked for a re-home then, and it is not seen yet; 0: none pending */

    /* Audit: measured stall before a re-home is kept, and compared some rounds after it. */
    uint32_t audit_left; /* rounds that must still find it worse; 0: nothing to judge */
    uint64_t audit_due_ns;
    uint32_t delay_permille; /* smoothed: of the time its vCPUs wanted, how much they waited */
    /* Waiting and remote access measured, of demand, less the waiting that the load of its nodes
     * explains. */
    int32_t stall_permille;
    int32_t stall_before_permille; /* when the re-home was asked for */
    bool has_baseline;             /* stall_before_permille is a measurement */
    bool is_undoing;               /* the next change takes the last one back */
    HnNodemask marked_worse;       /* homes (host indices) the audit found worse */
    uint64_t marked_until_ns;

    bool has_load;      /* the next was measured in the last round */
    uint64_t load_mcpu; /* what its vCPUs wanted in the last round, unsmoothed */
    HnDoubt doubt;
} HnPastDomain;

struct HnPast {
    uint64_t generation;
    uint64_t last_ns;
    uint32_t n_nodes;
    uint64_t *other_load_mcpu;      /* [n_nodes] smoothed */
    uint64_t *other_load_held_mcpu; /* [n_nodes] */
    GPtrArray *domains;             /* HnPastDomain *, ascending uuid */
    guint cursor;                   /* after the domain found last: they are asked for in order */
};

/* The record of a domain, created or reset as its identity demands. Snapshots come sorted, so the
 * array stays sorted by insertion. */
HnPastDomain *hn_past_domain(HnPast *past, const HnDomain *domain, uint64_t now_ns);
HnPastDomain *hn_past_find(const HnPast *past, const char *uuid);
/* Drops domains not seen in this round, and everything per node if the number of nodes changed. */
void hn_past_begin(HnPast *past, uint32_t n_nodes);
void hn_past_sweep(HnPast *past, uint64_t now_ns);
/* Makes the record's clients n_clients long; a different number forgets what was held and proposed.
 */
void hn_past_domain_set_clients(HnPastDomain *record, uint32_t n_clients, uint32_t n_nodes);
/* Counts a re-home at now_ns. */
void hn_past_domain_add_move(HnPastDomain *record, uint64_t now_ns);
/* Re-homes within the hour before now_ns. */
uint32_t hn_past_domain_moves_in_hour(const HnPastDomain *record, uint64_t now_ns);
