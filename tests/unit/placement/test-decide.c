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
    HnPlan *plan =
        hn_decide(world->snapshot, &policy, past, force, force != NULL, NULL, 0, NULL, &error);
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

/* --- helpers for single situations --- */

typedef struct {
    World *world;
    HnPast *past;
    HnPolicy policy;
} Scene;

static Scene *scene_new(HnHost *host)
{
    Scene *scene = g_new0(Scene, 1);

    scene->world = world_new(host);
    scene->past = hn_past_new();
    hn_policy_init(&scene->policy);
    return scene;
}

static void scene_free(Scene *scene)
{
    world_free(scene->world);
    hn_past_free(scene->past);
    g_free(scene);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Scene, scene_free)

/* One round: decide, and let 2 s pass. */
static HnPlan *scene_round(Scene *scene, const HnForce *force, const HnOutcome *outcomes,
                           uint32_t n_outcomes, const char *const *in_flight)
{
    g_autoptr(GError) error = NULL;
    uint64_t seed = 1;
    HnPlan *plan = hn_decide(scene->world->snapshot, &scene->policy, scene->past, force,
                             force != NULL, outcomes, n_outcomes, in_flight, &error);

    g_assert_no_error(error);
    print_plan(plan);
    world_step(scene->world, 2 * SECOND_NS, 0, &seed);
    return plan;
}

static HnPlan *scene_plain(Scene *scene)
{
    return scene_round(scene, NULL, NULL, 0, NULL);
}

/* The plan after so many rounds, none of them applied. */
static HnPlan *scene_after(Scene *scene, uint32_t n_rounds)
{
    for (uint32_t i = 1; i < n_rounds; i++) {
        g_autoptr(HnPlan) plan = scene_plain(scene);
    }
    return scene_plain(scene);
}

static const HnVerdict *verdict_of(const HnPlan *plan, const HnDomain *domain)
{
    return hn_plan_find(plan, domain->uuid);
}

#define assert_reason(plan, domain, wanted)                                                        \
    g_assert_cmpstr(hn_reason_name(verdict_of(plan, domain)->reason), ==,                          \
                    hn_reason_name(HN_REASON_##wanted))

static uint32_t count_actions(const HnPlan *plan, const HnDomain *domain, HnActionKind kind)
{
    uint32_t count = 0;

    for (guint i = 0; i < plan->actions->len; i++) {
        const HnAction *action = &g_array_index(plan->actions, HnAction, i);
        count += action->kind == kind && strcmp(action->uuid, domain->uuid) == 0;
    }
    return count;
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

/* T2: light load, everything on one node after an incoming migration: some of it leaves. */
static void test_light_load(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 16, 1, 64 * GIB));
    uint32_t n_left = 0;

    for (uint32_t i = 0; i < 8; i++)
        world_pin(scene->world, world_add(scene->world, 2, 4 * GIB, 1000, 0), 0);
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_true(world_apply(scene->world, plan));
    for (uint32_t i = 0; i < 8; i++)
        n_left +=
            world_home(scene->world, g_ptr_array_index(scene->world->snapshot->domains, i)) == 1;
    g_assert_cmpuint(n_left, >=, 3);
    g_assert_cmpuint(n_left, <=, 4);
}

/* T6: 32 vCPUs, nodes of 16 cores with 32 threads: not squeezed onto siblings. */
static void test_siblings(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 32, 2, 128 * GIB));
    HnDomain *domain = world_add(scene->world, 32, 64 * GIB, 32000, HN_NODE_NONE);

    for (uint32_t v = 0; v < 32; v++)
        domain->vcpus[v].last_cpu = (int32_t)(v < 16 ? v : v + 16);
    g_autoptr(HnPlan) plan = scene_after(scene, 4);
    assert_reason(plan, domain, SMT_CONTENTION);
    g_assert_cmpuint(plan->actions->len, ==, 0);
    /* With half the load there is a core for each busy vCPU, and it is gathered. */
    scene->world->load_mcpu[0] = 12000;
    g_autoptr(HnPlan) idle = scene_after(scene, 12);
    g_assert_cmpint(verdict_of(idle, domain)->clients[0].home_wanted, >=, 0);
}

/* T7: a node without CPUs, one without memory, sparse ids: never a home. */
static void test_odd_nodes(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(4, 4, 1, 8 * GIB));
    HnHost *host = scene->world->snapshot->host;

    hn_cpuset_zero(&host->nodes[2].cpus);
    host->nodes[2].n_cpus = host->nodes[2].n_cores = 0;
    host->nodes[3].mem_total_bytes = host->nodes[3].mem_free_bytes = 0;
    for (uint32_t n = 0; n < 4; n++)
        host->nodes[n].id = (int32_t)(n * n * 4);
    HnDomain *domain = world_add(scene->world, 2, GIB, 2000, 2);
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_cmpint(verdict_of(plan, domain)->clients[0].home_wanted, >=, 0);
    g_assert_cmpint(verdict_of(plan, domain)->clients[0].home_wanted, <=, 1);
    g_assert_true(world_apply(scene->world, plan));
    g_assert_cmpuint(domain->resident_bytes[2], ==, 0);
}

/* Groups together, anti-groups apart, devices drawn. */
static void test_company(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(4, 8, 1, 32 * GIB));
    HnDomain *together[2], *apart[2], *device;

    for (uint32_t i = 0; i < 2; i++) {
        together[i] = world_add(scene->world, 2, GIB, 1000, (int32_t)i);
        together[i]->wish.group = g_strdup("shop");
        world_pin(scene->world, together[i], (int32_t)i);
        apart[i] = world_add(scene->world, 2, GIB, 1000, 2);
        apart[i]->wish.anti_group = g_strdup("replicas");
        world_pin(scene->world, apart[i], 2);
    }
    device = world_add(scene->world, 2, GIB, 1000, 0);
    device->device_nodes = 1 << 3;
    world_pin(scene->world, device, 0);
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_true(world_apply(scene->world, plan));
    g_assert_cmpint(world_home(scene->world, together[0]), ==,
                    world_home(scene->world, together[1]));
    g_assert_cmpint(world_home(scene->world, apart[0]), !=, world_home(scene->world, apart[1]));
    g_assert_cmpint(world_home(scene->world, device), ==, 3);
    assert_reason(plan, device, DEVICE_LOCALITY);
}

/* A node whose memory controllers are asked for more than they serve lets some guests go. */
static void test_congestion(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 32, 1, 64 * GIB));

    for (uint32_t n = 0; n < 2; n++)
        scene->world->snapshot->host->nodes[n].bandwidth_bytes_per_sec = 10 * GIB;
    for (uint32_t i = 0; i < 4; i++) {
        HnDomain *domain = world_add(scene->world, 2, GIB, 2000, 0);
        domain->memory_bound_permille = 1000;
        domain->bandwidth_bytes_per_sec = 5 * GIB;
        world_pin(scene->world, domain, 0);
    }
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_true(world_apply(scene->world, plan));
    uint32_t n_gone = 0, n_congestion = 0;
    for (uint32_t i = 0; i < 4; i++) {
        const HnDomain *domain = g_ptr_array_index(scene->world->snapshot->domains, i);
        n_gone += world_home(scene->world, domain) == 1;
        n_congestion += verdict_of(plan, domain)->reason == HN_REASON_CONGESTION;
    }
    g_assert_cmpuint(n_gone, ==, 2);
    g_assert_cmpuint(n_congestion, ==, 2);
}

/* Ordinary memory does not count for hugepage guests, nor theirs for others. */
static void test_hugepages(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 8, 1, 32 * GIB));
    HnHost *host = scene->world->snapshot->host;
    HnDomain *domain = world_add(scene->world, 4, 4 * GIB, 4000, 0);
    HnRegion *region = hn_domain_add_region(domain, 2);

    region->backing = HN_BACKING_HUGETLB;
    region->page_bytes = 2 * MIB;
    region->length_bytes = 4 * GIB;
    region->resident_bytes[0] = 4 * GIB;
    for (uint32_t n = 0; n < 2; n++) {
        host->nodes[n].n_huge_pools = 1;
        host->nodes[n].huge_pools[0] = (HnHugePool){2 * MIB, 4096, n == 0 ? 0 : 1024};
    }
    world_pin(scene->world, domain, 1);
    /* The node's own CPUs are busy with something else, so going back is no way out. */
    host->nodes[0].other_load_mcpu = 8000;
    g_autoptr(HnPlan) full = scene_after(scene, 4);
    g_assert_cmpuint(count_actions(full, domain, HN_ACTION_MOVE_MEMORY), ==, 0);
    host->nodes[1].huge_pools[0].free_pages = 2048;
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_assert_cmpuint(count_actions(plan, domain, HN_ACTION_MOVE_MEMORY), ==, 1);
}

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

/* Overcommitted CPUs are no alarm; beyond threefold those are named whose departure helps most. */
static void test_departures(void)
{
    static const struct {
        uint32_t load_mcpu;
        bool is_overfull;
    } cases[] = {{1800, false}, {2500, false}, {3300, true}};

    for (unsigned k = 0; k < G_N_ELEMENTS(cases); k++) {
        g_autoptr(Scene) scene = scene_new(world_host(2, 4, 1, 64 * GIB));
        for (uint32_t i = 0; i < 8; i++)
            world_add(scene->world, 4, GIB, i == 5 ? 4000 : cases[k].load_mcpu, 0);
        g_autoptr(HnPlan) plan = scene_after(scene, 3);
        uint32_t permille = (7 * cases[k].load_mcpu + 4000) / 8;
        g_test_message("%s", plan->summary);
        g_assert_cmpuint(plan->n_kept_out, ==, 0);
        g_assert_cmpint(ABS((int32_t)plan->cpu_load_permille - (int32_t)permille), <=, 150);
        g_assert_cmpint(plan->is_overfull, ==, cases[k].is_overfull);
        g_assert_cmpuint(plan->departures->len, ==, cases[k].is_overfull ? 3 : 0);
        g_assert_cmpint(strstr(plan->summary, "times the CPUs") != NULL, ==, cases[k].is_overfull);
        if (cases[k].is_overfull)
            g_assert_cmpstr(g_ptr_array_index(plan->departures, 0), ==,
                            "00000000-0000-0000-0000-000000000005");
    }
}

/* Where memory keeps a guest out, the one is named whose leaving lets it in, and no other. */
static void test_kept_out(void)
{
    g_autoptr(Scene) scene = scene_new(world_host(2, 8, 1, 16 * GIB));

    /* Node 0: a big guest and a small one. Node 1: one whose device is on node 0, and a filler. */
    HnDomain *big = world_add(scene->world, 4, 12 * GIB, 100, 0);
    HnDomain *small = world_add(scene->world, 1, GIB, 100, 0);
    HnDomain *drawn = world_add(scene->world, 4, 6 * GIB, 4000, 1);
    HnDomain *filler = world_add(scene->world, 1, 8 * GIB, 100, 1);
    world_pin(scene->world, big, 0);
    world_pin(scene->world, small, 0);
    world_pin(scene->world, drawn, 1);
    world_pin(scene->world, filler, 1);
    big->wish.memory = filler->wish.memory = HN_MEMORY_KEEP;
    drawn->device_nodes = 1;
    g_autoptr(HnPlan) plan = scene_after(scene, 3);
    g_test_message("%s", plan->summary);
    assert_reason(plan, drawn, NODE_FULL);
    g_assert_true(plan->is_overfull);
    g_assert_cmpuint(plan->n_kept_out, ==, 1);
    g_assert_nonnull(strstr(plan->summary, "Memory keeps 1 guest from a better node"));
    g_assert_cmpuint(plan->departures->len, ==, 1);
    g_assert_cmpstr(g_ptr_array_index(plan->departures, 0), ==, big->uuid);
    g_assert_nonnull(strstr(plan->summary, "it would help most if g0 left."));
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
    g_test_add_func("/decide/light-load", test_light_load);
    g_test_add_func("/decide/siblings", test_siblings);
    g_test_add_func("/decide/odd-nodes", test_odd_nodes);
    g_test_add_func("/decide/company", test_company);
    g_test_add_func("/decide/congestion", test_congestion);
    g_test_add_func("/decide/hugepages", test_hugepages);
    g_test_add_func("/decide/in-flight", test_in_flight);
    g_test_add_func("/decide/residue", test_residue);
    g_test_add_func("/decide/pace", test_pace);
    g_test_add_func("/decide/audit", test_audit);
    g_test_add_func("/decide/fence", test_fence);
    g_test_add_func("/decide/idle", test_idle);
    g_test_add_func("/decide/departures", test_departures);
    g_test_add_func("/decide/kept-out", test_kept_out);
    g_test_add_func("/decide/nonsense", test_nonsense);
    return g_test_run();
}
