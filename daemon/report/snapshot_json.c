/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing half of the snapshot's JSON: see snapshot_json.h. The reading half is snapshot_read.c; a
 * member added here must be added there (tests/unit/report/test-snapshot-json.c compares both
 * ways).
 */
#include "snapshot_json.h"
#include "snapshot_names.h"
#include "fields.h"

const char *const hn_state_names[] = {"running", "paused", "shutdown"};
const char *const hn_job_names[] = {"none", "migration", "other"};
const char *const hn_mode_names[] = {"none", "off", "advise", "auto"};
const char *const hn_memory_names[] = {"follow", "keep"};
const char *const hn_worker_names[] = {"emulator", "iothread", "vhost"};
const char *const hn_backing_names[] = {"anon", "memfd", "hugetlb", "file"};
const char *const hn_movability_names[] = {"movable", "movable-shared", "immovable-vfio",
                                           "immovable-private", "immovable-hugetlb"};
const char *const hn_source_names[] = {"none", "cgroup", "probe", "numa-maps"};

const char *hn_domain_state_name(HnDomainState state)
{
    return (guint)state < G_N_ELEMENTS(hn_state_names) ? hn_state_names[state] : "?";
}

const char *hn_job_name(HnJob job)
{
    return (guint)job < G_N_ELEMENTS(hn_job_names) ? hn_job_names[job] : "?";
}

static json_object *node_to_json(const HnNode *node)
{
    json_object *object = json_object_new_object();
    hn_put_i64(object, "id", node->id);
    hn_put_cpuset(object, "cpus", &node->cpus);
    hn_put_u64(object, "n-cpus", node->n_cpus);
    hn_put_u64(object, "n-cores", node->n_cores);
    hn_put_u64(object, "mem-total-bytes", node->mem_total_bytes);
    hn_put_u64(object, "mem-free-bytes", node->mem_free_bytes);
    hn_put_u64(object, "mem-reclaimable-bytes", node->mem_reclaimable_bytes);
    hn_put_u64(object, "mem-watermark-bytes", node->mem_watermark_bytes);
    hn_put_u64(object, "bandwidth-bytes-per-sec", node->bandwidth_bytes_per_sec);
    hn_put_u64(object, "other-load-mcpu", node->other_load_mcpu);
    json_object *pools = json_object_new_array();
    for (uint32_t i = 0; i < node->n_huge_pools; i++) {
        json_object *pool = json_object_new_object();
        hn_put_u64(pool, "page-bytes", node->huge_pools[i].page_bytes);
        hn_put_u64(pool, "total-pages", node->huge_pools[i].total_pages);
        hn_put_u64(pool, "free-pages", node->huge_pools[i].free_pages);
        json_object_array_add(pools, pool);
    }
    hn_put(object, "huge-pools", pools);
    return object;
}

json_object *hn_host_to_json(const HnHost *host)
{
    json_object *object = json_object_new_object();
    hn_put_u64(object, "page-bytes", host->page_bytes);
    hn_put_cpuset(object, "isolated", &host->isolated);
    json_object *nodes = json_object_new_array();
    json_object *rows = json_object_new_array();
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        json_object *row = json_object_new_array();
        for (uint32_t j = 0; j < host->n_nodes; j++)
            json_object_array_add(row, json_object_new_int64(hn_host_distance(host, i, j)));
        json_object_array_add(rows, row);
        json_object_array_add(nodes, node_to_json(&host->nodes[i]));
    }
    hn_put(object, "nodes", nodes);
    hn_put(object, "distance", rows);
    return object;
}

static json_object *wish_to_json(const HnWish *wish)
{
    json_object *object = json_object_new_object();
    hn_put_string(object, "mode", hn_mode_names[wish->mode]);
    hn_put_string(object, "memory", hn_memory_names[wish->memory]);
    if (wish->has_nodeset)
        hn_put_nodemask(object, "nodeset", wish->nodeset);
    if (wish->group)
        hn_put_string(object, "group", wish->group);
    if (wish->anti_group)
        hn_put_string(object, "anti-group", wish->anti_group);
    hn_put_u64(object, "max-mib-per-sec", wish->max_mib_per_sec);
    hn_put_u64(object, "weight", wish->weight);
    if (wish->invalid)
        hn_put_string(object, "invalid", wish->invalid);
    return object;
}

static json_object *faults_to_json(const HnHintFaults *faults, uint32_t n_nodes)
{
    json_object *object = json_object_new_object();
    hn_put_u64(object, "scan-seq", faults->scan_seq);
    hn_put_i64(object, "preferred-node", faults->preferred_node);
    hn_put_u64_array(object, "private-pages", faults->private_pages, n_nodes);
    hn_put_u64_array(object, "shared-pages", faults->shared_pages, n_nodes);
    return object;
}

static json_object *vcpu_to_json(const HnVcpu *vcpu, uint32_t n_nodes)
{
    json_object *object = json_object_new_object();
    hn_put_u64(object, "id", vcpu->id);
    hn_put_i64(object, "tid", vcpu->tid);
    hn_put_u64(object, "start-ticks", vcpu->start_ticks);
    hn_put_i64(object, "guest-cell", vcpu->guest_cell);
    hn_put_u64(object, "exec-ns", vcpu->exec_ns);
    hn_put_u64(object, "run-delay-ns", vcpu->run_delay_ns);
    hn_put_i64(object, "last-cpu", vcpu->last_cpu);
    hn_put_cpuset(object, "affinity", &vcpu->affinity);
    if (vcpu->is_admin_pinned)
        hn_put_cpuset(object, "admin-cpus", &vcpu->admin_cpus);
    if (vcpu->faults.is_valid)
        hn_put(object, "faults", faults_to_json(&vcpu->faults, n_nodes));
    hn_put_u64_array(object, "touches", vcpu->touches, n_nodes);
    return object;
}

static json_object *worker_to_json(const HnWorker *worker)
{
    json_object *object = json_object_new_object();
    hn_put_string(object, "kind", hn_worker_names[worker->kind]);
    hn_put_u64(object, "id", worker->id);
    hn_put_i64(object, "tid", worker->tid);
    hn_put_u64(object, "exec-ns", worker->exec_ns);
    hn_put_u64(object, "run-delay-ns", worker->run_delay_ns);
    hn_put_i64(object, "last-cpu", worker->last_cpu);
    hn_put_cpuset(object, "affinity", &worker->affinity);
    if (worker->is_admin_pinned)
        hn_put_cpuset(object, "admin-cpus", &worker->admin_cpus);
    return object;
}

static bool is_same_chunk(const HnChunk *a, const HnChunk *b)
{
    return a->node == b->node && a->n_probes == b->n_probes &&
           a->n_probes_on_node == b->n_probes_on_node && a->heat == b->heat &&
           a->touch_clients == b->touch_clients;
}

static json_object *chunks_to_json(const HnRegion *region)
{
    json_object *runs = json_object_new_array();
    for (uint32_t i = 0, end; i < region->n_chunks; i = end) {
        const HnChunk *chunk = &region->chunks[i];
        for (end = i + 1; end < region->n_chunks && is_same_chunk(chunk, &region->chunks[end]);)
            end++;
        json_object *run = json_object_new_array_ext(6);
        json_object_array_add(run, json_object_new_int64(end - i));
        json_object_array_add(run, json_object_new_int64(chunk->node));
        json_object_array_add(run, json_object_new_int64(chunk->n_probes));
        json_object_array_add(run, json_object_new_int64(chunk->n_probes_on_node));
        json_object_array_add(run, json_object_new_int64(chunk->heat));
        json_object_array_add(run, json_object_new_uint64(chunk->touch_clients));
        json_object_array_add(runs, run);
    }
    return runs;
}

static json_object *region_to_json(const HnRegion *region, uint32_t n_nodes)
{
    json_object *object = json_object_new_object();
    hn_put_u64(object, "hva-start", region->hva_start);
    hn_put_u64(object, "length-bytes", region->length_bytes);
    hn_put_u64(object, "gpa-base", region->gpa_base);
    hn_put_u64(object, "gpa-hole-start", region->gpa_hole_start);
    hn_put_u64(object, "gpa-hole-end", region->gpa_hole_end);
    hn_put_i64(object, "guest-cell", region->guest_cell);
    hn_put_u64(object, "page-bytes", region->page_bytes);
    hn_put_bool(object, "is-thp", region->is_thp);
    hn_put_string(object, "backing", hn_backing_names[region->backing]);
    hn_put_string(object, "movability", hn_movability_names[region->movability]);
    hn_put_bool(object, "is-ambiguous", region->is_ambiguous);
    hn_put_u64_array(object, "resident-bytes", region->resident_bytes, n_nodes);
    hn_put_u64(object, "chunk-bytes", region->chunk_bytes);
    if (region->n_chunks)
        hn_put(object, "chunks", chunks_to_json(region));
    return object;
}

static json_object *cell_to_json(const HnGuestCell *cell)
{
    json_object *object = json_object_new_object();
    hn_put_u64(object, "id", cell->id);
    hn_put_u64(object, "memory-bytes", cell->memory_bytes);
    hn_put_cpuset(object, "vcpus", &cell->vcpus);
    return object;
}

static void put_parts(json_object *object, const HnDomain *domain, uint32_t n_nodes)
{
    json_object *vcpus = json_object_new_array();
    for (uint32_t i = 0; i < domain->n_vcpus; i++)
        json_object_array_add(vcpus, vcpu_to_json(&domain->vcpus[i], n_nodes));
    hn_put(object, "vcpus", vcpus);
    json_object *workers = json_object_new_array();
    for (uint32_t i = 0; i < domain->n_workers; i++)
        json_object_array_add(workers, worker_to_json(&domain->workers[i]));
    hn_put(object, "workers", workers);
    json_object *cells = json_object_new_array();
    for (uint32_t i = 0; i < domain->n_cells; i++)
        json_object_array_add(cells, cell_to_json(&domain->cells[i]));
    hn_put(object, "cells", cells);
    json_object *regions = json_object_new_array();
    for (uint32_t i = 0; i < domain->n_regions; i++)
        json_object_array_add(regions, region_to_json(&domain->regions[i], n_nodes));
    hn_put(object, "regions", regions);
}

static json_object *touches_to_json(const HnTouchSummary *touches)
{
    json_object *object = json_object_new_object();
    hn_put_bool(object, "is-on", touches->is_on);
    if (touches->impediment)
        hn_put_string(object, "impediment", touches->impediment);
    hn_put_u64(object, "vcpus-per-bit", touches->vcpus_per_bit);
    hn_put_u64(object, "n-chunks-known", touches->n_chunks_known);
    hn_put_u64(object, "n-touches", touches->n_touches);
    hn_put_u64(object, "n-writes", touches->n_writes);
    hn_put_u64(object, "n-elsewhere", touches->n_elsewhere);
    hn_put_u64(object, "n-lost", touches->n_lost);
    hn_put_u64(object, "n-independent", touches->n_independent);
    hn_put_u64_or_null(object, "age-ns", touches->age_ns);
    return object;
}

static json_object *heat_to_json(const HnHeatSummary *heat)
{
    json_object *object = json_object_new_object();
    hn_put_bool(object, "is-on", heat->is_on);
    hn_put_bool(object, "is-used", heat->is_used);
    if (heat->impediment)
        hn_put_string(object, "impediment", heat->impediment);
    hn_put_u64(object, "n-ranges", heat->n_ranges);
    hn_put_u64(object, "hot-bytes", heat->hot_bytes);
    hn_put_u64_or_null(object, "age-ns", heat->age_ns);
    return object;
}

static json_object *domain_to_json(const HnDomain *domain, uint32_t n_nodes)
{
    json_object *object = json_object_new_object();
    hn_put_string(object, "uuid", domain->uuid);
    hn_put_string(object, "name", domain->name);
    hn_put_bool(object, "is-bare-qemu", domain->is_bare_qemu);
    hn_put_bool(object, "is-kvm", domain->is_kvm);
    hn_put_i64(object, "pid", domain->pid);
    hn_put_u64(object, "start-ticks", domain->start_ticks);
    hn_put_u64(object, "started-ns", domain->started_ns);
    hn_put(object, "wish", wish_to_json(&domain->wish));
    hn_put_string(object, "state", hn_state_names[domain->state]);
    hn_put_string(object, "job", hn_job_names[domain->job]);
    hn_put_u64(object, "configured-bytes", domain->configured_bytes);
    hn_put_u64(object, "current-bytes", domain->current_bytes);
    put_parts(object, domain, n_nodes);
    hn_put_string(object, "resident-source", hn_source_names[domain->resident_source]);
    hn_put_u64(object, "resident-age-ns", domain->resident_age_ns);
    hn_put_u64(object, "resident-error-permille", domain->resident_error_permille);
    hn_put_u64_array(object, "resident-bytes", domain->resident_bytes, n_nodes);
    hn_put_u64_array(object, "immovable-bytes", domain->immovable_bytes, n_nodes);
    if (domain->is_numatune_admin)
        hn_put_nodemask(object, "admin-nodeset", domain->admin_nodeset);
    hn_put_bool(object, "is-fenced", domain->is_fenced);
    hn_put_nodemask(object, "device-nodes", domain->device_nodes);
    hn_put_u64(object, "dirty-bytes-per-sec", domain->dirty_bytes_per_sec);
    hn_put_u64_or_null(object, "dirty-age-ns", domain->dirty_age_ns);
    hn_put(object, "touches", touches_to_json(&domain->touches));
    /* Only where DAMON has a part: it is off by default, and most recordings are without. */
    if (domain->heat.is_on || domain->heat.impediment || domain->heat.age_ns != UINT64_MAX)
        hn_put(object, "heat", heat_to_json(&domain->heat));
    hn_put_u64(object, "memory-bound-permille", domain->memory_bound_permille);
    hn_put_u64(object, "bandwidth-bytes-per-sec", domain->bandwidth_bytes_per_sec);
    if (domain->unobservable)
        hn_put_string(object, "unobservable", domain->unobservable);
    return object;
}

json_object *hn_snapshot_to_json(const HnSnapshot *snapshot)
{
    json_object *object = json_object_new_object();
    hn_put_string(object, "format", HN_SNAPSHOT_FORMAT);
    hn_put_u64(object, "version", HN_SNAPSHOT_VERSION);
    hn_put_u64(object, "taken-ns", snapshot->taken_ns);
    hn_put(object, "host", hn_host_to_json(snapshot->host));
    json_object *domains = json_object_new_array();
    for (guint i = 0; i < snapshot->domains->len; i++)
        json_object_array_add(domains, domain_to_json(g_ptr_array_index(snapshot->domains, i),
                                                      snapshot->host->n_nodes));
    hn_put(object, "domains", domains);
    return object;
}
