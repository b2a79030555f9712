/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode simulate: a scenario under several policies in virtual time, for tests and what-ifs.
 * Needs no daemon. See docs/simulator.md.
 */
#include "cli.h"

#include "sim/output.h"

#include <string.h>

/* Larger scenarios than this are mistakes: the file is written by hand. */
#define SCENARIO_MAX_BYTES (4u << 20)

static bool choose_policies(HnCli *cli, const char *list, GPtrArray *policies, HnExit *ret_exit)
{
    if (!list || strcmp(list, "all") == 0) {
        for (const HnSimPolicy *const *policy = hn_sim_policies; *policy; policy++)
            g_ptr_array_add(policies, (gpointer)*policy);
        return true;
    }
    g_auto(GStrv) names = g_strsplit(list, ",", -1);
    for (char **name = names; *name; name++) {
        const HnSimPolicy *policy = hn_sim_policy_find(*name);
        if (policy) {
            g_ptr_array_add(policies, (gpointer)policy);
            continue;
        }
        g_autoptr(GString) allowed = g_string_new("all");
        for (const HnSimPolicy *const *known = hn_sim_policies; *known; known++)
            g_string_append_printf(allowed, ", %s", (*known)->name);
        *ret_exit = hn_cli_usage(cli, "no policy '%s'; allowed: %s", *name, allowed->str);
        return false;
    }
    return true;
}

static HnSimScenario *read_scenario(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    gsize length;
    if (!g_file_get_contents(path, &text, &length, error))
        return NULL;
    if (length > SCENARIO_MAX_BYTES) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "%s has %" G_GSIZE_FORMAT " bytes; a scenario has at most %u", path, length,
                    SCENARIO_MAX_BYTES);
        return NULL;
    }
    HnSimScenario *scenario = hn_sim_scenario_parse(text, length, error);
    if (!scenario)
        g_prefix_error(error, "%s: ", path);
    return scenario;
}

static bool write_output(const char *path,
                         char *(*format)(const HnSimScenario *, const GPtrArray *),
                         const HnSimScenario *scenario, const GPtrArray *results, GError **error)
{
    if (!path)
        return true;
    g_autofree char *text = format(scenario, results);
    return g_file_set_contents(path, text, -1, error);
}

static void result_free(gpointer result)
{
    hn_sim_result_free(result);
}

HnExit hn_verb_simulate(HnCli *cli, int argc, char **argv)
{
    g_autofree char *policy_list = NULL, *csv_path = NULL, *svg_path = NULL;
    const GOptionEntry entries[] = {
        {"policies", 'p', 0, G_OPTION_ARG_STRING, &policy_list, "Comma-separated, or all (default)",
         "LIST"},
        {"csv", 0, 0, G_OPTION_ARG_FILENAME, &csv_path, "Write locality over time to this file",
         "FILE"},
        {"svg", 0, 0, G_OPTION_ARG_FILENAME, &svg_path, "Write a plot of it to this file", "FILE"},
        {NULL},
    };
    HnExit code;
    if (!hn_cli_parse(cli, entries, &argc, &argv, 1, 1, &code))
        return code;
    g_autoptr(GPtrArray) policies = g_ptr_array_new();
    if (!choose_policies(cli, policy_list, policies, &code))
        return code;
    g_autoptr(GError) error = NULL;
    g_autoptr(HnSimScenario) scenario = read_scenario(argv[1], &error);
    if (!scenario)
        return hn_cli_fail(cli, "%s", error->message);
    g_autoptr(GPtrArray) results = g_ptr_array_new_with_free_func(result_free);
    for (guint i = 0; i < policies->len; i++)
        g_ptr_array_add(results, hn_sim_run(scenario, policies->pdata[i]));
    if (!write_output(csv_path, hn_sim_format_csv, scenario, results, &error) ||
        !write_output(svg_path, hn_sim_format_svg, scenario, results, &error))
        return hn_cli_fail(cli, "not written: %s", error->message);
    g_autofree char *text = hn_cli_is_json(cli) ? hn_sim_format_json(scenario, results)
                                                : hn_sim_format_table(scenario, results);
    g_print("%s", text);
    return HN_EXIT_OK;
}
