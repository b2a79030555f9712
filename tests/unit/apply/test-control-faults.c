/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every call that pins, fence and restore make fails with every error it documents: what then is in force, in the
 * journal, and told.
 */
#include "apply/restore.h"
#include "control-calls.h"

#include <errno.h>
#include <stdio.h>

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
    g_test_add_func("/apply/faults/pins", test_failing_pins);
    g_test_add_func("/apply/faults/restores", test_failing_restores);
    g_test_add_func("/apply/faults/inherited", test_failing_inherited);
    g_test_add_func("/apply/faults/never-came-into-force", test_never_came_into_force);
    g_test_add_func("/apply/faults/fences", test_failing_fences);
    g_test_add_func("/apply/faults/affinity", test_failing_affinity);
    g_test_add_func("/apply/faults/unwritable-journal", test_unwritable_journal);
    return g_test_run();
}
