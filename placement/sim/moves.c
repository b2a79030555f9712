/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moves of memory: what they copy in a step, and what that costs everybody else. A byte copied is a
 * byte read from one controller and a byte written to another, and a kernel thread on the destination
 * copies it; both are gone for the guests there. (The stall of the guest whose pages are in flight is
 * the world's business.)
 *
 * Must not decide: rates and order are the policy's.
 */
#include "world.h"

#define GIB (1024.0 * 1024.0 * 1024.0)
/* One core copies so much in 4 KiB pages (published for move_pages on Zen 3: 3.3 to 3.55 GB/s; huge
 * pages three times as much, which is left out: the dearer case is the honest one). */
#define COPY_BYTES_PER_CPU_S 3.3e9

void hn_sim_queue_move(HnSimVm *vm, const HnSimMove *move)
{
    g_array_append_val(vm->moves, *move);
}

static bool move_matches(const HnSimVm *vm, const HnSimMove *move, uint32_t chunk)
{
    int32_t node = vm->chunk_node[chunk];
    if (node == HN_NODE_NONE || node == move->to || !(move->from >> node & 1))
        return false;
    if (hn_cpuset_is_empty(&move->vcpus))
        return true;
    for (uint32_t v = 0; v < vm->spec->n_vcpus; v++) {
        if (hn_cpuset_has(&move->vcpus, v) && hn_sim_touches(vm, v, chunk))
            return true;
    }
    return false;
}

double hn_sim_moves_run(HnSimWorld *world, HnSimVm *vm)
{
    double copied = 0;
    if (vm->moves->len == 0 || vm->spec->is_immovable) {
        while (vm->moves->len) {
            g_array_append_val(world->finished_moves, g_array_index(vm->moves, HnSimMove, 0).token);
            g_array_remove_index(vm->moves, 0);
        }
        return 0;
    }
    HnSimMove *move = &g_array_index(vm->moves, HnSimMove, 0);
    double budget = MIN(move->bytes_left, move->bytes_per_s * world->scenario->step_s);
    move->carried_bytes += budget;
    move->bytes_left -= budget;
    copied = budget;
    bool is_over = true;
    for (uint32_t c = 0; c < vm->n_chunks; c++) {
        if (!move_matches(vm, move, c))
            continue;
        if (move->carried_bytes + 1 < vm->chunk_bytes) {
            is_over = false;
            break;
        }
        if (hn_sim_node_free_bytes(world, (uint32_t)move->to) < vm->chunk_bytes)
            break; /* no room: what is left stays */
        move->carried_bytes -= vm->chunk_bytes;
        hn_sim_place_chunk(world, vm, c, move->to);
    }
    if (is_over || move->bytes_left <= 0) {
        g_array_append_val(world->finished_moves, move->token);
        g_array_remove_index(vm->moves, 0);
    }
    return copied;
}

void hn_sim_moves_weigh(HnSimWorld *world)
{
    for (uint32_t n = 0; n < world->n_nodes; n++)
        world->copy_cpus[n] = world->copy_gib_per_s[n] = 0;
    for (guint i = 0; i < world->vms->len; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        if (!vm->is_started || vm->moves->len == 0 || vm->spec->is_immovable)
            continue;
        const HnSimMove *move = &g_array_index(vm->moves, HnSimMove, 0);
        double rate = MIN(move->bytes_per_s, move->bytes_left / world->scenario->step_s);
        uint32_t n_matching = 0;
        for (uint32_t c = 0; c < vm->n_chunks; c++)
            n_matching += move_matches(vm, move, c);
        for (uint32_t c = 0; c < vm->n_chunks; c++) {
            if (move_matches(vm, move, c))
                world->copy_gib_per_s[vm->chunk_node[c]] += rate / GIB / n_matching;
        }
        if (n_matching == 0)
            continue;
        world->copy_gib_per_s[move->to] += rate / GIB;
        world->copy_cpus[move->to] += rate / COPY_BYTES_PER_CPU_S;
    }
}
