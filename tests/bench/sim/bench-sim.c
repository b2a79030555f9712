/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policies side by side on every scenario of a directory: seconds until the guests are done and
 * the score, or, where guests run for ever, the share of local accesses over the whole time; moves
 * of each. Model results, not measurements.
 *
 *   bench-sim DIRECTORY
 */
#include "sim/output.h"

#include <stdio.h>
#include <string.h>

/* The five that are compared; inverse only calibrates the score. */
static const HnSimPolicy *const compared[] = {&hn_sim_policy_off, &hn_sim_policy_numad,
                                              &hn_sim_policy_kernel, &hn_sim_policy_bind,
                                              &hn_sim_policy_homenode};

static HnSimScenario *load(const char *directory, const char *file)
{
    g_autofree char *path = g_build_filename(directory, file, NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    gsize length;

    if (!g_file_get_contents(path, &text, &length, &error))
        g_error("%s", error->message);
    HnSimScenario *scenario = hn_sim_scenario_parse(text, length, &error);
    if (!scenario)
        g_error("%s: %s", path, error->message);
    return scenario;
}

static double mean_accesses_local(const HnSimResult *result)
{
    double sum = 0;

    for (guint i = 0; i < result->series->len; i++)
        sum += g_array_index(result->series, HnSimPoint, i).accesses_local;
    return sum / MAX(1, result->series->len);
}

typedef enum { RUN_S, SCORE, LOCAL_PERCENT, REHOMES, MOVED_GIB } Measure;

static void print_row(const char *name, Measure measure, const GPtrArray *results)
{
    static const char *const names[] = {"run s", "score", "accesses local %", "re-homes",
                                        "moved GiB"};

    printf("%-18s %-16s", name, names[measure]);
    for (guint i = 0; i < G_N_ELEMENTS(compared); i++) {
        const HnSimResult *result = results->pdata[i];
        double score = 0;
        if (measure == RUN_S)
            printf("%9.1f", result->run_s);
        else if (measure == SCORE && hn_sim_score(results, result, &score))
            printf("%9.3f", score);
        else if (measure == LOCAL_PERCENT)
            printf("%9.1f", 100 * mean_accesses_local(result));
        else if (measure == REHOMES)
            printf("%9u", result->n_rehomes);
        else if (measure == MOVED_GIB)
            printf("%9.1f", result->moved_bytes / (1024.0 * 1024.0 * 1024.0));
        else
            printf("%9s", "-");
    }
    printf("\n");
}

static void result_free(gpointer result)
{
    hn_sim_result_free(result);
}

static void print_scenario(const char *directory, const char *file)
{
    g_autoptr(HnSimScenario) scenario = load(directory, file);
    g_autoptr(GPtrArray) results = g_ptr_array_new_with_free_func(result_free);
    g_autofree char *name = g_strndup(file, strlen(file) - strlen(".sim"));
    double score;

    for (guint i = 0; i < G_N_ELEMENTS(compared); i++)
        g_ptr_array_add(results, hn_sim_run(scenario, compared[i]));
    g_ptr_array_add(results, hn_sim_run(scenario, &hn_sim_policy_inverse));
    if (((const HnSimResult *)results->pdata[3])->run_s > 0) {
        print_row(name, RUN_S, results);
        if (hn_sim_score(results, results->pdata[0], &score))
            print_row("", SCORE, results);
    } else {
        print_row(name, LOCAL_PERCENT, results);
    }
    print_row("", REHOMES, results);
    print_row("", MOVED_GIB, results);
    fflush(stdout);
}

static gint compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = argc > 1 ? g_dir_open(argv[1], 0, &error) : NULL;
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);

    if (!dir)
        g_error("No scenarios: %s", error ? error->message : "give their directory");
    for (const char *file; (file = g_dir_read_name(dir));)
        if (g_str_has_suffix(file, ".sim"))
            g_ptr_array_add(files, g_strdup(file));
    g_ptr_array_sort(files, compare_names);
    printf("%-18s %-16s", "scenario", "");
    for (guint i = 0; i < G_N_ELEMENTS(compared); i++)
        printf("%9s", compared[i]->name);
    printf("\n");
    for (guint i = 0; i < files->len; i++)
        print_scenario(argv[1], files->pdata[i]);
    printf("Model results, not measurements; docs/simulator.md says how well the model fits.\n");
    return files->len ? 0 : 1;
}
