/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How one domain fares, gathered from the round that saw it and from what was done to it, in the
 * three forms an admin meets: JSON of the control protocol, the <stats> element that virsh shows,
 * and metrics.
 *
 * Must not: observe, act, or keep anything between calls.
 */
#pragma once

#include <homenode/plan.h>
#include <json-c/json.h>

/* What the daemon has done to a domain since it took it over. Kept by the manager, one per domain.
 */
typedef struct {
    uint64_t n_moves;         /* re-homes carried out */
    uint64_t bytes_moved;     /* since the daemon started */
    bool has_decision;        /* of the members below */
    HnReason decision_reason; /* the last time something was done, or failed */
    char *decision;           /* one sentence with its numbers; owned by whoever owns the account */
    int64_t decided_unix_s;   /* wall clock, for people */
    uint64_t run_delay_permille; /* of the last round's wall time, summed over vCPUs */
    uint64_t used_mcpu;          /* CPU use of the vCPUs in the last round, unsmoothed */
} HnAccount;

/* What the movers still have to do for a domain now. */
typedef struct {
    bool is_active;
    uint64_t bytes_done;
    uint64_t bytes_total;
    uint64_t bytes_per_sec;
    bool is_cold;             /* memory nobody was seen to touch: last and slowly */
    uint64_t cold_bytes_done; /* of bytes_done */
} HnMoving;

typedef struct {
    const HnHost *host; /* all borrowed */
    const HnDomain *domain;
    const HnVerdict *verdict;
    const HnAccount *account;
    HnMoving moving;
    uint64_t now_ns;  /* of the round: ages are counted from there */
    bool is_held;     /* homenode pause */
    bool is_released; /* homenode release */
} HnDomainStatus;

/* One word for tables: "converged", "moving", "waiting", "advise", "held", "released", "suspended",
 * "unmanaged", "invalid", "single-node". Constant. */
const char *hn_status_word(const HnDomainStatus *status);

/* "81.9 MiB": like g_format_size_full(), but in ASCII (that one puts a no-break space before the
 * unit, which not every reader of JSON and of terminals takes well). Caller frees. */
char *hn_size_text(uint64_t bytes);

/* Resident guest RAM of a domain, all nodes. */
uint64_t hn_domain_resident_bytes(const HnDomain *domain, uint32_t n_nodes);

/* The row of query-domains. Caller owns. */
json_object *hn_status_to_json(const HnDomainStatus *status);

/* What identifies the writer of a statistics element: a stale one (another host or boot) is
 * overwritten. */
typedef struct {
    const char *host_name;
    const char *boot_id;
    int64_t unix_s; /* wall clock of the round; 0: leave out the times of the figures */
} HnStatsOrigin;

/* The text of the urn:homenode:stats:1 element: root "stats", no prefix, attributes escaped. Shares
 * are fractions of 1 with three digits (accesses-local, which is sampled: two); the half widths of
 * their 95 % intervals and the times they are of stand beside them. Caller frees. */
char *hn_status_to_xml(const HnDomainStatus *status, const HnStatsOrigin *origin);
