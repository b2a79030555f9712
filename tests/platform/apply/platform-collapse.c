/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the movers assume of process_madvise(MADV_COLLAPSE) on another process's memory: small pages, all present,
 * become huge ones; huge ones stay so, and asking costs little; where the kernel does not do it, it says EINVAL
 * (or EPERM, ENOSYS) and changes nothing.
 */
#include "apply/syscalls.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)2 << 20)
#define N_BLOCKS 16
#define BYTES (N_BLOCKS * BLOCK_BYTES)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static char *map_blocks(void)
{
    char *area = mmap(NULL, BYTES + BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    g_assert_true(area != MAP_FAILED);
    return (char *)((GPOINTER_TO_SIZE(area) + BLOCK_BYTES - 1) & ~(BLOCK_BYTES - 1));
}

/* The child: small pages in memory that may be huge, written only once it is its own, then idle. */
static pid_t start_child(char *blocks)
{
    int ready[2];
    char byte;
    pid_t pid;

    g_assert_cmpint(pipe(ready), ==, 0);
    pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        madvise(blocks, BYTES, MADV_NOHUGEPAGE);
        memset(blocks, 1, BYTES);
        if (madvise(blocks, BYTES, MADV_HUGEPAGE) < 0 || write(ready[1], "x", 1) != 1)
            _exit(2);
        for (;;)
            pause();
    }
    close(ready[1]);
    g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
    close(ready[0]);
    return pid;
}

static uint64_t huge_bytes(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps_rollup", pid);
    g_autofree char *text = NULL;
    const char *at;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    at = strstr(text, "AnonHugePages:");
    g_assert_nonnull(at);
    return g_ascii_strtoull(at + strlen("AnonHugePages:"), NULL, 10) * 1024;
}

static void test_collapse(void)
{
    const HnSyscalls *sys = hn_syscalls_kernel();
    char *blocks = map_blocks();
    const pid_t pid = start_child(blocks);
    const int pidfd = sys->pidfd_open(sys->user_data, pid);
    const struct iovec range = {blocks, BYTES};
    uint64_t start_ns, copy_ns, look_ns;
    int64_t done;
    int err;

    g_assert_cmpint(pidfd, >=, 0);
    start_ns = sys->now_ns(sys->user_data);
    done = sys->process_madvise(sys->user_data, pidfd, &range, 1, MADV_COLLAPSE);
    err = errno;
    copy_ns = (sys->now_ns(sys->user_data) - start_ns) / N_BLOCKS;
    if (done < 0) {
        g_assert_true(err == EINVAL || err == EPERM || err == ENOSYS || err == EAGAIN || err == ENOMEM);
        g_assert_cmpuint(huge_bytes(pid), ==, 0);
        g_autofree char *why = g_strdup_printf("machine: this kernel does not collapse another process's pages: %s",
                                               g_strerror(err));
        g_test_skip(why);
    } else {
        g_assert_cmpint(done, ==, BYTES);
        g_assert_cmpuint(huge_bytes(pid), ==, BYTES);
        start_ns = sys->now_ns(sys->user_data);
        done = sys->process_madvise(sys->user_data, pidfd, &range, 1, MADV_COLLAPSE);
        look_ns = (sys->now_ns(sys->user_data) - start_ns) / N_BLOCKS;
        g_assert_cmpint(done, ==, BYTES);
        g_assert_cmpuint(huge_bytes(pid), ==, BYTES);
        g_test_message("per block of 2 MiB: %.1f us to rebuild, %.1f us where it is whole", (double)copy_ns / 1000,
                       (double)look_ns / 1000);
    }
    sys->close(sys->user_data, pidfd);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/platform/apply/collapse", test_collapse);
    return g_test_run();
}
