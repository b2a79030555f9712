/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gate between what would be better and what is worth doing.
 *
 * The minimum gain is part of the search's objective: a home other than today's costs the
 * threshold, so a set of changes is only ever found if it brings more than the thresholds of all
 * its members together. The gate then asks of each domain's change what it brings on its own: the
 * cost with it against the cost without it, all others as they are. What brings nothing is put
 * back; what remains must have been proposed in confirm_rounds rounds in a row. Putting back is
 * only possible while the old place is still free; where it is not (another change needs the room),
 * the two stand or fall together.
 */
#include "decide.h"

#define MAX_SWEEPS 8

int32_t hn_round_home(const HnRound *round, const HnAssignment *a, const HnStanding *s,
                      uint32_t client)
{
    uint32_t state = hn_round_state(round, a, s, client);

    return state < round->model->n_nodes ? (int32_t)round->model->node_index[state]
                                         : s->split->clients[client].home_now;
}

uint64_t hn_round_bytes(const HnRound *round, const HnAssignment *a, const HnStanding *s,
                        uint32_t client)
{
    uint32_t state = hn_round_state(round, a, s, client);

    if (state == round->model->n_nodes)
        return 0;
    return hn_model_bytes_to_move(s->split, client, round->model->node_index[state], round->policy);
}

bool hn_gate_is_change(const HnRound *round, const HnAssignment *a, const HnStanding *s)
{
    for (uint32_t c = 0; c < s->split->n_clients; c++)
        if (hn_round_home(round, a, s, c) != s->split->clients[c].home_now ||
            hn_round_bytes(round, a, s, c) > 0)
            return true;
    return false;
}

/* Puts a domain back to where it is today; returns the change of the total. */
static int64_t put_back(const HnRound *round, HnAssignment *a, const HnStanding *s)
{
    int64_t delta = 0;

    for (uint32_t i = s->first_item; i < s->first_item + s->split->n_clients; i++)
        if (a->state[i] != round->before->state[i])
            delta += hn_assignment_move(a, i, round->before->state[i]);
    return delta;
}

static bool has_room(const HnRound *round, const HnAssignment *a, const HnStanding *s)
{
    for (uint32_t i = s->first_item; i < s->first_item + s->split->n_clients; i++)
        if (!hn_assignment_has_room(a, round->before, i))
            return false;
    return true;
}

/* Its change is wanted whatever it costs: an order, a first home, or the taking back of a mistake
 * (which the model, having made it, still believes in). */
static bool is_unconditional(const HnStanding *s)
{
    return s->is_forced || s->is_initial || s->record->is_undoing;
}

/* What a domain's change must bring in the search's own measure, which holds the threshold already.
 */
static int64_t asked_of(const HnStanding *s)
{
    return is_unconditional(s) ? INT64_MIN / 256 : 1;
}

/* Hysteresis that the domain's change pays in the search's measure; its gain is what it brings
 * besides. */
static int64_t paid_for(const HnRound *round, const HnStanding *s)
{
    int64_t sum = 0;

    for (uint32_t c = 0; c < s->split->n_clients; c++) {
        uint32_t state = hn_round_state(round, round->wished, s, c);
        const HnItem *item = &round->model->items[s->first_item + c];
        sum +=
            state < round->model->n_nodes && (int32_t)state != item->home_now ? item->change_ns : 0;
    }
    return sum;
}

static void drop(HnStanding *s)
{
    s->is_changed = false;
    s->was_pruned = true;
}

/* Does some client of `other` go where `s` is today? */
static bool takes_place_of(const HnRound *round, const HnStanding *other, const HnStanding *s)
{
    for (uint32_t i = other->first_item; i < other->first_item + other->split->n_clients; i++)
        for (uint32_t j = s->first_item; j < s->first_item + s->split->n_clients; j++)
            if (round->target->state[i] == (uint32_t)round->model->items[j].stay_node)
                return true;
    return false;
}

/* The domain's old place is taken by others: all of them are put back together, and judged
 * together. */
static bool prune_together(HnRound *round, HnStanding *s)
{
    g_autoptr(HnAssignment) trial = hn_assignment_copy(round->target);
    g_autoptr(GPtrArray) members = g_ptr_array_new();
    int64_t asked = asked_of(s), loss = put_back(round, trial, s);
    bool fits = false;

    g_ptr_array_add(members, s);
    for (uint32_t k = 0; k < round->n_domains && !fits; k++) {
        HnStanding *other = &round->standings[round->order[k]];
        if (other == s || !other->is_changed || !hn_round_places(round, other) ||
            !takes_place_of(round, other, s))
            continue;
        loss += put_back(round, trial, other);
        asked = MAX(asked + asked_of(other), INT64_MIN / 2);
        g_ptr_array_add(members, other);
        fits = true;
        for (guint i = 0; i < members->len; i++)
            fits &= has_room(round, trial, g_ptr_array_index(members, i));
    }
    s->gain_ns = loss + paid_for(round, s);
    if (!fits || loss >= asked)
        return false;
    hn_assignment_set(round->target, trial);
    for (guint i = 0; i < members->len; i++)
        drop(g_ptr_array_index(members, i));
    return true;
}

/* The same for a domain of one client without company, whose price can be had without the deed. */
static bool prune_plain(HnRound *round, HnStanding *s)
{
    uint32_t item = s->first_item, state = round->before->state[item];

    if (!hn_assignment_would_have_room(round->target, round->before, item, state))
        return prune_together(round, s);
    int64_t loss =
        round->target->state[item] != state ? hn_assignment_price(round->target, item, state) : 0;
    s->gain_ns = loss + paid_for(round, s);
    if (loss >= asked_of(s))
        return false;
    hn_assignment_move(round->target, item, state);
    drop(s);
    return true;
}

static bool prune_one(HnRound *round, HnStanding *s)
{
    if (s->split->n_clients == 1 && !hn_item_has_company(&round->model->items[s->first_item]))
        return prune_plain(round, s);
    int64_t loss = put_back(round, round->target, s);

    if (has_room(round, round->target, s)) {
        s->gain_ns = loss + paid_for(round, s);
        if (loss < asked_of(s)) {
            drop(s);
            return true;
        }
    }
    bool is_alone = has_room(round, round->target, s);
    for (uint32_t i = s->first_item; i < s->first_item + s->split->n_clients; i++)
        if (round->target->state[i] != round->wished->state[i])
            hn_assignment_move(round->target, i, round->wished->state[i]);
    return is_alone ? false : prune_together(round, s);
}

/* Puts back what does not repay, again and again: one change's going changes what others bring. */
static void prune(HnRound *round)
{
    bool has_pruned = true;

    for (uint32_t sweep = 0; sweep < MAX_SWEEPS && has_pruned; sweep++) {
        has_pruned = false;
        for (uint32_t k = 0; k < round->n_domains; k++) {
            HnStanding *s = &round->standings[round->order[k]];
            if (s->is_changed && !s->is_frozen && hn_round_places(round, s))
                has_pruned |= prune_one(round, s);
        }
    }
}

/* Compares this round's proposal with the last one's and counts agreement. */
static void confirm(HnRound *round, HnStanding *s)
{
    HnPastDomain *record = s->record;
    bool is_same = record->n_confirmed > 0;

    for (uint32_t c = 0; c < s->split->n_clients; c++) {
        int32_t home = s->is_changed ? hn_round_home(round, round->target, s, c) : HN_NODE_NONE;
        is_same = is_same && record->clients[c].proposed == home;
        record->clients[c].proposed = home;
    }
    record->n_confirmed = !s->is_changed ? 0 : is_same ? record->n_confirmed + 1 : 1;
    s->is_confirmed = is_unconditional(s) || record->n_confirmed >= round->policy->confirm_rounds;
}

/* Takes unconfirmed changes out of the target. If others need the room they would have left, those
 * wait, too. */
static void hold_unconfirmed(HnRound *round)
{
    bool has_held = true;

    for (uint32_t k = 0; k < round->n_domains; k++) {
        HnStanding *s = &round->standings[k];
        if (s->is_changed && !s->is_confirmed && hn_round_places(round, s))
            put_back(round, round->target, s);
    }
    while (has_held) {
        has_held = false;
        for (uint32_t k = 0; k < round->n_domains; k++) {
            HnStanding *s = &round->standings[round->order[k]];
            if (s->is_changed && s->is_confirmed && hn_round_places(round, s) &&
                !has_room(round, round->target, s)) {
                put_back(round, round->target, s);
                s->is_confirmed = false;
                has_held = true;
            }
        }
    }
    /* What is left was part of something larger; alone it must not make things worse. */
    if (hn_assignment_total(round->target) <= hn_assignment_total(round->before))
        return;
    for (uint32_t k = 0; k < round->n_domains; k++) {
        HnStanding *s = &round->standings[round->order[k]];
        if (!s->is_changed || !s->is_confirmed || is_unconditional(s) || !hn_round_places(round, s))
            continue;
        put_back(round, round->target, s);
        s->is_confirmed = false;
    }
    for (uint32_t k = 0; k < round->n_domains; k++) {
        HnStanding *s = &round->standings[round->order[k]];
        if (s->is_changed && s->is_confirmed && hn_round_places(round, s) &&
            !has_room(round, round->target, s)) {
            put_back(round, round->target, s);
            s->is_confirmed = false;
        }
    }
}

/* Takes out who cannot even begin, and with them who needed the room they would have left. */
static void hold_stuck(HnRound *round)
{
    HnStanding *stuck;

    while ((stuck = hn_plan_find_stuck(round))) {
        g_autofree bool *was_confirmed = g_new(bool, round->n_domains);
        for (uint32_t k = 0; k < round->n_domains; k++)
            was_confirmed[k] = round->standings[k].is_changed && round->standings[k].is_confirmed;
        stuck->is_confirmed = false;
        hold_unconfirmed(round);
        for (uint32_t k = 0; k < round->n_domains; k++) {
            HnStanding *s = &round->standings[k];
            if (!was_confirmed[k] || s->is_confirmed)
                continue;
            s->is_stuck = true;
            s->stuck_home = hn_round_home(round, round->wished, s, 0);
        }
    }
}

void hn_gate(HnRound *round)
{
    for (uint32_t k = 0; k < round->n_domains; k++) {
        HnStanding *s = &round->standings[k];
        int64_t weighted_mcpu = 0;
        if (!hn_round_places(round, s))
            continue;
        for (uint32_t c = 0; c < s->split->n_clients; c++)
            weighted_mcpu += round->model->items[s->first_item + c].weighted_mcpu;
        s->threshold_ns = hn_model_threshold(weighted_mcpu, round->policy);
        s->is_changed = !s->is_frozen && hn_gate_is_change(round, round->target, s);
    }
    prune(round);
    for (uint32_t k = 0; k < round->n_domains; k++)
        if (hn_round_places(round, &round->standings[k]))
            confirm(round, &round->standings[k]);
    hold_unconfirmed(round);
    hold_stuck(round);
}
