/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fake kernel; see fake-kernel.h.
 */
#include "fake-kernel.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <numaif.h>
#include <string.h>

#define FAKE_PIDFD 1000

typedef struct {
    int node; /* -1: absent */
    guint folio_pages; /* which all have the same */
    bool is_shared;
    guint pinned_calls;
} Page;

struct FakeKernel {
    HnSyscalls syscalls;
    GRecMutex lock;
    char *dir;
    HnRoot *root;
    int64_t pid;
    uint64_t start_ticks;
    bool has_exited;
    guint n_pages;
    Page *pages;
    uint64_t free_bytes[FAKE_NODES], told_bytes[FAKE_NODES]; /* told: as meminfo says */
    uint32_t allowed;
    struct {
        guint skip, times;
        int err;
    } failures[FAKE_N_CALLS];
    guint calls[FAKE_N_CALLS];
    GHashTable *affinities; /* tid → HnCpuset */
    bool is_splitting;
    guint us_per_mib, exit_after, splats, on_move_nth, open_pidfds;
    uint64_t largest_move;
    void (*on_move)(void *user_data);
    void *on_move_data;
    void (*on_change)(void *user_data);
    void *on_change_data;
};

/* ---- files ---- */

void fake_kernel_write(FakeKernel *kernel, const char *path, const char *text)
{
    g_autofree char *full = g_build_filename(kernel->dir, "root", path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);

    g_assert_cmpint(g_mkdir_with_parents(parent, 0700), ==, 0);
    g_assert_true(g_file_set_contents_full(full, text, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

static void write_meminfo(FakeKernel *kernel, int node)
{
    g_autofree char *path = g_strdup_printf("sys/devices/system/node/node%d/meminfo", node);
    g_autofree char *text =
        g_strdup_printf("Node %d MemTotal:       99999999 kB\nNode %d MemFree:        %" G_GUINT64_FORMAT " kB\n",
                        node, node, kernel->free_bytes[node] / 1024);

    if (kernel->told_bytes[node] != kernel->free_bytes[node])
        fake_kernel_write(kernel, path, text);
    kernel->told_bytes[node] = kernel->free_bytes[node];
}

static void write_stat(FakeKernel *kernel)
{
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/stat", kernel->pid);
    g_autofree char *text = g_strdup_printf(
        "%" G_GINT64_FORMAT " (qemu-system-x86) S 1 1 1 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 9 0 %" G_GUINT64_FORMAT
        " 1000000 1000 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
        kernel->pid, kernel->start_ticks);

    fake_kernel_write(kernel, path, text);
}

static int remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *inner = g_build_filename(path, name, NULL);

        remove_tree(inner);
    }
    return g_remove(path);
}

/* ---- calls ---- */

static bool is_failing(FakeKernel *kernel, FakeCall call)
{
    kernel->calls[call]++;
    if (kernel->failures[call].times == 0)
        return false;
    if (kernel->failures[call].skip > 0) {
        kernel->failures[call].skip--;
        return false;
    }
    kernel->failures[call].times--;
    errno = kernel->failures[call].err;
    return true;
}

static void tell_change(FakeKernel *kernel)
{
    if (kernel->on_change)
        kernel->on_change(kernel->on_change_data);
}

static Page *page_at(FakeKernel *kernel, const void *address)
{
    const uint64_t at = GPOINTER_TO_SIZE(address);

    if (at < FAKE_BASE || (at - FAKE_BASE) / FAKE_PAGE >= kernel->n_pages)
        return NULL;
    return &kernel->pages[(at - FAKE_BASE) / FAKE_PAGE];
}

static void move_one(FakeKernel *kernel, Page *page, int node)
{
    kernel->free_bytes[page->node] += FAKE_PAGE;
    kernel->free_bytes[node] -= FAKE_PAGE;
    page->node = node;
}

/* The first page of a page's folio. */
static Page *folio_of(FakeKernel *kernel, Page *page)
{
    return &kernel->pages[(guint)(page - kernel->pages) / page->folio_pages * page->folio_pages];
}

/* Migrates the folios at addresses [from, to), which wait for it. Returns how many are pinned, or -1 and ENOMEM with what
 * moved before staying moved; status is written only if all moved. */
static long flush(FakeKernel *kernel, size_t from, size_t to, void **addresses, const int *nodes, int *status)
{
    long n_failed = 0;

    for (size_t i = from; i < to; i++) {
        Page *page = folio_of(kernel, page_at(kernel, addresses[i]));
        const guint n_folio = page->folio_pages;

        if (page->pinned_calls > 0) {
            if (page->pinned_calls != G_MAXUINT)
                page->pinned_calls--;
            n_failed++;
            continue;
        }
        if (kernel->free_bytes[nodes[i]] < n_folio * FAKE_PAGE) {
            kernel->splats++;
            errno = ENOMEM;
            return -1;
        }
        for (guint k = 0; k < n_folio; k++)
            move_one(kernel, page + k, nodes[i]);
        for (guint k = 0; kernel->is_splitting && k < n_folio; k++)
            page[k].folio_pages = 1;
    }
    for (size_t i = from; n_failed == 0 && i < to; i++)
        status[i] = nodes[i];
    return n_failed;
}

/* As linux/mm/migrate.c does it (do_pages_move): folios are isolated one after the other, and migrated when an address
 * is met that cannot be, for whatever reason (one is that its folio waits already), and at the end. Where some are
 * pinned it goes no further, and the call returns how many pages did not move or were not tried. (Nobody here asks for
 * two nodes in one call.) */
static long do_move(FakeKernel *kernel, size_t n, void **addresses, const int *nodes, int *status, int flags)
{
    g_autoptr(GHashTable) isolated = g_hash_table_new(NULL, NULL);
    size_t from = 0;
    long result;

    for (size_t i = 0; i < n; i++) {
        Page *page = page_at(kernel, addresses[i]);

        if (nodes[i] < 0 || nodes[i] >= FAKE_NODES) {
            errno = ENODEV;
            return -1;
        }
        if (!(kernel->allowed >> nodes[i] & 1)) {
            errno = EACCES;
            return -1;
        }
        if (!page || page->node < 0) {
            status[i] = page ? -ENOENT : -EFAULT;
        } else {
            page = folio_of(kernel, page);
            if (page->node == nodes[i]) {
                status[i] = page->node;
            } else if (page->is_shared && !(flags & MPOL_MF_MOVE_ALL)) {
                status[i] = -EACCES;
            } else if (!g_hash_table_add(isolated, page)) {
                status[i] = -EBUSY;
            } else {
                continue;
            }
        }
        result = flush(kernel, from, i, addresses, nodes, status);
        if (result != 0)
            return result < 0 ? result : result + (long)(n - i) - 1;
        g_hash_table_remove_all(isolated);
        from = i + 1;
    }
    return flush(kernel, from, n, addresses, nodes, status);
}

static long fake_move_pages(void *user_data, int64_t pid, size_t n, void **addresses, const int *nodes, int *status,
                            int flags)
{
    FakeKernel *kernel = user_data;
    uint64_t bytes = 0;
    long result = 0;
    int saved_errno;

    if (nodes)
        tell_change(kernel);
    g_rec_mutex_lock(&kernel->lock);
    if (nodes && kernel->on_move_nth > 0 && --kernel->on_move_nth == 0)
        kernel->on_move(kernel->on_move_data);
    if (nodes && kernel->exit_after > 0 && --kernel->exit_after == 0)
        kernel->has_exited = true;
    if (is_failing(kernel, nodes ? FAKE_MOVE : FAKE_QUERY)) {
        result = -1;
    } else if (kernel->has_exited || pid != kernel->pid) {
        errno = ESRCH;
        result = -1;
    } else if (nodes) {
        for (size_t i = 0; i < n; i++) {
            Page *page = page_at(kernel, addresses[i]);

            bytes += page && page->folio_pages == 512 ? FAKE_BLOCK : FAKE_PAGE;
        }
        kernel->largest_move = MAX(kernel->largest_move, bytes);
        result = do_move(kernel, n, addresses, nodes, status, flags);
    } else {
        for (size_t i = 0; i < n; i++) {
            const Page *page = page_at(kernel, addresses[i]);

            status[i] = !page ? -EFAULT : page->node < 0 ? -ENOENT : page->node;
        }
    }
    saved_errno = errno;
    for (int i = 0; nodes && i < FAKE_NODES; i++)
        write_meminfo(kernel, i);
    g_rec_mutex_unlock(&kernel->lock);
    if (nodes)
        tell_change(kernel);
    if (nodes && kernel->us_per_mib)
        g_usleep((gulong)(kernel->us_per_mib * bytes >> 20));
    errno = saved_errno;
    return result;
}

static int fake_setaffinity(void *user_data, int32_t tid, const HnCpuset *cpus)
{
    FakeKernel *kernel = user_data;
    HnCpuset *known;
    int result = -1;

    tell_change(kernel);
    g_rec_mutex_lock(&kernel->lock);
    known = g_hash_table_lookup(kernel->affinities, GINT_TO_POINTER(tid));
    if (!is_failing(kernel, FAKE_SETAFFINITY)) {
        errno = ESRCH;
        if (known) {
            *known = *cpus;
            result = 0;
        }
    }
    g_rec_mutex_unlock(&kernel->lock);
    tell_change(kernel);
    return result;
}

static int fake_getaffinity(void *user_data, int32_t tid, HnCpuset *ret_cpus)
{
    FakeKernel *kernel = user_data;
    const HnCpuset *known;
    int result = -1;

    g_rec_mutex_lock(&kernel->lock);
    known = g_hash_table_lookup(kernel->affinities, GINT_TO_POINTER(tid));
    if (!is_failing(kernel, FAKE_GETAFFINITY)) {
        errno = ESRCH;
        if (known) {
            *ret_cpus = *known;
            result = 0;
        }
    }
    g_rec_mutex_unlock(&kernel->lock);
    return result;
}

/* As linux/mm/khugepaged.c: each 2 MiB block of the range; the first failure is told, the others are tried. */
static int64_t fake_process_madvise(void *user_data, int pidfd, const struct iovec *ranges, size_t n_ranges, int advice)
{
    FakeKernel *kernel = user_data;
    int64_t result = (int64_t)ranges[0].iov_len;

    g_assert_cmpint(pidfd, ==, FAKE_PIDFD);
    g_assert_cmpint(advice, ==, 25);
    g_rec_mutex_lock(&kernel->lock);
    if (is_failing(kernel, FAKE_COLLAPSE)) {
        result = -1;
    } else {
        for (size_t at = 0; at < ranges[0].iov_len; at += FAKE_BLOCK) {
            Page *page = page_at(kernel, (char *)ranges[0].iov_base + at);
            bool is_whole = page != NULL;

            for (guint k = 0; is_whole && k < 512; k++)
                is_whole = page[k].node >= 0;
            for (guint k = 0; is_whole && k < 512; k++)
                page[k].folio_pages = 512;
            if (!is_whole) {
                errno = EINVAL;
                result = -1;
            }
        }
    }
    g_rec_mutex_unlock(&kernel->lock);
    return result;
}

static int fake_pidfd_open(void *user_data, int64_t pid)
{
    FakeKernel *kernel = user_data;
    int result = -1;

    g_rec_mutex_lock(&kernel->lock);
    if (!is_failing(kernel, FAKE_PIDFD_OPEN)) {
        if (kernel->has_exited || pid != kernel->pid) {
            errno = ESRCH;
        } else {
            kernel->open_pidfds++;
            result = FAKE_PIDFD;
        }
    }
    g_rec_mutex_unlock(&kernel->lock);
    return result;
}

static int fake_pidfd_is_alive(void *user_data, int pidfd)
{
    FakeKernel *kernel = user_data;
    int result;

    g_assert_cmpint(pidfd, ==, FAKE_PIDFD);
    g_rec_mutex_lock(&kernel->lock);
    result = !kernel->has_exited;
    g_rec_mutex_unlock(&kernel->lock);
    return result;
}

static void fake_close(void *user_data, int fd)
{
    FakeKernel *kernel = user_data;

    g_rec_mutex_lock(&kernel->lock);
    g_assert_cmpint(fd, ==, FAKE_PIDFD);
    g_assert_cmpuint(kernel->open_pidfds, >, 0);
    kernel->open_pidfds--;
    g_rec_mutex_unlock(&kernel->lock);
}

static uint64_t fake_now_ns(void *user_data)
{
    return (uint64_t)g_get_monotonic_time() * 1000;
}

/* Time is real here: so is waiting. */
static void fake_wait(void *user_data, GCond *cond, GMutex *lock, uint64_t wait_ns)
{
    hn_syscalls_kernel()->wait(NULL, cond, lock, wait_ns);
}

/* ---- making it ---- */

FakeKernel *fake_kernel_new(int64_t pid, guint n_pages, uint64_t free_bytes)
{
    FakeKernel *kernel = g_new0(FakeKernel, 1);
    g_autofree char *root = NULL;

    g_rec_mutex_init(&kernel->lock);
    kernel->dir = g_dir_make_tmp("homenode-apply-XXXXXX", NULL);
    g_assert_nonnull(kernel->dir);
    kernel->pid = pid;
    kernel->start_ticks = 5000;
    kernel->n_pages = n_pages;
    kernel->pages = g_new0(Page, n_pages);
    for (guint i = 0; i < n_pages; i++)
        kernel->pages[i].folio_pages = 1;
    kernel->allowed = UINT32_MAX;
    kernel->affinities = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    for (int i = 0; i < FAKE_NODES; i++) {
        kernel->free_bytes[i] = free_bytes;
        write_meminfo(kernel, i);
    }
    write_stat(kernel);
    fake_kernel_write(kernel, "sys/devices/system/node/has_memory", "0-3\n");
    fake_kernel_write(kernel, "sys/devices/system/cpu/online", "0-7\n");
    fake_kernel_write(kernel, "proc/pressure/memory",
                      "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 "
                      "total=0\n");
    root = g_build_filename(kernel->dir, "root", NULL);
    kernel->root = hn_root_open(root, NULL);
    g_assert_nonnull(kernel->root);
    kernel->syscalls = (HnSyscalls){
        .user_data = kernel,
        .move_pages = fake_move_pages,
        .process_madvise = fake_process_madvise,
        .sched_setaffinity = fake_setaffinity,
        .sched_getaffinity = fake_getaffinity,
        .pidfd_open = fake_pidfd_open,
        .pidfd_is_alive = fake_pidfd_is_alive,
        .close = fake_close,
        .now_ns = fake_now_ns,
        .wait = fake_wait,
    };
    return kernel;
}

void fake_kernel_free(FakeKernel *kernel)
{
    hn_root_free(kernel->root);
    remove_tree(kernel->dir);
    g_hash_table_unref(kernel->affinities);
    g_free(kernel->pages);
    g_free(kernel->dir);
    g_rec_mutex_clear(&kernel->lock);
    g_free(kernel);
}

const HnSyscalls *fake_kernel_syscalls(FakeKernel *kernel)
{
    return &kernel->syscalls;
}

HnRoot *fake_kernel_root(FakeKernel *kernel)
{
    return kernel->root;
}

const char *fake_kernel_dir(FakeKernel *kernel)
{
    return kernel->dir;
}

#define EACH_PAGE(statement)                                                                       \
    g_rec_mutex_lock(&kernel->lock);                                                               \
    for (guint i = first; i < first + n; i++) {                                                    \
        statement;                                                                                 \
    }                                                                                              \
    g_rec_mutex_unlock(&kernel->lock)

void fake_kernel_set_node(FakeKernel *kernel, guint first, guint n, int node)
{
    EACH_PAGE(kernel->pages[i].node = node);
}

void fake_kernel_set_huge(FakeKernel *kernel, guint first, guint n)
{
    fake_kernel_set_folios(kernel, first, n, 512);
}

void fake_kernel_set_folios(FakeKernel *kernel, guint first, guint n, guint folio_pages)
{
    EACH_PAGE(kernel->pages[i].folio_pages = folio_pages);
}

void fake_kernel_set_pinned(FakeKernel *kernel, guint first, guint n, guint calls)
{
    EACH_PAGE(kernel->pages[i].pinned_calls = calls);
}

void fake_kernel_set_shared(FakeKernel *kernel, guint first, guint n)
{
    EACH_PAGE(kernel->pages[i].is_shared = true);
}

guint fake_kernel_count(FakeKernel *kernel, int node)
{
    guint count = 0, first = 0, n = kernel->n_pages;

    EACH_PAGE(count += kernel->pages[i].node == node);
    return count;
}

guint fake_kernel_count_huge(FakeKernel *kernel)
{
    guint count = 0, first = 0, n = kernel->n_pages;

    EACH_PAGE(count += kernel->pages[i].folio_pages == 512);
    return count;
}

void fake_kernel_split_moves(FakeKernel *kernel)
{
    kernel->is_splitting = true;
}

void fake_kernel_set_free(FakeKernel *kernel, int node, uint64_t free_bytes)
{
    g_rec_mutex_lock(&kernel->lock);
    kernel->free_bytes[node] = free_bytes;
    write_meminfo(kernel, node);
    g_rec_mutex_unlock(&kernel->lock);
}

void fake_kernel_exit(FakeKernel *kernel)
{
    g_rec_mutex_lock(&kernel->lock);
    kernel->has_exited = true;
    g_rec_mutex_unlock(&kernel->lock);
}

void fake_kernel_exit_after(FakeKernel *kernel, guint n_moves)
{
    kernel->exit_after = n_moves;
}

void fake_kernel_restart(FakeKernel *kernel, uint64_t start_ticks)
{
    g_rec_mutex_lock(&kernel->lock);
    kernel->start_ticks = start_ticks;
    write_stat(kernel);
    g_rec_mutex_unlock(&kernel->lock);
}

void fake_kernel_allow(FakeKernel *kernel, uint32_t node_mask)
{
    kernel->allowed = node_mask;
}

void fake_kernel_fail(FakeKernel *kernel, FakeCall call, guint skip, guint times, int err)
{
    g_rec_mutex_lock(&kernel->lock);
    kernel->failures[call].skip = skip;
    kernel->failures[call].times = times;
    kernel->failures[call].err = err;
    g_rec_mutex_unlock(&kernel->lock);
}

void fake_kernel_set_affinity(FakeKernel *kernel, int32_t tid, const char *cpus)
{
    HnCpuset *set = g_new0(HnCpuset, 1);

    g_assert_true(hn_cpuset_parse(cpus, strlen(cpus), set, NULL));
    g_rec_mutex_lock(&kernel->lock);
    g_hash_table_insert(kernel->affinities, GINT_TO_POINTER(tid), set);
    g_rec_mutex_unlock(&kernel->lock);
}

char *fake_kernel_affinity(FakeKernel *kernel, int32_t tid)
{
    const HnCpuset *set = g_hash_table_lookup(kernel->affinities, GINT_TO_POINTER(tid));

    return set ? hn_cpuset_format(set) : g_strdup("?");
}

void fake_kernel_delay_moves(FakeKernel *kernel, guint us_per_mib)
{
    kernel->us_per_mib = us_per_mib;
}

void fake_kernel_on_change(FakeKernel *kernel, void (*func)(void *user_data), void *user_data)
{
    kernel->on_change = func;
    kernel->on_change_data = user_data;
}

void fake_kernel_on_move(FakeKernel *kernel, guint nth, void (*func)(void *user_data), void *user_data)
{
    g_rec_mutex_lock(&kernel->lock);
    kernel->on_move_nth = nth;
    kernel->on_move = func;
    kernel->on_move_data = user_data;
    g_rec_mutex_unlock(&kernel->lock);
}

guint fake_kernel_calls(FakeKernel *kernel, FakeCall call)
{
    return kernel->calls[call];
}

guint fake_kernel_splats(FakeKernel *kernel)
{
    return kernel->splats;
}

uint64_t fake_kernel_largest_move(FakeKernel *kernel)
{
    return kernel->largest_move;
}

guint fake_kernel_open_pidfds(FakeKernel *kernel)
{
    return kernel->open_pidfds;
}
