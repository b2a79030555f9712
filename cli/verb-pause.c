/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode pause and resume: the same call by two names.
 */
#include "cli.h"

HnExit hn_verb_pause(HnCli *cli, int argc, char **argv)
{
    g_autofree char *verb = g_strdup(argv[0]);
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, NULL, &argc, &argv, 0, -1, &code))
        return code;
    if (!hn_cli_call(cli, verb, hn_cli_domains_argument(argc, argv), &reply, &code))
        return code;
    if (hn_cli_is_json(cli)) {
        hn_cli_print_json(reply);
    } else {
        for (size_t i = 0; argc > 1 && i < hn_reply_count(reply, "domains"); i++) {
            json_object *domain = hn_reply_at(reply, "domains", i);
            const char *name = hn_reply_string(domain, "name");
            g_autofree char *clean = hn_text_clean(name ? name : "?");
            g_print("%s: %s\n", clean, hn_reply_bool(domain, "is-held") ? "held" : "acted upon");
        }
        if (hn_reply_bool(reply, "is-paused"))
            g_print("The whole host is paused.\n");
        else if (argc == 1)
            g_print("The host is not paused.\n");
    }
    json_object_put(reply);
    return HN_EXIT_OK;
}
