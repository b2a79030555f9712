/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The root handle: bounds, order, errors, and that a captured machine can neither be left nor
 * written. */
#include "observe/kept.h"
#include "scratch.h"
#include "observe/root.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    char *dir;
    HnRoot *root;
} Fixture;

static void set_up(Fixture *fixture, gconstpointer data)
{
    fixture->dir = g_dir_make_tmp("hn-root-XXXXXX", NULL);
    fixture->root = hn_root_open(fixture->dir, NULL);
    g_assert_nonnull(fixture->root);
}

static void tear_down(Fixture *fixture, gconstpointer data)
{
    hn_root_free(fixture->root);
    scratch_remove(fixture->dir);
    g_free(fixture->dir);
}

static void test_read(Fixture *fixture, gconstpointer data)
{
    g_autofree char *text = NULL;
    g_autofree char *big = g_strnfill(10000, 'x');
    g_autoptr(GError) too_long = NULL;
    g_autoptr(GError) missing = NULL;
    char *untouched = NULL;
    size_t len;

    scratch_put(fixture->dir, "proc/1/comm", "init\n");
    scratch_put(fixture->dir, "big", big);
    g_assert_true(hn_root_read(fixture->root, "proc/1/comm", 100, &text, &len, NULL));
    g_assert_cmpstr(text, ==, "init\n");
    g_assert_cmpuint(len, ==, 5);
    g_clear_pointer(&text, g_free);
    g_assert_true(hn_root_read(fixture->root, "/big", 10000, &text, &len,
                               NULL)); /* exactly fits; "/" allowed */
    g_assert_cmpuint(len, ==, 10000);
    g_assert_false(hn_root_read(fixture->root, "big", 9999, &untouched, NULL, &too_long));
    g_assert_error(too_long, G_FILE_ERROR, G_FILE_ERROR_NOSPC);
    g_assert_false(hn_root_read(fixture->root, "proc/2/comm", 100, &untouched, NULL, &missing));
    g_assert_error(missing, G_FILE_ERROR, G_FILE_ERROR_NOENT);
    g_assert_nonnull(strstr(missing->message, "proc/2/comm"));
    g_assert_null(untouched);
}

static void test_list(Fixture *fixture, gconstpointer data)
{
    static const char *const expected[] = {"cpu1", "cpu2", "cpu10", "online", NULL};
    g_auto(GStrv) names = NULL;
    g_autoptr(GError) error = NULL;

    scratch_put(fixture->dir, "d/cpu10", "");
    scratch_put(fixture->dir, "d/cpu2", "");
    scratch_put(fixture->dir, "d/online", "");
    scratch_put(fixture->dir, "d/cpu1", "");
    names = hn_root_list(fixture->root, "d", NULL);
    g_assert_cmpstrv(names, expected);
    g_assert_null(hn_root_list(fixture->root, "nothing", &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
    g_assert_true(hn_root_exists(fixture->root, "d/online"));
    g_assert_false(hn_root_exists(fixture->root, "d/offline"));
}

/* Links in a capture that point out of it find nothing, or what is inside. */
static void test_no_escape(Fixture *fixture, gconstpointer data)
{
    g_autofree char *absolute = g_build_filename(fixture->dir, "absolute", NULL);
    g_autofree char *upwards = g_build_filename(fixture->dir, "upwards", NULL);
    g_autofree char *target = NULL;
    char *text = NULL;

    g_assert_cmpint(symlink("/etc/passwd", absolute), ==, 0);
    g_assert_cmpint(symlink("../../../../../../etc/passwd", upwards), ==, 0);
    g_assert_false(hn_root_read(fixture->root, "absolute", 1 << 20, &text, NULL, NULL));
    g_assert_false(hn_root_read(fixture->root, "upwards", 1 << 20, &text, NULL, NULL));
    g_assert_false(
        hn_root_read(fixture->root, "../../../../etc/passwd", 1 << 20, &text, NULL, NULL));
    target = hn_root_read_link(fixture->root, "absolute", NULL);
    g_assert_cmpstr(target, ==, "/etc/passwd");
    scratch_put(fixture->dir, "etc/passwd", "captured\n");
    g_assert_true(hn_root_read(fixture->root, "absolute", 100, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "captured\n");
    g_free(text);
}

static void test_no_write(Fixture *fixture, gconstpointer data)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;

    scratch_put(fixture->dir, "sys/x", "0\n");
    g_assert_false(hn_root_is_live(fixture->root));
    g_assert_false(hn_root_write(fixture->root, "sys/x", "1\n", &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_ROFS);
    g_assert_true(hn_root_read(fixture->root, "sys/x", 10, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "0\n");
}

/* A FIFO in a capture must not hang the reader. */
static void test_fifo(Fixture *fixture, gconstpointer data)
{
    g_autofree char *path = g_build_filename(fixture->dir, "fifo", NULL);
    g_autofree char *text = NULL;

    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    g_assert_true(hn_root_read(fixture->root, "fifo", 10, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "");
}

static void test_live(void)
{
    g_autoptr(HnRoot) root = hn_root_open("/.", NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    g_assert_true(hn_root_is_live(root));
    g_assert_true(hn_root_read(root, "proc/self/comm", 100, &text, NULL, NULL));
    g_assert_null(hn_root_open("/nonexistent-directory", &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
    g_assert_nonnull(strstr(error->message, "/nonexistent-directory"));
}

/* A kept descriptor shows new content, and outlives its budget by being opened anew. */
static void test_kept(Fixture *fixture, gconstpointer data)
{
    HnKeptBudget budget = {.n_max = 1};
    HnKept first = HN_KEPT_NONE, second = HN_KEPT_NONE;
    g_autoptr(GString) buffer = g_string_new(NULL);
    g_autofree char *big = g_strnfill(20000, 'y');
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(fixture->dir, "a", NULL);
    FILE *file;

    scratch_put(fixture->dir, "a", "one");
    scratch_put(fixture->dir, "b", big);
    g_assert_true(hn_kept_read(&first, &budget, fixture->root, "a", 100, buffer, NULL));
    g_assert_cmpstr(buffer->str, ==, "one");
    g_assert_cmpuint(budget.n_open, ==, 1);
    g_assert_true(hn_kept_read(&second, &budget, fixture->root, "b", 20000, buffer, NULL));
    g_assert_cmpuint(buffer->len, ==, 20000);
    g_assert_cmpint(second.fd, ==, -1); /* budget used up */
    file = g_fopen(path, "w");          /* in place: the same inode */
    fputs("second", file);
    fclose(file);
    g_assert_true(hn_kept_read(&first, &budget, fixture->root, "a", 100, buffer, NULL));
    g_assert_cmpstr(buffer->str, ==, "second");
    g_assert_false(hn_kept_read(&second, &budget, fixture->root, "b", 19999, buffer, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC);
    hn_kept_close(&first, &budget);
    hn_kept_close(&first, &budget); /* twice does no harm */
    g_assert_cmpuint(budget.n_open, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function)                                                                        \
    g_test_add("/observe/root/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("read", test_read);
    ADD("list", test_list);
    ADD("no-escape", test_no_escape);
    ADD("no-write", test_no_write);
    ADD("fifo", test_fifo);
    ADD("kept", test_kept);
#undef ADD
    g_test_add_func("/observe/root/live", test_live);
    return g_test_run();
}
