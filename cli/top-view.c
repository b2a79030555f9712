/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lines of `homenode top`: a head of two lines, nodes with bars, the domains as a table, a foot. When the terminal
 * is low the domains scroll; nodes take at most half of it. A wide terminal has more bar, more columns and, on hosts
 * with many nodes, several nodes on a line; a narrow one has no bars.
 *
 * Must not read a key or write to a terminal.
 */
#include "top-view.h"

#include "reply.h"
#include "table.h"

#include <string.h>

#define FOOT_LINES 1
#define PAGE_DEFAULT 10
#define NODE_COLUMNS 80      /* that one node needs, with bars */
#define NODE_COLUMNS_WIDE 98 /* with longer ones */
#define NODE_COLUMNS_FULL 115 /* with one for the local share as well */
#define MANY_NODES 4         /* more than so many may share lines */

static const struct {
    int key;
    HnTopSort sort;
    bool is_descending; /* at first: the interesting end on top */
    const char *name;
} sorts[] = {
    {'n', HN_TOP_BY_NAME, false, "name"},     {'h', HN_TOP_BY_HOME, false, "home"},
    {'l', HN_TOP_BY_LOCAL, false, "local"},   {'a', HN_TOP_BY_ACCESS, false, "access"},
    {'c', HN_TOP_BY_CPU, true, "CPU"},        {'m', HN_TOP_BY_MEMORY, true, "memory"},
    {'o', HN_TOP_BY_MOVES, true, "moves"},    {'b', HN_TOP_BY_RATE, true, "rate"},
    {'s', HN_TOP_BY_STATUS, false, "status"},
};

static const char *const help[] = {
    "Keys",
    "  n NAME   h HOME   l LOCAL   a ACCESS   c CPU   m MEMORY   o MOVES   b RATE",
    "  s STATUS: sort by it   r: reverse   u: only those that have opted in, or all",
    "  arrows, page keys, Home: scroll   space: ask now   ?: this help   q: quit",
    "Domains",
    "  HOME     home node; 0>1: on its way to 1; 0,2: several, a wide domain",
    "  LOCAL    share of its memory on the nodes its vCPUs run on (N%L)",
    "  ACCESS   share of its sampled memory accesses that were local; ~: known",
    "           roughly; -: not measured",
    "  CPU      what its vCPUs want, smoothed, in CPUs",
    "  MEMORY   resident; NODES: how much of it lies on which node",
    "  MOVES    re-homes so far; RATE: bytes moved per second, now",
    "  STATUS, REASON: 'homenode explain DOMAIN' says it in words",
    "Nodes",
    "  CPU      what guests at home there and all others want, of its CPUs; !: more",
    "  mem      used, of what it has;  local: of the guests at home there",
};

HnTopVerdict hn_top_key(HnTopState *state, int key, uint32_t page)
{
    page = page ? page : PAGE_DEFAULT;
    if (state->is_help && key != 'q') {
        state->is_help = false;
        return HN_TOP_GO_ON;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(sorts); i++) {
        if (key == sorts[i].key) {
            state->sort = sorts[i].sort;
            state->is_reverse = sorts[i].is_descending;
            return HN_TOP_GO_ON;
        }
    }
    switch (key) {
    case 'q':
        return HN_TOP_QUIT;
    case ' ':
        return HN_TOP_REFRESH;
    case 'r':
        state->is_reverse = !state->is_reverse;
        break;
    case 'u':
        state->is_managed_only = !state->is_managed_only;
        break;
    case '?':
        state->is_help = true;
        break;
    case HN_TOP_KEY_UP:
        state->scroll -= MIN(state->scroll, 1);
        break;
    case HN_TOP_KEY_DOWN:
        state->scroll++;
        break;
    case HN_TOP_KEY_PAGE_UP:
        state->scroll -= MIN(state->scroll, page);
        break;
    case HN_TOP_KEY_PAGE_DOWN:
        state->scroll += page;
        break;
    case HN_TOP_KEY_HOME:
        state->scroll = 0;
        break;
    default:
        break;
    }
    return HN_TOP_GO_ON;
}

/* ---- sorting ---- */

static int compare_numbers(json_object *left, json_object *right, const char *key)
{
    int64_t a = hn_reply_int(left, key, -1), b = hn_reply_int(right, key, -1);
    return (a > b) - (a < b);
}

static int compare_texts(json_object *left, json_object *right, const char *key)
{
    return g_strcmp0(hn_reply_string(left, key), hn_reply_string(right, key));
}

/* What is being moved of it; 0 if nothing is. */
static int64_t rate_of(json_object *row)
{
    return hn_reply_int(hn_reply_object(row, "progress"), "bytes-per-sec", 0);
}

static int compare_rows(gconstpointer a, gconstpointer b, gpointer user_data)
{
    json_object *left = *(json_object *const *)a, *right = *(json_object *const *)b;
    const HnTopState *state = user_data;
    int order = 0;
    switch (state->sort) {
    case HN_TOP_BY_NAME:
        break;
    case HN_TOP_BY_HOME:
        order = compare_texts(left, right, "home");
        break;
    case HN_TOP_BY_LOCAL:
        order = compare_numbers(left, right, "bytes-local-permille");
        break;
    case HN_TOP_BY_ACCESS:
        order = compare_numbers(left, right, "accesses-local-permille");
        break;
    case HN_TOP_BY_CPU:
        order = compare_numbers(left, right, "demand-mcpu");
        break;
    case HN_TOP_BY_MEMORY:
        order = compare_numbers(left, right, "resident-bytes");
        break;
    case HN_TOP_BY_MOVES:
        order = compare_numbers(left, right, "moves");
        break;
    case HN_TOP_BY_RATE:
        order = (rate_of(left) > rate_of(right)) - (rate_of(left) < rate_of(right));
        break;
    case HN_TOP_BY_STATUS:
        order = compare_texts(left, right, "status");
        break;
    }
    /* Equal ones by name, so that lines do not jump about. */
    bool is_name = order == 0;
    if (is_name)
        order = hn_text_compare_names(hn_reply_string(left, "name"), hn_reply_string(right, "name"));
    return state->is_reverse && (!is_name || state->sort == HN_TOP_BY_NAME) ? -order : order;
}

/* The domains to be shown. */
static GPtrArray *sorted_rows(json_object *domains, HnTopState *state)
{
    GPtrArray *rows = g_ptr_array_new();
    for (size_t i = 0; i < hn_reply_count(domains, "domains"); i++) {
        json_object *row = hn_reply_at(domains, "domains", i);
        if (!state->is_managed_only || hn_reply_bool(row, "is-managed"))
            g_ptr_array_add(rows, row);
    }
    g_ptr_array_sort_with_data(rows, compare_rows, state);
    return rows;
}

/* ---- lines ---- */

static void line_free(gpointer data)
{
    HnTopLine *line = data;
    g_free(line->text);
    g_free(line);
}

/* Takes text; cleans and cuts it. */
static void add_line(GPtrArray *lines, char *text, HnColour colour, bool is_heading,
                     const HnStyle *style)
{
    g_autofree char *clean = hn_text_clean(text);
    HnTopLine *line = g_new(HnTopLine, 1);
    line->text = style->width ? hn_text_cut(clean, style->width, style->is_utf8) : g_strdup(clean);
    line->colour = colour;
    line->is_heading = is_heading;
    g_ptr_array_add(lines, line);
    g_free(text);
}

static void add_head(GPtrArray *lines, json_object *host, const char *error, const HnStyle *style)
{
    const char *name = hn_reply_string(host, "host-name"),
               *summary = hn_reply_string(host, "summary");
    if (error) {
        add_line(lines, g_strdup(error), HN_COLOUR_BAD, false, style);
    } else {
        int64_t bytes_per_sec = MAX(hn_reply_int(host, "moving-bytes-per-sec", 0), 0);
        g_autofree char *rate = hn_text_bytes((uint64_t)bytes_per_sec);
        add_line(lines,
                 g_strdup_printf("%s  score %" G_GINT64_FORMAT "  moving %s/s%s%s%s", name ? name : "",
                                 hn_reply_int(host, "score-now", 0), rate,
                                 hn_reply_bool(host, "is-connected") ? "" : "  NOT CONNECTED",
                                 hn_reply_bool(host, "is-paused") ? "  PAUSED" : "",
                                 hn_reply_bool(host, "is-dry-run") ? "  DRY RUN" : ""),
                 HN_COLOUR_BOLD, false, style);
    }
    add_line(lines, g_strdup(summary && !error ? summary : ""), HN_COLOUR_NONE, false, style);
}

/* "node 0  CPU ███░░░ 3.98/2!  mem ██░░ 1.0G/2G  local 99.8%  2 at home", in so many columns. Caller frees. */
static char *format_node(json_object *node, uint32_t columns, bool is_utf8, bool *ret_is_overcommitted)
{
    uint32_t cells = columns >= NODE_COLUMNS_WIDE ? 16 : columns >= NODE_COLUMNS ? 8 : 0;
    int64_t n_cpus = hn_reply_int(node, "n-cpus", 0),
            total = hn_reply_int(node, "mem-total-bytes", 0);
    int64_t busy_mcpu =
        hn_reply_int(node, "demand-mcpu", 0) + hn_reply_int(node, "other-load-mcpu", 0);
    int64_t used = MAX(total - hn_reply_int(node, "mem-free-bytes", 0), 0);
    g_autofree char *cpu_bar =
        hn_text_bar(n_cpus > 0 ? (uint32_t)(MAX(busy_mcpu, 0) / n_cpus) : 0, cells, is_utf8);
    g_autofree char *mem_bar =
        hn_text_bar(total > 0 ? (uint32_t)((double)used / (double)total * 1000) : 0, cells, is_utf8);
    g_autofree char *busy = hn_text_mcpu((uint64_t)MAX(busy_mcpu, 0));
    g_autofree char *used_text = hn_text_bytes((uint64_t)used),
                    *total_text = hn_text_bytes((uint64_t)MAX(total, 0));
    int64_t local = hn_reply_int(node, "bytes-local-permille", -1);
    g_autofree char *share = hn_text_permille(local);
    uint32_t local_cells = columns >= NODE_COLUMNS_FULL ? 16 : 0;
    g_autofree char *local_bar = local < 0 ? g_strnfill(local_cells, ' ')
                                           : hn_text_bar((uint32_t)local, local_cells, is_utf8);
    const char *gap = cells > 0 ? " " : "";
    *ret_is_overcommitted = busy_mcpu > n_cpus * 1000;
    g_autofree char *limit =
        g_strdup_printf("%" G_GINT64_FORMAT "%s", n_cpus, *ret_is_overcommitted ? "!" : "");
    return g_strdup_printf("node %-2" G_GINT64_FORMAT " CPU %s%s%6s/%-4s mem %s%s%5s/%-4s local %s%s%5s"
                           " %3" G_GINT64_FORMAT " at home",
                           hn_reply_int(node, "id", -1), cpu_bar, gap, busy, limit, mem_bar, gap, used_text,
                           total_text, local_bar, local_cells > 0 ? " " : "", share,
                           hn_reply_int(node, "homed-domains", 0));
}

/* In at most `room` lines; what does not fit is counted. */
static void add_nodes(GPtrArray *lines, json_object *host, uint32_t room, const HnStyle *style)
{
    size_t n_nodes = hn_reply_count(host, "nodes");
    uint32_t per_line = n_nodes > MANY_NODES ? MAX(style->width / NODE_COLUMNS, 1) : 1;
    uint32_t columns = style->width / per_line;
    for (size_t i = 0; i < n_nodes; i += per_line) {
        bool is_last_line = room == 1, is_any_overcommitted = false;
        if (is_last_line && i + per_line < n_nodes) {
            add_line(lines, g_strdup_printf("%zu more nodes: 'homenode host'", n_nodes - i), HN_COLOUR_DIM, false,
                     style);
            return;
        }
        GString *line = g_string_new(NULL);
        for (size_t n = i; n < MIN(n_nodes, i + per_line); n++) {
            bool is_overcommitted;
            g_autofree char *text = format_node(hn_reply_at(host, "nodes", n), columns, style->is_utf8,
                                                &is_overcommitted);
            uint32_t used = hn_text_columns(text);
            bool is_end = n + 1 == MIN(n_nodes, i + per_line);
            g_string_append_printf(line, "%s%*s", text, is_end ? 0 : (int)(columns - MIN(used, columns)), "");
            is_any_overcommitted = is_any_overcommitted || is_overcommitted;
        }
        add_line(lines, g_string_free(line, FALSE),
                 is_any_overcommitted && per_line == 1 ? HN_COLOUR_BUSY : HN_COLOUR_NONE, false, style);
        room--;
    }
    if (n_nodes > 0)
        add_line(lines, g_strdup(""), HN_COLOUR_NONE, false, style);
}

static HnTable *domain_table(const GPtrArray *rows)
{
    static const HnColumn columns[] = {
        {"NAME", false, 14, 0, true}, {"HOME", false, 4, 0},  {"LOCAL", true, 0, 0},
        {"ACCESS", true, 0, 2},       {"CPU", true, 0, 3},    {"MEMORY", true, 0, 5},
        {"NODES", false, 10, 7},      {"MOVES", true, 0, 6},  {"RATE", true, 0, 4},
        {"STATUS", false, 0, 0},      {"REASON", false, 16, 1},
    };
    HnTable *table = hn_table_new(columns, G_N_ELEMENTS(columns));
    for (guint i = 0; i < rows->len; i++) {
        json_object *row = g_ptr_array_index(rows, i), *progress = hn_reply_object(row, "progress");
        const char *home = hn_reply_string(row, "home"),
                   *wanted = hn_reply_string(row, "home-wanted");
        bool is_leaving = wanted && g_strcmp0(home, wanted) != 0;
        hn_table_add(table, hn_reply_string(row, "name"), HN_COLOUR_NONE);
        hn_table_take(table,
                      is_leaving ? g_strdup_printf("%s>%s", home ? home : "-", wanted)
                                 : g_strdup(home),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_text_permille(hn_reply_int(row, "bytes-local-permille", -1)),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_reply_accesses(row),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_text_mcpu((uint64_t)MAX(hn_reply_int(row, "demand-mcpu", 0), 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table,
                      hn_text_bytes((uint64_t)MAX(hn_reply_int(row, "resident-bytes", 0), 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_reply_memory_at(row), HN_COLOUR_NONE);
        hn_table_take(table, g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(row, "moves", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(
            table,
            progress ? hn_text_bytes((uint64_t)MAX(hn_reply_int(progress, "bytes-per-sec", 0), 0))
                     : NULL,
            HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(row, "status"), HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(row, "reason"), HN_COLOUR_NONE);
    }
    return table;
}

static void add_domains(GPtrArray *lines, const GPtrArray *rows, HnTopState *state, uint32_t shown,
                        const HnStyle *style)
{
    g_autoptr(HnTable) table = domain_table(rows);
    HnStyle plain = *style;
    plain.has_colour = false;
    g_autofree char *text = hn_table_format(table, &plain);
    g_auto(GStrv) all = g_strsplit(text, "\n", -1);
    add_line(lines, g_strdup(all[0]), HN_COLOUR_NONE, true, style);
    for (uint32_t i = state->scroll; i < rows->len && i < state->scroll + shown; i++) {
        HnColour colour =
            hn_colour_of_status(hn_reply_string(g_ptr_array_index(rows, i), "status"));
        add_line(lines, g_strdup(all[i + 1]), colour, false, style);
    }
}

static void add_help(GPtrArray *lines, uint32_t room, const HnStyle *style)
{
    for (uint32_t i = 0; i < G_N_ELEMENTS(help) && i < room; i++)
        add_line(lines, g_strdup(help[i]), *help[i] == ' ' ? HN_COLOUR_NONE : HN_COLOUR_BOLD, false, style);
}

/* "3-18 of 30 managed by CPU, reversed | …" */
static void add_foot(GPtrArray *lines, uint32_t n_rows, uint32_t shown, const HnTopState *state,
                     const HnStyle *style)
{
    const char *name = "";
    for (size_t i = 0; i < G_N_ELEMENTS(sorts); i++)
        if (sorts[i].sort == state->sort)
            name = sorts[i].name;
    g_autofree char *range =
        shown < n_rows ? g_strdup_printf("%u-%u of ", state->scroll + 1, state->scroll + shown) : g_strdup("");
    g_autofree char *count =
        g_strdup_printf("%s%u %s by %s%s", shown > 0 ? range : "", n_rows,
                        state->is_managed_only ? "managed" : "domains", name, state->is_reverse ? ", reversed" : "");
    add_line(lines,
             state->is_help ? g_strdup("any key: back | q quit")
                            : g_strdup_printf("%s | ? help | sort: nhlacmobs | r reverse | q quit", count),
             HN_COLOUR_DIM, false, style);
}

GPtrArray *hn_top_render(json_object *host, json_object *domains, const char *error,
                         HnTopState *state, uint32_t height, const HnStyle *style)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(line_free);
    g_autoptr(GPtrArray) rows = sorted_rows(domains, state);
    uint32_t shown = 0;
    add_head(lines, host, error, style);
    if (state->is_help)
        add_help(lines, height, style);
    else
        add_nodes(lines, host, MAX(height / 2, 1), style);
    if (!state->is_help && lines->len + FOOT_LINES < height) {
        shown = height - lines->len - FOOT_LINES - 1; /* the heading */
        state->scroll = rows->len > shown ? MIN(state->scroll, rows->len - shown) : 0;
        add_domains(lines, rows, state, shown, style);
    }
    while (lines->len + FOOT_LINES < height)
        add_line(lines, g_strdup(""), HN_COLOUR_NONE, false, style);
    if (lines->len > 0 && lines->len + FOOT_LINES > height)
        g_ptr_array_set_size(lines, (int)(height > FOOT_LINES ? height - FOOT_LINES : 0));
    if (height > 0)
        add_foot(lines, rows->len, shown, state, style);
    return lines;
}
