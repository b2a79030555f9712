/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which capability each thing that homenode does to a guest's process takes: what data/homenoded.service grants, and
 * gives as its reasons, held against the kernel that runs here.
 *
 * Theory. A process of another user stands for QEMU; it shares one page with this one and has another to itself. Then
 * one process per set of capabilities, of user 0 like the daemon, tries everything: with the capabilities a thing takes it
 * must work, with any set that lacks one of them it must be refused for want of permission. Nothing is changed: pages are
 * "moved" to the node they are on, the affinity is set to what it is.
 *
 * Needs root with these capabilities; else it says so and is skipped.
 */
#include "apply/syscalls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/capability.h>
#include <numaif.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OTHER_USER 65534
#define PAGE 4096
#ifndef MADV_COLD
#define MADV_COLD 20
#endif

#define PTRACE (1u << CAP_SYS_PTRACE)
#define NICE (1u << CAP_SYS_NICE)
#define SEARCH (1u << CAP_DAC_READ_SEARCH)
static const uint32_t all_caps = PTRACE | NICE | SEARCH;

static char *own, *shared; /* one page each, at the same address in every process here */
static pid_t victim;

/* Each returns 0 or errno. */

static int move(char *page, bool is_query, int flags)
{
    const HnSyscalls *sys = hn_syscalls_kernel();
    void *pages[] = {page};
    int node = 0, status = 0;

    if (sys->move_pages(sys->user_data, victim, 1, pages, is_query ? NULL : &node, &status, flags) < 0)
        return errno;
    return 0;
}

static int query(void)
{
    return move(own, true, 0);
}

static int move_own(void)
{
    return move(own, false, MPOL_MF_MOVE);
}

static int move_shared(void)
{
    return move(shared, false, MPOL_MF_MOVE_ALL);
}

static int set_affinity(void)
{
    const HnSyscalls *sys = hn_syscalls_kernel();
    HnCpuset cpus;

    if (sys->sched_getaffinity(sys->user_data, victim, &cpus) < 0 ||
        sys->sched_setaffinity(sys->user_data, victim, &cpus) < 0)
        return errno;
    return 0;
}

static int read_file(const char *name)
{
    char path[64], byte;
    int fd, err;

    g_snprintf(path, sizeof(path), "/proc/%d/%s", (int)victim, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    err = read(fd, &byte, 1) < 0 ? errno : 0;
    close(fd);
    return err;
}

static int read_maps(void)
{
    return read_file("smaps");
}

static int read_schedstat(void)
{
    return read_file("schedstat");
}

/* What it has open tells a passthrough device. */
static int look_at_files(void)
{
    char path[64], target[256];
    DIR *dir;

    g_snprintf(path, sizeof(path), "/proc/%d/fd", (int)victim);
    dir = opendir(path);
    if (!dir)
        return errno;
    closedir(dir);
    g_snprintf(path, sizeof(path), "/proc/%d/fd/0", (int)victim);
    return readlink(path, target, sizeof(target)) < 0 ? errno : 0;
}

/* MADV_COLD changes nothing that could be seen, and is judged like MADV_COLLAPSE. */
static int advise(void)
{
    const HnSyscalls *sys = hn_syscalls_kernel();
    const struct iovec range = {own, PAGE};
    const int pidfd = sys->pidfd_open(sys->user_data, victim);
    int err = 0;

    if (pidfd < 0)
        return errno;
    if (sys->process_madvise(sys->user_data, pidfd, &range, 1, MADV_COLD) < 0)
        err = errno;
    sys->close(sys->user_data, pidfd);
    return err;
}

static const struct {
    const char *name;
    int (*try)(void);
    uint32_t caps;
} things[] = {
    {"move_pages that only asks", query, PTRACE},
    {"move_pages", move_own, PTRACE},
    {"move_pages with MOVE_ALL", move_shared, PTRACE | NICE},
    {"sched_setaffinity", set_affinity, NICE},
    {"smaps", read_maps, PTRACE},
    {"schedstat", read_schedstat, 0},
    {"the list of open files", look_at_files, PTRACE | SEARCH},
    {"process_madvise", advise, PTRACE | NICE},
};

static bool set_caps(uint32_t low, uint32_t high)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct data[2] = {{low, low, 0}, {high, high, 0}};

    return syscall(SYS_capset, &header, data) == 0;
}

static bool has_caps(uint32_t caps)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & caps) == caps;
}

/* In a user namespace of its own root is not what the kernel asks for. */
static bool is_in_first_namespace(void)
{
    g_autoptr(GRegex) all = g_regex_new("^\\s*0\\s+0\\s+4294967295\\s*$", 0, 0, NULL);
    g_autofree char *map = NULL;

    return g_file_get_contents("/proc/self/uid_map", &map, NULL, NULL) && g_regex_match(all, map, 0, NULL);
}

static bool is_refusal(int err)
{
    return err == EPERM || err == EACCES;
}

/* In a process of its own: 0, or 1 + the number of the thing that did not go as expected; 255: no such set here. */
static int try_all(uint32_t caps)
{
    if (!set_caps(caps, 0))
        return 255;
    for (guint i = 0; i < G_N_ELEMENTS(things); i++) {
        const int err = things[i].try();

        if ((things[i].caps & caps) == things[i].caps ? err != 0 : !is_refusal(err)) {
            g_printerr("# %s: %s\n", things[i].name, err ? g_strerror(err) : "permitted");
            return 1 + (int)i;
        }
    }
    return 0;
}

static void start_victim(void)
{
    int ready[2];
    char byte = 0;

    own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true(own != MAP_FAILED && shared != MAP_FAILED);
    shared[0] = 1;
    g_assert_cmpint(pipe(ready), ==, 0);
    victim = fork();
    g_assert_cmpint(victim, >=, 0);
    if (victim == 0) {
        /* Changing its user makes a process private as if it held secrets; QEMU is executed afterwards, which undoes
         * that. Nor may it outlive this test. */
        if (setresgid(OTHER_USER, OTHER_USER, OTHER_USER) != 0 || setresuid(OTHER_USER, OTHER_USER, OTHER_USER) != 0 ||
            prctl(PR_SET_DUMPABLE, 1) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
            _exit(1);
        own[0] = shared[0] = 2;
        if (write(ready[1], &byte, 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
    close(ready[0]);
}

static void test_capabilities(void)
{
    static const uint32_t caps[] = {PTRACE, NICE, SEARCH};

    if (geteuid() != 0 || !is_in_first_namespace() ||
        !has_caps(all_caps | 1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_KILL)) {
        g_test_skip("machine: this takes root with its capabilities");
        return;
    }
    start_victim();
    for (guint i = 0; i < G_N_ELEMENTS(things); i++) {
        if (things[i].try() == ENOSYS) {
            g_autofree char *why = g_strdup_printf("machine: this kernel has no %s", things[i].name);

            kill(victim, SIGKILL);
            waitpid(victim, NULL, 0);
            g_test_skip(why);
            return;
        }
    }
    for (guint set = 0; set < 1u << G_N_ELEMENTS(caps); set++) {
        uint32_t mask = 0;
        int status;
        pid_t child;

        for (guint i = 0; i < G_N_ELEMENTS(caps); i++)
            mask |= set >> i & 1 ? caps[i] : 0;
        child = fork();
        if (child == 0)
            _exit(try_all(mask));
        g_assert_cmpint(waitpid(child, &status, 0), ==, child);
        g_test_message("with%s%s%s: %s", mask & PTRACE ? " SYS_PTRACE" : "", mask & NICE ? " SYS_NICE" : "",
                       mask & SEARCH ? " DAC_READ_SEARCH" : "", WEXITSTATUS(status) ? "not as expected" : "as expected");
        g_assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) > 0 && WEXITSTATUS(status) <= (int)G_N_ELEMENTS(things))
            g_test_message("unexpected: %s", things[WEXITSTATUS(status) - 1].name);
        g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    }
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/platform/privileges", test_capabilities);
    return g_test_run();
}
