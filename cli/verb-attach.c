/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode attach and detach: a guest that libvirt does not run, by its QMP socket.
 */
#include "cli.h"

#include <string.h>

/* The daemon has another working directory: it gets the whole path. */
static json_object *socket_argument(const char *path)
{
    g_autofree char *absolute = g_canonicalize_filename(path, NULL);
    json_object *arguments = json_object_new_object();
    json_object_object_add(arguments, "socket", json_object_new_string(absolute));
    return arguments;
}

HnExit hn_verb_attach(HnCli *cli, int argc, char **argv)
{
    const bool is_detach = strcmp(argv[0], "detach") == 0;
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, NULL, &argc, &argv, 1, 1, &code))
        return code;
    if (!hn_cli_call(cli, is_detach ? "detach" : "attach", socket_argument(argv[1]), &reply, &code))
        return code;
    if (hn_cli_is_json(cli)) {
        hn_cli_print_json(reply);
    } else {
        const char *name = hn_reply_string(reply, "name"), *uuid = hn_reply_string(reply, "uuid");
        g_autofree char *clean = hn_text_clean(name ? name : argv[1]);
        g_print("%s%s%s: %s\n", clean, uuid ? " " : "", uuid ? uuid : "",
                is_detach ? "detached" : "attached");
    }
    json_object_put(reply);
    return HN_EXIT_OK;
}
