/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The threads of one guest, kept from round to round.
 *
 * Every thread of the process has a kept descriptor, so a round costs one pread per value. The list
 * of threads is read again only when the process counts another number of them or one of the kept
 * descriptors says that its thread ended: as long as all that we know live and there are as many as
 * we know, the list cannot have changed. That is how hot-plugged vCPUs are found, of which no event
 * tells (docs/evidence.md).
 *
 * States of a table: FRESH → LISTED (first refresh) ⇄ LISTED (list read again) → GONE (process
 * ended or its pid means another process: start_ticks differ). GONE is final.
 */
#pragma once

#include "observe/kept.h"
#include "observe/process.h"

typedef struct {
    int32_t tid;
    uint64_t start_ticks;
    HnThreadKind kind;
    uint32_t id;           /* vCPU or iothread number */
    bool is_name_fresh;    /* read once so far */
    bool is_kernel_thread; /* a vhost worker outside the process (kernels before 6.4) */
    uint64_t exec_ns;      /* cumulative */
    uint64_t run_delay_ns;
    int32_t last_cpu;        /* as of this refresh; emulator threads: as of the listing */
    uint64_t before_exec_ns; /* at the refresh before this one; = exec_ns for a thread just found */
    int32_t before_cpu;
    HnKept stat;
    HnKept schedstat;
    HnKept sched;
} HnTask;

typedef struct HnTasks HnTasks;

/* `root` and `budget` are borrowed. Nothing is read yet. */
HnTasks *hn_tasks_new(const HnRoot *root, HnKeptBudget *budget, int64_t pid);
void hn_tasks_free(HnTasks *tasks);

/* Reads the times of all threads, and the list of threads if it changed. False: the process is gone
 * (hn_error_is_gone()) or cannot be read. */
bool hn_tasks_refresh(HnTasks *tasks, GError **error);

/* Valid after a refresh that succeeded, until the next. */
const HnTaskStat *hn_tasks_process(const HnTasks *tasks);
uint32_t hn_tasks_count(const HnTasks *tasks);
HnTask *hn_tasks_get(HnTasks *tasks, uint32_t i);
/* The thread that runs vCPU `id` (the one thread of all of them under round-robin TCG), or NULL. */
HnTask *hn_tasks_find_vcpu(HnTasks *tasks, uint32_t id, bool *ret_is_shared);
/* True if the list was read anew by the last refresh. */
bool hn_tasks_is_relisted(const HnTasks *tasks);

/* Adds kernel threads "vhost-<pid>" (kernels before 6.4, or vhost.fork_from_owner_default=0). Walks
 * all of /proc: call it for guests that have a vhost device, and only after their list changed. */
void hn_tasks_add_vhost_kthreads(HnTasks *tasks);

/* CPUs the thread may run on now: sched_getaffinity(2) on a live host, its status file in a
 * capture. */
bool hn_task_affinity(const HnTasks *tasks, const HnTask *task, HnCpuset *ret_cpus, GError **error);

/* Nanoseconds all threads of a kind have run since the table was made, plus what those found first
 * had run by then: never falls, also when threads end. */
uint64_t hn_tasks_kind_exec_ns(const HnTasks *tasks, HnThreadKind kind);
uint64_t hn_tasks_kind_run_delay_ns(const HnTasks *tasks, HnThreadKind kind);

/* The directory of a thread's files below the root; caller frees. */
char *hn_task_dir(const HnTasks *tasks, const HnTask *task);

/* Reads one file of a thread by its kept descriptor into `buffer`. */
bool hn_task_read(HnTasks *tasks, const HnTask *task, HnKept *kept, const char *name,
                  GString *buffer, GError **error);
