/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives world and policy, samples once a virtual second. */
#include "run.h"

static void guest_result_clear(gpointer data)
{
    g_free(((HnSimGuestResult *)data)->name);
}

void hn_sim_result_free(HnSimResult *result)
{
    if (!result)
        return;
    g_array_unref(result->guests);
    g_array_unref(result->series);
    g_free(result->node_load);
    g_free(result);
}

static void sample(const HnSimWorld *world, HnSimResult *result, guint *seconds)
{
    HnSimPoint point = {.at_s = world->now_s};
    double weight = 0;
    for (guint i = 0; i < world->vms->len; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        HnSimGuestResult *guest = &g_array_index(result->guests, HnSimGuestResult, i);
        point.moved_bytes += vm->bytes_moved;
        if (vm->n_rehomes != guest->n_rehomes)
            guest->last_rehome_s = world->now_s;
        guest->n_rehomes = vm->n_rehomes;
        if (!vm->is_started || vm->finished_s >= 0)
            continue;
        guest->last_bytes_local = hn_sim_vm_bytes_local(world, vm);
        guest->last_accesses_local = hn_sim_vm_accesses_local(world, vm);
        guest->last_node = hn_sim_vm_main_node(world, vm);
        guest->bytes_local += guest->last_bytes_local;
        guest->accesses_local += guest->last_accesses_local;
        seconds[i]++;
        double bytes = hn_sim_vm_resident_bytes(vm);
        point.bytes_local += guest->last_bytes_local * bytes;
        point.accesses_local += guest->last_accesses_local * bytes;
        weight += bytes;
    }
    if (weight > 0) {
        point.bytes_local /= weight;
        point.accesses_local /= weight;
        g_array_append_val(result->series, point);
    }
    for (uint32_t n = 0; n < world->n_nodes; n++) {
        if (world->capacity_cpus[n] > 0)
            result->node_load[n] += world->load_cpus[n] / world->capacity_cpus[n];
    }
}

HnSimResult *hn_sim_run(const HnSimScenario *scenario, const HnSimPolicy *policy)
{
    HnSimWorld *world = hn_sim_world_new(scenario);
    HnSimResult *result = g_new0(HnSimResult, 1);
    result->policy = policy;
    result->n_nodes = world->n_nodes;
    result->node_load = g_new0(double, world->n_nodes);
    result->series = g_array_new(FALSE, FALSE, sizeof(HnSimPoint));
    result->guests = g_array_new(FALSE, TRUE, sizeof(HnSimGuestResult));
    g_array_set_clear_func(result->guests, guest_result_clear);
    for (guint i = 0; i < world->vms->len; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        HnSimGuestResult guest = {.name = g_strdup(vm->spec->name),
                                  .start_s = vm->spec->start_s,
                                  .last_rehome_s = -1,
                                  .last_node = HN_NODE_NONE};
        g_array_append_val(result->guests, guest);
    }
    g_autofree guint *seconds = g_new0(guint, MAX(1, world->vms->len));
    void *state = policy->start(world);
    double next_tick_s = 0, next_sample_s = 0;
    guint n_samples = 0;
    while (!hn_sim_world_is_done(world)) {
        hn_sim_world_step(world);
        if (world->now_s + 1e-9 >= next_tick_s) {
            policy->tick(state, world);
            next_tick_s = world->now_s + policy->period_s;
        }
        if (world->now_s + 1e-9 >= next_sample_s) {
            sample(world, result, seconds);
            n_samples++;
            next_sample_s += 1;
        }
    }
    policy->stop(state);
    for (guint i = 0; i < world->vms->len; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        HnSimGuestResult *guest = &g_array_index(result->guests, HnSimGuestResult, i);
        guest->run_s = vm->finished_s;
        guest->moved_bytes = vm->bytes_moved;
        guest->n_rehomes = vm->n_rehomes;
        guest->bytes_local /= MAX(1, seconds[i]);
        guest->accesses_local /= MAX(1, seconds[i]);
        result->n_rehomes += vm->n_rehomes;
        result->moved_bytes += vm->bytes_moved;
        if (vm->spec->work_gib > 0 && result->run_s >= 0)
            result->run_s =
                vm->finished_s < 0 ? -1 : MAX(result->run_s, vm->spec->start_s + vm->finished_s);
    }
    for (uint32_t n = 0; n < world->n_nodes; n++)
        result->node_load[n] /= MAX(1, n_samples);
    hn_sim_world_free(world);
    return result;
}
