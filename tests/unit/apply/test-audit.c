/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Predicted against measured, with everything at work but libvirt and the kernel: the planner moves a guest away
 * from a loaded node, the actuator pins it and moves its memory, and there something that nobody can see starves
 * it. The audit has to notice, take it back the same way, mark the node, and count both moves. Time is made up.
 */
#include "../placement/world.h"
#include "apply/actuator.h"
#include "backend/backend-fake.h"
#include "virtual-host.h"

#include <string.h>

#define MIB (1ull << 20)
#define SEC 1000000000ull
#define GUEST_BYTES (256 * MIB)
#define N_VCPUS 2

typedef struct {
    World *world;
    HnDomain *domain;
    VirtualHost *host;
    HnBackend *backend;
    HnJournal *journal;
    HnActuator *actuator;
    HnPolicy policy;
    HnPast *past;
    GArray *outcomes;
} Scene;

static void on_outcome(const HnOutcome *outcome, const char *sentence, void *user_data)
{
    Scene *scene = user_data;

    g_test_message("%s: %s: %s", hn_action_kind_name(outcome->kind), hn_reason_name(outcome->reason), sentence);
    g_assert_cmpstr(hn_reason_name(outcome->reason), ==, "done");
    g_array_append_vals(scene->outcomes, outcome, 1);
}

static Scene *scene_new(void)
{
    static const VirtualCosts costs = {.fixed_ns = 50000, .ns_per_mib = 310000};
    Scene *scene = g_new0(Scene, 1);
    g_autofree char *dir = NULL;
    HnRegion *region;
    HnLimits limits;

    scene->world = world_new(world_host(2, 4, 1, 4096 * MIB));
    scene->host = virtual_host_new(2048 * MIB, &costs, true);
    scene->domain = world_add(scene->world, N_VCPUS, GUEST_BYTES, 2000, 0);
    scene->domain->start_ticks = (uint64_t)scene->domain->pid; /* as virtual-host.c has it */
    region = hn_domain_add_region(scene->domain, 2);
    region->hva_start = VIRTUAL_BASE;
    region->length_bytes = GUEST_BYTES;
    region->page_bytes = 4096;
    region->guest_cell = -1;
    virtual_host_add_process(scene->host, scene->domain->pid, GUEST_BYTES, 0, false);
    world_pin(scene->world, scene->domain, 0);
    scene->backend = hn_backend_fake_new();
    hn_fake_set_connected(scene->backend, true);
    hn_fake_add_domain(scene->backend, scene->domain->uuid, scene->domain->name, N_VCPUS, GUEST_BYTES);
    scene->outcomes = g_array_new(FALSE, FALSE, sizeof(HnOutcome));
    scene->past = hn_past_new();
    hn_policy_init(&scene->policy);
    dir = g_build_filename(virtual_host_dir(scene->host), "journal", NULL);
    scene->journal = hn_journal_new(dir, "boot-1", NULL);
    hn_limits_init(&limits);
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

/* What is now, into the snapshot: pins as the back end has them, memory as the kernel has it. */
static void observe(Scene *scene)
{
    g_autoptr(HnDomainInfo) info = NULL;
    uint64_t seed = 1;

    world_step(scene->world, 2 * SEC, 0, &seed);
    g_assert_true(scene->backend->ops->get(scene->backend, scene->domain->uuid, &info, NULL));
    for (guint i = 0; i < N_VCPUS; i++) {
        const HnVcpuInfo *vcpu = &g_array_index(info->vcpus, HnVcpuInfo, i);

        if (vcpu->has_pin)
            scene->domain->vcpus[i].affinity = vcpu->pin;
    }
    for (uint32_t n = 0; n < 2; n++) {
        scene->world->snapshot->host->nodes[n].mem_free_bytes = virtual_host_free_bytes(scene->host, (int)n);
        scene->domain->resident_bytes[n] = virtual_host_bytes_on(scene->host, scene->domain->pid, (int)n);
        scene->domain->regions[0].resident_bytes[n] = scene->domain->resident_bytes[n];
    }
}

/* One round: observed, decided, carried out to the last outcome. The reason of the verdict. */
static HnReason round_of(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(HnPlan) plan = NULL;
    const HnVerdict *verdict;

    observe(scene);
    plan = hn_decide(scene->world->snapshot, &scene->policy, scene->past, NULL, 0, (const HnOutcome *)scene->outcomes->data,
                     scene->outcomes->len, NULL, &error);
    g_assert_no_error(error);
    g_array_set_size(scene->outcomes, 0);
    verdict = plan->verdicts->pdata[0];
    if (plan->actions->len > 0)
        g_test_message("%s: %s", hn_reason_name(verdict->reason), verdict->sentence);
    hn_actuator_submit(scene->actuator, plan, scene->world->snapshot);
    while (scene->outcomes->len < plan->actions->len)
        g_main_context_iteration(NULL, TRUE);
    return verdict->reason;
}

static void assert_home(Scene *scene, int32_t node)
{
    observe(scene);
    g_assert_cmpint(world_home(scene->world, scene->domain), ==, node);
    g_assert_cmpuint(world_local_permille(scene->world, scene->domain), ==, 1000);
}

static void test_worse_is_undone(void)
{
    Scene *scene = scene_new();
    guint n_undone = 0, n_marked = 0, n_charged = 0;

    scene->world->snapshot->host->nodes[0].other_load_mcpu = 4000;
    for (guint i = 0; i < 4; i++)
        round_of(scene);
    assert_home(scene, 1);
    for (guint i = 0; i < 60 && n_undone == 0; i++) {
        for (guint v = 0; v < N_VCPUS; v++)
            scene->domain->vcpus[v].run_delay_ns += 15 * SEC / 10; /* three quarters of the 2 s */
        n_undone += round_of(scene) == HN_REASON_UNDO_WORSE;
    }
    g_assert_cmpuint(n_undone, ==, 1);
    assert_home(scene, 0);
    /* Marked: the node still looks better, and is not tried again, although it costs nothing any more. */
    for (guint i = 0; i < 60; i++) {
        n_marked += round_of(scene) == HN_REASON_MARKED_WORSE;
        assert_home(scene, 0);
    }
    g_assert_cmpuint(n_marked, >, 0);
    {
        /* Both moves are charged to the budget of its hour. */
        g_autofree char *past = hn_past_format(scene->past);

        for (const char *at = past; (at = strstr(at, "\nmove ")); at++)
            n_charged++;
        g_assert_cmpuint(n_charged, ==, 2);
    }
    scene_free(scene);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/apply/audit/worse-is-undone", test_worse_is_undone);
    return g_test_run();
}
