/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The watched directory; see qmp-directory.h.
 */
#include "qmp-directory.h"

#include "qmp-sidecar.h"

#include <errno.h>
#include <gio/gio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SCAN_INTERVAL_S 5 /* what inotify misses is noticed after so long */
#define SETTLE_MS 100     /* several changes, one scan */
#define MAX_SOCKETS 4096  /* a directory that anybody fills must not take us down */

struct HnQmpDirectory {
    char *path;
    HnQmpDirectoryFunc func;
    void *user_data;
    GFileMonitor *monitor;
    GSource *regular, *settling; /* settling NULL: no scan is due out of turn */
    GHashTable *sockets;         /* path → identity */
    char *problem;
};

char *hn_qmp_socket_identity(const char *path)
{
    struct stat stat;
    if (lstat(path, &stat) < 0 || !S_ISSOCK(stat.st_mode))
        return NULL;
    return g_strdup_printf("%lu.%lu.%ld.%ld", (unsigned long)stat.st_dev,
                           (unsigned long)stat.st_ino, (long)stat.st_ctim.tv_sec,
                           stat.st_ctim.tv_nsec);
}

void hn_qmp_directory_scan(HnQmpDirectory *directory)
{
    g_autoptr(GError) error = NULL;
    const char *name;
    g_hash_table_remove_all(directory->sockets);
    g_clear_pointer(&directory->problem, g_free);
    if (!directory->path)
        return;
    /* Anew each time: the directory may be made, or become a link, while we run. */
    char *real = realpath(directory->path, NULL);
    g_autofree char *real_path = g_strdup(real ? real : directory->path);
    free(real);
    GDir *dir = g_dir_open(real_path, 0, &error);
    if (!dir) {
        if (!g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            directory->problem = g_strdup(error->message);
        return;
    }
    while ((name = g_dir_read_name(dir)) && g_hash_table_size(directory->sockets) < MAX_SOCKETS) {
        g_autofree char *path = g_build_filename(real_path, name, NULL);
        char *identity = hn_qmp_socket_identity(path);
        if (identity)
            g_hash_table_replace(directory->sockets, g_steal_pointer(&path), identity);
    }
    if (name)
        directory->problem =
            g_strdup_printf("'%s' holds more than %d sockets: the others are not looked at",
                            directory->path, MAX_SOCKETS);
    g_dir_close(dir);
}

static void scan_and_tell(HnQmpDirectory *directory)
{
    hn_qmp_directory_scan(directory);
    directory->func(directory->user_data);
}

static gboolean on_settled(gpointer data)
{
    HnQmpDirectory *directory = data;
    g_clear_pointer(&directory->settling, g_source_unref);
    scan_and_tell(directory);
    return G_SOURCE_REMOVE;
}

static gboolean on_regular(gpointer data)
{
    scan_and_tell(data);
    return G_SOURCE_CONTINUE;
}

static GSource *start_timer(guint ms, GSourceFunc func, HnQmpDirectory *directory)
{
    GSource *source = g_timeout_source_new(ms);
    g_source_set_callback(source, func, directory, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

static void on_changed(GFileMonitor *monitor, GFile *file, GFile *other, GFileMonitorEvent event,
                       gpointer data)
{
    HnQmpDirectory *directory = data;
    if (!directory->settling)
        directory->settling = start_timer(SETTLE_MS, on_settled, directory);
}

HnQmpDirectory *hn_qmp_directory_new(const char *path, HnQmpDirectoryFunc func, void *user_data)
{
    HnQmpDirectory *directory = g_new0(HnQmpDirectory, 1);
    directory->func = func;
    directory->user_data = user_data;
    directory->sockets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    directory->regular = start_timer(SCAN_INTERVAL_S * 1000, on_regular, directory);
    if (path) {
        directory->path = g_canonicalize_filename(path, "/");
        g_autoptr(GFile) file = g_file_new_for_path(directory->path);
        directory->monitor = g_file_monitor_directory(file, G_FILE_MONITOR_WATCH_MOVES, NULL, NULL);
        if (directory->monitor) /* else the regular scan must do */
            g_signal_connect(directory->monitor, "changed", G_CALLBACK(on_changed), directory);
    }
    return directory;
}

static void stop_timer(GSource **source)
{
    if (*source) {
        g_source_destroy(*source);
        g_clear_pointer(source, g_source_unref);
    }
}

void hn_qmp_directory_free(HnQmpDirectory *directory)
{
    if (!directory)
        return;
    stop_timer(&directory->regular);
    stop_timer(&directory->settling);
    if (directory->monitor) {
        g_signal_handlers_disconnect_by_data(directory->monitor, directory);
        g_file_monitor_cancel(directory->monitor);
        g_object_unref(directory->monitor);
    }
    g_hash_table_unref(directory->sockets);
    g_free(directory->problem);
    g_free(directory->path);
    g_free(directory);
}

GHashTable *hn_qmp_directory_sockets(const HnQmpDirectory *directory)
{
    return directory->sockets;
}

const char *hn_qmp_directory_problem(const HnQmpDirectory *directory)
{
    return directory->problem;
}
