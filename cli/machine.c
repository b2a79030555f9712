/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A captured machine as a directory: DIR/root, which `homenoded --sysroot` reads, and DIR/domains.ini, what
 * was known of the guests; the form of tests/fixtures/hosts.
 *
 * Run as root, often, and told by whoever serves the socket: so nothing is written but below /proc and /sys of
 * DIR/root, into directories made here, and links come last, when no file can go through them any more.
 */
#include "cli.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static const char *text_of(json_object *object, const char *key)
{
    const char *text = hn_reply_string(object, key);
    return text ? text : "";
}

static bool is_harmless(const char *path)
{
    if (!g_str_has_prefix(path, "proc/") && !g_str_has_prefix(path, "sys/"))
        return false;
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    for (char **part = parts; *part; part++)
        if (!**part || strcmp(*part, ".") == 0 || strcmp(*part, "..") == 0)
            return false;
    return true;
}

/* The place of a path of the reply, its directory made; NULL: *ret_problem. */
static char *place(const char *dir, const char *path, char **ret_problem)
{
    if (!is_harmless(path)) {
        *ret_problem = g_strdup_printf("the daemon named '%s', which is no file of /proc or /sys", path);
        return NULL;
    }
    char *full = g_build_filename(dir, "root", path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);
    if (g_mkdir_with_parents(parent, 0700) == 0)
        return full;
    *ret_problem = g_strdup_printf("%s: %s", parent, g_strerror(errno));
    g_free(full);
    return NULL;
}

static bool write_file(const char *dir, json_object *row, char **ret_problem)
{
    g_autofree char *full = place(dir, text_of(row, "path"), ret_problem);
    const char *text = hn_reply_string(row, "text");
    const char *base64 = hn_reply_string(row, "base64");
    g_autofree guchar *decoded = NULL;
    g_autoptr(GError) error = NULL;
    gsize len = text ? strlen(text) : 0;

    if (!full)
        return false;
    if (base64)
        decoded = g_base64_decode(base64, &len);
    if (g_file_set_contents_full(full, decoded ? (const char *)decoded : text ? text : "", (gssize)len,
                                 G_FILE_SET_CONTENTS_NONE, 0600, &error))
        return true;
    *ret_problem = g_strdup(error->message);
    return false;
}

static bool write_link(const char *dir, json_object *row, char **ret_problem)
{
    g_autofree char *full = place(dir, text_of(row, "path"), ret_problem);
    if (!full)
        return false;
    if (symlink(text_of(row, "target"), full) == 0)
        return true;
    *ret_problem = g_strdup_printf("%s: %s", full, g_strerror(errno));
    return false;
}

/* All rows of a member; false: *ret_problem. */
static bool write_all(const char *dir, json_object *reply, const char *key,
                      bool (*write)(const char *, json_object *, char **), size_t *ret_n, char **ret_problem)
{
    *ret_n = hn_reply_count(reply, key);
    for (size_t i = 0; i < *ret_n; i++)
        if (!write(dir, hn_reply_at(reply, key, i), ret_problem))
            return false;
    return true;
}

HnExit hn_cli_write_machine(HnCli *cli, const char *dir, json_object *reply)
{
    g_autofree char *problem = NULL;
    size_t n_files = 0, n_links = 0;

    if (strcmp(text_of(reply, "format"), "homenode-machine") != 0)
        return hn_cli_fail(cli, "homenoded answers 'capture' in a form this homenode does not know");
    /* For root alone: it tells where QEMU has its memory. */
    if (g_mkdir(dir, 0700) < 0 && (errno != EEXIST || g_rmdir(dir) < 0 || g_mkdir(dir, 0700) < 0))
        return hn_cli_fail(cli, "cannot write the machine into %s (it must not exist yet, or be empty): %s", dir,
                           g_strerror(errno));
    g_autofree char *domains = g_build_filename(dir, "domains.ini", NULL);
    g_autoptr(GError) error = NULL;
    if (!g_file_set_contents_full(domains, text_of(reply, "domains"), -1, G_FILE_SET_CONTENTS_NONE, 0600,
                                  &error))
        problem = g_strdup(error->message);
    if (problem || !write_all(dir, reply, "files", write_file, &n_files, &problem) ||
        !write_all(dir, reply, "links", write_link, &n_links, &problem))
        return hn_cli_fail(cli, "%s is incomplete: %s", dir, problem);
    if (!hn_cli_is_json(cli))
        g_print("%s: %" G_GSIZE_FORMAT " files and links of /proc and /sys below root, guests in domains.ini\n", dir,
                n_files + n_links);
    return HN_EXIT_OK;
}
