/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One domain from round to round; see domain-watch.h. */
#include "observe/domain-watch.h"
#include "observe/memory-watch.h"
#include "observe/pins.h"
#include "observe/touch-watch.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_CMDLINE_BYTES (1u << 20)

struct HnDomainWatch {
    HnWatchContext *context;
    int64_t pid;
    int pidfd;
    bool is_identified;
    HnTasks *tasks;
    HnMemoryWatch *memory;
    HnTouchWatch *touches;
    HnSchedNuma sched_numa;
    uint32_t n_sched_nodes; /* arrays of sched_numa; 0: none yet */
    const char *impediment;
};

HnDomainWatch *hn_domain_watch_new(HnWatchContext *context, int64_t pid)
{
    HnDomainWatch *watch = g_new0(HnDomainWatch, 1);

    watch->context = context;
    watch->pid = pid;
    watch->pidfd = -1;
    watch->tasks = hn_tasks_new(context->root, context->budget, pid);
    watch->memory = hn_memory_watch_new(context, pid);
    watch->touches = hn_touch_watch_new(context, pid);
    return watch;
}

void hn_domain_watch_free(HnDomainWatch *watch)
{
    if (!watch)
        return;
    hn_tasks_free(watch->tasks);
    hn_memory_watch_free(watch->memory);
    hn_touch_watch_free(watch->touches);
    hn_sched_numa_clear(&watch->sched_numa);
    if (watch->pidfd >= 0) {
        close(watch->pidfd);
        watch->context->budget->n_open--;
    }
    g_free(watch);
}

int64_t hn_domain_watch_pid(const HnDomainWatch *watch)
{
    return watch->pid;
}

int hn_domain_watch_pidfd(const HnDomainWatch *watch)
{
    return watch->pidfd;
}

HnTasks *hn_domain_watch_tasks(HnDomainWatch *watch)
{
    return watch->tasks;
}

const char *hn_domain_watch_impediment(const HnDomainWatch *watch)
{
    return watch->impediment;
}

uint64_t hn_domain_watch_bytes(const HnDomainWatch *watch)
{
    return sizeof *watch + hn_memory_watch_bytes(watch->memory) +
           hn_touch_watch_bytes(watch->touches) +
           hn_tasks_count(watch->tasks) * sizeof(HnTask) + 4096 /* the tasks' buffer */;
}

void hn_domain_watch_forget_nodes(HnDomainWatch *watch)
{
    hn_memory_watch_forget(watch->memory);
    hn_touch_watch_forget_nodes(watch->touches);
    hn_sched_numa_clear(&watch->sched_numa);
    watch->n_sched_nodes = 0;
}

/* The pidfd comes first: whatever is read after it belongs to the process it holds, or fails. */
static bool identify(HnDomainWatch *watch, const HnDomainInfo *info, GError **error)
{
    g_autofree char *path = g_strdup_printf("proc/%" G_GINT64_FORMAT "/cmdline", watch->pid);
    g_autofree char *text = NULL;
    HnCmdlineMatch match;
    size_t len;

    if (hn_root_is_live(watch->context->root) && watch->pidfd < 0) {
        watch->pidfd = (int)syscall(SYS_pidfd_open, (pid_t)watch->pid, 0);
        if (watch->pidfd >= 0)
            watch->context->budget->n_open++;
    }
    if (!hn_root_read(watch->context->root, path, MAX_CMDLINE_BYTES, &text, &len, error))
        return false;
    match = hn_cmdline_match(text, len, info->name, info->uuid);
    if (match == HN_CMDLINE_MATCH || (match == HN_CMDLINE_UNNAMED && info->is_bare_qemu)) {
        watch->is_identified = true;
        return true;
    }
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
                "process %" G_GINT64_FORMAT
                " is not the QEMU of domain %s: its command line does not name it",
                watch->pid, info->name);
    return false;
}

/* The first thing that went wrong is the one to tell. */
static void tell_problem(HnDomain *domain, char *sentence)
{
    if (domain->unobservable)
        g_free(sentence);
    else
        domain->unobservable = sentence;
}

static int32_t cell_of_vcpu(const HnDomainInfo *info, uint32_t id)
{
    for (guint i = 0; info->vcpus && i < info->vcpus->len; i++) {
        const HnVcpuInfo *vcpu = &g_array_index(info->vcpus, HnVcpuInfo, i);

        if (vcpu->id == id)
            return vcpu->guest_cell;
    }
    /* Hot-plugged since the back end was asked: the configuration foresaw it. */
    for (guint i = 0; info->cells && i < info->cells->len; i++) {
        const HnGuestCell *cell = &g_array_index(info->cells, HnGuestCell, i);

        if (hn_cpuset_has(&cell->vcpus, id))
            return (int32_t)cell->id;
    }
    return -1;
}

static const HnVcpuInfo *find_vcpu_info(const HnDomainInfo *info, uint32_t id)
{
    for (guint i = 0; info->vcpus && i < info->vcpus->len; i++)
        if (g_array_index(info->vcpus, HnVcpuInfo, i).id == id)
            return &g_array_index(info->vcpus, HnVcpuInfo, i);
    return NULL;
}

/* The vCPUs there are: those with a thread, and under round-robin TCG those the back end lists.
 * Ascending. */
static GArray *list_vcpus(HnDomainWatch *watch, const HnDomainInfo *info)
{
    g_autofree HnCpuset *ids = g_new0(HnCpuset, 1);
    GArray *list = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    bool is_shared = false;

    for (uint32_t i = 0; i < hn_tasks_count(watch->tasks); i++) {
        const HnTask *task = hn_tasks_get(watch->tasks, i);

        if (task->kind == HN_THREAD_VCPU && task->id < HN_MAX_CPUS)
            hn_cpuset_add(ids, task->id);
        is_shared |= task->kind == HN_THREAD_ALL_VCPUS;
    }
    for (guint i = 0; is_shared && info->vcpus && i < info->vcpus->len; i++)
        if (g_array_index(info->vcpus, HnVcpuInfo, i).id < HN_MAX_CPUS)
            hn_cpuset_add(ids, g_array_index(info->vcpus, HnVcpuInfo, i).id);
    for (int32_t id = hn_cpuset_next(ids, 0); id >= 0; id = hn_cpuset_next(ids, (uint32_t)id + 1)) {
        uint32_t value = (uint32_t)id;

        g_array_append_val(list, value);
    }
    return list;
}

/* Affinity and whose it is. */
static void read_pin(HnDomainWatch *watch, const HnDomainInfo *info, const HnTask *task,
                     HnOwnedKind kind, uint32_t id, HnPinState *state, const HnCpuset *everything,
                     HnDomain *domain, HnCpuset *ret_affinity, bool *ret_is_admin,
                     HnCpuset *ret_admin_cpus)
{
    g_autoptr(GError) error = NULL;

    if (hn_task_affinity(watch->tasks, task, ret_affinity, &error)) {
        state->has_affinity = true;
        state->affinity = *ret_affinity;
    } else if (!hn_error_is_gone(error)) {
        tell_problem(domain, g_strdup(error->message));
    }
    /* Without libvirt nobody keeps a pin: the affinity is the pin. */
    if (info->is_bare_qemu && !state->has_pin && state->has_affinity) {
        state->has_pin = true;
        state->pin = state->affinity;
    }
    /* A thread that began since then has its creator's affinity: ours, not the admin's. */
    if (info->is_bare_qemu && (kind == HN_OWNED_VCPU || kind == HN_OWNED_IOTHREAD))
        hn_pin_disinherit(&watch->context->ownership, info->uuid, kind, id, state);
    *ret_is_admin = hn_pin_judge(&watch->context->ownership, info->uuid, kind, id, state,
                                 everything, ret_admin_cpus);
}

static void read_faults(HnDomainWatch *watch, const HnHost *host, HnTask *task, HnVcpu *vcpu,
                        HnFaultConditions *conditions)
{
    HnWatchContext *context = watch->context;

    if (watch->n_sched_nodes != host->n_nodes) {
        hn_sched_numa_clear(&watch->sched_numa);
        hn_sched_numa_init(&watch->sched_numa, host->n_nodes);
        watch->n_sched_nodes = host->n_nodes;
    }
    if (!hn_task_read(watch->tasks, task, &task->sched, "sched", context->buffer, NULL) ||
        !hn_sched_numa_parse(context->buffer->str, context->buffer->len, host, &watch->sched_numa,
                             NULL))
        return;
    hn_hint_faults_from(&watch->sched_numa, host->n_nodes, &vcpu->faults);
    conditions->has_sched_numa |= watch->sched_numa.is_valid;
    conditions->scan_seq = MAX(conditions->scan_seq, watch->sched_numa.scan_seq);
    conditions->total_faults += watch->sched_numa.total_faults;
}

static void read_vcpus(HnDomainWatch *watch, const HnDomainInfo *info, const HnHost *host,
                       const HnObserveOptions *options, const HnCpuset *everything,
                       HnDomain *domain, HnFaultConditions *conditions)
{
    g_autoptr(GArray) ids = list_vcpus(watch, info);

    for (guint i = 0; i < ids->len; i++) {
        uint32_t id = g_array_index(ids, uint32_t, i);
        const HnVcpuInfo *vcpu_info = find_vcpu_info(info, id);
        HnPinState state = {.has_fallback = info->has_default_cpuset,
                            .fallback = info->default_cpuset};
        HnVcpu *vcpu = hn_domain_add_vcpu(domain, host->n_nodes);
        bool is_shared;
        HnTask *task = hn_tasks_find_vcpu(watch->tasks, id, &is_shared);
        /* One thread for all of them: each has its part of the time, so that the sum is right. */
        uint64_t divisor = is_shared ? ids->len : 1;

        vcpu->id = id;
        vcpu->tid = task->tid;
        vcpu->start_ticks = task->start_ticks;
        vcpu->guest_cell = cell_of_vcpu(info, id);
        vcpu->exec_ns = task->exec_ns / divisor;
        vcpu->run_delay_ns = task->run_delay_ns / divisor;
        vcpu->last_cpu = task->last_cpu;
        vcpu->faults.preferred_node = HN_NODE_NONE;
        if (vcpu_info && vcpu_info->has_pin) {
            state.has_pin = true;
            state.pin = vcpu_info->pin;
        }
        read_pin(watch, info, task, HN_OWNED_VCPU, id, &state, everything, domain, &vcpu->affinity,
                 &vcpu->is_admin_pinned, &vcpu->admin_cpus);
        if (options->with_faults)
            read_faults(watch, host, task, vcpu, conditions);
    }
    for (guint i = 0; info->vcpus && i < info->vcpus->len; i++) {
        uint32_t id = g_array_index(info->vcpus, HnVcpuInfo, i).id;
        bool is_shared;

        if (!hn_tasks_find_vcpu(watch->tasks, id, &is_shared))
            tell_problem(domain,
                         g_strdup_printf(
                             "vCPU %u has no thread named \"CPU %u/…\" in process %" G_GINT64_FORMAT
                             "; QEMU must run with -name …,debug-threads=on",
                             id, id, watch->pid));
    }
}

static void read_workers(HnDomainWatch *watch, const HnDomainInfo *info, const HnCpuset *everything,
                         HnDomain *domain)
{
    for (uint32_t i = 0; i < hn_tasks_count(watch->tasks); i++) {
        const HnTask *task = hn_tasks_get(watch->tasks, i);
        HnPinState state = {.has_fallback = info->has_default_cpuset,
                            .fallback = info->default_cpuset};
        HnOwnedKind owned_kind = HN_OWNED_EMULATOR;
        HnWorker *worker;

        if (task->kind == HN_THREAD_VCPU || task->kind == HN_THREAD_ALL_VCPUS ||
            (task->kind == HN_THREAD_EMULATOR && task->tid != watch->pid))
            continue;
        worker = hn_domain_add_worker(domain);
        worker->tid = task->tid;
        worker->exec_ns = task->exec_ns;
        worker->run_delay_ns = task->run_delay_ns;
        worker->last_cpu = task->last_cpu;
        if (info->has_emulator_pin) { /* also for vhost: pinned together with the emulator */
            state.has_pin = true;
            state.pin = info->emulator_pin;
        }
        if (task->kind == HN_THREAD_IOTHREAD) {
            worker->kind = HN_WORKER_IOTHREAD;
            worker->id = task->id;
            owned_kind = HN_OWNED_IOTHREAD;
            state.has_pin = false;
            for (guint k = 0; info->iothreads && k < info->iothreads->len; k++) {
                const HnIothreadInfo *iothread = &g_array_index(info->iothreads, HnIothreadInfo, k);

                if (iothread->id == task->id && iothread->has_pin) {
                    state.has_pin = true;
                    state.pin = iothread->pin;
                }
            }
        } else if (task->kind == HN_THREAD_VHOST) {
            worker->kind = HN_WORKER_VHOST;
        } else {
            worker->kind = HN_WORKER_EMULATOR;
            worker->exec_ns = hn_tasks_kind_exec_ns(watch->tasks, HN_THREAD_EMULATOR);
            worker->run_delay_ns = hn_tasks_kind_run_delay_ns(watch->tasks, HN_THREAD_EMULATOR);
        }
        read_pin(watch, info, task, owned_kind, worker->id, &state, everything, domain,
                 &worker->affinity, &worker->is_admin_pinned, &worker->admin_cpus);
    }
}

static void copy_facts(HnDomain *domain, HnDomainWatch *watch, const HnDomainInfo *info,
                       const HnHost *host, uint64_t now_ns)
{
    g_strlcpy(domain->uuid, info->uuid, sizeof domain->uuid);
    domain->name = g_strdup(info->name);
    domain->is_bare_qemu = info->is_bare_qemu;
    domain->is_kvm = info->is_kvm;
    domain->pid = watch->pid;
    domain->start_ticks = hn_tasks_process(watch->tasks)->start_ticks;
    domain->started_ns = MIN(hn_ticks_to_ns(domain->start_ticks), now_ns);
    domain->state = info->state;
    domain->job = info->job;
    domain->configured_bytes = info->configured_bytes;
    domain->current_bytes = info->current_bytes;
    domain->dirty_age_ns = UINT64_MAX;
    domain->device_nodes = hn_device_nodes_read(watch->context->root, host, info->host_devices);
    for (guint i = 0; info->cells && i < info->cells->len; i++)
        *hn_domain_add_cell(domain) = g_array_index(info->cells, HnGuestCell, i);
    hn_wish_clear(&domain->wish);
    if (watch->context->parse_wish && info->placement_xml)
        watch->context->parse_wish(info->placement_xml, host, &domain->wish);
}

/* Nodes the domain's threads may allocate on; read only while faults are asked for. */
static uint32_t count_allowed_nodes(HnDomainWatch *watch)
{
    g_autofree char *dir = g_strdup_printf("proc/%" G_GINT64_FORMAT, watch->pid);
    g_autofree HnTaskStatus *status = g_new0(HnTaskStatus, 1);
    bool is_shared;
    const HnTask *task = hn_tasks_find_vcpu(watch->tasks, 0, &is_shared);

    if (task) {
        g_free(dir);
        dir = hn_task_dir(watch->tasks, task);
    }
    return hn_task_status_read(watch->context->root, dir, status, NULL)
               ? hn_cpuset_count(&status->mems_allowed)
               : 0;
}

static void judge_faults(HnDomainWatch *watch, const HnDomainInfo *info, const HnHost *host,
                         HnDomain *domain, HnFaultConditions *conditions)
{
    conditions->is_hugetlb = domain->n_regions > 0;
    conditions->is_shmem = domain->n_regions > 0;
    for (uint32_t i = 0; i < domain->n_regions; i++) {
        HnBacking backing = domain->regions[i].backing;

        conditions->is_hugetlb &= backing == HN_BACKING_HUGETLB;
        conditions->is_shmem &= backing == HN_BACKING_MEMFD || backing == HN_BACKING_FILE;
    }
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        conditions->n_memory_nodes += host->nodes[i].mem_total_bytes > 0;
        conditions->resident_bytes += domain->resident_bytes[i];
    }
    conditions->has_balancing = watch->context->has_balancing;
    conditions->balancing_mode = watch->context->balancing_mode;
    conditions->numatune_mode = info->numatune_mode;
    conditions->n_allowed_nodes = count_allowed_nodes(watch);
    watch->impediment = hn_faults_impediment(conditions);
    /* Left-over counts, or those of QEMU's own heap, are no evidence of the guest. */
    for (uint32_t i = 0; watch->impediment && i < domain->n_vcpus; i++)
        domain->vcpus[i].faults.is_valid = false;
}

HnDomain *hn_domain_watch_observe(HnDomainWatch *watch, const HnDomainInfo *info,
                                  const HnHost *host, const HnObserveOptions *options,
                                  bool is_fresh, bool is_touched, GError **error)
{
    g_autoptr(HnDomain) domain = NULL;
    g_autofree HnCpuset *everything = g_new0(HnCpuset, 1);
    HnFaultConditions conditions = {0};
    HnRegion *regions;
    uint32_t n_regions;

    if (!watch->is_identified && !identify(watch, info, error))
        return NULL;
    if (!hn_tasks_refresh(watch->tasks, error))
        return NULL;
    domain = hn_domain_new(host->n_nodes);
    copy_facts(domain, watch, info, host, options->now_ns);
    if (hn_tasks_is_relisted(watch->tasks) &&
        hn_memory_watch_needs_vhost_kthreads(watch->memory, watch->tasks))
        hn_tasks_add_vhost_kthreads(watch->tasks);
    hn_host_cpus_of(host, UINT64_MAX, everything);
    read_vcpus(watch, info, host, options, everything, domain, &conditions);
    read_workers(watch, info, everything, domain);
    hn_nodeset_judge(&watch->context->ownership, info, host, &domain->is_numatune_admin,
                     &domain->admin_nodeset, &domain->is_fenced);
    hn_memory_watch_observe(watch->memory, info, host, hn_tasks_process(watch->tasks), options,
                            is_fresh, domain);
    regions = hn_memory_watch_regions(watch->memory, &n_regions);
    hn_touch_watch_observe(watch->touches, watch->tasks, host, options->now_ns, is_touched, regions,
                           n_regions, domain);
    if (options->with_faults)
        judge_faults(watch, info, host, domain, &conditions);
    return g_steal_pointer(&domain);
}
