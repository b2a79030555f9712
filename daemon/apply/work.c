/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From an action, a verdict and a snapshot to something that can be started; see work.h. Pure.
 */
#include "work.h"

#include "ranges.h"

#define MIB (1024.0 * 1024)

bool hn_reason_is_success(HnReason reason)
{
    return reason == HN_REASON_DONE || reason == HN_REASON_DONE_WITH_RESIDUE;
}

static int rank(HnReason reason)
{
    if (reason == HN_REASON_IN_PROGRESS)
        return 0;
    if (reason == HN_REASON_DONE)
        return 1;
    return reason == HN_REASON_DONE_WITH_RESIDUE ? 2 : 3;
}

void hn_work_note(HnWork *work, HnReason reason, const char *sentence)
{
    if (rank(reason) <= rank(work->reason))
        return;
    work->reason = reason;
    g_free(work->sentence);
    work->sentence = g_strdup(sentence);
}

static void node_ids_of(const HnHost *host, HnNodemask nodes, HnCpuset *ret_ids)
{
    hn_cpuset_zero(ret_ids);
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        if (nodes >> i & 1)
            hn_cpuset_add(ret_ids, (uint32_t)host->nodes[i].id);
    }
}

static void add_thread(GArray *threads, HnPieceKind kind, uint32_t id, int32_t tid, bool is_admin_pinned)
{
    HnPinThread thread = {.kind = kind, .id = id, .tid = tid, .is_admin_pinned = is_admin_pinned};

    g_array_append_val(threads, thread);
}

static void make_pin(HnWork *work, const HnHost *host, const HnDomain *domain, const HnVerdict *verdict)
{
    static const HnPieceKind kind_of[] = {
        [HN_WORKER_EMULATOR] = HN_PIECE_EMULATOR,
        [HN_WORKER_IOTHREAD] = HN_PIECE_IOTHREAD,
        [HN_WORKER_VHOST] = HN_PIECE_VHOST,
    };
    HnPinRequest *pin = &work->pin;

    pin->identity = work->identity;
    hn_host_cpus_of(host, work->action.to_nodes, &pin->cpus);
    hn_cpuset_and_not(&pin->cpus, &host->isolated);
    pin->is_all_vcpus = verdict->n_clients == 1;
    pin->has_workers = work->action.client == 0;
    pin->vcpus = verdict->clients[work->action.client].vcpus;
    pin->threads = g_array_new(FALSE, FALSE, sizeof(HnPinThread));
    for (uint32_t i = 0; i < domain->n_vcpus; i++)
        add_thread(pin->threads, HN_PIECE_VCPU, domain->vcpus[i].id, domain->vcpus[i].tid,
                   domain->vcpus[i].is_admin_pinned);
    for (uint32_t i = 0; i < domain->n_workers; i++)
        add_thread(pin->threads, kind_of[domain->workers[i].kind], domain->workers[i].id, domain->workers[i].tid,
                   domain->workers[i].is_admin_pinned);
    if (hn_cpuset_is_empty(&pin->cpus))
        hn_work_note(work, HN_REASON_CONSTRAINT_EMPTY, "the wanted nodes have no CPU that may be used");
}

static void make_fence(HnWork *work, const HnHost *host, const HnDomain *domain)
{
    work->fence.identity = work->identity;
    work->fence.node_ids = work->to_node_ids;
    for (uint32_t i = 0; i < host->n_nodes; i++) {
        if (work->action.to_nodes >> i & 1)
            work->fence.inside_bytes += domain->resident_bytes[i];
        else
            work->fence.outside_bytes += domain->resident_bytes[i];
    }
}

static void make_move(HnWork *work, const HnHost *host, const HnDomain *domain, const HnVerdict *verdict,
                      HnTarget *target)
{
    g_autoptr(GPtrArray) parts = hn_ranges_of(host, domain, verdict, &work->action, &work->immovable_bytes);

    for (guint i = 0; i < parts->len; i++) {
        HnPart *part = parts->pdata[i];
        const HnNode *node = &host->nodes[part->to_node];
        HnMoveSpec spec = {
            .pid = domain->pid,
            .base_page_bytes = host->page_bytes,
            .to_node_id = node->id,
            .ranges = g_steal_pointer(&part->ranges),
            .limit_bytes = part->limit_bytes,
            .expected_bytes = part->expected_bytes,
        };
        HnMoveJob *job;

        node_ids_of(host, work->action.from_nodes, &spec.from_node_ids);
        job = hn_move_job_new(work, target, domain->pid, domain->start_ticks, hn_move_new(&spec));
        job->to_node_id = node->id;
        job->watermark_bytes = node->mem_watermark_bytes;
        g_ptr_array_add(work->jobs, job);
    }
    if (work->jobs->len > 0)
        return;
    if (work->immovable_bytes > 0) {
        g_autofree char *sentence =
            g_strdup_printf("all of its memory elsewhere, %.1f MiB, cannot move", work->immovable_bytes / MIB);

        work->left_bytes = work->immovable_bytes;
        hn_work_note(work, HN_REASON_IMMOVABLE, sentence);
    } else {
        hn_work_note(work, HN_REASON_DONE, "no memory of that client is known");
    }
}

HnWork *hn_work_new(const HnAction *action, uint64_t generation, const HnHost *host, const HnDomain *domain,
                    const HnVerdict *verdict, HnTarget *target)
{
    HnWork *work = g_new0(HnWork, 1);

    work->action = *action;
    work->generation = generation;
    work->reason = HN_REASON_IN_PROGRESS;
    work->jobs = g_ptr_array_new();
    work->running = g_ptr_array_new();
    work->to_node = __builtin_popcountll(action->to_nodes) == 1 ? __builtin_ctzll(action->to_nodes) : HN_NODE_NONE;
    work->name = g_strdup(domain ? domain->name : action->uuid);
    g_strlcpy(work->identity.uuid, action->uuid, sizeof(work->identity.uuid));
    if (!domain) {
        hn_work_note(work, HN_REASON_VANISHED, "the domain is not in the snapshot");
        return work;
    }
    work->identity.pid = domain->pid;
    work->identity.start_ticks = domain->start_ticks;
    if (!verdict || action->client >= verdict->n_clients ||
        (action->kind != HN_ACTION_UNFENCE &&
         (action->to_nodes == 0 || (host->n_nodes < 64 && action->to_nodes >> host->n_nodes != 0)))) {
        hn_work_note(work, HN_REASON_UNSUPPORTED, "the plan names a client or a node that does not exist");
        return work;
    }
    node_ids_of(host, action->to_nodes, &work->to_node_ids);
    switch (action->kind) {
    case HN_ACTION_UNFENCE:
        break;
    case HN_ACTION_PIN:
        make_pin(work, host, domain, verdict);
        break;
    case HN_ACTION_MOVE_MEMORY:
        work->is_divided =
            verdict->n_clients > 1 && verdict->clients[action->client].guest_cell < 0 && !action->is_spread;
        make_move(work, host, domain, verdict, target);
        break;
    case HN_ACTION_FENCE:
        make_fence(work, host, domain);
        break;
    }
    return work;
}

void hn_work_free(HnWork *work, const HnSyscalls *sys)
{
    if (!work)
        return;
    g_assert(work->running->len == 0);
    for (guint i = 0; i < work->jobs->len; i++)
        hn_move_job_free(work->jobs->pdata[i], sys);
    g_ptr_array_unref(work->jobs);
    g_ptr_array_unref(work->running);
    hn_pin_request_clear(&work->pin);
    g_free(work->name);
    g_free(work->sentence);
    g_free(work);
}
