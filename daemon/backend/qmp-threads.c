/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pins as affinities; see qmp-threads.h.
 */
#include "qmp-threads.h"

#include "observe/process.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#define MAX_SMALL_FILE_BYTES 65536
/* A thread that is born while we pin has its creator's affinity, old or new: look again until none
 * is left outside. Each pass can only miss threads born during it. */
#define MAX_PASSES 5

G_STATIC_ASSERT(sizeof(unsigned long) == sizeof(uint64_t)); /* the kernel's mask is made of longs */

static int kernel_get(void *unused, int32_t tid, HnCpuset *ret_cpus)
{
    HnCpuset cpus = {0};
    if (sched_getaffinity(tid, sizeof cpus.words, (cpu_set_t *)cpus.words) < 0)
        return -1;
    *ret_cpus = cpus;
    return 0;
}

static int kernel_set(void *unused, int32_t tid, const HnCpuset *cpus)
{
    return sched_setaffinity(tid, sizeof cpus->words, (const cpu_set_t *)cpus->words);
}

const HnQmpAffinity hn_qmp_affinity_kernel = {.get = kernel_get, .set = kernel_set};

static bool read_online(const HnQmpThreads *threads, HnCpuset *ret_online)
{
    g_autofree char *text = NULL;
    size_t len;
    return hn_root_read(threads->root, "sys/devices/system/cpu/online", MAX_SMALL_FILE_BYTES, &text,
                        &len, NULL) &&
           hn_cpuset_parse(text, len, ret_online, NULL);
}

static bool is_vcpu(const HnQmpThreads *threads, int32_t tid)
{
    for (guint i = 0; i < threads->vcpu_tids->len; i++)
        if (g_array_index(threads->vcpu_tids, int32_t, i) == tid)
            return true;
    return false;
}

typedef struct {
    int32_t tid;
    HnThreadKind kind; /* VCPU, IOTHREAD or EMULATOR */
    uint32_t id;
} Thread;

/* Thread, ascending tid. Empty when the process is gone. */
static GArray *list_threads(const HnQmpThreads *threads)
{
    GArray *list = g_array_new(FALSE, TRUE, sizeof(Thread));
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT "/task", threads->pid);
    g_auto(GStrv) names = hn_root_list(threads->root, dir, NULL);
    for (guint i = 0; names && names[i]; i++) {
        g_autofree char *path = g_strdup_printf("%s/%s/comm", dir, names[i]);
        g_autofree char *comm = NULL;
        Thread thread = {.kind = HN_THREAD_EMULATOR};
        size_t len;
        guint64 tid;
        if (!g_ascii_string_to_unsigned(names[i], 10, 1, INT32_MAX, &tid, NULL))
            continue;
        thread.tid = (int32_t)tid;
        if (is_vcpu(threads, thread.tid))
            thread.kind = HN_THREAD_VCPU;
        else if (hn_root_read(threads->root, path, MAX_SMALL_FILE_BYTES, &comm, &len, NULL) &&
                 hn_thread_classify(comm, len, &thread.id) == HN_THREAD_IOTHREAD)
            thread.kind = HN_THREAD_IOTHREAD;
        g_array_append_val(list, thread);
    }
    return list;
}

/* True if it may not run everywhere. */
static bool read_pin(const HnQmpThreads *threads, const HnCpuset *online, int32_t tid,
                     HnCpuset *ret_pin)
{
    HnCpuset cpus;
    if (threads->affinity->get(threads->affinity->user_data, tid, &cpus) < 0 ||
        hn_cpuset_is_subset(online, &cpus))
        return false;
    *ret_pin = cpus;
    return true;
}

void hn_qmp_threads_read(const HnQmpThreads *threads, HnDomainInfo *info)
{
    HnCpuset online;
    if (!read_online(threads, &online))
        return;
    for (guint i = 0; i < info->vcpus->len; i++) {
        HnVcpuInfo *vcpu = &g_array_index(info->vcpus, HnVcpuInfo, i);
        int32_t tid = g_array_index(threads->vcpu_tids, int32_t, i);
        vcpu->has_pin = read_pin(threads, &online, tid, &vcpu->pin);
    }
    info->has_emulator_pin = read_pin(threads, &online, (int32_t)threads->pid, &info->emulator_pin);
    g_autoptr(GArray) list = list_threads(threads);
    for (guint i = 0; i < list->len; i++) {
        const Thread *thread = &g_array_index(list, Thread, i);
        HnIothreadInfo iothread = {.id = thread->id};
        bool is_known = false;
        for (guint k = 0; k < info->iothreads->len; k++)
            is_known |= g_array_index(info->iothreads, HnIothreadInfo, k).id == thread->id;
        if (thread->kind != HN_THREAD_IOTHREAD || is_known)
            continue;
        iothread.has_pin = read_pin(threads, &online, thread->tid, &iothread.pin);
        g_array_append_val(info->iothreads, iothread);
    }
}

/* ---- setting ---- */

static bool fail(GError **error, int code, const HnDomainInfo *info, const char *what,
                 const HnCpuset *cpus)
{
    g_autofree char *list = hn_cpuset_format(cpus);
    g_set_error(error, HN_BACKEND_ERROR,
                code == ESRCH                     ? HN_BACKEND_ERROR_GONE
                : code == EPERM || code == EACCES ? HN_BACKEND_ERROR_DENIED
                                                  : HN_BACKEND_ERROR_FAILED,
                "domain %s: pinning %s to CPUs %s: %s%s", info->name, what, list, g_strerror(code),
                code == EPERM    ? " (it takes CAP_SYS_NICE)"
                : code == EINVAL ? " (none of them is online and in the process' cpuset)"
                                 : "");
    return false;
}

static bool check_cpus(const HnDomainInfo *info, const HnCpuset *cpus, GError **error)
{
    if (!hn_cpuset_is_empty(cpus))
        return true;
    g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_UNSUPPORTED,
                "domain %s: a pin to no CPU is not possible", info->name);
    return false;
}

/* 0, or errno. Every online CPU means every CPU there will ever be: the kernel forgets a mask that
 * it need not keep. */
static int set_thread(const HnQmpThreads *threads, int32_t tid, const HnCpuset *cpus)
{
    const HnQmpAffinity *affinity = threads->affinity;
    g_autofree HnCpuset *wanted = g_memdup2(cpus, sizeof *cpus);
    HnCpuset online, is;
    if (read_online(threads, &online) && hn_cpuset_is_subset(&online, cpus))
        memset(wanted->words, 0xff, sizeof wanted->words);
    if (affinity->set(affinity->user_data, tid, wanted) < 0)
        return errno;
    if (affinity->get(affinity->user_data, tid, &is) < 0)
        return errno;
    return hn_cpuset_is_subset(&is, wanted) && !hn_cpuset_is_empty(&is) ? 0 : EAGAIN;
}

bool hn_qmp_threads_pin_vcpu(const HnQmpThreads *threads, const HnDomainInfo *info, uint32_t vcpu,
                             const HnCpuset *cpus, GError **error)
{
    g_autofree char *what = g_strdup_printf("vCPU %u", vcpu);
    if (!check_cpus(info, cpus, error))
        return false;
    for (guint i = 0; i < info->vcpus->len; i++) {
        int32_t tid = g_array_index(threads->vcpu_tids, int32_t, i);
        g_autofree char *task =
            g_strdup_printf("proc/%" G_GINT64_FORMAT "/task/%d", threads->pid, tid);
        if (g_array_index(info->vcpus, HnVcpuInfo, i).id != vcpu)
            continue;
        /* The number is the monitor's word: it must be one of its own process. */
        if (!hn_root_exists(threads->root, task)) {
            g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_FAILED,
                        "domain %s: vCPU %u: process %" G_GINT64_FORMAT " has no thread %d",
                        info->name, vcpu, threads->pid, tid);
            return false;
        }
        int code = set_thread(threads, tid, cpus);
        return code == 0 || fail(error, code, info, what, cpus);
    }
    g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_FAILED, "domain %s: it has no %s",
                info->name, what);
    return false;
}

bool hn_qmp_threads_pin_iothread(const HnQmpThreads *threads, const HnDomainInfo *info,
                                 uint32_t iothread, const HnCpuset *cpus, GError **error)
{
    g_autofree char *what = g_strdup_printf("iothread %u", iothread);
    g_autoptr(GArray) list = list_threads(threads);
    bool is_found = false;
    if (!check_cpus(info, cpus, error))
        return false;
    for (guint i = 0; i < list->len; i++) {
        const Thread *thread = &g_array_index(list, Thread, i);
        if (thread->kind != HN_THREAD_IOTHREAD || thread->id != iothread)
            continue;
        int code = set_thread(threads, thread->tid, cpus);
        if (code != 0 && code != ESRCH)
            return fail(error, code, info, what, cpus);
        is_found |= code == 0;
    }
    if (!is_found)
        g_set_error(error, HN_BACKEND_ERROR, HN_BACKEND_ERROR_FAILED, "domain %s: it has no %s",
                    info->name, what);
    return is_found;
}

/* One pass; *ret_n_changed: threads that were outside before. 0, or errno. */
static int pin_others(const HnQmpThreads *threads, const HnCpuset *cpus, guint *ret_n_changed)
{
    g_autoptr(GArray) list = list_threads(threads);
    *ret_n_changed = 0;
    if (list->len == 0)
        return ESRCH;
    for (guint i = 0; i < list->len; i++) {
        const Thread *thread = &g_array_index(list, Thread, i);
        HnCpuset is;
        if (thread->kind != HN_THREAD_EMULATOR ||
            threads->affinity->get(threads->affinity->user_data, thread->tid, &is) < 0 ||
            hn_cpuset_equal(&is, cpus))
            continue;
        int code = set_thread(threads, thread->tid, cpus);
        if (code != 0 && code != ESRCH)
            return code;
        *ret_n_changed += code == 0;
    }
    return 0;
}

bool hn_qmp_threads_pin_emulator(const HnQmpThreads *threads, const HnDomainInfo *info,
                                 const HnCpuset *cpus, GError **error)
{
    guint n_changed = 1;
    if (!check_cpus(info, cpus, error))
        return false;
    for (guint pass = 0; pass < MAX_PASSES && n_changed > 0; pass++) {
        int code = pin_others(threads, cpus, &n_changed);
        if (code != 0)
            return fail(error, code, info, "the emulator", cpus);
    }
    return true;
}
