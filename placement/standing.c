/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Standing: before anything is searched, who may be touched at all.
 *
 * Two degrees: frozen (nothing of it may change, but it counts) and home-frozen (its home stays,
 * memory may still come home). A forced rebalance lifts cooldown, thrash budget and thin evidence;
 * it never lifts what protects the guest or what the admin asked for.
 */
#include "decide.h"

#include <string.h>

static void freeze(HnStanding *s, HnReason reason)
{
    s->is_frozen = true;
    s->reason = reason;
}

static void freeze_home(HnStanding *s, HnReason reason)
{
    s->is_home_frozen = true;
    s->reason = reason;
}

static const HnForce *find_force(const HnForce *forces, uint32_t n_forces, const char *uuid)
{
    const HnForce *found = NULL;

    /* One that names the domain outranks one for all. */
    for (uint32_t i = 0; i < n_forces; i++)
        if (strcmp(forces[i].uuid, uuid) == 0 || (forces[i].uuid[0] == '\0' && !found))
            found = &forces[i];
    return found;
}

bool hn_standing_is_sent(const HnForce *forces, uint32_t n_forces, const char *uuid)
{
    const HnForce *force = find_force(forces, n_forces, uuid);

    return force && force->uuid[0] && force->node >= 0;
}

static bool is_listed(const char *const *list, const char *uuid)
{
    for (; list && *list; list++)
        if (strcmp(*list, uuid) == 0)
            return true;
    return false;
}

/* What the domain's own state and its admin forbid. Returns true if that settles it. */
static bool is_off_limits(HnStanding *s)
{
    const HnDomain *domain = s->domain;

    if (domain->wish.invalid)
        freeze(s, HN_REASON_BAD_METADATA);
    else if (domain->wish.mode == HN_MODE_NONE)
        freeze(s, HN_REASON_NOT_OPTED_IN);
    else if (domain->wish.mode == HN_MODE_OFF)
        freeze(s, HN_REASON_MODE_OFF);
    s->is_managed = !s->is_frozen;
    s->is_advised = s->is_managed && domain->wish.mode == HN_MODE_ADVISE;
    if (s->is_frozen)
        return true;
    if (domain->job == HN_JOB_MIGRATION)
        freeze(s, HN_REASON_MIGRATING);
    else if (domain->job != HN_JOB_NONE)
        freeze(s, HN_REASON_DOMAIN_BUSY);
    else if (domain->state != HN_STATE_RUNNING)
        freeze(s, HN_REASON_PAUSED_DOMAIN);
    else if (domain->unobservable || domain->n_vcpus == 0)
        freeze(s, HN_REASON_EVIDENCE_THIN);
    return s->is_frozen;
}

static bool has_home(const HnSplit *split)
{
    for (uint32_t c = 0; c < split->n_clients; c++)
        if (split->clients[c].home_now == HN_NODE_NONE)
            return false;
    return true;
}

/* No node satisfies the constraints of some client. */
static bool is_impossible(HnStanding *s)
{
    for (uint32_t c = 0; c < s->split->n_clients; c++) {
        const HnClient *client = &s->split->clients[c];
        if (client->allowed)
            continue;
        bool has_nodeset = s->domain->wish.has_nodeset || s->domain->is_numatune_admin;
        bool is_pinned = false;
        for (uint32_t i = 0; i < s->domain->n_vcpus; i++)
            is_pinned |= s->domain->vcpus[i].is_admin_pinned;
        freeze(s,
               is_pinned && !has_nodeset ? HN_REASON_PINNED_BY_ADMIN : HN_REASON_CONSTRAINT_EMPTY);
        return true;
    }
    return false;
}

/* An admin's pin holds some of its vCPUs where the others are not. */
static bool is_torn_by_admin(const HnSplit *split)
{
    for (uint32_t c = 0; c < split->n_clients; c++)
        if (split->clients[c].home_now == HN_NODE_NONE &&
            split->clients[c].constraint == HN_REASON_PINNED_BY_ADMIN)
            return true;
    return false;
}

static void read_pace(const HnRound *round, HnStanding *s)
{
    const HnPolicy *policy = round->policy;
    const HnPastDomain *record = s->record;
    bool is_young = round->now_ns - s->domain->started_ns < policy->boot_window_ns &&
                    s->domain->started_ns <= round->now_ns;
    bool is_homed = has_home(s->split);

    s->is_initial = is_young && !is_homed && record->last_rehome_ns == 0;
    if (s->is_forced || s->is_initial)
        return;
    if (record->n_samples == 0 || s->domain->resident_source == HN_SOURCE_NONE) {
        freeze(s, HN_REASON_EVIDENCE_THIN);
    } else if (record->last_rehome_ns &&
               round->now_ns - record->last_rehome_ns < policy->cooldown_ns) {
        freeze_home(s, HN_REASON_COOLDOWN);
    } else if (hn_past_domain_moves_in_hour(record, round->now_ns) >=
               policy->thrash_moves_per_hour) {
        freeze_home(s, HN_REASON_THRASH_BUDGET);
    } else if (is_young && is_homed) {
        freeze_home(s, HN_REASON_BOOTING);
    }
    if (s->is_home_frozen && !is_homed) /* what keeps it from a home says more than that it waits */
        freeze(s, s->is_torn_by_admin ? HN_REASON_PINNED_BY_ADMIN : s->reason);
}

static void read_one(const HnRound *round, HnStanding *s, const HnForce *force,
                     const char *const *in_flight)
{
    s->reason = HN_REASON_CONVERGED;
    s->forced_node = HN_NODE_NONE;
    s->is_in_flight = is_listed(in_flight, s->domain->uuid);
    s->is_torn_by_admin = is_torn_by_admin(s->split);
    if (is_off_limits(s))
        return;
    if (s->is_in_flight) {
        freeze(s, HN_REASON_IN_PROGRESS);
        return;
    }
    if (is_impossible(s))
        return;
    if (force) {
        s->is_forced = true;
        if (force->node >= 0 && s->split->n_clients > 1 && force->uuid[0]) {
            freeze(s, HN_REASON_NO_SINGLE_NODE_FITS);
            return;
        }
        if (force->node >= 0 && (uint32_t)force->node < round->snapshot->host->n_nodes &&
            force->uuid[0])
            s->forced_node = force->node;
    }
    read_pace(round, s);
}

void hn_standing_read(HnRound *round, const HnForce *forces, uint32_t n_forces,
                      const char *const *in_flight)
{
    for (uint32_t d = 0; d < round->n_domains; d++) {
        HnStanding *s = &round->standings[d];
        read_one(round, s, find_force(forces, n_forces, s->domain->uuid), in_flight);
    }
}
