/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See scene.h. */
#include "scene.h"

#include <string.h>

void print_plan(const HnPlan *plan)
{
    g_test_message("%s", plan->summary);
    for (guint i = 0; i < plan->verdicts->len; i++) {
        const HnVerdict *v = g_ptr_array_index(plan->verdicts, i);
        g_test_message("  %s %s: %s", v->name, hn_reason_name(v->reason), v->sentence);
    }
}

Scene *scene_new(HnHost *host)
{
    Scene *scene = g_new0(Scene, 1);

    scene->world = world_new(host);
    scene->past = hn_past_new();
    hn_policy_init(&scene->policy);
    return scene;
}

void scene_free(Scene *scene)
{
    world_free(scene->world);
    hn_past_free(scene->past);
    g_free(scene);
}

HnPlan *scene_round(Scene *scene, const HnForce *force, const HnOutcome *outcomes,
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

HnPlan *scene_plain(Scene *scene)
{
    return scene_round(scene, NULL, NULL, 0, NULL);
}

HnPlan *scene_after(Scene *scene, uint32_t n_rounds)
{
    for (uint32_t i = 1; i < n_rounds; i++) {
        g_autoptr(HnPlan) plan = scene_plain(scene);
    }
    return scene_plain(scene);
}

const HnVerdict *verdict_of(const HnPlan *plan, const HnDomain *domain)
{
    return hn_plan_find(plan, domain->uuid);
}

uint32_t count_actions(const HnPlan *plan, const HnDomain *domain, HnActionKind kind)
{
    uint32_t count = 0;

    for (guint i = 0; i < plan->actions->len; i++) {
        const HnAction *action = &g_array_index(plan->actions, HnAction, i);
        count += action->kind == kind && strcmp(action->uuid, domain->uuid) == 0;
    }
    return count;
}
