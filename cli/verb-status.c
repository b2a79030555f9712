/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode status: without arguments the host and its domains, with arguments all that is known of
 * each.
 */
#include "cli.h"

#define FIELD_COLUMNS 19 /* indent, title, blank */

/* "  Home:            0", the value wrapped under itself */
static void print_field(const HnCli *cli, const char *title, const char *value)
{
    g_autofree char *clean = hn_text_clean(value && *value ? value : "-");
    g_autofree char *label = g_strdup_printf("%s:", title);
    g_autofree char *wrapped = hn_text_wrap(clean, FIELD_COLUMNS, hn_cli_style(cli)->width);
    g_print("  %-16s %s", label, wrapped + FIELD_COLUMNS);
}

static void take_field(const HnCli *cli, const char *title, char *value)
{
    print_field(cli, title, value);
    g_free(value);
}

/* "node 0: 126M, node 1: 2.0M" */
static char *format_per_node(json_object *row, const char *list, const char *key, bool is_bytes)
{
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < hn_reply_count(row, list); i++) {
        json_object *entry = hn_reply_at(row, list, i);
        int64_t amount = hn_reply_int(entry, key, 0);
        g_autofree char *shown = is_bytes ? hn_text_bytes((uint64_t)amount)
                                          : g_strdup_printf("%" G_GINT64_FORMAT, amount);
        g_string_append_printf(text, "%snode %" G_GINT64_FORMAT ": %s", i ? ", " : "",
                               hn_reply_int(entry, "node", -1), shown);
    }
    return g_string_free(text, FALSE);
}

/* "97.5% ±0.4 (12 s old)": a share with what it can be trusted for. */
static void print_number(const HnCli *cli, const char *title, json_object *row, const char *key,
                         const char *trust_key)
{
    g_autofree char *share = hn_text_permille(hn_reply_int(row, key, -1));
    json_object *trust = hn_reply_object(hn_reply_object(row, "evidence"), trust_key);
    int64_t error = hn_reply_int(trust, "error-permille", 0);
    g_autofree char *age = hn_text_duration_ms((uint64_t)hn_reply_int(trust, "age-ms", 0));
    if (trust)
        take_field(cli, title, g_strdup_printf("%s ±%d.%d (%s old)", share, (int)(error / 10),
                                               (int)(error % 10), age));
    else
        print_field(cli, title, share);
}

static void print_progress(const HnCli *cli, json_object *row)
{
    json_object *progress = hn_reply_object(row, "progress");
    if (!progress)
        return;
    g_autofree char *done = hn_text_bytes((uint64_t)hn_reply_int(progress, "bytes-done", 0));
    g_autofree char *total = hn_text_bytes((uint64_t)hn_reply_int(progress, "bytes-total", 0));
    g_autofree char *rate = hn_text_bytes((uint64_t)hn_reply_int(progress, "bytes-per-sec", 0));
    take_field(cli, "Moving",
               g_strdup_printf("%s of %s, %s/s%s", done, total, rate,
                               hn_reply_bool(progress, "slow-lane")
                                   ? "; what nobody touches, slowly"
                                   : ""));
}

static void print_last_decision(const HnCli *cli, json_object *row)
{
    json_object *decision = hn_reply_object(row, "last-decision");
    const char *sentence = hn_reply_string(decision, "sentence");
    if (!decision)
        return;
    g_autofree char *time = hn_text_time(hn_reply_int(decision, "unix-s", 0));
    take_field(cli, "Last decision",
               g_strdup_printf("%s %s", time, hn_reply_string(decision, "reason")));
    if (sentence)
        hn_cli_print_wrapped(cli, FIELD_COLUMNS, sentence);
}

static void print_domain(const HnCli *cli, json_object *row)
{
    const char *name = hn_reply_string(row, "name"), *uuid = hn_reply_string(row, "uuid");
    const char *home = hn_reply_string(row, "home"), *wanted = hn_reply_string(row, "home-wanted");
    const char *unobservable = hn_reply_string(row, "unobservable");
    const char *sentence = hn_reply_string(row, "sentence");
    g_autofree char *moved = hn_text_bytes((uint64_t)hn_reply_int(row, "bytes-moved", 0));
    g_autofree char *demand = hn_text_mcpu((uint64_t)hn_reply_int(row, "demand-mcpu", 0));
    g_autofree char *used = hn_text_mcpu((uint64_t)hn_reply_int(row, "used-mcpu", 0));
    g_autofree char *delay = hn_text_permille(hn_reply_int(row, "run-delay-permille", 0));
    g_autofree char *resident = hn_text_bytes((uint64_t)hn_reply_int(row, "resident-bytes", 0));
    g_autofree char *configured = hn_text_bytes((uint64_t)hn_reply_int(row, "configured-bytes", 0));
    g_autofree char *heading = g_strdup_printf("%s (%s)", name ? name : "?", uuid ? uuid : "?");
    hn_cli_print_wrapped(cli, 0, heading);
    take_field(cli, "Mode",
               g_strdup_printf("%s%s%s", hn_reply_string(row, "mode"),
                               hn_reply_bool(row, "is-wide") ? ", wide" : "",
                               hn_reply_bool(row, "is-fenced") ? ", fenced" : ""));
    take_field(cli, "Status",
               g_strdup_printf("%s (domain %s)", hn_reply_string(row, "status"),
                               hn_reply_string(row, "domain-state")));
    if (wanted && g_strcmp0(home, wanted) != 0)
        take_field(cli, "Home", g_strdup_printf("%s, wanted %s", home ? home : "none", wanted));
    else
        print_field(cli, "Home", home);
    print_number(cli, "Bytes local", row, "bytes-local-permille", "bytes-local");
    print_number(cli, "Accesses local", row, "accesses-local-permille", "accesses-local");
    if (hn_reply_object(row, "evidence"))
        print_field(cli, "Evidence", hn_reply_string(hn_reply_object(row, "evidence"), "sentence"));
    take_field(cli, "Score",
               g_strdup_printf("%" G_GINT64_FORMAT " now, %" G_GINT64_FORMAT " after",
                               hn_reply_int(row, "score-now", 0),
                               hn_reply_int(row, "score-after", 0)));
    take_field(cli, "CPU",
               g_strdup_printf("%" G_GINT64_FORMAT " vCPUs, demand %s, used %s, waiting %s",
                               hn_reply_int(row, "vcpus", 0), demand, used, delay));
    take_field(cli, "vCPUs at", format_per_node(row, "vcpus-per-node", "vcpus", false));
    take_field(cli, "Memory", g_strdup_printf("%s resident of %s", resident, configured));
    take_field(cli, "Memory at", format_per_node(row, "bytes-per-node", "bytes", true));
    take_field(cli, "Moves",
               g_strdup_printf("%" G_GINT64_FORMAT ", %s moved", hn_reply_int(row, "moves", 0), moved));
    print_progress(cli, row);
    print_field(cli, "Reason", hn_reply_string(row, "reason"));
    if (sentence)
        hn_cli_print_wrapped(cli, FIELD_COLUMNS, sentence);
    print_last_decision(cli, row);
    if (unobservable)
        print_field(cli, "Not observable", unobservable);
}

/* Prints the first domain that fails' error and goes on; the last failure is the exit status. */
static HnExit show_domains(HnCli *cli, int argc, char **argv)
{
    HnExit result = HN_EXIT_OK;
    json_object *all = json_object_new_array();
    for (int i = 1; i < argc; i++) {
        HnExit code;
        json_object *reply, *arguments = json_object_new_object();
        json_object_object_add(arguments, "domain", json_object_new_string(argv[i]));
        if (!hn_cli_call(cli, "query-domain", arguments, &reply, &code)) {
            result = code;
            if (code == HN_EXIT_NO_DAEMON || code == HN_EXIT_DENIED)
                break;
            continue;
        }
        if (hn_cli_is_json(cli)) {
            json_object_array_add(all, json_object_get(reply));
        } else {
            if (i > 1)
                g_print("\n");
            print_domain(cli, hn_reply_object(reply, "domain"));
        }
        json_object_put(reply);
    }
    if (hn_cli_is_json(cli) && argc == 2 && json_object_array_length(all) > 0) {
        hn_cli_print_json(json_object_array_get_idx(all, 0));
    } else if (hn_cli_is_json(cli) && json_object_array_length(all) > 0) {
        json_object *document = json_object_new_object();
        json_object_object_add(document, "schema", json_object_new_int(1));
        json_object_object_add(document, "domains", json_object_get(all));
        hn_cli_print_json(document);
        json_object_put(document);
    }
    json_object_put(all);
    return result;
}

HnExit hn_verb_status(HnCli *cli, int argc, char **argv)
{
    HnExit code;
    json_object *host, *domains;
    if (!hn_cli_parse(cli, NULL, &argc, &argv, 0, -1, &code))
        return code;
    if (argc > 1)
        return show_domains(cli, argc, argv);
    if (!hn_cli_call(cli, "query-host", NULL, &host, &code))
        return code;
    if (!hn_cli_call(cli, "query-domains", NULL, &domains, &code)) {
        json_object_put(host);
        return code;
    }
    if (hn_cli_is_json(cli)) {
        json_object *both = json_object_new_object();
        json_object_object_add(both, "schema", json_object_new_int(1));
        json_object_object_add(both, "host", json_object_get(host));
        json_object_object_add(both, "domains",
                               json_object_get(json_object_object_get(domains, "domains")));
        hn_cli_print_json(both);
        json_object_put(both);
    } else {
        hn_cli_print_host(cli, host);
        g_autoptr(HnTable) table = hn_cli_domain_table(domains);
        if (hn_table_rows(table) > 0) {
            g_print("\n");
            hn_cli_print_table(cli, table);
        } else if (hn_reply_bool(host, "is-connected") && hn_reply_int(host, "rounds", 1) > 0)
            g_print("\nNo domain is running.\n"); /* else the summary says why there is none */
    }
    json_object_put(host);
    json_object_put(domains);
    return HN_EXIT_OK;
}
