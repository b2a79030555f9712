/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One decision, as one screen: update, search, gate, plan.
 *
 * Order matters only here. Nothing in it knows the time but by the snapshot, and nothing outlives
 * it but the past.
 */
#include "decide.h"

#include "canonical.h"
#include "demand.h"
#include "search.h"

#include <string.h>

/* Unmanaged load of a node is smoothed over this, and held like demand. */
#define OTHER_LOAD_HALFLIFE_NS (10 * UINT64_C(1000000000))
/* Rounds measured before a re-home that make a baseline for its audit. */
#define MIN_BASELINE_SAMPLES 2
/* A forced domain leaves where it is at almost any cost, if it can go where it was told to. */
#define FORCE_NS_PER_SEC (INT64_C(1) << 46)

static void update_other_load(HnRound *round)
{
    const HnHost *host = round->snapshot->host;
    HnPast *past = round->past;
    bool is_new = past->other_load_mcpu == NULL;
    uint32_t weight = hn_demand_weight(round->elapsed_ns, OTHER_LOAD_HALFLIFE_NS);

    if (is_new) {
        past->other_load_mcpu = g_new0(uint64_t, host->n_nodes);
        past->other_load_held_mcpu = g_new0(uint64_t, host->n_nodes);
    }
    for (uint32_t n = 0; n < host->n_nodes; n++) {
        int64_t old = (int64_t)past->other_load_mcpu[n];
        int64_t sample = (int64_t)MIN(host->nodes[n].other_load_mcpu, (uint64_t)HN_MAX_CPUS * 1000);
        past->other_load_mcpu[n] =
            (uint64_t)(is_new ? sample : old + (sample - old) * (int64_t)weight / 65536);
        /* Differences below a sixteenth of the node are not worth a thought. */
        uint64_t band = (uint64_t)host->nodes[n].n_cpus * 1000 / 16;
        uint64_t held = past->other_load_held_mcpu[n], now = past->other_load_mcpu[n];
        if (is_new || (held > now ? held - now : now - held) > band)
            past->other_load_held_mcpu[n] = hn_demand_hold(held, !is_new, now);
    }
}

static void read_domains(HnRound *round, const HnForce *forces, uint32_t n_forces)
{
    uint32_t node_rank[HN_MAX_NODES];

    hn_canonical_nodes(round->snapshot->host, round->snapshot->domains,
                       round->past->other_load_held_mcpu, node_rank);
    for (uint32_t d = 0; d < round->n_domains; d++) {
        HnStanding *s = &round->standings[d];
        s->domain = g_ptr_array_index(round->snapshot->domains, d);
        s->split = &round->splits[d];
        s->record = hn_past_domain(round->past, s->domain, round->now_ns);
        s->record->last_seen_ns = round->now_ns;
        hn_demand_update(s->record, s->domain, round->elapsed_ns, round->policy);
        hn_split_init(s->split, round->snapshot->host, node_rank, s->domain, s->record,
                      round->policy, hn_standing_is_sent(forces, n_forces, s->domain->uuid),
                      round->now_ns, round->elapsed_ns);
        hn_doubt_look(round->snapshot->host, s->split, &s->look);
    }
}

/* The node an item must go to, and whether it may refuse. */
static void apply_standing(const HnRound *round, HnEntry *entry, const HnStanding *s)
{
    const HnPastDomain *record = s->record;

    entry->forced_node = s->forced_node;
    entry->is_fixed = s->is_frozen;
    entry->has_hysteresis = !s->is_forced && !s->is_initial && !record->is_undoing;
    if (s->is_in_flight)
        entry->wanted = record->clients;
    if (s->is_home_frozen && s->split->n_clients == 1)
        entry->forced_node =
            s->kept_home != HN_NODE_NONE ? s->kept_home : s->split->clients[0].home_now;
    if (record->marked_worse && !s->is_forced)
        entry->forbidden = record->marked_worse;
    if (record->is_undoing && !s->is_frozen && !s->is_forced)
        entry->forced_node = record->clients[0].came_from;
}

static void build_model(HnRound *round)
{
    g_autofree HnEntry *entries = g_new0(HnEntry, round->n_domains + 1);

    for (uint32_t d = 0; d < round->n_domains; d++)
        apply_standing(round, &entries[d], &round->standings[d]);
    round->model = hn_model_new(round->snapshot->host, round->policy, round->splits,
                                round->n_domains, entries, round->past->other_load_held_mcpu);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < round->model->n_items; i += round->model->items[i].kin_count) {
        HnStanding *s = &round->standings[round->model->items[i].split];
        s->first_item = i;
        round->order[rank++] = round->model->items[i].split;
        /* A home-frozen wide domain keeps every client where it is. */
        for (uint32_t c = 0;
             s->is_home_frozen && s->kept_home == HN_NODE_NONE && c < s->split->n_clients; c++) {
            HnItem *item = &round->model->items[i + c];
            item->allowed &= item->home_now >= 0 ? UINT64_C(1) << item->home_now : 0;
        }
    }
}

/* Staying gets so dear for domains that must leave that the search moves them if it can at all. */
static void push_forced(HnRound *round)
{
    HnModel *m = round->model;

    for (uint32_t d = 0; d < round->n_domains; d++) {
        const HnStanding *s = &round->standings[d];
        bool is_pushed = (s->is_forced && s->forced_node != HN_NODE_NONE) || s->record->is_undoing;
        for (uint32_t c = 0; is_pushed && !s->is_frozen && c < s->split->n_clients; c++)
            m->unary[(size_t)(s->first_item + c) * (m->n_nodes + 1) + m->n_nodes] +=
                FORCE_NS_PER_SEC;
    }
}

static void pull_back_forced(HnRound *round)
{
    HnModel *m = round->model;

    for (uint32_t d = 0; d < round->n_domains; d++) {
        const HnStanding *s = &round->standings[d];
        bool is_pushed = (s->is_forced && s->forced_node != HN_NODE_NONE) || s->record->is_undoing;
        for (uint32_t c = 0; is_pushed && !s->is_frozen && c < s->split->n_clients; c++)
            m->unary[(size_t)(s->first_item + c) * (m->n_nodes + 1) + m->n_nodes] -=
                FORCE_NS_PER_SEC;
    }
}

/* Lets only those move whose turn it is. Returns whether there are any. */
static bool free_those_placed(HnRound *round)
{
    bool has_any = false;

    for (uint32_t d = 0; d < round->n_domains; d++) {
        const HnStanding *s = &round->standings[d];
        bool is_free = !s->is_frozen && hn_round_places(round, s);
        for (uint32_t c = 0; c < s->split->n_clients; c++)
            round->model->items[s->first_item + c].is_fixed = !is_free;
        has_any |= is_free;
    }
    return has_any;
}

/* The search's wish for those whose turn it is, from where all are; then what the gate leaves of it. */
static void place(HnRound *round, const HnAssignment *from)
{
    push_forced(round);
    round->wished = hn_assignment_copy(from);
    if (round->snapshot->host->n_nodes > 1 && free_those_placed(round))
        hn_search(round->wished);
    pull_back_forced(round);
    round->target = hn_assignment_copy(round->wished);
    hn_gate(round);
}

/* What would be best for those who are only advised, once the others are where they will be. */
static void advise(HnRound *round)
{
    bool has_advised = false;

    for (uint32_t d = 0; d < round->n_domains; d++)
        has_advised |= round->standings[d].is_advised;
    if (!has_advised)
        return;
    hn_assignment_free(round->wished);
    round->acted = round->target;
    round->is_advising = true;
    place(round, round->acted);
}

/* Notes in the past what this plan asks for. */
static void remember(HnRound *round)
{
    for (uint32_t d = 0; d < round->n_domains; d++) {
        HnStanding *s = &round->standings[d];
        if (!s->is_changed || !s->is_confirmed || s->is_advised || s->is_frozen)
            continue;
        bool is_rehome = false;
        for (uint32_t c = 0; c < s->split->n_clients; c++) {
            int32_t home = hn_round_home(round, round->target, s, c);
            /* Going back to the home it has been given is no new one. */
            if (home != s->split->clients[c].home_now && home != s->kept_home) {
                is_rehome = true;
                s->record->clients[c].came_from = s->split->clients[c].home_now;
            }
            s->record->clients[c].wanted = home;
        }
        if (is_rehome) {
            s->record->asked_ns = round->now_ns;
            s->record->stall_before_permille = s->record->stall_permille;
            s->record->has_baseline = s->record->n_samples >= MIN_BASELINE_SAMPLES;
        }
    }
}

static void round_clear(HnRound *round)
{
    for (uint32_t d = 0; d < round->n_domains; d++) {
        hn_split_clear(&round->splits[d]);
    }
    hn_assignment_free(round->before);
    hn_assignment_free(round->wished);
    hn_assignment_free(round->target);
    hn_assignment_free(round->acted);
    hn_model_free(round->model);
    g_free(round->standings);
    g_free(round->splits);
    g_free(round->order);
}

HnPlan *hn_decide(const HnSnapshot *snapshot, const HnPolicy *policy, HnPast *past,
                  const HnForce *forces, uint32_t n_forces, const HnOutcome *outcomes,
                  uint32_t n_outcomes, const char *const *in_flight, GError **error)
{
    if (!snapshot->host) {
        g_set_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_SENSE, "snapshot without a host");
        return NULL;
    }
    if (!hn_host_validate(snapshot->host, error) || !hn_policy_validate(policy, error))
        return NULL;

    HnRound round = {
        .snapshot = snapshot,
        .policy = policy,
        .past = past,
        .now_ns = snapshot->taken_ns,
        .elapsed_ns = past->last_ns && snapshot->taken_ns > past->last_ns
                          ? snapshot->taken_ns - past->last_ns
                          : 0,
        .n_domains = snapshot->domains->len,
    };
    HnPlan *plan = hn_plan_new();
    round.standings = g_new0(HnStanding, round.n_domains + 1);
    round.splits = g_new0(HnSplit, round.n_domains + 1);
    round.order = g_new0(uint32_t, round.n_domains + 1);

    hn_past_begin(past, snapshot->host->n_nodes);
    hn_audit_outcomes(&round, outcomes, n_outcomes);
    update_other_load(&round);
    read_domains(&round, forces, n_forces);
    hn_standing_read(&round, forces, n_forces, in_flight);
    build_model(&round);
    round.before = hn_assignment_new(round.model);
    hn_audit_measure(&round);

    place(&round, round.before);
    advise(&round);

    plan->generation = ++past->generation;
    plan->made_ns = round.now_ns;
    hn_verdicts(&round, plan);
    hn_doubts(&round, plan);
    hn_plan_order(&round, plan);
    remember(&round);
    hn_past_sweep(past, round.now_ns);
    past->last_ns = round.now_ns;
    round_clear(&round);
    return plan;
}
