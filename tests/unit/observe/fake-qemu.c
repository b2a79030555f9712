/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that looks like a QEMU from outside: its command line, its threads' names, its RAM
 * mappings. For tests and benchmarks that need a live process and no guest.
 *
 *     fake-qemu -name guest=NAME VCPUS MIB[,MIB…] [touch|huge]
 *
 * Prints "ready"; then obeys lines on standard input, each answered by "ok": plug (one more vCPU
 * thread), unplug (the last one ends), worker (an emulator thread that lives on), map (a mapping
 * that is no guest RAM), spin (vCPU 0 uses its CPU until the next command), end.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MAX_THREADS 1024
#define HUGE_BYTES ((size_t)2 << 20)

static atomic_int n_wanted; /* vCPUs with a higher number end */
static atomic_bool is_spinning;

typedef struct {
    int id; /* -1: a worker */
    atomic_bool is_running;
} Thread;

static Thread threads[MAX_THREADS];
static pthread_t handles[MAX_THREADS];
static int n_threads;

static void *run(void *data)
{
    Thread *thread = data;
    char name[32];

    if (thread->id >= 0) {
        snprintf(name, sizeof name, "CPU %d/KVM", thread->id);
        prctl(PR_SET_NAME, name);
    }
    atomic_store(&thread->is_running, true);
    while (thread->id < 0 || thread->id < atomic_load(&n_wanted))
        if (thread->id != 0 || !atomic_load(&is_spinning))
            usleep(2000);
    return NULL;
}

static void start(int id)
{
    Thread *thread = &threads[n_threads];

    if (n_threads == MAX_THREADS)
        exit(3);
    thread->id = id;
    atomic_store(&thread->is_running, false);
    if (pthread_create(&handles[n_threads], NULL, run, thread) != 0)
        exit(3);
    while (!atomic_load(&thread->is_running))
        usleep(100);
    n_threads++;
}

/* A memory backend: aligned, with a guard page after it, not inherited by fork, huge pages asked
 * for. */
static void add_ram(size_t bytes, bool is_touched, bool is_huge)
{
    char *reserved = mmap(NULL, bytes + 2 * HUGE_BYTES, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *ram;

    if (reserved == MAP_FAILED)
        exit(3);
    ram = (char *)(((size_t)reserved + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES);
    if (mmap(ram, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        MAP_FAILED)
        exit(3);
    madvise(ram, bytes, MADV_DONTFORK);
    if (is_huge || !is_touched)
        madvise(ram, bytes, MADV_HUGEPAGE);
    if (is_touched)
        memset(ram, 1, bytes);
    /* small pages, and yet marked like guest RAM */
    if (is_touched && !is_huge)
        madvise(ram, bytes, MADV_HUGEPAGE);
}

int main(int argc, char **argv)
{
    char line[64];
    char *sizes;
    bool is_touched = argc > 5 && strcmp(argv[5], "nothing") != 0;
    bool is_huge = argc > 5 && strcmp(argv[5], "huge") == 0;

    if (argc < 5)
        return 2;
    sizes = strdup(argv[4]);
    for (char *save, *size = strtok_r(sizes, ",", &save); size; size = strtok_r(NULL, ",", &save))
        add_ram((size_t)atoi(size) << 20, is_touched, is_huge);
    free(sizes);
    atomic_store(&n_wanted, atoi(argv[3]));
    for (int i = 0; i < atoi(argv[3]); i++)
        start(i);
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        atomic_store(&is_spinning, strcmp(line, "spin\n") == 0);
        if (strcmp(line, "plug\n") == 0) {
            int id = atomic_fetch_add(&n_wanted, 1);

            start(id);
        } else if (strcmp(line, "unplug\n") == 0) {
            atomic_fetch_sub(&n_wanted, 1);
            pthread_join(handles[--n_threads], NULL);
        } else if (strcmp(line, "worker\n") == 0) {
            start(-1);
        } else if (strcmp(line, "map\n") == 0) {
            if (mmap(NULL, 64 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
                exit(3);
        } else if (strcmp(line, "end\n") == 0) {
            break;
        }
        puts("ok");
        fflush(stdout);
    }
    return 0;
}
