/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * homenode itself: every 2 s the simulated world becomes a snapshot such as the agent would
 * observe, the agent's own hn_decide() answers, and its actions are carried out at the agent's rate
 * caps, step by step. Nothing is decided here.
 *
 * Evidence as the agent has it: the touch matrix of a running guest is complete after EVIDENCE_S.
 */
#include "policy.h"

#include <homenode/policy.h>

#include <string.h>

#define ROUND_S 2.0
/* A pass of hinting faults over a few GiB at the kernel's fastest default period. */
#define EVIDENCE_S 2.0

typedef struct {
    HnAction action;
    uint64_t generation;
    guint vm_index;
    HnCpuset vcpus;  /* of the client; empty: whole domain */
    uint32_t n_open; /* moves of it still running; 0 and begun: done */
    bool is_begun, is_done;
    double moved_before;
    int32_t to_node;
} PendingAction;

typedef struct {
    HnPolicy policy;
    HnPast *past;
    GPtrArray *pending; /* PendingAction *, owned, in order */
    GArray *outcomes;   /* HnOutcome for the next round */
    double next_round_s;
} Agent;

static void *agent_start(HnSimWorld *world)
{
    Agent *agent = g_new0(Agent, 1);
    hn_policy_init(&agent->policy);
    agent->policy.smt_yield_permille = (uint32_t)(world->scenario->smt_yield * 1000);
    agent->policy.kappa_permille = (uint32_t)(world->scenario->kappa * 1000);
    agent->past = hn_past_new();
    agent->pending = g_ptr_array_new_with_free_func(g_free);
    agent->outcomes = g_array_new(FALSE, TRUE, sizeof(HnOutcome));
    return agent;
}

static void agent_stop(void *state)
{
    Agent *agent = state;
    hn_past_free(agent->past);
    g_ptr_array_unref(agent->pending);
    g_array_unref(agent->outcomes);
    g_free(agent);
}

static void uuid_of(guint vm_index, char ret_uuid[HN_UUID_LEN + 1])
{
    g_snprintf(ret_uuid, HN_UUID_LEN + 1, "00000000-0000-4000-8000-%012u", vm_index);
}

static void observe_vcpus(const HnSimWorld *world, const HnSimVm *vm, HnDomain *domain)
{
    for (uint32_t v = 0; v < vm->spec->n_vcpus; v++) {
        const HnSimVcpu *from = &vm->vcpus[v];
        HnVcpu *vcpu = hn_domain_add_vcpu(domain, world->n_nodes);
        vcpu->id = v;
        vcpu->tid = (int32_t)(domain->pid + 1 + v);
        vcpu->start_ticks = 1;
        vcpu->guest_cell = -1;
        vcpu->exec_ns = (uint64_t)from->exec_ns;
        vcpu->run_delay_ns = (uint64_t)from->run_delay_ns;
        hn_host_cpus_of(world->scenario->host, from->allowed, &vcpu->affinity);
        /* A vCPU that wanders is caught on each node as often as it runs there. */
        double at = (double)((v * 7919 + (uint64_t)(world->now_s * 10)) % 1000) / 1000;
        vcpu->last_cpu = -1;
        for (uint32_t n = 0; n < world->n_nodes && vcpu->last_cpu < 0; n++) {
            at -= from->node_share[n];
            if (at < 0 && from->node_share[n] > 0)
                vcpu->last_cpu = hn_cpuset_next(&world->scenario->host->nodes[n].cpus, 0);
        }
    }
}

static void observe_memory(const HnSimWorld *world, const HnSimVm *vm, HnDomain *domain)
{
    HnRegion *region = hn_domain_add_region(domain, world->n_nodes);
    bool has_evidence = vm->is_running && world->now_s - vm->spec->start_s >= EVIDENCE_S;
    region->hva_start = (uint64_t)1 << 40;
    region->length_bytes = vm->spec->memory_bytes;
    region->guest_cell = -1;
    region->page_bytes = world->scenario->host->page_bytes;
    region->backing = HN_BACKING_ANON;
    region->movability = vm->spec->is_immovable ? HN_IMMOVABLE_VFIO : HN_MOVABLE;
    region->chunk_bytes = (uint64_t)vm->chunk_bytes;
    region->n_chunks = vm->n_chunks;
    region->chunks = g_new0(HnChunk, vm->n_chunks);
    for (uint32_t c = 0; c < vm->n_chunks; c++) {
        HnChunk *chunk = &region->chunks[c];
        chunk->node = vm->chunk_node[c];
        if (chunk->node == HN_NODE_NONE)
            continue;
        chunk->n_probes = chunk->n_probes_on_node = 4;
        region->resident_bytes[chunk->node] += region->chunk_bytes;
        domain->resident_bytes[chunk->node] += region->chunk_bytes;
        if (vm->spec->is_immovable)
            domain->immovable_bytes[chunk->node] += region->chunk_bytes;
        if (!has_evidence)
            continue;
        for (uint32_t v = 0; v < MIN(64, vm->spec->n_vcpus); v++) {
            if (hn_sim_touches(vm, v, c)) {
                chunk->touch_clients |= (uint64_t)1 << v;
                chunk->heat += 8;
            }
        }
    }
    domain->resident_source = HN_SOURCE_PROBE;
}

static HnSnapshot *observe(const HnSimWorld *world)
{
    HnSnapshot *snapshot = hn_snapshot_new();
    snapshot->taken_ns = (uint64_t)(world->now_s * 1e9) + 1;
    snapshot->host = hn_host_copy(world->scenario->host);
    for (uint32_t n = 0; n < world->n_nodes; n++)
        snapshot->host->nodes[n].mem_free_bytes =
            (uint64_t)MAX(0, hn_sim_node_free_bytes(world, n));
    for (guint i = 0; i < world->vms->len; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        if (!vm->is_started || vm->finished_s >= 0)
            continue;
        HnDomain *domain = hn_domain_new(world->n_nodes);
        uuid_of(i, domain->uuid);
        domain->name = g_strdup(vm->spec->name);
        domain->is_kvm = true;
        domain->pid = 1000 + (int64_t)i * 10000;
        domain->start_ticks = 1;
        domain->started_ns = (uint64_t)(vm->spec->start_s * 1e9) + 1;
        domain->wish.mode = HN_MODE_AUTO;
        domain->wish.group = g_strdup(vm->spec->group);
        domain->wish.anti_group = g_strdup(vm->spec->anti_group);
        domain->configured_bytes = domain->current_bytes = vm->spec->memory_bytes;
        domain->dirty_age_ns = UINT64_MAX;
        if (vm->spec->device_node != HN_NODE_NONE)
            domain->device_nodes = (HnNodemask)1 << vm->spec->device_node;
        observe_vcpus(world, vm, domain);
        observe_memory(world, vm, domain);
        g_ptr_array_add(snapshot->domains, domain);
    }
    hn_snapshot_sort(snapshot);
    return snapshot;
}

static void note_outcome(Agent *agent, HnSimWorld *world, PendingAction *pending)
{
    const HnSimVm *vm = world->vms->pdata[pending->vm_index];
    HnOutcome outcome = {.generation = pending->generation,
                         .kind = pending->action.kind,
                         .client = pending->action.client,
                         .reason = HN_REASON_DONE,
                         .to_node = pending->to_node};
    g_strlcpy(outcome.uuid, pending->action.uuid, sizeof outcome.uuid);
    if (pending->action.kind == HN_ACTION_MOVE_MEMORY)
        outcome.bytes_moved = (uint64_t)(vm->bytes_moved - pending->moved_before);
    g_array_append_val(agent->outcomes, outcome);
    pending->is_done = true;
}

static void begin_move(Agent *agent, HnSimWorld *world, PendingAction *pending, guint position)
{
    HnSimVm *vm = world->vms->pdata[pending->vm_index];
    uint32_t n_targets = (uint32_t)__builtin_popcountll(pending->action.to_nodes);
    pending->moved_before = vm->bytes_moved;
    for (uint32_t n = 0; n < world->n_nodes; n++) {
        if (!(pending->action.to_nodes >> n & 1))
            continue;
        HnSimMove move = {.from = pending->action.from_nodes & ~((HnNodemask)1 << n),
                          .to = (int32_t)n,
                          .bytes_left = (double)pending->action.bytes / n_targets,
                          .bytes_per_s = (double)agent->policy.move_bytes_per_sec,
                          .token = position,
                          .vcpus = pending->vcpus};
        pending->to_node = (int32_t)n;
        pending->n_open++;
        hn_sim_queue_move(vm, &move);
    }
}

static void begin_action(Agent *agent, HnSimWorld *world, PendingAction *pending, guint position)
{
    HnSimVm *vm = world->vms->pdata[pending->vm_index];
    pending->is_begun = true;
    if (pending->action.kind == HN_ACTION_MOVE_MEMORY) {
        begin_move(agent, world, pending, position);
        if (pending->n_open)
            return;
    } else if (pending->action.kind == HN_ACTION_PIN) {
        bool is_new = false;
        for (uint32_t v = 0; v < vm->spec->n_vcpus; v++) {
            if (!hn_cpuset_is_empty(&pending->vcpus) && !hn_cpuset_has(&pending->vcpus, v))
                continue;
            is_new |= vm->vcpus[v].allowed != pending->action.to_nodes;
            vm->vcpus[v].allowed = pending->action.to_nodes;
        }
        vm->n_rehomes += is_new && pending->action.client == 0;
    }
    note_outcome(agent, world, pending);
}

/* Two moves to the same single node: the agent has one mover per destination, with a queue. */
static bool shares_mover(const PendingAction *before, const PendingAction *pending)
{
    return before->action.kind == HN_ACTION_MOVE_MEMORY &&
           pending->action.kind == HN_ACTION_MOVE_MEMORY &&
           before->action.to_nodes == pending->action.to_nodes;
}

/* The agent's two caps, `node-rate` of each destination and `host-rate` of all, at their defaults. */
static void share_rate(const Agent *agent, HnSimWorld *world)
{
    double node_rate = (double)agent->policy.move_bytes_per_sec;
    double host_rate = (double)hn_host_auto_move_bytes_per_sec(world->scenario->host);
    uint32_t n_moving = 0, n_moving_to[HN_MAX_NODES] = {0};
    for (guint i = 0; i < world->vms->len; i++) {
        const HnSimVm *vm = world->vms->pdata[i];
        if (vm->moves->len == 0)
            continue;
        n_moving++;
        n_moving_to[g_array_index(vm->moves, HnSimMove, 0).to]++;
    }
    for (guint i = 0; i < world->vms->len; i++) {
        HnSimVm *vm = world->vms->pdata[i];
        if (vm->moves->len == 0)
            continue;
        HnSimMove *move = &g_array_index(vm->moves, HnSimMove, 0);
        move->bytes_per_s = MIN(node_rate / n_moving_to[move->to], host_rate / n_moving);
    }
}

/* Begins what may begin: an action waits for those of earlier steps of its own plan, a move for the
 * moves to its node that were queued before it. */
static void run_pending(Agent *agent, HnSimWorld *world)
{
    for (guint i = 0; i < world->finished_moves->len; i++) {
        uint64_t position = g_array_index(world->finished_moves, uint64_t, i);
        PendingAction *pending = agent->pending->pdata[position];
        if (--pending->n_open == 0)
            note_outcome(agent, world, pending);
    }
    g_array_set_size(world->finished_moves, 0);
    for (guint i = 0; i < agent->pending->len; i++) {
        PendingAction *pending = agent->pending->pdata[i];
        bool may_begin = !pending->is_begun;
        for (guint j = 0; j < i && may_begin; j++) {
            const PendingAction *before = agent->pending->pdata[j];
            may_begin = before->is_done || ((before->generation != pending->generation ||
                                             before->action.step >= pending->action.step) &&
                                            !shares_mover(before, pending));
        }
        if (may_begin)
            begin_action(agent, world, pending, i);
    }
    share_rate(agent, world);
}

static void adopt_plan(Agent *agent, HnSimWorld *world, const HnPlan *plan)
{
    for (guint i = 0; i < plan->actions->len; i++) {
        const HnAction *action = &g_array_index(plan->actions, HnAction, i);
        const HnVerdict *verdict = hn_plan_find(plan, action->uuid);
        PendingAction *pending = g_new0(PendingAction, 1);
        pending->action = *action;
        pending->generation = plan->generation;
        pending->vm_index = (guint)g_ascii_strtoull(action->uuid + 24, NULL, 10);
        if (verdict && verdict->n_clients > 1)
            pending->vcpus = verdict->clients[action->client].vcpus;
        g_ptr_array_add(agent->pending, pending);
    }
}

static void agent_tick(void *state, HnSimWorld *world)
{
    Agent *agent = state;
    if (world->now_s + 1e-9 >= agent->next_round_s) {
        agent->next_round_s = world->now_s + ROUND_S;
        g_autoptr(HnSnapshot) snapshot = observe(world);
        g_autoptr(GPtrArray) in_flight = g_ptr_array_new_with_free_func(g_free);
        bool all_done = true;
        for (guint i = 0; i < agent->pending->len; i++) {
            const PendingAction *pending = agent->pending->pdata[i];
            if (!pending->is_done)
                g_ptr_array_add(in_flight, g_strdup(pending->action.uuid));
            all_done &= pending->is_done;
        }
        if (all_done)
            g_ptr_array_set_size(agent->pending, 0);
        g_ptr_array_add(in_flight, NULL);
        g_autoptr(HnPlan) plan =
            hn_decide(snapshot, &agent->policy, agent->past, NULL, 0,
                      (const HnOutcome *)agent->outcomes->data, agent->outcomes->len,
                      (const char *const *)in_flight->pdata, NULL);
        g_array_set_size(agent->outcomes, 0);
        if (plan)
            adopt_plan(agent, world, plan);
    }
    run_pending(agent, world);
}

const HnSimPolicy hn_sim_policy_homenode = {
    "homenode", "the agent's own decisions, rounds of 2 s, moves at the default caps",
    0,          agent_start,
    agent_tick, agent_stop};
