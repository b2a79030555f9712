/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode snapshot: what a round saw and decided, the form that replay and bug reports take.
 * Always JSON; but with --machine a directory of what was read.
 */
#include "cli.h"

#include <string.h>

/* Atomically, and readable by others: it holds no guest content. */
static HnExit write_file(HnCli *cli, const char *path, json_object *reply)
{
    g_autoptr(GError) error = NULL;
    const char *text = json_object_to_json_string_ext(
        reply, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    if (!g_file_set_contents_full(path, line, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, &error))
        return hn_cli_fail(cli, "snapshot not written: %s", error->message);
    return HN_EXIT_OK;
}

static HnExit capture_machine(HnCli *cli, const char *dir)
{
    HnExit code;
    json_object *reply;
    hn_cli_need_write(cli);
    if (!hn_cli_call(cli, "capture", NULL, &reply, &code))
        return code;
    code = hn_cli_write_machine(cli, dir, reply);
    json_object_put(reply);
    return code;
}

HnExit hn_verb_snapshot(HnCli *cli, int argc, char **argv)
{
    int last = G_MININT; /* not given */
    g_autofree char *path = NULL, *machine = NULL;
    const GOptionEntry entries[] = {
        {"last", 'l', 0, G_OPTION_ARG_INT, &last,
         "The last N recorded rounds instead of a fresh one", "N"},
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &path, "Write to this file", "FILE"},
        {"machine", 'm', 0, G_OPTION_ARG_FILENAME, &machine,
         "Instead: the files of /proc and /sys that are read, below DIR; needs the read-write socket", "DIR"},
        {NULL},
    };
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, entries, &argc, &argv, 0, 0, &code))
        return code;
    if (last < 1 && last != G_MININT)
        return hn_cli_usage(cli, "--last %d is not allowed: use 1 or more", last);
    if (machine && (path || last != G_MININT))
        return hn_cli_usage(cli, "--machine goes with neither --last nor --output");
    if (machine)
        return capture_machine(cli, machine);
    json_object *arguments = json_object_new_object();
    if (last > 0)
        json_object_object_add(arguments, "last", json_object_new_int(last));
    if (!hn_cli_call(cli, "snapshot", arguments, &reply, &code))
        return code;
    if (path)
        code = write_file(cli, path, reply);
    else
        hn_cli_print_json(reply);
    json_object_put(reply);
    return code;
}
