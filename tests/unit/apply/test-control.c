/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pins, fence and restore, called directly: what is set, what is the admin's, what comes back, and what happens
 * when any call fails.
 */
#include "apply/fence.h"
#include "apply/pin.h"
#include "apply/restore.h"
#include "apply/work.h"
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UNPINNED "0:- 1:- 2:- 3:- emulator:- io1:- nodeset:-"
#define ON_NODE_1 "0:2-3 1:2-3 2:2-3 3:2-3 emulator:2-3 io1:2-3 nodeset:-"
#define ALL_CPUS "0:0-7 1:0-7 2:0-7 3:0-7 emulator:0-7 io1:0-7 nodeset:-"
#define MIB (1ull << 20)

/* Through work.c, as the actuator makes it. */
static HnEnd pin_to(World *world, HnNodemask nodes)
{
    g_autoptr(HnPlan) plan = world_plan(world, 1);
    HnWork *work;
    HnEnd end;

    world_add_action(plan, HN_ACTION_PIN, 0, nodes, 0);
    work = hn_work_new(&g_array_index(plan->actions, HnAction, 0), 1, world->snapshot->host, world->domain,
                       plan->verdicts->pdata[0], NULL);
    end = work->reason == HN_REASON_IN_PROGRESS ? hn_pin(&world->control, &work->pin)
                                                : hn_end(work->reason, "%s", work->sentence);
    hn_work_free(work, fake_kernel_syscalls(world->kernel));
    return end;
}

static void assert_end(HnEnd end, HnReason reason, const char *tells)
{
    g_test_message("%s: %s", hn_reason_name(end.reason), end.sentence);
    g_assert_cmpstr(hn_reason_name(end.reason), ==, hn_reason_name(reason));
    g_assert_nonnull(end.sentence);
    if (tells)
        g_assert_nonnull(strstr(end.sentence, tells));
    g_free(end.sentence);
}

static void assert_pins(World *world, const char *expected)
{
    g_autofree char *pins = world_pins(world);

    g_assert_cmpstr(pins, ==, expected);
}

static void assert_pins_after_faults(World *world, const char *expected)
{
    hn_fake_heal(world->inner);
    assert_pins(world, expected);
}

static void assert_journal(World *world, bool has_file)
{
    g_autofree char *path = g_build_filename(world->journal_dir, WORLD_UUID, NULL);

    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS) == has_file);
}

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

/* Threads that began while their creator had our pin, and one that the admin pinned since. None is in the journal. */
static void plug_in_threads(World *world, bool is_bare_qemu)
{
    const HnVcpuInfo vcpus[] = {{.id = 4, .guest_cell = -1, .has_pin = true, .pin = world_set("2-3")},
                                {.id = 5, .guest_cell = -1, .has_pin = true, .pin = world_set("6")},
                                {.id = 6, .guest_cell = -1}};
    const HnIothreadInfo iothread = {.id = 2, .has_pin = true, .pin = world_set("2-3")};
    HnDomainInfo *info = NULL;

    g_assert_true(world->inner->ops->get(world->inner, WORLD_UUID, &info, NULL));
    info->is_bare_qemu = is_bare_qemu;
    g_array_append_vals(info->vcpus, vcpus, G_N_ELEMENTS(vcpus));
    g_array_append_val(info->iothreads, iothread);
    hn_fake_put_domain(world->inner, info);
}

static void assert_plugged_in(World *world, const char *vcpus, const char *iothread)
{
    g_autofree char *pins = world_pins(world);
    g_autoptr(HnDomainInfo) info = NULL;
    g_autofree char *of_iothread = NULL;

    g_assert_nonnull(strstr(pins, vcpus));
    g_assert_true(world->inner->ops->get(world->inner, WORLD_UUID, &info, NULL));
    of_iothread = hn_cpuset_format(&g_array_index(info->iothreads, HnIothreadInfo, 1).pin);
    g_assert_cmpstr(of_iothread, ==, iothread);
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

static HnEnd fence_to(World *world, const char *nodes, uint64_t inside_mib, uint64_t outside_mib)
{
    const HnFenceRequest request = {
        .identity = {.uuid = WORLD_UUID, .pid = WORLD_PID, .start_ticks = WORLD_START},
        .node_ids = world_set(nodes),
        .inside_bytes = inside_mib * MIB,
        .outside_bytes = outside_mib * MIB,
    };

    return hn_fence(&world->control, &request);
}

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

/* ---- every call fails with every error ---- */

static const struct {
    HnBackendError code;
    HnReason reason;
} backend_errors[] = {
    {HN_BACKEND_ERROR_GONE, HN_REASON_VANISHED},
    {HN_BACKEND_ERROR_BUSY, HN_REASON_LIBVIRT_BUSY},
    {HN_BACKEND_ERROR_DISCONNECTED, HN_REASON_LIBVIRT_GONE},
    {HN_BACKEND_ERROR_DENIED, HN_REASON_PERMISSION_DENIED},
    {HN_BACKEND_ERROR_UNSUPPORTED, HN_REASON_UNSUPPORTED},
    {HN_BACKEND_ERROR_FAILED, HN_REASON_LIBVIRT_FAILED},
};

/* Whatever fails while pinning: what was set is journalled, and a release brings back exactly what was. */
static void test_failing_pins(void)
{
    static const HnFakeOp ops[] = {HN_FAKE_GET, HN_FAKE_PIN_VCPU, HN_FAKE_PIN_EMULATOR, HN_FAKE_PIN_IOTHREAD};

    for (guint op = 0; op < G_N_ELEMENTS(ops); op++) {
        for (guint i = 0; i < G_N_ELEMENTS(backend_errors); i++) {
            World *world = world_new();

            world_admin_pins(world, 1, "0-3");
            world->domain->vcpus[1].is_admin_pinned = true;
            hn_fake_fail(world->inner, ops[op], NULL, backend_errors[i].code, "told to", UINT32_MAX);
            assert_end(pin_to(world, 2), backend_errors[i].reason, "told to");
            assert_journal(world, ops[op] != HN_FAKE_GET);
            hn_fake_heal(world->inner);
            world_reopen_journal(world);
            assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
            {
                /* Pieces that were never set have no pin still, those that were have all CPUs, the admin's his. */
                g_autofree char *pins = world_pins(world);
                g_autoptr(GString) all = g_string_new(pins);

                g_string_replace(all, ":-", ":0-7", 0);
                g_assert_cmpstr(all->str, ==, "0:0-7 1:0-3 2:0-7 3:0-7 emulator:0-7 io1:0-7 nodeset:0-7");
            }
            assert_journal(world, false);
            world_free(world);
        }
    }
}

/* Whatever fails while restoring: the entry keeps what is missing, the rest is done, and a second try ends it. */
static void test_failing_restores(void)
{
    static const HnFakeOp ops[] = {HN_FAKE_GET, HN_FAKE_PIN_VCPU, HN_FAKE_PIN_EMULATOR, HN_FAKE_PIN_IOTHREAD,
                                   HN_FAKE_SET_NODESET};

    for (guint op = 0; op < G_N_ELEMENTS(ops); op++) {
        for (guint i = 0; i < G_N_ELEMENTS(backend_errors); i++) {
            World *world = world_new();
            const bool is_gone = backend_errors[i].code == HN_BACKEND_ERROR_GONE;

            assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
            assert_end(fence_to(world, "1", 1000, 0), HN_REASON_DONE, NULL);
            hn_fake_fail(world->inner, ops[op], NULL, backend_errors[i].code, "told to", 1);
            assert_end(hn_restore(&world->control, WORLD_UUID), backend_errors[i].reason, NULL);
            /* Told "gone": believed, and forgotten. */
            assert_journal(world, !is_gone);
            if (!is_gone) {
                world_reopen_journal(world);
                assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
                assert_pins(world, "0:0-7 1:0-7 2:0-7 3:0-7 emulator:0-7 io1:0-7 nodeset:0-3");
                assert_journal(world, false);
            }
            world_free(world);
        }
    }
}

/* The threads that inherited their pin fail at first: all else is done, and a second try, also of another run, ends
 * it. */
static void test_failing_inherited(void)
{
    static const HnFakeOp ops[] = {HN_FAKE_PIN_VCPU, HN_FAKE_PIN_IOTHREAD};

    for (guint op = 0; op < G_N_ELEMENTS(ops); op++) {
        for (guint i = 0; i < G_N_ELEMENTS(backend_errors); i++) {
            World *world = world_new();
            const bool is_gone = backend_errors[i].code == HN_BACKEND_ERROR_GONE;

            assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
            plug_in_threads(world, true);
            hn_fake_fail(world->inner, ops[op], NULL, backend_errors[i].code, "told to", 1);
            assert_end(hn_restore(&world->control, WORLD_UUID), backend_errors[i].reason, NULL);
            assert_journal(world, !is_gone);
            if (!is_gone) {
                assert_plugged_in(world, "0:0-7 1:0-7 2:0-7 3:0-7 ", "2-3");
                assert_plugged_in(world, " emulator:0-7 io1:0-7", "2-3");
                world_reopen_journal(world);
                assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
                assert_plugged_in(world, " 4:0-7 5:6 6:- emulator:0-7", "0-7");
                assert_journal(world, false);
            }
            world_free(world);
        }
    }
}

/* Two homes in a row are written down, and libvirt is gone before the first pin of each: what is in force is of the
 * home before both, and ours all the same. */
static void test_never_came_into_force(void)
{
    World *world = world_new();

    assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
    assert_end(fence_to(world, "1", 1000, 0), HN_REASON_DONE, NULL);
    hn_fake_fail(world->inner, HN_FAKE_PIN_VCPU, NULL, HN_BACKEND_ERROR_DISCONNECTED, "told to", 2);
    hn_fake_fail(world->inner, HN_FAKE_SET_NODESET, NULL, HN_BACKEND_ERROR_DISCONNECTED, "told to", 2);
    for (HnNodemask home = 4; home <= 8; home *= 2) {
        assert_end(pin_to(world, home), HN_REASON_LIBVIRT_GONE, "told to");
        assert_end(fence_to(world, home == 4 ? "2" : "3", 1000, 0), HN_REASON_LIBVIRT_GONE, "told to");
    }
    assert_pins(world, "0:2-3 1:2-3 2:2-3 3:2-3 emulator:2-3 io1:2-3 nodeset:1");
    world_reopen_journal(world);
    assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
    assert_pins(world, "0:0-7 1:0-7 2:0-7 3:0-7 emulator:0-7 io1:0-7 nodeset:0-3");
    world_free(world);
}

static void test_failing_fences(void)
{
    static const HnFakeOp ops[] = {HN_FAKE_GET, HN_FAKE_SET_NODESET};

    for (guint op = 0; op < G_N_ELEMENTS(ops); op++) {
        for (guint i = 0; i < G_N_ELEMENTS(backend_errors); i++) {
            World *world = world_new();

            hn_fake_fail(world->inner, ops[op], NULL, backend_errors[i].code, "told to", 1);
            assert_end(fence_to(world, "1", 1000, 0), backend_errors[i].reason, "told to");
            assert_pins_after_faults(world, UNPINNED);
            assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
            assert_pins(world, UNPINNED);
            assert_journal(world, false);
            world_free(world);
        }
    }
}

static void test_failing_affinity(void)
{
    static const struct {
        int err;
        HnReason reason;
        const char *tells;
    } cases[] = {
        {EPERM, HN_REASON_PERMISSION_DENIED, "CAP_SYS_NICE"},
        {EINVAL, HN_REASON_KERNEL_REFUSED, "vhost thread 4900"},
        {EFAULT, HN_REASON_KERNEL_REFUSED, "vhost thread 4900"},
        {ESRCH, HN_REASON_DONE, NULL}, /* it ended: nothing to pin */
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        World *world = world_new();
        g_autofree char *vhost = NULL;

        fake_kernel_fail(world->kernel, FAKE_SETAFFINITY, 0, 1, cases[i].err);
        assert_end(pin_to(world, 2), cases[i].reason, cases[i].tells);
        assert_end(hn_restore(&world->control, WORLD_UUID), HN_REASON_RELEASED, NULL);
        vhost = fake_kernel_affinity(world->kernel, WORLD_VHOST);
        g_assert_cmpstr(vhost, ==, "0-7");
        world_free(world);
    }
    /* Reading back fails: the threads count as ended, the pins stand. */
    {
        World *world = world_new();

        fake_kernel_fail(world->kernel, FAKE_GETAFFINITY, 0, G_MAXUINT, ESRCH);
        assert_end(pin_to(world, 2), HN_REASON_DONE, NULL);
        assert_pins(world, ON_NODE_1);
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

/* No journal, no change. */
static void test_unwritable_journal(void)
{
    World *world = world_new();
    g_autofree char *away = g_strconcat(world->journal_dir, ".away", NULL);

    g_assert_cmpint(rename(world->journal_dir, away), ==, 0);
    assert_end(pin_to(world, 2), HN_REASON_KERNEL_REFUSED, "nothing was changed");
    assert_end(fence_to(world, "1", 1000, 0), HN_REASON_KERNEL_REFUSED, "nothing was changed");
    assert_pins(world, UNPINNED);
    g_assert_cmpint(rename(away, world->journal_dir), ==, 0);
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
    g_test_add_func("/apply/faults/pins", test_failing_pins);
    g_test_add_func("/apply/faults/restores", test_failing_restores);
    g_test_add_func("/apply/faults/inherited", test_failing_inherited);
    g_test_add_func("/apply/faults/never-came-into-force", test_never_came_into_force);
    g_test_add_func("/apply/faults/fences", test_failing_fences);
    g_test_add_func("/apply/faults/affinity", test_failing_affinity);
    g_test_add_func("/apply/faults/unwritable-journal", test_unwritable_journal);
    return g_test_run();
}
