/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tables: layout, shrinking, dropping, colours, wide and hostile characters.
 */
#include "table.h"

#include <string.h>

static const HnColumn columns[] = {
    {"NAME", false, 6, 0},
    {"BYTES", true, 0, 2},
    {"REASON", false, 4, 1},
};

static HnTable *sample(void)
{
    HnTable *table = hn_table_new(columns, G_N_ELEMENTS(columns));
    hn_table_add(table, "web", HN_COLOUR_NONE);
    hn_table_add(table, "128M", HN_COLOUR_NONE);
    hn_table_add(table, "converged", HN_COLOUR_GOOD);
    hn_table_add(table, "database", HN_COLOUR_NONE);
    hn_table_add(table, "1.5G", HN_COLOUR_NONE);
    hn_table_add(table, NULL, HN_COLOUR_NONE);
    return table;
}

static void assert_layout(const HnTable *table, HnStyle style, const char *expected)
{
    g_autofree char *text = hn_table_format(table, &style);
    g_assert_cmpstr(text, ==, expected);
}

static void test_layout(void)
{
    g_autoptr(HnTable) table = sample();
    g_assert_cmpuint(hn_table_rows(table), ==, 2);
    assert_layout(table, (HnStyle){.width = 0, .is_utf8 = true},
                  "NAME      BYTES  REASON\n"
                  "web        128M  converged\n"
                  "database   1.5G  -\n");
    /* Exactly as wide as needed: nothing is cut. */
    assert_layout(table, (HnStyle){.width = 26, .is_utf8 = true},
                  "NAME      BYTES  REASON\n"
                  "web        128M  converged\n"
                  "database   1.5G  -\n");
    /* The widest shrinkable column gives way first. */
    assert_layout(table, (HnStyle){.width = 24, .is_utf8 = true},
                  "NAME      BYTES  REASON\n"
                  "web        128M  conver…\n"
                  "database   1.5G  -\n");
    assert_layout(table, (HnStyle){.width = 19, .is_utf8 = false},
                  "NAME    BYTES  REA~\n"
                  "web      128M  con~\n"
                  "datab~   1.5G  -\n");
    /* Then whole columns go, the highest rank first; what is left is not cut needlessly. */
    assert_layout(table, (HnStyle){.width = 18, .is_utf8 = true},
                  "NAME      REASON\n"
                  "web       converg…\n"
                  "database  -\n");
    assert_layout(table, (HnStyle){.width = 8, .is_utf8 = true}, "NAME\nweb\ndatabase\n");
    /* What must stay stays, even if that is too wide. */
    assert_layout(table, (HnStyle){.width = 3, .is_utf8 = true}, "NAME\nweb\ndat…\n");
}

static void test_colour(void)
{
    g_autoptr(HnTable) table = sample();
    assert_layout(table, (HnStyle){.has_colour = true, .is_utf8 = true},
                  "\033[1mNAME\033[0m      \033[1mBYTES\033[0m  \033[1mREASON\033[0m\n"
                  "web        128M  \033[32mconverged\033[0m\n"
                  "database   1.5G  -\n");
}

static void test_characters(void)
{
    g_autoptr(HnTable) table = hn_table_new(columns, G_N_ELEMENTS(columns));
    hn_table_add(table, "日本", HN_COLOUR_NONE); /* two columns each */
    hn_table_add(table, "1", HN_COLOUR_NONE);
    hn_table_add(table, "\033[2Jboo\n\t\xc2\x9b",
                 HN_COLOUR_NONE); /* clears the screen, if let through */
    assert_layout(table, (HnStyle){.is_utf8 = true},
                  "NAME  BYTES  REASON\n"
                  "日本      1  ?[2Jboo????\n");
}

static void test_empty(void)
{
    g_autoptr(HnTable) table = hn_table_new(columns, G_N_ELEMENTS(columns));
    assert_layout(table, (HnStyle){.width = 80}, "NAME  BYTES  REASON\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/table/layout", test_layout);
    g_test_add_func("/table/colour", test_colour);
    g_test_add_func("/table/characters", test_characters);
    g_test_add_func("/table/empty", test_empty);
    return g_test_run();
}
