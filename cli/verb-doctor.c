/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode doctor: what of kernel, libvirt, QEMU and other balancers stands in the way. Fails if a
 * check fails.
 */
#include "cli.h"

#include <string.h>

static HnColour colour_of_state(const char *state)
{
    if (g_strcmp0(state, "ok") == 0)
        return HN_COLOUR_GOOD;
    if (g_strcmp0(state, "warn") == 0)
        return HN_COLOUR_BUSY;
    return g_strcmp0(state, "fail") == 0 ? HN_COLOUR_BAD : HN_COLOUR_NONE;
}

static void print_check(const HnCli *cli, json_object *check)
{
    const char *state = hn_reply_string(check, "state"), *name = hn_reply_string(check, "check");
    const char *finding = hn_reply_string(check, "finding");
    const char *cost = hn_reply_string(check, "cost"), *remedy = hn_reply_string(check, "remedy");
    g_autofree char *padded = g_strdup_printf("%-4s", state ? state : "?");
    g_autofree char *painted = hn_text_paint(padded, colour_of_state(state), hn_cli_style(cli));
    g_autofree char *text = g_strdup_printf("%s: %s", name ? name : "?", finding ? finding : "?");
    g_autofree char *clean = hn_text_clean(text);
    g_autofree char *wrapped = hn_text_wrap(clean, 6, hn_cli_style(cli)->width);
    g_print("%s  %s", painted, wrapped + 6); /* the first line's indent is the state */
    if (cost) {
        g_autofree char *line = g_strdup_printf("Cost: %s", cost);
        hn_cli_print_wrapped(cli, 6, line);
    }
    if (remedy) {
        g_autofree char *line = g_strdup_printf("Remedy: %s", remedy);
        hn_cli_print_wrapped(cli, 6, line);
    }
}

/* "13 checks: 9 ok, 3 note, 1 warn, 0 fail." */
static void print_count(json_object *reply)
{
    guint n_notes = 0, n_warnings = 0, n_failed = 0;
    size_t n_checks = hn_reply_count(reply, "checks");
    for (size_t i = 0; i < n_checks; i++) {
        const char *state = hn_reply_string(hn_reply_at(reply, "checks", i), "state");
        n_notes += g_strcmp0(state, "note") == 0;
        n_warnings += g_strcmp0(state, "warn") == 0;
        n_failed += g_strcmp0(state, "fail") == 0;
    }
    g_print("\n%zu checks: %zu ok, %u note, %u warn, %u fail.\n", n_checks,
            n_checks - n_notes - n_warnings - n_failed, n_notes, n_warnings, n_failed);
}

HnExit hn_verb_doctor(HnCli *cli, int argc, char **argv)
{
    HnExit code;
    json_object *reply;
    if (!hn_cli_parse(cli, NULL, &argc, &argv, 0, 0, &code))
        return code;
    if (!hn_cli_call(cli, "doctor", NULL, &reply, &code))
        return code;
    if (hn_cli_is_json(cli))
        hn_cli_print_json(reply);
    for (size_t i = 0; i < hn_reply_count(reply, "checks"); i++) {
        json_object *check = hn_reply_at(reply, "checks", i);
        if (!hn_cli_is_json(cli))
            print_check(cli, check);
        if (g_strcmp0(hn_reply_string(check, "state"), "fail") == 0)
            code = HN_EXIT_FAILED;
    }
    if (!hn_cli_is_json(cli))
        print_count(reply);
    json_object_put(reply);
    return code;
}
