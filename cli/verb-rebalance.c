/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode rebalance: asks for a forced re-homing, and with --wait stays until its job has ended.
 * The job belongs to the daemon: interrupting this command does not stop it.
 */
#include "cli.h"

#include <unistd.h>

#define POLL_US (500 * 1000)
#define MAX_BAR_CELLS 40

typedef struct {
    int node;
    gboolean is_wait, is_dry_run;
    int timeout_s; /* 0: none */
} Options;

/* Overwrites the progress line on a terminal's standard error; nothing otherwise. */
static void show_progress(const HnCli *cli, json_object *job)
{
    const HnStyle *style = hn_cli_style(cli);
    int64_t percent = CLAMP(hn_reply_int(job, "percent", 0), 0, 100);
    g_autofree char *done = hn_text_bytes((uint64_t)hn_reply_int(job, "bytes-done", 0));
    g_autofree char *total = hn_text_bytes((uint64_t)hn_reply_int(job, "bytes-total", 0));
    g_autofree char *rate = hn_text_bytes((uint64_t)hn_reply_int(job, "bytes-per-sec", 0));
    bool is_planned = hn_reply_int(job, "bytes-total", 0) > 0;
    g_autofree char *text =
        is_planned ? g_strdup_printf(" %3" G_GINT64_FORMAT "%%  %s of %s  %s/s", percent, done, total, rate)
                   : g_strdup(" deciding, pinning");
    uint32_t width = style->width ? style->width : 80;
    uint32_t cells = MIN(MAX_BAR_CELLS, width > 40 ? width - 36 : 8);
    g_autofree char *bar = hn_text_bar((uint32_t)percent * 10, cells, style->is_utf8);
    g_printerr("\r\033[K%s%s", bar, text);
}

static void print_job(const HnCli *cli, json_object *job)
{
    static const HnColumn columns[] = {
        {"NAME", false, 12, 0, true},  {"STATE", false, 0, 0}, {"MOVED", true, 0, 1},
        {"REASON", false, 0, 2}, {"WHAT", false, 34, 0},
    };
    const char *summary = hn_reply_string(job, "summary");
    g_autoptr(HnTable) table = hn_table_new(columns, G_N_ELEMENTS(columns));
    for (size_t i = 0; i < hn_reply_count(job, "domains"); i++) {
        json_object *domain = hn_reply_at(job, "domains", i);
        const char *state = hn_reply_string(domain, "state");
        bool is_bad = g_strcmp0(state, "refused") == 0 || g_strcmp0(state, "failed") == 0;
        hn_table_add(table, hn_reply_string(domain, "name"), HN_COLOUR_NONE);
        hn_table_add(table, state, is_bad ? HN_COLOUR_BAD : HN_COLOUR_GOOD);
        hn_table_take(table, hn_text_bytes((uint64_t)hn_reply_int(domain, "bytes-moved", 0)),
                      HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(domain, "reason"), HN_COLOUR_NONE);
        hn_table_add(table, hn_reply_string(domain, "sentence"), HN_COLOUR_NONE);
    }
    if (hn_table_rows(table) > 0)
        hn_cli_print_table(cli, table);
    if (summary && *summary)
        hn_cli_print_wrapped(cli, 0, summary);
}

/* Polls until the job has ended; NULL: *ret_error says why not, *ret_exit is what to return. */
static json_object *poll_job(HnCli *cli, int64_t id, const Options *options, bool has_bar,
                             HnExit *ret_exit, char **ret_error)
{
    const gint64 deadline_us = g_get_monotonic_time() + (gint64)options->timeout_s * G_USEC_PER_SEC;
    for (;;) {
        json_object *job, *arguments = json_object_new_object();
        json_object_object_add(arguments, "job", json_object_new_int64(id));
        if (!hn_cli_try(cli, "query-job", arguments, &job, ret_exit, ret_error))
            return NULL;
        const char *state = hn_reply_string(job, "state");
        *ret_exit = g_strcmp0(state, "done") == 0 ? HN_EXIT_OK : HN_EXIT_FAILED;
        if (*ret_exit == HN_EXIT_OK || g_strcmp0(state, "failed") == 0)
            return job;
        if (has_bar)
            show_progress(cli, job);
        json_object_put(job);
        if (options->timeout_s > 0 && g_get_monotonic_time() >= deadline_us) {
            *ret_error = g_strdup_printf("not done after %d s; it goes on: see 'homenode status'",
                                         options->timeout_s);
            return NULL;
        }
        g_usleep(POLL_US);
    }
}

static HnExit wait_for_job(HnCli *cli, int64_t id, const Options *options)
{
    const bool has_bar = isatty(STDERR_FILENO) && !hn_cli_is_json(cli);
    HnExit code;
    g_autofree char *error = NULL;
    json_object *job = poll_job(cli, id, options, has_bar, &code, &error);
    if (has_bar)
        g_printerr("\r\033[K"); /* the bar gives way to the result */
    if (!job)
        hn_cli_fail(cli, "%s", error);
    else if (hn_cli_is_json(cli))
        hn_cli_print_json(job);
    else
        print_job(cli, job);
    json_object_put(job);
    return code;
}

/* What a rebalance would do is a question: it goes to the read-only socket. */
static HnExit show_plan(HnCli *cli, json_object *arguments)
{
    HnExit code;
    json_object *plan;
    hn_cli_only_read(cli);
    if (!hn_cli_call(cli, "query-plan", arguments, &plan, &code))
        return code;
    if (hn_cli_is_json(cli))
        hn_cli_print_json(plan);
    else
        hn_cli_print_plan(cli, plan);
    json_object_put(plan);
    return HN_EXIT_OK;
}

HnExit hn_verb_rebalance(HnCli *cli, int argc, char **argv)
{
    Options options = {.node = HN_CLI_NO_NODE};
    const GOptionEntry entries[] = {
        {"node", 'n', 0, G_OPTION_ARG_INT, &options.node,
         "Make this node their home (kernel's number)", "NODE"},
        {"wait", 'w', 0, G_OPTION_ARG_NONE, &options.is_wait, "Wait until it is done", NULL},
        {"timeout", 't', 0, G_OPTION_ARG_INT, &options.timeout_s,
         "Wait at most so long (with --wait)", "SECONDS"},
        {"dry-run", 0, 0, G_OPTION_ARG_NONE, &options.is_dry_run,
         "Show what would be done, do nothing", NULL},
        {NULL},
    };
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, entries, &argc, &argv, 0, -1, &code))
        return code;
    if (options.node < 0 && options.node != HN_CLI_NO_NODE)
        return hn_cli_usage(cli, "--node %d is not allowed: use a node of 'homenode host'",
                            options.node);
    if (options.timeout_s < 0 || (options.timeout_s > 0 && !options.is_wait))
        return hn_cli_usage(cli, "--timeout needs --wait and a number of seconds");
    json_object *arguments = hn_cli_domains_argument(argc, argv);
    if (options.node >= 0)
        json_object_object_add(arguments, "node", json_object_new_int(options.node));
    if (options.is_dry_run)
        return show_plan(cli, arguments);
    if (!hn_cli_call(cli, "rebalance", arguments, &reply, &code))
        return code;
    int64_t job = hn_reply_int(reply, "job", 0);
    if (options.is_wait)
        code = wait_for_job(cli, job, &options);
    else if (hn_cli_is_json(cli))
        hn_cli_print_json(reply);
    else
        g_print("Started as job %" G_GINT64_FORMAT "; see 'homenode status'.\n", job);
    json_object_put(reply);
    return code;
}
