/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sentence beside a reason code. Says what, how much and against what limit; never decides.
 */
#include "sentence.h"

#include "phrase.h"

/* Longer than almost every sentence: they are made by the thousand. */
#define TYPICAL_LENGTH 224
#define HOUR_MOVES_TEXT "moves in the last hour"

/* "node 2", "nodes 0 and 1", "no home" for today's or the wanted homes of all clients. */
static void append_homes(const HnRound *round, GString *text, const HnVerdict *verdict,
                         bool is_wanted)
{
    HnNodemask mask = 0;

    for (uint32_t c = 0; c < verdict->n_clients; c++) {
        int32_t home = is_wanted ? verdict->clients[c].home_wanted : verdict->clients[c].home_now;
        if (home != HN_NODE_NONE)
            mask |= UINT64_C(1) << home;
    }
    if (mask == 0) {
        g_string_append(text, "no home");
        return;
    }
    hn_phrase_nodes(round->snapshot->host, text, mask);
}

static void append_gain(GString *text, const HnStanding *s)
{
    if (hn_split_has_outsider(s->split)) {
        g_string_append(text, "the administrator's nodeset excludes where it is");
        return;
    }
    if (s->gain_ns >= HN_OUTSIDE_NS_PER_SEC / 2) {
        g_string_append(text, "a rule that another domain is bound by cannot be kept without it");
        return;
    }
    g_string_append(text, "gain ");
    hn_phrase_int(text, s->gain_ns / 1000000);
    g_string_append(text, " ms of stall per second, ");
    hn_phrase_int(text, s->threshold_ns / 1000000);
    g_string_append(text, " asked");
}

static int64_t demand_of(const HnVerdict *verdict)
{
    int64_t sum = 0;

    for (uint32_t c = 0; c < verdict->n_clients; c++)
        sum += (int64_t)verdict->clients[c].demand_mcpu;
    return sum;
}

/* "Moves from node 0 to node 1 (256 MiB, 0.3 s): …": the part all decided moves share. */
static void append_move(const HnRound *round, GString *text, const HnStanding *s,
                        const HnVerdict *verdict)
{
    bool is_advice = s->is_advised;

    g_string_append(text, is_advice ? "Would go from " : "Goes from ");
    append_homes(round, text, verdict, false);
    g_string_append(text, " to ");
    append_homes(round, text, verdict, true);
    if (verdict->bytes_to_move > 0) {
        g_string_append(text, ", moving ");
        hn_phrase_bytes(text, verdict->bytes_to_move);
        g_string_append(text, " in about ");
        if (verdict->move_ms < 1000) {
            hn_phrase_int(text, (int64_t)verdict->move_ms);
            g_string_append(text, " ms");
        } else {
            hn_phrase_int(text, (int64_t)(verdict->move_ms / 1000));
            g_string_append_c(text, '.');
            hn_phrase_int(text, (int64_t)(verdict->move_ms % 1000 / 100));
            g_string_append(text, " s");
        }
    }
    g_string_append(text, ": ");
}

/* How much of a domain's memory is touched from several of its parts; 0 if it is whole. */
static uint64_t shared_bytes(const HnRound *round, const HnStanding *s)
{
    uint64_t bytes = 0;

    for (uint32_t n = 0; s->split->n_clients > 1 && n < round->snapshot->host->n_nodes; n++)
        bytes += s->split->shared_bytes[n];
    return bytes;
}

/* What lies ahead of memory that is touched from several parts, if there is any. */
static void append_shared(const HnRound *round, GString *text, const HnStanding *s)
{
    uint64_t bytes = shared_bytes(round, s);

    if (bytes == 0)
        return;
    g_string_append(text, "; ");
    hn_phrase_bytes(text, bytes);
    g_string_append(text, " that several parts touch are to be spread over its homes");
}

/* How a wide domain was cut, and by what evidence. */
static void append_cut(GString *text, const HnStanding *s)
{
    const HnTouchSummary *touches = &s->domain->touches;

    if (s->split->clients[0].guest_cell >= 0)
        g_string_append(text, "its guest cells");
    else if (s->split->is_split_by_touch)
        g_string_append_printf(text, "cut by who touches what, from %" G_GUINT64_FORMAT " touches",
                               touches->n_touches);
    else
        g_string_append_printf(text, "cut by vCPU number: who touches what is not known%s%s%s",
                               touches->impediment ? ", " : "",
                               touches->impediment ? touches->impediment : "",
                               touches->is_on && !touches->impediment ? " yet" : "");
}

static void append_split(GString *text, const HnStanding *s, const HnVerdict *v)
{
    g_string_append_printf(text,
                           s->split->is_split_by_cores
                               ? "it wants more CPU than one node's cores give; its %u parts ("
                               : "it is wider than a node; its %u parts (",
                           v->n_clients);
    append_cut(text, s);
    g_string_append(text, ") get homes near each other");
}

static void append_change(GString *text, const char *what, int64_t now_ns, int64_t after_ns)
{
    g_string_append(text, what);
    g_string_append_c(text, ' ');
    hn_phrase_int(text, now_ns / 1000000);
    g_string_append(text, " to ");
    hn_phrase_int(text, after_ns / 1000000);
    g_string_append(text, " ms of stall per second");
}

static void describe_move(const HnRound *round, GString *text, const HnStanding *s,
                          const HnVerdict *v, HnReason reason)
{
    const HnCost *now = &v->cost_now, *after = &v->cost_after;

    append_move(round, text, s, v);
    switch (reason) {
    case HN_REASON_LOAD_BALANCE:
        append_change(text, "waiting for CPUs falls from", now->cpu_ns_per_sec,
                      after->cpu_ns_per_sec);
        break;
    case HN_REASON_CONSOLIDATE:
        append_change(text, "gathered there, its stall falls from", now->total_ns_per_sec,
                      after->total_ns_per_sec - after->moving_ns_per_sec);
        break;
    case HN_REASON_LOCALITY_GAIN:
        append_change(text, "remote access falls from", now->remote_ns_per_sec,
                      after->remote_ns_per_sec);
        break;
    case HN_REASON_CONGESTION:
        append_change(text, "memory congestion falls from", now->bandwidth_ns_per_sec,
                      after->bandwidth_ns_per_sec);
        break;
    case HN_REASON_COMPANY:
    case HN_REASON_DEVICE_LOCALITY:
        append_change(text,
                      reason == HN_REASON_COMPANY
                          ? "being with or apart from its group brings cost from"
                          : "distance to its device brings cost from",
                      now->company_ns_per_sec, after->company_ns_per_sec);
        break;
    case HN_REASON_NODESET_BY_ADMIN:
        g_string_append(text, "the administrator's nodeset excludes ");
        append_homes(round, text, v, false);
        break;
    case HN_REASON_MAKE_ROOM:
        g_string_append(text, "it makes room for others, who gain more than it loses");
        break;
    case HN_REASON_SWAP:
        g_string_append(text, "it changes places with another domain; together they gain");
        break;
    case HN_REASON_SPLIT_WIDE:
        append_split(text, s, v);
        append_shared(round, text, s);
        break;
    case HN_REASON_FORCED:
        g_string_append(text, "asked for by the administrator");
        break;
    case HN_REASON_UNDO_WORSE:
        g_string_append_printf(text,
                               "the last move made it worse (unexplained stall %d permille of its "
                               "demand before, %d after)",
                               s->record->stall_before_permille, s->record->stall_permille);
        break;
    case HN_REASON_INITIAL_PLACEMENT:
        g_string_append(text, "first home of a starting domain, counted at its configured size");
        append_shared(round, text, s);
        break;
    default:
        append_change(text, "cost falls from", now->total_ns_per_sec, after->total_ns_per_sec);
        break;
    }
    g_string_append(text, "; score ");
    hn_phrase_int(text, v->score_now);
    g_string_append(text, " to ");
    hn_phrase_int(text, v->score_after);
    g_string_append_c(text, '.');
}

/* What holds the memory that an order would leave behind. */
static const char *grip_of(const HnDomain *domain)
{
    HnMovability found = HN_MOVABLE;

    if (domain->wish.memory == HN_MEMORY_KEEP)
        return "stays where it is (memory='keep')";
    for (uint32_t i = 0; i < domain->n_regions; i++)
        if (domain->regions[i].movability > HN_MOVABLE_SHARED)
            found = domain->regions[i].movability;
    switch (found) {
    case HN_IMMOVABLE_VFIO:
        return "cannot move, because a passthrough device has it pinned";
    case HN_IMMOVABLE_PRIVATE:
        return "cannot move, because it is the private memory of a confidential guest";
    case HN_IMMOVABLE_HUGETLB:
        return "cannot move, because no other node has room for its huge pages";
    default:
        return "cannot move, or was lately found not to";
    }
}

/* An order that would take its vCPUs away from its memory. */
static void describe_refused_order(const HnRound *round, GString *text, const HnStanding *s)
{
    const HnHost *host = round->snapshot->host;
    const HnNodemask allowed = hn_standing_orderable(round, s);
    uint64_t bytes[HN_MAX_NODES];
    uint64_t sum = hn_standing_stays(round, s, (uint32_t)s->refused_node, bytes);
    bool is_first = true;

    g_string_append_printf(text, "%s is not sent to node %d: ",
                           s->domain->name ? s->domain->name : s->domain->uuid,
                           host->nodes[s->refused_node].id);
    hn_phrase_bytes(text, sum);
    g_string_append(text, " of its ");
    hn_phrase_bytes(text, s->split->clients[0].resident_bytes);
    g_string_append_printf(text, " %s, and would be left behind (", grip_of(s->domain));
    for (uint32_t n = 0; n < host->n_nodes; n++) {
        if (bytes[n] == 0 || (int32_t)n == s->refused_node)
            continue;
        g_string_append(text, is_first ? "" : ", ");
        hn_phrase_bytes(text, bytes[n]);
        g_string_append_printf(text, " on node %d", host->nodes[n].id);
        is_first = false;
    }
    g_string_append(text, "). Allowed: ");
    hn_phrase_nodes(round->snapshot->host, text, allowed);
    g_string_append_c(text, '.');
}

/* Frozen by its own state or by its admin. */
static bool describe_freeze(const HnRound *round, GString *text, const HnStanding *s,
                            const HnVerdict *v)
{
    const HnDomain *domain = s->domain;

    if (s->refused_node != HN_NODE_NONE && v->reason == s->reason) {
        describe_refused_order(round, text, s);
        return true;
    }
    switch (v->reason) {
    case HN_REASON_SINGLE_NODE_HOST:
        g_string_append(text, "The host has one node: there is nothing to place.");
        return true;
    case HN_REASON_NOT_OPTED_IN:
        g_string_append(
            text, "No placement element in its metadata: it counts as load but is left alone.");
        return true;
    case HN_REASON_MODE_OFF:
        g_string_append(text, "Its metadata says mode='off': left alone.");
        return true;
    case HN_REASON_BAD_METADATA:
        g_string_append_printf(text, "Left alone, its placement element is wrong: %s",
                               domain->wish.invalid);
        return true;
    case HN_REASON_MIGRATING:
        g_string_append(text, "A live migration of it runs; nothing is moved until that ends.");
        return true;
    case HN_REASON_DOMAIN_BUSY:
        g_string_append(
            text, "A save, snapshot, backup or dump of it runs; nothing is moved until that ends.");
        return true;
    case HN_REASON_PAUSED_DOMAIN:
        g_string_append(text, domain->state == HN_STATE_PAUSED
                                  ? "It is paused; nothing is moved until it runs."
                                  : "It is shutting down.");
        return true;
    case HN_REASON_IN_PROGRESS:
        g_string_append(text, "On its way to ");
        append_homes(round, text, v, true);
        g_string_append(text, " by an earlier plan; ");
        hn_phrase_permille(text, v->bytes_local_permille);
        g_string_append(text, " of its memory is local now.");
        return true;
    case HN_REASON_CONSTRAINT_EMPTY:
        g_string_append(text, "No node satisfies its nodesets and pins together.");
        return true;
    default:
        return false;
    }
}

static void describe_evidence(GString *text, const HnStanding *s)
{
    if (s->domain->unobservable)
        g_string_append_printf(text, "Cannot be seen fully: %s", s->domain->unobservable);
    else if (s->domain->n_vcpus == 0)
        g_string_append(text, "No vCPU threads are known yet.");
    else if (s->record->n_samples == 0)
        g_string_append(text, "Seen for the first time; its load is known after the next round.");
    else
        g_string_append(text, "Nothing is known yet about where its memory lies.");
}

/* "Node 1 would take 250 ms of stall per second off it, but ". */
static void append_better(const HnRound *round, GString *text, const HnStanding *s, int32_t better)
{
    g_string_append(text, "Node ");
    hn_phrase_int(text, round->snapshot->host->nodes[better].id);
    if (s->better_ns > 0) {
        g_string_append(text, " would take ");
        hn_phrase_int(text, s->better_ns / 1000000);
        g_string_append(text, " ms of stall per second off it, but ");
    } else {
        g_string_append(text, " was asked for, but ");
    }
}

/* "has room for 3.0 of the 7.0 GiB it would bring". */
static void append_room(const HnRound *round, GString *text, const HnStanding *s, int32_t better)
{
    const HnModel *m = round->model;
    const HnAssignment *after = hn_round_after(round, s);
    const HnItem *item = &m->items[s->first_item];
    uint32_t r = m->node_rank[better];
    int64_t there = after->state[s->first_item] == m->n_nodes
                        ? m->stay_bytes[(size_t)s->first_item * m->n_nodes + r]
                        : 0;
    int64_t room = m->nodes[r].capacity_bytes[item->kind] - after->used_bytes[item->kind][r];

    g_string_append(text, "has room for ");
    hn_phrase_bytes(text, (uint64_t)MAX(room, 0));
    g_string_append(text, " of the ");
    hn_phrase_bytes(text, (uint64_t)MAX(item->need_bytes - there, 0));
    g_string_append(text, " that it would bring");
}

static uint32_t count_pinned(const HnDomain *domain)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < domain->n_vcpus; i++)
        count += domain->vcpus[i].is_admin_pinned;
    return count;
}

/* Today's place is kept although another would be better. */
static bool describe_hold(const HnRound *round, GString *text, const HnStanding *s,
                          const HnVerdict *v, int32_t better)
{
    const HnHost *host = round->snapshot->host;
    int32_t better_id = better >= 0 ? host->nodes[better].id : -1;
    const HnPastDomain *record = s->record;

    switch (v->reason) {
    case HN_REASON_COOLDOWN:
        g_string_append_printf(
            text, "Re-homed %" G_GUINT64_FORMAT " s ago; not again within %" G_GUINT64_FORMAT " s.",
            (round->now_ns - record->last_rehome_ns) / 1000000000,
            round->policy->cooldown_ns / 1000000000);
        return true;
    case HN_REASON_THRASH_BUDGET:
        g_string_append_printf(text, "%u " HOUR_MOVES_TEXT ", %u allowed.",
                               hn_past_domain_moves_in_hour(record, round->now_ns),
                               round->policy->thrash_moves_per_hour);
        return true;
    case HN_REASON_BOOTING:
        g_string_append_printf(
            text,
            "Started %" G_GUINT64_FORMAT
            " s ago; its home is kept and room for its configured size reserved.",
            (round->now_ns - s->domain->started_ns) / 1000000000);
        return true;
    case HN_REASON_UNCONFIRMED:
        g_string_append(text, "Would go to ");
        append_homes(round, text, v, true);
        g_string_append(text, " (");
        append_gain(text, s);
        g_string_append(text, "); seen in ");
        hn_phrase_int(text, record->n_confirmed);
        g_string_append(text, " of ");
        hn_phrase_int(text, round->policy->confirm_rounds);
        g_string_append(text, " rounds needed.");
        return true;
    case HN_REASON_NODE_FULL:
        if (s->is_stuck) {
            int32_t id = s->stuck_home != HN_NODE_NONE
                             ? round->snapshot->host->nodes[s->stuck_home].id
                             : -1;
            g_string_append_printf(text,
                                   "Would go to node %d, but neither there nor on any node of those it "
                                   "would change places with is room for a single huge page beyond what "
                                   "is kept free; nothing was begun.",
                                   id);
            return true;
        }
        if (hn_split_has_outsider(s->split)) {
            g_string_append(text, "It is on ");
            append_homes(round, text, v, false);
            g_string_append_printf(
                text, ", which the administrator's nodeset excludes; node %d, which it allows, ",
                better_id);
        } else {
            append_better(round, text, s, better);
        }
        append_room(round, text, s, better);
        g_string_append_c(text, '.');
        return true;
    case HN_REASON_NODESET_BY_ADMIN:
        if (hn_split_has_outsider(s->split)) {
            g_string_append(text, "It is on ");
            append_homes(round, text, v, false);
            g_string_append(text, ", not all of which the administrator's nodeset allows; on what it "
                                  "allows no place can be had now.");
        } else if (better >= 0) {
            append_better(round, text, s, better);
            g_string_append(text, "the administrator's nodeset excludes it.");
        } else {
            g_string_append(text, "The administrator's nodeset leaves no other choice.");
        }
        return true;
    case HN_REASON_PINNED_BY_ADMIN:
        if (better >= 0) {
            append_better(round, text, s, better);
            g_string_append_printf(text, "the administrator has pinned %u of its %u vCPUs elsewhere.",
                                   count_pinned(s->domain), s->domain->n_vcpus);
        } else if (s->split->clients[0].allowed) {
            g_string_append_printf(text,
                                   "The administrator's pins hold %u of its %u vCPUs, not all where the "
                                   "others are; they are respected, and the others follow as soon as the "
                                   "domain may be moved again.",
                                   count_pinned(s->domain), s->domain->n_vcpus);
        } else {
            g_string_append_printf(text,
                                   "The administrator's pins of %u of its %u vCPUs leave no single node; "
                                   "they are respected.",
                                   count_pinned(s->domain), s->domain->n_vcpus);
        }
        return true;
    case HN_REASON_MARKED_WORSE:
        append_better(round, text, s, better);
        g_string_append_printf(text,
                               "an earlier move there made it worse; it is not tried again for %" G_GUINT64_FORMAT
                               " min.",
                               (record->marked_until_ns - MIN(round->now_ns, record->marked_until_ns)) /
                                   UINT64_C(60000000000));
        return true;
    case HN_REASON_SMT_CONTENTION:
        g_string_append_printf(text,
                               "On one node its %u vCPUs would share cores: that would cost more than the "
                               "remote access it saves, and ",
                               s->domain->n_vcpus);
        hn_phrase_permille(text, v->bytes_local_permille);
        g_string_append(text, " of its memory is local.");
        return true;
    default:
        return false;
    }
}

static void describe_rest(const HnRound *round, GString *text, const HnStanding *s,
                          const HnVerdict *v)
{
    const HnHost *host = round->snapshot->host;

    if ((v->reason == HN_REASON_IMMOVABLE || v->reason == HN_REASON_MEMORY_KEEP) &&
        hn_split_has_outsider(s->split)) {
        g_string_append(text, "The administrator's nodeset excludes ");
        append_homes(round, text, v, false);
        g_string_append_printf(text, ", its home, but its memory %s, and its vCPUs are not sent away from it.",
                               grip_of(s->domain));
        return;
    }
    switch (v->reason) {
    case HN_REASON_CONVERGED:
        g_string_append(text, "At home on ");
        append_homes(round, text, v, false);
        g_string_append(text, " with ");
        hn_phrase_permille(text, v->bytes_local_permille);
        g_string_append(text, " of its memory local.");
        if (shared_bytes(round, s) > 0) {
            g_string_append_c(text, ' ');
            hn_phrase_bytes(text, shared_bytes(round, s));
            g_string_append(text, " that several of its parts touch stay where they are.");
        }
        if (v->n_clients > 1) {
            g_string_append_printf(text, " Its %u parts: ", v->n_clients);
            append_cut(text, s);
            g_string_append_c(text, '.');
        }
        return;
    case HN_REASON_IDLE:
        g_string_append(text, "It uses ");
        hn_phrase_cpus(text, demand_of(v));
        g_string_append(text, ": where it is costs nothing.");
        return;
    case HN_REASON_IMMOVABLE:
        g_string_append(text, "Memory that cannot move keeps ");
        hn_phrase_permille(text, 1000 - MIN(v->bytes_local_permille, 1000));
        g_string_append(text, " of it away from its vCPUs.");
        return;
    case HN_REASON_MEMORY_KEEP:
        g_string_append(text, "memory='keep': its memory stays, ");
        hn_phrase_permille(text, v->bytes_local_permille);
        g_string_append(text, " of it is local.");
        return;
    case HN_REASON_NO_SINGLE_NODE_FITS:
        g_string_append_printf(
            text, "It fits no single node (%u vCPUs) and staying as it is costs least.",
            s->domain->n_vcpus);
        return;
    case HN_REASON_PAYBACK_TOO_LONG:
        g_string_append(text,
                        "Another place is better, but moving its memory would not repay within ");
        g_string_append_printf(text, "%" G_GUINT64_FORMAT " s; ",
                               round->policy->payback_horizon_ns / 1000000000);
        hn_phrase_permille(text, v->bytes_local_permille);
        g_string_append(text, " of it is local.");
        return;
    case HN_REASON_UNSUPPORTED:
        g_string_append_printf(text,
                               "Node %d, which was asked for, has no CPUs or no memory and cannot be a home.",
                               s->forced_node >= 0 ? host->nodes[s->forced_node].id : -1);
        return;
    case HN_REASON_EVIDENCE_THIN:
        describe_evidence(text, s);
        return;
    default:
        g_string_append(text, "No better place is worth a move: ");
        hn_phrase_permille(text, v->bytes_local_permille);
        g_string_append(text, " of its memory is local, score ");
        hn_phrase_int(text, v->score_now);
        g_string_append(text, "; it would have to bring ");
        hn_phrase_int(text, s->threshold_ns / 1000000);
        g_string_append(text, " ms of stall per second.");
        return;
    }
}

char *hn_sentence_verdict(const HnRound *round, const HnStanding *s, const HnVerdict *v,
                          int32_t better)
{
    GString *text = g_string_sized_new(TYPICAL_LENGTH);

    if (v->will_act)
        describe_move(round, text, s, v, v->reason);
    else if (describe_freeze(round, text, s, v) || describe_hold(round, text, s, v, better))
        return g_string_free(text, FALSE);
    else if (v->reason == HN_REASON_ADVISE_ONLY)
        describe_move(round, text, s, v, s->reason);
    else
        describe_rest(round, text, s, v);
    return g_string_free(text, FALSE);
}
