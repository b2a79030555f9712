/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode writes DOMAIN: what of its RAM was written in a window, by soft-dirty bits.
 */
#include "cli.h"

#define WINDOW_MAX_MS 10000

static void print_ranges(const HnCli *cli, json_object *reply)
{
    static const HnColumn columns[] = {
        {"FROM", true, 0, 0}, {"TO", true, 0, 0}, {"SIZE", true, 0, 0}, {"WRITTEN", true, 0, 0}, {"CELL", true, 0, 0}};
    g_autoptr(HnTable) table = hn_table_new(columns, G_N_ELEMENTS(columns));
    for (size_t i = 0; i < hn_reply_count(reply, "regions"); i++) {
        json_object *region = hn_reply_at(reply, "regions", i);
        int64_t cell = hn_reply_int(region, "guest-cell", -1);
        for (size_t k = 0; k < hn_reply_count(region, "ranges"); k++) {
            json_object *range = hn_reply_at(region, "ranges", k);
            uint64_t start = (uint64_t)hn_reply_int(range, "start", 0), end = (uint64_t)hn_reply_int(range, "end", 0);
            hn_table_take(table, g_strdup_printf("0x%" G_GINT64_MODIFIER "x", start), HN_COLOUR_NONE);
            hn_table_take(table, g_strdup_printf("0x%" G_GINT64_MODIFIER "x", end), HN_COLOUR_NONE);
            hn_table_take(table, hn_text_bytes(end - start), HN_COLOUR_NONE);
            hn_table_take(table, hn_text_bytes((uint64_t)hn_reply_int(range, "written-bytes", 0)), HN_COLOUR_NONE);
            hn_table_take(table, cell < 0 ? NULL : g_strdup_printf("%" G_GINT64_FORMAT, cell), HN_COLOUR_NONE);
        }
    }
    if (hn_table_rows(table) > 0)
        hn_cli_print_table(cli, table);
}

static void print_left_out(const HnCli *cli, json_object *reply)
{
    for (size_t i = 0; i < hn_reply_count(reply, "regions"); i++) {
        json_object *region = hn_reply_at(reply, "regions", i);
        const char *left_out = hn_reply_string(region, "left-out");
        if (!left_out)
            continue;
        g_autofree char *size = hn_text_bytes((uint64_t)hn_reply_int(region, "length-bytes", 0));
        g_autofree char *text = g_strdup_printf("%s of its RAM are left out: %s.", size,
                                                g_strcmp0(left_out, "hugetlb") == 0
                                                    ? "the kernel keeps no soft-dirty bits of hugetlb pages"
                                                    : "their mapping was changed meanwhile and counts as "
                                                      "written in full");
        hn_cli_print_wrapped(cli, 0, text);
    }
}

static void print_writes(const HnCli *cli, json_object *reply)
{
    const char *name = hn_reply_string(reply, "name");
    g_autofree char *clean = hn_text_clean(name ? name : "?");
    g_autofree char *written = hn_text_bytes((uint64_t)hn_reply_int(reply, "written-bytes", 0));
    g_autofree char *present = hn_text_bytes((uint64_t)hn_reply_int(reply, "present-bytes", 0));
    g_autofree char *window = hn_text_duration_ms((uint64_t)hn_reply_int(reply, "window-ms", 0));
    g_autofree char *text = g_strdup_printf(
        "%s: %s of the %s that are present were written in %s. Clearing took %.1f ms, reading %.1f ms.", clean, written,
        present, window, (double)hn_reply_int(reply, "clear-us", 0) / 1000,
        (double)hn_reply_int(reply, "read-us", 0) / 1000);
    hn_cli_print_wrapped(cli, 0, text);
    print_left_out(cli, reply);
    print_ranges(cli, reply);
}

HnExit hn_verb_writes(HnCli *cli, int argc, char **argv)
{
    int window_ms = HN_CLI_NO_NODE;
    const GOptionEntry entries[] = {
        {"window", 'w', 0, G_OPTION_ARG_INT, &window_ms, "How long to wait, in ms: 10 to 10000 (2000)", "MS"}, {NULL}};
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, entries, &argc, &argv, 1, 1, &code))
        return code;
    if (window_ms != HN_CLI_NO_NODE && (window_ms < 10 || window_ms > WINDOW_MAX_MS))
        return hn_cli_usage(cli, "--window is %d, allowed: 10 to %d", window_ms, WINDOW_MAX_MS);
    json_object *arguments = json_object_new_object();
    json_object_object_add(arguments, "domain", json_object_new_string(argv[1]));
    if (window_ms != HN_CLI_NO_NODE)
        json_object_object_add(arguments, "window-ms", json_object_new_int(window_ms));
    if (!hn_cli_call(cli, "measure-writes", arguments, &reply, &code))
        return code;
    if (hn_cli_is_json(cli))
        hn_cli_print_json(reply);
    else
        print_writes(cli, reply);
    json_object_put(reply);
    return HN_EXIT_OK;
}
