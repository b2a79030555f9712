/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seam between apply/ and the kernel: every system call that changes or asks something of another
 * process, and the clock, as a table of functions. Tests put a table of their own here, so each call can be
 * made to fail with each error it documents, or to behave like a host with several nodes.
 *
 * Conventions of every function: user_data first; -1 and errno on failure.
 */
#pragma once

#include <homenode/cpuset.h>

#include <sys/uio.h>

typedef struct {
    void *user_data;

    /* move_pages(2). nodes NULL: only asks. Returns 0, a positive number of pages not migrated (then status
     * may be unwritten: facts in move.c), or -1: E2BIG EACCES EFAULT EINVAL ENODEV ENOENT ENOMEM EPERM ESRCH. */
    long (*move_pages)(void *user_data, int64_t pid, size_t n_pages, void **pages, const int *nodes,
                       int *ret_status, int flags);
    /* process_madvise(2), of one advice, flags 0. Returns the bytes advised, or -1: EBADF EFAULT EINVAL EPERM
     * ESRCH, and what the advice may fail with (MADV_COLLAPSE: EAGAIN EBUSY EINVAL ENOMEM). */
    int64_t (*process_madvise)(void *user_data, int pidfd, const struct iovec *ranges, size_t n_ranges, int advice);
    /* sched_{set,get}affinity(2). EFAULT EINVAL EPERM ESRCH. */
    int (*sched_setaffinity)(void *user_data, int32_t tid, const HnCpuset *cpus);
    int (*sched_getaffinity)(void *user_data, int32_t tid, HnCpuset *ret_cpus);
    /* pidfd_open(2): EINVAL EMFILE ENFILE ENODEV ENOMEM ESRCH. */
    int (*pidfd_open)(void *user_data, int64_t pid);
    /* 1: the process has not exited; 0: it has. (poll(2) on the pidfd: true for a zombie too, unlike a signal.) */
    int (*pidfd_is_alive)(void *user_data, int pidfd);
    void (*close)(void *user_data, int fd);
    /* CLOCK_MONOTONIC. */
    uint64_t (*now_ns)(void *user_data);
    /* Waits on cond, at most wait_ns (UINT64_MAX: until it is woken); may return earlier. A test's clock may leap
     * instead. */
    void (*wait)(void *user_data, GCond *cond, GMutex *lock, uint64_t wait_ns);
} HnSyscalls;

/* The kernel's. */
const HnSyscalls *hn_syscalls_kernel(void);
