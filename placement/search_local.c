/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local search from today's placement: single moves, exchanges of two, chains through a full node.
 *
 * A pass of moves gives every item, in canonical order, its best node. Exchanges look at few but
 * telling pairs (search_swap.c), chains at items that a full node keeps out (search_chain.c). Every
 * applied step lowers the total, so it ends; the number of passes bounds the time on large hosts.
 * Unpinned items lie across all nodes, so no single step from there may help although all together
 * do: a second start takes them out and sets them down one by one.
 */
#include "search.h"

#include "search_steps.h"

#include <stdlib.h>

#define MAX_PASSES 12
#define MANY_STARTS_ITEMS 128
/* Up to that many items parts of the problem are solved exactly after the steps, with so many
 * visits in all: some tenths of a millisecond. Up to the second number only where memory keeps an item
 * from a place it would gain by, which is nearly all that parts are good for there (tests/bench/placement):
 * they take a millisecond or two, and an ordinary decision for 100 clients has to be made in one. */
#define PARTS_ITEMS 64
#define TIGHT_PARTS_ITEMS 512
#define MAX_VISITS_PARTS 6000
/* The exact search ends by itself within this where V log2 N <= 20 (tests/bench/placement); the
 * limit is there so that a host nobody thought of cannot stop the daemon. */
#define MAX_VISITS_SMALL (UINT64_C(1) << 21)
/* Up to that many items it runs as an improver, for some milliseconds, where it may not come to its
 * end. */
#define IMPROVER_ITEMS 20
#define MAX_VISITS_IMPROVER 10000

static bool pass_of_moves(HnAssignment *a, const HnMovable *movable)
{
    const HnModel *m = a->model;
    bool has_moved = false;

    for (uint32_t k = 0; k < movable->count; k++) {
        uint32_t item = movable->items[k], best_state = m->n_nodes;
        HnNodemask others = m->items[item].allowed;
        if (a->state[item] < m->n_nodes)
            others &= ~(UINT64_C(1) << a->state[item]);
        hn_assignment_enter_best(a, item, others, -hn_assignment_leave(a, item), true, &best_state);
        if (best_state != m->n_nodes) {
            hn_assignment_move(a, item, best_state);
            has_moved = true;
        }
    }
    return has_moved;
}

static void improve(HnAssignment *a, const HnAssignment *before, const HnMovable *movable)
{
    for (uint32_t pass = 0; pass < MAX_PASSES; pass++) {
        bool has_moved = false;
        while (pass++ < MAX_PASSES && pass_of_moves(a, movable))
            has_moved = true;
        has_moved = hn_search_swap(a, before, movable);
        has_moved |= hn_search_chain(a, before, movable);
        if (!has_moved)
            break;
    }
}

typedef struct {
    int64_t first_key, second_key;
    uint32_t item;
} Sized;

static int compare_sized(const void *a, const void *b)
{
    const Sized *left = a, *right = b;

    if (left->first_key != right->first_key)
        return left->first_key > right->first_key ? -1 : 1;
    if (left->second_key != right->second_key)
        return left->second_key > right->second_key ? -1 : 1;
    return left->item < right->item ? -1 : left->item > right->item;
}

/* A wide domain gets homes for all its parts or for none: one whose part found no room goes back
 * whole. Returns false if that is not possible any more. */
static bool take_back_halves(HnAssignment *a, const HnAssignment *before, const HnMovable *movable)
{
    const HnModel *m = a->model;
    bool is_possible = true;

    for (uint32_t k = 0; k < movable->count; k++) {
        const HnItem *it = &m->items[movable->items[k]];
        uint32_t n_homed = 0;
        if (it->kin_count == 1 || movable->items[k] != it->kin_first)
            continue;
        for (uint32_t i = it->kin_first; i < it->kin_first + it->kin_count; i++)
            n_homed += a->state[i] < m->n_nodes;
        if (n_homed == 0 || n_homed == it->kin_count)
            continue;
        for (uint32_t i = it->kin_first; i < it->kin_first + it->kin_count; i++)
            if (a->state[i] != before->state[i] && before->state[i] == m->n_nodes &&
                m->items[i].is_floating)
                hn_assignment_move(a, i, m->n_nodes);
        for (uint32_t i = it->kin_first; i < it->kin_first + it->kin_count; i++)
            is_possible &= hn_assignment_has_room(a, before, i);
    }
    return is_possible;
}

/* How a start from nothing is made. */
typedef struct {
    bool takes_all; /* or only what floats */
    bool
        by_bytes; /* largest memory first, which packs tight nodes better; else most demand first */
} Start;

/* Takes items out and sets them down again one by one, the largest first, each where it costs
 * least. Returns false if there is none, or one found no room. */
static bool set_down_anew(HnAssignment *a, const HnAssignment *before, const HnMovable *movable,
                          Start start)
{
    const HnModel *m = a->model;
    g_autofree Sized *out = g_new(Sized, movable->count + 1);
    uint32_t n_out = 0;

    for (uint32_t k = 0; k < movable->count; k++) {
        uint32_t item = movable->items[k];
        const HnItem *it = &m->items[item];
        if (!start.takes_all && (!it->is_floating || a->state[item] != m->n_nodes))
            continue;
        out[n_out++] = start.by_bytes ? (Sized){it->need_bytes, it->demand_mcpu, item}
                                      : (Sized){it->demand_mcpu, it->need_bytes, item};
        hn_assignment_move(a, item, hn_model_out(m));
    }
    if (n_out == 0)
        return false;
    qsort(out, n_out, sizeof(Sized), compare_sized);
    for (uint32_t k = 0; k < n_out; k++) {
        uint32_t item = out[k].item, best_state = m->n_nodes;
        hn_assignment_enter_best(a, item, m->items[item].allowed, INT64_MAX, true, &best_state);
        hn_assignment_move(a, item, best_state);
        if (best_state == m->n_nodes && !hn_assignment_has_room(a, before, item))
            return false;
    }
    return take_back_halves(a, before, movable);
}

static HnMovable *movable_new(const HnModel *m)
{
    HnMovable *movable = g_new0(HnMovable, 1);

    movable->items = g_new(uint32_t, m->n_items + 1);
    for (uint32_t i = 0; i < m->n_items; i++)
        if (!m->items[i].is_fixed && m->items[i].allowed)
            movable->items[movable->count++] = i;
    g_autofree Sized *sized = g_new(Sized, movable->count + 1);
    for (uint32_t k = 0; k < movable->count; k++)
        sized[k] = (Sized){-m->items[movable->items[k]].demand_mcpu, 0, movable->items[k]};
    qsort(sized, movable->count, sizeof(Sized), compare_sized);
    movable->by_demand = g_new(uint32_t, movable->count + 1);
    for (uint32_t k = 0; k < movable->count; k++)
        movable->by_demand[k] = sized[k].item;
    return movable;
}

static void movable_free(HnMovable *movable)
{
    g_free(movable->items);
    g_free(movable->by_demand);
    g_free(movable);
}

/* Would some item gain by going where only memory keeps it out? */
static bool has_kept_out(const HnAssignment *a, const HnMovable *movable)
{
    const HnModel *m = a->model;

    for (uint32_t k = 0; k < movable->count; k++) {
        uint32_t item = movable->items[k], state;
        int64_t below = -hn_assignment_leave(a, item);
        HnNodemask others = m->items[item].allowed;
        if (a->state[item] < m->n_nodes)
            others &= ~(UINT64_C(1) << a->state[item]);
        if (hn_assignment_enter_best(a, item, others, below, false, &state) < below)
            return true;
    }
    return false;
}

/* Parts are worth their time on small hosts always, on larger ones where memory is what is in the way. */
static bool wants_parts(const HnAssignment *a, const HnMovable *movable)
{
    return movable->count <= PARTS_ITEMS ||
           (movable->count <= TIGHT_PARTS_ITEMS && has_kept_out(a, movable));
}

static void search_local(HnAssignment *a, bool has_parts)
{
    static const Start starts[] = {{false, false}, {false, true}, {true, true}, {true, false}};
    HnMovable *movable = movable_new(a->model);
    g_autoptr(HnAssignment) before = hn_assignment_copy(a);
    g_autoptr(HnAssignment) anew = hn_assignment_copy(a);
    /* On large hosts one start from nothing is all there is time for, and if it can be made,
     * today's placement of roaming guests never was the better start: only moves are tried from
     * there. */
    uint32_t n_starts = movable->count <= MANY_STARTS_ITEMS ? G_N_ELEMENTS(starts) : 1;
    bool has_other = false;

    for (uint32_t k = 0; k < n_starts; k++) {
        g_autoptr(HnAssignment) trial = hn_assignment_copy(before);
        if (!set_down_anew(trial, before, movable, starts[k]))
            continue;
        improve(trial, before, movable);
        if (!has_other || hn_assignment_total(trial) < hn_assignment_total(anew))
            hn_assignment_set(anew, trial);
        has_other = true;
    }
    if (has_other && movable->count > MANY_STARTS_ITEMS)
        pass_of_moves(a, movable);
    else
        improve(a, before, movable);
    if (has_other && hn_assignment_total(anew) < hn_assignment_total(a))
        hn_assignment_set(a, anew);
    has_parts = has_parts && wants_parts(a, movable);
    uint64_t visits_left = MAX_VISITS_PARTS;
    for (uint32_t pass = 0, n_idle = 0; has_parts && visits_left > 0 && n_idle < 2; pass++) {
        n_idle = hn_search_parts(a, before, movable, pass, &visits_left) ? 0 : n_idle + 1;
        if (n_idle == 0)
            improve(a, before, movable);
    }
    movable_free(movable);
}

void hn_search_local(HnAssignment *a)
{
    search_local(a, true);
}

void hn_search_steps(HnAssignment *a)
{
    search_local(a, false);
}

void hn_search(HnAssignment *a)
{
    uint32_t n_movable = 0;

    /* Parts need not be solved where the whole will be. */
    search_local(a, !hn_search_is_small(a->model));
    for (uint32_t i = 0; i < a->model->n_items; i++)
        n_movable += !a->model->items[i].is_fixed && a->model->items[i].allowed;
    if (hn_search_is_small(a->model))
        hn_search_exact(a, MAX_VISITS_SMALL);
    else if (n_movable <= IMPROVER_ITEMS)
        hn_search_exact(a, MAX_VISITS_IMPROVER);
}
