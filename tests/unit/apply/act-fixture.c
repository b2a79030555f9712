/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of the actuator share; see act-fixture.h.
 */
#include "act-fixture.h"

static void told_free(gpointer data)
{
    g_free(((ActTold *)data)->sentence);
    g_free(data);
}

void act_on_outcome(const HnOutcome *outcome, const char *sentence, void *user_data)
{
    ActFixture *f = user_data;
    ActTold *told = g_new0(ActTold, 1);

    g_test_message("%s %s: %s", hn_action_kind_name(outcome->kind), hn_reason_name(outcome->reason), sentence);
    told->outcome = *outcome;
    told->sentence = g_strdup(sentence);
    g_assert_cmpstr(sentence, !=, "");
    g_ptr_array_add(f->told, told);
}

void act_setup(ActFixture *f, gconstpointer data)
{
    f->world = world_new();
    f->told = g_ptr_array_new_with_free_func(told_free);
    hn_limits_init(&f->limits);
    f->limits.host_bytes_per_sec = f->limits.node_bytes_per_sec = 0;
    f->limits.batch_ceiling_bytes = 2 * MIB;
    f->limits.call_target_ns = SEC; /* calls of one size, however slow this machine is just now */
    f->actuator = hn_actuator_new_full(f->world->backend, f->world->control.root, f->world->journal, &f->limits,
                                       act_on_outcome, f, f->world->control.sys);
}

void act_teardown(ActFixture *f, gconstpointer data)
{
    hn_actuator_free(f->actuator);
    world_free(f->world);
    g_ptr_array_unref(f->told);
}

void act_wait_for(ActFixture *f, guint n_outcomes)
{
    const gint64 deadline = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (f->told->len < n_outcomes) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(500);
    }
}

void act_idle(guint ms)
{
    const gint64 deadline = g_get_monotonic_time() + ms * 1000;

    while (g_get_monotonic_time() < deadline) {
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(500);
    }
}

void act_wait_for_moves(ActFixture *f, guint n_moves)
{
    const gint64 deadline = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (fake_kernel_calls(f->world->kernel, FAKE_MOVE) < n_moves) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(200);
    }
}

const ActTold *act_assert_told(ActFixture *f, guint i, HnActionKind kind, HnReason reason, uint64_t generation)
{
    const ActTold *told = f->told->pdata[i];

    g_assert_cmpstr(hn_action_kind_name(told->outcome.kind), ==, hn_action_kind_name(kind));
    g_assert_cmpstr(hn_reason_name(told->outcome.reason), ==, hn_reason_name(reason));
    g_assert_cmpuint(told->outcome.generation, ==, generation);
    g_assert_cmpstr(told->outcome.uuid, ==, WORLD_UUID);
    return told;
}

void act_submit_move(ActFixture *f, uint64_t generation, HnNodemask to)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, generation);

    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 0, to, ALL_MIB);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
}

void act_submit_home(ActFixture *f, uint64_t generation, HnNodemask to)
{
    g_autoptr(HnPlan) plan = world_plan(f->world, generation);

    world_add_action(plan, HN_ACTION_PIN, 0, to, 0);
    world_add_action(plan, HN_ACTION_MOVE_MEMORY, 1, to, ALL_MIB);
    hn_actuator_submit(f->actuator, plan, f->world->snapshot);
}

void act_assert_in_flight(ActFixture *f, bool is)
{
    g_auto(GStrv) uuids = hn_actuator_in_flight(f->actuator);

    g_assert_cmpuint(g_strv_length(uuids), ==, is);
}

void act_assert_pins(ActFixture *f, const char *expected)
{
    g_autofree char *pins = world_pins(f->world);

    g_assert_cmpstr(pins, ==, expected);
}

bool act_has_journal(ActFixture *f)
{
    g_autofree char *path = g_build_filename(f->world->journal_dir, WORLD_UUID, NULL);

    return g_file_test(path, G_FILE_TEST_EXISTS);
}
