/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two guests on each other's full node change places: planned by placement/, carried out by the movers, on a host
 * of two nodes with made-up time whose room is told truly. What is watched: that both arrive, that no call ever
 * finds no memory, how many plans it takes, and that nothing is begun where nothing can move.
 */
#include "apply/actuator.h"
#include "backend/backend-fake.h"
#include "virtual-host.h"
#include "../placement/world.h"

#include <string.h>

#define MIB (1ull << 20)
#define SEC 1000000000ull
#define WATERMARK_BYTES (8 * MIB)
#define HEADROOM_BYTES (16 * MIB)
#define GUEST_BYTES (400 * MIB)
#define N_GUESTS 2

typedef struct {
    World *world;
    VirtualHost *host;
    HnBackend *backend;
    HnJournal *journal;
    HnActuator *actuator;
    HnPolicy policy;
    HnPast *past;
    GArray *outcomes; /* HnOutcome since the last plan */
    guint n_refused;  /* of them, node-full */
} Scene;

static void on_outcome(const HnOutcome *outcome, const char *sentence, void *user_data)
{
    Scene *scene = user_data;

    g_test_message("%.4s %s to node %d: %s: %s", outcome->uuid + 32, hn_action_kind_name(outcome->kind), outcome->to_node,
                   hn_reason_name(outcome->reason), sentence);
    g_array_append_vals(scene->outcomes, outcome, 1);
    scene->n_refused += outcome->reason == HN_REASON_NODE_FULL;
}

/* What is now, into the snapshot. */
static void observe(Scene *scene)
{
    uint64_t seed = 1;

    world_step(scene->world, 2 * SEC, 0, &seed);
    for (uint32_t n = 0; n < 2; n++)
        scene->world->snapshot->host->nodes[n].mem_free_bytes = virtual_host_free_bytes(scene->host, (int)n);
    for (guint d = 0; d < N_GUESTS; d++) {
        HnDomain *domain = scene->world->snapshot->domains->pdata[d];

        for (uint32_t n = 0; n < 2; n++) {
            domain->resident_bytes[n] = virtual_host_bytes_on(scene->host, domain->pid, (int)n);
            domain->regions[0].resident_bytes[n] = domain->resident_bytes[n];
        }
    }
}

/* Each guest's memory fills one node, and its vCPUs belong to the other: pinned there by the admin, or wished
 * there by nodeset. */
static Scene *scene_new(uint64_t room_bytes, bool is_pinned)
{
    static const VirtualCosts costs = {.fixed_ns = 50000, .ns_per_mib = 310000};
    const uint64_t free_bytes = WATERMARK_BYTES + HEADROOM_BYTES + room_bytes;
    Scene *scene = g_new0(Scene, 1);
    g_autofree char *dir = NULL;
    HnLimits limits;

    scene->world = world_new(world_host(2, 4, 1, 4096 * MIB));
    scene->host = virtual_host_new(GUEST_BYTES + free_bytes, &costs, true);
    scene->outcomes = g_array_new(FALSE, FALSE, sizeof(HnOutcome));
    scene->past = hn_past_new();
    hn_policy_init(&scene->policy);
    scene->policy.reserve_permille = 0;
    scene->policy.reserve_min_bytes = 0;
    scene->policy.headroom_bytes = HEADROOM_BYTES;
    for (int32_t d = 0; d < N_GUESTS; d++) {
        HnDomain *domain = world_add(scene->world, 4, GUEST_BYTES, 4000, 1 - d);
        HnRegion *region = hn_domain_add_region(domain, 2);

        virtual_host_add_process(scene->host, domain->pid, GUEST_BYTES, 1 - d, false);
        domain->start_ticks = (uint64_t)domain->pid; /* as virtual-host.c has it */
        region->hva_start = VIRTUAL_BASE;
        region->length_bytes = GUEST_BYTES;
        region->page_bytes = 4096;
        region->guest_cell = -1;
        if (is_pinned)
            world_pin(scene->world, domain, d);
        for (uint32_t v = 0; is_pinned && v < domain->n_vcpus; v++) {
            domain->vcpus[v].is_admin_pinned = true;
            domain->vcpus[v].admin_cpus = domain->vcpus[v].affinity;
        }
        domain->wish.has_nodeset = !is_pinned;
        domain->wish.nodeset = UINT64_C(1) << d;
    }
    for (uint32_t n = 0; n < 2; n++)
        scene->world->snapshot->host->nodes[n].mem_watermark_bytes = WATERMARK_BYTES;
    scene->backend = hn_backend_fake_new();
    dir = g_build_filename(virtual_host_dir(scene->host), "journal", NULL);
    scene->journal = hn_journal_new(dir, "boot-1", NULL);
    hn_limits_init(&limits);
    limits.headroom_bytes = HEADROOM_BYTES;
    limits.is_backoff_enabled = false;
    scene->actuator = hn_actuator_new_full(scene->backend, virtual_host_root(scene->host), scene->journal, &limits,
                                           on_outcome, scene, virtual_host_syscalls(scene->host));
    return scene;
}

static void scene_free(Scene *scene)
{
    hn_actuator_free(scene->actuator);
    hn_journal_free(scene->journal);
    scene->backend->ops->free(scene->backend);
    virtual_host_free(scene->host);
    world_free(scene->world);
    hn_past_free(scene->past);
    g_array_unref(scene->outcomes);
    g_free(scene);
}

static HnPlan *decide(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    HnPlan *plan;

    observe(scene);
    plan = hn_decide(scene->world->snapshot, &scene->policy, scene->past, NULL, 0, (const HnOutcome *)scene->outcomes->data,
                     scene->outcomes->len, NULL, &error);
    g_assert_no_error(error);
    g_array_set_size(scene->outcomes, 0);
    return plan;
}

/* Carries a plan out and waits for the last outcome. */
static void carry_out(Scene *scene, const HnPlan *plan)
{
    hn_actuator_submit(scene->actuator, plan, scene->world->snapshot);
    while (scene->outcomes->len < plan->actions->len)
        g_main_context_iteration(NULL, TRUE);
}

static bool has_arrived(Scene *scene)
{
    observe(scene);
    return world_local_permille(scene->world, scene->world->snapshot->domains->pdata[0]) >= 995 &&
           world_local_permille(scene->world, scene->world->snapshot->domains->pdata[1]) >= 995;
}

/* Returns the number of plans that had to be carried out. */
static guint run_until_arrived(Scene *scene, guint max_plans, uint64_t stolen_bytes)
{
    guint n_plans = 0;

    for (guint round = 0; round < 200 && !has_arrived(scene); round++) {
        g_autoptr(HnPlan) plan = decide(scene);

        if (plan->actions->len == 0)
            continue;
        g_assert_cmpuint(++n_plans, <=, max_plans);
        g_test_message("plan %u of %u actions: %s", n_plans, plan->actions->len, plan->summary);
        /* Somebody takes room between look and leap. */
        if (n_plans == 1 && stolen_bytes > 0)
            virtual_host_add_process(scene->host, 9, stolen_bytes, 1, false);
        carry_out(scene, plan);
    }
    g_assert_true(has_arrived(scene));
    g_assert_cmpuint(virtual_host_splats(scene->host), ==, 0);
    return n_plans;
}

/* Through 24 MiB, in one plan, and nobody ever stands before a full node. */
static void test_through_the_gap(void)
{
    Scene *scene = scene_new(24 * MIB, true);

    g_assert_cmpuint(run_until_arrived(scene, 1, 0), ==, 1);
    g_assert_cmpuint(scene->n_refused, ==, 0);
    for (int n = 0; n < 2; n++)
        g_assert_cmpuint(virtual_host_free_bytes(scene->host, n), ==, WATERMARK_BYTES + HEADROOM_BYTES + 24 * MIB);
    scene_free(scene);
}

/* A gap of a single huge page is enough. */
static void test_through_the_smallest_gap(void)
{
    Scene *scene = scene_new(2 * MIB, true);

    run_until_arrived(scene, 3, 0);
    g_assert_cmpuint(scene->n_refused, ==, 0);
    scene_free(scene);
}

/* Half of the room is gone when the first slice comes: it takes what there is, and the rest goes on. */
static void test_room_vanishes(void)
{
    Scene *scene = scene_new(24 * MIB, true);

    run_until_arrived(scene, 4, 12 * MIB);
    g_assert_cmpuint(scene->n_refused, >, 0);
    scene_free(scene);
}

/* No gap: the plan says so, and the vCPUs, that would be better off nowhere else without their memory, stay. */
static void test_no_gap(gconstpointer data)
{
    Scene *scene = scene_new(2 * MIB - 4096, GPOINTER_TO_INT(data));

    for (guint round = 0; round < 5; round++) {
        g_autoptr(HnPlan) plan = decide(scene);

        g_assert_cmpuint(plan->actions->len, ==, 0);
        if (round < 3)
            continue;
        for (guint d = 0; d < N_GUESTS; d++) {
            const HnVerdict *verdict = plan->verdicts->pdata[d];

            g_test_message("%s: %s: %s", verdict->name, hn_reason_name(verdict->reason), verdict->sentence);
            g_assert_cmpstr(hn_reason_name(verdict->reason), ==, "node-full");
            g_assert_nonnull(strstr(verdict->sentence, "nothing was begun"));
            g_assert_false(verdict->will_act);
        }
    }
    scene_free(scene);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/apply/swap/through-the-gap", test_through_the_gap);
    g_test_add_func("/apply/swap/through-the-smallest-gap", test_through_the_smallest_gap);
    g_test_add_func("/apply/swap/room-vanishes", test_room_vanishes);
    g_test_add_data_func("/apply/swap/no-gap-pinned", GINT_TO_POINTER(true), test_no_gap);
    g_test_add_data_func("/apply/swap/no-gap-unpinned", GINT_TO_POINTER(false), test_no_gap);
    return g_test_run();
}
