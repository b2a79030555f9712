/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one handle through which the machine is read: /proc, /sys, cgroupfs below a directory that is "/"
 * on a live host and a captured tree with --sysroot (which implies dry run: whoever reads a captured
 * machine can never act on the real one).
 *
 * Paths are relative to the root ("proc/1/stat"). Reads are bounded. Nothing here parses.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct HnRoot HnRoot;

/* dir: "/" or the captured machine. Error: G_FILE_ERROR, naming the directory. */
HnRoot *hn_root_open(const char *dir, GError **error);
void hn_root_free(HnRoot *root);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HnRoot, hn_root_free)

/* A directory that stands for the machine in tests of what writes: hn_root_write() replaces what its files hold. Its
 * pids mean nothing. Error: as hn_root_open(). */
HnRoot *hn_root_open_scratch(const char *dir, GError **error);

/* True for "/": pids mean something and may be acted upon. */
bool hn_root_is_live(const HnRoot *root);
/* True unless this is a captured machine. */
bool hn_root_is_writable(const HnRoot *root);

/* Reads at most max_bytes (more is an error). *ret_text is NUL-terminated, caller frees; its length in
 * *ret_len (may be NULL). Error: G_FILE_ERROR, with the code of errno and the path in the message. */
bool hn_root_read(const HnRoot *root, const char *path, size_t max_bytes, char **ret_text,
                  size_t *ret_len, GError **error);
/* Writes text in one write(2). Refused with G_FILE_ERROR_ROFS on a captured machine. */
bool hn_root_write(const HnRoot *root, const char *path, const char *text, GError **error);
/* Names in a directory, sorted numerically where they are numbers. Caller frees with g_strfreev. */
char **hn_root_list(const HnRoot *root, const char *path, GError **error);
/* Where a symbolic link points ("/dev/vfio/12"), also if that does not exist. NULL on error; caller frees. */
char *hn_root_read_link(const HnRoot *root, const char *path, GError **error);
bool hn_root_exists(const HnRoot *root, const char *path);
/* An O_RDONLY|O_CLOEXEC descriptor to keep and pread from, -1 on error. */
int hn_root_open_file(const HnRoot *root, const char *path, GError **error);
