/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode history: decisions, outcomes and the administrators' commands, newest first.
 */
#include "cli.h"

#define ROOM_FOR_SENTENCES 120 /* columns from which they stand in the table, not below their lines */

void hn_cli_print_history(const HnCli *cli, json_object *reply, const char *key)
{
    static const HnColumn columns[] = {
        {"TIME", false, 0, 0},  {"KIND", false, 0, 3},   {"NAME", false, 12, 0, true},
        {"HOME", false, 0, 0},  {"BYTES", true, 0, 4},   {"REASON", false, 0, 2},
        {"WHAT", false, 34, 0},
    };
    uint32_t width = hn_cli_style(cli)->width;
    bool is_wide = width == 0 || width >= ROOM_FOR_SENTENCES;
    const HnStyle *style = hn_cli_style(cli);
    g_autoptr(HnTable) table = hn_table_new(columns, G_N_ELEMENTS(columns) - (is_wide ? 0 : 1));
    for (size_t i = 0; i < hn_reply_count(reply, key); i++) {
        json_object *entry = hn_reply_at(reply, key, i);
        int64_t bytes = hn_reply_int(entry, "bytes", 0);
        hn_table_take(table, hn_text_time(hn_reply_int(entry, "unix-s", 0)), HN_COLOUR_DIM);
        hn_table_add(table, hn_reply_string(entry, "kind"), HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(entry, "name"), HN_COLOUR_NONE);
        hn_table_take(
            table,
            hn_cli_format_move(hn_reply_string(entry, "from"), hn_reply_string(entry, "to"), style),
            HN_COLOUR_NONE);
        hn_table_take(table, bytes > 0 ? hn_text_bytes((uint64_t)bytes) : NULL, HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(entry, "reason"), HN_COLOUR_NONE);
        if (is_wide)
            hn_table_add(table, hn_reply_string(entry, "sentence"), HN_COLOUR_NONE);
    }
    if (is_wide) {
        hn_cli_print_table(cli, table);
        return;
    }
    g_autofree char *text = hn_table_format(table, style);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_print("%s\n", lines[0]);
    for (size_t i = 0; i < hn_reply_count(reply, key); i++) {
        const char *sentence = hn_reply_string(hn_reply_at(reply, key, i), "sentence");
        g_print("%s\n", lines[i + 1]);
        if (sentence && *sentence)
            hn_cli_print_wrapped(cli, 4, sentence);
    }
}

HnExit hn_verb_history(HnCli *cli, int argc, char **argv)
{
    int limit = 20;
    const GOptionEntry entries[] = {
        {"limit", 'n', 0, G_OPTION_ARG_INT, &limit, "At most so many entries (20)", "N"},
        {NULL},
    };
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, entries, &argc, &argv, 0, 1, &code))
        return code;
    if (limit < 1)
        return hn_cli_usage(cli, "--limit %d is not allowed: use 1 or more", limit);
    json_object *arguments = json_object_new_object();
    json_object_object_add(arguments, "limit", json_object_new_int(limit));
    if (argc > 1)
        json_object_object_add(arguments, "domain", json_object_new_string(argv[1]));
    if (!hn_cli_call(cli, "history", arguments, &reply, &code))
        return code;
    if (hn_cli_is_json(cli))
        hn_cli_print_json(reply);
    else if (hn_reply_count(reply, "entries") == 0)
        g_print("Nothing was decided yet.\n");
    else
        hn_cli_print_history(cli, reply, "entries");
    json_object_put(reply);
    return HN_EXIT_OK;
}
