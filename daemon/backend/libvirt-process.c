/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds a domain's process without asking libvirt: the pid file first, then the command line as
 * proof, because a pid file can be stale and a pid reused.
 *
 * Must not act on the process, nor keep anything.
 */
#include "libvirt-process.h"

#include "observe/process.h"

#include <string.h>

#define MAX_PID_FILE_BYTES 64
#define MAX_CMDLINE_BYTES (2 * 1024 * 1024) /* the kernel's ARG_MAX */

int64_t hn_libvirt_pid_parse(const char *text, size_t len)
{
    g_autofree char *number = g_strstrip(g_strndup(text, MIN(len, MAX_PID_FILE_BYTES)));
    gint64 pid;
    return g_ascii_string_to_signed(number, 10, 1, G_MAXINT32, &pid, NULL) ? pid : 0;
}

int64_t hn_libvirt_pid_read(const HnRoot *root, const char *name, const char *uuid)
{
    g_autofree char *text = NULL, *cmdline = NULL;
    size_t len, cmdline_len;
    if (strchr(name, '/')) /* libvirt refuses such names; a path must not leave the directory */
        return 0;
    g_autofree char *pid_path = g_strdup_printf("run/libvirt/qemu/%s.pid", name);
    if (!hn_root_read(root, pid_path, MAX_PID_FILE_BYTES, &text, &len, NULL))
        return 0;
    int64_t pid = hn_libvirt_pid_parse(text, len);
    if (pid == 0)
        return 0;
    g_autofree char *cmdline_path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/cmdline", pid);
    if (!hn_root_read(root, cmdline_path, MAX_CMDLINE_BYTES, &cmdline, &cmdline_len, NULL))
        return 0;
    return hn_cmdline_match(cmdline, cmdline_len, name, uuid) == HN_CMDLINE_MATCH ? pid : 0;
}
