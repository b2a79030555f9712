/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A world, its past and a policy, through rounds of 2 s: what tests of single situations begin
 * with. Nothing is carried out but by world_apply().
 */
#ifndef HN_TEST_SCENE_H
#define HN_TEST_SCENE_H

#include "world.h"

#define SECOND_NS UINT64_C(1000000000)
#define MIB UINT64_C(1048576)
#define GIB (UINT64_C(1024) * MIB)

typedef struct {
    World *world;
    HnPast *past;
    HnPolicy policy;
} Scene;

/* On a host that it takes over. */
Scene *scene_new(HnHost *host);
void scene_free(Scene *scene);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Scene, scene_free)

/* One round: decides, says what, and lets 2 s pass. force, outcomes and in_flight as for
 * hn_decide(). */
HnPlan *scene_round(Scene *scene, const HnForce *force, const HnOutcome *outcomes,
                    uint32_t n_outcomes, const char *const *in_flight);
/* The same without any of these. */
HnPlan *scene_plain(Scene *scene);
/* The plan after so many rounds, none of them carried out. */
HnPlan *scene_after(Scene *scene, uint32_t n_rounds);

/* Summary and verdicts to the test's log. */
void print_plan(const HnPlan *plan);
const HnVerdict *verdict_of(const HnPlan *plan, const HnDomain *domain);
uint32_t count_actions(const HnPlan *plan, const HnDomain *domain, HnActionKind kind);

#define assert_reason(plan, domain, wanted)                                                        \
    g_assert_cmpstr(hn_reason_name(verdict_of(plan, domain)->reason), ==,                          \
                    hn_reason_name(HN_REASON_##wanted))

#endif
