/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real kernel behind the seam, on whatever machine this runs: what needs one node only.
 */
#include "apply/mover.h"
#include "observe/process.h"

#include <errno.h>
#include <numaif.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1ull << 20)

/* A process with 8 MiB touched; returns its pid once it has. */
static pid_t start_child(void **ret_memory)
{
    void *memory = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int ready[2];
    char byte;
    pid_t pid;

    g_assert_true(memory != MAP_FAILED);
    g_assert_cmpint(pipe(ready), ==, 0);
    pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        memset(memory, 1, 8 * MIB);
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
    close(ready[0]);
    close(ready[1]);
    munmap(memory, 8 * MIB);
    *ret_memory = memory;
    return pid;
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

/* The node of a page of ours, or -errno: sandboxes without NUMA system calls exist. */
static int own_node(void)
{
    const HnSyscalls *sys = hn_syscalls_kernel();
    int status = -1;
    static char page[4096 * 2];
    void *address = GSIZE_TO_POINTER(GPOINTER_TO_SIZE(page + 4096) & ~4095ull);

    *(volatile char *)address = 1;
    if (sys->move_pages(sys->user_data, getpid(), 1, &address, NULL, &status, 0) < 0)
        return -errno;
    return status;
}

static void test_move_pages(void)
{
    const HnSyscalls *sys = hn_syscalls_kernel();
    const int node = own_node();
    void *memory, *addresses[2];
    int nodes[2] = {node, node}, status[2] = {-99, -99};
    pid_t pid;

    if (node == -ENOSYS || node == -EPERM) {
        g_test_skip("machine: move_pages is not available");
        return;
    }
    g_assert_cmpint(node, >=, 0);
    pid = start_child(&memory);
    addresses[0] = memory;
    addresses[1] = GSIZE_TO_POINTER(4096); /* never mapped */
    g_assert_cmpint(sys->move_pages(NULL, pid, 2, addresses, NULL, status, 0), ==, 0);
    g_assert_cmpint(status[0], >=, 0);
    g_assert_cmpint(status[1], ==, -EFAULT);
    nodes[0] = status[0];
    g_assert_cmpint(sys->move_pages(NULL, pid, 1, addresses, nodes, status, MPOL_MF_MOVE), ==, 0);
    g_assert_cmpint(status[0], ==, nodes[0]);
    nodes[0] = 1023; /* no such node here */
    g_assert_cmpint(sys->move_pages(NULL, pid, 1, addresses, nodes, status, MPOL_MF_MOVE), ==, -1);
    g_assert_cmpint(errno, ==, ENODEV);
    end_child(pid);
    g_assert_cmpint(sys->move_pages(NULL, pid, 1, addresses, NULL, status, 0), ==, -1);
    g_assert_cmpint(errno, ==, ESRCH);
}

static void test_pidfd(void)
{
    const HnSyscalls *sys = hn_syscalls_kernel();
    void *memory;
    const pid_t pid = start_child(&memory);
    const int fd = sys->pidfd_open(NULL, pid);
    siginfo_t info;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(sys->pidfd_is_alive(NULL, fd), ==, 1);
    kill(pid, SIGKILL);
    g_assert_cmpint(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), ==, 0);
    g_assert_cmpint(sys->pidfd_is_alive(NULL, fd), ==, 0); /* a zombie has ended */
    end_child(pid);
    g_assert_cmpint(sys->pidfd_is_alive(NULL, fd), ==, 0);
    sys->close(NULL, fd);
    g_assert_cmpint(sys->pidfd_open(NULL, pid), ==, -1);
    g_assert_cmpint(errno, ==, ESRCH);
}

static void test_affinity(void)
{
    const HnSyscalls *sys = hn_syscalls_kernel();
    HnCpuset before, one, after;
    void *memory;
    const pid_t pid = start_child(&memory);

    g_assert_cmpint(sys->sched_getaffinity(NULL, pid, &before), ==, 0);
    g_assert_false(hn_cpuset_is_empty(&before));
    hn_cpuset_zero(&one);
    hn_cpuset_add(&one, (uint32_t)hn_cpuset_next(&before, 0));
    g_assert_cmpint(sys->sched_setaffinity(NULL, pid, &one), ==, 0);
    g_assert_cmpint(sys->sched_getaffinity(NULL, pid, &after), ==, 0);
    g_assert_true(hn_cpuset_equal(&one, &after));
    hn_cpuset_zero(&one);
    hn_cpuset_add(&one, HN_MAX_CPUS - 1);
    g_assert_cmpint(sys->sched_setaffinity(NULL, pid, &one), ==, -1);
    g_assert_cmpint(errno, ==, EINVAL);
    end_child(pid);
    g_assert_cmpint(sys->sched_getaffinity(NULL, pid, &after), ==, -1);
    g_assert_cmpint(errno, ==, ESRCH);
}

typedef struct {
    GMutex lock;
    GCond cond;
    HnMoveResult result;
    bool has_ended;
} Waiter;

static void ended(HnMoveJob *job, void *user_data)
{
    Waiter *waiter = user_data;

    g_mutex_lock(&waiter->lock);
    hn_move_result(job->move, &waiter->result);
    waiter->result.sentence = NULL;
    waiter->has_ended = true;
    hn_move_job_free(job, hn_syscalls_kernel());
    g_cond_signal(&waiter->cond);
    g_mutex_unlock(&waiter->lock);
}

/* A mover on the real machine, to the node where everything is already. */
static void test_mover(void)
{
    g_autoptr(HnRoot) root = hn_root_open("/", NULL);
    const int node = own_node();
    HnTarget *target = hn_target_new();
    HnMoveSpec spec = {.base_page_bytes = 4096, .to_node_id = node, .limit_bytes = UINT64_MAX};
    HnRange range = {.length_bytes = 8 * MIB, .page_bytes = 4096};
    g_autofree char *dir = NULL;
    Waiter waiter = {0};
    HnMovers *movers;
    HnMoveJob *job;
    HnLimits limits;
    HnTaskStat stat;
    void *memory;
    pid_t pid;

    if (node < 0 || sysconf(_SC_PAGESIZE) != 4096) {
        hn_target_unref(target);
        g_test_skip("machine: move_pages is not available, or pages are not of 4 KiB");
        return;
    }
    pid = start_child(&memory);
    dir = g_strdup_printf("proc/%d", pid);
    g_assert_true(hn_task_stat_read(root, dir, &stat, NULL));
    hn_limits_init(&limits);
    spec.pid = pid;
    range.start = GPOINTER_TO_SIZE(memory);
    spec.ranges = g_array_new(FALSE, FALSE, sizeof(HnRange));
    g_array_append_val(spec.ranges, range);
    hn_cpuset_add(&spec.from_node_ids, (uint32_t)node + 1); /* on a host with more nodes: none of them */
    job = hn_move_job_new(NULL, target, pid, stat.start_ticks, hn_move_new(&spec));
    job->to_node_id = node;
    movers = hn_movers_new(hn_syscalls_kernel(), root, &limits, ended, &waiter);
    hn_movers_push(movers, job);
    g_mutex_lock(&waiter.lock);
    while (!waiter.has_ended)
        g_cond_wait(&waiter.cond, &waiter.lock);
    g_mutex_unlock(&waiter.lock);
    g_assert_cmpstr(hn_reason_name(waiter.result.reason), ==, "done");
    g_assert_cmpuint(waiter.result.moved_bytes, ==, 0);
    hn_movers_free(movers);
    hn_target_unref(target);
    end_child(pid);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/apply/syscalls/move-pages", test_move_pages);
    g_test_add_func("/apply/syscalls/pidfd", test_pidfd);
    g_test_add_func("/apply/syscalls/affinity", test_affinity);
    g_test_add_func("/apply/syscalls/mover", test_mover);
    return g_test_run();
}
