/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first and only process of a throw-away virtual machine that runs one program and stops; see two_node_vm.py.
 *
 * Theory. The kernel hands what follows "--" on its command line to init as arguments: that is the program. Linked
 * statically, so that it needs nothing; the program's libraries lie beside it in the initramfs.
 *
 * Must not: run anywhere else (it switches the machine off).
 */
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void mount_at(const char *type, const char *path)
{
    mkdir(path, 0755);
    if (mount(type, path, type, 0, NULL) < 0)
        perror(path);
}

int main(int argc, char **argv)
{
    int status = -1;
    pid_t pid;

    if (getpid() != 1) {
        fprintf(stderr, "vm-init: only as the first process of a virtual machine\n");
        return 2;
    }
    mkdir("/sys", 0755);
    mount_at("proc", "/proc");
    mount_at("sysfs", "/sys");
    mount_at("tmpfs", "/tmp");
    mount_at("tmpfs", "/run");
    if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) < 0)
        perror("/sys/fs/cgroup");
    pid = fork();
    if (pid == 0) {
        execv(argv[1], argv + 1);
        perror(argc > 1 ? argv[1] : "no program");
        _exit(127);
    }
    while (pid > 0 && waitpid(-1, &status, 0) != pid)
        ;
    printf("vm-init: exit status %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    return 1;
}
