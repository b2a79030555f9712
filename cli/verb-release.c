/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode release: domains get back the pins and the nodeset they had.
 */
#include "cli.h"

static HnExit print_released(const HnCli *cli, json_object *reply)
{
    HnExit code = HN_EXIT_OK;
    for (size_t i = 0; i < hn_reply_count(reply, "domains"); i++) {
        json_object *domain = hn_reply_at(reply, "domains", i);
        const char *name = hn_reply_string(domain, "name"),
                   *reason = hn_reply_string(domain, "reason");
        const char *sentence = hn_reply_string(domain, "sentence");
        g_autofree char *line =
            g_strdup_printf("%s: %s%s%s", name ? name : "?", reason ? reason : "?",
                            sentence && *sentence ? ": " : "", sentence ? sentence : "");
        if (g_strcmp0(reason, "released") != 0)
            code = HN_EXIT_FAILED;
        if (!hn_cli_is_json(cli))
            hn_cli_print_wrapped(cli, 0, line);
    }
    if (!hn_cli_is_json(cli) && hn_reply_count(reply, "domains") == 0)
        g_print("No domain had been changed.\n");
    return code;
}

HnExit hn_verb_release(HnCli *cli, int argc, char **argv)
{
    gboolean is_all = FALSE;
    const GOptionEntry entries[] = {
        {"all", 'a', 0, G_OPTION_ARG_NONE, &is_all, "Every domain", NULL},
        {NULL},
    };
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, entries, &argc, &argv, 0, -1, &code))
        return code;
    if (argc == 1 && !is_all)
        return hn_cli_usage(cli, "name the domains, or use --all");
    if (argc > 1 && is_all)
        return hn_cli_usage(cli, "--all does not go with names of domains");
    if (!hn_cli_call(cli, "release", hn_cli_domains_argument(argc, argv), &reply, &code))
        return code;
    code = print_released(cli, reply);
    if (hn_cli_is_json(cli))
        hn_cli_print_json(reply);
    json_object_put(reply);
    return code;
}
