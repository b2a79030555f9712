/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode set: shows the configuration in force, one key of it, or changes one.
 */
#include "cli.h"

#include <string.h>

static HnExit print_keys(HnCli *cli, json_object *reply, const char *wanted)
{
    static const HnColumn columns[] = {
        {"KEY", false, 0, 0},
        {"VALUE", false, 8, 0},
        {"DEFAULT", false, 0, 2},
        {"MEANING", false, 24, 1},
    };
    g_autoptr(HnTable) table = hn_table_new(columns, G_N_ELEMENTS(columns));
    for (size_t i = 0; i < hn_reply_count(reply, "keys"); i++) {
        json_object *key = hn_reply_at(reply, "keys", i);
        const char *name = hn_reply_string(key, "key"), *help = hn_reply_string(key, "help");
        bool is_default = hn_reply_bool(key, "is-default");
        if (wanted && g_strcmp0(name, wanted) != 0)
            continue;
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
    if (hn_table_rows(table) == 0)
        return hn_cli_fail(cli, "no key '%s': 'homenode set' lists them", wanted ? wanted : "");
    hn_cli_print_table(cli, table);
    return HN_EXIT_OK;
}

static HnExit show(HnCli *cli, const char *wanted)
{
    HnExit code;
    json_object *reply;
    hn_cli_only_read(cli);
    if (!hn_cli_call(cli, "query-config", NULL, &reply, &code))
        return code;
    if (hn_cli_is_json(cli))
        hn_cli_print_json(reply);
    else
        code = print_keys(cli, reply, wanted);
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
