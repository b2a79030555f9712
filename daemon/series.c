/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locality, moves and load over time: see series.h.
 */
#include "series.h"
#include "report/fields.h"
#include "report/plan_json.h"

#include <string.h>

typedef struct {
    uint32_t uuid_index; /* into HnSeries.uuids */
    uint64_t home_ids;   /* bit per node index; 0: none */
    uint16_t bytes_local_permille;
    int16_t accesses_local_permille; /* -1: none */
    uint32_t used_mcpu;
    uint32_t moves;
} DomainPoint;

typedef struct {
    int32_t id;
    uint64_t demand_mcpu, free_bytes, guest_bytes;
} NodePoint;

typedef struct {
    int64_t unix_ms;
    uint32_t score;
    GArray *domains; /* DomainPoint */
    GArray *nodes;   /* NodePoint */
} Sample;

struct HnSeries {
    GPtrArray *samples;       /* Sample *, oldest first */
    GPtrArray *uuids, *names; /* char *, same index */
    uint32_t keep_every, skipped;
};

static void sample_free(gpointer data)
{
    Sample *sample = data;
    g_array_unref(sample->domains);
    g_array_unref(sample->nodes);
    g_free(sample);
}

HnSeries *hn_series_new(void)
{
    HnSeries *series = g_new0(HnSeries, 1);
    series->samples = g_ptr_array_new_with_free_func(sample_free);
    series->uuids = g_ptr_array_new_with_free_func(g_free);
    series->names = g_ptr_array_new_with_free_func(g_free);
    series->keep_every = 1;
    return series;
}

void hn_series_free(HnSeries *series)
{
    if (!series)
        return;
    g_ptr_array_unref(series->samples);
    g_ptr_array_unref(series->uuids);
    g_ptr_array_unref(series->names);
    g_free(series);
}

static void thin(HnSeries *series)
{
    g_autoptr(GPtrArray) kept = g_ptr_array_new();
    for (guint i = 0; i < series->samples->len; i++) {
        if (i % 2 == 0)
            g_ptr_array_add(kept, g_ptr_array_index(series->samples, i));
        else
            sample_free(g_ptr_array_index(series->samples, i));
    }
    g_ptr_array_set_free_func(series->samples, NULL);
    g_ptr_array_set_size(series->samples, 0);
    g_ptr_array_set_free_func(series->samples, sample_free);
    for (guint i = 0; i < kept->len; i++)
        g_ptr_array_add(series->samples, g_ptr_array_index(kept, i));
    series->keep_every *= 2;
}

static uint32_t index_of(HnSeries *series, const HnVerdict *verdict)
{
    for (guint i = 0; i < series->uuids->len; i++)
        if (strcmp(g_ptr_array_index(series->uuids, i), verdict->uuid) == 0)
            return i;
    g_ptr_array_add(series->uuids, g_strdup(verdict->uuid));
    g_ptr_array_add(series->names, g_strdup(verdict->name));
    return series->uuids->len - 1;
}

static DomainPoint domain_point(HnSeries *series, const HnDomainStatus *status)
{
    DomainPoint point = {
        .uuid_index = index_of(series, status->verdict),
        .bytes_local_permille = (uint16_t)status->verdict->bytes_local_permille,
        .accesses_local_permille = status->verdict->has_accesses_local
                                       ? (int16_t)status->verdict->accesses_local_permille
                                       : -1,
        .used_mcpu = (uint32_t)status->account->used_mcpu,
        .moves = (uint32_t)status->account->n_moves,
    };
    for (uint32_t c = 0; c < status->verdict->n_clients; c++)
        if (status->verdict->clients[c].home_now >= 0)
            point.home_ids |= UINT64_C(1) << status->verdict->clients[c].home_now;
    return point;
}

void hn_series_add(HnSeries *series, int64_t unix_ms, const HnPlan *plan,
                   const HnDomainStatus *statuses, uint32_t n_statuses, const HnHost *host)
{
    if (++series->skipped < series->keep_every)
        return;
    series->skipped = 0;
    Sample *sample = g_new0(Sample, 1);
    sample->unix_ms = unix_ms;
    sample->score = plan->score_now;
    sample->domains = g_array_new(FALSE, TRUE, sizeof(DomainPoint));
    sample->nodes = g_array_new(FALSE, TRUE, sizeof(NodePoint));
    for (uint32_t n = 0; n < host->n_nodes; n++) {
        NodePoint node = {.id = host->nodes[n].id, .free_bytes = host->nodes[n].mem_free_bytes};
        for (uint32_t i = 0; i < n_statuses; i++) {
            node.guest_bytes += statuses[i].domain->resident_bytes[n];
            for (uint32_t c = 0; c < statuses[i].verdict->n_clients; c++)
                if (statuses[i].verdict->clients[c].home_now == (int32_t)n)
                    node.demand_mcpu += statuses[i].verdict->clients[c].demand_mcpu;
        }
        g_array_append_val(sample->nodes, node);
    }
    for (uint32_t i = 0; i < n_statuses && sample->domains->len < HN_SERIES_MAX_DOMAINS; i++) {
        if (!statuses[i].verdict->is_managed || series->uuids->len >= HN_SERIES_MAX_NAMES)
            continue;
        DomainPoint point = domain_point(series, &statuses[i]);
        g_array_append_val(sample->domains, point);
    }
    g_ptr_array_add(series->samples, sample);
    if (series->samples->len >= HN_SERIES_MAX_SAMPLES)
        thin(series);
}

static json_object *sample_to_json(const HnSeries *series, const Sample *sample)
{
    json_object *object = json_object_new_object();
    hn_put_i64(object, "unix-ms", sample->unix_ms);
    hn_put_u64(object, "score", sample->score);
    json_object *nodes = json_object_new_array();
    for (guint i = 0; i < sample->nodes->len; i++) {
        const NodePoint *point = &g_array_index(sample->nodes, NodePoint, i);
        json_object *row = json_object_new_object();
        hn_put_i64(row, "id", point->id);
        hn_put_u64(row, "demand-mcpu", point->demand_mcpu);
        hn_put_u64(row, "free-bytes", point->free_bytes);
        hn_put_u64(row, "guest-bytes", point->guest_bytes);
        json_object_array_add(nodes, row);
    }
    hn_put(object, "nodes", nodes);
    json_object *domains = json_object_new_array();
    for (guint i = 0; i < sample->domains->len; i++) {
        const DomainPoint *point = &g_array_index(sample->domains, DomainPoint, i);
        json_object *row = json_object_new_object();
        hn_put_string(row, "uuid", g_ptr_array_index(series->uuids, point->uuid_index));
        g_autoptr(GString) home = g_string_new(NULL);
        for (guint n = 0; n < sample->nodes->len; n++)
            if (point->home_ids >> n & 1)
                g_string_append_printf(home, "%s%d", home->len ? "," : "",
                                       g_array_index(sample->nodes, NodePoint, n).id);
        hn_put_string(row, "home", home->len ? home->str : NULL);
        hn_put_u64(row, "bytes-local-permille", point->bytes_local_permille);
        hn_put_u64_or_null(row, "accesses-local-permille",
                           point->accesses_local_permille < 0
                               ? UINT64_MAX
                               : (uint64_t)point->accesses_local_permille);
        hn_put_u64(row, "used-mcpu", point->used_mcpu);
        hn_put_u64(row, "moves", point->moves);
        json_object_array_add(domains, row);
    }
    hn_put(object, "domains", domains);
    return object;
}

json_object *hn_series_to_json(const HnSeries *series)
{
    json_object *object = json_object_new_object();
    json_object *samples = json_object_new_array();
    for (guint i = 0; i < series->samples->len; i++)
        json_object_array_add(samples,
                              sample_to_json(series, g_ptr_array_index(series->samples, i)));
    hn_put(object, "samples", samples);
    json_object *names = json_object_new_object();
    for (guint i = 0; i < series->uuids->len; i++)
        json_object_object_add(names, g_ptr_array_index(series->uuids, i),
                               json_object_new_string(g_ptr_array_index(series->names, i)));
    hn_put(object, "names", names);
    return object;
}
