/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading half of the snapshot's JSON: see snapshot_json.h.
 *
 * Theory of operation: one function per struct, members in the order in which they are written, the
 * first error kept by the reader. Sizes are bounded before anything is allocated by them: a
 * recording may come from anybody.
 */
#include "snapshot_json.h"
#include "snapshot_names.h"
#include "fields.h"

#include <string.h>

/* Generous against what libvirt allows a guest, small against memory. */
#define MAX_DOMAINS 65536
#define MAX_VCPUS 4096
#define MAX_WORKERS 4096
#define MAX_REGIONS 1024
#define MAX_CELLS 1024
/* docs/architecture.md: at most 4,096 chunks a domain; a recording may be of another version. */
#define MAX_CHUNKS 65536

static json_object *element(HnFieldReader *reader, json_object *array, size_t i)
{
    json_object *object = json_object_array_get_idx(array, i);
    if (!json_object_is_type(object, json_type_object))
        hn_field_fail(reader, HN_FIELD_ERROR_TYPE, "is not an object");
    return object;
}

static void read_node(HnFieldReader *reader, json_object *object, HnNode *node)
{
    node->id = (int32_t)hn_get_i64(reader, object, "id", 0, INT32_MAX);
    hn_get_cpuset(reader, object, "cpus", &node->cpus);
    node->n_cpus = (uint32_t)hn_get_u64(reader, object, "n-cpus", HN_MAX_CPUS);
    node->n_cores = (uint32_t)hn_get_u64(reader, object, "n-cores", HN_MAX_CPUS);
    node->mem_total_bytes = hn_get_u64(reader, object, "mem-total-bytes", INT64_MAX);
    node->mem_free_bytes = hn_get_u64(reader, object, "mem-free-bytes", INT64_MAX);
    node->mem_reclaimable_bytes = hn_opt_u64(reader, object, "mem-reclaimable-bytes", INT64_MAX, 0);
    node->mem_watermark_bytes = hn_opt_u64(reader, object, "mem-watermark-bytes", INT64_MAX, 0);
    node->bandwidth_bytes_per_sec =
        hn_opt_u64(reader, object, "bandwidth-bytes-per-sec", INT64_MAX, 0);
    node->other_load_mcpu = hn_opt_u64(reader, object, "other-load-mcpu", INT64_MAX, 0);
    size_t n;
    json_object *pools = hn_opt_array(reader, object, "huge-pools", HN_MAX_HUGE_POOLS, &n);
    for (size_t i = 0; i < n; i++) {
        size_t mark = hn_field_enter(reader, "huge-pools", (int64_t)i);
        json_object *pool = element(reader, pools, i);
        node->huge_pools[i].page_bytes = hn_get_u64(reader, pool, "page-bytes", INT64_MAX);
        node->huge_pools[i].total_pages = hn_get_u64(reader, pool, "total-pages", INT64_MAX);
        node->huge_pools[i].free_pages = hn_get_u64(reader, pool, "free-pages", INT64_MAX);
        hn_field_leave(reader, mark);
    }
    node->n_huge_pools = (uint32_t)n;
}

static void read_distances(HnFieldReader *reader, json_object *object, HnHost *host)
{
    size_t n;
    json_object *rows = hn_get_array(reader, object, "distance", HN_MAX_NODES, &n);
    if (rows && n != host->n_nodes)
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE, "member 'distance' has %zu rows for %u nodes",
                      n, host->n_nodes);
    for (uint32_t i = 0; !reader->error && i < host->n_nodes; i++) {
        json_object *row = json_object_array_get_idx(rows, i);
        if (!json_object_is_type(row, json_type_array) ||
            json_object_array_length(row) != host->n_nodes) {
            hn_field_fail(reader, HN_FIELD_ERROR_RANGE,
                          "member 'distance'[%u] is not an array of %u", i, host->n_nodes);
            return;
        }
        for (uint32_t j = 0; j < host->n_nodes; j++) {
            json_object *cell = json_object_array_get_idx(row, j);
            int64_t value =
                json_object_is_type(cell, json_type_int) ? json_object_get_int64(cell) : -1;
            if (value < 10 || value > 254) {
                hn_field_fail(reader, HN_FIELD_ERROR_RANGE,
                              "member 'distance'[%u][%u] must be 10 to 254", i, j);
                return;
            }
            host->distance[i * host->n_nodes + j] = (uint8_t)value;
        }
    }
}

static HnHost *read_host(HnFieldReader *reader, json_object *object)
{
    size_t n;
    json_object *nodes = hn_get_array(reader, object, "nodes", HN_MAX_NODES, &n);
    if (nodes && n == 0)
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE, "member 'nodes' is empty, 1 to %d are allowed",
                      HN_MAX_NODES);
    if (reader->error)
        return NULL;
    g_autoptr(HnHost) host = hn_host_new((uint32_t)n);
    host->page_bytes = hn_opt_u64(reader, object, "page-bytes", INT64_MAX, 4096);
    hn_get_cpuset(reader, object, "isolated", &host->isolated);
    for (size_t i = 0; i < n; i++) {
        size_t mark = hn_field_enter(reader, "nodes", (int64_t)i);
        read_node(reader, element(reader, nodes, i), &host->nodes[i]);
        hn_field_leave(reader, mark);
    }
    read_distances(reader, object, host);
    return reader->error ? NULL : g_steal_pointer(&host);
}

static void read_wish(HnFieldReader *reader, json_object *object, HnWish *wish, uint32_t n_nodes)
{
    wish->mode = hn_get_enum(reader, object, "mode", hn_mode_names, G_N_ELEMENTS(hn_mode_names));
    wish->memory =
        hn_get_enum(reader, object, "memory", hn_memory_names, G_N_ELEMENTS(hn_memory_names));
    wish->has_nodeset = !reader->error && json_object_object_get_ex(object, "nodeset", NULL);
    wish->nodeset = hn_opt_nodemask(reader, object, "nodeset", n_nodes);
    wish->group = g_strdup(hn_opt_string(reader, object, "group"));
    wish->anti_group = g_strdup(hn_opt_string(reader, object, "anti-group"));
    wish->max_mib_per_sec = (uint32_t)hn_opt_u64(reader, object, "max-mib-per-sec", UINT32_MAX, 0);
    wish->weight = (uint32_t)hn_opt_u64(reader, object, "weight", 1000, 100);
    wish->invalid = g_strdup(hn_opt_string(reader, object, "invalid"));
}

static void read_faults(HnFieldReader *reader, json_object *object, HnHintFaults *faults,
                        uint32_t n_nodes)
{
    faults->is_valid = true;
    faults->scan_seq = hn_get_u64(reader, object, "scan-seq", UINT64_MAX);
    faults->preferred_node =
        (int32_t)hn_get_i64(reader, object, "preferred-node", HN_NODE_NONE, (int64_t)n_nodes - 1);
    hn_opt_u64_array(reader, object, "private-pages", faults->private_pages, n_nodes);
    hn_opt_u64_array(reader, object, "shared-pages", faults->shared_pages, n_nodes);
}

static void read_vcpu(HnFieldReader *reader, json_object *object, HnVcpu *vcpu, uint32_t n_nodes)
{
    vcpu->id = (uint32_t)hn_get_u64(reader, object, "id", HN_MAX_CPUS - 1);
    vcpu->tid = (int32_t)hn_get_i64(reader, object, "tid", 0, INT32_MAX);
    vcpu->start_ticks = hn_opt_u64(reader, object, "start-ticks", UINT64_MAX, 0);
    vcpu->guest_cell = (int32_t)hn_get_i64(reader, object, "guest-cell", -1, INT32_MAX);
    vcpu->exec_ns = hn_get_u64(reader, object, "exec-ns", UINT64_MAX);
    vcpu->run_delay_ns = hn_get_u64(reader, object, "run-delay-ns", UINT64_MAX);
    vcpu->last_cpu = (int32_t)hn_get_i64(reader, object, "last-cpu", -1, HN_MAX_CPUS - 1);
    hn_get_cpuset(reader, object, "affinity", &vcpu->affinity);
    vcpu->is_admin_pinned = !reader->error && json_object_object_get_ex(object, "admin-cpus", NULL);
    if (vcpu->is_admin_pinned)
        hn_get_cpuset(reader, object, "admin-cpus", &vcpu->admin_cpus);
    json_object *faults = NULL;
    if (!reader->error && json_object_object_get_ex(object, "faults", &faults) && faults) {
        size_t mark = hn_field_enter(reader, "faults", -1);
        read_faults(reader, faults, &vcpu->faults, n_nodes);
        hn_field_leave(reader, mark);
    }
    hn_opt_u64_array(reader, object, "touches", vcpu->touches, n_nodes);
}

static void read_heat(HnFieldReader *reader, json_object *object, HnHeatSummary *heat)
{
    heat->is_on = hn_opt_bool(reader, object, "is-on", false);
    heat->is_used = hn_opt_bool(reader, object, "is-used", false);
    heat->impediment = g_strdup(hn_opt_string(reader, object, "impediment"));
    heat->n_ranges = (uint32_t)hn_opt_u64(reader, object, "n-ranges", UINT32_MAX, 0);
    heat->hot_bytes = hn_opt_u64(reader, object, "hot-bytes", UINT64_MAX, 0);
    heat->age_ns = hn_opt_u64(reader, object, "age-ns", UINT64_MAX, UINT64_MAX);
}

static void read_touches(HnFieldReader *reader, json_object *object, HnTouchSummary *touches)
{
    touches->is_on = hn_opt_bool(reader, object, "is-on", false);
    touches->impediment = g_strdup(hn_opt_string(reader, object, "impediment"));
    touches->vcpus_per_bit = (uint32_t)hn_opt_u64(reader, object, "vcpus-per-bit", MAX_VCPUS, 1);
    touches->n_chunks_known = (uint32_t)hn_opt_u64(reader, object, "n-chunks-known", UINT32_MAX, 0);
    touches->n_touches = hn_opt_u64(reader, object, "n-touches", UINT64_MAX, 0);
    touches->n_writes = hn_opt_u64(reader, object, "n-writes", UINT64_MAX, 0);
    touches->n_elsewhere = hn_opt_u64(reader, object, "n-elsewhere", UINT64_MAX, 0);
    touches->n_lost = hn_opt_u64(reader, object, "n-lost", UINT64_MAX, 0);
    touches->n_independent = (uint32_t)hn_opt_u64(reader, object, "n-independent", UINT32_MAX, 0);
    touches->age_ns = hn_opt_u64(reader, object, "age-ns", UINT64_MAX, UINT64_MAX);
}

static void read_worker(HnFieldReader *reader, json_object *object, HnWorker *worker)
{
    worker->kind =
        hn_get_enum(reader, object, "kind", hn_worker_names, G_N_ELEMENTS(hn_worker_names));
    worker->id = (uint32_t)hn_get_u64(reader, object, "id", UINT32_MAX);
    worker->tid = (int32_t)hn_get_i64(reader, object, "tid", 0, INT32_MAX);
    worker->exec_ns = hn_get_u64(reader, object, "exec-ns", UINT64_MAX);
    worker->run_delay_ns = hn_get_u64(reader, object, "run-delay-ns", UINT64_MAX);
    worker->last_cpu = (int32_t)hn_get_i64(reader, object, "last-cpu", -1, HN_MAX_CPUS - 1);
    hn_get_cpuset(reader, object, "affinity", &worker->affinity);
    worker->is_admin_pinned =
        !reader->error && json_object_object_get_ex(object, "admin-cpus", NULL);
    if (worker->is_admin_pinned)
        hn_get_cpuset(reader, object, "admin-cpus", &worker->admin_cpus);
}

/* One number of a chunk run, range-checked. */
static int64_t run_number(HnFieldReader *reader, json_object *run, size_t i, int64_t min,
                          int64_t max)
{
    json_object *value = json_object_array_get_idx(run, i);
    int64_t number =
        json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : INT64_MIN;
    if (number < min || number > max)
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE,
                      "number %zu must be %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, i, min, max);
    return number;
}

static void read_chunks(HnFieldReader *reader, json_object *object, HnRegion *region,
                        uint32_t n_nodes)
{
    size_t n;
    json_object *runs = hn_opt_array(reader, object, "chunks", MAX_CHUNKS, &n);
    g_autoptr(GArray) chunks = g_array_new(FALSE, TRUE, sizeof(HnChunk));
    for (size_t i = 0; !reader->error && i < n; i++) {
        size_t mark = hn_field_enter(reader, "chunks", (int64_t)i);
        json_object *run = json_object_array_get_idx(runs, i);
        if (!json_object_is_type(run, json_type_array) || json_object_array_length(run) != 6) {
            hn_field_fail(reader, HN_FIELD_ERROR_TYPE, "is not an array of 6 numbers");
            return;
        }
        HnChunk chunk = {0};
        int64_t count = run_number(reader, run, 0, 1, MAX_CHUNKS - (int64_t)chunks->len);
        chunk.node = (int32_t)run_number(reader, run, 1, HN_NODE_NONE, (int64_t)n_nodes - 1);
        chunk.n_probes = (uint16_t)run_number(reader, run, 2, 0, UINT16_MAX);
        chunk.n_probes_on_node = (uint16_t)run_number(reader, run, 3, 0, UINT16_MAX);
        chunk.heat = (uint32_t)run_number(reader, run, 4, 0, UINT32_MAX);
        chunk.touch_clients = json_object_get_uint64(json_object_array_get_idx(run, 5));
        for (int64_t k = 0; !reader->error && k < count; k++)
            g_array_append_val(chunks, chunk);
        hn_field_leave(reader, mark);
    }
    if (reader->error || chunks->len == 0)
        return;
    region->n_chunks = chunks->len;
    region->chunks = g_memdup2(chunks->data, chunks->len * sizeof(HnChunk));
}

static void read_region(HnFieldReader *reader, json_object *object, HnRegion *region,
                        uint32_t n_nodes)
{
    region->hva_start = hn_get_u64(reader, object, "hva-start", UINT64_MAX);
    region->length_bytes = hn_get_u64(reader, object, "length-bytes", INT64_MAX);
    region->gpa_base = hn_get_u64(reader, object, "gpa-base", UINT64_MAX);
    region->gpa_hole_start = hn_opt_u64(reader, object, "gpa-hole-start", UINT64_MAX, 0);
    region->gpa_hole_end = hn_opt_u64(reader, object, "gpa-hole-end", UINT64_MAX, 0);
    region->guest_cell = (int32_t)hn_get_i64(reader, object, "guest-cell", -1, INT32_MAX);
    region->page_bytes = hn_get_u64(reader, object, "page-bytes", INT64_MAX);
    region->is_thp = hn_opt_bool(reader, object, "is-thp", false);
    region->backing =
        hn_get_enum(reader, object, "backing", hn_backing_names, G_N_ELEMENTS(hn_backing_names));
    region->movability = hn_get_enum(reader, object, "movability", hn_movability_names,
                                     G_N_ELEMENTS(hn_movability_names));
    region->is_ambiguous = hn_opt_bool(reader, object, "is-ambiguous", false);
    hn_opt_u64_array(reader, object, "resident-bytes", region->resident_bytes, n_nodes);
    region->chunk_bytes = hn_opt_u64(reader, object, "chunk-bytes", INT64_MAX, 0);
    read_chunks(reader, object, region, n_nodes);
}

static void read_cell(HnFieldReader *reader, json_object *object, HnGuestCell *cell)
{
    cell->id = (uint32_t)hn_get_u64(reader, object, "id", MAX_CELLS);
    cell->memory_bytes = hn_get_u64(reader, object, "memory-bytes", INT64_MAX);
    hn_get_cpuset(reader, object, "vcpus", &cell->vcpus);
}

static void read_parts(HnFieldReader *reader, json_object *object, HnDomain *domain,
                       uint32_t n_nodes)
{
    size_t n;
    json_object *array = hn_get_array(reader, object, "vcpus", MAX_VCPUS, &n);
    for (size_t i = 0; !reader->error && i < n; i++) {
        size_t mark = hn_field_enter(reader, "vcpus", (int64_t)i);
        read_vcpu(reader, element(reader, array, i), hn_domain_add_vcpu(domain, n_nodes), n_nodes);
        hn_field_leave(reader, mark);
    }
    array = hn_opt_array(reader, object, "workers", MAX_WORKERS, &n);
    for (size_t i = 0; !reader->error && i < n; i++) {
        size_t mark = hn_field_enter(reader, "workers", (int64_t)i);
        read_worker(reader, element(reader, array, i), hn_domain_add_worker(domain));
        hn_field_leave(reader, mark);
    }
    array = hn_opt_array(reader, object, "cells", MAX_CELLS, &n);
    for (size_t i = 0; !reader->error && i < n; i++) {
        size_t mark = hn_field_enter(reader, "cells", (int64_t)i);
        read_cell(reader, element(reader, array, i), hn_domain_add_cell(domain));
        hn_field_leave(reader, mark);
    }
    array = hn_opt_array(reader, object, "regions", MAX_REGIONS, &n);
    for (size_t i = 0; !reader->error && i < n; i++) {
        size_t mark = hn_field_enter(reader, "regions", (int64_t)i);
        read_region(reader, element(reader, array, i), hn_domain_add_region(domain, n_nodes),
                    n_nodes);
        hn_field_leave(reader, mark);
    }
}

static HnDomain *read_domain(HnFieldReader *reader, json_object *object, uint32_t n_nodes)
{
    g_autoptr(HnDomain) domain = hn_domain_new(n_nodes);
    const char *uuid = hn_get_string(reader, object, "uuid");
    if (!reader->error && strlen(uuid) != HN_UUID_LEN)
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE,
                      "member 'uuid' is '%s', it must have %d characters", uuid, HN_UUID_LEN);
    g_strlcpy(domain->uuid, uuid, sizeof domain->uuid);
    g_free(domain->name);
    domain->name = g_strdup(hn_get_string(reader, object, "name"));
    domain->is_bare_qemu = hn_opt_bool(reader, object, "is-bare-qemu", false);
    domain->is_kvm = hn_opt_bool(reader, object, "is-kvm", true);
    domain->pid = hn_get_i64(reader, object, "pid", 0, INT32_MAX);
    domain->start_ticks = hn_opt_u64(reader, object, "start-ticks", UINT64_MAX, 0);
    domain->started_ns = hn_get_u64(reader, object, "started-ns", UINT64_MAX);
    json_object *wish = hn_get_object(reader, object, "wish");
    if (wish)
        read_wish(reader, wish, &domain->wish, n_nodes);
    domain->state =
        hn_get_enum(reader, object, "state", hn_state_names, G_N_ELEMENTS(hn_state_names));
    domain->job = hn_get_enum(reader, object, "job", hn_job_names, G_N_ELEMENTS(hn_job_names));
    domain->configured_bytes = hn_get_u64(reader, object, "configured-bytes", INT64_MAX);
    domain->current_bytes = hn_get_u64(reader, object, "current-bytes", INT64_MAX);
    read_parts(reader, object, domain, n_nodes);
    domain->resident_source = hn_get_enum(reader, object, "resident-source", hn_source_names,
                                          G_N_ELEMENTS(hn_source_names));
    domain->resident_age_ns = hn_opt_u64(reader, object, "resident-age-ns", UINT64_MAX, 0);
    domain->resident_error_permille =
        (uint32_t)hn_opt_u64(reader, object, "resident-error-permille", UINT32_MAX, 0);
    hn_opt_u64_array(reader, object, "resident-bytes", domain->resident_bytes, n_nodes);
    hn_opt_u64_array(reader, object, "immovable-bytes", domain->immovable_bytes, n_nodes);
    domain->is_numatune_admin =
        !reader->error && json_object_object_get_ex(object, "admin-nodeset", NULL);
    domain->admin_nodeset = hn_opt_nodemask(reader, object, "admin-nodeset", n_nodes);
    domain->is_fenced = hn_opt_bool(reader, object, "is-fenced", false);
    domain->device_nodes = hn_opt_nodemask(reader, object, "device-nodes", n_nodes);
    domain->dirty_bytes_per_sec = hn_opt_u64(reader, object, "dirty-bytes-per-sec", UINT64_MAX, 0);
    domain->dirty_age_ns = hn_opt_u64(reader, object, "dirty-age-ns", UINT64_MAX, UINT64_MAX);
    json_object *touches = NULL;
    if (!reader->error && json_object_object_get_ex(object, "touches", &touches) && touches) {
        size_t mark = hn_field_enter(reader, "touches", -1);
        read_touches(reader, touches, &domain->touches);
        hn_field_leave(reader, mark);
    }
    json_object *heat = NULL;
    if (!reader->error && json_object_object_get_ex(object, "heat", &heat) && heat) {
        size_t mark = hn_field_enter(reader, "heat", -1);
        read_heat(reader, heat, &domain->heat);
        hn_field_leave(reader, mark);
    }
    domain->memory_bound_permille =
        (uint32_t)hn_opt_u64(reader, object, "memory-bound-permille", 1000, 0);
    domain->bandwidth_bytes_per_sec =
        hn_opt_u64(reader, object, "bandwidth-bytes-per-sec", UINT64_MAX, 0);
    domain->unobservable = g_strdup(hn_opt_string(reader, object, "unobservable"));
    return reader->error ? NULL : g_steal_pointer(&domain);
}

static HnSnapshot *read_snapshot(HnFieldReader *reader, json_object *root)
{
    g_autoptr(HnSnapshot) snapshot = hn_snapshot_new();
    const char *format = hn_get_string(reader, root, "format");
    uint64_t version = hn_get_u64(reader, root, "version", UINT32_MAX);
    if (!reader->error &&
        (strcmp(format, HN_SNAPSHOT_FORMAT) != 0 || version != HN_SNAPSHOT_VERSION))
        hn_field_fail(reader, HN_FIELD_ERROR_RANGE,
                      "is '%s' version %" G_GUINT64_FORMAT ", this program reads '%s' version %d",
                      format, version, HN_SNAPSHOT_FORMAT, HN_SNAPSHOT_VERSION);
    snapshot->taken_ns = hn_get_u64(reader, root, "taken-ns", UINT64_MAX);
    json_object *host = hn_get_object(reader, root, "host");
    size_t mark = hn_field_enter(reader, "host", -1);
    snapshot->host = host ? read_host(reader, host) : NULL;
    hn_field_leave(reader, mark);
    size_t n;
    json_object *domains = hn_get_array(reader, root, "domains", MAX_DOMAINS, &n);
    for (size_t i = 0; !reader->error && i < n; i++) {
        mark = hn_field_enter(reader, "domains", (int64_t)i);
        json_object *object = element(reader, domains, i);
        HnDomain *domain = read_domain(reader, object, snapshot->host->n_nodes);
        if (domain)
            g_ptr_array_add(snapshot->domains, domain);
        hn_field_leave(reader, mark);
    }
    return reader->error ? NULL : g_steal_pointer(&snapshot);
}

HnSnapshot *hn_snapshot_from_json(json_object *root, GError **error)
{
    HnFieldReader reader;
    hn_field_reader_init(&reader, "snapshot");
    g_autoptr(HnSnapshot) snapshot = read_snapshot(&reader, root);
    if (!hn_field_reader_end(&reader, error))
        return NULL;
    if (!hn_host_validate(snapshot->host, error))
        return NULL;
    hn_snapshot_sort(snapshot);
    return g_steal_pointer(&snapshot);
}
