/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tasks.c, faults.c and memory-watch.c assume of /proc. */
#include "observe/faults.h"
#include "observe/kept.h"
#include "observe/process.h"
#include "observe/regions.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static HnRoot *root;
static atomic_int thread_id;
static atomic_bool may_end;

static void *run(void *data)
{
    atomic_store(&thread_id, (int)syscall(SYS_gettid));
    while (!atomic_load(&may_end))
        usleep(1000);
    return NULL;
}

static uint64_t vsize_bytes(void)
{
    HnTaskStat stat;

    g_assert_true(hn_task_stat_read(root, "proc/self", &stat, NULL));
    return stat.vsize_bytes;
}

/* A kept descriptor of a thread's file shows new values, and ESRCH once the thread has ended, even
 * if its number is used again. */
static void test_kept_descriptor(void)
{
    pthread_t thread;
    char path[64], text[512];
    uint64_t exec_ns, run_delay_ns, later_exec_ns;
    ssize_t n;
    int fd;

    atomic_store(&may_end, false);
    atomic_store(&thread_id, 0);
    g_assert_cmpint(pthread_create(&thread, NULL, run, NULL), ==, 0);
    while (atomic_load(&thread_id) == 0)
        usleep(1000);
    g_snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", getpid(), atomic_load(&thread_id));
    fd = open(path, O_RDONLY);
    n = pread(fd, text, sizeof text, 0);
    g_assert_cmpint(n, >, 0);
    g_assert_true(hn_schedstat_parse(text, (size_t)n, &exec_ns, &run_delay_ns, NULL));
    usleep(50000);
    n = pread(fd, text, sizeof text, 0);
    g_assert_true(hn_schedstat_parse(text, (size_t)n, &later_exec_ns, &run_delay_ns, NULL));
    g_assert_cmpuint(later_exec_ns, >, exec_ns);
    atomic_store(&may_end, true);
    pthread_join(thread, NULL);
    /* joined is not yet reaped by the kernel */
    for (int i = 0; i < 100 && pread(fd, text, sizeof text, 0) >= 0; i++)
        usleep(1000);
    g_assert_cmpint(pread(fd, text, sizeof text, 0), ==, -1);
    g_assert_cmpint(errno, ==, ESRCH);
    close(fd);
}

/* Field 20 counts the threads, and it is right at once. */
static void test_thread_count(void)
{
    pthread_t thread;
    HnTaskStat before, during;

    atomic_store(&may_end, false);
    atomic_store(&thread_id, 0);
    g_assert_true(hn_task_stat_read(root, "proc/self", &before, NULL));
    g_assert_cmpint(pthread_create(&thread, NULL, run, NULL), ==, 0);
    g_assert_true(hn_task_stat_read(root, "proc/self", &during, NULL));
    g_assert_cmpuint(during.n_threads, ==, before.n_threads + 1);
    atomic_store(&may_end, true);
    pthread_join(thread, NULL);
}

/* vsize tells that something was mapped or unmapped. */
static void test_vsize(void)
{
    uint64_t before_bytes = vsize_bytes();
    void *area = mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    g_assert_cmpuint(vsize_bytes(), >=, before_bytes + 64 * MIB);
    munmap(area, 64 * MIB);
    g_assert_cmpuint(vsize_bytes(), <, before_bytes + 64 * MIB);
}

/* The flags by which guest RAM is known, and that a guard page keeps two mappings apart. */
static void test_smaps_flags(void)
{
    g_autoptr(GArray) mappings = NULL;
    g_autoptr(GError) error = NULL;
    char *area = mmap(NULL, 16 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool has_thp, is_found = false;

    for (int i = 0; i < 2; i++) {
        char *ram = area + (size_t)i * (4 * MIB + 4096);

        g_assert_true(mmap(ram, 4 * MIB, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == ram);
        g_assert_cmpint(madvise(ram, 4 * MIB, MADV_DONTFORK), ==, 0);
        has_thp = madvise(ram, 4 * MIB, MADV_HUGEPAGE) == 0;
    }
    mappings = hn_smaps_read(root, getpid(), &error);
    g_assert_no_error(error);
    for (guint i = 0; i < mappings->len; i++) {
        const HnMapping *mapping = &g_array_index(mappings, HnMapping, i);

        if (mapping->start != (uint64_t)(uintptr_t)area)
            continue;
        is_found = true;
        g_assert_cmpuint(mapping->end - mapping->start, ==, 4 * MIB);
        g_assert_true(mapping->is_dontcopy);
        g_assert_cmpint(mapping->is_hugepage_advised, ==, has_thp);
        g_assert_cmpuint(mapping->kernel_page_bytes, ==, (uint64_t)sysconf(_SC_PAGESIZE));
    }
    g_assert_true(is_found);
    munmap(area, 16 * MIB);
}

/* Inodes of memfds made on one CPU rise within a batch of 1,024: that is how cells of equal size
 * are told apart where their inodes are of one batch. */
static void test_memfd_inodes(void)
{
    g_autoptr(GArray) mappings = NULL;
    uint64_t inodes[3] = {0};
    void *areas[3];
    cpu_set_t before, one;

    g_assert_cmpint(sched_getaffinity(0, sizeof before, &before), ==, 0);
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    g_assert_cmpint(sched_setaffinity(0, sizeof one, &one), ==, 0);
    for (int i = 0; i < 3; i++) {
        int fd = memfd_create("memory-backend-memfd", MFD_CLOEXEC);

        g_assert_cmpint(ftruncate(fd, (off_t)MIB), ==, 0);
        areas[i] = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
    mappings = hn_smaps_read(root, getpid(), NULL);
    for (guint i = 0; i < mappings->len; i++) {
        const HnMapping *mapping = &g_array_index(mappings, HnMapping, i);

        for (int k = 0; k < 3; k++) {
            if (mapping->start != (uint64_t)(uintptr_t)areas[k])
                continue;
            inodes[k] = mapping->inode;
            g_assert_cmpstr(mapping->name, ==, "/memfd:memory-backend-memfd (deleted)");
            g_assert_true(mapping->is_shared);
        }
    }
    sched_setaffinity(0, sizeof before, &before);
    g_assert_cmpuint(inodes[0], >, 0);
    for (int k = 0; k < 2; k++)
        if (inodes[k] / 1024 == inodes[k + 1] / 1024)
            g_assert_cmpuint(inodes[k], <, inodes[k + 1]);
    for (int k = 0; k < 3; k++)
        munmap(areas[k], MIB);
}

/* The sched file has the NUMA lines exactly if the kernel has the sysctl, one line per node we
 * know. */
static void test_sched_numa(void)
{
    g_autoptr(HnHost) host = hn_host_new(1);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    HnSchedNuma numa;
    uint64_t mode;
    size_t len;

    if (!hn_root_exists(root, "proc/self/sched")) {
        g_test_skip("machine: this kernel has no /proc/PID/sched (CONFIG_SCHED_DEBUG)");
        return;
    }
    hn_sched_numa_init(&numa, 1);
    g_assert_true(hn_root_read(root, "proc/self/sched", 65536, &text, &len, NULL));
    g_assert_true(hn_sched_numa_parse(text, len, host, &numa, &error));
    g_assert_no_error(error);
    g_assert_cmpint(numa.is_valid, ==, hn_numa_balancing_read(root, &mode));
    if (numa.is_valid)
        g_assert_nonnull(strstr(text, "numa_faults node=0 task_private="));
    hn_sched_numa_clear(&numa);
}

static void test_world_readable(void)
{
    static const char *const files[] = {"/proc/1/stat", "/proc/1/schedstat", "/proc/1/comm"};

    for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
        g_assert_cmpint(access(files[i], R_OK), ==, 0);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    root = hn_root_open("/", NULL);
    g_test_add_func("/platform/proc/kept-descriptor", test_kept_descriptor);
    g_test_add_func("/platform/proc/thread-count", test_thread_count);
    g_test_add_func("/platform/proc/vsize", test_vsize);
    g_test_add_func("/platform/proc/smaps-flags", test_smaps_flags);
    g_test_add_func("/platform/proc/memfd-inodes", test_memfd_inodes);
    g_test_add_func("/platform/proc/sched-numa", test_sched_numa);
    g_test_add_func("/platform/proc/world-readable", test_world_readable);
    status = g_test_run();
    hn_root_free(root);
    return status;
}
