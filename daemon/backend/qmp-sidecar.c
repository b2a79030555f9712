/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files beside a monitor's socket; see qmp-sidecar.h.
 */
#include "qmp-sidecar.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* One more than what an element may have, so that its parser sees that it is too long. */
#define MAX_SIDECAR_BYTES 16385

char *hn_qmp_socket_problem(const char *path)
{
    static const char *const forbidden[] = {"/var/lib/libvirt/", "/run/libvirt/",
                                            "/var/run/libvirt/"};
    if (!g_path_is_absolute(path))
        return g_strdup_printf("the path of a socket must be absolute, not '%s'", path);
    if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        return g_strdup_printf("'%s' is longer than the %zu bytes a unix socket may have", path,
                               sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
    bool is_libvirts = strstr(path, "/libvirt/qemu/") != NULL; /* of a session instance */
    for (size_t i = 0; i < G_N_ELEMENTS(forbidden); i++)
        is_libvirts |= g_str_has_prefix(path, forbidden[i]);
    if (is_libvirts)
        return g_strdup_printf(
            "'%s' is libvirt's: its guests are managed through libvirt (--connect)", path);
    return NULL;
}

char *hn_qmp_socket_canonical(const char *path, GError **error)
{
    g_autofree char *dir = g_path_get_dirname(path), *name = g_path_get_basename(path);
    char *real = realpath(dir, NULL);
    if (!real) {
        g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno), "'%s': %s", dir,
                    g_strerror(errno));
        return NULL;
    }
    char *canonical = g_build_filename(real, name, NULL);
    free(real);
    return canonical;
}

char *hn_qmp_sidecar_read(const char *socket)
{
    g_autofree char *path = g_strconcat(socket, ".homenode", NULL);
    char text[MAX_SIDECAR_BYTES + 1];
    size_t len = 0;
    ssize_t n = 0;
    struct stat stat;
    /* A pipe must not keep us waiting, a link not lead elsewhere. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? NULL : g_strdup("");
    bool is_plain = fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode);
    while (is_plain && len < MAX_SIDECAR_BYTES &&
           (n = read(fd, text + len, MAX_SIDECAR_BYTES - len)) > 0)
        len += (size_t)n;
    close(fd);
    text[len] = '\0';
    return is_plain && n >= 0 && !memchr(text, '\0', len) ? g_strdup(g_strstrip(text))
                                                          : g_strdup("");
}

/* Written beside and renamed: a reader sees the old text or the new one, and a link that lies in
 * the way is replaced, not followed. */
static bool write_beside(const char *socket, const char *suffix, const char *xml, GError **error)
{
    g_autofree char *path = g_strconcat(socket, suffix, NULL);
    if (xml) {
        g_autofree char *text = g_strconcat(xml, "\n", NULL);
        return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644,
                                        error);
    }
    if (g_unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR)
        return true;
    g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno), "cannot remove '%s': %s",
                path, g_strerror(errno));
    return false;
}

bool hn_qmp_sidecar_write(const char *socket, const char *xml, GError **error)
{
    return write_beside(socket, ".homenode", xml, error);
}

bool hn_qmp_stats_write(const char *socket, const char *xml, GError **error)
{
    return write_beside(socket, ".stats.xml", xml, error);
}
