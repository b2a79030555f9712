/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode set: shows the configuration in force, one key of it, or changes one.
 */
#include "cli.h"

#include <unistd.h>

#define ROOM_FOR_MEANINGS 140 /* columns from which the table has them */

/* One key, with all that is to be said about it. */
static HnExit print_key(HnCli *cli, json_object *reply, const char *wanted)
{
    for (size_t i = 0; i < hn_reply_count(reply, "keys"); i++) {
        json_object *key = hn_reply_at(reply, "keys", i);
        const char *value = hn_reply_string(key, "value"), *help = hn_reply_string(key, "help");
        const char *standard = hn_reply_string(key, "default");
        if (g_strcmp0(hn_reply_string(key, "key"), wanted) != 0)
            continue;
        g_autofree char *head = g_strdup_printf("%s = %s (default %s%s)", wanted, value && *value ? value : "-",
                                                standard && *standard ? standard : "-",
                                                hn_reply_bool(key, "needs-restart") ? "; needs a restart" : "");
        hn_cli_print_wrapped(cli, 0, head);
        if (help)
            hn_cli_print_wrapped(cli, 2, help);
        return HN_EXIT_OK;
    }
    return hn_cli_fail(cli, "no key '%s': 'homenode set' lists them", wanted);
}

static void print_keys(HnCli *cli, json_object *reply)
{
    static const HnColumn columns[] = {
        {"KEY", false, 0, 0},
        {"VALUE", false, 12, 0},
        {"DEFAULT", false, 0, 2},
        {"MEANING", false, 40, 3},
    };
    g_autoptr(HnTable) table = hn_table_new(columns, G_N_ELEMENTS(columns));
    for (size_t i = 0; i < hn_reply_count(reply, "keys"); i++) {
        json_object *key = hn_reply_at(reply, "keys", i);
        const char *name = hn_reply_string(key, "key"), *help = hn_reply_string(key, "help");
        bool is_default = hn_reply_bool(key, "is-default");
        hn_table_add(table, name, HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(key, "value"),
                     is_default ? HN_COLOUR_NONE : HN_COLOUR_BUSY);
        hn_table_add(table, hn_reply_string(key, "default"), HN_COLOUR_DIM);
        hn_table_take(
            table,
            g_strdup_printf("%s%s", help ? help : "",
                            hn_reply_bool(key, "needs-restart") ? " (needs a restart)" : ""),
            HN_COLOUR_NONE);
    }
    hn_cli_print_table(cli, table);
    uint32_t width = hn_cli_style(cli)->width;
    if (isatty(STDOUT_FILENO) && width < ROOM_FOR_MEANINGS) /* not for those who read keys by program */
        g_print("\n'homenode set KEY' says what a key means.\n");
}

static HnExit show(HnCli *cli, const char *wanted)
{
    HnExit code = HN_EXIT_OK;
    json_object *reply;
    hn_cli_only_read(cli);
    if (!hn_cli_call(cli, "query-config", NULL, &reply, &code))
        return code;
    if (hn_cli_is_json(cli))
        hn_cli_print_json(reply);
    else if (wanted)
        code = print_key(cli, reply, wanted);
    else
        print_keys(cli, reply);
    json_object_put(reply);
    return code;
}

HnExit hn_verb_set(HnCli *cli, int argc, char **argv)
{
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, NULL, &argc, &argv, 0, 2, &code))
        return code;
    if (argc < 3)
        return show(cli, argc > 1 ? argv[1] : NULL);
    json_object *arguments = json_object_new_object();
    json_object_object_add(arguments, "key", json_object_new_string(argv[1]));
    json_object_object_add(arguments, "value", json_object_new_string(argv[2]));
    if (!hn_cli_call(cli, "set", arguments, &reply, &code))
        return code;
    if (hn_cli_is_json(cli)) {
        hn_cli_print_json(reply);
    } else {
        const char *value = hn_reply_string(reply, "value");
        g_autofree char *clean = hn_text_clean(value ? value : argv[2]);
        g_print("%s = %s, until homenoded restarts\n", argv[1], clean);
    }
    json_object_put(reply);
    return HN_EXIT_OK;
}
