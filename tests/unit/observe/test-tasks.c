/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads of a live process: found, followed, lost. The program fake-qemu stands in for QEMU. */
#include "fake.h"
#include "observe/tasks.h"

#include <dirent.h>
#include <string.h>

static const char *program;

static uint32_t count_kind(HnTasks *tasks, HnThreadKind kind)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < hn_tasks_count(tasks); i++)
        n += hn_tasks_get(tasks, i)->kind == kind;
    return n;
}

static uint32_t count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint32_t n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void test_hotplug(void)
{
    g_autoptr(HnRoot) root = hn_root_open("/", NULL);
    HnKeptBudget budget = {.n_max = 1000};
    FakeQemu *qemu = fake_qemu_start(program, "plug", 2, "4", "nothing");
    uint32_t n_before = count_descriptors();
    HnTasks *tasks = hn_tasks_new(root, &budget, qemu->pid);
    HnTask *vcpu;
    bool is_shared;

    g_assert_true(hn_tasks_refresh(tasks, NULL));
    g_assert_true(hn_tasks_is_relisted(tasks));
    g_assert_cmpuint(count_kind(tasks, HN_THREAD_VCPU), ==, 2);
    g_assert_cmpuint(count_kind(tasks, HN_THREAD_EMULATOR), ==, 1);
    g_assert_true(hn_tasks_refresh(tasks, NULL));
    g_assert_false(hn_tasks_is_relisted(tasks)); /* nothing changed: nothing listed */
    fake_qemu_tell(qemu, "plug");
    g_assert_true(hn_tasks_refresh(tasks, NULL));
    g_assert_true(hn_tasks_is_relisted(tasks));
    vcpu = hn_tasks_find_vcpu(tasks, 2, &is_shared);
    g_assert_nonnull(vcpu);
    g_assert_false(is_shared);
    g_assert_cmpuint(vcpu->start_ticks, >, 0);
    fake_qemu_tell(qemu, "unplug");
    g_assert_true(hn_tasks_refresh(tasks, NULL));
    g_assert_null(hn_tasks_find_vcpu(tasks, 2, &is_shared));
    g_assert_cmpuint(budget.n_open, ==, 7); /* 3 × stat and schedstat, and the process */
    hn_tasks_free(tasks);
    g_assert_cmpuint(budget.n_open, ==, 0);
    g_assert_cmpuint(count_descriptors(), ==, n_before);
    fake_qemu_free(qemu);
}

/* One thread ends and another begins: as many as before, and yet noticed. */
static void test_exchange(void)
{
    g_autoptr(HnRoot) root = hn_root_open("/", NULL);
    HnKeptBudget budget = {.n_max = 1000};
    FakeQemu *qemu = fake_qemu_start(program, "exchange", 2, "4", "nothing");
    HnTasks *tasks = hn_tasks_new(root, &budget, qemu->pid);
    int32_t tid;
    bool is_shared;

    g_assert_true(hn_tasks_refresh(tasks, NULL));
    tid = hn_tasks_find_vcpu(tasks, 1, &is_shared)->tid;
    fake_qemu_tell(qemu, "unplug");
    fake_qemu_tell(qemu, "plug");
    g_assert_true(hn_tasks_refresh(tasks, NULL));
    g_assert_cmpint(hn_tasks_find_vcpu(tasks, 1, &is_shared)->tid, !=, tid);
    hn_tasks_free(tasks);
    fake_qemu_free(qemu);
}

static void test_times(void)
{
    g_autoptr(HnRoot) root = hn_root_open("/", NULL);
    HnKeptBudget budget = {.n_max = 1000};
    FakeQemu *qemu = fake_qemu_start(program, "times", 2, "4", "nothing");
    HnTasks *tasks = hn_tasks_new(root, &budget, qemu->pid);
    uint64_t before_ns, ran_ns, idle_ns;
    bool is_shared;

    g_assert_true(hn_tasks_refresh(tasks, NULL));
    before_ns = hn_tasks_kind_exec_ns(tasks, HN_THREAD_VCPU);
    fake_qemu_tell(qemu, "spin");
    g_usleep(100000);
    g_assert_true(hn_tasks_refresh(tasks, NULL));
    ran_ns = hn_tasks_find_vcpu(tasks, 0, &is_shared)->exec_ns -
             hn_tasks_find_vcpu(tasks, 0, &is_shared)->before_exec_ns;
    idle_ns = hn_tasks_find_vcpu(tasks, 1, &is_shared)->exec_ns -
              hn_tasks_find_vcpu(tasks, 1, &is_shared)->before_exec_ns;
    g_assert_cmpuint(ran_ns, >, 5000000); /* 5 of 100 ms at least, on a machine however loaded */
    g_assert_cmpuint(idle_ns, <, ran_ns);
    g_assert_cmpuint(hn_tasks_kind_exec_ns(tasks, HN_THREAD_VCPU) - before_ns, ==,
                     ran_ns + idle_ns);
    /* ended threads take nothing away from the sum */
    before_ns = hn_tasks_kind_exec_ns(tasks, HN_THREAD_VCPU);
    fake_qemu_tell(qemu, "unplug");
    fake_qemu_tell(qemu, "unplug");
    g_assert_true(hn_tasks_refresh(tasks, NULL));
    g_assert_cmpuint(hn_tasks_kind_exec_ns(tasks, HN_THREAD_VCPU), >=, before_ns);
    hn_tasks_free(tasks);
    fake_qemu_free(qemu);
}

static void test_affinity(void)
{
    g_autoptr(HnRoot) root = hn_root_open("/", NULL);
    HnKeptBudget budget = {.n_max = 1000};
    FakeQemu *qemu = fake_qemu_start(program, "affinity", 1, "4", "nothing");
    HnTasks *tasks = hn_tasks_new(root, &budget, qemu->pid);
    g_autofree HnTaskStatus *status = g_new0(HnTaskStatus, 1);
    g_autofree char *dir = NULL;
    const HnTask *task;
    HnCpuset cpus;
    bool is_shared;

    g_assert_true(hn_tasks_refresh(tasks, NULL));
    task = hn_tasks_find_vcpu(tasks, 0, &is_shared);
    g_assert_true(hn_task_affinity(tasks, task, &cpus, NULL));
    dir = hn_task_dir(tasks, task);
    g_assert_true(hn_task_status_read(root, dir, status, NULL));
    g_assert_true(hn_cpuset_equal(&cpus, &status->cpus_allowed)); /* both sources agree */
    g_assert_true(hn_cpuset_has(&cpus, (uint32_t)task->last_cpu));
    hn_tasks_free(tasks);
    fake_qemu_free(qemu);
}

static void test_death(void)
{
    g_autoptr(HnRoot) root = hn_root_open("/", NULL);
    HnKeptBudget budget = {.n_max = 1000};
    FakeQemu *qemu = fake_qemu_start(program, "death", 2, "4", "nothing");
    HnTasks *tasks = hn_tasks_new(root, &budget, qemu->pid);
    g_autoptr(GError) error = NULL;

    g_assert_true(hn_tasks_refresh(tasks, NULL));
    fake_qemu_kill(qemu);
    g_assert_false(hn_tasks_refresh(tasks, &error));
    g_assert_true(hn_error_is_gone(error));
    hn_tasks_free(tasks);
    g_assert_cmpuint(budget.n_open, ==, 0);
    fake_qemu_free(qemu);
}

/* More threads than descriptors may be kept: slower, the same answers. */
static void test_small_budget(void)
{
    g_autoptr(HnRoot) root = hn_root_open("/", NULL);
    HnKeptBudget budget = {.n_max = 3};
    FakeQemu *qemu = fake_qemu_start(program, "budget", 8, "4", "nothing");
    HnTasks *tasks = hn_tasks_new(root, &budget, qemu->pid);

    for (int i = 0; i < 3; i++) {
        g_assert_true(hn_tasks_refresh(tasks, NULL));
        g_assert_cmpuint(count_kind(tasks, HN_THREAD_VCPU), ==, 8);
        g_assert_cmpuint(budget.n_open, <=, 3);
    }
    hn_tasks_free(tasks);
    fake_qemu_free(qemu);
}

static void put(const char *dir, const char *path, const char *text)
{
    g_autofree char *full = g_build_filename(dir, path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);

    g_assert_cmpint(g_mkdir_with_parents(parent, 0755), ==, 0);
    g_assert_true(g_file_set_contents(full, text, -1, NULL));
}

static void put_task(const char *dir, const char *path, const char *name, const char *comm,
                     uint32_t n_threads)
{
    g_autofree char *comm_path = g_build_filename(path, "comm", NULL);
    g_autofree char *stat_path = g_build_filename(path, "stat", NULL);
    g_autofree char *schedstat_path = g_build_filename(path, "schedstat", NULL);
    g_autofree char *stat = g_strdup_printf(
        "%s (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 %u 0 77 4096 1 1 1 1 1 0 0 0 0 0 "
        "0 0 0 0 -1 1 0",
        name, n_threads);

    put(dir, comm_path, comm);
    put(dir, stat_path, stat);
    put(dir, schedstat_path, "1000 20 3\n");
}

/* A kernel before 6.4: the guest's vhost worker is a kernel thread of its own; round-robin TCG has
 * one thread for all vCPUs. */
static void test_captured_kthread(void)
{
    g_autofree char *dir = g_dir_make_tmp("hn-tasks-XXXXXX", NULL);
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", dir);
    g_autoptr(HnRoot) root = hn_root_open(dir, NULL);
    HnKeptBudget budget = {0}; /* files here are replaced, not rewritten: read them anew */
    HnTasks *tasks = hn_tasks_new(root, &budget, 40);
    HnTask *task;
    bool is_shared;

    put_task(dir, "proc/40", "40", "qemu-system-x86\n", 2);
    put_task(dir, "proc/40/task/40", "40", "qemu-system-x86\n", 2);
    put_task(dir, "proc/40/task/41", "41", "ALL CPUs/TCG\n", 2);
    put_task(dir, "proc/55", "55", "vhost-40\n", 1);
    put_task(dir, "proc/56", "56", "vhost-400\n", 1); /* another guest's */
    g_assert_true(hn_tasks_refresh(tasks, NULL));
    g_assert_cmpuint(hn_tasks_count(tasks), ==, 2);
    task = hn_tasks_find_vcpu(tasks, 5, &is_shared);
    g_assert_cmpint(task->tid, ==, 41);
    g_assert_true(is_shared);
    hn_tasks_add_vhost_kthreads(tasks);
    g_assert_cmpuint(hn_tasks_count(tasks), ==, 3);
    g_assert_cmpint(hn_tasks_get(tasks, 2)->tid, ==, 55);
    g_assert_cmpint(hn_tasks_get(tasks, 2)->kind, ==, HN_THREAD_VHOST);
    hn_tasks_add_vhost_kthreads(tasks); /* once is enough */
    g_assert_cmpuint(hn_tasks_count(tasks), ==, 3);
    g_assert_true(
        hn_tasks_refresh(tasks, NULL)); /* it is none of the process' threads, and yet no change */
    g_assert_false(hn_tasks_is_relisted(tasks));
    put_task(dir, "proc/40/task/42", "42", "worker\n", 3);
    put_task(dir, "proc/40", "40", "qemu-system-x86\n", 3);
    /* a new list keeps it, without another walk through /proc */
    g_assert_true(hn_tasks_refresh(tasks, NULL));
    g_assert_true(hn_tasks_is_relisted(tasks));
    g_assert_cmpuint(hn_tasks_count(tasks), ==, 4);
    g_assert_true(hn_tasks_get(tasks, 3)->is_kernel_thread);
    hn_tasks_free(tasks);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(argc, ==, 2);
    program = argv[1];
    g_test_add_func("/observe/tasks/hotplug", test_hotplug);
    g_test_add_func("/observe/tasks/exchange", test_exchange);
    g_test_add_func("/observe/tasks/times", test_times);
    g_test_add_func("/observe/tasks/affinity", test_affinity);
    g_test_add_func("/observe/tasks/death", test_death);
    g_test_add_func("/observe/tasks/small-budget", test_small_budget);
    g_test_add_func("/observe/tasks/captured-kthread", test_captured_kthread);
    return g_test_run();
}
