/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode plan: what would be done now. The same object that is applied, recorded and replayed.
 */
#include "cli.h"

char *hn_cli_format_move(const char *from, const char *to, const HnStyle *style)
{
    if (g_strcmp0(from, to) == 0 || !to)
        return g_strdup(from ? from : "-");
    return g_strdup_printf("%s %s %s", from ? from : "-", style->is_utf8 ? "→" : "->", to);
}

/* Homes of all clients, now or wanted: "0", "0,2", NULL if none has one. Caller frees. */
static char *format_homes(json_object *verdict, const char *key)
{
    GString *homes = g_string_new(NULL);
    for (size_t i = 0; i < hn_reply_count(verdict, "clients"); i++) {
        int64_t home = hn_reply_int(hn_reply_at(verdict, "clients", i), key, -1);
        if (home >= 0)
            g_string_append_printf(homes, "%s%" G_GINT64_FORMAT, homes->len ? "," : "", home);
    }
    if (homes->len == 0) {
        g_string_free(homes, TRUE);
        return NULL;
    }
    return g_string_free(homes, FALSE);
}

char *hn_cli_format_payback(json_object *move)
{
    int64_t payback_ms = hn_reply_int(move, "payback-ms", -1);
    if (hn_reply_int(move, "bytes-to-move", 0) == 0)
        return NULL;
    return payback_ms < 0 ? g_strdup("never") : hn_text_duration_ms((uint64_t)payback_ms);
}

static void print_verdicts(const HnCli *cli, json_object *plan)
{
    static const HnColumn columns[] = {
        {"NAME", false, 16, 0, true}, {"HOME", false, 0, 0},    {"SCORE", false, 0, 0},
        {"LOCAL", true, 0, 4},        {"MOVE", true, 0, 0},     {"TIME", true, 0, 3},
        {"PAYBACK", true, 0, 5},      {"REASON", false, 18, 0}, {"WHY", false, 30, 6},
    };
    const HnStyle *style = hn_cli_style(cli);
    g_autoptr(HnTable) table = hn_table_new(columns, G_N_ELEMENTS(columns));
    g_autoptr(GPtrArray) verdicts = hn_reply_by_name(plan, "verdicts");
    guint n_unmanaged = 0;
    for (guint i = 0; i < verdicts->len; i++) {
        json_object *verdict = g_ptr_array_index(verdicts, i);
        bool will_act = hn_reply_bool(verdict, "will-act");
        if (g_strcmp0(hn_reply_string(verdict, "reason"), "not-opted-in") == 0) {
            n_unmanaged++;
            continue;
        }
        int64_t local = hn_reply_int(verdict, "bytes-local-permille", -1);
        g_autofree char *now = format_homes(verdict, "home-now");
        g_autofree char *wanted = format_homes(verdict, "home-wanted");
        g_autofree char *score_now =
            g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(verdict, "score-now", 0));
        g_autofree char *score_after =
            g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(verdict, "score-after", 0));
        hn_table_add(table, hn_reply_string(verdict, "name"), HN_COLOUR_NONE);
        hn_table_take(table, hn_cli_format_move(now, wanted, style),
                      will_act ? HN_COLOUR_BUSY : HN_COLOUR_NONE);
        hn_table_take(table, hn_cli_format_move(score_now, score_after, style), HN_COLOUR_NONE);
        hn_table_take(table, hn_text_permille(local), hn_colour_of_share(local));
        bool has_bytes = hn_reply_int(verdict, "bytes-to-move", 0) > 0;
        hn_table_take(table, hn_text_bytes((uint64_t)hn_reply_int(verdict, "bytes-to-move", 0)),
                      HN_COLOUR_NONE);
        hn_table_take(table,
                      has_bytes ? hn_text_duration_ms((uint64_t)hn_reply_int(verdict, "move-ms", 0))
                                : NULL,
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_cli_format_payback(verdict), HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(verdict, "reason"), HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(verdict, "sentence"), HN_COLOUR_DIM);
    }
    if (hn_table_rows(table) > 0)
        hn_cli_print_table(cli, table);
    if (n_unmanaged > 0)
        g_print("Not opted in: %u.\n", n_unmanaged);
}

static void print_actions(const HnCli *cli, json_object *plan)
{
    static const HnColumn columns[] = {
        {"STEP", true, 0, 0},     {"ACTION", false, 0, 0}, {"NAME", false, 8, 0, true},
        {"FROM", false, 0, 0},    {"TO", false, 0, 0},     {"BYTES", true, 0, 0},
        {"REASON", false, 12, 0},
    };
    g_autoptr(HnTable) table = hn_table_new(columns, G_N_ELEMENTS(columns));
    for (size_t i = 0; i < hn_reply_count(plan, "actions"); i++) {
        json_object *action = hn_reply_at(plan, "actions", i);
        int64_t bytes = hn_reply_int(action, "bytes", 0);
        hn_table_take(table, g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(action, "step", 0)),
                      HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(action, "kind"), HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(action, "name"), HN_COLOUR_NONE);
        hn_table_take(table, hn_reply_int_list(action, "from-nodes"), HN_COLOUR_NONE);
        hn_table_take(table, hn_reply_int_list(action, "to-nodes"), HN_COLOUR_NONE);
        hn_table_take(table, bytes > 0 ? hn_text_bytes((uint64_t)bytes) : NULL, HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(action, "reason"), HN_COLOUR_NONE);
    }
    hn_cli_print_table(cli, table);
}

void hn_cli_print_plan(const HnCli *cli, json_object *plan)
{
    const char *summary = hn_reply_string(plan, "summary");
    if (summary && *summary)
        hn_cli_print_wrapped(cli, 0, summary);
    g_print("Score of the host: %" G_GINT64_FORMAT " now, %" G_GINT64_FORMAT " after.\n",
            hn_reply_int(plan, "score-now", 0), hn_reply_int(plan, "score-after", 0));
    if (hn_reply_count(plan, "verdicts") > 0) {
        g_print("\n");
        print_verdicts(cli, plan);
    }
    if (hn_reply_count(plan, "actions") > 0) {
        g_print("\n");
        print_actions(cli, plan);
    } else {
        g_print("\nNothing to do.\n");
    }
}

HnExit hn_verb_plan(HnCli *cli, int argc, char **argv)
{
    int node = HN_CLI_NO_NODE;
    const GOptionEntry entries[] = {
        {"node", 'n', 0, G_OPTION_ARG_INT, &node, "As if the domains were wanted on this node",
         "NODE"},
        {NULL},
    };
    HnExit code;
    json_object *plan;
    if (!hn_cli_parse(cli, entries, &argc, &argv, 0, -1, &code))
        return code;
    if (node < 0 && node != HN_CLI_NO_NODE)
        return hn_cli_usage(cli, "--node %d is not allowed: use a node of 'homenode host'", node);
    json_object *arguments = hn_cli_domains_argument(argc, argv);
    if (node >= 0)
        json_object_object_add(arguments, "node", json_object_new_int(node));
    if (!hn_cli_call(cli, "query-plan", arguments, &plan, &code))
        return code;
    if (hn_cli_is_json(cli))
        hn_cli_print_json(plan);
    else
        hn_cli_print_plan(cli, plan);
    json_object_put(plan);
    return HN_EXIT_OK;
}
