/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole decisions: situations from the field, and what must come of them.
 */
#include "world.h"

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
#define MIB UINT64_C(1048576)
#define GIB (UINT64_C(1024) * MIB)

static HnPlan *decide(World *world, HnPast *past, const HnForce *force)
{
    HnPolicy policy;
    g_autoptr(GError) error = NULL;

    hn_policy_init(&policy);
    HnPlan *plan = hn_decide(world->snapshot, &policy, past, force, force != NULL, NULL, 0, NULL, &error);
    g_assert_no_error(error);
    return plan;
}

static void print_plan(const HnPlan *plan)
{
    g_test_message("%s", plan->summary);
    for (guint i = 0; i < plan->verdicts->len; i++) {
        const HnVerdict *v = g_ptr_array_index(plan->verdicts, i);
        g_test_message("  %s %s: %s", v->name, hn_reason_name(v->reason), v->sentence);
    }
}

/* Rounds of 2 s with all plans applied, until the time is up; returns when the last action came. */
static uint64_t run(World *world, HnPast *past, uint32_t n_rounds, uint32_t noise_permille, uint32_t *ret_n_plans)
{
    uint64_t seed = 42, last_ns = 0, start_ns = world->snapshot->taken_ns;

    *ret_n_plans = 0;
    for (uint32_t i = 0; i < n_rounds; i++) {
        g_autoptr(HnPlan) plan = decide(world, past, NULL);
        if (plan->actions->len > 0) {
            print_plan(plan);
            g_assert_true(world_apply(world, plan));
            last_ns = world->snapshot->taken_ns - start_ns;
            (*ret_n_plans)++;
        } else if (i + 1 == n_rounds) {
            print_plan(plan);
        }
        world_step(world, 2 * SECOND_NS, noise_permille, &seed);
    }
    return last_ns;
}

/* Twofold overcommit, all memory on one node: every guest on one node, equal load, then silence. */
static void test_overcommit(void)
{
    static const struct {
        uint32_t n_guests;
        int32_t memory_node;
    } cases[] = {{4, 0}, {4, 1}, {4, HN_NODE_NONE}, {6, 0}, {6, HN_NODE_NONE}, {5, 0}, {2, 0}, {8, HN_NODE_NONE}};

    for (uint32_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(World) world = world_new(world_host(2, 2, 1, 1536 * MIB));
        g_autoptr(HnPast) past = hn_past_new();
        uint32_t on_node[2] = {0}, n_plans;
        for (uint32_t g = 0; g < cases[i].n_guests; g++)
            world_add(world, 2, 128 * MIB, 2000, cases[i].memory_node);
        uint64_t last_ns = run(world, past, 150, 50, &n_plans);
        for (uint32_t g = 0; g < cases[i].n_guests; g++) {
            const HnDomain *domain = g_ptr_array_index(world->snapshot->domains, g);
            int32_t home = world_home(world, domain);
            g_assert_cmpint(home, >=, 0);
            g_assert_cmpuint(world_local_permille(world, domain), >=, 980);
            on_node[home]++;
        }
        g_assert_cmpuint(MAX(on_node[0], on_node[1]) - MIN(on_node[0], on_node[1]), ==, cases[i].n_guests % 2);
        g_assert_cmpuint(last_ns, <=, 4 * SECOND_NS);
        g_assert_cmpuint(n_plans, ==, 1);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/decide/overcommit", test_overcommit);
    return g_test_run();
}
