/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See report-page.h. First the samples are turned into columns (a Track per node and per domain,
 * one value per sample), then each column becomes a line. A domain that is not in a sample, or was
 * not sampled then, has a gap there.
 */
#include "report-page.h"
#include "chart.h"
#include "reply.h"
#include "text.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define GIB 1073741824.0

/* Of one node: cpu, guest memory, free memory, mean locality of those at home. Of one domain: CPU,
 * bytes, accesses. */
enum { NODE_DEMAND, NODE_GUESTS, NODE_FREE, NODE_LOCAL };
enum { DOMAIN_USED, DOMAIN_BYTES, DOMAIN_ACCESSES };
#define N_COLUMNS 4 /* of either */

typedef struct {
    char *name;
    double *columns[N_COLUMNS]; /* [n_points] */
    GArray *moves_ms;           /* int64_t: re-homed, or a domain came to the node */
    int64_t n_moves;            /* at the last sample, -1: not seen yet */
    char *home;                 /* at the last sample, may be NULL */
    char **home_ids;            /* the same, taken apart */
} Track;

typedef struct {
    uint32_t n_points;
    int64_t *unix_ms;
    double *score;
    GPtrArray *nodes;           /* Track *, by id */
    GPtrArray *domains;         /* Track *, by name */
    GHashTable *domain_by_uuid; /* uuid → Track *, borrowed */
} Columns;

static void track_free(gpointer data)
{
    Track *track = data;
    for (guint i = 0; i < N_COLUMNS; i++)
        g_free(track->columns[i]);
    g_array_unref(track->moves_ms);
    g_free(track->name);
    g_free(track->home);
    g_strfreev(track->home_ids);
    g_free(track);
}

static Track *track_new(char *name, uint32_t n_points)
{
    Track *track = g_new0(Track, 1);
    track->name = name;
    track->moves_ms = g_array_new(FALSE, FALSE, sizeof(int64_t));
    track->n_moves = -1;
    for (guint i = 0; i < N_COLUMNS; i++) {
        track->columns[i] = g_new(double, MAX(1, n_points));
        for (uint32_t p = 0; p < n_points; p++)
            track->columns[i][p] = NAN;
    }
    return track;
}

static void columns_free(Columns *columns)
{
    g_free(columns->unix_ms);
    g_free(columns->score);
    g_hash_table_unref(columns->domain_by_uuid);
    g_ptr_array_unref(columns->nodes);
    g_ptr_array_unref(columns->domains);
    g_free(columns);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Columns, columns_free)

static Track *node_track(Columns *columns, int64_t id)
{
    g_autofree char *name = g_strdup_printf("node %" G_GINT64_FORMAT, id);
    for (guint i = 0; i < columns->nodes->len; i++) {
        Track *track = columns->nodes->pdata[i];
        if (strcmp(track->name, name) == 0)
            return track;
    }
    Track *track = track_new(g_steal_pointer(&name), columns->n_points);
    g_ptr_array_add(columns->nodes, track);
    return track;
}

static Track *domain_track(Columns *columns, const char *uuid, json_object *names)
{
    Track *track = g_hash_table_lookup(columns->domain_by_uuid, uuid);
    if (!track) {
        const char *name = hn_reply_string(names, uuid);
        track = track_new(g_strdup(name ? name : uuid), columns->n_points);
        g_ptr_array_add(columns->domains, track);
        g_hash_table_insert(columns->domain_by_uuid, g_strdup(uuid), track);
    }
    return track;
}

static double number(json_object *row, const char *key, double unit)
{
    int64_t value = hn_reply_int(row, key, -1);
    return value < 0 ? NAN : (double)value / unit;
}

/* Is the node with this name ("node 2") among a domain's homes? */
static bool is_home_on(const Track *domain, const Track *node)
{
    return domain->home_ids &&
           g_strv_contains((const char *const *)domain->home_ids, node->name + strlen("node "));
}

static void read_nodes(Columns *columns, json_object *sample, uint32_t point)
{
    for (size_t i = 0; i < hn_reply_count(sample, "nodes"); i++) {
        json_object *row = hn_reply_at(sample, "nodes", i);
        Track *track = node_track(columns, hn_reply_int(row, "id", -1));
        track->columns[NODE_DEMAND][point] = number(row, "demand-mcpu", 1000);
        track->columns[NODE_GUESTS][point] = number(row, "guest-bytes", GIB);
        track->columns[NODE_FREE][point] = number(row, "free-bytes", GIB);
    }
}

/* Its new home, and since when: on the domain's track and on those of the nodes it came to. */
static void note_home(Columns *columns, Track *track, json_object *row, int64_t now_ms)
{
    const char *home = hn_reply_string(row, "home");
    int64_t n_moves = hn_reply_int(row, "moves", 0);
    bool has_moved = track->n_moves >= 0 && n_moves > track->n_moves;
    track->n_moves = n_moves;
    if (has_moved)
        g_array_append_val(track->moves_ms, now_ms);
    if (g_strcmp0(home, track->home) == 0)
        return;
    g_auto(GStrv) old_ids = g_steal_pointer(&track->home_ids);
    g_free(track->home);
    track->home = g_strdup(home); /* "0", "0,2" or NULL */
    track->home_ids = home ? g_strsplit(home, ",", -1) : NULL;
    for (guint n = 0; has_moved && n < columns->nodes->len; n++) {
        Track *node = columns->nodes->pdata[n];
        bool was_here =
            old_ids && g_strv_contains((const char *const *)old_ids, node->name + strlen("node "));
        if (is_home_on(track, node) && !was_here)
            g_array_append_val(node->moves_ms, now_ms);
    }
}

static void read_domains(Columns *columns, json_object *sample, json_object *names, uint32_t point)
{
    g_autofree double *sums = g_new0(double, MAX(1, columns->nodes->len));
    g_autofree guint *counts = g_new0(guint, MAX(1, columns->nodes->len));
    for (size_t i = 0; i < hn_reply_count(sample, "domains"); i++) {
        json_object *row = hn_reply_at(sample, "domains", i);
        const char *uuid = hn_reply_string(row, "uuid");
        if (!uuid)
            continue;
        Track *track = domain_track(columns, uuid, names);
        track->columns[DOMAIN_USED][point] = number(row, "used-mcpu", 1000);
        track->columns[DOMAIN_BYTES][point] = number(row, "bytes-local-permille", 10);
        track->columns[DOMAIN_ACCESSES][point] = number(row, "accesses-local-permille", 10);
        note_home(columns, track, row, columns->unix_ms[point]);
        for (guint n = 0; n < columns->nodes->len; n++) {
            const Track *node = columns->nodes->pdata[n];
            if (is_home_on(track, node) && isfinite(track->columns[DOMAIN_BYTES][point])) {
                sums[n] += track->columns[DOMAIN_BYTES][point];
                counts[n]++;
            }
        }
    }
    for (guint n = 0; n < columns->nodes->len; n++) {
        Track *node = columns->nodes->pdata[n];
        if (counts[n])
            node->columns[NODE_LOCAL][point] = sums[n] / counts[n];
    }
}

static gint compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp((*(Track *const *)a)->name, (*(Track *const *)b)->name);
}

static Columns *columns_read(json_object *series, int64_t last_ms)
{
    Columns *columns = g_new0(Columns, 1);
    size_t n_samples = hn_reply_count(series, "samples"), begin = 0;
    if (n_samples > 0 && last_ms > 0) {
        int64_t newest = hn_reply_int(hn_reply_at(series, "samples", n_samples - 1), "unix-ms", 0);
        while (begin < n_samples &&
               hn_reply_int(hn_reply_at(series, "samples", begin), "unix-ms", 0) < newest - last_ms)
            begin++;
    }
    columns->n_points = (uint32_t)(n_samples - begin);
    columns->unix_ms = g_new0(int64_t, MAX(1, columns->n_points));
    columns->score = g_new0(double, MAX(1, columns->n_points));
    columns->nodes = g_ptr_array_new_with_free_func(track_free);
    columns->domains = g_ptr_array_new_with_free_func(track_free);
    columns->domain_by_uuid = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (uint32_t p = 0; p < columns->n_points; p++) {
        json_object *sample = hn_reply_at(series, "samples", begin + p);
        columns->unix_ms[p] = hn_reply_int(sample, "unix-ms", 0);
        columns->score[p] = number(sample, "score", 1);
        read_nodes(columns, sample, p);
        read_domains(columns, sample, hn_reply_object(series, "names"), p);
    }
    g_ptr_array_sort(columns->domains, compare_names);
    return columns;
}

/* ---- the page ---- */

static const char page_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
    "'unsafe-inline'\"/>\n"
    "<meta name=\"viewport\" content=\"width=device-width\"/>\n"
    "<style>\n"
    "body{font:14px/1.45 sans-serif;margin:2em auto;max-width:84em;padding:0 "
    "1em;color:#222;background:#fff}\n"
    "section{display:flex;flex-wrap:wrap;gap:0 2em}h2,h3{flex-basis:100%;margin:1.2em 0 .3em}\n"
    "figure{margin:0 0 1em;flex:1 1 "
    "30em;max-width:48em}figcaption{font-weight:bold}small{font-weight:normal}\n"
    "svg{width:100%;display:block}svg "
    "text{font-size:11px;fill:#666}polyline{stroke-width:1.6;stroke-linecap:round}\n"
    ".grid{stroke:#ddd}.mark{stroke:#a00;stroke-dasharray:2 3}.marks{color:#a00}\n"
    ".right{text-anchor:end}.middle{text-anchor:middle}.key{margin:0;font-size:12px}\n"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:."
    "2em .8em .2em 0;"
    "border-bottom:1px solid #ddd}\n"
    "</style>\n";

/* One line per track, of one column of each. */
static void append_tracks(GString *out, const Columns *columns, const GPtrArray *tracks,
                          guint column, const char *title, const char *unit, double max)
{
    g_autofree HnChartLine *lines = g_new0(HnChartLine, MAX(1, tracks->len));
    for (guint i = 0; i < tracks->len; i++) {
        const Track *track = tracks->pdata[i];
        lines[i] =
            (HnChartLine){.label = track->name, .colour = i, .values = track->columns[column]};
    }
    HnChart chart = {.title = title,
                     .unit = unit,
                     .n_points = columns->n_points,
                     .unix_ms = columns->unix_ms,
                     .lines = lines,
                     .n_lines = tracks->len,
                     .max = max};
    hn_chart_append(out, &chart);
}

static void append_host(GString *out, const Columns *columns)
{
    HnChartLine line = {.label = "score", .values = columns->score};
    HnChart chart = {.title = "Score of the host",
                     .unit = "0 to 100",
                     .n_points = columns->n_points,
                     .unix_ms = columns->unix_ms,
                     .lines = &line,
                     .n_lines = 1,
                     .max = 100};
    g_string_append(out, "<section><h2>Host</h2>\n");
    hn_chart_append(out, &chart);
    append_tracks(out, columns, columns->nodes, NODE_DEMAND, "Load: demand of the domains at home",
                  "CPUs", 0);
    append_tracks(out, columns, columns->nodes, NODE_GUESTS, "Guest memory", "GiB", 0);
    append_tracks(out, columns, columns->nodes, NODE_FREE, "Free memory", "GiB", 0);
    g_string_append(out, "</section>\n");
}

static void append_track_chart(GString *out, const Columns *columns, const Track *track,
                               const char *title, const char *unit, const HnChartLine *lines,
                               uint32_t n_lines, double max)
{
    HnChart chart = {.title = title,
                     .unit = unit,
                     .n_points = columns->n_points,
                     .unix_ms = columns->unix_ms,
                     .lines = lines,
                     .n_lines = n_lines,
                     .max = max,
                     .marks_ms = (const int64_t *)track->moves_ms->data,
                     .n_marks = track->moves_ms->len};
    hn_chart_append(out, &chart);
}

static void append_node(GString *out, const Columns *columns, const Track *track, guint index)
{
    HnChartLine local = {.label = "memory local, mean of the domains at home",
                         .colour = index,
                         .values = track->columns[NODE_LOCAL]};
    HnChartLine load = {.label = "demand", .colour = index, .values = track->columns[NODE_DEMAND]};
    g_string_append(out, "<section><h3>");
    hn_chart_append_text(out, track->name);
    g_string_append_printf(out,
                           "</h3><p style=\"flex-basis:100%%;margin:0\">Domains that came to it in "
                           "this time: %u.</p>\n",
                           track->moves_ms->len);
    append_track_chart(out, columns, track, "Locality", "%", &local, 1, 100);
    append_track_chart(out, columns, track, "Load", "CPUs", &load, 1, 0);
    g_string_append(out, "</section>\n");
}

static void append_domain(GString *out, const Columns *columns, const Track *track, guint index)
{
    HnChartLine local[] = {
        {.label = "memory local", .colour = index, .values = track->columns[DOMAIN_BYTES]},
        {.label = "accesses local",
         .colour = index + 1,
         .is_dashed = true,
         .values = track->columns[DOMAIN_ACCESSES]},
    };
    HnChartLine load = {
        .label = "CPU used", .colour = index, .values = track->columns[DOMAIN_USED]};
    g_string_append(out, "<section><h3>");
    hn_chart_append_text(out, track->name);
    g_string_append(out, "</h3><p style=\"flex-basis:100%;margin:0\">Home ");
    hn_chart_append_text(out, track->home);
    g_string_append_printf(out,
                           "; moves: %" G_GINT64_FORMAT " in all, %u of them in this time.</p>\n",
                           MAX(track->n_moves, 0), track->moves_ms->len);
    append_track_chart(out, columns, track, "Locality", "%", local, G_N_ELEMENTS(local), 100);
    append_track_chart(out, columns, track, "Load", "CPUs", &load, 1, 0);
    g_string_append(out, "</section>\n");
}

static void append_cell(GString *out, const char *text)
{
    g_string_append(out, "<td>");
    hn_chart_append_text(out, text);
    g_string_append(out, "</td>");
}

static void append_history(GString *out, json_object *history, int64_t since_s)
{
    g_string_append(
        out, "<h2>Decisions</h2>\n<table><thead><tr><th>Time</th><th>Kind</th><th>Domain</"
             "th><th>From</th>"
             "<th>To</th><th>Moved</th><th>Reason</th><th>What</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < hn_reply_count(history, "entries"); i++) {
        json_object *entry = hn_reply_at(history, "entries", i);
        if (hn_reply_int(entry, "unix-s", 0) < since_s)
            continue;
        int64_t bytes = hn_reply_int(entry, "bytes", 0);
        g_autofree char *time = hn_text_time(hn_reply_int(entry, "unix-s", 0));
        g_autofree char *moved = bytes > 0 ? hn_text_bytes((uint64_t)bytes) : NULL;
        g_string_append(out, "<tr>");
        append_cell(out, time);
        append_cell(out, hn_reply_string(entry, "kind"));
        append_cell(out, hn_reply_string(entry, "name"));
        append_cell(out, hn_reply_string(entry, "from"));
        append_cell(out, hn_reply_string(entry, "to"));
        append_cell(out, moved);
        append_cell(out, hn_reply_string(entry, "reason"));
        append_cell(out, hn_reply_string(entry, "sentence"));
        g_string_append(out, "</tr>\n");
    }
    g_string_append(out, "</tbody></table>\n");
}

static void append_title(GString *out, json_object *host, const Columns *columns)
{
    const char *name = hn_reply_string(host, "host-name"),
               *version = hn_reply_string(host, "version");
    g_string_append(out, "<title>homenode: ");
    hn_chart_append_text(out, name);
    g_string_append(out, "</title></head><body>\n<h1>homenode on ");
    hn_chart_append_text(out, name);
    g_string_append(out, "</h1>\n<p>");
    if (columns->n_points > 0) {
        g_autofree char *begin = hn_text_time(columns->unix_ms[0] / 1000);
        g_autofree char *end = hn_text_time(columns->unix_ms[columns->n_points - 1] / 1000);
        g_string_append_printf(out, "%s to %s, %u samples. ", begin, end, columns->n_points);
    } else {
        g_string_append(out, "Nothing was recorded yet. ");
    }
    hn_chart_append_text(out, hn_reply_string(host, "summary"));
    g_string_append(out, " Written by homenode " HN_VERSION "; homenoded ");
    hn_chart_append_text(out, version);
    g_string_append(out, ".</p>\n");
}

char *hn_report_page(json_object *host, json_object *series, json_object *history, int64_t last_ms)
{
    g_autoptr(Columns) columns = columns_read(series, last_ms);
    GString *out = g_string_new(page_head);
    append_title(out, host, columns);
    append_host(out, columns);
    g_string_append(out, "<h2>Nodes</h2>\n");
    for (guint i = 0; i < columns->nodes->len; i++)
        append_node(out, columns, columns->nodes->pdata[i], i);
    g_string_append(out, "<h2>Domains</h2>\n");
    for (guint i = 0; i < columns->domains->len; i++)
        append_domain(out, columns, columns->domains->pdata[i], i);
    append_history(out, history,
                   last_ms > 0 && columns->n_points > 0 ? columns->unix_ms[0] / 1000 : G_MININT64);
    g_string_append(out, "</body></html>\n");
    return g_string_free(out, FALSE);
}
