/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Predicted against measured, with everything at work but libvirt and the kernel (loop.h). The planner moves a guest
 * away from a loaded node, and there something that nobody can see starves it: the audit has to notice, take it back
 * the same way, mark the node, and count both moves. And a guest is ordered away whose memory is pinned in a way
 * nobody knew of: its vCPUs have to come back to it, and the order is refused from then on.
 */
#include "loop.h"

#include <string.h>

#define GUEST_BYTES (256 * LOOP_MIB)
#define N_VCPUS 2

static Loop *new_loop(HnDomain **ret_domain)
{
    Loop *loop = loop_new(2048 * LOOP_MIB);

    *ret_domain = loop_add_guest(loop, N_VCPUS, GUEST_BYTES, 2000, 0);
    world_pin(loop->world, *ret_domain, 0);
    loop_begin(loop);
    return loop;
}

static void assert_home(Loop *loop, const HnDomain *domain, int32_t node)
{
    loop_observe(loop);
    g_assert_cmpint(world_home(loop->world, domain), ==, node);
    g_assert_cmpuint(world_local_permille(loop->world, domain), ==, 1000);
}

static void test_worse_is_undone(void)
{
    HnDomain *domain;
    Loop *loop = new_loop(&domain);
    guint n_undone = 0, n_marked = 0, n_charged = 0, n_outcomes = 0;

    loop->world->snapshot->host->nodes[0].other_load_mcpu = 4000;
    for (guint i = 0; i < 4; i++)
        loop_round(loop, domain);
    assert_home(loop, domain, 1);
    for (guint i = 0; i < 60 && n_undone == 0; i++) {
        for (guint v = 0; v < N_VCPUS; v++)
            domain->vcpus[v].run_delay_ns += 15 * LOOP_SEC / 10; /* three quarters of the 2 s */
        n_undone += loop_round(loop, domain) == HN_REASON_UNDO_WORSE;
    }
    g_assert_cmpuint(n_undone, ==, 1);
    assert_home(loop, domain, 0);
    /* Marked: the node still looks better, and is not tried again, although it costs nothing any more. */
    for (guint i = 0; i < 60; i++) {
        n_marked += loop_round(loop, domain) == HN_REASON_MARKED_WORSE;
        assert_home(loop, domain, 0);
    }
    g_assert_cmpuint(n_marked, >, 0);
    for (guint reason = 0; reason < HN_N_REASONS; reason++)
        n_outcomes += loop->n_of[reason];
    g_assert_cmpuint(loop->n_of[HN_REASON_DONE], ==, n_outcomes);
    {
        /* Both moves are charged to the budget of its hour. */
        g_autofree char *past = hn_past_format(loop->past);

        for (const char *at = past; (at = strstr(at, "\nmove ")); at++)
            n_charged++;
        g_assert_cmpuint(n_charged, ==, 2);
    }
    loop_free(loop);
}

/* An order to node 1; true if it is obeyed, which then is carried out. */
static bool order(Loop *loop, const HnDomain *domain)
{
    g_autoptr(HnPlan) plan = loop_decide(loop, domain, 1);
    const HnVerdict *verdict = hn_plan_find(plan, domain->uuid);

    g_test_message("%s: %s", hn_reason_name(verdict->reason), verdict->sentence);
    if (verdict->will_act)
        loop_carry_out(loop, plan);
    else
        g_assert_cmpstr(hn_reason_name(verdict->reason), ==, "immovable");
    g_assert_cmpuint(plan->actions->len > 0, ==, verdict->will_act);
    return verdict->will_act;
}

static void test_pinned_unknown(void)
{
    HnDomain *domain;
    Loop *loop = new_loop(&domain);
    guint n_calls;

    virtual_host_set_pinned(loop->host, domain->pid, true);
    for (guint i = 0; i < 4; i++)
        loop_round(loop, domain);
    g_assert_true(order(loop, domain));
    g_assert_cmpuint(loop->n_of[HN_REASON_IMMOVABLE], ==, 1);
    loop_observe(loop);
    g_assert_cmpint(world_home(loop->world, domain), ==, 1);
    n_calls = virtual_host_calls(loop->host)->len;
    for (guint i = 0; i < 4; i++)
        loop_round(loop, domain);
    assert_home(loop, domain, 0);
    for (guint i = 0; i < 3; i++) {
        g_assert_false(order(loop, domain));
        assert_home(loop, domain, 0);
    }
    g_assert_cmpuint(virtual_host_calls(loop->host)->len, ==, n_calls); /* nothing more was tried in vain */
    /* What held it may have gone after ten minutes. */
    virtual_host_set_pinned(loop->host, domain->pid, false);
    loop->world->snapshot->taken_ns += 600 * LOOP_SEC;
    g_assert_true(order(loop, domain));
    assert_home(loop, domain, 1);
    loop_free(loop);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/apply/audit/worse-is-undone", test_worse_is_undone);
    g_test_add_func("/apply/audit/pinned-unknown", test_pinned_unknown);
    return g_test_run();
}
