/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode host: the NUMA nodes, what they hold, how far apart they are.
 */
#include "cli.h"

static void print_nodes(const HnCli *cli, json_object *reply)
{
    static const HnColumn columns[] = {
        {"NODE", true, 0, 0},   {"CPUS", false, 15, 0},    {"CORES", true, 0, 8},
        {"GUESTS", true, 0, 0}, {"DEMAND", true, 0, 0},    {"OTHER", true, 0, 6},
        {"MEMORY", true, 0, 0}, {"FREE", true, 0, 0},      {"GUEST", true, 0, 4},
        {"LOCAL", true, 0, 3},  {"DISTANCE", false, 0, 5}, {"ROLE", false, 0, 2},
    };
    bool has_roles = false; /* else all can be homes, which need not be said */
    for (size_t i = 0; i < hn_reply_count(reply, "nodes"); i++)
        has_roles = has_roles || !hn_reply_bool(hn_reply_at(reply, "nodes", i), "is-home-candidate");
    uint32_t n_columns = G_N_ELEMENTS(columns) - (has_roles ? 0 : 1);
    g_autoptr(HnTable) table = hn_table_new(columns, n_columns);
    for (size_t i = 0; i < hn_reply_count(reply, "nodes"); i++) {
        json_object *node = hn_reply_at(reply, "nodes", i);
        int64_t local = hn_reply_int(node, "bytes-local-permille", -1);
        int64_t demand_mcpu = hn_reply_int(node, "demand-mcpu", 0);
        int64_t n_cpus = hn_reply_int(node, "n-cpus", 0);
        bool is_overcommitted = demand_mcpu > n_cpus * 1000;
        hn_table_take(table, g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(node, "id", -1)),
                      HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(node, "cpus"), HN_COLOUR_NONE);
        hn_table_take(table, g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(node, "n-cores", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table,
                      g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(node, "homed-domains", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_text_mcpu((uint64_t)demand_mcpu),
                      is_overcommitted ? HN_COLOUR_BUSY : HN_COLOUR_NONE);
        hn_table_take(table, hn_text_mcpu((uint64_t)hn_reply_int(node, "other-load-mcpu", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_text_bytes((uint64_t)hn_reply_int(node, "mem-total-bytes", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_text_bytes((uint64_t)hn_reply_int(node, "mem-free-bytes", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_text_bytes((uint64_t)hn_reply_int(node, "guest-bytes", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_text_permille(local), hn_colour_of_share(local));
        hn_table_take(table, hn_reply_int_list(node, "distance"), HN_COLOUR_NONE);
        if (has_roles)
            hn_table_add(table,
                         hn_reply_bool(node, "is-home-candidate") ? "home"
                         : n_cpus == 0                            ? "memory only"
                                                                  : "CPUs only",
                         HN_COLOUR_DIM);
    }
    hn_cli_print_table(cli, table);
}

void hn_cli_print_host(const HnCli *cli, json_object *reply)
{
    const char *host_name = hn_reply_string(reply, "host-name");
    const char *summary = hn_reply_string(reply, "summary");
    int64_t bytes_per_sec = hn_reply_int(reply, "moving-bytes-per-sec", 0);
    g_autofree char *rate = hn_text_bytes((uint64_t)MAX(bytes_per_sec, 0));
    g_autofree char *moving =
        bytes_per_sec > 0 ? g_strdup_printf(", moving %s/s", rate) : g_strdup("");
    g_autofree char *head = g_strdup_printf(
        "%s: homenoded %s, %s%s%s%s; score %" G_GINT64_FORMAT "%s", host_name ? host_name : "?",
        hn_reply_string(reply, "version") ? hn_reply_string(reply, "version") : "?",
        hn_reply_string(reply, "backend") ? hn_reply_string(reply, "backend") : "?",
        hn_reply_bool(reply, "is-connected") ? " connected" : " not connected",
        hn_reply_bool(reply, "is-dry-run") ? ", dry run" : "",
        hn_reply_bool(reply, "is-paused") ? ", paused" : "", hn_reply_int(reply, "score-now", 0),
        moving);
    hn_cli_print_wrapped(cli, 0, head);
    if (summary && *summary)
        hn_cli_print_wrapped(cli, 0, summary);
    if (hn_reply_string(reply, "last-error")) {
        g_autofree char *error =
            g_strdup_printf("Last round failed: %s", hn_reply_string(reply, "last-error"));
        hn_cli_print_wrapped(cli, 0, error);
    }
    if (hn_reply_count(reply, "nodes") > 0) {
        g_print("\n");
        print_nodes(cli, reply);
    }
}

HnExit hn_verb_host(HnCli *cli, int argc, char **argv)
{
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, NULL, &argc, &argv, 0, 0, &code))
        return code;
    if (!hn_cli_call(cli, "query-host", NULL, &reply, &code))
        return code;
    if (hn_cli_is_json(cli))
        hn_cli_print_json(reply);
    else
        hn_cli_print_host(cli, reply);
    json_object_put(reply);
    return HN_EXIT_OK;
}
