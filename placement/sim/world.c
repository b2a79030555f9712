/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cost model, step by step:
 *   node_share  where the kernel's scheduler runs a vCPU that may run on several nodes: in proportion
 *               to the capacity that vCPUs without a choice leave there
 *   s_n         = min(1, C_n / (demand_n + copying_n)): the CPU a vCPU gets on node n
 *   R_v         = sum_n sum_m x_vn y_vm rho(n,m) c_m, c_m = max(1, traffic_m / B_m) (fixed point)
 *   speed_v     = sum_n x_vn s_n / ((1 - mu) + mu R_v)
 * and the stall of 4 KiB pages in flight; what moves cost others is in moves.c. Constants cite their
 * source where they are defined; docs/simulator.md has the calibration and its error.
 */
#include "world.h"

#include <math.h>

#define GIB (1024.0 * 1024.0 * 1024.0)
/* A vCPU that wanders between nodes loses this much of the locality its time shares promise:
 * published runs without balancing show 0.425 local where 0.5 is expected (2 nodes; AutoNUMA and
 * IBM, 2012). */
#define WANDER_LOCALITY 0.85
/* Stall of one 4 KiB page while it is copied: 1.15 to 1.24 us published for move_pages on Zen 3. */
#define PAGE_STALL_S 1.2e-6
#define MIN_CHUNKS 128

static HnSimVm *vm_new(const HnSimWorld *world, const HnSimGuest *spec)
{
    HnSimVm *vm = g_new0(HnSimVm, 1);
    vm->spec = spec;
    vm->vcpus = g_new0(HnSimVcpu, spec->n_vcpus);
    for (uint32_t i = 0; i < spec->n_vcpus; i++)
        vm->vcpus[i].node_share = g_new0(double, world->n_nodes);
    uint32_t per_vcpu = MAX(1, (MIN_CHUNKS + spec->n_vcpus - 1) / spec->n_vcpus);
    vm->n_chunks = spec->n_vcpus * per_vcpu;
    /* Whole bytes, as a snapshot has them: a plan that moves "all of it" must not be a fraction
     * short of the last chunk. */
    vm->chunk_bytes = floor((double)spec->memory_bytes / vm->n_chunks);
    vm->chunk_node = g_new(int16_t, vm->n_chunks);
    for (uint32_t i = 0; i < vm->n_chunks; i++)
        vm->chunk_node[i] = HN_NODE_NONE;
    vm->moves = g_array_new(FALSE, FALSE, sizeof(HnSimMove));
    vm->finished_s = -1;
    vm->demand_factor = 1;
    return vm;
}

static void vm_free(gpointer data)
{
    HnSimVm *vm = data;
    for (uint32_t i = 0; i < vm->spec->n_vcpus; i++)
        g_free(vm->vcpus[i].node_share);
    g_free(vm->vcpus);
    g_free(vm->chunk_node);
    g_array_unref(vm->moves);
    g_free(vm);
}

HnSimWorld *hn_sim_world_new(const HnSimScenario *scenario)
{
    HnSimWorld *world = g_new0(HnSimWorld, 1);
    const HnHost *host = scenario->host;
    world->scenario = scenario;
    world->n_nodes = host->n_nodes;
    world->capacity_cpus = g_new0(double, world->n_nodes);
    world->load_cpus = g_new0(double, world->n_nodes);
    world->copy_cpus = g_new0(double, world->n_nodes);
    world->copy_gib_per_s = g_new0(double, world->n_nodes);
    world->random_state = scenario->seed * 2654435761u + 1;
    world->finished_moves = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    for (uint32_t n = 0; n < world->n_nodes; n++) {
        const HnNode *node = &host->nodes[n];
        world->capacity_cpus[n] =
            node->n_cores + scenario->smt_yield * (node->n_cpus - node->n_cores);
    }
    world->vms = g_ptr_array_new_with_free_func(vm_free);
    HnNodemask cpu_nodes = 0;
    for (uint32_t n = 0; n < world->n_nodes; n++)
        cpu_nodes |= host->nodes[n].n_cpus ? (HnNodemask)1 << n : 0;
    for (guint i = 0; i < scenario->guests->len; i++) {
        HnSimVm *vm = vm_new(world, scenario->guests->pdata[i]);
        for (uint32_t v = 0; v < vm->spec->n_vcpus; v++)
            vm->vcpus[v].allowed = cpu_nodes;
        g_ptr_array_add(world->vms, vm);
    }
    return world;
}

void hn_sim_world_free(HnSimWorld *world)
{
    if (!world)
        return;
    g_ptr_array_unref(world->vms);
    g_array_unref(world->finished_moves);
    g_free(world->capacity_cpus);
    g_free(world->load_cpus);
    g_free(world->copy_cpus);
    g_free(world->copy_gib_per_s);
    g_free(world);
}

bool hn_sim_touches(const HnSimVm *vm, uint32_t vcpu, uint32_t chunk)
{
    switch (vm->spec->pattern) {
    case HN_SIM_PRIVATE:
        return chunk / (vm->n_chunks / vm->spec->n_vcpus) == vcpu;
    case HN_SIM_HALF:
        return (chunk >= vm->n_chunks / 2) == (vcpu >= (vm->spec->n_vcpus + 1) / 2);
    case HN_SIM_SHARED:
        break;
    }
    return true;
}

double hn_sim_random(HnSimWorld *world)
{
    /* xorshift64*: the runs must repeat on every machine, so the generator is part of the model. */
    world->random_state ^= world->random_state >> 12;
    world->random_state ^= world->random_state << 25;
    world->random_state ^= world->random_state >> 27;
    return (double)((world->random_state * 2685821657736338717ull) >> 11) / 9007199254740992.0;
}

double hn_sim_rho(const HnSimWorld *world, uint32_t from, uint32_t to)
{
    double distance = hn_host_distance(world->scenario->host, from, to);
    return 1 + world->scenario->kappa * (distance / 10 - 1);
}

double hn_sim_vm_memory_share(const HnSimVm *vm, uint32_t node)
{
    uint32_t here = 0, resident = 0;
    for (uint32_t c = 0; c < vm->n_chunks; c++) {
        resident += vm->chunk_node[c] != HN_NODE_NONE;
        here += vm->chunk_node[c] == (int32_t)node;
    }
    return resident ? (double)here / resident : 0;
}

double hn_sim_vm_resident_bytes(const HnSimVm *vm)
{
    uint32_t resident = 0;
    for (uint32_t c = 0; c < vm->n_chunks; c++)
        resident += vm->chunk_node[c] != HN_NODE_NONE;
    return resident * vm->chunk_bytes;
}

double hn_sim_node_free_bytes(const HnSimWorld *world, uint32_t node)
{
    double used = 0;
    for (guint i = 0; i < world->vms->len; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        used += hn_sim_vm_memory_share(vm, node) * hn_sim_vm_resident_bytes(vm);
    }
    return (double)world->scenario->host->nodes[node].mem_total_bytes - used;
}

int32_t hn_sim_vm_main_node(const HnSimWorld *world, const HnSimVm *vm)
{
    int32_t best = HN_NODE_NONE;
    double best_share = 0;
    for (uint32_t n = 0; n < world->n_nodes; n++) {
        double share = 0;
        for (uint32_t v = 0; v < vm->spec->n_vcpus; v++)
            share += vm->vcpus[v].node_share[n];
        if (share > best_share + 1e-9) {
            best_share = share;
            best = (int32_t)n;
        }
    }
    return best;
}

/* Locality of one vCPU's accesses, its wandering included. */
static double vcpu_locality(const HnSimWorld *world, const HnSimVcpu *vcpu,
                            const double *memory_share)
{
    double local = 0;
    for (uint32_t n = 0; n < world->n_nodes; n++)
        local += vcpu->node_share[n] * memory_share[n];
    bool wanders = (vcpu->allowed & (vcpu->allowed - 1)) != 0;
    return wanders ? local * WANDER_LOCALITY : local;
}

static void vcpu_memory_share(const HnSimWorld *world, const HnSimVm *vm, uint32_t vcpu,
                              double *ret_share)
{
    uint32_t touched = 0;
    for (uint32_t n = 0; n < world->n_nodes; n++)
        ret_share[n] = 0;
    for (uint32_t c = 0; c < vm->n_chunks; c++) {
        if (vm->chunk_node[c] == HN_NODE_NONE || !hn_sim_touches(vm, vcpu, c))
            continue;
        touched++;
        ret_share[vm->chunk_node[c]] += 1;
    }
    for (uint32_t n = 0; n < world->n_nodes && touched; n++)
        ret_share[n] /= touched;
}

double hn_sim_vm_accesses_local(const HnSimWorld *world, const HnSimVm *vm)
{
    g_autofree double *share = g_new(double, world->n_nodes);
    double local = 0;
    for (uint32_t v = 0; v < vm->spec->n_vcpus; v++) {
        vcpu_memory_share(world, vm, v, share);
        local += vcpu_locality(world, &vm->vcpus[v], share);
    }
    return local / vm->spec->n_vcpus;
}

double hn_sim_vm_bytes_local(const HnSimWorld *world, const HnSimVm *vm)
{
    double local = 0;
    for (uint32_t n = 0; n < world->n_nodes; n++) {
        double time = 0;
        for (uint32_t v = 0; v < vm->spec->n_vcpus; v++)
            time += vm->vcpus[v].node_share[n];
        /* A node holds local memory in so far as the guest runs there: full credit at its fair
         * share. */
        double fair = time / vm->spec->n_vcpus * world->n_nodes;
        local += hn_sim_vm_memory_share(vm, n) * MIN(1, fair);
    }
    return local;
}

void hn_sim_place_chunk(HnSimWorld *world, HnSimVm *vm, uint32_t chunk, int32_t node)
{
    if (vm->chunk_node[chunk] == node)
        return;
    vm->chunk_node[chunk] = (int16_t)node;
    vm->bytes_moved += vm->chunk_bytes;
}

/* The node a newly touched chunk lands on. */
static int32_t first_touch_node(HnSimWorld *world, const HnSimVm *vm, uint32_t chunk)
{
    if (vm->spec->layout == HN_SIM_ON_NODE)
        return vm->spec->start_node;
    if (vm->spec->layout == HN_SIM_INTERLEAVED) {
        uint32_t with_memory = 0, skip;
        for (uint32_t n = 0; n < world->n_nodes; n++)
            with_memory += world->scenario->host->nodes[n].mem_total_bytes > 0;
        skip = chunk % MAX(1, with_memory);
        for (uint32_t n = 0; n < world->n_nodes; n++) {
            if (world->scenario->host->nodes[n].mem_total_bytes > 0 && skip-- == 0)
                return (int32_t)n;
        }
    }
    uint32_t toucher = 0;
    while (!hn_sim_touches(vm, toucher, chunk))
        toucher++;
    double at = hn_sim_random(world);
    for (uint32_t n = 0; n < world->n_nodes; n++) {
        at -= vm->vcpus[toucher].node_share[n];
        if (at <= 0 && vm->vcpus[toucher].node_share[n] > 0 &&
            hn_sim_node_free_bytes(world, n) >= vm->chunk_bytes)
            return (int32_t)n;
    }
    int32_t roomiest = 0;
    for (uint32_t n = 1; n < world->n_nodes; n++) {
        if (hn_sim_node_free_bytes(world, n) > hn_sim_node_free_bytes(world, (uint32_t)roomiest))
            roomiest = (int32_t)n;
    }
    return roomiest;
}

static void update_states(HnSimWorld *world)
{
    for (guint i = 0; i < world->vms->len; i++) {
        HnSimVm *vm = world->vms->pdata[i];
        const HnSimGuest *spec = vm->spec;
        vm->is_started = world->now_s >= spec->start_s;
        vm->is_running = vm->is_started && vm->finished_s < 0 &&
                         (spec->wake_s <= 0 || world->now_s >= spec->wake_s);
        vm->demand_factor = spec->noise > 0 ? 1 + spec->noise * (2 * hn_sim_random(world) - 1) : 1;
    }
}

static double vcpu_demand(const HnSimVm *vm)
{
    return vm->is_running ? MIN(1, vm->spec->busy * vm->demand_factor) : 0;
}

/* vCPUs with one allowed node first, the others spread over what is left. */
static void spread_vcpus(HnSimWorld *world)
{
    uint32_t n_nodes = world->n_nodes;
    for (uint32_t n = 0; n < n_nodes; n++)
        world->load_cpus[n] = 0;
    for (int pass = 0; pass < 2; pass++) {
        g_autofree double *room = g_new(double, n_nodes);
        for (uint32_t n = 0; n < n_nodes; n++)
            room[n] =
                MAX(world->capacity_cpus[n] - world->load_cpus[n], 0.05 * world->capacity_cpus[n]);
        for (guint i = 0; i < world->vms->len; i++) {
            HnSimVm *vm = world->vms->pdata[i];
            double demand = vcpu_demand(vm);
            for (uint32_t v = 0; v < vm->spec->n_vcpus; v++) {
                HnSimVcpu *vcpu = &vm->vcpus[v];
                bool wanders = (vcpu->allowed & (vcpu->allowed - 1)) != 0;
                if (wanders != (pass == 1))
                    continue;
                double total = 0;
                for (uint32_t n = 0; n < n_nodes; n++)
                    total += vcpu->allowed >> n & 1 ? room[n] : 0;
                for (uint32_t n = 0; n < n_nodes; n++) {
                    vcpu->node_share[n] =
                        vcpu->allowed >> n & 1 ? (total > 0 ? room[n] / total : 0) : 0;
                    world->load_cpus[n] += vcpu->node_share[n] * demand;
                }
            }
        }
    }
}

static void make_resident(HnSimWorld *world)
{
    for (guint i = 0; i < world->vms->len; i++) {
        HnSimVm *vm = world->vms->pdata[i];
        if (!vm->is_started)
            continue;
        double age = world->now_s - vm->spec->start_s + world->scenario->step_s;
        double part = vm->spec->boot_s > 0 ? MIN(1, age / vm->spec->boot_s) : 1;
        uint32_t wanted = (uint32_t)(part * vm->n_chunks);
        for (uint32_t k = 0; k < vm->n_chunks && k < wanted; k++) {
            if (vm->chunk_node[k] == HN_NODE_NONE)
                vm->chunk_node[k] = (int16_t)first_touch_node(world, vm, k);
        }
    }
}

/* How fast each vCPU of a guest progresses, congestion given; adds its traffic to
 * traffic_gib_per_s. */
static double vm_speed(HnSimWorld *world, HnSimVm *vm, const double *cpu_share,
                       const double *congestion, double *traffic_gib_per_s)
{
    g_autofree double *share = g_new(double, world->n_nodes);
    double speed_sum = 0;
    for (uint32_t v = 0; v < vm->spec->n_vcpus; v++) {
        HnSimVcpu *vcpu = &vm->vcpus[v];
        if (v == 0 || vm->spec->pattern != HN_SIM_SHARED)
            vcpu_memory_share(world, vm, v, share);
        double local = vcpu_locality(world, vcpu, share), ratio = 0, got = 0, remote = 0,
               remote_share = 0;
        for (uint32_t n = 0; n < world->n_nodes; n++) {
            got += vcpu->node_share[n] * cpu_share[n];
            for (uint32_t m = 0; m < world->n_nodes; m++) {
                double part = vcpu->node_share[n] * share[m];
                if (n == m) {
                    ratio += part * congestion[m];
                } else {
                    remote += part * hn_sim_rho(world, n, m) * congestion[m];
                    remote_share += part;
                }
            }
        }
        /* Wandering turns part of the local accesses into remote ones of the same mix. */
        double expected_local = 1 - remote_share;
        if (expected_local > 0)
            ratio *= local / expected_local;
        if (remote_share > 0)
            remote *= (1 - local) / remote_share;
        ratio = MAX(1, ratio + remote);
        double speed = got / ((1 - vm->spec->memory_bound) + vm->spec->memory_bound * ratio);
        speed *= 1 - MIN(0.5, vcpu->hint_cost);
        speed_sum += speed;
        for (uint32_t m = 0; m < world->n_nodes; m++)
            traffic_gib_per_s[m] += share[m] * speed * vcpu_demand(vm) * vm->spec->vcpu_gib_per_s;
    }
    return speed_sum / vm->spec->n_vcpus;
}

static void compute_speeds(HnSimWorld *world, const double *cpu_share)
{
    g_autofree double *congestion = g_new(double, world->n_nodes);
    g_autofree double *traffic = g_new(double, world->n_nodes);
    for (uint32_t n = 0; n < world->n_nodes; n++)
        congestion[n] = 1;
    int rounds = world->scenario->node_gib_per_s > 0 ? 12 : 1;
    for (int round = 0; round < rounds; round++) {
        for (uint32_t n = 0; n < world->n_nodes; n++)
            traffic[n] = world->copy_gib_per_s[n];
        for (guint i = 0; i < world->vms->len; i++) {
            HnSimVm *vm = world->vms->pdata[i];
            vm->speed = vm->is_running ? vm_speed(world, vm, cpu_share, congestion, traffic) : 0;
        }
        for (uint32_t n = 0; n < world->n_nodes && rounds > 1; n++) {
            double wanted = congestion[n] * traffic[n] / world->scenario->node_gib_per_s;
            /* Damped: the fixed point is approached from both sides. */
            congestion[n] = MAX(1, 0.5 * congestion[n] + 0.5 * wanted);
        }
    }
}

static void advance(HnSimWorld *world, HnSimVm *vm, const double *cpu_share)
{
    double step = world->scenario->step_s, demand = vcpu_demand(vm);
    double copied = hn_sim_moves_run(world, vm);
    double stall = copied / 4096 * PAGE_STALL_S / step / vm->spec->n_vcpus;
    double speed = vm->speed * (1 - MIN(0.9, stall));
    for (uint32_t v = 0; v < vm->spec->n_vcpus; v++) {
        double got = 0;
        for (uint32_t n = 0; n < world->n_nodes; n++)
            got += vm->vcpus[v].node_share[n] * cpu_share[n];
        vm->vcpus[v].exec_ns += demand * got * step * 1e9;
        vm->vcpus[v].run_delay_ns += demand * (1 - got) * step * 1e9;
    }
    if (!vm->is_running || vm->spec->work_gib <= 0)
        return;
    double rate = speed * demand * vm->spec->vcpu_gib_per_s * vm->spec->n_vcpus;
    double left = vm->spec->work_gib - vm->work_done_gib;
    if (rate > 0 && left <= rate * step) {
        vm->finished_s = world->now_s + left / rate - vm->spec->start_s;
        vm->work_done_gib = vm->spec->work_gib;
    } else {
        vm->work_done_gib += rate * step;
    }
}

void hn_sim_world_step(HnSimWorld *world)
{
    update_states(world);
    spread_vcpus(world);
    make_resident(world);
    hn_sim_moves_weigh(world);
    g_autofree double *cpu_share = g_new(double, world->n_nodes);
    for (uint32_t n = 0; n < world->n_nodes; n++)
        cpu_share[n] = MIN(1, world->capacity_cpus[n] /
                                  MAX(world->load_cpus[n] + world->copy_cpus[n], 1e-9));
    compute_speeds(world, cpu_share);
    for (guint i = 0; i < world->vms->len; i++) {
        HnSimVm *vm = world->vms->pdata[i];
        if (vm->is_started)
            advance(world, vm, cpu_share);
    }
    world->now_s += world->scenario->step_s;
}

bool hn_sim_world_is_done(const HnSimWorld *world)
{
    if (world->now_s >= world->scenario->duration_s)
        return true;
    bool has_work = false;
    for (guint i = 0; i < world->vms->len; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        has_work |= vm->spec->work_gib > 0;
        if (vm->spec->work_gib > 0 && vm->finished_s < 0)
            return false;
    }
    return has_work;
}
