/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What later rounds make of plans that are carried out, or not wholly, and of guests that sleep.
 */
#include "scene.h"

#include <string.h>

/* What is on its way keeps its home, counts at its destination and is not planned anew. */
static void test_in_flight(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 8 * GIB));
    HnDomain *a = world_add(scene->world, 4, 3 * GIB, 4000, 0),
             *b = world_add(scene->world, 4, 3 * GIB, 4000, 0);
    const char *names[] = {NULL, NULL};

    world_pin(scene->world, a, 0);
    world_pin(scene->world, b, 0);
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_cmpuint(plan->actions->len, ==, 2);
    HnDomain *mover = verdict_of(plan, a)->will_act ? a : b;
    names[0] = mover->uuid;
    /* Only the pin has happened so far. */
    g_assert_true(
        world_apply_action(scene->world, plan, &g_array_index(plan->actions, HnAction, 0)));
    for (uint32_t i = 0; i < 5; i++) {
        g_autoptr(HnPlan) waiting = scene_round(scene, NULL, NULL, 0, names);
        assert_reason(waiting, mover, IN_PROGRESS);
        g_assert_cmpint(verdict_of(waiting, mover)->clients[0].home_wanted, ==, 1);
        g_assert_cmpuint(waiting->actions->len, ==, 0);
    }
    /* The mover gave up in the middle: what is missing is asked for again, without a new
     * confirmation of a home. */
    g_autoptr(HnPlan) again = scene_after(scene, 2);
    g_assert_cmpuint(count_actions(again, mover, HN_ACTION_PIN), ==, 0);
    g_assert_cmpuint(count_actions(again, mover, HN_ACTION_MOVE_MEMORY), ==, 1);
}

/* Pages that would not move are not asked for again every round. */
static void test_residue(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 8 * GIB));
    HnDomain *domain = world_add(scene->world, 2, 2 * GIB, 2000, 1),
             *busy = world_add(scene->world, 4, GIB, 4000, 1);

    world_pin(scene->world, domain, 0);
    world_pin(scene->world, busy, 1);
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_cmpuint(count_actions(plan, domain, HN_ACTION_MOVE_MEMORY), ==, 1);
    g_assert_true(world_apply(scene->world, plan));
    domain->resident_bytes[0] -= 300 * MIB;
    domain->resident_bytes[1] += 300 * MIB;
    HnOutcome outcome = {.generation = plan->generation,
                         .kind = HN_ACTION_MOVE_MEMORY,
                         .reason = HN_REASON_DONE_WITH_RESIDUE,
                         .bytes_moved = 1748 * MIB,
                         .bytes_left = 300 * MIB,
                         .to_node = 0};
    g_strlcpy(outcome.uuid, domain->uuid, sizeof(outcome.uuid));
    g_autoptr(HnPlan) after = scene_round(scene, NULL, &outcome, 1, NULL);
    for (uint32_t i = 0; i < 60; i++) {
        g_autoptr(HnPlan) later = scene_plain(scene);
        g_assert_cmpuint(later->actions->len, ==, 0);
    }
}

/* No re-home twice within the cooldown, and a budget per hour; both say so. */
static void test_pace(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 8 * GIB));
    HnDomain *domain = world_add(scene->world, 2, GIB, 2000, 0);
    uint64_t start_ns = scene->world->snapshot->taken_ns, moved_ns[64];
    uint32_t n_moves = 0, n_cooldown = 0, n_budget = 0;

    world_pin(scene->world, domain, 0);
    scene->policy.thrash_moves_per_hour = 3;
    while (scene->world->snapshot->taken_ns - start_ns < 1800 * SECOND_NS) {
        /* An adversary: wherever the guest is, the node's CPUs are taken by something else. */
        int32_t home = world_home(scene->world, domain);
        for (int32_t n = 0; n < 2; n++)
            scene->world->snapshot->host->nodes[n].other_load_mcpu = n == home ? 4000 : 0;
        g_autoptr(HnPlan) plan = scene_plain(scene);
        n_cooldown += verdict_of(plan, domain)->reason == HN_REASON_COOLDOWN;
        n_budget += verdict_of(plan, domain)->reason == HN_REASON_THRASH_BUDGET;
        if (plan->actions->len > 0)
            moved_ns[n_moves++] = scene->world->snapshot->taken_ns;
        g_assert_true(world_apply(scene->world, plan));
    }
    g_assert_cmpuint(n_moves, ==, 3);
    for (uint32_t i = 1; i < n_moves; i++)
        g_assert_cmpuint(moved_ns[i] - moved_ns[i - 1], >=, 60 * SECOND_NS);
    g_assert_cmpuint(n_cooldown, >, 0);
    g_assert_cmpuint(n_budget, >, 0);
}

/* A move that made it worse is taken back, and the home marked. */
static void test_audit(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 8 * GIB));
    HnDomain *domain = world_add(scene->world, 2, GIB, 2000, 0);
    uint32_t n_undone = 0;

    world_pin(scene->world, domain, 0);
    scene->world->snapshot->host->nodes[0].other_load_mcpu = 4000;
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_true(world_apply(scene->world, plan));
    g_assert_cmpint(world_home(scene->world, domain), ==, 1);
    for (uint32_t i = 0; i < 60 && n_undone == 0; i++) {
        g_autoptr(HnPlan) later = scene_plain(scene);
        /* Something invisible starves it there: nine tenths of its time are waiting. */
        for (uint32_t v = 0; v < 2; v++)
            domain->vcpus[v].run_delay_ns +=
                domain->vcpus[v].affinity.words[0] & 0xf0 ? 15 * SECOND_NS : 0;
        n_undone += verdict_of(later, domain)->reason == HN_REASON_UNDO_WORSE;
        g_assert_true(world_apply(scene->world, later));
    }
    g_assert_cmpuint(n_undone, ==, 1);
    g_assert_cmpint(world_home(scene->world, domain), ==, 0);
    g_autoptr(HnPlan) marked = scene_after(scene, 40);
    assert_reason(marked, domain, MARKED_WORSE);
}

/* The fence is off unless asked for, opened before a move, and never set where the home could not
 * hold what the domain may still allocate. */
static void test_fence(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 8 * GIB));
    HnDomain *domain = world_add(scene->world, 2, GIB, 2000, 0);

    world_pin(scene->world, domain, 0);
    {
        g_autoptr(HnPlan) plan = scene_after(scene, 3);
        g_assert_cmpuint(plan->actions->len, ==, 0);
    }
    scene->policy.fence_when_converged = true;
    /* It may grow by more than its home has free. */
    HnNode *home = &scene->world->snapshot->host->nodes[0];
    uint64_t free_bytes = home->mem_free_bytes;
    home->mem_free_bytes = GIB / 4;
    domain->configured_bytes = domain->current_bytes = 2 * GIB;
    for (uint32_t i = 0; i < 60; i++) {
        g_autoptr(HnPlan) plan = scene_plain(scene);
        g_assert_cmpuint(count_actions(plan, domain, HN_ACTION_FENCE), ==, 0);
    }
    home->mem_free_bytes = free_bytes;
    domain->configured_bytes = domain->current_bytes = GIB;
    /* Not before sampling has ended and it stayed calm for a while (doubt.h): the size is another.
     */
    for (uint32_t i = 0; i < 60 && !domain->is_fenced; i++) {
        g_autoptr(HnPlan) plan = scene_plain(scene);
        g_assert_true(i > 15 || plan->actions->len == 0);
        g_assert_true(world_apply(scene->world, plan));
    }
    g_assert_true(domain->is_fenced);
    HnForce force = {.node = 1};
    g_strlcpy(force.uuid, domain->uuid, sizeof(force.uuid));
    g_autoptr(HnPlan) plan = scene_round(scene, &force, NULL, 0, NULL);
    const HnAction *first = &g_array_index(plan->actions, HnAction, 0);
    g_assert_cmpint(first->kind, ==, HN_ACTION_UNFENCE);
    g_assert_cmpuint(g_array_index(plan->actions, HnAction, 1).step, >, first->step);
}

/* Idle guests are left where they are; when load comes back, so does interest. */
static void test_idle(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 8 * GIB));
    HnDomain *domain = world_add(scene->world, 2, GIB, 4, HN_NODE_NONE);

    g_autoptr(HnPlan) plan = scene_after(scene, 4);
    assert_reason(plan, domain, IDLE);
    scene->world->load_mcpu[0] = 2000;
    g_autoptr(HnPlan) awake = scene_after(scene, 4);
    g_assert_true(verdict_of(awake, domain)->will_act);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/follow-up/in-flight", test_in_flight);
    g_test_add_func("/follow-up/residue", test_residue);
    g_test_add_func("/follow-up/pace", test_pace);
    g_test_add_func("/follow-up/audit", test_audit);
    g_test_add_func("/follow-up/fence", test_fence);
    g_test_add_func("/follow-up/idle", test_idle);
    return g_test_run();
}
