/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two guests on each other's full node change places: planned by placement/, carried out by the movers, on a host
 * of two nodes with made-up time whose room is told truly. What is watched: that both arrive, that no call ever
 * finds no memory, how many plans it takes, and that nothing is begun where nothing can move.
 */
#include "loop.h"

#include <string.h>

#define MIB LOOP_MIB
#define WATERMARK_BYTES (8 * MIB)
#define HEADROOM_BYTES (16 * MIB)
#define GUEST_BYTES (400 * MIB)
#define N_GUESTS 2

/* Each guest's memory fills one node, and its vCPUs belong to the other: pinned there by the admin, or wished
 * there by nodeset. */
static Loop *new_loop(uint64_t room_bytes, bool is_pinned)
{
    Loop *loop = loop_new(WATERMARK_BYTES + HEADROOM_BYTES + room_bytes);

    loop->policy.reserve_permille = 0;
    loop->policy.reserve_min_bytes = 0;
    loop->policy.headroom_bytes = HEADROOM_BYTES;
    loop->limits.headroom_bytes = HEADROOM_BYTES;
    for (int32_t d = 0; d < N_GUESTS; d++) {
        HnDomain *domain = loop_add_guest(loop, 4, GUEST_BYTES, 4000, 1 - d);

        if (is_pinned)
            world_pin(loop->world, domain, d);
        for (uint32_t v = 0; is_pinned && v < domain->n_vcpus; v++) {
            domain->vcpus[v].is_admin_pinned = true;
            domain->vcpus[v].admin_cpus = domain->vcpus[v].affinity;
        }
        domain->wish.has_nodeset = !is_pinned;
        domain->wish.nodeset = UINT64_C(1) << d;
    }
    for (uint32_t n = 0; n < 2; n++)
        loop->world->snapshot->host->nodes[n].mem_watermark_bytes = WATERMARK_BYTES;
    loop_begin(loop);
    return loop;
}

static bool has_arrived(Loop *loop)
{
    loop_observe(loop);
    return world_local_permille(loop->world, loop->world->snapshot->domains->pdata[0]) >= 995 &&
           world_local_permille(loop->world, loop->world->snapshot->domains->pdata[1]) >= 995;
}

/* Returns the number of plans that had to be carried out. */
static guint run_until_arrived(Loop *loop, guint max_plans, uint64_t stolen_bytes)
{
    guint n_plans = 0;

    for (guint round = 0; round < 200 && !has_arrived(loop); round++) {
        g_autoptr(HnPlan) plan = loop_decide(loop, NULL, HN_NODE_NONE);

        if (plan->actions->len == 0)
            continue;
        g_assert_cmpuint(++n_plans, <=, max_plans);
        g_test_message("plan %u of %u actions: %s", n_plans, plan->actions->len, plan->summary);
        /* Somebody takes room between look and leap. */
        if (n_plans == 1 && stolen_bytes > 0)
            virtual_host_add_process(loop->host, 9, stolen_bytes, 1, false);
        loop_carry_out(loop, plan);
    }
    g_assert_true(has_arrived(loop));
    g_assert_cmpuint(virtual_host_splats(loop->host), ==, 0);
    return n_plans;
}

/* Through 24 MiB, in one plan, and nobody ever stands before a full node. */
static void test_through_the_gap(void)
{
    Loop *loop = new_loop(24 * MIB, true);

    g_assert_cmpuint(run_until_arrived(loop, 1, 0), ==, 1);
    g_assert_cmpuint(loop->n_of[HN_REASON_NODE_FULL], ==, 0);
    for (int n = 0; n < 2; n++)
        g_assert_cmpuint(virtual_host_free_bytes(loop->host, n), ==, WATERMARK_BYTES + HEADROOM_BYTES + 24 * MIB);
    loop_free(loop);
}

/* A gap of a single huge page is enough. */
static void test_through_the_smallest_gap(void)
{
    Loop *loop = new_loop(2 * MIB, true);

    run_until_arrived(loop, 3, 0);
    g_assert_cmpuint(loop->n_of[HN_REASON_NODE_FULL], ==, 0);
    loop_free(loop);
}

/* Half of the room is gone when the first slice comes: it takes what there is, and the rest goes on. */
static void test_room_vanishes(void)
{
    Loop *loop = new_loop(24 * MIB, true);

    run_until_arrived(loop, 4, 12 * MIB);
    g_assert_cmpuint(loop->n_of[HN_REASON_NODE_FULL], >, 0);
    loop_free(loop);
}

/* No gap: the plan says so, and the vCPUs, that would be better off nowhere else without their memory, stay. */
static void test_no_gap(gconstpointer data)
{
    Loop *loop = new_loop(2 * MIB - 4096, GPOINTER_TO_INT(data));

    for (guint round = 0; round < 5; round++) {
        g_autoptr(HnPlan) plan = loop_decide(loop, NULL, HN_NODE_NONE);

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
    loop_free(loop);
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
