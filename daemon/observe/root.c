/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The root handle; see root.h.
 *
 * All paths are resolved from one directory descriptor. On a captured machine they must stay below
 * it: openat2(2) with RESOLVE_IN_ROOT makes a symbolic link in the capture unable to lead out, so
 * that a foreign capture can be read without fear. Descriptors are opened with O_NONBLOCK against a
 * FIFO in a capture; regular and kernel files ignore it.
 */
#include "observe/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct HnRoot {
    int fd;
    bool is_live;
    bool is_scratch;
};

static void set_file_error(GError **error, int saved_errno, const char *verb, const char *path)
{
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(saved_errno), "cannot %s %s: %s", verb,
                path, g_strerror(saved_errno));
}

HnRoot *hn_root_open(const char *dir, GError **error)
{
    HnRoot *root;
    struct stat st, st_slash;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        set_file_error(error, errno, "open directory", dir);
        return NULL;
    }
    root = g_new0(HnRoot, 1);
    root->fd = fd;
    /* By identity, not by spelling: "//" and "/." are the live machine too. */
    root->is_live = fstat(fd, &st) == 0 && stat("/", &st_slash) == 0 &&
                    st.st_dev == st_slash.st_dev && st.st_ino == st_slash.st_ino;
    return root;
}

void hn_root_free(HnRoot *root)
{
    if (!root)
        return;
    close(root->fd);
    g_free(root);
}

HnRoot *hn_root_open_scratch(const char *dir, GError **error)
{
    HnRoot *root = hn_root_open(dir, error);

    if (root)
        root->is_scratch = !root->is_live;
    return root;
}

bool hn_root_is_live(const HnRoot *root)
{
    return root->is_live;
}

bool hn_root_is_writable(const HnRoot *root)
{
    return root->is_live || root->is_scratch;
}

static int open_below(const HnRoot *root, const char *path, int flags)
{
    /* O_PATH opens nothing that could block, and openat2 refuses flags without a meaning. */
    int all_flags = flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NONBLOCK);
    struct open_how how = {
        .flags = (uint64_t)all_flags,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };

    while (*path == '/')
        path++;
    if (*path == '\0')
        path = ".";
    if (root->is_live)
        return openat(root->fd, path, all_flags);
    return (int)syscall(SYS_openat2, root->fd, path, &how, sizeof how);
}

int hn_root_open_file(const HnRoot *root, const char *path, GError **error)
{
    int fd = open_below(root, path, O_RDONLY);

    if (fd < 0)
        set_file_error(error, errno, "open", path);
    return fd;
}

bool hn_root_read(const HnRoot *root, const char *path, size_t max_bytes, char **ret_text,
                  size_t *ret_len, GError **error)
{
    g_autofree char *buffer = NULL;
    size_t room = MIN(max_bytes, (size_t)4096) + 1;
    size_t len = 0;
    int fd = hn_root_open_file(root, path, error);

    if (fd < 0)
        return false;
    buffer = g_malloc(room + 1);
    for (;;) {
        ssize_t n = read(fd, buffer + len, room - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int saved_errno = errno;

            close(fd);
            set_file_error(error, saved_errno, "read", path);
            return false;
        }
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > max_bytes) {
            close(fd);
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC,
                        "cannot read %s: longer than %zu bytes", path, max_bytes);
            return false;
        }
        if (len == room) {
            room = MIN(max_bytes + 1, room * 2);
            buffer = g_realloc(buffer, room + 1);
        }
    }
    close(fd);
    buffer[len] = '\0';
    *ret_text = g_steal_pointer(&buffer);
    if (ret_len)
        *ret_len = len;
    return true;
}

bool hn_root_write(const HnRoot *root, const char *path, const char *text, GError **error)
{
    size_t len = strlen(text);
    ssize_t n;
    int saved_errno;
    int fd;

    if (!hn_root_is_writable(root)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_ROFS,
                    "cannot write %s: this is a captured machine", path);
        return false;
    }
    /* The kernel's files take a write as a whole; those of a scratch directory keep what is longer. */
    fd = open_below(root, path, O_WRONLY | (root->is_scratch ? O_TRUNC : 0));
    if (fd < 0) {
        set_file_error(error, errno, "open for writing", path);
        return false;
    }
    n = write(fd, text, len);
    saved_errno = errno;
    close(fd);
    if (n < 0) {
        set_file_error(error, saved_errno, "write", path);
        return false;
    }
    if ((size_t)n != len) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_IO, "cannot write %s: %zd of %zu bytes taken",
                    path, n, len);
        return false;
    }
    return true;
}

/* Numbers in their order, then everything else in byte order ("cpu10" sorts after "cpu9"). */
static int compare_names(const void *a, const void *b)
{
    return strverscmp(*(char *const *)a, *(char *const *)b);
}

char **hn_root_list(const HnRoot *root, const char *path, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    struct dirent *entry;
    DIR *dir;
    int fd = open_below(root, path, O_RDONLY | O_DIRECTORY);

    dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int saved_errno = errno;

        if (fd >= 0)
            close(fd);
        set_file_error(error, saved_errno, "list", path);
        return NULL;
    }
    errno = 0;
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            g_ptr_array_add(names, g_strdup(entry->d_name));
    if (errno != 0) {
        int saved_errno = errno;

        closedir(dir);
        set_file_error(error, saved_errno, "list", path);
        return NULL;
    }
    closedir(dir);
    qsort(names->pdata, names->len, sizeof names->pdata[0], compare_names);
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}

char *hn_root_read_link(const HnRoot *root, const char *path, GError **error)
{
    char target[4096];
    ssize_t n = -1;
    int saved_errno;
    int fd = open_below(root, path, O_PATH | O_NOFOLLOW);

    if (fd >= 0)
        n = readlinkat(fd, "", target, sizeof target - 1);
    saved_errno = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0) {
        set_file_error(error, saved_errno, "read link", path);
        return NULL;
    }
    target[n] = '\0';
    return g_strdup(target);
}

bool hn_root_exists(const HnRoot *root, const char *path)
{
    int fd = open_below(root, path, O_PATH);

    if (fd < 0)
        return false;
    close(fd);
    return true;
}
