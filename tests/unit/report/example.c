/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The example machine: see example.h.
 */
#include "example.h"

#define GIB (UINT64_C(1) << 30)

static HnHost *example_host(void)
{
    HnHost *host = hn_host_new(2);
    host->page_bytes = 4096;
    hn_cpuset_add(&host->isolated, 9);
    host->distance[1] = 21;
    host->distance[2] = 22;
    for (uint32_t i = 0; i < 2; i++) {
        HnNode *node = &host->nodes[i];
        node->id = i == 0 ? 0 : 4; /* sparse */
        hn_cpuset_add(&node->cpus, 2 * i);
        hn_cpuset_add(&node->cpus, 2 * i + 1);
        node->n_cpus = 2;
        node->n_cores = 1;
        node->mem_total_bytes = (8 + i) * GIB;
        node->mem_free_bytes = (4 + i) * GIB;
        node->mem_reclaimable_bytes = 1001 + i;
        node->mem_watermark_bytes = 1003 + i;
        node->bandwidth_bytes_per_sec = 1005 + i;
        node->other_load_mcpu = 1007 + i;
        node->n_huge_pools = 1;
        node->huge_pools[0] = (HnHugePool){2 << 20, 100 + i, 50 + i};
    }
    return host;
}

static void add_vcpu(HnDomain *domain)
{
    HnVcpu *vcpu = hn_domain_add_vcpu(domain, 2);
    vcpu->id = domain->n_vcpus - 1;
    vcpu->tid = 501 + (int32_t)vcpu->id;
    vcpu->start_ticks = 502;
    vcpu->guest_cell = 0;
    vcpu->exec_ns = 503;
    vcpu->run_delay_ns = 504;
    vcpu->last_cpu = 3;
    hn_cpuset_add(&vcpu->affinity, 1);
    vcpu->is_admin_pinned = true;
    hn_cpuset_add(&vcpu->admin_cpus, 2);
    vcpu->faults.is_valid = true;
    vcpu->faults.scan_seq = 505;
    vcpu->faults.preferred_node = 1;
    vcpu->faults.private_pages[0] = 506;
    vcpu->faults.private_pages[1] = 507;
    vcpu->faults.shared_pages[0] = 508;
    vcpu->faults.shared_pages[1] = 509;
    vcpu->touches[0] = 510;
    vcpu->touches[1] = 511;
}

static void add_worker(HnDomain *domain)
{
    HnWorker *worker = hn_domain_add_worker(domain);
    worker->kind = HN_WORKER_IOTHREAD;
    worker->id = 3;
    worker->tid = 601;
    worker->exec_ns = 602;
    worker->run_delay_ns = 603;
    worker->last_cpu = 2;
    hn_cpuset_add(&worker->affinity, 0);
    worker->is_admin_pinned = true;
    hn_cpuset_add(&worker->admin_cpus, 3);
}

static void add_region(HnDomain *domain)
{
    HnRegion *region = hn_domain_add_region(domain, 2);
    region->hva_start = UINT64_C(0x7f0000000000);
    region->length_bytes = GIB;
    region->gpa_base = 701;
    region->gpa_hole_start = 702;
    region->gpa_hole_end = 703;
    region->guest_cell = 0;
    region->page_bytes = 2 << 20;
    region->is_thp = true;
    region->backing = HN_BACKING_MEMFD;
    region->movability = HN_MOVABLE_SHARED;
    region->is_ambiguous = true;
    region->resident_bytes[0] = 704;
    region->resident_bytes[1] = 705;
    region->chunk_bytes = 64 << 20;
    region->n_chunks = 4;
    region->chunks = g_new0(HnChunk, 4);
    /* Two equal ones in the middle: a run. */
    for (uint32_t i = 0; i < 4; i++)
        region->chunks[i] = (HnChunk){.node = i == 0 ? HN_NODE_NONE : 1,
                                      .n_probes = 8,
                                      .n_probes_on_node = i == 3 ? 5 : 7,
                                      .heat = 706,
                                      .touch_clients = UINT64_C(1) << 63 | 1};
}

static HnDomain *example_domain(void)
{
    HnDomain *domain = hn_domain_new(2);
    g_strlcpy(domain->uuid, EXAMPLE_UUID_A, sizeof domain->uuid);
    domain->name = g_strdup("web \"1\"");
    domain->is_bare_qemu = true;
    domain->is_kvm = true;
    domain->pid = 801;
    domain->start_ticks = 802;
    domain->started_ns = 803;
    domain->wish = (HnWish){HN_MODE_AUTO,
                            HN_MEMORY_KEEP,
                            true,
                            2,
                            g_strdup("front"),
                            g_strdup("web"),
                            512,
                            300,
                            g_strdup("mode='sometimes'")};
    domain->state = HN_STATE_PAUSED;
    domain->job = HN_JOB_MIGRATION;
    domain->configured_bytes = 2 * GIB;
    domain->current_bytes = GIB;
    add_vcpu(domain);
    add_vcpu(domain);
    add_worker(domain);
    HnGuestCell *cell = hn_domain_add_cell(domain);
    cell->id = 0;
    cell->memory_bytes = GIB;
    hn_cpuset_add(&cell->vcpus, 0);
    add_region(domain);
    domain->resident_source = HN_SOURCE_PROBE;
    domain->resident_age_ns = 804;
    domain->resident_error_permille = 31;
    domain->resident_bytes[0] = 300 << 20;
    domain->resident_bytes[1] = 700 << 20;
    domain->immovable_bytes[0] = 807;
    domain->immovable_bytes[1] = 808;
    domain->is_numatune_admin = true;
    domain->admin_nodeset = 2;
    domain->is_fenced = true;
    domain->device_nodes = 1;
    domain->dirty_bytes_per_sec = 809;
    domain->dirty_age_ns = 810;
    domain->touches =
        (HnTouchSummary){true, g_strdup("no-ring-memory"), 2, 3, 820, 821, 822, 823, 824};
    domain->heat = (HnHeatSummary){true, true, g_strdup("damon-in-use"), 4, 825, 826};
    domain->memory_bound_permille = 333;
    domain->bandwidth_bytes_per_sec = 811;
    domain->unobservable = g_strdup("smaps: Permission denied");
    return domain;
}

HnSnapshot *example_snapshot(void)
{
    HnSnapshot *snapshot = hn_snapshot_new();
    snapshot->taken_ns = UINT64_C(123456789012345);
    snapshot->host = example_host();
    g_ptr_array_add(snapshot->domains, example_domain());
    HnDomain *plain = hn_domain_new(2); /* everything at its default */
    g_strlcpy(plain->uuid, EXAMPLE_UUID_B, sizeof plain->uuid);
    plain->name = g_strdup("idle");
    plain->dirty_age_ns = UINT64_MAX;
    g_ptr_array_add(snapshot->domains, plain);
    return snapshot;
}

static HnVerdict *example_verdict(const char *uuid, const char *name)
{
    HnVerdict *verdict = g_new0(HnVerdict, 1);
    g_strlcpy(verdict->uuid, uuid, sizeof verdict->uuid);
    verdict->name = g_strdup(name);
    verdict->sentence = g_strdup("A sentence with 42 numbers.");
    verdict->n_clients = 1;
    verdict->clients = g_new0(HnClientVerdict, 1);
    verdict->clients[0].guest_cell = -1;
    verdict->clients[0].home_now = HN_NODE_NONE;
    verdict->clients[0].home_wanted = HN_NODE_NONE;
    return verdict;
}

HnPlan *example_plan(void)
{
    HnPlan *plan = hn_plan_new();
    plan->generation = 77;
    plan->made_ns = UINT64_C(123456789012345);
    plan->score_now = 40;
    plan->score_after = 95;
    plan->is_overfull = true;
    plan->summary = g_strdup("One domain moves.");
    g_ptr_array_add(plan->departures, g_strdup(EXAMPLE_UUID_A));
    HnVerdict *moving = example_verdict(EXAMPLE_UUID_A, "web \"1\"");
    moving->is_managed = true;
    moving->will_act = true;
    moving->reason = HN_REASON_LOCALITY_GAIN;
    moving->clients[0].home_now = 0;
    moving->clients[0].home_wanted = 1;
    moving->clients[0].demand_mcpu = 1900;
    moving->score_now = 30;
    moving->score_after = 98;
    moving->bytes_to_move = 300 << 20;
    moving->payback_ms = UINT64_MAX;
    moving->bytes_local_permille = 300;
    moving->has_accesses_local = true;
    moving->accesses_local_permille = 255;
    moving->bytes_local_age_ns = UINT64_C(5000000000);
    moving->bytes_local_error_permille = 12;
    moving->accesses_local_age_ns = UINT64_C(60000000000);
    moving->accesses_local_error_permille = 34;
    moving->doubt = (HnDoubtAnswer){.state = HN_DOUBT_SAMPLING, .cause = HN_DOUBT_BY_LOAD};
    g_ptr_array_add(plan->verdicts, moving);
    HnVerdict *still = example_verdict(EXAMPLE_UUID_B, "idle");
    still->reason = HN_REASON_NOT_OPTED_IN;
    still->bytes_local_permille = 1000;
    g_ptr_array_add(plan->verdicts, still);
    HnAction action = {.kind = HN_ACTION_MOVE_MEMORY,
                       .step = 1,
                       .from_nodes = 1,
                       .to_nodes = 2,
                       .bytes = 300 << 20,
                       .reason = HN_REASON_LOCALITY_GAIN};
    g_strlcpy(action.uuid, EXAMPLE_UUID_A, sizeof action.uuid);
    g_array_append_val(plan->actions, action);
    return plan;
}
