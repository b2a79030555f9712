/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Verdicts: for every domain what is, what will be and why.
 *
 * Reasons are read off the costs after the fact: which term fell most explains a move; which wall
 * stands in front of the best node explains its absence. Nothing here changes the plan.
 */
#include "decide.h"

#include "sentence.h"

#include <string.h>

/* Below this demand a domain's place costs nothing worth naming. */
#define IDLE_MCPU 20
#define MAX_DEPARTURES 3
/* Guests that want more than three times the CPUs of the host are more than it holds well;
 * threefold is the most that hosts are deliberately overcommitted by, and waiting for CPUs is what
 * one then bargained for. */
#define OVERFULL_CPU_PERMILLE 3000

static void costs_of(const HnRound *round, const HnAssignment *a, const HnStanding *s,
                     HnCost *ret_cost)
{
    hn_assignment_item_cost(a, s->first_item, ret_cost);
    for (uint32_t c = 1; c < s->split->n_clients; c++) {
        HnCost part;
        hn_assignment_item_cost(a, s->first_item + c, &part);
        hn_cost_add(ret_cost, &part);
    }
}

static int64_t weighted_demand(const HnRound *round, const HnStanding *s)
{
    int64_t sum = 0;

    for (uint32_t c = 0; c < s->split->n_clients; c++)
        sum += round->model->items[s->first_item + c].weighted_mcpu;
    return sum;
}

/* Contention nobody could avoid: that of a host whose whole load is spread evenly, per mcpu of
 * demand. */
static HnModelNode whole_host(const HnRound *round, const HnAssignment *a, int64_t *ret_load)
{
    HnModelNode host = {0};

    *ret_load = 0;
    for (uint32_t n = 0; n < round->model->n_nodes; n++) {
        if (round->snapshot->host->nodes[round->model->node_index[n]].n_cpus > 0)
            host.capacity_mcpu += round->model->nodes[n].capacity_mcpu;
        *ret_load += a->load_mcpu[n];
    }
    host.capacity_mcpu = MAX(host.capacity_mcpu, 1);
    host.contention_factor = (INT64_C(1000000) << 24) / host.capacity_mcpu;
    return host;
}

/* Demand over demand plus avoidable stall, 0 to 100. */
static uint32_t score(int64_t demand_mcpu, const HnCost *cost, int64_t unavoidable_ns)
{
    __int128 demand_ns = (__int128)demand_mcpu * 1000000;
    __int128 stall = (__int128)cost->remote_ns_per_sec + cost->bandwidth_ns_per_sec +
                     MAX(cost->company_ns_per_sec, 0) +
                     MAX(cost->cpu_ns_per_sec - unavoidable_ns, 0);

    if (demand_ns == 0)
        return 100;
    return (uint32_t)((demand_ns * 100 + (demand_ns + stall) / 2) / (demand_ns + stall));
}

static HnReason reason_of_term(const HnStanding *s, const HnCost *now, const HnCost *after)
{
    int64_t remote = now->remote_ns_per_sec - after->remote_ns_per_sec;
    int64_t cpu = now->cpu_ns_per_sec - after->cpu_ns_per_sec;
    int64_t bandwidth = now->bandwidth_ns_per_sec - after->bandwidth_ns_per_sec;
    int64_t company = now->company_ns_per_sec - after->company_ns_per_sec;
    int64_t most = MAX(MAX(remote, cpu), MAX(bandwidth, company));

    if (most <= 0)
        return HN_REASON_MAKE_ROOM;
    if (most == remote || most == cpu) {
        /* A guest that lay everywhere is gathered, whatever that helps most. */
        if (s->split->clients[0].home_now == HN_NODE_NONE)
            return HN_REASON_CONSOLIDATE;
        return most == remote ? HN_REASON_LOCALITY_GAIN : HN_REASON_LOAD_BALANCE;
    }
    if (most == bandwidth)
        return HN_REASON_CONGESTION;
    return s->domain->device_nodes ? HN_REASON_DEVICE_LOCALITY : HN_REASON_COMPANY;
}

/* Which nodes domains of one client leave for which others: goes_to[from] has bit `to`. */
static void note_exchanges(const HnRound *round, HnNodemask *goes_to)
{
    memset(goes_to, 0, sizeof(HnNodemask) * HN_MAX_NODES);
    for (uint32_t d = 0; d < round->n_domains; d++) {
        const HnStanding *s = &round->standings[d];
        int32_t from = s->split->clients[0].home_now;
        if (!s->is_changed || s->split->n_clients > 1 || from == HN_NODE_NONE)
            continue;
        int32_t to = hn_round_home(round, round->target, s, 0);
        if (to != HN_NODE_NONE && to != from)
            goes_to[from] |= UINT64_C(1) << to;
    }
}

/* Another domain goes where this one is, and this one where that one is. */
static bool is_swap(const HnRound *round, const HnStanding *s, const HnNodemask *goes_to)
{
    int32_t from = s->split->clients[0].home_now, to = hn_round_home(round, round->target, s, 0);

    return from != HN_NODE_NONE && to != HN_NODE_NONE && from != to && (goes_to[to] >> from & 1);
}

static HnReason reason_of_change(const HnRound *round, const HnStanding *s,
                                 const HnNodemask *goes_to, const HnCost *now, const HnCost *after)
{
    if (s->record->is_undoing)
        return HN_REASON_UNDO_WORSE;
    if (s->is_forced)
        return HN_REASON_FORCED;
    if (s->is_initial)
        return HN_REASON_INITIAL_PLACEMENT;
    if (hn_split_has_outsider(s->split))
        return HN_REASON_NODESET_BY_ADMIN;
    if (s->split->n_clients > 1)
        return HN_REASON_SPLIT_WIDE;
    if (is_swap(round, s, goes_to))
        return HN_REASON_SWAP;
    return reason_of_term(s, now, after);
}

static bool is_converged(const HnRound *round, const HnStanding *s, const HnLocality *locality)
{
    bool is_home = true;

    for (uint32_t c = 0; c < s->split->n_clients; c++)
        is_home &= s->split->clients[c].home_now != HN_NODE_NONE;
    return is_home && locality->bytes_local_permille >= round->policy->converged_permille;
}

/* The node that would be best for a domain of one client if neither memory nor constraints stood in
 * the way; the gain of it. */
static int64_t best_elsewhere(const HnRound *round, const HnStanding *s, uint32_t *ret_state)
{
    const HnModel *m = round->model;
    HnNodemask homes = hn_host_home_nodes(round->snapshot->host);
    int64_t leave = hn_assignment_leave(hn_round_after(round, s), s->first_item), best = 0;

    for (uint32_t r = 0; r < m->n_nodes; r++) {
        if (!(homes >> m->node_index[r] & 1) || hn_round_after(round, s)->state[s->first_item] == r)
            continue;
        const HnItem *it = &m->items[s->first_item];
        int64_t delta = leave + hn_assignment_enter(hn_round_after(round, s), s->first_item, r);
        if (it->allowed >> r & 1) {
            delta -= (int32_t)r != it->home_now ? it->change_ns : 0;
        } else { /* the table holds nothing for homes that are not allowed */
            HnTerms terms = hn_model_terms(m, s->first_item, r);
            delta += terms.remote_ns + terms.moving_ns + terms.device_ns -
                     hn_model_unary(m, s->first_item, r);
        }
        if (delta < best) {
            best = delta;
            *ret_state = r;
        }
    }
    return -best;
}

/* The gain of the best home if moving were free: tells "not better" from "not worth the move". */
static int64_t best_without_moving(const HnRound *round, const HnStanding *s)
{
    const HnModel *m = round->model;
    int64_t leave = hn_assignment_leave(hn_round_after(round, s), s->first_item), best = 0;

    for (HnNodemask rest = m->items[s->first_item].allowed; rest; rest &= rest - 1) {
        uint32_t r = (uint32_t)__builtin_ctzll(rest);
        HnTerms terms = hn_model_terms(m, s->first_item, r);
        if (hn_round_after(round, s)->state[s->first_item] != r && terms.moving_ns > 0)
            best = MIN(best, leave + hn_assignment_enter(hn_round_after(round, s), s->first_item, r) -
                                 terms.moving_ns -
                                 ((int32_t)r != m->items[s->first_item].home_now
                                      ? m->items[s->first_item].change_ns
                                      : 0));
    }
    return -best;
}

/* Which wall stands before the better node. */
static HnReason reason_of_wall(const HnRound *round, const HnStanding *s, uint32_t state)
{
    const HnClient *client = &s->split->clients[0];
    uint32_t index = round->model->node_index[state];

    if (s->record->marked_worse >> index & 1)
        return HN_REASON_MARKED_WORSE;
    if (!(client->allowed >> index & 1))
        return client->constraint == HN_REASON_PINNED_BY_ADMIN ? HN_REASON_PINNED_BY_ADMIN
                                                               : HN_REASON_NODESET_BY_ADMIN;
    if (s->is_home_frozen)
        return s->reason;
    if (!hn_assignment_fits(hn_round_after(round, s), s->first_item, state))
        return HN_REASON_NODE_FULL;
    return HN_REASON_GAIN_BELOW_THRESHOLD;
}

static bool has_stuck_memory(const HnRound *round, const HnStanding *s)
{
    uint64_t away = 0, all = 0;

    for (uint32_t c = 0; c < s->split->n_clients; c++) {
        const HnClient *client = &s->split->clients[c];
        all += client->resident_bytes;
        for (uint32_t n = 0; n < round->model->n_nodes; n++)
            away += (int32_t)n != client->main_node ? client->immovable_bytes[n] : 0;
    }
    return away > all / 50;
}

/* Unpinned, with more vCPUs than any node it may live on has cores, though not threads. */
static bool would_share_cores(const HnRound *round, const HnStanding *s)
{
    const HnClient *client = &s->split->clients[0];
    bool has_siblings = false;

    for (uint32_t n = 0; n < round->model->n_nodes; n++) {
        const HnNode *node = &round->snapshot->host->nodes[n];
        if (!(client->allowed >> n & 1))
            continue;
        if (client->n_vcpus <= node->n_cores)
            return false;
        has_siblings |= node->n_cpus > node->n_cores;
    }
    return has_siblings && client->home_now == HN_NODE_NONE;
}

/* A forced rebalance to a node that did not come about: which wall stood there. */
static HnReason reason_of_refusal(const HnRound *round, const HnStanding *s, int32_t *ret_better)
{
    HnReason wall = reason_of_wall(round, s, round->model->node_rank[s->forced_node]);

    *ret_better = s->forced_node;
    if (!(hn_host_home_nodes(round->snapshot->host) >> s->forced_node & 1))
        return HN_REASON_UNSUPPORTED; /* a node without CPUs or memory */
    return wall == HN_REASON_GAIN_BELOW_THRESHOLD ? HN_REASON_NODE_FULL : wall;
}

/* At home where its admin's nodeset does not want it, and left there: what stands before the best of the
 * nodes that it may have. */
static HnReason reason_of_outsider(const HnRound *round, HnStanding *s, int32_t *ret_better)
{
    const HnModel *m = round->model;
    int64_t best = INT64_MAX;
    uint32_t state = 0;

    if (s->is_home_frozen)
        return s->reason;
    if (s->split->n_clients > 1)
        return HN_REASON_NODESET_BY_ADMIN;
    if (m->items[s->first_item].outside_ns == 0)
        return s->domain->wish.memory == HN_MEMORY_KEEP ? HN_REASON_MEMORY_KEEP
                                                        : HN_REASON_IMMOVABLE;
    for (HnNodemask rest = m->items[s->first_item].allowed; rest; rest &= rest - 1) {
        uint32_t r = (uint32_t)__builtin_ctzll(rest);
        int64_t price = hn_assignment_enter(hn_round_after(round, s), s->first_item, r);
        if (price < best) {
            best = price;
            state = r;
        }
    }
    if (best == INT64_MAX)
        return HN_REASON_NODESET_BY_ADMIN; /* all of them are marked */
    *ret_better = (int32_t)m->node_index[state];
    if (hn_assignment_fits(hn_round_after(round, s), s->first_item, state))
        return HN_REASON_NODESET_BY_ADMIN;
    s->kept_out_ns = s->threshold_ns;
    s->kept_out_node = state;
    return HN_REASON_NODE_FULL;
}

static HnReason reason_of_rest(const HnRound *round, HnStanding *s, const HnLocality *locality,
                               int32_t *ret_better)
{
    uint32_t state = 0;
    bool is_converged_now = is_converged(round, s, locality);

    if (s->is_forced && s->forced_node != HN_NODE_NONE &&
        s->split->clients[0].home_now != s->forced_node)
        return reason_of_refusal(round, s, ret_better);
    /* Asked for the home it has: done, whatever would be better. */
    if (s->is_forced && s->forced_node != HN_NODE_NONE && is_converged_now)
        return HN_REASON_CONVERGED;
    if (hn_split_has_outsider(s->split))
        return reason_of_outsider(round, s, ret_better);
    if (s->split->n_clients > 1)
        return is_converged_now              ? HN_REASON_CONVERGED
               : s->split->is_split_by_cores ? HN_REASON_SMT_CONTENTION
                                             : HN_REASON_NO_SINGLE_NODE_FITS;
    if (s->split->is_wide && !is_converged_now)
        return HN_REASON_NO_SINGLE_NODE_FITS;
    int64_t gain = best_elsewhere(round, s, &state);
    if (gain >= s->threshold_ns) {
        HnReason wall = reason_of_wall(round, s, state);
        *ret_better = (int32_t)round->model->node_index[state];
        s->better_ns = gain;
        if (wall == HN_REASON_NODE_FULL) {
            s->kept_out_ns = gain;
            s->kept_out_node = state;
        }
        if (wall != HN_REASON_GAIN_BELOW_THRESHOLD)
            return wall;
    } else if (!is_converged_now && !s->is_home_frozen &&
               best_without_moving(round, s) >= s->threshold_ns) {
        return HN_REASON_PAYBACK_TOO_LONG;
    }
    if (is_converged_now)
        return HN_REASON_CONVERGED;
    if (has_stuck_memory(round, s))
        return s->domain->wish.memory == HN_MEMORY_KEEP ? HN_REASON_MEMORY_KEEP
                                                        : HN_REASON_IMMOVABLE;
    if (s->is_home_frozen)
        return s->reason;
    if (weighted_demand(round, s) < IDLE_MCPU)
        return HN_REASON_IDLE;
    if (would_share_cores(round, s))
        return HN_REASON_SMT_CONTENTION;
    return HN_REASON_GAIN_BELOW_THRESHOLD;
}

static void fill_clients(const HnRound *round, const HnStanding *s, HnVerdict *v)
{
    v->n_clients = s->split->n_clients;
    v->clients = g_new0(HnClientVerdict, v->n_clients);
    for (uint32_t c = 0; c < v->n_clients; c++) {
        const HnClient *client = &s->split->clients[c];
        bool is_target = s->is_changed && s->is_confirmed;
        /* A set has room for thousands of CPUs; copying all of them took longer than any decision. */
        memcpy(v->clients[c].vcpus.words, client->vcpus.words,
               sizeof(uint64_t) * s->split->n_vcpu_words);
        v->clients[c].guest_cell = client->guest_cell;
        v->clients[c].home_now = client->home_now;
        v->clients[c].demand_mcpu = client->smoothed_mcpu;
        v->clients[c].home_wanted = client->home_now;
        if (is_target)
            v->clients[c].home_wanted = hn_round_home(round, round->target, s, c);
        else if (s->is_changed)
            v->clients[c].home_wanted = s->record->clients[c].proposed;
        else if (s->is_in_flight && s->record->clients[c].wanted != HN_NODE_NONE)
            v->clients[c].home_wanted = s->record->clients[c].wanted;
        v->clients[c].bytes_to_move = is_target ? hn_round_bytes(round, round->target, s, c) : 0;
        v->bytes_to_move += v->clients[c].bytes_to_move;
    }
}

static void fill_reason(const HnRound *round, HnStanding *s, const HnNodemask *goes_to,
                        HnVerdict *v, const HnLocality *locality)
{
    int32_t better = HN_NODE_NONE;

    if (round->snapshot->host->n_nodes == 1) {
        v->reason = HN_REASON_SINGLE_NODE_HOST;
    } else if (s->is_frozen) {
        v->reason = s->reason;
    } else if (s->is_changed && s->is_confirmed) {
        s->reason = reason_of_change(round, s, goes_to, &v->cost_now, &v->cost_after);
        v->reason = s->is_advised ? HN_REASON_ADVISE_ONLY : s->reason;
        v->will_act = !s->is_advised;
    } else if (s->is_stuck) {
        v->reason = HN_REASON_NODE_FULL;
    } else if (s->is_changed) {
        v->reason = s->is_torn_by_admin ? HN_REASON_PINNED_BY_ADMIN : HN_REASON_UNCONFIRMED;
    } else {
        v->reason = reason_of_rest(round, s, locality, &better);
        s->reason = v->reason;
    }
    v->sentence = hn_sentence_verdict(round, s, v, better);
}

static HnVerdict *make_verdict(const HnRound *round, HnStanding *s, const HnNodemask *goes_to,
                               int64_t fair_now_per_mcpu, int64_t fair_after_per_mcpu)
{
    HnVerdict *v = g_new0(HnVerdict, 1);
    const HnLocality *locality = &s->look.locality;
    int64_t demand = weighted_demand(round, s);

    memcpy(v->uuid, s->domain->uuid, sizeof(v->uuid));
    v->name = g_strdup(s->domain->name);
    v->is_managed = s->is_managed;
    v->is_wide = s->split->is_wide;
    v->bytes_local_permille = locality->bytes_local_permille;
    v->has_accesses_local = locality->has_accesses_local;
    v->accesses_local_permille = locality->accesses_local_permille;
    costs_of(round, round->before, s, &v->cost_now);
    costs_of(round, hn_round_after(round, s), s, &v->cost_after);
    fill_clients(round, s, v);
    v->score_now = score(demand, &v->cost_now, fair_now_per_mcpu * demand);
    v->score_after = score(demand, &v->cost_after, fair_after_per_mcpu * demand);
    v->move_ms =
        (uint64_t)((unsigned __int128)v->bytes_to_move * 1000 / round->policy->move_bytes_per_sec);
    int64_t gain_per_sec = v->cost_now.total_ns_per_sec - v->cost_after.total_ns_per_sec +
                           v->cost_after.moving_ns_per_sec;
    unsigned __int128 spent_ns = (unsigned __int128)(uint64_t)v->cost_after.moving_ns_per_sec *
                                 (round->policy->payback_horizon_ns / 1000000000);
    v->payback_ms = spent_ns == 0       ? 0
                    : gain_per_sec <= 0 ? UINT64_MAX
                                        : (uint64_t)(spent_ns * 1000 / (uint64_t)gain_per_sec);
    fill_reason(round, s, goes_to, v, locality);
    if (s->split->n_chunk_maps > 0) {
        v->n_chunk_maps = s->split->n_chunk_maps;
        v->chunk_maps = g_steal_pointer(&s->split->chunk_maps);
        s->split->n_chunk_maps = 0;
    }
    return v;
}

typedef struct {
    int64_t relief_ns;
    const HnStanding *standing;
} Departure;

static gint compare_departures(gconstpointer a, gconstpointer b)
{
    const Departure *left = a, *right = b;

    if (left->relief_ns != right->relief_ns)
        return left->relief_ns > right->relief_ns ? -1 : 1;
    return strcmp(left->standing->domain->uuid, right->standing->domain->uuid);
}

/* Bytes of a domain's memory that would be free on a node if it left. */
static int64_t frees(const HnRound *round, const HnStanding *s, uint32_t n, uint8_t kind)
{
    const HnModel *m = round->model;
    int64_t bytes = 0;

    for (uint32_t i = s->first_item; i < s->first_item + s->split->n_clients; i++) {
        if (m->items[i].kind != kind)
            continue;
        bytes += (int64_t)s->split->clients[m->items[i].client].immovable_bytes[m->node_index[n]];
        if (round->target->state[i] == n)
            bytes += m->items[i].need_bytes;
        else if (round->target->state[i] == m->n_nodes)
            bytes += m->stay_bytes[(size_t)i * m->n_nodes + n];
    }
    return bytes;
}

/* What the leaving of a domain would bring those whom memory keeps from a better node. */
static int64_t lets_in(const HnRound *round, const HnStanding *leaving)
{
    const HnModel *m = round->model;
    int64_t sum = 0;

    for (uint32_t d = 0; d < round->n_domains; d++) {
        const HnStanding *s = &round->standings[d];
        uint32_t item = s->first_item, n = s->kept_out_node;
        if (s == leaving || s->kept_out_ns == 0)
            continue;
        uint8_t kind = m->items[item].kind;
        int64_t there = round->target->state[item] == m->n_nodes
                            ? m->stay_bytes[(size_t)item * m->n_nodes + n]
                            : 0;
        int64_t lacking = round->target->used_bytes[kind][n] + m->items[item].need_bytes - there -
                          m->nodes[n].capacity_bytes[kind];
        if (lacking <= frees(round, leaving, n, kind))
            sum = MIN(sum + s->kept_out_ns, INT64_MAX / 4);
    }
    return sum;
}

/* Whose leaving helps most: by memory, whoever lets others in; by CPUs, whoever takes most waiting
 * along. */
static void name_departures(const HnRound *round, HnPlan *plan)
{
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(Departure));
    bool is_by_cpu = plan->cpu_load_permille > OVERFULL_CPU_PERMILLE;

    for (uint32_t d = 0; d < round->n_domains; d++) {
        Departure departure = {.standing = &round->standings[d]};
        if (!departure.standing->is_managed)
            continue;
        departure.relief_ns = plan->n_kept_out > 0 ? lets_in(round, departure.standing) : 0;
        for (uint32_t c = 0; is_by_cpu && c < departure.standing->split->n_clients; c++)
            departure.relief_ns -=
                hn_assignment_leave(round->target, departure.standing->first_item + c);
        if (departure.relief_ns > 0)
            g_array_append_val(all, departure);
    }
    g_array_sort(all, compare_departures);
    for (guint i = 0; i < MIN(all->len, MAX_DEPARTURES); i++)
        g_ptr_array_add(plan->departures,
                        g_strdup(g_array_index(all, Departure, i).standing->domain->uuid));
}

/* What all domains want together, as far as it was measured: a guest nobody has measured yet counts
 * as fully busy for its placement, which must not raise an alarm each time the daemon starts. */
static int64_t measured_load(const HnRound *round)
{
    int64_t sum = 0;

    for (uint32_t i = 0; i < round->model->n_items; i++)
        if (round->standings[round->model->items[i].split].record->n_samples > 0)
            sum += round->model->items[i].demand_mcpu;
    return sum;
}

void hn_verdicts(const HnRound *round, HnPlan *plan)
{
    int64_t load_now, load_after, demand_sum = 0;
    HnModelNode host_now = whole_host(round, round->before, &load_now);
    HnModelNode host_after = whole_host(round, round->target, &load_after);
    int64_t fair_now = hn_cost_contention(&host_now, load_now, 1000) / 1000;
    int64_t fair_after = hn_cost_contention(&host_after, load_after, 1000) / 1000;
    uint32_t n_managed = 0, n_acting = 0;
    HnNodemask goes_to[HN_MAX_NODES];

    note_exchanges(round, goes_to);
    for (uint32_t d = 0; d < round->n_domains; d++) {
        HnVerdict *v = make_verdict(round, &round->standings[d], goes_to, fair_now, fair_after);
        g_ptr_array_add(plan->verdicts, v);
        hn_cost_add(&plan->cost_now, &v->cost_now);
        hn_cost_add(&plan->cost_after, &v->cost_after);
        demand_sum += weighted_demand(round, &round->standings[d]);
        n_managed += v->is_managed;
        n_acting += v->will_act;
        plan->n_kept_out += v->is_managed && round->standings[d].kept_out_ns > 0;
    }
    plan->score_now = score(demand_sum, &plan->cost_now, fair_now * demand_sum);
    plan->score_after = score(demand_sum, &plan->cost_after, fair_after * demand_sum);
    plan->cpu_load_permille =
        (uint32_t)MIN((__int128)measured_load(round) * 1000 / host_after.capacity_mcpu, UINT32_MAX);
    plan->is_overfull = round->snapshot->host->n_nodes > 1 &&
                        (plan->n_kept_out > 0 || plan->cpu_load_permille > OVERFULL_CPU_PERMILLE);
    if (plan->is_overfull)
        name_departures(round, plan);
    plan->summary = hn_sentence_plan(round, plan, n_managed, n_acting);
}
