/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What residency.c assumes of move_pages(2) with nodes = NULL. */
#include "observe/residency.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_PAGES 512
#define HUGE_BYTES ((size_t)2 << 20)

static char *map_pages(size_t bytes)
{
    char *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    g_assert_true(pages != MAP_FAILED);
    return pages;
}

static int ask_one(void *address)
{
    int status = -9999;

    g_assert_true(hn_residency_query(hn_probe_ops_kernel(), getpid(), 1, &address, &status, NULL));
    return status;
}

static void test_status(void)
{
    char *pages = map_pages(3 * 4096);
    volatile char seen;

    g_assert_cmpint(madvise(pages, 3 * 4096, MADV_NOHUGEPAGE), ==, 0);
    pages[0] = 1;
    seen = pages[4096]; /* only read: the zero page */
    (void)seen;
    g_assert_cmpint(ask_one(pages), >=, 0);
    g_assert_cmpint(ask_one(pages + 4096), ==, -EFAULT);
    g_assert_cmpint(ask_one(pages + 8192), ==, -ENOENT);
    munmap(pages, 3 * 4096);
    g_assert_cmpint(ask_one(pages), ==, -EFAULT);
}

/* One address inside a huge page speaks for all of it, and asking does not split it. */
static void test_huge(void)
{
    char *area = map_pages(2 * HUGE_BYTES);
    char *huge = (char *)(((size_t)area + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES);
    g_autofree char *smaps = NULL;
    void *addresses[N_PAGES];
    int status[N_PAGES];

    if (madvise(huge, HUGE_BYTES, MADV_HUGEPAGE) != 0) {
        g_test_skip("machine: this kernel has no transparent huge pages");
        return;
    }
    huge[5] = 1;
    for (int i = 0; i < N_PAGES; i++)
        addresses[i] = huge + i * 4096;
    g_assert_true(
        hn_residency_query(hn_probe_ops_kernel(), getpid(), N_PAGES, addresses, status, NULL));
    if (status[N_PAGES - 1] == -ENOENT) {
        g_test_skip("machine: the kernel gave a small page, not a huge one");
        munmap(area, 2 * HUGE_BYTES);
        return;
    }
    for (int i = 1; i < N_PAGES; i++)
        g_assert_cmpint(status[i], ==, status[0]);
    munmap(area, 2 * HUGE_BYTES);
}

static void test_swapped_and_dropped(void)
{
    char *pages = map_pages(4096);

    pages[0] = 1;
    g_assert_cmpint(ask_one(pages), >=, 0);
    g_assert_cmpint(madvise(pages, 4096, MADV_DONTNEED), ==, 0);
    g_assert_cmpint(ask_one(pages), ==, -ENOENT);
    munmap(pages, 4096);
}

/* Another process: asked without disturbing it; gone: ESRCH, which the observer takes for ordinary.
 */
static void test_other_process(void)
{
    char *pages = map_pages(4096);
    void *address = pages;
    int status = -9999;
    pid_t child;
    g_autoptr(GError) error = NULL;

    pages[0] = 1;
    child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    g_assert_true(hn_residency_query(hn_probe_ops_kernel(), child, 1, &address, &status, NULL));
    g_assert_cmpint(status, >=, 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    g_assert_false(hn_residency_query(hn_probe_ops_kernel(), child, 1, &address, &status, &error));
    g_assert_cmpint(errno, ==, ESRCH);
    munmap(pages, 4096);
}

/* memfd pages of a shared mapping that only somebody else touched are not in our page table:
 * -ENOENT. A guest's RAM is therefore asked for in QEMU, whose vCPU threads touched it. */
static void test_shared(void)
{
    int fd = memfd_create("platform", MFD_CLOEXEC);
    char *shared;
    pid_t child;

    g_assert_cmpint(ftruncate(fd, 4096), ==, 0);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    child = fork();
    if (child == 0) {
        shared[0] = 1;
        _exit(0);
    }
    waitpid(child, NULL, 0);
    g_assert_cmpint(ask_one(shared), ==, -ENOENT);
    shared[1] = 1;
    g_assert_cmpint(ask_one(shared), >=, 0);
    munmap(shared, 4096);
    close(fd);
}

int main(int argc, char **argv)
{
    int status = -9999;
    void *address = &status;

    g_test_init(&argc, &argv, NULL);
    if (hn_probe_ops_kernel()->query(NULL, getpid(), 1, &address, &status) < 0 && errno == ENOSYS) {
        g_print("1..0 # SKIP machine: this kernel was built without NUMA migration (CONFIG_MIGRATION, "
                "CONFIG_NUMA)\n");
        return 0;
    }
    g_test_add_func("/platform/move-pages/status", test_status);
    g_test_add_func("/platform/move-pages/huge", test_huge);
    g_test_add_func("/platform/move-pages/dropped", test_swapped_and_dropped);
    g_test_add_func("/platform/move-pages/other-process", test_other_process);
    g_test_add_func("/platform/move-pages/shared", test_shared);
    return g_test_run();
}
