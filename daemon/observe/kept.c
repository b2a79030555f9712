/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kept descriptors; see kept.h. */
#include "observe/kept.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

HnKeptBudget hn_kept_budget_from_limits(void)
{
    struct rlimit limit;
    uint64_t n = 1024;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        n = limit.rlim_cur == RLIM_INFINITY ? 1u << 20 : limit.rlim_cur;
    return (HnKeptBudget){.n_max = (uint32_t)(MIN(n, (uint64_t)1 << 20) / 2)};
}

static bool read_all(int fd, const char *path, size_t max_bytes, GString *buffer, GError **error)
{
    size_t len = 0;

    g_string_set_size(buffer, MAX(buffer->allocated_len, (gsize)4096) - 1);
    for (;;) {
        ssize_t n = pread(fd, buffer->str + len, buffer->len - len, (off_t)len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int saved_errno = errno;

            g_set_error(error, G_FILE_ERROR,
                        saved_errno == ESRCH ? G_FILE_ERROR_NOENT
                                             : g_file_error_from_errno(saved_errno),
                        "cannot read %s: %s", path, g_strerror(saved_errno));
            return false;
        }
        len += (size_t)n;
        if (len > max_bytes) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC,
                        "cannot read %s: longer than %zu bytes", path, max_bytes);
            return false;
        }
        /* One call nearly always gets it all, and a short read of these files is the end of them:
         * saves the second system call. Files longer than a page may come in pieces. */
        if (n == 0 || (len < 4000 && len < buffer->len))
            break;
        if (len == buffer->len)
            g_string_set_size(buffer, buffer->len * 2);
    }
    g_string_truncate(buffer, len);
    return true;
}

bool hn_kept_read(HnKept *kept, HnKeptBudget *budget, const HnRoot *root, const char *path,
                  size_t max_bytes, GString *buffer, GError **error)
{
    bool is_new = kept->fd < 0;
    int fd = is_new ? hn_root_open_file(root, path, error) : kept->fd;
    bool is_good;

    if (fd < 0)
        return false;
    is_good = read_all(fd, path, max_bytes, buffer, error);
    if (!is_new) {
        if (!is_good)
            hn_kept_close(kept, budget);
    } else if (is_good && budget->n_open < budget->n_max) {
        kept->fd = fd;
        budget->n_open++;
    } else {
        close(fd);
    }
    return is_good;
}

void hn_kept_close(HnKept *kept, HnKeptBudget *budget)
{
    if (kept->fd < 0)
        return;
    close(kept->fd);
    kept->fd = -1;
    budget->n_open--;
}

bool hn_error_is_gone(const GError *error)
{
    return g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT) ||
           g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NODEV);
}
