/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What became of our decisions: outcomes told by the daemon, and predictions against measurements.
 *
 * A re-home counts (cooldown, budget) when it is seen in the affinities, not when it was asked for:
 * what libvirt refused did not happen. Its measured stall, waiting for CPUs and memory away from
 * home, is compared with the measurement before it; if it became worse by a clear margin, the
 * domain goes back and the home is marked for an hour.
 */
#include "decide.h"

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
/* Long enough for memory to follow and averages to settle. */
#define AUDIT_DELAY_NS (20 * SECOND_NS)
#define MARK_NS (3600 * SECOND_NS)
/* Worse only if by a fifth of its demand: measurements vary, and a move back costs as much as the
 * move. */
#define WORSE_PERMILLE 200
/* Rounds in a row that must agree. */
#define AUDIT_ROUNDS 3

static void take_outcome(HnPastDomain *record, const HnOutcome *outcome, uint64_t now_ns)
{
    bool is_done =
        outcome->reason == HN_REASON_DONE || outcome->reason == HN_REASON_DONE_WITH_RESIDUE;

    /* Memory that turned out to be pinned is the largest residue there is. */
    if (outcome->kind == HN_ACTION_MOVE_MEMORY &&
        (is_done || outcome->reason == HN_REASON_IMMOVABLE)) {
        record->residue_bytes = outcome->bytes_left;
        record->residue_ns = now_ns;
    }
    if (!is_done) {
        /* Whatever stopped it gets the time of a new confirmation before it is tried again. */
        record->n_confirmed = 0;
        if (outcome->kind == HN_ACTION_PIN)
            record->asked_ns = 0;
    }
}

void hn_audit_outcomes(HnRound *round, const HnOutcome *outcomes, uint32_t n_outcomes)
{
    for (uint32_t i = 0; i < n_outcomes; i++) {
        HnPastDomain *record = hn_past_find(round->past, outcomes[i].uuid);
        if (record)
            take_outcome(record, &outcomes[i], round->now_ns);
    }
}

static bool is_where_asked(const HnStanding *s)
{
    for (uint32_t c = 0; c < s->split->n_clients; c++)
        if (s->record->clients[c].wanted != HN_NODE_NONE &&
            s->record->clients[c].wanted != s->split->clients[c].home_now)
            return false;
    return true;
}

/* Share of its time a thread waits on a node loaded beyond its capacity. Decisions see load that is
 * not ours smoothed and held; waiting is measured at once, so the largest of what is known of it
 * explains. */
static int64_t waits_permille(const HnRound *round, uint32_t rank)
{
    uint32_t node = round->model->node_index[rank];
    uint64_t held = round->past->other_load_held_mcpu[node];
    uint64_t most =
        MAX(round->past->other_load_mcpu[node], round->snapshot->host->nodes[node].other_load_mcpu);
    int64_t extra = most > held ? (int64_t)MIN(most - held, (uint64_t)INT32_MAX) : 0;
    int64_t load = round->before->load_mcpu[rank];
    int64_t capacity = MAX(round->model->nodes[rank].capacity_mcpu - extra, 1);

    return load > capacity ? (load - capacity) * 1000 / load : 0;
}

/* The waiting that the known load of the domain's nodes explains. Without taking it off, any guest
 * that starts beside one that has just moved would make the move look like a mistake. */
static int64_t explained_permille(const HnRound *round, const HnStanding *s)
{
    const HnModel *m = round->model;
    int64_t sum = 0;

    for (uint32_t c = 0; c < s->split->n_clients; c++) {
        const HnItem *it = &m->items[s->first_item + c];
        if (!it->is_floating) {
            sum += waits_permille(round, (uint32_t)it->home_now);
            continue;
        }
        for (uint32_t r = 0; r < m->n_nodes; r++)
            sum += waits_permille(round, r) *
                   m->share[(size_t)(s->first_item + c) * m->n_nodes + r] / 1000;
    }
    return sum / s->split->n_clients;
}

/* Share of the domain's memory-bound time lost to memory away from its vCPUs, plus unexplained
 * waiting. */
static int32_t measured_stall(const HnRound *round, const HnStanding *s)
{
    __int128 remote = 0;
    int64_t demand = 0;

    for (uint32_t c = 0; c < s->split->n_clients; c++) {
        remote += hn_model_terms(round->model, s->first_item + c, round->model->n_nodes).remote_ns;
        demand += round->model->items[s->first_item + c].weighted_mcpu;
    }
    int64_t remote_permille = demand > 0 ? (int64_t)(remote / demand / 1000) : 0;
    int64_t unexplained = (int64_t)s->record->delay_permille - explained_permille(round, s);
    return (int32_t)(MIN(remote_permille, 100000) + MAX(unexplained, 0));
}

static void judge(const HnRound *round, HnPastDomain *record, const HnStanding *s)
{
    if (record->stall_permille <= record->stall_before_permille + WORSE_PERMILLE) {
        record->audit_left = 0;
        return;
    }
    if (--record->audit_left > 0)
        return;
    for (uint32_t c = 0; c < s->split->n_clients; c++)
        if (s->split->clients[c].home_now != HN_NODE_NONE)
            record->marked_worse |= UINT64_C(1) << s->split->clients[c].home_now;
    record->marked_until_ns = round->now_ns + MARK_NS;
    record->is_undoing = s->split->n_clients == 1 && record->clients[0].came_from != HN_NODE_NONE;
}

void hn_audit_measure(HnRound *round)
{
    for (uint32_t d = 0; d < round->n_domains; d++) {
        HnStanding *s = &round->standings[d];
        HnPastDomain *record = s->record;

        record->stall_permille = measured_stall(round, s);
        if (record->asked_ns && is_where_asked(s)) {
            hn_past_domain_add_move(record, round->now_ns);
            record->asked_ns = 0;
            record->is_undoing = false;
            record->audit_left = record->has_baseline ? AUDIT_ROUNDS : 0;
            record->audit_due_ns = round->now_ns + AUDIT_DELAY_NS;
        }
        if (record->audit_left > 0 && !s->is_in_flight && round->now_ns >= record->audit_due_ns)
            judge(round, record, s);
        if (record->marked_worse && round->now_ns >= record->marked_until_ns)
            record->marked_worse = 0;
    }
}
