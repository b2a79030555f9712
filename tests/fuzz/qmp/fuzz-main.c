/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a fuzz target over its corpus without a fuzzing compiler, so that what the fuzzer once found
 * stays tested everywhere:  fuzz-… DIRECTORY…
 *
 * Every file runs whole and cut to each of its beginnings.
 */
#include <glib.h>
#include <stdio.h>
#include "fuzz.h"

static guint run_directory(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &error);
    const char *name;
    guint files = 0;

    if (!dir)
        g_error("%s", error->message);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);
        g_autofree char *bytes = NULL;
        gsize len = 0;

        if (!g_file_get_contents(file, &bytes, &len, &error))
            g_error("%s", error->message);
        for (gsize cut = 0; cut <= len; cut++)
            LLVMFuzzerTestOneInput((const guint8 *)bytes, cut);
        files++;
    }
    return files;
}

int main(int argc, char **argv)
{
    guint files = 0;

    for (int i = 1; i < argc; i++)
        files += run_directory(argv[i]);
    if (files == 0)
        g_error("No corpus: give its directories");
    printf("%u inputs\n", files);
    return 0;
}
