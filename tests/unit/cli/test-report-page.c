/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page of `homenode report`: well-formed, nothing of a guest's name gets out of its text, gaps
 * stay gaps.
 */
#include "report-page.h"

#include <stdbool.h>
#include <string.h>

static json_object *fixture(const char *verb)
{
    g_autofree char *name = g_strconcat(verb, ".json", NULL);
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "fixtures", "control", name, NULL);
    json_object *reply = json_object_from_file(path);
    if (!reply)
        g_error("%s: %s", path, json_util_get_last_err());
    return reply;
}

static char *page_of_fixtures(int64_t last_ms)
{
    json_object *host = fixture("query-host"), *series = fixture("query-series"),
                *history = fixture("history");
    char *page = hn_report_page(host, series, history, last_ms);
    json_object_put(host);
    json_object_put(series);
    json_object_put(history);
    return page;
}

/* ---- what is on a page, as a parser sees it ---- */

typedef struct {
    guint n_polylines, n_figures, n_marks, n_rows;
    GString *text; /* all of it */
} Seen;

static void on_start(GMarkupParseContext *context, const char *name, const char **keys,
                     const char **values, gpointer data, GError **error)
{
    static const char *const known[] = {
        "html", "head",    "meta",   "title",      "style", "body", "h1",   "h2",   "h3",
        "p",    "section", "figure", "figcaption", "small", "svg",  "line", "text", "polyline",
        "span", "table",   "thead",  "tbody",      "tr",    "th",   "td",   NULL};
    Seen *seen = data;
    if (!g_strv_contains(known, name))
        g_error("<%s> must not be there", name);
    for (guint i = 0; keys[i]; i++) {
        g_assert_false(g_str_has_prefix(keys[i], "on")); /* event handlers */
        g_assert_false(g_str_equal(keys[i], "href") || g_str_equal(keys[i], "src"));
        g_assert_null(strstr(values[i], "nan"));
        if (g_str_equal(keys[i], "class"))
            seen->n_marks += g_str_equal(values[i], "mark");
    }
    seen->n_polylines += g_str_equal(name, "polyline");
    seen->n_figures += g_str_equal(name, "figure");
    seen->n_rows += g_str_equal(name, "tr");
}

static void on_text(GMarkupParseContext *context, const char *text, gsize len, gpointer data,
                    GError **error)
{
    g_string_append_len(((Seen *)data)->text, text, (gssize)len);
}

static Seen look_at(const char *page)
{
    static const GMarkupParser parser = {.start_element = on_start, .text = on_text};
    Seen seen = {.text = g_string_new(NULL)};
    g_autoptr(GMarkupParseContext) context = g_markup_parse_context_new(&parser, 0, &seen, NULL);
    g_autoptr(GError) error = NULL;
    g_assert_true(g_str_has_prefix(page, "<!DOCTYPE html>\n"));
    g_assert_nonnull(strstr(page, "default-src 'none'"));
    g_assert_true(g_markup_parse_context_parse(context, page, -1, &error) &&
                  g_markup_parse_context_end_parse(context, &error));
    g_assert_no_error(error);
    return seen;
}

static void test_page(void)
{
    g_autofree char *page = page_of_fixtures(0);
    Seen seen = look_at(page);
    /* Host 4; 3 nodes and 2 domains with 2 each. */
    g_assert_cmpuint(seen.n_figures, ==, 4 + 2 * 3 + 2 * 2);
    /* Host: 1 + 3 × 3. Nodes: 3 loads; locality of 0 in one piece, of 2 in one. Domain web: bytes,
     * accesses, load; the other is there in samples 1, 2 and 5: bytes and load in two pieces, no
     * accesses. */
    g_assert_cmpuint(seen.n_polylines, ==, 10 + 3 + 2 + 1 + 3 + 4);
    g_assert_cmpuint(seen.n_marks, ==, 2 /* web */ + 2 /* came to node 2 */);
    g_assert_nonnull(strstr(seen.text->str, "Home 2; moves: 1 in all, 1 of them in this time."));
    /* A node that is nobody's home has no locality. */
    g_assert_nonnull(strstr(seen.text->str, "memory local, mean of the domains at home: not known"));
    g_assert_nonnull(strstr(seen.text->str, "Domains that came to it in this time: 1."));
    g_assert_nonnull(strstr(seen.text->str, "<script>alert(\"x\")</script>&'?[31m"));
    json_object *history = fixture("history"),
                *entries = json_object_object_get(history, "entries");
    g_assert_cmpuint(seen.n_rows, ==, 1 + json_object_array_length(entries));
    json_object_put(history);
    g_string_free(seen.text, TRUE);
}

static void test_last(void)
{
    g_autofree char *page = page_of_fixtures(120000);
    Seen seen = look_at(page);
    g_assert_nonnull(strstr(seen.text->str, ", 3 samples."));
    g_assert_nonnull(strstr(seen.text->str, "moves: 1 in all, 0 of them in this time."));
    g_assert_cmpuint(seen.n_marks, ==, 0);
    g_string_free(seen.text, TRUE);
}

/* What an older or a mistaken daemon may send. */
static void test_little(void)
{
    static const char *const replies[] = {
        "{}",
        "{\"samples\": []}",
        "{\"samples\": [{}]}",
        "{\"samples\": [null, {\"unix-ms\": 5}, {\"unix-ms\": 3, \"domains\": [{}, {\"uuid\": "
        "\"u\"}]}]}",
        "{\"samples\": [{\"unix-ms\": 1, \"score\": -1, \"nodes\": [{}, {\"id\": 3, "
        "\"demand-mcpu\": 9e99}], "
        "\"domains\": [{\"uuid\": \"u\", \"home\": \",,\", \"used-mcpu\": 9223372036854775807}]}], "
        "\"names\": []}",
    };
    for (guint i = 0; i < G_N_ELEMENTS(replies); i++) {
        json_object *series = json_tokener_parse(replies[i]);
        g_assert_nonnull(series);
        g_autofree char *page = hn_report_page(NULL, series, NULL, i % 2 * 1000);
        Seen seen = look_at(page);
        g_string_free(seen.text, TRUE);
        json_object_put(series);
    }
}

int main(int argc, char **argv)
{
    g_setenv("TZ", "UTC", TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/report-page/page", test_page);
    g_test_add_func("/cli/report-page/last", test_last);
    g_test_add_func("/cli/report-page/little", test_little);
    return g_test_run();
}
