/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads of a guest; see tasks.h. */
#include "observe/tasks.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#define MAX_TASK_FILE_BYTES 65536
/* QEMU's thread pools stay well below; a runaway process must not eat the agent's memory. */
#define MAX_TASKS 16384u

struct HnTasks {
    const HnRoot *root;
    HnKeptBudget *budget;
    int64_t pid;
    HnKept process_stat;
    HnTaskStat process;
    bool is_known; /* process.start_ticks is the identity */
    bool is_relisted;
    GArray *tasks; /* HnTask */
    GString *buffer;
    uint64_t kind_exec_ns[HN_THREAD_EMULATOR + 1];
    uint64_t kind_run_delay_ns[HN_THREAD_EMULATOR + 1];
};

HnTasks *hn_tasks_new(const HnRoot *root, HnKeptBudget *budget, int64_t pid)
{
    HnTasks *tasks = g_new0(HnTasks, 1);

    tasks->root = root;
    tasks->budget = budget;
    tasks->pid = pid;
    tasks->process_stat = HN_KEPT_NONE;
    tasks->tasks = g_array_new(FALSE, TRUE, sizeof(HnTask));
    tasks->buffer = g_string_sized_new(4096);
    return tasks;
}

static void close_task(HnTasks *tasks, HnTask *task)
{
    hn_kept_close(&task->stat, tasks->budget);
    hn_kept_close(&task->schedstat, tasks->budget);
    hn_kept_close(&task->sched, tasks->budget);
}

void hn_tasks_free(HnTasks *tasks)
{
    if (!tasks)
        return;
    for (guint i = 0; i < tasks->tasks->len; i++)
        close_task(tasks, &g_array_index(tasks->tasks, HnTask, i));
    hn_kept_close(&tasks->process_stat, tasks->budget);
    g_array_free(tasks->tasks, TRUE);
    g_string_free(tasks->buffer, TRUE);
    g_free(tasks);
}

char *hn_task_dir(const HnTasks *tasks, const HnTask *task)
{
    if (task->is_kernel_thread)
        return g_strdup_printf("proc/%d", task->tid);
    return g_strdup_printf("proc/%" G_GINT64_FORMAT "/task/%d", tasks->pid, task->tid);
}

bool hn_task_read(HnTasks *tasks, const HnTask *task, HnKept *kept, const char *name,
                  GString *buffer, GError **error)
{
    char path[96];

    if (task->is_kernel_thread)
        g_snprintf(path, sizeof path, "proc/%d/%s", task->tid, name);
    else
        g_snprintf(path, sizeof path, "proc/%" G_GINT64_FORMAT "/task/%d/%s", tasks->pid, task->tid,
                   name);
    return hn_kept_read(kept, tasks->budget, tasks->root, path, MAX_TASK_FILE_BYTES, buffer, error);
}

/* Times of one thread; where it ran last only if that is of use (`with_cpu`). */
static bool refresh_task(HnTasks *tasks, HnTask *task, bool with_cpu, GError **error)
{
    HnTaskStat stat;
    uint64_t exec_ns, run_delay_ns;

    if (!hn_task_read(tasks, task, &task->schedstat, "schedstat", tasks->buffer, error) ||
        !hn_schedstat_parse(tasks->buffer->str, tasks->buffer->len, &exec_ns, &run_delay_ns, error))
        return false;
    if (exec_ns > task->exec_ns)
        tasks->kind_exec_ns[task->kind] += exec_ns - task->exec_ns;
    if (run_delay_ns > task->run_delay_ns)
        tasks->kind_run_delay_ns[task->kind] += run_delay_ns - task->run_delay_ns;
    task->exec_ns = exec_ns;
    task->run_delay_ns = run_delay_ns;
    if (!with_cpu)
        return true;
    if (!hn_task_read(tasks, task, &task->stat, "stat", tasks->buffer, error) ||
        !hn_task_stat_parse(tasks->buffer->str, tasks->buffer->len, &stat, error))
        return false;
    if (task->start_ticks != 0 && task->start_ticks != stat.start_ticks) {
        /* Only without a kept descriptor can another thread answer under this number. */
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT, "thread %d was replaced by another",
                    task->tid);
        return false;
    }
    task->start_ticks = stat.start_ticks;
    task->last_cpu = stat.last_cpu;
    return true;
}

/* Emulator threads come and go and are counted as one: where each of them ran last does not matter,
 * except for the main thread. */
static bool needs_cpu(const HnTasks *tasks, const HnTask *task)
{
    return task->kind != HN_THREAD_EMULATOR || task->tid == tasks->pid;
}

static bool read_name(HnTasks *tasks, HnTask *task, GError **error)
{
    HnKept comm = HN_KEPT_NONE;
    bool is_good = hn_task_read(tasks, task, &comm, "comm", tasks->buffer, error);

    hn_kept_close(&comm, tasks->budget);
    if (!is_good)
        return false;
    task->kind = hn_thread_classify(tasks->buffer->str, tasks->buffer->len, &task->id);
    /* The main thread is the emulator, whatever it calls itself. */
    if (task->tid == tasks->pid)
        task->kind = HN_THREAD_EMULATOR;
    return true;
}

static bool read_thread(HnTasks *tasks, int32_t tid, HnTask *ret_task, GError **error)
{
    HnTask task = {.tid = tid,
                   .is_name_fresh = true,
                   .stat = HN_KEPT_NONE,
                   .schedstat = HN_KEPT_NONE,
                   .sched = HN_KEPT_NONE};

    if (!read_name(tasks, &task, error))
        return false;
    if (!refresh_task(tasks, &task, true, error)) {
        close_task(tasks, &task);
        return false;
    }
    if (!needs_cpu(tasks, &task))
        hn_kept_close(&task.stat, tasks->budget);
    task.before_exec_ns = task.exec_ns;
    task.before_cpu = task.last_cpu;
    *ret_task = task;
    return true;
}

static HnTask *find_tid(HnTasks *tasks, int32_t tid)
{
    for (guint i = 0; i < tasks->tasks->len; i++)
        if (g_array_index(tasks->tasks, HnTask, i).tid == tid)
            return &g_array_index(tasks->tasks, HnTask, i);
    return NULL;
}

/* Lists the threads; those that are known keep their descriptors. A thread that ends meanwhile is
 * left out. */
static bool relist(HnTasks *tasks, GError **error)
{
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT "/task", tasks->pid);
    g_auto(GStrv) names = hn_root_list(tasks->root, dir, error);
    GArray *fresh;

    if (!names)
        return false;
    fresh = g_array_new(FALSE, TRUE, sizeof(HnTask));
    for (uint32_t i = 0; names[i] && fresh->len < MAX_TASKS; i++) {
        guint64 tid;
        HnTask *known;
        HnTask task;

        if (!g_ascii_string_to_unsigned(names[i], 10, 1, INT32_MAX, &tid, NULL))
            continue;
        known = find_tid(tasks, (int32_t)tid);
        if (known && !known->is_kernel_thread) {
            task = *known;
            known->stat = known->schedstat = known->sched = HN_KEPT_NONE;
            /* It may have ended, and another got its number: then its descriptors say so. */
            if (refresh_task(tasks, &task, needs_cpu(tasks, &task), NULL)) {
                g_array_append_val(fresh, task);
                continue;
            }
            close_task(tasks, &task);
        }
        if (read_thread(tasks, (int32_t)tid, &task, NULL))
            g_array_append_val(fresh, task);
    }
    for (guint i = 0; i < tasks->tasks->len; i++) {
        HnTask *known = &g_array_index(tasks->tasks, HnTask, i);

        /* Kernel threads are not in that list; finding them again would walk all of /proc. */
        if (known->is_kernel_thread && refresh_task(tasks, known, true, NULL))
            g_array_append_val(fresh, *known);
        else
            close_task(tasks, known);
    }
    g_array_free(tasks->tasks, TRUE);
    tasks->tasks = fresh;
    tasks->is_relisted = true;
    return true;
}

static uint32_t count_own(const HnTasks *tasks)
{
    uint32_t n = 0;

    for (guint i = 0; i < tasks->tasks->len; i++)
        n += !g_array_index(tasks->tasks, HnTask, i).is_kernel_thread;
    return n;
}

bool hn_tasks_refresh(HnTasks *tasks, GError **error)
{
    char path[64];
    HnTaskStat process;
    bool is_changed;

    tasks->is_relisted = false;
    g_snprintf(path, sizeof path, "proc/%" G_GINT64_FORMAT "/stat", tasks->pid);
    if (!hn_kept_read(&tasks->process_stat, tasks->budget, tasks->root, path, MAX_TASK_FILE_BYTES,
                      tasks->buffer, error) ||
        !hn_task_stat_parse(tasks->buffer->str, tasks->buffer->len, &process, error))
        return false;
    if (process.state == 'Z' || process.state == 'X' ||
        (tasks->is_known && process.start_ticks != tasks->process.start_ticks)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
                    "process %" G_GINT64_FORMAT " has ended", tasks->pid);
        return false;
    }
    tasks->process = process;
    tasks->is_known = true;
    is_changed = count_own(tasks) != process.n_threads;
    for (guint i = 0; i < tasks->tasks->len; i++) {
        HnTask *task = &g_array_index(tasks->tasks, HnTask, i);

        task->before_exec_ns = task->exec_ns;
        task->before_cpu = task->last_cpu;
        /* A thread names itself just after it began: who was caught before that is asked once more.
         */
        if (task->is_name_fresh && task->kind == HN_THREAD_EMULATOR &&
            !read_name(tasks, task, NULL))
            is_changed = true;
        task->is_name_fresh = false;
    }
    for (guint i = 0; i < tasks->tasks->len && !is_changed; i++) {
        HnTask *task = &g_array_index(tasks->tasks, HnTask, i);
        g_autoptr(GError) local_error = NULL;

        if (refresh_task(tasks, task, needs_cpu(tasks, task), &local_error))
            continue;
        if (!hn_error_is_gone(local_error)) {
            g_propagate_error(error, g_steal_pointer(&local_error));
            return false;
        }
        is_changed = true;
    }
    return !is_changed || relist(tasks, error);
}

const HnTaskStat *hn_tasks_process(const HnTasks *tasks)
{
    return &tasks->process;
}

uint32_t hn_tasks_count(const HnTasks *tasks)
{
    return tasks->tasks->len;
}

HnTask *hn_tasks_get(HnTasks *tasks, uint32_t i)
{
    return &g_array_index(tasks->tasks, HnTask, i);
}

HnTask *hn_tasks_find_vcpu(HnTasks *tasks, uint32_t id, bool *ret_is_shared)
{
    HnTask *shared = NULL;

    *ret_is_shared = false;
    for (guint i = 0; i < tasks->tasks->len; i++) {
        HnTask *task = &g_array_index(tasks->tasks, HnTask, i);

        if (task->kind == HN_THREAD_VCPU && task->id == id)
            return task;
        if (task->kind == HN_THREAD_ALL_VCPUS)
            shared = task;
    }
    *ret_is_shared = shared != NULL;
    return shared;
}

bool hn_tasks_is_relisted(const HnTasks *tasks)
{
    return tasks->is_relisted;
}

void hn_tasks_add_vhost_kthreads(HnTasks *tasks)
{
    g_autofree char *wanted = g_strdup_printf("vhost-%" G_GINT64_FORMAT "\n", tasks->pid);
    g_auto(GStrv) names = hn_root_list(tasks->root, "proc", NULL);

    for (uint32_t i = 0; names && names[i]; i++) {
        HnTask task = {.kind = HN_THREAD_VHOST,
                       .is_kernel_thread = true,
                       .stat = HN_KEPT_NONE,
                       .schedstat = HN_KEPT_NONE,
                       .sched = HN_KEPT_NONE};
        g_autofree char *path = g_strdup_printf("proc/%s/comm", names[i]);
        g_autofree char *comm = NULL;
        guint64 tid;

        if (!g_ascii_string_to_unsigned(names[i], 10, 1, INT32_MAX, &tid, NULL) ||
            find_tid(tasks, (int32_t)tid) ||
            !hn_root_read(tasks->root, path, 64, &comm, NULL, NULL) || !g_str_equal(comm, wanted))
            continue;
        task.tid = (int32_t)tid;
        if (!refresh_task(tasks, &task, true, NULL)) {
            close_task(tasks, &task);
            continue;
        }
        task.before_exec_ns = task.exec_ns;
        task.before_cpu = task.last_cpu;
        g_array_append_val(tasks->tasks, task);
    }
}

uint64_t hn_tasks_kind_exec_ns(const HnTasks *tasks, HnThreadKind kind)
{
    return tasks->kind_exec_ns[kind];
}

uint64_t hn_tasks_kind_run_delay_ns(const HnTasks *tasks, HnThreadKind kind)
{
    return tasks->kind_run_delay_ns[kind];
}

bool hn_task_affinity(const HnTasks *tasks, const HnTask *task, HnCpuset *ret_cpus, GError **error)
{
    g_autofree char *dir = NULL;
    HnTaskStatus status;

    if (hn_root_is_live(tasks->root)) {
        /* The kernel's mask is an array of longs, lowest CPU first: the same words on 64-bit
         * machines. */
        G_STATIC_ASSERT(sizeof(unsigned long) == sizeof(uint64_t));
        HnCpuset cpus = {0};

        if (sched_getaffinity(task->tid, sizeof cpus.words, (cpu_set_t *)cpus.words) < 0) {
            int saved_errno = errno;

            g_set_error(
                error, G_FILE_ERROR,
                saved_errno == ESRCH ? G_FILE_ERROR_NOENT : g_file_error_from_errno(saved_errno),
                "cannot read the affinity of thread %d: %s", task->tid, g_strerror(saved_errno));
            return false;
        }
        *ret_cpus = cpus;
        return true;
    }
    dir = hn_task_dir(tasks, task);
    if (!hn_task_status_read(tasks->root, dir, &status, error))
        return false;
    *ret_cpus = status.cpus_allowed;
    return true;
}
