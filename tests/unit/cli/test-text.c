/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Quantities and sentences as people read them.
 */
#include "text.h"

#include <string.h>

static void test_bytes(void)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0"},
        {1023, "1023"},
        {1024, "1K"},
        {1536, "1.5K"},
        {10 << 10, "10K"},
        {(10 << 10) + 512, "10.5K"},
        {100 << 20, "100M"},
        {(100 << 20) + 1, "100M"},
        {1023 << 20, "1.0G"},
        {1 << 30, "1G"},
        {UINT64_C(3) << 39, "1.5T"},
        {UINT64_MAX, "16E"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = hn_text_bytes(cases[i].bytes);
        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

static void test_quantities(void)
{
    static const struct {
        char *(*format)(uint64_t value);
        uint64_t value;
        const char *text;
    } cases[] = {
        {hn_text_mcpu, 0, "0.00"},
        {hn_text_mcpu, 1990, "1.99"},
        {hn_text_duration_ms, 0, "0 ms"},
        {hn_text_duration_ms, 999, "999 ms"},
        {hn_text_duration_ms, 2500, "2.5 s"},
        {hn_text_duration_ms, 12000, "12 s"},
        {hn_text_duration_ms, 210000, "3.5 min"},
        {hn_text_duration_ms, 7200000, "2.0 h"},
    };
    static const struct {
        int64_t permille;
        const char *text;
    } shares[] = {{-1, "-"}, {0, "0.0%"}, {5, "0.5%"}, {998, "99.8%"}, {1000, "100%"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = cases[i].format(cases[i].value);
        g_assert_cmpstr(text, ==, cases[i].text);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(shares); i++) {
        g_autofree char *text = hn_text_permille(shares[i].permille);
        g_assert_cmpstr(text, ==, shares[i].text);
    }
}

static void test_cut_middle(void)
{
    static const struct {
        const char *text;
        uint32_t columns;
        const char *cut;
    } cases[] = {
        {"build-runner-1a7", 16, "build-runner-1a7"},
        {"build-runner-1a7", 9, "buil…-1a7"},
        {"build-runner-1a7", 8, "buil…1a7"},
        {"build-runner-1a7", 3, "b…7"},
        {"build-runner-1a7", 2, "b…"},
        {"build-runner-1a7", 0, ""},
        {"日本日本日本", 7, "日…本"}, /* two columns each */
        {"日本日本日本", 3, "…"},
        {"", 3, ""},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *cut = hn_text_cut_middle(cases[i].text, cases[i].columns, true);
        g_assert_cmpstr(cut, ==, cases[i].cut);
        g_assert_cmpuint(hn_text_columns(cut), <=, cases[i].columns);
    }
    g_autofree char *ascii = hn_text_cut_middle("build-runner-1a7", 8, false);
    g_assert_cmpstr(ascii, ==, "buil~1a7");
}

static void test_compare_names(void)
{
    static const char *const names[] = {NULL, "", "vm", "vm1", "vm2", "vm10", "vm10a", "web"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        for (size_t j = 0; j < G_N_ELEMENTS(names); j++) {
            int order = hn_text_compare_names(names[i], names[j]);
            g_assert_cmpint((order > 0) - (order < 0), ==, (i > j) - (i < j));
        }
}

static void test_cut(void)
{
    static const struct {
        const char *text;
        uint32_t columns;
        const char *cut;
    } cases[] = {
        {"abc", 3, "abc"},      {"abcd", 3, "ab…"},   {"abcd", 1, "…"},        {"abcd", 0, ""},
        {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, {"日本語", 6, "日本語"}, {"", 4, ""},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *cut = hn_text_cut(cases[i].text, cases[i].columns, true);
        g_assert_cmpstr(cut, ==, cases[i].cut);
        g_assert_cmpuint(hn_text_columns(cut), <=, cases[i].columns);
    }
}

static void test_wrap(void)
{
    static const struct {
        const char *text;
        uint32_t indent, width;
        const char *wrapped;
    } cases[] = {
        {"one two three", 0, 0, "one two three\n"},
        {"one two three", 0, 7, "one two\nthree\n"},
        {"one two three", 2, 9, "  one two\n  three\n"},
        {"one  two\nthree", 0, 80, "one two three\n"},
        {"unbreakable", 0, 5, "unbreakable\n"},
        {"", 4, 80, "\n"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *wrapped = hn_text_wrap(cases[i].text, cases[i].indent, cases[i].width);
        g_assert_cmpstr(wrapped, ==, cases[i].wrapped);
    }
}

static void test_bar(void)
{
    static const struct {
        uint32_t permille;
        const char *bar;
    } cases[] = {{0, "...."},   {124, "...."},  {125, "#..."},
                 {500, "##.."}, {1000, "####"}, {5000, "####"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *bar = hn_text_bar(cases[i].permille, 4, false);
        g_autofree char *fine = hn_text_bar(cases[i].permille, 4, true);
        g_assert_cmpstr(bar, ==, cases[i].bar);
        g_assert_cmpuint(hn_text_columns(fine), ==, 4);
    }
}

static void test_clean(void)
{
    static const struct {
        const char *text, *clean;
    } cases[] = {
        {"web-1 ü", "web-1 ü"},
        {"a\033]0;title\007b", "a?]0;title?b"},
        {"a\r\nb\tc\x7f", "a??b?c?"},
        {"\xc2\x9b"
         "31m",
         "??31m"}, /* the one-character escape introducer */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *clean = hn_text_clean(cases[i].text);
        g_assert_cmpstr(clean, ==, cases[i].clean);
    }
    g_autofree char *repaired = hn_text_clean("a\xff"
                                              "b");
    g_assert_true(g_utf8_validate(repaired, -1, NULL));
}

static void test_time(void)
{
    g_autofree char *time = hn_text_time(1772381099);
    g_assert_cmpstr(time, ==, "2026-03-01 16:04:59"); /* main() sets TZ */
}

int main(int argc, char **argv)
{
    g_setenv("TZ", "UTC", TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/text/bytes", test_bytes);
    g_test_add_func("/text/quantities", test_quantities);
    g_test_add_func("/text/cut", test_cut);
    g_test_add_func("/text/cut-middle", test_cut_middle);
    g_test_add_func("/text/compare-names", test_compare_names);
    g_test_add_func("/text/wrap", test_wrap);
    g_test_add_func("/text/bar", test_bar);
    g_test_add_func("/text/clean", test_clean);
    g_test_add_func("/text/time", test_time);
    return g_test_run();
}
