/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control-calls.h"

#include "apply/fence.h"
#include "apply/pin.h"
#include "apply/work.h"

#include <string.h>

#define MIB (1ull << 20)

HnEnd pin_to(World *world, HnNodemask nodes)
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

void assert_end(HnEnd end, HnReason reason, const char *tells)
{
    g_test_message("%s: %s", hn_reason_name(end.reason), end.sentence);
    g_assert_cmpstr(hn_reason_name(end.reason), ==, hn_reason_name(reason));
    g_assert_nonnull(end.sentence);
    if (tells)
        g_assert_nonnull(strstr(end.sentence, tells));
    g_free(end.sentence);
}

void assert_pins(World *world, const char *expected)
{
    g_autofree char *pins = world_pins(world);

    g_assert_cmpstr(pins, ==, expected);
}

void assert_pins_after_faults(World *world, const char *expected)
{
    hn_fake_heal(world->inner);
    assert_pins(world, expected);
}

void assert_journal(World *world, bool has_file)
{
    g_autofree char *path = g_build_filename(world->journal_dir, WORLD_UUID, NULL);

    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS) == has_file);
}

void plug_in_threads(World *world, bool is_bare_qemu)
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

void assert_plugged_in(World *world, const char *vcpus, const char *iothread)
{
    g_autofree char *pins = world_pins(world);
    g_autoptr(HnDomainInfo) info = NULL;
    g_autofree char *of_iothread = NULL;

    g_assert_nonnull(strstr(pins, vcpus));
    g_assert_true(world->inner->ops->get(world->inner, WORLD_UUID, &info, NULL));
    of_iothread = hn_cpuset_format(&g_array_index(info->iothreads, HnIothreadInfo, 1).pin);
    g_assert_cmpstr(of_iothread, ==, iothread);
}

HnEnd fence_to(World *world, const char *nodes, uint64_t inside_mib, uint64_t outside_mib)
{
    const HnFenceRequest request = {
        .identity = {.uuid = WORLD_UUID, .pid = WORLD_PID, .start_ticks = WORLD_START},
        .node_ids = world_set(nodes),
        .inside_bytes = inside_mib * MIB,
        .outside_bytes = outside_mib * MIB,
    };

    return hn_fence(&world->control, &request);
}
