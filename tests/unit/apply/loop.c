/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole loop on made-up time; see loop.h.
 */
#include "loop.h"

#include "backend/backend-fake.h"

static void on_outcome(const HnOutcome *outcome, const char *sentence, void *user_data)
{
    Loop *loop = user_data;

    g_test_message("%.4s %s to node %d: %s: %s", outcome->uuid + 32, hn_action_kind_name(outcome->kind),
                   outcome->to_node, hn_reason_name(outcome->reason), sentence);
    g_array_append_vals(loop->outcomes, outcome, 1);
    loop->n_of[outcome->reason]++;
}

Loop *loop_new(uint64_t free_bytes)
{
    static const VirtualCosts costs = {.fixed_ns = 50000, .ns_per_mib = 310000};
    Loop *loop = g_new0(Loop, 1);

    loop->world = world_new(world_host(2, 4, 1, 4096 * LOOP_MIB));
    loop->host = virtual_host_new(free_bytes, &costs, true);
    loop->backend = hn_backend_fake_new();
    hn_fake_set_connected(loop->backend, true);
    loop->outcomes = g_array_new(FALSE, FALSE, sizeof(HnOutcome));
    loop->past = hn_past_new();
    hn_policy_init(&loop->policy);
    hn_limits_init(&loop->limits);
    loop->limits.is_backoff_enabled = false;
    return loop;
}

void loop_free(Loop *loop)
{
    hn_actuator_free(loop->actuator);
    hn_journal_free(loop->journal);
    loop->backend->ops->free(loop->backend);
    virtual_host_free(loop->host);
    world_free(loop->world);
    hn_past_free(loop->past);
    g_array_unref(loop->outcomes);
    g_free(loop);
}

HnDomain *loop_add_guest(Loop *loop, uint32_t n_vcpus, uint64_t bytes, uint64_t load_mcpu, int node)
{
    HnDomain *domain = world_add(loop->world, n_vcpus, bytes, load_mcpu, node);
    HnRegion *region = hn_domain_add_region(domain, 2);

    domain->start_ticks = (uint64_t)domain->pid; /* as virtual-host.c has it */
    region->hva_start = VIRTUAL_BASE;
    region->length_bytes = bytes;
    region->page_bytes = 4096;
    region->guest_cell = -1;
    virtual_host_add_free(loop->host, node, bytes);
    virtual_host_add_process(loop->host, domain->pid, bytes, node, false);
    hn_fake_add_domain(loop->backend, domain->uuid, domain->name, n_vcpus, bytes);
    return domain;
}

void loop_begin(Loop *loop)
{
    g_autofree char *dir = g_build_filename(virtual_host_dir(loop->host), "journal", NULL);

    loop->journal = hn_journal_new(dir, "boot-1", NULL);
    loop->actuator = hn_actuator_new_full(loop->backend, virtual_host_root(loop->host), loop->journal, &loop->limits,
                                          on_outcome, loop, virtual_host_syscalls(loop->host));
}

static void observe_guest(Loop *loop, HnDomain *domain)
{
    g_autoptr(HnDomainInfo) info = NULL;

    g_assert_true(loop->backend->ops->get(loop->backend, domain->uuid, &info, NULL));
    for (guint i = 0; i < info->vcpus->len; i++) {
        const HnVcpuInfo *vcpu = &g_array_index(info->vcpus, HnVcpuInfo, i);

        if (vcpu->has_pin)
            domain->vcpus[i].affinity = vcpu->pin;
    }
    for (uint32_t n = 0; n < 2; n++) {
        domain->resident_bytes[n] = virtual_host_bytes_on(loop->host, domain->pid, (int)n);
        domain->regions[0].resident_bytes[n] = domain->resident_bytes[n];
    }
}

void loop_observe(Loop *loop)
{
    uint64_t seed = 1;

    world_step(loop->world, 2 * LOOP_SEC, 0, &seed);
    for (uint32_t n = 0; n < 2; n++)
        loop->world->snapshot->host->nodes[n].mem_free_bytes = virtual_host_free_bytes(loop->host, (int)n);
    for (guint d = 0; d < loop->world->snapshot->domains->len; d++)
        observe_guest(loop, loop->world->snapshot->domains->pdata[d]);
}

HnPlan *loop_decide(Loop *loop, const HnDomain *ordered, int32_t to_node)
{
    HnForce force = {.node = to_node};
    g_autoptr(GError) error = NULL;
    HnPlan *plan;

    if (ordered)
        g_strlcpy(force.uuid, ordered->uuid, sizeof(force.uuid));
    loop_observe(loop);
    plan = hn_decide(loop->world->snapshot, &loop->policy, loop->past, &force, ordered != NULL,
                     (const HnOutcome *)loop->outcomes->data, loop->outcomes->len, NULL, &error);
    g_assert_no_error(error);
    g_array_set_size(loop->outcomes, 0);
    return plan;
}

void loop_carry_out(Loop *loop, const HnPlan *plan)
{
    hn_actuator_submit(loop->actuator, plan, loop->world->snapshot);
    while (loop->outcomes->len < plan->actions->len)
        g_main_context_iteration(NULL, TRUE);
}

HnReason loop_round(Loop *loop, const HnDomain *domain)
{
    g_autoptr(HnPlan) plan = loop_decide(loop, NULL, HN_NODE_NONE);
    const HnVerdict *verdict = hn_plan_find(plan, domain->uuid);

    if (plan->actions->len > 0)
        g_test_message("%s: %s", hn_reason_name(verdict->reason), verdict->sentence);
    loop_carry_out(loop, plan);
    return verdict->reason;
}
