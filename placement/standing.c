/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Standing: before anything is searched, who may be touched at all.
 *
 * Two degrees: frozen (nothing of it may change, but it counts) and home-frozen (its home stays,
 * memory may still come home). A forced rebalance lifts cooldown, thrash budget and thin evidence;
 * it never lifts what protects the guest or what the admin asked for, and it is refused where it
 * would take the vCPUs away from memory that does not follow.
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

uint64_t hn_standing_stays(const HnRound *round, const HnStanding *s, uint32_t node, uint64_t *ret_bytes)
{
    const HnClient *client = &s->split->clients[0];
    const bool has_followers = hn_model_bytes_to_move(s->split, 0, node, round->policy) > 0;
    uint64_t sum = 0;

    for (uint32_t n = 0; n < round->snapshot->host->n_nodes; n++) {
        ret_bytes[n] = client->immovable_bytes[n] + (has_followers ? 0 : client->movable_bytes[n]);
        sum += n != node ? ret_bytes[n] : 0;
    }
    return sum;
}

HnNodemask hn_standing_orderable(const HnRound *round, const HnStanding *s)
{
    const HnClient *client = &s->split->clients[0];
    uint64_t bytes[HN_MAX_NODES];
    HnNodemask nodes = 0;

    for (HnNodemask rest = client->allowed; rest; rest &= rest - 1) {
        const uint32_t node = (uint32_t)__builtin_ctzll(rest);
        bool is_nearer = false;

        if (hn_standing_stays(round, s, node, bytes) > client->resident_bytes / 2)
            for (uint32_t n = 0; n < round->snapshot->host->n_nodes; n++)
                is_nearer |= (client->allowed >> n & 1) && bytes[n] > bytes[node];
        nodes |= is_nearer ? 0 : UINT64_C(1) << node;
    }
    return nodes;
}

/* An order takes a domain's vCPUs along whatever its memory does. Where the larger part of that
 * would be left behind, although another node that it may live on has more of it, the order would
 * only make the guest slower: it is refused. */
static void read_order(const HnRound *round, HnStanding *s, int32_t node)
{
    const HnClient *client = &s->split->clients[0];

    if (node == client->home_now || !(client->allowed >> node & 1) ||
        (hn_standing_orderable(round, s) >> node & 1)) {
        s->forced_node = node;
        return;
    }
    s->refused_node = node;
    freeze(s, s->domain->wish.memory == HN_MEMORY_KEEP ? HN_REASON_MEMORY_KEEP
                                                       : HN_REASON_IMMOVABLE);
}

/* Its last move took the vCPUs along, and then most of its memory turned out not to follow. */
static bool is_left_behind(const HnRound *round, const HnStanding *s)
{
    const int32_t home = s->split->clients[0].home_now;

    return s->split->n_clients == 1 && home != HN_NODE_NONE &&
           s->record->residue_ns >= s->record->last_rehome_ns && s->split->residue_bytes > 0 &&
           !(hn_standing_orderable(round, s) >> home & 1);
}

/* The home it was given last and has left only in part, and not by its admin: vCPUs plugged in since
 * run anywhere, and nobody tells of them. HN_NODE_NONE: it is not so. */
static int32_t read_kept_home(const HnRound *round, const HnStanding *s)
{
    const int32_t home = s->record->clients[0].wanted;
    uint32_t n_inside = 0;

    if (s->split->n_clients != 1 || home == HN_NODE_NONE ||
        !(s->split->clients[0].allowed >> home & 1))
        return HN_NODE_NONE;
    for (uint32_t v = 0; v < s->domain->n_vcpus; v++) {
        const HnVcpu *vcpu = &s->domain->vcpus[v];
        if (hn_cpuset_is_subset(&vcpu->affinity, &round->snapshot->host->nodes[home].cpus))
            n_inside++;
        else if (vcpu->is_admin_pinned)
            return HN_NODE_NONE;
    }
    return n_inside > 0 ? home : HN_NODE_NONE;
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
               round->now_ns - record->last_rehome_ns < policy->cooldown_ns &&
               !is_left_behind(round, s)) {
        freeze_home(s, HN_REASON_COOLDOWN);
    } else if (hn_past_domain_moves_in_hour(record, round->now_ns) >=
               policy->thrash_moves_per_hour) {
        freeze_home(s, HN_REASON_THRASH_BUDGET);
    } else if (is_young && is_homed) {
        freeze_home(s, HN_REASON_BOOTING);
    }
    if (!s->is_home_frozen || is_homed)
        return;
    s->kept_home = read_kept_home(round, s);
    if (s->kept_home == HN_NODE_NONE) /* what keeps it from a home says more than that it waits */
        freeze(s, s->is_torn_by_admin ? HN_REASON_PINNED_BY_ADMIN : s->reason);
}

static void read_one(const HnRound *round, HnStanding *s, const HnForce *force,
                     const char *const *in_flight)
{
    s->reason = HN_REASON_CONVERGED;
    s->forced_node = s->refused_node = s->kept_home = HN_NODE_NONE;
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
            read_order(round, s, force->node);
        if (s->is_frozen)
            return;
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
