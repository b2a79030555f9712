/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The static policies: off (the scheduler alone, memory stays where it was touched first), bind
 * (what a careful admin would do by hand, without cost) and inverse (every access remote: the worst
 * case).
 */
#include "policy.h"

static void *static_start(HnSimWorld *world)
{
    return NULL;
}

static void static_stop(void *state)
{
}

static void off_tick(void *state, HnSimWorld *world)
{
}

/* The node a vCPU is bound to: its guest's, or the slices of a wide guest in order over the CPU
 * nodes. */
static int32_t bind_node_of(const HnSimWorld *world, const HnSimVm *vm, uint32_t vcpu)
{
    if (vm->spec->bind_node != HN_NODE_NONE)
        return vm->spec->bind_node;
    uint32_t n_cpu_nodes = 0, nodes[HN_MAX_NODES];
    for (uint32_t n = 0; n < world->n_nodes; n++) {
        if (world->capacity_cpus[n] > 0)
            nodes[n_cpu_nodes++] = n;
    }
    return (int32_t)nodes[(uint64_t)vcpu * n_cpu_nodes / vm->spec->n_vcpus];
}

static void place_all(HnSimWorld *world, bool is_inverse)
{
    for (guint i = 0; i < world->vms->len; i++) {
        HnSimVm *vm = world->vms->pdata[i];
        for (uint32_t v = 0; v < vm->spec->n_vcpus; v++)
            vm->vcpus[v].allowed = (HnNodemask)1 << bind_node_of(world, vm, v);
        for (uint32_t c = 0; c < vm->n_chunks; c++) {
            if (vm->chunk_node[c] == HN_NODE_NONE)
                continue;
            /* A chunk that several touch goes to them in turn; a private one to its owner. */
            uint32_t owner = c % vm->spec->n_vcpus;
            while (!hn_sim_touches(vm, owner, c))
                owner = (owner + 1) % vm->spec->n_vcpus;
            int32_t node = bind_node_of(world, vm, owner);
            if (is_inverse)
                node = (int32_t)world->n_nodes - 1 - node;
            vm->chunk_node[c] = (int16_t)node;
        }
    }
}

static void bind_tick(void *state, HnSimWorld *world)
{
    place_all(world, false);
}

static void inverse_tick(void *state, HnSimWorld *world)
{
    place_all(world, true);
}

const HnSimPolicy hn_sim_policy_off = {
    "off",    "no balancing: the scheduler alone, memory where it was touched first",
    1,        static_start,
    off_tick, static_stop};
const HnSimPolicy hn_sim_policy_bind = {
    "bind",    "hard binding by hand, in force from the start and free of cost",
    0,         static_start,
    bind_tick, static_stop};
const HnSimPolicy hn_sim_policy_inverse = {"inverse",
                                           "every access remote: memory bound to the mirrored node",
                                           0,
                                           static_start,
                                           inverse_tick,
                                           static_stop};
