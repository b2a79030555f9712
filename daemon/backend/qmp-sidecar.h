/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files beside a monitor's socket: SOCKET.homenode holds the opt-in element <placement …/>,
 * SOCKET.stats.xml the statistics element. And which sockets may be used at all.
 *
 * Whoever may write that directory may be less trusted than we are: nothing is followed that is not
 * a plain file, nothing is read without bound, and what is written replaces, never opens, what is
 * there.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Why the socket at this absolute path must be left alone, a sentence the caller frees; NULL: fine.
 * Pure. libvirt's own monitors are refused: a monitor serves one client, and that is libvirtd. */
char *hn_qmp_socket_problem(const char *path);
/* The path without symbolic links in its directory part (the socket itself may not exist yet).
 * Caller frees. NULL: the directory cannot be resolved. */
char *hn_qmp_socket_canonical(const char *path, GError **error);

/* The opt-in element's text; NULL: there is no such file. What is not a readable plain file gives
 * "", which no parser takes for an element: the guest is left alone. */
char *hn_qmp_sidecar_read(const char *socket);
/* Atomically; xml NULL removes it (fine if there is none). Error: G_FILE_ERROR. */
bool hn_qmp_sidecar_write(const char *socket, const char *xml, GError **error);
bool hn_qmp_stats_write(const char *socket, const char *xml, GError **error);
