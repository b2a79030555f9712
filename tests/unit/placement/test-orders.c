/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Orders to a node (`homenode rebalance --node`) for guests whose memory does not follow: refused where the vCPUs
 * would leave the larger part of it, obeyed where not; and what becomes of one that was obeyed before anybody knew.
 * And what is plugged in after one.
 */
#include "world.h"

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
#define MIB UINT64_C(1048576)
#define GIB (UINT64_C(1024) * MIB)

typedef struct {
    World *world;
    HnPast *past;
    HnDomain *domain;
} Scene;

static void scene_init(Scene *scene, uint32_t n_nodes)
{
    scene->world = world_new(world_host(n_nodes, 8, 1, 8 * GIB));
    scene->past = hn_past_new();
    scene->domain = world_add(scene->world, 2, GIB, 1800, 0);
    world_pin(scene->world, scene->domain, 0);
}

static void scene_clear(Scene *scene)
{
    world_free(scene->world);
    hn_past_free(scene->past);
}

/* One round of 2 s; to_node >= 0: with the order to that node. */
static HnPlan *decide(Scene *scene, int32_t to_node, const HnOutcome *outcome)
{
    HnForce force = {.node = to_node};
    HnPolicy policy;
    g_autoptr(GError) error = NULL;
    uint64_t seed = 1;

    hn_policy_init(&policy);
    g_strlcpy(force.uuid, scene->domain->uuid, sizeof(force.uuid));
    HnPlan *plan = hn_decide(scene->world->snapshot, &policy, scene->past, &force, to_node >= 0,
                             outcome, outcome != NULL, NULL, &error);
    g_assert_no_error(error);
    g_test_message("%s: %s", hn_reason_name(hn_plan_find(plan, scene->domain->uuid)->reason),
                   hn_plan_find(plan, scene->domain->uuid)->sentence);
    world_step(scene->world, 2 * SECOND_NS, 0, &seed);
    return plan;
}

static void settle(Scene *scene)
{
    for (uint32_t i = 0; i < 4; i++) {
        g_autoptr(HnPlan) plan = decide(scene, HN_NODE_NONE, NULL);
    }
}

static void give_region(HnDomain *domain, HnMovability movability)
{
    HnRegion *region = hn_domain_add_region(domain, 2);

    region->length_bytes = GIB;
    region->page_bytes = 4096;
    region->movability = movability;
    region->guest_cell = -1;
    region->resident_bytes[0] = GIB;
}

static const struct {
    const char *name;
    HnMovability movability;
    bool is_kept;
    uint64_t stuck_mib[3], loose_mib[3]; /* per node */
    int32_t to;
    HnReason reason;
    const char *sentence;
} cases[] = {
    {"pinned by a device", HN_IMMOVABLE_VFIO, false, {1024}, {0}, 1, HN_REASON_IMMOVABLE,
     "g0 is not sent to node 1: 1.0 GiB of its 1.0 GiB cannot move, because a passthrough device has it pinned, and "
     "would be left behind (1.0 GiB on node 0). Allowed: node 0."},
    {"huge pages without room", HN_IMMOVABLE_HUGETLB, false, {1024}, {0}, 2, HN_REASON_IMMOVABLE,
     "g0 is not sent to node 2: 1.0 GiB of its 1.0 GiB cannot move, because no other node has room for its huge "
     "pages, and would be left behind (1.0 GiB on node 0). Allowed: node 0."},
    {"confidential", HN_IMMOVABLE_PRIVATE, false, {1024}, {0}, 1, HN_REASON_IMMOVABLE,
     "g0 is not sent to node 1: 1.0 GiB of its 1.0 GiB cannot move, because it is the private memory of a "
     "confidential guest, and would be left behind (1.0 GiB on node 0). Allowed: node 0."},
    {"kept by its admin", HN_MOVABLE, true, {0}, {1024}, 1, HN_REASON_MEMORY_KEEP,
     "g0 is not sent to node 1: 1.0 GiB of its 1.0 GiB stays where it is (memory='keep'), and would be left behind "
     "(1.0 GiB on node 0). Allowed: node 0."},
    {"the larger part", HN_IMMOVABLE_VFIO, false, {600}, {424}, 1, HN_REASON_IMMOVABLE,
     "g0 is not sent to node 1: 600 MiB of its 1.0 GiB cannot move, because a passthrough device has it pinned, and "
     "would be left behind (600 MiB on node 0). Allowed: node 0."},
    {"on two nodes, to the third", HN_IMMOVABLE_VFIO, false, {400, 400}, {224}, 2, HN_REASON_IMMOVABLE,
     "g0 is not sent to node 2: 800 MiB of its 1.0 GiB cannot move, because a passthrough device has it pinned, and "
     "would be left behind (400 MiB on node 0, 400 MiB on node 1). Allowed: nodes 0 and 1."},
    {"on two nodes, to one of them", HN_IMMOVABLE_VFIO, false, {400, 400}, {224}, 1, HN_REASON_FORCED, NULL},
    {"the smaller part", HN_IMMOVABLE_VFIO, false, {424}, {600}, 1, HN_REASON_FORCED, NULL},
    {"to where it is", HN_IMMOVABLE_VFIO, false, {0, 1024}, {0}, 1, HN_REASON_FORCED, NULL},
};

static void test_order(gconstpointer data)
{
    const guint i = GPOINTER_TO_UINT(data);
    Scene scene;
    uint32_t n_pins = 0;

    scene_init(&scene, 3);
    for (uint32_t n = 0; n < 3; n++) {
        scene.domain->immovable_bytes[n] = cases[i].stuck_mib[n] * MIB;
        scene.domain->resident_bytes[n] = (cases[i].stuck_mib[n] + cases[i].loose_mib[n]) * MIB;
    }
    scene.domain->wish.memory = cases[i].is_kept ? HN_MEMORY_KEEP : HN_MEMORY_FOLLOW;
    give_region(scene.domain, cases[i].movability);
    settle(&scene);
    g_autoptr(HnPlan) plan = decide(&scene, cases[i].to, NULL);
    const HnVerdict *v = hn_plan_find(plan, scene.domain->uuid);
    g_assert_cmpstr(hn_reason_name(v->reason), ==, hn_reason_name(cases[i].reason));
    for (guint k = 0; k < plan->actions->len; k++)
        n_pins += g_array_index(plan->actions, HnAction, k).kind == HN_ACTION_PIN;
    if (cases[i].sentence) {
        g_assert_cmpstr(v->sentence, ==, cases[i].sentence);
        g_assert_false(v->will_act);
        g_assert_cmpuint(plan->actions->len, ==, 0);
        g_assert_cmpint(v->clients[0].home_wanted, ==, 0);
    } else {
        g_assert_true(v->will_act);
        g_assert_cmpint(v->clients[0].home_wanted, ==, cases[i].to);
        g_assert_cmpuint(n_pins, ==, 1);
    }
    scene_clear(&scene);
}

/* Where the admin leaves it no node that has the memory, his word counts. */
static void test_only_choice(void)
{
    Scene scene;

    scene_init(&scene, 2);
    scene.domain->immovable_bytes[0] = GIB;
    settle(&scene);
    scene.domain->wish.has_nodeset = true;
    scene.domain->wish.nodeset = 2;
    g_autoptr(HnPlan) plan = decide(&scene, 1, NULL);
    g_assert_cmpint(hn_plan_find(plan, scene.domain->uuid)->clients[0].home_wanted, ==, 1);
    scene_clear(&scene);
}

/* What the admin forbids is told before what the memory does. */
static void test_constraint_first(void)
{
    Scene scene;

    scene_init(&scene, 2);
    scene.domain->immovable_bytes[0] = GIB;
    scene.domain->wish.has_nodeset = true;
    scene.domain->wish.nodeset = 1;
    settle(&scene);
    g_autoptr(HnPlan) plan = decide(&scene, 1, NULL);
    g_assert_cmpstr(hn_reason_name(hn_plan_find(plan, scene.domain->uuid)->reason), ==, "nodeset-by-admin");
    g_assert_cmpuint(plan->actions->len, ==, 0);
    scene_clear(&scene);
}

/* Nobody knew that it is pinned: the vCPUs went ahead, the mover found out. They go back at once, cooldown or not,
 * and the same order is refused from then on. */
static void test_found_out(void)
{
    Scene scene;

    scene_init(&scene, 2);
    settle(&scene);
    g_autoptr(HnPlan) ordered = decide(&scene, 1, NULL);
    g_assert_true(hn_plan_find(ordered, scene.domain->uuid)->will_act);
    world_pin(scene.world, scene.domain, 1);
    HnOutcome outcome = {.generation = ordered->generation, .kind = HN_ACTION_MOVE_MEMORY,
                         .reason = HN_REASON_IMMOVABLE, .bytes_left = GIB};
    g_strlcpy(outcome.uuid, scene.domain->uuid, sizeof(outcome.uuid));
    {
        g_autoptr(HnPlan) plan = decide(&scene, HN_NODE_NONE, &outcome);
        g_assert_cmpuint(plan->actions->len, ==, 0); /* unconfirmed */
    }
    for (uint32_t i = 0; i < 3 && world_home(scene.world, scene.domain) != 0; i++) {
        g_autoptr(HnPlan) plan = decide(&scene, HN_NODE_NONE, NULL);
        world_apply(scene.world, plan);
        for (guint k = 0; k < plan->actions->len; k++)
            g_assert_cmpint(g_array_index(plan->actions, HnAction, k).kind, ==, HN_ACTION_PIN);
    }
    g_assert_cmpint(world_home(scene.world, scene.domain), ==, 0);
    {
        g_autoptr(HnPlan) plan = decide(&scene, 1, NULL);
        const HnVerdict *v = hn_plan_find(plan, scene.domain->uuid);
        g_assert_cmpstr(hn_reason_name(v->reason), ==, "immovable");
        g_assert_nonnull(strstr(v->sentence, "lately found not to"));
        g_assert_cmpuint(plan->actions->len, ==, 0);
    }
    scene_clear(&scene);
}

static void plug_in(Scene *scene, bool is_admins)
{
    HnVcpu *vcpu = hn_domain_add_vcpu(scene->domain, 2);

    vcpu->id = scene->domain->n_vcpus - 1;
    vcpu->tid = 4000;
    vcpu->start_ticks = 1;
    vcpu->last_cpu = -1;
    hn_host_cpus_of(scene->world->snapshot->host, is_admins ? 1 : ~UINT64_C(0), &vcpu->affinity);
    vcpu->is_admin_pinned = is_admins;
    vcpu->admin_cpus = vcpu->affinity;
}

/* A vCPU plugged in just after a re-home goes to that home at once, cooldown or not, and that is not charged as a move;
 * where the admin holds it elsewhere, the domain waits. */
static void test_plugged_in(gconstpointer data)
{
    const bool is_admins = GPOINTER_TO_INT(data);
    Scene scene;
    uint32_t n_rounds = 0;

    scene_init(&scene, 2);
    settle(&scene);
    {
        g_autoptr(HnPlan) plan = decide(&scene, 1, NULL);
        g_assert_true(world_apply(scene.world, plan));
        g_assert_cmpint(world_home(scene.world, scene.domain), ==, 1);
    }
    {
        g_autoptr(HnPlan) plan = decide(&scene, HN_NODE_NONE, NULL);
        g_assert_cmpuint(plan->actions->len, ==, 0);
    }
    plug_in(&scene, is_admins);
    for (; n_rounds < 4 && world_home(scene.world, scene.domain) != 1; n_rounds++) {
        g_autoptr(HnPlan) plan = decide(&scene, HN_NODE_NONE, NULL);
        for (guint k = 0; k < plan->actions->len; k++)
            g_assert_cmpint(g_array_index(plan->actions, HnAction, k).kind, ==, HN_ACTION_PIN);
        g_assert_true(world_apply(scene.world, plan));
    }
    if (is_admins) {
        g_assert_cmpint(world_home(scene.world, scene.domain), ==, HN_NODE_NONE);
    } else {
        g_assert_cmpint(world_home(scene.world, scene.domain), ==, 1);
        g_assert_cmpuint(n_rounds, <=, 3);
    }
    {
        g_autoptr(HnPlan) plan = decide(&scene, HN_NODE_NONE, NULL);
        g_autofree char *past = hn_past_format(scene.past);
        guint n_moves = 0;

        for (const char *at = past; (at = strstr(at, "\nmove ")); at++)
            n_moves++;
        g_assert_cmpuint(n_moves, ==, 1);
        g_assert_cmpuint(plan->actions->len, ==, 0);
    }
    scene_clear(&scene);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/orders/%s", cases[i].name);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_order);
    }
    g_test_add_func("/orders/constraint-first", test_constraint_first);
    g_test_add_func("/orders/only-choice", test_only_choice);
    g_test_add_data_func("/orders/plugged-in", GINT_TO_POINTER(false), test_plugged_in);
    g_test_add_data_func("/orders/plugged-in-by-admin", GINT_TO_POINTER(true), test_plugged_in);
    g_test_add_func("/orders/found-out", test_found_out);
    return g_test_run();
}
