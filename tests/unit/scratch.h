/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A directory that stands for a machine's /proc and /sys: files are put into it, and all of it is
 * removed again.
 */
#pragma once

/* Writes a file below dir, in place as the kernel's files change, with the folders that it needs.
 * Does not wait for the disk, as g_file_set_contents() does: there are hundreds. */
void scratch_put(const char *dir, const char *path, const char *text);
/* Removes a file or a folder with all that is in it; of a symbolic link, the link. */
void scratch_remove(const char *path);
