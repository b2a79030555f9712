/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The live view without a terminal: sizes, sorting, scrolling, a daemon that is gone.
 */
#include "reply.h"
#include "top-view.h"

#include <string.h>

static json_object *read_reply(const char *name)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "fixtures", "control", name, NULL);
    json_object *reply = json_object_from_file(path);
    g_assert_nonnull(reply);
    return reply;
}

typedef struct {
    json_object *host, *domains;
} Fixture;

static void set_up(Fixture *fixture, gconstpointer data)
{
    fixture->host = read_reply("query-host.json");
    fixture->domains = read_reply("query-domains.json");
}

static void tear_down(Fixture *fixture, gconstpointer data)
{
    json_object_put(fixture->host);
    json_object_put(fixture->domains);
}

/* First words of the lines after the table's heading, up to the foot or an empty line. */
static char *shown_names(const GPtrArray *lines)
{
    GString *names = g_string_new(NULL);
    bool is_table = false;
    for (guint i = 0; i + 1 < lines->len; i++) {
        const HnTopLine *line = g_ptr_array_index(lines, i);
        if (is_table && *line->text) {
            g_autofree char *name = g_strndup(line->text, strcspn(line->text, " "));
            g_string_append_printf(names, "%s%s", names->len ? " " : "", name);
        }
        is_table = is_table || line->is_heading;
    }
    return g_string_free(names, FALSE);
}

static void test_sizes(Fixture *fixture, gconstpointer data)
{
    static const uint32_t widths[] = {1, 20, 50, 80, 200}, heights[] = {0, 1, 3, 7, 24, 60};
    for (size_t i = 0; i < G_N_ELEMENTS(widths); i++) {
        for (size_t j = 0; j < G_N_ELEMENTS(heights); j++) {
            HnStyle style = {.width = widths[i], .is_utf8 = true};
            HnTopState state = {0};
            g_autoptr(GPtrArray) lines =
                hn_top_render(fixture->host, fixture->domains, NULL, &state, heights[j], &style);
            g_assert_cmpuint(lines->len, ==, heights[j]);
            for (guint k = 0; k < lines->len; k++)
                g_assert_cmpuint(hn_text_columns(((HnTopLine *)g_ptr_array_index(lines, k))->text),
                                 <=, widths[i]);
        }
    }
}

static void test_sorting(Fixture *fixture, gconstpointer data)
{
    static const struct {
        const char *keys, *names;
    } cases[] = {
        {"", "batch database-with-a-rather-long-name legacy typo web"},
        {"r", "web typo legacy database-with-a-rather-long-name batch"},
        {"l", "database-with-a-rather-long-name batch typo web legacy"},
        {"lr", "legacy web typo batch database-with-a-rather-long-name"},
        {"s", "batch web typo database-with-a-rather-long-name legacy"},
        {"h", "batch legacy typo database-with-a-rather-long-name web"},
        {"c", "batch database-with-a-rather-long-name legacy typo web"}, /* all alike: by name */
        {"o", "batch database-with-a-rather-long-name legacy typo web"}, /* all alike */
        {"b", "database-with-a-rather-long-name batch legacy typo web"}, /* the only one that moves */
        {"u", "batch database-with-a-rather-long-name web"},
        {"uu", "batch database-with-a-rather-long-name legacy typo web"},
        {"?", ""},
        {"?x", "batch database-with-a-rather-long-name legacy typo web"}, /* any key ends the help and does no more */
        {"?r", "batch database-with-a-rather-long-name legacy typo web"},
        {"x!", "batch database-with-a-rather-long-name legacy typo web"}, /* unknown keys do nothing */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnStyle style = {.width = 200};
        HnTopState state = {0};
        for (const char *key = cases[i].keys; *key; key++)
            g_assert_cmpint(hn_top_key(&state, *key, 10), ==, HN_TOP_GO_ON);
        g_autoptr(GPtrArray) lines =
            hn_top_render(fixture->host, fixture->domains, NULL, &state, 40, &style);
        g_autofree char *names = shown_names(lines);
        g_test_message("'%s'", cases[i].keys);
        g_assert_cmpstr(names, ==, cases[i].names);
    }
}

/* 9 lines leave room for one domain; scrolling stops at the ends. */
static void test_scrolling(Fixture *fixture, gconstpointer data)
{
    static const struct {
        int key;
        const char *name;
    } steps[] = {
        {HN_TOP_KEY_UP, "batch"},      {HN_TOP_KEY_DOWN, "database-with-a-rather-long-name"},
        {HN_TOP_KEY_DOWN, "legacy"},   {HN_TOP_KEY_PAGE_DOWN, "web"},
        {HN_TOP_KEY_DOWN, "web"},      {HN_TOP_KEY_UP, "typo"},
        {HN_TOP_KEY_PAGE_UP, "batch"}, {HN_TOP_KEY_DOWN, "database-with-a-rather-long-name"},
        {HN_TOP_KEY_HOME, "batch"},
    };
    HnStyle style = {.width = 200};
    HnTopState state = {0};
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        hn_top_key(&state, steps[i].key, 4);
        g_autoptr(GPtrArray) lines =
            hn_top_render(fixture->host, fixture->domains, NULL, &state, 9, &style);
        g_autofree char *names = shown_names(lines);
        g_assert_cmpstr(names, ==, steps[i].name);
    }
    g_assert_cmpint(hn_top_key(&state, ' ', 4), ==, HN_TOP_REFRESH);
    g_assert_cmpint(hn_top_key(&state, 'q', 4), ==, HN_TOP_QUIT);
}

/* Hosts of many nodes: at most half of a low terminal is theirs, and a wide one has several on a line. */
static void test_many_nodes(Fixture *fixture, gconstpointer data)
{
    static const struct {
        uint32_t width, height, n_lines;
        bool is_cut;
    } cases[] = {{80, 24, 12, true}, {80, 60, 16, false}, {200, 24, 8, false}, {260, 24, 6, false}, {50, 9, 4, true}};
    json_object *nodes = json_object_object_get(fixture->host, "nodes");
    while (json_object_array_length(nodes) < 16)
        json_object_array_add(nodes, json_object_get(json_object_array_get_idx(nodes, 0)));
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        HnStyle style = {.width = cases[i].width, .is_utf8 = true};
        HnTopState state = {0};
        uint32_t n_lines = 0;
        bool is_cut = false;
        g_autoptr(GPtrArray) lines =
            hn_top_render(fixture->host, fixture->domains, NULL, &state, cases[i].height, &style);
        for (guint k = 2; k < lines->len; k++) {
            const HnTopLine *line = g_ptr_array_index(lines, k);
            if (line->is_heading || !*line->text)
                break;
            n_lines++;
            is_cut = is_cut || strstr(line->text, "more nodes: 'homenode host'");
        }
        g_test_message("%ux%u", cases[i].width, cases[i].height);
        g_assert_cmpuint(n_lines, ==, cases[i].n_lines);
        g_assert_cmpint(is_cut, ==, cases[i].is_cut);
    }
}

/* A share that is known badly does not look like one that is known well. */
static void test_accesses(Fixture *fixture, gconstpointer data)
{
    static const struct {
        const char *row, *shown;
    } cases[] = {
        {"{}", "-"},
        {"{\"accesses-local-permille\": null}", "-"},
        {"{\"accesses-local-permille\": 987}", "98.7%"},
        {"{\"accesses-local-permille\": 987, \"evidence\": {\"accesses-local\": {\"error-permille\": 100}}}", "98.7%"},
        {"{\"accesses-local-permille\": 987, \"evidence\": {\"accesses-local\": {\"error-permille\": 101}}}", "~98%"},
        {"{\"accesses-local-permille\": 0, \"evidence\": {\"accesses-local\": {\"error-permille\": 400}}}", "~0%"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        json_object *row = json_tokener_parse(cases[i].row);
        g_autofree char *shown = hn_reply_accesses(row);
        g_assert_cmpstr(shown, ==, cases[i].shown);
        json_object_put(row);
    }
}

/* Help takes no more than the usual terminal, uncut. */
static void test_help(Fixture *fixture, gconstpointer data)
{
    HnStyle style = {.width = 80, .is_utf8 = true};
    HnTopState state = {.is_help = true};
    g_autoptr(GPtrArray) lines = hn_top_render(fixture->host, fixture->domains, NULL, &state, 24, &style);
    GString *all = g_string_new(NULL);
    for (guint i = 2; i < lines->len; i++)
        g_string_append_printf(all, "%s\n", ((HnTopLine *)g_ptr_array_index(lines, i))->text);
    g_assert_null(strstr(all->str, "…"));
    g_assert_nonnull(strstr(all->str, "ACCESS   share of its sampled memory accesses"));
    g_assert_nonnull(strstr(all->str, "any key: back"));
    g_string_free(all, TRUE);
}

/* The last good answer stays visible under the error; before the first there is only the error. */
static void test_error(Fixture *fixture, gconstpointer data)
{
    HnStyle style = {.width = 80};
    HnTopState state = {0};
    g_autoptr(GPtrArray) lines =
        hn_top_render(fixture->host, fixture->domains, "homenoded went away", &state, 24, &style);
    g_autoptr(GPtrArray) nothing =
        hn_top_render(NULL, NULL, "homenoded went away", &state, 24, &style);
    const HnTopLine *first = g_ptr_array_index(lines, 0), *only = g_ptr_array_index(nothing, 0);
    g_autofree char *names = shown_names(lines);
    g_assert_cmpstr(first->text, ==, "homenoded went away");
    g_assert_cmpint(first->colour, ==, HN_COLOUR_BAD);
    g_assert_true(g_str_has_prefix(names, "batch"));
    g_assert_cmpstr(only->text, ==, "homenoded went away");
    g_assert_cmpuint(nothing->len, ==, 24);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/top/sizes", Fixture, NULL, set_up, test_sizes, tear_down);
    g_test_add("/top/sorting", Fixture, NULL, set_up, test_sorting, tear_down);
    g_test_add("/top/scrolling", Fixture, NULL, set_up, test_scrolling, tear_down);
    g_test_add("/top/many-nodes", Fixture, NULL, set_up, test_many_nodes, tear_down);
    g_test_add("/top/accesses", Fixture, NULL, set_up, test_accesses, tear_down);
    g_test_add("/top/help", Fixture, NULL, set_up, test_help, tear_down);
    g_test_add("/top/error", Fixture, NULL, set_up, test_error, tear_down);
    return g_test_run();
}
