/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode list: one line per domain. Also the table that `status` shows.
 */
#include "cli.h"

HnTable *hn_cli_domain_table(json_object *reply)
{
    static const HnColumn columns[] = {
        {"NAME", false, 16, 0, true}, {"MODE", false, 0, 6},   {"HOME", false, 4, 0},
        {"LOCAL", true, 0, 0},        {"ACCESS", true, 0, 2},  {"VCPUS", true, 0, 7},
        {"CPU", true, 0, 3},          {"MEMORY", true, 0, 5},  {"NODES", false, 10, 10},
        {"SCORE", true, 0, 8},        {"MOVES", true, 0, 9},   {"STATUS", false, 0, 0},
        {"REASON", false, 18, 4},     {"WHY", false, 30, 11},
    };
    HnTable *table = hn_table_new(columns, G_N_ELEMENTS(columns));
    g_autoptr(GPtrArray) rows = hn_reply_by_name(reply, "domains");
    for (guint i = 0; i < rows->len; i++) {
        json_object *row = g_ptr_array_index(rows, i);
        int64_t local = hn_reply_int(row, "bytes-local-permille", -1);
        int64_t accesses = hn_reply_int(row, "accesses-local-permille", -1);
        const char *status = hn_reply_string(row, "status");
        hn_table_add(table, hn_reply_string(row, "name"), HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(row, "mode"), HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(row, "home"), HN_COLOUR_NONE);
        hn_table_take(table, hn_text_permille(local), hn_colour_of_share(local));
        hn_table_take(table, hn_reply_accesses(row), hn_colour_of_share(accesses));
        hn_table_take(table, g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(row, "vcpus", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_text_mcpu((uint64_t)hn_reply_int(row, "demand-mcpu", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_text_bytes((uint64_t)hn_reply_int(row, "resident-bytes", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_reply_memory_at(row), HN_COLOUR_NONE);
        hn_table_take(table,
                      g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(row, "score-now", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table, g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(row, "moves", 0)),
                      HN_COLOUR_NONE);
        hn_table_add(table, status, hn_colour_of_status(status));
        hn_table_add(table, hn_reply_string(row, "reason"), HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(row, "sentence"), HN_COLOUR_DIM);
    }
    return table;
}

/* No domain: because there is none, or because nobody can be asked? */
static HnExit print_none(HnCli *cli, const char *sentence)
{
    HnExit code;
    json_object *host;
    if (!hn_cli_call(cli, "query-host", NULL, &host, &code))
        return code;
    const char *summary = hn_reply_string(host, "summary");
    bool is_known = hn_reply_bool(host, "is-connected") && hn_reply_int(host, "rounds", 1) > 0;
    hn_cli_print_wrapped(cli, 0, is_known || !summary ? sentence : summary);
    json_object_put(host);
    return HN_EXIT_OK;
}

HnExit hn_verb_list(HnCli *cli, int argc, char **argv)
{
    gboolean is_managed_only = FALSE, is_names = FALSE;
    const GOptionEntry entries[] = {
        {"managed", 'm', 0, G_OPTION_ARG_NONE, &is_managed_only, "Only domains that have opted in",
         NULL},
        {"names", 'n', 0, G_OPTION_ARG_NONE, &is_names, "Only the names, one a line, for scripts",
         NULL},
        {NULL},
    };
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, entries, &argc, &argv, 0, 0, &code))
        return code;
    json_object *arguments = json_object_new_object();
    if (is_managed_only)
        json_object_object_add(arguments, "managed-only", json_object_new_boolean(TRUE));
    if (!hn_cli_call(cli, "query-domains", arguments, &reply, &code))
        return code;
    if (is_names) {
        g_autoptr(GPtrArray) rows = hn_reply_by_name(reply, "domains");
        for (guint i = 0; i < rows->len; i++) {
            const char *name = hn_reply_string(g_ptr_array_index(rows, i), "name");
            g_autofree char *clean = hn_text_clean(name ? name : "");
            g_print("%s\n", clean);
        }
    } else if (hn_cli_is_json(cli)) {
        hn_cli_print_json(reply);
    } else if (hn_reply_count(reply, "domains") == 0) {
        code =
            print_none(cli, is_managed_only ? "No domain has opted in." : "No domain is running.");
    } else {
        g_autoptr(HnTable) table = hn_cli_domain_table(reply);
        hn_cli_print_table(cli, table);
    }
    json_object_put(reply);
    return code;
}
