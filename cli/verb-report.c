/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode report: what the daemon recorded over time as one HTML page.
 */
#include "cli.h"
#include "report-page.h"

#include <stdio.h>

#define MINUTE_MS 60000
#define MAX_ENTRIES 1000 /* of history, the newest */

static HnExit write_page(HnCli *cli, const char *path, const char *page)
{
    g_autoptr(GError) error = NULL;
    if (!path)
        fputs(page, stdout); /* UTF-8 whatever the locale */
    else if (!g_file_set_contents_full(path, page, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644,
                                       &error))
        return hn_cli_fail(cli, "report not written: %s", error->message);
    return HN_EXIT_OK;
}

HnExit hn_verb_report(HnCli *cli, int argc, char **argv)
{
    int last = G_MININT; /* not given */
    g_autofree char *path = NULL;
    const GOptionEntry entries[] = {
        {"last", 'l', 0, G_OPTION_ARG_INT, &last, "Only so many minutes back", "MINUTES"},
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &path, "Write to this file", "FILE"},
        {NULL},
    };
    HnExit code;
    json_object *host = NULL, *series = NULL, *history = NULL;
    if (!hn_cli_parse(cli, entries, &argc, &argv, 0, 0, &code))
        return code;
    if (last < 1 && last != G_MININT)
        return hn_cli_usage(cli, "--last %d is not allowed: use 1 or more", last);
    json_object *limit = json_object_new_object();
    json_object_object_add(limit, "limit", json_object_new_int(MAX_ENTRIES));
    bool is_complete = hn_cli_call(cli, "history", limit, &history, &code) &&
                       hn_cli_call(cli, "query-host", NULL, &host, &code) &&
                       hn_cli_call(cli, "query-series", NULL, &series, &code);
    if (is_complete && hn_cli_is_json(cli)) {
        hn_cli_print_json(series);
    } else if (is_complete) {
        g_autofree char *page =
            hn_report_page(host, series, history, last > 0 ? (int64_t)last * MINUTE_MS : 0);
        code = write_page(cli, path, page);
    }
    json_object_put(host);
    json_object_put(series);
    json_object_put(history);
    return code;
}
