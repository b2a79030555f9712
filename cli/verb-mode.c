/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode enable, advise, disable: the opt-in metadata, written by the daemon so that one place
 * knows its form. Other attributes of the element are kept.
 */
#include "cli.h"

#include <string.h>

/* Each domain by itself: one that fails does not keep the others from being changed. */
static HnExit set_mode(HnCli *cli, const char *domain, const char *mode, bool is_persistent,
                       json_object *all)
{
    HnExit code;
    json_object *reply, *arguments = json_object_new_object();
    json_object_object_add(arguments, "domain", json_object_new_string(domain));
    json_object_object_add(arguments, "mode", json_object_new_string(mode));
    json_object_object_add(arguments, "persistent", json_object_new_boolean(is_persistent));
    if (!hn_cli_call(cli, "set-mode", arguments, &reply, &code))
        return code;
    if (hn_cli_is_json(cli)) {
        json_object_array_add(all, reply);
        return HN_EXIT_OK;
    }
    const char *name = hn_reply_string(reply, "name");
    g_autofree char *clean = hn_text_clean(name ? name : domain);
    g_print("%s: mode %s%s\n", clean, hn_reply_string(reply, "mode"),
            hn_reply_bool(reply, "persistent") ? ", also for its next start" : ", until it stops");
    json_object_put(reply);
    return HN_EXIT_OK;
}

HnExit hn_verb_mode(HnCli *cli, int argc, char **argv)
{
    bool is_disable = strcmp(argv[0], "disable") == 0;
    gboolean is_temporary = FALSE, is_remove = FALSE;
    const GOptionEntry entries[] = {
        {"temporary", 0, 0, G_OPTION_ARG_NONE, &is_temporary,
         "Only the running domain, not its stored configuration", NULL},
        {is_disable ? "remove" : NULL, 0, 0, G_OPTION_ARG_NONE, &is_remove,
         "Remove the element, with all its attributes", NULL},
        {NULL},
    };
    const char *mode = is_disable ? "off" : strcmp(argv[0], "advise") == 0 ? "advise" : "auto";
    HnExit code, result = HN_EXIT_OK;
    if (!hn_cli_parse(cli, entries, &argc, &argv, 1, -1, &code))
        return code;
    json_object *all = json_object_new_array();
    for (int i = 1; i < argc; i++) {
        code = set_mode(cli, argv[i], is_remove ? "none" : mode, !is_temporary, all);
        if (code != HN_EXIT_OK)
            result = code;
        if (code == HN_EXIT_NO_DAEMON || code == HN_EXIT_DENIED)
            break;
    }
    if (hn_cli_is_json(cli)) {
        json_object *object = json_object_new_object();
        json_object_object_add(object, "schema", json_object_new_int(1));
        json_object_object_add(object, "domains", json_object_get(all));
        hn_cli_print_json(object);
        json_object_put(object);
    }
    json_object_put(all);
    return result;
}
