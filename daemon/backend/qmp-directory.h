/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A directory of sockets, watched: inotify (GFileMonitor) says at once that something changed, a
 * scan every few seconds what there is, also where inotify says nothing or the directory did not
 * exist.
 *
 * Belongs to the thread-default main context of its making. Must not: connect, or follow links.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct HnQmpDirectory HnQmpDirectory;

/* After each scan, and at least every few seconds; the list is in hn_qmp_directory_sockets(). */
typedef void (*HnQmpDirectoryFunc)(void *user_data);

/* path NULL: no directory, only the regular call. It need not exist. Nothing is called before it
 * returns. */
HnQmpDirectory *hn_qmp_directory_new(const char *path, HnQmpDirectoryFunc func, void *user_data);
void hn_qmp_directory_free(HnQmpDirectory *directory);

/* Scans now; calls nothing. */
void hn_qmp_directory_scan(HnQmpDirectory *directory);
/* Paths of the sockets found last (canonical, owned by the directory) to their identity, an inode
 * number and time as text: another one means that the file was made anew. */
GHashTable *hn_qmp_directory_sockets(const HnQmpDirectory *directory);
/* Why the directory cannot be read; NULL: it can, or it does not exist. */
const char *hn_qmp_directory_problem(const HnQmpDirectory *directory);

/* The identity of one socket as above; NULL: there is no socket. Caller frees. */
char *hn_qmp_socket_identity(const char *path);
