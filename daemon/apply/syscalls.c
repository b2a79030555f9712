/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real system calls behind the seam; see syscalls.h. No policy, no retries, no messages.
 */
#include "syscalls.h"

#include <errno.h>
#include <numaif.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* the same on every architecture, Linux 5.3 */
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440 /* the same, Linux 5.10 */
#endif

static long kernel_move_pages(void *user_data, int64_t pid, size_t n_pages, void **pages, const int *nodes,
                              int *ret_status, int flags)
{
    return move_pages((int)pid, n_pages, pages, nodes, ret_status, flags);
}

static int64_t kernel_process_madvise(void *user_data, int pidfd, const struct iovec *ranges, size_t n_ranges,
                                      int advice)
{
    return syscall(SYS_process_madvise, pidfd, ranges, n_ranges, advice, 0u);
}

/* The kernel's mask has the layout of HnCpuset's words on 64-bit little- and big-endian machines alike:
 * an array of unsigned long, bit i of word w is CPU 64 w + i. */
G_STATIC_ASSERT(sizeof(unsigned long) == sizeof(uint64_t));

static int kernel_sched_setaffinity(void *user_data, int32_t tid, const HnCpuset *cpus)
{
    return sched_setaffinity(tid, sizeof(cpus->words), (const cpu_set_t *)cpus->words);
}

static int kernel_sched_getaffinity(void *user_data, int32_t tid, HnCpuset *ret_cpus)
{
    HnCpuset cpus;

    hn_cpuset_zero(&cpus);
    if (sched_getaffinity(tid, sizeof(cpus.words), (cpu_set_t *)cpus.words) < 0)
        return -1;
    *ret_cpus = cpus;
    return 0;
}

static int kernel_pidfd_open(void *user_data, int64_t pid)
{
    return (int)syscall(SYS_pidfd_open, (pid_t)pid, 0); /* close-on-exec by definition */
}

static int kernel_pidfd_is_alive(void *user_data, int pidfd)
{
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
    int n;

    do
        n = poll(&poll_fd, 1, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -1;
    return n == 0;
}

static void kernel_close(void *user_data, int fd)
{
    close(fd);
}

static uint64_t kernel_now_ns(void *user_data)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void kernel_wait(void *user_data, GCond *cond, GMutex *lock, uint64_t wait_ns)
{
    /* GLib's deadlines are in us; rounded up, or the waiter would be back before its time. */
    if (wait_ns == UINT64_MAX)
        g_cond_wait(cond, lock);
    else
        g_cond_wait_until(cond, lock, g_get_monotonic_time() + (gint64)(wait_ns / 1000 + 1));
}

const HnSyscalls *hn_syscalls_kernel(void)
{
    static const HnSyscalls kernel = {
        .move_pages = kernel_move_pages,
        .process_madvise = kernel_process_madvise,
        .sched_setaffinity = kernel_sched_setaffinity,
        .sched_getaffinity = kernel_sched_getaffinity,
        .pidfd_open = kernel_pidfd_open,
        .pidfd_is_alive = kernel_pidfd_is_alive,
        .close = kernel_close,
        .now_ns = kernel_now_ns,
        .wait = kernel_wait,
    };

    return &kernel;
}
