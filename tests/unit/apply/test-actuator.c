/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plans in, outcomes out, with real threads: order, overtaking, pauses, jobs, ends of all kinds, rates, release.
 */
#include "world.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>

#define MIB (1ull << 20)
#define MS 1000000ull
#define SEC (1000 * MS)
#define ALL_MIB (WORLD_PAGES * FAKE_PAGE)
#define UNPINNED "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:-"
#define ON_NODE_1 "0:2-3 1:2-3 2:2-3 3:2-3 emulator:2-3 io1:2-3 nodeset:-"
#define ALL_CPUS "0:0-7 1:0-7 2:0-7 3:0-7 emulator:0-7 io1:0-7 nodeset:-"

typedef struct {
    HnOutcome outcome;
    char *sentence;
} Told;

typedef struct {
    World *world;
    HnActuator *actuator;
    HnLimits limits;
    GPtrArray *told;
} Fixture;

static void told_free(gpointer data)
{
    g_free(((Told *)data)->sentence);
    g_free(data);
}

static void on_outcome(const HnOutcome *outcome, const char *sentence, void *user_data)
{
    Fixture *f = user_data;
    Told *told = g_new0(Told, 1);

    g_test_message("%s %s: %s", hn_action_kind_name(outcome->kind), hn_reason_name(outcome->reason), sentence);
    told->outcome = *outcome;
    told->sentence = g_strdup(sentence);
    g_assert_cmpstr(sentence, !=, "");
    g_ptr_array_add(f->told, told);
}

static void setup(Fixture *f, gconstpointer data)
{
    f->world = world_new();
    f->told = g_ptr_array_new_with_free_func(told_free);
    hn_limits_init(&f->limits);
    f->limits.host_bytes_per_sec = f->limits.node_bytes_per_sec = 0;
    f->limits.batch_ceiling_bytes = 2 * MIB;
    f->actuator = hn_actuator_new_full(f->world->backend, f->world->control.root, f->world->journal, &f->limits,
                                       on_outcome, f, f->world->control.sys);
}

static void teardown(Fixture *f, gconstpointer data)
{
    hn_actuator_free(f->actuator);
    world_free(f->world);
    g_ptr_array_unref(f->told);
}

static void wait_for(Fixture *f, guint n_outcomes)
{
    const gint64 deadline = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (f->told->len < n_outcomes) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(500);
    }
}

/* Lets things happen for a while. */
static void idle(guint ms)
{
    const gint64 deadline = g_get_monotonic_time() + ms * 1000;

    while (g_get_monotonic_time() < deadline) {
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(500);
    }
}

static void wait_for_moves(Fixture *f, guint n_moves)
{
    const gint64 deadline = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (fake_kernel_calls(f->world->kernel, FAKE_MOVE) < n_moves) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(200);
    }
}

static const Told *assert_told(Fixture *f, guint i, HnActionKind kind, HnReason reason, uint64_t generation)
{
    const Told *told = f->told->pdata[i];

    g_assert_cmpstr(hn_action_kind_name(told->outcome.kind), ==, hn_action_kind_name(kind));
    g_assert_cmpstr(hn_reason_name(told->outcome.reason), ==, hn_reason_name(reason));
    g_assert_cmpuint(told->outcome.generation, ==, generation);
    g_assert_cmpstr(told->outcome.uuid, ==, WORLD_UUID);
    return told;
}

static void submit_move(Fixture *f, uint64_t generation, HnNodemask to)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, generation);

    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, to, ALL_MIB);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
}

static void submit_home(Fixture *f, uint64_t generation, HnNodemask to)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, generation);

    world_add_action(plan, HN_ACTION_PIN, 0, to, 0);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 1, to, ALL_MIB);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
}

static void assert_in_flight(Fixture *f, bool is)
{
    g_auto(GStrv) uuids = hn_actuator_in_flight(f->actuator);

    g_assert_cmpuint(g_strv_length(uuids), ==, is);
}

static void assert_pins(Fixture *f, const char *expected)
{
    g_autofree char *pins = world_pins(f->world);

    g_assert_cmpstr(pins, ==, expected);
}

static bool has_journal(Fixture *f)
{
    g_autofree char *path = g_build_filename(f->world->journal_dir, WORLD_UUID, NULL);

    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* ---- order ---- */

static void check_pinned_first(void *user_data)
{
    assert_pins(user_data, ON_NODE_1);
}

static void test_pins_then_memory(Fixture *f, gconstpointer data)
{
    HnProgress progress;
    const Told *told;

    g_assert_false(hn_actuator_progress(f->actuator, WORLD_UUID, &progress));
    fake_kernel_on_move(f->world->kernel, 1, check_pinned_first, f);
    submit_home(f, 1, 2);
    g_assert_cmpuint(f->told->len, ==, 0); /* never from inside */
    assert_in_flight(f, true);
    wait_for(f, 2);
    told = assert_told(f, 0, HN_ACTION_PIN, HN_REASON_DONE, 1);
    told = assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1);
    g_assert_cmpuint(told->outcome.bytes_moved, ==, ALL_MIB);
    g_assert_cmpint(told->outcome.to_node, ==, 1);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 1), ==, WORLD_PAGES);
    assert_in_flight(f, false);
    g_assert_true(hn_actuator_progress(f->actuator, WORLD_UUID, &progress));
    g_assert_false(progress.is_moving);
    g_assert_cmpuint(progress.bytes_done, ==, ALL_MIB);
    g_assert_cmpuint(progress.bytes_total, ==, ALL_MIB);
    g_assert_cmpuint(progress.calls, ==, 16);
    g_assert_cmpuint(progress.call_p50_ns, <=, progress.call_p99_ns);
    g_assert_cmpuint(progress.call_p99_ns, <=, progress.call_max_ns);
    g_assert_cmpuint(progress.bytes_per_sec, >, 0);
}

static void test_failed_pin_stops_memory(Fixture *f, gconstpointer data)
{
    hn_fake_fail(f->world->inner, HN_FAKE_PIN_VCPU, NULL, HN_BACKEND_ERROR_BUSY, "told to", 1);
    submit_home(f, 1, 2);
    wait_for(f, 2);
    assert_told(f, 0, HN_ACTION_PIN, HN_REASON_LIBVIRT_BUSY, 1);
    g_assert_nonnull(strstr(assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_LIBVIRT_BUSY, 1)->sentence, "not tried"));
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 0);
    assert_in_flight(f, false);
}

static void test_slices(Fixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 8 * MIB);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 1, 4, 8 * MIB)->from_nodes = 1;
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 2, 8, 4 * MIB)->from_nodes = 2;
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    wait_for(f, 3);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 0) * FAKE_PAGE, ==, 16 * MIB);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 1) * FAKE_PAGE, ==, 4 * MIB);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 2) * FAKE_PAGE, ==, 8 * MIB);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 3) * FAKE_PAGE, ==, 4 * MIB);
}

/* 2 MiB have come to lie elsewhere since the snapshot: a move of "all" takes them along. */
static void test_all_means_all(Fixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    f->world->domain->regions[0].resident_bytes[0] = 30 * MIB;
    f->world->domain->regions[0].resident_bytes[1] = 2 * MIB;
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, 30 * MIB);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    wait_for(f, 1);
    g_assert_cmpuint(assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1)->outcome.bytes_moved, ==, ALL_MIB);
}

static void test_spread(Fixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    f->world->domain->regions[0].chunk_bytes = 2 * MIB;
    f->world->domain->regions[0].n_chunks = 16;
    f->world->domain->regions[0].chunks = g_new0(HnChunk, 16);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2 | 4, ALL_MIB)->is_spread = true;
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    wait_for(f, 1);
    g_assert_cmpint(assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1)->outcome.to_node, ==, HN_NODE_NONE);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 1), ==, WORLD_PAGES / 2);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 2), ==, WORLD_PAGES / 2);
}

static void test_immovable(Fixture *f, gconstpointer data)
{
    f->world->domain->regions[0].movability = HN_IMMOVABLE_VFIO;
    submit_home(f, 1, 2);
    wait_for(f, 2);
    assert_told(f, 0, HN_ACTION_PIN, HN_REASON_DONE, 1);
    g_assert_cmpuint(assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_IMMOVABLE, 1)->outcome.bytes_left, ==, ALL_MIB);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 0);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_QUERY), ==, 0);
}

static void test_residue(Fixture *f, gconstpointer data)
{
    fake_kernel_set_pinned(f->world->kernel, 1000, 10, G_MAXUINT);
    submit_move(f, 1, 2);
    wait_for(f, 1);
    g_assert_cmpuint(assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE_WITH_RESIDUE, 1)->outcome.bytes_left, ==,
                     10 * FAKE_PAGE);
}

/* Actions that make no sense end with a reason; nothing is called. */
static void test_nonsense(Fixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 0, ALL_MIB);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 1 << 7, ALL_MIB);
    world_add_action(plan, HN_ACTION_PIN, 0, 2, 0)->client = 7;
    g_strlcpy(world_add_action(plan, HN_ACTION_PIN, 0, 2, 0)->uuid, "99999999-2222-3333-4444-555555555555", 37);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    wait_for(f, 4);
    for (guint i = 0; i < 3; i++)
        g_assert_cmpint(((Told *)f->told->pdata[i])->outcome.reason, ==, HN_REASON_UNSUPPORTED);
    g_assert_cmpint(((Told *)f->told->pdata[3])->outcome.reason, ==, HN_REASON_VANISHED);
    g_assert_cmpuint(hn_fake_calls(f->world->inner, HN_FAKE_GET), ==, 0);
}

/* ---- overtaking ---- */

static void test_overtaken(Fixture *f, gconstpointer data)
{
    const Told *told;

    fake_kernel_delay_moves(f->world->kernel, 5000);
    submit_move(f, 1, 2);
    wait_for_moves(f, 3);
    submit_home(f, 2, 4);
    wait_for(f, 3);
    told = assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_SUPERSEDED, 1);
    g_assert_cmpuint(told->outcome.bytes_moved, >, 0);
    g_assert_cmpuint(told->outcome.bytes_moved, <, ALL_MIB);
    assert_told(f, 1, HN_ACTION_PIN, HN_REASON_DONE, 2);
    assert_told(f, 2, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 2);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 2), ==, WORLD_PAGES);
    /* An old plan that comes late does nothing. */
    submit_move(f, 1, 2);
    wait_for(f, 4);
    assert_told(f, 3, HN_ACTION_MOVE_MEMORY, HN_REASON_SUPERSEDED, 1);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 2), ==, WORLD_PAGES);
}

/* A newer plan for somebody else: the one under way goes on. */
static void test_not_overtaken(Fixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) other = world_plan(f->world, 2);

    fake_kernel_delay_moves(f->world->kernel, 2000);
    submit_move(f, 1, 2);
    wait_for_moves(f, 2);
    g_strlcpy(world_add_action(other, HN_ACTION_PIN, 0, 2, 0)->uuid, "99999999-2222-3333-4444-555555555555", 37);
    hn_actuator_submit(f->actuator, other, f->world->snapshot);
    wait_for(f, 2);
    g_assert_cmpint(((Told *)f->told->pdata[0])->outcome.reason, ==, HN_REASON_VANISHED);
    g_assert_cmpuint(assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1)->outcome.bytes_moved, ==, ALL_MIB);
}

/* ---- pauses and jobs ---- */

static void test_pause(Fixture *f, gconstpointer uuid)
{
    HnProgress progress;
    guint calls;

    hn_actuator_set_paused(f->actuator, uuid, true);
    submit_home(f, 1, 2);
    idle(50);
    g_assert_cmpuint(f->told->len, ==, 0);
    g_assert_cmpuint(hn_fake_calls(f->world->inner, HN_FAKE_GET), ==, 0);
    assert_in_flight(f, true);
    fake_kernel_delay_moves(f->world->kernel, 5000);
    hn_actuator_set_paused(f->actuator, uuid, false);
    while (fake_kernel_calls(f->world->kernel, FAKE_MOVE) < 3)
        idle(1);
    hn_actuator_set_paused(f->actuator, uuid, true);
    g_assert_true(hn_actuator_is_paused(f->actuator, uuid));
    idle(50);
    calls = fake_kernel_calls(f->world->kernel, FAKE_MOVE);
    idle(50);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, calls);
    g_assert_true(hn_actuator_progress(f->actuator, WORLD_UUID, &progress));
    g_assert_true(progress.is_moving);
    g_assert_cmpint(progress.reason, ==, HN_REASON_PAUSED_BY_ADMIN);
    hn_actuator_set_paused(f->actuator, uuid, false);
    wait_for(f, 2);
    assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1);
}

static void test_job(Fixture *f, gconstpointer data)
{
    const HnJob job = (HnJob)GPOINTER_TO_INT(data);
    const HnReason reason = job == HN_JOB_MIGRATION ? HN_REASON_MIGRATING : HN_REASON_DOMAIN_BUSY;
    guint calls;

    fake_kernel_delay_moves(f->world->kernel, 5000);
    submit_move(f, 1, 2);
    wait_for_moves(f, 3);
    hn_actuator_job_began(f->actuator, WORLD_UUID, job);
    wait_for(f, 1);
    assert_told(f, 0, HN_ACTION_MOVE_MEMORY, reason, 1);
    calls = fake_kernel_calls(f->world->kernel, FAKE_MOVE);
    submit_home(f, 2, 2);
    wait_for(f, 3);
    assert_told(f, 1, HN_ACTION_PIN, reason, 2);
    assert_told(f, 2, HN_ACTION_MOVE_MEMORY, reason, 2);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, calls);
    hn_actuator_job_ended(f->actuator, WORLD_UUID);
    submit_home(f, 3, 2);
    wait_for(f, 5);
    assert_told(f, 4, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 3);
}

/* A job that nobody told of: found by asking, while memory moves. */
static void test_job_unseen(Fixture *f, gconstpointer data)
{
    const HnJob job = (HnJob)GPOINTER_TO_INT(data);
    HnLimits slow = f->limits;

    slow.host_bytes_per_sec = ALL_MIB / 16; /* outlasts the patience of wait_for() */
    hn_actuator_set_limits(f->actuator, &slow);
    submit_move(f, 1, 2);
    wait_for_moves(f, 2);
    hn_fake_set_job(f->world->inner, WORLD_UUID, job);
    wait_for(f, 1);
    assert_told(f, 0, HN_ACTION_MOVE_MEMORY,
                job == HN_JOB_MIGRATION ? HN_REASON_MIGRATING : HN_REASON_DOMAIN_BUSY, 1);
    /* It is remembered by nobody: after it, work goes on as if it had not been. */
    hn_fake_set_job(f->world->inner, WORLD_UUID, HN_JOB_NONE);
    hn_actuator_set_limits(f->actuator, &f->limits);
    submit_home(f, 2, 2);
    wait_for(f, 3);
    assert_told(f, 2, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 2);
}

/* ---- ends ---- */

static void test_guest_dies(Fixture *f, gconstpointer data)
{
    guint calls;

    fake_kernel_exit_after(f->world->kernel, 4);
    submit_move(f, 1, 2);
    wait_for(f, 1);
    assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_VANISHED, 1);
    calls = fake_kernel_calls(f->world->kernel, FAKE_MOVE);
    g_assert_cmpuint(calls, ==, 4);
}

static void die_now(void *user_data)
{
    fake_kernel_exit(user_data);
}

/* A process whose memory is gone already answers EINVAL: the reason is that it ended. */
static void test_guest_dying(Fixture *f, gconstpointer data)
{
    fake_kernel_on_move(f->world->kernel, 3, die_now, f->world->kernel);
    fake_kernel_fail(f->world->kernel, FAKE_MOVE, 2, 1, EINVAL);
    submit_move(f, 1, 2);
    wait_for(f, 1);
    assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_VANISHED, 1);
}

/* The process was replaced between snapshot and start: its memory is not touched. */
static void test_reused_pid(Fixture *f, gconstpointer data)
{
    fake_kernel_restart(f->world->kernel, 9999);
    submit_move(f, 1, 2);
    wait_for(f, 1);
    assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_VANISHED, 1);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 0);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 0), ==, WORLD_PAGES);
}

static void test_domain_stopped(Fixture *f, gconstpointer data)
{
    fake_kernel_delay_moves(f->world->kernel, 5000);
    submit_home(f, 1, 2);
    while (fake_kernel_calls(f->world->kernel, FAKE_MOVE) < 3)
        idle(1);
    g_assert_true(has_journal(f));
    hn_actuator_domain_stopped(f->actuator, WORLD_UUID);
    g_assert_false(has_journal(f));
    wait_for(f, 2);
    assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_VANISHED, 1);
    assert_in_flight(f, false);
}

/* Little room: stops before the kernel would complain. */
static void test_node_full(Fixture *f, gconstpointer data)
{
    const uint64_t kept = f->world->snapshot->host->nodes[1].mem_watermark_bytes + f->limits.headroom_bytes;
    const Told *told;

    fake_kernel_set_free(f->world->kernel, 1, kept + 10 * MIB);
    submit_move(f, 1, 2);
    wait_for(f, 1);
    told = assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_NODE_FULL, 1);
    g_assert_cmpuint(told->outcome.bytes_moved, ==, 10 * MIB);
    g_assert_cmpuint(fake_kernel_splats(f->world->kernel), ==, 0);
}

/* ENOMEM all the same (somebody was faster): the node's whole queue ends. */
static void test_enomem(Fixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    fake_kernel_fail(f->world->kernel, FAKE_MOVE, 2, 1, ENOMEM);
    fake_kernel_delay_moves(f->world->kernel, 2000);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, ALL_MIB);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, 2, ALL_MIB);
    world_add_action(plan, HN_ACTION_FENCE, 1, 2, 0);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    wait_for(f, 3);
    assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_NODE_FULL, 1);
    assert_told(f, 1, HN_ACTION_FENCE, HN_REASON_NODE_FULL, 1);
    assert_told(f, 2, HN_ACTION_MOVE_MEMORY, HN_REASON_NODE_FULL, 1);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 3);
    /* The node is not condemned for ever. */
    submit_move(f, 2, 2);
    wait_for(f, 4);
    assert_told(f, 3, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 2);
}

/* Every error of every call a mover makes, at several places: one outcome each, no descriptor left, and the next plan
 * succeeds. */
static void test_faults(Fixture *f, gconstpointer data)
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
            const Told *told;

            fake_kernel_set_node(f->world->kernel, 0, WORLD_PAGES, 0);
            fake_kernel_fail(f->world->kernel, cases[i].call, skip, 1, cases[i].err);
            submit_move(f, 10 + before, 2);
            wait_for(f, before + 1);
            told = assert_told(f, before, HN_ACTION_MOVE_MEMORY, cases[i].reason, 10 + before);
            g_assert_cmpuint(told->outcome.bytes_moved, ==, fake_kernel_count(f->world->kernel, 1) * FAKE_PAGE);
            g_assert_cmpuint(fake_kernel_open_pidfds(f->world->kernel), ==, 0);
            assert_in_flight(f, false);
        }
    }
    submit_move(f, 1000, 2);
    wait_for(f, f->told->len + 1);
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 1), ==, WORLD_PAGES);
}

/* ---- the fence ---- */

/* Split on the way, and the kernel will not rebuild them: found out once, told once, and not asked for again. */
static void test_collapse_refused(Fixture *f, gconstpointer data)
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
    submit_move(f, 1, 2);
    wait_for(f, 1);
    g_assert_nonnull(strstr(assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1)->sentence, cases[i].tells));
    calls = fake_kernel_calls(f->world->kernel, FAKE_COLLAPSE);
    g_assert_cmpuint(calls, >=, 1);
    g_assert_cmpuint(calls, <=, cases[i].most_calls);
    fake_kernel_set_node(f->world->kernel, 0, WORLD_PAGES, 0);
    fake_kernel_set_huge(f->world->kernel, 0, WORLD_PAGES);
    submit_move(f, 2, 2);
    wait_for(f, 2);
    g_assert_null(strstr(assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 2)->sentence, "split"));
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_COLLAPSE), ==, calls);
}

/* The node is just full enough for what moved: nothing is pushed out for huge pages. */
static void test_collapse_without_room(Fixture *f, gconstpointer data)
{
    const uint64_t kept = f->world->snapshot->host->nodes[1].mem_watermark_bytes + f->limits.headroom_bytes;

    fake_kernel_set_free(f->world->kernel, 1, kept + ALL_MIB + MIB);
    f->world->domain->regions[0].is_thp = true;
    fake_kernel_set_huge(f->world->kernel, 0, WORLD_PAGES);
    fake_kernel_split_moves(f->world->kernel);
    submit_move(f, 1, 2);
    wait_for(f, 1);
    g_assert_nonnull(strstr(assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1)->sentence, "no room for a huge page"));
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_COLLAPSE), ==, 0);
}

/* And where it can: all huge again; switched off, it is not asked. */
static void test_collapse_on_and_off(Fixture *f, gconstpointer data)
{
    const bool is_enabled = data != NULL;

    f->limits.is_collapse_enabled = is_enabled;
    hn_actuator_set_limits(f->actuator, &f->limits);
    f->world->domain->regions[0].is_thp = true;
    fake_kernel_set_huge(f->world->kernel, 0, WORLD_PAGES);
    fake_kernel_split_moves(f->world->kernel);
    submit_move(f, 1, 2);
    wait_for(f, 1);
    assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1);
    g_assert_cmpuint(fake_kernel_count_huge(f->world->kernel), ==, is_enabled ? WORLD_PAGES : 0);
    g_assert_true((fake_kernel_calls(f->world->kernel, FAKE_COLLAPSE) > 0) == is_enabled);
}

static void test_fence_in_the_way(Fixture *f, gconstpointer data)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, 1);

    world_add_action(plan, HN_ACTION_FENCE, 0, 1, 0);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
    wait_for(f, 1);
    assert_told(f, 0, HN_ACTION_FENCE, HN_REASON_DONE, 1);
    assert_pins(f, "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:0");
    submit_move(f, 2, 2); /* forgets to open it */
    wait_for(f, 2);
    assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 2);
    assert_pins(f, "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:0-3");
}

/* An admin's cpuset: the kernel refuses, and the reason says whose it is. */
static void test_admins_cpuset(Fixture *f, gconstpointer data)
{
    fake_kernel_allow(f->world->kernel, 1);
    submit_move(f, 1, 2);
    wait_for(f, 1);
    assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_NODESET_BY_ADMIN, 1);
}

/* ---- rates ---- */

static uint64_t timed_move(Fixture *f, uint64_t generation)
{
    const gint64 start_us = g_get_monotonic_time();
    const guint before = f->told->len;

    fake_kernel_set_node(f->world->kernel, 0, WORLD_PAGES, 0);
    submit_move(f, generation, 2);
    wait_for(f, before + 1);
    assert_told(f, before, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, generation);
    return (uint64_t)(g_get_monotonic_time() - start_us) / 1000;
}

static void test_rates(Fixture *f, gconstpointer data)
{
    uint64_t ms;

    /* 32 MiB at 64 MiB/s are 500 ms, less the burst of 50 ms. */
    f->limits.host_bytes_per_sec = 64 * MIB;
    hn_actuator_set_limits(f->actuator, &f->limits);
    ms = timed_move(f, 1);
    g_test_message("host limit: %" G_GUINT64_FORMAT " ms", ms);
    g_assert_cmpuint(ms, >=, 430);
    f->limits.host_bytes_per_sec = 0;
    f->limits.node_bytes_per_sec = 64 * MIB;
    hn_actuator_set_limits(f->actuator, &f->limits);
    ms = timed_move(f, 2);
    g_test_message("node limit: %" G_GUINT64_FORMAT " ms", ms);
    g_assert_cmpuint(ms, >=, 430);
    f->limits.node_bytes_per_sec = 0;
    hn_actuator_set_limits(f->actuator, &f->limits);
    f->world->domain->wish.max_mib_per_sec = 64;
    ms = timed_move(f, 3);
    g_test_message("domain cap: %" G_GUINT64_FORMAT " ms", ms);
    g_assert_cmpuint(ms, >=, 430);
    f->world->domain->wish.max_mib_per_sec = 0;
    ms = timed_move(f, 4);
    g_test_message("no limit: %" G_GUINT64_FORMAT " ms", ms);
    g_assert_cmpuint(ms, <, 430);
}

/* A rate of next to nothing, raised while it runs. */
static void test_limits_at_run_time(Fixture *f, gconstpointer data)
{
    f->limits.host_bytes_per_sec = MIB;
    hn_actuator_set_limits(f->actuator, &f->limits);
    submit_move(f, 1, 2);
    idle(100);
    g_assert_cmpuint(f->told->len, ==, 0);
    f->limits.host_bytes_per_sec = 0;
    hn_actuator_set_limits(f->actuator, &f->limits);
    wait_for(f, 1);
    assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1);
}

static void set_pressure(Fixture *f, const char *avg10)
{
    g_autofree char *text = g_strdup_printf("some avg10=%s avg60=0.00 avg300=0.00 total=0\n", avg10);

    fake_kernel_write(f->world->kernel, "proc/pressure/memory", text);
}

static void test_pressure(Fixture *f, gconstpointer data)
{
    HnProgress progress;

    set_pressure(f, "40.00");
    submit_move(f, 1, 2);
    idle(300);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 0);
    g_assert_true(hn_actuator_progress(f->actuator, WORLD_UUID, &progress));
    g_assert_cmpint(progress.reason, ==, HN_REASON_BACKED_OFF);
    g_assert_cmpuint(progress.speed_permille, ==, 0);
    set_pressure(f, "0.00");
    wait_for(f, 1);
    assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1);
}

static void test_pressure_for_long(Fixture *f, gconstpointer data)
{
    f->limits.give_up_ns = SEC;
    hn_actuator_set_limits(f->actuator, &f->limits);
    set_pressure(f, "90.00");
    submit_move(f, 1, 2);
    wait_for(f, 1);
    assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_BACKED_OFF, 1);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 0);
}

/* vCPUs that wait for a CPU this share of the time, told for a while and until the move is paced as said: a busy
 * machine tells in jumps, so one look proves nothing. */
static void wait_for_cpu(Fixture *f, guint permille, uint64_t *waited_ns, HnReason reason, guint speed_max_permille)
{
    gint64 last_us = g_get_monotonic_time();
    const gint64 enough_us = last_us + 1200 * 1000, end_us = last_us + 30 * G_USEC_PER_SEC;
    HnProgress progress = {0};

    do {
        gint64 now_us;

        for (guint i = 0; i < WORLD_VCPUS; i++) {
            g_autofree char *path = g_strdup_printf("proc/%d/task/%d/schedstat", WORLD_PID, WORLD_TID(i));
            g_autofree char *text = g_strdup_printf("1000 %" G_GUINT64_FORMAT " 10\n", *waited_ns);

            fake_kernel_write(f->world->kernel, path, text);
        }
        idle(20);
        now_us = g_get_monotonic_time();
        *waited_ns += (uint64_t)(now_us - last_us) * permille;
        last_us = now_us;
        if (last_us >= enough_us && hn_actuator_progress(f->actuator, WORLD_UUID, &progress) && progress.is_moving &&
            progress.reason == reason && progress.speed_permille <= speed_max_permille)
            return;
    } while (last_us < end_us);
    g_test_message("speed %u", progress.speed_permille);
    g_assert_cmpstr(hn_reason_name(progress.reason), ==, hn_reason_name(reason));
    g_assert_cmpuint(progress.speed_permille, <=, speed_max_permille);
}

/* An overcommitted guest always waits for half of the time: no reason to slow down. More than before is one. */
static void test_run_delay(Fixture *f, gconstpointer data)
{
    uint64_t waited_ns = 1;

    for (uint64_t s = 1; s <= 2; s++) {
        f->world->snapshot->taken_ns = s * SEC;
        for (guint i = 0; i < WORLD_VCPUS; i++)
            f->world->domain->vcpus[i].run_delay_ns = s * SEC / 2;
        hn_actuator_observe(f->actuator, f->world->snapshot);
    }
    f->limits.host_bytes_per_sec = 512 * 1024; /* 32 MiB take longer than any of the waiting */
    /* Far apart: on a busy machine the made-up files grow in jumps. */
    f->limits.run_delay_slow_permille = 300;
    f->limits.run_delay_pause_permille = 900;
    hn_actuator_set_limits(f->actuator, &f->limits);
    submit_move(f, 1, 2);
    wait_for_cpu(f, 500, &waited_ns, HN_REASON_IN_PROGRESS, 1000);
    wait_for_cpu(f, 1000, &waited_ns, HN_REASON_BACKED_OFF, 499);
}

/* ---- the admin's pins ---- */

static void test_tunables(Fixture *f, gconstpointer data)
{
    const HnCpuset ours = world_set("2-3");

    submit_home(f, 1, 2);
    wait_for(f, 2);
    g_assert_true(hn_actuator_owns_pin(f->actuator, WORLD_UUID, "cputune.vcpupin3", &ours));
    g_assert_false(hn_actuator_note_tunable(f->actuator, WORLD_UUID, "cputune.vcpupin3", "2-3"));
    g_assert_false(hn_actuator_note_tunable(f->actuator, WORLD_UUID, "cputune.vcpupin9", "6"));
    g_assert_false(hn_actuator_note_tunable(f->actuator, WORLD_UUID, "cputune.vcpupin3", "nonsense"));
    g_assert_false(hn_actuator_note_tunable(f->actuator, WORLD_UUID, NULL, NULL));
    world_admin_pins(f->world, 3, "6");
    g_assert_true(hn_actuator_note_tunable(f->actuator, WORLD_UUID, "cputune.vcpupin3", "6"));
    g_assert_false(hn_actuator_note_tunable(f->actuator, WORLD_UUID, "cputune.vcpupin3", "7"));
    /* Setting back what he had before is his word too. */
    g_assert_true(hn_actuator_note_tunable(f->actuator, WORLD_UUID, "cputune.vcpupin1", "0-7"));
    world_admin_pins(f->world, 1, "0-7");
    f->world->domain->vcpus[1].is_admin_pinned = true;
    f->world->domain->vcpus[3].is_admin_pinned = true;
    submit_home(f, 2, 4);
    wait_for(f, 4);
    assert_told(f, 2, HN_ACTION_PIN, HN_REASON_DONE, 2);
    assert_pins(f, "0:4-5 1:0-7 2:4-5 3:6 emulator:4-5 io1:4-5 nodeset:-");
    g_assert_true(hn_actuator_release_wait(f->actuator, NULL, 5 * SEC, NULL));
    assert_pins(f, "0:0-7 1:0-7 2:0-7 3:6 emulator:0-7 io1:0-7 nodeset:-");
}

/* ---- release ---- */

static void test_release(Fixture *f, gconstpointer data)
{
    submit_home(f, 1, 2);
    wait_for(f, 2);
    hn_actuator_release(f->actuator, WORLD_UUID);
    assert_in_flight(f, true);
    wait_for(f, 3);
    assert_told(f, 2, HN_ACTION_UNFENCE, HN_REASON_RELEASED, 0);
    assert_pins(f, ALL_CPUS);
    g_assert_false(has_journal(f));
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 1), ==, WORLD_PAGES); /* memory stays */
}

static void test_release_mid_move(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    fake_kernel_delay_moves(f->world->kernel, 5000);
    submit_home(f, 1, 2);
    while (fake_kernel_calls(f->world->kernel, FAKE_MOVE) < 3)
        idle(1);
    hn_actuator_release_wait(f->actuator, NULL, 5 * SEC, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(f->told->len, ==, 3); /* told from inside */
    assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_RELEASED, 1);
    assert_told(f, 2, HN_ACTION_UNFENCE, HN_REASON_RELEASED, 0);
    assert_pins(f, ALL_CPUS);
    g_assert_false(has_journal(f));
}

static void test_release_fails(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    submit_home(f, 1, 2);
    wait_for(f, 2);
    hn_fake_set_connected(f->world->inner, false);
    g_assert_false(hn_actuator_release_wait(f->actuator, NULL, 5 * SEC, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_FAILED);
    g_assert_nonnull(strstr(error->message, "web: "));
    assert_told(f, 2, HN_ACTION_UNFENCE, HN_REASON_LIBVIRT_GONE, 0);
    g_assert_true(has_journal(f));
    hn_fake_set_connected(f->world->inner, true);
    g_assert_true(hn_actuator_release_wait(f->actuator, NULL, 5 * SEC, NULL));
    assert_pins(f, ALL_CPUS);
}

static void test_release_times_out(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    submit_home(f, 1, 2);
    wait_for(f, 2);
    hn_fake_delay(f->world->inner, HN_FAKE_PIN_VCPU, 100);
    g_assert_false(hn_actuator_release_wait(f->actuator, NULL, 50 * MS, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT);
    hn_fake_heal(f->world->inner);
    wait_for(f, 3); /* it ends all the same */
    assert_told(f, 2, HN_ACTION_UNFENCE, HN_REASON_RELEASED, 0);
    assert_pins(f, ALL_CPUS);
}

/* A domain that only the journal knows (adopted from an earlier run). */
static void test_release_adopted(Fixture *f, gconstpointer data)
{
    submit_home(f, 1, 2);
    wait_for(f, 2);
    hn_actuator_free(f->actuator);
    world_reopen_journal(f->world);
    f->actuator = hn_actuator_new_full(f->world->backend, f->world->control.root, f->world->journal, &f->limits,
                                       on_outcome, f, f->world->control.sys);
    g_assert_true(hn_actuator_release_wait(f->actuator, NULL, 5 * SEC, NULL));
    assert_pins(f, ALL_CPUS);
}

/* Freed in the middle: what is set stays journalled, nothing leaks or hangs. */
static void test_free_mid_move(Fixture *f, gconstpointer data)
{
    fake_kernel_delay_moves(f->world->kernel, 5000);
    submit_home(f, 1, 2);
    while (fake_kernel_calls(f->world->kernel, FAKE_MOVE) < 3)
        idle(1);
    hn_actuator_free(g_steal_pointer(&f->actuator));
    g_assert_true(has_journal(f));
    g_assert_cmpuint(fake_kernel_open_pidfds(f->world->kernel), ==, 0);
}

/* Whoever reads a captured machine can never act on the real one. */
static void test_captured_machine(Fixture *f, gconstpointer data)
{
    hn_actuator_free(f->actuator);
    f->actuator = hn_actuator_new(f->world->backend, f->world->control.root, f->world->journal, &f->limits,
                                  on_outcome, f);
    submit_home(f, 1, 2);
    wait_for(f, 2);
    assert_told(f, 0, HN_ACTION_PIN, HN_REASON_ADVISE_ONLY, 1);
    assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_ADVISE_ONLY, 1);
    g_assert_true(hn_actuator_release_wait(f->actuator, NULL, SEC, NULL));
    g_assert_cmpuint(hn_fake_calls(f->world->inner, HN_FAKE_GET), ==, 0);
    assert_pins(f, UNPINNED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, data, func) g_test_add("/apply/actuator/" name, Fixture, data, setup, func, teardown)
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
    ADD("pause-host", NULL, test_pause);
    ADD("pause-domain", WORLD_UUID, test_pause);
    ADD("migration", GINT_TO_POINTER(HN_JOB_MIGRATION), test_job);
    ADD("dump", GINT_TO_POINTER(HN_JOB_OTHER), test_job);
    ADD("migration-unseen", GINT_TO_POINTER(HN_JOB_MIGRATION), test_job_unseen);
    ADD("dump-unseen", GINT_TO_POINTER(HN_JOB_OTHER), test_job_unseen);
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
    ADD("rates", NULL, test_rates);
    ADD("limits-at-run-time", NULL, test_limits_at_run_time);
    ADD("pressure", NULL, test_pressure);
    ADD("pressure-for-long", NULL, test_pressure_for_long);
    ADD("run-delay", NULL, test_run_delay);
    ADD("tunables", NULL, test_tunables);
    ADD("release", NULL, test_release);
    ADD("release-mid-move", NULL, test_release_mid_move);
    ADD("release-fails", NULL, test_release_fails);
    ADD("release-times-out", NULL, test_release_times_out);
    ADD("release-adopted", NULL, test_release_adopted);
    ADD("free-mid-move", NULL, test_free_mid_move);
    ADD("captured-machine", NULL, test_captured_machine);
    return g_test_run();
}
