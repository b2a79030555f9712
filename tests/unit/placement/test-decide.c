/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole decisions: situations from the field, and what must come of them.
 */
#include "scene.h"

#include <string.h>

static HnPlan *decide(World *world, HnPast *past, const HnForce *force)
{
    HnPolicy policy;
    g_autoptr(GError) error = NULL;

    hn_policy_init(&policy);
    HnPlan *plan =
        hn_decide(world->snapshot, &policy, past, force, force != NULL, NULL, 0, NULL, &error);
    g_assert_no_error(error);
    return plan;
}

/* Rounds of 2 s with all plans applied, until the time is up; returns when the last action came. */
static uint64_t run(World *world, HnPast *past, uint32_t n_rounds, uint32_t noise_permille,
                    uint32_t *ret_n_plans)
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
    } cases[] = {{4, 0}, {4, 1}, {4, HN_NODE_NONE}, {6, 0}, {6, HN_NODE_NONE},
                 {5, 0}, {2, 0}, {8, HN_NODE_NONE}};

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
        g_assert_cmpuint(MAX(on_node[0], on_node[1]) - MIN(on_node[0], on_node[1]), ==,
                         cases[i].n_guests % 2);
        g_assert_cmpuint(last_ns, <=, 4 * SECOND_NS);
        g_assert_cmpuint(n_plans, ==, 1);
    }
}

/* --- situations --- */

static void test_one_node(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(1, 4, 1, GIB));
    HnDomain *managed = world_add(scene->world, 2, 128 * MIB, 2000, 0),
             *other = world_add(scene->world, 2, 128 * MIB, 2000, 0);

    other->wish.mode = HN_MODE_NONE;
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    assert_reason(plan, managed, SINGLE_NODE_HOST);
    assert_reason(plan, other, SINGLE_NODE_HOST);
    g_assert_cmpuint(plan->actions->len, ==, 0);
}

/* Everything that may stand in the way, each with the reason it must give. */
static void set_none(HnDomain *d)
{
    d->wish.mode = HN_MODE_NONE;
}
static void set_off(HnDomain *d)
{
    d->wish.mode = HN_MODE_OFF;
}
static void set_invalid(HnDomain *d)
{
    d->wish.invalid = g_strdup("unknown attribute 'colour'");
}
static void set_advise(HnDomain *d)
{
    d->wish.mode = HN_MODE_ADVISE;
}
static void set_migrating(HnDomain *d)
{
    d->job = HN_JOB_MIGRATION;
}
static void set_busy(HnDomain *d)
{
    d->job = HN_JOB_OTHER;
}
static void set_paused(HnDomain *d)
{
    d->state = HN_STATE_PAUSED;
}
static void set_unseen(HnDomain *d)
{
    d->unobservable = g_strdup("no permission to read /proc/1234");
}
static void set_unprobed(HnDomain *d)
{
    d->resident_source = HN_SOURCE_NONE;
}
static void set_no_node(HnDomain *d)
{
    d->wish.has_nodeset = true;
    d->wish.nodeset = 0;
}

static void set_spread_pins(HnDomain *d)
{
    for (uint32_t v = 0; v < d->n_vcpus; v++) {
        d->vcpus[v].is_admin_pinned = true;
        hn_cpuset_zero(&d->vcpus[v].admin_cpus);
        hn_cpuset_add(&d->vcpus[v].admin_cpus, v % 2 ? 0 : 4);
        d->vcpus[v].affinity = d->vcpus[v].admin_cpus;
    }
}

static void test_refusals(void)
{
    static const struct {
        void (*set)(HnDomain *domain);
        HnReason reason;
        bool is_managed;
    } cases[] = {
        {set_none, HN_REASON_NOT_OPTED_IN, false},
        {set_off, HN_REASON_MODE_OFF, false},
        {set_invalid, HN_REASON_BAD_METADATA, false},
        {set_advise, HN_REASON_ADVISE_ONLY, true},
        {set_migrating, HN_REASON_MIGRATING, true},
        {set_busy, HN_REASON_DOMAIN_BUSY, true},
        {set_paused, HN_REASON_PAUSED_DOMAIN, true},
        {set_unseen, HN_REASON_EVIDENCE_THIN, true},
        {set_unprobed, HN_REASON_EVIDENCE_THIN, true},
        {set_no_node, HN_REASON_CONSTRAINT_EMPTY, true},
        {set_spread_pins, HN_REASON_PINNED_BY_ADMIN, true},
    };

    for (uint32_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 4 * GIB));
        HnDomain *domain = world_add(scene->world, 2, 512 * MIB, 2000, 1);
        world_pin(scene->world, domain, 0);
        cases[i].set(domain);
        g_autoptr(HnPlan) plan = scene_after(scene, 3);
        const HnVerdict *v = verdict_of(plan, domain);
        g_assert_cmpstr(hn_reason_name(v->reason), ==, hn_reason_name(cases[i].reason));
        g_assert_cmpint(v->is_managed, ==, cases[i].is_managed);
        g_assert_false(v->will_act);
        g_assert_cmpuint(plan->actions->len, ==, 0);
        /* Not even a forced rebalance may touch it. */
        HnForce force = {.node = 1};
        g_strlcpy(force.uuid, domain->uuid, sizeof(force.uuid));
        g_autoptr(HnPlan) forced = scene_round(scene, &force, NULL, 0, NULL);
        if (cases[i].reason != HN_REASON_EVIDENCE_THIN || domain->unobservable)
            g_assert_cmpuint(forced->actions->len, ==, 0);
    }
}

/* Found within 4 s of being seen: thin, unconfirmed, then acted upon; memory or vCPUs alone where
 * that is all that is missing; nothing the second time. */
static void test_detection(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 4 * GIB));
    HnDomain *domain = world_add(scene->world, 2, 512 * MIB, 1800, 1),
             *busy = world_add(scene->world, 4, 512 * MIB, 4000, 1);

    world_pin(scene->world, domain, 0);
    world_pin(scene->world, busy, 1);
    g_autoptr(HnPlan) first = scene_plain(scene);
    assert_reason(first, domain, EVIDENCE_THIN);
    g_autoptr(HnPlan) second = scene_plain(scene);
    assert_reason(second, domain, UNCONFIRMED);
    g_autoptr(HnPlan) third = scene_plain(scene);
    g_assert_true(verdict_of(third, domain)->will_act);
    /* Node 1 is busy and the guest pinned to 0: memory follows, no pin is needed. */
    g_assert_cmpuint(count_actions(third, domain, HN_ACTION_PIN), ==, 0);
    g_assert_cmpuint(count_actions(third, domain, HN_ACTION_MOVE_MEMORY), ==, 1);
    assert_reason(third, domain, LOCALITY_GAIN);
    g_assert_true(world_apply(scene->world, third));
    g_autoptr(HnPlan) fourth = scene_plain(scene);
    assert_reason(fourth, domain, CONVERGED);
    g_assert_cmpuint(fourth->actions->len, ==, 0);
}

/* T5: all RAM pinned for DMA: the vCPUs go to it, nothing is asked to move. */
static void test_immovable(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 8, 1, 8 * GIB));
    HnDomain *domain = world_add(scene->world, 4, 2 * GIB, 4000, 1),
             *keeps = world_add(scene->world, 2, GIB, 2000, 1);

    domain->immovable_bytes[1] = domain->resident_bytes[1];
    keeps->wish.memory = HN_MEMORY_KEEP;
    world_pin(scene->world, domain, 0);
    world_pin(scene->world, keeps, 0);
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_cmpint(verdict_of(plan, domain)->clients[0].home_wanted, ==, 1);
    g_assert_cmpint(verdict_of(plan, keeps)->clients[0].home_wanted, ==, 1);
    g_assert_cmpuint(count_actions(plan, domain, HN_ACTION_MOVE_MEMORY) +
                         count_actions(plan, keeps, HN_ACTION_MOVE_MEMORY),
                     ==, 0);
    world_apply(scene->world, plan);
    /* The admin holds the vCPUs away: then it stays, and says so. */
    for (uint32_t v = 0; v < domain->n_vcpus; v++) {
        domain->vcpus[v].is_admin_pinned = true;
        domain->vcpus[v].admin_cpus = domain->vcpus[v].affinity =
            scene->world->snapshot->host->nodes[0].cpus;
    }
    for (uint32_t i = 0; i < 40; i++) {
        g_autoptr(HnPlan) later = scene_plain(scene);
        g_assert_cmpuint(later->actions->len, ==, 0);
    }
    g_autoptr(HnPlan) held = scene_plain(scene);
    assert_reason(held, domain, PINNED_BY_ADMIN);
}

/* T10: the admin pins one vCPU away, just after a re-home. While it has to wait, the pin is what is
 * told; then the others come to it. */
static void test_torn_by_admin(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 8, 1, 8 * GIB));
    HnDomain *domain = world_add(scene->world, 2, GIB, 1800, 1);

    world_pin(scene->world, domain, 0);
    g_autoptr(HnPlan) moved = scene_after(scene, 3);
    g_assert_true(verdict_of(moved, domain)->will_act);
    g_assert_true(world_apply(scene->world, moved));
    g_assert_cmpuint(verdict_of(moved, domain)->n_clients, ==, 1);
    int32_t home = verdict_of(moved, domain)->clients[0].home_wanted;
    domain->vcpus[1].is_admin_pinned = true;
    hn_cpuset_zero(&domain->vcpus[1].admin_cpus);
    hn_cpuset_add(&domain->vcpus[1].admin_cpus, home == 0 ? 8 : 0);
    domain->vcpus[1].affinity = domain->vcpus[1].admin_cpus;
    g_autoptr(HnPlan) waiting = scene_plain(scene);
    assert_reason(waiting, domain, PINNED_BY_ADMIN);
    g_assert_cmpuint(waiting->actions->len, ==, 0);
    for (uint32_t i = 0; i < 40; i++) {
        g_autoptr(HnPlan) plan = scene_plain(scene);
        const HnVerdict *v = verdict_of(plan, domain);
        if (v->will_act) {
            g_assert_cmpint(v->clients[0].home_wanted, ==, !home);
            return;
        }
    }
    g_assert_not_reached();
}

/* T8 and refusals of a forced rebalance: constraints hold, room holds, and the reason is said. */
static void test_forced(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 8, 1, 8 * GIB));
    HnDomain *domain = world_add(scene->world, 2, 2 * GIB, 1000, 0);
    HnForce force = {.node = 1};

    world_pin(scene->world, domain, 0);
    g_strlcpy(force.uuid, domain->uuid, sizeof(force.uuid));
    {
        g_autoptr(HnPlan) plan = scene_after(scene, 4);
        assert_reason(plan, domain, CONVERGED);
    }
    {
        /* The home it has, on a busy node: done, though the other would be better and is barred. */
        HnForce stay = force;
        stay.node = 0;
        HnDomain *neighbour = world_add(scene->world, 8, GIB, 1000, 0);
        world_pin(scene->world, neighbour, 0);
        scene->world->snapshot->host->nodes[1].mem_free_bytes = 0;
        g_autoptr(HnPlan) plan = scene_round(scene, &stay, NULL, 0, NULL);
        assert_reason(plan, domain, CONVERGED);
        scene->world->snapshot->host->nodes[1].mem_free_bytes = 4 * GIB;
        neighbour->wish.mode = HN_MODE_OFF;
        for (uint32_t v = 0; v < neighbour->n_vcpus; v++)
            neighbour->vcpus[v].exec_ns = 0;
    }
    domain->wish.has_nodeset = true;
    domain->wish.nodeset = 1;
    {
        g_autoptr(HnPlan) plan = scene_round(scene, &force, NULL, 0, NULL);
        assert_reason(plan, domain, NODESET_BY_ADMIN);
        g_assert_cmpuint(plan->actions->len, ==, 0);
    }
    domain->wish.has_nodeset = false;
    uint64_t was_free = scene->world->snapshot->host->nodes[1].mem_free_bytes;
    scene->world->snapshot->host->nodes[1].mem_free_bytes = GIB;
    {
        g_autoptr(HnPlan) plan = scene_round(scene, &force, NULL, 0, NULL);
        assert_reason(plan, domain, NODE_FULL);
        g_assert_cmpuint(plan->actions->len, ==, 0);
    }
    scene->world->snapshot->host->nodes[1].mem_free_bytes = was_free;
    {
        g_autoptr(HnPlan) plan = scene_round(scene, &force, NULL, 0, NULL);
        assert_reason(plan, domain, FORCED);
        g_assert_true(world_apply(scene->world, plan));
        g_assert_cmpint(world_home(scene->world, domain), ==, 1);
        g_assert_cmpuint(world_local_permille(scene->world, domain), ==, 1000);
    }
    /* And no way back on its own, nor again within the cooldown. */
    for (uint32_t i = 0; i < 50; i++) {
        g_autoptr(HnPlan) plan = scene_plain(scene);
        g_assert_cmpuint(plan->actions->len, ==, 0);
    }
}

/* Two guests on each other's full node: the swap turns through the gap, in slices, room first. */
static void test_swap_full_nodes(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 10 * GIB));
    HnDomain *a = world_add(scene->world, 4, 9 * GIB, 4000, 1),
             *b = world_add(scene->world, 4, 9 * GIB, 4000, 0);

    world_pin(scene->world, a, 0);
    world_pin(scene->world, b, 1);
    /* The vCPUs may not change places: memory must. */
    for (uint32_t v = 0; v < 4; v++) {
        a->vcpus[v].is_admin_pinned = b->vcpus[v].is_admin_pinned = true;
        a->vcpus[v].admin_cpus = a->vcpus[v].affinity;
        b->vcpus[v].admin_cpus = b->vcpus[v].affinity;
    }
    scene->policy.payback_horizon_ns = 600 * SECOND_NS;
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_cmpuint(plan->actions->len, >, 10);
    for (guint i = 0; i < plan->actions->len; i++) {
        g_assert_true(
            world_apply_action(scene->world, plan, &g_array_index(plan->actions, HnAction, i)));
        for (uint32_t n = 0; n < 2; n++)
            g_assert_cmpuint(scene->world->snapshot->host->nodes[n].mem_free_bytes, >=,
                             256 * MIB - 4096);
    }
    g_assert_cmpuint(world_local_permille(scene->world, a), ==, 1000);
    g_assert_cmpuint(world_local_permille(scene->world, b), ==, 1000);
}

/* A nodeset that excludes the home a guest has is a rule: it moves although nothing else is gained; two whose nodes
 * are full change places; where none can, that is said, and so is memory that cannot follow. */
static void test_outside_of_nodeset(void)
{
    enum { ROOM, SWAP, SWAP_WITH_ANY, FULL, IMMOVABLE, KEPT, N_CASES };
    static const struct {
        HnReason before_last, last;
        const char *sentence;
    } wanted[N_CASES] = {
        [ROOM] = {HN_REASON_NODESET_BY_ADMIN, HN_REASON_CONVERGED, "nodeset excludes node 0"},
        [SWAP] = {HN_REASON_NODESET_BY_ADMIN, HN_REASON_CONVERGED, "nodeset excludes node 0"},
        [SWAP_WITH_ANY] = {HN_REASON_NODESET_BY_ADMIN, HN_REASON_CONVERGED, "nodeset excludes node 0"},
        [FULL] = {HN_REASON_NODE_FULL, HN_REASON_NODE_FULL, "node 1, which it allows, has room for 768 MiB of the 7.0 GiB"},
        [IMMOVABLE] = {HN_REASON_IMMOVABLE, HN_REASON_IMMOVABLE, "excludes node 0, its home, but its memory cannot move"},
        [KEPT] = {HN_REASON_MEMORY_KEEP, HN_REASON_MEMORY_KEEP, "its memory stays where it is (memory='keep')"},
    };

    for (int k = 0; k < N_CASES; k++) {
        g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 8 * GIB));
        World *world = scene->world;
        HnDomain *a = world_add(world, 2, 7 * GIB, 2000, 0), *b = NULL;
        world_pin(world, a, 0);
        a->wish.has_nodeset = true;
        a->wish.nodeset = 2;
        if (k == IMMOVABLE)
            a->immovable_bytes[0] = a->resident_bytes[0];
        if (k == KEPT)
            a->wish.memory = HN_MEMORY_KEEP;
        if (k == SWAP || k == SWAP_WITH_ANY || k == FULL) {
            b = world_add(world, 2, 7 * GIB, 2000, 1);
            world_pin(world, b, 1);
            b->wish.has_nodeset = k != SWAP_WITH_ANY;
            b->wish.nodeset = k == SWAP ? 1 : 2;
        }
        g_autoptr(HnPlan) plan = scene_after(scene, 3);
        g_assert_cmpstr(hn_reason_name(verdict_of(plan, a)->reason), ==,
                        hn_reason_name(wanted[k].before_last));
        g_assert_nonnull(strstr(verdict_of(plan, a)->sentence, wanted[k].sentence));
        g_assert_true(world_apply(world, plan));
        world_step(world, 2 * SECOND_NS, 0, &(uint64_t){1});
        g_autoptr(HnPlan) next = scene_plain(scene);
        g_assert_cmpuint(next->actions->len, ==, 0);
        g_assert_cmpstr(hn_reason_name(verdict_of(next, a)->reason), ==,
                        hn_reason_name(wanted[k].last));
        g_assert_cmpint(world_home(world, a), ==, wanted[k].last == HN_REASON_CONVERGED);
        if (k == SWAP || k == SWAP_WITH_ANY)
            g_assert_cmpint(world_home(world, b), ==, 0);
        g_assert_cmpuint(next->is_overfull, ==, k == FULL);
    }
}

/* A guest that is only advised stays where it is, whatever it is told: nobody is placed as if it went. */
static void test_advised_stands_still(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 32 * GIB));
    HnDomain *advised = world_add(scene->world, 4, 26 * GIB, 4000, 1),
             *other = world_add(scene->world, 4, 4 * GIB, 4000, 0);

    /* Best of all: each goes to its memory. But the first will not. */
    world_pin(scene->world, advised, 0);
    advised->wish.mode = HN_MODE_ADVISE;
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_true(world_apply(scene->world, plan));
    g_assert_cmpint(world_home(scene->world, advised), ==, 0);
    g_assert_cmpint(world_home(scene->world, other), ==, 1);
    g_autoptr(HnPlan) advice = scene_after(scene, 3);
    g_assert_cmpuint(advice->actions->len, ==, 0);
    assert_reason(advice, advised, ADVISE_ONLY);
    g_assert_cmpint(verdict_of(advice, advised)->clients[0].home_wanted, ==, 0);
    assert_reason(advice, other, CONVERGED);
}

/* Of two that are advised each is told what is best if both go. */
static void test_advised_together(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 32 * GIB));

    for (int32_t i = 0; i < 2; i++) {
        HnDomain *domain = world_add(scene->world, 4, 26 * GIB, 4000, i);
        world_pin(scene->world, domain, 1 - i);
        domain->wish.mode = HN_MODE_ADVISE;
    }
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_cmpuint(plan->actions->len, ==, 0);
    for (int32_t i = 0; i < 2; i++) {
        const HnDomain *domain = g_ptr_array_index(scene->world->snapshot->domains, i);
        assert_reason(plan, domain, ADVISE_ONLY);
        g_assert_cmpint(verdict_of(plan, domain)->clients[0].home_wanted, ==, i);
        g_assert_cmpuint(verdict_of(plan, domain)->bytes_to_move, ==, 0);
    }
}

/* T1: ten guests start at once, empty yet: spread by configured size at first sight. */
static void test_start_burst(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 16, 1, 64 * GIB));

    for (uint32_t i = 0; i < 10; i++) {
        HnDomain *domain = world_add(scene->world, 2, 10 * MIB, 2000, 0);
        domain->configured_bytes = domain->current_bytes = 11 * GIB;
        domain->started_ns = scene->world->snapshot->taken_ns - SECOND_NS;
    }
    g_autoptr(HnPlan) plan = scene_plain(scene);
    g_assert_true(world_apply(scene->world, plan));
    uint32_t on_node[2] = {0};
    for (uint32_t i = 0; i < 10; i++) {
        const HnDomain *domain = g_ptr_array_index(scene->world->snapshot->domains, i);
        assert_reason(plan, domain, INITIAL_PLACEMENT);
        on_node[world_home(scene->world, domain)]++;
    }
    g_assert_cmpuint(on_node[0], ==, 5);
}

/* A snapshot that makes no sense is an error, not a plan. */
static void test_nonsense(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 8 * GIB));
    g_autoptr(GError) error = NULL;

    scene->world->snapshot->host->distance[1] = 5;
    g_assert_null(hn_decide(scene->world->snapshot, &scene->policy, scene->past, NULL, 0, NULL, 0,
                            NULL, &error));
    g_assert_error(error, HN_MODEL_ERROR, HN_MODEL_ERROR_RANGE);
    g_assert_nonnull(strstr(error->message, "is 5 (allowed: 10 to 254)"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/decide/overcommit", test_overcommit);
    g_test_add_func("/decide/one-node", test_one_node);
    g_test_add_func("/decide/refusals", test_refusals);
    g_test_add_func("/decide/detection", test_detection);
    g_test_add_func("/decide/immovable", test_immovable);
    g_test_add_func("/decide/torn-by-admin", test_torn_by_admin);
    g_test_add_func("/decide/forced", test_forced);
    g_test_add_func("/decide/swap-full-nodes", test_swap_full_nodes);
    g_test_add_func("/decide/outside-of-nodeset", test_outside_of_nodeset);
    g_test_add_func("/decide/advised-stands-still", test_advised_stands_still);
    g_test_add_func("/decide/advised-together", test_advised_together);
    g_test_add_func("/decide/start-burst", test_start_burst);
    g_test_add_func("/decide/nonsense", test_nonsense);
    return g_test_run();
}
