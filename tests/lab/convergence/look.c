/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * look LOOKS PAUSE_MS GUEST…: where guests run and where their RAM lies, from inside the emulated host.
 *
 * For each guest the largest mapping of its process in numa_maps (its RAM) is read once, and LOOKS times,
 * PAUSE_MS apart, each vCPU thread's last CPU and run time. A program and not a script, because a shell
 * needs seconds for this under emulation. It is linked statically and uses nothing of homenode: it is
 * what homenode is judged by. A guest that is not there is left out. Output, one per line:
 *   guest NAME PID | ram NAME N0=PAGES N1=PAGES … kernelpagesize_kB=4 | vcpu NAME ID LOOK CPU EXEC_NS
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define GUESTS_MAX 64

/* The first line of a file into text; 0 when it cannot be read. */
static int read_line(const char *path, char *text, int size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    int ok = fgets(text, size, file) != NULL;
    fclose(file);
    return ok;
}

/* Pages of one line of numa_maps, all nodes together. */
static unsigned long long pages_of(const char *line)
{
    unsigned long long pages = 0;
    for (const char *at = strstr(line, " N"); at; at = strstr(at + 1, " N")) {
        const char *equals = strchr(at, '=');
        if (at[2] >= '0' && at[2] <= '9' && equals)
            pages += strtoull(equals + 1, NULL, 10);
    }
    return pages;
}

static void print_ram(const char *name, int pid)
{
    char path[64], line[4096], best[4096] = "";
    unsigned long long most = 0;
    snprintf(path, sizeof path, "/proc/%d/numa_maps", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        unsigned long long pages = pages_of(line);
        if (pages > most) {
            most = pages;
            strcpy(best, line);
        }
    }
    fclose(file);
    best[strcspn(best, "\n")] = 0;
    printf("ram %s %s\n", name, best);
}

static void print_vcpus(const char *name, int pid, int look)
{
    char path[300], text[1024];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return;
    for (struct dirent *task; (task = readdir(tasks));) {
        int vcpu, cpu, field = 2;
        unsigned long long exec_ns;
        snprintf(path, sizeof path, "/proc/%d/task/%s/comm", pid, task->d_name);
        if (!read_line(path, text, sizeof text) || sscanf(text, "CPU %d/", &vcpu) != 1)
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, task->d_name);
        if (!read_line(path, text, sizeof text) || sscanf(text, "%llu", &exec_ns) != 1)
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/stat", pid, task->d_name);
        if (!read_line(path, text, sizeof text))
            continue;
        /* Field 39 (processor); counted from the end of the name, which may hold blanks. */
        char *at = strrchr(text, ')');
        while (at && field < 39) {
            at = strchr(at + 1, ' ');
            field++;
        }
        if (at && sscanf(at, "%d", &cpu) == 1)
            printf("vcpu %s %d %d %d %llu\n", name, vcpu, look, cpu, exec_ns);
    }
    closedir(tasks);
}

int main(int argc, char **argv)
{
    int pids[GUESTS_MAX];
    if (argc < 4 || argc > GUESTS_MAX + 3) {
        fprintf(stderr, "usage: look LOOKS PAUSE_MS GUEST… (at most %d guests)\n", GUESTS_MAX);
        return 2;
    }
    long pause_ms = strtol(argv[2], NULL, 10);
    struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000};
    /* Else the looks come as late as the guests leave room. */
    setpriority(PRIO_PROCESS, 0, -20);
    for (int i = 3; i < argc; i++) {
        char path[300], text[64];
        snprintf(path, sizeof path, "/run/libvirt/qemu/%s.pid", argv[i]);
        pids[i - 3] = read_line(path, text, sizeof text) ? atoi(text) : 0;
        if (pids[i - 3] <= 0)
            continue;
        printf("guest %s %d\n", argv[i], pids[i - 3]);
        print_ram(argv[i], pids[i - 3]);
    }
    for (int look = 0; look < atoi(argv[1]); look++) {
        for (int i = 3; i < argc; i++) {
            if (pids[i - 3] > 0)
                print_vcpus(argv[i], pids[i - 3], look);
        }
        nanosleep(&pause, NULL);
    }
    return 0;
}
