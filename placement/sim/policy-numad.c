/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A model of numad 0.5+20150602, written from a description of what it does (docs/simulator.md):
 * resident size and CPU use per process, one process bound per pass, whole-process migrate_pages,
 * 300 s until the same process is looked at again. Not its code; what is left out: khugepaged
 * tuning, reserved CPUs, interleaved memory's own delay.
 */
#include "policy.h"

#include <math.h>

#define MIB (1024.0 * 1024.0)
#define CPU_SIGNIFICANT 50.0 /* percent of one CPU */
#define RSS_SIGNIFICANT_MB 300.0
#define TARGET_UTILIZATION 85.0
#define TARGET_LOCALITY 0.90
#define HISTORY 8
#define REEVALUATE_S 300.0
#define MARGIN_MB 100.0
#define PASS_AFTER_MOVE_S 5.0
#define PASS_IDLE_S 15.0
/* migrate_pages of 4 KiB pages: 3.3 to 3.55 GB/s published on Zen 3. */
#define MIGRATE_BYTES_PER_S 3.3e9

typedef struct {
    double history[HISTORY]; /* percent per interval */
    uint32_t n_history;
    double last_exec_ns;
    double bound_at_s; /* < 0: never */
    HnNodemask bound;
} NumadProcess;

typedef struct {
    NumadProcess *processes; /* one per guest */
    double next_pass_s, last_pass_s;
    double *cpus_free, *mbs_free; /* [n_nodes], of the pass: percent, MiB */
} Numad;

static void *numad_start(HnSimWorld *world)
{
    Numad *numad = g_new0(Numad, 1);
    numad->processes = g_new0(NumadProcess, world->vms->len);
    for (guint i = 0; i < world->vms->len; i++)
        numad->processes[i].bound_at_s = -1;
    numad->cpus_free = g_new0(double, world->n_nodes);
    numad->mbs_free = g_new0(double, world->n_nodes);
    numad->next_pass_s = 5;
    return numad;
}

static void numad_stop(void *state)
{
    Numad *numad = state;
    g_free(numad->processes);
    g_free(numad->cpus_free);
    g_free(numad->mbs_free);
    g_free(numad);
}

static double cpus_used(const NumadProcess *process)
{
    double most = 0;
    for (uint32_t i = 0; i < HISTORY; i++)
        most = MAX(most, process->history[i]);
    return most;
}

static void sample(Numad *numad, HnSimWorld *world)
{
    double dt = world->now_s - numad->last_pass_s;
    for (guint i = 0; i < world->vms->len; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        NumadProcess *process = &numad->processes[i];
        double exec = 0;
        for (uint32_t v = 0; v < vm->spec->n_vcpus; v++)
            exec += vm->vcpus[v].exec_ns;
        if (dt > 0)
            process->history[process->n_history++ % HISTORY] =
                (exec - process->last_exec_ns) / 1e9 / dt * 100;
        process->last_exec_ns = exec;
    }
    for (uint32_t n = 0; n < world->n_nodes; n++) {
        numad->mbs_free[n] = MAX(0, hn_sim_node_free_bytes(world, n) / MIB - MARGIN_MB);
        numad->cpus_free[n] = MAX(0, world->capacity_cpus[n] - world->load_cpus[n]) * 100;
    }
}

/* Which nodes it would give a process: the magnitude product, then outward until the request is
 * met. */
static HnNodemask pick_nodes(const Numad *numad, HnSimWorld *world, const HnSimVm *vm,
                             const NumadProcess *process, double mb, double cpu)
{
    uint32_t n_nodes = world->n_nodes;
    const HnHost *host = world->scenario->host;
    double rss_mb = hn_sim_vm_resident_bytes(vm) / MIB, used = cpus_used(process);
    g_autofree double *mbs = g_new(double, n_nodes), *cpus = g_new(double, n_nodes);
    g_autofree double *magnitude = g_new(double, n_nodes);
    for (uint32_t n = 0; n < n_nodes; n++) {
        double own = hn_sim_vm_memory_share(vm, n);
        bool is_bound = process->bound != 0;
        mbs[n] = numad->mbs_free[n] + own * rss_mb * (is_bound ? 5.0 / 4 : 17.0 / 16);
        if (is_bound && process->bound >> n & 1)
            cpus[n] = numad->cpus_free[n] + used / __builtin_popcountll(process->bound);
        else
            cpus[n] = numad->cpus_free[n] + (is_bound ? 0 : used * own);
        cpus[n] = MIN(cpus[n], world->capacity_cpus[n] * 100);
        magnitude[n] = (10 * MIN(mb, mbs[n]) + 4 * MAX(0, mbs[n] - mb)) *
                       (6 * MIN(cpu, cpus[n]) + MAX(0, cpus[n] - cpu));
    }
    /* Sizes of node 0 stand for all nodes: so it does. */
    double node_mb = (double)host->nodes[0].mem_total_bytes / MIB;
    double node_cpu = world->capacity_cpus[0] * 100;
    double flex = (100 - TARGET_UTILIZATION) * node_cpu / 200;
    double by_cpu = node_cpu > 0 ? ceil((cpu - flex) / node_cpu) : 1;
    uint32_t need = (uint32_t)MIN(n_nodes, MAX(1, MAX(ceil(mb / node_mb), by_cpu)));
    int32_t best = HN_NODE_NONE;
    double best_total = -1;
    for (uint32_t n = 0; n < n_nodes; n++) {
        g_autofree bool *taken = g_new0(bool, n_nodes);
        double total = 0;
        for (uint32_t k = 0; k < need; k++) {
            int32_t near = HN_NODE_NONE;
            for (uint32_t m = 0; m < n_nodes; m++) {
                if (!taken[m] &&
                    (near == HN_NODE_NONE ||
                     hn_host_distance(host, n, m) < hn_host_distance(host, n, (uint32_t)near)))
                    near = (int32_t)m;
            }
            taken[near] = true;
            double distance = hn_host_distance(host, n, (uint32_t)near) / 10.0;
            total += magnitude[near] / (distance * distance);
        }
        if (total > best_total) {
            best_total = total;
            best = (int32_t)n;
        }
    }
    HnNodemask picked = 0;
    double mb_left = mb, cpu_left = cpu;
    double all_free = 0;
    for (uint32_t n = 0; n < n_nodes; n++)
        all_free += cpus[n];
    bool ignore_cpu = cpu > all_free;
    for (uint32_t k = 0; k < n_nodes; k++) {
        int32_t next = HN_NODE_NONE;
        for (uint32_t m = 0; m < n_nodes; m++) {
            if (picked >> m & 1)
                continue;
            uint8_t distance = hn_host_distance(host, (uint32_t)best, m);
            uint8_t next_distance =
                next == HN_NODE_NONE ? 255 : hn_host_distance(host, (uint32_t)best, (uint32_t)next);
            if (distance < next_distance ||
                (distance == next_distance && magnitude[m] > magnitude[next]))
                next = (int32_t)m;
        }
        picked |= (HnNodemask)1 << next;
        mb_left -= mbs[next];
        cpu_left -= cpus[next];
        if (k + 1 >= need && mb_left <= 0 && (ignore_cpu || cpu_left <= flex))
            break;
    }
    return picked;
}

static void bind_process(HnSimWorld *world, HnSimVm *vm, NumadProcess *process, HnNodemask picked)
{
    for (uint32_t v = 0; v < vm->spec->n_vcpus; v++)
        vm->vcpus[v].allowed = picked;
    g_array_set_size(vm->moves, 0);
    HnNodemask outside = ~picked;
    g_autofree double *room = g_new0(double, world->n_nodes);
    for (uint32_t n = 0; n < world->n_nodes; n++)
        room[n] = hn_sim_node_free_bytes(world, n);
    for (uint32_t n = 0; n < world->n_nodes; n++) {
        double bytes = hn_sim_vm_memory_share(vm, n) * hn_sim_vm_resident_bytes(vm);
        if (!(outside >> n & 1) || bytes <= 0)
            continue;
        int32_t to = HN_NODE_NONE;
        for (uint32_t m = 0; m < world->n_nodes; m++) {
            if (picked >> m & 1 && (to == HN_NODE_NONE || room[m] > room[to]))
                to = (int32_t)m;
        }
        room[to] -= bytes;
        HnSimMove move = {.from = (HnNodemask)1 << n,
                          .to = to,
                          .bytes_left = bytes,
                          .bytes_per_s = MIGRATE_BYTES_PER_S};
        hn_sim_queue_move(vm, &move);
    }
    process->bound = picked;
    process->bound_at_s = world->now_s;
    vm->n_rehomes++;
}

/* Bound lately, and yet worth another look: it sits on the node with least CPU or least memory
 * free, and on the node with most of both the spreads of free CPU and of free memory would shrink.
 */
static bool is_misplaced(const Numad *numad, const HnSimWorld *world, const HnSimVm *vm,
                         const NumadProcess *process, double mb)
{
    double cpu = cpus_used(process), min_cpu = INFINITY, max_cpu = 0, min_mb = INFINITY, max_mb = 0;
    double sum_cpu = 0, sum_mb = 0;
    uint32_t least_cpu = 0, least_mb = 0;
    for (uint32_t n = 0; n < world->n_nodes; n++) {
        sum_cpu += numad->cpus_free[n];
        sum_mb += numad->mbs_free[n];
        least_cpu = numad->cpus_free[n] < numad->cpus_free[least_cpu] ? n : least_cpu;
        least_mb = numad->mbs_free[n] < numad->mbs_free[least_mb] ? n : least_mb;
        min_cpu = MIN(min_cpu, numad->cpus_free[n]);
        max_cpu = MAX(max_cpu, numad->cpus_free[n]);
        min_mb = MIN(min_mb, numad->mbs_free[n]);
        max_mb = MAX(max_mb, numad->mbs_free[n]);
    }
    double mean_cpu = sum_cpu / world->n_nodes, mean_mb = sum_mb / world->n_nodes;
    bool is_on_busiest = (process->bound >> least_cpu & 1) || (process->bound >> least_mb & 1);
    bool fits_one = (process->bound & (process->bound - 1)) == 0;
    return is_on_busiest && fits_one && !vm->moves->len &&
           fabs(min_cpu + cpu - mean_cpu) + fabs(max_cpu - cpu - mean_cpu) <
               max_cpu - min_cpu - CPU_SIGNIFICANT &&
           fabs(min_mb + mb - mean_mb) + fabs(max_mb - mb - mean_mb) <
               max_mb - min_mb - CPU_SIGNIFICANT;
}

/* At most one process per pass; true when one was bound. */
static bool manage_one(Numad *numad, HnSimWorld *world)
{
    int best = -1;
    double best_weight = -1;
    for (guint i = 0; i < world->vms->len; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        const NumadProcess *process = &numad->processes[i];
        double rss_mb = hn_sim_vm_resident_bytes(vm) / MIB, used = cpus_used(process);
        if (rss_mb < RSS_SIGNIFICANT_MB || used < CPU_SIGNIFICANT || vm->finished_s >= 0)
            continue;
        if (process->bound_at_s >= 0 && world->now_s - process->bound_at_s < REEVALUATE_S &&
            !is_misplaced(numad, world, vm, process, 100 * rss_mb / TARGET_UTILIZATION))
            continue;
        /* Unbound processes first, by size times load. */
        double weight = rss_mb * used + (process->bound ? 0 : 1e18);
        if (weight > best_weight) {
            best_weight = weight;
            best = (int)i;
        }
    }
    if (best < 0)
        return false;
    HnSimVm *vm = world->vms->pdata[best];
    NumadProcess *process = &numad->processes[best];
    double mb = 100 * hn_sim_vm_resident_bytes(vm) / MIB / TARGET_UTILIZATION;
    double cpu = MIN(100 * cpus_used(process) / TARGET_UTILIZATION, 100.0 * vm->spec->n_vcpus);
    HnNodemask picked = pick_nodes(numad, world, vm, process, mb, cpu);
    double inside = 0;
    for (uint32_t n = 0; n < world->n_nodes; n++)
        inside += picked >> n & 1 ? hn_sim_vm_memory_share(vm, n) : 0;
    if (process->bound == picked && inside >= TARGET_LOCALITY) {
        process->bound_at_s = world->now_s;
        return false;
    }
    bind_process(world, vm, process, picked);
    return true;
}

static void numad_tick(void *state, HnSimWorld *world)
{
    Numad *numad = state;
    if (world->now_s + 1e-9 < numad->next_pass_s)
        return;
    /* migrate_pages blocks it: no pass while one runs. */
    for (guint i = 0; i < world->vms->len; i++) {
        if (((HnSimVm *)world->vms->pdata[i])->moves->len)
            return;
    }
    sample(numad, world);
    numad->last_pass_s = world->now_s;
    bool moved = manage_one(numad, world);
    numad->next_pass_s = world->now_s + (moved ? PASS_AFTER_MOVE_S : PASS_IDLE_S);
}

const HnSimPolicy hn_sim_policy_numad = {
    "numad",    "model of numad 20150602: by resident size and load, one process per pass",
    1,          numad_start,
    numad_tick, numad_stop};
