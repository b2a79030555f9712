/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host with made-up time; see virtual-host.h.
 */
#include "virtual-host.h"

#include <errno.h>
#include <glib/gstdio.h>

#define NODES 2
#define PAGE 4096ull
#define QUERY_NS_PER_ADDRESS 150

typedef struct {
    int64_t pid;
    uint64_t n_pages;
    uint8_t *nodes; /* [n_pages] */
    bool is_huge, is_pinned;
} Process;

struct VirtualHost {
    HnSyscalls syscalls;
    GMutex lock;
    VirtualCosts costs;
    bool is_room_told;
    uint64_t now_ns;
    uint64_t seed;
    uint64_t free_bytes[NODES];
    GPtrArray *processes; /* Process * */
    GArray *calls;
    guint splats;
    bool is_pressed; /* as told */
    char *dir;
    HnRoot *root;
};

/* xorshift64: the same numbers in every run. */
static uint64_t draw(VirtualHost *host, uint64_t below)
{
    host->seed ^= host->seed << 13;
    host->seed ^= host->seed >> 7;
    host->seed ^= host->seed << 17;
    return host->seed % below;
}

static Process *find(VirtualHost *host, int64_t pid)
{
    for (guint i = 0; i < host->processes->len; i++) {
        Process *process = host->processes->pdata[i];

        if (process->pid == pid)
            return process;
    }
    return NULL;
}

static void write_file(VirtualHost *host, const char *path, const char *text)
{
    g_autofree char *full = g_build_filename(host->dir, path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);

    g_assert_cmpint(g_mkdir_with_parents(parent, 0700), ==, 0);
    g_assert_true(g_file_set_contents_full(full, text, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

static void tell_room(VirtualHost *host)
{
    for (int node = 0; node < NODES; node++) {
        g_autofree char *path = g_strdup_printf("sys/devices/system/node/node%d/meminfo", node);
        g_autofree char *text = g_strdup_printf("Node %d MemFree: %" G_GUINT64_FORMAT " kB\n", node,
                                                host->free_bytes[node] / 1024);

        write_file(host, path, text);
    }
}

static void tell_pressure(VirtualHost *host)
{
    g_autofree char *text = g_strdup_printf("some avg10=%u.00 avg60=0.00 avg300=0.00 total=0\n",
                                            host->is_pressed ? host->costs.psi_percent : 0);

    write_file(host, "proc/pressure/memory", text);
}

static void pass_time(VirtualHost *host, uint64_t ns)
{
    bool is_pressed;

    host->now_ns += ns;
    is_pressed = host->now_ns >= host->costs.pressed_from_ns && host->now_ns < host->costs.pressed_until_ns;
    if (is_pressed == host->is_pressed)
        return;
    host->is_pressed = is_pressed;
    tell_pressure(host);
}

static uint64_t cost_ns(VirtualHost *host, uint64_t bytes)
{
    const VirtualCosts *c = &host->costs;
    uint64_t ns = c->fixed_ns + (uint64_t)((unsigned __int128)c->ns_per_mib * bytes >> 20);

    if (c->spread_permille > 0)
        ns = ns * (1000 - c->spread_permille + draw(host, 2 * c->spread_permille + 1)) / 1000;
    if (c->outlier_permille > 0 && draw(host, 1000) < c->outlier_permille)
        ns *= c->outlier_factor;
    if (host->now_ns >= c->dear_from_ns && host->now_ns < c->dear_until_ns)
        ns *= c->dear_factor;
    return ns;
}

/* False: no room for it. */
static bool move_page(VirtualHost *host, Process *process, uint64_t index, int to, VirtualCall *call)
{
    const uint64_t first = process->is_huge ? index / 512 * 512 : index, n = process->is_huge ? 512 : 1;

    if (host->free_bytes[to] < n * PAGE)
        return false;
    host->free_bytes[process->nodes[first]] += n * PAGE;
    host->free_bytes[to] -= n * PAGE;
    for (uint64_t i = first; i < first + n; i++)
        process->nodes[i] = (uint8_t)to;
    call->moved_bytes += n * PAGE;
    return true;
}

static long virtual_move_pages(void *user_data, int64_t pid, size_t n, void **pages, const int *nodes, int *status,
                               int flags)
{
    VirtualHost *host = user_data;
    VirtualCall call = {0};
    Process *process;
    long result = 0;

    g_mutex_lock(&host->lock);
    call.start_ns = host->now_ns;
    process = find(host, pid);
    g_assert_nonnull(process);
    if (nodes && process->is_pinned)
        result = (long)n; /* and no status is written, as the kernel has it */
    for (size_t i = 0; i < n && result == 0; i++) {
        const uint64_t index = (GPOINTER_TO_SIZE(pages[i]) - VIRTUAL_BASE) / PAGE;

        g_assert_cmpuint(index, <, process->n_pages);
        if (nodes && process->nodes[index] != nodes[i] && !move_page(host, process, index, nodes[i], &call)) {
            host->splats++;
            result = -1;
        }
        status[i] = process->nodes[index];
    }
    call.call_ns = nodes ? cost_ns(host, call.moved_bytes) : n * QUERY_NS_PER_ADDRESS;
    pass_time(host, call.call_ns);
    if (nodes)
        g_array_append_val(host->calls, call);
    if (nodes && host->is_room_told)
        tell_room(host);
    g_mutex_unlock(&host->lock);
    errno = ENOMEM;
    return result;
}

static int64_t virtual_process_madvise(void *user_data, int pidfd, const struct iovec *ranges, size_t n_ranges,
                                       int advice)
{
    return (int64_t)ranges[0].iov_len; /* nothing is ever split here */
}

static int virtual_pidfd_open(void *user_data, int64_t pid)
{
    return 1000;
}

static int virtual_pidfd_is_alive(void *user_data, int pidfd)
{
    return 1;
}

static void virtual_close(void *user_data, int fd)
{
    g_assert_cmpint(fd, ==, 1000);
}

static int virtual_sched_setaffinity(void *user_data, int32_t tid, const HnCpuset *cpus)
{
    return 0;
}

static int virtual_sched_getaffinity(void *user_data, int32_t tid, HnCpuset *ret_cpus)
{
    errno = ESRCH; /* threads are not looked at here: the back end's word stands */
    return -1;
}

static uint64_t virtual_now_ns(void *user_data)
{
    VirtualHost *host = user_data;
    uint64_t now_ns;

    g_mutex_lock(&host->lock);
    now_ns = host->now_ns;
    g_mutex_unlock(&host->lock);
    return now_ns;
}

static void virtual_wait(void *user_data, GCond *cond, GMutex *lock, uint64_t wait_ns)
{
    VirtualHost *host = user_data;

    if (wait_ns == UINT64_MAX) {
        g_cond_wait(cond, lock);
        return;
    }
    g_mutex_lock(&host->lock);
    pass_time(host, wait_ns + host->costs.oversleep_ns);
    g_mutex_unlock(&host->lock);
}

VirtualHost *virtual_host_new(uint64_t free_bytes, const VirtualCosts *costs, bool is_room_told)
{
    VirtualHost *host = g_new0(VirtualHost, 1);

    g_mutex_init(&host->lock);
    host->costs = *costs;
    host->is_room_told = is_room_told;
    host->now_ns = 1000000000;
    host->seed = 88172645463325252u;
    host->processes = g_ptr_array_new();
    host->calls = g_array_new(FALSE, FALSE, sizeof(VirtualCall));
    host->dir = g_dir_make_tmp("homenode-virtual-XXXXXX", NULL);
    g_assert_nonnull(host->dir);
    for (int node = 0; node < NODES; node++)
        host->free_bytes[node] = free_bytes;
    tell_room(host);
    tell_pressure(host);
    write_file(host, "sys/devices/system/node/has_memory", "0-1\n");
    write_file(host, "sys/devices/system/cpu/online", "0-3\n");
    host->root = hn_root_open(host->dir, NULL);
    g_assert_nonnull(host->root);
    host->syscalls = (HnSyscalls){
        .user_data = host,
        .move_pages = virtual_move_pages,
        .process_madvise = virtual_process_madvise,
        .sched_setaffinity = virtual_sched_setaffinity,
        .sched_getaffinity = virtual_sched_getaffinity,
        .pidfd_open = virtual_pidfd_open,
        .pidfd_is_alive = virtual_pidfd_is_alive,
        .close = virtual_close,
        .now_ns = virtual_now_ns,
        .wait = virtual_wait,
    };
    return host;
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *inner = g_build_filename(path, name, NULL);

        remove_tree(inner);
    }
    g_remove(path);
}

void virtual_host_free(VirtualHost *host)
{
    for (guint i = 0; i < host->processes->len; i++) {
        Process *process = host->processes->pdata[i];

        g_free(process->nodes);
        g_free(process);
    }
    hn_root_free(host->root);
    remove_tree(host->dir);
    g_ptr_array_unref(host->processes);
    g_array_unref(host->calls);
    g_mutex_clear(&host->lock);
    g_free(host->dir);
    g_free(host);
}

void virtual_host_add_process(VirtualHost *host, int64_t pid, uint64_t bytes, int node, bool is_huge)
{
    Process *process = g_new0(Process, 1);
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/stat", pid);
    g_autofree char *text = g_strdup_printf(
        "%" G_GINT64_FORMAT " (qemu-system-x86) S 1 1 1 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 9 0 %" G_GINT64_FORMAT
        " 1000000 1000 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
        pid, pid);

    process->pid = pid;
    process->n_pages = bytes / PAGE;
    process->nodes = g_malloc(process->n_pages);
    memset(process->nodes, node, process->n_pages);
    process->is_huge = is_huge;
    g_ptr_array_add(host->processes, process);
    g_assert_cmpuint(host->free_bytes[node], >=, bytes);
    host->free_bytes[node] -= bytes;
    tell_room(host);
    write_file(host, path, text);
}

void virtual_host_add_free(VirtualHost *host, int node, uint64_t bytes)
{
    host->free_bytes[node] += bytes;
}

void virtual_host_set_pinned(VirtualHost *host, int64_t pid, bool is_pinned)
{
    g_mutex_lock(&host->lock);
    find(host, pid)->is_pinned = is_pinned;
    g_mutex_unlock(&host->lock);
}

const HnSyscalls *virtual_host_syscalls(VirtualHost *host)
{
    return &host->syscalls;
}

HnRoot *virtual_host_root(VirtualHost *host)
{
    return host->root;
}

const char *virtual_host_dir(VirtualHost *host)
{
    return host->dir;
}

uint64_t virtual_host_bytes_on(VirtualHost *host, int64_t pid, int node)
{
    const Process *process = find(host, pid);
    uint64_t bytes = 0;

    g_mutex_lock(&host->lock);
    for (uint64_t i = 0; i < process->n_pages; i++)
        bytes += process->nodes[i] == node ? PAGE : 0;
    g_mutex_unlock(&host->lock);
    return bytes;
}

uint64_t virtual_host_free_bytes(VirtualHost *host, int node)
{
    uint64_t bytes;

    g_mutex_lock(&host->lock);
    bytes = host->free_bytes[node];
    g_mutex_unlock(&host->lock);
    return bytes;
}

guint virtual_host_splats(VirtualHost *host)
{
    return host->splats;
}

const GArray *virtual_host_calls(VirtualHost *host)
{
    return host->calls;
}
