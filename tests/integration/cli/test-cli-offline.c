/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The built `homenode` without a daemon: recorded rounds decided again (tests/fixtures/replay) and
 * scenarios simulated. With HN_UPDATE_GOLDEN=1 the recorded decisions become today's.
 */
#include "cli.h"
#include "run-homenode.h"

#include <glib/gstdio.h>
#include <string.h>

static char *source_path(const char *below)
{
    return g_test_build_filename(G_TEST_DIST, below, NULL);
}

static json_object *parse(const char *text)
{
    json_object *document = json_tokener_parse(text);
    g_assert_nonnull(document);
    return document;
}

/* ---- replay ---- */

/* Puts the plans of `homenode replay --json` into the recording. */
static void update_golden(const char *path, json_object *results)
{
    json_object *document = json_object_from_file(path);
    for (size_t i = 0; i < hn_reply_count(results, "rounds"); i++) {
        json_object *round =
            hn_reply_count(document, "rounds") ? hn_reply_at(document, "rounds", i) : document;
        json_object *plan = hn_reply_object(hn_reply_at(results, "rounds", i), "plan");
        json_object_object_add(round, "plan", json_object_get(plan));
    }
    /* As `homenode snapshot` writes it, so that only what changed differs. */
    const char *text =
        json_object_to_json_string_ext(document, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                     JSON_C_TO_STRING_NOSLASHESCAPE);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    g_assert_true(g_file_set_contents(path, line, -1, NULL));
    json_object_put(document);
}

static void test_recorded_rounds(void)
{
    g_autofree char *dir_path = source_path("fixtures/replay");
    g_autoptr(GDir) dir = g_dir_open(dir_path, 0, NULL);
    guint n_rounds = 0;
    g_assert_nonnull(dir);
    for (const char *name; (name = g_dir_read_name(dir));) {
        if (!g_str_has_suffix(name, ".json"))
            continue;
        g_autofree char *path = g_build_filename(dir_path, name, NULL);
        g_autofree char *json_line = g_strdup_printf("replay --json '%s'", path);
        g_autofree char *line = g_strdup_printf("replay '%s'", path);
        g_auto(Result) document = run_homenode(NULL, NULL, json_line);
        g_assert_cmpstr(document.err, ==, "");
        json_object *results = parse(document.out);
        n_rounds += (guint)hn_reply_count(results, "rounds");
        if (g_strcmp0(g_getenv("HN_UPDATE_GOLDEN"), "1") == 0)
            update_golden(path, results);
        json_object_put(results);
        g_auto(Result) text = run_homenode(NULL, NULL, line);
        g_test_message("%s\n%s", name, text.out);
        assert_contains(text.out, ": same\n");
        g_assert_null(strstr(text.out, "differs"));
        g_assert_cmpint(text.code, ==, HN_EXIT_OK);
    }
    g_assert_cmpuint(n_rounds, >=, 5);
}

/* A recording with one piece of its text replaced. Caller frees the path and removes the file. */
static char *changed_recording(const char *name, const char *from, const char *to)
{
    g_autofree char *below = g_strconcat("fixtures/replay/", name, NULL);
    g_autofree char *source = source_path(below), *text = NULL, *path = NULL;
    g_assert_true(g_file_get_contents(source, &text, NULL, NULL));
    g_auto(GStrv) parts = g_strsplit(text, from, 2);
    g_assert_cmpuint(g_strv_length(parts), ==, 2);
    g_autofree char *changed = g_strjoinv(to, parts);
    int fd = g_file_open_tmp("homenode-XXXXXX.json", &path, NULL);
    g_assert_true(g_close(fd, NULL));
    g_assert_true(g_file_set_contents(path, changed, -1, NULL));
    return g_steal_pointer(&path);
}

static void test_differences(void)
{
    static const struct {
        const char *name, *from, *to, *options, *pieces[3];
    } cases[] = {
        {"two-nodes-busy.json",
         "\"homenode\"",
         "\"homenode\"",
         "-p confirm-rounds=1",
         {"Round 1 of 3", "reason: unconfirmed -> advise-only", "Now: Would go"}},
        {"two-nodes-busy.json",
         "\"homenode\"",
         "\"homenode\"",
         "--policy=min-gain-permille=1000",
         {"gain-below-threshold", "home: 0 -> -"}},
        /* As if the program had decided otherwise then. */
        {"four-nodes-acting.json",
         "\"to-nodes\": [",
         "\"to-nodes\": [ 4,",
         "",
         {"g2: actions: step"}},
        {"four-nodes-acting.json",
         "\"will-act\": true",
         "\"will-act\": false",
         "",
         {"g2: will-act: no -> yes"}},
        {"four-nodes-acting.json",
         "\"is-overfull\": false",
         "\"is-overfull\": true",
         "",
         {"the host: is-overfull: yes -> no"}},
        {"two-nodes-idle.json", "\"verdicts\":", "\"opinions\":", "", {"g1: domain: - -> idle"}},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = changed_recording(cases[i].name, cases[i].from, cases[i].to);
        g_autofree char *line = g_strdup_printf("replay %s '%s'", cases[i].options, path);
        g_autofree char *json_line = g_strconcat(line, " --json", NULL);
        g_auto(Result) result = run_homenode(NULL, "80", line);
        g_auto(Result) document = run_homenode(NULL, "80", json_line);
        g_auto(GStrv) lines = g_strsplit(result.out, "\n", -1);
        g_auto(GStrv) words = g_strsplit(result.out, "→", -1);
        g_autofree char *plain = g_strjoinv("->", words);
        g_assert_cmpstr(result.err, ==, "");
        for (guint p = 0; p < G_N_ELEMENTS(cases[i].pieces) && cases[i].pieces[p]; p++)
            assert_contains(plain, cases[i].pieces[p]);
        for (char **l = lines; *l; l++)
            g_assert_cmpuint(hn_text_columns(*l), <=, 80);
        g_assert_cmpint(result.code, ==, HN_EXIT_FAILED);
        g_assert_cmpint(document.code, ==, HN_EXIT_FAILED);
        json_object *results = parse(document.out);
        g_assert_cmpint(hn_reply_int(results, "schema", 0), ==, 1);
        g_assert_cmpint(hn_reply_int(results, "n-different", 0), >=, 1);
        json_object_put(results);
        g_unlink(path);
    }
}

/* One line that names file, round, member and what is allowed; exit 2, as nothing was compared. */
static void test_unusable_recordings(void)
{
    static const struct {
        const char *from, *to, *complaint;
    } cases[] = {
        {"\"version\": 1,", "\"version\": 7,",
         "round 1 of 1: round: is 'homenode-round' version 7"},
        {"\"homenode-round\"", "\"homenode-square\"", "it holds no recorded round"},
        {"\"plan\":", "\"plane\":", "round 1 of 1: it has no recorded plan to compare with"},
        {"\"homenode-past 1", "\"homenode-past 9", "homenode-past"},
        {"\"confirm-rounds\": 2", "\"confirm-rounds\": 0", "confirm"},
        {"\"taken-ns\":", "\"taken-ms\":", "snapshot: member 'taken-ns' is missing"},
        {"\"format\":", "format:", "is not JSON: byte"},
        {"{", "", "is not"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path =
            changed_recording("two-nodes-idle.json", cases[i].from, cases[i].to);
        g_autofree char *line = g_strdup_printf("replay '%s'", path);
        g_auto(Result) result = run_homenode(NULL, NULL, line);
        g_test_message("%s", result.err);
        assert_contains(result.err, cases[i].complaint);
        assert_contains(result.err, path);
        g_assert_cmpint(strcspn(result.err, "\n"), ==, strlen(result.err) - 1);
        g_assert_cmpstr(result.out, ==, "");
        g_assert_cmpint(result.code, ==, HN_EXIT_USAGE);
        g_unlink(path);
    }
}

/* ---- simulate ---- */

static char *scenario_line(const char *options)
{
    g_autofree char *path = source_path("../data/scenarios/t2-light-load.sim");
    return g_strdup_printf("simulate '%s' %s", path, options);
}

static void test_simulate(void)
{
    g_autofree char *line = scenario_line("-p off,homenode");
    g_auto(Result) result = run_homenode(NULL, "80", line);
    g_auto(GStrv) lines = g_strsplit(result.out, "\n", -1);
    g_assert_cmpstr(result.err, ==, "");
    g_assert_cmpint(result.code, ==, HN_EXIT_OK);
    assert_contains(result.out, "\noff ");
    assert_contains(result.out, "\nhomenode ");
    assert_contains(result.out, "not measurements");
    g_assert_null(strstr(result.out, "numad"));
    for (char **l = lines; *l; l++)
        g_assert_cmpuint(hn_text_columns(*l), <=, 80);

    g_autofree char *dir = g_dir_make_tmp("homenode-sim-XXXXXX", NULL);
    g_autofree char *csv = g_build_filename(dir, "s.csv", NULL),
                    *svg = g_build_filename(dir, "s.svg", NULL);
    g_autofree char *options = g_strdup_printf("--json --csv '%s' --svg '%s'", csv, svg);
    g_autofree char *all_line = scenario_line(options);
    g_auto(Result) all = run_homenode(NULL, NULL, all_line);
    json_object *document = parse(all.out);
    g_assert_cmpuint(hn_reply_count(document, "policies"), ==, 6);
    json_object_put(document);
    g_autofree char *csv_text = NULL, *svg_text = NULL;
    g_assert_true(g_file_get_contents(csv, &csv_text, NULL, NULL));
    g_assert_true(g_file_get_contents(svg, &svg_text, NULL, NULL));
    assert_contains(csv_text, "\nhomenode,");
    assert_contains(svg_text, "<svg");
    g_unlink(csv);
    g_unlink(svg);
    g_rmdir(dir);
}

static void test_simulate_mistakes(void)
{
    g_autofree char *scenario = NULL;
    g_assert_true(g_close(g_file_open_tmp("homenode-XXXXXX.sim", &scenario, NULL), NULL));
    g_assert_true(g_file_set_contents(
        scenario, "[host]\ntopology=2n 8c 16G dist=5\n[guest a]\nvcpus=1\nmemory-gib=1\n", -1,
        NULL));
    g_autofree char *bad_line = g_strdup_printf("simulate '%s'", scenario);
    g_autofree char *policy_line = scenario_line("-p magic");
    g_autofree char *write_line = scenario_line("-p off --csv /nonexistent/x.csv");
    const struct {
        const char *line;
        HnExit code;
        const char *complaint;
    } cases[] = {
        {"simulate", HN_EXIT_USAGE, "homenode simulate: an argument is missing: SCENARIO"},
        {"simulate a b", HN_EXIT_USAGE, "unexpected argument 'b'"},
        {"simulate /nonexistent.sim", HN_EXIT_FAILED, "/nonexistent.sim"},
        {bad_line, HN_EXIT_FAILED, "[host]: topology: 'dist=5'"},
        {policy_line, HN_EXIT_USAGE,
         "no policy 'magic'; allowed: all, off, numad, kernel, bind, inverse, homenode"},
        {write_line, HN_EXIT_FAILED, "/nonexistent/x.csv"},
        {"replay", HN_EXIT_USAGE, "homenode replay: an argument is missing: FILE"},
        {"replay x -p gain=1", HN_EXIT_USAGE,
         "'gain=1' is not KEY=VALUE; allowed keys: min-gain-permille,"},
        {"replay x -p confirm-rounds=two", HN_EXIT_USAGE,
         "'confirm-rounds=two': the value must be a whole number"},
        {"replay x -p fence-when-converged=1", HN_EXIT_USAGE, "the value must be yes or no"},
        {"replay /nonexistent.json", HN_EXIT_USAGE, "/nonexistent.json"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(Result) result = run_homenode(NULL, NULL, cases[i].line);
        g_test_message("%s", result.err);
        assert_contains(result.err, cases[i].complaint);
        g_assert_cmpint(strcspn(result.err, "\n"), ==, strlen(result.err) - 1);
        g_assert_cmpstr(result.out, ==, "");
        g_assert_cmpint(result.code, ==, (int)cases[i].code);
    }
    g_unlink(scenario);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/replay/recorded-rounds", test_recorded_rounds);
    g_test_add_func("/cli/replay/differences", test_differences);
    g_test_add_func("/cli/replay/unusable", test_unusable_recordings);
    g_test_add_func("/cli/simulate/shipped", test_simulate);
    g_test_add_func("/cli/simulate/mistakes", test_simulate_mistakes);
    return g_test_run();
}
