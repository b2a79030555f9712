/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode explain DOMAIN: why it is where it is, why it was not moved, what would change that.
 */
#include "cli.h"

static void print_heading(const HnCli *cli, const char *title)
{
    g_autofree char *heading = hn_text_paint(title, HN_COLOUR_BOLD, hn_cli_style(cli));
    g_print("%s\n", heading);
}

static void print_section(const HnCli *cli, const char *title, const char *text)
{
    if (!text || !*text)
        return;
    print_heading(cli, title);
    hn_cli_print_wrapped(cli, 2, text);
}

/* "  - TEXT", wrapped under itself. */
static void print_item(const HnCli *cli, const char *text)
{
    g_autofree char *clean = hn_text_clean(text);
    g_autofree char *wrapped = hn_text_wrap(clean, 4, hn_cli_style(cli)->width);
    g_print("  - %s", wrapped + 4);
}

static void print_alternatives(const HnCli *cli, json_object *reply)
{
    static const HnColumn columns[] = {
        {"NODE", false, 0, 0},  {"SCORE", true, 0, 0},   {"COST", true, 0, 0},
        {"REMOTE", true, 0, 3}, {"CPU", true, 0, 3},     {"MOVE", true, 0, 0},
        {"TIME", true, 0, 4},   {"PAYBACK", true, 0, 2}, {"REASON", false, 20, 0},
    };
    g_autoptr(HnTable) table = hn_table_new(columns, G_N_ELEMENTS(columns));
    for (size_t i = 0; i < hn_reply_count(reply, "alternatives"); i++) {
        json_object *each = hn_reply_at(reply, "alternatives", i);
        json_object *cost = hn_reply_object(each, "cost-after");
        hn_table_take(table,
                      g_strdup_printf("%" G_GINT64_FORMAT "%s", hn_reply_int(each, "node", -1),
                                      hn_reply_bool(each, "is-home") ? " (home)" : ""),
                      HN_COLOUR_NONE);
        hn_table_take(table,
                      g_strdup_printf("%" G_GINT64_FORMAT, hn_reply_int(each, "score-after", 0)),
                      HN_COLOUR_NONE);
        /* Cost: stall per second, in milliseconds. */
        hn_table_take(
            table,
            g_strdup_printf("%.1f ms/s", (double)hn_reply_int(cost, "total-ns-per-sec", 0) / 1e6),
            HN_COLOUR_NONE);
        hn_table_take(
            table,
            g_strdup_printf("%.1f", (double)hn_reply_int(cost, "remote-ns-per-sec", 0) / 1e6),
            HN_COLOUR_NONE);
        hn_table_take(
            table, g_strdup_printf("%.1f", (double)hn_reply_int(cost, "cpu-ns-per-sec", 0) / 1e6),
            HN_COLOUR_NONE);
        hn_table_take(table, hn_text_bytes((uint64_t)hn_reply_int(each, "bytes-to-move", 0)),
                      HN_COLOUR_NONE);
        bool has_bytes = hn_reply_int(each, "bytes-to-move", 0) > 0;
        int64_t move_ms = hn_reply_int(each, "move-ms", 0);
        hn_table_take(table, has_bytes ? hn_text_duration_ms((uint64_t)move_ms) : NULL,
                      HN_COLOUR_NONE);
        hn_table_take(table, hn_cli_format_payback(each), HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(each, "reason"), HN_COLOUR_NONE);
    }
    if (hn_table_rows(table) > 0) {
        g_autofree char *heading =
            hn_text_paint("Where it could be", HN_COLOUR_BOLD, hn_cli_style(cli));
        g_print("%s (cost: stall, milliseconds per second)\n", heading);
        hn_cli_print_table(cli, table);
    }
}

/* "97.5% ±0.4 (measured 12 s ago)" */
static char *format_number(json_object *evidence, const char *key)
{
    json_object *number = hn_reply_object(evidence, key);
    int64_t error = hn_reply_int(number, "error-permille", 0);
    if (!number)
        return g_strdup("not measured");
    g_autofree char *share = hn_text_permille(hn_reply_int(number, "permille", 0));
    g_autofree char *age = hn_text_duration_ms((uint64_t)hn_reply_int(number, "age-ms", 0));
    return g_strdup_printf("%s ±%d.%d (%s old)", share, (int)(error / 10), (int)(error % 10), age);
}

static void print_evidence(const HnCli *cli, json_object *reply, json_object *row)
{
    json_object *evidence = hn_reply_object(row, "evidence");
    json_object *dirty = hn_reply_object(evidence, "dirty-rate");
    const char *hinting = hn_reply_string(hn_reply_object(reply, "hinting"), "sentence");
    if (!evidence)
        return;
    print_section(cli, "What is known", hn_reply_string(evidence, "sentence"));
    g_autofree char *bytes = format_number(evidence, "bytes-local");
    g_autofree char *accesses = format_number(evidence, "accesses-local");
    g_autofree char *numbers = g_strdup_printf("bytes local %s; accesses local %s", bytes, accesses);
    print_item(cli, numbers);
    if (dirty) {
        g_autofree char *rate = hn_text_bytes((uint64_t)hn_reply_int(dirty, "bytes-per-sec", 0));
        g_autofree char *age = hn_text_duration_ms((uint64_t)hn_reply_int(dirty, "age-ms", 0));
        g_autofree char *text = g_strdup_printf("it writes %s/s (%s old)", rate, age);
        print_item(cli, text);
    }
    if (hinting)
        print_item(cli, hinting);
    const char *heat = hn_reply_string(hn_reply_object(reply, "heat"), "sentence");
    if (heat)
        print_item(cli, heat);
}

static void print_explanation(const HnCli *cli, json_object *reply)
{
    json_object *row = hn_reply_object(reply, "domain");
    const char *name = hn_reply_string(row, "name");
    const char *home = hn_reply_string(row, "home");
    g_autofree char *local = hn_text_permille(hn_reply_int(row, "bytes-local-permille", -1));
    g_autofree char *accesses = hn_reply_accesses(row);
    g_autofree char *heading =
        g_strdup_printf("%s: %s, home %s, bytes local %s, accesses local %s", name ? name : "?",
                        hn_reply_string(row, "status"), home ? home : "none", local, accesses);
    hn_cli_print_wrapped(cli, 0, heading);
    print_section(cli, "Why here", hn_reply_string(reply, "why-here"));
    print_section(cli, "Why not elsewhere", hn_reply_string(reply, "why-not-moved"));
    for (size_t i = 0; i < hn_reply_count(reply, "what-would-change"); i++) {
        if (i == 0)
            print_heading(cli, "What would change that");
        print_item(cli, json_object_get_string(hn_reply_at(reply, "what-would-change", i)));
    }
    print_evidence(cli, reply, row);
    if (hn_reply_bool(row, "is-managed")) /* nobody asks where the others could be */
        print_alternatives(cli, reply);
    if (hn_reply_count(reply, "history") > 0) {
        print_heading(cli, "Lately");
        hn_cli_print_history(cli, reply, "history");
    }
}

HnExit hn_verb_explain(HnCli *cli, int argc, char **argv)
{
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, NULL, &argc, &argv, 1, 1, &code))
        return code;
    json_object *arguments = json_object_new_object();
    json_object_object_add(arguments, "domain", json_object_new_string(argv[1]));
    if (!hn_cli_call(cli, "explain", arguments, &reply, &code))
        return code;
    if (hn_cli_is_json(cli))
        hn_cli_print_json(reply);
    else
        print_explanation(cli, reply);
    json_object_put(reply);
    return HN_EXIT_OK;
}
