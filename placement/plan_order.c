/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From target to actions, in an order that never needs room that is not there yet.
 *
 * vCPUs first (all at once: a pin needs no room), memory follows. Memory moves are laid out in
 * steps: within a step only room that is free at its start is used, so moves of one step may run
 * together; what a step frees is there for the next. Among the moves that fit, the one with the
 * most gain per byte goes first. When none fits whole, full nodes hold each other up: then a slice
 * as large as the free room of some destination is moved, which frees as much elsewhere, and so the
 * cycle turns through the gap. Where there is no gap at all, nothing may begin: vCPUs that leave
 * while their memory cannot follow are worse off (hn_plan_find_stuck(), asked by the gate).
 */
#include "decide.h"

#include <string.h>

#define HUGE_BYTES (UINT64_C(2) << 20)
/* Slices per plan: a cycle through a very small gap is finished by later plans. */
#define MAX_SLICES 256

typedef struct {
    const HnStanding *standing;
    uint32_t domain; /* index of the standing */
    uint32_t client;
    uint32_t to;          /* canonical */
    uint64_t *left_bytes; /* [n_nodes] canonical, still to come from each */
    uint64_t left_total;
    bool has_begun; /* some of it is laid out */
    int64_t gain_ns;
} Transfer;

/* The layout as it grows. */
typedef struct {
    const HnRound *round;
    HnPlan *plan;
    GArray *transfers; /* Transfer, most gain per byte first */
    uint32_t step;
    int64_t room[HN_MAX_KINDS][HN_MAX_NODES];  /* at the start of the step, less what it takes */
    int64_t freed[HN_MAX_KINDS][HN_MAX_NODES]; /* by the step; there for the next */
} Layout;

static void add_action(const HnRound *round, HnPlan *plan, const HnStanding *s, HnActionKind kind,
                       uint32_t step, uint32_t client, HnNodemask from, HnNodemask to,
                       uint64_t bytes)
{
    HnAction action = {
        .kind = kind,
        .step = step,
        .client = client,
        .from_nodes = from,
        .to_nodes = to,
        .bytes = bytes,
        .hottest_first = kind == HN_ACTION_MOVE_MEMORY,
        .reason = s->reason,
    };

    memcpy(action.uuid, s->domain->uuid, sizeof(action.uuid));
    g_array_append_val(plan->actions, action);
}

/* Are the client's threads confined to the node already? Workers go with the first client. */
static bool is_pinned_on(const HnRound *round, const HnStanding *s, uint32_t client, int32_t home)
{
    const HnNode *node = &round->snapshot->host->nodes[home];

    if (s->split->clients[client].home_now != home)
        return false;
    for (uint32_t w = 0; client == 0 && w < s->domain->n_workers; w++) {
        const HnWorker *worker = &s->domain->workers[w];
        if (!worker->is_admin_pinned && !hn_cpuset_is_subset(&worker->affinity, &node->cpus))
            return false;
    }
    return true;
}

static bool will_act(const HnStanding *s)
{
    return s->is_changed && s->is_confirmed && !s->is_advised && !s->is_frozen;
}

/* Behind a fence no hinting fault occurs: it is opened when doubt returns. */
static bool is_watched_again(const HnStanding *s)
{
    return s->record->doubt.state == HN_DOUBT_SAMPLING && s->is_managed && !s->is_advised &&
           !s->is_frozen;
}

static void add_pins(const HnRound *round, HnPlan *plan, uint32_t *step)
{
    bool has_unfenced = false;

    for (uint32_t d = 0; d < round->n_domains; d++) {
        const HnStanding *s = &round->standings[d];
        if (!s->domain->is_fenced || !(will_act(s) || is_watched_again(s)))
            continue;
        add_action(round, plan, s, HN_ACTION_UNFENCE, *step, 0, 0, 0, 0);
        has_unfenced = true;
    }
    *step += has_unfenced;
    uint32_t n_before = plan->actions->len;
    for (uint32_t d = 0; d < round->n_domains; d++) {
        const HnStanding *s = &round->standings[d];
        for (uint32_t c = 0; will_act(s) && c < s->split->n_clients; c++) {
            int32_t home = hn_round_home(round, round->target, s, c);
            if (home != HN_NODE_NONE && !is_pinned_on(round, s, c, home))
                add_action(round, plan, s, HN_ACTION_PIN, *step, c, 0, UINT64_C(1) << home, 0);
        }
    }
    *step += plan->actions->len > n_before;
}

/* Returns the block that all their left_bytes are in. */
static uint64_t *collect_transfers(const HnRound *round, GArray *transfers)
{
    const HnModel *m = round->model;
    uint64_t *left_bytes = g_new0(uint64_t, (size_t)m->n_items * m->n_nodes + 1);

    for (uint32_t k = 0; k < round->n_domains; k++) {
        const HnStanding *s = &round->standings[round->order[k]];
        for (uint32_t c = 0; will_act(s) && c < s->split->n_clients; c++) {
            if (hn_round_bytes(round, round->target, s, c) == 0)
                continue;
            Transfer transfer = {.standing = s,
                                 .domain = round->order[k],
                                 .client = c,
                                 .gain_ns = s->gain_ns,
                                 .to = hn_round_state(round, round->target, s, c)};
            transfer.left_bytes = &left_bytes[(size_t)transfers->len * m->n_nodes];
            for (uint32_t r = 0; r < m->n_nodes; r++) {
                if (r == transfer.to)
                    continue;
                transfer.left_bytes[r] = s->split->clients[c].movable_bytes[m->node_index[r]];
                transfer.left_total += transfer.left_bytes[r];
            }
            g_array_append_val(transfers, transfer);
        }
    }
    return left_bytes;
}

/* More gain per byte first; then fewer bytes. */
static gint compare_transfers(gconstpointer a, gconstpointer b)
{
    const Transfer *left = a, *right = b;
    __int128 l = (__int128)left->gain_ns * right->left_total,
             r = (__int128)right->gain_ns * left->left_total;

    if (l != r)
        return l > r ? -1 : 1;
    if (left->left_total != right->left_total)
        return left->left_total < right->left_total ? -1 : 1;
    return left->standing->first_item + left->client < right->standing->first_item + right->client
               ? -1
               : 1;
}

static uint64_t unit_of(const Transfer *t)
{
    return MAX(t->standing->split->huge_page_bytes, HUGE_BYTES);
}

static uint8_t kind_of(const HnModel *m, const Transfer *t)
{
    return m->items[t->standing->first_item + t->client].kind;
}

/* Takes that much of what comes from node r. */
static void take(Layout *l, Transfer *t, uint32_t r, uint64_t bytes)
{
    uint8_t kind = kind_of(l->round->model, t);

    t->left_bytes[r] -= bytes;
    t->left_total -= bytes;
    t->has_begun = true;
    l->room[kind][t->to] -= (int64_t)bytes;
    l->freed[kind][r] += (int64_t)bytes;
}

static void add_transfer(Layout *l, const Transfer *t, HnNodemask from, uint64_t bytes)
{
    add_action(l->round, l->plan, t->standing, HN_ACTION_MOVE_MEMORY, l->step, t->client, from,
               UINT64_C(1) << l->round->model->node_index[t->to], bytes);
}

/* All of a transfer. One action says "everything on these nodes"; where several clients may share a
 * node's memory, each node gets its own with its own amount. */
static void lay_all(Layout *l, Transfer *t)
{
    const HnModel *m = l->round->model;
    HnNodemask from = 0;
    uint64_t bytes = 0;

    for (uint32_t r = 0; r < m->n_nodes; r++) {
        uint64_t part = t->left_bytes[r];
        if (part == 0)
            continue;
        take(l, t, r, part);
        from |= UINT64_C(1) << m->node_index[r];
        bytes += part;
        if (t->standing->split->n_clients > 1) {
            add_transfer(l, t, UINT64_C(1) << m->node_index[r], part);
            bytes = 0;
        }
    }
    if (bytes > 0)
        add_transfer(l, t, from, bytes);
}

/* One step: every transfer that fits whole. Returns how many were laid out. */
static uint32_t lay_whole(Layout *l)
{
    uint32_t count = 0;

    for (guint i = 0; i < l->transfers->len; i++) {
        Transfer *t = &g_array_index(l->transfers, Transfer, i);
        if (t->left_total == 0 ||
            (int64_t)t->left_total > l->room[kind_of(l->round->model, t)][t->to])
            continue;
        lay_all(l, t);
        count++;
    }
    return count;
}

/* One slice, from one node, of the transfer for which there is most room. Returns false if there is
 * none anywhere. */
static bool lay_slice(Layout *l)
{
    const HnModel *m = l->round->model;
    Transfer *best = NULL;
    uint64_t most = 0;
    uint32_t source = 0;

    for (guint i = 0; i < l->transfers->len; i++) {
        Transfer *t = &g_array_index(l->transfers, Transfer, i);
        int64_t there = l->room[kind_of(m, t)][t->to];
        for (uint32_t r = 0; r < m->n_nodes && there > 0; r++) {
            uint64_t slice = MIN((uint64_t)there, t->left_bytes[r]) / unit_of(t) * unit_of(t);
            if (slice > most) {
                most = slice;
                best = t;
                source = r;
            }
        }
    }
    if (!best)
        return false;
    take(l, best, source, most);
    add_transfer(l, best, UINT64_C(1) << m->node_index[source], most);
    return true;
}

/* What of a domain's shared chunks each node should hold: the homes, in proportion to the touches of
 * those at home there (equal parts where nobody has touched them). Returns the sum, 0: nothing to spread. */
static uint64_t wanted_shared(const Layout *l, const HnStanding *s, uint64_t *ret_wanted)
{
    const HnSplit *split = s->split;
    uint64_t bytes = 0, touches = 0, given = 0;
    uint32_t last = 0;

    for (uint32_t n = 0; n < l->round->model->n_nodes; n++)
        bytes += split->shared_bytes[n];
    for (uint32_t c = 0; c < split->n_clients; c++) {
        touches += split->clients[c].shared_touches;
        last = split->clients[c].shared_touches > 0 || touches == 0 ? c : last;
        if (hn_round_home(l->round, l->round->target, s, c) == HN_NODE_NONE)
            return 0;
    }
    for (uint32_t c = 0; c <= last; c++) {
        uint64_t part = touches ? (uint64_t)((unsigned __int128)bytes * split->clients[c].shared_touches / touches)
                                : bytes / split->n_clients;
        part = c == last ? bytes - given : part;
        given += part;
        ret_wanted[hn_round_home(l->round, l->round->target, s, c)] += part;
    }
    return bytes;
}

/* One action that brings shared chunks from one node to another; in a step of its own: two at a time
 * would take the same chunks. */
static void add_spread(Layout *l, const HnStanding *s, uint32_t from, uint32_t to, uint64_t bytes)
{
    add_action(l->round, l->plan, s, HN_ACTION_MOVE_MEMORY, l->step++, 0, UINT64_C(1) << from,
               UINT64_C(1) << to, bytes);
    g_array_index(l->plan->actions, HnAction, l->plan->actions->len - 1).is_spread = true;
}

/* Chunks touched from several parts of a wide domain are nobody's to be near: while it is being placed
 * they are spread over its homes by their touches, where there is room for it, and stay there. A
 * home with an eighth of them too many, or anything that lies elsewhere, is worth the trouble. */
static void spread_shared(Layout *l)
{
    const HnModel *m = l->round->model;

    for (uint32_t k = 0; k < l->round->n_domains; k++) {
        const HnStanding *s = &l->round->standings[l->round->order[k]];
        uint64_t wanted[HN_MAX_NODES] = {0}, has[HN_MAX_NODES], bytes, most = 0;
        uint32_t kind = m->items[s->first_item].kind;
        bool has_room = true;
        if (!will_act(s) || s->split->n_clients < 2 || s->domain->wish.memory == HN_MEMORY_KEEP ||
            (bytes = wanted_shared(l, s, wanted)) == 0)
            continue;
        for (uint32_t n = 0; n < m->n_nodes; n++) {
            int64_t room = l->room[kind][m->node_rank[n]];
            has[n] = s->split->shared_bytes[n];
            if (has[n] > wanted[n] && (wanted[n] == 0 || has[n] - wanted[n] > bytes / 8))
                most = MAX(most, has[n] - wanted[n]);
            /* A little more than its share for the rounding to whole pages. */
            has_room = has_room && (has[n] >= wanted[n] ||
                                    room >= (int64_t)(wanted[n] - has[n] + HUGE_BYTES));
        }
        if (most == 0 || !has_room)
            continue;
        for (uint32_t from = 0, to = 0; from < m->n_nodes && to < m->n_nodes;) {
            uint64_t part = 0;
            if (has[from] > wanted[from] && has[to] < wanted[to])
                part = MIN(has[from] - wanted[from], wanted[to] - has[to]);
            if (part > 0) {
                add_spread(l, s, from, to, part);
                l->room[kind][m->node_rank[to]] -= (int64_t)(part + HUGE_BYTES);
                has[from] -= part;
                has[to] += part;
            }
            from += has[from] <= wanted[from];
            to += to < m->n_nodes && has[to] >= wanted[to];
        }
    }
}

/* Room the mover will find: what is planned for, but no more than what it may take. */
static int64_t room_at_start(const HnRound *round, uint32_t rank, uint32_t kind)
{
    const HnNode *node = &round->snapshot->host->nodes[round->model->node_index[rank]];
    int64_t room = round->model->nodes[rank].room_bytes[kind];
    int64_t taken = (int64_t)(node->mem_free_bytes + node->mem_reclaimable_bytes) -
                    (int64_t)(node->mem_watermark_bytes + round->policy->headroom_bytes);

    return kind == 0 ? MIN(room, taken) : room;
}

/* All transfers of l, in steps. Returns false if slices ran out before room did. */
static bool lay_transfers(Layout *l)
{
    const HnModel *m = l->round->model;
    uint32_t n_slices = 0;

    for (uint32_t k = 0; k < HN_MAX_KINDS; k++)
        for (uint32_t r = 0; r < m->n_nodes; r++)
            l->room[k][r] = room_at_start(l->round, r, k);
    while (lay_whole(l) > 0 || (n_slices++ < MAX_SLICES && lay_slice(l))) {
        for (uint32_t k = 0; k < HN_MAX_KINDS; k++)
            for (uint32_t r = 0; r < m->n_nodes; r++)
                l->room[k][r] += l->freed[k][r];
        memset(l->freed, 0, sizeof(l->freed));
        l->step++;
    }
    return n_slices <= MAX_SLICES;
}

/* Most gain per byte first. *ret_left_bytes holds what the transfers point to. */
static GArray *sorted_transfers(const HnRound *round, uint64_t **ret_left_bytes)
{
    GArray *transfers = g_array_new(FALSE, FALSE, sizeof(Transfer));

    *ret_left_bytes = collect_transfers(round, transfers);
    if (transfers->len > 0)
        g_array_sort(transfers, compare_transfers);
    return transfers;
}

HnStanding *hn_plan_find_stuck(HnRound *round)
{
    g_autoptr(HnPlan) scratch = hn_plan_new();
    g_autofree uint64_t *left_bytes = NULL;
    g_autoptr(GArray) transfers = sorted_transfers(round, &left_bytes);
    Layout l = {.round = round, .plan = scratch, .transfers = transfers};

    if (transfers->len == 0)
        return NULL;
    if (!lay_transfers(&l))
        return NULL; /* what is left is the next plan's */
    for (guint i = 0; i < transfers->len; i++) {
        const Transfer *t = &g_array_index(transfers, Transfer, i);
        if (t->left_total > 0 && !t->has_begun)
            return &round->standings[t->domain];
    }
    return NULL;
}

static void add_moves(const HnRound *round, HnPlan *plan, uint32_t *step)
{
    g_autofree uint64_t *left_bytes = NULL;
    g_autoptr(GArray) transfers = sorted_transfers(round, &left_bytes);
    Layout l = {.round = round, .plan = plan, .transfers = transfers, .step = *step};

    lay_transfers(&l);
    spread_shared(&l);
    *step = l.step;
}

/* The fence: for domains that are at home and known to be, where the admin of the host asked for
 * it.
 */
static void add_fences(const HnRound *round, HnPlan *plan, uint32_t step)
{
    for (uint32_t d = 0; d < round->n_domains && round->policy->fence_when_converged; d++) {
        const HnStanding *s = &round->standings[d];
        const HnVerdict *verdict = g_ptr_array_index(plan->verdicts, d);
        if (!verdict->doubt.may_fence || s->reason != HN_REASON_CONVERGED || !s->is_managed ||
            s->is_advised || s->domain->is_fenced || s->domain->is_numatune_admin ||
            s->split->n_clients != 1)
            continue;
        const HnClient *client = &s->split->clients[0];
        if (client->home_now == HN_NODE_NONE)
            continue;
        add_action(round, plan, s, HN_ACTION_FENCE, step, 0, 0, UINT64_C(1) << client->home_now, 0);
    }
}

void hn_plan_order(const HnRound *round, HnPlan *plan)
{
    uint32_t step = 0;

    add_pins(round, plan, &step);
    add_moves(round, plan, &step);
    add_fences(round, plan, step);
}
