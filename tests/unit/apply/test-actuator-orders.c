/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an operator, an admin and libvirt say while things move: pauses, jobs, pins, release; and how fast it may go.
 */
#include "act-fixture.h"

#include <gio/gio.h>
#include <string.h>

/* ---- pauses and jobs ---- */

static void test_pause(ActFixture *f, gconstpointer uuid)
{
    HnProgress progress;
    guint calls;

    hn_actuator_set_paused(f->actuator, uuid, true);
    act_submit_home(f, 1, 2);
    act_idle(50);
    g_assert_cmpuint(f->told->len, ==, 0);
    g_assert_cmpuint(hn_fake_calls(f->world->inner, HN_FAKE_GET), ==, 0);
    act_assert_in_flight(f, true);
    fake_kernel_delay_moves(f->world->kernel, 5000);
    hn_actuator_set_paused(f->actuator, uuid, false);
    while (fake_kernel_calls(f->world->kernel, FAKE_MOVE) < 3)
        act_idle(1);
    hn_actuator_set_paused(f->actuator, uuid, true);
    g_assert_true(hn_actuator_is_paused(f->actuator, uuid));
    act_idle(50);
    calls = fake_kernel_calls(f->world->kernel, FAKE_MOVE);
    act_idle(50);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, calls);
    g_assert_true(hn_actuator_progress(f->actuator, WORLD_UUID, &progress));
    g_assert_true(progress.is_moving);
    g_assert_cmpint(progress.reason, ==, HN_REASON_PAUSED_BY_ADMIN);
    hn_actuator_set_paused(f->actuator, uuid, false);
    act_wait_for(f, 2);
    act_assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1);
}

static void test_job(ActFixture *f, gconstpointer data)
{
    const HnJob job = (HnJob)GPOINTER_TO_INT(data);
    const HnReason reason = job == HN_JOB_MIGRATION ? HN_REASON_MIGRATING : HN_REASON_DOMAIN_BUSY;
    guint calls;

    fake_kernel_delay_moves(f->world->kernel, 5000);
    act_submit_move(f, 1, 2);
    act_wait_for_moves(f, 3);
    hn_actuator_job_began(f->actuator, WORLD_UUID, job);
    act_wait_for(f, 1);
    act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, reason, 1);
    calls = fake_kernel_calls(f->world->kernel, FAKE_MOVE);
    act_submit_home(f, 2, 2);
    act_wait_for(f, 3);
    act_assert_told(f, 1, HN_ACTION_PIN, reason, 2);
    act_assert_told(f, 2, HN_ACTION_MOVE_MEMORY, reason, 2);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, calls);
    hn_actuator_job_ended(f->actuator, WORLD_UUID);
    act_submit_home(f, 3, 2);
    act_wait_for(f, 5);
    act_assert_told(f, 4, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 3);
}

/* A job that nobody told of: found by asking, while memory moves. */
static void test_job_unseen(ActFixture *f, gconstpointer data)
{
    const HnJob job = (HnJob)GPOINTER_TO_INT(data);
    HnLimits slow = f->limits;

    slow.host_bytes_per_sec = ALL_MIB / 16; /* outlasts the patience of act_wait_for() */
    hn_actuator_set_limits(f->actuator, &slow);
    act_submit_move(f, 1, 2);
    act_wait_for_moves(f, 2);
    hn_fake_set_job(f->world->inner, WORLD_UUID, job);
    act_wait_for(f, 1);
    act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY,
                job == HN_JOB_MIGRATION ? HN_REASON_MIGRATING : HN_REASON_DOMAIN_BUSY, 1);
    /* It is remembered by nobody: after it, work goes on as if it had not been. */
    hn_fake_set_job(f->world->inner, WORLD_UUID, HN_JOB_NONE);
    hn_actuator_set_limits(f->actuator, &f->limits);
    act_submit_home(f, 2, 2);
    act_wait_for(f, 3);
    act_assert_told(f, 2, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 2);
}

/* ---- rates ---- */

static uint64_t timed_move(ActFixture *f, uint64_t generation)
{
    const gint64 start_us = g_get_monotonic_time();
    const guint before = f->told->len;

    fake_kernel_set_node(f->world->kernel, 0, WORLD_PAGES, 0);
    act_submit_move(f, generation, 2);
    act_wait_for(f, before + 1);
    act_assert_told(f, before, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, generation);
    return (uint64_t)(g_get_monotonic_time() - start_us) / 1000;
}

static void test_rates(ActFixture *f, gconstpointer data)
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
static void test_limits_at_run_time(ActFixture *f, gconstpointer data)
{
    f->limits.host_bytes_per_sec = MIB;
    hn_actuator_set_limits(f->actuator, &f->limits);
    act_submit_move(f, 1, 2);
    act_idle(100);
    g_assert_cmpuint(f->told->len, ==, 0);
    f->limits.host_bytes_per_sec = 0;
    hn_actuator_set_limits(f->actuator, &f->limits);
    act_wait_for(f, 1);
    act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1);
}

static void set_pressure(ActFixture *f, const char *avg10)
{
    g_autofree char *text = g_strdup_printf("some avg10=%s avg60=0.00 avg300=0.00 total=0\n", avg10);

    fake_kernel_write(f->world->kernel, "proc/pressure/memory", text);
}

static void test_pressure(ActFixture *f, gconstpointer data)
{
    HnProgress progress;

    set_pressure(f, "40.00");
    act_submit_move(f, 1, 2);
    act_idle(300);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 0);
    g_assert_true(hn_actuator_progress(f->actuator, WORLD_UUID, &progress));
    g_assert_cmpint(progress.reason, ==, HN_REASON_BACKED_OFF);
    g_assert_cmpuint(progress.speed_permille, ==, 0);
    set_pressure(f, "0.00");
    act_wait_for(f, 1);
    act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_DONE, 1);
}

static void test_pressure_for_long(ActFixture *f, gconstpointer data)
{
    f->limits.give_up_ns = SEC;
    hn_actuator_set_limits(f->actuator, &f->limits);
    set_pressure(f, "90.00");
    act_submit_move(f, 1, 2);
    act_wait_for(f, 1);
    act_assert_told(f, 0, HN_ACTION_MOVE_MEMORY, HN_REASON_BACKED_OFF, 1);
    g_assert_cmpuint(fake_kernel_calls(f->world->kernel, FAKE_MOVE), ==, 0);
}

/* vCPUs that wait for a CPU this share of the time, told for a while and until the move is paced as said: a busy
 * machine tells in jumps, so one look proves nothing. */
static void wait_for_cpu(ActFixture *f, guint permille, uint64_t *waited_ns, HnReason reason, guint speed_max_permille)
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
        act_idle(20);
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
static void test_run_delay(ActFixture *f, gconstpointer data)
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
    act_submit_move(f, 1, 2);
    wait_for_cpu(f, 500, &waited_ns, HN_REASON_IN_PROGRESS, 1000);
    wait_for_cpu(f, 1000, &waited_ns, HN_REASON_BACKED_OFF, 499);
}

/* ---- the admin's pins ---- */

static void test_tunables(ActFixture *f, gconstpointer data)
{
    const HnCpuset ours = world_set("2-3");

    act_submit_home(f, 1, 2);
    act_wait_for(f, 2);
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
    act_submit_home(f, 2, 4);
    act_wait_for(f, 4);
    act_assert_told(f, 2, HN_ACTION_PIN, HN_REASON_DONE, 2);
    act_assert_pins(f, "0:4-5 1:0-7 2:4-5 3:6 emulator:4-5 io1:4-5 nodeset:-");
    g_assert_true(hn_actuator_release_wait(f->actuator, NULL, 5 * SEC, NULL));
    act_assert_pins(f, "0:0-7 1:0-7 2:0-7 3:6 emulator:0-7 io1:0-7 nodeset:-");
}

/* ---- release ---- */

static void test_release(ActFixture *f, gconstpointer data)
{
    act_submit_home(f, 1, 2);
    act_wait_for(f, 2);
    hn_actuator_release(f->actuator, WORLD_UUID);
    act_assert_in_flight(f, true);
    act_wait_for(f, 3);
    act_assert_told(f, 2, HN_ACTION_UNFENCE, HN_REASON_RELEASED, 0);
    act_assert_pins(f, ALL_CPUS);
    g_assert_false(act_has_journal(f));
    g_assert_cmpuint(fake_kernel_count(f->world->kernel, 1), ==, WORLD_PAGES); /* memory stays */
}

static void test_release_mid_move(ActFixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    fake_kernel_delay_moves(f->world->kernel, 5000);
    act_submit_home(f, 1, 2);
    while (fake_kernel_calls(f->world->kernel, FAKE_MOVE) < 3)
        act_idle(1);
    hn_actuator_release_wait(f->actuator, NULL, 5 * SEC, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(f->told->len, ==, 3); /* told from inside */
    act_assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_RELEASED, 1);
    act_assert_told(f, 2, HN_ACTION_UNFENCE, HN_REASON_RELEASED, 0);
    act_assert_pins(f, ALL_CPUS);
    g_assert_false(act_has_journal(f));
}

static void test_release_fails(ActFixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    act_submit_home(f, 1, 2);
    act_wait_for(f, 2);
    hn_fake_set_connected(f->world->inner, false);
    g_assert_false(hn_actuator_release_wait(f->actuator, NULL, 5 * SEC, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_FAILED);
    g_assert_nonnull(strstr(error->message, "web: "));
    act_assert_told(f, 2, HN_ACTION_UNFENCE, HN_REASON_LIBVIRT_GONE, 0);
    g_assert_true(act_has_journal(f));
    hn_fake_set_connected(f->world->inner, true);
    g_assert_true(hn_actuator_release_wait(f->actuator, NULL, 5 * SEC, NULL));
    act_assert_pins(f, ALL_CPUS);
}

static void test_release_times_out(ActFixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    act_submit_home(f, 1, 2);
    act_wait_for(f, 2);
    hn_fake_delay(f->world->inner, HN_FAKE_PIN_VCPU, 100);
    g_assert_false(hn_actuator_release_wait(f->actuator, NULL, 50 * MS, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT);
    hn_fake_heal(f->world->inner);
    act_wait_for(f, 3); /* it ends all the same */
    act_assert_told(f, 2, HN_ACTION_UNFENCE, HN_REASON_RELEASED, 0);
    act_assert_pins(f, ALL_CPUS);
}

/* A domain that only the journal knows (adopted from an earlier run). */
static void test_release_adopted(ActFixture *f, gconstpointer data)
{
    act_submit_home(f, 1, 2);
    act_wait_for(f, 2);
    hn_actuator_free(f->actuator);
    world_reopen_journal(f->world);
    f->actuator = hn_actuator_new_full(f->world->backend, f->world->control.root, f->world->journal, &f->limits,
                                       act_on_outcome, f, f->world->control.sys);
    g_assert_true(hn_actuator_release_wait(f->actuator, NULL, 5 * SEC, NULL));
    act_assert_pins(f, ALL_CPUS);
}

/* Freed in the middle: what is set stays journalled, nothing leaks or hangs. */
static void test_free_mid_move(ActFixture *f, gconstpointer data)
{
    fake_kernel_delay_moves(f->world->kernel, 5000);
    act_submit_home(f, 1, 2);
    while (fake_kernel_calls(f->world->kernel, FAKE_MOVE) < 3)
        act_idle(1);
    hn_actuator_free(g_steal_pointer(&f->actuator));
    g_assert_true(act_has_journal(f));
    g_assert_cmpuint(fake_kernel_open_pidfds(f->world->kernel), ==, 0);
}

/* Whoever reads a captured machine can never act on the real one. */
static void test_captured_machine(ActFixture *f, gconstpointer data)
{
    hn_actuator_free(f->actuator);
    f->actuator = hn_actuator_new(f->world->backend, f->world->control.root, f->world->journal, &f->limits,
                                  act_on_outcome, f);
    act_submit_home(f, 1, 2);
    act_wait_for(f, 2);
    act_assert_told(f, 0, HN_ACTION_PIN, HN_REASON_ADVISE_ONLY, 1);
    act_assert_told(f, 1, HN_ACTION_MOVE_MEMORY, HN_REASON_ADVISE_ONLY, 1);
    g_assert_true(hn_actuator_release_wait(f->actuator, NULL, SEC, NULL));
    g_assert_cmpuint(hn_fake_calls(f->world->inner, HN_FAKE_GET), ==, 0);
    act_assert_pins(f, UNPINNED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

#define ADD(name, data, func) g_test_add("/apply/actuator/" name, ActFixture, data, act_setup, func, act_teardown)
    ADD("pause-host", NULL, test_pause);
    ADD("pause-domain", WORLD_UUID, test_pause);
    ADD("migration", GINT_TO_POINTER(HN_JOB_MIGRATION), test_job);
    ADD("dump", GINT_TO_POINTER(HN_JOB_OTHER), test_job);
    ADD("migration-unseen", GINT_TO_POINTER(HN_JOB_MIGRATION), test_job_unseen);
    ADD("dump-unseen", GINT_TO_POINTER(HN_JOB_OTHER), test_job_unseen);
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
