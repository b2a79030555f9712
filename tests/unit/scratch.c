/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See scratch.h. */
#include "scratch.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <stdio.h>

void scratch_put(const char *dir, const char *path, const char *text)
{
    g_autofree char *full = g_build_filename(dir, path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);

    g_assert_cmpint(g_mkdir_with_parents(parent, 0755), ==, 0);
    FILE *file = g_fopen(full, "w");
    g_assert_nonnull(file);
    g_assert_cmpint(fputs(text, file), >=, 0);
    g_assert_cmpint(fclose(file), ==, 0);
}

void scratch_remove(const char *path)
{
    g_autoptr(GDir) dir =
        g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);

    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        g_autofree char *below = g_build_filename(path, name, NULL);
        scratch_remove(below);
    }
    g_assert_cmpint(g_remove(path), ==, 0);
}
