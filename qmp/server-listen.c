/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's sockets: binding them safely, taking them from socket activation, accepting. See
 * server.h.
 *
 * Binding. The lock file is the authority: who holds it owns the path, and it is held until the
 * server ends, so two servers that start together cannot both find the other's file stale. The new
 * socket is bound under "PATH.new", gets its group and permissions while nobody can connect (it
 * does not listen), listens, and is renamed over PATH: there is no moment without a socket that
 * works, nor one with wider permissions.
 */
#include "qmp/server-private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Accepted in one turn of the main loop. */
#define ACCEPTS_PER_TURN 16
/* Rest after EMFILE, ENFILE, ENOMEM: the listener stays readable and would spin. */
#define ACCEPT_PAUSE_MS 100
#define BACKLOG 128

static gboolean on_acceptable(GSocket *socket, GIOCondition condition, gpointer user_data);

static void start_accepting(Listener *listener)
{
    listener->accept = g_socket_create_source(listener->socket, G_IO_IN, NULL);
    g_source_set_callback(listener->accept, G_SOURCE_FUNC(on_acceptable), listener, NULL);
    g_source_attach(listener->accept, listener->server->context);
}

static gboolean on_pause_over(gpointer user_data)
{
    Listener *listener = user_data;

    hn_qmp_source_clear(&listener->pause);
    start_accepting(listener);
    return G_SOURCE_REMOVE;
}

static void pause_accepting(Listener *listener)
{
    hn_qmp_source_clear(&listener->accept);
    listener->pause = g_timeout_source_new(ACCEPT_PAUSE_MS);
    g_source_set_callback(listener->pause, on_pause_over, listener, NULL);
    g_source_attach(listener->pause, listener->server->context);
}

static gboolean on_acceptable(GSocket *socket, GIOCondition condition, gpointer user_data)
{
    Listener *listener = user_data;

    for (guint i = 0; i < ACCEPTS_PER_TURN; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GSocket) connection = g_socket_accept(socket, NULL, &error);

        if (connection) {
            hn_qmp_server_admit(listener, connection);
        } else {
            if (!g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK) &&
                !g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_CLOSED))
                pause_accepting(listener);
            break;
        }
    }
    return G_SOURCE_CONTINUE;
}

/* Removes the socket file if it is still the one bound here. */
static void remove_own_file(const Listener *listener)
{
    struct stat st;

    if (listener->path && lstat(listener->path, &st) == 0 && st.st_dev == listener->device &&
        st.st_ino == listener->inode)
        unlink(listener->path);
}

void hn_qmp_listener_free(Listener *listener)
{
    hn_qmp_source_clear(&listener->accept);
    hn_qmp_source_clear(&listener->pause);
    remove_own_file(listener);
    g_socket_close(listener->socket, NULL);
    g_object_unref(listener->socket);
    g_hash_table_unref(listener->clients_of_uid);
    if (listener->lock_fd >= 0)
        close(listener->lock_fd); /* last: the path is free from here on */
    g_free(listener->path);
    g_free(listener);
}

/* Starts serving fd, which listens; takes it on success. */
static Listener *add_listener(HnQmpServer *server, int fd, gboolean is_read_only, GError **error)
{
    g_autoptr(GError) socket_error = NULL;
    GSocket *socket_object = g_socket_new_from_fd(fd, &socket_error);
    Listener *listener;

    if (!socket_object) {
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_ADDRESS, "Descriptor %d is of no use: %s", fd,
                    socket_error->message);
        return NULL;
    }
    g_socket_set_blocking(socket_object, FALSE);
    listener = g_new0(Listener, 1);
    listener->server = server;
    listener->socket = socket_object;
    listener->is_read_only = is_read_only;
    listener->clients_of_uid = g_hash_table_new(NULL, NULL);
    listener->lock_fd = -1;
    start_accepting(listener);
    g_ptr_array_add(server->listeners, listener);
    return listener;
}

gboolean hn_qmp_server_listen_fd(HnQmpServer *server, int fd, gboolean is_read_only, GError **error)
{
    struct sockaddr_un address;
    socklen_t address_bytes = sizeof address;
    int is_listening = 0, type = 0;
    socklen_t int_bytes = sizeof is_listening;

    if (getsockname(fd, (struct sockaddr *)&address, &address_bytes) < 0 ||
        address.sun_family != AF_UNIX ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &int_bytes) < 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &int_bytes) < 0 || !is_listening) {
        g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_ADDRESS,
                    "Descriptor %d is not a listening unix stream socket", fd);
        return FALSE;
    }
    return add_listener(server, fd, is_read_only, error) != NULL;
}

static gboolean set_address_error(GError **error, const char *path, const char *what, int code)
{
    g_set_error(error, HN_QMP_ERROR, HN_QMP_ERROR_ADDRESS, "Cannot listen on '%s': %s%s%s", path,
                what, code ? ": " : "", code ? g_strerror(code) : "");
    return FALSE;
}

static gboolean take_lock(const char *path, int *ret_fd, GError **error)
{
    g_autofree char *lock_path = g_strconcat(path, ".lock", NULL);
    int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return set_address_error(error, path, "cannot open its lock file", errno);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int code = errno;

        close(fd);
        if (code == EWOULDBLOCK)
            return set_address_error(error, path, "another server holds it", 0);
        return set_address_error(error, path, "cannot lock its lock file", code);
    }
    *ret_fd = fd;
    return TRUE;
}

/* TRUE if path is free or a socket file that nobody listens on. Servers without our lock file, such
 * as systemd, are found by connecting. */
static gboolean is_replaceable(const char *path, const struct sockaddr_un *address, GError **error)
{
    struct stat st;
    int fd, code;

    if (lstat(path, &st) < 0)
        return errno == ENOENT || set_address_error(error, path, "cannot look at it", errno);
    if (!S_ISSOCK(st.st_mode))
        return set_address_error(error, path, "it exists and is not a socket", 0);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return set_address_error(error, path, "no socket to try it with", errno);
    code = connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 ? errno : 0;
    close(fd);
    if (code == ECONNREFUSED || code == ENOENT)
        return TRUE;
    if (code == 0 || code == EAGAIN)
        return set_address_error(error, path, "somebody serves it", 0);
    return set_address_error(error, path, "cannot tell whether somebody serves it", code);
}

/* Binds a listening socket under temporary and moves it to path. Returns the descriptor or -1. */
static int bind_and_rename(const char *path, const struct sockaddr_un *temporary, mode_t mode_bits,
                           gid_t gid, GError **error)
{
    const char *step = "socket";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int code;

    unlink(temporary->sun_path); /* ours by the lock; left by a crash */
    /* Linux binds with the mode of the descriptor less the umask: never wider than asked for. The
     * chmod() after it puts back what the umask took. */
    if (fd >= 0 && (step = "fchmod", fchmod(fd, mode_bits)) == 0 &&
        (step = "bind", bind(fd, (const struct sockaddr *)temporary, sizeof *temporary)) == 0 &&
        (step = "chown", gid == (gid_t)-1 ? 0 : chown(temporary->sun_path, (uid_t)-1, gid)) == 0 &&
        (step = "chmod", chmod(temporary->sun_path, mode_bits)) == 0 &&
        (step = "listen", listen(fd, BACKLOG)) == 0 &&
        (step = "rename", rename(temporary->sun_path, path)) == 0)
        return fd;

    code = errno;
    if (fd >= 0)
        close(fd);
    unlink(temporary->sun_path);
    set_address_error(error, path, step, code);
    return -1;
}

gboolean hn_qmp_server_listen_path(HnQmpServer *server, const char *path, gboolean is_read_only,
                                   mode_t mode_bits, gid_t gid, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct sockaddr_un temporary = {.sun_family = AF_UNIX};
    struct stat st;
    Listener *listener;
    int lock_fd = -1, fd;

    if (strlen(path) + strlen(".new") >= sizeof address.sun_path)
        return set_address_error(error, path, "the path is too long for a unix socket", 0);
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    g_snprintf(temporary.sun_path, sizeof temporary.sun_path, "%s.new", path);

    if (!take_lock(path, &lock_fd, error))
        return FALSE;
    if (!is_replaceable(path, &address, error)) {
        close(lock_fd);
        return FALSE;
    }
    fd = bind_and_rename(path, &temporary, mode_bits, gid, error);
    listener = fd >= 0 ? add_listener(server, fd, is_read_only, error) : NULL;
    if (!listener) {
        if (fd >= 0) {
            unlink(path);
            close(fd);
        }
        close(lock_fd);
        return FALSE;
    }
    listener->lock_fd = lock_fd;
    if (lstat(path, &st) == 0) {
        listener->path = g_strdup(path);
        listener->device = st.st_dev;
        listener->inode = st.st_ino;
    }
    return TRUE;
}
