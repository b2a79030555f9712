/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plans in, outcomes out: order, overtaking, what stops a move, ends of all kinds, the fence in the way.
 */
#include "act-fixture.h"

#include <errno.h>
#include <string.h>

/* ---- order ---- */

static void check_pinned_first(void *user_data)
{
    act_assert_pins(user_data, ON_NODE_1);
}

static void test_pins_then_memory(ActFixture *f, gconstpointer data)
{
    HnProgress progress;
    const ActTold *told;

    g_assert_false(hn_actuator_progress(f->actuator, WORLD_UUID, &progress));
    fake_kernel_on_move(f->world->kernel, 1, check_pinned_first, f);
    act_submit_home(f, 1, 2);
    g_assert_cmpuint(f->told->len, ==, 0); /* never from inside */
    act_assert_in_flight(f, true);
    act_wait_for(f, 2);
    told = act_assert_told(f, 0, HN_ACTION_PIN, HN_REASON_DONE, 1);
    told = act_assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1);
    g_assert_cmpuint(told->outcome.bytes_moved, ==, ALL_MIB);
    g_assert_cmpint(told->outcome.to_node, ==, 1);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 1), ==, WORLD_PAGES);
    act_assert_in_flight(f, false);
    g_assert_true(hn_actuator_progress(f->actuator, WORLD_UUID, &progress));
    g_assert_false(progress.is_moving);
    g_assert_cmpuint(progress.bytes_done, ==, ALL_MIB);
    g_assert_cmpuint(progress.bytes_total, ==, ALL_MIB);
    g_assert_cmpuint(progress.calls, ==, 16);
    g_assert_cmpuint(progress.call_p50_ns, <=, progress.call_p99_ns);
    g_assert_cmpuint(progress.call_p99_ns, <=, progress.call_max_ns);
    g_assert_cmpuint(progress.bytes_per_sec, >, 0);
}

static void test_failed_pin_stops_memory(ActFixture *f, gconstpointer data)
{
    hn_fake_fail(f->world->inner, HN_FAKE_PIN_VCPU, NULL, HN_BACKEND_ERROR_BUSY, "told to", 1);
    act_submit_home(f, 1, 2);
    act_wait_for(f, 2);
    act_assert_told(f, 0, HN_ACTION_PIN, HN_REASON_LIBVIRT_BUSY, 1);
    g_assert_nonnull(strstr(act_assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_LIBVIRT_BUSY, 1)->sentence,
                            "not tried"));
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 0);
    act_assert_in_flight(f, false);
}

static void test_slices(ActFixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 8 * MIB);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 1, 4, 8 * MIB)->from_nodes = 1;
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 2, 8, 4 * MIB)->from_nodes = 2;
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    act_wait_for(f, 3);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 0) * FAKE_PAGE, ==, 16 * MIB);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 1) * FAKE_PAGE, ==, 4 * MIB);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 2) * FAKE_PAGE, ==, 8 * MIB);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 3) * FAKE_PAGE, ==, 4 * MIB);
}

/* 2 MiB have come to lie elsewhere since the snapshot: a move of "all" takes them along. */
static void test_all_means_all(ActFixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    f->world->domain->regions[0].resident_bytes[0] = 30 * MIB;
    f->world->domain->regions[0].resident_bytes[1] = 2 * MIB;
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 30 * MIB);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    act_wait_for(f, 1);
    g_assert_cmpuint(act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1)->outcome.bytes_moved, ==, ALL_MIB);
}

static void test_spread(ActFixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    f->world->domain->regions[0].chunk_bytes = 2 * MIB;
    f->world->domain->regions[0].n_chunks = 16;
    f->world->domain->regions[0].chunks = g_new0(HnChunk, 16);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2 | 4, ALL_MIB)->is_spread = true;
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    act_wait_for(f, 1);
    g_assert_cmpint(act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1)->outcome.to_node, ==, HN_NODE_NONE);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 1), ==, WORLD_PAGES / 2);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 2), ==, WORLD_PAGES / 2);
}

static void test_immovable(ActFixture *f, gconstpointer data)
{
    f->world->domain->regions[0].movability = HN_IMMOVABLE_VFIO;
    act_submit_home(f, 1, 2);
    act_wait_for(f, 2);
    act_assert_told(f, 0, HN_ACTION_PIN, HN_REASON_DONE, 1);
    g_assert_cmpuint(act_assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_IMMOVABLE, 1)->outcome.bytes_left, ==,
                     ALL_MIB);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 0);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_QUERY), ==, 0);
}

static void test_residue(ActFixture *f, gconstpointer data)
{
    fake_kernel_set_pinned(f->world->kernel, 1000, 10, G_MAXUINT);
    act_submit_move(f, 1, 2);
    act_wait_for(f, 1);
    g_assert_cmpuint(act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE_WITH_RESIDUE, 1)->outcome.bytes_left,
                     ==,
                     10 * FAKE_PAGE);
}

/* Actions that make no sense end with a reason; nothing is called. */
static void test_nonsense(ActFixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 0, ALL_MIB);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 1 << 7, ALL_MIB);
    world_add_action(plan, HN_ACTION_PIN, 0, 2, 0)->client = 7;
    g_strlcpy(world_add_action(plan, HN_ACTION_PIN, 0, 2, 0)->uuid, "99999999-2222-3333-4444-555555555555", 37);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    act_wait_for(f, 4);
    for (guint i = 0; i < 3; i++)
        g_assert_cmpint(((ActTold *)f->told->pdata[i])->outcome.reason, ==, HN_REASON_UNSUPPORTED);
    g_assert_cmpint(((ActTold *)f->told->pdata[3])->outcome.reason, ==, HN_REASON_VANISHED);
    g_assert_cmpuint(hn_fake_calls(f->world->inner, HN_FAKE_GET), ==, 0);
}

/* ---- overtaking ---- */

static void test_overtaken(ActFixture *f, gconstpointer data)
{
    const ActTold *told;

    fake_kernel_delay_moves(f->world->kernel, 5000);
    act_submit_move(f, 1, 2);
    act_wait_for_moves(f, 3);
    act_submit_home(f, 2, 4);
    act_wait_for(f, 3);
    told = act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_SUPERSEDED, 1);
    g_assert_cmpuint(told->outcome.bytes_moved, >, 0);
    g_assert_cmpuint(told->outcome.bytes_moved, <, ALL_MIB);
    act_assert_told(f, 1, HN_ACTION_PIN, HN_REASON_DONE, 2);
    act_assert_told(f, 2, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 2);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 2), ==, WORLD_PAGES);
    /* An old plan that comes late does nothing. */
    act_submit_move(f, 1, 2);
    act_wait_for(f, 4);
    act_assert_told(f, 3, HN_ACTION_MOVE_MEMORY, HN_REASON_SUPERSEDED, 1);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 2), ==, WORLD_PAGES);
}

/* A newer plan for somebody else: the one under way goes on. */
static void test_not_overtaken(ActFixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) other = world_plan(f->world, 2);

    fake_kernel_delay_moves(f->world->kernel, 2000);
    act_submit_move(f, 1, 2);
    act_wait_for_moves(f, 2);
    g_strlcpy(world_add_action(other, HN_ACTION_PIN, 0, 2, 0)->uuid, "99999999-2222-3333-4444-555555555555", 37);
    hn_actuator_submit(f->actuator, other, f->world->snapshot);
    act_wait_for(f, 2);
    g_assert_cmpint(((ActTold *)f->told->pdata[0])->outcome.reason, ==, HN_REASON_VANISHED);
    g_assert_cmpuint(act_assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1)->outcome.bytes_moved, ==, ALL_MIB);
}

/* ---- ends ---- */

static void test_guest_dies(ActFixture *f, gconstpointer data)
{
    guint calls;

    fake_kernel_exit_after(f->world->kernel, 4);
    act_submit_move(f, 1, 2);
    act_wait_for(f, 1);
    act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_VANISHED, 1);
    calls = fake_kernel_calls(f->world->kernel, FAKE_MOVE);
    g_assert_cmpuint(calls, ==, 4);
}

static void die_now(void *user_data)
{
    fake_kernel_exit(user_data);
}

/* A process whose memory is gone already answers EINVAL: the reason is that it ended. */
static void test_guest_dying(ActFixture *f, gconstpointer data)
{
    fake_kernel_on_move(f->world->kernel, 3, die_now, f->world->kernel);
    fake_kernel_fail(f->world->kernel, FAKE_MOVE, 2, 1, EINVAL);
    act_submit_move(f, 1, 2);
    act_wait_for(f, 1);
    act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_VANISHED, 1);
}

/* The process was replaced between snapshot and start: its memory is not touched. */
static void test_reused_pid(ActFixture *f, gconstpointer data)
{
    fake_kernel_restart(f->world->kernel, 9999);
    act_submit_move(f, 1, 2);
    act_wait_for(f, 1);
    act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_VANISHED, 1);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 0);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 0), ==, WORLD_PAGES);
}

static void test_domain_stopped(ActFixture *f, gconstpointer data)
{
    fake_kernel_delay_moves(f->world->kernel, 5000);
    act_submit_home(f, 1, 2);
    while (fake_kernel_calls(f->world->kernel, FAKE_MOVE) < 3)
        act_idle(1);
    g_assert_true(act_has_journal(f));
    hn_actuator_domain_stopped(f->actuator, WORLD_UUID);
    g_assert_false(act_has_journal(f));
    act_wait_for(f, 2);
    act_assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_VANISHED, 1);
    act_assert_in_flight(f, false);
}

/* Little room: stops before the kernel would complain. */
static void test_node_full(ActFixture *f, gconstpointer data)
{
    const uint64_t kept = f->world->snapshot->host->nodes[1].mem_watermark_bytes + f->limits.headroom_bytes;
    const ActTold *told;

    fake_kernel_set_free(f->world->kernel, 1, kept + 10 * MIB);
    act_submit_move(f, 1, 2);
    act_wait_for(f, 1);
    told = act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_NODE_FULL, 1);
    g_assert_cmpuint(told->outcome.bytes_moved, ==, 10 * MIB);
    g_assert_cmpuint(fake_kernel_splats(f->world->kernel), ==, 0);
}

/* ENOMEM all the same (somebody was faster): the node's whole queue ends. */
static void test_enomem(ActFixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    fake_kernel_fail(f->world->kernel, FAKE_MOVE, 2, 1, ENOMEM);
    fake_kernel_delay_moves(f->world->kernel, 2000);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, ALL_MIB);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, ALL_MIB);
    world_add_action(plan, HN_ACTION_FENCE, 1, 2, 0);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    act_wait_for(f, 3);
    act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_NODE_FULL, 1);
    act_assert_told(f, 1, HN_ACTION_FENCE, HN_REASON_NODE_FULL, 1);
    act_assert_told(f, 2, HN_ACTION_MOVE_MEMORY, HN_REASON_NODE_FULL, 1);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 3);
    /* The node is not condemned for ever. */
    act_submit_move(f, 2, 2);
    act_wait_for(f, 4);
    act_assert_told(f, 3, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 2);
}

/* Every error of every call a mover makes, at several places: one outcome each, no descriptor left, and the next plan
 * succeeds. */
static void test_faults(ActFixture *f, gconstpointer data)
{
    static const struct {
        FakeCall call;
        int err;
        HnReason reason;
    } cases[] = {
        {FAKE_MOVE, ESRCH, HN_REASON_VANISHED},
        {FAKE_MOVE, EPERM, HN_REASON_PERMISSION_DENIED},
        {FAKE_MOVE, ENOMEM, HN_REASON_NODE_FULL},
        {FAKE_MOVE, EACCES, HN_REASON_NODESET_BY_ADMIN},
        {FAKE_MOVE, ENODEV, HN_REASON_KERNEL_REFUSED},
        {FAKE_MOVE, EFAULT, HN_REASON_KERNEL_REFUSED},
        {FAKE_MOVE, EINVAL, HN_REASON_KERNEL_REFUSED},
        {FAKE_MOVE, E2BIG, HN_REASON_KERNEL_REFUSED},
        {FAKE_QUERY, EPERM, HN_REASON_PERMISSION_DENIED},
        {FAKE_QUERY, EFAULT, HN_REASON_KERNEL_REFUSED},
        {FAKE_PIDFD_OPEN, ESRCH, HN_REASON_VANISHED},
        {FAKE_PIDFD_OPEN, EMFILE, HN_REASON_KERNEL_REFUSED},
        {FAKE_PIDFD_OPEN, ENFILE, HN_REASON_KERNEL_REFUSED},
        {FAKE_PIDFD_OPEN, ENOMEM, HN_REASON_KERNEL_REFUSED},
        {FAKE_PIDFD_OPEN, EINVAL, HN_REASON_KERNEL_REFUSED},
        {FAKE_PIDFD_OPEN, ENODEV, HN_REASON_KERNEL_REFUSED},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const guint skips = cases[i].call == FAKE_MOVE ? 3 : 1;

        for (guint skip = 0; skip < skips; skip++) {
            const guint before = f->told->len;
            const ActTold *told;

            fake_kernel_set_node(f->world->kernel, 0, WORLD_PAGES, 0);
            fake_kernel_fail(f->world->kernel, cases[i].call, skip, 1, cases[i].err);
            act_submit_move(f, 10 + before, 2);
            act_wait_for(f, before + 1);
            told = act_assert_told(f, before, HN_ACTION_MOVE_MEMORY, cases[i].reason, 10 + before);
            g_assert_cmpuint(told->outcome.bytes_moved, ==, fake_kernel_count(f->world->kernel, 1) * FAKE_PAGE);
            g_assert_cmpuint(fake_kernel_open_pidfds(f->world->kernel), ==, 0);
            act_assert_in_flight(f, false);
        }
    }
    act_submit_move(f, 1000, 2);
    act_wait_for(f, f->told->len + 1);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 1), ==, WORLD_PAGES);
}

/* ---- huge pages, and the fence ---- */

/* Split on the way, and the kernel will not rebuild them: found out once, told once, and not asked for again. */
static void test_collapse_refused(ActFixture *f, gconstpointer data)
{
    static const struct {
        int err;
        guint most_calls;
        const char *tells;
    } cases[] = {
        {EINVAL, 8, "this kernel does not collapse"},
        {EPERM, 1, "CAP_SYS_NICE"},
        {ENOSYS, 2, "no process_madvise"},
    };
    const guint i = GPOINTER_TO_UINT(data);
    guint calls;

    f->world->domain->regions[0].is_thp = true;
    fake_kernel_set_huge(f->world->kernel, 0, WORLD_PAGES);
    fake_kernel_split_moves(f->world->kernel);
    fake_kernel_fail(f->world->kernel, FAKE_COLLAPSE, 0, G_MAXUINT, cases[i].err);
    act_submit_move(f, 1, 2);
    act_wait_for(f, 1);
    g_assert_nonnull(strstr(act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1)->sentence, cases[i].tells));
    calls = fake_kernel_calls(f->world->kernel, FAKE_COLLAPSE);
    g_assert_cmpuint(calls, >=, 1);
    g_assert_cmpuint(calls, <=, cases[i].most_calls);
    fake_kernel_set_node(f->world->kernel, 0, WORLD_PAGES, 0);
    fake_kernel_set_huge(f->world->kernel, 0, WORLD_PAGES);
    act_submit_move(f, 2, 2);
    act_wait_for(f, 2);
    g_assert_null(strstr(act_assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 2)->sentence, "split"));
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_COLLAPSE), ==, calls);
}

/* The node is just full enough for what moved: nothing is pushed out for huge pages. */
static void test_collapse_without_room(ActFixture *f, gconstpointer data)
{
    const uint64_t kept = f->world->snapshot->host->nodes[1].mem_watermark_bytes + f->limits.headroom_bytes;

    fake_kernel_set_free(f->world->kernel, 1, kept + ALL_MIB + MIB);
    f->world->domain->regions[0].is_thp = true;
    fake_kernel_set_huge(f->world->kernel, 0, WORLD_PAGES);
    fake_kernel_split_moves(f->world->kernel);
    act_submit_move(f, 1, 2);
    act_wait_for(f, 1);
    g_assert_nonnull(strstr(act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1)->sentence,
                            "no room for a huge page"));
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_COLLAPSE), ==, 0);
}

/* And where it can: all huge again; switched off, it is not asked. */
static void test_collapse_on_and_off(ActFixture *f, gconstpointer data)
{
    const bool is_enabled = data != NULL;

    f->limits.is_collapse_enabled = is_enabled;
    hn_actuator_set_limits(f->actuator, &f->limits);
    f->world->domain->regions[0].is_thp = true;
    fake_kernel_set_huge(f->world->kernel, 0, WORLD_PAGES);
    fake_kernel_split_moves(f->world->kernel);
    act_submit_move(f, 1, 2);
    act_wait_for(f, 1);
    act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1);
    g_assert_cmpuint(fake_kernel_count_huge(f->world->kernel), ==, is_enabled ? WORLD_PAGES : 0);
    g_assert_true((fake_kernel_calls(f->world->kernel, FAKE_COLLAPSE) > 0) == is_enabled);
}

static void test_fence_in_the_way(ActFixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    world_add_action(plan, HN_ACTION_FENCE, 0, 1, 0);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    act_wait_for(f, 1);
    act_assert_told(f, 0, HN_ACTION_FENCE, HN_REASON_DONE, 1);
    act_assert_pins(f, "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:0");
    act_submit_move(f, 2, 2); /* forgets to open it */
    act_wait_for(f, 2);
    act_assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 2);
    act_assert_pins(f, "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:0-3");
}

/* An admin's cpuset: the kernel refuses, and the reason says whose it is. */
static void test_admins_cpuset(ActFixture *f, gconstpointer data)
{
    fake_kernel_allow(f->world->kernel, 1);
    act_submit_move(f, 1, 2);
    act_wait_for(f, 1);
    act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_NODESET_BY_ADMIN, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

#define ADD(name, data, func) g_test_add("/apply/actuator/" name, ActFixture, data, act_setup, func, act_teardown)
    ADD("pins-then-memory", NULL, test_pins_then_memory);
    ADD("failed-pin-stops-memory", NULL, test_failed_pin_stops_memory);
    ADD("slices", NULL, test_slices);
    ADD("all-means-all", NULL, test_all_means_all);
    ADD("spread", NULL, test_spread);
    ADD("immovable", NULL, test_immovable);
    ADD("residue", NULL, test_residue);
    ADD("nonsense", NULL, test_nonsense);
    ADD("overtaken", NULL, test_overtaken);
    ADD("not-overtaken", NULL, test_not_overtaken);
    ADD("guest-dies", NULL, test_guest_dies);
    ADD("guest-dying", NULL, test_guest_dying);
    ADD("reused-pid", NULL, test_reused_pid);
    ADD("domain-stopped", NULL, test_domain_stopped);
    ADD("node-full", NULL, test_node_full);
    ADD("enomem", NULL, test_enomem);
    ADD("faults", NULL, test_faults);
    ADD("collapse-einval", GUINT_TO_POINTER(0), test_collapse_refused);
    ADD("collapse-eperm", GUINT_TO_POINTER(1), test_collapse_refused);
    ADD("collapse-enosys", GUINT_TO_POINTER(2), test_collapse_refused);
    ADD("collapse-without-room", NULL, test_collapse_without_room);
    ADD("collapse-off", NULL, test_collapse_on_and_off);
    ADD("collapse-on", "on", test_collapse_on_and_off);
    ADD("fence-in-the-way", NULL, test_fence_in_the_way);
    ADD("admins-cpuset", NULL, test_admins_cpuset);
    return g_test_run();
}
