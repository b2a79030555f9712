/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The search: exact against plain enumeration, local close to exact, neither ever worse than today.
 */
#include "model_of_world.h"
#include "search.h"

static double state_space(const HnModel *m)
{
    double size = 1;

    for (uint32_t i = 0; i < m->n_items; i++)
        size *= m->items[i].is_fixed ? 1 : 1 + __builtin_popcountll(m->items[i].allowed);
    return size;
}

/* No bound, nothing clever. */
static void enumerate(HnAssignment *a, const HnAssignment *before, uint32_t item, int64_t *best)
{
    const HnModel *m = a->model;

    if (item == m->n_items) {
        for (uint32_t i = 0; i < m->n_items; i++)
            if (!m->items[i].is_fixed && !hn_assignment_has_room(a, before, i))
                return;
        *best = MIN(*best, hn_assignment_total(a));
        return;
    }
    for (uint32_t state = 0; state <= m->n_nodes; state++) {
        if (state < m->n_nodes &&
            (m->items[item].is_fixed || !(m->items[item].allowed >> state & 1)))
            continue;
        uint32_t was = a->state[item];
        hn_assignment_move(a, item, state);
        enumerate(a, before, item + 1, best);
        hn_assignment_move(a, item, was);
    }
}

static WorldMix mix_number(uint32_t k, uint32_t n_domains)
{
    return (WorldMix){.min_nodes = 2,
                      .max_nodes = 4,
                      .n_domains = n_domains,
                      .cpu_load_permille = 400 + k % 6 * 500,
                      .memory_fill_permille = 200 + k % 5 * 190,
                      .pinned_permille = k % 3 * 500,
                      .is_odd = k % 2,
                      .has_wishes = k % 4 == 3};
}

static void test_exact(void)
{
    uint64_t seed = 7;
    uint32_t n_tried = 0;

    for (uint32_t k = 0; k < 120; k++) {
        WorldMix mix = mix_number(k, 2 + k % 4);
        g_autoptr(World) world = world_new_random(&mix, &seed);
        g_autoptr(WorldModel) wm = world_model_new(world);
        if (state_space(wm->model) > 8000)
            continue;
        g_autoptr(HnAssignment) a = hn_assignment_new(wm->model),
                                before = hn_assignment_new(wm->model),
                                found = hn_assignment_new(wm->model);
        int64_t best = INT64_MAX;
        enumerate(a, before, 0, &best);
        g_assert_true(hn_search_exact(found, UINT64_MAX));
        g_assert_cmpint(hn_assignment_total(found), ==, best);
        n_tried++;
    }
    g_assert_cmpuint(n_tried, >, 60);
}

/* Every result is valid, not worse than today, and repeatable; and the mean gap to the optimum
 * stays below one per cent where that can be known quickly. */
static void test_quality(void)
{
    uint64_t seed = 11;
    double gap_sum = 0;
    uint32_t n_known = 0;

    for (uint32_t k = 0; k < 300; k++) {
        WorldMix mix = mix_number(k, 6 + k % 9);
        g_autoptr(World) world = world_new_random(&mix, &seed);
        g_autoptr(WorldModel) wm = world_model_new(world);
        g_autoptr(HnAssignment) before = hn_assignment_new(wm->model),
                                a = hn_assignment_new(wm->model),
                                again = hn_assignment_new(wm->model);
        hn_search(a);
        hn_search(again);
        for (uint32_t i = 0; i < wm->model->n_items; i++) {
            g_assert_cmpuint(a->state[i], ==, again->state[i]);
            if (wm->model->items[i].is_fixed)
                g_assert_cmpuint(a->state[i], ==, before->state[i]);
            g_assert_true(hn_assignment_has_room(a, before, i));
            g_assert_true(a->state[i] == wm->model->n_nodes ||
                          (wm->model->items[i].allowed >> a->state[i] & 1));
        }
        int64_t found = hn_assignment_total(a);
        g_assert_cmpint(found, <=, hn_assignment_total(before));
        if (hn_search_exact(again, 60000)) {
            int64_t best = hn_assignment_total(again);
            g_assert_cmpint(best, <=, found);
            gap_sum += best > 0 ? (double)(found - best) / (double)best : 0;
            n_known++;
        }
    }
    g_test_message("mean gap %.4f %% over %u instances", gap_sum / n_known * 100, n_known);
    g_assert_cmpuint(n_known, >, 200);
    g_assert_cmpfloat(gap_sum / n_known, <, 0.01);
}

/* V log2 N <= 20 is solved exactly, within the limit that guards the daemon. */
static void test_small_is_exact(void)
{
    uint64_t seed = 5;
    uint32_t n_small = 0;

    for (uint32_t k = 0; k < 80; k++) {
        WorldMix mix = mix_number(k, k % 2 ? 10 : 18);
        mix.min_nodes = mix.max_nodes = k % 2 ? 4 : 2;
        mix.has_wishes = false;
        g_autoptr(World) world = world_new_random(&mix, &seed);
        g_autoptr(WorldModel) wm = world_model_new(world);
        g_autoptr(HnAssignment) a = hn_assignment_new(wm->model);
        if (!hn_search_is_small(wm->model))
            continue;
        n_small++;
        hn_search_local(a);
        g_assert_true(hn_search_exact(a, UINT64_C(1) << 21));
    }
    g_assert_cmpuint(n_small, >, 30);
}

/* Single moves do not help here; exchanges and chains do. Three nodes full to the brim, each guest
 * on its neighbour's node. */
static void test_ring(void)
{
    g_autoptr(World) world = world_new(world_host(3, 4, 1, UINT64_C(10) << 30));
    HnDomain *guests[3];

    for (uint32_t i = 0; i < 3; i++) {
        guests[i] = world_add(world, 4, UINT64_C(9) << 30, 4000, (int32_t)i);
        world_pin(world, guests[i], (int32_t)((i + 1) % 3));
        /* Memory stays, so the homes must turn by one. */
        guests[i]->immovable_bytes[i] = guests[i]->resident_bytes[i];
    }
    g_autoptr(WorldModel) wm = world_model_new(world);
    g_autoptr(HnAssignment) a = hn_assignment_new(wm->model);
    hn_search_local(a);
    for (uint32_t i = 0; i < 3; i++) {
        const HnItem *item = &wm->model->items[i];
        g_assert_cmpuint(wm->model->node_index[a->state[i]], ==, item->split);
    }
}

/* Beyond what is proven, parts solved exactly never make a plan worse, and where memory is nearly full they make
 * many better. */
static void test_parts(void)
{
    uint64_t seed = 7;
    uint32_t n_better = 0, n_cases = 40;

    for (uint32_t k = 0; k < n_cases; k++) {
        WorldMix mix = {.min_nodes = 3,
                        .max_nodes = 6,
                        .n_domains = k % 2 ? 70 + k : 130 + 3 * k,
                        .cpu_load_permille = 1300,
                        .memory_fill_permille = 940,
                        .pinned_permille = k % 3 * 500,
                        .is_odd = true};
        g_autoptr(World) world = world_new_random(&mix, &seed);
        g_autoptr(WorldModel) wm = world_model_new(world);
        g_autoptr(HnAssignment) steps = hn_assignment_new(wm->model),
                                all = hn_assignment_new(wm->model);
        hn_search_steps(steps);
        hn_search_local(all);
        g_assert_cmpint(hn_assignment_total(all), <=, hn_assignment_total(steps));
        n_better += hn_assignment_total(all) < hn_assignment_total(steps);
    }
    g_test_message("%u of %u better", n_better, n_cases);
    g_assert_cmpuint(n_better, >=, n_cases / 4);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/search/exact", test_exact);
    g_test_add_func("/search/quality", test_quality);
    g_test_add_func("/search/small-is-exact", test_small_is_exact);
    g_test_add_func("/search/ring", test_ring);
    g_test_add_func("/search/parts", test_parts);
    return g_test_run();
}
