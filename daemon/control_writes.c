/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control verb measure-writes: what of a domain's RAM was written in a window, by the kernel's soft-dirty bits
 * (observe/soft-dirty.h says what that costs). A diagnostic for people; `homenode writes` is its client.
 *
 * Off unless observe.soft-dirty says otherwise, one at a time, never of a domain that has a job or is being moved, and
 * never from a round. It runs in a thread of the pool: clear, wait for the window, read. Nothing is to be put back: the
 * bits are nobody's setting, and write-protected pages are writable again after one fault each.
 */
#include "control_private.h"
#include "observe/process.h"
#include "observe/regions.h"
#include "observe/soft-dirty.h"
#include "report/fields.h"
#include "report/plan_json.h"

#include <gio/gio.h>
#include <string.h>

#define WINDOW_MIN_MS 10
#define WINDOW_MAX_MS 10000
#define WINDOW_MS 2000

typedef struct {
    HnManager *manager;
    HnQmpRequest *request;
    HnDomain *domain; /* what is needed of the last round's */
    int64_t window_ms;
    uint64_t clear_us, read_us, waited_us;
    GPtrArray *all; /* HnWritten */
} Measurement;

static void measurement_free(gpointer data)
{
    Measurement *measurement = data;
    hn_domain_free(measurement->domain);
    g_clear_pointer(&measurement->all, g_ptr_array_unref);
    g_free(measurement);
}

/* The number of a process that ended may mean another one. */
static bool check_process(const Measurement *measurement, GError **error)
{
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT, measurement->domain->pid);
    HnTaskStat stat;
    if (!hn_task_stat_read(measurement->manager->root, dir, &stat, error))
        return false;
    if (stat.start_ticks == measurement->domain->start_ticks)
        return true;
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT, "its process has ended");
    return false;
}

static bool check_kernel(const Measurement *measurement, GError **error)
{
    bool is_kept;
    if (!hn_soft_dirty_is_kept(measurement->manager->root, &is_kept, error))
        return false;
    if (!is_kept)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS,
                    "this kernel keeps no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY)");
    return is_kept;
}

static void measure(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    Measurement *measurement = data;
    const HnRoot *root = measurement->manager->root;
    int64_t pid = measurement->domain->pid;
    GError *error = NULL;

    if (!check_kernel(measurement, &error) || !check_process(measurement, &error)) {
        g_task_return_error(task, error);
        return;
    }
    gint64 began_us = g_get_monotonic_time();
    if (!hn_soft_dirty_clear(root, pid, &error)) {
        g_task_return_error(task, error);
        return;
    }
    gint64 cleared_us = g_get_monotonic_time();
    g_usleep((gulong)measurement->window_ms * 1000);
    gint64 over_us = g_get_monotonic_time();
    measurement->all = hn_soft_dirty_read(root, pid, measurement->domain, &error);
    gint64 ended_us = g_get_monotonic_time();
    if (!measurement->all || !check_process(measurement, &error)) {
        g_task_return_error(task, error);
        return;
    }
    measurement->clear_us = (uint64_t)(cleared_us - began_us);
    measurement->waited_us = (uint64_t)(over_us - cleared_us);
    measurement->read_us = (uint64_t)(ended_us - over_us);
    g_task_return_boolean(task, TRUE);
}

/* Neighbouring chunks with anything written, as guest-physical ranges; a range ends at the hole below 4 GiB. */
static json_object *ranges_json(const HnRegion *region, const HnWritten *written)
{
    json_object *array = json_object_new_array();
    json_object *last = NULL;
    uint64_t last_end = 0, last_bytes = 0;
    for (uint32_t k = 0; k < written->n_chunks; k++) {
        if (written->chunk_written[k] == 0)
            continue;
        uint64_t offset = k * written->chunk_bytes;
        uint64_t length_bytes = MIN(written->chunk_bytes, region->length_bytes - offset);
        uint64_t start = hn_region_gpa_at(region, offset);
        if (!last || start != last_end) {
            last = json_object_new_object();
            hn_put_u64(last, "start", start);
            json_object_array_add(array, last);
            last_bytes = 0;
        }
        last_end = hn_region_gpa_at(region, offset + length_bytes - 1) + 1;
        last_bytes += written->chunk_written[k];
        json_object_object_del(last, "end");
        json_object_object_del(last, "written-bytes");
        hn_put_u64(last, "end", last_end);
        hn_put_u64(last, "written-bytes", last_bytes);
    }
    return array;
}

static json_object *region_json(const HnRegion *region, const HnWritten *written)
{
    json_object *object = json_object_new_object();
    hn_put_u64(object, "gpa-base", region->gpa_base);
    hn_put_u64(object, "length-bytes", region->length_bytes);
    hn_put_i64(object, "guest-cell", region->guest_cell);
    hn_put_bool(object, "is-thp", region->is_thp);
    hn_put_string(object, "left-out", written->left_out);
    if (written->left_out)
        return object;
    hn_put_u64(object, "present-bytes", written->present_bytes);
    hn_put_u64(object, "written-bytes", written->written_bytes);
    hn_put_u64(object, "chunk-bytes", written->chunk_bytes);
    hn_put(object, "ranges", ranges_json(region, written));
    return object;
}

static json_object *answer_json(const Measurement *measurement)
{
    json_object *object = hn_document_new(), *regions = json_object_new_array();
    uint64_t written_bytes = 0, present_bytes = 0;
    for (guint i = 0; i < measurement->all->len; i++) {
        const HnWritten *written = g_ptr_array_index(measurement->all, i);
        json_object_array_add(regions, region_json(&measurement->domain->regions[written->region], written));
        written_bytes += written->left_out ? 0 : written->written_bytes;
        present_bytes += written->left_out ? 0 : written->present_bytes;
    }
    hn_put_string(object, "uuid", measurement->domain->uuid);
    hn_put_string(object, "name", measurement->domain->name);
    hn_put_u64(object, "window-ms", measurement->waited_us / 1000);
    hn_put_u64(object, "clear-us", measurement->clear_us);
    hn_put_u64(object, "read-us", measurement->read_us);
    hn_put_u64(object, "written-bytes", written_bytes);
    hn_put_u64(object, "present-bytes", present_bytes);
    hn_put(object, "regions", regions);
    return object;
}

static void measured(GObject *source, GAsyncResult *result, gpointer user_data)
{
    Measurement *measurement = g_task_get_task_data(G_TASK(result));
    g_autoptr(GError) error = NULL;
    measurement->manager->n_calls--;
    measurement->manager->is_measuring_writes = false;
    if (g_task_propagate_boolean(G_TASK(result), &error))
        hn_qmp_request_return(measurement->request, answer_json(measurement));
    else
        hn_qmp_request_fail(measurement->request, HN_QMP_CLASS_GENERIC, "The writes of '%s' cannot be measured: %s",
                            measurement->domain->name, error->message);
}

/* Why not, as a sentence; NULL: it may be done. Caller frees. */
static char *find_refusal(HnManager *manager, const HnDomain *domain)
{
    g_autoptr(GHashTable) in_flight = hn_manager_in_flight(manager);
    if (!manager->config->is_soft_dirty_allowed)
        return g_strdup("observe.soft-dirty is 'no', because it stalls the guest for a moment; set it to 'yes' first");
    if (manager->is_dry_run || !hn_root_is_live(manager->root))
        return g_strdup("this daemon changes nothing (--dry-run or --sysroot)");
    if (manager->is_measuring_writes)
        return g_strdup("another measurement is under way");
    if (domain->job != HN_JOB_NONE)
        return g_strdup("it has a job (migration, save, snapshot or the like)");
    if (g_hash_table_contains(in_flight, domain->uuid))
        return g_strdup("it is being moved");
    return hn_soft_dirty_refusal(domain);
}

/* The members of a domain that are needed beyond the round. */
static HnDomain *copy_domain(const HnDomain *domain, uint32_t n_nodes)
{
    HnDomain *copy = hn_domain_new(n_nodes);
    g_strlcpy(copy->uuid, domain->uuid, sizeof copy->uuid);
    copy->name = g_strdup(domain->name);
    copy->pid = domain->pid;
    copy->start_ticks = domain->start_ticks;
    for (uint32_t i = 0; i < domain->n_regions; i++) {
        HnRegion *region = hn_domain_add_region(copy, n_nodes);
        uint64_t *resident_bytes = region->resident_bytes;
        *region = domain->regions[i];
        region->resident_bytes = resident_bytes;
        region->chunks = g_memdup2(domain->regions[i].chunks, region->n_chunks * sizeof(HnChunk));
    }
    return copy;
}

void hn_verb_measure_writes(HnQmpRequest *request, json_object *args, gpointer user_data)
{
    HnControlServer *server = user_data;
    HnManager *manager = server->manager;
    int64_t window_ms;
    if (hn_control_is_early(server, request, args, hn_verb_measure_writes))
        return;
    if (!hn_control_int_arg(request, args, "window-ms", WINDOW_MIN_MS, WINDOW_MAX_MS, WINDOW_MS, &window_ms))
        return;
    const char *uuid = hn_control_domain_of(server, request, hn_control_string_arg(args, "domain"));
    const HnDomain *domain = uuid ? hn_snapshot_find(manager->snapshot, uuid) : NULL;
    if (!uuid)
        return;
    g_autofree char *refusal = domain ? find_refusal(manager, domain) : g_strdup("it has just ended");
    if (refusal) {
        hn_qmp_request_fail(request, HN_QMP_CLASS_GENERIC, "The writes of '%s' are not measured: %s",
                            domain ? domain->name : uuid, refusal);
        return;
    }
    Measurement *measurement = g_new0(Measurement, 1);
    measurement->manager = manager;
    measurement->request = request;
    measurement->window_ms = window_ms;
    measurement->domain = copy_domain(domain, manager->snapshot->host->n_nodes);
    manager->is_measuring_writes = true;
    manager->n_calls++;
    g_autoptr(GTask) task = g_task_new(NULL, NULL, measured, NULL);
    g_task_set_task_data(task, measurement, measurement_free);
    g_task_run_in_thread(task, measure);
}
