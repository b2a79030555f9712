/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each term of the cost function against figures worked out by hand, and increments against totals.
 */
#include "model_of_world.h"

#include "cost.h"

#define MS INT64_C(1000000)
#define GIB (INT64_C(1) << 30)

static HnModelNode node_with(int64_t capacity_mcpu, int64_t bandwidth_mib)
{
    HnModelNode node = {.capacity_mcpu = capacity_mcpu, .bandwidth_mib = bandwidth_mib};

    node.contention_factor = (INT64_C(1000000) << 24) / capacity_mcpu;
    node.bandwidth_factor = bandwidth_mib ? (INT64_C(1000000) << 24) / bandwidth_mib : 0;
    return node;
}

static void assert_near(int64_t got, int64_t want)
{
    g_assert_cmpint(ABS(got - want), <=, 1 + want / 100000);
}

static void test_remote(void)
{
    static const uint8_t distances[] = {10, 20, 31};
    HnSpread spread = {0};

    g_assert_cmpint(hn_cost_remote(distances, &spread, 1000, 930), ==, 0);
    hn_spread_add(&spread, 0, 2 * GIB, 4 * GIB);
    hn_spread_add(&spread, 1, GIB, 4 * GIB);
    hn_spread_add(&spread, 2, GIB, 4 * GIB);
    /* 1 CPU memory bound: 0.25 * 0.93 * 1.0 + 0.25 * 0.93 * 2.1 = 0.72075 s/s */
    assert_near(hn_cost_remote(distances, &spread, 1000, 930), 720750 * 1000);
    assert_near(hn_cost_remote(distances, &spread, 2000, 930), 1441500 * 1000);
    assert_near(hn_cost_remote(distances, &spread, 1000, 0), 0);
    /* 64 TiB at distance 254, 4,096 vCPUs of weight 1000 */
    HnSpread far = {0};
    const uint8_t worst[] = {254};
    hn_spread_add(&far, 0, INT64_C(1) << 46, INT64_C(1) << 46);
    int64_t cost = hn_cost_remote(worst, &far, INT64_C(40960000), 930);
    assert_near(cost, INT64_C(40960000) * 100 * 930 * 244);
    g_assert_cmpint(cost, <, HN_MAX_ITEM_COST);
    g_assert_cmpint(hn_cost_remote(worst, &far, INT64_C(1) << 33, 10000), ==, HN_MAX_ITEM_COST);
}

static void test_contention(void)
{
    static const struct {
        int64_t capacity, load, weighted, want_ms;
    } cases[] = {
        {2000, 0, 0, 0},
        {2000, 1000, 1000, 125},    /* 1 * 0.5 / 4 */
        {2000, 2000, 2000, 500},    /* 2 * 1 / 4 */
        {2000, 4000, 4000, 6000},   /* 4 * (2 - 1) + 4 * 2 / 4 */
        {2000, 6000, 6000, 16500},  /* 6 * (3 - 1) + 6 * 3 / 4 */
        {2000, 4000, 40000, 60000}, /* weight 1000 */
        {19200, 32000, 32000,
         34667}, /* 16 cores with 32 threads, 32 busy vCPUs: 32 * 2/3 + 32 * 5/3 / 4 */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnModelNode node = node_with(cases[i].capacity, 0);
        int64_t cost = hn_cost_contention(&node, cases[i].load, cases[i].weighted);
        g_assert_cmpint((cost + MS / 2) / MS, ==, cases[i].want_ms);
    }
    /* Convex: the next CPU's worth never costs less than the one before. */
    HnModelNode node = node_with(7300, 0);
    int64_t last = 0;
    for (int64_t load = 0; load < 40000; load += 100) {
        int64_t step = hn_cost_contention(&node, load + 100, load + 100) -
                       hn_cost_contention(&node, load, load);
        g_assert_cmpint(step + 2, >=, last);
        last = step;
    }
    node = node_with(1, 0);
    g_assert_cmpint(hn_cost_contention(&node, INT64_MAX / 16, INT64_MAX / 16), ==,
                    HN_MAX_NODE_COST / 2);
}

static void test_bandwidth(void)
{
    HnModelNode node = node_with(16000, 10240), unknown = node_with(16000, 0);

    g_assert_cmpint(hn_cost_bandwidth(&node, 10240, 8000), ==, 0);
    assert_near(hn_cost_bandwidth(&node, 20480, 8000), 8000 * MS);
    assert_near(hn_cost_bandwidth(&node, 15360, 8000), 4000 * MS);
    g_assert_cmpint(hn_cost_bandwidth(&unknown, 1 << 30, 8000), ==, 0);
}

static void test_moving(void)
{
    HnPolicy policy;

    hn_policy_init(&policy);
    g_assert_cmpint(hn_cost_moving(0, false, 1000 * MS, &policy), ==, 0);
    /* 1 GiB of 4 KiB pages: 0.3146 s of copying over 60 s, and half a second remote out of 60. */
    assert_near(hn_cost_moving((uint64_t)GIB, false, 0, &policy), 5242880);
    assert_near(hn_cost_moving((uint64_t)GIB, false, 1200 * MS, &policy),
                5242880 + 1200 * MS / 120);
    g_assert_cmpint(hn_cost_moving((uint64_t)GIB, true, 0, &policy), <,
                    hn_cost_moving((uint64_t)GIB, false, 0, &policy) / 3 + 1);
    /* Longer than the horizon: it never pays more than staying remote would. */
    g_assert_cmpint(hn_cost_moving(UINT64_C(1) << 46, true, 1000 * MS, &policy), >=, 1000 * MS);
    g_assert_cmpint(hn_cost_moving(UINT64_MAX, false, HN_MAX_ITEM_COST, &policy), <=,
                    HN_MAX_ITEM_COST);
}

static void test_device(void)
{
    g_assert_cmpint(hn_cost_device(1000, 10), ==, 0);
    g_assert_cmpint(hn_cost_device(1000, 20), ==, 100 * MS);
    g_assert_cmpint(hn_cost_device(1000, 31), ==, 210 * MS);
}

static void test_roaming(void)
{
    HnModelNode node = node_with(4000, 0);

    /* Two CPUs' worth by chance: 2 * 2 / 4, and a quarter of it. */
    assert_near(hn_cost_roaming(&node, 2000, 2000), 1250 * MS);
    assert_near(hn_cost_roaming(&node, 2000, 4000), 2500 * MS);
    g_assert_cmpint(hn_cost_roaming(&node, 0, 0), ==, 0);
    node = node_with(1, 0);
    g_assert_cmpint(hn_cost_roaming(&node, INT64_MAX / 16, INT64_MAX / 16), ==, HN_MAX_ITEM_COST);
}

/* What an item's company costs it when the items are on these nodes. */
static int64_t company_of(const HnModel *m, const uint32_t *nodes, uint32_t item)
{
    g_autoptr(HnAssignment) a = hn_assignment_new(m);
    HnCost cost;

    for (uint32_t i = 0; i < m->n_items; i++)
        hn_assignment_move(a, i, m->node_rank[nodes[i]]);
    hn_assignment_item_cost(a, item, &cost);
    return cost.company_ns_per_sec;
}

/* Groups and anti-groups: half of each pair's cost is each member's. */
static void test_company(void)
{
    static const struct {
        uint32_t nodes[3];
        int64_t together_ns, apart_ns; /* of the first guest, in a group and in an anti-group */
    } cases[] = {
        {{0, 0, 0}, 0, 2 * HN_ANTI_NS_PER_SEC / 2},
        {{0, 0, 1}, HN_GROUP_NS_PER_SEC / 2 / 2, HN_ANTI_NS_PER_SEC / 2},
        {{0, 1, 2}, 2 * HN_GROUP_NS_PER_SEC / 2 / 2, 0},
    };
    for (guint i = 0; i < 2 * G_N_ELEMENTS(cases); i++) {
        bool is_anti = i % 2;
        g_autoptr(World) world = world_new(world_host(3, 4, 1, 8 * GIB));
        for (uint32_t g = 0; g < 3; g++) {
            HnDomain *domain = world_add(world, 1, (uint64_t)GIB, 1000, 0);
            *(is_anti ? &domain->wish.anti_group : &domain->wish.group) = g_strdup("x");
        }
        g_autoptr(WorldModel) wm = world_model_new(world);
        /* Items are in canonical order; all guests are alike, so any may be the first. */
        g_assert_cmpint(company_of(wm->model, cases[i / 2].nodes, 0), ==,
                        is_anti ? cases[i / 2].apart_ns : cases[i / 2].together_ns);
    }
}

/* Parts of a wide domain without a matrix touch all memory alike: of k parts, each finds 1/k with each
 * of the others. */
static void test_kin(void)
{
    static const struct {
        uint32_t n_nodes, n_vcpus;
        int64_t want_ms; /* of one part, all on nodes of their own at distance 20 */
    } cases[] = {
        /* 4 vCPUs, half memory bound, half of what they touch elsewhere: 4 * 0.5 * 0.5 * 0.93 */
        {2, 8, 930},
        /* two thirds elsewhere */
        {3, 12, 1240},
        {4, 16, 1395},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(World) world = world_new(world_host(cases[i].n_nodes, 4, 1, 8 * GIB));
        const uint32_t nodes[] = {0, 1, 2, 3}, together[4] = {0};
        world_add(world, cases[i].n_vcpus, 2 * (uint64_t)GIB, cases[i].n_vcpus * 1000, 0);
        g_autoptr(WorldModel) wm = world_model_new(world);
        g_assert_cmpuint(wm->model->n_items, ==, cases[i].n_nodes);
        for (uint32_t part = 0; part < wm->model->n_items; part++) {
            int64_t cost = company_of(wm->model, nodes, part);
            /* Shares are in permille. */
            g_assert_cmpint(ABS(cost - cases[i].want_ms * MS), <=, 5 * MS);
            /* That they cannot all be on one node is a rule, not a stall. */
            g_assert_cmpint(company_of(wm->model, together, part), ==, 0);
        }
    }
}

/* Whatever is done to an assignment: the change it returns is the change of the total, and both
 * halves of the price agree with it. Over company, kin, floating and all. */
static void test_increments(void)
{
    uint64_t seed = 99;

    for (uint32_t k = 0; k < 200; k++) {
        WorldMix mix = {.min_nodes = 2,
                        .max_nodes = 5,
                        .n_domains = 8,
                        .cpu_load_permille = 1500,
                        .memory_fill_permille = 500,
                        .pinned_permille = 300,
                        .is_odd = true,
                        .has_wishes = true};
        g_autoptr(World) world = world_new_random(&mix, &seed);
        for (uint32_t d = 0; d < 8; d += 3) {
            HnDomain *domain = g_ptr_array_index(world->snapshot->domains, d);
            g_free(domain->wish.group);
            domain->wish.group = g_strdup(d ? "a" : "b");
            g_free(domain->wish.anti_group);
            domain->wish.anti_group = g_strdup("c");
        }
        g_autoptr(WorldModel) wm = world_model_new(world);
        g_autoptr(HnAssignment) a = hn_assignment_new(wm->model);
        int64_t total = hn_assignment_total(a);
        for (uint32_t step = 0; step < 60; step++) {
            uint32_t item = (uint32_t)(world_random(&seed) % wm->model->n_items);
            uint32_t state = (uint32_t)(world_random(&seed) % (wm->model->n_nodes + 1));
            /* The table holds prices of what is allowed. */
            if (state < wm->model->n_nodes &&
                (wm->model->items[item].is_fixed || !(wm->model->items[item].allowed >> state & 1)))
                continue;
            int64_t priced = state < wm->model->n_nodes && a->state[item] != state
                                 ? hn_assignment_delta(a, item, state)
                                 : 0;
            bool is_priced = state < wm->model->n_nodes && a->state[item] != state;
            int64_t moved = hn_assignment_move(a, item, state);
            int64_t now = hn_assignment_total(a);
            g_assert_cmpint(ABS(now - total - moved), <=, 2);
            if (is_priced)
                g_assert_cmpint(ABS(priced - moved), <=, 2);
            total = now;
        }
        /* Rebuilt from nothing it is the same. */
        g_autoptr(HnAssignment) fresh = hn_assignment_new(wm->model);
        for (uint32_t i = 0; i < wm->model->n_items; i++)
            hn_assignment_move(fresh, i, a->state[i]);
        g_assert_cmpint(hn_assignment_total(fresh), ==, total);
        /* The parts of the items add up to the whole, hysteresis and rules apart. */
        HnCost sum = {0};
        int64_t hysteresis = 0;
        for (uint32_t i = 0; i < wm->model->n_items; i++) {
            const HnItem *item = &wm->model->items[i];
            HnCost part;
            hn_assignment_item_cost(a, i, &part);
            hn_cost_add(&sum, &part);
            if (a->state[i] < wm->model->n_nodes && (int32_t)a->state[i] != item->home_now)
                hysteresis += item->change_ns;
            if (a->state[i] == wm->model->n_nodes)
                hysteresis += item->outside_ns; /* a rule, too */
        }
        if (wm->model->n_items == wm->n_splits) /* no parts of wide domains */
            /* Loads of roaming items are whole mcpu on each node. */
            g_assert_cmpint(ABS(sum.total_ns_per_sec + hysteresis - total), <=,
                            10000000 + total / 10000);
    }
}

/* The short ways through the cost function give what the long ones give: contention without ceilings, and
 * the cheapest of many nodes. */
static void test_short_ways(void)
{
    uint64_t seed = 11;
    uint32_t n_tame = 0, n_found = 0;

    for (uint32_t k = 0; k < 200; k++) {
        WorldMix mix = {.min_nodes = 2,
                        .max_nodes = 6,
                        .n_domains = 12,
                        .cpu_load_permille = 300 + k % 4 * 900,
                        .memory_fill_permille = 700,
                        .pinned_permille = k % 3 * 500,
                        .is_odd = k % 2,
                        .has_wishes = k % 4 > 1};
        g_autoptr(World) world = world_new_random(&mix, &seed);
        g_autoptr(WorldModel) wm = world_model_new(world);
        HnModel *m = wm->model;
        g_autoptr(HnAssignment) a = hn_assignment_new(m);
        for (uint32_t n = 0; n < m->n_nodes; n++) {
            n_tame += m->nodes[n].is_tame;
            /* Only one without CPUs is too small for all the load there is. */
            g_assert_true(m->nodes[n].is_tame || m->nodes[n].n_cpus == 0);
        }
        for (uint32_t step = 0; step < 20; step++) {
            uint32_t item = (uint32_t)(world_random(&seed) % m->n_items), best = 99, found = 99;
            HnNodemask nodes = world_random(&seed) & ((UINT64_C(1) << m->n_nodes) - 1);
            bool must_fit = step % 2;
            int64_t below = step % 3 ? INT64_MAX : -hn_assignment_leave(a, item), least = below;
            for (uint32_t n = 0; n < m->n_nodes; n++) {
                bool is_tame = m->nodes[n].is_tame;
                m->nodes[n].is_tame = false;
                int64_t price = hn_assignment_enter(a, item, n);
                m->nodes[n].is_tame = is_tame;
                g_assert_cmpint(hn_assignment_enter(a, item, n), ==, price);
                if (!(nodes >> n & 1) || price >= least ||
                    (must_fit && !hn_assignment_fits(a, item, n)))
                    continue;
                least = price;
                best = n;
            }
            g_assert_cmpint(hn_assignment_enter_best(a, item, nodes, below, must_fit, &found), ==,
                            least);
            g_assert_cmpuint(found, ==, best);
            n_found += best != 99;
            hn_assignment_move(a, item, (uint32_t)(world_random(&seed) % m->n_nodes));
        }
    }
    g_assert_cmpuint(n_tame, >, 400);
    g_assert_cmpuint(n_found, >, 1000);
}

/* Where ceilings can be reached, the short way is not taken. */
static void test_tame(void)
{
    static const struct {
        int64_t demand_mcpu, weight_percent, capacity_mcpu;
        bool is_tame;
    } cases[] = {
        {16000, 100, 16000, true},
        {4096000, 100, 64000, true},
        {INT64_C(1) << 30, 100, 1, false},
        {4096000, 100000, 1, false}, /* 4,096 vCPUs of the greatest weight on a node all taken */
        {HN_MAX_MCPU, 100, 64000, false},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnItem item = {.demand_mcpu = cases[i].demand_mcpu,
                       .weighted_mcpu = cases[i].demand_mcpu * cases[i].weight_percent / 100};
        HnModel model = {.n_items = 1, .items = &item, .n_nodes = 1};
        model.nodes[0] = node_with(cases[i].capacity_mcpu, 0);
        hn_cost_tame(&model);
        g_assert_cmpint(model.nodes[0].is_tame, ==, cases[i].is_tame);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cost/remote", test_remote);
    g_test_add_func("/cost/contention", test_contention);
    g_test_add_func("/cost/bandwidth", test_bandwidth);
    g_test_add_func("/cost/moving", test_moving);
    g_test_add_func("/cost/device", test_device);
    g_test_add_func("/cost/roaming", test_roaming);
    g_test_add_func("/cost/company", test_company);
    g_test_add_func("/cost/kin", test_kin);
    g_test_add_func("/cost/increments", test_increments);
    g_test_add_func("/cost/short-ways", test_short_ways);
    g_test_add_func("/cost/tame", test_tame);
    return g_test_run();
}
