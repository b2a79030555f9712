/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the socket tests share: running the default main context until something is so, a scratch
 * directory, and a raw peer that speaks bytes instead of the client library.
 *
 * Waiting is bounded: a test that would hang fails with the place it waited at.
 */
#pragma once

#include <gio/gio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <errno.h>
#include <glib/gstdio.h>

#define WAIT_LIMIT_US (60 * G_USEC_PER_SEC)

/* Iterates the main context until condition holds. */
#define wait_until(condition)                                                                      \
    G_STMT_START                                                                                   \
    {                                                                                              \
        gint64 deadline_us_ = g_get_monotonic_time() + WAIT_LIMIT_US;                              \
        GSource *waker_ = wake_regularly();                                                        \
        while (!(condition)) {                                                                     \
            if (g_get_monotonic_time() > deadline_us_)                                             \
                g_error("%s:%d: waited in vain for %s", __FILE__, __LINE__, #condition);           \
            g_main_context_iteration(NULL, TRUE);                                                  \
        }                                                                                          \
        g_source_destroy(waker_);                                                                  \
        g_source_unref(waker_);                                                                    \
    }                                                                                              \
    G_STMT_END

static gboolean keep_going(gpointer user_data)
{
    return G_SOURCE_CONTINUE;
}

/* Conditions on sockets outside the main context are looked at every 5 ms. */
static inline GSource *wake_regularly(void)
{
    GSource *source = g_timeout_source_new(5);

    g_source_set_callback(source, keep_going, NULL, NULL);
    g_source_attach(source, NULL);
    return source;
}

static inline gboolean mark(gpointer user_data)
{
    *(gboolean *)user_data = TRUE;
    return G_SOURCE_REMOVE;
}

/* Iterates the main context for so long. */
static inline void run_for_ms(guint ms)
{
    gboolean is_over = FALSE;

    g_timeout_add(ms, mark, &is_over);
    while (!is_over)
        g_main_context_iteration(NULL, TRUE);
}

typedef struct {
    char *dir;
    char *path; /* of a socket in it */
} Scratch;

static inline Scratch scratch_new(void)
{
    Scratch scratch = {.dir = g_dir_make_tmp("hn-qmp-XXXXXX", NULL)};

    g_assert_nonnull(scratch.dir);
    scratch.path = g_build_filename(scratch.dir, "s", NULL);
    return scratch;
}

static inline void scratch_clear(Scratch *scratch)
{
    g_autoptr(GDir) dir = g_dir_open(scratch->dir, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(scratch->dir, name, NULL);

        g_assert_cmpint(g_unlink(path), ==, 0);
    }
    g_assert_cmpint(g_rmdir(scratch->dir), ==, 0);
    g_free(scratch->path);
    g_free(scratch->dir);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Scratch, scratch_clear)

static inline struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    return address;
}

/* A connected non-blocking descriptor, or -1 with errno. */
static inline int raw_connect(const char *path)
{
    struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int code = errno;

        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

static inline void raw_send(int fd, const char *text)
{
    size_t len = strlen(text);

    g_assert_cmpint(send(fd, text, len, MSG_NOSIGNAL), ==, (gssize)len);
}

/* Reads what there is into text. FALSE at the end of the stream. */
static inline gboolean raw_pull(int fd, GString *text)
{
    char buffer[65536];
    gssize n;

    while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0)
        g_string_append_len(text, buffer, n);
    return n < 0 && errno == EAGAIN;
}

/* Runs the context until a line has come, and returns it without its end. */
static inline char *raw_line(int fd)
{
    GString *line = g_string_new(NULL);

    for (;;) {
        char byte = 0;
        gssize n = -1;

        wait_until((n = recv(fd, &byte, 1, 0)) >= 0 || errno != EAGAIN);
        g_assert_cmpint(n, ==, 1);
        if (byte == '\n')
            break;
        if (byte != '\r')
            g_string_append_c(line, byte);
    }
    return g_string_free(line, FALSE);
}
