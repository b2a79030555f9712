/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode metrics: OpenMetrics text, as the daemon made it.
 */
#include "cli.h"

#include <stdio.h>

HnExit hn_verb_metrics(HnCli *cli, int argc, char **argv)
{
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, NULL, &argc, &argv, 0, 0, &code))
        return code;
    if (!hn_cli_call(cli, "metrics", NULL, &reply, &code))
        return code;
    const char *text = hn_reply_string(reply, "text");
    if (hn_cli_is_json(cli))
        hn_cli_print_json(reply);
    else if (text)
        fputs(text, stdout); /* the format is UTF-8 whatever the locale */
    json_object_put(reply);
    return HN_EXIT_OK;
}
