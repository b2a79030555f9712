/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pins, fence and restore, called directly: what is set, what is the admin's, what comes back. What happens when a call
 * fails is in test-control-faults.c.
 */
#include "apply/fence.h"
#include "apply/restore.h"
#include "control-calls.h"

#include <string.h>

static void test_pin_and_restore(void)
{
    World *world = world_new();
    g_autofree char *vhost = NULL, *vhost_after = NULL;
    guint calls;

    assert_end(pin_to(world, 2), HN_REASON_DONE, "2-3");
    assert_pins(world, ON_NODE_1);
    vhost = fake_kernel_affinity(world->kernel, WORLD_VHOST);
    g_assert_cmpstr(vhost, ==, "2-3");
    assert_journal(world, true);
    /* Again: nothing to do. */
    calls = hn_fake_calls(world->inner, HN_FAKE_PIN_VCPU);
    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    g_assert_cmpuint(hn_fake_calls(world->inner, HN_FAKE_PIN_VCPU), ==, calls);
    assert_end(pin_to(world, 4), HN_REASON_DONE, "4-5");
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_pins(world, ALL_CPUS);
    vhost_after = fake_kernel_affinity(world->kernel, WORLD_VHOST);
    g_assert_cmpstr(vhost_after, ==, "0-7");
    assert_journal(world, false);
    world_free(world);
}

static void test_restore_originals(void)
{
    World *world = world_new();

    world_admin_pins(world, 1, "0-3");
    world_admin_pins(world, 2, "2-7");
    world->domain->vcpus[1].is_admin_pinned = world->domain->vcpus[2].is_admin_pinned = true;
    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    assert_pins(world, ON_NODE_1);
    world_reopen_journal(world); /* as after kill -9 */
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_pins(world, "0:0-7 1:0-3 2:2-7 3:0-7 emulator:0-7 io1:0-7 nodeset:-");
    world_free(world);
}

/* <vcpu cpuset='…'>: a bound for pins, and what "no pin" is restored to. */
static void test_default_cpuset(void)
{
    World *world = world_new();
    HnDomainInfo *info = NULL;

    g_assert_true(world->inner->ops->get(world->inner, WORLD_UUID, &info, NULL));
    info->has_default_cpuset = true;
    info->default_cpuset = world_set("0-2");
    hn_fake_put_domain(world->inner, info);
    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    assert_pins(world, "0:2 1:2 2:2 3:2 emulator:2 io1:2 nodeset:-");
    assert_end(pin_to(world, 8), HN_REASON_CONSTRAINT_EMPTY, "0-2");
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_pins(world, "0:0-2 1:0-2 2:0-2 3:0-2 emulator:0-2 io1:0-2 nodeset:-");
    world_free(world);
}

static void test_isolated_cpus(void)
{
    World *world = world_new();

    hn_cpuset_add(&world->snapshot->host->isolated, 3);
    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    assert_pins(world, "0:2 1:2 2:2 3:2 emulator:2 io1:2 nodeset:-");
    hn_cpuset_add(&world->snapshot->host->isolated, 2);
    assert_end(pin_to(world, 2), HN_REASON_CONSTRAINT_EMPTY, NULL);
    world_free(world);
}

/* The admin pins one vCPU while it is ours and no event reaches us. He wins, now and at the end. */
static void test_admin_overrides(void)
{
    World *world = world_new();

    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    world_admin_pins(world, 3, "6");
    assert_end(pin_to(world, 4), HN_REASON_PINNED_BY_ADMIN, "vCPU 3 is pinned to 6 by the admin");
    assert_pins(world, "0:2-3 1:2-3 2:2-3 3:6 emulator:2-3 io1:2-3 nodeset:-"); /* planned anew first */
    world->domain->vcpus[3].is_admin_pinned = true;
    assert_end(pin_to(world, 4), HN_REASON_DONE, "the admin's left alone");
    assert_pins(world, "0:4-5 1:4-5 2:4-5 3:6 emulator:4-5 io1:4-5 nodeset:-");
    world_reopen_journal(world);
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_pins(world, "0:0-7 1:0-7 2:0-7 3:6 emulator:0-7 io1:0-7 nodeset:-");
    world_free(world);
}

/* What he sets allows the wanted CPUs and more, or he unpins it: his, but no reason to leave the others where they
 * are. */
static void test_admin_widens(void)
{
    World *world = world_new();

    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    world_admin_pins(world, 3, "0-7");
    assert_end(pin_to(world, 4), HN_REASON_DONE, "the admin's left alone");
    assert_pins(world, "0:4-5 1:4-5 2:4-5 3:0-7 emulator:4-5 io1:4-5 nodeset:-");
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_pins(world, ALL_CPUS);
    world_free(world);
}

/* He does it between our last look and the release. */
static void test_admin_overrides_unseen(void)
{
    World *world = world_new();

    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    world_admin_pins(world, 0, "7");
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_pins(world, "0:7 1:0-7 2:0-7 3:0-7 emulator:0-7 io1:0-7 nodeset:-");
    world_free(world);
}

static void test_hotplugged_vcpu(void)
{
    World *world = world_new();
    HnDomainInfo *info = NULL;
    const HnVcpuInfo plugged = {.id = 4, .guest_cell = -1};
    g_autofree char *pins = NULL;

    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    g_assert_true(world->inner->ops->get(world->inner, WORLD_UUID, &info, NULL));
    g_array_append_val(info->vcpus, plugged);
    hn_fake_put_domain(world->inner, info);
    assert_end(pin_to(world, 2), HN_REASON_DONE, "1 pieces");
    pins = world_pins(world);
    g_assert_nonnull(strstr(pins, "4:2-3"));
    world_free(world);
}

/* Of a bare QEMU they are given back with the rest; libvirt pins what it plugs in, so there they are somebody's. */
static void test_inherited(void)
{
    for (guint is_bare_qemu = 0; is_bare_qemu < 2; is_bare_qemu++) {
        World *world = world_new();

        assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
        plug_in_threads(world, is_bare_qemu);
        world_reopen_journal(world);
        assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
        if (is_bare_qemu)
            assert_plugged_in(world, " 4:0-7 5:6 6:- emulator:0-7 io1:0-7", "0-7");
        else
            assert_plugged_in(world, " 4:2-3 5:6 6:- emulator:0-7 io1:0-7", "2-3");
        assert_journal(world, false);
        world_free(world);
    }
}

/* The admin took the emulator over, seen or not: what is like his pin is his. */
static void test_inherited_of_admins(void)
{
    const HnCpuset his = world_set("2-3");
    World *world = world_new();

    g_assert_true(world->inner->ops->pin_emulator(world->inner, WORLD_UUID, &his, NULL));
    for (guint i = 0; i < world->domain->n_workers; i++)
        world->domain->workers[i].is_admin_pinned = world->domain->workers[i].kind == HN_WORKER_EMULATOR;
    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    plug_in_threads(world, true);
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_plugged_in(world, " 4:2-3 5:6 6:- emulator:2-3", "2-3");
    world_free(world);
}

static void test_not_in_force(void)
{
    World *world = world_new();

    world->is_affinity_ignored = true;
    assert_end(pin_to(world, 2), HN_REASON_KERNEL_REFUSED, "affinity reads 0-7");
    world->is_affinity_ignored = false;
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_pins(world, "0:0-7 1:- 2:- 3:- emulator:- io1:- nodeset:-");
    world_free(world);
}

/* Another process under the same name: neither pinned nor restored, and its entry is not its own. */
static void test_restarted_domain(void)
{
    World *world = world_new();

    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    world_restart_domain(world);
    assert_end(pin_to(world, 2), HN_REASON_VANISHED, NULL);
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_VANISHED, "restarted");
    assert_pins(world, UNPINNED);
    assert_journal(world, false);
    world_free(world);
}

static void test_jobs(void)
{
    World *world = world_new();

    hn_fake_set_job(world->inner, WORLD_UUID, HN_JOB_MIGRATION);
    assert_end(pin_to(world, 2), HN_REASON_MIGRATING, NULL);
    hn_fake_set_job(world->inner, WORLD_UUID, HN_JOB_OTHER);
    assert_end(pin_to(world, 2), HN_REASON_DOMAIN_BUSY, NULL);
    assert_journal(world, false);
    assert_pins(world, UNPINNED);
    world_free(world);
}

/* ---- the fence ---- */

static void test_fence(void)
{
    World *world = world_new();
    const HnIdentity identity = {.uuid = WORLD_UUID, .pid = WORLD_PID, .start_ticks = WORLD_START};
    const HnCpuset fence = world_set("1");

    assert_end(fence_to(world, "1", 900, 100), HN_REASON_EVIDENCE_THIN, "100.0 of 1000.0 MiB");
    assert_pins(world, UNPINNED);
    assert_end(hn_unfence(&world->control, &identity), HN_REASON_DONE, "no fence");
    assert_end(fence_to(world, "1", 1000, 2), HN_REASON_DONE, "1");
    assert_pins(world, "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:1");
    g_assert_true(hn_journal_owns_nodeset(world->journal, WORLD_UUID, &fence));
    assert_end(fence_to(world, "1", 1000, 2), HN_REASON_DONE, "already");
    assert_end(hn_unfence(&world->control, &identity), HN_REASON_DONE, "0-3");
    assert_pins(world, "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:0-3");
    assert_end(fence_to(world, "2", 1000, 2), HN_REASON_DONE, NULL);
    world_reopen_journal(world);
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_pins(world, "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:0-3");
    assert_journal(world, false);
    world_free(world);
}

static void test_fence_and_admin(void)
{
    static const HnNumatuneMode others[] = {HN_NUMATUNE_STRICT, HN_NUMATUNE_PREFERRED, HN_NUMATUNE_INTERLEAVE};
    World *world = world_new();
    const HnCpuset his = world_set("0-1"), changed = world_set("0");

    /* His restrictive nodeset is a bound, and comes back. */
    g_assert_true(world->inner->ops->set_nodeset(world->inner, WORLD_UUID, &his, NULL));
    assert_end(fence_to(world, "2", 1000, 0), HN_REASON_NODESET_BY_ADMIN, NULL);
    assert_end(fence_to(world, "1", 1000, 0), HN_REASON_DONE, NULL);
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_pins(world, "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:0-1");
    /* He changes it while ours is up: his. */
    assert_end(fence_to(world, "1", 1000, 0), HN_REASON_DONE, NULL);
    g_assert_true(world->inner->ops->set_nodeset(world->inner, WORLD_UUID, &changed, NULL));
    assert_end(fence_to(world, "1", 1000, 0), HN_REASON_NODESET_BY_ADMIN, NULL);
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_pins(world, "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:0");
    world_free(world);

    for (guint i = 0; i < G_N_ELEMENTS(others); i++) {
        HnDomainInfo *info = NULL;

        world = world_new();
        g_assert_true(world->inner->ops->get(world->inner, WORLD_UUID, &info, NULL));
        info->numatune_mode = others[i];
        info->numatune_nodes = his;
        hn_fake_put_domain(world->inner, info);
        assert_end(fence_to(world, "1", 1000, 0), HN_REASON_UNSUPPORTED, "not restrictive");
        g_assert_cmpuint(hn_fake_calls(world->inner, HN_FAKE_SET_NODESET), ==, 0);
        world_free(world);
    }
}

/* ---- and besides ---- */

/* A thread that only looks like a vhost thread by its number is left alone. */
static void test_not_a_vhost(void)
{
    World *world = world_new();
    g_autofree char *affinity = NULL;

    fake_kernel_write(world->kernel, "proc/4900/comm", "sshd\n");
    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    affinity = fake_kernel_affinity(world->kernel, WORLD_VHOST);
    g_assert_cmpstr(affinity, ==, "0-7");
    world_free(world);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/apply/pin/and-restore", test_pin_and_restore);
    g_test_add_func("/apply/pin/restore-originals", test_restore_originals);
    g_test_add_func("/apply/pin/default-cpuset", test_default_cpuset);
    g_test_add_func("/apply/pin/isolated-cpus", test_isolated_cpus);
    g_test_add_func("/apply/pin/admin-overrides", test_admin_overrides);
    g_test_add_func("/apply/pin/admin-widens", test_admin_widens);
    g_test_add_func("/apply/pin/admin-overrides-unseen", test_admin_overrides_unseen);
    g_test_add_func("/apply/pin/hotplugged-vcpu", test_hotplugged_vcpu);
    g_test_add_func("/apply/pin/inherited", test_inherited);
    g_test_add_func("/apply/pin/inherited-of-admins", test_inherited_of_admins);
    g_test_add_func("/apply/pin/not-in-force", test_not_in_force);
    g_test_add_func("/apply/pin/restarted-domain", test_restarted_domain);
    g_test_add_func("/apply/pin/jobs", test_jobs);
    g_test_add_func("/apply/pin/not-a-vhost", test_not_a_vhost);
    g_test_add_func("/apply/fence/up-and-down", test_fence);
    g_test_add_func("/apply/fence/admin", test_fence_and_admin);
    return g_test_run();
}
