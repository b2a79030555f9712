/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs the target without a fuzzing compiler: each file of the corpus whole, cut off at many
 * places, and changed at random in the ways that break parsers (digits grow, lines repeat, bytes
 * flip, pieces vanish).
 *
 *     replay DIRECTORY [MUTATIONS [SEED]]
 *
 * The seed is printed; the same seed makes the same inputs.
 */
#include "../qmp/fuzz.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

static void mutate(GRand *rand, GString *text)
{
    static const char *const pieces[] = {"18446744073709551616",
                                         "-1",
                                         "99999999999999999999",
                                         ":",
                                         " ",
                                         "\n",
                                         "kB",
                                         "=",
                                         "ffffffffffffffff-0",
                                         "..",
                                         "\001",
                                         "0-8191",
                                         ","};
    guint n = (guint)g_rand_int_range(rand, 1, 6);

    for (guint i = 0; i < n && text->len > 0; i++) {
        gsize at = (gsize)g_rand_int_range(rand, 0, (gint32)text->len);
        gsize wanted = (gsize)g_rand_int_range(rand, 1, 40);
        gsize length = MIN(wanted, text->len - at);
        g_autofree char *copy = NULL;

        switch (g_rand_int_range(rand, 0, 5)) {
        case 0:
            text->str[at] ^= (char)(1 << g_rand_int_range(rand, 0, 8));
            break;
        case 1:
            g_string_erase(text, (gssize)at, (gssize)length);
            break;
        case 2:
            copy = g_memdup2(text->str + at, length);
            g_string_insert_len(text, (gssize)at, copy, (gssize)length);
            break;
        case 3:
            g_string_insert(text, (gssize)at,
                            pieces[g_rand_int_range(rand, 0, G_N_ELEMENTS(pieces))]);
            break;
        default:
            g_string_truncate(text, at);
            break;
        }
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = argc > 1 ? g_dir_open(argv[1], 0, &error) : NULL;
    guint n_mutations = argc > 2 ? (guint)g_ascii_strtoull(argv[2], NULL, 10) : 1000;
    guint32 seed = argc > 3 ? (guint32)g_ascii_strtoull(argv[3], NULL, 10) : g_random_int();
    GRand *rand = g_rand_new_with_seed(seed);
    guint n_files = 0, n_inputs = 0;
    const char *name;

    if (!dir)
        g_error("No corpus: %s", error ? error->message : "give its directory");
    printf("seed %u\n", seed);
    fflush(stdout);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(argv[1], name, NULL);
        g_autofree char *bytes = NULL;
        gsize len = 0;
        gsize step;

        if (!g_file_get_contents(file, &bytes, &len, &error))
            g_error("%s", error->message);
        step = len / 300 + 1;
        for (gsize cut = 0; cut <= len; cut += step, n_inputs++)
            LLVMFuzzerTestOneInput((const guint8 *)bytes, cut);
        for (guint i = 0; i < n_mutations; i++, n_inputs++) {
            g_autoptr(GString) text = g_string_new_len(bytes, (gssize)len);

            mutate(rand, text);
            LLVMFuzzerTestOneInput((const guint8 *)text->str, text->len);
        }
        n_files++;
    }
    g_rand_free(rand);
    if (n_files == 0)
        g_error("%s holds no corpus", argv[1]);
    printf("%u files, %u inputs\n", n_files, n_inputs);
    return 0;
}
