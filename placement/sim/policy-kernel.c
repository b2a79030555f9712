/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A model of the kernel's automatic NUMA balancing (Linux 7.2), written from a description of what
 * it does (docs/simulator.md): each guest is scanned 256 MiB at a time, touched chunks fault, pages
 * follow private or repeated faults, tasks follow their faults one by one where load allows, else
 * swap. The unit is a chunk and a second; left out: the LLC-aware scheduler, promotion tiers, page
 * table walks.
 */
#include "policy.h"

#include <math.h>

#define SCAN_BYTES (256.0 * 1024 * 1024)
#define SCAN_PERIOD_MIN_S 1.0
#define SCAN_PERIOD_MAX_S 60.0
#define SCAN_FLOOR_S 0.1    /* 2560 MB/s at most */
#define FAULT_S 1.06e-6     /* measured system time of one hinting fault, scanner included */
#define SCAN_CPU_CAP 0.03   /* the scanner limits itself to 3 % of run time */
#define IMBALANCE_MIN 2     /* tasks */
#define SWAP_IMPROVEMENT 30 /* per mille, SMALLIMP */
#define FIRST_PASSES 4      /* passes in which a private or first fault moves at once */

typedef struct {
    int32_t node; /* where it runs now */
} KernelTask;

typedef struct {
    KernelTask *tasks;   /* [n_vcpus] */
    double *faults;      /* [n_vcpus * n_nodes] pages, halved each pass */
    int16_t *last_node;  /* [n_chunks] node of the last fault (two-stage filter) */
    uint32_t next_chunk; /* where the scan goes on */
    double next_scan_s, period_s;
    uint32_t passes;
    double local, remote, private, shared; /* faults of this pass */
} KernelMm;

typedef struct {
    KernelMm *mms; /* one per guest */
    guint n_mms;
} Kernel;

static void *kernel_start(HnSimWorld *world)
{
    Kernel *kernel = g_new0(Kernel, 1);
    kernel->n_mms = world->vms->len;
    kernel->mms = g_new0(KernelMm, kernel->n_mms);
    for (guint i = 0; i < kernel->n_mms; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        KernelMm *mm = &kernel->mms[i];
        mm->tasks = g_new0(KernelTask, vm->spec->n_vcpus);
        mm->faults = g_new0(double, (gsize)vm->spec->n_vcpus * world->n_nodes);
        for (uint32_t v = 0; v < vm->spec->n_vcpus; v++)
            mm->tasks[v].node = HN_NODE_NONE;
        mm->last_node = g_new(int16_t, vm->n_chunks);
        for (uint32_t c = 0; c < vm->n_chunks; c++)
            mm->last_node[c] = HN_NODE_NONE;
        mm->period_s = SCAN_PERIOD_MIN_S;
        mm->next_scan_s = 1;
    }
    return kernel;
}

static void kernel_stop(void *state)
{
    Kernel *kernel = state;
    for (guint i = 0; i < kernel->n_mms; i++) {
        g_free(kernel->mms[i].last_node);
        g_free(kernel->mms[i].faults);
        g_free(kernel->mms[i].tasks);
    }
    g_free(kernel->mms);
    g_free(kernel);
}

/* Runnable tasks per node. */
static void count_tasks(const Kernel *kernel, const HnSimWorld *world, double *ret_tasks)
{
    for (uint32_t n = 0; n < world->n_nodes; n++)
        ret_tasks[n] = 0;
    for (guint i = 0; i < kernel->n_mms; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        for (uint32_t v = 0; v < vm->spec->n_vcpus && vm->is_running; v++) {
            if (kernel->mms[i].tasks[v].node != HN_NODE_NONE)
                ret_tasks[kernel->mms[i].tasks[v].node] += vm->spec->busy;
        }
    }
}

static double utilization(const HnSimWorld *world, const double *tasks, uint32_t node)
{
    return world->capacity_cpus[node] > 0 ? tasks[node] / world->capacity_cpus[node] : INFINITY;
}

/* New tasks go to the least used node, as the load balancer would have it. */
static void place_new_tasks(Kernel *kernel, HnSimWorld *world)
{
    g_autofree double *tasks = g_new(double, world->n_nodes);
    count_tasks(kernel, world, tasks);
    for (guint i = 0; i < kernel->n_mms; i++) {
        HnSimVm *vm = world->vms->pdata[i];
        for (uint32_t v = 0; v < vm->spec->n_vcpus && vm->is_started; v++) {
            KernelTask *task = &kernel->mms[i].tasks[v];
            if (task->node == HN_NODE_NONE) {
                uint32_t least = 0;
                for (uint32_t n = 1; n < world->n_nodes; n++) {
                    if (utilization(world, tasks, n) < utilization(world, tasks, least))
                        least = n;
                }
                task->node = (int32_t)least;
                tasks[least] += vm->spec->busy;
            }
            vm->vcpus[v].allowed = (HnNodemask)1 << task->node;
        }
    }
}

/* Per mille of a task's (or, where memory is shared, its group's) faults that lie on a node. */
static double fault_weight(const KernelMm *mm, const HnSimVm *vm, const HnSimWorld *world,
                           uint32_t vcpu, uint32_t node)
{
    bool is_group = mm->shared > mm->private;
    double here = 0, all = 0;
    for (uint32_t v = 0; v < vm->spec->n_vcpus; v++) {
        if (!is_group && v != vcpu)
            continue;
        for (uint32_t n = 0; n < world->n_nodes; n++) {
            all += mm->faults[v * world->n_nodes + n];
            here += n == node ? mm->faults[v * world->n_nodes + n] : 0;
        }
    }
    return all > 0 ? here * 1000 / all : 0;
}

/* Share of a group's running tasks on a node: its CPU faults. */
static double cpu_share(const KernelMm *mm, const HnSimVm *vm, uint32_t node)
{
    uint32_t here = 0;
    for (uint32_t v = 0; v < vm->spec->n_vcpus; v++)
        here += mm->tasks[v].node == (int32_t)node;
    return (double)here / vm->spec->n_vcpus;
}

/* One hinting fault on a whole chunk by one of the vCPUs that touch it. */
static void fault_chunk(Kernel *kernel, HnSimWorld *world, guint index, uint32_t chunk)
{
    KernelMm *mm = &kernel->mms[index];
    HnSimVm *vm = world->vms->pdata[index];
    uint32_t touchers = 0, pick, vcpu = 0;
    for (uint32_t v = 0; v < vm->spec->n_vcpus; v++)
        touchers += hn_sim_touches(vm, v, chunk);
    if (!touchers)
        return;
    pick = (uint32_t)(hn_sim_random(world) * touchers);
    for (vcpu = 0; vcpu < vm->spec->n_vcpus; vcpu++) {
        if (hn_sim_touches(vm, vcpu, chunk) && pick-- == 0)
            break;
    }
    int32_t from = vm->chunk_node[chunk], here = mm->tasks[vcpu].node;
    double pages = vm->chunk_bytes / 4096;
    bool is_private = touchers == 1;
    bool moves;
    if (mm->passes < FIRST_PASSES && (is_private || mm->last_node[chunk] == HN_NODE_NONE)) {
        moves = true;
    } else if (mm->last_node[chunk] != here) {
        moves = false; /* two-stage filter */
    } else if (is_private) {
        moves = true;
    } else {
        double to_cpu = cpu_share(mm, vm, (uint32_t)here),
               from_cpu = cpu_share(mm, vm, (uint32_t)from);
        double to_mem = hn_sim_vm_memory_share(vm, (uint32_t)here),
               from_mem = hn_sim_vm_memory_share(vm, (uint32_t)from);
        moves = to_cpu > 3 * from_cpu || to_cpu * from_mem * 3 > from_cpu * to_mem * 4;
    }
    mm->last_node[chunk] = (int16_t)here;
    if (moves && from != here && !vm->spec->is_immovable &&
        hn_sim_node_free_bytes(world, (uint32_t)here) > 2 * vm->chunk_bytes)
        hn_sim_place_chunk(world, vm, chunk, here);
    mm->faults[vcpu * world->n_nodes + (uint32_t)vm->chunk_node[chunk]] += pages;
    *(is_private ? &mm->private : &mm->shared) += pages;
    *(from == here ? &mm->local : &mm->remote) += pages;
}

/* One scan of at most SCAN_BYTES; at the end of a pass statistics decay and the period adapts. */
static void scan(Kernel *kernel, HnSimWorld *world, guint index)
{
    KernelMm *mm = &kernel->mms[index];
    HnSimVm *vm = world->vms->pdata[index];
    double left = SCAN_BYTES, faults = 0;
    while (left > 0) {
        if (vm->chunk_node[mm->next_chunk] != HN_NODE_NONE) {
            fault_chunk(kernel, world, index, mm->next_chunk);
            faults += vm->chunk_bytes / 4096;
        }
        left -= vm->chunk_bytes;
        if (++mm->next_chunk < vm->n_chunks)
            continue;
        mm->next_chunk = 0;
        mm->passes++;
        double all = mm->local + mm->remote;
        double windows = MAX(1, ceil((double)vm->spec->memory_bytes / SCAN_BYTES));
        if (all > 0) {
            double slow = MAX(mm->private, mm->local) / all * 10;
            mm->period_s *= slow >= 7 ? 1 + MAX(1, slow - 7) / 10 : 1 - MIN(6, 7 - slow) / 10;
        }
        mm->period_s = CLAMP(mm->period_s, MAX(SCAN_PERIOD_MIN_S / windows, SCAN_FLOOR_S),
                             MAX(SCAN_PERIOD_MAX_S / windows, SCAN_FLOOR_S));
        mm->local = mm->remote = mm->private = mm->shared = 0;
        for (uint32_t i = 0; i < vm->spec->n_vcpus * world->n_nodes; i++)
            mm->faults[i] /= 2;
        break;
    }
    for (uint32_t v = 0; v < vm->spec->n_vcpus; v++)
        vm->vcpus[v].hint_cost =
            MIN(SCAN_CPU_CAP + faults * FAULT_S, faults * FAULT_S / MAX(mm->period_s, 1)) /
            vm->spec->n_vcpus;
}

/* Best partner on `to` to swap with; returns its improvement in per mille, or a negative number. */
static double best_swap(Kernel *kernel, HnSimWorld *world, guint index, uint32_t vcpu, uint32_t to,
                        guint *ret_mm, uint32_t *ret_vcpu)
{
    const KernelMm *mm = &kernel->mms[index];
    const HnSimVm *vm = world->vms->pdata[index];
    uint32_t from = (uint32_t)mm->tasks[vcpu].node;
    double gain = fault_weight(mm, vm, world, vcpu, to) - fault_weight(mm, vm, world, vcpu, from);
    double best = -1;
    for (guint j = 0; j < kernel->n_mms; j++) {
        const KernelMm *other = &kernel->mms[j];
        const HnSimVm *partner = world->vms->pdata[j];
        for (uint32_t v = 0; v < partner->spec->n_vcpus && partner->is_running; v++) {
            if (other->tasks[v].node != (int32_t)to || (j == index && v == vcpu))
                continue;
            double improvement = gain + fault_weight(other, partner, world, v, from) -
                                 fault_weight(other, partner, world, v, to);
            if (j == index)
                improvement -= improvement / 16;
            if (improvement > best) {
                best = improvement;
                *ret_mm = j;
                *ret_vcpu = v;
            }
        }
    }
    return best;
}

static void move_tasks(Kernel *kernel, HnSimWorld *world, guint index)
{
    KernelMm *mm = &kernel->mms[index];
    HnSimVm *vm = world->vms->pdata[index];
    g_autofree double *tasks = g_new(double, world->n_nodes);
    for (uint32_t v = 0; v < vm->spec->n_vcpus; v++) {
        int32_t from = mm->tasks[v].node, to = from;
        for (uint32_t n = 0; n < world->n_nodes; n++) {
            if (world->capacity_cpus[n] > 0 &&
                fault_weight(mm, vm, world, v, n) > fault_weight(mm, vm, world, v, (uint32_t)to))
                to = (int32_t)n;
        }
        if (to == from)
            continue;
        count_tasks(kernel, world, tasks);
        bool has_spare =
            tasks[to] + vm->spec->busy <= world->capacity_cpus[to] ||
            tasks[to] + vm->spec->busy - (tasks[from] - vm->spec->busy) <= IMBALANCE_MIN;
        if (has_spare) {
            mm->tasks[v].node = to;
            vm->vcpus[v].allowed = (HnNodemask)1 << to;
            continue;
        }
        guint other = index;
        uint32_t partner = v;
        if (best_swap(kernel, world, index, v, (uint32_t)to, &other, &partner) < SWAP_IMPROVEMENT)
            continue;
        HnSimVm *other_vm = world->vms->pdata[other];
        kernel->mms[other].tasks[partner].node = from;
        other_vm->vcpus[partner].allowed = (HnNodemask)1 << from;
        mm->tasks[v].node = to;
        vm->vcpus[v].allowed = (HnNodemask)1 << to;
    }
}

/* The load balancer: pulls a task where a node is busier than another by more than it allows. */
static void balance_load(Kernel *kernel, HnSimWorld *world)
{
    g_autofree double *tasks = g_new(double, world->n_nodes);
    count_tasks(kernel, world, tasks);
    uint32_t least = 0, most = 0;
    for (uint32_t n = 0; n < world->n_nodes; n++) {
        if (utilization(world, tasks, n) < utilization(world, tasks, least))
            least = n;
        if (world->capacity_cpus[n] > 0 &&
            utilization(world, tasks, n) > utilization(world, tasks, most))
            most = n;
    }
    if (tasks[most] <= world->capacity_cpus[most] || tasks[most] - tasks[least] <= IMBALANCE_MIN)
        return;
    for (guint i = 0; i < kernel->n_mms; i++) {
        HnSimVm *vm = world->vms->pdata[i];
        for (uint32_t v = 0; v < vm->spec->n_vcpus && vm->is_running; v++) {
            if (kernel->mms[i].tasks[v].node != (int32_t)most)
                continue;
            kernel->mms[i].tasks[v].node = (int32_t)least;
            vm->vcpus[v].allowed = (HnNodemask)1 << least;
            return;
        }
    }
}

static void kernel_tick(void *state, HnSimWorld *world)
{
    Kernel *kernel = state;
    place_new_tasks(kernel, world);
    for (guint i = 0; i < kernel->n_mms; i++) {
        KernelMm *mm = &kernel->mms[i];
        const HnSimVm *vm = world->vms->pdata[i];
        if (!vm->is_running || hn_sim_vm_resident_bytes(vm) <= 0)
            continue;
        bool has_scanned = false;
        while (mm->next_scan_s <= world->now_s) {
            scan(kernel, world, i);
            mm->next_scan_s = MAX(mm->next_scan_s, world->now_s - 1) + mm->period_s;
            has_scanned = true;
        }
        if (has_scanned)
            move_tasks(kernel, world, i);
    }
    balance_load(kernel, world);
}

const HnSimPolicy hn_sim_policy_kernel = {
    "kernel",
    "model of the kernel's automatic NUMA balancing (7.2): per task, by hinting faults",
    0.5,
    kernel_start,
    kernel_tick,
    kernel_stop};
